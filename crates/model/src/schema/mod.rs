//! The schema machine: one table of facts about types drives reading, checking, defaulting, pruning and writing.
//!
//! A [`Schema`] is loaded once from the text tables ([`facts`]) and then only read. Types and fields are numbers:
//! a tree node holds a field's number, never its name. Answers to the Go types of the 1.36 API and their struct tags
//! (`json`, `protobuf`, `patchStrategy`, `listType`, ...), which `../kinds/facts` records.
//!
//! Reading order: `facts` (the table's text), `wire` (protobuf layout), then the codecs.

mod build;
pub mod canonical;
mod decode_error;
pub mod decode_json;
pub mod decode_protobuf;
pub mod default;
pub mod encode_json;
pub mod encode_protobuf;
pub mod facts;
pub mod field_set;
pub mod managed;
pub(crate) mod scan;
mod wire;

use std::collections::HashMap;

pub use decode_error::DecodeError;
pub use decode_json::FieldValidation;
pub use facts::FactsError;
pub(crate) use wire::{MessageIn, WireOut};

/// Deepest nesting of objects, lists and maps that any decoder accepts, as in Go's `encoding/json`.
pub const DEPTH_MAX: usize = 10_000;
/// Longest body that is read. Trees name offsets by 32 bits, and escaping may make one byte six.
const BODY_LEN_MAX: usize = u32::MAX as usize / 8;
/// Most fields that one type may declare: a [`FieldSet`] is one machine word pair.
pub const FIELDS_MAX: usize = 128;

/// A type of the schema, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(pub u16);

/// What a value is, as the schema declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TypeRef {
    /// A string.
    String,
    /// A boolean.
    Bool,
    /// A signed 32 bit number.
    Int32,
    /// A signed 64 bit number.
    Int64,
    /// A 64 bit floating point number.
    Float64,
    /// Base64 text in JSON, bytes on the wire.
    Bytes,
    /// `resource.Quantity`: a canonical string, or a number in JSON input.
    Quantity,
    /// `metav1.Time`: whole seconds in UTC.
    Time,
    /// `metav1.MicroTime`: microseconds in UTC.
    MicroTime,
    /// `intstr.IntOrString`.
    IntOrString,
    /// `metav1.FieldsV1`: free JSON, kept as its text.
    FieldsV1,
    /// `runtime.RawExtension`: free JSON, kept as its text; `null` is nothing.
    RawExtension,
    /// `apiextensions.JSON` and `any`: free JSON, kept as its text; `null` is a value.
    Json,
    /// One of two forms, told apart by how the JSON value begins (`JSONSchemaPropsOrBool` and its like).
    Union(u16),
    /// A list; the number is that of its element in [`Schema::element`].
    List(u16),
    /// A map from strings; the number is that of its value in [`Schema::element`].
    Map(u16),
    /// A struct.
    Object(TypeId),
}

/// When a field is written, which is also whether absent and zero differ. The Go counterpart is pointer-ness and `omitempty`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// A pointer with `omitempty`: absent and zero differ, absent is not written.
    Optional,
    /// A pointer without `omitempty`: absent is written as `null`.
    Nullable,
    /// No `omitempty`: the zero value is written when absent.
    Always,
    /// `omitempty`: a zero value is absent. A struct is never zero to Go, so it is written all the same.
    OmitEmpty,
    /// `omitzero`: as [`Presence::OmitEmpty`], and a zero struct is left out too.
    OmitZero,
}

/// A set of field numbers of one type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FieldSet(pub u128);

