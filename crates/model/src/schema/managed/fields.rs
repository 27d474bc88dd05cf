//! The paths that an object holds: what somebody who applies it sets (upstream: `TypedValue.ToFieldSet` of structured-merge-diff).
//!
//! Only what is in the tree counts: what is written though nobody gave it is not set by whoever applies.

use std::ops::Range;

use super::super::field_set::{PathSet, Step, StepKind};
use super::super::{FIELDS_MAX, FieldSet, Schema, TypeRef};
use super::shape::{CompareError, Shape, Shapes};
use crate::tree::{Kind, NodeId, Tree};

/// The paths of an object: its single values, its elements, and the keys of its maps.
pub fn fields(schema: &Schema, tree: &Tree) -> Result<PathSet, CompareError> {
    let shapes = Shapes { schema };
    let mut walker = Walker { shapes, tree, open: Vec::new(), names: String::new(), name: Vec::new() };
    let mut set = PathSet::default();
    if let Some(ty) = tree.object_type(tree.root()) {
        walker.open(tree.root(), Shape::Object(ty), 1)?;
    }
    while let Some(Open { depth, name, node, inner, may_count, is_several }) = walker.open.pop() {
        let is_single = is_single(tree, node, inner);
        set.push(depth, walker.step(&name), may_count || is_single);
        if let Some(shape) = inner.filter(|_| !is_single && !is_several) {
            walker.open(node, shape, depth + 1)?;
        }
    }
    Ok(set.without_dead_ends())
}

/// A value that is still to be visited.
struct Open<'a> {
    depth: u32,
    name: Name<'a>,
    node: NodeId,
    inner: Option<Shape<'a>>,
    /// Whether it may be a path though it has parts.
    may_count: bool,
    /// Whether a list has it several times: they are one value together.
    is_several: bool,
}

enum Name<'a> {
    /// A field or a key of a map.
    Field(&'a str),
    /// An element of a list, whose step has this text among the names.
    Element(StepKind, Range<usize>),
}

/// Walks an object in the order of its paths.
struct Walker<'a> {
    shapes: Shapes<'a>,
    tree: &'a Tree,
    /// The values of each container stand in reverse order of their steps.
    open: Vec<Open<'a>>,
    /// The names of elements, one behind the other.
    names: String,
    /// The one that is being made.
    name: Vec<u8>,
}

impl<'a> Walker<'a> {
    /// Leaves what is in a container to be visited.
    fn open(&mut self, node: NodeId, shape: Shape<'a>, depth: u32) -> Result<(), CompareError> {
        let first = self.open.len();
        match shape {
            Shape::Object(id) => {
                let ty = self.shapes.schema.ty(id);
                let (mut found, mut of_rank) = (FieldSet::default(), [node; FIELDS_MAX]);
                for child in self.tree.children(node) {
                    let rank = ty.rank(self.tree.field_number(child));
                    if let Some(held) = of_rank.get_mut(usize::from(rank)) {
                        *held = child;
                        found.insert(rank);
                    }
                }
                while let Some(rank) = found.last() {
                    found.remove(rank);
                    let field = ty.fields.get(usize::from(ty.number(rank)));
                    let (Some(field), Some(child)) = (field, of_rank.get(usize::from(rank))) else { continue };
                    let inner = self.shapes.of(field.ty, Some(&field.attributes));
                    self.open.push(Open {
                        depth,
                        name: Name::Field(&field.name),
                        node: *child,
                        inner,
                        may_count: false,
                        is_several: false,
                    });
                }
                return Ok(());
            }
            Shape::Map(element) => {
                let inner = self.shapes.of(element, None);
                let entries = self.tree.entries(node);
                self.open.extend(entries.map(|(key, node)| Open {
                    depth,
                    name: Name::Field(key),
                    node,
                    inner,
                    may_count: true,
                    is_several: false,
                }));
            }
            Shape::Keyed(element, _) | Shape::Set(element) => self.open_elements(node, shape, element, depth)?,
        }
        if let Some(opened) = self.open.get_mut(first..) {
            opened.reverse();
        }
        Ok(())
    }

    fn open_elements(
        &mut self,
        node: NodeId,
        shape: Shape<'a>,
        element: TypeRef,
        depth: u32,
    ) -> Result<(), CompareError> {
        let (inner, steps) = (self.shapes.of(element, None), self.shapes.steps(shape));
        let (first, kind) = (self.open.len(), steps.kind());
        for child in self.tree.children(node) {
            self.name.clear();
            steps.push(self.tree, child, &mut self.name)?;
            let start = self.names.len();
            // Made of strings and ASCII.
            self.names.push_str(std::str::from_utf8(&self.name).unwrap_or_default());
            let name = Name::Element(kind, start..self.names.len());
            self.open.push(Open { depth, name, node: child, inner, may_count: true, is_several: false });
        }
        let mut elements = self.open.split_off(first);
        elements.sort_by(|a, b| self.step(&a.name).cmp(&self.step(&b.name)));
        elements.dedup_by(|later, first| {
            let is_again = self.step(&later.name) == self.step(&first.name);
            first.is_several |= is_again;
            is_again
        });
        self.open.append(&mut elements);
        Ok(())
    }

    fn step<'n>(&'n self, name: &'n Name<'a>) -> Step<'n> {
        match name {
            Name::Field(name) => Step::field(name),
            Name::Element(kind, place) => Step { kind: *kind, text: self.names.get(place.clone()).unwrap_or_default() },
        }
    }
}

/// Whether a value is a path by itself: it has no parts, or is an empty map or struct. An empty list with keys is no path.
fn is_single(tree: &Tree, node: NodeId, shape: Option<Shape<'_>>) -> bool {
    match tree.kind(node) {
        Kind::Object | Kind::Map => shape.is_none() || tree.is_empty(node),
        Kind::List => shape.is_none(),
        _ => true,
    }
}
