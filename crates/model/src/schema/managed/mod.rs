//! Who set which field of an object: `metadata.managedFields` (upstream: `fieldmanager` and structured-merge-diff's `Updater`;
//! docs/decisions/0009-managed-fields.md).
//!
//! Pure functions: [`compare()`] says what differs, [`fields()`] what an object holds, [`Managers::update`] gives it to whoever made the change. Nothing here reads a clock.
//!
//! Reading order: this file, `owned`, `compare` with `same` and `held`, `fields`, `shape`, and `field_set` beside it.

mod apply;
mod compare;
mod fields;
mod held;
mod merge;
mod owned;
mod reconcile;
mod remove;
mod same;
mod shape;
mod typed;
mod unwritten;

use std::sync::OnceLock;

use thiserror::Error;

pub use apply::{Application, ApplyError, Conflict, Part, Versions};
pub use compare::{Comparison, compare};
pub use fields::fields;
pub use merge::merge;
pub use owned::OwnedFields;
pub use same::is_same;
pub use shape::CompareError;
pub use typed::{has_keys, mistyped};
pub use unwritten::Unwritten;

use super::field_set::{FieldSetError, PathSet};
use super::{Schema, TypeRef};
use crate::tree::{NodeId, Scalar, Tree};

/// Most entries that `managedFields` may have. Every change is subtracted from each of them, so a client may not send any number.
pub const MANAGERS_MAX: usize = 256;
/// Most managers that an object keeps apart that did not apply (upstream: `DefaultMaxUpdateManagers`).
pub const UPDATE_MANAGERS_MAX: usize = 10;
/// Under which name older ones are put together.
const OLD_UPDATES_MANAGER: &str = "ancient-changes";
/// The manager of a client that does not say who it is.
const UNKNOWN_MANAGER: &str = "unknown";
/// Bytes of a manager's name (upstream: `FieldManagerMaxLength`).
const MANAGER_BYTES_MAX: usize = 128;
/// The only form of field sets there is.
const FIELDS_TYPE: &str = "FieldsV1";
/// What nobody owns: the object's identity and what the server writes (upstream: `stripSet`).
const STRIPPED: &[&[&str]] = &[
    &["apiVersion"],
    &["kind"],
    &["metadata"],
    &["metadata", "clusterName"],
    &["metadata", "creationTimestamp"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "resourceVersion"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
];

/// Managed fields that cannot be used. Upstream forgets such ones.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ManagedError {
    /// An entry has an operation that is neither.
    #[error("the operation must be Update or Apply")]
    UnknownOperation,
    /// An entry does not say of which version its paths are.
    #[error("the apiVersion of managed fields must not be empty")]
    NoApiVersion,
    /// An entry has fields of another form.
    #[error("the fieldsType of managed fields must be FieldsV1")]
    UnknownFieldsType,
    /// There are more than [`MANAGERS_MAX`] entries.
    #[error("there are more than {MANAGERS_MAX} managed fields entries")]
    TooMany,
    /// An entry's fields cannot be read.
    #[error(transparent)]
    Fields(#[from] FieldSetError),
}

/// How somebody came to own fields. In the order of `managedFields`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// By server-side apply.
    Apply,
    /// By create, update or patch.
    Update,
}

impl Operation {
    const fn name(self) -> &'static str {
        match self {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        }
    }
}

/// Who owns fields: one entry an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manager {
    /// Its name.
    pub name: String,
    /// How it came to own them.
    pub operation: Operation,
    /// Of which version the paths are.
    pub api_version: String,
    /// Through which subresource; empty for the object itself.
    pub subresource: String,
}

impl Manager {
    /// The manager of an update: the name given, else what the user agent calls itself, else `unknown`.
    pub fn of_update(given: &str, user_agent: &str, api_version: &str, subresource: &str) -> Manager {
        let mut name = given.to_owned();
        if given.is_empty() {
            let own = user_agent.split('/').next().unwrap_or_default();
            for c in own.chars().filter(|c| crate::go_text::is_printable(*c)) {
                if name.len() + c.len_utf8() > MANAGER_BYTES_MAX {
                    break;
                }
                name.push(c);
            }
        }
        if name.is_empty() {
            name.push_str(UNKNOWN_MANAGER);
        }
        Manager {
            name,
            operation: Operation::Update,
            api_version: api_version.to_owned(),
            subresource: subresource.to_owned(),
        }
    }

