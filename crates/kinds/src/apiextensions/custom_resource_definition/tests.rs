//! Cases of definitions as a whole. What one version's schema may say is tested beside it.

#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;
use crate::testing;

const VERSION: &str = "apiextensions.k8s.io/v1";
const KIND: &str = "CustomResourceDefinition";

/// A definition that is as it should be.
pub fn boat() -> Value {
    json!({
        "metadata": {"name": "boats.harbor.example.com"},
        "spec": {
            "group": "harbor.example.com",
            "names": {"plural": "boats", "kind": "Boat"},
            "scope": "Namespaced",
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {"flag": {"type": "string"}, "crew": {"type": "integer"}}},
                    "status": {"type": "object", "properties": {"crew": {"type": "integer"}}}
                }}}
            }]
        }
    })
}

fn read(definition: &Value) -> Tree {
    testing::created(&STRATEGY, VERSION, KIND, &definition.to_string())
}

/// What is wrong with a definition.
pub fn complaints(definition: &Value) -> Vec<String> {
    testing::complaints(&STRATEGY, &read(definition))
}

/// Puts a value at a JSON pointer, or takes it away.
fn with(pointer: &str, value: Value) -> Value {
    changed(boat(), pointer, value)
}

fn changed(mut definition: Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = definition.pointer_mut(parent).unwrap();
    match (parent, name.parse::<usize>()) {
        (Value::Array(list), Ok(index)) if index == list.len() => list.push(value),
        (Value::Array(list), Ok(index)) => list[index] = value,
        (Value::Object(map), _) if value.is_null() => {
            map.remove(name);
        }
        (Value::Object(map), _) => {
            map.insert(name.to_owned(), value);
        }
        _ => unreachable!("{pointer}"),
    }
    definition
}

/// A definition with this schema.
pub fn with_schema(schema: Value) -> Value {
    with("/spec/versions/0/schema/openAPIV3Schema", schema)
}

#[test]
fn defaults_are_filled_in_and_the_stored_version_is_noted() {
    let found = testing::json(&read(&boat()));
    assert_eq!(found["spec"]["names"]["singular"], "boat");
    assert_eq!(found["spec"]["names"]["listKind"], "BoatList");
    assert_eq!(found["spec"]["conversion"], json!({"strategy": "None"}));
    let expected = json!({"acceptedNames": {"kind": "", "plural": ""}, "conditions": null, "storedVersions": ["v1"]});
    assert_eq!(found["status"], expected);
    assert_eq!(complaints(&boat()), Vec::<String>::new());
    let hook = json!({"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"],
        "clientConfig": {"service": {"namespace": "harbor", "name": "converter"}}}});
    let found = testing::json(&read(&with("/spec/conversion", hook)));
    assert_eq!(found["spec"]["conversion"]["webhook"]["clientConfig"]["service"]["port"], 443);
}

#[test]
fn fields_of_a_definition() {
    let label = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and \
                 end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is \
                 '[a-z]([-a-z0-9]*[a-z0-9])?')";
    let check = |pointer: &str, value: Value, expected: &[&str]| {
        assert_eq!(complaints(&with(pointer, value.clone())), expected, "{pointer} {value}");
    };
    let name = "metadata.name: Invalid value: \"boats.harbor.example.com\": must be spec.names.plural+\".\"+spec.group";
    check("/spec/group", json!(""), &[name, "spec.group: Required value"]);
    check(
        "/spec/group",
        json!("harbor"),
        &[name, "spec.group: Invalid value: \"harbor\": should be a domain with at least one dot"],
    );
    check("/spec/scope", json!(""), &["spec.scope: Required value"]);
    let scope = "spec.scope: Unsupported value: \"other\": supported values: \"Cluster\", \"Namespaced\"";
    check("/spec/scope", json!("other"), &[scope]);
    check("/spec/names/plural", json!(""), &[name, "spec.names.plural: Required value"]);
    let kind = "may have mixed case, but should otherwise match";
    check(
        "/spec/names/listKind",
        json!("Not Valid!"),
        &[&format!("spec.names.listKind: Invalid value: \"Not Valid!\": {kind}: {label}")],
    );
    check(
        "/spec/names/listKind",
        json!("Boat"),
        &["spec.names.listKind: Invalid value: \"Boat\": kind and listKind may not be the same"],
    );
    check(
        "/spec/names/shortNames",
        json!(["b", ""]),
        &[&format!("spec.names.shortNames[1]: Invalid value: \"\": {label}")],
    );
    check(
        "/spec/versions",
        json!([]),
        &[
            "spec.versions: Invalid value: []: must have exactly one version marked as storage version",
            "status.storedVersions: Invalid value: null: must have at least one stored version",
        ],
    );
    check(
        "/spec/preserveUnknownFields",
        json!(true),
        &[
            "spec.preserveUnknownFields: Invalid value: true: cannot set to true, set x-kubernetes-preserve-unknown-fields to true in \
           spec.versions[*].schema instead",
        ],
    );
    check(
        "/spec/versions/0/deprecationWarning",
        json!("old"),
        &["spec.versions[0].deprecationWarning: Invalid value: \"old\": can only be set for deprecated versions"],
    );
    check(
        "/spec/conversion",
        json!({"strategy": "Webhook"}),
        &[
            "spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook",
            "spec.conversion.conversionReviewVersions: Required value",
        ],
    );
    check(
        "/spec/conversion",
        json!({"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v2", "v2"],
            "clientConfig": {"url": "http://a.example.com"}}}),
        &[
            "spec.conversion.webhookClientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired \
             format: https://host[/path]",
            "spec.conversion.conversionReviewVersions[1]: Invalid value: \"v2\": duplicate version",
            "spec.conversion.conversionReviewVersions: Invalid value: [\"v2\",\"v2\"]: must include at least one of v1, v1beta1",
        ],
    );
}

