//! What differs between two states of an object, as sets of paths (upstream: `TypedValue.Compare` of structured-merge-diff).
//!
//! Both trees are walked side by side along the schema. Values that Go writes though nobody set them count as there: a new `spec` is no
//! addition when an empty object has one too. What is the same costs no path: it is not looked into, and the steps to a place become lines
//! only when something below it differs.

use std::cmp::Ordering;

use super::super::encode_json;
use super::super::field_set::{PathSet, Step, StepKind};
use super::super::{Attributes, FIELDS_MAX, FieldSet, Presence, Schema, TypeId, TypeRef};
use super::held::Holdings;
use super::same::SameValues;
use super::shape::{CompareError, Shape, Shapes, Steps};
use crate::tree::{Kind, NodeId, Tree};

/// Values that room is made for at once: those on the way to the deepest one of most objects, and their siblings.
const CHILDREN_EXPECTED: usize = 48;
/// Containers that most objects have inside of each other.
const DEPTH_EXPECTED: usize = 12;

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
    compare_as(schema, old, new, false)
}

/// Compares objects that say all that there is in them: nothing else is written, and a null is a value.
pub(super) fn compare_as_given(schema: &Schema, old: &Tree, new: &Tree) -> Result<Comparison, CompareError> {
    compare_as(schema, old, new, true)
}

fn compare_as(schema: &Schema, old: &Tree, new: &Tree, is_given: bool) -> Result<Comparison, CompareError> {
    let mut walker = Walker {
        is_given,
        exact: SameValues::exact(old, new),
        schema,
        shapes: Shapes { schema },
        old,
        new,
        same: SameValues::new(old, new),
        held: Holdings::new(schema, old, new),
        found: Comparison::default(),
        open: Vec::with_capacity(DEPTH_EXPECTED),
        children: Vec::with_capacity(CHILDREN_EXPECTED),
        names: String::new(),
        name: Vec::new(),
        of_rank: [Pair::NOTHING; FIELDS_MAX],
        in_changed: 1,
        in_removed: 1,
    };
    let root = Pair { old: Value::Node(old.root()), new: Value::Node(new.root()) };
    if let Some(ty) = new.object_type(new.root()) {
        walker.open(Name::Field(""), root, Shape::Object(ty))?;
    }
    while let Some(frame) = walker.open.last() {
        let is_left = walker.children.len() > frame.children_at;
        match if is_left { walker.children.pop() } else { None } {
            Some(child) => walker.visit(child)?,
            None => walker.close(),
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
    /// Not in the tree, but written as null: a pointer that is always written.
    Null,
    /// In the tree.
    Node(NodeId),
}

#[derive(Clone, Copy, Debug)]
struct Pair {
    old: Value,
    new: Value,
}

impl Pair {
    const NOTHING: Pair = Pair { old: Value::Absent, new: Value::Absent };

    /// With zero values where this is not, and the object around it is.
    fn with_zeros(self, around: Pair, presence: Presence) -> Pair {
        let zero = |value: Value, around: Value| match (value, around) {
            (Value::Absent, Value::Zero | Value::Node(_)) if presence == Presence::Nullable => Value::Null,
            (Value::Absent, Value::Zero | Value::Node(_)) => Value::Zero,
            (value, _) => value,
        };
        Pair { old: zero(self.old, around.old), new: zero(self.new, around.new) }
    }
}

/// How a step is named.
#[derive(Clone, Copy, Debug)]
enum Name<'a> {
    /// A field or a key of a map.
    Field(&'a str),
    /// An element of a list, whose step has this text among the names.
    Element(StepKind, Place),
}

/// Where a name is.
#[derive(Clone, Copy, Debug)]
struct Place {
    at: u32,
    end: u32,
}

/// A value that is still to be visited.
#[derive(Clone, Copy, Debug)]
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
    name: Name<'a>,
    /// Where its children begin among those of all frames, and their names.
    children_at: usize,
    names_at: usize,
}

struct Walker<'a> {
    schema: &'a Schema,
    shapes: Shapes<'a>,
    old: &'a Tree,
    new: &'a Tree,
    /// Whether the objects say all that there is in them.
    is_given: bool,
    same: SameValues<'a>,
    exact: SameValues<'a>,
    held: Holdings<'a>,
    /// Both sets grow at their ends: values are visited in the order of paths.
    found: Comparison,
    /// The outermost is the object, which is no step.
    open: Vec<Frame<'a>>,
    /// The children of all open frames, those of each in reverse order of their steps.
    children: Vec<Child<'a>>,
    /// The names of the elements of open lists, one behind the other.
    names: String,
    /// The one that is being made.
    name: Vec<u8>,
    /// By the order of names: the fields of a struct while they are found.
    of_rank: [Pair; FIELDS_MAX],
    /// How many of the open frames stand in each set. A frame does once something below it differs, and all around it do then.
    in_changed: usize,
    in_removed: usize,
}

