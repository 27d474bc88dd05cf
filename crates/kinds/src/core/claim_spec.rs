//! What a claim to storage says, whether it stands alone, in a volume of a pod or in a template of a stateful set (upstream:
//! `ValidatePersistentVolumeClaimSpec`, `SetDefaults_PersistentVolumeClaimSpec`, `api/persistentvolumeclaim`). Volumes say some of it too.

use portcullis_model::names;
use portcullis_model::quantity::Quantity;
use portcullis_model::status::BadValue;

use crate::views::List;
use crate::views::core_v1::{
    PersistentVolumeClaimSpec, PersistentVolumeClaimSpecEdit, TypedLocalObjectReference, TypedObjectReference,
};
use crate::vocabulary::frozen::is_same;
use crate::vocabulary::{Errors, Path, selectors};

/// What the pods that use a claim see of it: a file system.
const VOLUME_MODE_FILESYSTEM: &str = "Filesystem";
/// The resource that a claim asks for.
const STORAGE: &str = "storage";
/// The one kind of the core group that storage can be filled from.
const CLAIM: &str = "PersistentVolumeClaim";
/// Read and written by a single pod: no other mode goes with it.
const READ_WRITE_ONCE_POD: &str = "ReadWriteOncePod";
const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", READ_WRITE_ONCE_POD];

/// Gives a claim what it does not say.
pub fn default(mut spec: PersistentVolumeClaimSpecEdit<'_>) {
    if spec.view().volume_mode().is_none() {
        spec.set_volume_mode(VOLUME_MODE_FILESYSTEM);
    }
}

/// What is wrong with a claim. `at` is where its spec stands.
pub fn validate(spec: PersistentVolumeClaimSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    validate_beside(spec, None, at, errors);
}

/// What is wrong with a claim that replaces another, which may keep what was let in before upstream looked.
pub fn validate_beside(
    spec: PersistentVolumeClaimSpec<'_>,
    old: Option<PersistentVolumeClaimSpec<'_>>,
    at: &Path<'_>,
    errors: &mut Errors,
) {
    if spec.access_modes().is_empty() {
        errors.required(&at.field("accessModes"), "at least 1 access mode is required");
    }
    if let Some(selector) = spec.selector() {
        let check = if old.is_some_and(has_wrong_selector) {
            selectors::label_selector_of_old
        } else {
            selectors::label_selector
        };
        check(selector, &at.field("selector"), errors);
    }
    access_modes(spec.access_modes(), &at.field("accessModes"), errors);
    storage(spec, &at.field("resources"), errors);
    class_name(spec.storage_class_name(), &at.field("storageClassName"), errors);
    spec.check_volume_mode(at, errors);
    data_source(spec, old.is_some_and(names_group), at, errors);
    class_name(spec.volume_attributes_class_name(), &at.field("volumeAttributesClassName"), errors);
}

fn has_wrong_selector(old: PersistentVolumeClaimSpec<'_>) -> bool {
    let mut errors = Errors::new();
    if let Some(selector) = old.selector() {
        selectors::label_selector(selector, &Path::ROOT, &mut errors);
    }
    !errors.is_empty()
}

/// Whether a group is named of what a claim is filled from.
fn names_group(spec: PersistentVolumeClaimSpec<'_>) -> bool {
    spec.data_source().is_some_and(|source| source.api_group().is_some())
        || spec.data_source_ref().is_some_and(|source| source.api_group().is_some())
}

/// What the client of a claim that is taken should be told. `at` is where its spec stands.
pub fn warn(spec: PersistentVolumeClaimSpec<'_>, at: &Path<'_>, warnings: &mut Vec<String>) {
    let resources = spec.resources();
    for (map, field) in [(resources.requests(), "resources.requests"), (resources.limits(), "resources.limits")] {
        let Some(text) = map.get(STORAGE) else { continue };
        let Ok(quantity) = Quantity::parse(text) else { continue };
        if quantity.milli_value() % 1000 != 0 {
            let map = at.field(field);
            let at = map.key(STORAGE);
            warnings.push(format!("{at}: fractional byte value \"{text}\" is invalid, must be an integer"));
        }
    }
}

