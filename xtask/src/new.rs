//! `cargo xtask new kind`: a kind's file with its test, registered, which compiles and passes before anybody has written a rule.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use portcullis_tests::build::workspace;

const KINDS: &str = "crates/kinds";
const RESOURCES: &str = "facts/v1_36/resources.facts";

/// What can be made.
#[derive(Subcommand)]
pub enum New {
    /// The file of a kind that the facts know: `cargo xtask new kind networking.k8s.io Ingress`
    Kind {
        /// The API group, `core` for the one without a name
        group: String,
        /// The kind, as in manifests
        kind: String,
    },
}

/// Makes it.
pub fn run(new: &New) -> Result<()> {
    match new {
        New::Kind { group, kind } => {
            for path in kind_in(workspace(), group, kind)? {
                println!("{}", path.display());
            }
            Ok(())
        }
    }
}

/// What the facts say of a kind.
struct Known {
    /// The group's name, empty for the core group.
    group: String,
    version: String,
    /// The resource's name.
    resource: String,
    kind: String,
}

impl Known {
    fn find(kinds: &Path, group: &str, kind: &str) -> Result<Known> {
        let path = kinds.join(RESOURCES);
        let facts = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut found = None;
        for line in facts.lines() {
            let mut words = line.split_whitespace();
            let (Some("resource"), Some(name)) = (words.next(), words.next()) else { continue };
            let parts: Vec<&str> = name.split('/').collect();
            let [held, version, resource] = parts[..] else { continue };
            if held == group && words.next() == Some(&format!("kind={kind}")) {
                found = Some(Known {
                    group: if held == "core" { String::new() } else { held.to_owned() },
                    version: version.to_owned(),
                    resource: resource.to_owned(),
                    kind: kind.to_owned(),
                });
            }
        }
        // The last of several versions: the one that they are listed before is the older.
        found.with_context(|| format!("{} names no kind {kind} of the group {group}", path.display()))
    }

    fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The module of the group: `networking` for `networking.k8s.io`.
    fn module(&self) -> &str {
        if self.group.is_empty() { "core" } else { self.group.split('.').next().unwrap_or_default() }
    }

    /// The file's name: `ingress_class` for `IngressClass`, `csi_driver` for `CSIDriver`.
    fn file(&self) -> String {
        let chars: Vec<char> = self.kind.chars().collect();
        let mut out = String::new();
        for (at, character) in chars.iter().enumerate() {
            let begins = at > 0
                && character.is_ascii_uppercase()
                && (chars[at - 1].is_ascii_lowercase() || chars.get(at + 1).is_some_and(char::is_ascii_lowercase));
            if begins {
                out.push('_');
            }
            out.push(character.to_ascii_lowercase());
        }
        out
    }

    fn text(&self) -> String {
        let Known { kind, resource, .. } = self;
        let (api_version, views) = (self.api_version(), format!("{}_{}", self.module(), self.version));
        format!(
            r##"//! `{kind}` (upstream: `registry/{group}/{lower}`).

use portcullis_model::tree::Tree;

use crate::rest::Rest;
use crate::strategy::Strategy;
use crate::views::{{self, {views}::{kind}}};
use crate::vocabulary::Errors;

/// The rules of `{kind}`.
pub const STRATEGY: Strategy = Strategy {{
    rest: Rest::PLAIN,
    validate_create: validate,
    validate_update: |tree, _, _, errors| validate(tree, errors),
    ..Strategy::NONE
}};

fn validate(tree: &Tree, errors: &mut Errors) {{
    let object: {kind}<'_> = views::read(tree);
    // The rules, in upstream's order.
    let _ = (object, errors);
}}

#[cfg(test)]
mod tests {{
    use super::*;
    use crate::testing::{{complaints, created, update_complaints}};

    #[test]
    fn what_is_wrong_is_said() {{
        let check = |text: &str, expected: &[&str]| {{
            let tree = created(&STRATEGY, "{api_version}", "{kind}", text);
            assert_eq!(complaints(&STRATEGY, &tree), expected, "{{text}}");
            assert_eq!(update_complaints(&STRATEGY, &tree, &tree, ""), expected, "{{text}}");
        }};
        check("{{}}", &[]);
    }}

    #[test]
    fn it_is_registered() {{
        assert!(crate::strategy::of("{full}", "{resource}").is_some());
    }}
}}
"##,
            group = self.module(),
            lower = kind.to_ascii_lowercase(),
            full = self.group,
        )
    }
}

