//! A model of server-side apply, written from the specification of structured-merge-diff: objects are JSON values, sets are sets of paths,
//! every rule is one function that goes through all of it. It asks the schema what is one value and by which keys elements are told apart,
//! and uses nothing else of the engine.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_model::schema::managed::Operation;
use portcullis_model::schema::{Attributes, Schema, TypeId, TypeRef};
use serde_json::{Map, Value, json};

use super::Kind;

/// What nobody owns.
const STRIPPED: [&[&str]; 12] = [
    &["f:apiVersion"],
    &["f:kind"],
    &["f:metadata"],
    &["f:metadata", "f:clusterName"],
    &["f:metadata", "f:creationTimestamp"],
    &["f:metadata", "f:generation"],
    &["f:metadata", "f:managedFields"],
    &["f:metadata", "f:name"],
    &["f:metadata", "f:namespace"],
    &["f:metadata", "f:resourceVersion"],
    &["f:metadata", "f:selfLink"],
    &["f:metadata", "f:uid"],
];

/// How a value is taken apart.
#[derive(Clone, Copy)]
pub enum Topology<'a> {
    One,
    Struct(TypeId),
    Map(TypeRef),
    Keyed(TypeId, &'a Attributes),
    Set(TypeRef),
}

pub fn topology<'a>(schema: &'a Schema, ty: TypeRef, attributes: Option<&'a Attributes>) -> Topology<'a> {
    let is_atomic = attributes.is_some_and(|found| found.map_type.as_deref() == Some("atomic"));
    match ty {
        TypeRef::Object(id) if !is_atomic && schema.ty(id).map_type.as_deref() != Some("atomic") => {
            Topology::Struct(id)
        }
        TypeRef::Map(element) if !is_atomic => Topology::Map(schema.element(element)),
        TypeRef::List(element) => {
            match (attributes.and_then(|found| found.list_type.as_deref()), schema.element(element)) {
                (Some("map"), TypeRef::Object(id)) => Topology::Keyed(id, attributes.expect("it has a list type")),
                (Some("set"), element) => Topology::Set(element),
                _ => Topology::One,
            }
        }
        _ => Topology::One,
    }
}

/// The steps of `fieldsV1`.
pub type Path = Vec<String>;
pub type Set = BTreeSet<Path>;

pub fn below(path: &[String], step: &str) -> Path {
    path.iter().cloned().chain([step.to_owned()]).collect()
}

fn reaches_below(set: &Set, path: &Path) -> bool {
    set.range(path.clone()..).take_while(|found| found.starts_with(path)).any(|found| found.len() > path.len())
}

pub fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(elements) => elements.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

/// The rules, one function each.
struct Rules<'a>(&'a Schema);