/// Modes that there are; the one for a single pod stands alone.
pub fn access_modes(modes: List<'_, &str>, at: &Path<'_>, errors: &mut Errors) {
    let (mut alone, mut shared) = (false, false);
    for mode in modes.iter() {
        match mode {
            READ_WRITE_ONCE_POD => alone = true,
            mode if ACCESS_MODES.contains(&mode) => shared = true,
            mode => errors.not_supported(at, mode, &ACCESS_MODES),
        }
    }
    if alone && shared {
        errors.forbidden(at, "may not use ReadWriteOncePod with other access modes");
    }
}

/// Access modes as tables show them, each once: `RWO,ROX`.
#[must_use]
pub fn short_access_modes(modes: List<'_, &str>) -> String {
    const SHORT: [(&str, &str); 4] =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), (READ_WRITE_ONCE_POD, "RWOP")];
    let held = SHORT.iter().filter(|(mode, _)| modes.iter().any(|held| held == *mode));
    held.map(|(_, short)| *short).collect::<Vec<_>>().join(",")
}

/// A claim asks for some storage. Upstream leaves the requests out of the path.
fn storage(spec: PersistentVolumeClaimSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let at = at.key(STORAGE);
    match spec.resources().requests().get(STORAGE) {
        None => errors.required(&at, ""),
        Some(text) if Quantity::parse(text).is_ok_and(|quantity| quantity.sign() <= 0) => {
            errors.invalid(&at, text, "must be greater than zero");
        }
        Some(_) => {}
    }
}

/// The name of a class; an empty one stands for none.
pub fn class_name(name: Option<&str>, at: &Path<'_>, errors: &mut Errors) {
    let name = name.unwrap_or_default();
    if !name.is_empty() {
        errors.complain(at, name, names::dns1123_subdomain(name));
    }
}

/// The two ways to say what storage is filled from must say the same.
fn data_source(spec: PersistentVolumeClaimSpec<'_>, takes_any_group: bool, at: &Path<'_>, errors: &mut Errors) {
    let (local, any) = (spec.data_source(), spec.data_source_ref());
    if let Some(local) = local {
        let (group, kind, name) = (local.api_group(), local.kind(), local.name());
        let group = Group { name: group, may_be_any: takes_any_group };
        reference(group, kind, name, &at.field("dataSource"), errors);
    }
    let mut namespace = "";
    if let Some(any) = any {
        let at = at.field("dataSourceRef");
        let group = Group { name: any.api_group(), may_be_any: takes_any_group };
        reference(group, any.kind(), any.name(), &at, errors);
        namespace = any.namespace().unwrap_or_default();
        if !namespace.is_empty() {
            errors.complain(&at.field("namespace"), namespace, names::dns1123_label(namespace));
        }
    }
    let (Some(local), Some(any)) = (local, any) else { return };
    // Upstream means to show where the other field stands, and shows nothing of it.
    let shown = BadValue::Json("{}".to_owned());
    if !namespace.is_empty() {
        errors.invalid(at, shown, "may not be specified when dataSourceRef.namespace is specified");
    } else if !is_same_source(local, any) {
        errors.invalid(at, shown, "must match dataSourceRef");
    }
}

/// The group of what a claim is filled from.
#[derive(Clone, Copy)]
struct Group<'a> {
    name: Option<&'a str>,
    /// It may be no group's name: where the stored claim names one.
    may_be_any: bool,
}

