//! Documents to JSON: aliases expanded, merge keys merged, keys made strings and sorted.

use std::borrow::Cow;

use base64::Engine as _;

use super::node::{Document, Kind, NodeId, ScalarTag};
use super::scalar::{Value, resolve};
use super::{Converted, DUPLICATES_MAX, JSON_LEN_MAX, WORK_MAX, YamlError};
use crate::go_text::{push_json_string, quoted};
use crate::number::{float_text, push_json_float};

/// Below so many aliased nodes nothing is excessive.
const ALIASED_NODES_MIN: usize = 100;
/// Below so many nodes nothing is excessive.
const DECODED_NODES_MIN: usize = 1_000;
/// Up to so many nodes nearly all may come from aliases.
const RATIO_LOW: usize = 400_000;
/// From so many nodes on only a tenth may.
const RATIO_HIGH: usize = 4_000_000;

/// A member of an object.
struct Entry<'a> {
    key: Cow<'a, str>,
    /// What the key was before it became a string; two different ones are no duplicate.
    origin: Option<Value>,
    value: NodeId,
    /// Whether the value stands behind so many aliases more than the object.
    aliases: usize,
}

/// What is written next.
enum Step<'a> {
    /// A value, and how many aliases lead to it.
    Value(NodeId, usize),
    /// The items of a list from this one on.
    Items { next: Option<NodeId>, is_first: bool, aliases: usize },
    /// The members of an object that are left.
    Members { entries: std::vec::IntoIter<Entry<'a>>, is_first: bool },
    /// The end of what an alias stands for.
    Leave(NodeId),
}

struct Reader<'a> {
    document: &'a Document,
    out: Vec<u8>,
    steps: Vec<Step<'a>>,
    /// Aliases that are being expanded.
    entered: std::collections::HashSet<NodeId>,
    decoded: usize,
    aliased: usize,
    work: usize,
    duplicates: Vec<(u32, String)>,
}

pub(super) fn to_json(document: &Document) -> Result<Converted, YamlError> {
    let Some(root) = document.root() else { return Ok(Converted { json: b"null".to_vec(), duplicates: None }) };
    let mut reader = Reader {
        document,
        out: Vec::new(),
        steps: vec![Step::Value(root, 0)],
        entered: std::collections::HashSet::new(),
        decoded: 0,
        aliased: 0,
        work: 0,
        duplicates: Vec::new(),
    };
    while let Some(step) = reader.steps.pop() {
        reader.step(step)?;
        if reader.out.len() > JSON_LEN_MAX {
            return Err(excessive());
        }
    }
    reader.duplicates.sort_by_key(|(line, _)| *line);
    let duplicates = (!reader.duplicates.is_empty()).then(|| {
        let mut text = String::from("yaml: unmarshal errors:");
        for (line, problem) in &reader.duplicates {
            text.push_str(&format!("\n  line {line}: {problem}"));
        }
        text
    });
    Ok(Converted { json: reader.out, duplicates })
}

fn excessive() -> YamlError {
    YamlError::Meaning("document contains excessive aliasing".to_owned())
}

fn wants_map() -> YamlError {
    YamlError::Meaning("map merge requires map or sequence of maps as the value".to_owned())
}

impl<'a> Reader<'a> {
    fn step(&mut self, step: Step<'a>) -> Result<(), YamlError> {
        match step {
            Step::Value(id, aliases) => self.value(id, aliases)?,
            Step::Leave(id) => {
                self.entered.remove(&id);
            }
            Step::Items { next: None, .. } => self.out.push(b']'),
            Step::Items { next: Some(id), is_first, aliases } => {
                if !is_first {
                    self.out.push(b',');
                }
                let next = self.document.next_sibling(id);
                self.steps.push(Step::Items { next, is_first: false, aliases });
                self.steps.push(Step::Value(id, aliases));
            }
            Step::Members { mut entries, is_first } => {
                let Some(entry) = entries.next() else {
                    self.out.push(b'}');
                    return Ok(());
                };
                if !is_first {
                    self.out.push(b',');
                }
                push_json_string(&mut self.out, &entry.key);
                self.out.push(b':');
                self.steps.push(Step::Members { entries, is_first: false });
                self.steps.push(Step::Value(entry.value, entry.aliases));
            }
        }
        Ok(())
    }

