//! The protobuf layout of types, worked out once from the field numbers: by number for reading, in falling order for writing.
//!
//! An embedded Go struct is a message of its own on the wire though its fields stand in the parent in JSON, so an entry may be a
//! whole layout.

use std::collections::BTreeMap;

use super::{Field, Presence, Schema, TypeRef};

/// A message as it is read.
#[derive(Debug, Default)]
pub(crate) struct MessageIn {
    /// By field number on the wire, what is there.
    pub slots: Box<[WireIn]>,
    /// The messages of embedded structs.
    pub embedded: Box<[MessageIn]>,
}

/// What a field number of a message means, in eight bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WireIn {
    pub action: Action,
    /// Whether zero and absent differ.
    pub keep_zero: bool,
    /// The number of the field in its type; of an embedded message, its place in [`MessageIn::embedded`].
    pub number: u16,
    pub ty: TypeRef,
}

/// What is done with a field that was found on the wire: the branch to take, worked out from the type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Not declared: skipped.
    Skip,
    /// A string.
    Text,
    /// A boolean or whole number.
    Number,
    /// A struct.
    Message,
    /// An element of a list or an entry of a map.
    Repeated,
    /// An embedded struct's message, whose fields belong to the same tree node.
    Embedded,
    /// Any other single value.
    Other,
}

impl WireIn {
    const UNDECLARED: WireIn = WireIn { action: Action::Skip, keep_zero: false, number: 0, ty: TypeRef::Json };

    fn field(number: u16, field: &Field) -> WireIn {
        let action = match field.ty {
            TypeRef::String => Action::Text,
            TypeRef::Bool | TypeRef::Int32 | TypeRef::Int64 => Action::Number,
            TypeRef::Object(_) => Action::Message,
            TypeRef::List(_) | TypeRef::Map(_) => Action::Repeated,
            _ => Action::Other,
        };
        let keep_zero = matches!(field.presence, Presence::Optional | Presence::Nullable);
        WireIn { action, keep_zero, number, ty: field.ty }
    }
}

/// A field of a message in writing order.
#[derive(Debug)]
pub(crate) enum WireOut {
    /// Wire number and field number.
    Field(u32, u16),
    /// Wire number and what is in the embedded message.
    Embedded(u32, Box<[WireOut]>),
}

#[derive(Default)]
struct Level {
    fields: BTreeMap<u32, u16>,
    embedded: BTreeMap<u32, Level>,
}

/// Fills in the wire tables of every type.
pub(super) fn lay_out(schema: &mut Schema) {
    for ty in &mut schema.types {
        let mut top = Level::default();
        for (number, field) in ty.fields.iter().enumerate() {
            let Some((last, path)) = field.attributes.tags.split_last() else { continue };
            let mut level = &mut top;
            for tag in path {
                level = level.embedded.entry(*tag).or_default();
            }
            level.fields.insert(*last, number as u16);
        }
        ty.wire_in = by_number(&top, &ty.fields);
        ty.wire_out = falling(&top);
    }
}

fn by_number(level: &Level, fields: &[Field]) -> MessageIn {
    let last = level.fields.keys().chain(level.embedded.keys()).max().copied().unwrap_or(0);
    let mut slots = vec![WireIn::UNDECLARED; last as usize + 1];
    let mut embedded = Vec::new();
    for (tag, inner) in &level.embedded {
        slots[*tag as usize] = WireIn { action: Action::Embedded, number: embedded.len() as u16, ..WireIn::UNDECLARED };
        embedded.push(by_number(inner, fields));
    }
    for (tag, number) in &level.fields {
        slots[*tag as usize] = WireIn::field(*number, &fields[*number as usize]);
    }
    MessageIn { slots: slots.into(), embedded: embedded.into() }
}

fn falling(level: &Level) -> Box<[WireOut]> {
    let fields = level.fields.iter().map(|(tag, field)| WireOut::Field(*tag, *field));
    let embedded = level.embedded.iter().map(|(tag, level)| WireOut::Embedded(*tag, falling(level)));
    let mut all: Vec<WireOut> = fields.chain(embedded).collect();
    all.sort_by_key(|entry| match entry {
        WireOut::Field(tag, _) | WireOut::Embedded(tag, _) => std::cmp::Reverse(*tag),
    });
    all.into()
}
