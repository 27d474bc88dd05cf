use super::*;
use crate::testing::{complaints, created, json, update_complaints};

const PODS: &str = r#"{"containers":[{"name":"db","image":"i"}],"restartPolicy":"Always"}"#;
const CLAIM: &str = r#"{"metadata":{"name":"data"},"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}}}}"#;

fn of(pods: &str, more: &str) -> Tree {
    let template = format!(r#"{{"metadata":{{"labels":{{"app":"db"}}}},"spec":{pods}}}"#);
    let spec = format!(r#"{{"selector":{{"matchLabels":{{"app":"db"}}}},"template":{template}{more}}}"#);
    created(&STRATEGY, "apps/v1", "StatefulSet", &format!(r#"{{"metadata":{{"name":"db"}},"spec":{spec}}}"#))
}

fn with(more: &str) -> Tree {
    of(PODS, more)
}

#[test]
fn what_is_not_said_is_filled_in() {
    let check = |more: &str, path: &str, expected: &str| {
        let shown = json(&with(more)).pointer(path).map(ToString::to_string).unwrap_or_default();
        assert_eq!(shown, expected, "{more} {path}");
    };
    check("", "/spec/replicas", "1");
    check("", "/spec/revisionHistoryLimit", "10");
    check("", "/spec/podManagementPolicy", "\"OrderedReady\"");
    let rolling = r#"{"rollingUpdate":{"partition":0},"type":"RollingUpdate"}"#;
    check("", "/spec/updateStrategy", rolling);
    check(r#","updateStrategy":{"type":""}"#, "/spec/updateStrategy", rolling);
    check(r#","updateStrategy":{"rollingUpdate":{}}"#, "/spec/updateStrategy", rolling);
    check(r#","updateStrategy":{"type":"RollingUpdate"}"#, "/spec/updateStrategy", r#"{"type":"RollingUpdate"}"#);
    check(r#","updateStrategy":{"type":"OnDelete"}"#, "/spec/updateStrategy", r#"{"type":"OnDelete"}"#);
    let policy = "/spec/persistentVolumeClaimRetentionPolicy";
    check("", policy, r#"{"whenDeleted":"Retain","whenScaled":"Retain"}"#);
    check(
        r#","persistentVolumeClaimRetentionPolicy":{"whenDeleted":"Delete"}"#,
        policy,
        r#"{"whenDeleted":"Delete","whenScaled":"Retain"}"#,
    );
    let claims = format!(r#","volumeClaimTemplates":[{CLAIM}]"#);
    check(&claims, "/spec/volumeClaimTemplates/0/apiVersion", "\"v1\"");
    check(&claims, "/spec/volumeClaimTemplates/0/kind", "\"PersistentVolumeClaim\"");
    check(&claims, "/spec/volumeClaimTemplates/0/spec/volumeMode", "\"Filesystem\"");
    check(&claims, "/spec/volumeClaimTemplates/0/status", r#"{"phase":"Pending"}"#);
}

#[test]
fn strategies_policies_and_numbers() {
    let check = |more: &str, expected: &[&str]| {
        assert_eq!(complaints(&STRATEGY, &with(more)), expected, "{more}");
    };
    check("", &[]);
    check(
        r#","podManagementPolicy":"Any","serviceName":"Db"
           ,"replicas":-1,"minReadySeconds":-2,"revisionHistoryLimit":-3,"ordinals":{"start":-4}"#,
        &[
            "spec.podManagementPolicy: Invalid value: \"Any\": must be 'OrderedReady' or 'Parallel'",
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
            "spec.minReadySeconds: Invalid value: -2: must be greater than or equal to 0",
            "spec.ordinals.start: Invalid value: -4: must be greater than or equal to 0",
            "spec.serviceName: Invalid value: \"Db\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or \
             '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
        ],
    );
    let strategy = "must be 'RollingUpdate' or 'OnDelete'";
    check(
        r#","updateStrategy":{"type":"Blue"}"#,
        &[&format!(r#"spec.updateStrategy: Invalid value: {{"Type":"Blue","RollingUpdate":null}}: {strategy}"#)],
    );
    check(
        r#","updateStrategy":{"type":"OnDelete","rollingUpdate":{}}"#,
        &[
            "spec.updateStrategy.rollingUpdate: Invalid value: {\"Partition\":0,\"MaxUnavailable\":null}: only allowed for \
           updateStrategy 'RollingUpdate'",
        ],
    );
    let unavailable = "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value";
    check(
        r#","updateStrategy":{"rollingUpdate":{"partition":-1,"maxUnavailable":"0%"}}"#,
        &[
            "spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: must be greater than or equal to 0",
            &format!("{unavailable}: \"0%\": cannot be 0"),
        ],
    );
    check(
        r#","updateStrategy":{"rollingUpdate":{"maxUnavailable":"120%"}}"#,
        &[&format!("{unavailable}: \"120%\": must not be greater than 100%")],
    );
    check(
        r#","persistentVolumeClaimRetentionPolicy":{"whenDeleted":"Keep"}"#,
        &[
            "spec.persistentVolumeClaimRetentionPolicy.whenDeleted: Unsupported value: \"Keep\": supported values: \"Retain\", \"Delete\"",
        ],
    );
}

#[test]
fn a_pod_has_a_volume_for_each_claim() {
    let volumes = |pods: &str, claims: &str| -> Vec<String> {
        let tree = of(pods, &format!(r#","volumeClaimTemplates":[{claims}]"#));
        let merged = with_claims(&tree);
        let spec = views::read::<StatefulSet<'_>>(merged.as_ref().unwrap_or(&tree)).spec().template().spec();
        let one = |volume: Volume<'_>| {
            let claim = volume.persistent_volume_claim().map_or("", |claim| claim.claim_name());
            format!("{}={claim}", volume.name())
        };
        spec.volumes().iter().map(one).collect()
    };
    let pods = r#"{"volumes":[{"name":"tmp","emptyDir":{}},{"name":"data","emptyDir":{}}]}"#;
    let check = |pods: &str, claims: &str, expected: &[&str]| assert_eq!(volumes(pods, claims), expected, "{claims}");
    check(pods, "", &["tmp=", "data="]);
    check(PODS, CLAIM, &["data=data"]);
    check(pods, CLAIM, &["data=data", "tmp="]);
    check(pods, &format!("{CLAIM},{CLAIM}"), &["data=data", "tmp="]);
}

#[test]
fn little_may_be_changed() {
    let claims = format!(r#","volumeClaimTemplates":[{CLAIM}]"#);
    let old = with(&claims);
    let check = |more: &str, expected: &[&str]| {
        let found = update_complaints(&STRATEGY, &with(more), &old, "");
        assert_eq!(found, expected, "{more}");
    };
    let frozen = format!("spec: Forbidden: {FROZEN}");
    check(&claims, &[]);
    let mutable = r#","replicas":3,"minReadySeconds":2,"revisionHistoryLimit":1,"ordinals":{"start":2},"updateStrategy":{"type":"OnDelete"}
                     ,"persistentVolumeClaimRetentionPolicy":{"whenScaled":"Delete"}"#;
    check(&format!("{claims}{mutable}"), &[]);
    check("", &[&frozen]);
    check(&format!(r#"{claims},"serviceName":"other""#), &[&frozen]);
    check(&format!(r#"{claims},"podManagementPolicy":"Parallel""#), &[&frozen]);
    // A claim that is refused on create is only refused for being another.
    check(r#","volumeClaimTemplates":[{"metadata":{"name":"data"}}]"#, &[&frozen]);
}

#[test]
fn a_status_counts() {
    let of = |status: &str| crate::testing::read("apps/v1", "StatefulSet", &format!(r#"{{"status":{status}}}"#));
    let check = |status: &str, old: &str, expected: &[&str]| {
        assert_eq!(update_complaints(&STRATEGY, &of(status), &of(old), "status"), expected, "{status}");
    };
    check(
        r#"{"replicas":2,"updatedReplicas":2,"readyReplicas":1,"currentReplicas":1,"availableReplicas":1}"#,
        "{}",
        &[],
    );
    check(
        r#"{"replicas":1,"readyReplicas":2,"currentReplicas":-1,"updatedReplicas":2,"availableReplicas":3,"collisionCount":1}"#,
        r#"{"collisionCount":2}"#,
        &[
            "status.currentReplicas: Invalid value: -1: must be greater than or equal to 0",
            "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas",
            "status.updatedReplicas: Invalid value: 2: cannot be greater than status.replicas",
            "status.availableReplicas: Invalid value: 3: cannot be greater than status.replicas",
            "status.availableReplicas: Invalid value: 3: cannot be greater than status.readyReplicas",
            "status.collisionCount: Invalid value: 1: cannot be decremented",
        ],
    );
}

#[test]
fn what_is_taken_may_be_warned_of() {
    let check = |more: &str, expected: &[&str]| {
        let mut warnings = Vec::new();
        warn_create(&with(more), &mut warnings);
        assert_eq!(warnings, expected, "{more}");
    };
    check("", &[]);
    check(
        r#","revisionHistoryLimit":-1,"volumeClaimTemplates":[{"spec":{"resources":{"requests":{"storage":"1m"}}}}]"#,
        &[
            "spec.volumeClaimTemplates[0].resources.requests[storage]: fractional byte value \"1m\" is invalid, must be an integer",
            "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended",
        ],
    );
}

#[test]
fn a_set_that_was_let_in_wrongly_can_be_scaled() {
    let broken = r#"{"restartPolicy":"Always"}"#;
    let check = |old: &str, new: &str, expected: &[&str]| {
        let (old, new) = (of(old, ""), of(new, r#","replicas":2"#));
        assert_eq!(update_complaints(&STRATEGY, &new, &old, ""), expected);
    };
    check(PODS, PODS, &[]);
    check(broken, broken, &[]);
    check(PODS, broken, &["spec.template.spec.containers: Required value"]);
}

#[test]
fn what_is_wrong_with_labels_is_said_twice() {
    let text = r#"{"spec":{"selector":{"matchLabels":{"app":"db"}},
        "template":{"metadata":{"labels":{"app":"db","b":"!"}},"spec":{"containers":[{"name":"db","image":"i"}]}}}}"#;
    let found = complaints(&STRATEGY, &created(&STRATEGY, "apps/v1", "StatefulSet", text));
    assert_eq!(found.iter().filter(|line| line.starts_with("spec.template.labels: Invalid value: \"!\"")).count(), 2);
    assert_eq!(found.len(), 2);
}
