//! Server-side apply beside its model on random sequences of writes, the same ones in every run: nested lists and maps of every sort, and
//! real kinds.
//!
//! A failure names its seed. `PORTCULLIS_APPLY_TIMES` runs so many times as many.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../../../fuzz/apply.rs"]
#[allow(dead_code)]
mod apply;
#[path = "../../../fuzz/checks.rs"]
#[allow(dead_code)]
mod checks;
#[path = "../../../fuzz/generate.rs"]
#[allow(dead_code)]
mod generate;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use apply::{Choices, Kind, NESTED, run};
use generate::Random;
use portcullis_model::schema::Schema;

/// Sequences of each kind.
const SEQUENCES: u64 = 40;
/// Sequences of each kind that is only one of all.
const SEQUENCES_OF_ANY: u64 = 1;
/// Kinds, by the names of their types.
const KINDS: &[(&str, &str)] = &[
    ("v1", "api.core.v1.Pod"),
    ("v1", "api.core.v1.Service"),
    ("apps/v1", "api.apps.v1.Deployment"),
    ("autoscaling/v1", "api.autoscaling.v1.HorizontalPodAutoscaler"),
    ("autoscaling/v2", "api.autoscaling.v2.HorizontalPodAutoscaler"),
];

struct Numbers(Random);

impl Choices for Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0.below(end)
    }
}

fn check(kind: &Kind<'_>, what: &str, sequences: u64) {
    let times: u64 = std::env::var("PORTCULLIS_APPLY_TIMES").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut writes = 0;
    for seed in 0..sequences * times {
        match catch_unwind(AssertUnwindSafe(|| run(kind, &mut Numbers(Random::new(seed))))) {
            Ok(made) => writes += made,
            Err(panic) => {
                eprintln!("{what} failed with seed {seed}");
                resume_unwind(panic);
            }
        }
    }
    println!("{what}: {writes} writes");
}

#[test]
fn nested_lists_and_maps() {
    let schema = Schema::load([NESTED]).unwrap();
    let ty = |name: &str| schema.by_name(name).unwrap();
    let one = Kind { schema: &schema, versions: vec![("v1", ty("n.Nested"))], renamed: None };
    check(&one, "nested", SEQUENCES);
    let versions = vec![("v1", ty("n.Nested")), ("v2", ty("n.OtherNested"))];
    let two = Kind { schema: &schema, versions, renamed: Some(("inner", "inside")) };
    check(&two, "nested in two versions", SEQUENCES);
}

#[test]
fn real_kinds() {
    for (version, name) in KINDS {
        let ty = checks::schema().by_name(name).unwrap();
        check(&Kind { schema: checks::schema(), versions: vec![(version, ty)], renamed: None }, name, SEQUENCES);
    }
}

#[test]
fn every_kind() {
    for ty in checks::kinds() {
        let name = &checks::schema().ty(*ty).name;
        check(&Kind { schema: checks::schema(), versions: vec![("v1", *ty)], renamed: None }, name, SEQUENCES_OF_ANY);
    }
}
