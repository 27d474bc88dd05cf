//! What was asked, each thing once, and the smallest rules that allow it and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_gate::rbac::{Policy, Rule};
use portcullis_gate::{Attributes, Identity, Selection, Target};

/// The resource whose objects are namespaces: each is in itself, as the gate sees it.
const NAMESPACES: &str = "namespaces";
/// What verbs of impersonation begin with (`impersonate`, `impersonate:user-info`); `impersonate-on:...` is about other objects.
const IMPERSONATE: &str = "impersonate";
/// Verbs in the order in which people write them; others follow.
const VERB_ORDER: [&str; 8] = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];

/// Whether a role tells objects apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Names {
    /// Only the objects that were named
    Exact,
    /// Every object of those resources
    Any,
}

/// One question that was put to the authorisers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Question {
    pub(super) verb: String,
    pub(super) what: What,
}

/// What a question is about. Absent parts are empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    Resource { group: String, resource: String, subresource: String, namespace: String, name: String },
    Path(String),
}

/// A resource as a rule lists it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Listed {
    group: String,
    resource: String,
}

/// The objects of a resource that a verb was for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Objects {
    /// A question named none: no rule with names allows that.
    all: bool,
    named: BTreeSet<String>,
}

/// A list of a rule.
type Words = Vec<String>;
type Scope = BTreeMap<Listed, BTreeMap<String, Objects>>;

/// A set of questions.
#[derive(Debug)]
pub(super) struct Permissions {
    names: Names,
    /// By namespace; that of the whole cluster is empty.
    scopes: BTreeMap<String, Scope>,
    paths: BTreeMap<String, BTreeSet<String>>,
}

/// The rules for a namespace, or for the cluster when that is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ScopeRules {
    pub(super) namespace: String,
    pub(super) rules: Vec<Rule>,
}

impl Permissions {
    pub(super) fn new(names: Names) -> Self {
        Self { names, scopes: BTreeMap::new(), paths: BTreeMap::new() }
    }

    /// Puts a question in, and returns how many bytes more are held.
    pub(super) fn insert(&mut self, question: Question) -> usize {
        let Question { verb, what } = question;
        let (resource, namespace, name) = match what {
            What::Path(path) => {
                let len = path.len() + verb.len();
                return if self.paths.entry(path).or_default().insert(verb) { len } else { 0 };
            }
            What::Resource { group, resource, subresource, namespace, name } => {
                // A role in a namespace goes with it; whoever made it will ask for it again.
                let is_itself = group.is_empty() && resource == NAMESPACES && namespace == name;
                let namespace = if is_itself { String::new() } else { namespace };
                let resource = if subresource.is_empty() { resource } else { format!("{resource}/{subresource}") };
                (Listed { group, resource }, namespace, name)
            }
        };
        let name =
            if self.names == Names::Exact || is_scope(&resource, &namespace, &verb) { name } else { String::new() };
        let len = resource.group.len() + resource.resource.len() + namespace.len() + verb.len() + name.len();
        let objects = self.scopes.entry(namespace).or_default().entry(resource).or_default().entry(verb).or_default();
        let is_new =
            if name.is_empty() { !std::mem::replace(&mut objects.all, true) } else { objects.named.insert(name) };
        if is_new { len } else { 0 }
    }

    /// Leaves out what a user is allowed by a policy anyway, and returns how much that was.
    pub(super) fn subtract(&mut self, policy: &Policy, user: &Identity) -> usize {
        let allows = |verb: &str, target: Target<'_>| policy.decide(&Attributes { user, verb, target }).is_allow();
        let mut dropped = 0;
        for (namespace, scope) in &mut self.scopes {
            for (resource, verbs) in scope.iter_mut() {
                verbs.retain(|verb, objects| {
                    let before = objects.len();
                    if allows(verb, resource.target(namespace, "")) {
                        *objects = Objects::default();
                    }
                    objects.named.retain(|name| !allows(verb, resource.target(namespace, name)));
                    dropped += before - objects.len();
                    objects.len() > 0
                });
            }
            scope.retain(|_, verbs| !verbs.is_empty());
        }
        self.paths.retain(|path, verbs| {
            let before = verbs.len();
            verbs.retain(|verb| !allows(verb, Target::Path(path)));
            dropped += before - verbs.len();
            !verbs.is_empty()
        });
        dropped
    }