impl FieldSet {
    /// Adds a field and says whether it was in the set before.
    #[inline(always)]
    pub fn insert(&mut self, field: u16) -> bool {
        // Few types have a second half: one word is a third of the work of two.
        if field < 64 {
            let bit = 1u64 << field;
            let held = self.0 as u64 & bit != 0;
            self.0 |= u128::from(bit);
            return held;
        }
        let bit = 1u128 << (field & 127);
        let held = self.0 & bit != 0;
        self.0 |= bit;
        held
    }
    /// Takes a field out.
    #[inline]
    pub(crate) fn remove(&mut self, field: u16) {
        self.0 &= !(1u128 << (field & 127));
    }
    /// The lowest field.
    #[inline]
    pub(crate) fn first(self) -> Option<u16> {
        (self.0 != 0).then(|| self.0.trailing_zeros() as u16)
    }
    /// The highest field.
    #[inline]
    pub(crate) fn last(self) -> Option<u16> {
        self.0.checked_ilog2().map(|last| last as u16)
    }
    /// The fields in rising order.
    pub(crate) fn iter(mut self) -> impl Iterator<Item = u16> {
        std::iter::from_fn(move || {
            let first = self.first()?;
            self.remove(first);
            Some(first)
        })
    }
    /// Whether the field is in the set.
    #[inline]
    pub fn contains(self, field: u16) -> bool {
        self.0 >> (field & 127) & 1 == 1
    }
}

/// One field of a type. Fields of embedded structs stand in the embedding type, as in JSON.
#[derive(Debug)]
pub struct Field {
    /// The JSON name.
    pub name: Box<str>,
    /// `"name":` as it stands in JSON output.
    pub(crate) key: Box<[u8]>,
    /// The field's type.
    pub ty: TypeRef,
    /// When it is written.
    pub presence: Presence,
    /// Whether a zero value that was read is dropped at once (it could not be told from absent).
    pub(crate) drop_zero: bool,
    /// What OpenAPI publishes and merging needs. Apart, so that what the codecs touch stays small.
    pub attributes: Box<Attributes>,
}

/// The facts about a field that are not about its encoding.
#[derive(Debug, Default)]
pub struct Attributes {
    /// Protobuf field numbers from the type's message down to the field: more than one where an embedded struct lies between;
    /// none where the field is not on the wire (`kind` and `apiVersion`).
    pub tags: Box<[u32]>,
    /// The Go names of the embedded structs that the field comes from, outermost first: error messages have them in paths.
    pub embedded: Box<[Box<str>]>,
    /// Required, as OpenAPI says.
    pub required: bool,
    /// The default that OpenAPI publishes, as JSON text.
    pub default: Option<Box<str>>,
    /// The strategic merge strategy: `merge`, `replace`, `retainKeys`, `merge,retainKeys`.
    pub patch_strategy: Option<Box<str>>,
    /// The strategic merge key.
    pub patch_merge_key: Option<Box<str>>,
    /// `map`, `set` or `atomic`.
    pub list_type: Option<Box<str>>,
    /// The keys of a `map` list.
    pub list_map_keys: Vec<Box<str>>,
    /// `granular` or `atomic`.
    pub map_type: Option<Box<str>>,
    /// The allowed values, sorted.
    pub enum_values: Vec<Box<str>>,
    /// The allowed values of the items, sorted.
    pub item_enum: Vec<Box<str>>,
    /// The OpenAPI format.
    pub format: Option<Box<str>>,
}

/// A struct of the API.
#[derive(Debug)]
pub struct Type {
    /// The OpenAPI definition's name without `io.k8s.`: `api.core.v1.Pod`.
    pub name: Box<str>,
    /// The group, version and kinds it is served as: `apps/v1/Deployment`, `v1/Pod`.
    pub gvks: Vec<Box<str>>,
    /// Whether the whole struct is one value to server-side apply.
    pub map_type: Option<Box<str>>,
    /// `x-kubernetes-unions` as JSON text.
    pub unions: Option<Box<str>>,
    /// Its fields in declared order.
    pub fields: Vec<Field>,
    /// Open-addressed table from the hash of a name to a field number.
    index: Box<[u16]>,
    /// By field number its place in the order of names, and by place the number.
    ranks: Box<[(u16, u16)]>,
    /// `always`, by those places.
    pub(crate) always_by_rank: FieldSet,
    /// What reading JSON needs to know of each field, by its number.
    pub(crate) slots: Box<[Slot]>,
    /// Fields that are written even when absent.
    pub(crate) always: FieldSet,
    /// Its message, for reading.
    pub(crate) wire_in: MessageIn,
    /// The fields in falling order of their wire numbers: messages are written backwards.
    pub(crate) wire_out: Box<[WireOut]>,
    /// How the zero value is written.
    pub(crate) zero_json: Box<[u8]>,
    /// How the zero value is written on the wire.
    pub(crate) zero_wire: Box<[u8]>,
    /// Fields that have a default that changes anything, or one below them.
    pub(crate) defaults: FieldSet,
}

