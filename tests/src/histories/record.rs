//! A recorded history: what each client asked for, when, and what it was told, and the same of watchers. It is written as JSON lines, so
//! that one in which a violation was found can be judged again.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

/// An object, as far as it matters here. Every write writes a value that no other write writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its version.
    pub version: u64,
    /// Who it is.
    pub uid: String,
    /// What it says.
    pub value: String,
}

/// What must hold of an object for a write to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// It is not there.
    Absent,
    /// It is there.
    Present,
    /// It has this version.
    Version(u64),
    /// It has this value.
    Value(String),
    /// It has this uid.
    Uid(String),
}

impl Guard {
    /// Whether it holds of what is there.
    pub fn holds(&self, held: Option<&Held>) -> bool {
        match (self, held) {
            (Self::Absent, held) => held.is_none(),
            (_, None) => false,
            (Self::Present, Some(_)) => true,
            (Self::Version(version), Some(held)) => held.version == *version,
            (Self::Value(value), Some(held)) => held.value == *value,
            (Self::Uid(uid), Some(held)) => held.uid == *uid,
        }
    }
}

/// How a list was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Without a version: it shows everything that was acknowledged before it was asked for.
    Newest,
    /// In pages, the first of them without a version: all of them show the state of the first.
    Paged,
    /// With version 0: any state that there was, but none older than this server has shown in a list.
    Any,
}

/// What a client asked for. The subject of a list is a scope (`configmaps`, `configmaps/harbor-a`), that of everything else an object
/// (`configmaps/harbor-a/h0`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// To read one object.
    Get,
    /// To read all objects of a scope.
    List(Reading),
    /// To give an object this value.
    Put(String, Guard),
    /// To remove an object.
    Delete(Guard),
}

/// What it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// This is what is there, for a write: now.
    Held(Held),
    /// The object of this uid is removed.
    Removed(String),
    /// It is not there.
    Missing,
    /// It is there, and the guard does not hold.
    Unmet,
    /// The state of a scope at a version. Pages are told with the version of each; they must be the same.
    Listed(Vec<u64>, BTreeMap<String, Held>),
    /// Not now, and nothing has changed.
    Refused(String),
    /// Nothing, or that nobody knows.
    Unknown(String),
}

/// One question and its answer. Times are microseconds since the round began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Who asked.
    pub client: u64,
    /// Which server.
    pub server: u64,
    /// What about.
    pub subject: String,
    /// What.
    pub asked: Asked,
    /// The answer.
    pub told: Told,
    /// When it was about to be sent.
    pub invoked: u64,
    /// When the answer was there, or nobody waited for it any more.
    pub returned: u64,
}

impl Operation {
    /// Whether it may have changed its subject.
    pub fn may_have_changed(&self) -> bool {
        matches!(self.asked, Asked::Put(..) | Asked::Delete(_))
            && matches!(self.told, Told::Held(_) | Told::Removed(_) | Told::Unknown(_))
    }

    /// When its effect is there at the latest.
    pub fn done(&self) -> u64 {
        if matches!(self.told, Told::Unknown(_)) { u64::MAX } else { self.returned }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, server, subject, asked, told, invoked, returned } = self;
        write!(formatter, "client {client} at server {server}, {invoked}..{returned} us: {asked:?} {subject} -> ")?;
        match told {
            Told::Listed(versions, items) => write!(formatter, "{} items at {versions:?}", items.len()),
            other => write!(formatter, "{other:?}"),
        }
    }
}

/// What happens in an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `ADDED`.
    Added,
    /// `MODIFIED`.
    Modified,
    /// `DELETED`.
    Deleted,
}

impl Kind {
    /// As it stands on the wire.
    pub fn of(text: &str) -> Option<Self> {
        [Self::Added, Self::Modified, Self::Deleted].into_iter().find(|kind| kind.name() == text)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// One thing that a watcher was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// It listed: a state to begin with.
    Listed(u64, BTreeMap<String, Held>),
    /// A change. A deletion has the version at which it happened.
    Event(Kind, String, Held),
    /// That it has seen everything up to a version.
    Bookmark(u64),
    /// The watch ended; the next sight is of one that was asked for from the version of the last.
    Broken,
    /// Its version is gone; it begins again.
    Expired,
}

/// What one watcher saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Its number.
    pub watcher: u64,
    /// What it watched.
    pub scope: String,
    /// What it saw, and when.
    pub sights: Vec<(u64, Sight)>,
}

/// All of a round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// What clients asked.
    pub operations: Vec<Operation>,
    /// What watchers saw.
    pub watched: Vec<Watched>,
}

/// Whether an object is of a scope.
pub fn is_within(key: &str, scope: &str) -> bool {
    key.strip_prefix(scope).is_some_and(|rest| rest.starts_with('/'))
}

