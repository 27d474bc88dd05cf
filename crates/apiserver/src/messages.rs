//! Protobuf of documents that are made as JSON, by a table of their messages. (Objects of the API go through the schema machine; these
//! are not such objects.)
//!
//! A line `message NAME`, `choice NAME` or `list NAME` begins an entry; the lines below are its fields.
//!
//! ```text
//! message Schema
//!  type 25 string
//!  allOf 26 []SchemaOrReference
//!  x- 36 any
//! choice SchemaOrReference
//!  $ref 2 Reference
//!  * 1 Schema
//! ```
//!
//! A field of a message is: JSON key, number, type. The key `x-` stands for every key that begins so and `*` for every key; both
//! make pairs of name and value. A choice passes its value on to the first alternative whose key it has (`key` or `key=text`). A
//! list has its items in one field. Types are `string`, `bool`, `any` (gnostic's `Any`: text), `scalar` (gnostic's `DefaultType`)
//! and the names of entries; `[]` before a type makes it repeated.

use std::collections::HashMap;

use serde_json::Value;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Message,
    Choice,
    List,
}

struct Entry {
    form: Form,
    fields: Vec<Line>,
}

struct Line {
    key: &'static str,
    number: u32,
    ty: &'static str,
}

/// A table of messages, read from its text.
pub(crate) struct Messages(HashMap<&'static str, Entry>);

impl Messages {
    /// Reads a table. Lines of another form are no part of it; a test of each table sees to it that there are none.
    pub(crate) fn read(text: &'static str) -> Messages {
        let mut table = HashMap::new();
        let mut current = "";
        for line in text.lines() {
            let words: Vec<&'static str> = line.split_whitespace().collect();
            match (line.starts_with(' '), words.as_slice()) {
                (true, [key, number, ty]) => {
                    let entry: Option<&mut Entry> = table.get_mut(current);
                    if let (Some(entry), Ok(number)) = (entry, number.parse()) {
                        entry.fields.push(Line { key, number, ty });
                    }
                }
                (false, [form, name]) => {
                    let form = match *form {
                        "choice" => Form::Choice,
                        "list" => Form::List,
                        _ => Form::Message,
                    };
                    current = name;
                    table.insert(current, Entry { form, fields: Vec::new() });
                }
                _ => {}
            }
        }
        Messages(table)
    }

    /// The bytes of a message. Goes as deep as our own documents do, which is a dozen levels.
    pub(crate) fn encode(&self, name: &str, value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        let Some(entry) = self.0.get(name) else { return out };
        match entry.form {
            Form::Choice => {
                if let Some(line) = entry.fields.iter().find(|line| line.is_chosen_by(value)) {
                    push_bytes(line.number, &self.encode(line.ty, value), &mut out);
                }
            }
            Form::List => {
                let one = std::slice::from_ref(value);
                let items = value.as_array().map_or(one, Vec::as_slice);
                for (line, item) in entry.fields.iter().flat_map(|line| items.iter().map(move |item| (line, item))) {
                    self.push(line.number, line.ty, item, true, &mut out);
                }
            }
            Form::Message => self.encode_members(entry, value, &mut out),
        }
        out
    }

    /// Whether every type that is named is declared and every line was understood.
    #[cfg(test)]
    pub(crate) fn is_whole(&self, text: &str) -> bool {
        let lines = self.0.values().map(|entry| entry.fields.len() + 1).sum::<usize>();
        let mut types = self.0.values().flat_map(|entry| &entry.fields).map(|line| line.ty.trim_start_matches("[]"));
        lines == text.lines().count()
            && types.all(|ty| self.0.contains_key(ty) || ["string", "bool", "any", "scalar"].contains(&ty))
    }

    fn encode_members(&self, entry: &Entry, value: &Value, out: &mut Vec<u8>) {
        let Some(members) = value.as_object() else { return };
        for line in &entry.fields {
            match line.key {
                "x-" | "*" => {
                    let is_extension = |key: &str| key.starts_with("x-");
                    for (key, value) in members.iter().filter(|(key, _)| line.key == "*" || is_extension(key)) {
                        push_bytes(line.number, &named(key, &self.bytes(line.ty, value)), out);
                    }
                }
                key => {
                    let Some(value) = members.get(key) else { continue };
                    match line.ty.strip_prefix("[]") {
                        Some(ty) => value
                            .as_array()
                            .into_iter()
                            .flatten()
                            .for_each(|item| self.push(line.number, ty, item, true, out)),
                        None => self.push(line.number, line.ty, value, false, out),
                    }
                }
            }
        }
    }

    /// Adds a field. A zero is left out unless it is an item of a list.
    fn push(&self, number: u32, ty: &str, value: &Value, item: bool, out: &mut Vec<u8>) {
        match (ty, value) {
            ("bool", value) => {
                if value.as_bool() == Some(true) {
                    push_varint(u64::from(number) << 3, out);
                    push_varint(1, out);
                }
            }
            ("string", Value::String(text)) if text.is_empty() && !item => {}
            _ => push_bytes(number, &self.bytes(ty, value), out),
        }
    }

    fn bytes(&self, ty: &str, value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        match (ty, value) {
            ("string", _) => return value.as_str().unwrap_or_default().as_bytes().to_vec(),
            ("any", _) => push_bytes(2, value.to_string().as_bytes(), &mut out),
            ("scalar", Value::String(text)) => push_bytes(3, text.as_bytes(), &mut out),
            ("scalar", Value::Bool(value)) => {
                push_varint(2 << 3, &mut out);
                push_varint(u64::from(*value), &mut out);
            }
            ("scalar", Value::Number(number)) => {
                push_varint(1 << 3 | 1, &mut out);
                out.extend_from_slice(&number.as_f64().unwrap_or_default().to_le_bytes());
            }
            // A default that is an object has no place in the message; that there is one still shows.
            ("scalar", _) => {}
            _ => return self.encode(ty, value),
        }
        out
    }
}

impl Line {
    fn is_chosen_by(&self, value: &Value) -> bool {
        match self.key.split_once('=') {
            Some((key, text)) => value.get(key).and_then(Value::as_str) == Some(text),
            None => self.key == "*" || value.get(self.key).is_some(),
        }
    }
}

/// A pair of name and value, as maps are written.
pub(crate) fn named(name: &str, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + value.len() + 8);
    push_bytes(1, name.as_bytes(), &mut out);
    push_bytes(2, value, &mut out);
    out
}

