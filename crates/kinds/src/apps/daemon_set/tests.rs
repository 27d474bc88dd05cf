use super::*;
use crate::testing::{complaints, created, json, read, requester, update_complaints};

const PODS: &str = r#"{"containers":[{"name":"c","image":"i"}],"restartPolicy":"Always"}"#;

fn text(annotations: &str, image: &str, more: &str) -> String {
    let template = format!(
        r#"{{"metadata":{{"labels":{{"app":"ds"}}}},"spec":{{"containers":[{{"name":"c","image":"{image}"}}],"restartPolicy":"Always"}}}}"#
    );
    let spec = format!(r#"{{"selector":{{"matchLabels":{{"app":"ds"}}}},"template":{template}{more}}}"#);
    format!(r#"{{"metadata":{{"name":"ds","annotations":{annotations}}},"spec":{spec}}}"#)
}

fn with(more: &str) -> Tree {
    created(&STRATEGY, "apps/v1", "DaemonSet", &text("{}", "i", more))
}

fn counted(tree: &Tree) -> String {
    let annotations = json(tree).pointer("/metadata/annotations").cloned().unwrap_or_default();
    annotations.get(TEMPLATE_GENERATION).and_then(|value| value.as_str()).unwrap_or_default().to_owned()
}

#[test]
fn what_is_not_said_is_filled_in() {
    let check = |more: &str, path: &str, expected: &str| {
        let shown = json(&with(more)).pointer(path).map(ToString::to_string).unwrap_or_default();
        assert_eq!(shown, expected, "{more} {path}");
    };
    let rolling = |unavailable: &str, surge: &str| {
        format!(r#"{{"rollingUpdate":{{"maxSurge":{surge},"maxUnavailable":{unavailable}}},"type":"RollingUpdate"}}"#)
    };
    check("", "/spec/revisionHistoryLimit", "10");
    check("", "/spec/updateStrategy", &rolling("1", "0"));
    check(
        r#","updateStrategy":{"rollingUpdate":{"maxSurge":"10%"}}"#,
        "/spec/updateStrategy",
        &rolling("1", "\"10%\""),
    );
    check(r#","updateStrategy":{"type":"OnDelete"}"#, "/spec/updateStrategy", r#"{"type":"OnDelete"}"#);
}

#[test]
fn the_server_counts_templates() {
    let on_create =
        |annotations: &str| counted(&created(&STRATEGY, "apps/v1", "DaemonSet", &text(annotations, "i", "")));
    let of = |value: &str| format!(r#"{{"{TEMPLATE_GENERATION}":"{value}"}}"#);
    assert_eq!(on_create("{}"), "1");
    assert_eq!(on_create(&of("0")), "1");
    assert_eq!(on_create(&of("-3")), "1");
    assert_eq!(on_create(&of("7")), "7");
    let check = |annotations: &str, image: &str, more: &str, subresource: &str, expected: &str| {
        let old = created(&STRATEGY, "apps/v1", "DaemonSet", &text(&of("4"), "i", ""));
        let mut tree = read("apps/v1", "DaemonSet", &text(annotations, image, more));
        crate::testing::default_all(&STRATEGY, &mut tree);
        prepare_update(&mut tree, &old, subresource, 0);
        assert_eq!(counted(&tree), expected, "{annotations} {image} {more} {subresource}");
    };
    check("{}", "i", "", "", "4");
    check(&of("9"), "i", "", "", "4");
    check("{}", "j", "", "", "5");
    check("{}", "i", r#","minReadySeconds":3"#, "", "4");
    check("{}", "j", "", "status", "4");
}

#[test]
fn a_count_is_a_number() {
    let mut tree = read("apps/v1", "DaemonSet", &text(&format!(r#"{{"{TEMPLATE_GENERATION}":"many"}}"#), "i", ""));
    crate::testing::default_all(&STRATEGY, &mut tree);
    requester(|requester| prepare_create(&mut tree, requester));
    let at = format!("metadata.annotations[{TEMPLATE_GENERATION}]");
    assert_eq!(complaints(&STRATEGY, &tree), [format!("{at}: Invalid value: \"many\": must be an integer")]);
}

#[test]
fn strategies_and_selectors() {
    let check = |more: &str, expected: &[&str]| {
        assert_eq!(complaints(&STRATEGY, &with(more)), expected, "{more}");
    };
    let rolling = |unavailable: &str, surge: &str| {
        format!(r#","updateStrategy":{{"rollingUpdate":{{"maxSurge":{surge},"maxUnavailable":{unavailable}}}}}"#)
    };
    let at = "spec.updateStrategy.rollingUpdate";
    check("", &[]);
    check(&rolling("0", "1"), &[]);
    check(&rolling("0", "\"0%\""), &[&format!("{at}.maxUnavailable: Required value: cannot be 0 when maxSurge is 0")]);
    check(
        &rolling("1", "\"5%\""),
        &[&format!("{at}.maxSurge: Invalid value: \"5%\": may not be set when maxUnavailable is non-zero")],
    );
    check(
        &rolling("\"101%\"", "0"),
        &[&format!("{at}.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%")],
    );
    check(
        r#","updateStrategy":{"type":"Blue"},"minReadySeconds":-1,"revisionHistoryLimit":-2"#,
        &[
            "spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0",
            "spec.updateStrategy: Unsupported value: {\"Type\":\"Blue\",\"RollingUpdate\":null}: supported values: \"RollingUpdate\", \
             \"OnDelete\"",
            "spec.revisionHistoryLimit: Invalid value: -2: must be greater than or equal to 0",
        ],
    );
    let selected = |selector: &str, expected: &[&str]| {
        let spec =
            format!(r#"{{"selector":{selector},"template":{{"metadata":{{"labels":{{"app":"ds"}}}},"spec":{PODS}}}}}"#);
        let tree = created(&STRATEGY, "apps/v1", "DaemonSet", &format!(r#"{{"spec":{spec}}}"#));
        assert_eq!(complaints(&STRATEGY, &tree), expected, "{selector}");
    };
    let labels =
        "spec.template.metadata.labels: Invalid value: {\"app\":\"ds\"}: `selector` does not match template `labels`";
    selected("null", &[labels]);
    selected(r#"{"matchLabels":{"app":"other"}}"#, &[labels]);
    selected("{}", &["spec.selector: Invalid value: {}: empty selector is invalid for daemonset"]);
}

#[test]
fn the_selector_stays() {
    let old = with("");
    assert_eq!(update_complaints(&STRATEGY, &with(r#","minReadySeconds":2"#), &old, ""), [""; 0]);
    let text = text("{}", "i", "").replace(r#""matchLabels":{"app":"ds"}"#, r#""matchLabels":{}"#);
    let other = created(&STRATEGY, "apps/v1", "DaemonSet", &text);
    assert_eq!(
        update_complaints(&STRATEGY, &other, &old, ""),
        [
            "spec.selector: Invalid value: {}: field is immutable",
            "spec.selector: Invalid value: {}: empty selector is invalid for daemonset",
        ],
    );
}

#[test]
fn a_status_counts() {
    let of = |status: &str| read("apps/v1", "DaemonSet", &format!(r#"{{"status":{status}}}"#));
    let check = |status: &str, old: &str, expected: &[&str]| {
        assert_eq!(update_complaints(&STRATEGY, &of(status), &of(old), "status"), expected, "{status}");
    };
    check(r#"{"numberReady":3,"collisionCount":1}"#, r#"{"collisionCount":1}"#, &[]);
    check(
        r#"{"numberReady":-3}"#,
        r#"{"collisionCount":1}"#,
        &[
            "status.numberReady: Invalid value: -3: must be greater than or equal to 0",
            "status.collisionCount: Invalid value: 0: cannot be decremented",
        ],
    );
}
