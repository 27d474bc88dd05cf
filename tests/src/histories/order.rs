//! The judge by versions: they are the order of all changes, so everything that anybody was told has its place among them.
//!
//! It knows every change that anybody was told of (acknowledged writes, reads, lists, events), and of each when it was known first.
//! What is asked for later must be later.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound::{Excluded, Included};

use super::VIOLATIONS_MAX;
use super::record::{Asked, Guard, Held, History, Kind, Operation, Reading, Sight, Told, is_within};

/// Everything that is wrong with a history, in words.
pub fn violations(history: &History) -> Vec<String> {
    let mut found = Vec::new();
    let changes = Changes::of(history, &mut found);
    for operation in &history.operations {
        changes.judge(operation, &mut found);
    }
    for watched in &history.watched {
        for (at, sight) in &watched.sights {
            if let Sight::Listed(version, items) = sight {
                let who = format!("the list of watcher {}", watched.watcher);
                changes.judge_state(&who, &watched.scope, *version, items, *at, &mut found);
            }
        }
    }
    judge_times(history, &changes, &mut found);
    found.truncate(VIOLATIONS_MAX);
    found
}

/// A change of an object at one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It says this, and who it is.
    Put(Held),
    /// That uid is gone.
    Removed(String),
}

/// Every change that anybody was told of.
pub struct Changes<'a> {
    /// Of each object, by version.
    of_key: BTreeMap<&'a str, BTreeMap<u64, Change>>,
    /// The last version at which an object was certainly there.
    lives: HashMap<&'a str, u64>,
    /// When an object was removed, exactly.
    removals: HashMap<&'a str, u64>,
    /// Where a value was written.
    of_value: HashMap<&'a str, (u64, &'a str)>,
    writers: HashMap<&'a str, &'a Operation>,
    /// Who may have removed an object.
    removers: HashMap<&'a str, Vec<&'a Operation>>,
    newest: Newest,
}

impl<'a> Changes<'a> {
    /// All of a history; says what contradicts itself.
    pub fn of(history: &'a History, found: &mut Vec<String>) -> Self {
        let mut changes = Self {
            of_key: BTreeMap::new(),
            lives: HashMap::new(),
            removals: HashMap::new(),
            of_value: HashMap::new(),
            writers: HashMap::new(),
            removers: HashMap::new(),
            newest: Newest::of(history),
        };
        let mut keys: HashMap<u64, &'a str> = HashMap::new();
        for operation in &history.operations {
            match &operation.asked {
                Asked::Put(value, _) => drop(changes.writers.insert(value, operation)),
                Asked::Delete(_) if operation.may_have_changed() => {
                    changes.removers.entry(&operation.subject).or_default().push(operation);
                }
                _ => {}
            }
        }
        // What was there, and a version at which it certainly was: that of the list that it is in, or the newest that was known when
        // somebody asked for it.
        let mut states: Vec<(&'a str, &'a Held, u64)> = Vec::new();
        for operation in &history.operations {
            match &operation.told {
                Told::Held(held) => states.push((&operation.subject, held, changes.newest.at(operation.invoked))),
                Told::Listed(versions, items) => {
                    let version = versions.first().copied().unwrap_or(0);
                    states.extend(items.iter().map(|(key, held)| (key.as_str(), held, version)));
                }
                _ => {}
            }
        }
        for (_, sight) in history.watched.iter().flat_map(|watched| &watched.sights) {
            match sight {
                Sight::Listed(version, items) => {
                    states.extend(items.iter().map(|(key, held)| (key.as_str(), held, *version)));
                }
                Sight::Event(Kind::Added | Kind::Modified, key, held) => states.push((key, held, held.version)),
                Sight::Event(Kind::Deleted, key, held) => changes.removed(key, held, &mut keys, found),
                _ => {}
            }
        }
        for (key, held, there) in states {
            changes.put(key, held, &mut keys, found);
            let last = changes.lives.entry(&held.uid).or_default();
            *last = held.version.max(there).max(*last);
        }
        changes
    }

