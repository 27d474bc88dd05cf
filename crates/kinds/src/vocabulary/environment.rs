//! Names of environment variables, and prefixes of them (upstream: `IsRelaxedEnvVarName`, KEP-4369).

use super::{Errors, Path};

/// What is said of a name that no process could be given.
const NOT_A_NAME: &str =
    "a valid environment variable name must consist only of printable ASCII characters other than '='";

/// A variable's name, or the beginning of one.
pub fn variable_name(value: &str, at: &Path<'_>, errors: &mut Errors) {
    if value.is_empty() {
        errors.invalid(at, value, "environment variable name must be non-empty");
    }
    if !value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'=') {
        errors.invalid(at, value, NOT_A_NAME);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_printable() {
        let check = |value: &str, expected: bool| {
            let mut errors = Errors::new();
            variable_name(value, &Path::new("name"), &mut errors);
            assert_eq!(errors.is_empty(), expected, "{value:?}");
        };
        for fine in ["A", "a.b-c", "1", "Not Valid!", "~", "$(A)"] {
            check(fine, true);
        }
        for wrong in ["", "A=B", "ä", "a\n", "\u{7f}"] {
            check(wrong, false);
        }
    }
}