impl<'a> Walker<'a> {
    fn visit(&mut self, child: Child<'a>) -> Result<(), CompareError> {
        let Child { name, pair, ty, attributes, known, .. } = child;
        if let Some(mark) = known {
            self.mark(name, mark);
            return Ok(());
        }
        if let (Value::Node(old), Value::Node(new)) = (pair.old, pair.new)
            && (self.is_given || !self.held.has_emptied())
            && self.same.are(old, new)
        {
            return Ok(());
        }
        let has_parts = self.has_parts(self.old, pair.old, ty) || self.has_parts(self.new, pair.new, ty);
        match self.shapes.of(ty, attributes).filter(|_| has_parts) {
            Some(shape) => self.descend(name, pair, shape)?,
            None => self.compare_leaf(name, pair, ty),
        }
        Ok(())
    }

    /// Whether there is anything in a container: two empty ones are compared as one value.
    fn has_parts(&self, tree: &Tree, value: Value, ty: TypeRef) -> bool {
        let always = |id: TypeId| !self.is_given && self.schema.ty(id).always.0 != 0;
        match (value, ty) {
            (Value::Absent | Value::Null, _) => false,
            (Value::Zero, TypeRef::Object(id)) => always(id),
            (Value::Zero, _) => false,
            (Value::Node(node), TypeRef::Object(id)) => {
                tree.kind(node) == Kind::Object && (!tree.is_empty(node) || always(id))
            }
            (Value::Node(node), _) => matches!(tree.kind(node), Kind::List | Kind::Map) && !tree.is_empty(node),
        }
    }

    fn descend(&mut self, name: Name<'a>, pair: Pair, shape: Shape<'a>) -> Result<(), CompareError> {
        // What is there on one side only is a difference itself, and all below it stands on the same side.
        let mark = match (pair.old, pair.new) {
            (Value::Absent, _) => Some(Mark::Changed),
            (_, Value::Absent) => Some(Mark::Removed),
            _ => None,
        };
        if let Some(mark) = mark {
            self.mark(name, mark);
        }
        self.open(name, pair, shape)?;
        match mark {
            Some(Mark::Changed) => self.in_changed = self.open.len(),
            Some(Mark::Removed) => self.in_removed = self.open.len(),
            None => {}
        }
        Ok(())
    }

    /// Opens a container and finds its children.
    fn open(&mut self, name: Name<'a>, pair: Pair, shape: Shape<'a>) -> Result<(), CompareError> {
        let (children_at, names_at) = (self.children.len(), self.names.len());
        match shape {
            Shape::Object(id) => self.find_fields(id, pair),
            Shape::Map(element) => self.find_entries(element, pair),
            Shape::Keyed(element, _) | Shape::Set(element) => self.find_elements(shape, element, pair)?,
        }
        self.open.push(Frame { name, children_at, names_at });
        Ok(())
    }

    /// Closes the innermost container.
    fn close(&mut self) {
        if let Some(frame) = self.open.pop() {
            self.names.truncate(frame.names_at);
        }
        self.in_changed = self.in_changed.min(self.open.len());
        self.in_removed = self.in_removed.min(self.open.len());
    }