    fn put(&mut self, key: &'a str, held: &'a Held, keys: &mut HashMap<u64, &'a str>, found: &mut Vec<String>) {
        let version = held.version;
        let other = *keys.entry(version).or_insert(key);
        if other != key {
            found.push(format!("reused version: {version} is one of {other} and of {key}"));
        }
        let change = Change::Put(held.clone());
        let known = self.of_key.entry(key).or_default().entry(version).or_insert_with(|| change.clone());
        if *known != change {
            found.push(format!("reused version: {version} of {key} is {known:?} and {change:?}"));
        }
        let (first, place) = *self.of_value.entry(&held.value).or_insert((version, key));
        if (first, place) != (version, key) {
            let value = &held.value;
            found.push(format!("double apply: {value} was written to {place} at {first} and to {key} at {version}"));
        }
        match self.writers.get(held.value.as_str()) {
            Some(writer) if writer.subject == key && writer.may_have_changed() => {}
            Some(writer) => found.push(format!("a write without effect had one: {key} is {held:?} after {writer}")),
            None => found.push(format!("invented value: nobody wrote {held:?} to {key}")),
        }
    }

    fn removed(&mut self, key: &'a str, held: &'a Held, keys: &mut HashMap<u64, &'a str>, found: &mut Vec<String>) {
        let version = held.version;
        let other = *keys.entry(version).or_insert(key);
        let change = Change::Removed(held.uid.clone());
        let known = self.of_key.entry(key).or_default().entry(version).or_insert_with(|| change.clone());
        if other != key || *known != change {
            found.push(format!("reused version: {version} is {known:?} of {other} and {change:?} of {key}"));
        }
        let first = *self.removals.entry(&held.uid).or_insert(version);
        if first != version {
            found.push(format!("double apply: {key} {} was removed at {first} and at {version}", held.uid));
        }
        if !self.removers.get(key).is_some_and(|removers| removers.iter().any(|remover| may_remove(remover, held))) {
            found.push(format!("invented removal: nobody removed {key} {held:?}"));
        }
    }

    /// Changes of a scope or an object after a version and before another one.
    pub fn between(&self, subject: &str, after: u64, before: u64) -> Option<(&'a str, u64, &Change)> {
        let keys = self.of_key.iter().filter(|(key, _)| **key == subject || is_within(key, subject));
        let first = |(key, changes): (&&'a str, &'_ BTreeMap<u64, Change>)| {
            let first = changes.range((Excluded(after), Excluded(before))).next()?;
            Some((*key, *first.0))
        };
        if after >= before {
            return None;
        }
        let (key, version) = keys.filter_map(first).min_by_key(|(_, version)| *version)?;
        let change = self.of_key.get(key)?.get(&version)?;
        Some((key, version, change))
    }

    /// The last change of an object before a version.
    fn before(&self, key: &str, version: u64) -> Option<(u64, &Change)> {
        let changes = self.of_key.get(key)?;
        changes.range(..version).next_back().map(|(at, change)| (*at, change))
    }

    /// When it was removed, if anybody saw it.
    pub fn removal(&self, uid: &str) -> Option<u64> {
        self.removals.get(uid).copied()
    }

    /// Whether somebody may have removed an object after it was put and before a moment. If somebody was told so, it was he.
    fn may_be_removed(&self, key: &str, held: &Held, by: u64) -> bool {
        let put = self.writers.get(held.value.as_str()).map_or(0, |writer| writer.invoked);
        let removers = || self.removers.get(key).into_iter().flatten();
        let has_removed = |remover: &Operation| matches!(&remover.told, Told::Removed(uid) if *uid == held.uid);
        let is_known = removers().any(|remover| has_removed(remover));
        removers().any(|remover| {
            let is_he = if is_known { has_removed(remover) } else { may_remove(remover, held) };
            is_he && remover.invoked < by && remover.done() > put
        })
    }

    /// Whether somebody may have made it without being told so.
    fn may_be_created(&self, key: &str, by: u64) -> bool {
        self.writers.values().any(|writer| {
            let is_creation = matches!(writer.asked, Asked::Put(_, Guard::Absent));
            is_creation && writer.subject == key && writer.invoked < by && matches!(writer.told, Told::Unknown(_))
        })
    }

    /// What one answer says by itself.
    fn judge(&self, operation: &Operation, found: &mut Vec<String>) {
        match (&operation.asked, &operation.told) {
            (Asked::Put(value, guard), Told::Held(held)) => {
                if held.value != *value {
                    found.push(format!("another value: {operation}"));
                }
                self.judge_guard(operation, guard, held.version, &held.uid, found);
            }
            (Asked::Delete(guard), Told::Removed(uid)) => {
                if let Some(version) = self.removals.get(uid.as_str()) {
                    self.judge_guard(operation, guard, *version, uid, found);
                }
            }
            (Asked::List(_), Told::Listed(versions, items)) => {
                let Some(version) = versions.first() else { return };
                if versions.iter().any(|other| other != version) {
                    found.push(format!("torn list: its pages are of several versions: {operation}"));
                }
                let who = operation.to_string();
                self.judge_state(&who, &operation.subject, *version, items, operation.returned, found);
            }
            _ => {}
        }
    }

