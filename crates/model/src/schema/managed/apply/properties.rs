//! Random objects, managers and writes, against a small model of ownership that knows paths and values only.
//!
//! The model holds an object as a flat map of paths to values and each manager's paths as a set. It does not say who owns that a map or
//! a list is there at all, nor in which order elements stand.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::tests::Object;
use super::*;
use crate::schema::managed::Operation;

const SEEDS: u64 = 250;
const WRITES: usize = 24;
const MANAGERS: [&str; 3] = ["a", "b", "c"];

/// The steps of `fieldsV1`.
type Path = Vec<String>;
type Flat = BTreeMap<Path, String>;
type Owned = BTreeMap<(String, Operation), BTreeSet<Path>>;

/// Numbers that come again for the same seed (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    fn often(&mut self) -> bool {
        self.below(3) < 2
    }

    fn value(&mut self) -> String {
        self.below(2).to_string()
    }

    fn object(&mut self) -> Value {
        let mut object = json!({});
        let names = ["x", "y", "z"];
        for field in ["labels", "whole"] {
            let chosen = names.iter().filter(|_| self.often()).copied().collect::<Vec<_>>();
            if !chosen.is_empty() {
                object[field] = chosen.into_iter().map(|name| (name.to_owned(), json!(self.value()))).collect();
            }
        }
        if self.often() {
            object["spec"] = json!({"replicas": self.below(2)});
        }
        if self.often() {
            object["plain"] = json!([self.value(), self.value()]);
        }
        if self.often() {
            object["ref"] = json!({"name": self.value()});
        }
        let tags: Vec<&str> = names.iter().filter(|_| self.often()).copied().collect();
        if !tags.is_empty() {
            object["tags"] = json!(tags);
        }
        let mut ports = Vec::new();
        for (port, protocol) in [(1, "TCP"), (1, "UDP"), (2, "TCP"), (3, "UDP")] {
            if self.often() {
                let mut element = json!({"port": port});
                if protocol != "TCP" || self.often() {
                    element["protocol"] = json!(protocol);
                }
                if self.often() {
                    element["name"] = json!(self.value());
                }
                ports.push(element);
            }
        }
        if self.often() {
            ports.reverse();
        }
        if !ports.is_empty() {
            object["ports"] = json!(ports);
        }
        object
    }
}

/// The paths of an object that are somebody's, with what is there.
fn flat(object: &Value) -> Flat {
    let mut flat = Flat::new();
    let mut put = |path: &[&str], value: &Value| {
        flat.insert(path.iter().map(|step| (*step).to_owned()).collect(), value.to_string());
    };
    for name in ["whole", "plain", "ref"] {
        if let Some(value) = object.get(name) {
            put(&[&format!("f:{name}")], value);
        }
    }
    if let Some(replicas) = object.pointer("/spec/replicas") {
        put(&["f:spec", "f:replicas"], replicas);
    }
    for (name, value) in object["labels"].as_object().into_iter().flatten() {
        put(&["f:labels", &format!("f:{name}")], value);
    }
    for tag in object["tags"].as_array().into_iter().flatten() {
        put(&["f:tags", &format!("v:{tag}")], tag);
    }
    for port in object["ports"].as_array().into_iter().flatten() {
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        let step = format!("k:{{\"port\":{},\"protocol\":\"{protocol}\"}}", port["port"]);
        put(&["f:ports", &step], &Value::Null);
        for (name, value) in port.as_object().unwrap() {
            put(&["f:ports", &step, &format!("f:{name}")], value);
        }
    }
    flat
}

/// The members of a set, but for those that say only that a container is there.
fn members(fields: &str) -> BTreeSet<Path> {
    let mut members = BTreeSet::new();
    let root: Value = serde_json::from_str(fields).unwrap();
    let mut open = vec![(Path::new(), root)];
    while let Some((path, value)) = open.pop() {
        let below = value.as_object().unwrap();
        if below.is_empty() || below.contains_key(".") {
            members.insert(path.clone());
        }
        for (step, value) in below.iter().filter(|(step, _)| *step != ".") {
            let mut path = path.clone();
            path.push(step.clone());
            open.push((path, value.clone()));
        }
    }
    let containers = ["f:labels", "f:tags", "f:ports", "f:spec"];
    members.retain(|path| path.len() > 1 || !path.iter().any(|step| containers.contains(&step.as_str())));
    members
}

/// What the model says an object is and whose.
#[derive(Clone, Default)]
struct Model {
    object: Flat,
    owned: Owned,
}

