//! What one kind does differently when it is written: its own fields on create and on update (upstream: the `PrepareFor*` and
//! `Validate*` methods of `registry/<group>/<kind>/strategy.go`).
//!
//! The rules of a kind are pure functions on its tree, in the kind's file; this is how the server finds them.

use std::collections::BTreeMap;

use portcullis_model::status::FieldError;
use portcullis_model::tree::Tree;

use crate::certificates::certificate_signing_request;
use crate::core::secret;
use crate::rbac;

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

/// The rules of one kind. The subresource is that of the path, empty for the object itself.
#[derive(Debug)]
pub struct Strategy {
    /// Gives fields their values that depend on other fields; the others' are in the facts.
    pub default: fn(tree: &mut Tree),
    /// Gives a new object what the server owns in it and takes out what it may not bring.
    pub prepare_create: fn(tree: &mut Tree, requester: &Requester<'_>),
    /// What is wrong with a new object beside its metadata.
    pub validate_create: fn(tree: &Tree) -> Vec<FieldError>,
    /// Puts back what an update may not change. `now` is in seconds since 1970.
    pub prepare_update: fn(tree: &mut Tree, old: &Tree, subresource: &str, now: i64),
    /// What is wrong with an object that replaces another, beside its metadata.
    pub validate_update: fn(tree: &Tree, old: &Tree, subresource: &str) -> Vec<FieldError>,
    /// What a table shows in a column that is no field of the object.
    pub cell: fn(tree: &Tree, column: &str) -> Option<Cell>,
}

/// What a cell of a table shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// A text.
    Text(String),
    /// A time in seconds, shown as ages are.
    Duration(i64),
}

impl Strategy {
    /// No rules: what a kind's file says goes in their place.
    pub const NONE: Strategy = Strategy {
        default: |_| (),
        prepare_create: |_, _| (),
        validate_create: |_| Vec::new(),
        prepare_update: |_, _, _, _| (),
        validate_update: |_, _, _| Vec::new(),
        cell: |_, _| None,
    };
}

/// What the defaults of kinds are: to be changed with what any [`Strategy::default`] does, so that objects in a store get it too.
pub const DEFAULTS: &str = "secrets are Opaque; roleRef and subjects have their group";

/// The kinds that have rules of their own.
const STRATEGIES: &[(&str, &str, &Strategy)] = &[
    ("", "secrets", &secret::STRATEGY),
    ("certificates.k8s.io", "certificatesigningrequests", &certificate_signing_request::STRATEGY),
    (rbac::GROUP, "clusterrolebindings", &rbac::CLUSTER_ROLE_BINDING),
    (rbac::GROUP, "clusterroles", &rbac::CLUSTER_ROLE),
    (rbac::GROUP, "rolebindings", &rbac::ROLE_BINDING),
    (rbac::GROUP, "roles", &rbac::ROLE),
];

/// Returns the rules of a resource, if it has any of its own.
pub fn of(group: &str, resource: &str) -> Option<&'static Strategy> {
    let found = STRATEGIES.iter().find(|(of, name, _)| (*of, *name) == (group, resource));
    found.map(|(.., strategy)| *strategy)
}
