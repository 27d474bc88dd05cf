//! What must hold of every body, valid or not. The fuzz targets beside this file call it with what the fuzzer makes, the model's
//! `tests/fuzz_seeded.rs` with mutated random objects.
//!
//! A check ends silently when a body is refused, and panics when a rule is broken.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use portcullis_model::schema::decode_protobuf::Envelope;
use portcullis_model::schema::{
    DecodeError, FieldValidation, Schema, TypeId, canonical, decode_json, decode_protobuf, default, encode_json,
    encode_protobuf,
};
use portcullis_model::tree::{Kind, NodeId, Tree};

/// The types of the API.
pub fn schema() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|up| up.join("crates/kinds/facts/v1_36"));
        let folder = folder.into_iter().find(|folder| folder.is_dir()).expect("the facts are in the tree");
        let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| !path.ends_with("resources.facts") && !path.ends_with("columns.facts"));
        paths.sort();
        let tables: Vec<String> = paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
        Schema::load(tables.iter().map(String::as_str)).unwrap()
    })
}

/// The types that are served or stored as objects.
pub fn kinds() -> &'static [TypeId] {
    static KINDS: OnceLock<Vec<TypeId>> = OnceLock::new();
    KINDS.get_or_init(|| schema().types().filter(|(_, ty)| !ty.gvks.is_empty()).map(|(id, _)| id).collect())
}

/// A type from the first two bytes of the fuzzer's input, and the rest.
pub fn kind_and_body(input: &[u8]) -> Option<(TypeId, &[u8])> {
    let (number, body) = input.split_first_chunk()?;
    Some((kinds()[u16::from_le_bytes(*number) as usize % kinds().len()], body))
}

fn text(tree: &Tree) -> String {
    String::from_utf8(encode_json::to_vec(schema(), tree)).expect("JSON is UTF-8")
}

fn read(ty: TypeId, text: &str) -> Tree {
    match decode_json::decode(schema(), ty, text.as_bytes().to_vec(), FieldValidation::Strict) {
        Ok(decoded) => {
            assert_eq!(decoded.findings, Vec::<String>::new(), "findings in our own {text}");
            decoded.tree
        }
        Err(error) => panic!("our own JSON is refused: {error}: {text}"),
    }
}

/// A JSON body: what is written after reading it is read as the same, and protobuf carries its canonical value.
pub fn json(ty: TypeId, body: &[u8]) {
    let strict = decode_json::decode(schema(), ty, body.to_vec(), FieldValidation::Strict);
    let ignoring = decode_json::decode(schema(), ty, body.to_vec(), FieldValidation::Ignore);
    let (strict, ignoring) = match (strict, ignoring) {
        (Ok(strict), Ok(ignoring)) => (strict, ignoring),
        (Err(one), Err(other)) => return assert_eq!(one, other, "validation changes an error"),
        (one, other) => panic!("validation changes success: {:?} {:?}", one.err(), other.err()),
    };
    let mut tree = strict.tree;
    well_formed(&tree);
    let first = text(&tree);
    assert_eq!(first, text(&ignoring.tree), "validation changes the object");
    let again = read(ty, &first);
    well_formed(&again);
    assert_eq!(text(&again), first, "JSON is not a fixed point");

    let mut defaulted = tree.clone();
    default::apply(schema(), &mut defaulted);
    well_formed(&defaulted);
    let once = text(&defaulted);
    default::apply(schema(), &mut defaulted);
    assert_eq!(text(&defaulted), once, "defaults are not a fixed point");

    canonical::canonicalize(schema(), &mut tree);
    drop_untagged(&mut tree);
    well_formed(&tree);
    let wire = encode_protobuf::encode(schema(), &tree);
    let back = decode_protobuf::decode(schema(), ty, &wire).expect("our own protobuf is read");
    well_formed(&back);
    assert_eq!(text(&back), text(&tree), "protobuf does not carry the canonical value");
    assert!(encode_protobuf::encode(schema(), &back) == wire, "protobuf is not a fixed point");
}

