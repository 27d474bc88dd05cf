//! docs/kinds.md, written from the sources: every kind that is stored, with its file, its rules and the plugins that judge it. The test
//! holds the page to the sources; with `WRITE_DOCS=1` it writes it (`cargo xtask kinds`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use portcullis_client::DialRule;
use portcullis_gate::Profile;
use portcullis_kinds::Resource;
use portcullis_kinds::rest::{Dependents, Rest, StatusKeeps};
use portcullis_model::names::NameRule;
use portcullis_model::schema::{Schema, TypeId};

use crate::admission::{AdmissionConfiguration, Operation, Selection};
use crate::registry::Served;

use super::*;

/// Rules files with more types than this are counted, not listed: those of pods.
const TYPES_LISTED_MAX: usize = 8;

const INTRODUCTION: &str = "# Kinds

Where each rule of each kind is. Written by `cargo xtask kinds` from the sources, and checked by the tests.

A kind is a file in `crates/kinds/src`, with a folder beside it where it is large, and a line in `strategy.rs`. Its `STRATEGY` names the
steps that it has of its own; the server runs them in this order: `default`, `warn_given`, `prepare_create` or `prepare_update`,
`validate_create` or `validate_update`, `warn_create` or `warn_update`. Facts about single fields that need no code (enums, ranges, formats,
fixed fields, gates) are lines of `crates/kinds/facts/rules`. What all kinds have (names, labels, owners, managed fields, generations) is in
`crates/apiserver/src/registry`. Words that rules are made of are in `crates/kinds/src/vocabulary`.

Below, *functions* are those of the kind's own files, *words* the modules of the vocabulary and of other kinds that they use, *facts* the
rules files with the types that the kind has in them, and *plugins* the admission plugins that judge it or its subresources.
";

#[test]
fn the_page_of_kinds_is_what_the_sources_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (path, written) = (root.join("docs/kinds.md"), page(&root.join("crates/kinds")));
    if std::env::var_os("WRITE_DOCS").is_some() {
        fs::write(&path, &written).unwrap();
    }
    let held = fs::read_to_string(&path).unwrap_or_default();
    assert!(held == written, "docs/kinds.md is not what the sources say: run `cargo xtask kinds`");
}

fn page(kinds: &Path) -> String {
    let strategies = fs::read_to_string(kinds.join("src/strategy.rs")).unwrap();
    let (facts, registry) = (rules_files(&kinds.join("facts/rules")), Registry::new());
    let plugins = every_plugin();
    let mut stored: Vec<_> = registry.all().iter().filter(|served| served.strategy.is_some()).collect();
    stored.sort_by_key(|served| (served.resource.group, served.resource.kind));
    let judged: Vec<_> = stored.iter().map(|served| judges(&plugins, served)).collect();
    let everywhere: Vec<&str> =
        judged[0].iter().copied().filter(|name| judged.iter().all(|judges| judges.contains(name))).collect();
    let mut out = String::from(INTRODUCTION);
    writeln!(out, "\nEvery kind is judged by {}.", everywhere.join(", ")).unwrap();
    let (mut group, mut own_files) = (None, BTreeSet::new());
    let src = kinds.join("src");
    for (served, judges) in stored.iter().zip(&judged) {
        let resource = served.resource;
        if group != Some(resource.group) {
            group = Some(resource.group);
            writeln!(out, "\n## {}", if resource.group.is_empty() { "core" } else { resource.group }).unwrap();
        }
        writeln!(out, "\n### {} (`{}`, {})\n", resource.kind, resource.name, resource.api_version).unwrap();
        let (file, constant) = home(&strategies, resource);
        let sources = sources(&src, &file);
        own_files.insert(src.join(format!("{file}.rs")));
        own_files.extend(files_in(&src.join(&file)));
        writeln!(out, "- file: `crates/kinds/src/{file}.rs`").unwrap();
        line(&mut out, "behaves", &behaviour(&served.rules.rest));
        line(&mut out, "steps", &steps(&sources[0].1, &constant));
        for (name, text) in &sources {
            line(&mut out, &format!("functions of `{name}`"), &functions(text));
        }
        line(&mut out, "words", &words(&sources));
        line(&mut out, "facts", &facts_of(&facts, portcullis_kinds::schema(), resource.type_id));
        let own = judges.iter().filter(|name| !everywhere.contains(name)).map(|name| (*name).to_owned());
        line(&mut out, "plugins", &own.collect::<Vec<_>>());
    }
    push_shared(&mut out, &src, &own_files);
    out
}

fn line(out: &mut String, what: &str, items: &[String]) {
    if !items.is_empty() {
        writeln!(out, "- {what}: {}", items.join(", ")).unwrap();
    }
}

