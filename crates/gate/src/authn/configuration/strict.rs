//! Strict reading of a configuration: a member that nobody knows is a fault, and so is a value of another type than its
//! field's. All faults are collected, each with the path of its field.

use serde_json::{Map, Value};

/// Faults that are reported; one broken list must not fill a log.
const FAULTS_MAX: usize = 32;

/// Collects what is wrong while a document is read.
#[derive(Default)]
pub(super) struct Reader {
    faults: Vec<String>,
}

impl Reader {
    /// Returns what was wrong.
    pub(super) fn into_faults(self) -> Vec<String> {
        self.faults
    }

    fn fault(&mut self, fault: String) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(fault);
        }
    }

    /// Opens a value that must be an object with none but these members. Null counts as an empty one.
    pub(super) fn object<'v>(&mut self, value: Option<&'v Value>, path: &str, known: &[&str]) -> Object<'v> {
        let members = match value {
            None | Some(Value::Null) => None,
            Some(Value::Object(members)) => Some(members),
            Some(_) => {
                self.fault(format!("{}: must be an object", place(path)));
                None
            }
        };
        for name in members.into_iter().flat_map(Map::keys) {
            if !known.contains(&name.as_str()) {
                self.fault(format!("unknown field \"{}\"", child(path, name)));
            }
        }
        Object { path: path.to_owned(), members }
    }
}

/// An object that is being read.
pub(super) struct Object<'v> {
    path: String,
    members: Option<&'v Map<String, Value>>,
}

impl<'v> Object<'v> {
    /// Says whether it is there at all.
    pub(super) fn is_there(&self) -> bool {
        self.members.is_some()
    }

    /// Returns the path of a member.
    pub(super) fn path(&self, name: &str) -> String {
        child(&self.path, name)
    }

    fn get(&self, name: &str) -> Option<&'v Value> {
        self.members?.get(name).filter(|value| !value.is_null())
    }

    /// Reads a string; an absent one is empty.
    pub(super) fn text(&self, reader: &mut Reader, name: &str) -> String {
        self.optional_text(reader, name).unwrap_or_default()
    }

    /// Reads a string that may be absent.
    pub(super) fn optional_text(&self, reader: &mut Reader, name: &str) -> Option<String> {
        match self.get(name)? {
            Value::String(text) => Some(text.clone()),
            _ => {
                reader.fault(format!("{}: must be a string", self.path(name)));
                None
            }
        }
    }

    /// Reads a boolean; an absent one is false.
    pub(super) fn flag(&self, reader: &mut Reader, name: &str) -> bool {
        match self.get(name) {
            None => false,
            Some(Value::Bool(flag)) => *flag,
            Some(_) => {
                reader.fault(format!("{}: must be true or false", self.path(name)));
                false
            }
        }
    }

    /// Opens a member that must be an object with none but these members.
    pub(super) fn object(&self, reader: &mut Reader, name: &str, known: &[&str]) -> Object<'v> {
        reader.object(self.get(name), &self.path(name), known)
    }

    /// Reads a list, its items with their paths.
    pub(super) fn list(&self, reader: &mut Reader, name: &str) -> Vec<(String, &'v Value)> {
        let path = self.path(name);
        match self.get(name) {
            None => Vec::new(),
            Some(Value::Array(items)) => {
                items.iter().enumerate().map(|(at, item)| (format!("{path}[{at}]"), item)).collect()
            }
            Some(_) => {
                reader.fault(format!("{path}: must be a list"));
                Vec::new()
            }
        }
    }

    /// Reads a list of objects with none but these members.
    pub(super) fn objects(&self, reader: &mut Reader, name: &str, known: &[&str]) -> Vec<Object<'v>> {
        let items = self.list(reader, name);
        items.into_iter().map(|(path, item)| reader.object(Some(item), &path, known)).collect()
    }

    /// Reads a list of strings.
    pub(super) fn texts(&self, reader: &mut Reader, name: &str) -> Vec<String> {
        let mut texts = Vec::new();
        for (path, item) in self.list(reader, name) {
            match item {
                Value::String(text) => texts.push(text.clone()),
                _ => reader.fault(format!("{path}: must be a string")),
            }
        }
        texts
    }
}

fn child(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn place(path: &str) -> &str {
    if path.is_empty() { "the document" } else { path }
}
