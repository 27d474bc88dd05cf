//! Server-side apply: what an object becomes when a manager says all it wants of it (upstream: `Updater.Apply` of structured-merge-diff;
//! KEP-555).
//!
//! What is applied is merged into the object; what the same manager applied before and leaves out now goes, unless somebody else owns
//! it; what it changes must be nobody else's, unless it takes it by force.

use std::sync::OnceLock;

use super::super::field_set::PathSet;
use super::super::{Schema, TypeId, encode_json};
use super::fields::leaves;
use super::remove::{remove, with_fields};
use super::shape::CompareError;
use super::{Comparison, Entry, Manager, Managers, compare, fields, merge};
use crate::tree::Tree;

/// Where an object says what it is.
const TYPE_FIELDS: [&str; 2] = ["apiVersion", "kind"];

/// What a manager applies.
#[derive(Debug)]
pub struct Application<'a> {
    /// Who.
    pub manager: Manager,
    /// All it wants, in its version, without zeros that are the same as absent.
    pub wanted: &'a Tree,
    /// The same with such zeros, and with nulls: who says them owns them.
    pub given: &'a Tree,
    /// Paths that this door to the object does not write, with all below them.
    pub ignored: &'a PathSet,
    /// Whether it takes what others own.
    pub force: bool,
    /// Seconds since 1970.
    pub now: i64,
}

/// What one manager owns of what another wants to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Who owns it.
    pub manager: Manager,
    /// Since when, in seconds since 1970.
    pub since: Option<i64>,
    /// The paths.
    pub fields: PathSet,
}

/// Why nothing was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplyError {
    /// Others own what would change; by manager.
    Conflicts(Vec<Conflict>),
    /// An object that has no paths.
    NoPaths(CompareError),
    /// The object cannot be had in a version that its managers use.
    NoVersion,
}

impl From<CompareError> for ApplyError {
    fn from(error: CompareError) -> ApplyError {
        ApplyError::NoPaths(error)
    }
}

/// The same object in other versions of its kind.
pub trait Versions {
    /// The types of a version, and the object's; none when the version is not served.
    fn type_of(&self, version: &str) -> Option<(&Schema, TypeId)>;

    /// An object of one version in another; none when one of them is not served.
    fn convert(&self, tree: &Tree, from: &str, to: &str) -> Option<Tree>;
}

impl Managers {
    /// Applies what a manager wants to an object, which is in the manager's version and without managers. None: nothing changes, neither
    /// of the object nor of who owns it.
    ///
    /// # Errors
    /// See [`ApplyError`]; the managers are then as they were.
    pub fn apply(
        &mut self,
        versions: &dyn Versions,
        live: &Tree,
        application: Application<'_>,
    ) -> Result<Option<Tree>, ApplyError> {
        let Application { manager, wanted, given, ignored, force, now } = application;
        let version = manager.api_version.clone();
        let (schema, _) = versions.type_of(&version).ok_or(ApplyError::NoVersion)?;
        let mut merged = merge(schema, live, wanted)?;
        remove(schema, &mut merged, &leaves(schema, given)?.difference(&fields(schema, wanted)?))?;
        let own = fields(schema, given)?.into_difference(ignored, super::stripped());
        // Whoever applied through another version before is the same manager.
        let is_same_manager = |held: &Manager| {
            (held.operation, &held.name, &held.subresource) == (manager.operation, &manager.name, &manager.subresource)
        };
        let before = self.clone();
        let last =
            self.entries.iter().position(|entry| is_same_manager(&entry.manager)).map(|at| self.entries.remove(at));
        let time = last.as_ref().and_then(|last| last.time);
        self.entries.retain(|entry| versions.type_of(&entry.manager.api_version).is_some());
        self.entries.push(Entry { manager: manager.clone(), time, fields: own.into() });
        let pruned = match &last {
            Some(last) if !last.fields.is_empty() => self.prune(versions, &version, merged, last)?,
            _ => merged,
        };
        // As it was written: a zero that is the same as absent, and another spelling of the same quantity, are changes.
        let spelled = merge(schema, &pruned, given)?;
        let comparison = compare(schema, live, &spelled)?;
        let is_same = comparison.is_same_but_for_type() && is_written_alike(schema, live, &spelled);
        let comparison = comparison.without(ignored);
        let conflicts = self.take_changed(versions, live, &pruned, &manager, &comparison, ignored)?;
        if !conflicts.is_empty() && !force {
            *self = before;
            return Err(ApplyError::Conflicts(conflicts));
        }
        self.entries.retain(|entry| !entry.fields.is_empty());
        if is_same && self.same_but_for_time(&before) {
            *self = before;
            return Ok(None);
        }
        // Time is when the object changed.
        if !is_same {
            for entry in self.entries.iter_mut().filter(|entry| entry.manager == manager) {
                entry.time = Some(now);
            }
        }
        Ok(Some(pruned))
    }

