//! Whether somebody holds all that they are about to give to others (upstream: `component-helpers/auth/rbac/validation.Covers` and
//! `ConfirmNoEscalation`).
//!
//! What is given is split into single permissions (one verb on one resource, object or path), and each must be covered by one rule
//! of the giver: two rules that cover half of it each do not count together.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use portcullis_model::go_text::push_quoted;

use super::rule::{ANY, Filter, Rule, covers_path};
use crate::identity::Identity;

/// Single permissions that are looked at to find out whether they are held. A rule of four long lists stands for their product; roles that
/// people write stand for some thousands.
pub const PERMISSIONS_MAX: usize = 100_000;
/// Words that are compared for it: what somebody holds and what they give may both be long, and nobody else waits for long.
pub const COMPARISONS_MAX: usize = 10_000_000;
/// Single permissions that are not held before the others are not looked at any more: the answer is no, and long enough.
pub const UNCOVERED_MAX: usize = 1_000;

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
pub fn not_held<'r>(
    user: &Identity,
    held: impl IntoIterator<Item = &'r Rule>,
    missing_roles: &str,
    given: &'r [Rule],
) -> Option<String> {
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
    let Some(uncovered) = uncovered(held, given) else {
        text.push_str(&format!("{permissions} RBAC permissions, and to compare them with those held takes too long"));
        return Some(text);
    };
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

/// A rule that somebody holds, made ready to be compared with many permissions.
struct Held<'r> {
    rule: &'r Rule,
    filter: Filter,
    names: HashSet<&'r str>,
    /// Words that a comparison may look at, beside names.
    words: usize,
}

impl<'r> Held<'r> {
    fn new(rule: &'r Rule) -> Self {
        let words = [&rule.verbs, &rule.groups, &rule.resources, &rule.paths].map(Vec::len).into_iter().sum();
        Held { rule, filter: Filter::of(rule), names: rule.names.iter().map(String::as_str).collect(), words }
    }
}

/// One verb on one resource, object or path.
#[derive(Clone, Copy)]
struct Permission<'r> {
    verb: &'r str,
    target: PermissionTarget<'r>,
}

#[derive(Clone, Copy)]
enum PermissionTarget<'r> {
    Resource { group: &'r str, resource: &'r str, name: Option<&'r str> },
    Path(&'r str),
}

impl Permission<'_> {
    fn filter(self) -> Filter {
        match self.target {
            PermissionTarget::Resource { resource, .. } => Filter::wanted_by(self.verb, Some(resource)),
            PermissionTarget::Path(_) => Filter::wanted_by(self.verb, None),
        }
    }

    fn to_rule(self) -> Rule {
        let one = |word: &str| vec![word.to_owned()];
        let verbs = one(self.verb);
        match self.target {
            PermissionTarget::Path(path) => Rule { verbs, paths: one(path), ..Rule::default() },
            PermissionTarget::Resource { group, resource, name } => {
                let names = name.map(one).unwrap_or_default();
                Rule { verbs, groups: one(group), resources: one(resource), names, ..Rule::default() }
            }
        }
    }
}

/// The single permissions of rules that no held rule covers, the first of them; nothing when there is too much to compare.
fn uncovered<'r>(held: impl IntoIterator<Item = &'r Rule>, given: &'r [Rule]) -> Option<Vec<Rule>> {
    let held: Vec<Held<'_>> = held.into_iter().map(Held::new).collect();
    let (mut uncovered, mut compared) = (Vec::new(), 0usize);
    for permission in given.iter().flat_map(single) {
        let wanted = permission.filter();
        let is_covered = held.iter().any(|held| {
            compared += 1;
            if !held.filter.may_allow(wanted) {
                return false;
            }
            compared += held.words;
            covers(held, permission)
        });
        if compared > COMPARISONS_MAX {
            return None;
        }
        if !is_covered {
            uncovered.push(permission.to_rule());
        }
        if uncovered.len() == UNCOVERED_MAX {
            break;
        }
    }
    Some(uncovered)
}

/// Splits a rule. A rule without verbs, or on nothing, is no permission.
fn single(rule: &Rule) -> impl Iterator<Item = Permission<'_>> {
    let objects = rule.groups.iter().flat_map(move |group| {
        rule.resources.iter().flat_map(move |resource| {
            rule.verbs.iter().flat_map(move |verb| {
                let all = rule.names.is_empty().then_some(None);
                let names = all.into_iter().chain(rule.names.iter().map(|name| Some(name.as_str())));
                names.map(move |name| Permission { verb, target: PermissionTarget::Resource { group, resource, name } })
            })
        })
    });
    let paths = rule.paths.iter().flat_map(move |path| {
        rule.verbs.iter().map(move |verb| Permission { verb, target: PermissionTarget::Path(path) })
    });
    objects.chain(paths)
}

fn covers(held: &Held<'_>, one: Permission<'_>) -> bool {
    let rule = held.rule;
    let has = |list: &[String], word: &str| list.iter().any(|listed| listed == ANY || listed == word);
    if !has(&rule.verbs, one.verb) {
        return false;
    }
    match one.target {
        PermissionTarget::Path(path) => {
            held.names.is_empty() && rule.paths.iter().any(|listed| covers_path(listed, path))
        }
        PermissionTarget::Resource { group, resource, name } => {
            let of_any = |listed: &String| match (listed.strip_prefix("*/"), resource.split_once('/')) {
                (Some(listed), Some((_, subresource))) => listed == subresource,
                _ => false,
            };
            has(&rule.groups, group)
                && (has(&rule.resources, resource) || rule.resources.iter().any(of_any))
                && (held.names.is_empty() || name.is_some_and(|name| held.names.contains(name)))
        }
    }
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
