//! Changes to trees keep their order and counts; defaults and canonical values are what upstream makes of the same objects.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../../../fuzz/checks.rs"]
#[allow(dead_code)]
mod checks;

use checks::{schema, well_formed};
use portcullis_model::schema::{FieldValidation, TypeId, canonical, decode_json, default, encode_json};
use portcullis_model::tree::{Kind, NodeId, Scalar, Tree};

fn type_of(kind: &str) -> TypeId {
    let (api_version, kind) = kind.rsplit_once('/').unwrap();
    schema().by_kind(api_version, kind).unwrap()
}

fn read(kind: &str, text: &str) -> Tree {
    decode_json::decode(schema(), type_of(kind), text.as_bytes().to_vec(), FieldValidation::Ignore).unwrap().tree
}

#[track_caller]
fn check(tree: &Tree, want: &str) {
    well_formed(tree);
    assert_eq!(String::from_utf8(encode_json::to_vec(schema(), tree)).unwrap(), want);
}

/// The number of a field of an object, by its name.
fn number(tree: &Tree, object: NodeId, name: &str) -> u16 {
    schema().ty(tree.object_type(object).unwrap()).find(name).unwrap()
}

/// The node at a path of field names from the top.
fn at(tree: &Tree, path: &str) -> NodeId {
    path.split('.').fold(tree.root(), |node, name| tree.field(node, number(tree, node, name)).unwrap())
}

fn set(tree: &mut Tree, object: NodeId, name: &str, value: Scalar<'_>) -> NodeId {
    let number = number(tree, object, name);
    tree.set(object, number, value)
}

#[test]
fn fields_are_put_in_declared_order() {
    let names = ["kind", "apiVersion", "immutable"];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut tree = Tree::new(type_of("v1/ConfigMap"));
        let root = tree.root();
        for at in order {
            let value = if at == 2 { Scalar::Bool(true) } else { Scalar::String(names[at]) };
            set(&mut tree, root, names[at], value);
        }
        check(&tree, r#"{"kind":"kind","apiVersion":"apiVersion","metadata":{},"immutable":true}"#);
    }
}

