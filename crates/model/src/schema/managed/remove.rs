//! Takes paths out of an object (upstream: `TypedValue.RemoveItems` and `Set.EnsureNamedFieldsAreMembers` of structured-merge-diff).

use std::collections::BTreeMap;

use super::super::field_set::{Below, PathSet, PathSetBuilder, Step, StepKind};
use super::super::{Schema, TypeId};
use super::shape::{CompareError, Shape, Shapes};
use crate::tree::{NodeId, Tree};

/// Takes every path of a set out of an object, with all that is below it.
///
/// # Errors
/// An element of a list that the set looks into has no name.
pub fn remove(schema: &Schema, tree: &mut Tree, set: &PathSet) -> Result<(), CompareError> {
    let shapes = Shapes { schema };
    let mut open: Vec<(NodeId, Shape<'_>, Below<'_>)> = Vec::new();
    open.extend(tree.object_type(tree.root()).map(|ty| (tree.root(), Shape::Object(ty), set.top())));
    while let Some((node, shape, below)) = open.pop() {
        match shape {
            Shape::Object(id) => {
                for (step, is_member, below) in below.steps() {
                    let Some((number, inner)) = field_of(shapes, id, step) else { continue };
                    if is_member {
                        tree.remove(node, number);
                    } else if let Some(child) = tree.field(node, number) {
                        open.extend(inner.map(|inner| (child, inner, below)));
                    }
                }
            }
            Shape::Map(element) => {
                let sought: BTreeMap<&str, (bool, Below<'_>)> = below
                    .steps()
                    .filter(|(step, ..)| step.kind == StepKind::Field)
                    .map(|(step, is_member, below)| (step.text, (is_member, below)))
                    .collect();
                let inner = shapes.of(element, None);
                tree.retain_entries(node, |_, key, child| match sought.get(key) {
                    Some((true, _)) => false,
                    Some((false, below)) => {
                        open.extend(inner.map(|inner| (child, inner, *below)));
                        true
                    }
                    None => true,
                });
            }
            Shape::Keyed(element, _) | Shape::Set(element) => {
                let steps = shapes.steps(shape);
                let sought: BTreeMap<Step<'_>, (bool, Below<'_>)> =
                    below.steps().map(|(step, is_member, below)| (step, (is_member, below))).collect();
                let mut failed = None;
                let inner = shapes.of(element, None);
                tree.retain(node, |tree, child| match steps.of(tree, child) {
                    Ok(step) => match sought.get(&step.as_step()) {
                        Some((true, _)) => false,
                        Some((false, below)) => {
                            open.extend(inner.map(|inner| (child, inner, *below)));
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
    }
    Ok(())
}

/// The set with every field of a struct that it leads through: who owns something below a field wants the field.
pub fn with_fields(schema: &Schema, ty: TypeId, set: &PathSet) -> PathSet {
    let shapes = Shapes { schema };
    let mut builder = PathSetBuilder::default();
    let mut open: Vec<(Option<u32>, Option<Shape<'_>>, Below<'_>)> = vec![(None, Some(Shape::Object(ty)), set.top())];
    while let Some((parent, shape, below)) = open.pop() {
        for (step, is_member, below) in below.steps() {
            let (is_field, inner) = match shape {
                Some(Shape::Object(id)) => match field_of(shapes, id, step) {
                    Some((_, inner)) => (true, inner),
                    None => (false, None),
                },
                Some(Shape::Map(element) | Shape::Keyed(element, _) | Shape::Set(element)) => {
                    (false, shapes.of(element, None))
                }
                None => (false, None),
            };
            let line = builder.push(parent, step, is_member || is_field);
            if !below.is_empty() {
                open.push((Some(line), inner, below));
            }
        }
    }
    builder.finish()
}

/// The field that a step goes to, and how it is taken apart.
fn field_of<'a>(shapes: Shapes<'a>, ty: TypeId, step: Step<'_>) -> Option<(u16, Option<Shape<'a>>)> {
    let Step { kind: StepKind::Field, text: name } = step else { return None };
    let ty = shapes.schema.ty(ty);
    let number = ty.find(name)?;
    let field = ty.fields.get(usize::from(number))?;
    Some((number, shapes.of(field.ty, Some(&field.attributes))))
}
