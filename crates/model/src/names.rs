//! Names: DNS labels and subdomains, qualified names, label values, path segments, generated names.
//!
//! A check returns its complaints in upstream's order and words (`util/validation`, `api/validation/path`); none means
//! valid, and a valid name costs no allocation. Lengths are bytes; whether a message says characters or bytes is
//! upstream's habit, not ours.

use std::borrow::Cow;

/// What is wrong with a name; empty when nothing is.
pub type Complaints = Vec<Cow<'static, str>>;

/// Longest DNS label, and name part of a qualified name, and label value.
pub const LABEL_LEN_MAX: usize = 63;
/// Longest DNS subdomain.
pub const SUBDOMAIN_LEN_MAX: usize = 253;
/// Longest part of `generateName` that stays in a generated name.
pub const GENERATE_NAME_LEN_MAX: usize = LABEL_LEN_MAX - GENERATED_LEN;
/// Characters that are put behind `generateName`.
pub const GENERATED_LEN: usize = 5;

/// What generated names are made of: no vowels and no digits that look like one, so that no words appear.
const GENERATED_ALPHABET: [u8; 27] = *b"bcdfghjklmnpqrstvwxz2456789";

const DNS1123_LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const DNS1123_SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const DNS1123_SUBDOMAIN_PREFIX_PART: &str = "prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const DNS1123_UNDERSCORE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')";
const DNS1035_LABEL: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const WILDCARD_SUBDOMAIN: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const NAME_PART: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const QUALIFIED_NAME: &str = "a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

/// Checks a DNS-1123 label: `my-name`, `123-abc`.
#[must_use]
pub fn dns1123_label(value: &str) -> Complaints {
    let mut complaints = Complaints::new();
    if value.len() > LABEL_LEN_MAX {
        complaints.push("must be no more than 63 characters".into());
    }
    if !is_label(value) {
        complaints.push(if is_subdomain(value) { "must not contain dots".into() } else { DNS1123_LABEL.into() });
    }
    complaints
}

/// Checks a DNS-1123 subdomain: `example.com`. The name of most objects.
#[must_use]
pub fn dns1123_subdomain(value: &str) -> Complaints {
    let mut complaints = Complaints::new();
    if value.len() > SUBDOMAIN_LEN_MAX {
        complaints.push("must be no more than 253 characters".into());
    }
    if !is_subdomain(value) {
        complaints.push(DNS1123_SUBDOMAIN.into());
    }
    complaints
}

/// Checks a DNS-1123 subdomain by declarative validation, which counts the same and says bytes.
#[must_use]
pub fn dns1123_subdomain_bytes(value: &str) -> Complaints {
    let mut complaints = Complaints::new();
    if value.len() > SUBDOMAIN_LEN_MAX {
        complaints.push("must be no more than 253 bytes".into());
    }
    if !is_subdomain(value) {
        complaints.push(DNS1123_SUBDOMAIN.into());
    }
    complaints
}

/// Checks a subdomain whose labels may hold underscores, as DNS search paths do.
#[must_use]
pub fn dns1123_subdomain_with_underscore(value: &str) -> Complaints {
    let mut complaints = Complaints::new();
    if value.len() > SUBDOMAIN_LEN_MAX {
        complaints.push("must be no more than 253 characters".into());
    }
    let is_part = |part: &str| {
        let part = part.strip_prefix('_').unwrap_or(part);
        is_enclosed(part, is_lower_alphanumeric, |byte| matches!(byte, b'-' | b'_'))
    };
    if !value.split('.').all(is_part) {
        complaints.push(DNS1123_UNDERSCORE.into());
    }
    complaints
}

/// Checks `*.example.com`.
#[must_use]
pub fn wildcard_dns1123_subdomain(value: &str) -> Complaints {
    let mut complaints = Complaints::new();
    if value.len() > SUBDOMAIN_LEN_MAX {
        complaints.push("must be no more than 253 characters".into());
    }
    if !value.strip_prefix("*.").is_some_and(is_subdomain) {
        complaints.push(WILDCARD_SUBDOMAIN.into());
    }
    complaints
}

