//! Why a body could not be read, in the words that clients of the API server know.

use thiserror::Error;

/// A body that is not what its type says. The text is what follows `cannot be handled as a Pod: ` in upstream's answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Not JSON.
    #[error("invalid character {} {context}", quote(*character))]
    Syntax {
        /// The byte that does not belong there.
        character: char,
        /// Where it stands: `looking for beginning of value`.
        context: &'static str,
        /// Its offset in the body.
        offset: usize,
    },
    /// The body ends in the middle of a value.
    #[error("unexpected end of JSON input")]
    UnexpectedEnd,
    /// Nested deeper than [`super::DEPTH_MAX`].
    #[error("exceeded max depth")]
    TooDeep,
    /// A value of another type than the field's.
    #[error("json: cannot unmarshal {found} into Go struct field {place} of type {wanted}")]
    Mismatch {
        /// What the JSON holds: `number`, `string`, `number 1.5`, ...
        found: String,
        /// The struct's Go name and the path of field names from the top: `Taint.spec.taints.effect`.
        place: String,
        /// The Go type wanted, as far as the facts name it.
        wanted: String,
    },
    /// The top-level value is not an object.
    #[error("json: cannot unmarshal {found} into Go value of type {wanted}")]
    NotAnObject {
        /// What the JSON holds.
        found: &'static str,
        /// The Go type wanted.
        wanted: String,
    },
    /// A string that its type cannot read: a time, a quantity, base64.
    #[error("{0}")]
    Value(String),
    /// Not protobuf of this type: the whole text, for not all of upstream's begin alike.
    #[error("{0}")]
    Wire(&'static str),
    /// A protobuf field with a wire type that its declaration does not have.
    #[error("proto: wrong wireType = {wire_type} for field {field}")]
    WireType {
        /// What was found.
        wire_type: u8,
        /// The field's JSON name.
        field: String,
    },
    /// More than the 512 MiB that a tree can point into. Body limits are far below.
    #[error("the object is too large")]
    TooLarge,
}

/// An error on its way out: a pointer, so that an answer without one fits in registers.
pub(super) type Failure = Box<DecodeError>;

/// A character as Go's `encoding/json` quotes it in errors.
fn quote(character: char) -> String {
    match character {
        '\'' => r"'\''".to_owned(),
        '"' => "'\"'".to_owned(),
        c if (c as u32) < 0x20 || c == '\u{7f}' => match c {
            '\n' => r"'\n'".to_owned(),
            '\t' => r"'\t'".to_owned(),
            '\r' => r"'\r'".to_owned(),
            c => format!("'\\x{:02x}'", c as u32),
        },
        c => format!("'{c}'"),
    }
}
