//! What differs between two states of an object, as sets of paths (upstream: `TypedValue.Compare` of structured-merge-diff).
//!
//! Both trees are walked side by side along the schema. Values that Go writes though nobody set them count as there: a new `spec` is no
//! addition when an empty object has one too. What is the same costs no path: it is not looked into, and the steps to a place become lines
//! only when something below it differs.

use std::iter::Peekable;

use super::super::encode_json;
use super::super::field_set::{PathSet, Step};
use super::super::{Attributes, Presence, Schema, TypeId, TypeRef};
use super::held::Holdings;
use super::same::SameValues;
use super::shape::{CompareError, Shape, Shapes};
use crate::tree::{Children, Kind, NodeId, Tree};

/// Fields of an object that room is made for at once. Most have fewer.
const FIELDS_EXPECTED: usize = 12;

/// What differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Paths whose value is another in the new object, or that the old one does not have.
    pub changed: PathSet,
    /// Paths that only the old object has.
    pub removed: PathSet,
}

impl Comparison {
    /// Whether the objects are the same.
    pub fn is_same(&self) -> bool {
        self.changed.is_empty() && self.removed.is_empty()
    }
}

/// Compares two objects of one type.
pub fn compare(schema: &Schema, old: &Tree, new: &Tree) -> Result<Comparison, CompareError> {
    let mut walker = Walker {
        schema,
        shapes: Shapes { schema },
        old,
        new,
        same: SameValues::new(old, new),
        held: Holdings::new(schema, old, new),
        found: Comparison::default(),
        open: Vec::new(),
    };
    let root = Pair { old: Value::Node(old.root()), new: Value::Node(new.root()) };
    if let Some(ty) = new.object_type(new.root()) {
        walker.descend(None, root, Shape::Object(ty))?;
    }
    while let Some(mut frame) = walker.open.pop() {
        if let Some(child) = frame.children.pop() {
            walker.open.push(frame);
            walker.visit(child)?;
        }
    }
    Ok(walker.found)
}

/// Which set of a comparison a path belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Changed,
    Removed,
}

/// One side of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    /// Not there.
    Absent,
    /// Not in the tree, but written.
    Zero,
    /// In the tree.
    Node(NodeId),
}

#[derive(Clone, Copy, Debug)]
struct Pair {
    old: Value,
    new: Value,
}

/// How a step is named, before anybody needs to know it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Name<'a> {
    Field(&'a str),
    Step(Step),
}

/// A value that is still to be visited.
#[derive(Clone, Debug)]
struct Child<'a> {
    name: Name<'a>,
    pair: Pair,
    ty: TypeRef,
    attributes: Option<&'a Attributes>,
    /// What is known to be so of elements that are there several times; they are one value together.
    known: Option<Mark>,
}

/// A container whose children are not all visited yet.
struct Frame<'a> {
    name: Option<Name<'a>>,
    /// Whether its own step stands in each set. It does once something below differs.
    is_in_changed: bool,
    is_in_removed: bool,
    /// In reverse order of their steps.
    children: Vec<Child<'a>>,
}

struct Walker<'a> {
    schema: &'a Schema,
    shapes: Shapes<'a>,
    old: &'a Tree,
    new: &'a Tree,
    same: SameValues<'a>,
    held: Holdings<'a>,
    /// Both sets grow at their ends: values are visited in the order of paths.
    found: Comparison,
    open: Vec<Frame<'a>>,
}

impl<'a> Walker<'a> {
    fn visit(&mut self, child: Child<'a>) -> Result<(), CompareError> {
        let Child { name, pair, ty, attributes, known } = child;
        if let Some(mark) = known {
            self.mark(name, mark);
            return Ok(());
        }
        if let (Value::Node(old), Value::Node(new)) = (pair.old, pair.new)
            && !self.held.has_emptied()
            && self.same.are(old, new)
        {
            return Ok(());
        }
        let has_parts = self.has_parts(self.old, pair.old, ty) || self.has_parts(self.new, pair.new, ty);
        match self.shapes.of(ty, attributes).filter(|_| has_parts) {
            Some(shape) => self.descend(Some(name), pair, shape)?,
            None => self.compare_leaf(name, pair, ty),
        }
        Ok(())
    }

    /// Whether there is anything in a container: two empty ones are compared as one value.
    fn has_parts(&self, tree: &Tree, value: Value, ty: TypeRef) -> bool {
        let always = |id: TypeId| self.schema.ty(id).always.0 != 0;
        match (value, ty) {
            (Value::Absent, _) => false,
            (Value::Zero, TypeRef::Object(id)) => always(id),
            (Value::Zero, _) => false,
            (Value::Node(node), TypeRef::Object(id)) => {
                tree.kind(node) == Kind::Object && (!tree.is_empty(node) || always(id))
            }
            (Value::Node(node), _) => matches!(tree.kind(node), Kind::List | Kind::Map) && !tree.is_empty(node),
        }
    }

