//! Cases of defaults that are resources, or stand in one.

use serde_json::{Value, json};

use super::super::tests::{complaints, with_schema};

#[test]
fn embedded_resources() {
    let check = |default: Value, expected: &[&str]| {
        let field = json!({"type": "object", "x-kubernetes-embedded-resource": true,
            "x-kubernetes-preserve-unknown-fields": true, "default": default});
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"a": field}}}});
        let open = "spec.validation.openAPIV3Schema.properties[spec].properties[a].default";
        let expected: Vec<String> = expected.iter().map(|line| format!("{open}{line}")).collect();
        assert_eq!(complaints(&with_schema(schema.clone())), expected, "{schema}");
    };
    check(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "free": {"b": 1}}), &[]);
    check(json!({}), &[".apiVersion: Required value", ".kind: Required value"]);
    check(
        json!({"apiVersion": "a/b/c", "kind": 1}),
        &[
            ".apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c",
            ".kind: Invalid value: 1: must be a string",
        ],
    );
}

#[test]
fn a_default_as_deep_as_a_body_may_be_is_refused() {
    let deep = format!("{}{}", "[".repeat(4_000), "]".repeat(4_000));
    let body = format!(
        r#"{{"metadata":{{"name":"boats.harbor.example.com"}},"spec":{{"group":"harbor.example.com","names":{{"plural":"boats",
        "kind":"Boat"}},"scope":"Cluster","versions":[{{"name":"v1","served":true,"storage":true,
        "schema":{{"openAPIV3Schema":{{"type":"object","properties":{{"a":{{"type":"array","items":{{"type":"string"}},
        "default":{deep}}}}}}}}}}}]}}}}"#
    );
    let strategy = &super::super::STRATEGY;
    let tree = crate::testing::created(strategy, "apiextensions.k8s.io/v1", "CustomResourceDefinition", &body);
    let expected = "spec.validation.openAPIV3Schema.properties[a].default: Invalid value: must not be nested so deeply";
    assert_eq!(crate::testing::complaints(strategy, &tree), [expected]);
}