    /// The manager of an apply, which says who it is.
    pub fn of_apply(name: &str, api_version: &str, subresource: &str) -> Manager {
        Manager {
            name: name.to_owned(),
            operation: Operation::Apply,
            api_version: api_version.to_owned(),
            subresource: subresource.to_owned(),
        }
    }

    /// What upstream calls it by, and sorts by: its entry as JSON, without what says nothing. Who applies stays who it is when it goes
    /// over to another version.
    fn identifier(&self) -> String {
        let version = if self.operation == Operation::Apply { "" } else { &*self.api_version };
        let members = [
            ("manager", &*self.name),
            ("operation", self.operation.name()),
            ("apiVersion", version),
            ("subresource", &*self.subresource),
        ];
        let mut text = Vec::new();
        for (name, value) in members.into_iter().filter(|(_, value)| !value.is_empty()) {
            text.push(if text.is_empty() { b'{' } else { b',' });
            crate::go_text::push_json_string(&mut text, name);
            text.push(b':');
            crate::go_text::push_json_string(&mut text, value);
        }
        text.push(b'}');
        // Made of strings and ASCII.
        String::from_utf8(text).unwrap_or_default()
    }

    /// Whether both are one manager, whose entry there is once.
    fn is_same(&self, other: &Manager) -> bool {
        let is_same_version = self.operation == Operation::Apply || self.api_version == other.api_version;
        is_same_version
            && (self.operation, &self.name, &self.subresource) == (other.operation, &other.name, &other.subresource)
    }
}

/// What one manager owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Who.
    pub manager: Manager,
    /// Since when, in seconds since 1970.
    pub time: Option<i64>,
    /// Which paths.
    pub fields: OwnedFields,
}

/// A change that is to be accounted for.
#[derive(Clone, Debug)]
pub struct Change<'a> {
    /// Who made it.
    pub manager: Manager,
    /// What it is, in the manager's version.
    pub comparison: Comparison,
    /// What this door to the object does not write.
    pub unwritten: &'a Unwritten,
    /// Seconds since 1970; none where the time is not kept.
    pub now: Option<i64>,
}

/// All managers of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Managers {
    /// Each identity once.
    pub entries: Vec<Entry>,
}

impl Managers {
    /// Reads a `managedFields` list that anybody may have sent.
    pub fn read(schema: &Schema, tree: &Tree, list: NodeId) -> Result<Managers, ManagedError> {
        Managers::read_beside(schema, tree, list, &Managers::default())
    }

    /// Reads a `managedFields` list that most likely holds what is stored. What is the same there is known to be well formed.
    pub fn read_beside(
        schema: &Schema,
        tree: &Tree,
        list: NodeId,
        stored: &Managers,
    ) -> Result<Managers, ManagedError> {
        Managers::read_entries(schema, tree, list, |manager, text| {
            let held = stored.entries.iter().find(|entry| entry.manager == *manager);
            match held {
                Some(held) if held.fields.text() == Some(text) => Ok(held.fields.clone()),
                _ => Ok(PathSet::read(text)?.into()),
            }
        })
    }

    /// Reads a `managedFields` list that was checked when it was stored. Whose fields nobody asks for, they are not read.
    pub fn stored(schema: &Schema, tree: &Tree, list: NodeId) -> Result<Managers, ManagedError> {
        Managers::read_entries(schema, tree, list, |_, text| Ok(OwnedFields::unread(text)))
    }

