//! What holds for every kind with rules, whatever is written: defaulting twice changes nothing, no rule panics, and what is stored passes
//! its own update. Objects are the samples beside this file, changed at random, and objects made of nothing but the facts. A failure
//! prints its seed; `PORTCULLIS_TEST_SEED` replays it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fmt::Write as _;

use portcullis_model::schema::{FieldValidation, TypeId, TypeRef, canonical, decode_json};
use portcullis_model::tree::Tree;
use serde_json::{Map, Value, json};

use crate::strategy::{self, Strategy};
use crate::testing::{default_all, json as shown, lines, requester};
use crate::vocabulary::{Errors, gates};

mod clients;
mod samples;

/// Changed objects of each sample.
const ROUNDS: u64 = 300;
/// Objects of each kind that are made of the facts.
const INVENTED: u64 = 60;
/// Changes to one object.
const CHANGES_MAX: u64 = 4;
/// How deep an invented object goes; no type of the API nests deeper than this without repeating itself.
const DEPTH_MAX: usize = 9;
const LIST_LEN_MAX: u64 = 3;
/// Texts that rules look for, and some that no rule likes.
const TEXTS: &[&str] = &[
    "",
    "a",
    "app",
    "Always",
    "Never",
    "OnFailure",
    "TCP",
    "UDP",
    "Exists",
    "In",
    "NotIn",
    "DoesNotExist",
    "Equal",
    "NoSchedule",
    "NoExecute",
    "cpu",
    "memory",
    "pods",
    "hugepages-2Mi",
    "example.com/gpu",
    "requests.cpu",
    "count/pods",
    "Terminating",
    "BestEffort",
    "100m",
    "1",
    "0",
    "-1",
    "2Gi",
    "50%",
    "101%",
    "-5%",
    "kubernetes.io/hostname",
    "a/b/c",
    "../up",
    "/data",
    "10.0.0.1",
    "::1",
    "10.0.0.0/8",
    "RollingUpdate",
    "Recreate",
    "OnDelete",
    "Indexed",
    "NonIndexed",
    "*/5 * * * *",
    "@every 1h",
    "Etc/UTC",
    "Local",
    "Container",
    "Pod",
    "PersistentVolumeClaim",
    "Localhost",
    "RuntimeDefault",
    "ALL",
    "NET_ADMIN",
    "HTTP",
    "metadata.name",
    "spec.nodeName",
    "limits.cpu",
    "ReadWriteOnce",
    "Block",
    "system-node-critical",
    "kubernetes",
    "\u{1F6A2}",
    "x y",
    "UPPER",
    "a-name-that-is-much-longer-than-the-sixty-three-characters-which-a-label-has",
    "2026-01-01T00:00:00Z",
];
const NUMBERS: &[i64] =
    &[0, 1, -1, 2, 5, 100, 101, 1_000, 65_535, 65_536, 2_147_483_647, -2_147_483_648, 9_223_372_036_854_775_807];

/// A small generator (xorshift64*): tests replay from their seed.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % end.max(1)
    }

    fn of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len() as u64) as usize]
    }
}

fn scalar(random: &mut Random) -> Value {
    match random.below(5) {
        0 => json!(random.of(NUMBERS)),
        1 => json!(random.below(2) == 0),
        2 => Value::Null,
        _ => json!(random.of(TEXTS)),
    }
}

/// Changes an object somewhere.
fn change(value: &mut Value, random: &mut Random) {
    let mut at = value;
    loop {
        let len = match &at {
            Value::Object(fields) => fields.len(),
            Value::Array(items) => items.len(),
            _ => 0,
        };
        if len == 0 || random.below(5) == 0 {
            break;
        }
        let number = random.below(len as u64) as usize;
        at = match at {
            Value::Object(fields) => fields.values_mut().nth(number).unwrap(),
            Value::Array(items) => &mut items[number],
            _ => unreachable!(),
        };
    }
    match (random.below(4), at) {
        (0, Value::Array(items)) if !items.is_empty() => {
            let copy = random.of(items).clone();
            items.push(copy);
        }
        (0, Value::Object(fields)) if !fields.is_empty() => {
            let name = fields.keys().nth(random.below(fields.len() as u64) as usize).unwrap().clone();
            fields.remove(&name);
        }
        (1, Value::Array(items)) => items.clear(),
        (1, Value::Object(fields)) => fields.clear(),
        (_, at) => *at = scalar(random),
    }
}

/// An object of a type, from its fields alone.
fn invent(ty: TypeRef, depth: usize, random: &mut Random) -> Value {
    let schema = crate::schema();
    match ty {
        TypeRef::Object(id) => {
            let mut fields = Map::new();
            for field in &schema.ty(id).fields {
                // Deeper structs have fewer fields, so that an object stays of a size that can be read.
                if random.below(2 + depth as u64) == 0 && (depth < DEPTH_MAX || matches!(field.ty, TypeRef::String)) {
                    fields.insert(field.name.to_string(), invent(field.ty, depth + 1, random));
                }
            }
            Value::Object(fields)
        }
        TypeRef::List(element) => {
            let items = 0..random.below(LIST_LEN_MAX + 1);
            items.map(|_| invent(schema.element(element), depth + 1, random)).collect()
        }
        TypeRef::Map(element) => {
            let keys: Vec<&str> = (0..random.below(LIST_LEN_MAX + 1)).map(|_| *random.of(TEXTS)).collect();
            keys.into_iter().map(|key| (key.to_owned(), invent(schema.element(element), depth + 1, random))).collect()
        }
        TypeRef::Bool => json!(random.below(2) == 0),
        TypeRef::Int32 => json!(random.of(NUMBERS[..12].as_ref())),
        TypeRef::Int64 => json!(random.of(NUMBERS)),
        TypeRef::Time => json!("2026-01-01T00:00:00Z"),
        TypeRef::Quantity => json!(random.of(&["0", "1", "100m", "-1", "2Gi", "1.5", "1e3", "9999999999999999999"])),
        TypeRef::IntOrString if random.below(2) == 0 => json!(random.of(NUMBERS[..12].as_ref())),
        _ => json!(random.of(TEXTS)),
    }
}