/// What the name of an object that ends a scope begins with: a watcher that has seen it has seen everything.
pub const END: &str = "end-";

/// Whether an object ends its scope.
pub fn is_end(key: &str) -> bool {
    key.rsplit('/').next().is_some_and(|name| name.starts_with(END))
}

impl History {
    /// As JSON lines.
    pub fn to_lines(&self) -> String {
        let mut lines = String::new();
        for operation in &self.operations {
            lines.push_str(&operation_to_json(operation).to_string());
            lines.push('\n');
        }
        for watched in &self.watched {
            let sights: Vec<_> = watched.sights.iter().map(|(at, sight)| json!([at, sight_to_json(sight)])).collect();
            let line = json!({"watcher": watched.watcher, "scope": watched.scope, "sights": sights});
            lines.push_str(&line.to_string());
            lines.push('\n');
        }
        lines
    }

    /// From JSON lines.
    pub fn from_lines(lines: &str) -> Result<Self> {
        let mut history = Self::default();
        for (number, line) in lines.lines().enumerate() {
            let context = || format!("line {}", number + 1);
            let line: Value = serde_json::from_str(line).with_context(context)?;
            if line["watcher"].is_u64() {
                history.watched.push(watched_from_json(&line).with_context(context)?);
            } else {
                history.operations.push(operation_from_json(&line).with_context(context)?);
            }
        }
        Ok(history)
    }
}

fn held_to_json(held: &Held) -> Value {
    json!([held.version, held.uid, held.value])
}

fn items_to_json(items: &BTreeMap<String, Held>) -> Value {
    items.iter().map(|(key, held)| (key.clone(), held_to_json(held))).collect()
}

fn guard_to_json(guard: &Guard) -> Value {
    match guard {
        Guard::Absent => json!("absent"),
        Guard::Present => json!("present"),
        Guard::Version(version) => json!({"version": version}),
        Guard::Value(value) => json!({"value": value}),
        Guard::Uid(uid) => json!({"uid": uid}),
    }
}

fn operation_to_json(operation: &Operation) -> Value {
    let asked = match &operation.asked {
        Asked::Get => json!(["get"]),
        Asked::List(Reading::Newest) => json!(["list", "newest"]),
        Asked::List(Reading::Paged) => json!(["list", "paged"]),
        Asked::List(Reading::Any) => json!(["list", "any"]),
        Asked::Put(value, guard) => json!(["put", value, guard_to_json(guard)]),
        Asked::Delete(guard) => json!(["delete", guard_to_json(guard)]),
    };
    let told = match &operation.told {
        Told::Held(held) => json!(["held", held_to_json(held)]),
        Told::Removed(uid) => json!(["removed", uid]),
        Told::Missing => json!(["missing"]),
        Told::Unmet => json!(["unmet"]),
        Told::Listed(versions, items) => json!(["listed", versions, items_to_json(items)]),
        Told::Refused(why) => json!(["refused", why]),
        Told::Unknown(why) => json!(["unknown", why]),
    };
    json!({
        "client": operation.client, "server": operation.server, "subject": operation.subject, "asked": asked, "told": told,
        "invoked": operation.invoked, "returned": operation.returned,
    })
}

fn sight_to_json(sight: &Sight) -> Value {
    match sight {
        Sight::Listed(version, items) => json!(["listed", version, items_to_json(items)]),
        Sight::Event(kind, key, held) => json!([kind.name(), key, held_to_json(held)]),
        Sight::Bookmark(version) => json!(["bookmark", version]),
        Sight::Broken => json!(["broken"]),
        Sight::Expired => json!(["expired"]),
    }
}

fn number(value: &Value) -> Result<u64> {
    value.as_u64().with_context(|| format!("not a number: {value}"))
}

fn text(value: &Value) -> Result<String> {
    Ok(value.as_str().with_context(|| format!("not a text: {value}"))?.to_owned())
}

fn held_from_json(value: &Value) -> Result<Held> {
    Ok(Held { version: number(&value[0])?, uid: text(&value[1])?, value: text(&value[2])? })
}

fn items_from_json(value: &Value) -> Result<BTreeMap<String, Held>> {
    let items = value.as_object().with_context(|| format!("no items: {value}"))?;
    items.iter().map(|(key, held)| Ok((key.clone(), held_from_json(held)?))).collect()
}

fn guard_from_json(value: &Value) -> Result<Guard> {
    Ok(match value.as_str() {
        Some("absent") => Guard::Absent,
        Some("present") => Guard::Present,
        _ if value["version"].is_u64() => Guard::Version(number(&value["version"])?),
        _ if value["value"].is_string() => Guard::Value(text(&value["value"])?),
        _ if value["uid"].is_string() => Guard::Uid(text(&value["uid"])?),
        _ => bail!("not a guard: {value}"),
    })
}