impl<'a> Rules<'a> {
    fn field(&self, ty: TypeId, name: &str) -> Topology<'a> {
        let ty = self.0.ty(ty);
        let field = &ty.fields[usize::from(ty.find(name).expect("a declared field"))];
        topology(self.0, field.ty, Some(&field.attributes))
    }

    /// The members of a struct or map, or the elements of a list, by step; several of one step are one value together.
    fn parts<'v>(&self, value: Option<&'v Value>, of: Topology<'a>) -> Vec<(String, Topology<'a>, Vec<&'v Value>)> {
        let mut parts: Vec<(String, Topology<'a>, Vec<&'v Value>)> = Vec::new();
        match (value, of) {
            (Some(Value::Object(members)), Topology::Struct(ty)) => {
                parts.extend(
                    members.iter().map(|(name, value)| (format!("f:{name}"), self.field(ty, name), vec![value])),
                );
            }
            (Some(Value::Object(members)), Topology::Map(element)) => {
                let of = topology(self.0, element, None);
                parts.extend(members.iter().map(|(name, value)| (format!("f:{name}"), of, vec![value])));
            }
            (Some(Value::Array(elements)), Topology::Keyed(..) | Topology::Set(_)) => {
                for element in elements {
                    let (step, of) = self.element(element, of);
                    match parts.iter_mut().find(|(held, ..)| *held == step) {
                        Some((.., several)) => several.push(element),
                        None => parts.push((step, of, vec![element])),
                    }
                }
            }
            _ => {}
        }
        parts
    }

    fn element(&self, element: &Value, of: Topology<'a>) -> (String, Topology<'a>) {
        match of {
            Topology::Keyed(id, attributes) => {
                let ty = self.0.ty(id);
                let key = |name: &str| {
                    let default = || {
                        let field = &ty.fields[usize::from(ty.find(name)?)];
                        serde_json::from_str(field.attributes.default.as_deref()?).ok()
                    };
                    element.get(name).cloned().or_else(default)
                };
                let keys: BTreeMap<&str, Value> =
                    attributes.list_map_keys.iter().filter_map(|name| Some((&**name, key(name)?))).collect();
                (format!("k:{}", json!(keys)), topology(self.0, TypeRef::Object(id), None))
            }
            _ => (format!("v:{element}"), Topology::One),
        }
    }

    /// What somebody who gives a value owns.
    fn given(&self, value: &Value, of: Topology<'a>, path: &Path, set: &mut Set) {
        if matches!(of, Topology::One) {
            set.insert(path.clone());
        }
        for (step, inner, several) in self.parts(Some(value), of) {
            let path = below(path, &step);
            if let [one] = several[..] {
                self.given(one, inner, &path, set);
            }
            let is_nothing = several[0].is_null() || several[0].as_object().is_some_and(Map::is_empty);
            if is_nothing || !matches!(of, Topology::Struct(_)) {
                set.insert(path);
            }
        }
    }

    /// What differs: changed and added, and removed.
    fn differences(
        &self,
        [old, new]: [Option<&Value>; 2],
        of: Topology<'a>,
        path: &Path,
        (changed, removed): (&mut Set, &mut Set),
    ) {
        let says = |value: Option<&Value>| value.is_some_and(|value| !is_nothing(value));
        let is_one = matches!(of, Topology::One) || !says(old) && !says(new);
        if !is_one {
            let (mut before, after) = (self.parts(old, of), self.parts(new, of));
            for (step, inner, _) in &after {
                if !before.iter().any(|(held, ..)| held == step) {
                    before.push((step.clone(), *inner, Vec::new()));
                }
            }
            for (step, inner, old) in before {
                let path = below(path, &step);
                let found = after.iter().find(|(held, ..)| *held == step);
                let new = found.map_or(&[][..], |(.., several)| &several[..]);
                match (old.len(), new.len()) {
                    (0 | 1, 0 | 1) => {
                        let both = [old.first().copied(), new.first().copied()];
                        self.differences(both, inner, &path, (changed, removed));
                    }
                    (2.., 2..) if old != new => _ = changed.insert(path),
                    (2.., 2..) => {}
                    (2.., _) => {
                        if let Some(new) = new.first() {
                            self.differences([None, Some(new)], inner, &path, (changed, removed));
                        }
                        removed.insert(path);
                    }
                    _ => {
                        if let Some(old) = old.first() {
                            self.differences([Some(old), None], inner, &path, (changed, removed));
                        }
                        changed.insert(path);
                    }
                }
            }
        }
        match (old, new) {
            (None, Some(_)) => _ = changed.insert(path.clone()),
            (Some(_), None) => _ = removed.insert(path.clone()),
            (Some(old), Some(new)) if is_one && old != new => _ = changed.insert(path.clone()),
            _ => {}
        }
    }

    fn merge(&self, live: &Value, applied: &Value, of: Topology<'a>) -> Value {
        if matches!(of, Topology::One) || is_nothing(live) {
            return applied.clone();
        }
        if is_nothing(applied) {
            return live.clone();
        }
        let (before, after) = (self.parts(Some(live), of), self.parts(Some(applied), of));
        let merged = |step: &str| {
            let (_, inner, new) = after.iter().find(|(held, ..)| held == step).expect("it is applied");
            match before.iter().find(|(held, ..)| held == step) {
                Some((.., several)) if several.len() == 1 => self.merge(several[0], new[0], *inner),
                _ => new[0].clone(),
            }
        };
        let (Value::Array(live), Value::Array(_)) = (live, applied) else {
            let mut members = live.as_object().expect("a struct or a map").clone();
            for (step, ..) in &after {
                members.insert(step[2..].to_owned(), merged(step));
            }
            return Value::Object(members);
        };
        self.merge_elements(live, of, &after.iter().map(|(step, ..)| &**step).collect::<Vec<_>>(), merged)
    }

    /// The elements in the order of what is applied, and those that only the object has between them: two lists are read side by side.
    fn merge_elements(
        &self,
        live: &[Value],
        of: Topology<'a>,
        applied: &[&str],
        merged: impl Fn(&str) -> Value,
    ) -> Value {
        let live: Vec<(String, &Value)> = live.iter().map(|value| (self.element(value, of).0, value)).collect();
        let is_live = |step: &str| live.iter().any(|(held, _)| held == step);
        let (mut out, mut at_live, mut at_applied) = (Vec::new(), 0, 0);
        while at_live < live.len() || at_applied < applied.len() {
            let next_shared = applied[at_applied..].iter().find(|step| is_live(step));
            let Some((step, value)) = live.get(at_live) else {
                out.push(merged(applied[at_applied]));
                at_applied += 1;
                continue;
            };
            if !applied.contains(&&**step) {
                out.push((*value).clone());
                at_live += 1;
            } else if next_shared.is_some_and(|next| next != step) {
                at_live += 1;
            } else {
                // It is the next one of both, or comes again.
                let is_next = applied.get(at_applied) == Some(&&**step);
                at_live += usize::from(is_next || next_shared.is_none());
                if let Some(step) = applied.get(at_applied) {
                    out.push(merged(step));
                    at_applied += 1;
                }
            }
        }
        Value::Array(out)
    }

    /// A value without these paths. What has nothing left is null.
    fn without(&self, value: &Value, of: Topology<'a>, path: &Path, set: &Set) -> Value {
        let keep = |step: &str, inner: Topology<'a>, value: &Value| {
            let path = below(path, step);
            if set.contains(&path) {
                return None;
            }
            Some(if reaches_below(set, &path) { self.without(value, inner, &path, set) } else { value.clone() })
        };
        let left = match (value, of) {
            (Value::Object(_), Topology::Struct(_) | Topology::Map(_)) => {
                let parts = self.parts(Some(value), of);
                let left = parts
                    .iter()
                    .filter_map(|(step, inner, value)| Some((step[2..].to_owned(), keep(step, *inner, value[0])?)));
                Value::Object(left.collect())
            }
            (Value::Array(elements), Topology::Keyed(..) | Topology::Set(_)) => {
                let left = elements.iter().filter_map(|element| {
                    let (step, inner) = self.element(element, of);
                    keep(&step, inner, element)
                });
                Value::Array(left.collect())
            }
            _ => return value.clone(),
        };
        if is_nothing(&left) { Value::Null } else { left }
    }

    /// A set with every field of a struct on the way to its paths.
    fn named(&self, set: &Set, ty: TypeId) -> Set {
        let mut named = set.clone();
        for path in set {
            let mut of = Topology::Struct(ty);
            for (at, step) in path.iter().enumerate() {
                let inner = match of {
                    Topology::Struct(ty) if self.0.ty(ty).find(&step[2..]).is_some() => {
                        named.insert(path[..=at].to_vec());
                        self.field(ty, &step[2..])
                    }
                    Topology::Map(element) => topology(self.0, element, None),
                    Topology::Keyed(id, _) => topology(self.0, TypeRef::Object(id), None),
                    _ => break,
                };
                of = inner;
            }
        }
        named
    }

    fn named_parts(&self, value: &Value, ty: TypeId) -> Set {
        let mut set = Set::new();
        self.given(value, Topology::Struct(ty), &Path::new(), &mut set);
        self.named(&set, ty)
    }
}

