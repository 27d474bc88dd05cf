//! What a policy decides by: who asks for what.

use std::collections::BTreeMap;

/// The user whom nothing proved.
const ANONYMOUS: &str = "system:anonymous";
/// Reviews are asked by creating an object that is never stored.
const REVIEWS: [&str; 6] = [
    "tokenreviews",
    "subjectaccessreviews",
    "localsubjectaccessreviews",
    "selfsubjectaccessreviews",
    "selfsubjectrulesreviews",
    "selfsubjectreviews",
];
/// The API groups that have reviews.
const REVIEW_GROUPS: [&str; 2] = ["authentication.k8s.io", "authorization.k8s.io"];
/// Subresources that are reached by a GET too and let the client do what it likes.
const ACTING_SUBRESOURCES: [&str; 4] = ["exec", "attach", "portforward", "proxy"];

/// Who sends a request, or as whom it acts (upstream: `authentication/v1.UserInfo`).
#[derive(Clone, Copy, Debug)]
pub struct User<'a> {
    /// The name.
    pub name: &'a str,
    /// The unique id, or empty.
    pub uid: &'a str,
    /// The groups.
    pub groups: &'a [String],
    /// Further facts.
    pub extra: &'a BTreeMap<String, Vec<String>>,
}

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// A resource; absent parts are empty.
    Resource {
        /// The API group.
        group: &'a str,
        /// The API version.
        version: &'a str,
        /// The resource, plural.
        resource: &'a str,
        /// The subresource.
        subresource: &'a str,
        /// The namespace.
        namespace: &'a str,
        /// The object's name.
        name: &'a str,
    },
    /// Any other path.
    Path(&'a str),
}

/// A request as a policy sees it.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    /// Who sends it; nobody when that could not be proved.
    pub user: Option<User<'a>>,
    /// The verb of the resource, or the method in lower case.
    pub verb: &'a str,
    /// What it is about.
    pub target: Target<'a>,
}

impl Attributes<'_> {
    /// Says whether nobody proved an identity.
    pub fn is_stranger(&self) -> bool {
        self.user.is_none_or(|user| user.name == ANONYMOUS)
    }

    /// Says whether the request is meant to change something. Dry runs are; questions in the form of an object are not.
    pub fn changes_something(&self) -> bool {
        match self.target {
            Target::Path(_) => !matches!(self.verb, "get" | "head"),
            Target::Resource { subresource, .. } if ACTING_SUBRESOURCES.contains(&subresource) => true,
            Target::Resource { group, resource, .. } => match self.verb {
                "get" | "list" | "watch" => false,
                "create" => !(REVIEW_GROUPS.contains(&group) && REVIEWS.contains(&resource)),
                _ => true,
            },
        }
    }

    /// Says whether what is sent or answered holds secrets or tokens: objects that nobody should find in a log (A25). The requests
    /// for certificates are not among them: they and the certificates are public.
    pub fn holds_secrets(&self) -> bool {
        match self.target {
            Target::Resource { resource: "secrets" | "tokenreviews", .. } => true,
            Target::Resource { resource: "serviceaccounts", subresource: "token", .. } => true,
            Target::Resource { .. } | Target::Path(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `group/resource/subresource`, or a path.
    fn attributes<'a>(verb: &'a str, target: &'a str) -> Attributes<'a> {
        let mut parts = target.splitn(3, '/');
        let mut next = || parts.next().unwrap_or_default();
        let target = match target.starts_with("/path") {
            true => Target::Path(target),
            false => Target::Resource {
                group: next(),
                resource: next(),
                subresource: next(),
                version: "v1",
                namespace: "",
                name: "",
            },
        };
        Attributes { user: None, verb, target }
    }

    #[test]
    fn what_changes_something() {
        let check = |verb: &str, target: &str, expected: bool| {
            assert_eq!(attributes(verb, target).changes_something(), expected, "{verb} {target}");
        };
        for verb in ["get", "list", "watch"] {
            check(verb, "/pods", false);
        }
        for verb in ["create", "update", "patch", "delete", "deletecollection", "proxy", ""] {
            check(verb, "/pods", true);
        }
        check("get", "/pods/log", false);
        check("get", "/pods/exec", true);
        check("get", "/services/proxy", true);
        check("create", "authorization.k8s.io/selfsubjectaccessreviews", false);
        check("create", "authentication.k8s.io/tokenreviews", false);
        check("create", "example.com/tokenreviews", true);
        check("delete", "authorization.k8s.io/selfsubjectaccessreviews", true);
        check("get", "/path", false);
        check("head", "/path", false);
        check("post", "/path", true);
    }

    #[test]
    fn what_holds_secrets() {
        let check = |target: &str, expected: bool| {
            assert_eq!(attributes("get", target).holds_secrets(), expected, "{target}");
        };
        check("/secrets", true);
        check("/secrets/status", true);
        check("/serviceaccounts/token", true);
        check("authentication.k8s.io/tokenreviews", true);
        check("/serviceaccounts", false);
        check("/configmaps", false);
        check("certificates.k8s.io/certificatesigningrequests", false);
        check("/path/secrets", false);
    }

    #[test]
    fn who_is_a_stranger() {
        let extra = BTreeMap::new();
        let check = |name: Option<&str>, expected: bool| {
            let user = name.map(|name| User { name, uid: "", groups: &[], extra: &extra });
            let attributes = Attributes { user, verb: "get", target: Target::Path("/") };
            assert_eq!(attributes.is_stranger(), expected, "{name:?}");
        };
        check(None, true);
        check(Some("system:anonymous"), true);
        check(Some("ana"), false);
    }
}
