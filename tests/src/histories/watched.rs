//! The judge of watchers: each was told every change of its scope after the state it began with, once, in order, with the kind that it is
//! for somebody who knows what this watcher was told, across all breaks; a bookmark is no promise about what was not told yet.

use std::collections::BTreeMap;

use super::VIOLATIONS_MAX;
use super::order::{Change, Changes};
use super::record::{Asked, Held, History, Kind, Sight, Told, Watched, is_end, is_within};

/// Everything that is wrong with what watchers were told, in words.
pub fn violations(history: &History) -> Vec<String> {
    // What contradicts itself is told by the judge by versions.
    let changes = Changes::of(history, &mut Vec::new());
    let mut found = Vec::new();
    for watched in &history.watched {
        Watcher { watched, changes: &changes, at: None, view: BTreeMap::new() }.judge(history, &mut found);
    }
    found.truncate(VIOLATIONS_MAX);
    found
}

struct Watcher<'a> {
    watched: &'a Watched,
    changes: &'a Changes<'a>,
    /// Up to which version it has seen everything.
    at: Option<u64>,
    /// What is there, for all that it was told.
    view: BTreeMap<&'a str, &'a Held>,
}

impl<'a> Watcher<'a> {
    fn judge(mut self, history: &'a History, found: &mut Vec<String>) {
        let number = self.watched.watcher;
        for (place, (_, sight)) in self.watched.sights.iter().enumerate() {
            let before = self.at;
            if let Err(why) = self.see(sight) {
                found.push(format!("{why}: watcher {number}, sight {place}: {sight:?}, after {before:?}"));
            }
        }
        let ended =
            self.watched.sights.iter().any(|(_, sight)| matches!(sight, Sight::Event(_, key, _) if is_end(key)));
        let listed = self.view.keys().any(|key| is_end(key));
        if !ended && !listed {
            found.push(format!("watch not ended: watcher {number} was never told of the last write, at {:?}", self.at));
        }
        for operation in
            history.operations.iter().filter(|operation| is_within(&operation.subject, &self.watched.scope))
        {
            let (Asked::Delete(_), Told::Removed(uid)) = (&operation.asked, &operation.told) else { continue };
            if let Some(held) = self.view.values().find(|held| held.uid == *uid) {
                found.push(format!("skipped event: watcher {number} still has {held:?} in the end: {operation}"));
            }
        }
    }

    fn see(&mut self, sight: &'a Sight) -> Result<(), String> {
        match sight {
            Sight::Broken => Ok(()),
            Sight::Expired => {
                self.at = None;
                Ok(())
            }
            Sight::Listed(version, items) => {
                self.at = Some(*version);
                self.view = items.iter().map(|(key, held)| (key.as_str(), held)).collect();
                Ok(())
            }
            Sight::Bookmark(version) => {
                let from = self.at.ok_or("bookmark without a state")?;
                if *version < from {
                    return Err(format!("bookmark went back to {version}"));
                }
                self.at = Some(*version);
                self.nothing_between("bookmark ahead of events", from, version + 1)
            }
            Sight::Event(kind, key, held) => self.event(*kind, key, held),
        }
    }

    fn event(&mut self, kind: Kind, key: &'a str, held: &'a Held) -> Result<(), String> {
        let from = self.at.ok_or("event without a state")?;
        if !is_within(key, &self.watched.scope) {
            return Err("event of another scope".to_owned());
        }
        if held.version <= from {
            return Err("reordered watch".to_owned());
        }
        self.at = Some(held.version);
        let known = match kind {
            Kind::Deleted => self.view.remove(key),
            Kind::Added | Kind::Modified => self.view.insert(key, held),
        };
        self.nothing_between("skipped event", from, held.version)?;
        match (kind, known) {
            (Kind::Added, None) => Ok(()),
            (Kind::Modified, Some(known)) if known.uid == held.uid => Ok(()),
            (Kind::Deleted, Some(known)) if (&known.uid, &known.value) == (&held.uid, &held.value) => Ok(()),
            (Kind::Deleted, Some(known)) => Err(format!("deletion with another state than the last, {known:?}")),
            (_, known) => Err(format!("event of the wrong kind, there was {known:?}")),
        }
    }

    fn nothing_between(&self, what: &str, after: u64, before: u64) -> Result<(), String> {
        match self.changes.between(&self.watched.scope, after, before) {
            None => Ok(()),
            Some((key, version, Change::Put(held))) => Err(format!("{what}: {key} became {held:?} at {version}")),
            Some((key, version, Change::Removed(_))) => Err(format!("{what}: {key} was removed at {version}")),
        }
    }
}
