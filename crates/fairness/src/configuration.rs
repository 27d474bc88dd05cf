//! Levels and flow schemas as they stand in the cluster, in plain words (upstream: `PriorityLevelConfiguration`, `FlowSchema`).

use std::sync::Arc;

/// Everything that decides who waits for whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// The levels, by name.
    pub levels: Vec<Arc<Level>>,
    /// The schemas, by precedence and then by name.
    pub schemas: Vec<Arc<FlowSchema>>,
}

/// A level of priority: requests that share seats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    /// Its name.
    pub name: String,
    /// The uid of its object.
    pub uid: String,
    /// Its part of all seats, in relation to the others'.
    pub shares: u32,
    /// Percent of its seats that others may have while it does not need them.
    pub lendable_percent: u32,
    /// Whether it has limits at all.
    pub kind: LevelKind,
}

/// Whether a level has limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LevelKind {
    /// Its requests never wait; its seats are only counted, and lent.
    Exempt,
    /// Its requests share its seats.
    Limited {
        /// Percent of its own seats that it may borrow from others at most; none for no limit.
        borrowing_limit_percent: Option<u32>,
        /// What happens to a request that finds no seat.
        overload: Overload,
    },
}

/// What happens to a request that finds no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overload {
    /// It is refused.
    Reject,
    /// It waits.
    Queue {
        /// Queues of the level.
        queues: u32,
        /// Queues that one flow may use.
        hand_size: u32,
        /// Requests that may wait in one queue.
        queue_length: u32,
    },
}

/// Which requests belong to a level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowSchema {
    /// Its name.
    pub name: String,
    /// The uid of its object.
    pub uid: String,
    /// Schemas with a lower one are asked first.
    pub precedence: i32,
    /// The name of its level.
    pub level: String,
    /// What tells its flows apart.
    pub distinguisher: Distinguisher,
    /// It matches when any of these does.
    pub rules: Vec<PolicyRule>,
}

/// What tells the flows of a schema apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Distinguisher {
    /// Nothing: they are one flow.
    #[default]
    None,
    /// The user.
    ByUser,
    /// The namespace of the request.
    ByNamespace,
}

/// Who, and what they ask for: one of the subjects and one of the rules must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyRule {
    /// Who.
    pub subjects: Vec<Subject>,
    /// Resources.
    pub resource_rules: Vec<ResourceRule>,
    /// Other paths.
    pub non_resource_rules: Vec<NonResourceRule>,
}

/// Somebody. `*` as a name is everybody of the sort.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A user by name.
    User(String),
    /// A group by name.
    Group(String),
    /// A service account by namespace and name.
    ServiceAccount {
        /// The namespace.
        namespace: String,
        /// The name, or `*`.
        name: String,
    },
}

/// Resources; `*` in a list is everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceRule {
    /// Verbs.
    pub verbs: Vec<String>,
    /// API groups.
    pub api_groups: Vec<String>,
    /// Resources, `resource/subresource` for subresources.
    pub resources: Vec<String>,
    /// Whether it matches requests without a namespace.
    pub cluster_scope: bool,
    /// Namespaces.
    pub namespaces: Vec<String>,
}

/// Paths that are no resources; `*` is everything, `/a/*` what is under `/a/`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NonResourceRule {
    /// Verbs.
    pub verbs: Vec<String>,
    /// Paths.
    pub paths: Vec<String>,
}