/// Checks a DNS-1035 label, a DNS-1123 label that starts with a letter.
#[must_use]
pub fn dns1035_label(value: &str) -> Complaints {
    let mut complaints = Complaints::new();
    if value.len() > LABEL_LEN_MAX {
        complaints.push("must be no more than 63 characters".into());
    }
    if !(is_label(value) && value.starts_with(|first: char| first.is_ascii_lowercase())) {
        complaints.push(DNS1035_LABEL.into());
    }
    complaints
}

/// Checks a qualified name: `MyName`, `example.com/MyName`. Keys of labels and annotations, finalizers, resources.
#[must_use]
pub fn qualified_name(value: &str) -> Complaints {
    let mut complaints = Complaints::new();
    let name = match value.split_once('/') {
        None => value,
        Some((_, name)) if name.contains('/') => {
            complaints.push(QUALIFIED_NAME.into());
            return complaints;
        }
        Some((prefix, name)) => {
            if prefix.is_empty() {
                complaints.push("prefix part must be non-empty".into());
            } else {
                if prefix.len() > SUBDOMAIN_LEN_MAX {
                    complaints.push("prefix part must be no more than 253 bytes".into());
                }
                if !is_subdomain(prefix) {
                    complaints.push(DNS1123_SUBDOMAIN_PREFIX_PART.into());
                }
            }
            name
        }
    };
    if name.is_empty() {
        complaints.push("name part must be non-empty".into());
    } else if name.len() > LABEL_LEN_MAX {
        complaints.push("name part must be no more than 63 bytes".into());
    }
    if !is_name_part(name) {
        complaints.push(NAME_PART.into());
    }
    complaints
}

/// Checks the value of a label; an empty one is valid.
#[must_use]
pub fn label_value(value: &str) -> Complaints {
    let mut complaints = Complaints::new();
    if value.len() > LABEL_LEN_MAX {
        complaints.push("must be no more than 63 bytes".into());
    }
    if !value.is_empty() && !is_name_part(value) {
        complaints.push(LABEL_VALUE.into());
    }
    complaints
}

/// Checks a key of a ConfigMap or Secret.
#[must_use]
pub fn config_key(value: &str) -> Complaints {
    let mut complaints = Complaints::new();
    if value.len() > SUBDOMAIN_LEN_MAX {
        complaints.push("must be no more than 253 characters".into());
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if value.is_empty() || !value.bytes().all(allowed) {
        complaints.push(CONFIG_KEY.into());
    }
    match value {
        "." => complaints.push("must not be '.'".into()),
        ".." => complaints.push("must not be '..'".into()),
        _ if value.starts_with("..") => complaints.push("must not start with '..'".into()),
        _ => {}
    }
    complaints
}

/// Checks a name that only has to fit in a path (roles and their bindings): neither `.` nor `..`, no slash, no percent.
#[must_use]
pub fn path_segment(value: &str) -> Complaints {
    match value {
        "." => vec!["may not be '.'".into()],
        ".." => vec!["may not be '..'".into()],
        _ => path_segment_prefix(value),
    }
}

/// Checks what stands before a generated suffix, by the rules of [`path_segment`].
#[must_use]
pub fn path_segment_prefix(value: &str) -> Complaints {
    let mut complaints = Complaints::new();
    if value.contains('/') {
        complaints.push("may not contain '/'".into());
    }
    if value.contains('%') {
        complaints.push("may not contain '%'".into());
    }
    complaints
}

/// Which rule the names of a kind follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// [`dns1123_subdomain`].
    Subdomain,
    /// [`dns1123_subdomain_bytes`].
    SubdomainBytes,
    /// [`dns1123_label`].
    Label,
    /// [`dns1035_label`].
    Label1035,
    /// [`path_segment`].
    PathSegment,
    /// Anything; the kind has a rule of its own.
    Any,
}

/// Whether a name is whole, or the part before what is generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `metadata.name`.
    Whole,
    /// `metadata.generateName`: may end with a dash.
    Prefix,
}

