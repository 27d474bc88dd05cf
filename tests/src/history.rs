//! The history of a store, as its writers were told it, and what each observer must have seen of it: every change that concerns its
//! selection, in order, once, with the acknowledged body.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::object::{self, Part, Seen};
use crate::reflector::Entry;

/// What a writer was told.
#[derive(Clone, Debug)]
pub enum Acknowledged {
    /// The object that a write answered with.
    Put(Value),
    /// The uid of the object that a write removed, and the versions between which that happened: what the same writer was told last
    /// before.
    Removed {
        /// Of the object.
        uid: String,
        /// An older version.
        after: u64,
    },
}

/// An object as it was at one version.
#[derive(Debug)]
struct State {
    labels: BTreeMap<String, String>,
    uid: String,
    whole: u64,
    metadata: u64,
    core: u64,
}

impl State {
    fn of(object: &Value) -> Self {
        let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
        let labels = labels.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()));
        let digest = |part| object::digest(&mut object.clone(), part);
        Self {
            labels: labels.collect(),
            uid: object["metadata"]["uid"].as_str().unwrap_or_default().to_owned(),
            whole: digest(Part::Whole),
            metadata: digest(Part::Metadata),
            core: digest(Part::Core),
        }
    }

    fn digest(&self, part: Part) -> u64 {
        match part {
            Part::Whole => self.whole,
            Part::Metadata => self.metadata,
            Part::Core => self.core,
        }
    }
}

/// One change of one object.
#[derive(Debug)]
struct Change {
    key: String,
    previous: Option<Arc<State>>,
    current: Option<Arc<State>>,
}

