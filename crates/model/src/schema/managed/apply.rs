//! Server-side apply: what an object becomes when a manager says all it wants of it (upstream: `Updater.Apply` of structured-merge-diff;
//! KEP-555).
//!
//! What is applied is merged into the object; what the same manager applied before and leaves out now goes, unless somebody else owns
//! it; what it changes must be nobody else's, unless it takes it by force.
//!
//! All that is done on objects that say all that is in them, as upstream's do: what is stored with every zero that it writes, what is given
//! with the zeros and nulls that were said. What becomes of them is read back as what is stored.

use std::sync::OnceLock;

use super::super::field_set::PathSet;
use super::super::{FieldValidation, Schema, TypeId, decode_json, encode_json};
use super::compare::compare_as_given;
use super::reconcile::reconciled;
use super::remove::{drop_nulls, remove, with_fields};
use super::same::SameValues;
use super::shape::CompareError;
use super::typed::check_names;
use super::{Comparison, Entry, Manager, Managers, Unwritten, compare, fields, merge};
use crate::tree::Tree;

/// Where an object says what it is.
const TYPE_FIELDS: [&str; 2] = ["apiVersion", "kind"];

/// What a manager applies.
#[derive(Debug)]
pub struct Application<'a> {
    /// Who.
    pub manager: Manager,
    /// All it wants, in its version, with every zero and null that it says: who says them owns them.
    pub given: &'a Tree,
    /// What this door to the object does not write.
    pub unwritten: &'a Unwritten,
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
        let Application { manager, given, unwritten, force, now } = application;
        let version = manager.api_version.clone();
        let (schema, ty) = versions.type_of(&version).ok_or(ApplyError::NoVersion)?;
        check_names(schema, given)?;
        let shown = with_zeros(schema, ty, live).ok_or(ApplyError::NoVersion)?;
        let merged = merge(schema, &shown, given)?;
        let own = unwritten.cut(fields(schema, given)?);
        // Whoever applied through another version before is the same manager.
        let before = self.clone();
        let time = self.entries.iter().find(|entry| entry.manager.is_same(&manager)).and_then(|last| last.time);
        self.reconcile(versions);
        let place = self.entries.iter().position(|entry| entry.manager.is_same(&manager));
        let last = place.map(|at| self.entries.remove(at));
        self.entries.push(Entry { manager: manager.clone(), time, fields: own.into() });
        let pruned = match &last {
            Some(last) if !last.fields.is_empty() && self.leaves_out(&manager, last) => {
                self.prune(versions, &version, merged, last)?
            }
            _ => merged,
        };
        // Nobody owns a name, but who says it wants the metadata to stay.
        if let Some(own) = self.entries.last_mut() {
            own.fields.take(super::stripped());
        }
        let comparison = compare_as_given(schema, &shown, &pruned)?;
        let is_same = comparison.is_same_but_for_type() && is_same_but_for_type(schema, &shown, &pruned);
        let pruned = as_stored(schema, ty, pruned).ok_or(ApplyError::NoVersion)?;
        let comparison = unwritten.cut_comparison(comparison);
        let conflicts = self.take_changed(versions, live, &pruned, &manager, &comparison, unwritten)?;
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

    /// Makes every path that leads into what is one value the path of that value: a client may send any, and upstream does so whenever
    /// somebody writes. Managers of a version that is not served end.
    pub fn reconcile(&mut self, versions: &dyn Versions) {
        self.entries.retain_mut(|entry| {
            let Some((schema, ty)) = versions.type_of(&entry.manager.api_version) else { return false };
            if let Some(set) = reconciled(schema, ty, entry.fields.set()) {
                entry.fields = set.into();
            }
            true
        });
    }

    /// Whether the entry of a manager, which is among these, may leave out what it had the last time. With owners of other versions it
    /// always may: what they own is found by going there and back.
    fn leaves_out(&self, manager: &Manager, last: &Entry) -> bool {
        let version = &last.manager.api_version;
        let own = self.entries.iter().find(|entry| entry.manager == *manager);
        self.entries.iter().any(|entry| entry.manager.api_version != *version)
            || own.is_none_or(|own| !last.fields.set().is_within(own.fields.set()))
    }

    /// Takes out of an object what its applier left out this time and nobody else owns.
    fn prune(&self, versions: &dyn Versions, version: &str, merged: Tree, last: &Entry) -> Result<Tree, ApplyError> {
        let of_last = &last.manager.api_version;
        // A version that is gone has no paths any more, so nothing can be left out.
        let Some((schema, ty)) = versions.type_of(of_last) else { return Ok(merged) };
        let convert = |tree: &Tree, from: &str, to: &str| match from == to {
            true => Ok(tree.clone()),
            false => convert_as_given(versions, tree, from, to).ok_or(ApplyError::NoVersion),
        };
        let base = convert(&merged, version, of_last)?;
        let left_out = with_fields(schema, ty, last.fields.set());
        let mut pruned = base.clone();
        remove(schema, &mut pruned, &left_out)?;
        let (mut whole, mut at) = (base.clone(), of_last.clone());
        for (owned_in, owned) in self.by_version(of_last) {
            let Some((schema, ty)) = versions.type_of(owned_in) else { continue };
            if at != owned_in {
                (whole, pruned) = (convert(&whole, &at, owned_in)?, convert(&pruned, &at, owned_in)?);
                at = owned_in.to_owned();
            }
            let kept = named(schema, ty, &pruned)?.union(&with_fields(schema, ty, &owned));
            let lost = named(schema, ty, &whole)?.difference(&kept);
            pruned = whole.clone();
            remove(schema, &mut pruned, &lost)?;
        }
        let pruned = convert(&pruned, &at, of_last)?;
        // What went with something that is gone, though it was never applied, comes back: somebody's default, or nobody's.
        let lost = named(schema, ty, &base)?.difference(&named(schema, ty, &pruned)?).intersection(&left_out);
        let mut outcome = base;
        remove(schema, &mut outcome, &lost)?;
        convert(&outcome, of_last, version)
    }

    /// What all managers together own, by version. One comes first: what was taken out may be needed for a conversion.
    fn by_version<'a>(&'a self, first: &'a str) -> Vec<(&'a str, PathSet)> {
        let mut owned: Vec<(&str, PathSet)> = vec![(first, PathSet::default())];
        for entry in &self.entries {
            let version = entry.manager.api_version.as_str();
            match owned.iter_mut().find(|(held, _)| *held == version) {
                Some((_, set)) => *set = set.union(entry.fields.set()),
                None => owned.push((version, entry.fields.set().clone())),
            }
        }
        owned.retain(|(_, set)| !set.is_empty());
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
        unwritten: &Unwritten,
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
                        unwritten.cut_comparison(compare(schema, &convert(live)?, &convert(outcome)?)?),
                    ));
                }
                let found = of_others.iter().find(|(held, _)| held == version);
                &found.ok_or(ApplyError::NoVersion)?.1
            };
            let contested = entry.fields.set().intersection(&comparison.changed);
            entry.fields.take(&comparison.changed);
            entry.fields.take(&comparison.removed);
            if !contested.is_empty() {
                conflicts.push(Conflict { manager: entry.manager.clone(), fields: contested });
            }
        }
        conflicts.sort_by_cached_key(|conflict| conflict.manager.identifier());
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
}

