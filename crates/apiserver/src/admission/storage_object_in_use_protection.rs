//! StorageObjectInUseProtection: what is in use outlives its deletion (upstream:
//! `plugin/pkg/admission/storage/storageobjectinuseprotection`).
//!
//! A new claim, volume or class of attributes gets a finalizer that its controller takes away when nobody uses it any longer.

use super::{Attempt, Operation, Pass, Plugin};
use crate::registry::Served;
use crate::registry::metadata::{Metadata, set_finalizers};

/// What is protected: group, resource, and the finalizer.
const PROTECTED: &[(&str, &str, &str)] = &[
    ("", "persistentvolumeclaims", "kubernetes.io/pvc-protection"),
    ("", "persistentvolumes", "kubernetes.io/pv-protection"),
    ("storage.k8s.io", "volumeattributesclasses", "kubernetes.io/vac-protection"),
];

/// The plugin.
pub struct StorageObjectInUseProtection;

impl Plugin for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    fn handles(&self, served: &Served, operation: Operation) -> bool {
        operation == Operation::Create && finalizer(served).is_some()
    }

    fn admit<'a>(&'a self, attempt: &'a mut Attempt<'_>) -> Pass<'a> {
        protect(attempt);
        Pass::on()
    }
}

fn finalizer(served: &Served) -> Option<&'static str> {
    PROTECTED.iter().find(|(group, resource, _)| served.is(group, resource)).map(|(.., finalizer)| *finalizer)
}

fn protect(attempt: &mut Attempt<'_>) {
    if !attempt.subresource().is_empty() {
        return;
    }
    let (served, finalizer) = (attempt.served(), finalizer(attempt.served()));
    if let (Some(tree), Some(finalizer)) = (attempt.object.as_deref_mut(), finalizer) {
        let mut held: Vec<String> = Metadata::of(served, tree).finalizers().map(str::to_owned).collect();
        if !held.iter().any(|held| held == finalizer) {
            held.push(finalizer.to_owned());
            set_finalizers(served, tree, &held);
        }
    }
}
