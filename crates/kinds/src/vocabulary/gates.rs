//! Fields that are only there with a feature gate on (upstream: the `dropDisabledFields` functions).
//!
//! What stands behind a gate that is off is taken out of what a client writes, unless the stored object has it already: an object made
//! by a server with the gate on is not damaged by one without it. Which fields those are stands in the rules files.

use std::sync::OnceLock;

use portcullis_model::schema::{Field, FieldSet, TypeId};
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
    let gated = gated();
    let (mut found, mut open) = (Vec::new(), vec![tree.root()]);
    while let Some(node) = open.pop() {
        match tree.kind(node) {
            Kind::Object => {
                let Some(ty) = tree.object_type(node) else { continue };
                let Some(fields) = gated.get(usize::from(ty.0)).filter(|fields| fields.any != FieldSet::default())
                else {
                    continue;
                };
                for child in tree.children(node) {
                    let number = tree.field_number(child);
                    if fields.off.contains(number) {
                        found.push((node, ty, number));
                    }
                    if fields.any.contains(number) {
                        open.push(child);
                    }
                }
            }
            Kind::List => open.extend(tree.children(node)),
            Kind::Map => open.extend(tree.entries(node).map(|(_, value)| value)),
            _ => {}
        }
    }
    found
}

/// The fields of a type that have to do with gates that are off.
#[derive(Clone, Copy, Default)]
struct Gated {
    /// Those that have one.
    off: FieldSet,
    /// Those, and the ones that lead to one.
    any: FieldSet,
}

/// By type: most lead to no gate, so that most of an object is not looked at.
fn gated() -> &'static [Gated] {
    static GATED_OF_TYPES: OnceLock<Vec<Gated>> = OnceLock::new();
    GATED_OF_TYPES.get_or_init(|| {
        let schema = crate::schema();
        let mut gated = vec![Gated::default(); schema.types().count()];
        for (ty, field, gate) in GATED {
            if let Some(of_type) = gated.get_mut(usize::from(ty.0)).filter(|_| !is_on(gate)) {
                of_type.off.insert(*field);
                of_type.any.insert(*field);
            }
        }
        let mut grows = true;
        while std::mem::take(&mut grows) {
            for (ty, of_type) in schema.types() {
                let leads = |field: &Field| {
                    let below = schema.below(field.ty)?;
                    gated.get(usize::from(below.0)).map(|below| below.any != FieldSet::default())
                };
                let numbers = (0..).zip(&of_type.fields).filter(|(_, field)| leads(field) == Some(true));
                let numbers: Vec<u16> = numbers.map(|(number, _)| number).collect();
                let Some(of_type) = gated.get_mut(usize::from(ty.0)) else { continue };
                // Each that was not there yet.
                grows |= numbers.into_iter().filter(|number| !of_type.any.insert(*number)).count() > 0;
            }
        }
        gated
    })
}