    fn read_entries(
        schema: &Schema,
        tree: &Tree,
        list: NodeId,
        mut read: impl FnMut(&Manager, &str) -> Result<OwnedFields, ManagedError>,
    ) -> Result<Managers, ManagedError> {
        if tree.len(list) > MANAGERS_MAX {
            return Err(ManagedError::TooMany);
        }
        let mut managers = Managers::default();
        for node in tree.children(list) {
            let field = |name: &str| {
                let number = schema.ty(tree.object_type(node)?).find(name)?;
                tree.field(node, number)
            };
            let text = |name: &str| field(name).and_then(|node| tree.text(node)).unwrap_or_default();
            let operation = match text("operation") {
                "Apply" => Operation::Apply,
                "Update" => Operation::Update,
                _ => return Err(ManagedError::UnknownOperation),
            };
            if text("apiVersion").is_empty() {
                return Err(ManagedError::NoApiVersion);
            }
            if text("fieldsType") != FIELDS_TYPE {
                return Err(ManagedError::UnknownFieldsType);
            }
            let manager = Manager {
                name: text("manager").to_owned(),
                operation,
                api_version: text("apiVersion").to_owned(),
                subresource: text("subresource").to_owned(),
            };
            let fields = match text("fieldsV1") {
                "" | "null" => PathSet::default().into(),
                fields => read(&manager, fields)?,
            };
            managers.put(Entry { manager, time: field("time").and_then(|node| tree.time(node)), fields });
        }
        Ok(managers)
    }

    /// Whether a `managedFields` list asks to forget all managers: one entry with nothing in it.
    pub fn is_reset(tree: &Tree, list: NodeId) -> bool {
        let mut children = tree.children(list);
        matches!((children.next(), children.next()), (Some(node), None) if tree.is_empty(node))
    }

    /// Writes a list that asks to forget all managers as a field of the metadata.
    pub fn write_reset(schema: &Schema, tree: &mut Tree, metadata: NodeId, number: u16) {
        let field = tree.object_type(metadata).and_then(|ty| schema.ty(ty).fields.get(usize::from(number)));
        let Some(TypeRef::List(element)) = field.map(|field| field.ty) else { return };
        if let TypeRef::Object(ty) = schema.element(element) {
            let list = tree.list_at(metadata, number);
            tree.append_object(list, ty);
        }
    }

