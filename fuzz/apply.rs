//! Server-side apply beside a model of it: what an object becomes, who owns it, and what is refused, by random managers on random objects.
//!
//! The fuzz target `apply` calls [`run`] with what the fuzzer makes, the model crate's `tests/apply_seeded.rs` with random numbers.

use std::collections::BTreeSet;

use portcullis_model::schema::field_set::PathSet;
use portcullis_model::schema::managed::{
    Application, ApplyError, Change, Manager, Managers, Operation, Unwritten, Versions, compare,
};
use portcullis_model::schema::{FieldValidation, Schema, TypeId, decode_json, encode_json};
use portcullis_model::tree::Tree;
use serde_json::{Value, json};

#[path = "apply_maker.rs"]
mod maker;
#[path = "apply_model.rs"]
mod model;

use maker::{Maker, double};
use model::{Model, Owners, Path, Set, below};

/// Every kind of list, map and struct, inside of each other, in two versions that call one field by other names.
pub const NESTED: &str = "package n
type Leafs
 name 1 always string
 number 2 optional int32
 zero 3 omitempty string
 flag 4 omitempty bool
 size 5 omitempty apimachinery.pkg.api.resource.Quantity
type Whole map-type=atomic
 name 1 omitempty string
 list 2 omitempty []string
type Item
 name 1 always string
 port 2 omitempty int32 default=80
 value 3 omitempty string
 marks 4 omitempty map[string]string
 tags 5 omitempty []string list=set
 more 6 omitempty []Leafs list=map keys=name
 plain 7 omitempty []Leafs
 leafs 8 omitempty Leafs
 whole 9 optional Whole
type Inner
 map 1 omitempty map[string]Leafs
 whole_map 2 omitempty map[string]string map=atomic
 items 3 omitempty []Item list=map keys=name,port
 tags 4 omitempty []string list=set
 numbers 5 omitempty []int32 list=set
 whole 6 optional Whole
 leafs 7 optional Leafs
 always 8 always Leafs
 whole_leafs 9 omitempty Leafs map=atomic
type Nested
 inner 1 omitempty Inner
 pointer 2 optional Inner
 items 3 always []Item list=map keys=name
 labels 4 omitempty map[string]string
 plain 5 omitempty []string
type OtherNested
 inside 1 omitempty Inner
 pointer 2 optional Inner
 items 3 always []Item list=map keys=name
 labels 4 omitempty map[string]string
 plain 5 omitempty []string
";

/// The managers of a sequence.
const MANAGERS: [&str; 3] = ["a", "b", "c"];
/// Most writes of a sequence.
const WRITES_MAX: usize = 12;

/// Where choices come from: a generator, or the bytes of a fuzzer.
pub trait Choices {
    /// A number below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize;

    /// True once in `times`.
    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// The choices that bytes make; the first one everywhere once there are no more.
pub struct Bytes<'a>(pub &'a [u8]);

impl Choices for Bytes<'_> {
    fn below(&mut self, end: usize) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first) % end
    }
}

/// A kind in all its versions.
pub struct Kind<'a> {
    pub schema: &'a Schema,
    /// Each with its type.
    pub versions: Vec<(&'static str, TypeId)>,
    /// Fields that one version calls by another name, both at the top.
    pub renamed: Option<(&'static str, &'static str)>,
}

impl Kind<'_> {
    fn ty(&self, version: &str) -> TypeId {
        self.versions.iter().find(|(name, _)| *name == version).expect("a version").1
    }

    fn read(&self, version: &str, value: &Value) -> Tree {
        let text = value.to_string().into_bytes();
        decode_json::decode(self.schema, self.ty(version), text, FieldValidation::Ignore).expect("valid JSON").tree
    }

    fn read_as_given(&self, version: &str, value: &Value) -> Tree {
        let text = value.to_string().into_bytes();
        let decoded = decode_json::decode_as_given(self.schema, self.ty(version), text, FieldValidation::Ignore);
        decoded.expect("valid JSON").tree
    }

    fn write(&self, tree: &Tree) -> Value {
        serde_json::from_slice(&encode_json::to_vec(self.schema, tree)).expect("our own JSON")
    }

    /// The value as it is stored and read back.
    fn canonical(&self, version: &str, value: &Value) -> Value {
        self.write(&self.read(version, value))
    }

    fn convert_value(&self, value: &Value, from: &str, to: &str) -> Value {
        let mut value = self.canonical(from, value);
        if let (Some((first, second)), Some(members)) = (self.renamed, value.as_object_mut())
            && from != to
        {
            let (old, new) = if from == self.versions[0].0 { (first, second) } else { (second, first) };
            if let Some(held) = members.remove(old) {
                members.insert(new.to_owned(), held);
            }
        }
        self.canonical(to, &value)
    }
}

