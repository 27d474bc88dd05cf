//! What CI runs after the tests. Every step runs, so that one run shows all that is wrong.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use portcullis_tests::build::workspace;

use crate::{corpus, dependencies, facts, instructions, lockdown, new};

/// A check and its name.
type Step = (&'static str, fn() -> Result<()>);

const STEPS: &[Step] = &[
    ("format", || cargo(&["fmt", "--all", "--check"], &[])),
    ("clippy", || cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"], &[])),
    ("docs", || {
        cargo(&["doc", "--workspace", "--no-deps", "--document-private-items"], &[("RUSTDOCFLAGS", "-D warnings")])
    }),
    ("facts", || facts::run(true)),
    ("dependencies", dependencies::run),
    ("lockdown", lockdown::run),
    ("scaffold", new::check),
    ("corpus", || corpus::run(&corpus::Options::default())),
    ("instructions", || instructions::run(&instructions::Options::default())),
];

/// Runs every step, or those that are named; fails when one did.
pub fn run(named: &[String]) -> Result<()> {
    let known: Vec<_> = STEPS.iter().map(|(name, _)| *name).collect();
    if let Some(unknown) = named.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("no check is called {unknown:?}: there are {}", known.join(", "));
    }
    let mut failed = Vec::new();
    for (name, step) in STEPS.iter().filter(|(name, _)| named.is_empty() || named.iter().any(|one| one == name)) {
        println!("== {name}");
        let begun = Instant::now();
        let result = step();
        let seconds = begun.elapsed().as_secs_f64();
        match result {
            Ok(()) => println!("== {name}: ok in {seconds:.1} s"),
            Err(error) => {
                println!("== {name}: FAILED in {seconds:.1} s: {error:#}");
                failed.push(*name);
            }
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    println!("every check passed");
    Ok(())
}

/// Writes docs/kinds.md: the test that holds it to the sources writes it when it is told to.
pub fn write_kinds_page() -> Result<()> {
    cargo(&["test", "--quiet", "-p", "portcullis-apiserver", "tests::kinds_page"], &[("WRITE_DOCS", "1")])
}

fn cargo(arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(arguments).envs(environment.iter().copied()).current_dir(workspace());
    let status = command.status().context("cannot run cargo")?;
    if !status.success() {
        bail!("cargo {} says no", arguments.join(" "));
    }
    Ok(())
}
