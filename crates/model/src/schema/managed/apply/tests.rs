//! Tables of server-side apply: what an object becomes, who owns it then, and what is refused.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;
use crate::schema::decode_json::{self, FieldValidation};
use crate::schema::managed::{Change, Operation};

const TABLE: &str = include_str!("../tests.facts");

/// One type, and the same with another name of a field as the version `v2`.
pub(super) struct Types(pub Schema);

impl Types {
    pub fn new() -> Types {
        Types(Schema::load([TABLE]).unwrap())
    }

    fn ty(&self, version: &str) -> TypeId {
        self.0.by_name(if version == "v2" { "t.OtherThing" } else { "t.Thing" }).unwrap()
    }

    pub fn read(&self, version: &str, text: &str) -> Tree {
        let text = text.as_bytes().to_vec();
        decode_json::decode(&self.0, self.ty(version), text, FieldValidation::Ignore).unwrap().tree
    }

    fn read_as_given(&self, version: &str, text: &str) -> Tree {
        let text = text.as_bytes().to_vec();
        decode_json::decode_as_given(&self.0, self.ty(version), text, FieldValidation::Ignore).unwrap().tree
    }

    pub fn text(&self, tree: &Tree) -> String {
        String::from_utf8(encode_json::to_vec(&self.0, tree)).unwrap()
    }
}

impl Versions for Types {
    fn type_of(&self, version: &str) -> Option<(&Schema, TypeId)> {
        ["v1", "v2"].contains(&version).then(|| (&self.0, self.ty(version)))
    }