impl NameRule {
    /// Checks a name, or the part of one that stands before what is generated.
    #[must_use]
    pub fn check(self, value: &str, part: Part) -> Complaints {
        let masked = match part {
            Part::Prefix => mask_trailing_dash(value),
            Part::Whole => Cow::Borrowed(value),
        };
        match (self, part) {
            (Self::Subdomain, _) => dns1123_subdomain(&masked),
            (Self::SubdomainBytes, _) => dns1123_subdomain_bytes(&masked),
            (Self::Label, _) => dns1123_label(&masked),
            (Self::Label1035, _) => dns1035_label(&masked),
            (Self::PathSegment, Part::Whole) => path_segment(value),
            (Self::PathSegment, Part::Prefix) => path_segment_prefix(value),
            (Self::Any, _) => Complaints::new(),
        }
    }
}

/// Replaces a dash at the end, and the byte before it, by a letter: upstream's way to let a prefix end so. What is not
/// ASCII stays and is refused.
fn mask_trailing_dash(value: &str) -> Cow<'_, str> {
    match value.as_bytes() {
        [kept @ .., last, b'-'] if last.is_ascii() => {
            Cow::Owned(format!("{}a", value.get(..kept.len()).unwrap_or_default()))
        }
        _ => Cow::Borrowed(value),
    }
}

/// Makes a name of `base`, cut to 58 bytes, and five characters picked by `random`, which the caller draws evenly from
/// all 64-bit numbers.
#[must_use]
pub fn generate_name(base: &str, random: u64) -> String {
    let mut end = base.len().min(GENERATE_NAME_LEN_MAX);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = base.get(..end).unwrap_or_default().to_owned();
    let mut rest = random;
    for _ in 0..GENERATED_LEN {
        let at = rest % GENERATED_ALPHABET.len() as u64;
        rest /= GENERATED_ALPHABET.len() as u64;
        name.extend(usize::try_from(at).ok().and_then(|at| GENERATED_ALPHABET.get(at)).map(|&byte| char::from(byte)));
    }
    name
}

fn is_lower_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// Says whether a text is not empty, starts and ends with one kind of byte, and has only it and `between` inside.
fn is_enclosed(text: &str, outer: fn(u8) -> bool, between: fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|&first| outer(first))
        && bytes.last().is_some_and(|&last| outer(last))
        && bytes.iter().all(|&byte| outer(byte) || between(byte))
}

