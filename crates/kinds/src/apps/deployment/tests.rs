use super::*;
use crate::testing::{complaints, created, json, update_complaints};

const SELECTOR: &str = r#"{"matchLabels":{"app":"web"}}"#;

/// A deployment with these fields of its spec beside selector and template.
fn with(more: &str) -> Tree {
    of(SELECTOR, r#"{"labels":{"app":"web"}}"#, more)
}

fn of(selector: &str, metadata: &str, more: &str) -> Tree {
    let spec = r#"{"containers":[{"name":"c","image":"i"}],"restartPolicy":"Always"}"#;
    let template = format!(r#"{{"metadata":{metadata},"spec":{spec}}}"#);
    let text =
        format!(r#"{{"metadata":{{"name":"web"}},"spec":{{"selector":{selector},"template":{template}{more}}}}}"#);
    created(&STRATEGY, "apps/v1", "Deployment", &text)
}

#[test]
fn what_is_not_said_is_filled_in() {
    let check = |more: &str, path: &str, expected: &str| {
        let shown = json(&with(more)).pointer(path).map(ToString::to_string).unwrap_or_default();
        assert_eq!(shown, expected, "{more} {path}");
    };
    check("", "/spec/replicas", "1");
    check(r#","replicas":0"#, "/spec/replicas", "0");
    check("", "/spec/revisionHistoryLimit", "10");
    check(r#","revisionHistoryLimit":0"#, "/spec/revisionHistoryLimit", "0");
    check("", "/spec/progressDeadlineSeconds", "600");
    let rolling = |unavailable: &str, surge: &str| {
        format!(r#"{{"rollingUpdate":{{"maxSurge":{surge},"maxUnavailable":{unavailable}}},"type":"RollingUpdate"}}"#)
    };
    check("", "/spec/strategy", &rolling("\"25%\"", "\"25%\""));
    check(r#","strategy":{"type":""}"#, "/spec/strategy", &rolling("\"25%\"", "\"25%\""));
    check(r#","strategy":{"rollingUpdate":{"maxSurge":2}}"#, "/spec/strategy", &rolling("\"25%\"", "2"));
    check(r#","strategy":{"type":"Recreate"}"#, "/spec/strategy", r#"{"type":"Recreate"}"#);
}

#[test]
fn numbers_and_strategies() {
    let check = |more: &str, expected: &[&str]| {
        assert_eq!(complaints(&STRATEGY, &with(more)), expected, "{more}");
    };
    let negative = "must be greater than or equal to 0";
    check("", &[]);
    check(
        r#","replicas":-1,"minReadySeconds":-2,"revisionHistoryLimit":-3,"progressDeadlineSeconds":-4"#,
        &[
            &format!("spec.replicas: Invalid value: -1: {negative}"),
            &format!("spec.minReadySeconds: Invalid value: -2: {negative}"),
            &format!("spec.revisionHistoryLimit: Invalid value: -3: {negative}"),
            &format!("spec.progressDeadlineSeconds: Invalid value: -4: {negative}"),
            "spec.progressDeadlineSeconds: Invalid value: -4: must be greater than minReadySeconds",
        ],
    );
    let deadline = "must be greater than minReadySeconds";
    check(r#","minReadySeconds":599"#, &[]);
    check(r#","minReadySeconds":600"#, &[&format!("spec.progressDeadlineSeconds: Invalid value: 600: {deadline}")]);
    check(
        r#","strategy":{"type":"Recreate","rollingUpdate":{}}"#,
        &["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"],
    );
    let known = "supported values: \"Recreate\", \"RollingUpdate\"";
    check(
        r#","strategy":{"type":"Blue"}"#,
        &[&format!(r#"spec.strategy: Unsupported value: {{"Type":"Blue","RollingUpdate":null}}: {known}"#)],
    );
    check(
        r#","strategy":{"type":"Blue","rollingUpdate":{"maxSurge":"5%"}}"#,
        &[&format!(
            "spec.strategy: Unsupported value: {}: {known}",
            r#"{"Type":"Blue","RollingUpdate":{"MaxUnavailable":0,"MaxSurge":"5%"}}"#
        )],
    );
    let both = "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0";
    check(r#","strategy":{"rollingUpdate":{"maxSurge":0,"maxUnavailable":0}}"#, &[both]);
    check(r#","strategy":{"rollingUpdate":{"maxSurge":"200%","maxUnavailable":"100%"}}"#, &[]);
    check(
        r#","strategy":{"rollingUpdate":{"maxUnavailable":"101%"}}"#,
        &["spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%"],
    );
}

#[test]
fn a_deployment_selects_its_own_pods() {
    let check = |selector: &str, metadata: &str, expected: &[&str]| {
        assert_eq!(complaints(&STRATEGY, &of(selector, metadata, "")), expected, "{selector} {metadata}");
    };
    let labels = |shown: &str| {
        format!("spec.template.metadata.labels: Invalid value: {shown}: `selector` does not match template `labels`")
    };
    let own = r#"{"labels":{"app":"web"}}"#;
    check(SELECTOR, own, &[]);
    check(SELECTOR, r#"{"labels":{"app":"api"}}"#, &[&labels(r#"{"app":"api"}"#)]);
    check(SELECTOR, "{}", &[&labels("null")]);
    check(SELECTOR, r#"{"labels":null}"#, &[&labels("null")]);
    check(SELECTOR, r#"{"labels":{}}"#, &[&labels("{}")]);
    check("null", own, &["spec.selector: Required value", &labels(r#"{"app":"web"}"#)]);
    check("{}", own, &["spec.selector: Invalid value: {}: empty selector is invalid for deployment"]);
    let empty = r#"{"matchLabels":{}}"#;
    check(empty, own, &["spec.selector: Invalid value: {}: empty selector is invalid for deployment"]);
}

#[test]
fn the_pods_run_for_ever() {
    let text = |pods: &str| {
        let template = format!(r#"{{"metadata":{{"labels":{{"app":"web"}}}},"spec":{pods}}}"#);
        format!(r#"{{"spec":{{"selector":{SELECTOR},"template":{template}}}}}"#)
    };
    let check = |pods: &str, expected: &[&str]| {
        let found = complaints(&STRATEGY, &created(&STRATEGY, "apps/v1", "Deployment", &text(pods)));
        let about = |line: &&String| line.contains("restartPolicy") || line.contains("activeDeadlineSeconds");
        assert_eq!(found.iter().filter(about).collect::<Vec<_>>(), expected, "{pods}");
    };
    check(r#"{"restartPolicy":"Always"}"#, &[]);
    check(
        r#"{"restartPolicy":"Never","activeDeadlineSeconds":5}"#,
        &[
            "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
            "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported",
        ],
    );
}

#[test]
fn the_selector_stays() {
    let old = with("");
    let check = |new: &Tree, expected: &[&str]| assert_eq!(update_complaints(&STRATEGY, new, &old, ""), expected);
    check(&with(r#","replicas":3,"paused":true"#), &[]);
    let other = r#"{"matchExpressions":[{"key":"app","operator":"In","values":["web"]}]}"#;
    check(
        &of(other, r#"{"labels":{"app":"web"}}"#, ""),
        &[&format!("spec.selector: Invalid value: {other}: field is immutable")],
    );
}

#[test]
fn a_status_counts() {
    let of = |status: &str| crate::testing::read("apps/v1", "Deployment", &format!(r#"{{"status":{status}}}"#));
    let check = |status: &str, old: &str, expected: &[&str]| {
        assert_eq!(update_complaints(&STRATEGY, &of(status), &of(old), "status"), expected, "{status}");
    };
    check(r#"{"replicas":2,"updatedReplicas":2,"readyReplicas":1,"availableReplicas":1}"#, "{}", &[]);
    check(
        r#"{"replicas":1,"updatedReplicas":2,"readyReplicas":-1,"terminatingReplicas":-2}"#,
        "{}",
        &[
            "status.readyReplicas: Invalid value: -1: must be greater than or equal to 0",
            "status.terminatingReplicas: Invalid value: -2: must be greater than or equal to 0",
            "status.updatedReplicas: Invalid value: 2: cannot be greater than status.replicas",
            "status.availableReplicas: Invalid value: 0: cannot be greater than readyReplicas",
        ],
    );
    let lost = "cannot be decremented";
    check(r#"{"collisionCount":1}"#, r#"{"collisionCount":1}"#, &[]);
    check("{}", r#"{"collisionCount":1}"#, &[&format!("status.collisionCount: Invalid value: 0: {lost}")]);
    check(
        r#"{"collisionCount":1}"#,
        r#"{"collisionCount":2}"#,
        &[&format!("status.collisionCount: Invalid value: 1: {lost}")],
    );
}

#[test]
fn a_name_that_is_no_hostname_is_warned_of() {
    let check = |name: &str, expected: usize| {
        let mut tree = with("");
        views::write::<DeploymentEdit<'_>>(&mut tree).metadata_mut().set_name(name);
        let mut warnings = Vec::new();
        warn_create(&tree, &mut warnings);
        assert_eq!(
            warnings.iter().filter(|text| text.starts_with("metadata.name: this is used in Pod names")).count(),
            expected
        );
    };
    check("web", 0);
    check("web.v2", 1);
}

#[test]
fn a_table_says_how_many_are_ready() {
    let check = |tree: &Tree, column: &str, expected: Option<&str>| {
        assert_eq!(cell(tree, column, 0), expected.map(|text| Cell::Text(text.to_owned())), "{column}");
    };
    let tree = with(r#","replicas":2"#);
    check(&tree, "Ready", Some("0/2"));
    check(&tree, "Containers", Some("c"));
    check(&tree, "Images", Some("i"));
    check(&tree, "Selector", Some("app=web"));
    check(&tree, "Age", None);
}