impl Type {
    /// The number of the field of this JSON name. Names are case-sensitive.
    #[inline]
    pub fn find(&self, name: &str) -> Option<u16> {
        let number = self.find_key(&NameKey::new(name.as_bytes()))?;
        if name.len() <= NameKey::WHOLE_MAX || *self.fields.get(number as usize)?.name == *name {
            return Some(number);
        }
        // Another long name begins the same way.
        self.fields.iter().position(|field| *field.name == *name).map(|number| number as u16)
    }

    /// The number of the field of this key. Above [`NameKey::WHOLE_MAX`] bytes the name may still be another.
    #[inline(always)]
    pub(crate) fn find_key(&self, key: &NameKey) -> Option<u16> {
        let mask = self.index.len().wrapping_sub(1);
        let mut at = key.hash() as usize & mask;
        loop {
            let number = *self.index.get(at)?;
            if self.slots.get(number as usize)?.key == *key {
                return Some(number);
            }
            at = (at + 1) & mask;
        }
    }

    /// Whether this type or one below it has a default that changes anything.
    #[inline]
    pub(crate) fn has_defaults(&self) -> bool {
        self.defaults != FieldSet::default()
    }

    /// The place of a field in the order of names.
    #[inline]
    pub(crate) fn rank(&self, number: u16) -> u16 {
        self.ranks.get(number as usize).map_or(number, |(rank, _)| *rank)
    }

    /// The number of the field that has this place in the order of names.
    #[inline]
    pub(crate) fn number(&self, rank: u16) -> u16 {
        self.ranks.get(rank as usize).map_or(rank, |(_, number)| *number)
    }

    /// The Go name of the type: `Pod`.
    pub fn short_name(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or(&self.name)
    }
}

/// The two forms of a [`TypeRef::Union`]; the numbers are those of its message.
#[derive(Debug)]
pub struct Union {
    /// Its OpenAPI name.
    pub name: Box<str>,
    /// What stands for a JSON object, and its wire number.
    pub object: (TypeId, u32),
    /// The other form.
    pub other: Alternative,
}

/// The form of a union that is not an object.
#[derive(Clone, Copy, Debug)]
pub enum Alternative {
    /// A list of these, with its wire number.
    List(TypeRef, u32),
    /// A boolean, with its wire number.
    Bool(u32),
}

/// All types, fixed once loaded.
#[derive(Debug)]
pub struct Schema {
    pub(crate) types: Vec<Type>,
    pub(crate) elements: Vec<TypeRef>,
    pub(crate) unions: Vec<Union>,
    by_name: HashMap<Box<str>, TypeId>,
    by_gvk: HashMap<Box<str>, TypeId>,
}

