//! Which crate may use which: dependencies point one way (ARCHITECTURE.md). And what comes from outside has a line that says
//! why. Both are checked in each Cargo.toml.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use portcullis_tests::build::workspace;

/// A crate under `crates/` and the ones it may use.
const ALLOWED: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("cel", &["model"]),
    ("kinds", &["model"]),
    ("seal", &["model"]),
    ("store", &["model"]),
    ("client", &["model"]),
    ("audit", &["client", "model"]),
    ("fairness", &["model"]),
    ("gate", &["audit", "fairness", "client", "cel", "model"]),
    ("apiserver", &["gate", "audit", "fairness", "store", "kinds", "client", "cel", "model"]),
    ("controllers", &["client", "gate", "kinds", "model"]),
    ("scheduler", &["client", "gate", "kinds", "model"]),
    ("node", &["client", "gate", "kinds", "model"]),
    ("dashboard", &["client", "gate", "kinds", "model"]),
    ("posture", &["client", "model"]),
];
/// The program may use every crate; it wires them.
const PROGRAM: &str = "portcullis";
/// What every crate of ours is called, but for the program.
const PREFIX: &str = "portcullis-";
/// Where each dependency from outside has its line.
const REASONS: &str = "docs/decisions/0002-dependencies.md";

/// Reads every `crates/*/Cargo.toml` and names each line that points the wrong way.
pub fn run() -> Result<()> {
    let mut manifests = BTreeMap::new();
    for entry in fs::read_dir(workspace().join("crates"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        manifests.insert(name, read(&path.join("Cargo.toml"))?);
    }
    let mut faults = wrong(&manifests);
    faults.extend(without_reason(&read(&workspace().join("Cargo.toml"))?, &read(&workspace().join(REASONS))?));
    for fault in &faults {
        println!("{fault}");
    }
    if !faults.is_empty() {
        bail!("{} faults: change the code, or the table by a decision", faults.len());
    }
    println!("{} crates keep to the table", manifests.len());
    Ok(())
}

/// Every dependency of the workspace that no row of the page names in its first cell.
fn without_reason(manifest: &str, reasons: &str) -> Vec<String> {
    let table = manifest.split_once("[workspace.dependencies]").map_or("", |(_, rest)| rest);
    let table = table.split("\n[").next().unwrap_or_default();
    let names = table.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name.trim());
    let cells: Vec<_> = reasons.lines().filter_map(|line| line.strip_prefix('|')?.split('|').next()).collect();
    let named: Vec<&str> = cells.iter().flat_map(|cell| cell.split([',', ' '])).collect();
    let missing = names.filter(|name| !name.is_empty() && !name.starts_with(PREFIX) && !named.contains(name));
    missing.map(|name| format!("{name} has no line in {REASONS}")).collect()
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| path.display().to_string())
}

/// Every line of a manifest that the table does not allow.
fn wrong(manifests: &BTreeMap<String, String>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, manifest) in manifests {
        let Some(allowed) = allowed(name) else {
            wrong.push(format!("crates/{name} is not in the table of xtask/src/dependencies.rs"));
            continue;
        };
        for (number, line) in manifest.lines().enumerate() {
            let Some(used) = used(line) else { continue };
            // A crate may use itself with other features, in its own tests.
            if used != name && !allowed.contains(&used) {
                wrong.push(format!("crates/{name}/Cargo.toml:{}: {name} may not use {used}", number + 1));
            }
        }
    }
    wrong
}

fn allowed(name: &str) -> Option<Vec<&'static str>> {
    if name == PROGRAM {
        return Some(ALLOWED.iter().map(|(name, _)| *name).collect());
    }
    ALLOWED.iter().find(|(found, _)| *found == name).map(|(_, allowed)| allowed.to_vec())
}

/// The crate of ours that a line of a manifest brings in: `portcullis-model.workspace = true`, `portcullis-model = {..}`,
/// or a table of its own, `[dependencies.portcullis-model]`.
fn used(line: &str) -> Option<&str> {
    let line = line.trim();
    let table = line.strip_prefix('[').and_then(|line| line.split_once("dependencies.")).map(|(_, name)| name);
    let name = table.unwrap_or(line).trim_start_matches('"').strip_prefix(PREFIX)?;
    let end = name.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-').unwrap_or(name.len());
    name.get(..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_point_the_wrong_way_are_named() {
        let check = |name: &str, manifest: &str, expected: &[&str]| {
            let manifests = BTreeMap::from([(name.to_owned(), manifest.to_owned())]);
            assert_eq!(wrong(&manifests), expected, "{name}: {manifest}");
        };
        let own = "[package]\nname = \"portcullis-gate\"\n[dependencies]\ntokio = \"1\"\n";
        check("gate", own, &[]);
        check("gate", &format!("{own}portcullis-model.workspace = true"), &[]);
        check(
            "gate",
            &format!("{own}portcullis-store.workspace = true"),
            &["crates/gate/Cargo.toml:5: gate may not use store"],
        );
        check(
            "gate",
            "[dev-dependencies]\nportcullis-kinds = { path = \"../kinds\" }",
            &["crates/gate/Cargo.toml:2: gate may not use kinds"],
        );
        check("model", "[dependencies.portcullis-cel]", &["crates/model/Cargo.toml:1: model may not use cel"]);
        check(
            "scheduler",
            "portcullis-apiserver.workspace = true",
            &["crates/scheduler/Cargo.toml:1: scheduler may not use apiserver"],
        );
        check("portcullis", "portcullis-apiserver.workspace = true", &[]);
        check("store", "[dev-dependencies]\nportcullis-store = { path = \".\", features = [\"suite\"] }", &[]);
        check("oracle", "", &["crates/oracle is not in the table of xtask/src/dependencies.rs"]);
    }

    #[test]
    fn every_dependency_has_its_line() {
        let manifest = "[workspace]\n[workspace.dependencies]\nportcullis-gate = {}\nhttp = \"1\"\nh2 = \"0.4\"\n\n[profile.dev]\nopt = 1\n";
        let check =
            |reasons: &str, expected: &[&str]| assert_eq!(without_reason(manifest, reasons), expected, "{reasons}");
        check("| http, h2 | HTTP |", &[]);
        check("| http | h2 |", &["h2 has no line in docs/decisions/0002-dependencies.md"]);
        check("| http2 | x |\n| h2 (own) | x |", &["http has no line in docs/decisions/0002-dependencies.md"]);
    }

    #[test]
    fn the_table_has_no_circle() {
        let mut settled: Vec<&str> = Vec::new();
        for (name, allowed) in ALLOWED {
            // In reading order every crate uses only those before it, so there can be no circle.
            assert!(allowed.iter().all(|used| settled.contains(used)), "{name} uses one that stands below it");
            settled.push(name);
        }
    }
}