    fn descend(&mut self, name: Option<Name<'a>>, pair: Pair, shape: Shape<'a>) -> Result<(), CompareError> {
        let mut children = match shape {
            Shape::Object(id) => self.fields(id, pair),
            Shape::Map(element) => self.entries(element, pair),
            Shape::Keyed(element, _) | Shape::Set(element) => self.elements(shape, element, pair)?,
        };
        children.reverse();
        // What is there on one side only is a difference itself.
        let mark = match (pair.old, pair.new) {
            (Value::Absent, _) => Some(Mark::Changed),
            (_, Value::Absent) => Some(Mark::Removed),
            _ => None,
        };
        let name = match (name, mark) {
            (Some(name), Some(mark)) => {
                self.mark(name, mark);
                // What is below stands on the same side, so its own step is not asked for again.
                Some(Name::Field(""))
            }
            (name, _) => name,
        };
        let (is_in_changed, is_in_removed) = (mark == Some(Mark::Changed), mark == Some(Mark::Removed));
        self.open.push(Frame { name, is_in_changed, is_in_removed, children });
        Ok(())
    }

    fn compare_leaf(&mut self, name: Name<'a>, pair: Pair, ty: TypeRef) {
        let mark = match (pair.old, pair.new) {
            (Value::Absent, Value::Absent) | (Value::Zero, Value::Zero) => return,
            (_, Value::Absent) => Mark::Removed,
            (Value::Node(_) | Value::Zero, _) if self.is_equal(pair, ty) => return,
            _ => Mark::Changed,
        };
        self.mark(name, mark);
    }

    /// Adds the path of a value in the innermost container, with the steps on its way that are not there yet.
    fn mark(&mut self, name: Name<'a>, mark: Mark) {
        let set = match mark {
            Mark::Changed => &mut self.found.changed,
            Mark::Removed => &mut self.found.removed,
        };
        let mut depth = 1;
        for frame in &mut self.open {
            let Some(name) = &frame.name else { continue };
            let is_in_set = match mark {
                Mark::Changed => &mut frame.is_in_changed,
                Mark::Removed => &mut frame.is_in_removed,
            };
            if !std::mem::replace(is_in_set, true) {
                set.push(depth, name.to_step(), false);
            }
            depth += 1;
        }
        set.push(depth, name.into_step(), true);
    }

    fn is_equal(&self, pair: Pair, ty: TypeRef) -> bool {
        if let (Value::Node(old), Value::Node(new)) = (pair.old, pair.new) {
            match (self.old.kind(old), self.new.kind(new)) {
                (Kind::String, Kind::String) | (Kind::Raw, Kind::Raw) => {
                    return self.old.text(old) == self.new.text(new);
                }
                (Kind::Bool, Kind::Bool) | (Kind::Int, Kind::Int) => {
                    return self.old.bool(old) == self.new.bool(new) && self.old.int(old) == self.new.int(new);
                }
                _ => {}
            }
        }
        let write = |tree: &Tree, value: Value| {
            let mut out = Vec::new();
            match value {
                Value::Node(node) => encode_json::write_value(self.schema, tree, node, ty, &mut out),
                _ => out.extend_from_slice(self.schema.zero_json(ty, Presence::Always)),
            }
            out
        };
        let is_held_alike = || match (pair.old, pair.new) {
            (Value::Node(old), Value::Node(new)) => self.held.are_alike(old, new),
            _ => true,
        };
        write(self.old, pair.old) == write(self.new, pair.new) && is_held_alike()
    }