    /// A guarded write at this version came right behind what its guard names.
    fn judge_guard(&self, operation: &Operation, guard: &Guard, version: u64, uid: &str, found: &mut Vec<String>) {
        let key = operation.subject.as_str();
        let previous = self.before(key, version);
        let named = match guard {
            Guard::Version(named) => Some(*named),
            Guard::Value(value) => self.of_value.get(value.as_str()).map(|(named, _)| *named),
            _ => None,
        };
        let is_right = match (guard, previous) {
            (Guard::Version(_) | Guard::Value(_), Some((at, Change::Put(_)))) => named == Some(at),
            (Guard::Version(_) | Guard::Value(_), _) => false,
            (Guard::Absent, Some((_, Change::Put(held)))) => self.may_be_removed(key, held, operation.returned),
            (Guard::Absent, _) => true,
            (Guard::Present, Some((_, Change::Removed(removed)))) => {
                // Made again by somebody who was not told so, and seen by nobody.
                removed != uid && self.may_be_created(key, operation.returned)
            }
            (Guard::Present, _) => true,
            (Guard::Uid(uid), Some((_, Change::Put(held)))) => held.uid == *uid,
            (Guard::Uid(_), previous) => previous.is_none(),
        };
        if !is_right {
            found.push(format!("guard ignored: before {version} there was {previous:?}: {operation}"));
        }
    }

    /// A list is the state at its version.
    fn judge_state(
        &self,
        who: &str,
        scope: &str,
        version: u64,
        items: &BTreeMap<String, Held>,
        by: u64,
        found: &mut Vec<String>,
    ) {
        for (key, held) in items {
            if held.version > version {
                found.push(format!("torn list: {key} is of {} in the state of {version}: {who}", held.version));
            }
            if let Some((_, at, change)) = self.between(key, held.version, version + 1) {
                found.push(format!("torn list: {key} is of {}, at {at} came {change:?}: {who}", held.version));
            }
        }
        let absent = self.of_key.iter().filter(|(key, _)| is_within(key, scope) && !items.contains_key(**key));
        for (key, changes) in absent {
            let Some((at, Change::Put(held))) = changes.range((Included(0), Included(version))).next_back() else {
                continue;
            };
            let lived = self.lives.get(held.uid.as_str()).copied().unwrap_or(0);
            let removed = self.removals.get(held.uid.as_str()).copied();
            if lived >= version || removed.is_some_and(|removed| removed > version) {
                found.push(format!("torn list: {key} is not in it and was there from {at} to {lived}: {who}"));
            } else if !self.may_be_removed(key, held, by) {
                found.push(format!("lost write: {key} is gone, which was {held:?}, and nobody removed it: {who}"));
            }
        }
    }
}

/// The newest version that anybody was told of, by when.
struct Newest(Vec<(u64, u64)>);

impl Newest {
    fn of(history: &History) -> Self {
        let told = history.operations.iter().filter_map(|operation| {
            let version = match &operation.told {
                Told::Held(held) => held.version,
                Told::Listed(versions, _) => versions.iter().copied().max()?,
                _ => return None,
            };
            Some((operation.returned, version))
        });
        let seen = history.watched.iter().flat_map(|watched| &watched.sights).filter_map(|(at, sight)| {
            let version = match sight {
                Sight::Listed(version, _) | Sight::Bookmark(version) => *version,
                Sight::Event(_, _, held) => held.version,
                Sight::Broken | Sight::Expired => return None,
            };
            Some((*at, version))
        });
        let mut versions: Vec<_> = told.chain(seen).collect();
        versions.sort_unstable();
        let mut newest = 0;
        for (_, version) in &mut versions {
            newest = newest.max(*version);
            *version = newest;
        }
        Self(versions)
    }

    /// The newest that was told before a moment.
    fn at(&self, moment: u64) -> u64 {
        let told = self.0.partition_point(|(at, _)| *at < moment);
        told.checked_sub(1).map_or(0, |last| self.0[last].1)
    }
}

fn may_remove(operation: &Operation, held: &Held) -> bool {
    match (&operation.asked, &operation.told) {
        (_, Told::Removed(uid)) => *uid == held.uid,
        (Asked::Delete(Guard::Uid(uid)), _) => *uid == held.uid,
        _ => true,
    }
}

