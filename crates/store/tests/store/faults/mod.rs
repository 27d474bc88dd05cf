//! Faults under the embedded engine: the power goes, calls fail, bytes change. It works on, or it refuses and says why; it never
//! loses what it acknowledged, and never serves what was not written.

mod bytes;
mod calls;
mod log;
mod power;
mod workload;

pub use workload::all;

/// How many seeds each test takes: more in a long run, by this variable.
const SEEDS_VARIABLE: &str = "PORTCULLIS_STORE_FAULT_SEEDS";

/// The seeds of a test: the given number, or what the environment asks for.
fn seeds(usual: u64) -> std::ops::Range<u64> {
    let asked = std::env::var(SEEDS_VARIABLE).ok().map(|seeds| seeds.parse().unwrap());
    0..asked.unwrap_or(usual)
}