    fn fields(&self, id: TypeId, pair: Pair) -> Vec<Child<'a>> {
        let ty = self.schema.ty(id);
        let mut old = Fields::of(self.old, pair.old);
        let mut new = Fields::of(self.new, pair.new);
        let mut children = Vec::with_capacity(FIELDS_EXPECTED);
        let last = ty.fields.len() as u16;
        for (number, field) in (0..last).zip(&ty.fields) {
            let zero = ty.always.contains(number);
            let pair = Pair { old: old.take(self.old, number, zero), new: new.take(self.new, number, zero) };
            if matches!((pair.old, pair.new), (Value::Absent, Value::Absent) | (Value::Zero, Value::Zero)) {
                continue;
            }
            children.push(Child {
                name: Name::Field(&field.name),
                pair,
                ty: field.ty,
                attributes: Some(&field.attributes),
                known: None,
            });
        }
        children.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        children
    }

    fn entries(&self, element: TypeRef, pair: Pair) -> Vec<Child<'a>> {
        let entries = |tree: &'a Tree, value: Value| match value {
            Value::Node(node) => Some(tree.entries(node)).into_iter().flatten(),
            _ => None.into_iter().flatten(),
        };
        let mut old = entries(self.old, pair.old).peekable();
        let mut new = entries(self.new, pair.new).peekable();
        let mut children = Vec::new();
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => return children,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some((a, _)), Some((b, _))) => a.cmp(b),
            };
            let old_entry = if order.is_le() { old.next() } else { None };
            let new_entry = if order.is_ge() { new.next() } else { None };
            let value = |entry: Option<(&str, NodeId)>| entry.map_or(Value::Absent, |(_, node)| Value::Node(node));
            let name = old_entry.or(new_entry).map_or("", |(name, _)| name);
            let pair = Pair { old: value(old_entry), new: value(new_entry) };
            children.push(Child { name: Name::Field(name), pair, ty: element, attributes: None, known: None });
        }
    }

    /// The elements of both lists, side by side by their steps.
    fn elements(&self, shape: Shape<'a>, element: TypeRef, pair: Pair) -> Result<Vec<Child<'a>>, CompareError> {
        let steps = self.shapes.steps(shape);
        let collect = |tree: &Tree, value: Value| {
            let Value::Node(list) = value else { return Ok(Vec::new()) };
            let mut held =
                tree.children(list).map(|node| Ok((steps.of(tree, node)?, node))).collect::<Result<Vec<_>, _>>()?;
            held.sort_by(|a, b| a.0.cmp(&b.0));
            Ok(held)
        };
        let (old, new) = (collect(self.old, pair.old)?, collect(self.new, pair.new)?);
        let mut children = Vec::new();
        let (mut old, mut new) = (&old[..], &new[..]);
        while let Some(next) = [old.first(), new.first()].into_iter().flatten().map(|(step, _)| step).min() {
            let count = |list: &[(Step, NodeId)]| list.iter().take_while(|(step, _)| step == next).count();
            let (old_here, old_rest) = old.split_at(count(old));
            let (new_here, new_rest) = new.split_at(count(new));
            self.side_by_side(next, element, old_here, new_here, &mut children);
            (old, new) = (old_rest, new_rest);
        }
        Ok(children)
    }

    /// Elements of one step. Those that a list has several times are one value together.
    fn side_by_side(
        &self,
        step: &Step,
        element: TypeRef,
        old: &[(Step, NodeId)],
        new: &[(Step, NodeId)],
        children: &mut Vec<Child<'a>>,
    ) {
        let first = |list: &[(Step, NodeId)]| list.first().map_or(Value::Absent, |(_, node)| Value::Node(*node));
        let mut push = |old: Value, new: Value, known: Option<Mark>| {
            let name = Name::Step(step.clone());
            children.push(Child { name, pair: Pair { old, new }, ty: element, attributes: None, known });
        };
        match (old.len(), new.len()) {
            (0 | 1, 0 | 1) => push(first(old), first(new), None),
            (0 | 1, _) => {
                push(first(old), Value::Absent, None);
                push(Value::Absent, Value::Absent, Some(Mark::Changed));
            }
            (_, 0 | 1) => {
                push(Value::Absent, first(new), None);
                push(Value::Absent, Value::Absent, Some(Mark::Removed));
            }
            _ => {
                let pair = |old: &(Step, NodeId), new: &(Step, NodeId)| Pair {
                    old: Value::Node(old.1),
                    new: Value::Node(new.1),
                };
                let differs = old.len() != new.len()
                    || old.iter().zip(new).any(|(old, new)| !self.is_equal(pair(old, new), element));
                if differs {
                    push(Value::Absent, Value::Absent, Some(Mark::Changed));
                }
            }
        }
    }
}

impl Name<'_> {
    fn into_step(self) -> Step {
        match self {
            Name::Field(name) => Step::Field(name.into()),
            Name::Step(step) => step,
        }
    }

    fn to_step(&self) -> Step {
        match self {
            Name::Field(name) => Step::Field((*name).into()),
            Name::Step(step) => step.clone(),
        }
    }
}

/// The fields of one side, taken in order.
struct Fields<'a> {
    value: Value,
    rest: Option<Peekable<Children<'a>>>,
}

impl<'a> Fields<'a> {
    fn of(tree: &'a Tree, value: Value) -> Fields<'a> {
        let rest = match value {
            Value::Node(node) => Some(tree.children(node).peekable()),
            _ => None,
        };
        Fields { value, rest }
    }

    fn take(&mut self, tree: &Tree, number: u16, zero: bool) -> Value {
        let next = self.rest.as_mut().and_then(|rest| rest.next_if(|node| tree.field_number(*node) == number));
        match next {
            Some(node) => Value::Node(node),
            None if zero && self.value != Value::Absent => Value::Zero,
            None => Value::Absent,
        }
    }
}
