//! Keeps `metadata.managedFields` on every create, update and patch (upstream: `managedfields.FieldManager`, which runs when the request
//! was read and defaulted, before admission and preparation: what those change belongs to nobody).

use bytes::Bytes;
use http::header::USER_AGENT;
use portcullis_kinds::rest::{ANY, Resets, Rest};
use portcullis_model::schema::field_set::PathSet;
use portcullis_model::schema::managed::{Change, Comparison, Manager, Managers, Unwritten, compare};
use portcullis_model::tree::Tree;
use serde_json::Value;

use super::apply::OfKind;
use super::convert::between;
use super::metadata::metadata_of;
use super::{Registry, Served};
use crate::body::{before_managers, without_managers};
use crate::request::Request;

/// Where managers stand, and what their list is called.
const AT: &str = "/metadata/managedFields";
const MANAGED_FIELDS: &str = "managedFields";
/// Who this server is when it writes on its own.
const MANAGER_OWN: &str = "kube-apiserver";

/// Accounts for what a write changes. `old` is what is stored; none when it creates. Nothing else of the object is changed.
pub fn account(
    registry: &Registry,
    request: &Request<'_>,
    field_manager: &str,
    tree: &mut Tree,
    old: Option<&Tree>,
    now: i64,
) {
    let served = request.served;
    let before = old.map(|old| stored(served, old)).unwrap_or_default();
    let mut managers = match given(request, tree, &before) {
        Some(mut sent) => {
            sent.reconcile(&OfKind { registry, served });
            sent
        }
        None => before.clone(),
    };
    let metadata = metadata_of(served, tree);
    tree.remove(metadata, served.meta.managed_fields);
    // Whoever had its managers forgotten gets none again, until somebody applies.
    if old.is_some() && managers.entries.is_empty() {
        return;
    }
    let nothing = Tree::new(served.resource.type_id);
    let old = old.unwrap_or(&nothing);
    // Upstream forgets all managers of an object whose lists have no paths.
    let Ok(comparison) = compare(served.schema, old, tree) else { return };
    let agent = request.permitted.headers().get(USER_AGENT).and_then(|agent| agent.to_str().ok());
    let (version, subresource) = (&served.resource.api_version, request.info.subresource);
    let manager = Manager::of_update(field_manager, agent.unwrap_or_default(), version, subresource);
    let is_same = comparison.is_same_but_for_identity();
    let change = Change { manager, comparison, unwritten: served.doors.unwritten(request), now: Some(now) };
    managers.update(change, &mut |version| compare_as(registry, served, version, old, tree));
    if is_same && managers.same_but_for_time(&before) {
        managers = before;
    }
    managers.write(served.schema, tree, metadata, served.meta.managed_fields);
}

/// Accounts for what this server writes of a status on its own, as the client that upstream's has of itself.
pub fn account_own(served: &Served, tree: &mut Tree, old: &Tree, now: i64) {
    let mut managers = stored(served, old);
    // Whoever had its managers forgotten gets none again, until somebody applies.
    if managers.entries.is_empty() {
        return;
    }
    let metadata = metadata_of(served, tree);
    tree.remove(metadata, served.meta.managed_fields);
    let Ok(comparison) = compare(served.schema, old, tree) else { return };
    let manager = Manager::of_update(MANAGER_OWN, "", &served.resource.api_version, "status");
    let unwritten = unwritten(Resets::SPEC);
    let change = Change { manager, comparison, unwritten: &unwritten, now: Some(now) };
    managers.update(change, &mut |_| None);
    managers.write(served.schema, tree, metadata, served.meta.managed_fields);
}

/// The managers of what is stored; none when they cannot be read.
pub(super) fn stored(served: &Served, old: &Tree) -> Managers {
    let metadata = old.field(old.root(), served.fields.metadata);
    let list = metadata.and_then(|metadata| old.field(metadata, served.meta.managed_fields));
    list.and_then(|list| Managers::stored(served.schema, old, list).ok()).unwrap_or_default()
}

