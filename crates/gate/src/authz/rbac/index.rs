//! What bindings give, found by whom they name: the part of a policy that a decision walks through.
//!
//! A list a subject, in the order of the bindings' names, beside it the bits that tell most of them from what is asked. Nothing here
//! allocates while it decides.

use std::collections::HashMap;
use std::sync::Arc;

use portcullis_model::go_text::quoted;

use super::policy::{Binding, Id, RoleRef, Subject, Wording};
use super::rule::{Filter, Rule};
use crate::authz::Attributes;
use crate::identity::{Identity, SERVICE_ACCOUNT_PREFIX};

/// Bytes from which on a role is long: looking at it again costs more than to remember that it did not allow what is asked.
const LONG_ROLE_BYTES: usize = 4096;

/// All that a role allows, with what it gathered.
#[derive(Debug, Default, PartialEq)]
pub struct Role {
    filter: Filter,
    filters: Vec<Filter>,
    rules: Vec<Rule>,
    /// What could be many times as much by many bindings is looked at once.
    pub(super) is_long: bool,
}

impl Role {
    pub(super) fn new(rules: Vec<Rule>) -> Role {
        let filters: Vec<Filter> = rules.iter().map(Filter::of).collect();
        let filter = filters.iter().copied().fold(Filter::default(), Filter::or);
        let is_long = rules.iter().map(Rule::bytes).sum::<usize>() >= LONG_ROLE_BYTES;
        Role { filter, filters, rules, is_long }
    }

    /// Returns what it allows.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    fn allows(&self, attributes: &Attributes<'_>, wanted: Filter) -> bool {
        let mut both = self.filters.iter().zip(&self.rules);
        both.any(|(filter, rule)| filter.may_allow(wanted) && rule.allows(attributes))
    }
}

/// The role of a binding, or why there is none.
#[derive(Clone, Debug)]
pub(super) enum Given {
    /// It is there.
    Role(Arc<Role>),
    /// It is not.
    Nothing(Arc<Missing>),
}

/// Why a binding gives nothing.
#[derive(Debug)]
pub(super) struct Missing {
    /// What it would give.
    pub(super) role: RoleRef,
    /// The answer when this is the only one.
    pub(super) reason: Arc<str>,
}

impl Missing {
    pub(super) fn new(role: &RoleRef) -> Arc<Missing> {
        let reason = format!("RBAC: {}", role.absent(Wording::Authorizer)).into();
        Arc::new(Missing { role: role.clone(), reason })
    }
}

/// What one binding gives one subject.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) binding: Arc<Bound>,
    /// Which of the binding's subjects.
    pub(super) subject: usize,
    /// Why what this gives is allowed, in upstream's words.
    pub(super) reason: Arc<str>,
    pub(super) given: Given,
}

/// A binding and where it is.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) id: Id,
    pub(super) binding: Binding,
}

impl Bound {
    /// How upstream's reasons name a binding to a subject.
    pub(super) fn describe(&self, subject: &Subject) -> String {
        let (role, to) = (&self.binding.role, subject.describe(&self.id.namespace));
        let (kind, shown) = if self.id.namespace.is_empty() {
            ("ClusterRoleBinding", self.id.name.clone())
        } else {
            ("RoleBinding", format!("{}/{}", self.id.name, self.id.namespace))
        };
        format!("{kind} {} of {} {} to {to}", quoted(&shown), role.kind(), quoted(&role.name))
    }
}

impl Grant {
    fn order(&self) -> (&str, usize) {
        (&self.binding.id.name, self.subject)
    }
}

/// What bindings of one scope give one subject, in the order of their names.
#[derive(Debug, Default)]
pub(super) struct Grants {
    /// Of the role that each gives. Beside the grants, so that looking past many touches little memory.
    filters: Vec<Filter>,
    pub(super) grants: Vec<Grant>,
    /// How many give nothing.
    pub(super) missing: usize,
}

