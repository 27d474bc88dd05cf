//! What a claim is filled from (upstream: `DropDisabledFields`, `EnforceDataSourceBackwardsCompatibility`, `NormalizeDataSources`;
//! KEP-1495). `dataSource` came first and takes claims and snapshots; `dataSourceRef` takes anything. Both say the same.

use portcullis_model::tree::Tree;

use crate::views;
use crate::views::core_v1::{
    PersistentVolumeClaim, PersistentVolumeClaimEdit, PersistentVolumeClaimSpec, PersistentVolumeClaimSpecEdit,
    TypedLocalObjectReference, TypedObjectReference,
};

/// Takes out what is not served, and makes both fields say the same.
pub(super) fn prepare(spec: &mut PersistentVolumeClaimSpecEdit<'_>, old: Option<PersistentVolumeClaimSpec<'_>>) {
    let new = spec.view();
    // Sources in other namespaces stand behind a gate that is off (CrossNamespaceVolumeDataSource).
    let is_elsewhere = new.data_source_ref().is_some_and(is_elsewhere);
    if is_elsewhere && old.is_none_or(|old| old.data_source_ref().is_none()) {
        spec.clear_data_source_ref();
    }
    let had_one = old.is_some_and(|old| old.data_source().is_some() || old.data_source_ref().is_some());
    let new = spec.view();
    if !had_one && new.data_source_ref().is_none() && !new.data_source().is_some_and(is_claim_or_snapshot) {
        // Others were never taken in the first field, and never refused.
        spec.clear_data_source();
    }
    agree(spec);
}

/// A claim as it would be if it were made today; none where it is.
pub(super) fn prepared(tree: &Tree) -> Option<Tree> {
    let spec = views::read::<PersistentVolumeClaim<'_>>(tree).spec();
    if spec.data_source().is_some() == spec.data_source_ref().is_some() {
        return None;
    }
    let mut copy = tree.clone();
    agree(&mut views::write::<PersistentVolumeClaimEdit<'_>>(&mut copy).spec_mut());
    Some(copy)
}

/// The field that is absent says what the other one says.
fn agree(spec: &mut PersistentVolumeClaimSpecEdit<'_>) {
    let owned =
        |group: Option<&str>, kind: &str, name: &str| (group.map(str::to_owned), kind.to_owned(), name.to_owned());
    match (spec.view().data_source(), spec.view().data_source_ref()) {
        (Some(source), None) => {
            let (group, kind, name) = owned(source.api_group(), source.kind(), source.name());
            let mut made = spec.data_source_ref_mut();
            made.set_kind(&kind);
            made.set_name(&name);
            if let Some(group) = group {
                made.set_api_group(&group);
            }
        }
        (None, Some(source)) if !is_elsewhere(source) => {
            let (group, kind, name) = owned(source.api_group(), source.kind(), source.name());
            let mut made = spec.data_source_mut();
            made.set_kind(&kind);
            made.set_name(&name);
            if let Some(group) = group {
                made.set_api_group(&group);
            }
        }
        _ => {}
    }
}

fn is_elsewhere(source: TypedObjectReference<'_>) -> bool {
    source.namespace().is_some_and(|namespace| !namespace.is_empty())
}

fn is_claim_or_snapshot(source: TypedLocalObjectReference<'_>) -> bool {
    matches!(
        (source.api_group().unwrap_or_default(), source.kind()),
        ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
    )
}
