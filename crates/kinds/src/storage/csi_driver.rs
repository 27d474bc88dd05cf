//! `CSIDriver` (upstream: `registry/storage/csidriver`, `apis/storage/validation`, `apis/storage/v1/defaults.go`).
//!
//! What the cluster does for a driver: attach, tell about pods, give tokens.

use std::collections::HashSet;

use portcullis_model::tree::Tree;

use crate::rest::Rest;
use crate::strategy::{Cell, Column, Strategy};
use crate::views;
use crate::views::storage_v1::{CSIDriver, CSIDriverEdit, CSIDriverSpec, TokenRequest};
use crate::views::{List, shown_field};
use crate::vocabulary::frozen::{IMMUTABLE, is_same};
use crate::vocabulary::{Errors, Path, names};

/// The rules of `CSIDriver`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { needs_version: true, delete_shows_object: true, update_checks_all_metadata: false, ..Rest::PLAIN },
    default,
    validate_create: |tree, errors| validate(views::read::<CSIDriver<'_>>(tree).spec(), errors),
    warn_create: |tree, warnings| warn(views::read::<CSIDriver<'_>>(tree).spec(), warnings),
    prepare_update: |tree, old, _, _| count_generation(tree, old),
    validate_update,
    warn_update,
    columns: &[
        ("AttachRequired", Column::Field("spec.attachRequired", "true")),
        ("PodInfoOnMount", Column::Field("spec.podInfoOnMount", "false")),
        ("RequiresRepublish", Column::Field("spec.requiresRepublish", "false")),
        ("StorageCapacity", Column::Field("spec.storageCapacity", "false")),
    ],
    cell: |tree, column, _| cell(tree, column),
    ..Strategy::NONE
};

/// How long a driver may take a volume to be used.
const MODES: &[&str] = &["Persistent", "Ephemeral"];
/// Shortest life of a token, in seconds.
const TOKEN_SECONDS_MIN: i64 = 10 * 60;
/// Longest life of a token, in seconds.
const TOKEN_SECONDS_MAX: i64 = 1 << 32;
/// How often a driver may be asked what it can attach, in seconds at the least.
const UPDATE_SECONDS_MIN: i64 = 10;

fn default(tree: &mut Tree) {
    let mut driver: CSIDriverEdit<'_> = views::write(tree);
    let mut spec = driver.spec_mut();
    let view = spec.view();
    let (attach, info, capacity, policy) = (
        view.attach_required().is_none(),
        view.pod_info_on_mount().is_none(),
        view.storage_capacity().is_none(),
        view.fs_group_policy().is_none(),
    );
    let (modes, republish, mount) = (
        view.volume_lifecycle_modes().is_empty(),
        view.requires_republish().is_none(),
        view.se_linux_mount().is_none(),
    );
    if attach {
        spec.set_attach_required(true);
    }
    if info {
        spec.set_pod_info_on_mount(false);
    }
    if capacity {
        spec.set_storage_capacity(false);
    }
    if policy {
        spec.set_fs_group_policy("ReadWriteOnceWithFSType");
    }
    if modes {
        spec.volume_lifecycle_modes_mut().push_text("Persistent");
    }
    if republish {
        spec.set_requires_republish(false);
    }
    if mount {
        spec.set_se_linux_mount(false);
    }
}

/// Changes of the spec are counted from none.
fn count_generation(tree: &mut Tree, old: &Tree) {
    let old: CSIDriver<'_> = views::read(old);
    let mut driver: CSIDriverEdit<'_> = views::write(tree);
    if !is_same(driver.view().place().get(CSIDriver::SPEC), old.place().get(CSIDriver::SPEC)) {
        driver.metadata_mut().set_generation(old.metadata().generation().saturating_add(1));
    }
}

fn validate(spec: CSIDriverSpec<'_>, errors: &mut Errors) {
    let at = Path::new("spec");
    spec.check_fs_group_policy(&at, errors);
    token_requests(spec.token_requests(), &at.field("tokenRequests"), errors);
    for mode in spec.volume_lifecycle_modes().iter() {
        names::one_of(mode, MODES, &at.field("volumeLifecycleModes"), errors);
    }
    if let Some(period) = spec.node_allocatable_update_period_seconds().filter(|period| *period < UPDATE_SECONDS_MIN) {
        let why = "must be greater than or equal to 10 seconds";
        errors.invalid(&at.field("nodeAllocatableUpdatePeriodSeconds"), period, why);
    }
    if let Some(is_secret) = spec.service_account_token_in_secrets().filter(|_| spec.token_requests().is_empty()) {
        let why = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
        errors.invalid(&at.field("serviceAccountTokenInSecrets"), is_secret, why);
    }
}

/// One token for each audience. What is wrong beside with one too many is not told.
fn token_requests(list: List<'_, TokenRequest<'_>>, at: &Path<'_>, errors: &mut Errors) {
    let mut audiences = HashSet::new();
    for (index, one) in list.iter().enumerate() {
        let at = at.index(index);
        if !audiences.insert(one.audience()) {
            errors.duplicate(&at.field("audience"), one.audience());
            continue;
        }
        let Some(seconds) = one.expiration_seconds() else { continue };
        let at = at.field("expirationSeconds");
        if seconds < TOKEN_SECONDS_MIN {
            errors.invalid(&at, seconds, "may not specify a duration less than 10 minutes");
        }
        if seconds > TOKEN_SECONDS_MAX {
            errors.invalid(&at, seconds, "may not specify a duration larger than 2^32 seconds");
        }
    }
}

fn validate_update(tree: &Tree, old: &Tree, _: &str, errors: &mut Errors) {
    let (new, old) = (views::read::<CSIDriver<'_>>(tree).spec(), views::read::<CSIDriver<'_>>(old).spec());
    validate(new, errors);
    let at = Path::new("spec");
    // Clients know the first path as it is.
    let kept = [
        (CSIDriverSpec::ATTACH_REQUIRED, "attachedRequired"),
        (CSIDriverSpec::VOLUME_LIFECYCLE_MODES, "volumeLifecycleModes"),
    ];
    for (field, name) in kept {
        if !is_same(new.place().get(field), old.place().get(field)) {
            errors.invalid(&at.field(name), shown_field(new.place(), field), IMMUTABLE);
        }
    }
}

/// Tokens in attributes of a volume may end in a log (KEP-5538).
fn warn(spec: CSIDriverSpec<'_>, warnings: &mut Vec<String>) {
    if !spec.token_requests().is_empty() && spec.service_account_token_in_secrets().is_none() {
        let why = "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent \
                   possible logging of tokens in volume attributes";
        warnings.push(why.to_owned());
    }
}

fn warn_update(tree: &Tree, old: &Tree, _: &str, warnings: &mut Vec<String>) {
    let (new, old) = (views::read::<CSIDriver<'_>>(tree).spec(), views::read::<CSIDriver<'_>>(old).spec());
    let field = CSIDriverSpec::TOKEN_REQUESTS;
    if !is_same(new.place().get(field), old.place().get(field)) {
        warn(new, warnings);
    }
}

fn cell(tree: &Tree, column: &str) -> Option<Cell> {
    let spec = views::read::<CSIDriver<'_>>(tree).spec();
    let joined = |texts: Vec<&str>, none: &str| if texts.is_empty() { none.to_owned() } else { texts.join(",") };
    let text = match column {
        "TokenRequests" => joined(spec.token_requests().iter().map(|request| request.audience()).collect(), "<unset>"),
        "Modes" => joined(spec.volume_lifecycle_modes().iter().collect(), "<none>"),
        _ => return None,
    };
    Some(Cell::Text(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{complaints, created, json, update_complaints};

    fn of(spec: &str) -> Tree {
        let text = format!(r#"{{"metadata":{{"name":"csi.example.com"}},"spec":{{{spec}}}}}"#);
        created(&STRATEGY, "storage.k8s.io/v1", "CSIDriver", &text)
    }

    #[test]
    fn what_a_driver_may_say() {
        let check = |spec: &str, expected: &[&str]| assert_eq!(complaints(&STRATEGY, &of(spec)), expected, "{spec}");
        check("", &[]);
        check(
            r#""tokenRequests":[{"audience":"a"},{"audience":"b","expirationSeconds":600}],"serviceAccountTokenInSecrets":true"#,
            &[],
        );
        check(
            r#""fsGroupPolicy":"Mine","volumeLifecycleModes":["Short"],"nodeAllocatableUpdatePeriodSeconds":9"#,
            &[
                r#"spec.fsGroupPolicy: Unsupported value: "Mine": supported values: "File", "None", "ReadWriteOnceWithFSType""#,
                r#"spec.volumeLifecycleModes: Unsupported value: "Short": supported values: "Persistent", "Ephemeral""#,
                "spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 9: must be greater than or equal to 10 seconds",
            ],
        );
        check(
            r#""tokenRequests":[{"audience":"a","expirationSeconds":599},{"audience":"a"},{"audience":"","expirationSeconds":4294967297}]"#,
            &[
                "spec.tokenRequests[0].expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes",
                r#"spec.tokenRequests[1].audience: Duplicate value: "a""#,
                "spec.tokenRequests[2].expirationSeconds: Invalid value: 4294967297: may not specify a duration larger than 2^32 seconds",
            ],
        );
        check(
            r#""serviceAccountTokenInSecrets":false"#,
            &[
                "spec.serviceAccountTokenInSecrets: Invalid value: false: serviceAccountTokenInSecrets is set but no tokenRequests are specified",
            ],
        );
    }

    #[test]
    fn a_driver_attaches_or_not_for_good() {
        let check = |new: &str, expected: &[&str], generation: Option<i64>| {
            let (mut new, old) = (of(new), of(""));
            count_generation(&mut new, &old);
            assert_eq!(update_complaints(&STRATEGY, &new, &old, ""), expected);
            assert_eq!(json(&new)["metadata"]["generation"].as_i64(), generation);
        };
        check("", &[], None);
        check(r#""podInfoOnMount":true"#, &[], Some(1));
        check(
            r#""attachRequired":false,"volumeLifecycleModes":["Ephemeral"]"#,
            &[
                "spec.attachedRequired: Invalid value: false: field is immutable",
                r#"spec.volumeLifecycleModes: Invalid value: ["Ephemeral"]: field is immutable"#,
            ],
            Some(1),
        );
    }

    #[test]
    fn tokens_in_attributes_are_warned_of() {
        let warned = |new: &str, old: Option<&str>| {
            let mut warnings = Vec::new();
            match old {
                Some(old) => (STRATEGY.warn_update)(&of(new), &of(old), "", &mut warnings),
                None => (STRATEGY.warn_create)(&of(new), &mut warnings),
            }
            warnings.len()
        };
        const TOKENS: &str = r#""tokenRequests":[{"audience":"a"}]"#;
        assert_eq!(warned(TOKENS, None), 1);
        assert_eq!(warned(TOKENS, Some(TOKENS)), 0);
        assert_eq!(warned(TOKENS, Some("")), 1);
        assert_eq!(warned(r#""tokenRequests":[{"audience":"a"}],"serviceAccountTokenInSecrets":false"#, None), 0);
    }
}