impl Schema {
    /// Loads the tables of `kinds/facts`.
    pub fn load<'a>(tables: impl IntoIterator<Item = &'a str>) -> Result<Schema, FactsError> {
        build::build(tables)
    }

    /// The type behind a number of this schema.
    #[inline]
    pub fn ty(&self, id: TypeId) -> &Type {
        // A TypeId is only made by this schema's loader, so the first type stands in for an impossible one.
        self.types.get(id.0 as usize).unwrap_or(&self.types[0])
    }

    /// What a list or map of this number holds.
    #[inline]
    pub fn element(&self, number: u16) -> TypeRef {
        self.elements.get(number as usize).copied().unwrap_or(TypeRef::Json)
    }

    /// The forms of a union.
    #[inline]
    pub fn union(&self, number: u16) -> &Union {
        &self.unions[(number as usize).min(self.unions.len() - 1)]
    }

    /// The struct type that is found below a type, through lists and maps.
    pub fn below(&self, mut ty: TypeRef) -> Option<TypeId> {
        loop {
            ty = match ty {
                TypeRef::Object(id) => return Some(id),
                TypeRef::Union(number) => return Some(self.union(number).object.0),
                TypeRef::List(number) | TypeRef::Map(number) => self.element(number),
                _ => return None,
            };
        }
    }

    /// The type of an OpenAPI name without `io.k8s.`: `api.core.v1.Pod`.
    pub fn by_name(&self, name: &str) -> Option<TypeId> {
        self.by_name.get(name).copied()
    }

    /// The type of an `apiVersion` and kind: `("apps/v1", "Deployment")`.
    pub fn by_kind(&self, api_version: &str, kind: &str) -> Option<TypeId> {
        self.by_gvk.get(format!("{api_version}/{kind}").as_str()).copied()
    }

    /// All types, in the order of the tables.
    pub fn types(&self) -> impl Iterator<Item = (TypeId, &Type)> {
        self.types.iter().enumerate().map(|(number, ty)| (TypeId(number as u16), ty))
    }

    /// The zero value of a type as JSON text, for what is written though absent.
    pub(crate) fn zero_json(&self, ty: TypeRef, presence: Presence) -> &[u8] {
        match ty {
            _ if presence == Presence::Nullable => b"null",
            TypeRef::String => b"\"\"",
            TypeRef::Bool => b"false",
            TypeRef::Int32 | TypeRef::Int64 | TypeRef::Float64 | TypeRef::IntOrString => b"0",
            TypeRef::Quantity => b"\"0\"",
            TypeRef::Object(id) => &self.ty(id).zero_json,
            _ => b"null",
        }
    }
}

/// A field as the JSON decoder sees it: all of it in half a cache line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub key: NameKey,
    pub ty: TypeRef,
    pub drop_zero: bool,
}

/// The first bytes of a name, and in the last byte its length. Up to [`NameKey::WHOLE_MAX`] bytes that is all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NameKey([u64; 3]);

impl NameKey {
    /// Names of this length and less are equal when their keys are.
    pub const WHOLE_MAX: usize = 23;
    /// How much text is looked at for a short name: it, and the quote behind it.
    const WINDOW: usize = 24;

    pub fn new(name: &[u8]) -> NameKey {
        let word = |at: usize| padded(name.get(at..).unwrap_or_default());
        let len = name.len().min(u8::MAX as usize);
        NameKey([word(0), word(8), (word(16) << 8 >> 8) | Self::len(len)])
    }

    const fn len(len: usize) -> u64 {
        (len as u64) << 56
    }

    /// The key of the name that ends in front of the first quote, and its length, when it is a short one.
    #[inline(always)]
    pub fn up_to_quote(text: &[u8; Self::WINDOW]) -> Option<(NameKey, usize)> {
        let (first, end) = word_up_to_quote(text, 0);
        if end < 8 {
            return Some((NameKey([first, 0, Self::len(end)]), end));
        }
        let (second, end) = word_up_to_quote(text, 8);
        if end < 8 {
            return Some((NameKey([first, second, Self::len(8 + end)]), 8 + end));
        }
        let (third, end) = word_up_to_quote(text, 16);
        (end < 8).then_some((NameKey([first, second, third | Self::len(16 + end)]), 16 + end))
    }

    #[inline(always)]
    pub const fn hash(&self) -> u32 {
        let NameKey([first, second, third]) = *self;
        let mixed = first ^ second.rotate_left(29) ^ third.rotate_left(47);
        (mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as u32
    }
}

/// The eight bytes at an offset as far as the first quote, as one number, and where the quote is: 8 for nowhere.
#[inline(always)]
fn word_up_to_quote(text: &[u8; NameKey::WINDOW], at: usize) -> (u64, usize) {
    let word = text.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |chunk| u64::from_le_bytes(*chunk));
    let quotes = scan::bytes_equal(word, b'"');
    if quotes == 0 {
        return (word, 8);
    }
    let lowest = quotes & quotes.wrapping_neg();
    (word & ((lowest >> 7) - 1), (quotes.trailing_zeros() / 8) as usize)
}

/// The first eight bytes as one number, with zeros behind a shorter text.
fn padded(bytes: &[u8]) -> u64 {
    match bytes.first_chunk() {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}
