//! One step of a path: how it is told from others, read and written.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::FieldSetError;
use super::read::Reader;
use crate::go_text::{Escape, push_json_escaped, push_json_string, push_quoted};

/// What a step leads to. Fields stand before keys, keys before values, values before positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StepKind {
    /// `f:`: a field of a struct or a key of a map.
    Field,
    /// `k:`: the element of a list that has these keys, which stand sorted by name.
    Key,
    /// `v:`: this element of a set.
    Value,
    /// `i:`: a position in a list.
    Index,
}

impl StepKind {
    const fn prefix(self) -> &'static [u8; 2] {
        match self {
            StepKind::Field => b"f:",
            StepKind::Key => b"k:",
            StepKind::Value => b"v:",
            StepKind::Index => b"i:",
        }
    }
}

/// One step of a path, wherever it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Step<'a> {
    /// What it leads to.
    pub kind: StepKind,
    /// What stands behind the prefix in `fieldsV1`: the name of a field as it is, anything else as canonical JSON.
    pub text: &'a str,
}

impl<'a> Step<'a> {
    /// The step to a field.
    pub const fn field(name: &'a str) -> Step<'a> {
        Step { kind: StepKind::Field, text: name }
    }

    /// Reads a member's name. None: a kind of step that is not known, which is skipped as upstream skips it. A text that is not
    /// canonical is made so in `scratch`.
    pub(super) fn read(
        name: &'a str,
        offset: usize,
        scratch: &'a mut Vec<u8>,
    ) -> Result<Option<Step<'a>>, FieldSetError> {
        let malformed = FieldSetError::MalformedStep(offset);
        let Some((prefix, rest)) = name.split_at_checked(2) else { return Err(malformed) };
        scratch.clear();
        let kind = match prefix {
            "f:" => return Ok(Some(Step::field(rest))),
            "i:" => {
                let index: i64 = rest.parse().map_err(|_| malformed)?;
                scratch.extend_from_slice(itoa::Buffer::new().format(index).as_bytes());
                StepKind::Index
            }
            "v:" => {
                StepValue::read(rest).ok_or(malformed)?.push_json(scratch);
                StepKind::Value
            }
            "k:" => {
                let mut reader = Reader::new(rest);
                let mut keys = reader.keys().filter(|_| reader.is_done()).ok_or(malformed)?;
                keys.sort_by(|a, b| a.0.cmp(&b.0));
                push_keys(scratch, &keys);
                StepKind::Key
            }
            _ if prefix.ends_with(':') => return Ok(None),
            _ => return Err(malformed),
        };
        // Made of strings and ASCII.
        Ok(Some(Step { kind, text: std::str::from_utf8(scratch).unwrap_or_default() }))
    }

    /// Appends the step as a member's name, quotes included.
    pub(super) fn push_name(self, out: &mut Vec<u8>) {
        out.push(b'"');
        out.extend_from_slice(self.kind.prefix());
        push_json_escaped(out, self.text, Escape::Html);
        out.push(b'"');
    }

    /// Appends the step as upstream shows it: `.name`, `[port=80,protocol="TCP"]`.
    pub(super) fn push_shown(self, path: &mut String) {
        match self.kind {
            StepKind::Field => path.extend([".", self.text]),
            StepKind::Index => path.extend(["[", self.text, "]"]),
            StepKind::Value => {
                path.push_str("[=");
                match StepValue::read(self.text) {
                    Some(value) => value.push_shown(path),
                    None => path.push_str(self.text),
                }
                path.push(']');
            }
            StepKind::Key => {
                let keys = Reader::new(self.text).keys().unwrap_or_default();
                for (at, (name, value)) in keys.iter().enumerate() {
                    path.extend([if at == 0 { "[" } else { "," }, name, "="]);
                    value.push_shown(path);
                }
                path.push(']');
            }
        }
    }

    /// The order of two steps of one kind whose texts differ. Keys and values are compared as what they say.
    fn order_beside(self, other: Step<'_>) -> Ordering {
        let by_meaning = match self.kind {
            StepKind::Field => Ordering::Equal,
            StepKind::Key => key_order(self.text, other.text),
            StepKind::Value => StepValue::read(self.text).cmp(&StepValue::read(other.text)),
            StepKind::Index => self.text.parse::<i64>().ok().cmp(&other.text.parse().ok()),
        };
        by_meaning.then_with(|| self.text.cmp(other.text))
    }
}

/// A step that is kept by itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StepBuf {
    kind: StepKind,
    text: Box<str>,
}

impl StepBuf {
    /// The step of this kind and text.
    pub fn new(kind: StepKind, text: &str) -> StepBuf {
        StepBuf { kind, text: text.into() }
    }

    /// The step.
    pub fn as_step(&self) -> Step<'_> {
        Step { kind: self.kind, text: &self.text }
    }
}

impl PartialOrd for StepBuf {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for StepBuf {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_step().cmp(&other.as_step())
    }
}

