//! `VolumeAttributesClass` (upstream: `registry/storage/volumeattributesclass`, `apis/storage/validation`; KEP-3751).
//!
//! What a driver can change of a volume while it is used. A class stays what it is: who wants something else names another.

use portcullis_model::tree::Tree;

use super::provisioning::{parameters, provisioner};
use crate::rest::Rest;
use crate::strategy::{Column, Strategy};
use crate::views;
use crate::views::storage_v1::VolumeAttributesClass;
use crate::vocabulary::frozen::is_same;
use crate::vocabulary::{Errors, Path};

/// The rules of `VolumeAttributesClass`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { delete_shows_object: true, ..Rest::PLAIN },
    validate_create: validate,
    validate_update,
    columns: &[("DriverName", Column::Field("driverName", r#""""#))],
    ..Strategy::NONE
};

fn validate(tree: &Tree, errors: &mut Errors) {
    let class: VolumeAttributesClass<'_> = views::read(tree);
    provisioner(class.driver_name(), &Path::new("driverName"), errors);
    let at = Path::new("parameters");
    parameters(class.parameters(), &at, errors);
    if class.parameters().is_empty() {
        errors.required(&at, "must contain at least one key/value pair");
    }
}

fn validate_update(tree: &Tree, old: &Tree, _: &str, errors: &mut Errors) {
    let (new, old): (VolumeAttributesClass<'_>, VolumeAttributesClass<'_>) = (views::read(tree), views::read(old));
    for field in [VolumeAttributesClass::DRIVER_NAME, VolumeAttributesClass::PARAMETERS] {
        if !is_same(new.place().get(field), old.place().get(field)) {
            errors.forbidden(&Path::new(field.name()), format!("updates to {} are forbidden.", field.name()));
        }
    }
    validate(tree, errors);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{complaints, created, update_complaints};

    fn of(fields: &str) -> Tree {
        let text = format!(r#"{{"metadata":{{"name":"a"}},{fields}}}"#);
        created(&STRATEGY, "storage.k8s.io/v1", "VolumeAttributesClass", &text)
    }

    #[test]
    fn a_class_says_something_and_keeps_it() {
        const GOLD: &str = r#""driverName":"csi.example.com","parameters":{"iops":"4000"}"#;
        const EMPTY: &str = "parameters: Required value: must contain at least one key/value pair";
        assert!(complaints(&STRATEGY, &of(GOLD)).is_empty());
        assert_eq!(complaints(&STRATEGY, &of(r#""driverName":"""#)), ["driverName: Required value", EMPTY]);
        let check = |new: &str, expected: &[&str]| {
            assert_eq!(update_complaints(&STRATEGY, &of(new), &of(GOLD), ""), expected, "{new}");
        };
        check(GOLD, &[]);
        check(
            r#""driverName":"csi.example.com","parameters":{"iops":"5000"}"#,
            &["parameters: Forbidden: updates to parameters are forbidden."],
        );
        check(
            r#""driverName":"other","parameters":{}"#,
            &[
                "driverName: Forbidden: updates to driverName are forbidden.",
                "parameters: Forbidden: updates to parameters are forbidden.",
                EMPTY,
            ],
        );
    }
}
