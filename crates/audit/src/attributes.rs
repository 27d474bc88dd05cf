//! What a policy decides by: who asks for what.

use std::collections::BTreeMap;

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
