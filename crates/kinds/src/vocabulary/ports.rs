//! Ports by number or by name (upstream: `IsValidPortNum`, `IsValidPortName`).

use super::{Errors, Path, number};
use crate::views::IntOrString;

/// Longest name of a port (RFC 6335).
pub const NAME_LEN_MAX: usize = 15;

/// A port's name: an IANA service name in lower case. Says whether it is one.
pub fn name(value: &str, at: &Path<'_>, errors: &mut Errors) -> bool {
    let before = errors.len();
    if value.len() > NAME_LEN_MAX {
        errors.invalid(at, value, "must be no more than 15 characters");
    }
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if value.is_empty() || !value.bytes().all(allowed) {
        errors.invalid(at, value, "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
    }
    if !value.bytes().any(|byte| byte.is_ascii_lowercase()) {
        errors.invalid(at, value, "must contain at least one letter (a-z)");
    }
    if value.contains("--") {
        errors.invalid(at, value, "must not contain consecutive hyphens");
    }
    if value.starts_with('-') || value.ends_with('-') {
        errors.invalid(at, value, "must not begin or end with a hyphen");
    }
    errors.len() == before
}

/// A port by its number, or by the name that it has somewhere else.
pub fn number_or_name(port: IntOrString<'_>, at: &Path<'_>, errors: &mut Errors) {
    match port {
        IntOrString::Int(value) => number::port(value.into(), at, errors),
        IntOrString::String(value) => {
            name(value, at, errors);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::lines;

    #[test]
    fn a_port_has_a_number_or_a_name() {
        let check = |port: IntOrString<'_>, expected: &[&str]| {
            let mut errors = Errors::new();
            number_or_name(port, &Path::new("port"), &mut errors);
            let expected: Vec<String> = expected.iter().map(|why| format!("port: Invalid value: {why}")).collect();
            assert_eq!(lines(errors), expected);
        };
        let letters = "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)";
        for fine in [1, 80, 65_535] {
            check(IntOrString::Int(fine), &[]);
        }
        for wrong in [0, -7, 65_536] {
            check(IntOrString::Int(wrong), &[&format!("{wrong}: must be between 1 and 65535, inclusive")]);
        }
        for fine in ["http", "a", "1a", "a-1", "abcdefghijklmno"] {
            check(IntOrString::String(fine), &[]);
        }
        check(IntOrString::String("Not Valid!"), &[&format!("\"Not Valid!\": {letters}")]);
        check(IntOrString::String("80"), &["\"80\": must contain at least one letter (a-z)"]);
        check(IntOrString::String("abcdefghijklmnop"), &["\"abcdefghijklmnop\": must be no more than 15 characters"]);
        let hyphens =
            ["\"-a--b\": must not contain consecutive hyphens", "\"-a--b\": must not begin or end with a hyphen"];
        check(IntOrString::String("-a--b"), &hyphens);
        check(IntOrString::String(""), &[&format!("\"\": {letters}"), "\"\": must contain at least one letter (a-z)"]);
    }
}