/// The object as the server has it when it asks for rules: with a uid, not being deleted, without a status.
fn decode(ty: TypeId, value: &Value) -> Option<Tree> {
    let mut value = value.clone();
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|name, _| !name.starts_with("deletion"));
        metadata.insert("uid".to_owned(), json!("6f1d6c2e-5d0a-4c55-9d5a-0f6a3f1f9d01"));
    }
    if let Some(fields) = value.as_object_mut() {
        fields.remove("status");
    }
    let text = value.to_string().into_bytes();
    decode_json::decode(crate::schema(), ty, text, FieldValidation::Ignore).ok().map(|decoded| decoded.tree)
}

/// Runs everything on one object and says what does not hold.
fn judge(strategy: &Strategy, mut tree: Tree, other: &Tree) -> Result<(), String> {
    default_all(strategy, &mut tree);
    let defaulted = shown(&tree);
    default_all(strategy, &mut tree);
    if shown(&tree) != defaulted {
        return Err(format!("defaulting twice: {defaulted}\nthen {}", shown(&tree)));
    }
    gates::drop_disabled(&mut tree, None);
    requester(|requester| (strategy.prepare_create)(&mut tree, requester));
    canonical::canonicalize(crate::schema(), &mut tree);
    let mut errors = Errors::new();
    (strategy.validate_create)(&tree, &mut errors);
    (strategy.warn_create)(&tree, &mut Vec::new());
    for column in [
        "Status",
        "Ready",
        "Age",
        "Name",
        "Restarts",
        "Targets",
        "Selector",
        "Request",
        "Limit",
        "Completions",
        "Roles",
    ] {
        (strategy.cell)(&tree, column, 0);
    }
    for subresource in ["", "status", "resize", "ephemeralcontainers"] {
        // Against another object nothing is said but that it is survived.
        let mut changed = tree.clone();
        (strategy.prepare_update)(&mut changed, other, subresource, 0);
        (strategy.validate_update)(&changed, other, subresource, &mut Errors::new());
        (strategy.warn_update)(&changed, other, subresource, &mut Vec::new());
        if !errors.is_empty() {
            continue;
        }
        let mut again = tree.clone();
        default_all(strategy, &mut again);
        (strategy.prepare_update)(&mut again, &tree, subresource, 0);
        canonical::canonicalize(crate::schema(), &mut again);
        let mut found = Errors::new();
        (strategy.validate_update)(&again, &tree, subresource, &mut found);
        if !found.is_empty() {
            return Err(format!("{subresource:?} of {} refuses itself: {:?}", shown(&tree), lines(found)));
        }
        if shown(&again) != shown(&tree) {
            return Err(format!("{subresource:?} changes {}\nto {}", shown(&tree), shown(&again)));
        }
    }
    Ok(())
}

fn seeds(count: u64) -> std::ops::Range<u64> {
    match std::env::var("PORTCULLIS_TEST_SEED").ok().and_then(|seed| seed.parse::<u64>().ok()) {
        Some(seed) => seed..seed + 1,
        None => 1..count + 1,
    }
}

fn type_of(group: &str, resource: &str) -> TypeId {
    let all = crate::resources().all().iter();
    all.filter(|held| (held.group, held.name) == (group, resource)).map(|held| held.type_id).next_back().unwrap()
}

#[test]
fn samples_are_taken() {
    let mut wrong = String::new();
    for (group, resource, text) in samples::ALL {
        let strategy = strategy::of(group, resource).unwrap();
        let sample: Value = serde_json::from_str(text).unwrap();
        let mut tree = decode(type_of(group, resource), &sample).unwrap();
        default_all(strategy, &mut tree);
        requester(|requester| (strategy.prepare_create)(&mut tree, requester));
        let mut errors = Errors::new();
        (strategy.validate_create)(&tree, &mut errors);
        if !errors.is_empty() {
            writeln!(wrong, "{resource}: {:?}", lines(errors)).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn rules_hold_for_changed_samples() {
    for (group, resource, text) in samples::ALL {
        let (strategy, ty) = (strategy::of(group, resource).unwrap(), type_of(group, resource));
        let sample: Value = serde_json::from_str(text).unwrap();
        let mut other = decode(ty, &sample).unwrap();
        default_all(strategy, &mut other);
        judge(strategy, decode(ty, &sample).unwrap(), &other).unwrap();
        for seed in seeds(ROUNDS) {
            let random = &mut Random::new(seed);
            let mut value = sample.clone();
            for _ in 0..=random.below(CHANGES_MAX) {
                change(&mut value, random);
            }
            if let Some(tree) = decode(ty, &value) {
                judge(strategy, tree, &other).unwrap_or_else(|why| panic!("{resource}, seed {seed}: {why}"));
            }
        }
    }
}

#[test]
fn rules_hold_for_invented_objects() {
    for (group, resource, strategy) in strategy::all() {
        let ty = type_of(group, resource);
        for seed in seeds(INVENTED) {
            let random = &mut Random::new(seed);
            let other = decode(ty, &invent(TypeRef::Object(ty), 0, random));
            let value = invent(TypeRef::Object(ty), 0, random);
            let (Some(tree), Some(other)) = (decode(ty, &value), other) else { continue };
            judge(strategy, tree, &other).unwrap_or_else(|why| panic!("{resource}, seed {seed}: {why}"));
        }
    }
}
