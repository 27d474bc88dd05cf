//! Takes paths out of an object (upstream: `TypedValue.RemoveItems` and `Set.EnsureNamedFieldsAreMembers` of structured-merge-diff).

use std::collections::HashMap;

use super::super::field_set::{Below, PathSet, Step, StepKind};
use super::super::{Schema, TypeId, TypeRef};
use super::shape::{CompareError, Shape, Shapes};
use crate::tree::{Kind, Node, NodeId, Tree};

/// Takes every path of a set out of an object, with all that is below it. A field that has nothing left is null then, as upstream has it.
///
/// # Errors
/// An element of a list that the set looks into has no name.
pub fn remove(schema: &Schema, tree: &mut Tree, set: &PathSet) -> Result<(), CompareError> {
    let shapes = Shapes { schema };
    // The last is whether it is the field of a struct.
    let mut open: Vec<(NodeId, Shape<'_>, Below<'_>, bool)> = Vec::new();
    let trie = set.trie();
    open.extend(tree.object_type(tree.root()).map(|ty| (tree.root(), Shape::Object(ty), trie.top(), false)));
    while let Some((node, shape, below, is_field)) = open.pop() {
        match shape {
            Shape::Object(id) => {
                for (step, is_member, below) in below.steps() {
                    let Some((number, inner)) = field_of(shapes, id, step) else { continue };
                    if is_member {
                        tree.remove(node, number);
                    } else if let Some(child) = tree.field(node, number) {
                        open.extend(inner.map(|inner| (child, inner, below, true)));
                    }
                }
            }
            Shape::Map(element) => {
                let sought: HashMap<&str, (bool, Below<'_>)> = below
                    .steps()
                    .filter(|(step, ..)| step.kind == StepKind::Field)
                    .map(|(step, is_member, below)| (step.text, (is_member, below)))
                    .collect();
                let inner = shapes.of(element, None);
                tree.retain_entries(node, |_, key, child| match sought.get(key) {
                    Some((true, _)) => false,
                    Some((false, below)) => {
                        open.extend(inner.map(|inner| (child, inner, *below, false)));
                        true
                    }
                    None => true,
                });
            }
            Shape::Keyed(element, _) | Shape::Set(element) => {
                let steps = shapes.steps(shape);
                let sought: HashMap<Step<'_>, (bool, Below<'_>)> =
                    below.steps().map(|(step, is_member, below)| (step, (is_member, below))).collect();
                let mut failed = None;
                let inner = shapes.of(element, None);
                tree.retain(node, |tree, child| match steps.of(tree, child) {
                    Ok(step) => match sought.get(&step.as_step()) {
                        Some((true, _)) => false,
                        Some((false, below)) => {
                            open.extend(inner.map(|inner| (child, inner, *below, false)));
                            true
                        }
                        None => true,
                    },
                    Err(error) => {
                        failed = Some(error);
                        true
                    }
                });
                if let Some(error) = failed {
                    return Err(error);
                }
            }
        }
        if is_field
            && tree.is_empty(node)
            && let Some(node) = tree.nodes.get_mut(node.0 as usize)
        {
            *node = Node { next: node.next, ..Node::new(Kind::Null, node.field) };
        }
    }
    Ok(())
}

/// Takes nulls out of structs. One that is a value stays.
pub fn drop_nulls(schema: &Schema, tree: &mut Tree) {
    let mut open = vec![tree.root()];
    let mut nulls: Vec<(NodeId, u16)> = Vec::new();
    while let Some(node) = open.pop() {
        match tree.kind(node) {
            Kind::Object => {
                let ty = tree.object_type(node).map(|ty| schema.ty(ty));
                for child in tree.children(node) {
                    let number = tree.field_number(child);
                    let field = ty.and_then(|ty| ty.fields.get(usize::from(number)));
                    match tree.kind(child) {
                        Kind::Null if field.is_some_and(|field| field.ty != TypeRef::Json) => {
                            nulls.push((node, number))
                        }
                        _ => open.push(child),
                    }
                }
            }
            Kind::List => open.extend(tree.children(node)),
            Kind::Map => open.extend(tree.entries(node).map(|(_, child)| child)),
            _ => {}
        }
    }
    for (object, number) in nulls {
        tree.remove(object, number);
    }
}

/// The set with every field of a struct that it leads through: who owns something below a field wants the field.
pub fn with_fields(schema: &Schema, ty: TypeId, set: &PathSet) -> PathSet {
    let shapes = Shapes { schema };
    let mut set = set.clone();
    // How what each open line leads to is taken apart; the first is the object.
    let mut open = vec![Some(Shape::Object(ty))];
    set.mark_where(|depth, step| {
        open.truncate(depth as usize);
        let (is_field, inner) = match open.last().copied().flatten() {
            Some(Shape::Object(id)) => match field_of(shapes, id, step) {
                Some((_, inner)) => (true, inner),
                None => (false, None),
            },
            Some(Shape::Map(element) | Shape::Keyed(element, _) | Shape::Set(element)) => {
                (false, shapes.of(element, None))
            }
            None => (false, None),
        };
        open.push(inner);
        is_field
    });
    set
}

/// The field that a step goes to, and how it is taken apart.
fn field_of<'a>(shapes: Shapes<'a>, ty: TypeId, step: Step<'_>) -> Option<(u16, Option<Shape<'a>>)> {
    let Step { kind: StepKind::Field, text: name } = step else { return None };
    let ty = shapes.schema.ty(ty);
    let number = ty.find(name)?;
    let field = ty.fields.get(usize::from(number))?;
    Some((number, shapes.of(field.ty, Some(&field.attributes))))
}