#[test]
fn what_upstream_panics_at_is_refused() {
    let fields = |definition: Value| {
        changed(definition, "/spec/versions/0/selectableFields", json!([{"jsonPath": ".spec.flag"}]))
    };
    let missing = "spec.versions[0].schema.openAPIV3Schema: Required value";
    let check = |definition: Value, expected: &[&str]| assert_eq!(complaints(&definition), expected, "{definition}");
    check(fields(with("/spec/versions/0/schema", json!({}))), &[missing]);
    check(fields(with("/spec/versions/0/schema", json!({"openAPIV3Schema": null}))), &[missing]);
    check(with("/spec/versions/0/schema", json!({})), &[missing]);
    check(
        fields(with("/spec/versions/0/schema", Value::Null)),
        &[missing, "spec.selectableFields: Invalid value: \"\": may only be set when validations.schema is included"],
    );
    check(
        fields(with_schema(json!({}))),
        &[
            "spec.validation.openAPIV3Schema.type: Required value: must not be empty at the root",
            "spec.selectableFields[0].jsonPath: Invalid value: \".spec.flag\": is an invalid path: does not refer to a valid field",
        ],
    );
    let free = json!({"type": "object", "properties": {"spec": {"type": "object", "additionalProperties": true}}});
    check(
        fields(with_schema(free)),
        &[
            "spec.selectableFields[0].jsonPath: Invalid value: \".spec.flag\": must point to a field of type string, boolean or \
           integer. Enum string fields and strings with formats are allowed.",
        ],
    );
}

#[test]
fn what_versions_have_in_common_stands_beside_them() {
    let second = |schema: Value| {
        let version = json!({"name": "v2", "served": true, "storage": false, "schema": {"openAPIV3Schema": schema}});
        changed(boat(), "/spec/versions/1", version)
    };
    let same = boat()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
    assert_eq!(complaints(&second(same)), Vec::<String>::new());
    let path = "spec.versions[1].schema.openAPIV3Schema.type: Required value: must not be empty at the root";
    assert_eq!(complaints(&second(json!({}))), [path]);
    let twice = changed(second(json!({"type": "object"})), "/spec/versions/1/name", json!("v1"));
    let found = complaints(&twice);
    assert!(found.iter().any(|line| line.ends_with("must contain unique version names")), "{found:?}");
    let both = changed(second(json!({"type": "object"})), "/spec/versions/1/storage", json!(true));
    let found = complaints(&both);
    assert!(
        found.iter().any(|line| line.ends_with("must have exactly one version marked as storage version")),
        "{found:?}"
    );
    assert!(
        found.contains(&"status.storedVersions: Invalid value: [\"v1\"]: must have the storage version v2".to_owned())
    );
}

#[test]
fn subresources_and_columns() {
    let check = |field: &str, value: Value, expected: &[&str]| {
        assert_eq!(complaints(&with(&format!("/spec/versions/0/{field}"), value.clone())), expected, "{value}");
    };
    let scale = |spec: &str, status: &str, selector: &str| json!({"scale": {"specReplicasPath": spec, "statusReplicasPath": status, "labelSelectorPath": selector}});
    check("subresources", scale(".spec.crew", ".status.crew", ".status.selector"), &[]);
    check(
        "subresources",
        scale("", "crew", ".crew"),
        &[
            "spec.subresources.scale.specReplicasPath: Required value",
            "spec.subresources.scale.statusReplicasPath: Invalid value: \"crew\": must be a simple json path starting with .",
            "spec.subresources.scale.labelSelectorPath: Invalid value: \".crew\": should be a json path under either .spec or .status",
        ],
    );
    let types = "must be one of boolean,date,integer,number,string";
    check(
        "additionalPrinterColumns",
        json!([{}, {"name": "Crew", "type": "colour", "jsonPath": "a", "format": "red"}]),
        &[
            "spec.additionalPrinterColumns[0].name: Required value",
            &format!("spec.additionalPrinterColumns[0].type: Required value: {types}"),
            "spec.additionalPrinterColumns[0].JSONPath: Required value",
            &format!("spec.additionalPrinterColumns[1].type: Invalid value: \"colour\": {types}"),
            "spec.additionalPrinterColumns[1].format: Invalid value: \"red\": must be one of \
             byte,date,date-time,double,float,int32,int64,password",
            "spec.additionalPrinterColumns[1].JSONPath: Invalid value: \"a\": must be a simple json path starting with .",
        ],
    );
    check(
        "selectableFields",
        json!([{"jsonPath": ".spec.flag"}, {"jsonPath": ".spec.flag"}, {"jsonPath": "flag"}, {"jsonPath": ".spec['flag']"}, {}]),
        &[
            "spec.selectableFields[1].jsonPath: Duplicate value: \".spec.flag\"",
            "spec.selectableFields[2].jsonPath: Invalid value: \"flag\": is an invalid path: expected [ or . but got: flag",
            "spec.selectableFields[3].jsonPath: Invalid value: \".spec['flag']\": is an invalid path: array notation is not allowed",
            "spec.selectableFields[4].jsonPath: Required value",
        ],
    );
}

