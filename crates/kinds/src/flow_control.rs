//! The levels of priority and the flow schemas that every cluster begins with (upstream: `flowcontrol/bootstrap`, KEP-1040), as a table.
//!
//! `facts/flow_control.facts` was written from what a 1.36 server serves right after its start:
//!
//! ```text
//! level exempt shares=0 lend=0 exempt
//! level catch-all shares=5 lend=0 reject
//! level system shares=30 lend=33 queues=64 hand=6 length=50
//! schema system-node-high level=node-high precedence=400 by=ByUser
//!  Group system:nodes
//!  ServiceAccount kube-system/*
//!  * | core | nodes,nodes/status | cluster,*
//!  get | - | /healthz
//! ```
//!
//! Subjects and groups are written as in the bootstrap policy. The last column of a rule is where it holds: `cluster` for objects without
//! a namespace, and namespaces.

pub mod flow_schema;
mod mandatory;
pub mod priority_level_configuration;

use std::collections::HashSet;
use std::sync::OnceLock;

use thiserror::Error;

use crate::bootstrap_policy::{Subject, list};
use crate::vocabulary::{Errors, Path};

const TABLE: &str = include_str!("../facts/flow_control.facts");

/// What holds of objects without a namespace, in the last column of a rule.
const SCOPE_CLUSTER: &str = "cluster";

/// The level whose requests need no seat, and the schema of its requests.
const EXEMPT: &str = "exempt";

/// Levels and schemas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowControl {
    /// By name.
    pub levels: Vec<Level>,
    /// By precedence.
    pub schemas: Vec<FlowSchema>,
}

/// A level of priority: requests that share seats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    /// Its name.
    pub name: &'static str,
    /// Its part of all seats, in relation to the others'.
    pub shares: u32,
    /// Percent of its seats that others may have while it does not need them.
    pub lendable_percent: u32,
    /// What happens to a request that finds no seat.
    pub overload: Overload,
}

/// What happens to a request that finds no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overload {
    /// It needs none.
    Exempt,
    /// It is refused.
    Reject,
    /// It waits.
    Queue {
        /// How many queues there are.
        queues: u32,
        /// Among how many of them one flow is dealt.
        hand_size: u32,
        /// How many requests wait in one.
        queue_len_max: u32,
    },
}

/// Which requests go to which level.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowSchema {
    /// Its name.
    pub name: &'static str,
    /// The level of its requests.
    pub level: &'static str,
    /// The lower one wins.
    pub precedence: u32,
    /// What tells its flows apart: `ByUser`, `ByNamespace`, or nothing.
    pub distinguisher: &'static str,
    /// Whose requests.
    pub subjects: Vec<Subject>,
    /// Requests for objects.
    pub resources: Vec<ResourceRule>,
    /// Requests for anything else.
    pub paths: Vec<PathRule>,
}

/// Requests for objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceRule {
    /// Verbs.
    pub verbs: Vec<&'static str>,
    /// API groups; that without a name is empty.
    pub groups: Vec<&'static str>,
    /// Resources, with their subresources as `nodes/status`.
    pub resources: Vec<&'static str>,
    /// Whether it holds of objects without a namespace.
    pub is_cluster_scoped: bool,
    /// The namespaces in which it holds.
    pub namespaces: Vec<&'static str>,
}

/// Requests for anything but objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathRule {
    /// Verbs.
    pub verbs: Vec<&'static str>,
    /// Paths; a `*` at the end stands for any rest.
    pub paths: Vec<&'static str>,
}

/// Why a table cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FlowControlError {
    /// A line begins nothing that is known.
    #[error("line {0} of the flow control table begins neither a level nor a schema")]
    UnknownHead(usize),
    /// A line that belongs to a schema is neither a subject nor a rule.
    #[error("line {0} of the flow control table is neither a subject nor a rule")]
    MalformedLine(usize),
    /// A line belongs to no schema.
    #[error("line {0} of the flow control table belongs to no schema")]
    Orphan(usize),
}

/// The levels and schemas of 1.36, read on first use.
pub fn flow_control() -> Result<&'static FlowControl, FlowControlError> {
    static READ: OnceLock<Result<FlowControl, FlowControlError>> = OnceLock::new();
    READ.get_or_init(|| FlowControl::load(TABLE)).as_ref().map_err(Clone::clone)
}

