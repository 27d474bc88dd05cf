//! How drivers, pools, attributes and shares of devices are named (upstream: `validatePoolName`, `validateQualifiedName`, `validateUID`).

use std::borrow::Cow;

use portcullis_model::names;

use crate::core::pod_spec::volumes::drivers::driver_name;
use crate::vocabulary::{Errors, Path};

/// Bytes of a pool's name.
const POOL_BYTES_MAX: usize = 253;
/// Bytes of an attribute's name without its domain.
const IDENTIFIER_BYTES_MAX: usize = 32;
/// Bytes of an attribute's domain.
const DOMAIN_BYTES_MAX: usize = 63;
/// Bytes of an attribute's name that a complaint's path shows.
pub const QUALIFIED_BYTES_SHOWN: usize = DOMAIN_BYTES_MAX + 1 + IDENTIFIER_BYTES_MAX;
/// Bytes of a counter's name that a complaint's path shows.
pub const COUNTER_BYTES_SHOWN: usize = 63;

const NOT_IDENTIFIER: &str = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric \
                              characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is \
                              '[A-Za-z_][A-Za-z0-9_]*')";
const NOT_NORMAL_UID: &str = "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal \
                              characters";

/// Domains with slashes between them.
pub fn pool(name: &str, at: &Path<'_>, errors: &mut Errors) {
    if name.is_empty() {
        errors.required(at, "");
        return;
    }
    if name.len() > POOL_BYTES_MAX {
        errors.too_long(at, POOL_BYTES_MAX);
    }
    for part in name.split('/') {
        if errors.is_full() {
            return;
        }
        errors.complain(at, part, names::dns1123_subdomain(part));
    }
}

/// An identifier, perhaps with a driver's domain before it.
pub fn qualified(name: &str, at: &Path<'_>, errors: &mut Errors) {
    let Some((domain, own)) = name.split_once('/') else { return identifier(name, at, errors) };
    if own.contains('/') {
        errors.invalid(at, name, "must not contain more than one slash");
        return;
    }
    if domain.is_empty() {
        errors.invalid(at, "", "the domain must not be empty");
    } else {
        driver_name(domain, at, errors);
    }
    if own.is_empty() {
        errors.invalid(at, "", "the name must not be empty");
    } else {
        identifier(own, at, errors);
    }
}

/// An identifier with a driver's domain before it.
pub fn fully_qualified(name: &str, at: &Path<'_>, errors: &mut Errors) {
    qualified(name, at, errors);
    if !name.contains('/') {
        errors.invalid(at, name, "a fully qualified name must be a domain and a name separated by a slash");
    }
}

fn identifier(name: &str, at: &Path<'_>, errors: &mut Errors) {
    if name.len() > IDENTIFIER_BYTES_MAX {
        errors.too_long(at, IDENTIFIER_BYTES_MAX);
    }
    let is_one = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.bytes().next().is_some_and(|first| !first.is_ascii_digit());
    if !is_one {
        errors.invalid(at, name, NOT_IDENTIFIER);
    }
}

/// A uid in its one normal form.
pub fn uid(value: &str, at: &Path<'_>, errors: &mut Errors) {
    if let Err(why) = parse_uid(value) {
        errors.invalid(at, value, format!("error validating uid: {why}"));
    } else if value.len() != 36 || value.bytes().any(|byte| byte.is_ascii_uppercase()) {
        errors.invalid(at, value, NOT_NORMAL_UID);
    }
}