fn is_label(text: &str) -> bool {
    is_enclosed(text, is_lower_alphanumeric, |byte| byte == b'-')
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

fn is_name_part(text: &str) -> bool {
    is_enclosed(text, |byte| byte.is_ascii_alphanumeric(), |byte| matches!(byte, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(actual: &Complaints, expected: &[&str]) {
        assert_eq!(actual, expected);
    }

    #[test]
    fn labels() {
        for valid in ["a", "0", "my-name", "123-abc", &"x".repeat(63)] {
            check(&dns1123_label(valid), &[]);
        }
        for wrong in ["", "-a", "a-", "A", "a_b", "é", "a..b", ".a", "Not Valid!"] {
            check(&dns1123_label(wrong), &[DNS1123_LABEL]);
        }
        check(&dns1123_label("a.b"), &["must not contain dots"]);
        check(&dns1123_label(&"x".repeat(64)), &["must be no more than 63 characters"]);
        check(&dns1123_label(&"X".repeat(64)), &["must be no more than 63 characters", DNS1123_LABEL]);
        check(&dns1035_label("abc-123"), &[]);
        for wrong in ["1a", "", "a.b", "-a", "A"] {
            check(&dns1035_label(wrong), &[DNS1035_LABEL]);
        }
        check(&dns1035_label(&"x".repeat(64)), &["must be no more than 63 characters"]);
    }

    #[test]
    fn subdomains() {
        for valid in ["a", "example.com", "a.b.c", "1.2", &"x".repeat(253)] {
            check(&dns1123_subdomain(valid), &[]);
        }
        for wrong in ["", ".", "a.", ".a", "a..b", "a.-b", "A.b", "a_b", "a/b", "a%b", "Not Valid!"] {
            check(&dns1123_subdomain(wrong), &[DNS1123_SUBDOMAIN]);
            check(&dns1123_subdomain_bytes(wrong), &[DNS1123_SUBDOMAIN]);
        }
        check(&dns1123_subdomain(&"x".repeat(254)), &["must be no more than 253 characters"]);
        check(&dns1123_subdomain_bytes(&"x".repeat(254)), &["must be no more than 253 bytes"]);
        check(&dns1123_subdomain_with_underscore("_a_b.c"), &[]);
        check(&dns1123_subdomain_with_underscore("__a"), &[DNS1123_UNDERSCORE]);
        check(&wildcard_dns1123_subdomain("*.example.com"), &[]);
        check(&wildcard_dns1123_subdomain("example.com"), &[WILDCARD_SUBDOMAIN]);
        check(&wildcard_dns1123_subdomain("*."), &[WILDCARD_SUBDOMAIN]);
    }

    #[test]
    fn qualified_names() {
        for valid in ["a", "MyName", "a.b_c-d", "example.com/MyName", "kubernetes.io/a", &"x".repeat(63)] {
            check(&qualified_name(valid), &[]);
        }
        check(&qualified_name(""), &["name part must be non-empty", NAME_PART]);
        check(&qualified_name("bad key"), &[NAME_PART]);
        check(&qualified_name("-a"), &[NAME_PART]);
        check(&qualified_name("/a"), &["prefix part must be non-empty"]);
        check(&qualified_name("A/a"), &[DNS1123_SUBDOMAIN_PREFIX_PART]);
        check(&qualified_name("UPPER/"), &[DNS1123_SUBDOMAIN_PREFIX_PART, "name part must be non-empty", NAME_PART]);
        check(&qualified_name("a/b/c"), &[QUALIFIED_NAME]);
        check(&qualified_name(&"x".repeat(64)), &["name part must be no more than 63 bytes"]);
        check(&qualified_name(&format!("{}/a", "x".repeat(254))), &["prefix part must be no more than 253 bytes"]);
    }

    #[test]
    fn label_values() {
        for valid in ["", "a", "MyValue", "my_value", "12345", "a.b", &"x".repeat(63)] {
            check(&label_value(valid), &[]);
        }
        for wrong in ["-", "a-", "Not Valid!", "é", "a/b"] {
            check(&label_value(wrong), &[LABEL_VALUE]);
        }
        check(&label_value(&"x".repeat(64)), &["must be no more than 63 bytes"]);
    }

    #[test]
    fn keys_and_path_segments() {
        check(&config_key("key.name"), &[]);
        check(&config_key("a/b"), &[CONFIG_KEY]);
        check(&config_key(""), &[CONFIG_KEY]);
        check(&config_key("."), &["must not be '.'"]);
        check(&config_key(".."), &["must not be '..'"]);
        check(&config_key("..a"), &["must not start with '..'"]);
        check(&config_key(&"x".repeat(254)), &["must be no more than 253 characters"]);
        check(&path_segment("system:node Any!"), &[]);
        check(&path_segment("."), &["may not be '.'"]);
        check(&path_segment(".."), &["may not be '..'"]);
        check(&path_segment("a/b%"), &["may not contain '/'", "may not contain '%'"]);
        check(&path_segment_prefix(".."), &[]);
    }

    #[test]
    fn a_prefix_may_end_with_a_dash() {
        check(&NameRule::Subdomain.check("abc-", Part::Prefix), &[]);
        check(&NameRule::Subdomain.check("abc-", Part::Whole), &[DNS1123_SUBDOMAIN]);
        check(&NameRule::Subdomain.check("-", Part::Prefix), &[DNS1123_SUBDOMAIN]);
        check(&NameRule::Label.check("a.b-", Part::Prefix), &["must not contain dots"]);
        check(&NameRule::Label1035.check("x--", Part::Prefix), &[]);
        check(&NameRule::PathSegment.check("..", Part::Prefix), &[]);
        check(&NameRule::Subdomain.check("é-", Part::Prefix), &[DNS1123_SUBDOMAIN]);
        check(&NameRule::Subdomain.check("A-", Part::Prefix), &[]);
        check(&NameRule::Any.check("/", Part::Whole), &[]);
    }

    #[test]
    fn generated_names_fit_a_label() {
        fn check(base: &str, random: u64, expected: &str) {
            assert_eq!(generate_name(base, random), expected);
        }
        check("a-", 0, "a-bbbbb");
        check("", 26, "9bbbb");
        check("a-", u64::MAX, "a-7544t");
        check(&"x".repeat(70), 1, &format!("{}cbbbb", "x".repeat(58)));
        check(&format!("{}é", "x".repeat(57)), 0, &format!("{}bbbbb", "x".repeat(57)));
    }
}
