//! `ConfigMap` (upstream: `registry/core/configmap`, `ValidateConfigMap`; immutable ones KEP-1412).

use portcullis_model::tree::Tree;

use super::config_data::{self, SIZE_MAX};
use crate::rest::Rest;
use crate::strategy::{Column, Strategy};
use crate::views;
use crate::views::core_v1::ConfigMap;
use crate::vocabulary::{Errors, Path};

/// The rules of `ConfigMap`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest::PLAIN,
    validate_create: validate,
    validate_update,
    columns: &[("Data", Column::Count(&["data", "binaryData"]))],
    ..Strategy::NONE
};

fn validate_update(tree: &Tree, old: &Tree, _: &str, errors: &mut Errors) {
    let (new, old): (ConfigMap<'_>, ConfigMap<'_>) = (views::read(tree), views::read(old));
    let state = |map: ConfigMap<'_>| map.immutable();
    let fields = [ConfigMap::DATA, ConfigMap::BINARY_DATA];
    config_data::promised((new.place(), state(new)), (old.place(), state(old)), &fields, errors);
    validate(tree, errors);
}

fn validate(tree: &Tree, errors: &mut Errors) {
    let map: ConfigMap<'_> = views::read(tree);
    let (at, mut size) = (Path::new("data"), 0);
    let (texts, binaries) = (map.data(), map.binary_data());
    config_data::keys(texts, &at, errors);
    for (key, text) in texts.iter() {
        if binaries.get(key).is_some() {
            errors.invalid(&at.key(key), key, "duplicate of key present in binaryData");
        }
        size += text.len();
    }
    config_data::keys(binaries, &Path::new("binaryData"), errors);
    if size + config_data::encoded_size(binaries) > SIZE_MAX {
        // The whole object is too long, which upstream writes as a place without a name.
        errors.too_long(&Path::ROOT.key(""), SIZE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{complaints, read, update_complaints};

    fn of(fields: &str) -> Tree {
        read("v1", "ConfigMap", &format!("{{{fields}}}"))
    }

    #[test]
    fn what_a_map_may_hold() {
        let check = |fields: &str, expected: &[&str]| {
            assert_eq!(complaints(&STRATEGY, &of(fields)), expected, "{}", fields.len());
        };
        check("", &[]);
        check(r#""data":{"a.b":"x"},"binaryData":{"c":"eA=="}"#, &[]);
        let why = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
        check(r#""data":{"a b":"x"}"#, &[&format!(r#"data[a b]: Invalid value: "a b": {why}"#)]);
        check(r#""binaryData":{"a b":"eA=="}"#, &[&format!(r#"binaryData[a b]: Invalid value: "a b": {why}"#)]);
        check(
            r#""data":{"a":"x"},"binaryData":{"a":"eA=="}"#,
            &[r#"data[a]: Invalid value: "a": duplicate of key present in binaryData"#],
        );
        let of_size = |size: usize| format!(r#""data":{{"a":"{}"}},"binaryData":{{"b":"eHh4"}}"#, "x".repeat(size));
        check(&of_size(SIZE_MAX - 3), &[]);
        check(&of_size(SIZE_MAX - 2), &["[]: Too long: may not be more than 1048576 bytes"]);
    }

    #[test]
    fn a_promise_is_kept() {
        let check = |old: &str, new: &str, expected: &[&str]| {
            let expected: Vec<String> = expected
                .iter()
                .map(|field| format!("{field}: Forbidden: field is immutable when `immutable` is set"))
                .collect();
            assert_eq!(update_complaints(&STRATEGY, &of(new), &of(old), ""), expected, "{old} {new}");
        };
        let old = r#""immutable":true,"data":{"a":"x"}"#;
        check(old, old, &[]);
        check(r#""immutable":false,"data":{"a":"x"}"#, r#""data":{"a":"y"}"#, &[]);
        check(r#""data":{"a":"x"}"#, r#""immutable":true,"data":{"a":"y"}"#, &[]);
        check(old, r#""data":{"a":"x"}"#, &["immutable"]);
        check(old, r#""immutable":false,"data":{"a":"y"},"binaryData":{"b":""}"#, &["immutable", "data", "binaryData"]);
    }
}
