//! What a write may change: the fields that the server owns, on create and on update (upstream: `rest.BeforeCreate`,
//! `rest.BeforeUpdate` and the `PrepareFor*` methods of strategies, as far as they are the same for all kinds).

use portcullis_kinds::core::namespace;
use portcullis_kinds::rest::StatusKeeps;
use portcullis_model::names;
use portcullis_model::schema::managed::is_same;
use portcullis_model::schema::{TypeRef, canonical, encode_json};
use portcullis_model::tree::{NodeId, Scalar, Tree};

use super::Served;
use super::metadata::{Metadata, copy_field, copy_top, metadata_of, set_finalizers, set_string};
use crate::env::{Env, NoRandomness};

/// Keeps a foreground deletion waiting until dependents are gone.
pub const FINALIZER_FOREGROUND: &str = "foregroundDeletion";
/// Keeps a deletion waiting until dependents have lost their owner.
pub const FINALIZER_ORPHAN: &str = "orphan";

/// Through which door an update came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The object itself.
    Main,
    /// `/status`.
    Status,
    /// A part of the object of which the kind's own rules say what it changes (`approval`, `resize`, `ephemeralcontainers`, `finalize`).
    Part,
}

impl Door {
    /// The door of a subresource. All others write the object itself.
    pub fn of(subresource: &str) -> Door {
        match subresource {
            "status" => Door::Status,
            "approval" | "ephemeralcontainers" | "finalize" | "resize" => Door::Part,
            _ => Door::Main,
        }
    }
}

/// Gives a new object what the server owns: uid, time, generation, name, and no status.
pub fn for_create(served: &Served, tree: &mut Tree, namespace: &str, env: &dyn Env) -> Result<(), NoRandomness> {
    let meta = served.meta;
    if served.has_status() && !served.rules.keeps_status_on_create {
        let root = tree.root();
        tree.remove(root, served.fields.status.unwrap_or(u16::MAX));
    }
    drop_malformed_managers(served, tree);
    let metadata = metadata_of(served, tree);
    if served.resource.namespaced {
        tree.set(metadata, meta.namespace, Scalar::String(namespace));
    } else {
        tree.remove(metadata, meta.namespace);
    }
    for owned in [meta.deletion_timestamp, meta.deletion_grace_period_seconds, meta.self_link, meta.generation] {
        tree.remove(metadata, owned);
    }
    let mut random = [0u8; 40];
    env.fill_random(&mut random)?;
    let (for_uid, rest) = random.split_at(16);
    let (for_own_name, for_name) = rest.split_at(16);
    tree.set(metadata, meta.uid, Scalar::String(&uuid_v4(for_uid)));
    tree.set(metadata, meta.creation_timestamp, Scalar::Time(seconds(env)));
    if served.rules.generation {
        tree.set(metadata, meta.generation, Scalar::Int(1));
    }
    let known = Metadata::of(served, tree);
    if known.name().is_empty() && !known.generate_name().is_empty() {
        let draw = for_name.iter().fold(0u64, |draw, byte| draw << 8 | u64::from(*byte));
        let name = names::generate_name(known.generate_name(), draw);
        set_string(served, tree, meta.name, &name);
    } else if known.name().is_empty() && served.rules.names_itself {
        set_string(served, tree, meta.name, &uuid_v4(for_own_name));
    }
    Ok(())
}

/// Takes managed fields out that are malformed: upstream forgets them rather than refuse the object.
pub fn drop_malformed_managers(served: &Served, tree: &mut Tree) {
    let metadata = metadata_of(served, tree);
    let Some(list) = tree.field(metadata, served.meta.managed_fields) else { return };
    let operation = |node| {
        let number = served.schema.ty(tree.object_type(node)?).find("operation")?;
        tree.string(tree.field(node, number)?)
    };
    if !tree.children(list).all(|node| matches!(operation(node), Some("Apply" | "Update"))) {
        tree.remove(metadata, served.meta.managed_fields);
    }
}

/// Puts the status back, which has a door of its own. Before the kind prepares the object: some take something out of their status, or
/// note something there, because of what else is changed (services that lose their load balancer).
pub fn keep_status(served: &Served, tree: &mut Tree, old: &Tree, door: Door) {
    if served.rules.writes_status {
        return;
    }
    if let (Door::Main, Some(status), true) = (door, served.fields.status, served.has_status()) {
        copy_top(tree, old, status);
    }
}