/// Which labels an observer asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labels {
    /// All.
    Any,
    /// `name=value`.
    Equal(&'static str, &'static str),
    /// `name!=value`, which those without it fulfil too.
    Unequal(&'static str, &'static str),
    /// `name in (values)`.
    In(&'static str, &'static [&'static str]),
    /// `name`.
    Exists(&'static str),
    /// `!name`.
    Absent(&'static str),
}

impl Labels {
    fn matches(self, labels: &BTreeMap<String, String>) -> bool {
        let value = |name: &str| labels.get(name).map(String::as_str);
        match self {
            Self::Any => true,
            Self::Equal(name, wanted) => value(name) == Some(wanted),
            Self::Unequal(name, unwanted) => value(name) != Some(unwanted),
            Self::In(name, wanted) => value(name).is_some_and(|value| wanted.contains(&value)),
            Self::Exists(name) => value(name).is_some(),
            Self::Absent(name) => value(name).is_none(),
        }
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => Ok(()),
            Self::Equal(name, value) => write!(formatter, "labelSelector={name}%3D{value}"),
            Self::Unequal(name, value) => write!(formatter, "labelSelector={name}%21%3D{value}"),
            Self::In(name, values) => write!(formatter, "labelSelector={name}+in+%28{}%29", values.join("%2C")),
            Self::Exists(name) => write!(formatter, "labelSelector={name}"),
            Self::Absent(name) => write!(formatter, "labelSelector=%21{name}"),
        }
    }
}

/// What an observer asked for.
#[derive(Clone, Debug)]
pub struct Selection {
    /// One namespace, or all.
    pub namespace: Option<String>,
    /// One name, or all.
    pub name: Option<String>,
    /// The labels.
    pub labels: Labels,
}

impl Selection {
    fn matches(&self, key: &str, state: Option<&Arc<State>>) -> bool {
        let Some(((namespace, name), state)) = key.split_once('/').zip(state) else { return false };
        self.namespace.as_deref().is_none_or(|wanted| wanted == namespace)
            && self.name.as_deref().is_none_or(|wanted| wanted == name)
            && self.labels.matches(&state.labels)
    }

    /// What an observer with this selection is told about a change.
    fn shown(&self, version: u64, change: &Change, part: Part) -> Option<(&'static str, Seen)> {
        let current = change.current.as_ref().filter(|state| self.matches(&change.key, Some(state)));
        let previous = change.previous.as_ref().filter(|state| self.matches(&change.key, Some(state)));
        let (kind, state) = match (previous, current) {
            (None, Some(state)) => ("ADDED", state),
            (Some(_), Some(state)) => ("MODIFIED", state),
            (Some(state), None) => ("DELETED", state),
            (None, None) => return None,
        };
        Some((kind, seen(&change.key, version, state, part)))
    }
}

fn seen(key: &str, version: u64, state: &State, part: Part) -> Seen {
    let is_marked = state.labels.contains_key(object::END_MARK);
    Seen { key: key.to_owned(), version, digest: state.digest(part), is_marked }
}

/// Every change, by its version.
#[derive(Debug)]
pub struct History {
    changes: BTreeMap<u64, Change>,
}

impl History {
    /// Joins what the writers were told with what one observer saw who asked for everything in whole from before the first write. They
    /// must agree: the writers know no version of a removal, and the observer knows nothing that nobody wrote.
    pub fn new(acknowledged: Vec<Acknowledged>, reference: &[Entry]) -> Result<Self> {
        let mut puts: BTreeMap<u64, (String, Arc<State>)> = BTreeMap::new();
        let mut removed = BTreeMap::new();
        for told in acknowledged {
            match told {
                Acknowledged::Put(object) => {
                    let (version, key, state) = (object::version(&object)?, object::key(&object)?, State::of(&object));
                    let is_new =
                        puts.get(&version).is_none_or(|(other, held)| *other == key && held.whole == state.whole);
                    ensure!(
                        is_new,
                        "version {version} was told for two states: {key} {state:?} and {:?}",
                        puts[&version]
                    );
                    puts.insert(version, (key, Arc::new(state)));
                }
                Acknowledged::Removed { uid, after } => {
                    // Two may remove what waits for its finalizers, and both be told so.
                    removed.entry(uid).and_modify(|held: &mut u64| *held = after.min(*held)).or_insert(after);
                }
            }
        }
        let mut history = Self { changes: BTreeMap::new() };
        let mut current: BTreeMap<String, Arc<State>> = BTreeMap::new();
        let events = reference.iter().filter_map(|entry| match entry {
            Entry::Event { kind, object } => Some((kind.as_str(), object)),
            _ => None,
        });
        for (kind, seen) in events {
            let previous = current.remove(&seen.key);
            let change = if kind == "DELETED" {
                let held = previous.as_ref().with_context(|| format!("{seen:?} was deleted and not there"))?;
                let after = removed.remove(&held.uid).with_context(|| format!("nobody deleted {seen:?}"))?;
                ensure!(seen.version > after, "{seen:?} was deleted before {after}, which its writer knew");
                Change { key: seen.key.clone(), previous, current: None }
            } else {
                let (key, state) = puts.remove(&seen.version).with_context(|| format!("nobody was told {seen:?}"))?;
                ensure!(key == seen.key, "{seen:?} is {key} for its writer");
                current.insert(key.clone(), Arc::clone(&state));
                Change { key, previous, current: Some(state) }
            };
            history.changes.insert(seen.version, change);
        }
        ensure!(puts.is_empty(), "told and never seen: {puts:?}");
        ensure!(removed.is_empty(), "told as deleted and never seen so: {removed:?}");
        Ok(history)
    }

    /// How many changes there are.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// What was there at a version.
    fn state_at(&self, version: u64, selection: &Selection, part: Part) -> BTreeMap<String, Seen> {
        let mut state = BTreeMap::new();
        for (at, change) in self.changes.range(..=version) {
            let current = change.current.as_ref().filter(|current| selection.matches(&change.key, Some(current)));
            match current {
                Some(current) => state.insert(change.key.clone(), seen(&change.key, *at, current, part)),
                None => state.remove(&change.key),
            };
        }
        state
    }

    /// The next change after a version that concerns a selection.
    fn next(&self, after: u64, selection: &Selection, part: Part) -> Option<(&'static str, Seen)> {
        let mut rest = self.changes.range((Bound::Excluded(after), Bound::Unbounded));
        rest.find_map(|(version, change)| selection.shown(*version, change, part))
    }

    /// Checks everything that an observer saw; says how many changes it was told one by one.
    pub fn check(&self, log: &[Entry], selection: &Selection, part: Part) -> Result<usize> {
        let mut at: Option<u64> = None;
        let mut state = Vec::new();
        let mut changes = 0;
        for (place, entry) in log.iter().enumerate() {
            let context = || format!("{selection:?}, entry {place} of {}: {entry:?} after {at:?}", log.len());
            match entry {
                Entry::Listed { version, items } => {
                    self.check_state(*version, items, selection, part).with_context(context)?;
                    at = Some(*version);
                }
                Entry::Began | Entry::Expired => (at, state) = (None, Vec::new()),
                Entry::Closed { .. } => {}
                Entry::Event { kind, object } => match at {
                    None => {
                        ensure!(kind == "ADDED", "{}: the state is not all ADDED", context());
                        state.push(object.clone());
                    }
                    Some(version) => {
                        let expected = self.next(version, selection, part);
                        if expected.as_ref().is_none_or(|(wanted, seen)| wanted != kind || seen != object) {
                            bail!("{}: expected {expected:?}", context());
                        }
                        at = Some(object.version);
                        changes += 1;
                    }
                },
                Entry::Bookmark { version, ends_state } => {
                    match at {
                        None if !ends_state => bail!("{}: a bookmark within the state", context()),
                        None => {
                            self.check_state(*version, &std::mem::take(&mut state), selection, part)
                                .with_context(context)?;
                        }
                        Some(before) => {
                            let skipped = self.next(before, selection, part);
                            let skipped = skipped.filter(|(_, seen)| seen.version <= *version);
                            ensure!(skipped.is_none() && *version >= before, "{}: skipped {skipped:?}", context());
                        }
                    }
                    at = Some(*version);
                }
            }
        }
        let at = at.context("an observer without a state")?;
        let missing = self.next(at, selection, part);
        ensure!(missing.is_none(), "{selection:?}: ended at {at} without {missing:?}");
        Ok(changes)
    }

    fn check_state(&self, version: u64, items: &[Seen], selection: &Selection, part: Part) -> Result<()> {
        let expected: Vec<_> = self.state_at(version, selection, part).into_values().collect();
        let mut items = items.to_vec();
        items.sort_by(|a, b| a.key.cmp(&b.key));
        if let Some((found, wanted)) = items.iter().zip(&expected).find(|(found, wanted)| found != wanted) {
            bail!("at {version} there is {found:?} and not {wanted:?}");
        }
        ensure!(items.len() == expected.len(), "{} objects at {version}, not {}", items.len(), expected.len());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn object(name: &str, version: u64, tier: &str) -> Value {
        let metadata = json!({
            "name": name, "namespace": "harbor", "uid": format!("uid-of-{name}"), "resourceVersion": version.to_string(),
            "labels": {"tier": tier},
        });
        json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": {"at": version.to_string()}})
    }

    fn event(kind: &str, name: &str, body: u64, version: u64, tier: &str) -> Entry {
        let mut object = Seen::of(object(name, body, tier), Part::Whole).unwrap();
        object.version = version;
        Entry::Event { kind: kind.to_owned(), object }
    }

    /// What one who asked for everything saw: `a` comes, `b` comes, `a` changes its tier, `b` goes.
    fn reference() -> Vec<Entry> {
        vec![
            event("ADDED", "a", 11, 11, "x"),
            event("ADDED", "b", 12, 12, "x"),
            event("MODIFIED", "a", 13, 13, "y"),
            event("DELETED", "b", 12, 14, "x"),
        ]
    }

    fn told() -> Vec<Acknowledged> {
        let puts = [("a", 11, "x"), ("b", 12, "x"), ("a", 13, "y")];
        let puts = puts.map(|(name, version, tier)| Acknowledged::Put(object(name, version, tier)));
        let removed = Acknowledged::Removed { uid: "uid-of-b".to_owned(), after: 12 };
        puts.into_iter().chain([removed]).collect()
    }

    fn begun(rest: impl IntoIterator<Item = Entry>) -> Vec<Entry> {
        std::iter::once(Entry::Listed { version: 10, items: Vec::new() }).chain(rest).collect()
    }

    #[test]
    fn what_an_observer_must_have_seen_is_accepted_and_anything_else_is_not() {
        let history = History::new(told(), &reference()).unwrap();
        let check = |labels: Labels, log: Vec<Entry>, expected: Result<usize, &str>| {
            let found = history.check(&log, &Selection { namespace: None, name: None, labels }, Part::Whole);
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{log:?}"),
                (Err(error), Err(part)) => assert!(format!("{error:?}").contains(part), "{part}: {error:?}"),
                (found, expected) => panic!("{found:?} and not {expected:?}: {log:?}"),
            }
        };
        let bookmark = |version, ends_state| Entry::Bookmark { version, ends_state };
        let without = |place: usize| {
            begun(reference().into_iter().enumerate().filter(|(at, _)| *at != place).map(|(_, entry)| entry))
        };
        let x = Labels::Equal("tier", "x");
        let entered = event("ADDED", "a", 13, 13, "y");
        let left = event("DELETED", "a", 11, 13, "x");
        let [came_a, came_b, _, gone_b] = reference().try_into().unwrap();

        check(Labels::Any, begun(reference()), Ok(4));
        check(x, begun([came_a.clone(), came_b.clone(), left.clone(), gone_b.clone()]), Ok(4));
        check(Labels::Equal("tier", "y"), begun([entered.clone()]), Ok(1));
        check(x, vec![Entry::Began, came_b.clone(), came_a.clone(), bookmark(12, true), left, gone_b.clone()], Ok(2));
        check(
            Labels::Any,
            begun([came_a.clone(), Entry::Closed { start: 1 }].into_iter().chain(reference().split_off(1))),
            Ok(4),
        );

        for place in 0..3 {
            check(Labels::Any, without(place), Err("expected Some"));
        }
        check(Labels::Any, without(3), Err("ended at 13 without"));
        check(Labels::Any, begun([came_a.clone(), came_a.clone()]), Err("expected Some"));
        check(Labels::Any, begun([came_b.clone(), came_a.clone()]), Err("expected Some"));
        check(Labels::Any, begun([event("MODIFIED", "a", 11, 11, "x")]), Err("expected Some"));
        check(Labels::Any, begun([event("ADDED", "a", 13, 11, "x")]), Err("expected Some"));
        check(x, begun([came_a.clone(), came_b.clone(), gone_b]), Err("expected Some"));
        check(Labels::Any, begun([bookmark(11, false)]), Err("skipped"));
        check(Labels::Any, vec![Entry::Began, came_a.clone(), bookmark(12, true)], Err("1 objects at 12, not 2"));
        check(Labels::Any, vec![Entry::Began, came_a, bookmark(11, false)], Err("a bookmark within the state"));
        check(Labels::Any, vec![Entry::Listed { version: 13, items: Vec::new() }], Err("0 objects at 13, not 2"));
        check(Labels::Any, vec![Entry::Expired], Err("without a state"));
    }

    #[test]
    fn writers_and_the_reference_must_agree() {
        let check = |change: fn(&mut Vec<Acknowledged>, &mut Vec<Entry>), part: &str| {
            let (mut told, mut reference) = (told(), reference());
            change(&mut told, &mut reference);
            let error = format!("{:?}", History::new(told, &reference).unwrap_err());
            assert!(error.contains(part), "{part}: {error}");
        };
        check(|told, _| told.truncate(3), "nobody deleted");
        check(|told, _| drop(told.remove(2)), "nobody was told");
        check(|told, _| told.push(Acknowledged::Put(object("c", 15, "x"))), "told and never seen");
        check(|told, _| told.push(Acknowledged::Put(object("c", 11, "x"))), "told for two states");
        check(|_, reference| reference.truncate(3), "told as deleted and never seen so");
        check(
            |told, _| told[3] = Acknowledged::Removed { uid: "uid-of-b".to_owned(), after: 14 },
            "which its writer knew",
        );
    }
}