fn reference(group: Group<'_>, kind: &str, name: &str, at: &Path<'_>, errors: &mut Errors) {
    let (group, is_checked) = (group.name.unwrap_or_default(), !group.may_be_any);
    if name.is_empty() {
        errors.required(&at.field("name"), "");
    }
    if kind.is_empty() {
        errors.required(&at.field("kind"), "");
    }
    if group.is_empty() && kind != CLAIM {
        errors.invalid(at, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup");
    }
    if !group.is_empty() && is_checked {
        errors.complain(&at.field("apiGroup"), group, names::dns1123_subdomain(group));
    }
}

fn is_same_source(local: TypedLocalObjectReference<'_>, any: TypedObjectReference<'_>) -> bool {
    use TypedLocalObjectReference as Local;
    use TypedObjectReference as Any;
    let group = is_same(local.place().get(Local::API_GROUP), any.place().get(Any::API_GROUP));
    group && (local.kind(), local.name()) == (any.kind(), any.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{lines, read};
    use crate::views;
    use crate::views::core_v1::PersistentVolumeClaim;

    fn check(spec: &str, expected: &[&str], warned: &[&str]) {
        let tree = read("v1", "PersistentVolumeClaim", &format!(r#"{{"spec":{spec}}}"#));
        let spec = views::read::<PersistentVolumeClaim<'_>>(&tree).spec();
        let (mut errors, mut warnings) = (Errors::new(), Vec::new());
        validate(spec, &Path::new("spec"), &mut errors);
        warn(spec, &Path::new("spec"), &mut warnings);
        assert_eq!(lines(errors), expected);
        assert_eq!(warnings, warned);
    }

    #[test]
    fn a_claim_asks_for_storage_and_says_how_it_is_used() {
        const MODES: &str = "\"ReadOnlyMany\", \"ReadWriteMany\", \"ReadWriteOnce\", \"ReadWriteOncePod\"";
        check(
            "{}",
            &[
                "spec.accessModes: Required value: at least 1 access mode is required",
                "spec.resources[storage]: Required value",
            ],
            &[],
        );
        let of = |more: &str| {
            format!(r#"{{"accessModes":["ReadWriteOnce"],"resources":{{"requests":{{"storage":"1Gi"}}}}{more}}}"#)
        };
        check(&of(""), &[], &[]);
        check(
            r#"{"accessModes":["ReadWriteOncePod","Mine","ReadWriteMany"],"resources":{"requests":{"storage":"0"}}}"#,
            &[
                &format!("spec.accessModes: Unsupported value: \"Mine\": supported values: {MODES}"),
                "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes",
                "spec.resources[storage]: Invalid value: \"0\": must be greater than zero",
            ],
            &[],
        );
        check(
            &of(r#","volumeMode":"Tape""#),
            &["spec.volumeMode: Unsupported value: \"Tape\": supported values: \"Block\", \"Filesystem\""],
            &[],
        );
        check(&of(r#","storageClassName":"","volumeMode":"Block""#), &[], &[]);
        check(
            r#"{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"100m"}}}"#,
            &[],
            &["spec.resources.requests[storage]: fractional byte value \"100m\" is invalid, must be an integer"],
        );
        check(
            r#"{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1"},"limits":{"storage":"1500m"}}}"#,
            &[],
            &["spec.resources.limits[storage]: fractional byte value \"1500m\" is invalid, must be an integer"],
        );
    }

    #[test]
    fn both_sources_are_one() {
        let of = |more: &str| {
            format!(r#"{{"accessModes":["ReadWriteOnce"],"resources":{{"requests":{{"storage":"1Gi"}}}},{more}}}"#)
        };
        let claim = r#"{"kind":"PersistentVolumeClaim","name":"a"}"#;
        check(&of(&format!(r#""dataSource":{claim}"#)), &[], &[]);
        check(&of(&format!(r#""dataSource":{claim},"dataSourceRef":{claim}"#)), &[], &[]);
        check(
            &of(&format!(r#""dataSource":{claim},"dataSourceRef":{{"kind":"PersistentVolumeClaim","name":"b"}}"#)),
            &["spec: Invalid value: {}: must match dataSourceRef"],
            &[],
        );
        check(
            &of(r#""dataSource":{"kind":"","name":""}"#),
            &[
                "spec.dataSource.name: Required value",
                "spec.dataSource.kind: Required value",
                "spec.dataSource: Invalid value: \"\": must be 'PersistentVolumeClaim' when referencing the default apiGroup",
            ],
            &[],
        );
    }
}