#[test]
fn groups_of_the_project_need_approval() {
    let check = |says: Option<&str>, expected: &[&str]| {
        let mut definition = with("/spec/group", json!("x.k8s.io"));
        definition["metadata"]["name"] = json!("boats.x.k8s.io");
        if let Some(says) = says {
            definition["metadata"]["annotations"] = json!({APPROVED: says});
        }
        assert_eq!(complaints(&definition), expected, "{says:?}");
    };
    let at = "metadata.annotations[api-approved.kubernetes.io]";
    let open = "protected groups must have approval annotation \"api-approved.kubernetes.io\"";
    let see = "see https://github.com/kubernetes/enhancements/pull/1111";
    check(None, &[&format!("{at}: Required value: {open}, {see}")]);
    check(
        Some("yes"),
        &[&format!(
            "{at}: Invalid value: \"yes\": {open} with either a URL or a reason starting with \"unapproved\", {see}"
        )],
    );
    check(Some("unapproved, a test"), &[]);
    check(Some("https://example.com/1"), &[]);
}

#[test]
fn updates() {
    let old = || {
        let mut old = boat();
        old["status"] = json!({"storedVersions": ["v1"], "acceptedNames": {"kind": "Boat", "plural": "boats"},
            "conditions": [{"type": "Established", "status": "True"}]});
        old
    };
    let tree = |definition: &Value| {
        let mut tree = testing::read(VERSION, KIND, &definition.to_string());
        testing::default_all(&STRATEGY, &mut tree);
        tree
    };
    let check = |new: Value, old: Value, expected: &[&str]| {
        let (mut new, old) = (tree(&new), tree(&old));
        (STRATEGY.prepare_update)(&mut new, &old, "", 0);
        assert_eq!(testing::update_complaints(&STRATEGY, &new, &old, ""), expected);
    };
    check(old(), old(), &[]);
    let frozen = "spec.scope: Invalid value: \"Cluster\": field is immutable";
    check(changed(old(), "/spec/scope", json!("Cluster")), old(), &[frozen]);
    let waiting = || changed(old(), "/status/conditions", json!([]));
    check(changed(waiting(), "/spec/scope", json!("Cluster")), waiting(), &[]);
    let gone = changed(old(), "/spec/versions/0/name", json!("v2"));
    check(
        gone,
        old(),
        &[
            "status.storedVersions[0]: Invalid value: \"v1\": missing from spec.versions; v1 was previously a storage version, and must \
           remain in spec.versions until a storage migration ensures no data remains persisted in v1 and removes v1 from \
           status.storedVersions",
        ],
    );
    // What is stored with an unknown type may keep it.
    let odd = |ty: &str| {
        changed(old(), "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/flag", json!({"type": ty}))
    };
    check(odd("colour"), odd("colour"), &[]);
    let path = "spec.validation.openAPIV3Schema.properties[spec].properties[flag].type";
    let known = "supported values: \"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\"";
    check(odd("colour"), old(), &[&format!("{path}: Unsupported value: \"colour\": {known}")]);
    let (mut new, before) = (tree(&old()), tree(&old()));
    let names = json!({"storedVersions": [], "acceptedNames": {"kind": "Boat", "plural": "Boats"}});
    let status = tree(&changed(old(), "/status", names));
    assert_eq!(testing::update_complaints(&STRATEGY, &status, &before, "status").len(), 1);
    (STRATEGY.prepare_update)(&mut new, &before, "status", 0);
    assert_eq!(testing::json(&new), testing::json(&before));
}

#[test]
fn unknown_formats_are_told_once() {
    let tell = |schema: Value, old: Option<Value>| {
        let mut warnings = Vec::new();
        let new = read(&with_schema(schema));
        match old.map(|old| read(&with_schema(old))) {
            None => (STRATEGY.warn_create)(&new, &mut warnings),
            Some(old) => (STRATEGY.warn_update)(&new, &old, "", &mut warnings),
        }
        warnings
    };
    let schema = json!({"type": "object", "properties": {"a": {"type": "string", "format": "odd"},
        "b": {"type": "string", "format": "odd"}, "c": {"type": "integer", "format": "int32"}}});
    assert_eq!(tell(schema.clone(), None), ["unrecognized format \"odd\""]);
    assert_eq!(tell(schema.clone(), Some(schema)), Vec::<String>::new());
}