impl Grants {
    fn place(&self, name: &str) -> Result<usize, usize> {
        self.grants.binary_search_by(|held| held.binding.id.name.as_str().cmp(name))
    }

    /// A binding that names a subject twice gives it once.
    pub(super) fn insert(&mut self, grant: Grant) {
        let Err(place) = self.place(&grant.binding.id.name) else { return };
        self.filters.insert(place, filter_of(&grant.given));
        self.missing += usize::from(matches!(grant.given, Given::Nothing(_)));
        self.grants.insert(place, grant);
    }

    pub(super) fn remove(&mut self, name: &str) {
        let Ok(place) = self.place(name) else { return };
        self.filters.remove(place);
        let grant = self.grants.remove(place);
        self.missing -= usize::from(matches!(grant.given, Given::Nothing(_)));
    }

    pub(super) fn replace(&mut self, name: &str, given: &Given) {
        let Ok(place) = self.place(name) else { return };
        let (Some(filter), Some(grant)) = (self.filters.get_mut(place), self.grants.get_mut(place)) else { return };
        *filter = filter_of(given);
        self.missing -= usize::from(matches!(grant.given, Given::Nothing(_)));
        self.missing += usize::from(matches!(given, Given::Nothing(_)));
        grant.given = given.clone();
    }
}

fn filter_of(given: &Given) -> Filter {
    match given {
        Given::Role(role) => role.filter,
        Given::Nothing(_) => Filter::default(),
    }
}

/// The bindings of the cluster, or of a namespace, by whom they name. Service accounts are users here.
#[derive(Debug, Default)]
pub(super) struct Scope {
    pub(super) users: HashMap<String, Grants>,
    pub(super) groups: HashMap<String, Grants>,
}

impl Scope {
    pub(super) fn of<'p>(&'p self, user: &'p Identity) -> impl Iterator<Item = &'p Grants> {
        let groups = user.groups.iter().filter_map(|group| self.groups.get(group));
        self.users.get(&user.name).into_iter().chain(groups)
    }

    /// The first binding, in the order of names, that allows it; of that the first subject. A long role is looked at once, however many
    /// bindings give it, so that a question takes no longer than to read all that the user was given.
    pub(super) fn first_allow<'p>(
        &'p self,
        user: &'p Identity,
        attributes: &Attributes<'_>,
        wanted: Filter,
    ) -> Option<&'p Grant> {
        let mut first: Option<&Grant> = None;
        let mut refused: Vec<*const Role> = Vec::new();
        for grants in self.of(user) {
            for (_, grant) in grants.filters.iter().zip(&grants.grants).filter(|(filter, _)| filter.may_allow(wanted)) {
                if first.is_some_and(|first| first.order() <= grant.order()) {
                    break;
                }
                let Given::Role(role) = &grant.given else { continue };
                if role.is_long && refused.contains(&Arc::as_ptr(role)) {
                    continue;
                }
                if role.allows(attributes, wanted) {
                    first = Some(grant);
                    break;
                }
                if role.is_long {
                    refused.push(Arc::as_ptr(role));
                }
            }
        }
        first
    }

    /// All that is given to a user, once for each binding, in the order of names.
    pub(super) fn given<'p>(&'p self, user: &'p Identity) -> Vec<&'p Grant> {
        let mut all: Vec<&Grant> = self.of(user).flat_map(|grants| &grants.grants).collect();
        all.sort_by_key(|grant| grant.order());
        all.dedup_by(|second, first| Arc::ptr_eq(&second.binding, &first.binding));
        all
    }

    pub(super) fn list(&mut self, subject: &Subject, namespace: &str) -> (&mut HashMap<String, Grants>, String) {
        match subject {
            Subject::User(name) => (&mut self.users, name.clone()),
            Subject::Group(name) => (&mut self.groups, name.clone()),
            Subject::ServiceAccount { namespace: own, name } => {
                let namespace = if own.is_empty() { namespace } else { own };
                (&mut self.users, format!("{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}"))
            }
        }
    }
}