    /// Counts a node as goyaml does; too large a part from aliases is refused.
    fn count(&mut self, aliases: usize) -> Result<(), YamlError> {
        self.decoded += 1;
        self.aliased += usize::from(aliases > 0);
        if self.aliased <= ALIASED_NODES_MIN || self.decoded <= DECODED_NODES_MIN {
            return Ok(());
        }
        let position = self.decoded.clamp(RATIO_LOW, RATIO_HIGH) - RATIO_LOW;
        let allowed = 0.99 - 0.89 * (position as f64 / (RATIO_HIGH - RATIO_LOW) as f64);
        if self.aliased as f64 / self.decoded as f64 > allowed {
            return Err(excessive());
        }
        Ok(())
    }

    /// Returns a scalar's text; every look at it is work.
    fn text(&mut self, start: u32, end: u32) -> Result<&'a str, YamlError> {
        let text = self.document.text(start, end);
        self.work = self.work.saturating_add(text.len());
        if self.work > WORK_MAX {
            return Err(excessive());
        }
        Ok(text)
    }

    fn enter(&mut self, alias: NodeId) -> Result<(), YamlError> {
        if !self.entered.insert(alias) {
            let name = self.document.alias_name(alias);
            return Err(YamlError::Meaning(format!("anchor '{name}' value contains itself")));
        }
        Ok(())
    }

    fn value(&mut self, id: NodeId, aliases: usize) -> Result<(), YamlError> {
        self.count(aliases)?;
        match self.document.kind(id) {
            Kind::Alias(target) => {
                self.enter(id)?;
                self.steps.push(Step::Leave(id));
                self.steps.push(Step::Value(target, aliases + 1));
            }
            Kind::Sequence => {
                self.out.push(b'[');
                let next = self.document.first_child(id);
                self.steps.push(Step::Items { next, is_first: true, aliases });
            }
            Kind::Mapping => {
                self.out.push(b'{');
                let entries = self.entries(id, aliases)?.into_iter();
                self.steps.push(Step::Members { entries, is_first: true });
            }
            Kind::Scalar { tag, start, end, .. } => {
                let text = self.text(start, end)?;
                match resolve(text, tag)? {
                    None if tag == ScalarTag::Binary => push_json_string(&mut self.out, &binary(text)?),
                    None => push_json_string(&mut self.out, text),
                    Some(value) => push_value(&mut self.out, value)?,
                }
            }
        }
        Ok(())
    }

    /// Collects the members of an object in the order in which they are set, sorts them, and keeps the last of equals.
    fn entries(&mut self, mapping: NodeId, aliases: usize) -> Result<Vec<Entry<'a>>, YamlError> {
        let mut entries = Vec::new();
        // Objects that are being read, the next child of each: a merge key opens another before the first goes on.
        let mut open = vec![Merge::Children(self.document.first_child(mapping), aliases)];
        while let Some(merge) = open.pop() {
            match merge {
                Merge::Leave(alias) => {
                    self.entered.remove(&alias);
                }
                Merge::Children(None, _) => {}
                Merge::Children(Some(key), depth) => {
                    let Some(value) = self.document.next_sibling(key) else { continue };
                    open.push(Merge::Children(self.document.next_sibling(value), depth));
                    if self.is_merge(key) {
                        self.open_merge(&mut open, value, depth, true)?;
                        continue;
                    }
                    let (key, origin) = self.key(key, depth)?;
                    entries.push(Entry { key, origin, value, aliases: depth });
                }
                Merge::Item(item, depth) => self.open_merge(&mut open, item, depth, false)?,
            }
        }
        entries.sort_by(|a: &Entry<'_>, b| a.key.cmp(&b.key));
        let mut kept: Vec<Entry<'a>> = Vec::with_capacity(entries.len());
        for entry in entries {
            match kept.last_mut() {
                Some(last) if last.key == entry.key => {
                    if last.origin == entry.origin {
                        self.report(&entry);
                    }
                    *last = entry;
                }
                _ => kept.push(entry),
            }
        }
        Ok(kept)
    }

    fn report(&mut self, entry: &Entry<'_>) {
        if self.duplicates.len() >= DUPLICATES_MAX {
            return;
        }
        let key = match entry.origin {
            None => quoted(&entry.key),
            Some(Value::Float(value)) => float_text(value),
            Some(_) => entry.key.clone().into_owned(),
        };
        self.duplicates.push((self.document.line(entry.value), format!("key {key} already set in map")));
    }

    fn is_merge(&self, key: NodeId) -> bool {
        let Kind::Scalar { tag, start, end, .. } = self.document.kind(key) else { return false };
        matches!(tag, ScalarTag::Plain | ScalarTag::Merge) && self.document.text(start, end) == "<<"
    }

    /// Opens what a merge key stands for: an object, or a list of them, the first of which wins.
    fn open_merge(
        &mut self,
        open: &mut Vec<Merge>,
        id: NodeId,
        aliases: usize,
        may_be_list: bool,
    ) -> Result<(), YamlError> {
        self.count(aliases)?;
        match self.document.kind(id) {
            Kind::Mapping => open.push(Merge::Children(self.document.first_child(id), aliases)),
            Kind::Alias(target) if self.document.kind(target) == Kind::Mapping => {
                self.enter(id)?;
                self.count(aliases + 1)?;
                open.push(Merge::Leave(id));
                open.push(Merge::Children(self.document.first_child(target), aliases + 1));
            }
            Kind::Sequence if may_be_list => {
                let mut item = self.document.first_child(id);
                while let Some(id) = item {
                    open.push(Merge::Item(id, aliases));
                    item = self.document.next_sibling(id);
                }
            }
            _ => return Err(wants_map()),
        }
        Ok(())
    }

    /// Returns a key as a string, and what it was.
    fn key(&mut self, id: NodeId, aliases: usize) -> Result<(Cow<'a, str>, Option<Value>), YamlError> {
        self.count(aliases)?;
        let id = match self.document.kind(id) {
            Kind::Alias(target) => {
                self.count(aliases + 1)?;
                target
            }
            _ => id,
        };
        let Kind::Scalar { tag, start, end, .. } = self.document.kind(id) else {
            return Err(YamlError::Meaning("invalid map key".to_owned()));
        };
        let text = self.text(start, end)?;
        let value = resolve(text, tag)?;
        let key = match value {
            None if tag == ScalarTag::Binary => Cow::Owned(binary(text)?),
            None => Cow::Borrowed(text),
            Some(Value::Bool(value)) => Cow::Borrowed(if value { "true" } else { "false" }),
            Some(Value::Int(value)) => Cow::Owned(value.to_string()),
            Some(Value::Float(value)) => Cow::Owned(float_key(value)),
            Some(Value::Null) => return Err(YamlError::Key("%!s(<nil>)")),
            Some(Value::Uint(_)) => return Err(YamlError::Key("uint64")),
        };
        Ok((key, value))
    }
}

