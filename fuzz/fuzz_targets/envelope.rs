//! Protobuf in its envelope: `k8s\0` is put in front, as nothing else is read.
#![no_main]

#[path = "../checks.rs"]
#[allow(dead_code)]
mod checks;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| checks::envelope(&[b"k8s\0", input].concat()));
