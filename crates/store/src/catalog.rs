//! What the store must know about values without knowing what they are: which belong together, which words they are found
//! by, and whether they are written as they would be written today.
//!
//! The API server implements [`Catalog`] over its resources; an engine asks it when an entry comes into memory, from a
//! writer, from the disk or from etcd.

use std::{
    hash::{DefaultHasher, Hasher as _},
    ops::Range,
    time::Duration,
};

use bytes::Bytes;

use crate::engine::Source;

/// Answers an engine's questions about keys and values. Pure: the same question has the same answer. What is not said is that of
/// values that say nothing: one ring, no words, one form.
pub trait Catalog: Send + Sync + 'static {
    /// How many rings of events there are; at least one.
    fn rings(&self) -> usize {
        1
    }

    /// The ring that changes of a key go to, below [`Catalog::rings`]. All keys of a resource have the same.
    fn ring(&self, _key: &str) -> usize {
        0
    }

    /// The name of a ring, for metrics.
    fn ring_name(&self, _ring: usize) -> &str {
        "all"
    }

    /// What the value says about itself. A value that cannot be read gets [`Index::unreadable`].
    fn index(&self, _key: &str, _value: &[u8]) -> Index {
        Index::default()
    }

    /// The form that a value of this key is written in today. A value of another epoch is renewed when it is read.
    fn epoch(&self, _key: &str) -> u32 {
        0
    }

    /// The value as it would be written today; none when it is the same or cannot be read.
    fn renew(&self, _key: &str, _value: &Bytes, _epoch: u32) -> Option<Bytes> {
        None
    }

    /// For how long what is written under the key stays, if not for ever.
    fn lifetime(&self, _key: &str) -> Option<Duration> {
        None
    }

    /// The value as upstream's API server writes it to etcd. Values that say nothing are the same there.
    fn to_etcd(&self, _key: &str, value: &Bytes) -> Result<Bytes, Source> {
        Ok(value.clone())
    }

    /// What etcd holds, as it is stored here.
    fn own_form(&self, _key: &str, held: &Bytes) -> Result<Bytes, Source> {
        Ok(held.clone())
    }
}

/// A catalog of values that say nothing: one ring, no words. For tests of engines.
#[derive(Clone, Copy, Debug, Default)]
pub struct Opaque;

impl Catalog for Opaque {}

/// A word that entries are found by: a label with its value, or a field with its value. Words that share a hash are told
/// apart by looking at the entries, so a hash is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(u64);

impl Term {
    /// The word of a label.
    pub fn label(name: &str, value: &str) -> Term {
        Term::of(("label", name, value))
    }

    /// The word of a selectable field, by its number.
    pub fn field(number: usize, value: &str) -> Term {
        Term::of(("field", number, value))
    }

    fn of(word: impl std::hash::Hash) -> Term {
        let mut hasher = DefaultHasher::new();
        word.hash(&mut hasher);
        Term(hasher.finish())
    }
}

/// Values are below 2 GiB by far ([`crate::Limits`]).
///
/// A piece of text: of the value, or of the index's own where the value has it escaped.
#[derive(Clone, Copy, Debug)]
struct Piece {
    at: u32,
    len: u32,
}

/// Set in [`Piece::at`] when the text is the index's own.
const OWN: u32 = 1 << 31;

/// What a value says about itself: its labels, its selectable fields, and where in it things are. It borrows from the
/// value, which comes with every question.
#[derive(Clone, Debug, Default)]
pub struct Index {
    /// Names and values of labels, by name, and then the fields.
    pieces: Box<[Piece]>,
    own: Box<str>,
    labels: u16,
    /// Fields with a set bit are found by term.
    posted: u16,
    /// Where the version belongs, and where the metadata ends.
    hole: u32,
    metadata_end: u32,
    is_deleting: bool,
    is_unreadable: bool,
}

/// A text that an [`Index`] is made of.
#[derive(Clone, Debug)]
pub enum Text {
    /// It stands in the value, there.
    In(Range<usize>),
    /// The value has it in another form.
    Own(String),
}

impl Index {
    /// The index of a value that cannot be read; whoever serves it must refuse.
    pub fn unreadable() -> Index {
        Index { is_unreadable: true, ..Index::default() }
    }

    /// Whether the value could not be read.
    pub fn is_unreadable(&self) -> bool {
        self.is_unreadable
    }

    /// Offset where the version belongs.
    pub fn hole(&self) -> usize {
        self.hole as usize
    }

    /// Offset behind the metadata.
    pub fn metadata_end(&self) -> usize {
        self.metadata_end as usize
    }

    /// Whether the object is being deleted.
    pub fn is_deleting(&self) -> bool {
        self.is_deleting
    }

