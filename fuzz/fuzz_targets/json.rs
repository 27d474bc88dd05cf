//! JSON bodies: the first two bytes choose the kind.
#![no_main]

#[path = "../checks.rs"]
#[allow(dead_code)]
mod checks;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Some((ty, body)) = checks::kind_and_body(input) {
        checks::json(ty, body);
    }
});