impl Versions for Kind<'_> {
    fn type_of(&self, version: &str) -> Option<(&Schema, TypeId)> {
        self.versions.iter().find(|(name, _)| *name == version).map(|(_, ty)| (self.schema, *ty))
    }

    fn convert(&self, tree: &Tree, from: &str, to: &str) -> Option<Tree> {
        Some(self.read(to, &self.convert_value(&self.write(tree), from, to)))
    }
}

/// An object as the engine sees it.
struct Engine<'a> {
    kind: &'a Kind<'a>,
    object: Value,
    managers: Managers,
    now: i64,
}

impl Engine<'_> {
    fn live(&self, version: &str) -> Tree {
        self.kind.read(version, &self.kind.convert_value(&self.object, self.kind.versions[0].0, version))
    }

    fn apply(&mut self, name: &str, version: &str, given: &Value, force: bool) -> Result<bool, ApplyError> {
        self.now += 1;
        let said = self.kind.read_as_given(version, given);
        let application = Application {
            manager: Manager::of_apply(name, version, ""),
            given: &said,
            unwritten: &Unwritten::default(),
            force,
            now: self.now,
        };
        let outcome = self.managers.apply(self.kind, &self.live(version), application)?;
        if let Some(tree) = &outcome {
            self.object = self.kind.convert_value(&self.kind.write(tree), version, self.kind.versions[0].0);
        }
        Ok(outcome.is_some())
    }

    fn update(&mut self, name: &str, version: &str, new: &Value) {
        self.now += 1;
        let (old, new) = (self.live(version), self.kind.read(version, new));
        let comparison = compare(self.kind.schema, &old, &new).expect("it has paths");
        // Who updates through another version is another manager; the name says which, as the model has it.
        let manager = Manager::of_update(&format!("{name} {version}"), "", version, "");
        let change = Change { manager, comparison, unwritten: &Unwritten::default(), now: Some(self.now) };
        let kind = self.kind;
        self.managers.update(change, &mut |other| {
            compare(kind.schema, &kind.convert(&old, version, other)?, &kind.convert(&new, version, other)?).ok()
        });
        self.object = kind.convert_value(&kind.write(&new), version, kind.versions[0].0);
    }

    fn owners(&self) -> Owners {
        let owned = self.managers.entries.iter().map(|entry| {
            let text = entry.fields.to_json();
            assert_eq!(PathSet::read(&text).expect("our own set").to_json(), text);
            let manager = &entry.manager;
            ((manager.name.clone(), manager.operation), (manager.api_version.clone(), members(&text)))
        });
        owned.collect()
    }
}

/// Runs a sequence of writes through both, and says how many there were.
pub fn run(kind: &Kind<'_>, choices: &mut dyn Choices) -> usize {
    let first = kind.versions[0].0;
    let empty = kind.canonical(first, &json!({}));
    let mut engine = Engine { kind, object: empty.clone(), managers: Managers::default(), now: 0 };
    let mut model = Model::new(kind, empty);
    let mut maker = Maker::new(kind.schema, choices);
    let writes = 1 + maker.choices.below(WRITES_MAX);
    let mut log: Vec<String> = Vec::new();
    for _ in 0..writes {
        let name = MANAGERS[maker.choices.below(MANAGERS.len())];
        let version = kind.versions[maker.choices.below(kind.versions.len())].0;
        let mut given = Value::Object(maker.object(kind.ty(version), 0, false));
        match maker.choices.below(5) {
            0 => {
                log.push(format!("{name} {version} puts {given}"));
                given = kind.canonical(version, &given);
                double(&mut given, maker.choices);
                engine.update(name, version, &given);
                model.update(name, version, &given);
            }
            1 => {
                // A patch: some members of the object are others.
                let mut patched = kind.convert_value(&engine.object, first, version);
                if let (Some(members), Value::Object(given)) = (patched.as_object_mut(), given) {
                    members.extend(given.into_iter().filter(|_| maker.choices.once_in(2)));
                }
                log.push(format!("{name} {version} patches to {patched}"));
                patched = kind.canonical(version, &patched);
                engine.update(name, version, &patched);
                model.update(name, version, &patched);
            }
            _ => {
                let force = maker.choices.once_in(2);
                log.push(format!("{name} {version} applies by force? {force} {given}"));
                apply(&mut engine, &mut model, (name, version), &given, force, &log);
            }
        }
        let what = || format!("{}\n", log.join("\n"));
        assert_eq!(engine.object, model.object, "{}", what());
        assert_eq!(differing(&engine.owners(), &model.owners), Vec::<String>::new(), "{}", what());
    }
    writes
}

