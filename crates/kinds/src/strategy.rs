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

/// Who writes and when, for kinds that remember it.
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
    /// Seconds since 1970.
    pub now: i64,
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
    /// Cells that end each row though no column is declared for them, by what they would be called: clients that print by the columns
    /// do not see them, those that read rows do.
    pub cells_without_column: &'static [&'static str],
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
        cells_without_column: &[],
    };
}

/// What the defaults of kinds are: to be changed with what any [`Strategy::default`] does, so that objects in a store get it too.
pub const DEFAULTS: &str = "all of v1's, of every kind; roleRef and subjects have their group";

/// The kinds that have rules of their own: group, resource, rules. A kind is a line here; `cargo xtask new kind` adds it.
const STRATEGIES: &[(&str, &str, &Strategy)] = &[
    ("", "configmaps", &crate::core::config_map::STRATEGY),
    ("", "endpoints", &crate::core::endpoints::STRATEGY),
    ("", "events", &crate::core::event::CORE),
    ("", "limitranges", &crate::core::limit_range::STRATEGY),
    ("", "namespaces", &crate::core::namespace::STRATEGY),
    ("", "nodes", &crate::core::node::STRATEGY),
    ("", "persistentvolumeclaims", &crate::core::persistent_volume_claim::STRATEGY),
    ("", "persistentvolumes", &crate::core::persistent_volume::STRATEGY),
    ("", "pods", &crate::core::pod::STRATEGY),
    ("", "podtemplates", &crate::core::pod_template::STRATEGY),
    ("", "replicationcontrollers", &crate::core::replication_controller::STRATEGY),
    ("", "resourcequotas", &crate::core::resource_quota::STRATEGY),
    ("", "secrets", &crate::core::secret::STRATEGY),
    ("", "serviceaccounts", &crate::core::service_account::STRATEGY),
    ("", "services", &crate::core::service::STRATEGY),
    (
        "admissionregistration.k8s.io",
        "mutatingadmissionpolicies",
        &crate::admissionregistration::mutating_admission_policy::STRATEGY,
    ),
    (
        "admissionregistration.k8s.io",
        "mutatingadmissionpolicybindings",
        &crate::admissionregistration::mutating_admission_policy_binding::STRATEGY,
    ),
    (
        "admissionregistration.k8s.io",
        "mutatingwebhookconfigurations",
        &crate::admissionregistration::mutating_webhook_configuration::STRATEGY,
    ),
    (
        "admissionregistration.k8s.io",
        "validatingadmissionpolicies",
        &crate::admissionregistration::validating_admission_policy::STRATEGY,
    ),
    (
        "admissionregistration.k8s.io",
        "validatingadmissionpolicybindings",
        &crate::admissionregistration::validating_admission_policy_binding::STRATEGY,
    ),
    (
        "admissionregistration.k8s.io",
        "validatingwebhookconfigurations",
        &crate::admissionregistration::validating_webhook_configuration::STRATEGY,
    ),
    ("apiextensions.k8s.io", "customresourcedefinitions", &crate::apiextensions::custom_resource_definition::STRATEGY),
    ("apiregistration.k8s.io", "apiservices", &crate::apiregistration::api_service::STRATEGY),
    ("apps", "controllerrevisions", &crate::apps::controller_revision::STRATEGY),
    ("apps", "daemonsets", &crate::apps::daemon_set::STRATEGY),
    ("apps", "deployments", &crate::apps::deployment::STRATEGY),
    ("apps", "replicasets", &crate::apps::replica_set::STRATEGY),
    ("apps", "statefulsets", &crate::apps::stateful_set::STRATEGY),
    ("autoscaling", "horizontalpodautoscalers", &crate::autoscaling::horizontal_pod_autoscaler::STRATEGY),
    ("batch", "cronjobs", &crate::batch::cron_job::STRATEGY),
    ("batch", "jobs", &crate::batch::job::STRATEGY),
    ("certificates.k8s.io", "certificatesigningrequests", &crate::certificates::certificate_signing_request::STRATEGY),
    ("coordination.k8s.io", "leases", &crate::coordination::lease::STRATEGY),
    ("discovery.k8s.io", "endpointslices", &crate::discovery::endpoint_slice::STRATEGY),
    ("events.k8s.io", "events", &crate::core::event::EVENTS),
    ("flowcontrol.apiserver.k8s.io", "flowschemas", &crate::flow_control::flow_schema::STRATEGY),
    (
        "flowcontrol.apiserver.k8s.io",
        "prioritylevelconfigurations",
        &crate::flow_control::priority_level_configuration::STRATEGY,
    ),
    ("networking.k8s.io", "ingressclasses", &crate::networking::ingress_class::STRATEGY),
    ("networking.k8s.io", "ingresses", &crate::networking::ingress::STRATEGY),
    ("networking.k8s.io", "ipaddresses", &crate::networking::ip_address::STRATEGY),
    ("networking.k8s.io", "networkpolicies", &crate::networking::network_policy::STRATEGY),
    ("networking.k8s.io", "servicecidrs", &crate::networking::service_cidr::STRATEGY),
    ("node.k8s.io", "runtimeclasses", &crate::node::runtime_class::STRATEGY),
    ("policy", "poddisruptionbudgets", &crate::policy::pod_disruption_budget::STRATEGY),
    ("rbac.authorization.k8s.io", "clusterrolebindings", &crate::rbac::CLUSTER_ROLE_BINDING),
    ("rbac.authorization.k8s.io", "clusterroles", &crate::rbac::CLUSTER_ROLE),
    ("rbac.authorization.k8s.io", "rolebindings", &crate::rbac::ROLE_BINDING),
    ("rbac.authorization.k8s.io", "roles", &crate::rbac::ROLE),
    ("resource.k8s.io", "deviceclasses", &crate::resource::device_class::STRATEGY),
    ("resource.k8s.io", "resourceclaims", &crate::resource::resource_claim::STRATEGY),
    ("resource.k8s.io", "resourceclaimtemplates", &crate::resource::resource_claim_template::STRATEGY),
    ("resource.k8s.io", "resourceslices", &crate::resource::resource_slice::STRATEGY),
    ("scheduling.k8s.io", "priorityclasses", &crate::scheduling::priority_class::STRATEGY),
    ("storage.k8s.io", "csidrivers", &crate::storage::csi_driver::STRATEGY),
    ("storage.k8s.io", "csinodes", &crate::storage::csi_node::STRATEGY),
    ("storage.k8s.io", "csistoragecapacities", &crate::storage::csi_storage_capacity::STRATEGY),
    ("storage.k8s.io", "storageclasses", &crate::storage::storage_class::STRATEGY),
    ("storage.k8s.io", "volumeattachments", &crate::storage::volume_attachment::STRATEGY),
    ("storage.k8s.io", "volumeattributesclasses", &crate::storage::volume_attributes_class::STRATEGY),
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