/// Adds a field of bytes.
pub(crate) fn push_bytes(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    push_varint(u64::from(number) << 3 | 2, out);
    push_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn push_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TEXT: &str = "\
message Boat
 name 1 string
 afloat 2 bool
 crew 3 []string
 sail 4 Sail
 x- 5 any
 keel 6 scalar
choice Sail
 $ref 2 Reference
 shape=square 3 Cloth
 * 1 Cloth
message Reference
 $ref 1 string
message Cloth
 * 1 string
";

    #[test]
    fn messages() {
        let check = |value: Value, expected: &[u8]| {
            assert_eq!(Messages::read(TEXT).encode("Boat", &value), expected, "{value}")
        };
        check(json!({}), b"");
        check(json!({ "name": "", "afloat": false, "crew": [], "other": 1 }), b"");
        check(json!({ "crew": ["a", ""], "afloat": true, "name": "n" }), b"\x0a\x01n\x10\x01\x1a\x01a\x1a\x00");
        check(json!({ "sail": { "$ref": "r" } }), b"\x22\x05\x12\x03\x0a\x01r");
        check(json!({ "sail": { "c": "d" } }), b"\x22\x0a\x0a\x08\x0a\x06\x0a\x01c\x12\x01d");
        check(json!({ "sail": { "shape": "square" } }), b"\x22\x13\x1a\x11\x0a\x0f\x0a\x05shape\x12\x06square");
        check(json!({ "x-a": [1] }), b"\x2a\x0c\x0a\x03x-a\x12\x05\x12\x03[1]");
        check(json!({ "keel": "" }), b"\x32\x02\x1a\x00");
        check(json!({ "keel": false }), b"\x32\x02\x10\x00");
        check(json!({ "keel": 1 }), b"\x32\x09\x09\0\0\0\0\0\0\xf0\x3f");
        check(json!({ "keel": {} }), b"\x32\x00");
    }

    #[test]
    fn tables_are_checked() {
        let check =
            |text: &'static str, expected: bool| assert_eq!(Messages::read(text).is_whole(text), expected, "{text}");
        check(TEXT, true);
        check("message A\n b 1 string\n", true);
        check("message A\n b 1 B\n", false);
        check("message A\n b one string\n", false);
        check("message A\n b 1\n", false);
        check(" b 1 string\n", false);
    }
}
