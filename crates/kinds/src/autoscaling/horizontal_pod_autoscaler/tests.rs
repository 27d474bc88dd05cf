//! What an autoscaler may want, in either version.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::testing::{self, complaints, created, update_complaints};

const TARGET: &str = r#""scaleTargetRef":{"kind":"Deployment","name":"web","apiVersion":"apps/v1"}"#;

fn of(version: &str, fields: &str) -> Tree {
    let text = format!(r#"{{"metadata":{{"name":"tide"}},"spec":{{{fields}}}}}"#);
    created(&STRATEGY, version, "HorizontalPodAutoscaler", &text)
}

fn v2(fields: &str) -> Tree {
    of("autoscaling/v2", fields)
}

#[test]
fn what_is_not_said_is_as_upstream_has_it() {
    let spec = |tree: &Tree| testing::json(tree)["spec"].clone();
    let plain = spec(&v2(r#""maxReplicas":3"#));
    assert_eq!(plain["minReplicas"], 1);
    let cpu = serde_json::json!([{"type": "Resource", "resource": {"name": "cpu",
        "target": {"type": "Utilization", "averageUtilization": 80}}}]);
    assert_eq!(plain["metrics"], cpu);
    assert!(plain.get("behavior").is_none());
    let behavior = spec(&v2(r#""maxReplicas":3,"behavior":{"scaleDown":{"selectPolicy":"Min"}}"#))["behavior"].clone();
    let expected = serde_json::json!({
        "scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max",
            "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}]},
        "scaleDown": {"selectPolicy": "Min", "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}});
    assert_eq!(behavior, expected);
    let older = spec(&of("autoscaling/v1", r#""maxReplicas":3"#));
    assert_eq!((&older["minReplicas"], &older["targetCPUUtilizationPercentage"]), (&1.into(), &80.into()));
}

#[test]
fn what_an_autoscaler_may_want() {
    let check = |fields: &str, expected: &[&str]| {
        assert_eq!(complaints(&STRATEGY, &v2(&format!("{TARGET},{fields}"))), expected, "{fields}");
    };
    check(r#""maxReplicas":3"#, &[]);
    check(
        "\"minReplicas\":2",
        &[
            "spec.maxReplicas: Required value: must be set and greater than 0",
            "spec.maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`",
        ],
    );
    check(
        r#""maxReplicas":-7"#,
        &[
            "spec.maxReplicas: Invalid value: -7: must be greater than or equal to 1",
            "spec.maxReplicas: Invalid value: -7: must be greater than or equal to `minReplicas`",
        ],
    );
    check(
        r#""maxReplicas":3,"minReplicas":0"#,
        &[
            "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
            "spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas",
        ],
    );
    let types = r#"supported values: "ContainerResource", "External", "Object", "Pods", "Resource""#;
    let twice = format!(r#"spec.metrics[0].type: Unsupported value: "other": {types}"#);
    check(r#""maxReplicas":3,"metrics":[{"type":"other"}]"#, &[&twice, &twice]);
    check(
        r#""maxReplicas":3,"metrics":[{"type":"Pods","pods":{}}]"#,
        &[
            "spec.metrics[0].pods.metric.name: Required value: must specify a metric name",
            "spec.metrics[0].pods.target.type: Required value: must specify a metric target type",
            "spec.metrics[0].pods.target.type: Invalid value: \"\": must be either Utilization, Value, or AverageValue",
            "spec.metrics[0].pods.target.averageValue: Required value: must specify a positive target averageValue",
        ],
    );
    check(
        r#""maxReplicas":3,"metrics":[{"type":"ContainerResource","containerResource":{"name":"cpu","container":"A",
            "target":{"type":"Value","averageValue":"-1","averageUtilization":0}},"external":{"metric":{"name":"a"},
            "target":{"type":"Value","value":"1"}}}]"#,
        &["spec.metrics[0].external: Forbidden: must populate the given metric source only"],
    );
    check(
        r#""maxReplicas":3,"behavior":{"scaleUp":{"policies":[],"tolerance":"-1"},"scaleDown":{"stabilizationWindowSeconds":3601,
            "selectPolicy":"x","policies":[{"type":"Pods","value":0,"periodSeconds":1801}]}}"#,
        &[
            "spec.behavior.scaleUp.policies: Required value: must specify at least one Policy",
            "spec.behavior.scaleUp.tolerance: Invalid value: \"-1\": must be greater than or equal to 0",
            "spec.behavior.scaleDown.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600",
            r#"spec.behavior.scaleDown.selectPolicy: Unsupported value: "x": supported values: "Disabled", "Max", "Min""#,
            "spec.behavior.scaleDown.policies[0].value: Invalid value: 0: must be greater than zero",
            "spec.behavior.scaleDown.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800",
        ],
    );
}

#[test]
fn what_is_scaled_has_a_group() {
    let of = |kind: &str, version: &str| {
        v2(&format!(r#""maxReplicas":1,"scaleTargetRef":{{"kind":"{kind}","name":"n","apiVersion":"{version}"}}"#))
    };
    let why = |version: &str, why: &str| format!("spec.scaleTargetRef.apiVersion: Invalid value: \"{version}\": {why}");
    let no_group = "apiVersion must specify API group";
    assert!(complaints(&STRATEGY, &of("Deployment", "apps/v1")).is_empty());
    assert_eq!(complaints(&STRATEGY, &of("Deployment", "v1")), [why("v1", no_group)]);
    assert!(complaints(&STRATEGY, &of("ReplicationController", "v1")).is_empty());
    assert_eq!(
        complaints(&STRATEGY, &of("Deployment", "a/b/c")),
        [why("a/b/c", "unexpected GroupVersion string: a/b/c")]
    );
    // What was let in once stays until it is changed.
    assert!(update_complaints(&STRATEGY, &of("Deployment", "v1"), &of("Deployment", "v1"), "").is_empty());
    assert_eq!(
        update_complaints(&STRATEGY, &of("Deployment", "v2"), &of("Deployment", "v1"), ""),
        [why("v2", no_group)]
    );
}

#[test]
fn the_older_version_is_checked_as_the_newer_one() {
    let tree = of("autoscaling/v1", &format!(r#"{TARGET},"maxReplicas":1,"targetCPUUtilizationPercentage":0"#));
    let path = "spec.metrics[0].resource.target.averageUtilization";
    assert_eq!(complaints(&STRATEGY, &tree), [format!("{path}: Invalid value: 0: must be greater than 0")]);
}

#[test]
fn a_door_of_the_older_version_keeps_what_is_behind_the_other() {
    let annotated = |metrics: &str, conditions: &str| {
        testing::read(
            "autoscaling/v1",
            "HorizontalPodAutoscaler",
            &format!(
                r#"{{"metadata":{{"annotations":{{"{}":"{metrics}","{}":"{conditions}"}}}}}}"#,
                annotations::METRICS,
                annotations::CONDITIONS
            ),
        )
    };
    let check = |subresource: &str, metrics: &str, conditions: &str| {
        let (mut new, old) = (annotated("new", "new"), annotated("old", "old"));
        prepare_update(&mut new, &old, subresource, 0);
        let held = views::read::<v1::HorizontalPodAutoscaler<'_>>(&new).metadata().annotations();
        assert_eq!(held.get(annotations::METRICS), Some(metrics));
        assert_eq!(held.get(annotations::CONDITIONS), Some(conditions));
    };
    check("", "new", "old");
    check("status", "old", "new");
}

#[test]
fn what_a_table_shows() {
    let tree = testing::read(
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        &format!(
            r#"{{"spec":{{{TARGET},"maxReplicas":8,"metrics":[
                {{"type":"Resource","resource":{{"name":"cpu","target":{{"averageUtilization":60}}}}}},
                {{"type":"External","external":{{"target":{{"averageValue":"5"}}}}}},
                {{"type":"Pods","pods":{{"target":{{"averageValue":"1k"}}}}}}]}},
            "status":{{"currentReplicas":2,"currentMetrics":[
                {{"type":"Resource","resource":{{"name":"cpu","current":{{"averageUtilization":40}}}}}}]}}}}"#
        ),
    );
    let check = |column: &str, expected: Cell| assert_eq!(cell(&tree, column, 0), Some(expected), "{column}");
    check("Reference", Cell::Text("Deployment/web".to_owned()));
    check("Targets", Cell::Text("cpu: 40%/60%, <unknown>/5 (avg) + 1 more...".to_owned()));
    check("MinPods", Cell::Text("<unset>".to_owned()));
    check("MaxPods", Cell::Int(8));
    check("Replicas", Cell::Int(2));
}
