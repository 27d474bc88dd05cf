//! Why somebody may do something, or what is between them and it: the rules that came closest, the roles that would be enough, and the
//! smallest rule that is. Pure: a policy and a question in, an explanation out.
//!
//! Upstream has nothing like it: RBAC only says no, and whoever asks reads roles until they find out.

use std::collections::BTreeSet;

use super::index::{Bound, Given};
use super::policy::{Id, Policy, RoleKind, Subject, Wording};
use super::rule::{ANY, Rule};
use crate::authz::{Attributes, Target};
use crate::identity::{GROUP_MASTERS, Identity, SERVICE_ACCOUNT_PREFIX};

/// How many close rules, and how many roles that would be enough, are named.
const NAMED_MAX: usize = 3;
/// What is further away than this has nothing to do with the question.
const DISTANCE_MAX: u32 = 6;
/// What roles of the cluster's own components begin with. Nobody else should be given one, so none is proposed.
const OF_COMPONENTS: &str = "system:";

/// What there is to say about a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Explanation {
    /// It is allowed, by each of these; the first is the reason that an audit log has.
    Allowed(Vec<Allowing>),
    /// It is not.
    Denied(Box<Denied>),
}

/// A binding that allows it, or the group that nothing is refused to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowing {
    /// In upstream's words.
    pub reason: String,
    /// The first rule of the role that does.
    pub rule: Rule,
}

/// What is between a user and an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The rules that came closest, the closest first.
    pub closest: Vec<Close>,
    /// Roles that would be enough, those that allow the least else first.
    pub enough: Vec<Id>,
    /// Roles that the user is bound to, and that are not there.
    pub missing: Vec<String>,
    /// The smallest role that would be enough, and its binding.
    pub smallest: Smallest,
}

/// A rule that allows something like it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// The binding. Its namespace is empty for one of the cluster.
    pub binding: Id,
    /// The role: its kind and its name.
    pub role: (String, String),
    /// The rule.
    pub rule: Rule,
    /// In what it does not fit, the hardest to change first.
    pub lacks: Vec<Part>,
}

/// A part of a question that a rule does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The API group.
    Group,
    /// The resource or subresource.
    Resource,
    /// The path.
    Path,
    /// The binding is in another namespace.
    Namespace,
    /// The binding names others.
    Subject,
    /// The verb.
    Verb,
    /// The rule is for named objects, and not for this one.
    Name,
}

impl Part {
    fn distance(self) -> u32 {
        match self {
            Part::Group | Part::Resource | Part::Path => 4,
            Part::Namespace | Part::Subject => 2,
            Part::Verb | Part::Name => 1,
        }
    }
}

/// The smallest role and binding that allow something and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Smallest {
    /// Where they go; empty: into the cluster.
    pub namespace: String,
    /// The name of both.
    pub name: String,
    /// The only rule of the role.
    pub rule: Rule,
    /// The only subject of the binding.
    pub subject: Subject,
}

/// Explains what a policy says about a question.
pub fn explain(policy: &Policy, attributes: &Attributes<'_>) -> Explanation {
    let allowing = allowing(policy, attributes);
    if !allowing.is_empty() {
        return Explanation::Allowed(allowing);
    }
    let namespace = namespace_of(attributes);
    let missing: BTreeSet<String> = policy
        .given(attributes.user, namespace)
        .filter_map(|grant| match &grant.given {
            Given::Nothing(missing) => Some(missing.role.absent(Wording::Authorizer)),
            Given::Role(_) => None,
        })
        .collect();
    Explanation::Denied(Box::new(Denied {
        closest: closest(policy, attributes),
        enough: enough(policy, attributes),
        missing: missing.into_iter().collect(),
        smallest: smallest(attributes),
    }))
}

fn namespace_of<'a>(attributes: &Attributes<'a>) -> &'a str {
    match attributes.target {
        Target::Resource { namespace, .. } => namespace,
        Target::Path(_) => "",
    }
}

fn allowing(policy: &Policy, attributes: &Attributes<'_>) -> Vec<Allowing> {
    let mut found = Vec::new();
    if attributes.user.is_in(GROUP_MASTERS) {
        let reason = format!("group {GROUP_MASTERS:?} may do everything, whatever roles say");
        found.push(Allowing { reason, rule: Rule::default() });
    }
    for grant in policy.given(attributes.user, namespace_of(attributes)) {
        let Given::Role(role) = &grant.given else { continue };
        if let Some(rule) = role.rules().iter().find(|rule| rule.allows(attributes)) {
            found.push(Allowing { reason: grant.reason.to_string(), rule: rule.clone() });
        }
    }
    found
}

/// Whether a binding names a user, as themselves or by a group.
fn names(bound: &Bound, user: &Identity) -> bool {
    bound.binding.subjects.iter().any(|subject| match subject {
        Subject::User(name) => *name == user.name,
        Subject::Group(name) => user.is_in(name),
        Subject::ServiceAccount { namespace, name } => {
            let namespace = if namespace.is_empty() { &bound.id.namespace } else { namespace };
            let own = user.name.strip_prefix(SERVICE_ACCOUNT_PREFIX).and_then(|rest| rest.split_once(':'));
            own == Some((namespace.as_str(), name.as_str()))
        }
    })
}

