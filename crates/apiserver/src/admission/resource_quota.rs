//! ResourceQuota: nothing is made that a quota of its namespace has no room for (upstream: `apiserver/pkg/admission/plugin/resourcequota`).
//!
//! What a write costs is charged to the status of each quota it concerns, in the commit of the write itself and only if that quota is
//! still what it was: two writes cannot both take the last place, and none is charged that is not made. Upstream charges first and
//! writes then, so that a write which fails afterwards stays charged until a controller counts again. Releases are the controller's here
//! as there.
//!
//! Who is charged takes its turn in the namespace and looks at the newest state then; otherwise of many parallel writes all but one would
//! lose the commit, again and again. A write that no quota concerns takes no turn.

mod configuration;
mod decision;
#[cfg(test)]
mod tests;

use portcullis_kinds::quota::{Charged, Evaluator, Usage};
use portcullis_kinds::views;
use portcullis_kinds::views::core_v1::ResourceQuotaEdit;
use portcullis_model::quantity::Quantity;
use portcullis_model::status::Status;
use portcullis_store::{Operation as StoreOperation, Snapshot};

use super::configuration::{Given, PluginFault};
use super::stored::{self, RESOURCE_QUOTAS, Stored};
use super::{Attempt, Operation, Pass, Plugin};
use crate::answer::{Failure, unreadable};
use crate::registry::{Served, managed};
use crate::verbs::turns;

use configuration::LimitedResource;
use decision::{Decision, Refusal};

/// The subresource by which a pod comes to cost another amount.
const RESIZE: &str = "resize";

/// The plugin.
#[derive(Default)]
pub struct ResourceQuota {
    /// What may only be used where a quota covers it.
    limited: Vec<LimitedResource>,
}

impl ResourceQuota {
    /// Makes it of what its operator says.
    ///
    /// # Errors
    /// The configuration makes no sense.
    pub fn of(given: Given<'_>) -> Result<ResourceQuota, PluginFault> {
        let Some(document) = given.configuration else { return Ok(ResourceQuota::default()) };
        Ok(ResourceQuota { limited: configuration::read(document)? })
    }

    /// Decides by the quotas of a state, and says which of them are charged what.
    fn decide(
        &self,
        attempt: &Attempt<'_>,
        evaluator: Evaluator<'_>,
        state: &Snapshot,
    ) -> Result<Vec<Charge>, Failure> {
        let Some(object) = attempt.new() else { return Ok(Vec::new()) };
        let quotas = stored::all(attempt, RESOURCE_QUOTAS, attempt.namespace(), state)?;
        if quotas.is_empty() && self.limited.is_empty() {
            return Ok(Vec::new());
        }
        let decision = Decision {
            evaluator,
            group: attempt.served().resource.group,
            resource: attempt.served().resource.name,
            object,
            old: attempt.old.filter(|_| attempt.operation == Operation::Update),
            limited: &self.limited,
            now: attempt.server.now_seconds(),
        };
        let trees: Vec<_> = quotas.iter().map(|quota| &quota.tree).collect();
        let charged = decision.charges(&trees).map_err(|refusal| match refusal {
            Refusal::Forbidden(why) => attempt.forbidden(&why),
            Refusal::Plain(why) => Box::new(Status::unexpected(why)),
        })?;
        let charges = quotas.into_iter().zip(charged).filter(|(_, usage)| !usage.is_empty());
        Ok(charges.map(|(quota, usage)| Charge { quota, usage }).collect())
    }

    /// Charges in the commit of the write, by the newest state.
    async fn charge(&self, attempt: &Attempt<'_>, evaluator: Evaluator<'_>) -> Result<(), Failure> {
        let Some(alongside) = attempt.alongside else { return Ok(()) };
        if let Some(turn) = turns::take_in_namespace(attempt.namespace()).await {
            alongside.hold(turn);
        }
        let newest = attempt.server.newest().await?;
        for charge in self.decide(attempt, evaluator, &newest)? {
            if let Some(operation) = charge.operation(attempt)? {
                alongside.add(operation);
            }
        }
        Ok(())
    }
}

impl Plugin for ResourceQuota {
    fn name(&self) -> &'static str {
        "ResourceQuota"
    }

    fn handles(&self, served: &Served, operation: Operation) -> bool {
        let Some(evaluator) = Evaluator::of(served.resource.group, served.resource.name) else { return false };
        served.resource.namespaced
            && served.is_stored()
            && match operation {
                Operation::Create => true,
                Operation::Update => evaluator.charged() != Charged::Create,
                Operation::Delete | Operation::Connect => false,
            }
    }

    fn validate<'a>(&'a self, attempt: &'a Attempt<'_>) -> Pass<'a> {
        let resource = attempt.served().resource;
        let Some(evaluator) = Evaluator::of(resource.group, resource.name) else { return Pass::on() };
        let is_charged = match (attempt.operation, attempt.subresource()) {
            (Operation::Create, "") => true,
            (Operation::Update, "") => evaluator.charged() == Charged::Update,
            (Operation::Update, RESIZE) => evaluator.charged() == Charged::Resize,
            _ => false,
        };
        if !is_charged {
            return Pass::on();
        }
        match self.decide(attempt, evaluator, attempt.snapshot) {
            Err(failure) => Pass::Now(Err(failure)),
            Ok(charges) if charges.is_empty() || attempt.dry_run => Pass::on(),
            Ok(_) => Pass::Later(Box::pin(self.charge(attempt, evaluator))),
        }
    }
}

/// What is used of a quota once the write is done, of the resources that the write changes.
struct Charge {
    quota: Stored,
    usage: Usage,
}

impl Charge {
    /// Writes it into the quota's status, on the condition that nobody else has written the quota.
    fn operation(self, attempt: &Attempt<'_>) -> Result<Option<StoreOperation>, Failure> {
        let Some(served) = stored::served(attempt, RESOURCE_QUOTAS) else { return Ok(None) };
        let Stored { key, version, tree: old } = self.quota;
        let mut tree = old.clone();
        let mut quota: ResourceQuotaEdit<'_> = views::write(&mut tree);
        let mut status = quota.status_mut();
        for (name, used) in &self.usage {
            status.used_mut().insert(name, &Quantity::to_string(used));
        }
        managed::account_own(served, &mut tree, &old, attempt.server.now_seconds());
        let value = served.store(&mut tree).map_err(unreadable)?;
        Ok(Some(StoreOperation::update(key, version, value)))
    }
}