/// Puts back what this door may not change, and counts the generation.
pub fn for_update(served: &Served, tree: &mut Tree, old: &Tree, door: Door) {
    keep_owned_metadata(served, tree, old);
    drop_malformed_managers(served, tree);
    match door {
        Door::Status => {
            let fields = &served.schema.ty(served.resource.type_id).fields;
            for number in (0u16..).take(fields.len()) {
                let free = [Some(served.fields.metadata), served.fields.status].contains(&Some(number));
                if !free {
                    copy_top(tree, old, number);
                }
            }
            let meta = served.meta;
            let kept: &[u16] = match served.rules.status_keeps {
                StatusKeeps::Nothing => &[],
                StatusKeeps::Owners => &[meta.deletion_timestamp, meta.owner_references],
                StatusKeeps::Labels => &[meta.labels],
                StatusKeeps::Metadata => {
                    &[meta.deletion_timestamp, meta.labels, meta.annotations, meta.owner_references, meta.finalizers]
                }
            };
            for number in kept {
                copy_field(served, tree, old, *number);
            }
        }
        Door::Main | Door::Part => {}
    }
    // What presence in the body means is decided first, or a default that only one side spells out would count as a change.
    canonical::canonicalize(served.schema, tree);
    count_generation(served, tree, old, door);
}

fn keep_owned_metadata(served: &Served, tree: &mut Tree, old: &Tree) {
    let meta = served.meta;
    for owned in [meta.generation, meta.self_link, meta.creation_timestamp] {
        copy_field(served, tree, old, owned);
    }
    if Metadata::of(served, old).is_deleting() {
        copy_field(served, tree, old, meta.deletion_timestamp);
    }
    // Named in the body they must be right, which validation says; absent they are what they were.
    for kept in [meta.uid, meta.deletion_grace_period_seconds, meta.namespace] {
        let metadata = metadata_of(served, tree);
        if tree.field(metadata, kept).is_none() {
            copy_field(served, tree, old, kept);
        }
    }
}

/// One more when anything but metadata and status differs.
fn count_generation(served: &Served, tree: &mut Tree, old: &Tree, door: Door) {
    let generation = Metadata::of(served, old).generation();
    if !served.rules.generation || door == Door::Status || generation == 0 {
        return;
    }
    let fields = &served.schema.ty(served.resource.type_id).fields;
    let head = [Some(served.fields.metadata), served.fields.status, served.fields.kind, served.fields.api_version];
    let mut changed = (0u16..).zip(fields.iter()).any(|(number, field)| {
        !head.contains(&Some(number))
            && !same(served, field.ty, (tree, tree.field(tree.root(), number)), (old, old.field(old.root(), number)))
    });
    let counting =
        [(served.rules.annotations_count, served.meta.annotations), (served.rules.labels_count, served.meta.labels)];
    for (_, number) in counting.into_iter().filter(|(counts, _)| *counts) {
        let held = |tree: &Tree| {
            let metadata = tree.field(tree.root(), served.fields.metadata)?;
            tree.field(metadata, number)
        };
        changed |= !same(served, TypeRef::Json, (tree, held(tree)), (old, held(old)));
    }
    if changed {
        let metadata = metadata_of(served, tree);
        tree.set(metadata, served.meta.generation, Scalar::Int(generation + 1));
    }
}

fn same(served: &Served, ty: TypeRef, new: (&Tree, Option<NodeId>), old: (&Tree, Option<NodeId>)) -> bool {
    match (new.1, old.1) {
        (None, None) => return true,
        (Some(at_new), Some(at_old)) if is_same((new.0, at_new), (old.0, at_old)) => return true,
        _ => {}
    }
    let write = |(tree, node): (&Tree, Option<NodeId>)| {
        let mut out = Vec::new();
        if let Some(node) = node {
            encode_json::write_value(served.schema, tree, node, ty, &mut out);
        }
        out
    };
    write(new) == write(old)
}

