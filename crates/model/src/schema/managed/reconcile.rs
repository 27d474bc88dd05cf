//! Paths that lead into what is one value by its type: upstream makes them the path of the value (`ReconcileFieldSetWithSchema` of
//! structured-merge-diff). Types change, and clients may send what they like as managed fields.

use super::super::field_set::{Below, PathSet, PathSetBuilder, Step, StepKind};
use super::super::{Schema, TypeId, TypeRef};
use super::shape::{Shape, Shapes};

/// What is at the end of a path.
#[derive(Clone, Copy)]
enum Place<'a> {
    /// It has parts.
    Parts(Shape<'a>),
    /// One value that could have parts.
    Atomic,
    /// Nothing to look into: a single value, or no field of the type.
    Else,
}

/// The set with paths that no longer lead into single values; none when it has no such path.
pub fn reconciled(schema: &Schema, ty: TypeId, set: &PathSet) -> Option<PathSet> {
    let shapes = Shapes { schema };
    if !leads_into_one(shapes, ty, set) {
        return None;
    }
    let trie = set.trie();
    let mut builder = PathSetBuilder::default();
    let mut open: Vec<(Option<u32>, Place<'_>, Below<'_>)> = vec![(None, Place::Parts(Shape::Object(ty)), trie.top())];
    while let Some((parent, place, below)) = open.pop() {
        for (step, is_member, below) in below.steps() {
            let inner = place_of(shapes, place, step);
            let is_cut = matches!(inner, Place::Atomic) && !below.is_empty();
            let line = builder.push(parent, step, is_member || is_cut);
            if !below.is_empty() && !is_cut {
                open.push((Some(line), inner, below));
            }
        }
    }
    Some(builder.finish())
}

/// Whether a path leads into what is one value, which few do.
fn leads_into_one(shapes: Shapes<'_>, ty: TypeId, set: &PathSet) -> bool {
    // What each open step leads to; the first is the object.
    let mut open = vec![Place::Parts(Shape::Object(ty))];
    set.walk().any(|(depth, step, leads_on)| {
        open.truncate(depth as usize);
        let place = place_of(shapes, open.last().copied().unwrap_or(Place::Else), step);
        open.push(place);
        leads_on && matches!(place, Place::Atomic)
    })
}

/// What a step leads to.
fn place_of<'a>(shapes: Shapes<'a>, place: Place<'a>, step: Step<'_>) -> Place<'a> {
    let Place::Parts(shape) = place else { return Place::Else };
    let (ty, attributes) = match (shape, step.kind) {
        (Shape::Object(id), StepKind::Field) => {
            let ty = shapes.schema.ty(id);
            let field = ty.find(step.text).and_then(|number| ty.fields.get(usize::from(number)));
            let Some(field) = field else { return Place::Else };
            (field.ty, Some(&*field.attributes))
        }
        (Shape::Map(element), StepKind::Field) => (element, None),
        (Shape::Keyed(element, _), StepKind::Key) | (Shape::Set(element), StepKind::Value) => (element, None),
        _ => return Place::Else,
    };
    match (shapes.of(ty, attributes), ty) {
        (Some(shape), _) => Place::Parts(shape),
        (None, TypeRef::Object(_) | TypeRef::Map(_) | TypeRef::List(_) | TypeRef::Union(_)) => Place::Atomic,
        (None, TypeRef::RawExtension | TypeRef::Json) => Place::Atomic,
        _ => Place::Else,
    }
}
