//! The schema machine against what Go wrote: `random.jsonl.gz` (a JSON text, what Go writes after reading it, its protobuf, and what Go
//! writes after reading that) and `roundtrip.jsonl.gz` (every kind with every field filled).
//!
//! The recorded data lies beside the project, not in it; where it is missing the tests say so in one line.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use flate2::read::GzDecoder;
use portcullis_model::schema::decode_protobuf::{self, Envelope};
use portcullis_model::schema::{FieldValidation, Schema, TypeId, canonical, decode_json, encode_json, encode_protobuf};
use serde_json::Value;

fn schema() -> Schema {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kinds/facts/v1_36");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let tables = paths.iter().filter(|path| !path.ends_with("resources.facts") && !path.ends_with("columns.facts"));
    let tables: Vec<String> = tables.map(|path| fs::read_to_string(path).unwrap()).collect();
    Schema::load(tables.iter().map(String::as_str)).unwrap()
}

/// The lines of a data set, or None with a line that says why.
fn data(name: &str) -> Option<Vec<Value>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/data").join(name);
    let Ok(file) = File::open(&path) else {
        println!("skipped: no ../shared/corpus/data/{name} here");
        return None;
    };
    Some(
        BufReader::new(GzDecoder::new(file))
            .lines()
            .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
            .collect(),
    )
}

fn bytes(text: &Value) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD.decode(text.as_str().unwrap()).unwrap()
}

fn read_json(schema: &Schema, ty: TypeId, text: &str) -> portcullis_model::tree::Tree {
    let decoded = decode_json::decode(schema, ty, text.as_bytes().to_vec(), FieldValidation::Strict).unwrap();
    assert_eq!(decoded.findings, Vec::<String>::new(), "{text}");
    decoded.tree
}

fn text(schema: &Schema, tree: &portcullis_model::tree::Tree) -> String {
    String::from_utf8(encode_json::to_vec(schema, tree)).unwrap()
}

fn with_type(
    schema: &Schema,
    tree: portcullis_model::tree::Tree,
    envelope: &Envelope<'_>,
) -> portcullis_model::tree::Tree {
    let mut tree = tree;
    let ty = schema.ty(tree.object_type(tree.root()).unwrap());
    for (name, value) in [("kind", envelope.kind), ("apiVersion", envelope.api_version)] {
        if let Some(number) = ty.find(name)
            && !value.is_empty()
        {
            tree.set(tree.root(), number, portcullis_model::tree::Scalar::String(value));
        }
    }
    tree
}

#[test]
fn random_objects_are_written_as_go_writes_them() {
    let schema = schema();
    let Some(cases) = data("random.jsonl.gz") else { return };
    let mut checked = 0;
    for (at, case) in cases.iter().enumerate() {
        let (api_version, kind) = case["kind"].as_str().unwrap().rsplit_once('/').unwrap();
        let ty = schema.by_kind(api_version, kind).unwrap_or_else(|| panic!("no type {api_version}/{kind}"));
        let place = format!("case {at}: {kind}");
        let mut tree = read_json(&schema, ty, case["in"].as_str().unwrap());
        assert_eq!(text(&schema, &tree), case["out"].as_str().unwrap(), "{place}: JSON out");
        // A type without TypeMeta (WatchEvent) goes into a nameless envelope.
        let typed = schema.ty(ty).find("kind").is_some();
        let (api_version, kind) = if typed { (api_version, kind) } else { ("", "") };
        let wire = encode_protobuf::envelope(api_version, kind, &encode_protobuf::encode(&schema, &tree));
        assert_eq!(hex(&wire), hex(&bytes(&case["protobuf"])), "{place}: protobuf out");
        let want = case["from_protobuf"].as_str().unwrap();
        if want.is_empty() {
            // Go finds no type for a nameless envelope.
            assert!(!typed, "{place}");
            continue;
        }
        let envelope = Envelope::read(&wire).unwrap();
        let back = with_type(&schema, decode_protobuf::decode(&schema, ty, envelope.raw).unwrap(), &envelope);
        assert_eq!(text(&schema, &back), want, "{place}: protobuf in");
        canonical::canonicalize(&schema, &mut tree);
        assert_eq!(text(&schema, &tree), want, "{place}: canonical");
        checked += 1;
    }
    println!("{checked} random objects");
    assert!(checked > 400);
}

#[test]
fn every_kind_goes_both_ways() {
    let schema = schema();
    let Some(cases) = data("roundtrip.jsonl.gz") else { return };
    let (mut checked, mut undeclared) = (0, Vec::new());
    for case in &cases {
        let name = case["kind"].as_str().unwrap();
        let wire = bytes(&case["protobuf"]);
        let envelope = Envelope::read(&wire).unwrap();
        let Some(ty) = schema.by_kind(envelope.api_version, envelope.kind) else {
            undeclared.push(name);
            continue;
        };
        let tree = with_type(&schema, decode_protobuf::decode(&schema, ty, envelope.raw).unwrap(), &envelope);
        let got: Value = serde_json::from_str(&text(&schema, &tree)).unwrap();
        assert_eq!(got, case["json"], "{name}: protobuf in");
        let mut tree = read_json(&schema, ty, &case["json"].to_string());
        canonical::canonicalize(&schema, &mut tree);
        let message = encode_protobuf::encode(&schema, &tree);
        assert_eq!(hex(&message), hex(envelope.raw), "{name}: protobuf out");
        checked += 1;
    }
    println!("{checked} kinds; not in the schema: {undeclared:?}");
    assert!(checked > 60);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
