//! Roles and bindings, compiled for the question "what was this user given here": bindings lie under the subjects that they name,
//! each with the role that it gives (upstream: `rbac/validation.DefaultRuleResolver` reads all bindings for every question).
//!
//! A [`Policy`] changes one object at a time and never has to be built anew. Cluster roles that gather others by their labels have
//! the rules of those at once: nothing has to copy rules into them first (upstream: the cluster role aggregation controller, whose
//! copies are no more than what is gathered here).

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use portcullis_model::go_text::quoted;
use portcullis_model::selectors::Selector;

use super::index::{Bound, Given, Grant, Grants, Missing, Role, Scope};
use super::rule::{Filter, Rule};
use crate::authz::{Attributes, Target, Verdict};
use crate::identity::Identity;

/// The API group of roles and bindings.
pub const GROUP: &str = "rbac.authorization.k8s.io";
/// Roles that are named in a complaint that they are not there: it is told to the client and to the log, for each question.
const ABSENT_MAX: usize = 64;

/// Where a role or a binding is. The namespace of those of the cluster is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl Id {
    /// Names something in a namespace, or of the cluster when that is empty.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Id {
        Id { namespace: namespace.into(), name: name.into() }
    }
}

/// A role as it is stored. Labels and selectors of a role in a namespace mean nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoredRole {
    /// Its own rules.
    pub rules: Vec<Rule>,
    /// Its labels, by which others gather it.
    pub labels: BTreeMap<String, String>,
    /// What it gathers, if it is one that gathers.
    pub gathers: Option<Vec<Selector>>,
}

/// Which sort of role a binding gives.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RoleKind {
    /// One of the cluster.
    ClusterRole,
    /// One of the binding's namespace.
    Role,
    /// None that exists.
    Unknown(String),
}

/// The role that a binding gives.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RoleRef {
    /// Which sort.
    pub kind: RoleKind,
    /// Its name.
    pub name: String,
}

impl RoleRef {
    /// `ClusterRole`, `Role`, or what was written.
    pub fn kind(&self) -> &str {
        match &self.kind {
            RoleKind::ClusterRole => "ClusterRole",
            RoleKind::Role => "Role",
            RoleKind::Unknown(kind) => kind,
        }
    }

    /// Says in upstream's words that it is not there.
    pub fn absent(&self, wording: Wording) -> String {
        let plural = if wording == Wording::Storage { "s" } else { "" };
        match &self.kind {
            RoleKind::ClusterRole => format!("clusterrole{plural}.{GROUP} {} not found", quoted(&self.name)),
            RoleKind::Role => format!("role{plural}.{GROUP} {} not found", quoted(&self.name)),
            RoleKind::Unknown(kind) => format!("unsupported role reference kind: {}", quoted(kind)),
        }
    }

    fn id(&self, namespace: &str) -> Option<Id> {
        match self.kind {
            RoleKind::ClusterRole => Some(Id::new("", self.name.as_str())),
            RoleKind::Role if !namespace.is_empty() => Some(Id::new(namespace, self.name.as_str())),
            RoleKind::Role | RoleKind::Unknown(_) => None,
        }
    }
}

/// Who complains about a role that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wording {
    /// Whoever decides. It names the kind.
    Authorizer,
    /// Whoever stores roles and bindings. It names the resource.
    Storage,
}

/// To whom a binding gives a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A user.
    User(String),
    /// All users of a group.
    Group(String),
    /// A service account. Without a namespace it is of the binding's.
    ServiceAccount {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

impl Subject {
    /// `User "ana"`, `ServiceAccount "name/namespace"`, as upstream's reasons have it.
    pub fn describe(&self, binding_namespace: &str) -> String {
        match self {
            Subject::User(name) => format!("User {}", quoted(name)),
            Subject::Group(name) => format!("Group {}", quoted(name)),
            Subject::ServiceAccount { namespace, name } => {
                let namespace = if namespace.is_empty() { binding_namespace } else { namespace };
                format!("ServiceAccount {}", quoted(&format!("{name}/{namespace}")))
            }
        }
    }
}

/// A binding as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// What it gives.
    pub role: RoleRef,
    /// To whom, those that nobody can be left out.
    pub subjects: Vec<Subject>,
}

/// A role and what became of it.
#[derive(Debug)]
struct HeldRole {
    stored: StoredRole,
    compiled: Arc<Role>,
}