/// Marks an object whose kind takes its time as being deleted: it goes at `at`, `grace` seconds from now.
pub fn mark_deleting(served: &Served, tree: &mut Tree, at: i64, grace: i64) {
    mark_time(served, tree, at);
    let generation = Metadata::of(served, tree).generation();
    let metadata = metadata_of(served, tree);
    tree.set(metadata, served.meta.deletion_grace_period_seconds, Scalar::Int(grace));
    if generation > 0 {
        tree.set(metadata, served.meta.generation, Scalar::Int(generation.saturating_add(1)));
    }
}

/// Marks an object as being deleted that only its finalizers hold. One that was marked for later is marked for now.
pub fn mark_without_grace(served: &Served, tree: &mut Tree, now: i64) {
    let held = Metadata::of(served, tree);
    let (at, is_first) = (held.deletion().filter(|at| *at <= now), held.deletion_grace_period().is_none());
    if is_first {
        mark_deleting(served, tree, at.unwrap_or(now), 0);
        return;
    }
    mark_time(served, tree, at.unwrap_or(now));
    let metadata = metadata_of(served, tree);
    tree.set(metadata, served.meta.deletion_grace_period_seconds, Scalar::Int(0));
}

/// Gives an object that is ending less time, counted from when it was told to.
pub fn shorten_grace(served: &Served, tree: &mut Tree, grace: i64) {
    let held = Metadata::of(served, tree);
    let since = held.deletion().unwrap_or_default().saturating_sub(held.deletion_grace_period().unwrap_or_default());
    mark_time(served, tree, since.saturating_add(grace));
    let metadata = metadata_of(served, tree);
    tree.set(metadata, served.meta.deletion_grace_period_seconds, Scalar::Int(grace));
}

/// Says when an object goes.
pub fn mark_time(served: &Served, tree: &mut Tree, at: i64) {
    let metadata = metadata_of(served, tree);
    tree.set(metadata, served.meta.deletion_timestamp, Scalar::Time(at));
}

/// Whether nothing holds an object any longer whose deletion has begun.
pub fn deletion_is_complete(served: &Served, tree: &Tree) -> bool {
    let metadata = Metadata::of(served, tree);
    metadata.is_deleting()
        && metadata.deletion_grace_period().unwrap_or_default() == 0
        && metadata.finalizers().next().is_none()
        && !waits_for_content(served, tree)
}

/// Whether an object is a namespace that waits for its content to go.
pub fn waits_for_content(served: &Served, tree: &Tree) -> bool {
    served.is("", "namespaces") && namespace::waits_for_content(tree)
}

/// Puts the garbage collector's finalizers in or takes them out, keeping all others in order.
pub fn propagate(served: &Served, tree: &mut Tree, orphan: bool, foreground: bool) {
    let before: Vec<String> = Metadata::of(served, tree).finalizers().map(str::to_owned).collect();
    let mut after: Vec<String> = before
        .iter()
        .filter(|held| ![FINALIZER_FOREGROUND, FINALIZER_ORPHAN].contains(&held.as_str()))
        .cloned()
        .collect();
    if orphan {
        after.push(FINALIZER_ORPHAN.to_owned());
    }
    if foreground {
        after.push(FINALIZER_FOREGROUND.to_owned());
    }
    let changed = {
        let (mut a, mut b) = (before, after.clone());
        a.sort();
        b.sort();
        a != b
    };
    if changed {
        set_finalizers(served, tree, &after);
    }
}

fn seconds(env: &dyn Env) -> i64 {
    env.now_micros().div_euclid(1_000_000)
}

/// Writes 16 random bytes as a version 4 UUID.
pub(crate) fn uuid_v4(random: &[u8]) -> String {
    const HEX: [u8; 16] = *b"0123456789abcdef";
    let mut text = String::with_capacity(36);
    for (at, byte) in random.iter().take(16).enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let byte = match at {
            6 => byte & 0x0f | 0x40,
            8 => byte & 0x3f | 0x80,
            _ => *byte,
        };
        for digit in [byte >> 4, byte & 0x0f] {
            text.push(HEX.get(usize::from(digit)).copied().map_or('0', char::from));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids() {
        assert_eq!(uuid_v4(&[0; 16]), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid_v4(&[0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
