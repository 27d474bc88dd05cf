//! Cases of values against schemas, as defaults.

use serde_json::{Value, json};

use super::super::tests::{complaints, with_schema};

fn check(schema: Value, default: Value, expected: &[&str]) {
    let mut field = schema;
    field["default"] = default;
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"a": field}}}});
    let open = "spec.validation.openAPIV3Schema.properties[spec].properties[a].default";
    let expected: Vec<String> = expected.iter().map(|line| format!("{open}{line}")).collect();
    assert_eq!(complaints(&with_schema(schema.clone())), expected, "{schema}");
}

#[test]
fn scalars() {
    check(json!({"type": "integer"}), json!(3), &[]);
    check(json!({"type": "integer"}), json!(3.0), &[]);
    check(json!({"type": "number"}), json!(3), &[]);
    check(
        json!({"type": "integer"}),
        json!("x"),
        &[": Invalid value: \"string\":  in body must be of type integer: \"string\""],
    );
    check(
        json!({"type": "integer", "minimum": 1, "maximum": 5, "exclusiveMaximum": true}),
        json!(5),
        &[": Invalid value: 5:  in body should be less than 5"],
    );
    check(
        json!({"type": "integer", "minimum": 1, "multipleOf": 2}),
        json!(-3),
        &[
            ": Invalid value: -3:  in body should be a multiple of 2",
            ": Invalid value: -3:  in body should be greater than or equal to 1",
        ],
    );
    check(
        json!({"type": "integer", "multipleOf": 0}),
        json!(1),
        &[": Invalid value: 1:  in body should be a multiple of 0"],
    );
    check(json!({"type": "string", "maxLength": 2}), json!("abc"), &[": Too long: may not be more than 2 bytes"]);
    check(
        json!({"type": "string", "minLength": 4}),
        json!("abc"),
        &[": Invalid value: \"abc\":  in body should be at least 4 chars long"],
    );
    check(
        json!({"type": "string", "pattern": "^[A-Z]$"}),
        json!("b"),
        &[": Invalid value: \"b\":  in body should match '^[A-Z]$'"],
    );
    check(
        json!({"type": "string", "format": "ipv4"}),
        json!("b"),
        &[": Invalid value: \"b\":  in body must be of type ipv4: \"b\""],
    );
    check(
        json!({"type": "string", "enum": ["a", "b"]}),
        json!("c"),
        &[": Unsupported value: \"c\": supported values: \"a\", \"b\""],
    );
}

#[test]
fn lists_and_objects() {
    let list = json!({"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 3});
    check(list.clone(), json!([1, 2]), &[]);
    check(
        list.clone(),
        json!(["x"]),
        &[
            ".[0]: Invalid value: \"string\": [0] in body must be of type integer: \"string\"",
            ": Invalid value: 1:  in body should have at least 2 items",
        ],
    );
    check(list, json!([1, 2, 3, 4]), &[": Too many: 4: must have at most 3 items"]);
    let object = json!({"type": "object", "required": ["b"], "properties": {"b": {"type": "object",
        "properties": {"c": {"type": "string"}}}}});
    check(object.clone(), json!({}), &[".b: Required value"]);
    check(
        object.clone(),
        json!({"b": {"c": null}}),
        &[".b.c: Invalid value: \"null\": b.c in body must be of type string: \"null\""],
    );
    check(object, json!({"b": {}, "d": 1}), &[": Invalid value: {\"b\":{},\"d\":1}: must not have unknown fields"]);
    check(json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}), json!({"d": {"e": 1}}), &[]);
    check(json!({"type": "object", "additionalProperties": {"type": "integer"}}), json!({"d": 1}), &[]);
}

#[test]
fn alternatives() {
    let one_of = json!({"type": "string", "oneOf": [{"pattern": "a"}, {"pattern": "b"}]});
    check(one_of.clone(), json!("a"), &[]);
    check(
        one_of.clone(),
        json!("ab"),
        &[": Invalid value: \"\": \"\" must validate one and only one schema (oneOf). Found 2 valid alternatives"],
    );
    check(
        one_of,
        json!("c"),
        &[
            ": Invalid value: \"\": \"\" must validate one and only one schema (oneOf). Found none valid",
            ": Invalid value: \"c\":  in body should match 'a'",
        ],
    );
    check(
        json!({"type": "string", "anyOf": [{"pattern": "a"}, {"pattern": "b"}]}),
        json!("c"),
        &[
            ": Invalid value: \"\": \"\" must validate at least one schema (anyOf)",
            ": Invalid value: \"c\":  in body should match 'a'",
        ],
    );
    check(json!({"type": "string", "anyOf": [{"pattern": "a"}, {"pattern": "b"}]}), json!("b"), &[]);
    check(
        json!({"type": "string", "not": {"pattern": "a"}}),
        json!("a"),
        &[": Invalid value: \"\": \"\" must not validate the schema (not)"],
    );
}

#[test]
fn dear_defaults_are_refused_in_time() {
    let known: Vec<Value> = (0..3_000).map(|number| json!(number)).collect();
    let list: Vec<Value> = (0..3_000).map(|_| json!(2_999)).collect();
    check(
        json!({"type": "array", "items": {"type": "integer", "enum": known}}),
        json!(list),
        &[": Invalid value: takes too long to check"],
    );
}