/// Whether an object is what is stored, but for the times of its managers: no reason to write it (upstream:
/// `IgnoreManagedFieldsTimestampsTransformer`).
pub fn only_times_differ(served: &Served, (tree, value): (&Tree, &Bytes), (old, old_value): (&Tree, &Bytes)) -> bool {
    // Most writes change something that stands in front of the managers, where it is found at once.
    if before_managers(value) != before_managers(old_value) {
        return false;
    }
    let without = |value: &Bytes| without_managers(value).map(|rest| rest.map_or_else(|| value.clone(), Bytes::from));
    matches!((without(value), without(old_value)), (Ok(made), Ok(held)) if made == held)
        && stored(served, tree).same_but_for_time(&stored(served, old))
}

/// Puts what asks to forget all managers in place of an empty list of them, which a tree cannot tell from none: that of an object or of a
/// merge patch, or that which an operation of a JSON patch puts there.
pub fn note_reset(served: &Served, tree: &mut Tree, text: &[u8]) {
    if memchr::memmem::find(text, MANAGED_FIELDS.as_bytes()).is_none() {
        return;
    }
    let is_empty = |value: Option<&Value>| value.and_then(Value::as_array).is_some_and(Vec::is_empty);
    let is_reset = match serde_json::from_slice::<Value>(text) {
        Ok(Value::Array(operations)) => operations.iter().any(|operation| {
            operation.get("path").and_then(Value::as_str) == Some(AT) && is_empty(operation.get("value"))
        }),
        Ok(object) => is_empty(object.pointer(AT)),
        Err(_) => false,
    };
    let metadata = metadata_of(served, tree);
    if !is_reset || tree.field(metadata, served.meta.managed_fields).is_some() {
        return;
    }
    Managers::write_reset(served.schema, tree, metadata, served.meta.managed_fields);
}

/// The managers that the client sent; none when those that are stored stay.
fn given(request: &Request<'_>, tree: &Tree, stored: &Managers) -> Option<Managers> {
    let served = request.served;
    if !request.info.subresource.is_empty() {
        return None;
    }
    let metadata = tree.field(tree.root(), served.fields.metadata)?;
    let list = tree.field(metadata, served.meta.managed_fields)?;
    if Managers::is_reset(tree, list) {
        return Some(Managers::default());
    }
    Managers::read_beside(served.schema, tree, list, stored).ok().filter(|managers| !managers.entries.is_empty())
}

/// What each door to an object does not write, by subresource.
#[derive(Debug)]
pub struct Doors {
    main: Unwritten,
    status: Unwritten,
    /// Those that the kind says more of.
    parts: Vec<(&'static str, Unwritten)>,
}

impl Doors {
    /// What the kind says of them.
    pub fn of(rest: &Rest) -> Doors {
        let parts = rest.resets.iter().filter(|(door, _)| !["", "status"].contains(door));
        Doors {
            main: unwritten(rest.resets_of("")),
            status: unwritten(rest.resets_of("status")),
            parts: parts.map(|(door, resets)| (*door, unwritten(*resets))).collect(),
        }
    }

    /// What the door of a request does not write.
    pub fn unwritten(&self, request: &Request<'_>) -> &Unwritten {
        match request.info.subresource {
            "" => &self.main,
            "status" => &self.status,
            other => self.parts.iter().find(|(door, _)| *door == other).map_or(&self.main, |(_, unwritten)| unwritten),
        }
    }
}

fn unwritten(resets: Resets) -> Unwritten {
    match resets {
        Resets::Fields(paths) => PathSet::of_fields(paths).into(),
        Resets::AllBut(paths) => {
            let step = |name: &&str| (*name != ANY).then(|| Box::from(*name));
            Unwritten::AllBut(paths.iter().map(|path| path.iter().map(step).collect()).collect())
        }
    }
}

/// What a change is in another version of the kind; none when there is no such version.
fn compare_as(registry: &Registry, served: &Served, version: &str, old: &Tree, new: &Tree) -> Option<Comparison> {
    let other = served_as(registry, served, version)?;
    compare(other.schema, &between(served, other, old)?, &between(served, other, new)?).ok()
}

/// The same objects in another version of their kind.
pub(super) fn served_as<'a>(registry: &'a Registry, served: &Served, version: &str) -> Option<&'a Served> {
    registry.all().iter().find(|other| {
        other.resource.api_version == version
            && other.resource.kind == served.resource.kind
            && other.stored_type == served.stored_type
    })
}