    /// Takes out of an object what its applier left out this time and nobody else owns.
    fn prune(&self, versions: &dyn Versions, version: &str, merged: Tree, last: &Entry) -> Result<Tree, ApplyError> {
        let of_last = &last.manager.api_version;
        // A version that is gone has no paths any more, so nothing can be left out.
        let Some((schema, ty)) = versions.type_of(of_last) else { return Ok(merged) };
        let convert = |tree: &Tree, from: &str, to: &str| match from == to {
            true => Ok(tree.clone()),
            false => versions.convert(tree, from, to).ok_or(ApplyError::NoVersion),
        };
        let base = convert(&merged, version, of_last)?;
        let left_out = with_fields(schema, ty, last.fields.set());
        let mut pruned = base.clone();
        remove(schema, &mut pruned, &left_out)?;
        let mut at = of_last.clone();
        for owned in self.by_version() {
            let Some((schema, ty)) = versions.type_of(owned.0) else { continue };
            pruned = convert(&pruned, &at, owned.0)?;
            at = owned.0.to_owned();
            let mut whole = convert(&merged, version, &at)?;
            let kept = named(schema, ty, &pruned)?.union(&with_fields(schema, ty, &owned.1));
            let lost = named(schema, ty, &whole)?.difference(&kept);
            remove(schema, &mut whole, &lost)?;
            pruned = whole;
        }
        let pruned = convert(&pruned, &at, of_last)?;
        // What went with something that is gone, though it was never applied, comes back: somebody's default, or nobody's.
        let lost = named(schema, ty, &base)?.difference(&named(schema, ty, &pruned)?).intersection(&left_out);
        let mut outcome = base;
        remove(schema, &mut outcome, &lost)?;
        convert(&outcome, of_last, version)
    }

    /// What all managers together own, by version.
    fn by_version(&self) -> Vec<(&str, PathSet)> {
        let mut owned: Vec<(&str, PathSet)> = Vec::new();
        for entry in &self.entries {
            let version = entry.manager.api_version.as_str();
            match owned.iter_mut().find(|(held, _)| *held == version) {
                Some((_, set)) => *set = set.union(entry.fields.set()),
                None => owned.push((version, entry.fields.set().clone())),
            }
        }
        owned
    }

    /// Takes from all others what a change gave another value, and what is gone. Returns the former.
    fn take_changed(
        &mut self,
        versions: &dyn Versions,
        live: &Tree,
        outcome: &Tree,
        manager: &Manager,
        comparison: &Comparison,
        ignored: &PathSet,
    ) -> Result<Vec<Conflict>, ApplyError> {
        let mut of_others: Vec<(String, Comparison)> = Vec::new();
        let mut conflicts = Vec::new();
        for entry in self.entries.iter_mut().filter(|entry| entry.manager != *manager) {
            let version = &entry.manager.api_version;
            let comparison = if *version == manager.api_version {
                comparison
            } else {
                if !of_others.iter().any(|(held, _)| held == version) {
                    let (schema, _) = versions.type_of(version).ok_or(ApplyError::NoVersion)?;
                    let convert = |tree: &Tree| {
                        versions.convert(tree, &manager.api_version, version).ok_or(ApplyError::NoVersion)
                    };
                    of_others.push((
                        version.clone(),
                        compare(schema, &convert(live)?, &convert(outcome)?)?.without(ignored),
                    ));
                }
                let found = of_others.iter().find(|(held, _)| held == version);
                &found.ok_or(ApplyError::NoVersion)?.1
            };
            let contested = entry.fields.set().intersection(&comparison.changed);
            entry.fields.take(&comparison.changed);
            entry.fields.take(&comparison.removed);
            if !contested.is_empty() {
                conflicts.push(Conflict { manager: entry.manager.clone(), since: entry.time, fields: contested });
            }
        }
        conflicts.sort_by(|a, b| a.manager.identifier().cmp(&b.manager.identifier()));
        Ok(conflicts)
    }
}