fn closest(policy: &Policy, attributes: &Attributes<'_>) -> Vec<Close> {
    let namespace = namespace_of(attributes);
    let mut found: Vec<(u32, usize, Close)> = Vec::new();
    for bound in policy.bindings() {
        let Some(role) = policy.role(&bound.binding.role, &bound.id.namespace) else { continue };
        let mut of_binding = Vec::new();
        if !bound.id.namespace.is_empty() && bound.id.namespace != namespace {
            of_binding.push(Part::Namespace);
        }
        if !names(bound, attributes.user) {
            if bound.binding.role.name.starts_with(OF_COMPONENTS) {
                continue;
            }
            of_binding.push(Part::Subject);
        }
        for rule in role.rules() {
            // That somebody else may do everything explains nothing.
            if of_binding.contains(&Part::Subject) && rule.groups.iter().chain(&rule.paths).any(|word| word == ANY) {
                continue;
            }
            let mut lacks = of_binding.clone();
            lacks.extend(parts_lacking(rule, attributes));
            lacks.sort_unstable();
            let distance = lacks.iter().map(|part| part.distance()).sum();
            if distance > DISTANCE_MAX {
                continue;
            }
            let role = (bound.binding.role.kind().to_owned(), bound.binding.role.name.clone());
            // Of two that lack the same, the narrower one is more likely meant.
            found.push((distance, size(rule), Close { binding: bound.id.clone(), role, rule: rule.clone(), lacks }));
        }
    }
    // Bindings come in the order of their names, which stays among those that are as close.
    found.sort_by_key(|(distance, size, _)| (*distance, *size));
    let mut named: Vec<Close> = Vec::new();
    for (_, _, close) in found {
        // One rule of a binding says enough about it.
        if named.len() < NAMED_MAX && !named.iter().any(|held| held.binding == close.binding) {
            named.push(close);
        }
    }
    named
}

fn parts_lacking(rule: &Rule, attributes: &Attributes<'_>) -> Vec<Part> {
    let mut lacks = Vec::new();
    let mut check = |fits: bool, part: Part| {
        if !fits {
            lacks.push(part);
        }
    };
    match attributes.target {
        Target::Resource { group, resource, subresource, name, .. } => {
            check(rule.has_group(group), Part::Group);
            check(rule.has_resource(resource, subresource), Part::Resource);
            check(rule.has_name(name), Part::Name);
        }
        Target::Path(path) => check(rule.has_path(path), Part::Path),
    }
    check(rule.has_verb(attributes.verb), Part::Verb);
    lacks
}

/// How much a rule allows, as far as that can be counted.
fn size(rule: &Rule) -> usize {
    let wide = |list: &[String]| list.iter().map(|word| if word.contains('*') { 100 } else { 1 }).sum::<usize>();
    let objects = if rule.names.is_empty() { 100 } else { rule.names.len() };
    wide(&rule.verbs) * (wide(&rule.groups) * wide(&rule.resources) * objects + wide(&rule.paths))
}

/// Roles that could be bound where the action is.
fn enough(policy: &Policy, attributes: &Attributes<'_>) -> Vec<Id> {
    let namespace = namespace_of(attributes);
    let is_in_reach =
        |id: &Id| !id.name.starts_with(OF_COMPONENTS) && (id.namespace.is_empty() || id.namespace == namespace);
    let mut found: Vec<(usize, &Id)> = policy
        .roles()
        .filter(|(id, role)| is_in_reach(id) && role.rules().iter().any(|rule| rule.allows(attributes)))
        .map(|(id, role)| (role.rules().iter().map(size).sum(), id))
        .collect();
    found.sort_unstable();
    found.into_iter().take(NAMED_MAX).map(|(_, id)| id.clone()).collect()
}

fn smallest(attributes: &Attributes<'_>) -> Smallest {
    let one = |word: &str| vec![word.to_owned()];
    let verb = attributes.verb;
    let (namespace, rule, what) = match attributes.target {
        Target::Resource { group, namespace, resource, subresource, name, .. } => {
            let full = if subresource.is_empty() { resource.to_owned() } else { format!("{resource}/{subresource}") };
            // An object that is created has no name yet when it is asked whether it may be, and a deletion of many has none at all.
            let is_unnamed =
                name.is_empty() || verb == "deletecollection" || verb == "create" && subresource.is_empty();
            let names = if is_unnamed { Vec::new() } else { one(name) };
            let what = full.replace('/', "-");
            let rule = Rule { verbs: one(verb), groups: one(group), resources: vec![full], names, ..Rule::default() };
            (namespace, rule, what)
        }
        Target::Path(path) => {
            let letters = path.trim_matches('/').replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
            let what = if letters.is_empty() { "root".to_owned() } else { letters };
            ("", Rule { verbs: one(verb), paths: one(path), ..Rule::default() }, what)
        }
    };
    let user = &attributes.user.name;
    let account = user.strip_prefix(SERVICE_ACCOUNT_PREFIX).and_then(|rest| rest.split_once(':'));
    let subject = match account {
        Some((namespace, name)) => Subject::ServiceAccount { namespace: namespace.to_owned(), name: name.to_owned() },
        None => Subject::User(user.clone()),
    };
    let who = account.map_or(user.as_str(), |(_, name)| name);
    let name = format!("{who}-{verb}-{what}").replace(['/', '%', ' '], "-").to_lowercase();
    Smallest { namespace: namespace.to_owned(), name, rule, subject }
}

impl Smallest {
    /// Which sort of role it is.
    pub fn role_kind(&self) -> RoleKind {
        if self.namespace.is_empty() { RoleKind::ClusterRole } else { RoleKind::Role }
    }
}