/// What a manager owns: in which version, and which paths.
pub type Owners = BTreeMap<(String, Operation), (String, Set)>;

/// An object as the model sees it.
pub struct Model<'a> {
    kind: &'a Kind<'a>,
    rules: Rules<'a>,
    /// As it is stored, in the first version.
    pub object: Value,
    pub owners: Owners,
}

impl<'a> Model<'a> {
    pub fn new(kind: &'a Kind<'a>, object: Value) -> Model<'a> {
        Model { kind, rules: Rules(kind.schema), object, owners: Owners::new() }
    }

    fn top(&self, version: &str) -> Topology<'_> {
        Topology::Struct(self.kind.ty(version))
    }

    fn differences(&self, old: &Value, new: &Value, version: &str) -> (Set, Set) {
        let (mut changed, mut removed) = (Set::new(), Set::new());
        let both = [Some(old), Some(new)];
        self.rules.differences(
            both,
            Topology::Struct(self.kind.ty(version)),
            &Path::new(),
            (&mut changed, &mut removed),
        );
        (changed, removed)
    }

    /// What a change of a version is in another one.
    fn differences_in(&self, old: &Value, new: &Value, version: &str, other: &str) -> (Set, Set) {
        if version == other {
            return self.differences(old, new, version);
        }
        let convert = |value: &Value| self.kind.convert_value(value, version, other);
        self.differences(&convert(old), &convert(new), other)
    }

    pub fn update(&mut self, name: &str, version: &str, new: &Value) {
        let old = self.kind.convert_value(&self.object, self.kind.versions[0].0, version);
        let (changed, _) = self.differences(&old, new, version);
        let mut owners = self.owners.clone();
        for (held_in, held) in owners.values_mut() {
            let (changed, removed) = self.differences_in(&old, new, version, held_in);
            held.retain(|path| !changed.contains(path) && !removed.contains(path));
        }
        // Who updates through another version is another manager.
        let who = (format!("{name} {version}"), Operation::Update);
        let own = owners.entry(who).or_insert_with(|| (version.to_owned(), Set::new()));
        own.1.extend(changed);
        strip(&mut own.1);
        owners.retain(|_, (_, held)| !held.is_empty());
        self.owners = owners;
        self.object = self.kind.convert_value(new, version, self.kind.versions[0].0);
    }

    /// The conflicts, if there are any and they are not forced away.
    pub fn apply(&mut self, name: &str, version: &str, given: &Value, force: bool) -> Result<(), Owners> {
        let live = self.kind.convert_value(&self.object, self.kind.versions[0].0, version);
        let merged = self.rules.merge(&live, given, self.top(version));
        let mut own = Set::new();
        self.rules.given(given, self.top(version), &Path::new(), &mut own);
        let who = (name.to_owned(), Operation::Apply);
        let mut owners = self.owners.clone();
        let last = owners.insert(who.clone(), (version.to_owned(), own));
        let new = match last {
            Some((of_last, last)) if !last.is_empty() => self.prune(&merged, version, &owners, &of_last, &last),
            _ => merged,
        };
        let mut conflicts = Owners::new();
        for (other, (held_in, held)) in owners.iter_mut().filter(|(other, _)| **other != who) {
            let (changed, removed) = self.differences_in(&live, &new, version, held_in);
            let contested: Set = held.intersection(&changed).cloned().collect();
            if !contested.is_empty() {
                conflicts.insert(other.clone(), (held_in.clone(), contested));
            }
            held.retain(|path| !changed.contains(path) && !removed.contains(path));
        }
        if !force && !conflicts.is_empty() {
            return Err(conflicts);
        }
        if let Some((_, own)) = owners.get_mut(&who) {
            strip(own);
        }
        owners.retain(|_, (_, held)| !held.is_empty());
        self.owners = owners;
        self.object = self.kind.convert_value(&new, version, self.kind.versions[0].0);
        Ok(())
    }

    /// Takes out what was applied last and is not any more, unless somebody owns it or nobody ever applied it.
    fn prune(&self, merged: &Value, version: &str, owners: &Owners, of_last: &str, last: &Set) -> Value {
        let convert = |value: &Value, from: &str, to: &str| match from == to {
            true => value.clone(),
            false => self.kind.convert_value(value, from, to),
        };
        let (rules, root) = (&self.rules, Path::new());
        let named = |set: &Set, version: &str| rules.named(set, self.kind.ty(version));
        let without = |value: &Value, version: &str, set: &Set| rules.without(value, self.top(version), &root, set);
        let base = convert(merged, version, of_last);
        let last = named(last, of_last);
        let mut pruned = without(&base, of_last, &last);
        let mut whole = base.clone();
        let mut at = of_last.to_owned();
        let mut versions: Vec<&str> = self.kind.versions.iter().map(|(name, _)| *name).collect();
        versions.sort_by_key(|name| *name != of_last);
        for other in versions {
            let held =
                owners.values().filter(|(held_in, _)| held_in == other).flat_map(|(_, held)| held.iter().cloned());
            let owned: Set = held.collect();
            if owned.is_empty() {
                continue;
            }
            (whole, pruned) = (convert(&whole, &at, other), convert(&pruned, &at, other));
            at = other.to_owned();
            let ty = self.kind.ty(other);
            let kept: Set = rules.named_parts(&pruned, ty).union(&named(&owned, other)).cloned().collect();
            let lost = rules.named_parts(&whole, ty).difference(&kept).cloned().collect();
            pruned = without(&whole, other, &lost);
        }
        let pruned = convert(&pruned, &at, of_last);
        let ty = self.kind.ty(of_last);
        let gone: Set = rules.named_parts(&base, ty).difference(&rules.named_parts(&pruned, ty)).cloned().collect();
        let outcome = without(&base, of_last, &gone.intersection(&last).cloned().collect());
        convert(&outcome, of_last, version)
    }
}

fn strip(set: &mut Set) {
    set.retain(|path| !STRIPPED.iter().any(|stripped| path.iter().eq(stripped.iter())));
}