/// The file of a kind below `src`, without its ending, and the name of its rules there.
fn home(strategies: &str, resource: &Resource) -> (String, String) {
    // A line that is long stands on several.
    let flat = strategies.split_whitespace().collect::<Vec<_>>().join(" ").replace("( ", "(");
    let begin = format!("(\"{}\", \"{}\", &crate::", resource.group, resource.name);
    let found = flat.split_once(&begin).unwrap().1;
    let (path, constant) = found.split([',', ')']).next().unwrap().rsplit_once("::").unwrap();
    (path.replace("::", "/"), constant.to_owned())
}

/// The text of the kind's file and of those in its folder, without their tests.
fn sources(src: &Path, file: &str) -> Vec<(String, String)> {
    let mut paths = vec![src.join(format!("{file}.rs"))];
    paths.extend(files_in(&src.join(file)));
    paths.iter().map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), read(path))).collect()
}

/// Every file of sources below a folder, sorted; not those of tests.
fn files_in(folder: &Path) -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            match path.file_name().and_then(|name| name.to_str()) {
                Some("tests" | "tests.rs" | "properties" | "properties.rs" | "testing.rs") | None => {}
                Some(_) if path.is_dir() => folders.push(path),
                Some(_) => files.push(path),
            }
        }
    }
    files.sort();
    files
}

fn read(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.split("#[cfg(test)]").next().unwrap_or_default().to_owned()
}

/// What several kinds are made of: files of `src` that are no kind's own, with their functions.
fn push_shared(out: &mut String, src: &Path, own: &BTreeSet<PathBuf>) {
    out.push_str("\n## Shared by kinds\n\n| file | functions |\n| --- | --- |\n");
    for path in files_in(src).iter().filter(|path| !own.contains(*path)) {
        let functions = functions(&read(path));
        if !functions.is_empty() {
            let name = path.strip_prefix(src).unwrap().display();
            writeln!(out, "| `{name}` | {} |", functions.join(", ")).unwrap();
        }
    }
}

/// Which steps of its own the kind's `STRATEGY` names.
fn steps(text: &str, constant: &str) -> Vec<String> {
    let begin = format!("pub const {constant}: Strategy");
    let body = text.split_once(&begin).map_or("", |(_, rest)| rest.split("\n};").next().unwrap_or_default());
    let all = ["default", "warn_given", "prepare_create", "validate_create", "warn_create", "prepare_update"];
    let all = all.into_iter().chain(["validate_update", "warn_update", "blank", "columns", "cell"]);
    let names = |step: &str| {
        let mut words = body.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words.any(|word| word == step)
    };
    all.filter(|step| names(step)).map(|step| format!("`{step}`")).collect()
}

fn functions(text: &str) -> Vec<String> {
    let named = text.lines().filter_map(|line| {
        let line = line.strip_prefix("pub ").or_else(|| line.strip_prefix("pub(crate) ")).unwrap_or(line);
        let line = line.strip_prefix("pub(super) ").unwrap_or(line).strip_prefix("fn ")?;
        line.split(['(', '<']).next().map(|name| format!("`{name}`"))
    });
    named.collect()
}

/// The modules that the files take their words from.
fn words(sources: &[(String, String)]) -> Vec<String> {
    let mut found = BTreeSet::new();
    for (_, text) in sources {
        let statements = text.split("use crate::").skip(1).filter_map(|rest| rest.split(';').next());
        for statement in statements {
            let names = statement.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
            let (first, rest) = statement.split_once("::").unwrap_or((statement, ""));
            match first {
                "vocabulary" => {
                    let parts = names.flat_map(|name| name.split("::"));
                    found.extend(parts.filter(|name| is_word(name)).map(str::to_owned));
                }
                "views" | "rest" | "strategy" | "schema" => {}
                _ => found.extend(rest.split(['{', ',', ':']).next().map(|name| format!("{first}/{name}"))),
            }
        }
    }
    found.into_iter().filter(|name| !name.ends_with('/')).map(|name| format!("`{name}`")).collect()
}

fn is_word(name: &str) -> bool {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kinds/src/vocabulary");
    folder.join(format!("{name}.rs")).exists() && !["errors", "path", "mod"].contains(&name)
}

/// Each rules file with the types that it says something of, and of how many fields.
fn rules_files(folder: &Path) -> BTreeMap<String, Vec<(String, usize)>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let (mut package, mut types) = (String::new(), Vec::<(String, usize)>::new());
        for line in fs::read_to_string(&path).unwrap().lines() {
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                [first, ..] if first.starts_with('#') => {}
                ["package", name] => package = name.to_owned(),
                ["type", name] => types.push((format!("{package}.{name}"), 0)),
                [_, _, ..] => types.last_mut().into_iter().for_each(|(_, fields)| *fields += 1),
                _ => {}
            }
        }
        files.insert(path.file_name().unwrap().to_string_lossy().into_owned(), types);
    }
    files
}