/// Whether two objects are the same, the order of elements too, but for what they say of their type.
fn is_same_but_for_type(schema: &Schema, live: &Tree, outcome: &Tree) -> bool {
    let fields = |tree: &Tree| {
        let Some(ty) = tree.object_type(tree.root()).map(|ty| schema.ty(ty)) else { return Vec::new() };
        let of_type = TYPE_FIELDS.map(|name| ty.find(name));
        let fields = tree.children(tree.root()).filter(|node| !of_type.contains(&Some(tree.field_number(*node))));
        fields.map(|node| (tree.field_number(node), node)).collect()
    };
    let (live_fields, fields) = (fields(live), fields(outcome));
    let mut same = SameValues::exact(live, outcome);
    live_fields.len() == fields.len()
        && live_fields.iter().zip(&fields).all(|((number, live), (of, node))| number == of && same.are(*live, *node))
}

/// An object with every zero that it writes, as upstream looks at what is stored.
fn with_zeros(schema: &Schema, ty: TypeId, tree: &Tree) -> Option<Tree> {
    let text = encode_json::to_vec(schema, tree);
    Some(decode_json::decode_as_given(schema, ty, text, FieldValidation::Ignore).ok()?.tree)
}

/// What was merged of such an object and of what is given, as it is stored: without nulls, and zeros that are the same as absent.
fn as_stored(schema: &Schema, ty: TypeId, mut tree: Tree) -> Option<Tree> {
    drop_nulls(schema, &mut tree);
    let text = encode_json::to_vec(schema, &tree);
    Some(decode_json::decode(schema, ty, text, FieldValidation::Ignore).ok()?.tree)
}

/// Such an object in another version.
fn convert_as_given(versions: &dyn Versions, tree: &Tree, from: &str, to: &str) -> Option<Tree> {
    let (schema, ty) = versions.type_of(from)?;
    let stored = as_stored(schema, ty, tree.clone())?;
    let (schema, ty) = versions.type_of(to)?;
    with_zeros(schema, ty, &versions.convert(&stored, from, to)?)
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
    ///
    /// A manager is known again though what is shown is of another version. Upstream knows only those that applied again, and so splits
    /// the entry of one that updated whenever what is shown is written as it was.
    pub fn set_part(&mut self, part: &Part<'_>, owners: Managers, version: &str) {
        let mut owners = owners.entries;
        for entry in self.entries.iter_mut().filter(|entry| part.path.is_within(entry.fields.set())) {
            let held = &entry.manager;
            let is_known = |owner: &Entry| {
                let owner = &owner.manager;
                (owner.operation, &owner.name, &owner.subresource) == (held.operation, &held.name, &held.subresource)
            };
            match owners.iter().position(is_known) {
                Some(at) => drop(owners.remove(at)),
                None => entry.fields.take(part.path),
            }
        }
        owners.retain(|owner| part.shown.is_within(owner.fields.set()));
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
mod tests;