/// Whether the text is a uid in any of its forms: plain, in braces, as a URN, without hyphens.
fn parse_uid(value: &str) -> Result<(), Cow<'static, str>> {
    let bytes = value.as_bytes();
    let digits = match bytes {
        _ if bytes.len() == 36 || bytes.len() == 32 => bytes,
        [b'{', inner @ .., b'}'] if inner.len() == 36 => inner,
        _ if bytes.len() == 38 => return Err("invalid bracketed UUID format".into()),
        _ if bytes.len() == 45 => match bytes.split_at(9) {
            (head, rest) if head.eq_ignore_ascii_case(b"urn:uuid:") => rest,
            (head, _) => return Err(format!("invalid urn prefix: {:?}", String::from_utf8_lossy(head)).into()),
        },
        _ => return Err(format!("invalid UUID length: {}", bytes.len()).into()),
    };
    let is_hyphen = |at: usize| digits.len() == 36 && matches!(at, 8 | 13 | 18 | 23);
    let is_right = |(at, byte): (usize, &u8)| if is_hyphen(at) { *byte == b'-' } else { byte.is_ascii_hexdigit() };
    if digits.iter().enumerate().all(is_right) { Ok(()) } else { Err("invalid UUID format".into()) }
}

/// A key as a complaint's path shows it: of one that is too long, its two ends.
pub fn shown_key(key: &str, bytes_max: usize) -> Cow<'_, str> {
    const ELLIPSIS: &str = "...";
    if key.len() <= bytes_max {
        return Cow::Borrowed(key);
    }
    let kept = bytes_max.saturating_sub(ELLIPSIS.len());
    let (head, tail) = (key.floor_char_boundary(kept.div_ceil(2)), key.ceil_char_boundary(key.len() - kept / 2));
    let part = |range| key.get(range).unwrap_or_default();
    Cow::Owned(format!("{}{ELLIPSIS}{}", part(0..head), part(tail..key.len())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::lines;

    fn check(rule: fn(&str, &Path<'_>, &mut Errors), value: &str, expected: &[&str]) {
        let mut errors = Errors::new();
        rule(value, &Path::new("at"), &mut errors);
        let found: Vec<String> = lines(errors).iter().map(|line| line.chars().take(50).collect()).collect();
        let expected: Vec<String> = expected.iter().map(|line| line.chars().take(50).collect()).collect();
        assert_eq!(found, expected, "{value}");
    }

    #[test]
    fn pools_attributes_and_uids() {
        check(pool, "a/b.c/d", &[]);
        check(pool, "", &["at: Required value"]);
        check(pool, "a//b", &["at: Invalid value: \"\": a lowercase RFC 1123 subdomain must"]);
        check(qualified, "model", &[]);
        check(qualified, "example.com/model", &[]);
        check(qualified, "7", &["at: Invalid value: \"7\": a valid C identifier must start wi"]);
        check(qualified, "a/b/c", &["at: Invalid value: \"a/b/c\": must not contain more than one"]);
        check(
            qualified,
            "/",
            &[
                "at: Invalid value: \"\": the domain must not be empty",
                "at: Invalid value: \"\": the name must not be empty",
            ],
        );
        check(fully_qualified, "model", &["at: Invalid value: \"model\": a fully qualified name must be "]);
        check(uid, "6ba7b810-9dad-11d1-80b4-00c04fd430c8", &[]);
        for form in ["6BA7B810-9dad-11d1-80b4-00c04fd430c8", "6ba7b8109dad11d180b400c04fd430c8"] {
            check(uid, form, &[&format!("at: Invalid value: {form:?}: uid must be in RFC 4122")]);
        }
        check(uid, "x", &["at: Invalid value: \"x\": error validating uid: invalid UUID "]);
        assert!(parse_uid("{6ba7b810-9dad-11d1-80b4-00c04fd430c8}").is_ok());
        assert!(parse_uid("urn:uuid:6ba7b810-9dad-11d1-80b4-00c04fd430c8").is_ok());
        assert!(parse_uid("6ba7b810_9dad-11d1-80b4-00c04fd430c8").is_err());
    }

    #[test]
    fn a_long_key_is_shown_by_its_ends() {
        let check = |key: &str, bytes_max: usize, expected: &str| assert_eq!(shown_key(key, bytes_max), expected);
        check("short", 16, "short");
        check("abcdefghijklmnopqrstuvwxyz", 16, "abcdefg...uvwxyz");
        check("ääääääääääääää", 16, "äää...äää");
    }
}
