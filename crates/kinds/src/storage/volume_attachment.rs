//! `VolumeAttachment` (upstream: `registry/storage/volumeattachment`, `apis/storage/validation`).
//!
//! That a volume is to be attached to a node: a volume by its name, or one that stands inline, from which in-tree volumes were migrated
//! (KEP-625). The wish never changes, the driver says in the status what became of it.

use portcullis_model::names;
use portcullis_model::tree::Tree;

use crate::core::persistent_volume::spec as volume_spec;
use crate::core::pod_spec::volumes::drivers::driver_name;
use crate::rest::{Resets, Rest, StatusKeeps};
use crate::strategy::{Column, Strategy};
use crate::views;
use crate::views::storage_v1::{
    VolumeAttachment, VolumeAttachmentEdit, VolumeAttachmentSource, VolumeAttachmentStatus, VolumeError,
};
use crate::vocabulary::frozen::frozen;
use crate::vocabulary::{Errors, Path};

/// The rules of `VolumeAttachment`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest {
        needs_version: true,
        delete_shows_object: true,
        status_checks_all_metadata: true,
        status_keeps: StatusKeeps::Metadata,
        resets: &[("status", Resets::SPEC_AND_METADATA)],
        ..Rest::PLAIN
    },
    default,
    validate_create,
    validate_update,
    columns: &[
        ("Attached", Column::Field("status.attached", "false")),
        ("Attacher", Column::Field("spec.attacher", r#""""#)),
        ("Node", Column::Field("spec.nodeName", r#""""#)),
        ("PV", Column::Field("spec.source.persistentVolumeName", r#""""#)),
    ],
    ..Strategy::NONE
};

/// Bytes of what a driver notes of an attachment.
const METADATA_LEN_MAX: usize = 256 << 10;
/// Bytes of what it says went wrong.
const MESSAGE_LEN_MAX: usize = 1024;
const ONE_SOURCE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";

fn default(tree: &mut Tree) {
    if views::read::<VolumeAttachment<'_>>(tree).spec().source().inline_volume_spec().is_some() {
        let mut attachment: VolumeAttachmentEdit<'_> = views::write(tree);
        volume_spec::default(&mut attachment.spec_mut().source_mut().inline_volume_spec_mut());
    }
}

/// A new one is held to more than those that were made before upstream looked.
fn validate_create(tree: &Tree, errors: &mut Errors) {
    let attachment: VolumeAttachment<'_> = views::read(tree);
    validate(attachment, errors);
    if !attachment.spec().attacher().is_empty() {
        driver_name(attachment.spec().attacher(), &Path::new("spec.attacher"), errors);
    }
    if let Some(name) = attachment.spec().source().persistent_volume_name() {
        let at = Path::new("spec.source.persistentVolumeName");
        errors.complain(&at, name, names::dns1123_subdomain(name));
    }
}

fn validate(attachment: VolumeAttachment<'_>, errors: &mut Errors) {
    let (spec, at) = (attachment.spec(), Path::new("spec"));
    if spec.attacher().is_empty() {
        errors.required(&at.field("attacher"), "");
    }
    source(spec.source(), &at.field("source"), errors);
    spec.check_node_name(&at, errors);
    status(attachment.status(), &Path::new("status"), errors);
}

fn source(source: VolumeAttachmentSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    match (source.inline_volume_spec(), source.persistent_volume_name()) {
        (None, None) => errors.required(at, ONE_SOURCE),
        (Some(_), Some(_)) => errors.forbidden(at, ONE_SOURCE),
        (None, Some("")) => {
            errors.required(&at.field("persistentVolumeName"), "must specify non empty persistentVolumeName");
        }
        (None, Some(_)) => {}
        (Some(spec), None) => volume_spec::validate_inline(spec, &at.field("inlineVolumeSpec"), errors),
    }
}

fn status(status: VolumeAttachmentStatus<'_>, at: &Path<'_>, errors: &mut Errors) {
    let metadata = status.attachment_metadata().iter();
    let len = metadata.fold(0usize, |len, (key, value)| len.saturating_add(key.len()).saturating_add(value.len()));
    if len > METADATA_LEN_MAX {
        errors.too_long(&at.field("attachmentMetadata"), METADATA_LEN_MAX);
    }
    for (error, field) in [(status.attach_error(), "attachError"), (status.detach_error(), "detachError")] {
        if let Some(error) = error {
            volume_error(error, &at.field(field), errors);
        }
    }
}

fn volume_error(error: VolumeError<'_>, at: &Path<'_>, errors: &mut Errors) {
    if error.message().len() > MESSAGE_LEN_MAX {
        // Clients are told the limit of the metadata.
        errors.too_long(&at.field("message"), METADATA_LEN_MAX);
    }
    error.check_error_code(at, errors);
}

/// What is wrong is said twice, as upstream says it.
fn validate_update(tree: &Tree, old: &Tree, _: &str, errors: &mut Errors) {
    let (new, old): (VolumeAttachment<'_>, VolumeAttachment<'_>) = (views::read(tree), views::read(old));
    let before = errors.len();
    validate(new, errors);
    if errors.len() > before {
        validate(new, errors);
    }
    let spec = VolumeAttachment::SPEC;
    frozen(new.place().get(spec), old.place().get(spec), &Path::new("spec"), errors);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{complaints, created, default_all, json, read, update_complaints};

    fn of(fields: &str) -> Tree {
        let text = format!(r#"{{"metadata":{{"name":"a"}},{fields}}}"#);
        created(&STRATEGY, "storage.k8s.io/v1", "VolumeAttachment", &text)
    }

    const GOOD: &str = r#""spec":{"attacher":"csi.example.com","nodeName":"n","source":{"persistentVolumeName":"v"}}"#;

    #[test]
    fn what_is_attached_where_and_by_whom() {
        let check = |source: &str, expected: &[&str]| {
            let fields = format!(r#""spec":{{"attacher":"csi.example.com","nodeName":"n","source":{source}}}"#);
            assert_eq!(complaints(&STRATEGY, &of(&fields)), expected, "{source}");
        };
        check(r#"{"persistentVolumeName":"v"}"#, &[]);
        check("{}", &[&format!("spec.source: Required value: {ONE_SOURCE}")]);
        check(
            r#"{"persistentVolumeName":"v","inlineVolumeSpec":{}}"#,
            &[&format!("spec.source: Forbidden: {ONE_SOURCE}")],
        );
        let csi = r#""csi":{"driver":"a","volumeHandle":"b"}"#;
        check(&format!(r#"{{"inlineVolumeSpec":{{"accessModes":["ReadWriteOnce"],{csi}}}}}"#), &[]);
        check(
            r#"{"inlineVolumeSpec":{"capacity":{"storage":"1"},"persistentVolumeReclaimPolicy":"Delete","nodeAffinity":{},
                "storageClassName":"x","volumeMode":"Block","claimRef":{},"nfs":{"server":"a","path":"/b"}}}"#,
            &[
                "spec.source.inlineVolumeSpec.claimRef: Forbidden: may not be specified in the context of inline volumes",
                "spec.source.inlineVolumeSpec.capacity: Forbidden: may not be specified in the context of inline volumes",
                "spec.source.inlineVolumeSpec.csi: Required value: has to be specified in the context of inline volumes",
                "spec.source.inlineVolumeSpec.accessModes: Required value",
                "spec.source.inlineVolumeSpec.persistentVolumeReclaimPolicy: Forbidden: may only be Retain in the context of inline volumes",
                "spec.source.inlineVolumeSpec.nodeAffinity: Forbidden: may not be specified in the context of inline volumes",
                "spec.source.inlineVolumeSpec.storageClassName: Forbidden: may not be specified in the context of inline volumes",
                "spec.source.inlineVolumeSpec.volumeMode: Forbidden: may not specify volumeMode other than Filesystem in the context of inline volumes",
            ],
        );
    }

    #[test]
    fn a_wish_stays_and_its_driver_answers() {
        let check = |new: &str, expected: usize| {
            assert_eq!(update_complaints(&STRATEGY, &of(new), &of(GOOD), "status").len(), expected, "{new}");
        };
        check(&format!(r#"{GOOD},"status":{{"attached":true}}"#), 0);
        let long = "x".repeat(MESSAGE_LEN_MAX + 1);
        let failed = of(&format!(r#"{GOOD},"status":{{"attachError":{{"message":"{long}"}}}}"#));
        let too_long = "status.attachError.message: Too long: may not be more than 262144 bytes";
        assert_eq!(update_complaints(&STRATEGY, &failed, &of(GOOD), "status"), [too_long; 2]);
        check(&format!(r#"{GOOD},"status":{{"detachError":{{"errorCode":-1}}}}"#), 2);
        check(r#""spec":{"attacher":"other","nodeName":"n","source":{"persistentVolumeName":"v"}}"#, 1);
    }

    #[test]
    fn an_inline_volume_is_defaulted() {
        let text = r#"{"spec":{"source":{"inlineVolumeSpec":{"rbd":{"monitors":["a"],"image":"b"}}}}}"#;
        let mut tree = read("storage.k8s.io/v1", "VolumeAttachment", text);
        default_all(&STRATEGY, &mut tree);
        assert_eq!(json(&tree)["spec"]["source"]["inlineVolumeSpec"]["rbd"]["pool"], "rbd");
    }
}
