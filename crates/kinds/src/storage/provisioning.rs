//! What classes of storage have in common: who makes volumes, and what he is told (upstream: `validateProvisioner`,
//! `validateParameters`).

use portcullis_model::names;

use crate::views::Map;
use crate::vocabulary::{Errors, Path};

/// Most parameters.
const PARAMETERS_MAX: usize = 512;
/// Bytes of their names and values together.
const PARAMETERS_LEN_MAX: usize = 256 << 10;

/// A driver by its name, in any case.
pub(super) fn provisioner(name: &str, at: &Path<'_>, errors: &mut Errors) {
    if name.is_empty() {
        errors.required(at, "");
    } else if name.bytes().any(|octet| !octet.is_ascii() || octet.is_ascii_uppercase()) {
        let name = name.to_lowercase();
        errors.complain(at, &name, names::qualified_name(&name));
    } else {
        errors.complain(at, name, names::qualified_name(name));
    }
}

/// Names that are not empty, and not too much of it all.
pub(super) fn parameters(map: Map<'_, &str>, at: &Path<'_>, errors: &mut Errors) {
    if map.len() > PARAMETERS_MAX {
        errors.too_long(at, PARAMETERS_MAX);
        return;
    }
    let mut len: usize = 0;
    for (name, value) in map.iter() {
        if name.is_empty() {
            errors.invalid(at, name, "field can not be empty.");
        }
        len = len.saturating_add(name.len()).saturating_add(value.len());
    }
    if len > PARAMETERS_LEN_MAX {
        errors.too_long(at, PARAMETERS_LEN_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{lines, read};
    use crate::views;
    use crate::views::storage_v1::StorageClass;

    #[test]
    fn a_driver_has_a_name() {
        let check = |name: &str, expected: usize| {
            let mut errors = Errors::new();
            provisioner(name, &Path::new("at"), &mut errors);
            assert_eq!(errors.len(), expected, "{name}");
        };
        check("kubernetes.io/no-provisioner", 0);
        check("CSI.Example.com/Disk", 0);
        check("", 1);
        check("not valid!", 1);
    }

    #[test]
    fn parameters_are_named_and_not_too_long() {
        let check = |text: &str, expected: &[&str]| {
            let tree = read("storage.k8s.io/v1", "StorageClass", &format!(r#"{{"parameters":{text}}}"#));
            let mut errors = Errors::new();
            parameters(views::read::<StorageClass<'_>>(&tree).parameters(), &Path::new("parameters"), &mut errors);
            assert_eq!(lines(errors), expected);
        };
        check(r#"{"a":""}"#, &[]);
        check(r#"{"":"a"}"#, &[r#"parameters: Invalid value: "": field can not be empty."#]);
        let many: Vec<String> = (0..513).map(|index| format!(r#""{index}":"""#)).collect();
        check(&format!("{{{}}}", many.join(",")), &["parameters: Too long: may not be more than 512 bytes"]);
        let long = "a".repeat(256 << 10);
        check(&format!(r#"{{"a":"{long}"}}"#), &["parameters: Too long: may not be more than 262144 bytes"]);
    }
}
