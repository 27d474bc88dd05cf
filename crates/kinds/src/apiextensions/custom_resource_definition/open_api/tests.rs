//! Cases of what a schema may say.

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
fn what_is_not_supported() {
    check(json!({"type": "object", "$ref": "#/a"}), &[".$ref: Forbidden: $ref is not supported"]);
    check(json!({"type": "object", "id": "a"}), &[".id: Forbidden: id is not supported"]);
    check(
        json!({"type": "object", "patternProperties": {"a": {"type": "string"}}}),
        &[".patternProperties: Forbidden: patternProperties is not supported"],
    );
    check(
        json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true}),
        &[".uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic"],
    );
    check(
        json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "string"}}),
        &[".additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive"],
    );
    let found = complaints(&with_schema(json!({"type": "object", "$schema": "a"})));
    assert_eq!(
        found,
        ["spec.validation.openAPIV3Schema: Invalid value: \"\": OpenAPIV3Schema 'schema' is not supported"]
    );
}

#[test]
fn lists_and_maps() {
    let list = |more: Value| {
        let mut list = json!({"type": "array", "items": {"type": "object", "required": ["name"],
            "properties": {"name": {"type": "string"}, "spot": {"type": "object"}}}});
        list.as_object_mut().into_iter().for_each(|list| list.extend(more.as_object().cloned().unwrap_or_default()));
        list
    };
    let map = |keys: Value| list(json!({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys}));
    check(map(json!(["name"])), &[]);
    check(
        map(json!([])),
        &[".x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map"],
    );
    check(
        map(json!(["name", "name", "other"])),
        &[
            ".x-kubernetes-list-map-keys: Invalid value: [\"name\",\"name\",\"other\"]: must not contain duplicate entries",
            ".x-kubernetes-list-map-keys: Invalid value: [\"name\",\"name\",\"other\"]: entries must all be names of item properties",
        ],
    );
    check(
        map(json!(["spot"])),
        &[
            ".items.properties[spot].type: Invalid value: \"object\": must be a scalar type if parent array's \
             x-kubernetes-list-type is map",
            ".items.properties[spot].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a \
             default or be a required property",
        ],
    );
    check(
        list(json!({"x-kubernetes-list-type": "set"})),
        &[
            ".items.x-kubernetes-map-type: Invalid value: null: must be atomic as item of a list with x-kubernetes-list-type=set",
        ],
    );
    check(
        json!({"type": "object", "x-kubernetes-list-type": "other", "x-kubernetes-map-type": "other"}),
        &[
            ".x-kubernetes-map-type: Unsupported value: \"other\": supported values: \"atomic\", \"granular\"",
            ".type: Invalid value: \"object\": must be array if x-kubernetes-list-type is specified",
            ".x-kubernetes-list-type: Unsupported value: \"other\": supported values: \"atomic\", \"set\", \"map\"",
        ],
    );
}

#[test]
fn rules_as_texts() {
    let rule = |rule: Value| {
        json!({"type": "object", "properties": {"a b": {"type": "string"}, "c": {"type": "object",
            "additionalProperties": {"type": "string"}}}, "x-kubernetes-validations": [rule]})
    };
    let at = |field: &str, what: &str| format!(".x-kubernetes-validations[0].{field}: {what}");
    check(rule(json!({"rule": "true", "fieldPath": ".c.key", "reason": "FieldValueForbidden"})), &[]);
    check(rule(json!({"rule": "true", "fieldPath": "['a b']"})), &[]);
    check(rule(json!({"rule": " "})), &[&at("rule", "Required value: rule is not specified")]);
    check(
        rule(json!({"rule": "a\n||b"})),
        &[&at("message", "Required value: message must be specified if rule contains line breaks")],
    );
    check(
        rule(json!({"rule": "true", "message": "a\nb"})),
        &[&at("message", "Invalid value: \"a\\nb\": message must not contain line breaks")],
    );
    check(
        rule(json!({"rule": "true", "fieldPath": ".b", "reason": "Odd", "messageExpression": " "})),
        &[
            &at("messageExpression", "Required value: messageExpression must be non-empty if specified"),
            &at(
                "reason",
                "Unsupported value: \"Odd\": supported values: \"FieldValueDuplicate\", \"FieldValueForbidden\", \
                 \"FieldValueInvalid\", \"FieldValueRequired\"",
            ),
            &at("fieldPath", "Invalid value: \".b\": fieldPath must be a valid path"),
        ],
    );
}

#[test]
fn no_defaults_where_the_server_knows_better() {
    let found = complaints(&with_schema(json!({"type": "object", "properties": {
        "metadata": {"type": "object", "properties": {"name": {"type": "string", "default": "a"}}}}})));
    let path = "spec.validation.openAPIV3Schema.properties[metadata].properties[name].default";
    assert_eq!(found, [format!("{path}: Forbidden: must not be set in top-level metadata")]);
}