impl Model {
    fn changed(&self, new: &Flat) -> BTreeSet<Path> {
        new.iter().filter(|(path, value)| self.object.get(*path) != Some(value)).map(|(path, _)| path.clone()).collect()
    }

    fn gone(&self, new: &Flat) -> BTreeSet<Path> {
        self.object.keys().filter(|path| !new.contains_key(*path)).cloned().collect()
    }

    fn settle(&mut self, who: &(String, Operation), own: BTreeSet<Path>, new: Flat) {
        let lost: BTreeSet<Path> = self.changed(&new).union(&self.gone(&new)).cloned().collect();
        for (_, held) in self.owned.iter_mut().filter(|(manager, _)| *manager != who) {
            held.retain(|path| !lost.contains(path));
        }
        self.owned.insert(who.clone(), own);
        self.owned.retain(|_, held| !held.is_empty());
        self.object = new;
    }

    fn update(&mut self, name: &str, new: Flat) {
        let who = (name.to_owned(), Operation::Update);
        let mut own = self.owned.get(&who).cloned().unwrap_or_default();
        own.retain(|path| new.contains_key(path));
        own.extend(self.changed(&new));
        self.settle(&who, own, new);
    }

    /// Says whether it is allowed.
    fn apply(&mut self, name: &str, wanted: &Flat, force: bool) -> bool {
        let who = (name.to_owned(), Operation::Apply);
        let own: BTreeSet<Path> = wanted.keys().cloned().collect();
        let of_others = |path: &Path| self.owned.iter().any(|(manager, held)| *manager != who && held.contains(path));
        let last = self.owned.get(&who).cloned().unwrap_or_default();
        let left_out: Vec<&Path> = last.difference(&own).filter(|path| !of_others(path)).collect();
        let mut new = self.object.clone();
        new.extend(wanted.clone());
        new.retain(|path, _| !left_out.iter().any(|gone| path.starts_with(gone)));
        if !force && self.changed(&new).iter().any(of_others) {
            return false;
        }
        self.settle(&who, own, new);
        true
    }
}

fn check(object: &Object, model: &Model, what: &str) {
    let live: Value = serde_json::from_str(&object.types.text(&object.tree)).unwrap();
    assert_eq!(flat(&live), model.object, "{what}");
    let owned = object.managers.entries.iter().map(|entry| {
        let text = entry.fields.to_json();
        assert_eq!(PathSet::read(&text).unwrap().to_json(), text, "{what}");
        ((entry.manager.name.clone(), entry.manager.operation), members(&text))
    });
    let owned: Owned = owned.filter(|(_, held)| !held.is_empty()).collect();
    assert_eq!(owned, model.owned, "{what}");
}

#[test]
fn the_model_agrees() {
    for seed in 0..SEEDS {
        let mut random = Random(seed);
        let (mut object, mut model) = (Object::new(), Model::default());
        for write in 0..WRITES {
            let name = MANAGERS[random.below(3) as usize];
            let mut wanted = random.object();
            let force = random.below(2) == 0;
            let what = format!("seed {seed} write {write}: {name} {force} {wanted}");
            match random.below(3) {
                0 => {
                    object.put(name, &wanted.to_string());
                    model.update(name, flat(&wanted));
                }
                1 => {
                    // A patch: the object with some fields of another.
                    let live: Value = serde_json::from_str(&object.types.text(&object.tree)).unwrap();
                    let mut patched = live.as_object().unwrap().clone();
                    let kept = random.below(7);
                    patched.extend(wanted.as_object_mut().unwrap().clone().into_iter().skip(kept as usize));
                    object.put(name, &Value::Object(patched.clone()).to_string());
                    model.update(name, flat(&Value::Object(patched)));
                }
                _ => {
                    let text = wanted.to_string();
                    let applied = object.try_apply("v1", name, &text, force);
                    assert_eq!(applied.is_ok(), model.apply(name, &flat(&wanted), force), "{what}");
                    if applied.is_ok() {
                        let held = (object.text(), object.managers.clone());
                        assert_eq!(object.try_apply("v1", name, &text, false), Ok(false), "{what}");
                        assert_eq!((object.text(), object.managers.clone()), held, "{what}");
                        // All that it wanted is there.
                        assert!(
                            flat(&wanted).iter().all(|(path, value)| model.object.get(path) == Some(value)),
                            "{what}"
                        );
                    }
                }
            }
            check(&object, &model, &what);
        }
    }
}