/// What only one of them says.
fn differing(engine: &Owners, model: &Owners) -> Vec<String> {
    let flat = |owners: &Owners| {
        let paths = |(who, (version, set)): (&(String, Operation), &(String, Set))| {
            set.iter().map(|path| format!("{who:?} {version} {}", path.concat())).collect::<Vec<_>>()
        };
        owners.iter().flat_map(paths).collect::<BTreeSet<String>>()
    };
    let (engine, model) = (flat(engine), flat(model));
    let only_engine = engine.difference(&model).map(|said| format!("only the engine: {said}"));
    only_engine.chain(model.difference(&engine).map(|said| format!("only the model: {said}"))).collect()
}

/// Applies in both, and asks of the engine what must hold of any apply.
fn apply(
    engine: &mut Engine<'_>,
    model: &mut Model<'_>,
    (name, version): (&str, &str),
    given: &Value,
    force: bool,
    log: &[String],
) {
    let what = || format!("{}\n", log.join("\n"));
    let before = (engine.object.clone(), engine.managers.clone());
    let expected = model.apply(name, version, given, force);
    match engine.apply(name, version, given, force) {
        Ok(_) => {
            assert_eq!(expected, Ok(()), "{}", what());
            let first = (engine.object.clone(), engine.owners());
            match engine.apply(name, version, given, false) {
                Ok(_) => {
                    assert_eq!(model.apply(name, version, given, false), Ok(()), "{}", what());
                    // Again, it changes nothing. But a container that lost its last member is not there any more, and one that is wanted
                    // empty is made by the next apply, in upstream as here; so is an empty list that was a null.
                    if !says_nothing(given) {
                        assert_eq!((&engine.object, engine.owners()), (&first.0, first.1), "{}", what());
                    }
                }
                // A zero that is not stored is new each time, and conflicts with whoever said it, too.
                Err(error) => assert!(model.apply(name, version, given, false).is_err(), "{error:?} {}", what()),
            }
        }
        Err(ApplyError::Conflicts(found)) => {
            let found: Owners = found
                .iter()
                .map(|conflict| {
                    let manager = &conflict.manager;
                    let paths = members(&conflict.fields.to_json());
                    ((manager.name.clone(), manager.operation), (manager.api_version.clone(), paths))
                })
                .collect();
            assert_eq!(expected, Err(found), "{}", what());
            assert_eq!((&engine.object, &engine.managers), (&before.0, &before.1), "{}", what());
        }
        Err(error) => panic!("{error:?} {}", what()),
    }
}

/// Whether a null or an empty container is in a value.
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.is_empty() || members.values().any(says_nothing),
        Value::Array(elements) => elements.is_empty() || elements.iter().any(says_nothing),
        _ => value.is_null(),
    }
}

/// The paths of a text of `fieldsV1`.
fn members(fields: &str) -> Set {
    let mut members = Set::new();
    let mut open: Vec<(Path, Value)> = vec![(Path::new(), serde_json::from_str(fields).expect("our own JSON"))];
    while let Some((path, value)) = open.pop() {
        let inner = value.as_object().expect("an object");
        if !path.is_empty() && (inner.is_empty() || inner.contains_key(".")) {
            members.insert(path.clone());
        }
        open.extend(
            inner.iter().filter(|(step, _)| *step != ".").map(|(step, value)| (below(&path, step), value.clone())),
        );
    }
    members
}
