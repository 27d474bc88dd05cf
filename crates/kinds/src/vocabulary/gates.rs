//! Fields that are only there with a feature gate on (upstream: the `dropDisabledFields` functions).
//!
//! What stands behind a gate that is off is taken out of what a client writes, unless the stored object has it already: an object made
//! by a server with the gate on is not damaged by one without it. Which fields those are stands in the rules files.

use std::sync::OnceLock;

use portcullis_model::schema::TypeId;
use portcullis_model::tree::{Kind, NodeId, Tree};

use crate::rules::{GATED, GATES};

/// Whether a gate is on. One that no field stands behind is not known here.
#[must_use]
pub fn is_on(gate: &str) -> bool {
    GATES.iter().any(|(name, is_on)| *name == gate && *is_on)
}

/// Takes fields out whose gate is off and that the old object does not have anywhere either.
pub fn drop_disabled(tree: &mut Tree, old: Option<&Tree>) {
    let found = disabled(tree);
    if found.is_empty() {
        return;
    }
    let kept: Vec<(TypeId, u16)> =
        old.map(disabled).unwrap_or_default().into_iter().map(|(_, ty, field)| (ty, field)).collect();
    for (object, ty, field) in found {
        if !kept.contains(&(ty, field)) {
            tree.remove(object, field);
        }
    }
}

/// Where a tree has fields whose gate is off.
fn disabled(tree: &Tree) -> Vec<(NodeId, TypeId, u16)> {
    static OFF: OnceLock<Vec<(TypeId, u16)>> = OnceLock::new();
    let off = OFF
        .get_or_init(|| GATED.iter().filter(|(.., gate)| !is_on(gate)).map(|(ty, field, _)| (*ty, *field)).collect());
    let (mut found, mut open) = (Vec::new(), vec![tree.root()]);
    let has_parts = |node: &NodeId| matches!(tree.kind(*node), Kind::Object | Kind::List | Kind::Map);
    while let Some(node) = open.pop() {
        if let Some(ty) = tree.object_type(node) {
            let of_type = off.iter().filter(|(of, _)| *of == ty);
            let here = of_type.filter(|(_, field)| tree.field(node, *field).is_some());
            found.extend(here.map(|(_, field)| (node, ty, *field)));
        }
        match tree.kind(node) {
            Kind::Object | Kind::List => open.extend(tree.children(node).filter(has_parts)),
            Kind::Map => open.extend(tree.entries(node).map(|(_, value)| value).filter(has_parts)),
            _ => {}
        }
    }
    found
}