impl PartialOrd for Step<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Step<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match self.kind.cmp(&other.kind) {
            Ordering::Equal if self.text == other.text => Ordering::Equal,
            Ordering::Equal => self.order_beside(*other),
            order => order,
        }
    }
}

/// The order of two elements by their keys: the first key that differs decides.
fn key_order(a: &str, b: &str) -> Ordering {
    if let Some(order) = plain_order(a.as_bytes(), b.as_bytes()) {
        return order;
    }
    let (mut a, mut b) = (Reader::new(a), Reader::new(b));
    if !(a.take(b'{') && b.take(b'{')) {
        return Ordering::Equal;
    }
    loop {
        let (key_of_a, key_of_b) = (a.key(), b.key());
        let order = key_of_a.cmp(&key_of_b);
        if order.is_ne() || key_of_a.is_none() {
            return order;
        }
        let _ = (a.take(b','), b.take(b','));
    }
}

/// The order of two texts that first differ inside of a string, when neither has anything escaped. Most lists have such names. A string
/// that is inside of a list or an object is not compared as one.
fn plain_order(a: &[u8], b: &[u8]) -> Option<Ordering> {
    let at = a.iter().zip(b).position(|(a, b)| a != b)?;
    let (before, (of_a, of_b)) = (a.get(..at)?, (a.get(at..)?, b.get(at..)?));
    let is_in_string = before.iter().filter(|byte| **byte == b'"').count() % 2 == 1;
    let may_be_nested = before.iter().skip(1).any(|byte| matches!(byte, b'[' | b'{'));
    if !is_in_string || may_be_nested || [before, of_a, of_b].iter().any(|text| text.contains(&b'\\')) {
        return None;
    }
    Some(match (of_a.first()?, of_b.first()?) {
        // Where one string ends, it is the shorter one.
        (b'"', _) => Ordering::Less,
        (_, b'"') => Ordering::Greater,
        (of_a, of_b) => of_a.cmp(of_b),
    })
}

/// Appends keys as they stand in a step.
fn push_keys(out: &mut Vec<u8>, keys: &[(Cow<'_, str>, StepValue<'_>)]) {
    out.push(b'{');
    for (at, (name, value)) in keys.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        push_json_string(out, name);
        out.push(b':');
        value.push_json(out);
    }
    out.push(b'}');
}

/// A scalar in a step, in the order of `value.Compare`: numbers, strings, booleans, anything else, null.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum StepValue<'a> {
    Int(i64),
    Float(f64),
    String(Cow<'a, str>),
    Bool(bool),
    /// A list or an object, as its text. No list of ours has such keys; a client may still send one.
    Other(&'a str),
    Null,
}

impl<'a> StepValue<'a> {
    /// Reads one from its JSON text.
    pub(super) fn read(text: &'a str) -> Option<StepValue<'a>> {
        let mut reader = Reader::new(text);
        reader.scalar().filter(|_| reader.is_done())
    }

    const fn rank(&self) -> u8 {
        match self {
            StepValue::Int(_) | StepValue::Float(_) => 0,
            StepValue::String(_) => 1,
            StepValue::Bool(_) => 2,
            StepValue::Other(_) => 3,
            StepValue::Null => 4,
        }
    }

    /// Appends the value as messages show it: strings as Go quotes them, all else as JSON has it.
    fn push_shown(&self, out: &mut String) {
        match self {
            StepValue::String(text) => push_quoted(out, text),
            value => {
                let mut text = Vec::new();
                value.push_json(&mut text);
                out.push_str(&String::from_utf8_lossy(&text));
            }
        }
    }

    fn push_json(&self, out: &mut Vec<u8>) {
        match self {
            StepValue::Int(value) => out.extend_from_slice(itoa::Buffer::new().format(*value).as_bytes()),
            // Only finite numbers are read.
            StepValue::Float(value) => _ = crate::number::push_json_float(out, *value),
            StepValue::String(text) => push_json_string(out, text),
            StepValue::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
            StepValue::Other(text) => out.extend_from_slice(text.as_bytes()),
            StepValue::Null => out.extend_from_slice(b"null"),
        }
    }
}

impl Eq for StepValue<'_> {}

impl PartialOrd for StepValue<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for StepValue<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (StepValue::Int(a), StepValue::Int(b)) => a.cmp(b),
            (StepValue::Float(a), StepValue::Float(b)) => a.total_cmp(b),
            (StepValue::Int(a), StepValue::Float(b)) => (*a as f64).total_cmp(b).then(Ordering::Less),
            (StepValue::Float(a), StepValue::Int(b)) => a.total_cmp(&(*b as f64)).then(Ordering::Greater),
            (StepValue::String(a), StepValue::String(b)) => a.cmp(b),
            (StepValue::Other(a), StepValue::Other(b)) => a.cmp(b),
            (StepValue::Bool(a), StepValue::Bool(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}
