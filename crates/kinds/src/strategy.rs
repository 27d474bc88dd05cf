//! What one kind does differently when it is written: its own fields on create and on update (upstream: the `PrepareFor*` and
//! `Validate*` methods of `registry/<group>/<kind>/strategy.go`).
//!
//! The rules of a kind are pure functions on its tree, in the kind's file; this is how the server finds them.

use std::collections::BTreeMap;

use portcullis_model::tree::Tree;

use crate::rest::Rest;
use crate::vocabulary::Errors;

/// Warnings of rules that one write keeps. The first ones are kept, so a rule need not look for more.
pub const WARNINGS_MAX: usize = 100;

/// Who writes, for kinds that remember it.
#[derive(Clone, Copy, Debug)]
pub struct Requester<'a> {
    /// The user's name.
    pub name: &'a str,
    /// The user's uid, or empty.
    pub uid: &'a str,
    /// The user's groups, in order.
    pub groups: &'a [String],
    /// Further facts about the user.
    pub extra: &'a BTreeMap<String, Vec<String>>,
}

/// The rules of one kind. The subresource is that of the path, empty for the object itself. Every function is pure; those that change an
/// object change nothing when they are run a second time.
#[derive(Debug)]
pub struct Strategy {
    /// How the kind behaves beside its own fields.
    pub rest: Rest,
    /// Gives fields their values that depend on other fields; the others' are in the facts.
    pub default: fn(tree: &mut Tree),
    /// What its client should be told of a new object as it was given, before anything is put in place.
    pub warn_given: fn(tree: &Tree, warnings: &mut Vec<String>),
    /// Gives a new object what the server owns in it and takes out what it may not bring. The status is gone already.
    pub prepare_create: fn(tree: &mut Tree, requester: &Requester<'_>),
    /// What is wrong with a new object beside its metadata.
    pub validate_create: fn(tree: &Tree, errors: &mut Errors),
    /// What its client should be told of a new object that is taken (upstream: `WarningsOnCreate`).
    pub warn_create: fn(tree: &Tree, warnings: &mut Vec<String>),
    /// Puts back what an update may not change. `now` is in seconds since 1970.
    pub prepare_update: fn(tree: &mut Tree, old: &Tree, subresource: &str, now: i64),
    /// What is wrong with an object that replaces another, beside its metadata.
    pub validate_update: fn(tree: &Tree, old: &Tree, subresource: &str, errors: &mut Errors),
    /// What its client should be told of an update that is taken (upstream: `WarningsOnUpdate`).
    pub warn_update: fn(tree: &Tree, old: &Tree, subresource: &str, warnings: &mut Vec<String>),
    /// Writes into an object with no fields at all what upstream writes even there: where a field is a pointer and what upstream
    /// works on has none in its place, or where an annotation stands for a field. Clients see it in bookmarks.
    pub blank: fn(tree: &mut Tree),
    /// Columns of a table that show a field as it is.
    pub columns: &'static [(&'static str, Column)],
    /// What a table shows in any other column. `now` is in seconds since 1970.
    pub cell: fn(tree: &Tree, column: &str, now: i64) -> Option<Cell>,
}

/// A column that shows a field as it is.
#[derive(Clone, Copy, Debug)]
pub enum Column {
    /// The field at this path, or this JSON text when there is none.
    Field(&'static str, &'static str),
    /// How many entries the fields at these paths have.
    Count(&'static [&'static str]),
}

/// What a cell of a table shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// A text.
    Text(String),
    /// A number.
    Int(i64),
    /// Yes or no.
    Bool(bool),
    /// A time in seconds, shown as ages are.
    Duration(i64),
}

impl Strategy {
    /// No rules: what a kind's file says goes in their place.
    pub const NONE: Strategy = Strategy {
        rest: Rest::PLAIN,
        default: |_| (),
        warn_given: |_, _| (),
        prepare_create: |_, _| (),
        validate_create: |_, _| (),
        warn_create: |_, _| (),
        prepare_update: |_, _, _, _| (),
        validate_update: |_, _, _, _| (),
        warn_update: |_, _, _, _| (),
        blank: |_| (),
        columns: &[],
        cell: |_, _, _| None,
    };
}

/// What the defaults of kinds are: to be changed with what any [`Strategy::default`] does, so that objects in a store get it too.
pub const DEFAULTS: &str = "secrets are Opaque; roleRef and subjects have their group; pods, their templates and what keeps them running have all of v1's";

/// The kinds that have rules of their own: group, resource, rules. A kind is a line here; `cargo xtask new kind` adds it.
const STRATEGIES: &[(&str, &str, &Strategy)] = &[
    ("", "limitranges", &crate::core::limit_range::STRATEGY),
    ("", "namespaces", &crate::core::namespace::STRATEGY),
    ("", "nodes", &crate::core::node::STRATEGY),
    ("", "pods", &crate::core::pod::STRATEGY),
    ("", "podtemplates", &crate::core::pod_template::STRATEGY),
    ("", "replicationcontrollers", &crate::core::replication_controller::STRATEGY),
    ("", "resourcequotas", &crate::core::resource_quota::STRATEGY),
    ("", "secrets", &crate::core::secret::STRATEGY),
    ("", "serviceaccounts", &crate::core::service_account::STRATEGY),
    ("apps", "controllerrevisions", &crate::apps::controller_revision::STRATEGY),
    ("apps", "daemonsets", &crate::apps::daemon_set::STRATEGY),
    ("apps", "deployments", &crate::apps::deployment::STRATEGY),
    ("apps", "replicasets", &crate::apps::replica_set::STRATEGY),
    ("apps", "statefulsets", &crate::apps::stateful_set::STRATEGY),
    ("autoscaling", "horizontalpodautoscalers", &crate::autoscaling::horizontal_pod_autoscaler::STRATEGY),
    ("batch", "cronjobs", &crate::batch::cron_job::STRATEGY),
    ("batch", "jobs", &crate::batch::job::STRATEGY),
    ("certificates.k8s.io", "certificatesigningrequests", &crate::certificates::certificate_signing_request::STRATEGY),
    ("policy", "poddisruptionbudgets", &crate::policy::pod_disruption_budget::STRATEGY),
    ("rbac.authorization.k8s.io", "clusterrolebindings", &crate::rbac::CLUSTER_ROLE_BINDING),
    ("rbac.authorization.k8s.io", "clusterroles", &crate::rbac::CLUSTER_ROLE),
    ("rbac.authorization.k8s.io", "rolebindings", &crate::rbac::ROLE_BINDING),
    ("rbac.authorization.k8s.io", "roles", &crate::rbac::ROLE),
    ("scheduling.k8s.io", "priorityclasses", &crate::scheduling::priority_class::STRATEGY),
];

/// Returns every kind that has rules of its own: group, resource, rules.
pub fn all() -> impl Iterator<Item = (&'static str, &'static str, &'static Strategy)> {
    STRATEGIES.iter().map(|(group, resource, strategy)| (*group, *resource, *strategy))
}

/// Returns the rules of a resource, if it has any of its own.
pub fn of(group: &str, resource: &str) -> Option<&'static Strategy> {
    let found = STRATEGIES.iter().find(|(of, name, _)| (*of, *name) == (group, resource));
    found.map(|(.., strategy)| *strategy)
}
