//! Server-side apply of an object: the engine of `model` with what the server knows of versions, managers and doors (upstream:
//! `managedfields.FieldManager.Apply` and the managers that it is made of).

use portcullis_model::go_text::quoted;
use portcullis_model::schema::field_set::PathSet;
use portcullis_model::schema::managed::{
    Application, ApplyError, Change, Conflict, Manager, Managers, Operation, Part, Unwritten, Versions, compare,
};
use portcullis_model::schema::{Schema, TypeId};
use portcullis_model::status::{Status, StatusCause};
use portcullis_model::tree::Tree;

use super::convert::between;
use super::managed::{served_as, stored};
use super::metadata::metadata_of;
use super::{Registry, Served, last_applied};
use crate::request::Request;

/// Who owned the fields of an object without managers before somebody applied to it.
const MANAGER_BEFORE: &str = "before-first-apply";
/// Bytes of paths after which a conflict names no more of them. The name of one element is in the path of each of its fields.
const CONFLICT_BYTES_MAX: usize = 2 << 20;
/// The subresource through which replicas are owned.
const SCALE: &str = "scale";

/// What a client applies.
pub struct Applied<'a> {
    /// All that it said: zeros that are the same as absent, and nulls, too.
    pub given: &'a Tree,
    /// As JSON.
    pub text: &'a [u8],
    /// Who applies.
    pub manager: &'a str,
    /// Whether it takes what others own.
    pub force: bool,
}

/// Applies to an object; `live` is what is stored, or an empty object. Returns the object with its managers.
pub fn apply(
    registry: &Registry,
    request: &Request<'_>,
    live: &Tree,
    applied: &Applied<'_>,
    now: i64,
) -> Result<Tree, ApplyError> {
    let served = request.served;
    let version = &served.resource.api_version;
    let mut managers = stored(served, live);
    let mut bare = live.clone();
    let metadata = metadata_of(served, &mut bare);
    bare.remove(metadata, served.meta.managed_fields);
    let is_new = live.is_empty(live.root());
    if managers.entries.is_empty() && !is_new {
        own_all(request, &mut managers, &bare, now);
    }
    let manager = Manager::of_apply(applied.manager, version, request.info.subresource);
    let given = applied.given;
    let versions = OfKind { registry, served };
    let mut apply = |force| {
        let application =
            Application { manager: manager.clone(), given, unwritten: served.doors.unwritten(request), force, now };
        managers.apply(&versions, &bare, application)
    };
    let outcome = match apply(applied.force) {
        Err(ApplyError::Conflicts(conflicts)) if applied.manager == last_applied::MANAGER => {
            let left = last_applied::beyond(served, &bare, conflicts);
            if !left.is_empty() {
                return Err(ApplyError::Conflicts(left));
            }
            apply(true)?
        }
        outcome => outcome?,
    };
    let is_same = outcome.is_none();
    let mut tree = outcome.unwrap_or_else(|| live.clone());
    if applied.manager == last_applied::MANAGER {
        last_applied::note(served, &mut tree, applied.text);
    }
    if !is_same {
        let metadata = metadata_of(served, &mut tree);
        managers.write(served.schema, &mut tree, metadata, served.meta.managed_fields);
    }
    Ok(tree)
}

/// What is shown of an object as an object of its own (a scale), whose one owned path stands in the same place.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// The types.
    pub schema: &'a Schema,
    /// Its type.
    pub ty: TypeId,
    /// Its version, the only one.
    pub api_version: &'a str,
    /// The path.
    pub path: &'a [&'a str],
}

impl Versions for Shown<'_> {
    fn type_of(&self, version: &str) -> Option<(&Schema, TypeId)> {
        (version == self.api_version).then_some((self.schema, self.ty))
    }

    fn convert(&self, tree: &Tree, from: &str, to: &str) -> Option<Tree> {
        (from == to).then(|| tree.clone())
    }
}