    /// Writes them as a field of the metadata, in upstream's order; none leave no field.
    pub fn write(&self, schema: &Schema, tree: &mut Tree, metadata: NodeId, number: u16) {
        tree.remove(metadata, number);
        let field = tree.object_type(metadata).and_then(|ty| schema.ty(ty).fields.get(usize::from(number)));
        let Some(TypeRef::List(element)) = field.map(|field| field.ty) else { return };
        let TypeRef::Object(ty) = schema.element(element) else { return };
        if self.entries.is_empty() {
            return;
        }
        let mut entries: Vec<&Entry> = self.entries.iter().collect();
        entries.sort_by_key(|entry| {
            let Manager { name, operation, api_version, subresource } = &entry.manager;
            (*operation, entry.time.unwrap_or_default(), name, api_version, subresource)
        });
        let list = tree.list_at(metadata, number);
        for entry in entries {
            let node = tree.append_object(list, ty);
            let mut set = |name: &str, value: Scalar<'_>| {
                if let Some(number) = schema.ty(ty).find(name).filter(|_| value != Scalar::String("")) {
                    tree.set(node, number, value);
                }
            };
            set("manager", Scalar::String(&entry.manager.name));
            set("operation", Scalar::String(entry.manager.operation.name()));
            set("apiVersion", Scalar::String(&entry.manager.api_version));
            if let Some(time) = entry.time {
                set("time", Scalar::Time(time));
            }
            set("fieldsType", Scalar::String(FIELDS_TYPE));
            set("fieldsV1", Scalar::Raw(&entry.fields.to_json()));
            set("subresource", Scalar::String(&entry.manager.subresource));
        }
    }

    /// The entry of an identity in place of what it was.
    fn put(&mut self, entry: Entry) {
        match self.entries.iter_mut().find(|held| held.manager.is_same(&entry.manager)) {
            Some(held) => *held = entry,
            None => self.entries.push(entry),
        }
    }

    /// Accounts for a change that was not applied: whoever made it owns what it changed and added, others lose that and what is gone.
    ///
    /// Entries of other versions are asked for what the change is to them: `None` when that version is not served any more, which ends
    /// them.
    pub fn update(&mut self, change: Change<'_>, in_version: &mut dyn FnMut(&str) -> Option<Comparison>) {
        let Change { manager, comparison, unwritten, now } = change;
        let mut taken = TakenByVersion::default();
        if self.entries.iter().any(|entry| entry.manager.api_version == manager.api_version) {
            taken.0.push((manager.api_version.clone(), Some(unwritten.cut_taken(&comparison))));
        }
        let own = unwritten.cut_ownable(comparison.changed);
        let mut find_taken = |version: &str| in_version(version).map(|comparison| unwritten.cut_taken(&comparison));
        let mut is_known = false;
        self.entries.retain_mut(|entry| {
            let Some(taken) = taken.of(&entry.manager.api_version, &mut find_taken) else { return false };
            if entry.manager != manager {
                entry.fields.take(taken);
            } else {
                is_known = true;
                entry.fields.take(&taken.difference(&own));
                if !own.is_empty() {
                    entry.fields.give(&own);
                    entry.time = now;
                }
            }
            !entry.fields.is_empty()
        });
        if !own.is_empty() && !is_known {
            self.entries.push(Entry { manager, time: now, fields: own.into() });
        }
        // Whoever changed nothing may still have sent more than there may be.
        self.merge_oldest();
    }

    /// Puts the oldest updates of a version together until few enough are left.
    fn merge_oldest(&mut self) {
        let is_update = |entry: &&Entry| entry.manager.operation == Operation::Update;
        let mut count = self.entries.iter().filter(is_update).count();
        if count <= UPDATE_MANAGERS_MAX {
            return;
        }
        let mut updates: Vec<Entry> = self.entries.iter().filter(is_update).cloned().collect();
        updates.sort_by(|a, b| {
            let seconds = |entry: &Entry| entry.time.unwrap_or_default();
            seconds(a).cmp(&seconds(b)).then_with(|| a.manager.identifier().cmp(&b.manager.identifier()))
        });
        let mut first_of_version: Vec<Manager> = Vec::new();
        for update in updates {
            if count <= UPDATE_MANAGERS_MAX {
                break;
            }
            let version = update.manager.api_version.clone();
            let Some(first) = first_of_version.iter().find(|first| first.api_version == version).cloned() else {
                first_of_version.push(update.manager);
                continue;
            };
            let bucket = Manager {
                name: OLD_UPDATES_MANAGER.to_owned(),
                operation: Operation::Update,
                api_version: version,
                subresource: String::new(),
            };
            if !self.entries.iter().any(|entry| entry.manager == bucket) {
                for entry in self.entries.iter_mut().filter(|entry| entry.manager == first) {
                    entry.manager = bucket.clone();
                }
            }
            // Its time is the newer one.
            for entry in self.entries.iter_mut().filter(|entry| entry.manager == bucket) {
                entry.fields = entry.fields.set().union(update.fields.set()).into();
                entry.time = update.time;
            }
            // Upstream ends the bucket, too, when one that is older than the bucket comes before it.
            self.entries.retain(|entry| entry.manager != update.manager);
            count -= 1;
        }
    }

    /// Whether these are the others, at other times.
    pub fn same_but_for_time(&self, other: &Managers) -> bool {
        let find = |entry: &Entry| {
            other.entries.iter().any(|held| held.manager == entry.manager && held.fields == entry.fields)
        };
        self.entries.len() == other.entries.len() && self.entries.iter().all(find)
    }
}

impl Comparison {
    /// Whether nothing differs that anybody can own.
    pub fn is_same_but_for_identity(&self) -> bool {
        self.changed.is_within(stripped()) && self.removed.is_within(stripped())
    }
}

/// What nobody owns.
fn stripped() -> &'static PathSet {
    static SET: OnceLock<PathSet> = OnceLock::new();
    SET.get_or_init(|| PathSet::of_fields(STRIPPED))
}

/// What a change takes from the managers of each version, found when the first of them is met.
#[derive(Default)]
struct TakenByVersion(Vec<(String, Option<PathSet>)>);

impl TakenByVersion {
    fn of(&mut self, version: &str, find: &mut dyn FnMut(&str) -> Option<PathSet>) -> Option<&PathSet> {
        let at = match self.0.iter().position(|(held, _)| held == version) {
            Some(at) => at,
            None => {
                self.0.push((version.to_owned(), find(version)));
                self.0.len() - 1
            }
        };
        self.0.get(at)?.1.as_ref()
    }
}

#[cfg(test)]
mod tests;
