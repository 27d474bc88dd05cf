//! Where the program under test is. Cargo does not build another package's program for a test, so this does.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// Set to test a program that is built already.
pub const PROGRAM: &str = "PORTCULLIS_PROGRAM";

/// How the program is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// As `cargo test` does it.
    Dev,
    /// As a user runs it.
    Release,
}

/// The program, built once a process with the profile of this process's own build.
pub fn program() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let profile = if cfg!(debug_assertions) { Profile::Dev } else { Profile::Release };
    BUILT.get_or_init(|| {
        std::env::var_os(PROGRAM).map_or_else(|| build(profile).expect("the program builds"), PathBuf::from)
    })
}

/// Builds the program and says where it is.
pub fn build(profile: Profile) -> Result<PathBuf> {
    programs(&["portcullis"], profile)?.pop().context("cargo named no program")
}

/// Builds the programs of packages, each called as its package, in one go, and says where they are; cargo itself knows best.
pub fn programs(packages: &[&str], profile: Profile) -> Result<Vec<PathBuf>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--message-format", "json-render-diagnostics"]);
    command.args(packages.iter().flat_map(|package| ["--package", package]));
    if profile == Profile::Release {
        command.arg("--release");
    }
    // What `cargo test` and `cargo run` set for their child is not meant for a build of another package.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_") {
            command.env_remove(name);
        }
    }
    let output = command.current_dir(workspace()).stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    if !output.status.success() {
        bail!("cargo does not build {}", packages.join(" and "));
    }
    let messages = String::from_utf8(output.stdout).context("cargo wrote something that is not text")?;
    let artifacts: Vec<Value> = messages.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let built = packages.iter().map(|package| {
        let mut named = artifacts.iter().filter(|message| message["target"]["name"] == *package);
        named.find_map(|message| message["executable"].as_str()).with_context(|| format!("cargo named no {package}"))
    });
    built.map(|built| built.map(PathBuf::from)).collect()
}

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}