fn operation_from_json(line: &Value) -> Result<Operation> {
    let (asked, told) = (&line["asked"], &line["told"]);
    let asked = match (asked[0].as_str(), asked[1].as_str()) {
        (Some("get"), _) => Asked::Get,
        (Some("list"), Some("newest")) => Asked::List(Reading::Newest),
        (Some("list"), Some("paged")) => Asked::List(Reading::Paged),
        (Some("list"), Some("any")) => Asked::List(Reading::Any),
        (Some("put"), Some(value)) => Asked::Put(value.to_owned(), guard_from_json(&asked[2])?),
        (Some("delete"), _) => Asked::Delete(guard_from_json(&asked[1])?),
        _ => bail!("not a question: {asked}"),
    };
    let told = match told[0].as_str() {
        Some("held") => Told::Held(held_from_json(&told[1])?),
        Some("removed") => Told::Removed(text(&told[1])?),
        Some("missing") => Told::Missing,
        Some("unmet") => Told::Unmet,
        Some("listed") => {
            let versions = told[1].as_array().into_iter().flatten().map(number).collect::<Result<_>>()?;
            Told::Listed(versions, items_from_json(&told[2])?)
        }
        Some("refused") => Told::Refused(text(&told[1])?),
        Some("unknown") => Told::Unknown(text(&told[1])?),
        _ => bail!("not an answer: {told}"),
    };
    let (client, server) = (number(&line["client"])?, number(&line["server"])?);
    let (invoked, returned) = (number(&line["invoked"])?, number(&line["returned"])?);
    Ok(Operation { client, server, subject: text(&line["subject"])?, asked, told, invoked, returned })
}

fn watched_from_json(line: &Value) -> Result<Watched> {
    let sight = |pair: &Value| {
        let (at, sight) = (number(&pair[0])?, &pair[1]);
        let sight = match sight[0].as_str() {
            Some("listed") => Sight::Listed(number(&sight[1])?, items_from_json(&sight[2])?),
            Some("bookmark") => Sight::Bookmark(number(&sight[1])?),
            Some("broken") => Sight::Broken,
            Some("expired") => Sight::Expired,
            other => {
                let kind = other.and_then(Kind::of).with_context(|| format!("not a sight: {sight}"))?;
                Sight::Event(kind, text(&sight[1])?, held_from_json(&sight[2])?)
            }
        };
        Ok((at, sight))
    };
    let sights = line["sights"].as_array().into_iter().flatten().map(sight).collect::<Result<_>>()?;
    Ok(Watched { watcher: number(&line["watcher"])?, scope: text(&line["scope"])?, sights })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_history_is_read_as_it_was_written() {
        let held = |version| Held { version, uid: "u".to_owned(), value: format!("v{version}") };
        let operation = |asked: Asked, told: Told| {
            let subject = "configmaps/a/h0".to_owned();
            Operation { client: 1, server: 0, subject, asked, told, invoked: 3, returned: 9 }
        };
        let items = BTreeMap::from([("configmaps/a/h0".to_owned(), held(4))]);
        let operations = vec![
            operation(Asked::Get, Told::Missing),
            operation(Asked::List(Reading::Newest), Told::Listed(vec![4], items.clone())),
            operation(Asked::List(Reading::Paged), Told::Listed(vec![4, 4], items.clone())),
            operation(Asked::List(Reading::Any), Told::Refused("r".to_owned())),
            operation(Asked::Put("v5".to_owned(), Guard::Absent), Told::Held(held(5))),
            operation(Asked::Put("v6".to_owned(), Guard::Version(5)), Told::Unmet),
            operation(Asked::Put("v7".to_owned(), Guard::Value("v5".to_owned())), Told::Unknown("u".to_owned())),
            operation(Asked::Delete(Guard::Present), Told::Removed("u".to_owned())),
            operation(Asked::Delete(Guard::Uid("u".to_owned())), Told::Missing),
        ];
        let event = |kind| Sight::Event(kind, "configmaps/a/h0".to_owned(), held(5));
        let sights = [
            Sight::Listed(4, items),
            event(Kind::Added),
            event(Kind::Modified),
            event(Kind::Deleted),
            Sight::Bookmark(6),
            Sight::Broken,
            Sight::Expired,
        ];
        let sights = (1..).zip(sights).collect();
        let watched = vec![Watched { watcher: 2, scope: "configmaps".to_owned(), sights }];
        let history = History { operations, watched };
        assert_eq!(History::from_lines(&history.to_lines()).unwrap(), history);
        for bad in ["{", "{}", r#"{"watcher":1,"scope":"a","sights":[[1,["SHOWN"]]]}"#] {
            let error = History::from_lines(bad).unwrap_err();
            assert!(format!("{error:#}").contains("line 1"), "{error:#}");
        }
    }
}