#[test]
fn a_field_is_replaced_in_its_place() {
    let mut tree = read("v1/ConfigMap", r#"{"metadata":{"name":"a","namespace":"b","uid":"c"}}"#);
    let metadata = at(&tree, "metadata");
    let before = at(&tree, "metadata.namespace");
    assert_eq!(set(&mut tree, metadata, "namespace", Scalar::String("<é>")), before);
    set(&mut tree, metadata, "generation", Scalar::Int(-5));
    set(&mut tree, metadata, "creationTimestamp", Scalar::Time(0));
    check(
        &tree,
        concat!(
            r#"{"metadata":{"name":"a","namespace":"\u003cé\u003e","uid":"c","generation":-5,"#,
            r#""creationTimestamp":"1970-01-01T00:00:00Z"}}"#
        ),
    );
    assert_eq!(tree.string(before), Some("<é>"));
    assert_eq!((tree.int(before), tree.bool(before), tree.time(before), tree.float(before)), (None, None, None, None));
    assert_eq!(tree.int(at(&tree, "metadata.generation")), Some(-5));
    assert_eq!(tree.time(at(&tree, "metadata.creationTimestamp")), Some(0));
}

#[test]
fn a_field_is_taken_out_wherever_it_stands() {
    for (name, want) in [
        ("name", r#"{"metadata":{"namespace":"b","uid":"c"}}"#),
        ("namespace", r#"{"metadata":{"name":"a","uid":"c"}}"#),
        ("uid", r#"{"metadata":{"name":"a","namespace":"b"}}"#),
    ] {
        let mut tree = read("v1/ConfigMap", r#"{"metadata":{"name":"a","namespace":"b","uid":"c"}}"#);
        let metadata = at(&tree, "metadata");
        let number = number(&tree, metadata, name);
        assert!(tree.remove(metadata, number));
        assert!(!tree.remove(metadata, number));
        check(&tree, want);
        assert_eq!(tree.field(metadata, number), None);
        assert!(!tree.remove(at(&tree, "metadata"), 99));
    }
    let mut tree = read("v1/ConfigMap", "{}");
    assert!(!tree.remove(tree.root(), 0));
}

#[test]
fn containers_are_made_once() {
    let mut tree = Tree::new(type_of("v1/ConfigMap"));
    let root = tree.root();
    let metadata_number = number(&tree, root, "metadata");
    let meta_type = schema().by_name("apimachinery.pkg.apis.meta.v1.ObjectMeta").unwrap();
    let metadata = tree.object_at(root, metadata_number, meta_type);
    assert_eq!(tree.object_at(root, metadata_number, meta_type), metadata);
    let finalizers = number(&tree, metadata, "finalizers");
    let list = tree.list_at(metadata, finalizers);
    assert!(tree.is_empty(list));
    tree.append(list, Scalar::String("a"));
    assert_eq!(tree.list_at(metadata, finalizers), list);
    tree.append(list, Scalar::String("b"));
    let owners = number(&tree, metadata, "ownerReferences");
    let owners = tree.list_at(metadata, owners);
    let owner_type = schema().by_name("apimachinery.pkg.apis.meta.v1.OwnerReference").unwrap();
    let owner = tree.append_object(owners, owner_type);
    set(&mut tree, owner, "controller", Scalar::Bool(false));
    let data = number(&tree, root, "data");
    let map = tree.map_at(root, data);
    assert_eq!(tree.map_at(root, data), map);
    tree.insert(map, "k", "v");
    check(
        &tree,
        concat!(
            r#"{"metadata":{"ownerReferences":[{"apiVersion":"","kind":"","name":"","uid":"","controller":false}],"#,
            r#""finalizers":["a","b"]},"data":{"k":"v"}}"#
        ),
    );
    assert_eq!((tree.len(list), tree.len(map), tree.len(metadata)), (2, 1, 0));
}

#[test]
fn maps_stay_sorted_through_insertions_and_removals() {
    let keys = ["m", "a", "z", "", "é", "b/c", "a"];
    let mut tree = Tree::new(type_of("v1/ConfigMap"));
    let data = number(&tree, tree.root(), "data");
    let map = tree.map_at(tree.root(), data);
    for (at, key) in keys.iter().enumerate() {
        tree.insert(map, key, &at.to_string());
        well_formed(&tree);
    }
    check(&tree, r#"{"metadata":{},"data":{"":"3","a":"6","b/c":"5","m":"0","z":"2","é":"4"}}"#);
    assert_eq!(tree.get(map, "b/c").and_then(|value| tree.string(value)), Some("5"));
    assert_eq!(tree.get(map, "b"), None);
    for (key, held) in [("m", true), ("m", false), ("", true), ("é", true), ("nothing", false)] {
        assert_eq!(tree.remove_key(map, key), held, "{key}");
        well_formed(&tree);
    }
    check(&tree, r#"{"metadata":{},"data":{"a":"6","b/c":"5","z":"2"}}"#);
    assert!(!tree.remove_key(tree.root(), "a"), "not a map");
    for key in ["a", "b/c", "z"] {
        assert!(tree.remove_key(map, key));
    }
    assert!(tree.is_empty(map));
    tree.insert(map, "again", "x");
    check(&tree, r#"{"metadata":{},"data":{"again":"x"}}"#);
}

#[test]
fn lists_keep_what_is_kept() {
    let keep = |wanted: &'static [&'static str]| {
        let mut tree = read("v1/ConfigMap", r#"{"metadata":{"finalizers":["a","b","c","d"]}}"#);
        let list = at(&tree, "metadata.finalizers");
        tree.retain(list, |tree, item| wanted.contains(&tree.string(item).unwrap()));
        well_formed(&tree);
        tree.append(list, Scalar::String("new"));
        tree
    };
    check(&keep(&["a", "b", "c", "d"]), r#"{"metadata":{"finalizers":["a","b","c","d","new"]}}"#);
    check(&keep(&["b", "d"]), r#"{"metadata":{"finalizers":["b","d","new"]}}"#);
    check(&keep(&["a"]), r#"{"metadata":{"finalizers":["a","new"]}}"#);
    check(&keep(&[]), r#"{"metadata":{"finalizers":["new"]}}"#);
}

#[test]
fn grafts_copy_everything_below() {
    let text = r#"{"metadata":{"name":"x","labels":{"b":"\"","a":"é"},"managedFields":[{"fieldsV1":{ "f:a" : {} },"time":"2026-01-02T03:04:05Z"}]},"spec":{"containers":[{"name":"c","args":["1","2"],"resources":{"limits":{"cpu":"1000m"}}}],"priority":0}}"#;
    let from = read("v1/Pod", text);
    let mut to = read("v1/Pod", r#"{"kind":"Pod","metadata":{"name":"y"},"spec":{"nodeName":"n"}}"#);
    for name in ["metadata", "spec"] {
        let root = to.root();
        let field = number(&to, root, name);
        to.graft(root, field, &from, at(&from, name));
        well_formed(&to);
    }
    drop(from);
    check(
        &to,
        concat!(
            r#"{"kind":"Pod","metadata":{"name":"x","labels":{"a":"é","b":"\""},"managedFields":[{"time":"2026-01-02T03:04:05Z","#,
            r#""fieldsV1":{"f:a":{}}}]},"spec":{"containers":[{"name":"c","args":["1","2"],"resources":{"limits":{"cpu":"1"}}}],"#,
            r#""priority":0},"status":{}}"#
        ),
    );
    let other = to.clone();
    let containers = at(&to, "spec.containers");
    let first = other.children(at(&other, "spec.containers")).next().unwrap();
    to.append_graft(containers, &other, first);
    well_formed(&to);
    assert_eq!(to.len(containers), 2);
    let names: Vec<_> =
        to.children(containers).map(|one| to.string(to.field(one, number(&to, one, "name")).unwrap())).collect();
    assert_eq!(names, [Some("c"), Some("c")]);
}

#[test]
fn what_is_asked_of_the_wrong_node_is_nothing() {
    let tree = read("v1/ConfigMap", r#"{"metadata":{"name":"a"},"data":{"k":"v"}}"#);
    let name = at(&tree, "metadata.name");
    assert_eq!(tree.kind(name), Kind::String);
    assert_eq!(tree.field(name, 0), None);
    assert_eq!(tree.children(name).count() + tree.entries(name).count() + tree.len(name), 0);
    assert_eq!(tree.object_type(name), None);
    assert_eq!(tree.get(name, "k"), None);
    assert_eq!(tree.children(at(&tree, "data")).count(), 0, "a map has entries, not children");
    assert_eq!(tree.entries(tree.root()).count(), 0);
    // A node of another tree reads something, and never out of bounds.
    let small = Tree::new(type_of("v1/ConfigMap"));
    assert_eq!(small.kind(name), Kind::Object);
}

#[test]
fn defaults_are_set_where_fields_are_absent() {
    let check_defaults = |kind: &str, text: &str, want: &[&str]| {
        let mut tree = read(kind, text);
        default::apply(schema(), &mut tree);
        well_formed(&tree);
        let text = String::from_utf8(encode_json::to_vec(schema(), &tree)).unwrap();
        for part in want {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        default::apply(schema(), &mut tree);
        check(&tree, &text);
    };
    check_defaults(
        "v1/Service",
        r#"{"spec":{"ports":[{"port":80},{"port":53,"protocol":"UDP"}]}}"#,
        &[r#""protocol":"TCP","port":80"#, r#""protocol":"UDP","port":53"#],
    );
    check_defaults("v1/Pod", r#"{"spec":{"containers":[{"ports":[{}]},null]}}"#, &[r#""protocol":"TCP""#]);
    check_defaults("v1/ConfigMap", r#"{"data":{}}"#, &[r#"{"metadata":{}}"#]);
}

#[test]
fn the_canonical_value_is_what_protobuf_carries() {
    for (kind, text, want) in [
        ("v1/ConfigMap", r#"{"data":{},"metadata":{"labels":{},"finalizers":[]}}"#, r#"{"metadata":{}}"#),
        ("v1/Pod", r#"{"spec":{"containers":[]}}"#, r#"{"metadata":{},"spec":{"containers":null},"status":{}}"#),
        (
            "v1/Pod",
            r#"{"spec":{"containers":[{"args":[]},null]}}"#,
            r#"{"metadata":{},"spec":{"containers":[{"name":"","resources":{}},{"name":"","resources":{}}]},"status":{}}"#,
        ),
        ("v1/ConfigMap", r#"{"binaryData":{"a":null,"b":""}}"#, r#"{"metadata":{},"binaryData":{"a":"","b":""}}"#),
        (
            "v1/ConfigMap",
            r#"{"metadata":{"managedFields":[{"fieldsV1":{ }}]}}"#,
            r#"{"metadata":{"managedFields":[{"fieldsV1":{}}]}}"#,
        ),
    ] {
        let mut tree = read(kind, text);
        canonical::canonicalize(schema(), &mut tree);
        check(&tree, want);
        canonical::canonicalize(schema(), &mut tree);
        check(&tree, want);
    }
}