/// A protobuf body: likewise.
pub fn protobuf(ty: TypeId, body: &[u8]) {
    let Ok(tree) = decode_protobuf::decode(schema(), ty, body) else { return };
    well_formed(&tree);
    let wire = encode_protobuf::encode(schema(), &tree);
    let back = decode_protobuf::decode(schema(), ty, &wire).expect("our own protobuf is read");
    well_formed(&back);
    let first = text(&tree);
    assert_eq!(text(&back), first, "protobuf is not a fixed point");
    assert!(encode_protobuf::encode(schema(), &back) == wire, "protobuf is not a fixed point");
    // Lists are levels of JSON but not of protobuf, so what is deep enough can be said in one only.
    match decode_json::decode(schema(), ty, first.clone().into_bytes(), FieldValidation::Strict) {
        Ok(decoded) => {
            let mut tree = decoded.tree;
            canonical::canonicalize(schema(), &mut tree);
            well_formed(&tree);
            assert!(
                encode_protobuf::encode(schema(), &tree) == wire,
                "JSON does not carry what protobuf said: {first}"
            );
        }
        Err(DecodeError::TooDeep) => {}
        Err(error) => panic!("our own JSON is refused: {error}: {first}"),
    }
}

/// Bytes with the envelope that the API server and etcd put around a message.
pub fn envelope(bytes: &[u8]) {
    let Ok(read) = Envelope::read(bytes) else { return };
    let written = encode_protobuf::envelope(read.api_version, read.kind, read.raw);
    let again = Envelope::read(&written).expect("our own envelope is read");
    assert_eq!((again.api_version, again.kind, again.raw), (read.api_version, read.kind, read.raw));
    if let Some(ty) = schema().by_kind(read.api_version, read.kind) {
        protobuf(ty, read.raw);
    }
}

/// YAML: what it becomes is JSON.
pub fn yaml(body: &[u8]) {
    let Ok(converted) = portcullis_model::yaml::to_json(body) else { return };
    let ty = schema().by_kind("v1", "ConfigMap").expect("a kind of the tables");
    let place = String::from_utf8_lossy(&converted.json);
    match decode_json::decode(schema(), ty, converted.json.clone(), FieldValidation::Warn) {
        Err(error @ (DecodeError::Syntax { .. } | DecodeError::UnexpectedEnd)) => panic!("{error}: {place}"),
        _ => json(ty, &converted.json),
    }
}

/// What every tree keeps: fields in declared order and once, keys of maps in order and once, counts that are right.
pub fn well_formed(tree: &Tree) {
    let mut open = vec![tree.root()];
    while let Some(node) = open.pop() {
        match tree.kind(node) {
            Kind::Object => {
                let ty = schema().ty(tree.object_type(node).unwrap());
                let numbers: Vec<u16> = tree.children(node).map(|child| tree.field_number(child)).collect();
                assert!(numbers.is_sorted_by(|a, b| a < b), "fields of {}: {numbers:?}", ty.name);
                assert!(numbers.last().is_none_or(|last| (*last as usize) < ty.fields.len()));
                open.extend(tree.children(node));
            }
            Kind::List => {
                assert_eq!(tree.children(node).count(), tree.len(node), "the count of a list");
                open.extend(tree.children(node));
            }
            Kind::Map => {
                let keys: Vec<&str> = tree.entries(node).map(|(key, _)| key).collect();
                assert!(keys.is_sorted_by(|a, b| a < b), "the keys of a map: {keys:?}");
                assert_eq!(keys.len(), tree.len(node), "the count of a map");
                open.extend(tree.entries(node).map(|(_, value)| value));
            }
            Kind::String | Kind::Raw => assert!(tree.text(node).is_some()),
            Kind::Key => panic!("a key is a value"),
            Kind::Null | Kind::Bool | Kind::Int | Kind::Float | Kind::Time | Kind::MicroTime => {}
        }
    }
}

/// Takes out what is in no message (`kind` and `apiVersion` of whatever has them).
fn drop_untagged(tree: &mut Tree) {
    let mut open = vec![tree.root()];
    while let Some(node) = open.pop() {
        if let Some(id) = tree.object_type(node) {
            for (number, field) in schema().ty(id).fields.iter().enumerate() {
                if field.attributes.tags.is_empty() {
                    tree.remove(node, number as u16);
                }
            }
        }
        let below: Vec<NodeId> = match tree.kind(node) {
            Kind::Map => tree.entries(node).map(|(_, value)| value).collect(),
            _ => tree.children(node).collect(),
        };
        open.extend(below);
    }
}
