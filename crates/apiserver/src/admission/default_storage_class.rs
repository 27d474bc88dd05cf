//! DefaultStorageClass: a claim that names no class gets the cluster's own (upstream: `plugin/pkg/admission/storage/storageclass/setdefault`).
//!
//! Of several the newest counts, and of those the first by name, so that a new default can be made before the old one is unmarked
//! (KEP-3333).

use std::cmp::Reverse;

use memchr::memmem;
use portcullis_kinds::storage::storage_class::{self, OLD_CLASS_ANNOTATION};
use portcullis_kinds::views;
use portcullis_kinds::views::core_v1::{PersistentVolumeClaim, PersistentVolumeClaimEdit};
use portcullis_kinds::views::storage_v1::StorageClass;

use super::stored::{self, STORAGE_CLASSES};
use super::{Attempt, Operation, Pass, Plugin};
use crate::answer::{Failure, unreadable};
use crate::registry::Served;

/// What the stored text of a default class has in it.
const IS_DEFAULT: &[u8] = b"/is-default-class\"";

/// The plugin.
pub struct DefaultStorageClass;

impl Plugin for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
    }

    fn handles(&self, served: &Served, operation: Operation) -> bool {
        operation == Operation::Create && served.is("", "persistentvolumeclaims")
    }

    fn admit<'a>(&'a self, attempt: &'a mut Attempt<'_>) -> Pass<'a> {
        Pass::Now(apply(attempt))
    }
}

fn apply(attempt: &mut Attempt<'_>) -> Result<(), Failure> {
    let Some(tree) = attempt.new().filter(|_| attempt.subresource().is_empty()) else { return Ok(()) };
    let claim: PersistentVolumeClaim<'_> = views::read(tree);
    let has_class = claim.metadata().annotations().get(OLD_CLASS_ANNOTATION).is_some();
    if has_class || claim.spec().storage_class_name().is_some() {
        return Ok(());
    }
    let Some(class) = default_class(attempt)? else { return Ok(()) };
    if let Some(tree) = attempt.object.as_deref_mut() {
        views::write::<PersistentVolumeClaimEdit<'_>>(tree).spec_mut().set_storage_class_name(&class);
    }
    Ok(())
}

/// The name of the class of claims that name none.
fn default_class(attempt: &Attempt<'_>) -> Result<Option<String>, Failure> {
    let Some(served) = stored::served(attempt, STORAGE_CLASSES) else { return Ok(None) };
    let Some(prefix) = served.prefix() else { return Ok(None) };
    let mut newest: Option<(Reverse<Option<i64>>, String)> = None;
    // Only what may be the one is read.
    let candidates = attempt.snapshot.range(prefix, None);
    for (_, entry) in candidates.filter(|(_, entry)| memmem::find(&entry.value, IS_DEFAULT).is_some()) {
        let tree = served.load(&entry.value).map_err(unreadable)?;
        let class: StorageClass<'_> = views::read(&tree);
        if storage_class::is_default(class) {
            let this = (Reverse(class.metadata().creation_timestamp()), class.metadata().name().to_owned());
            newest = Some(newest.map_or(this.clone(), |held| held.min(this)));
        }
    }
    Ok(newest.map(|(_, name)| name))
}
