//! The checks of the fuzz targets on random objects and mutations of them, the same ones in every run.
//!
//! A failure names its seed: `check(seed)` with it alone shows the case again.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../../../fuzz/checks.rs"]
#[allow(dead_code)]
mod checks;
#[path = "../../../fuzz/generate.rs"]
mod generate;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use checks::{kinds, schema};
use generate::{Random, mutate, object};
use portcullis_model::schema::{FieldValidation, TypeId, decode_json, encode_protobuf};

/// Cases of each test.
const CASES: u64 = 4_000;

/// Runs a check with each seed, and says which one failed.
fn for_seeds(check: impl Fn(&mut Random)) {
    for seed in 0..CASES {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(&mut Random::new(seed)))) {
            eprintln!("failed with seed {seed}");
            resume_unwind(panic);
        }
    }
}

fn some_object(random: &mut Random) -> (TypeId, String) {
    let ty = kinds()[random.below(kinds().len())];
    (ty, object(schema(), ty, random))
}

fn some_message(random: &mut Random) -> (TypeId, Vec<u8>) {
    let (ty, text) = some_object(random);
    let decoded = decode_json::decode(schema(), ty, text.into_bytes(), FieldValidation::Ignore).unwrap();
    (ty, encode_protobuf::encode(schema(), &decoded.tree))
}

#[test]
fn random_objects_are_read_and_written_the_same() {
    for_seeds(|random| {
        let (ty, text) = some_object(random);
        let read = decode_json::decode(schema(), ty, text.clone().into_bytes(), FieldValidation::Ignore);
        assert!(read.is_ok(), "{:?}: {text}", read.err());
        checks::json(ty, text.as_bytes());
    });
}

#[test]
fn no_json_breaks_a_rule() {
    for_seeds(|random| {
        let (ty, text) = some_object(random);
        let mut body = text.into_bytes();
        mutate(&mut body, random);
        checks::json(ty, &body);
    });
}

#[test]
fn no_protobuf_breaks_a_rule() {
    for_seeds(|random| {
        let (ty, mut message) = some_message(random);
        mutate(&mut message, random);
        checks::protobuf(ty, &message);
    });
}

#[test]
fn no_envelope_breaks_a_rule() {
    for_seeds(|random| {
        let (ty, message) = some_message(random);
        let (api_version, kind) = schema().ty(ty).gvks[0].rsplit_once('/').unwrap();
        let mut bytes = encode_protobuf::envelope(api_version, kind, &message);
        checks::envelope(&bytes);
        mutate(&mut bytes, random);
        checks::envelope(&bytes);
    });
}

#[test]
fn no_yaml_breaks_a_rule() {
    for_seeds(|random| {
        let (_, text) = some_object(random);
        // JSON is YAML; block style comes from what JSON is written as.
        let block = portcullis_model::yaml::from_json(text.as_bytes());
        let mut body = match block {
            Ok(block) if random.once_in(2) => block.into_bytes(),
            _ => text.into_bytes(),
        };
        checks::yaml(&body);
        mutate(&mut body, random);
        checks::yaml(&body);
    });
}
