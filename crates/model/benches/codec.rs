//! What one pod costs the schema machine: decoding with every check, JSON out, protobuf out and in, defaults.
//!
//! The pod has 3.6 KB; its keys stand in alphabetical order, as kubectl sends them, or in declared order, as Go clients do.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use portcullis_model::schema::{
    FieldValidation, Schema, decode_json, decode_protobuf, default, encode_json, encode_protobuf,
};

fn schema() -> Schema {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kinds/facts/v1_36");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| !path.ends_with("resources.facts") && !path.ends_with("columns.facts"));
    let tables: Vec<String> = paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    Schema::load(tables.iter().map(String::as_str)).unwrap()
}

fn pod(bench: &mut Criterion) {
    let schema = schema();
    let ty = schema.by_kind("v1", "Pod").unwrap();
    let text = include_bytes!("data/pod.json");
    let decode = |text: Vec<u8>| decode_json::decode(&schema, ty, text, FieldValidation::Strict).unwrap();
    bench.bench_function("pod/json in, strict, alphabetical order", |b| {
        b.iter_batched(|| text.to_vec(), |text| black_box(decode(text)), BatchSize::SmallInput);
    });
    let tree = decode(text.to_vec()).tree;
    let declared = encode_json::to_vec(&schema, &tree);
    bench.bench_function("pod/json in, strict, declared order", |b| {
        b.iter_batched(|| declared.clone(), |text| black_box(decode(text)), BatchSize::SmallInput);
    });
    let mut out = Vec::with_capacity(16 * 1024);
    bench.bench_function("pod/json out", |b| {
        b.iter(|| {
            out.clear();
            encode_json::write(&schema, &tree, &mut out);
            black_box(out.len())
        });
    });
    bench.bench_function("pod/protobuf out", |b| b.iter(|| black_box(encode_protobuf::encode(&schema, &tree))));
    let message = encode_protobuf::encode(&schema, &tree);
    bench.bench_function("pod/protobuf in", |b| b.iter(|| black_box(decode_protobuf::decode(&schema, ty, &message))));
    bench.bench_function("pod/defaults", |b| {
        b.iter_batched(
            || tree.clone(),
            |mut tree| default::apply(&schema, black_box(&mut tree)),
            BatchSize::SmallInput,
        );
    });
    bench.bench_function("facts/load", |b| b.iter(|| black_box(self::schema())));
}

criterion_group!(benches, pod);
criterion_main!(benches);