impl Shown<'_> {
    /// Applies to what is shown of an object; `live` is what is shown now. Returns what is shown then, and the object's managers.
    pub fn apply(
        self,
        served: &Served,
        object: &Tree,
        live: &Tree,
        applied: &Applied<'_>,
        now: i64,
    ) -> Result<(Tree, Managers), ApplyError> {
        let manager = Manager::of_apply(applied.manager, self.api_version, SCALE);
        let Applied { given, force, .. } = *applied;
        self.settle(served, object, |owners| {
            if owners.entries.is_empty() {
                let before = Manager::of_update(MANAGER_BEFORE, "", self.api_version, SCALE);
                let comparison = compare(self.schema, &Tree::new(self.ty), live)?;
                let unwritten = &Unwritten::default();
                owners.update(Change { manager: before, comparison, unwritten, now: Some(now) }, &mut |_| None);
            }
            let unwritten = &Unwritten::default();
            let application = Application { manager, given, unwritten, force, now };
            Ok(owners.apply(&self, live, application)?.unwrap_or_else(|| live.clone()))
        })
    }

    /// Accounts for an update of what is shown of an object. Returns the object's managers. Where nobody owns the path, nobody begins
    /// to (upstream: `skipNonAppliedManager`).
    pub fn update(self, served: &Served, object: &Tree, live: &Tree, wanted: &Tree, manager: Manager) -> Managers {
        let settled = self.settle(served, object, |owners| {
            if let (false, Ok(comparison)) = (owners.entries.is_empty(), compare(self.schema, live, wanted)) {
                let unwritten = &Unwritten::default();
                owners.update(Change { manager, comparison, unwritten, now: None }, &mut |_| None);
            }
            Ok::<(), ApplyError>(())
        });
        settled.map_or_else(|_| stored(served, object), |(_, managers)| managers)
    }

    /// Lets who owns the path be settled on what is shown, and takes it over to the object.
    fn settle<T>(
        self,
        served: &Served,
        object: &Tree,
        settle: impl FnOnce(&mut Managers) -> Result<T, ApplyError>,
    ) -> Result<(T, Managers), ApplyError> {
        let path = PathSet::of_fields(&[self.path]);
        let part = Part { path: &path, shown: &path, version: self.api_version };
        let mut managers = stored(served, object);
        let mut owners = managers.of_part(&part);
        let outcome = settle(&mut owners)?;
        managers.set_part(&part, owners, &served.resource.api_version);
        Ok((outcome, managers))
    }
}

/// Gives all that an object has to whoever made it before managers were kept.
fn own_all(request: &Request<'_>, managers: &mut Managers, live: &Tree, now: i64) {
    let served = request.served;
    let nothing = Tree::new(served.resource.type_id);
    let Ok(comparison) = compare(served.schema, &nothing, live) else { return };
    let version = &served.resource.api_version;
    let manager = Manager::of_update(MANAGER_BEFORE, "", version, request.info.subresource);
    let change = Change { manager, comparison, unwritten: served.doors.unwritten(request), now: Some(now) };
    managers.update(change, &mut |_| None);
}

/// The versions of one kind.
pub(super) struct OfKind<'a> {
    pub registry: &'a Registry,
    pub served: &'a Served,
}

impl Versions for OfKind<'_> {
    fn type_of(&self, version: &str) -> Option<(&Schema, TypeId)> {
        let served = served_as(self.registry, self.served, version)?;
        Some((served.schema, served.resource.type_id))
    }

    fn convert(&self, tree: &Tree, from: &str, to: &str) -> Option<Tree> {
        let (from, to) = (served_as(self.registry, self.served, from)?, served_as(self.registry, self.served, to)?);
        between(from, to, tree)
    }
}

/// What a client is told of fields that others own: each is a cause.
pub fn conflict(conflicts: &[Conflict]) -> Status {
    let mut bytes_left = CONFLICT_BYTES_MAX;
    let count: usize = conflicts.iter().map(|conflict| conflict.fields.len()).sum();
    let paths: Vec<(String, Vec<String>)> = conflicts
        .iter()
        .map(|conflict| (shown(conflict), conflict.fields.paths_within(&mut bytes_left)))
        .filter(|(_, paths)| !paths.is_empty())
        .collect();
    let causes = paths.iter().flat_map(|(manager, paths)| {
        paths.iter().map(move |path| StatusCause {
            reason: "FieldManagerConflict".into(),
            message: format!("conflict with {manager}"),
            field: path.clone(),
        })
    });
    let causes: Vec<StatusCause> = causes.collect();
    let message = match (count, paths.first()) {
        (1, Some((manager, paths))) => {
            format!("Apply failed with 1 conflict: conflict with {manager}: {}", paths.join(""))
        }
        (count, _) => {
            let mut lines = Vec::new();
            for (manager, paths) in &paths {
                lines.push(format!("conflicts with {manager}:"));
                lines.extend(paths.iter().map(|path| format!("- {path}")));
            }
            format!("Apply failed with {count} conflicts: {}", lines.join("\n"))
        }
    };
    Status::apply_conflict(message, causes)
}

/// A manager as conflicts name it.
fn shown(conflict: &Conflict) -> String {
    let Manager { name, operation, api_version, subresource } = &conflict.manager;
    let mut shown = quoted(name);
    if !subresource.is_empty() {
        shown.push_str(&format!(" with subresource {}", quoted(subresource)));
    }
    if *operation == Operation::Update {
        shown.push_str(&format!(" using {api_version}"));
    }
    shown
}
