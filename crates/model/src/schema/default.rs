//! Defaults that OpenAPI publishes, set where a field is absent in an object that is there.
//!
//! Conditional defaults are rules of their kinds. A default of `{}`, `""`, `0` or `false` changes nothing: it is what absent means.

use super::{Schema, Type, TypeRef};
use crate::tree::{Kind, NodeId, Scalar, Tree};

/// Sets the defaults in the whole object, in place.
pub fn apply(schema: &Schema, tree: &mut Tree) {
    let mut open = vec![(tree.root(), TypeRef::Json)];
    while let Some((node, ty)) = open.pop() {
        match tree.kind(node) {
            Kind::Object => {
                let Some(id) = tree.object_type(node) else { continue };
                let ty = schema.ty(id);
                if ty.has_defaults() {
                    set_fields(schema, tree, node, ty, &mut open);
                }
            }
            Kind::List if reaches(schema, ty) => {
                let element = super::encode_json::element(schema, ty);
                let first = open.len();
                open.extend(tree.children(node).map(|child| (child, element)));
                if let TypeRef::Object(id) = element {
                    // An element that is `null` is the zero value of its struct, and has defaults as any other has.
                    open.iter().skip(first).for_each(|(child, _)| tree.fill_null(*child, id));
                }
            }
            Kind::Map if reaches(schema, ty) => {
                let value = super::encode_json::element(schema, ty);
                open.extend(tree.entries(node).map(|(_, child)| (child, value)));
            }
            _ => {}
        }
    }
}

fn reaches(schema: &Schema, ty: TypeRef) -> bool {
    schema.below(ty).is_some_and(|id| schema.ty(id).has_defaults())
}

fn set_fields(schema: &Schema, tree: &mut Tree, object: NodeId, ty: &Type, open: &mut Vec<(NodeId, TypeRef)>) {
    for number in ty.defaults.iter() {
        let Some(field) = ty.fields.get(usize::from(number)) else { continue };
        match (tree.field(object, number), &field.attributes.default) {
            (Some(held), _) => open.push((held, field.ty)),
            (None, Some(default)) => match scalar(default) {
                Some(value) => _ = tree.set(object, number, value),
                // A struct that is always there may have defaults below it.
                None if reaches(schema, field.ty)
                    && &**default == "{}"
                    && let TypeRef::Object(id) = field.ty =>
                {
                    open.push((tree.object_at(object, number, id), field.ty));
                }
                None => {}
            },
            (None, None) => {}
        }
    }
}

/// The value of a default that changes something. The facts hold plain strings and whole numbers only.
fn scalar(default: &str) -> Option<Scalar<'_>> {
    if let Some(text) = default.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        return (!text.is_empty()).then_some(Scalar::String(text));
    }
    match default {
        "true" => Some(Scalar::Bool(true)),
        _ => default.parse().ok().filter(|value| *value != 0).map(Scalar::Int),
    }
}