    fn compare_leaf(&mut self, name: Name<'a>, pair: Pair, ty: TypeRef) {
        let mark = match (pair.old, pair.new) {
            (Value::Absent, Value::Absent) | (Value::Zero, Value::Zero) | (Value::Null, Value::Null) => return,
            (_, Value::Absent) => Mark::Removed,
            (Value::Node(_) | Value::Zero | Value::Null, _) if self.is_equal(pair, ty) => return,
            _ => Mark::Changed,
        };
        self.mark(name, mark);
    }

    /// Adds the path of a value in the innermost container, with the steps on its way that are not there yet.
    fn mark(&mut self, name: Name<'a>, mark: Mark) {
        let (set, written) = match mark {
            Mark::Changed => (&mut self.found.changed, &mut self.in_changed),
            Mark::Removed => (&mut self.found.removed, &mut self.in_removed),
        };
        let step = |name: Name<'a>| match name {
            Name::Field(name) => Step::field(name),
            Name::Element(kind, place) => Step { kind, text: text_at(&self.names, place) },
        };
        for (depth, frame) in self.open.iter().enumerate().skip(*written) {
            set.push(depth as u32, step(frame.name), false);
        }
        *written = self.open.len();
        set.push(self.open.len() as u32, step(name), true);
    }

    fn is_equal(&mut self, pair: Pair, ty: TypeRef) -> bool {
        if let (true, Value::Node(old), Value::Node(new)) = (self.is_given, pair.old, pair.new) {
            return self.exact.are(old, new);
        }
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
                Value::Null => out.extend_from_slice(b"null"),
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

    fn find_fields(&mut self, id: TypeId, pair: Pair) {
        let ty = self.schema.ty(id);
        let is_there = |value: Value| !matches!(value, Value::Absent | Value::Null);
        // What both sides write though nobody set it is the same.
        let one_sided = is_there(pair.old) != is_there(pair.new);
        let mut found = if one_sided && !self.is_given { ty.always_by_rank } else { FieldSet::default() };
        for (tree, value) in [(self.old, pair.old), (self.new, pair.new)] {
            let Value::Node(object) = value else { continue };
            for node in tree.children(object) {
                let rank = ty.rank(tree.field_number(node));
                found.insert(rank);
                if let Some(held) = self.of_rank.get_mut(usize::from(rank)) {
                    *(if std::ptr::eq(tree, self.new) { &mut held.new } else { &mut held.old }) = Value::Node(node);
                }
            }
        }
        while let Some(rank) = found.last() {
            found.remove(rank);
            let number = ty.number(rank);
            let held = self.of_rank.get_mut(usize::from(rank)).map(|held| std::mem::replace(held, Pair::NOTHING));
            let (Some(mut held), Some(field)) = (held, ty.fields.get(usize::from(number))) else { continue };
            if !self.is_given && ty.always.contains(number) {
                held = held.with_zeros(pair, field.presence);
            }
            let (name, attributes) = (Name::Field(&field.name), Some(&*field.attributes));
            self.children.push(Child { name, pair: held, ty: field.ty, attributes, known: None });
        }
    }

    fn find_entries(&mut self, element: TypeRef, pair: Pair) {
        let entries = |tree: &'a Tree, value: Value| match value {
            Value::Node(node) => Some(tree.entries(node)).into_iter().flatten(),
            _ => None.into_iter().flatten(),
        };
        let first = self.children.len();
        let mut old = entries(self.old, pair.old).peekable();
        let mut new = entries(self.new, pair.new).peekable();
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((a, _)), Some((b, _))) => a.cmp(b),
            };
            let old_entry = if order.is_le() { old.next() } else { None };
            let new_entry = if order.is_ge() { new.next() } else { None };
            let value = |entry: Option<(&str, NodeId)>| entry.map_or(Value::Absent, |(_, node)| Value::Node(node));
            let name = Name::Field(old_entry.or(new_entry).map_or("", |(name, _)| name));
            let pair = Pair { old: value(old_entry), new: value(new_entry) };
            self.children.push(Child { name, pair, ty: element, attributes: None, known: None });
        }
        if let Some(found) = self.children.get_mut(first..) {
            found.reverse();
        }
    }

    /// The elements of both lists, side by side by their names.
    fn find_elements(&mut self, shape: Shape<'a>, element: TypeRef, pair: Pair) -> Result<(), CompareError> {
        let steps = self.shapes.steps(shape);
        let (old, new) = (self.name_all(&steps, self.old, pair.old)?, self.name_all(&steps, self.new, pair.new)?);
        let (first, kind) = (self.children.len(), steps.kind());
        let (mut old, mut new) = (&old[..], &new[..]);
        loop {
            let next = match (old.first(), new.first()) {
                (Some(old), Some(new)) if self.order(kind, *old, *new).is_gt() => *new,
                (Some(one), _) | (None, Some(one)) => *one,
                (None, None) => break,
            };
            let count = |list: &[Named]| list.iter().take_while(|named| self.text(**named) == self.text(next)).count();
            let (old_here, old_rest) = old.split_at(count(old));
            let (new_here, new_rest) = new.split_at(count(new));
            self.side_by_side(Name::Element(kind, next.name), element, old_here, new_here);
            (old, new) = (old_rest, new_rest);
        }
        if let Some(found) = self.children.get_mut(first..) {
            found.reverse();
        }
        Ok(())
    }

    /// Names the elements of a list and gives them in the order of their names.
    fn name_all(&mut self, steps: &Steps<'_>, tree: &Tree, list: Value) -> Result<Vec<Named>, CompareError> {
        let Value::Node(list) = list else { return Ok(Vec::new()) };
        let mut named = Vec::with_capacity(tree.len(list));
        for node in tree.children(list) {
            let at = self.names.len() as u32;
            self.name.clear();
            steps.push(tree, node, &mut self.name)?;
            // Made of strings and ASCII.
            self.names.push_str(std::str::from_utf8(&self.name).unwrap_or_default());
            named.push(Named { name: Place { at, end: self.names.len() as u32 }, node });
        }
        named.sort_by(|a, b| self.order(steps.kind(), *a, *b));
        Ok(named)
    }

    fn text(&self, named: Named) -> &str {
        text_at(&self.names, named.name)
    }

    fn order(&self, kind: StepKind, a: Named, b: Named) -> Ordering {
        Step { kind, text: self.text(a) }.cmp(&Step { kind, text: self.text(b) })
    }

    /// Elements of one name. Those that a list has several times are one value together.
    fn side_by_side(&mut self, name: Name<'a>, element: TypeRef, old: &[Named], new: &[Named]) {
        let first = |list: &[Named]| list.first().map_or(Value::Absent, |named| Value::Node(named.node));
        let mut differs = || {
            let pair = |(old, new): (&Named, &Named)| Pair { old: Value::Node(old.node), new: Value::Node(new.node) };
            old.len() != new.len() || old.iter().zip(new).any(|both| !self.is_equal(pair(both), element))
        };
        let nothing = Pair::NOTHING;
        let (before, after) = match (old.len(), new.len()) {
            (0 | 1, 0 | 1) => ((Pair { old: first(old), new: first(new) }, None), None),
            (0 | 1, _) => ((Pair { old: first(old), ..nothing }, None), Some(Mark::Changed)),
            (_, 0 | 1) => ((Pair { new: first(new), ..nothing }, None), Some(Mark::Removed)),
            _ => ((nothing, differs().then_some(Mark::Changed)), None),
        };
        let after = after.map(|mark| (nothing, Some(mark)));
        for (pair, known) in [Some(before), after].into_iter().flatten() {
            self.children.push(Child { name, pair, ty: element, attributes: None, known });
        }
    }
}

/// An element of a list and its name.
#[derive(Clone, Copy, Debug)]
struct Named {
    name: Place,
    node: NodeId,
}

fn text_at(names: &str, place: Place) -> &str {
    names.get(place.at as usize..place.end as usize).unwrap_or_default()
}
