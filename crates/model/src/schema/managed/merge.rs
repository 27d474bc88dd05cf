//! What an object is when somebody applies theirs to it (upstream: `TypedValue.Merge` of structured-merge-diff).
//!
//! Structs, maps and lists with keys are merged member by member; anything else that is applied takes the place of what was there. What
//! nobody applies stays: whether its owner gave it up is decided afterwards, from field sets.
//!
//! Elements of a list with keys, and of a set, stand in the order in which they are applied. Those that only the object has keep their
//! place between them: an element that both have is where the applied ones up to it are put in.

use std::collections::HashMap;

use super::super::field_set::StepBuf;
use super::super::{Schema, TypeRef};
use super::shape::{CompareError, Shape, Shapes};
use crate::tree::{Kind, NodeId, Tree};

/// A container of the outcome, which still is what the object had there, and what is applied to it.
struct Open<'a> {
    /// In the outcome.
    here: NodeId,
    /// In the object; what `here` is a copy of.
    live: NodeId,
    /// In what is applied.
    applied: NodeId,
    shape: Shape<'a>,
}

/// Merges an object that somebody applies into the one that is there. Both are of one type.
///
/// # Errors
/// An element of a list has no name, or two that are applied have the same.
pub fn merge(schema: &Schema, live: &Tree, applied: &Tree) -> Result<Tree, CompareError> {
    let mut merger = Merger { shapes: Shapes { schema }, live, applied, outcome: live.clone(), open: Vec::new() };
    if let Some(ty) = applied.object_type(applied.root()) {
        let (here, live, applied) = (merger.outcome.root(), live.root(), applied.root());
        merger.open.push(Open { here, live, applied, shape: Shape::Object(ty) });
    }
    while let Some(open) = merger.open.pop() {
        match open.shape {
            Shape::Object(_) => merger.merge_fields(&open),
            Shape::Map(element) => merger.merge_entries(&open, element),
            Shape::Keyed(element, _) | Shape::Set(element) => merger.merge_elements(&open, element)?,
        }
    }
    Ok(merger.outcome)
}

struct Merger<'a> {
    shapes: Shapes<'a>,
    live: &'a Tree,
    applied: &'a Tree,
    outcome: Tree,
    open: Vec<Open<'a>>,
}

impl<'a> Merger<'a> {
    fn merge_fields(&mut self, open: &Open<'a>) {
        let Shape::Object(id) = open.shape else { return };
        let ty = self.shapes.schema.ty(id);
        for applied in self.applied.children(open.applied) {
            let number = self.applied.field_number(applied);
            let Some(field) = ty.fields.get(usize::from(number)) else { continue };
            let shape = self.shapes.of(field.ty, Some(&field.attributes));
            let live = self.live.field(open.live, number);
            match live.map(|live| (live, self.meeting(live, applied, shape))) {
                Some((_, Meeting::Stays)) => {}
                Some((live, Meeting::Merged(shape))) => {
                    let Some(here) = self.outcome.field(open.here, number) else { continue };
                    self.open.push(Open { here, live, applied, shape });
                }
                Some((_, Meeting::Replaced)) | None => {
                    self.outcome.graft(open.here, number, self.applied, applied);
                }
            }
        }
    }

    fn merge_entries(&mut self, open: &Open<'a>, element: TypeRef) {
        let shape = self.shapes.of(element, None);
        for (key, applied) in self.applied.entries(open.applied) {
            let live = self.live.get(open.live, key);
            match live.map(|live| (live, self.meeting(live, applied, shape))) {
                Some((_, Meeting::Stays)) => {}
                Some((live, Meeting::Merged(shape))) => {
                    let Some(here) = self.outcome.get(open.here, key) else { continue };
                    self.open.push(Open { here, live, applied, shape });
                }
                Some((_, Meeting::Replaced)) | None => {
                    self.outcome.insert_graft(open.here, key, self.applied, applied);
                }
            }
        }
    }