    fn convert(&self, tree: &Tree, from: &str, to: &str) -> Option<Tree> {
        let text = self.text(tree);
        let text = match (from, to) {
            ("v1", "v2") => text.replace(r#""labels":"#, r#""marks":"#),
            ("v2", "v1") => text.replace(r#""marks":"#, r#""labels":"#),
            _ => text,
        };
        self.type_of(to).map(|_| self.read(to, &text))
    }
}

/// An object as it is stored, in `v1`.
pub(super) struct Object {
    pub types: Types,
    pub tree: Tree,
    pub managers: Managers,
    pub now: i64,
}

impl Object {
    pub fn new() -> Object {
        let types = Types::new();
        let tree = types.read("v1", "{}");
        Object { types, tree, managers: Managers::default(), now: 0 }
    }

    fn manager(name: &str, operation: Operation, version: &str) -> Manager {
        Manager { name: name.into(), operation, api_version: version.into(), subresource: String::new() }
    }

    /// Applies, and says whether anything changed.
    pub fn try_apply(&mut self, version: &str, name: &str, text: &str, force: bool) -> Result<bool, ApplyError> {
        self.apply_without(&Unwritten::default(), version, name, text, force)
    }

    fn apply_without(
        &mut self,
        unwritten: &Unwritten,
        version: &str,
        name: &str,
        text: &str,
        force: bool,
    ) -> Result<bool, ApplyError> {
        self.now += 1;
        let given = self.types.read_as_given(version, text);
        let manager = Self::manager(name, Operation::Apply, version);
        let live = self.types.convert(&self.tree, "v1", version).unwrap_or_else(|| self.tree.clone());
        let application = Application { manager, given: &given, unwritten, force, now: self.now };
        let outcome = self.managers.apply(&self.types, &live, application)?;
        if let Some(tree) = &outcome {
            self.tree = self.types.convert(tree, version, "v1").unwrap();
        }
        Ok(outcome.is_some())
    }

    pub fn apply(&mut self, name: &str, text: &str) -> bool {
        self.try_apply("v1", name, text, false).unwrap()
    }

    /// Replaces the object.
    pub fn put(&mut self, name: &str, text: &str) {
        self.now += 1;
        let new = self.types.read("v1", text);
        let comparison = compare(&self.types.0, &self.tree, &new).unwrap();
        let manager = Self::manager(name, Operation::Update, "v1");
        let nothing = Unwritten::default();
        let change = Change { manager, comparison, unwritten: &nothing, now: Some(self.now) };
        let (types, old) = (&self.types, &self.tree);
        self.managers.update(change, &mut |version| {
            let (old, new) = (types.convert(old, "v1", version)?, types.convert(&new, "v1", version)?);
            compare(&types.0, &old, &new).ok()
        });
        self.tree = new;
    }

    /// What is there, without zeros that are written though nobody set them.
    pub fn text(&self) -> String {
        let mut value: Value = serde_json::from_str(&self.types.text(&self.tree)).unwrap();
        let object = value.as_object_mut().unwrap();
        for name in ["share", "whole_share"] {
            let Some(share) = object.get_mut(name).and_then(Value::as_object_mut) else { continue };
            share.remove("inner");
            share.retain(|name, value| name != "size" || value != "0");
        }
        object.retain(|name, value| match name.as_str() {
            "spec" => *value != json!({"name": ""}),
            "share" | "whole_share" => *value != json!({}),
            _ => !value.is_null(),
        });
        value.to_string()
    }

    /// `name fields time` of each, in the order of names.
    fn owners(&self) -> Vec<String> {
        let shown = |entry: &Entry| {
            let time = entry.time.map_or_else(|| "-".to_owned(), |time| time.to_string());
            format!("{} {} {time}", entry.manager.name, entry.fields.to_json())
        };
        let mut owners: Vec<String> = self.managers.entries.iter().map(shown).collect();
        owners.sort();
        owners
    }
}

#[test]
fn what_an_object_becomes() {
    let check = |live: &str, applied: &str, expected: &str| {
        let mut object = Object::new();
        object.put("u", live);
        object.try_apply("v1", "a", applied, true).unwrap();
        let expected: Value = serde_json::from_str(expected).unwrap();
        assert_eq!(object.text(), expected.to_string(), "{live} {applied}");
    };
    check("{}", "{}", "{}");
    // Maps and structs, key by key.
    check(
        r#"{"labels":{"a":"1","b":"1"}}"#,
        r#"{"labels":{"b":"2","c":"2"}}"#,
        r#"{"labels":{"a":"1","b":"2","c":"2"}}"#,
    );
    check(r#"{"labels":{"a":"1"}}"#, r#"{"labels":{}}"#, r#"{"labels":{"a":"1"}}"#);
    check(r#"{"labels":{"a":"1"}}"#, r#"{"labels":null}"#, r#"{"labels":{"a":"1"}}"#);
    // What is one value is replaced.
    check(r#"{"whole":{"a":"1"}}"#, r#"{"whole":{"b":"1"}}"#, r#"{"whole":{"b":"1"}}"#);
    check(r#"{"plain":["a","b"]}"#, r#"{"plain":["b"]}"#, r#"{"plain":["b"]}"#);
    check(r#"{"ref":{"name":"x"}}"#, r#"{"ref":{}}"#, r#"{"ref":{}}"#);
    check(r#"{"plain":["a"]}"#, r#"{"plain":null}"#, "{}");
    check(r#"{"plain":["a"]}"#, r#"{"plain":[]}"#, "{}");
    check(r#"{"ref":{"name":"a"}}"#, r#"{"ref":null}"#, "{}");
    check(r#"{"whole":{"a":"1"}}"#, r#"{"whole":{}}"#, "{}");
    check(r#"{"whole_share":{"name":"a"}}"#, r#"{"whole_share":{}}"#, "{}");
    check(r#"{"share":{"name":"x"}}"#, r#"{"share":{"name":""}}"#, "{}");
    // Elements stand as they are applied; those that only the object has keep their place between them, as far as the others let them.
    check(r#"{"tags":["a","b","c"]}"#, r#"{"tags":["c","x","a"]}"#, r#"{"tags":["b","c","x","a"]}"#);
    check(r#"{"tags":["a","b","c"]}"#, r#"{"tags":["x","b"]}"#, r#"{"tags":["a","x","b","c"]}"#);
    check(r#"{"tags":["a","b"]}"#, r#"{"tags":["x"]}"#, r#"{"tags":["a","b","x"]}"#);
    check(r#"{"tags":["a"]}"#, r#"{"tags":[]}"#, r#"{"tags":["a"]}"#);
    check(
        r#"{"ports":[{"port":1,"name":"a"},{"port":2}]}"#,
        r#"{"ports":[{"port":2,"name":"b"},{"port":1},{"port":3}]}"#,
        r#"{"ports":[{"port":2,"name":"b"},{"port":1,"name":"a"},{"port":3}]}"#,
    );
    // A key that is not given has its default.
    check(
        r#"{"ports":[{"port":1,"protocol":"TCP"}]}"#,
        r#"{"ports":[{"port":1,"name":"x"},{"port":1,"protocol":"UDP"}]}"#,
        r#"{"ports":[{"port":1,"protocol":"TCP","name":"x"},{"port":1,"protocol":"UDP"}]}"#,
    );
}

#[test]
fn who_applies_owns_what_was_written() {
    let check = |applied: &str, fields: &str| {
        let mut object = Object::new();
        object.apply("a", applied);
        assert_eq!(object.owners(), [format!("a {fields} 1")], "{applied}");
    };
    check(r#"{"labels":{"a":"1"}}"#, r#"{"f:labels":{"f:a":{}}}"#);
    check(r#"{"labels":{}}"#, r#"{"f:labels":{}}"#);
    check(r#"{"whole":{"a":"1"}}"#, r#"{"f:whole":{}}"#);
    check(r#"{"spec":{"replicas":0,"name":""}}"#, r#"{"f:spec":{"f:name":{},"f:replicas":{}}}"#);
    check(r#"{"spec":{"replicas":null}}"#, r#"{"f:spec":{"f:replicas":{}}}"#);
    check(r#"{"plain":[]}"#, r#"{"f:plain":{}}"#);
    check(r#"{"tags":["b","a"]}"#, r#"{"f:tags":{"v:\"a\"":{},"v:\"b\"":{}}}"#);
    check(r#"{"ports":[{"port":1}]}"#, r#"{"f:ports":{"k:{\"port\":1,\"protocol\":\"TCP\"}":{".":{},"f:port":{}}}}"#);
    // Nothing, or a list without elements, is nobody's.
    let mut object = Object::new();
    object.apply("a", r#"{"tags":[]}"#);
    assert_eq!(object.owners(), [""; 0]);
}

#[test]
fn what_is_left_out_goes_unless_somebody_else_owns_it() {
    let mut object = Object::new();
    object.apply(
        "a",
        r#"{"labels":{"x":"1","y":"1","z":"1"},"tags":["s","t"],"ports":[{"port":1,"name":"n"},{"port":2}]}"#,
    );
    object.apply("b", r#"{"labels":{"y":"1"},"tags":["t"],"ports":[{"port":2}]}"#);
    object.apply("a", r#"{"labels":{"z":"1"}}"#);
    assert_eq!(object.text(), r#"{"labels":{"y":"1","z":"1"},"ports":[{"port":2}],"tags":["t"]}"#);
    // Whoever changes a value by an update has it, and it stays when its applier leaves it out.
    object.put("u", r#"{"labels":{"y":"1","z":"2"},"ports":[{"port":2}],"tags":["t"]}"#);
    object.apply("a", r#"{"plain":["p"]}"#);
    object.apply("b", "{}");
    assert_eq!(object.text(), r#"{"labels":{"z":"2"},"plain":["p"]}"#);
    assert_eq!(object.owners(), [r#"a {"f:plain":{}} 5"#, r#"u {"f:labels":{"f:z":{}}} 4"#]);
    // An element goes with what its applier never had in it.
    let mut object = Object::new();
    object.apply("a", r#"{"ports":[{"port":1}]}"#);
    object.put("u", r#"{"ports":[{"port":1,"name":"n"}]}"#);
    object.apply("a", "{}");
    assert_eq!((object.text().as_str(), object.owners()), ("{}", vec![]));
    // A field that is made null or zero goes as well.
    let mut object = Object::new();
    object.apply("a", r#"{"spec":{"replicas":3},"share":{"name":"x"}}"#);
    object.apply("a", r#"{"spec":{"replicas":null},"share":{"name":""}}"#);
    assert_eq!(object.text(), "{}");
}

#[test]
fn conflicts() {
    let mut object = Object::new();
    object.apply("a", r#"{"labels":{"x":"1","y":"1"},"plain":["a"],"ports":[{"port":1,"name":"n"}]}"#);
    object.apply("b", r#"{"labels":{"x":"1"}}"#);
    object.put("u", r#"{"labels":{"x":"1","y":"1","u":"1"},"plain":["a"],"ports":[{"port":1,"name":"n"}]}"#);
    let before = (object.text(), object.owners());
    let wanted = r#"{"labels":{"x":"2","y":"1","u":"2"},"plain":["b"],"ports":[{"port":1,"name":"m"}]}"#;
    let Err(ApplyError::Conflicts(found)) = object.try_apply("v1", "c", wanted, false) else { panic!("no conflict") };
    let shown: Vec<_> = found.iter().map(|conflict| (&*conflict.manager.name, conflict.fields.paths())).collect();
    let port = r#".ports[port=1,protocol="TCP"].name"#.to_owned();
    assert_eq!(
        shown,
        [
            ("a", vec![".plain".to_owned(), ".labels.x".to_owned(), port]),
            ("b", vec![".labels.x".to_owned()]),
            ("u", vec![".labels.u".to_owned()]),
        ]
    );
    assert_eq!((object.text(), object.owners()), before);
    // By force they lose what changes, and keep the rest.
    assert!(object.try_apply("v1", "c", wanted, true).unwrap());
    assert_eq!(
        object.owners(),
        [
            r#"a {"f:labels":{"f:y":{}},"f:ports":{"k:{\"port\":1,\"protocol\":\"TCP\"}":{".":{},"f:port":{}}}} 1"#,
            concat!(
                r#"c {"f:labels":{"f:u":{},"f:x":{},"f:y":{}},"f:plain":{},"#,
                r#""f:ports":{"k:{\"port\":1,\"protocol\":\"TCP\"}":{".":{},"f:name":{},"f:port":{}}}} 5"#
            ),
        ]
    );
    // What another says in the same words is shared.
    assert!(object.apply("d", r#"{"labels":{"x":"2"}}"#));
}

#[test]
fn another_spelling_is_another_value() {
    let mut object = Object::new();
    object.put("u", r#"{"share":{"size":"500m"}}"#);
    let conflicts = |object: &mut Object, text: &str| object.try_apply("v1", "a", text, false).is_err();
    assert!(conflicts(&mut object, r#"{"share":{"size":"0.5"}}"#));
    assert!(!conflicts(&mut object, r#"{"share":{"size":"500m"}}"#));
    // It is stored in its canonical form.
    let mut object = Object::new();
    object.put("u", r#"{"share":{"size":"2"}}"#);
    assert!(object.try_apply("v1", "a", r#"{"share":{"size":2}}"#, true).unwrap());
    assert_eq!(object.text(), r#"{"share":{"size":"2"}}"#);
    assert_eq!(object.owners(), [r#"a {"f:share":{"f:size":{}}} 2"#]);
}

#[test]
fn nothing_new_changes_nothing() {
    let check = |applied: &str| {
        let mut object = Object::new();
        object.apply("a", applied);
        let before = (object.text(), object.owners());
        assert!(!object.apply("a", applied), "{applied}");
        assert_eq!((object.text(), object.owners()), before);
    };
    check(
        r#"{"labels":{"a":"1"},"spec":{"replicas":0},"plain":["x"],"tags":["b","a"],"ports":[{"port":1},{"port":2}]}"#,
    );
    check(r#"{"ref":{},"whole":{"a":"b"},"share":{"size":"1"}}"#);
    // Who applies what is there owns it, without a time: the object did not change.
    let mut object = Object::new();
    object.put("u", r#"{"labels":{"a":"1"}}"#);
    assert!(object.apply("a", r#"{"labels":{"a":"1"}}"#));
    assert_eq!(object.owners()[0], r#"a {"f:labels":{"f:a":{}}} -"#);
    // The order of elements is a change, and so is a zero that is the same as absent.
    object.put("u", r#"{"tags":["a","b"]}"#);
    object.apply("b", r#"{"tags":["b","a"]}"#);
    object.apply("c", r#"{"share":{"name":""}}"#);
    let owners = object.owners();
    assert_eq!(owners[0], r#"b {"f:tags":{"v:\"a\"":{},"v:\"b\"":{}}} 4"#);
    assert_eq!(owners[1], r#"c {"f:share":{"f:name":{}}} 5"#);
}

#[test]
fn versions() {
    let mut object = Object::new();
    object.try_apply("v1", "a", r#"{"labels":{"x":"1","y":"1"}}"#, false).unwrap();
    // The same field has another name in the other version, and the same owner.
    let Err(ApplyError::Conflicts(found)) = object.try_apply("v2", "b", r#"{"marks":{"x":"2"}}"#, false) else {
        panic!("no conflict")
    };
    assert_eq!(found[0].fields.paths(), [".labels.x"]);
    object.try_apply("v2", "b", r#"{"marks":{"x":"2"}}"#, true).unwrap();
    assert_eq!(object.owners(), [r#"a {"f:labels":{"f:y":{}}} 1"#, r#"b {"f:marks":{"f:x":{}}} 3"#]);
    // A manager that goes over to another version stays the same one, and what it leaves out goes.
    object.try_apply("v2", "a", r#"{"marks":{"z":"1"}}"#, false).unwrap();
    assert_eq!(object.text(), r#"{"labels":{"x":"2","z":"1"}}"#);
    assert_eq!(object.owners(), [r#"a {"f:marks":{"f:z":{}}} 4"#, r#"b {"f:marks":{"f:x":{}}} 3"#]);
    // Who owns paths of a version that is gone owns nothing any more.
    object.managers.entries[0].manager.api_version = "v0".into();
    object.apply("c", r#"{"tags":["t"]}"#);
    let gone = object.owners();
    assert_eq!(gone.len(), 2, "{gone:?}");
    assert!(matches!(object.try_apply("v0", "c", "{}", false), Err(ApplyError::NoVersion)));
}

#[test]
fn what_a_door_does_not_write_is_nobodys() {
    let mut object = Object::new();
    let ignored = Unwritten::from(PathSet::of_fields(&[&["labels"]]));
    object.put("u", r#"{"labels":{"x":"1"}}"#);
    object.apply_without(&ignored, "v1", "a", r#"{"labels":{"x":"2"},"plain":["p"]}"#, false).unwrap();
    assert_eq!(object.owners(), [r#"a {"f:plain":{}} 2"#, r#"u {"f:labels":{".":{},"f:x":{}}} 1"#]);
}

#[test]
fn elements_that_are_there_twice() {
    let mut object = Object::new();
    for applied in [r#"{"tags":["a","a"]}"#, r#"{"ports":[{"port":1},{"port":1,"protocol":"TCP"}]}"#] {
        object.put("u", r#"{"tags":["b"],"ports":[{"port":2}]}"#);
        let refused = object.try_apply("v1", "a", applied, false);
        assert!(matches!(refused, Err(ApplyError::NoPaths(CompareError::Duplicate(_)))), "{applied}: {refused:?}");
    }
    // So it is where the object has none, and inside of one value.
    for applied in [
        r#"{"tags":["a","a"]}"#,
        r#"{"pairs":[{"names":["a","a"]}]}"#,
        r#"{"pairs":[{"ports":[{"port":1},{"port":1}]}]}"#,
    ] {
        let refused = Object::new().try_apply("v1", "a", applied, false);
        assert!(matches!(refused, Err(ApplyError::NoPaths(CompareError::Duplicate(_)))), "{applied}: {refused:?}");
    }
    // The object may have them: one that is applied takes their place.
    object.put("u", r#"{"ports":[{"port":1,"name":"a"},{"port":1,"name":"b"},{"port":2}]}"#);
    object.try_apply("v1", "a", r#"{"ports":[{"port":1,"name":"c"}]}"#, true).unwrap();
    assert_eq!(object.text(), r#"{"ports":[{"name":"c","port":1},{"port":2}]}"#);
}

/// All keys of a map give way to others in one walk: were each looked for from the first, this would take hours.
#[test]
fn a_long_map_is_replaced() {
    const KEYS: usize = 200_000;
    let labels = |letter: char| {
        let entries: Vec<String> = (0..KEYS).map(|at| format!("\"{letter}{at}\":\"x\"")).collect();
        format!("{{\"labels\":{{{}}}}}", entries.join(","))
    };
    let mut object = Object::new();
    assert!(object.apply("a", &labels('z')));
    assert!(object.apply("a", &labels('b')));
    let text = object.types.text(&object.tree);
    assert_eq!((text.matches("\"z").count(), text.matches("\"b").count()), (0, KEYS));
}

/// A path of a container is given up with it, not when it loses its last member: as upstream, which has a null there then.
#[test]
fn who_owns_that_a_container_is_there_keeps_it() {
    let mut object = Object::new();
    object.put("u", r#"{"labels":{"x":"1"},"tags":["s"],"empty":{"kind":"x"}}"#);
    object.put("u", r#"{"labels":{"y":"1"},"tags":["t"],"empty":{}}"#);
    let taken = r#"{"labels":{"y":"2"},"tags":["t"],"empty":{"kind":"y"}}"#;
    object.try_apply("v1", "a", taken, true).unwrap();
    object.put("w", r#"{"labels":{"y":"2"},"tags":["t"],"empty":{"kind":"y"},"plain":["p"]}"#);
    object.put("u", r#"{"labels":{"y":"2"},"empty":{"kind":"y"},"plain":["p"]}"#);
    object.apply("a", "{}");
    assert_eq!(object.text(), r#"{"plain":["p"]}"#);
    assert_eq!(object.owners(), [r#"u {"f:empty":{},"f:labels":{}} 2"#, r#"w {"f:plain":{}} 4"#]);
}

/// What is one value and leaves out what is always written is never what is stored: others who say the same conflict.
#[test]
fn half_of_one_value_is_another_value() {
    let mut object = Object::new();
    object.apply("a", r#"{"whole_share":{"name":"x"},"labels":{"l":"1"}}"#);
    let said = |object: &mut Object, text: &str| object.try_apply("v1", "b", text, false).is_err();
    assert!(said(&mut object, r#"{"whole_share":{"name":"x"}}"#));
    assert!(!said(&mut object, r#"{"labels":{"l":"1"}}"#));
    // Taken apart, it is compared field by field.
    object.apply("a", r#"{"share":{"name":"x"}}"#);
    assert!(!said(&mut object, r#"{"share":{"name":"x"}}"#));
}

#[test]
fn the_order_of_elements_that_are_there_twice() {
    let check = |live: &str, applied: &str, expected: &str| {
        let mut object = Object::new();
        object.put("u", live);
        object.try_apply("v1", "a", applied, true).unwrap();
        assert_eq!(object.text(), expected, "{live} {applied}");
    };
    check(r#"{"tags":["a","b","a"]}"#, r#"{"tags":["b","c"]}"#, r#"{"tags":["a","b","a","c"]}"#);
    check(r#"{"tags":["a","a","b"]}"#, r#"{"tags":["a","c","d"]}"#, r#"{"tags":["a","c","b","d"]}"#);
    check(r#"{"tags":["a","b","a","b"]}"#, r#"{"tags":["b","a","x"]}"#, r#"{"tags":["b","a","x"]}"#);
}

/// A client may send managers whose paths lead into what is one value.
#[test]
fn paths_into_one_value_become_its_path() {
    let check = |fields: &str, expected: &str| {
        let mut object = Object::new();
        let manager = Object::manager("u", Operation::Update, "v1");
        let set = PathSet::read(fields).unwrap();
        object.managers.entries.push(Entry { manager, time: Some(0), fields: set.into() });
        object.managers.reconcile(&object.types);
        assert_eq!(object.managers.entries[0].fields.to_json(), expected, "{fields}");
    };
    check(r#"{"f:whole":{"f:a":{}}}"#, r#"{"f:whole":{}}"#);
    check(r#"{"f:ref":{".":{},"f:name":{}},"f:spec":{"f:name":{}}}"#, r#"{"f:ref":{},"f:spec":{"f:name":{}}}"#);
    check(r#"{"f:plain":{"i:0":{}},"f:whole":{}}"#, r#"{"f:plain":{},"f:whole":{}}"#);
    for kept in [
        r#"{"f:labels":{".":{},"f:a":{}}}"#,
        r#"{"f:ports":{"k:{\"port\":1}":{".":{},"f:port":{}}}}"#,
        r#"{"f:nothing":{"f:a":{"f:b":{}}}}"#,
        r#"{"f:tags":{"v:\"a\"":{}},"f:whole":{}}"#,
    ] {
        check(kept, kept);
    }
    let mut gone = Object::new();
    let manager = Object::manager("u", Operation::Update, "v0");
    gone.managers.entries.push(Entry { manager, time: None, fields: PathSet::of_fields(&[&["spec"]]).into() });
    gone.managers.reconcile(&gone.types);
    assert!(gone.managers.entries.is_empty());
}
