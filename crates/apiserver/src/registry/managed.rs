//! Keeps `metadata.managedFields` on every create, update and patch (upstream: `managedfields.FieldManager`, which runs when the request
//! was read and defaulted, before admission and preparation: what those change belongs to nobody).

use std::sync::OnceLock;

use bytes::Bytes;
use http::header::USER_AGENT;
use portcullis_model::schema::field_set::PathSet;
use portcullis_model::schema::managed::{Change, Comparison, Manager, Managers, compare};
use portcullis_model::tree::Tree;

use super::metadata::{copy_field, metadata_of};
use super::prepare::Door;
use super::{Registry, Served};
use crate::request::Request;

/// Resources whose status door writes nothing of the metadata, by group and resource.
const STATUS_RESETS_METADATA: &[(&str, &str)] = &[
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("apiregistration.k8s.io", "apiservices"),
    ("resource.k8s.io", "resourceclaims"),
    ("storage.k8s.io", "volumeattachments"),
];
/// The same of some fields of the metadata.
const STATUS_RESETS: &[(&str, &str, &[&[&str]])] = &[
    ("", "pods", &[&["spec"], &["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"]]),
    ("apps", "deployments", &[&["spec"], &["metadata", "labels"]]),
];

/// Resources whose spec does not change once it is there, so nobody owns it.
const MAIN_RESETS_SPEC: &[(&str, &str)] = &[("certificates.k8s.io", "certificatesigningrequests")];

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
    let mut managers = given(request, tree, &before).unwrap_or_else(|| before.clone());
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
    // Upstream keeps no time of what was set through the scale: it is lost on the way from a Scale's managers to the object's.
    let now = Some(now).filter(|_| subresource != "scale");
    let is_same = comparison.is_same_but_for_identity();
    let change = Change { manager, comparison, ignored: ignored(request), now };
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
    let ignored = PathSet::of_fields(&[&["spec"]]);
    let change = Change { manager, comparison, ignored: &ignored, now: Some(now) };
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
pub fn only_times_differ(served: &Served, tree: &Tree, old: &Tree, value: &Bytes) -> bool {
    if !stored(served, tree).same_but_for_time(&stored(served, old)) {
        return false;
    }
    let mut tree = tree.clone();
    copy_field(served, &mut tree, old, served.meta.managed_fields);
    served.store(&mut tree).is_ok_and(|made| made == *value)
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

/// What this door to the object does not write (upstream: `GetResetFields` of strategies).
pub(super) fn ignored(request: &Request<'_>) -> &'static PathSet {
    static SETS: OnceLock<[PathSet; 6]> = OnceLock::new();
    let [nothing, status, spec, spec_and_metadata, spec_and_status, spec_and_certificate] = SETS.get_or_init(|| {
        [
            PathSet::default(),
            PathSet::of_fields(&[&["status"]]),
            PathSet::of_fields(&[&["spec"]]),
            PathSet::of_fields(&[&["spec"], &["metadata"]]),
            PathSet::of_fields(&[&["spec"], &["status"]]),
            PathSet::of_fields(&[&["spec"], &["status", "certificate"]]),
        ]
    });
    static OTHERS: OnceLock<Vec<PathSet>> = OnceLock::new();
    let others = OTHERS.get_or_init(|| STATUS_RESETS.iter().map(|(.., paths)| PathSet::of_fields(paths)).collect());
    let served = request.served;
    let key = (served.resource.group, served.resource.name);
    match Door::of(request.info.subresource) {
        Door::Status if STATUS_RESETS_METADATA.contains(&key) => spec_and_metadata,
        Door::Status => {
            let at = STATUS_RESETS.iter().position(|(group, name, _)| (*group, *name) == key);
            at.and_then(|at| others.get(at)).unwrap_or(spec)
        }
        Door::Part if request.info.subresource == "approval" => spec_and_certificate,
        Door::Main if MAIN_RESETS_SPEC.contains(&key) => spec_and_status,
        Door::Main | Door::Part if served.has_status() => status,
        Door::Main | Door::Part => nothing,
    }
}

/// What a change is in another version of the kind; none when there is no such version.
fn compare_as(registry: &Registry, served: &Served, version: &str, old: &Tree, new: &Tree) -> Option<Comparison> {
    let other = served_as(registry, served, version)?;
    compare(other.schema, &convert(served, other, old)?, &convert(served, other, new)?).ok()
}

/// The same objects in another version of their kind.
pub(super) fn served_as<'a>(registry: &'a Registry, served: &Served, version: &str) -> Option<&'a Served> {
    registry.all().iter().find(|other| {
        other.resource.api_version == version
            && other.resource.kind == served.resource.kind
            && other.stored_type == served.stored_type
    })
}

/// An object of one version in another.
pub(super) fn convert(from: &Served, to: &Served, tree: &Tree) -> Option<Tree> {
    let value = from.store(&mut tree.clone()).ok()?;
    to.load(&value).ok()
}