/// All roles and bindings.
#[derive(Debug, Default)]
pub struct Policy {
    roles: HashMap<Id, HeldRole>,
    /// Cluster roles that gather others.
    aggregates: BTreeSet<String>,
    bindings: BTreeMap<Id, Arc<Bound>>,
    /// Which bindings give a role, whether it is there or not.
    bindings_of: HashMap<Id, BTreeSet<Id>>,
    cluster: Scope,
    namespaces: HashMap<String, Scope>,
}

impl Policy {
    /// Changes the policy. What depends on what changed is put right before this returns.
    pub fn change<R>(&mut self, change: impl FnOnce(&mut Change<'_>) -> R) -> R {
        let mut begun = Change { policy: self, changed: BTreeSet::new(), must_gather: false };
        let returned = change(&mut begun);
        begun.settle();
        returned
    }

    /// Decides. Allocates nothing unless the user has several bindings to roles that are not there.
    pub fn decide(&self, attributes: &Attributes<'_>) -> Verdict {
        let wanted = Filter::wanted(attributes);
        let user = attributes.user;
        for scope in self.scopes(namespace_of(attributes)) {
            if let Some(grant) = scope.first_allow(user, attributes, wanted) {
                return Verdict::Allow { reason: Arc::clone(&grant.reason) };
            }
        }
        self.no_opinion(attributes)
    }

    fn no_opinion(&self, attributes: &Attributes<'_>) -> Verdict {
        let namespace = namespace_of(attributes);
        let is_missing = |scope: &Scope| scope.of(attributes.user).any(|grants| grants.missing > 0);
        if !self.scopes(namespace).any(is_missing) {
            return Verdict::no_opinion();
        }
        let missing = distinct(self.given(attributes.user, namespace).filter_map(|grant| match &grant.given {
            Given::Nothing(missing) => Some(&**missing),
            Given::Role(_) => None,
        }));
        let reason = match missing.as_slice() {
            [only] => Arc::clone(&only.reason),
            several => {
                format!("RBAC: {}", absent(several.iter().map(|missing| &missing.role), Wording::Authorizer)).into()
            }
        };
        Verdict::NoOpinion { reason }
    }

    fn scopes<'p>(&'p self, namespace: &str) -> impl Iterator<Item = &'p Scope> + use<'p> {
        let local = if namespace.is_empty() { None } else { self.namespaces.get(namespace) };
        std::iter::once(&self.cluster).chain(local)
    }

    /// All that a user was given in a namespace, first by bindings of the cluster, in the order of names.
    pub(super) fn given<'p>(&'p self, user: &'p Identity, namespace: &str) -> impl Iterator<Item = &'p Grant> {
        self.scopes(namespace).flat_map(|scope| scope.given(user))
    }

    /// The roles that a user was given in a namespace (only by bindings of the cluster, if that is empty), and those that were given and are
    /// not there. A long one is there once, however many bindings give it: what it says must not become as long as their product.
    pub fn roles_of<'p>(&'p self, user: &'p Identity, namespace: &str) -> (Vec<&'p Arc<Role>>, Vec<&'p RoleRef>) {
        let (mut roles, mut missing, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
        for grant in self.given(user, namespace) {
            match &grant.given {
                Given::Role(role) if !role.is_long || seen.insert(Arc::as_ptr(role)) => roles.push(role),
                Given::Role(_) => {}
                Given::Nothing(nothing) => missing.push(&**nothing),
            }
        }
        (roles, distinct(missing.into_iter()).into_iter().map(|missing| &missing.role).collect())
    }

    /// The role that a binding of a namespace (of the cluster, if that is empty) would give.
    pub fn role(&self, role: &RoleRef, binding_namespace: &str) -> Option<&Arc<Role>> {
        self.roles.get(&role.id(binding_namespace)?).map(|held| &held.compiled)
    }

    pub(super) fn bindings(&self) -> impl Iterator<Item = &Bound> {
        self.bindings.values().map(|bound| &**bound)
    }

    /// All roles, in no order.
    pub(super) fn roles(&self) -> impl Iterator<Item = (&Id, &Role)> {
        self.roles.iter().map(|(id, held)| (id, &*held.compiled))
    }

    #[cfg(test)]
    pub(super) fn namespaces_are_empty(&self) -> bool {
        self.namespaces.is_empty() && self.bindings.is_empty() && self.bindings_of.is_empty()
    }