/// What is read next while the members of one object are collected.
enum Merge {
    /// Keys and values from this key on, behind so many aliases.
    Children(Option<NodeId>, usize),
    /// An item of a list of objects.
    Item(NodeId, usize),
    Leave(NodeId),
}

fn push_value(out: &mut Vec<u8>, value: Value) -> Result<(), YamlError> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
        Value::Int(value) => out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
        Value::Uint(value) => out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
        Value::Float(value) => push_json_float(out, value).map_err(|_| {
            let name = if value.is_nan() {
                "NaN"
            } else if value > 0.0 {
                "+Inf"
            } else {
                "-Inf"
            };
            YamlError::NoJson(name)
        })?,
    }
    Ok(())
}

/// A float as a key: 32 bits are enough for upstream.
fn float_key(value: f64) -> String {
    let narrow = value as f32;
    if narrow.is_nan() {
        return ".nan".to_owned();
    }
    if narrow.is_infinite() {
        return if narrow > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    super::style::shortest(narrow.to_string().as_str(), format!("{narrow:e}").as_str())
}

fn binary(text: &str) -> Result<String, YamlError> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    match base64::engine::general_purpose::STANDARD.decode(digits) {
        Ok(bytes) => {
            let mut out = String::with_capacity(bytes.len());
            // Go replaces every single byte that is not UTF-8.
            for chunk in bytes.utf8_chunks() {
                out.push_str(chunk.valid());
                out.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
            }
            Ok(out)
        }
        Err(_) => Err(YamlError::Meaning("!!binary value contains invalid base64 data".to_owned())),
    }
}