/// Makes the file of a kind in a copy of the project, and returns what was written.
fn kind_in(root: &Path, group: &str, kind: &str) -> Result<Vec<PathBuf>> {
    let kinds = root.join(KINDS);
    let known = Known::find(&kinds, group, kind)?;
    let (source, module, name) = (kinds.join("src"), known.module(), known.file());
    let strategies = source.join("strategy.rs");
    let held = fs::read_to_string(&strategies)?;
    let key = format!("(\"{}\", \"{}\", ", known.group, known.resource);
    if held.contains(&key) {
        bail!("{kind} has its rules already: {} says where", strategies.display());
    }
    let file = source.join(module).join(format!("{name}.rs"));
    fs::create_dir_all(source.join(module))?;
    fs::write(&file, known.text())?;
    let mut written = vec![file];
    let of_group = source.join(format!("{module}.rs"));
    if !of_group.exists() {
        let title = if known.group.is_empty() { "core" } else { &known.group };
        fs::write(&of_group, format!("//! Kinds of the group `{title}`.\n\n"))?;
        let library = source.join("lib.rs");
        add_line(&library, &format!("pub mod {module};"), "pub mod ")?;
        written.push(library);
    }
    add_line(&of_group, &format!("pub mod {name};"), "pub mod ")?;
    let path = if module == name { name.clone() } else { format!("{module}::{name}") };
    let line = format!("    {key}&crate::{path}::STRATEGY),");
    add_line(&strategies, &line, "    (\"")?;
    written.extend([of_group, strategies]);
    Ok(written)
}

/// Puts a line among those that begin in the same way, in order.
fn add_line(path: &Path, line: &str, beginning: &str) -> Result<()> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut lines: Vec<&str> = text.lines().collect();
    let alike = |held: &&str| held.starts_with(beginning);
    let at = match lines.iter().position(|held| alike(held) && *held > line) {
        Some(at) => at,
        None => lines.iter().rposition(alike).map_or(lines.len(), |last| last + 1),
    };
    lines.insert(at, line);
    fs::write(path, lines.join("\n") + "\n")?;
    Ok(())
}

/// Makes the file of a kind in a copy of the crate and runs its tests: what the scaffold makes compiles.
pub fn check() -> Result<()> {
    // Any that has none: one that is not stored, once all that are have theirs.
    let free = first_without_file(&workspace().join(KINDS))?;
    let Some((group, kind)) = free else {
        println!("every kind has a file");
        return Ok(());
    };
    let copy = tempfile::tempdir().context("cannot make a temporary folder")?;
    for entry in ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml", "crates", "tests", "xtask"] {
        let status = Command::new("cp").arg("-r").arg(workspace().join(entry)).arg(copy.path()).status()?;
        if !status.success() {
            bail!("cannot copy {entry}");
        }
    }
    let written = kind_in(copy.path(), &group, &kind)?;
    println!("{kind} of {group}: {} files", written.len());
    let name = Known::find(&copy.path().join(KINDS), &group, &kind)?.file();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["test", "-p", "portcullis-kinds", "--lib", &format!("{name}::")])
        // Not the project's own: cargo names packages by their place in the workspace, so it would take the copy's for the project's.
        .env("CARGO_TARGET_DIR", workspace().join("target/scaffold"))
        .current_dir(copy.path())
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("the file of a new kind does not pass its tests");
    }
    Ok(())
}

/// The first kind of the facts that has no rules.
fn first_without_file(kinds: &Path) -> Result<Option<(String, String)>> {
    let strategies = fs::read_to_string(kinds.join("src/strategy.rs"))?;
    let facts = fs::read_to_string(kinds.join(RESOURCES))?;
    let free = facts.lines().find_map(|line| {
        let mut words = line.strip_prefix("resource ")?.split_whitespace();
        let (name, kind) = (words.next()?, words.next()?.strip_prefix("kind=")?);
        let parts: Vec<&str> = name.split('/').collect();
        let [group, _, resource] = parts[..] else { return None };
        let full = if group == "core" { "" } else { group };
        let is_free = !strategies.contains(&format!("(\"{full}\", \"{resource}\", "));
        is_free.then(|| (group.to_owned(), kind.to_owned()))
    });
    Ok(free)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn files_are_named_after_kinds() {
        let check = |kind: &str, expected: &str| {
            let known =
                Known { group: String::new(), version: String::new(), resource: String::new(), kind: kind.to_owned() };
            assert_eq!(known.file(), expected);
        };
        check("Pod", "pod");
        check("IngressClass", "ingress_class");
        check("CSIDriver", "csi_driver");
        check("IPAddress", "ip_address");
        check("APIService", "api_service");
    }

    #[test]
    fn a_kind_that_is_none_or_has_a_file_is_refused() {
        let check = |group: &str, kind: &str, expected: &str| {
            let error = kind_in(workspace(), group, kind).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("core", "Trireme", "names no kind Trireme of the group core");
        check("core", "Pod", "Pod has its rules already");
    }
}