    /// The rules, those of the cluster first. What is allowed in the whole cluster is not said again for a namespace.
    pub(super) fn rules(mut self) -> Vec<ScopeRules> {
        let mut of_cluster = self.scopes.remove("").unwrap_or_default();
        simplify(&mut of_cluster);
        let mut found = merge(&of_cluster);
        found.extend(merge_paths(&self.paths));
        let mut scopes = vec![ScopeRules { namespace: String::new(), rules: found }];
        for (namespace, mut scope) in self.scopes {
            simplify(&mut scope);
            take_out(&mut scope, &of_cluster);
            scopes.push(ScopeRules { namespace, rules: merge(&scope) });
        }
        scopes.retain(|scope| !scope.rules.is_empty());
        scopes
    }
}

impl Listed {
    fn target<'a>(&'a self, namespace: &'a str, name: &'a str) -> Target<'a> {
        let (resource, subresource) = self.resource.split_once('/').unwrap_or((&self.resource, ""));
        let (group, version, selectors) = (self.group.as_str(), "", Selection::ALL);
        Target::Resource { group, version, namespace, resource, subresource, name, selectors }
    }
}

/// Says whether a name is no object among others but a power of its own: a namespace, or whoever is impersonated.
fn is_scope(resource: &Listed, namespace: &str, verb: &str) -> bool {
    let kind = resource.resource.split('/').next().unwrap_or_default();
    let is_namespace = namespace.is_empty() && resource.group.is_empty() && kind == NAMESPACES;
    is_namespace || verb.strip_prefix(IMPERSONATE).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
}

impl Objects {
    fn len(&self) -> usize {
        usize::from(self.all) + self.named.len()
    }
}

/// Forgets names where all objects are allowed anyway.
fn simplify(scope: &mut Scope) {
    for objects in scope.values_mut().flat_map(BTreeMap::values_mut).filter(|objects| objects.all) {
        objects.named.clear();
    }
}

/// Takes what the cluster's rules allow out of those of a namespace.
fn take_out(scope: &mut Scope, of_cluster: &Scope) {
    for (resource, verbs) in scope {
        let Some(everywhere) = of_cluster.get(resource) else { continue };
        verbs.retain(|verb, objects| match everywhere.get(verb) {
            Some(everywhere) if everywhere.all => false,
            Some(everywhere) => {
                objects.named.retain(|name| !everywhere.named.contains(name));
                objects.len() > 0
            }
            None => true,
        });
    }
}

/// Joins what differs in one list only: verbs of the same resource and objects, then resources, then groups. A rule stands for the
/// product of its lists, so each step joins only what is alike in all other lists, and none widens anything.
fn merge(scope: &Scope) -> Vec<Rule> {
    let mut verbs_of: BTreeMap<(Words, &Listed), Words> = BTreeMap::new();
    for (resource, verbs) in scope {
        for (verb, objects) in verbs {
            let names = objects.named.iter().cloned().collect();
            verbs_of.entry((names, resource)).or_default().push(verb.clone());
        }
    }
    let mut resources_of: BTreeMap<(Words, Words, String), Words> = BTreeMap::new();
    for ((names, listed), mut verbs) in verbs_of {
        verbs.sort_by_key(|verb| rank(verb));
        resources_of.entry((names, verbs, listed.group.clone())).or_default().push(listed.resource.clone());
    }
    let mut groups_of: BTreeMap<(Words, Words, Words), Words> = BTreeMap::new();
    for ((names, verbs, group), resources) in resources_of {
        groups_of.entry((names, verbs, resources)).or_default().push(group);
    }
    let rule = |((names, verbs, resources), groups)| Rule { verbs, groups, resources, names, paths: Vec::new() };
    let mut rules: Vec<Rule> = groups_of.into_iter().map(rule).collect();
    rules.sort_by(|one, other| {
        let key = |rule: &Rule| (rule.groups.clone(), rule.resources.clone(), rule.names.clone());
        key(one).cmp(&key(other))
    });
    rules
}

fn merge_paths(paths: &BTreeMap<String, BTreeSet<String>>) -> Vec<Rule> {
    let mut paths_of: BTreeMap<Vec<String>, Vec<String>> = BTreeMap::new();
    for (path, verbs) in paths {
        let mut verbs: Vec<String> = verbs.iter().cloned().collect();
        verbs.sort_by_key(|verb| rank(verb));
        paths_of.entry(verbs).or_default().push(path.clone());
    }
    paths_of.into_iter().map(|(verbs, paths)| Rule { verbs, paths, ..Rule::default() }).collect()
}

fn rank(verb: &str) -> (usize, String) {
    let place = VERB_ORDER.iter().position(|known| *known == verb).unwrap_or(VERB_ORDER.len());
    (place, verb.to_owned())
}
