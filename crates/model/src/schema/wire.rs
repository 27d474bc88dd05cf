//! The protobuf layout of types, worked out once from the field numbers: by number for reading, in falling order for writing.
//!
//! An embedded Go struct is a message of its own on the wire though its fields stand in the parent in JSON, so an entry may be a
//! whole layout.

use std::collections::BTreeMap;

use super::{Field, Presence, Schema, TypeRef};

/// What a field number of a message means.
#[derive(Debug)]
pub(crate) enum WireIn {
    /// Not declared: skipped.
    None,
    /// The field of this number in the type, with what reading needs to know of it.
    Field { number: u16, ty: TypeRef, keep_zero: bool },
    /// An embedded struct's message, whose fields belong to the same tree node.
    Embedded(Box<[WireIn]>),
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

fn by_number(level: &Level, fields: &[Field]) -> Box<[WireIn]> {
    let last = level.fields.keys().chain(level.embedded.keys()).max().copied().unwrap_or(0);
    (0..=last)
        .map(|tag| match (level.fields.get(&tag), level.embedded.get(&tag)) {
            (Some(number), _) => {
                let field = &fields[*number as usize];
                let keep_zero = matches!(field.presence, Presence::Optional | Presence::Nullable);
                WireIn::Field { number: *number, ty: field.ty, keep_zero }
            }
            (None, Some(embedded)) => WireIn::Embedded(by_number(embedded, fields)),
            (None, None) => WireIn::None,
        })
        .collect()
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
