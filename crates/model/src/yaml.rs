//! YAML in and out, for `application/yaml` bodies and answers (upstream: `sigs.k8s.io/yaml`, YAML 1.1 as goyaml reads
//! and writes it).
//!
//! Inside the server there is only JSON: a body is turned into JSON text before it is decoded, an answer into YAML text
//! after it was encoded. The events come from `granit-parser`; what they mean (booleans, octals, merge keys, aliases)
//! is decided here. Nothing recurses, and every kind of growth has a limit.

use thiserror::Error;

mod emit;
mod json;
mod node;
mod order;
mod plain;
mod read;
mod scalar;
mod style;
mod words;

/// Longest YAML text that is read, in bytes. Bodies are limited before; this is for every other caller.
pub const INPUT_LEN_MAX: usize = 16 << 20;
/// Deepest nesting of lists and objects.
pub const DEPTH_MAX: usize = 1_000;
/// Most scalars, lists and objects in a text.
pub const NODES_MAX: usize = 1_000_000;
/// Longest JSON text that comes out, aliases expanded, in bytes.
pub const JSON_LEN_MAX: usize = 32 << 20;
/// Most bytes of scalars that are looked at, once for every time an alias repeats them.
pub const WORK_MAX: usize = 64 << 20;
/// Most duplicate keys that are reported.
pub const DUPLICATES_MAX: usize = 100;

/// Why a text could not be turned into the other form. The texts are upstream's where it has the same complaint.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum YamlError {
    /// The text is not YAML.
    #[error("yaml: {place}{problem}", place = place(*.line))]
    Syntax {
        /// The line, from 1; 0 when there is none to tell.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// The text is YAML, but means nothing.
    #[error("yaml: {0}")]
    Meaning(String),
    /// A value has no JSON form.
    #[error("json: unsupported value: {0}")]
    NoJson(&'static str),
    /// A key is no string and cannot become one.
    #[error("unsupported map key of type: {0}")]
    Key(&'static str),
    /// The text exceeds a limit of this module.
    #[error("yaml: {what} is more than {limit}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The JSON text that was to become YAML is malformed.
    #[error("malformed JSON at byte {at}")]
    Json {
        /// Where.
        at: usize,
    },
}

fn place(line: usize) -> String {
    if line == 0 { String::new() } else { format!("line {line}: ") }
}

/// YAML turned into JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converted {
    /// The JSON text; keys are sorted.
    pub json: Vec<u8>,
    /// What strict reading has against the text: keys that were set twice, in upstream's words, sorted by line.
    pub duplicates: Option<String>,
}

/// Turns the first document of a YAML text into JSON. Of a key that is set twice the last value counts.
///
/// # Errors
/// The error's text is upstream's for the complaints it has too.
pub fn to_json(text: &[u8]) -> Result<Converted, YamlError> {
    if let Some(json) = plain::json(text) {
        return Ok(Converted { json, duplicates: None });
    }
    let document = node::compose(text)?;
    read::to_json(&document)
}

/// Turns a JSON text into YAML as `sigs.k8s.io/yaml` prints it: sorted keys, two spaces, lists not indented.
///
/// # Errors
/// The text is not JSON, or too deep.
pub fn from_json(json: &[u8]) -> Result<String, YamlError> {
    let document = json::compose(json)?;
    emit::document(&document)
}

#[cfg(test)]
mod tests;