    /// Labels, by name.
    pub fn labels<'a>(&'a self, value: &'a [u8]) -> impl Iterator<Item = (&'a str, &'a str)> {
        let pieces = self.pieces.get(..2 * usize::from(self.labels)).unwrap_or_default();
        pieces.chunks_exact(2).filter_map(|pair| match pair {
            [name, held] => Some((self.text(value, *name), self.text(value, *held))),
            _ => None,
        })
    }

    /// A label.
    pub fn label<'a>(&'a self, value: &'a [u8], name: &str) -> Option<&'a str> {
        self.labels(value).find(|(held, _)| *held == name).map(|(_, value)| value)
    }

    /// A field by its number; empty when there is none.
    pub fn field<'a>(&'a self, value: &'a [u8], number: usize) -> &'a str {
        self.pieces.get(2 * usize::from(self.labels) + number).map_or("", |piece| self.text(value, *piece))
    }

    /// The words that the entry is found by.
    pub fn terms(&self, value: &[u8]) -> Vec<Term> {
        let mut terms: Vec<Term> = self.labels(value).map(|(name, value)| Term::label(name, value)).collect();
        for number in (0..u16::BITS as usize).filter(|number| self.posted & (1 << number) != 0) {
            let held = self.field(value, number);
            if !held.is_empty() {
                terms.push(Term::field(number, held));
            }
        }
        terms
    }

    fn text<'a>(&'a self, value: &'a [u8], piece: Piece) -> &'a str {
        let start = (piece.at & !OWN) as usize;
        let range = start..start + piece.len as usize;
        if piece.at & OWN != 0 {
            return self.own.get(range).unwrap_or_default();
        }
        value.get(range).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default()
    }

    /// Bytes on the heap.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val::<[Piece]>(&self.pieces) + self.own.len()
    }
}

/// Collects an [`Index`] of one value.
#[derive(Default)]
pub struct IndexBuilder {
    labels: Vec<(Text, Text)>,
    fields: Vec<Text>,
    index: Index,
}

impl IndexBuilder {
    /// Says where the version belongs and where the metadata ends.
    pub fn places(&mut self, hole: usize, metadata_end: usize) {
        self.index.hole = u32::try_from(hole).unwrap_or(u32::MAX);
        self.index.metadata_end = u32::try_from(metadata_end).unwrap_or(u32::MAX);
    }

    /// Says that the object is being deleted.
    pub fn deleting(&mut self) {
        self.index.is_deleting = true;
    }

    /// Adds a label, in the order of names.
    pub fn label(&mut self, name: Text, value: Text) {
        self.labels.push((name, value));
    }

    /// Adds the next field; `posted` is whether objects are found by it.
    pub fn field(&mut self, value: Text, posted: bool) {
        if posted && self.fields.len() < u16::BITS as usize {
            self.index.posted |= 1 << self.fields.len();
        }
        self.fields.push(value);
    }

    /// The index. More labels than can be counted are left out, which no valid object has.
    pub fn finish(self) -> Index {
        let IndexBuilder { mut labels, fields, mut index } = self;
        labels.truncate(usize::from(u16::MAX));
        index.labels = labels.len() as u16;
        let mut own = String::new();
        let mut pieces = Vec::with_capacity(2 * labels.len() + fields.len());
        let texts = labels.into_iter().flat_map(|(name, value)| [name, value]).chain(fields);
        for text in texts {
            pieces.push(match text {
                Text::In(range) => Piece { at: range.start as u32 & !OWN, len: range.len() as u32 },
                Text::Own(text) => {
                    let at = own.len() as u32 | OWN;
                    own.push_str(&text);
                    Piece { at, len: text.len() as u32 }
                }
            });
        }
        index.pieces = pieces.into();
        index.own = own.into();
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_reads_what_was_put_into_it() {
        let value = br#"{"a":"web","b":"x\ny"}"#;
        let mut builder = IndexBuilder::default();
        builder.places(3, 9);
        builder.label(Text::In(2..3), Text::In(6..9));
        builder.label(Text::Own("b".to_owned()), Text::Own("x\ny".to_owned()));
        builder.field(Text::In(6..9), true);
        builder.field(Text::Own(String::new()), true);
        builder.field(Text::Own("free".to_owned()), false);
        let index = builder.finish();
        assert_eq!(index.labels(value).collect::<Vec<_>>(), [("a", "web"), ("b", "x\ny")]);
        assert_eq!((index.label(value, "b"), index.label(value, "c")), (Some("x\ny"), None));
        let fields: Vec<&str> = (0..4).map(|number| index.field(value, number)).collect();
        assert_eq!(fields, ["web", "", "free", ""]);
        assert_eq!(index.terms(value), [Term::label("a", "web"), Term::label("b", "x\ny"), Term::field(0, "web")]);
        assert_eq!((index.hole(), index.metadata_end()), (3, 9));
    }
}
