//! Objects beside the one that is written, as they are in the state that the write is decided on.

use portcullis_model::status::Status;
use portcullis_model::tree::Tree;
use portcullis_store::{Entry, Key, Snapshot};

use super::Attempt;
use crate::answer::{Failure, unreadable};
use crate::registry::Served;

/// Group and name of a resource that plugins look something up in. All are at `v1`.
pub(super) type Resource = (&'static str, &'static str);

pub(super) const INGRESS_CLASSES: Resource = ("networking.k8s.io", "ingressclasses");
pub(super) const NAMESPACES: Resource = ("", "namespaces");
pub(super) const LIMIT_RANGES: Resource = ("", "limitranges");
pub(super) const NODES: Resource = ("", "nodes");
pub(super) const PRIORITY_CLASSES: Resource = ("scheduling.k8s.io", "priorityclasses");
pub(super) const RESOURCE_QUOTAS: Resource = ("", "resourcequotas");
pub(super) const RUNTIME_CLASSES: Resource = ("node.k8s.io", "runtimeclasses");
pub(super) const SERVICE_ACCOUNTS: Resource = ("", "serviceaccounts");
pub(super) const STORAGE_CLASSES: Resource = ("storage.k8s.io", "storageclasses");

/// The resource as it is served.
pub(super) fn served<'a>(attempt: &Attempt<'a>, (group, name): Resource) -> Option<&'a Served> {
    attempt.server.registry.find(group, "v1", name)
}

/// Where an object would be.
pub(super) fn key(attempt: &Attempt<'_>, of: Resource, namespace: &str, name: &str) -> Option<String> {
    served(attempt, of)?.key(namespace, name)
}

/// An object; none when it is not there.
///
/// # Errors
/// It cannot be read.
pub(super) fn load(attempt: &Attempt<'_>, of: Resource, namespace: &str, name: &str) -> Result<Option<Tree>, Failure> {
    let Some(served) = served(attempt, of) else { return Ok(None) };
    let entry = served.key(namespace, name).and_then(|key| attempt.snapshot.get(&key));
    entry.map(|entry| served.load(&entry.value).map_err(unreadable)).transpose()
}

/// The namespace of the write as it is in a state.
///
/// # Errors
/// It is not there.
pub(super) fn namespace<'s>(attempt: &Attempt<'_>, state: &'s Snapshot) -> Result<&'s Entry, Failure> {
    let name = attempt.namespace();
    let key = key(attempt, NAMESPACES, "", name);
    let found = key.and_then(|key| state.get(&key));
    found.ok_or_else(|| Box::new(Status::not_found("", NAMESPACES.1, name)))
}

/// An object, and where it is.
pub(super) struct Stored {
    pub key: Key,
    pub version: u64,
    pub tree: Tree,
}

/// All objects of a resource in a namespace, in the order of their names.
///
/// # Errors
/// One of them cannot be read.
pub(super) fn all(
    attempt: &Attempt<'_>,
    of: Resource,
    namespace: &str,
    state: &Snapshot,
) -> Result<Vec<Stored>, Failure> {
    let Some(served) = served(attempt, of) else { return Ok(Vec::new()) };
    let Some(prefix) = served.key_prefix(namespace) else { return Ok(Vec::new()) };
    let load = |(key, entry): (&Key, &Entry)| {
        let tree = served.load(&entry.value).map_err(unreadable)?;
        Ok(Stored { key: key.clone(), version: entry.version, tree })
    };
    state.range(&prefix, None).map(load).collect()
}
