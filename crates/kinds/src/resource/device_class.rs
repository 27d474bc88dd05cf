//! `DeviceClass` (upstream: `registry/resource/deviceclass`, `apis/resource/validation`; extended resources KEP-5004).

use portcullis_model::tree::Tree;

use super::claims::CONFIGURATIONS_MAX;
use super::lists;
use super::selectors::{self, Origin};
use crate::rest::Rest;
use crate::strategy::Strategy;
use crate::views;
use crate::views::resource_v1::{DeviceClass, DeviceClassSpec};
use crate::vocabulary::frozen::is_same;
use crate::vocabulary::resource_names::is_extended;
use crate::vocabulary::{Errors, Path};

/// The rules of `DeviceClass`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { generation: true, delete_shows_object: true, ..Rest::PLAIN },
    validate_create: |tree, errors| validate(tree, None, errors),
    validate_update: |tree, old, _, errors| validate(tree, Some(old), errors),
    ..Strategy::NONE
};

fn validate(tree: &Tree, old: Option<&Tree>, errors: &mut Errors) {
    let of = |tree| views::read::<DeviceClass<'_>>(tree).spec();
    let (spec, old, at) = (of(tree), old.map(of), Path::new("spec"));
    // What has not changed at all was let in once; who moves one changes all.
    let origin = |field| match old {
        Some(old) if is_same(spec.place().get(field), old.place().get(field)) => Origin::Stored,
        _ => Origin::New,
    };
    selectors::selectors(spec.selectors(), origin(DeviceClassSpec::SELECTORS), &at.field("selectors"), errors);
    let config_at = at.field("config");
    if lists::is_short(spec.config().len(), CONFIGURATIONS_MAX, &config_at, errors) {
        let origin = origin(DeviceClassSpec::CONFIG);
        for (index, one) in spec.config().iter().enumerate() {
            selectors::configuration(one.opaque(), origin, &config_at.index(index), errors);
        }
    }
    if let Some(name) = spec.extended_resource_name().filter(|name| !is_extended(name)) {
        errors.invalid(&at.field("extendedResourceName"), name, "must be a valid extended resource name");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{complaints, created, update_complaints};

    fn of(spec: &str) -> Tree {
        let text = format!(r#"{{"metadata":{{"name":"c"}},"spec":{{{spec}}}}}"#);
        created(&STRATEGY, "resource.k8s.io/v1", "DeviceClass", &text)
    }

    #[test]
    fn what_a_class_may_say() {
        let check = |spec: &str, expected: &[&str]| {
            let found: Vec<String> =
                complaints(&STRATEGY, &of(spec)).iter().map(|line| line.chars().take(80).collect()).collect();
            let expected: Vec<String> = expected.iter().map(|line| line.chars().take(80).collect()).collect();
            assert_eq!(found, expected, "{spec}");
        };
        check("", &[]);
        check(
            r#""selectors":[{"cel":{"expression":"device.driver == 'a'"}}],"extendedResourceName":"example.com/gpu""#,
            &[],
        );
        check(r#""selectors":[{}]"#, &["spec.selectors[0].cel: Required value"]);
        check(
            r#""selectors":[{"cel":{}}]"#,
            &["spec.selectors[0].cel.expression: Invalid value: \"\": compilation failed: ERROR: <inp"],
        );
        check(r#""config":[{}]"#, &["spec.config[0].opaque: Required value"]);
        check(r#""config":[{"opaque":{"driver":"a.b","parameters":{"a":1}}}]"#, &[]);
        check(
            r#""config":[{"opaque":{"parameters":7}}]"#,
            &[
                "spec.config[0].opaque.driver: Required value",
                "spec.config[0].opaque.parameters: Invalid value: \"<value omitted>\": must be a vali",
            ],
        );
        check(r#""config":[{"opaque":{"driver":"a"}}]"#, &["spec.config[0].opaque.parameters: Required value"]);
        check(
            r#""extendedResourceName":"cpu""#,
            &["spec.extendedResourceName: Invalid value: \"cpu\": must be a valid extended resource n"],
        );
        let many = format!(r#""selectors":[{}]"#, vec![r#"{"cel":{"expression":"true"}}"#; 33].join(","));
        check(&many, &["spec.selectors: Too many: 33: must have at most 32 items"]);
    }

    #[test]
    fn what_is_stored_may_stay() {
        let check = |new: &str, old: &str, expected: usize| {
            assert_eq!(update_complaints(&STRATEGY, &of(new), &of(old), "").len(), expected, "{new}");
        };
        let empty = r#""selectors":[{"cel":{"expression":""}}]"#;
        check(empty, empty, 0);
        check(empty, "", 1);
    }
}
