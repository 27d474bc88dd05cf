//! The paths that an object holds: what somebody who applies it sets (upstream: `TypedValue.ToFieldSet` of structured-merge-diff).
//!
//! Only what is in the tree counts: what is written though nobody gave it is not set by whoever applies.

use std::collections::HashSet;

use super::super::Schema;
use super::super::field_set::{PathSet, PathSetBuilder, Step};
use super::shape::{CompareError, Shape, Shapes};
use crate::tree::{Kind, NodeId, Tree};

/// The paths of an object: its single values, its elements, and the keys of its maps.
pub fn fields(schema: &Schema, tree: &Tree) -> Result<PathSet, CompareError> {
    paths(schema, tree, |_, _, _| true)
}

/// The paths at which an object has a value that has no parts by its type: a scalar, a null, a list or struct that is one value.
pub(super) fn leaves(schema: &Schema, tree: &Tree) -> Result<PathSet, CompareError> {
    let is_leaf = |tree: &Tree, node, shape: Option<Shape<'_>>| {
        shape.is_none() && !matches!(tree.kind(node), Kind::Object | Kind::Map | Kind::List)
    };
    // Steps that lead nowhere are no paths.
    Ok(paths(schema, tree, is_leaf)?.difference(&PathSet::default()))
}

fn paths(
    schema: &Schema,
    tree: &Tree,
    counts: impl Fn(&Tree, NodeId, Option<Shape<'_>>) -> bool,
) -> Result<PathSet, CompareError> {
    let shapes = Shapes { schema };
    let mut builder = PathSetBuilder::default();
    let mut open: Vec<(NodeId, Option<u32>, Shape<'_>)> = Vec::new();
    open.extend(tree.object_type(tree.root()).map(|ty| (tree.root(), None, Shape::Object(ty))));
    while let Some((node, line, shape)) = open.pop() {
        match shape {
            Shape::Object(id) => {
                let ty = schema.ty(id);
                for child in tree.children(node) {
                    let Some(field) = ty.fields.get(usize::from(tree.field_number(child))) else { continue };
                    let inner = shapes.of(field.ty, Some(&field.attributes));
                    let is_member = is_single(tree, child, inner);
                    let counts = is_member && counts(tree, child, inner);
                    let line = builder.push(line, Step::field(&field.name), counts);
                    open.extend(inner.filter(|_| !is_member).map(|inner| (child, Some(line), inner)));
                }
            }
            Shape::Map(element) => {
                let inner = shapes.of(element, None);
                for (name, child) in tree.entries(node) {
                    let line = builder.push(line, Step::field(name), counts(tree, child, inner));
                    let inner = inner.filter(|inner| !is_single(tree, child, Some(*inner)));
                    open.extend(inner.map(|inner| (child, Some(line), inner)));
                }
            }
            Shape::Keyed(element, _) | Shape::Set(element) => {
                let inner = shapes.of(element, None);
                let steps = shapes.steps(shape);
                let mut seen = HashSet::new();
                for child in tree.children(node) {
                    let step = steps.of(tree, child)?;
                    // What comes several times is one value together.
                    if seen.contains(&step) {
                        continue;
                    }
                    let line = builder.push(line, step.as_step(), counts(tree, child, inner));
                    seen.insert(step);
                    let inner = inner.filter(|inner| !is_single(tree, child, Some(*inner)));
                    open.extend(inner.map(|inner| (child, Some(line), inner)));
                }
            }
        }
    }
    Ok(builder.finish())
}

/// Whether a value is a path by itself: it has no parts, or is an empty map or struct. An empty list with keys is no path.
fn is_single(tree: &Tree, node: NodeId, shape: Option<Shape<'_>>) -> bool {
    match tree.kind(node) {
        Kind::Object | Kind::Map => shape.is_none() || tree.is_empty(node),
        Kind::List => shape.is_none(),
        _ => true,
    }
}