    fn resolve(&self, binding: &Bound) -> Given {
        match self.role(&binding.binding.role, &binding.id.namespace) {
            Some(role) => Given::Role(Arc::clone(role)),
            None => Given::Nothing(Missing::new(&binding.binding.role)),
        }
    }

    /// The rules of a cluster role with those that it gathers, and those that these gather. What gathers itself has its rules once.
    fn gathered(&self, name: &str) -> Vec<Rule> {
        let (mut rules, mut seen_rules) = (Vec::new(), HashSet::new());
        let (mut waiting, mut seen) = (vec![name], HashSet::from([name]));
        while let Some(name) = waiting.pop() {
            let Some(held) = self.roles.get(&Id::new("", name)) else { continue };
            rules.extend(held.stored.rules.iter().filter(|rule| seen_rules.insert(*rule)).cloned());
            let Some(selectors) = &held.stored.gathers else { continue };
            let of_cluster = self.roles.iter().filter(|(id, _)| id.namespace.is_empty());
            let mut found: Vec<&str> = of_cluster
                .filter(|(id, other)| !seen.contains(id.name.as_str()) && is_any(selectors, &other.stored.labels))
                .map(|(id, _)| id.name.as_str())
                .collect();
            seen.extend(&found);
            // The last is looked at first.
            found.sort_unstable_by(|one, other| other.cmp(one));
            waiting.append(&mut found);
        }
        rules
    }
}

fn is_any(selectors: &[Selector], labels: &BTreeMap<String, String>) -> bool {
    selectors.iter().any(|selector| selector.matches(|key| labels.get(key).map(String::as_str)))
}

/// Only bindings of the cluster speak about paths.
fn namespace_of<'a>(attributes: &Attributes<'a>) -> &'a str {
    match attributes.target {
        Target::Resource { namespace, .. } => namespace,
        Target::Path(_) => "",
    }
}

fn distinct<'m>(all: impl Iterator<Item = &'m Missing>) -> Vec<&'m Missing> {
    let mut seen = HashSet::new();
    all.filter(|missing| seen.insert(&missing.role)).collect()
}

/// Complaints about roles that are not there, as upstream joins them; empty when there are none. Of very many, only the first are named.
pub fn absent<'m>(roles: impl IntoIterator<Item = &'m RoleRef>, wording: Wording) -> String {
    let mut roles = roles.into_iter();
    let mut messages: Vec<String> = roles.by_ref().take(ABSENT_MAX).map(|role| role.absent(wording)).collect();
    match roles.count() {
        0 => {}
        further => messages.push(format!("{further} further roles not found")),
    }
    if messages.len() > 1 { format!("[{}]", messages.join(", ")) } else { messages.concat() }
}

/// A change of a policy that is not done yet.
pub struct Change<'p> {
    policy: &'p mut Policy,
    /// Roles that allow something else than before.
    changed: BTreeSet<Id>,
    /// Whether what is gathered may be something else than before.
    must_gather: bool,
}

