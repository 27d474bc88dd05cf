//! The stored flow schemas and priority levels as the gate's fairness reads them, and what requests cost (upstream:
//! `flowcontrol/apf_controller`, KEP-1040).
//!
//! Reading order: this file (the newest configuration, kept with the store), `objects` (a stored object as a level or schema),
//! `width` (what a request costs), `status` (what the objects are told about one another).
//!
//! An object that cannot be read is logged and gives nothing. What must always hold does whatever is stored
//! ([`portcullis_fairness::Configuration::new`]).

mod objects;
pub(crate) mod status;
mod width;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use portcullis_fairness::{Classifier, FlowSchema, Level, Width};
use portcullis_gate::{FlowControl, Weighed};
use portcullis_store::{Engine, Entry, Event};

use crate::follower::{Derived, Follower};
use crate::registry::Registry;

/// The API group of both.
pub(crate) const GROUP: &str = "flowcontrol.apiserver.k8s.io";
/// The resource of levels.
pub(crate) const LEVELS: &str = "prioritylevelconfigurations";
/// The resource of schemas.
pub(crate) const SCHEMAS: &str = "flowschemas";

/// The newest flow schemas and levels of a store, and what its requests cost.
pub struct StoredFlowControl {
    engine: Arc<dyn Engine>,
    registry: Arc<Registry>,
    follower: Follower<Compiled>,
}

impl StoredFlowControl {
    /// Follows a store. Nothing is read before the first question.
    pub fn new(engine: Arc<dyn Engine>, registry: Arc<Registry>) -> StoredFlowControl {
        let prefix = |resource| registry.find(GROUP, "v1", resource)?.prefix().map(str::to_owned);
        let (levels_under, schemas_under) = (prefix(LEVELS), prefix(SCHEMAS));
        debug_assert!(levels_under.is_some() && schemas_under.is_some(), "the registry has the group");
        let prefixes: Vec<String> = [&levels_under, &schemas_under].into_iter().flatten().cloned().collect();
        let compiled = Compiled {
            levels_under: levels_under.unwrap_or_default(),
            schemas_under: schemas_under.unwrap_or_default(),
            levels: BTreeMap::new(),
            schemas: BTreeMap::new(),
            classifier: OnceLock::new(),
        };
        StoredFlowControl { follower: Follower::new(Arc::clone(&engine), prefixes, compiled), engine, registry }
    }
}

impl FlowControl for StoredFlowControl {
    fn classifier(&self) -> Arc<Classifier> {
        self.follower.read(Compiled::classifier)
    }

    fn width(&self, weighed: &Weighed<'_>) -> Width {
        width::of(&*self.engine, &self.registry, weighed)
    }
}

/// Levels and schemas by name, and what they make together.
struct Compiled {
    levels_under: String,
    schemas_under: String,
    levels: BTreeMap<String, Level>,
    schemas: BTreeMap<String, FlowSchema>,
    /// Made when it is first asked for after a change, so that many changes at once cost as much as one.
    classifier: OnceLock<Arc<Classifier>>,
}

impl Compiled {
    /// Takes an object in, or out; whether that changed anything. What only says how things are, a status for instance, does not.
    fn put(&mut self, key: &str, entry: Option<&Entry>) -> bool {
        if let Some(name) = key.strip_prefix(&self.levels_under) {
            replace(&mut self.levels, name, read(key, entry, objects::level))
        } else if let Some(name) = key.strip_prefix(&self.schemas_under) {
            replace(&mut self.schemas, name, read(key, entry, objects::schema))
        } else {
            false
        }
    }

    fn classifier(&self) -> Arc<Classifier> {
        let (levels, schemas) = (self.levels.values(), self.schemas.values());
        let make = || Arc::new(Classifier::new(levels.cloned().collect(), schemas.cloned().collect()));
        Arc::clone(self.classifier.get_or_init(make))
    }
}

fn read<T>(key: &str, entry: Option<&Entry>, read: impl Fn(&[u8]) -> objects::Read<T>) -> Option<T> {
    let unread = |error: &_| {
        tracing::warn!(key, %error, gate = "fairness", "a flow schema or level cannot be read and is left out");
    };
    read(&entry?.value).inspect_err(unread).ok()
}

fn replace<T: PartialEq>(all: &mut BTreeMap<String, T>, name: &str, new: Option<T>) -> bool {
    if all.get(name) == new.as_ref() {
        return false;
    }
    match new {
        Some(new) => drop(all.insert(name.to_owned(), new)),
        None => drop(all.remove(name)),
    }
    true
}

impl Derived for Compiled {
    fn reset(&mut self, entries: &mut dyn Iterator<Item = (&str, &Entry)>) {
        let (levels, schemas) = (std::mem::take(&mut self.levels), std::mem::take(&mut self.schemas));
        for (key, entry) in entries {
            self.put(key, Some(entry));
        }
        if (&levels, &schemas) != (&self.levels, &self.schemas) {
            self.classifier = OnceLock::new();
        }
    }

    fn apply(&mut self, event: &Event) {
        if self.put(&event.key, event.current.as_ref()) {
            self.classifier = OnceLock::new();
        }
    }
}

#[cfg(test)]
mod tests;