impl FlowControl {
    /// Reads a table.
    pub fn load(table: &'static str) -> Result<FlowControl, FlowControlError> {
        let mut read = FlowControl::default();
        let mut is_in_schema = false;
        for (number, line) in (1..).zip(table.lines()) {
            if let Some(line) = line.strip_prefix(' ') {
                let schema = read.schemas.last_mut().filter(|_| is_in_schema);
                let schema = schema.ok_or(FlowControlError::Orphan(number))?;
                schema.add(line).ok_or(FlowControlError::MalformedLine(number))?;
                continue;
            }
            let unknown = FlowControlError::UnknownHead(number);
            let (kind, rest) = line.split_once(' ').ok_or(unknown.clone())?;
            is_in_schema = kind == "schema";
            match kind {
                "level" => read.levels.push(Level::read(rest).ok_or(unknown)?),
                "schema" => read.schemas.push(FlowSchema::read(rest).ok_or(unknown)?),
                _ => return Err(unknown),
            }
        }
        Ok(read)
    }
}

/// One condition of each type (both kinds have their own struct for them).
fn conditions<'t>(types: impl Iterator<Item = &'t str>, errors: &mut Errors) {
    let (list, mut seen) = (Path::new("status.conditions"), HashSet::new());
    for (index, one) in types.enumerate() {
        let at = list.index(index);
        if !seen.insert(one) {
            errors.duplicate(&at.field("type"), one);
        }
        if one.is_empty() {
            errors.required(&at.field("type"), "must not be empty");
        }
    }
}

/// The value of the next word, which is `key=value`.
fn value<'a>(words: &mut impl Iterator<Item = &'a str>, key: &str) -> Option<&'a str> {
    words.next()?.strip_prefix(key)?.strip_prefix('=').filter(|value| !value.is_empty())
}

fn number<'a>(words: &mut impl Iterator<Item = &'a str>, key: &str) -> Option<u32> {
    value(words, key)?.parse().ok()
}

impl Level {
    fn read(line: &'static str) -> Option<Level> {
        let mut words = line.split(' ').peekable();
        let name = words.next().filter(|name| !name.is_empty())?;
        let (shares, lendable_percent) = (number(&mut words, "shares")?, number(&mut words, "lend")?);
        let overload = match *words.peek()? {
            "exempt" => words.next().map(|_| Overload::Exempt),
            "reject" => words.next().map(|_| Overload::Reject),
            _ => Some(Overload::Queue {
                queues: number(&mut words, "queues")?,
                hand_size: number(&mut words, "hand")?,
                queue_len_max: number(&mut words, "length")?,
            }),
        }?;
        words.next().is_none().then_some(Level { name, shares, lendable_percent, overload })
    }
}

impl FlowSchema {
    fn read(line: &'static str) -> Option<FlowSchema> {
        let mut words = line.split(' ').peekable();
        let name = words.next().filter(|name| !name.is_empty())?;
        let (level, precedence) = (value(&mut words, "level")?, number(&mut words, "precedence")?);
        let distinguisher = if words.peek().is_some() { value(&mut words, "by")? } else { "" };
        words.next().is_none().then(|| FlowSchema { name, level, precedence, distinguisher, ..FlowSchema::default() })
    }