    /// Makes the list anew.
    fn merge_elements(&mut self, open: &Open<'a>, element: TypeRef) -> Result<(), CompareError> {
        let steps = self.shapes.steps(open.shape);
        let named = |tree: &Tree, list: NodeId| {
            let named = tree.children(list).map(|child| Ok((steps.of(tree, child)?, child)));
            named.collect::<Result<Vec<(StepBuf, NodeId)>, CompareError>>()
        };
        let (live, applied) = (named(self.live, open.live)?, named(self.applied, open.applied)?);
        let mut places = HashMap::new();
        for (at, (step, _)) in applied.iter().enumerate() {
            if places.insert(step, at).is_some() {
                return Err(CompareError::Duplicate(step.as_step().shown()));
            }
        }
        // Of an element that is there several times, none is the one that is meant.
        let mut of_live: HashMap<&StepBuf, Option<NodeId>> = HashMap::new();
        for (step, node) in &live {
            of_live.entry(step).and_modify(|held| *held = None).or_insert(Some(*node));
        }
        // The places of those that both have, in order.
        let mut shared: Vec<usize> = of_live.keys().filter_map(|step| places.get(step).copied()).collect();
        shared.sort_unstable();
        let mut shared = shared.into_iter().peekable();
        self.outcome.retain(open.here, |_, _| false);
        let shape = self.shapes.of(element, None);
        let mut put = 0;
        let put_until = |merger: &mut Self, put: &mut usize, end: usize| {
            for (step, applied) in applied.get(*put..end).unwrap_or_default() {
                merger.put_element(open.here, of_live.get(step).copied().flatten(), *applied, shape);
            }
            *put = end;
        };
        for (step, node) in &live {
            match places.get(step) {
                None => _ = self.outcome.append_graft(open.here, self.live, *node),
                // The next one that both have: those applied before it stand before it. Any other one comes in its turn.
                Some(at) if shared.next_if_eq(at).is_some() => put_until(self, &mut put, at + 1),
                Some(_) if shared.peek().is_some() => {}
                // One that is there again, and was put already: upstream goes on with what is applied.
                Some(_) => {
                    let end = applied.len().min(put + 1);
                    put_until(self, &mut put, end);
                }
            }
        }
        put_until(self, &mut put, applied.len());
        Ok(())
    }

    /// Appends an element that is applied, merged into what the object has of it.
    fn put_element(&mut self, list: NodeId, live: Option<NodeId>, applied: NodeId, shape: Option<Shape<'a>>) {
        match live.map(|live| (live, self.meeting(live, applied, shape))) {
            Some((live, Meeting::Stays)) => _ = self.outcome.append_graft(list, self.live, live),
            Some((live, Meeting::Merged(shape))) => {
                let here = self.outcome.append_graft(list, self.live, live);
                self.open.push(Open { here, live, applied, shape });
            }
            Some((_, Meeting::Replaced)) | None => _ = self.outcome.append_graft(list, self.applied, applied),
        }
    }

    /// What becomes of a value that both have.
    fn meeting(&self, live: NodeId, applied: NodeId, shape: Option<Shape<'a>>) -> Meeting<'a> {
        let Some(shape) = shape else { return Meeting::Replaced };
        let is_container = |tree: &Tree, node| matches!(tree.kind(node), Kind::Object | Kind::Map | Kind::List);
        // A null says of a container what an empty one does.
        let is_null = self.applied.kind(applied) == Kind::Null;
        if !is_container(self.live, live) || !is_null && !is_container(self.applied, applied) {
            return Meeting::Replaced;
        }
        match (self.live.is_empty(live), is_null || self.applied.is_empty(applied)) {
            (_, false) => Meeting::Merged(shape),
            (false, true) => Meeting::Stays,
            (true, true) => Meeting::Replaced,
        }
    }
}

/// What becomes of a value that both have.
enum Meeting<'a> {
    /// An empty container says nothing of what is in one.
    Stays,
    /// Member by member.
    Merged(Shape<'a>),
    /// What is applied takes its place.
    Replaced,
}
