//! Whether quotas have room for a write, and what they are charged: pure (upstream: `resourcequota.CheckRequest`).

use std::collections::BTreeSet;

use portcullis_kinds::quota::scopes::{self, Requirement, Values};
use portcullis_kinds::quota::{Evaluator, Usage, increase};
use portcullis_kinds::views;
use portcullis_kinds::views::Map;
use portcullis_kinds::views::core_v1::ResourceQuota;
use portcullis_model::quantity::Quantity;
use portcullis_model::tree::Tree;

use super::configuration::LimitedResource;

/// Why a write is not done.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `pods "a" is forbidden: ` and the reason.
    Forbidden(String),
    /// The reason alone. Upstream answers some so, with a status that says nothing else.
    Plain(String),
}

/// What is decided about.
pub struct Decision<'a> {
    pub evaluator: Evaluator<'a>,
    pub group: &'a str,
    pub resource: &'a str,
    pub object: &'a Tree,
    /// What is replaced.
    pub old: Option<&'a Tree>,
    pub limited: &'a [LimitedResource],
    /// Seconds since 1970.
    pub now: i64,
}

impl Decision<'_> {
    /// Says for each quota what is used of it then, of all that the write changes: nothing where it concerns nothing of the quota.
    pub fn charges(&self, quotas: &[&Tree]) -> Result<Vec<Usage>, Refusal> {
        let quotas: Vec<ResourceQuota<'_>> = quotas.iter().map(|quota| views::read(quota)).collect();
        let (mut concerned, mut covered, mut scopes_covered) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        for (place, quota) in quotas.iter().enumerate() {
            let mut is_in_all = true;
            for requirement in scopes::of_quota(quota.spec()) {
                match self.evaluator.is_in(self.object, requirement) {
                    true => drop(scopes_covered.insert(requirement.scope)),
                    false => is_in_all = false,
                }
            }
            let names = self.names(*quota);
            if !is_in_all || names.is_empty() {
                continue;
            }
            self.check_said(*quota, &names)?;
            covered.extend(names);
            concerned.push(place);
        }
        let increase = self.increase()?;
        let mut charges = vec![Usage::new(); quotas.len()];
        if increase.is_empty() {
            return Ok(charges);
        }
        self.check_covered(&covered, &scopes_covered)?;
        for place in concerned {
            if let (Some(quota), Some(charge)) = (quotas.get(place), charges.get_mut(place)) {
                *charge = charge_of(*quota, &increase)?;
            }
        }
        Ok(charges)
    }

    /// What the quota limits that such an object can cost.
    fn names<'t>(&self, quota: ResourceQuota<'t>) -> Vec<&'t str> {
        let names = quota.status().hard().iter().map(|(name, _)| name);
        names.filter(|name| self.evaluator.costs(name)).collect()
    }

    /// The object must say what it costs, and the quota what is used already.
    fn check_said(&self, quota: ResourceQuota<'_>, names: &[&str]) -> Result<(), Refusal> {
        let name = quota.metadata().name();
        if let Some(unsaid) = self.evaluator.unsaid(self.object, names) {
            return Err(Refusal::Forbidden(format!("failed quota: {name}: must specify {unsaid}")));
        }
        if names.iter().any(|name| quota.status().used().get(name).is_none()) {
            let names = names.join(",");
            return Err(Refusal::Forbidden(format!("status unknown for quota: {name}, resources: {names}")));
        }
        Ok(())
    }

    fn increase(&self) -> Result<Usage, Refusal> {
        let usage = self.evaluator.usage(self.object, self.now);
        let negative: Vec<&str> =
            usage.iter().filter(|(_, amount)| amount.sign() < 0).map(|(name, _)| name.as_str()).collect();
        if !negative.is_empty() {
            let names = negative.join(",");
            return Err(Refusal::Forbidden(format!("quota usage is negative for resource(s): {names}")));
        }
        let before = self.old.map(|old| self.evaluator.usage(old, self.now)).unwrap_or_default();
        Ok(increase(usage, &before))
    }

    /// What is limited by default is only used where a quota covers it.
    fn check_covered(&self, covered: &BTreeSet<&str>, scopes_covered: &BTreeSet<&str>) -> Result<(), Refusal> {
        let limited = self.limited.iter().filter(|one| one.group == self.group && one.resource == self.resource);
        let parts: Vec<&str> = limited.flat_map(|one| &one.contains).map(String::as_str).collect();
        let usage = if parts.is_empty() { Usage::new() } else { self.evaluator.usage(self.object, self.now) };
        let is_uncovered = |name: &&str| !covered.contains(name) && parts.iter().any(|part| name.contains(part));
        let uncovered: Vec<&str> = usage.keys().map(String::as_str).filter(is_uncovered).collect();
        if !uncovered.is_empty() {
            return Err(Refusal::Forbidden(format!("insufficient quota to consume: {}", uncovered.join(","))));
        }
        let requirements = self.limited.iter().flat_map(|one| &one.scopes).map(|one| Requirement {
            scope: &one.scope,
            operator: &one.operator,
            values: Values::Configured(&one.values),
        });
        let uncovered: Vec<String> = requirements
            .filter(|one| self.evaluator.is_in(self.object, *one) && !scopes_covered.contains(one.scope))
            .map(Requirement::shown)
            .collect();
        if uncovered.is_empty() {
            return Ok(());
        }
        Err(Refusal::Plain(format!("insufficient quota to match these scopes: [{}]", uncovered.join(" "))))
    }
}

/// What is used of a quota then.
fn charge_of(quota: ResourceQuota<'_>, increase: &Usage) -> Result<Usage, Refusal> {
    let (hard, used) = (quota.status().hard(), quota.status().used());
    let amount = |map: Map<'_, &str>, name: &str| map.get(name).and_then(|text| Quantity::parse(text).ok());
    let (mut charge, mut requested, mut held, mut limited) = (Usage::new(), Vec::new(), Vec::new(), Vec::new());
    for (name, more) in increase {
        let Some(most) = amount(hard, name) else { continue };
        let before = amount(used, name);
        let after = before.map_or(*more, |before| before + *more);
        if after > most {
            requested.push(format!("{name}={more}"));
            held.extend(before.map(|before| format!("{name}={before}")));
            limited.push(format!("{name}={most}"));
        }
        charge.insert(name.clone(), after);
    }
    if requested.is_empty() {
        return Ok(charge);
    }
    Err(Refusal::Forbidden(format!(
        "exceeded quota: {}, requested: {}, used: {}, limited: {}",
        quota.metadata().name(),
        requested.join(","),
        held.join(","),
        limited.join(",")
    )))
}