impl Comparison {
    /// Whether nothing differs but what the objects say of their type, which is not stored.
    fn is_same_but_for_type(&self) -> bool {
        static PATHS: OnceLock<PathSet> = OnceLock::new();
        let paths = PATHS.get_or_init(|| PathSet::of_fields(&[&TYPE_FIELDS[..1], &TYPE_FIELDS[1..]]));
        self.changed.is_within(paths) && self.removed.is_within(paths)
    }

    /// What differs elsewhere than at these paths and below them.
    fn without(self, ignored: &PathSet) -> Comparison {
        let nothing = PathSet::default();
        Comparison {
            changed: self.changed.into_difference(ignored, &nothing),
            removed: self.removed.into_difference(ignored, &nothing),
        }
    }
}

/// Whether nothing but the type that the objects say of themselves is written in another way: what a comparison does not show is the order
/// of elements.
fn is_written_alike(schema: &Schema, live: &Tree, outcome: &Tree) -> bool {
    let written = |tree: &Tree| {
        let mut tree = tree.clone();
        let root = tree.root();
        if let Some(ty) = tree.object_type(root) {
            for number in TYPE_FIELDS.iter().filter_map(|name| schema.ty(ty).find(name)) {
                tree.remove(root, number);
            }
        }
        encode_json::to_vec(schema, &tree)
    };
    written(live) == written(outcome)
}

/// The paths of an object, with every field on their way.
fn named(schema: &Schema, ty: TypeId, tree: &Tree) -> Result<PathSet, CompareError> {
    Ok(with_fields(schema, ty, &fields(schema, tree)?))
}

/// One path of an object that is shown as an object of its own, as the replicas are in a scale.
#[derive(Debug)]
pub struct Part<'a> {
    /// The path in the object.
    pub path: &'a PathSet,
    /// The path in what is shown.
    pub shown: &'a PathSet,
    /// The version of what is shown.
    pub version: &'a str,
}

impl Managers {
    /// Who owns a part, as managers of what is shown of it (upstream: `ScaleHandler.ToSubresource`).
    pub fn of_part(&self, part: &Part<'_>) -> Managers {
        let owners = self.entries.iter().filter(|entry| part.path.is_within(entry.fields.set()));
        let entries = owners.map(|entry| Entry {
            manager: Manager { api_version: part.version.to_owned(), ..entry.manager.clone() },
            time: entry.time,
            fields: part.shown.clone().into(),
        });
        Managers { entries: entries.collect() }
    }

    /// Takes over who owns a part now (upstream: `ScaleHandler.ToParent`). Who is new to the object owns it in its version.
    pub fn set_part(&mut self, part: &Part<'_>, owners: Managers, version: &str) {
        let is_same =
            |a: &Manager, b: &Manager| (&a.name, a.operation, &a.subresource) == (&b.name, b.operation, &b.subresource);
        let mut owners = owners.entries;
        for entry in &mut self.entries {
            match owners.iter().position(|owner| is_same(&owner.manager, &entry.manager)) {
                Some(at) => {
                    owners.remove(at);
                    entry.fields.give(part.path);
                }
                None => entry.fields.take(part.path),
            }
        }
        self.entries.extend(owners.into_iter().map(|owner| Entry {
            manager: Manager { api_version: version.to_owned(), ..owner.manager },
            // Upstream loses it on the way.
            time: None,
            fields: part.path.clone().into(),
        }));
        self.entries.retain(|entry| !entry.fields.is_empty());
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
