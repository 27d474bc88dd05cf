//! Server-side apply beside its model: the first byte chooses the kind, the others every choice of a sequence of writes.
#![no_main]

#[path = "../apply.rs"]
#[allow(dead_code)]
mod apply;
#[path = "../checks.rs"]
#[allow(dead_code)]
mod checks;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Some((number, choices)) = input.split_first() {
        let ty = checks::kinds()[usize::from(*number) % checks::kinds().len()];
        let kind = apply::Kind { schema: checks::schema(), versions: vec![("v1", ty)], renamed: None };
        apply::run(&kind, &mut apply::Bytes(choices));
    }
});