impl Change<'_> {
    /// Forgets everything.
    pub fn clear(&mut self) {
        *self.policy = Policy::default();
        self.changed.clear();
        self.must_gather = false;
    }

    /// Makes or replaces a role.
    pub fn set_role(&mut self, id: Id, role: StoredRole) {
        let compiled = Arc::new(Role::new(role.rules.clone()));
        let is_of_cluster = id.namespace.is_empty();
        self.must_gather |= is_of_cluster && self.is_in_gathering(&role);
        if is_of_cluster && role.gathers.is_some() {
            self.policy.aggregates.insert(id.name.clone());
        }
        let before = self.policy.roles.insert(id.clone(), HeldRole { stored: role, compiled });
        if let Some(before) = before {
            self.forget(&id, &before.stored);
        }
        self.changed.insert(id);
    }

    /// Removes a role. Bindings to it give nothing from now on.
    pub fn remove_role(&mut self, id: &Id) {
        let Some(before) = self.policy.roles.remove(id) else { return };
        self.forget(id, &before.stored);
        self.changed.insert(id.clone());
    }

    /// Takes note of what a role was that is not there any more, or is another.
    fn forget(&mut self, id: &Id, before: &StoredRole) {
        if !id.namespace.is_empty() {
            return;
        }
        self.must_gather |= self.is_in_gathering(before);
        let gathers = self.policy.roles.get(id).is_some_and(|held| held.stored.gathers.is_some());
        if !gathers {
            self.policy.aggregates.remove(&id.name);
        }
    }

    /// Whether a cluster role gathers, or is gathered.
    fn is_in_gathering(&self, role: &StoredRole) -> bool {
        let gathers = |name: &String| {
            let held = self.policy.roles.get(&Id::new("", name.as_str()));
            held.and_then(|held| held.stored.gathers.as_ref()).is_some_and(|selectors| is_any(selectors, &role.labels))
        };
        role.gathers.is_some() || self.policy.aggregates.iter().any(gathers)
    }

    /// Makes or replaces a binding.
    pub fn set_binding(&mut self, id: Id, binding: Binding) {
        self.remove_binding(&id);
        let bound = Arc::new(Bound { id: id.clone(), binding });
        if let Some(role) = bound.binding.role.id(&id.namespace) {
            self.policy.bindings_of.entry(role).or_default().insert(id.clone());
        }
        let given = self.policy.resolve(&bound);
        let scope = if id.namespace.is_empty() {
            &mut self.policy.cluster
        } else {
            self.policy.namespaces.entry(id.namespace.clone()).or_default()
        };
        for (subject, named) in bound.binding.subjects.iter().enumerate() {
            let (list, key) = scope.list(named, &id.namespace);
            let reason = format!("RBAC: allowed by {}", bound.describe(named)).into();
            let grant = Grant { binding: Arc::clone(&bound), subject, reason, given: given.clone() };
            list.entry(key).or_default().insert(grant);
        }
        self.policy.bindings.insert(id, bound);
    }

    /// Removes a binding.
    pub fn remove_binding(&mut self, id: &Id) {
        let Some(bound) = self.policy.bindings.remove(id) else { return };
        if let Some(role) = bound.binding.role.id(&id.namespace)
            && let Entry::Occupied(mut bindings) = self.policy.bindings_of.entry(role)
        {
            bindings.get_mut().remove(id);
            if bindings.get().is_empty() {
                bindings.remove();
            }
        }
        each_grant(self.policy, &bound, |grants| grants.remove(&id.name));
        if let Entry::Occupied(scope) = self.policy.namespaces.entry(id.namespace.clone())
            && scope.get().users.is_empty()
            && scope.get().groups.is_empty()
        {
            scope.remove();
        }
    }

    fn settle(mut self) {
        if self.must_gather {
            self.gather();
        }
        for role in std::mem::take(&mut self.changed) {
            let bindings: Vec<Arc<Bound>> = self.policy.bindings_of.get(&role).map_or_else(Vec::new, |bindings| {
                bindings.iter().filter_map(|id| self.policy.bindings.get(id)).map(Arc::clone).collect()
            });
            for bound in bindings {
                let given = self.policy.resolve(&bound);
                each_grant(self.policy, &bound, |grants| grants.replace(&bound.id.name, &given));
            }
        }
    }

    /// Gives every role that gathers what it gathers now.
    fn gather(&mut self) {
        let policy = &mut *self.policy;
        let found: Vec<(Id, Role)> = policy
            .aggregates
            .iter()
            .map(|name| (Id::new("", name.as_str()), Role::new(policy.gathered(name))))
            .filter(|(id, role)| policy.roles.get(id).is_some_and(|held| *held.compiled != *role))
            .collect();
        for (id, role) in found {
            if let Some(held) = policy.roles.get_mut(&id) {
                held.compiled = Arc::new(role);
            }
            self.changed.insert(id);
        }
    }
}

/// Does something with each list that a binding is in. Lists that become empty go.
fn each_grant(policy: &mut Policy, bound: &Bound, mut each: impl FnMut(&mut Grants)) {
    let namespace = &bound.id.namespace;
    let scope =
        if namespace.is_empty() { Some(&mut policy.cluster) } else { policy.namespaces.get_mut(namespace.as_str()) };
    let Some(scope) = scope else { return };
    for subject in &bound.binding.subjects {
        let (list, key) = scope.list(subject, namespace);
        if let Entry::Occupied(mut grants) = list.entry(key) {
            each(grants.get_mut());
            if grants.get().grants.is_empty() {
                grants.remove();
            }
        }
    }
}
