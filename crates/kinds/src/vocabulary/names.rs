//! Texts that name something. What a name may look like is in [`portcullis_model::names`]; here is where it is complained about.

use portcullis_model::names;

use super::{Errors, Path};

/// What the path of a URL is made of, as a regular expression.
const URL_PATH: &str = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+";

/// A DNS label (RFC 1123).
pub fn dns_label(value: &str, at: &Path<'_>, errors: &mut Errors) {
    errors.complain(at, value, names::dns1123_label(value));
}

/// A DNS subdomain (RFC 1123).
pub fn dns_subdomain(value: &str, at: &Path<'_>, errors: &mut Errors) {
    errors.complain(at, value, names::dns1123_subdomain(value));
}

/// A label's key: a name, perhaps with a domain before it.
pub fn qualified_name(value: &str, at: &Path<'_>, errors: &mut Errors) {
    errors.complain(at, value, names::qualified_name(value));
}

/// A label's value.
pub fn label_value(value: &str, at: &Path<'_>, errors: &mut Errors) {
    errors.complain(at, value, names::label_value(value));
}

/// A key of a config map or a secret.
pub fn config_key(value: &str, at: &Path<'_>, errors: &mut Errors) {
    errors.complain(at, value, names::config_key(value));
}

/// One segment of a URL's path.
pub fn path_segment(value: &str, at: &Path<'_>, errors: &mut Errors) {
    errors.complain(at, value, names::path_segment(value));
}

/// One of a closed list of words.
pub fn one_of(value: &str, known: &[&str], at: &Path<'_>, errors: &mut Errors) {
    if !known.contains(&value) {
        errors.not_supported(at, value, known);
    }
}

/// A domain and a path behind it: `acme.io/foo` (upstream: `IsDomainPrefixedPath`).
pub fn domain_prefixed_path(value: &str, at: &Path<'_>, errors: &mut Errors) {
    if value.is_empty() {
        errors.required(at, "");
        return;
    }
    let Some((domain, path)) = value.split_once('/').filter(|(domain, path)| !domain.is_empty() && !path.is_empty())
    else {
        errors.invalid(at, value, "must be a domain-prefixed path (such as \"acme.io/foo\")");
        return;
    };
    dns_subdomain(domain, at, errors);
    if !path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&byte)) {
        errors.invalid(at, path, format!("Invalid path (regex used for validation is '{URL_PATH}')"));
    }
}

/// A domain of at least two labels, perhaps with a dot at its end (upstream: `IsFullyQualifiedDomainName`).
pub fn fully_qualified_domain(value: &str, at: &Path<'_>, errors: &mut Errors) {
    if value.is_empty() {
        errors.required(at, "");
        return;
    }
    let value = value.strip_suffix('.').unwrap_or(value);
    let joined =
        |complaints: names::Complaints| complaints.iter().map(|why| why.as_ref()).collect::<Vec<_>>().join(",");
    let complaints = names::dns1123_subdomain(value);
    if !complaints.is_empty() {
        errors.invalid(at, value, joined(complaints));
    } else if !value.contains('.') {
        errors.invalid(at, value, "should be a domain with at least two segments separated by dots");
    } else if let Some(label) = value.split('.').find(|label| !names::dns1123_label(label).is_empty()) {
        errors.invalid(at, label, joined(names::dns1123_label(label)));
    }
}

/// A domain, or all that are one label below one: `*.example.com`.
pub fn host(value: &str, at: &Path<'_>, errors: &mut Errors) {
    let is_wildcard = value.contains('*');
    errors.complain(
        at,
        value,
        if is_wildcard { names::wildcard_dns1123_subdomain(value) } else { names::dns1123_subdomain(value) },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::lines;

    /// Each complaint begins as expected.
    fn check(rule: fn(&str, &Path<'_>, &mut Errors), value: &str, expected: &[&str]) {
        let mut errors = Errors::new();
        rule(value, &Path::new("f"), &mut errors);
        let found = lines(errors);
        let begin =
            found.len() == expected.len() && found.iter().zip(expected).all(|(line, start)| line.starts_with(start));
        assert!(begin, "{value}: {found:?}");
    }

    #[test]
    fn domains_with_something_behind_or_before_them() {
        check(domain_prefixed_path, "acme.io/foo/bar", &[]);
        check(domain_prefixed_path, "", &["f: Required value"]);
        for none in ["acme.io", "/foo", "acme.io/"] {
            let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            check(domain_prefixed_path, none, &[&format!("f: Invalid value: \"{none}\": {why}")]);
        }
        check(
            domain_prefixed_path,
            "acme.io/a b",
            &["f: Invalid value: \"a b\": Invalid path (regex used for validation is '["],
        );
        check(
            domain_prefixed_path,
            "Acme/a",
            &["f: Invalid value: \"Acme\": a lowercase RFC 1123 subdomain must consist"],
        );
        check(fully_qualified_domain, "db.example.com", &[]);
        check(fully_qualified_domain, "example.com.", &[]);
        check(fully_qualified_domain, "", &["f: Required value"]);
        check(
            fully_qualified_domain,
            "example",
            &["f: Invalid value: \"example\": should be a domain with at least two segm"],
        );
        check(
            fully_qualified_domain,
            "a_b.com",
            &["f: Invalid value: \"a_b.com\": a lowercase RFC 1123 subdomain must cons"],
        );
        let long = format!("{}.com", "a".repeat(64));
        check(fully_qualified_domain, &long, &[&format!("f: Invalid value: \"{}", "a".repeat(52))]);
        check(host, "*.example.com", &[]);
        check(host, "example.com", &[]);
        check(host, "*", &["f: Invalid value: \"*\": a wildcard DNS-1123 subdomain must start with "]);
        check(host, "", &["f: Invalid value: \"\": a lowercase RFC 1123 subdomain must consist of"]);
    }
}
