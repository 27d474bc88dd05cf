//! Cases of what is structural.

use serde_json::{Value, json};

use super::super::tests::{complaints, with_schema};

/// A definition whose `spec` is this, and what is said of it.
fn check(spec: Value, expected: &[&str]) {
    let schema = json!({"type": "object", "properties": {"spec": spec}});
    let open = "spec.validation.openAPIV3Schema.properties[spec]";
    let expected: Vec<String> = expected.iter().map(|line| format!("{open}{line}")).collect();
    assert_eq!(complaints(&with_schema(schema.clone())), expected, "{schema}");
}

#[test]
fn types_stand_in_the_structure() {
    check(json!({"type": "object"}), &[]);
    check(json!({}), &[".type: Required value: must not be empty for specified object fields"]);
    check(json!({"x-kubernetes-preserve-unknown-fields": true}), &[]);
    check(json!({"x-kubernetes-int-or-string": true}), &[]);
    check(json!({"type": "array"}), &[".items: Required value: must be specified"]);
    check(
        json!({"type": "array", "items": {}}),
        &[".items.type: Required value: must not be empty for specified array items"],
    );
    check(
        json!({"x-kubernetes-int-or-string": true, "x-kubernetes-preserve-unknown-fields": true}),
        &[
            ".x-kubernetes-preserve-unknown-fields: Invalid value: true: must be false if x-kubernetes-int-or-string is true",
        ],
    );
    check(
        json!({"x-kubernetes-embedded-resource": true}),
        &[
            ".properties: Required value: must not be empty if x-kubernetes-embedded-resource is true without \
             x-kubernetes-preserve-unknown-fields",
            ".type: Required value: must be object if x-kubernetes-embedded-resource is true",
        ],
    );
    check(
        json!({"type": "string", "pattern": "("}),
        &[
            ".pattern: Invalid value: \"(\": must be a valid regular expression, but isn't: error parsing regexp: missing closing ): `(`",
        ],
    );
}

#[test]
fn alternatives_restrict_values_only() {
    let either = json!([{"type": "integer"}, {"type": "string"}]);
    check(json!({"x-kubernetes-int-or-string": true, "anyOf": either}), &[]);
    check(json!({"x-kubernetes-int-or-string": true, "allOf": [{"anyOf": either}, {"pattern": "^a$"}]}), &[]);
    check(
        json!({"type": "string", "oneOf": [{"type": "string"}], "not": {"description": "no", "default": "a"}}),
        &[
            ".not.default: Forbidden: must be undefined to be structural",
            ".not.description: Forbidden: must be empty to be structural",
            ".oneOf[0].type: Forbidden: must be empty to be structural",
        ],
    );
    check(json!({"type": "object", "properties": {"a": {"type": "string"}}, "anyOf": [{"required": ["a"]}]}), &[]);
}

#[test]
fn the_top_is_complete() {
    let found =
        complaints(&with_schema(json!({"type": "object", "anyOf": [{"properties": {"flag": {"pattern": "a"}}}]})));
    let expected = "spec.validation.openAPIV3Schema.properties[flag]: Required value: because it is defined in \
                    spec.validation.openAPIV3Schema.anyOf[0].properties[flag]";
    assert_eq!(found, [expected]);
}

#[test]
fn metadata_is_known() {
    let check = |metadata: Value, is_right: bool| {
        let found = complaints(&with_schema(json!({"type": "object", "properties": {"metadata": metadata}})));
        let line = "spec.validation.openAPIV3Schema.properties[metadata]: Forbidden: must not specify anything other than name and \
                    generateName, but metadata is implicitly specified";
        assert_eq!(found, if is_right { Vec::new() } else { vec![line.to_owned()] }, "{metadata}");
    };
    check(json!({"type": "object"}), true);
    check(json!({"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}}}), true);
    check(json!({"type": "object", "properties": {"name": {"type": "string"}, "labels": {"type": "object"}}}), false);
    check(json!({"type": "object", "description": "no"}), false);
}

#[test]
fn a_schema_as_deep_as_a_body_may_be_is_read() {
    let depth = 3_000;
    let open = r#"{"type":"object","properties":{"a":"#.repeat(depth);
    let text = format!("{open}{{\"type\":\"string\"}}{}", "}}".repeat(depth));
    let body = format!(
        r#"{{"metadata":{{"name":"boats.harbor.example.com"}},"spec":{{"group":"harbor.example.com","names":{{"plural":"boats",
        "kind":"Boat"}},"scope":"Cluster","versions":[{{"name":"v1","served":true,"storage":true,
        "schema":{{"openAPIV3Schema":{text}}}}}]}}}}"#
    );
    let strategy = &super::super::STRATEGY;
    let tree = crate::testing::created(strategy, "apiextensions.k8s.io/v1", "CustomResourceDefinition", &body);
    assert_eq!(crate::testing::complaints(strategy, &tree), Vec::<String>::new());
    assert_eq!(crate::testing::update_complaints(strategy, &tree, &tree, ""), Vec::<String>::new());
}