/// What is known of a moment: everything that was told before.
#[derive(Default)]
struct Known<'a> {
    of_key: HashMap<&'a str, &'a Held>,
    removed: HashMap<&'a str, u64>,
    /// The newest list of each server.
    of_server: HashMap<u64, u64>,
}

impl<'a> Known<'a> {
    fn held(&mut self, key: &'a str, held: &'a Held) {
        let known = self.of_key.entry(key).or_insert(held);
        if known.version < held.version {
            *known = held;
        }
    }

    fn learn(&mut self, operation: &'a Operation) {
        match &operation.told {
            Told::Held(held) => self.held(&operation.subject, held),
            Told::Removed(uid) => drop(self.removed.insert(uid, operation.returned)),
            Told::Listed(versions, items) => {
                let version = versions.iter().copied().max().unwrap_or(0);
                let of_server = self.of_server.entry(operation.server).or_default();
                *of_server = version.max(*of_server);
                items.iter().for_each(|(key, held)| self.held(key, held));
            }
            _ => {}
        }
    }

    fn see(&mut self, sight: &'a Sight) {
        match sight {
            Sight::Listed(_, items) => items.iter().for_each(|(key, held)| self.held(key, held)),
            Sight::Event(Kind::Added | Kind::Modified, key, held) => self.held(key, held),
            Sight::Event(Kind::Deleted, ..) | Sight::Bookmark(_) | Sight::Broken | Sight::Expired => {}
        }
    }
}

/// What is asked for after something was told is no older than that.
fn judge_times(history: &History, changes: &Changes<'_>, found: &mut Vec<String>) {
    let mut learned: Vec<(u64, Result<&Operation, &Sight>)> =
        history.operations.iter().map(|operation| (operation.returned, Ok(operation))).collect();
    let sights = history.watched.iter().flat_map(|watched| &watched.sights);
    learned.extend(sights.map(|(at, sight)| (*at, Err(sight))));
    learned.sort_by_key(|(at, _)| *at);
    let mut learned = learned.into_iter().peekable();
    let mut asked: Vec<&Operation> = history.operations.iter().collect();
    asked.sort_by_key(|operation| operation.invoked);
    let mut known = Known::default();
    for operation in asked {
        while let Some((_, what)) = learned.next_if(|(at, _)| *at < operation.invoked) {
            match what {
                Ok(told) => known.learn(told),
                Err(sight) => known.see(sight),
            }
        }
        judge_time(operation, &known, changes, found);
    }
}

fn judge_time(operation: &Operation, known: &Known<'_>, changes: &Changes<'_>, found: &mut Vec<String>) {
    let newest = changes.newest.at(operation.invoked);
    let of_key = known.of_key.get(operation.subject.as_str());
    let mut say = |what: &str, than: String| found.push(format!("{what}: {than} was told before: {operation}"));
    match (&operation.asked, &operation.told) {
        (Asked::Put(..), Told::Held(held)) if held.version <= newest => {
            say("reused version", newest.to_string());
        }
        (Asked::Get, Told::Held(held)) => {
            if let Some(newer) = of_key.filter(|newer| newer.version > held.version) {
                say("stale read", format!("{newer:?}"));
            }
            let writer = changes.writers.get(held.value.as_str());
            if let Some(writer) = writer.filter(|writer| writer.invoked > operation.returned) {
                say("read of the future", format!("nothing of {writer}"));
            }
        }
        (_, Told::Missing) => {
            if let Some(held) =
                of_key.filter(|held| !changes.may_be_removed(&operation.subject, held, operation.returned))
            {
                say("lost write", format!("{held:?}"));
            }
        }
        (Asked::List(reading), Told::Listed(versions, items)) => {
            let version = versions.first().copied().unwrap_or(0);
            let floor = match reading {
                Reading::Newest | Reading::Paged => newest,
                Reading::Any => known.of_server.get(&operation.server).copied().unwrap_or(0),
            };
            if version < floor {
                say("stale list", floor.to_string());
            }
            let back = items.values().find(|held| known.removed.contains_key(held.uid.as_str()));
            if let Some(held) = back.filter(|_| *reading != Reading::Any) {
                say("undone removal", format!("that {held:?} is removed"));
            }
        }
        _ => {}
    }
    if let Told::Held(held) = &operation.told
        && known.removed.contains_key(held.uid.as_str())
    {
        say("undone removal", format!("that {} is removed", held.uid));
    }
}