fn facts_of(files: &BTreeMap<String, Vec<(String, usize)>>, schema: &Schema, kind: TypeId) -> Vec<String> {
    let reached = reachable(schema, kind);
    let mut out = Vec::new();
    for (file, types) in files {
        let own: Vec<_> =
            types.iter().filter(|(name, _)| schema.by_name(name).is_some_and(|id| reached.contains(&id.0))).collect();
        let fields: usize = own.iter().map(|(_, fields)| fields).sum();
        if own.is_empty() || fields == 0 {
            continue;
        }
        let short = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
        out.push(if own.len() > TYPES_LISTED_MAX {
            format!("`{file}` ({fields} fields of {} types)", own.len())
        } else {
            format!("`{file}` ({})", own.iter().map(|(name, _)| short(name)).collect::<Vec<_>>().join(", "))
        });
    }
    out
}

/// Every type that an object of this one can hold.
fn reachable(schema: &Schema, kind: TypeId) -> BTreeSet<u16> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![TypeRef::Object(kind)]);
    while let Some(ty) = open.pop() {
        match ty {
            TypeRef::Object(id) if reached.insert(id.0) => {
                open.extend(schema.ty(id).fields.iter().map(|field| field.ty));
            }
            TypeRef::List(element) | TypeRef::Map(element) => open.push(schema.element(element)),
            _ => {}
        }
    }
    reached
}

/// What a kind's [`Rest`] says that most do not.
fn behaviour(rest: &Rest) -> Vec<String> {
    let flags = [
        (rest.generation, "generation"),
        (rest.annotations_count, "annotations count in the generation"),
        (rest.labels_count, "labels count in the generation"),
        (rest.put_creates, "PUT creates"),
        (rest.needs_version, "PUT needs a resourceVersion"),
        (rest.delete_shows_object, "DELETE answers with the object"),
        (rest.dependents == Dependents::Orphaned, "dependents are orphaned"),
        (rest.dependents == Dependents::None, "has no dependents"),
        (rest.marks_time_only, "has its own finalisation"),
        (rest.names_itself, "names itself"),
        (rest.graceful, "ends gracefully"),
        (rest.keeps_status_on_create, "may bring its status"),
        (rest.writes_status, "writes its status"),
        (rest.status_keeps == StatusKeeps::Owners, "owners stay through `/status`"),
        (rest.status_keeps == StatusKeeps::Labels, "labels stay through `/status`"),
        (rest.status_keeps == StatusKeeps::Metadata, "metadata stays through `/status`"),
        (rest.deprecated.is_some(), "deprecated"),
    ];
    let mut said: Vec<String> = flags.iter().filter(|(is, _)| *is).map(|(_, what)| (*what).to_owned()).collect();
    match rest.name {
        NameRule::Subdomain => {}
        other => said.push(format!("named by `NameRule::{other:?}`")),
    }
    if !rest.fields.is_empty() {
        let labels: Vec<_> = rest.fields.iter().map(|field| format!("`{}`", field.label)).collect();
        said.push(format!("selected by {}", labels.join(" ")));
    }
    said
}

/// All plugins that this build has, each told the least that it needs.
fn every_plugin() -> Vec<Arc<dyn Plugin>> {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let kubeconfig = write(
        "kubeconfig",
        "apiVersion: v1\nkind: Config\nclusters: [{name: a, cluster: {server: \"https://127.0.0.1:1\"}}]\n\
         contexts: [{name: a, context: {cluster: a, user: a}}]\ncurrent-context: a\nusers: [{name: a, user: {}}]\n",
    );
    let configuration = write(
        "admission.yaml",
        &format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n\
             - name: EventRateLimit\n  configuration: {{apiVersion: eventratelimit.admission.k8s.io/v1alpha1, kind: Configuration, \
             limits: [{{type: Server, qps: 1, burst: 1}}]}}\n\
             - name: ImagePolicyWebhook\n  configuration: {{imagePolicy: {{kubeConfigFile: {}, allowTTL: 50, denyTTL: 50, \
             retryBackoff: 500, defaultAllow: false}}}}\n",
            kubeconfig.display()
        ),
    );
    let page = include_str!("../../../../docs/admission.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | off |"));
    let off: Vec<String> = rows.map(|(name, _)| name.to_owned()).collect();
    let mut enabled = Vec::new();
    for name in off {
        // What this build does not have yet judges nothing.
        let configuration = AdmissionConfiguration::load(&configuration).unwrap();
        if Selection::configured(std::slice::from_ref(&name), &[], configuration, &DialRule::default(), Profile::Locked)
            .is_ok()
        {
            enabled.push(name);
        }
    }
    assert!(
        enabled.iter().any(|name| name == "EventRateLimit") && enabled.iter().any(|name| name == "ImagePolicyWebhook")
    );
    let configuration = AdmissionConfiguration::load(&configuration).unwrap();
    Selection::configured(&enabled, &[], configuration, &DialRule::default(), Profile::Locked).unwrap().plugins()
}

fn judges(plugins: &[Arc<dyn Plugin>], served: &Served) -> Vec<&'static str> {
    let concerns = |plugin: &Arc<dyn Plugin>| Operation::ALL.iter().any(|operation| plugin.handles(served, *operation));
    plugins.iter().filter(|plugin| concerns(plugin)).map(|plugin| plugin.name()).collect()
}
