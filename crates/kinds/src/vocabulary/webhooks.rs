//! Where a server is that this one asks (upstream: `apiserver/pkg/util/webhook`).
//!
//! The server calls what stands here with its own credentials: it is reached by TLS only, and a URL has nothing in it but where to go.

use portcullis_model::names;

use super::{Errors, Path, urls};

const FORM: &str = "; desired format: https://host[/path]";

/// The service that is asked.
#[derive(Clone, Copy, Debug)]
pub struct Service<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Where it is asked.
    pub path: Option<&'a str>,
    /// At which of its ports.
    pub port: i32,
}

/// Where a webhook is asked: one place.
pub fn client(in_url: Option<&str>, in_service: Option<Service<'_>>, at: &Path<'_>, errors: &mut Errors) {
    match (in_url, in_service) {
        (Some(value), None) => url(value, &at.field("url"), errors),
        (None, Some(asked)) => {
            // Upstream takes the one for the other here, so that a missing name is said to be a missing namespace.
            let asked = Service { namespace: asked.name, name: asked.namespace, ..asked };
            service(&asked, &at.field("service"), errors);
        }
        _ => errors.required(at, "exactly one of url or service is required"),
    }
}

/// A URL of a server that is asked by TLS.
fn url(value: &str, at: &Path<'_>, errors: &mut Errors) {
    let url = match urls::parse(value) {
        Ok(url) => url,
        Err(why) => return errors.required(at, format!("url must be a valid URL: {why}{FORM}")),
    };
    if url.scheme != "https" {
        errors.invalid(at, url.scheme, format!("'https' is the only allowed URL scheme{FORM}"));
    }
    if url.host.is_empty() {
        errors.invalid(at, url.host, format!("host must be specified{FORM}"));
    }
    if let Some(user) = url.user {
        errors.invalid(at, user, "user information is not permitted in the URL");
    }
    if !url.fragment.is_empty() {
        errors.invalid(at, url.fragment, "fragments are not permitted in the URL");
    }
    if !url.query.is_empty() {
        errors.invalid(at, url.query, "query parameters are not permitted in the URL");
    }
}

/// A service that is asked.
fn service(service: &Service<'_>, at: &Path<'_>, errors: &mut Errors) {
    if service.name.is_empty() {
        errors.required(&at.field("name"), "");
    }
    if service.namespace.is_empty() {
        errors.required(&at.field("namespace"), "");
    }
    port(service.port, &at.field("port"), errors);
    if let Some(path) = service.path {
        url_path(path, &at.field("path"), errors);
    }
}

/// The number of a port of a service that is asked.
pub fn port(value: i32, at: &Path<'_>, errors: &mut Errors) {
    if !(1..=65_535).contains(&value) {
        errors.invalid(at, i64::from(value), "port is not valid: must be between 1 and 65535, inclusive");
    }
}

/// A path whose segments are DNS subdomains. The first letter is taken for the slash even where it is none.
fn url_path(value: &str, at: &Path<'_>, errors: &mut Errors) {
    match value {
        "" | "/" => return,
        "//" => return errors.invalid(at, value, "segment[0] may not be empty"),
        _ => {}
    }
    if !value.starts_with('/') {
        errors.invalid(at, value, "must start with a '/'");
    }
    let mut letters = value.chars();
    letters.next();
    let below = letters.as_str();
    for (index, segment) in below.strip_suffix('/').unwrap_or(below).split('/').enumerate() {
        if segment.is_empty() {
            errors.invalid(at, value, format!("segment[{index}] may not be empty"));
            continue;
        }
        for why in names::dns1123_subdomain(segment) {
            errors.invalid(at, value, format!("segment[{index}]: {why}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::lines;

    #[test]
    fn where_a_url_leads() {
        let check = |value: &str, expected: &[&str]| {
            let mut errors = Errors::new();
            url(value, &Path::new("url"), &mut errors);
            assert_eq!(lines(errors), expected, "{value}");
        };
        let host = r#"url: Invalid value: "": host must be specified; desired format: https://host[/path]"#;
        let scheme = "'https' is the only allowed URL scheme; desired format: https://host[/path]";
        check("https://hook.example.com/m", &[]);
        check("other", &[&format!(r#"url: Invalid value: "": {scheme}"#), host]);
        check("http://hook", &[&format!(r#"url: Invalid value: "http": {scheme}"#)]);
        check(
            "https://a:b@hook?q#f",
            &[
                r#"url: Invalid value: "a:b": user information is not permitted in the URL"#,
                r#"url: Invalid value: "f": fragments are not permitted in the URL"#,
                r#"url: Invalid value: "q": query parameters are not permitted in the URL"#,
            ],
        );
        check(
            "https://a b",
            &[
                r#"url: Required value: url must be a valid URL: parse "https://a b": invalid character " " in host name; desired format: https://host[/path]"#,
            ],
        );
    }

    #[test]
    fn where_a_service_is() {
        let check = |path: &str, expected: &[&str]| {
            let asked = Service { namespace: "a", name: "b", path: Some(path), port: 443 };
            let mut errors = Errors::new();
            service(&asked, &Path::new("service"), &mut errors);
            assert_eq!(lines(errors), expected, "{path}");
        };
        for good in ["", "/", "/v", "/v/", "/a.b/c"] {
            check(good, &[]);
        }
        check("//", &[r#"service.path: Invalid value: "//": segment[0] may not be empty"#]);
        check("/a//b", &[r#"service.path: Invalid value: "/a//b": segment[1] may not be empty"#]);
        check("other", &[r#"service.path: Invalid value: "other": must start with a '/'"#]);
        let mut errors = Errors::new();
        let asked = Service { namespace: "", name: "", path: None, port: 0 };
        service(&asked, &Path::new("service"), &mut errors);
        assert_eq!(
            lines(errors),
            [
                "service.name: Required value",
                "service.namespace: Required value",
                "service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive",
            ]
        );
    }
}