    /// Adds a subject or a rule.
    fn add(&mut self, line: &'static str) -> Option<()> {
        let columns: Vec<&str> = line.split(" | ").collect();
        match columns[..] {
            [subject] => self.subjects.push(Subject::read(subject)?),
            [verbs, "-", paths] => self.paths.push(PathRule { verbs: list(verbs)?, paths: list(paths)? }),
            [verbs, groups, resources, scopes] => {
                let groups = list(groups)?.into_iter().map(|group| if group == "core" { "" } else { group }).collect();
                let mut namespaces = list(scopes)?;
                let is_cluster_scoped = namespaces.first() == Some(&SCOPE_CLUSTER);
                if is_cluster_scoped {
                    namespaces.remove(0);
                }
                let (verbs, resources) = (list(verbs)?, list(resources)?);
                self.resources.push(ResourceRule { verbs, groups, resources, is_cluster_scoped, namespaces });
            }
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_table_has_what_a_cluster_begins_with() {
        let read = flow_control().unwrap();
        let levels: BTreeSet<&str> = read.levels.iter().map(|level| level.name).collect();
        let schemas: BTreeSet<&str> = read.schemas.iter().map(|schema| schema.name).collect();
        assert_eq!((read.levels.len(), levels.len()), (8, 8));
        assert_eq!((read.schemas.len(), schemas.len()), (11, 11));
        for schema in &read.schemas {
            assert!(levels.contains(schema.level), "{schema:?}");
            assert!(!schema.subjects.is_empty(), "{schema:?}");
            assert!(!schema.resources.is_empty() || !schema.paths.is_empty(), "{schema:?}");
            assert!(["", "ByUser", "ByNamespace"].contains(&schema.distinguisher), "{schema:?}");
        }
        let precedences: Vec<u32> = read.schemas.iter().map(|schema| schema.precedence).collect();
        assert!(precedences.is_sorted(), "{precedences:?}");
        let exempt: Vec<&str> =
            read.schemas.iter().filter(|schema| schema.level == "exempt").map(|schema| schema.name).collect();
        assert_eq!(exempt, ["exempt", "probes"]);
    }

    #[test]
    fn tables_are_read() {
        let check = |table: &'static str, expected: Result<FlowControl, FlowControlError>| {
            assert_eq!(FlowControl::load(table), expected, "{table}");
        };
        let level = |overload| Level { name: "a", shares: 3, lendable_percent: 40, overload };
        let with_level = |overload| Ok(FlowControl { levels: vec![level(overload)], schemas: Vec::new() });
        check("", Ok(FlowControl::default()));
        check("level a shares=3 lend=40 exempt", with_level(Overload::Exempt));
        check("level a shares=3 lend=40 reject", with_level(Overload::Reject));
        let queue = Overload::Queue { queues: 64, hand_size: 6, queue_len_max: 50 };
        check("level a shares=3 lend=40 queues=64 hand=6 length=50", with_level(queue));
        let schema = FlowSchema { name: "s", level: "a", precedence: 5, ..FlowSchema::default() };
        let with_schema = |schema: FlowSchema| Ok(FlowControl { levels: Vec::new(), schemas: vec![schema] });
        check("schema s level=a precedence=5", with_schema(schema.clone()));
        let by_user = FlowSchema { distinguisher: "ByUser", ..schema.clone() };
        check("schema s level=a precedence=5 by=ByUser", with_schema(by_user));
        let rule = ResourceRule {
            verbs: vec!["get"],
            groups: vec!["", "g"],
            resources: vec!["nodes/status"],
            is_cluster_scoped: true,
            namespaces: vec!["*"],
        };
        let paths = vec![PathRule { verbs: vec!["*"], paths: vec!["/a", "/b"] }];
        let resources = vec![rule.clone(), ResourceRule { is_cluster_scoped: false, ..rule }];
        let filled = FlowSchema { subjects: vec![Subject::Group("g")], resources, paths, ..schema };
        check(
            "schema s level=a precedence=5\n Group g\n get | core,g | nodes/status | cluster,*\n get | core,g | nodes/status | *\n * | - | /a,/b",
            with_schema(filled),
        );
        for head in [
            "level",
            "level ",
            "level a",
            "level a shares=x lend=1 reject",
            "level a shares=1 lend=1",
            "level a shares=1 lend=1 refuse",
            "level a shares=1 lend=1 reject x",
            "level a shares=1 lend=1 queues=1 hand=1",
            "schema s level=a",
            "schema s level= precedence=1",
            "schema s level=a precedence=1 by=",
            "schema s level=a precedence=1 by=ByUser x",
            "other a",
        ] {
            check(head, Err(FlowControlError::UnknownHead(1)));
        }
        for line in
            [" a", " User", " get | core", " get | core | pods", " get, | core | pods | *", " a | b | c | d | e"]
        {
            let table = Box::leak(format!("schema s level=a precedence=1\n{line}").into_boxed_str());
            check(table, Err(FlowControlError::MalformedLine(2)));
        }
        check(" User a", Err(FlowControlError::Orphan(1)));
        check("level a shares=1 lend=1 reject\n User a", Err(FlowControlError::Orphan(2)));
        check(
            "schema s level=a precedence=1\nlevel a shares=1 lend=1 reject\n User a",
            Err(FlowControlError::Orphan(3)),
        );
    }
}
