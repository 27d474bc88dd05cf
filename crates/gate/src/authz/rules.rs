//! What the authorisers can list about a user, for people who ask what they may do (upstream: `authorizer.RuleResolver`).
//!
//! A list is not a decision: an authoriser may know more than it can list, and whoever enforces something asks for a verdict.

/// What a user may do in a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// On resources.
    pub resources: Vec<ResourceRule>,
    /// On paths that are no resources.
    pub paths: Vec<PathRule>,
    /// Why this may not be all, one reason for each authoriser that could not list its rules. Empty when it is all.
    pub gaps: Vec<String>,
    /// What an authoriser met that lists its rules: roles that are bound and not there.
    pub errors: Vec<String>,
}

/// Verbs that are allowed on resources. `*` stands for all in each list but `names`, where an empty list does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceRule {
    /// Verbs.
    pub verbs: Vec<String>,
    /// API groups.
    pub groups: Vec<String>,
    /// Resources, with their subresources as `pods/log`.
    pub resources: Vec<String>,
    /// Objects.
    pub names: Vec<String>,
}

/// Verbs that are allowed on paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathRule {
    /// Verbs.
    pub verbs: Vec<String>,
    /// Paths; a `*` at the end stands for any rest.
    pub paths: Vec<String>,
}
