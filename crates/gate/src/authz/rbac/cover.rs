//! Whether somebody holds all that they are about to give to others (upstream: `component-helpers/auth/rbac/validation.Covers` and
//! `ConfirmNoEscalation`).
//!
//! What is given is split into single permissions (one verb on one resource, object or path), and each must be covered by one rule
//! of the giver: two rules that cover half of it each do not count together.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_model::go_text::push_quoted;

use super::rule::{ANY, Filter, Rule, covers_path};
use crate::identity::Identity;

/// Single permissions that are looked at to find out whether they are held. A rule of four long lists stands for their product; roles that
/// people write stand for some thousands.
pub const PERMISSIONS_MAX: usize = 100_000;

/// Everything there is to be allowed: what someone must hold who would gather rules that are not written yet.
pub fn full_authority() -> [Rule; 2] {
    let every = || vec![ANY.to_owned()];
    [
        Rule { verbs: every(), groups: every(), resources: every(), ..Rule::default() },
        Rule { verbs: every(), paths: every(), ..Rule::default() },
    ]
}

/// Says why a user who holds some rules may not give others, in upstream's words; nothing when all are held. `missing_roles` is what stood
/// in the way of holding more.
pub fn not_held(user: &Identity, held: &[Rule], missing_roles: &str, given: &[Rule]) -> Option<String> {
    let mut text = String::from("user ");
    push_quoted(&mut text, &user.name);
    text.push_str(" (groups=");
    push_list(&mut text, &user.groups);
    text.push_str(") is attempting to grant ");
    let permissions = given.iter().map(permissions).fold(0, usize::saturating_add);
    if permissions > PERMISSIONS_MAX {
        // Upstream would split them all.
        text.push_str(&format!("{permissions} RBAC permissions at once, and at most {PERMISSIONS_MAX} can be checked"));
        return Some(text);
    }
    let uncovered = uncovered(held, given);
    if uncovered.is_empty() {
        return None;
    }
    let shown: BTreeSet<String> = compact(uncovered).iter().map(shown).collect();
    text.push_str("RBAC permissions not currently held:\n");
    text.push_str(&shown.into_iter().collect::<Vec<_>>().join("\n"));
    if !missing_roles.is_empty() {
        text.push_str("; resolution errors: [");
        text.push_str(missing_roles);
        text.push(']');
    }
    Some(text)
}

/// How many single permissions a rule stands for.
fn permissions(rule: &Rule) -> usize {
    let lists = [rule.groups.len(), rule.resources.len(), rule.names.len().max(1)];
    let targets = lists.into_iter().fold(1, usize::saturating_mul).saturating_add(rule.paths.len());
    targets.saturating_mul(rule.verbs.len())
}

/// The single permissions of rules that no held rule covers.
fn uncovered(held: &[Rule], given: &[Rule]) -> Vec<Rule> {
    let filters: Vec<Filter> = held.iter().map(Filter::of).collect();
    let mut uncovered = Vec::new();
    for rule in given {
        single(rule, &mut |one| {
            let wanted = Filter::wanted_by(&one);
            let mut likely = filters.iter().zip(held).filter(|(filter, _)| filter.may_allow(wanted));
            if !likely.any(|(_, held)| covers(held, &one)) {
                uncovered.push(one);
            }
        });
    }
    uncovered
}

/// Splits a rule. A rule without verbs, or on nothing, is no permission.
fn single(rule: &Rule, each: &mut dyn FnMut(Rule)) {
    let one = |word: &String| vec![word.clone()];
    for group in &rule.groups {
        for resource in &rule.resources {
            for verb in &rule.verbs {
                let whole = Rule { verbs: one(verb), groups: one(group), resources: one(resource), ..Rule::default() };
                for name in &rule.names {
                    each(Rule { names: one(name), ..whole.clone() });
                }
                if rule.names.is_empty() {
                    each(whole);
                }
            }
        }
    }
    for path in &rule.paths {
        for verb in &rule.verbs {
            each(Rule { verbs: one(verb), paths: one(path), ..Rule::default() });
        }
    }
}

fn covers(held: &Rule, one: &Rule) -> bool {
    let has_any = |list: &[String]| list.iter().any(|listed| listed == ANY);
    let has_all = |list: &[String], words: &[String]| words.iter().all(|word| list.contains(word));
    let covers_resource = |resource: &String| {
        let of_any = |listed: &String| match (listed.strip_prefix("*/"), resource.split_once('/')) {
            (Some(listed), Some((_, subresource))) => listed == subresource,
            _ => false,
        };
        held.resources.iter().any(|listed| listed == resource || of_any(listed))
    };
    let names = if one.names.is_empty() {
        held.names.is_empty()
    } else {
        held.names.is_empty() || has_all(&held.names, &one.names)
    };
    (has_any(&held.verbs) || has_all(&held.verbs, &one.verbs))
        && (has_any(&held.groups) || has_all(&held.groups, &one.groups))
        && (has_any(&held.resources) || one.resources.iter().all(covers_resource))
        && one.paths.iter().all(|path| held.paths.iter().any(|listed| covers_path(listed, path)))
        && names
}

/// Joins permissions that differ in nothing but the verb.
fn compact(rules: Vec<Rule>) -> Vec<Rule> {
    let mut compacted: Vec<Rule> = Vec::new();
    let mut places: BTreeMap<[Vec<String>; 3], usize> = BTreeMap::new();
    for mut rule in rules {
        if !rule.paths.is_empty() {
            compacted.push(rule);
            continue;
        }
        let key = [rule.groups.clone(), rule.resources.clone(), rule.names.clone()];
        match places.get(&key).and_then(|place| compacted.get_mut(*place)) {
            Some(same) => {
                rule.verbs.retain(|verb| !same.verbs.contains(verb));
                same.verbs.append(&mut rule.verbs);
            }
            None => {
                places.insert(key, compacted.len());
                compacted.push(rule);
            }
        }
    }
    compacted
}

/// A rule as upstream's messages show it: `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`.
pub fn shown(rule: &Rule) -> String {
    let lists = [
        ("APIGroups:", &rule.groups),
        ("Resources:", &rule.resources),
        ("NonResourceURLs:", &rule.paths),
        ("ResourceNames:", &rule.names),
        ("Verbs:", &rule.verbs),
    ];
    let mut text = String::from("{");
    for (name, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        if text.len() > 1 {
            text.push_str(", ");
        }
        text.push_str(name);
        push_list(&mut text, list);
    }
    text.push('}');
    text
}

fn push_list(text: &mut String, list: &[String]) {
    text.push('[');
    for (at, word) in list.iter().enumerate() {
        if at > 0 {
            text.push(' ');
        }
        push_quoted(text, word);
    }
    text.push(']');
}
