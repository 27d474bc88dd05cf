//! Levels and flow schemas as they stand in the cluster, in plain words (upstream: `PriorityLevelConfiguration`, `FlowSchema`).
//!
//! Two levels and two schemas always hold, whatever the stored objects of their names say, and whether or not there are any:
//! without them requests of those who repair a cluster could be refused, and others could be lost.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The name of the level and of the schema of requests that never wait.
pub const EXEMPT: &str = "exempt";
/// The name of the level and of the schema of requests that no other schema means.
pub const CATCH_ALL: &str = "catch-all";
/// Who gets through whatever happens.
const GROUP_MASTERS: &str = "system:masters";
/// Everybody is in one of the two.
const GROUPS_OF_ALL: [&str; 2] = ["system:unauthenticated", "system:authenticated"];
const PRECEDENCE_EXEMPT: i32 = 1;
const PRECEDENCE_CATCH_ALL: i32 = 10_000;
const SHARES_CATCH_ALL: u32 = 5;

/// Everything that decides who waits for whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// The levels, by name.
    pub levels: Vec<Arc<Level>>,
    /// The schemas, by precedence and then by name.
    pub schemas: Vec<Arc<FlowSchema>>,
}

impl Configuration {
    /// Puts levels and schemas in order, of each name one, and puts right what must always hold.
    pub fn new(levels: Vec<Level>, schemas: Vec<FlowSchema>) -> Arc<Configuration> {
        let mut by_name: BTreeMap<String, Level> = BTreeMap::new();
        for mandatory in [Level::mandatory_exempt(), Level::mandatory_catch_all()] {
            by_name.insert(mandatory.name.clone(), mandatory);
        }
        for level in levels {
            let right = level.put_right();
            by_name.insert(right.name.clone(), right);
        }
        let mut schemas_by_name: BTreeMap<String, FlowSchema> = BTreeMap::new();
        for mandatory in [FlowSchema::mandatory_exempt(), FlowSchema::mandatory_catch_all()] {
            schemas_by_name.insert(mandatory.name.clone(), mandatory);
        }
        for schema in schemas {
            let right = schema.put_right();
            schemas_by_name.insert(right.name.clone(), right);
        }
        let mut schemas: Vec<Arc<FlowSchema>> = schemas_by_name.into_values().map(Arc::new).collect();
        schemas.sort_by(|a, b| by_precedence(a, b));
        Arc::new(Configuration { levels: by_name.into_values().map(Arc::new).collect(), schemas })
    }
}

/// The order in which schemas are asked.
pub(crate) fn by_precedence(a: &FlowSchema, b: &FlowSchema) -> std::cmp::Ordering {
    (a.precedence, &a.name).cmp(&(b.precedence, &b.name))
}

impl Level {
    /// The level of requests that never wait.
    pub fn mandatory_exempt() -> Level {
        let kind = LevelKind::Exempt;
        Level { name: EXEMPT.to_owned(), uid: String::new(), shares: 0, lendable_percent: 0, kind }
    }

    /// The level of what no other is for.
    pub fn mandatory_catch_all() -> Level {
        let kind = LevelKind::Limited { borrowing_limit_percent: None, overload: Overload::Reject };
        Level { name: CATCH_ALL.to_owned(), uid: String::new(), shares: SHARES_CATCH_ALL, lendable_percent: 0, kind }
    }

    /// A mandatory level as it must be; any other as it is. How much the exempt one lends is its operator's to say.
    fn put_right(self) -> Level {
        match self.name.as_str() {
            EXEMPT if self.kind == LevelKind::Exempt => self,
            EXEMPT => Level { uid: self.uid, ..Level::mandatory_exempt() },
            CATCH_ALL => Level { uid: self.uid, ..Level::mandatory_catch_all() },
            _ => self,
        }
    }
}

impl FlowSchema {
    /// The schema of those who get through whatever happens.
    pub fn mandatory_exempt() -> FlowSchema {
        FlowSchema {
            name: EXEMPT.to_owned(),
            uid: String::new(),
            precedence: PRECEDENCE_EXEMPT,
            level: EXEMPT.to_owned(),
            distinguisher: Distinguisher::None,
            rules: vec![PolicyRule::everything(&[GROUP_MASTERS])],
        }
    }

    /// The schema of what no other means.
    pub fn mandatory_catch_all() -> FlowSchema {
        FlowSchema {
            name: CATCH_ALL.to_owned(),
            uid: String::new(),
            precedence: PRECEDENCE_CATCH_ALL,
            level: CATCH_ALL.to_owned(),
            distinguisher: Distinguisher::ByUser,
            rules: vec![PolicyRule::everything(&GROUPS_OF_ALL)],
        }
    }

    fn put_right(self) -> FlowSchema {
        match self.name.as_str() {
            EXEMPT => FlowSchema { uid: self.uid, ..FlowSchema::mandatory_exempt() },
            CATCH_ALL => FlowSchema { uid: self.uid, ..FlowSchema::mandatory_catch_all() },
            _ => self,
        }
    }
}

impl PolicyRule {
    /// Whatever these groups ask for.
    fn everything(groups: &[&str]) -> PolicyRule {
        let all = || vec!["*".to_owned()];
        PolicyRule {
            subjects: groups.iter().map(|group| Subject::Group((*group).to_owned())).collect(),
            resource_rules: vec![ResourceRule {
                verbs: all(),
                api_groups: all(),
                resources: all(),
                cluster_scope: true,
                namespaces: all(),
            }],
            non_resource_rules: vec![NonResourceRule { verbs: all(), paths: all() }],
        }
    }
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
