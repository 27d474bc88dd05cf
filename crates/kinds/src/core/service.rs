//! `Service` (upstream: `registry/core/service`, `apis/core/validation`, `apis/core/v1/defaults.go`).
//!
//! A name for a set of pods, with an address that stays. What is drawn for it (addresses, ports of the nodes) the server draws between
//! [`families`] and the rules here, which see a service as it will be stored.

pub mod addresses;
mod carried;
mod cells;
mod changes;
mod defaults;
pub mod families;
pub mod needs;
mod ports;
mod status;
#[cfg(test)]
mod tests;
mod validate;
mod warnings;

use portcullis_model::names::NameRule;
use portcullis_model::tree::Tree;

use crate::rest::{Rest, SelectableField};
use crate::strategy::{Column, Strategy};
use crate::views;
use crate::views::core_v1::{Service, ServiceEdit};
use crate::vocabulary::Errors;

/// The rules of `Service`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest {
        put_creates: true,
        delete_shows_object: true,
        name: NameRule::Label,
        fields: &[
            SelectableField::new("spec.clusterIP", &["spec.clusterIP"]),
            SelectableField::new("spec.type", &["spec.type"]),
        ],
        ..Rest::PLAIN
    },
    default: defaults::default,
    prepare_create: |tree, _| drop_unused_policy(tree),
    validate_create: |tree, errors| validate::validate(tree, None, errors),
    warn_create: warnings::warn,
    prepare_update,
    validate_update,
    warn_update: |tree, _, subresource, warnings| {
        if subresource.is_empty() {
            warnings::warn(tree, warnings);
        }
    },
    columns: &[("Type", Column::Field("spec.type", r#""""#))],
    cell: cells::cell,
    ..Strategy::NONE
};

fn prepare_update(tree: &mut Tree, old: &Tree, subresource: &str, _: i64) {
    if subresource.is_empty() {
        carried::drop_dependent(tree, old);
        status::drop_unused(tree);
        drop_unused_policy(tree);
    }
}

fn validate_update(tree: &Tree, old: &Tree, subresource: &str, errors: &mut Errors) {
    if subresource == "status" {
        status::validate(tree, old, errors);
    } else {
        changes::changes(tree, old, errors);
        validate::validate(tree, Some(old), errors);
    }
}

/// A name has no traffic inside of the cluster. Upstream once gave such services a policy by default, and has hidden it since; one that
/// is no policy at all stays, to be refused.
fn drop_unused_policy(tree: &mut Tree) {
    let spec = views::read::<Service<'_>>(tree).spec();
    let is_policy = matches!(spec.internal_traffic_policy(), Some(needs::CLUSTER | needs::LOCAL));
    if is_policy && spec.type_() == needs::EXTERNAL_NAME {
        views::write::<ServiceEdit<'_>>(tree).spec_mut().clear_internal_traffic_policy();
    }
}
