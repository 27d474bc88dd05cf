//! `cargo xtask facts`: turns the recorded facts about the 1.36 API (`../shared/facts/*.jsonl`) into the committed
//! text tables of `crates/kinds/facts/v1_36`, one line a field, so that a change of a fact is a one-line diff.
//!
//! The format is described in `crates/kinds/facts/README.md`; its reader is `portcullis_model::schema::facts`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

const SOURCE: &str = "../shared/facts";
const TARGET: &str = "crates/kinds/facts/v1_36";

/// Writes the tables, or with `check` only says whether the committed ones are what would be written.
///
/// Where the source is absent (a user's clone) it says so in one line and succeeds.
pub fn run(check: bool) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let source = root.join(SOURCE);
    if !source.is_dir() {
        println!("facts: no {SOURCE} here, the committed tables are taken as they are");
        return Ok(());
    }
    let target = root.join(TARGET);
    let tables = tables(&source)?;
    if check {
        return compare(&target, &tables);
    }
    fs::create_dir_all(&target)?;
    for (name, text) in &tables {
        fs::write(target.join(name), text)?;
    }
    println!("facts: {} tables written to {TARGET}", tables.len());
    Ok(())
}

fn compare(target: &Path, tables: &BTreeMap<String, String>) -> Result<()> {
    for (name, text) in tables {
        let held = fs::read_to_string(target.join(name)).with_context(|| format!("{TARGET}/{name} is missing"))?;
        if &held != text {
            bail!("{TARGET}/{name} differs from the facts: run `cargo xtask facts`");
        }
    }
    for entry in fs::read_dir(target)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !tables.contains_key(&name) {
            bail!("{TARGET}/{name} answers to no fact: remove it");
        }
    }
    println!("facts: {} tables up to date", tables.len());
    Ok(())
}

fn tables(source: &Path) -> Result<BTreeMap<String, String>> {
    let mut out = types(&lines(source.join("types.jsonl"))?)?;
    let storage = lines(source.join("storage.jsonl"))?;
    out.insert("resources.facts".into(), resources(&lines(source.join("resources.jsonl"))?, &storage)?);
    out.insert("columns.facts".into(), columns(&lines(source.join("columns.jsonl"))?)?);
    Ok(out)
}

fn lines(path: PathBuf) -> Result<Vec<Value>> {
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

fn types(facts: &[Value]) -> Result<BTreeMap<String, String>> {
    let mut out: BTreeMap<String, String> = BTreeMap::new();
    for fact in facts {
        let full = text(fact, "type")?;
        let (package, name) = full.rsplit_once('.').context("a type without a package")?;
        let table = out.entry(table_name(package)).or_insert_with(|| format!("package {package}\n"));
        write!(table, "type {name}")?;
        attribute(table, "gvk", &list(fact, "gvk"));
        attribute(table, "map-type", fact["map-type"].as_str().unwrap_or_default());
        if let Some(unions) = fact.get("unions") {
            attribute(table, "unions", &unions.to_string());
        }
        table.push('\n');
        for field in fact["fields"].as_array().context("fields")? {
            write_field(table, field, package)?;
        }
    }
    Ok(out)
}

/// `api.core.v1` becomes `core_v1.facts`: the last two parts name a package well enough.
fn table_name(package: &str) -> String {
    let parts: Vec<&str> = package.split('.').collect();
    format!("{}.facts", parts[parts.len().saturating_sub(2)..].join("_"))
}

fn write_field(table: &mut String, field: &Value, package: &str) -> Result<()> {
    let name = match text(field, "name")? {
        "" => "+",
        name => name,
    };
    let tag = field["proto"][0].as_u64().map_or("-".into(), |tag| tag.to_string());
    let presence = match (field["pointer"].as_bool().unwrap_or(false), field["omit"].as_str()) {
        (true, Some(_)) => "optional",
        (true, None) => "nullable",
        (false, None) => "always",
        (false, Some("empty")) => "omitempty",
        (false, Some(_)) => "omitzero",
    };
    // A type of the same package is named without it.
    let whole = text(field, "type")?;
    let base = whole.rfind(']').map_or(0, |at| at + 1);
    let local = whole[base..].strip_prefix(package).and_then(|rest| rest.strip_prefix('.'));
    let short = local.filter(|rest| !rest.contains('.')).unwrap_or(&whole[base..]);
    write!(table, " {name} {tag} {presence} {}{short}", &whole[..base])?;
    for flag in ["inline", "required"] {
        if field[flag].as_bool() == Some(true) {
            write!(table, " {flag}")?;
        }
    }
    if let Some(default) = field.get("default") {
        attribute(table, "default", &default.to_string());
    }
    for (key, fact) in [("patch", "patch"), ("key", "mergeKey"), ("list", "list"), ("map", "map"), ("format", "format")]
    {
        attribute(table, key, field[fact].as_str().unwrap_or_default());
    }
    for (key, fact) in [("keys", "listKeys"), ("enum", "enum"), ("items", "itemEnum")] {
        if field.get(fact).is_some() {
            write!(table, " {key}={}", list(field, fact))?;
        }
    }
    table.push('\n');
    Ok(())
}

fn resources(facts: &[Value], storage: &[Value]) -> Result<String> {
    let mut out = String::new();
    for fact in facts {
        let (group, version, kind) = (text(fact, "group")?, text(fact, "version")?, text(fact, "kind")?);
        let resource = text(fact, "resource")?;
        write!(out, "resource {}/{version}/{resource}", if group.is_empty() { "core" } else { group })?;
        write!(out, " kind={kind} singular={} scope={}", text(fact, "singular")?, text(fact, "scope")?)?;
        for (key, name) in [("verbs", "verbs"), ("short", "shortNames"), ("categories", "categories")] {
            attribute(&mut out, key, &list(fact, name));
        }
        // Kinds are told apart by their group too, but those of one name in two groups (Event, HorizontalPodAutoscaler) are one object.
        if let Some(stored) = storage.iter().find(|stored| stored["kind"] == kind) {
            attribute(&mut out, "prefix", text(stored, "prefix")?);
            attribute(&mut out, "stored", text(stored, "storedAs")?);
            attribute(&mut out, "encoding", text(stored, "encoding")?);
        }
        out.push('\n');
        for sub in fact["subresources"].as_array().context("subresources")? {
            writeln!(out, " sub {} kind={} verbs={}", text(sub, "name")?, text(sub, "kind")?, list(sub, "verbs"))?;
        }
    }
    Ok(out)
}

fn columns(facts: &[Value]) -> Result<String> {
    let mut out = String::new();
    for fact in facts {
        let resource = text(fact, "resource")?;
        let group = if resource.matches('/').count() == 1 { "core/" } else { "" };
        writeln!(out, "columns {group}{resource}")?;
        for column in fact["columns"].as_array().context("columns")? {
            write!(out, " {} {} {}", escape(text(column, "name")?), text(column, "type")?, column["priority"])?;
            attribute(&mut out, "format", column["format"].as_str().unwrap_or_default());
            out.push('\n');
        }
    }
    Ok(out)
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value[key].as_str().with_context(|| format!("no text {key:?} in {value}"))
}

/// The strings of a list, escaped and joined by commas.
fn list(value: &Value, key: &str) -> String {
    let items = value[key].as_array().map_or(&[][..], Vec::as_slice);
    items.iter().map(|item| escape(item.as_str().unwrap_or_default())).collect::<Vec<_>>().join(",")
}

/// What separates words and list items in a table is written as in a URL.
fn escape(text: &str) -> String {
    text.replace('%', "%25").replace(' ', "%20").replace(',', "%2C")
}

fn attribute(table: &mut String, key: &str, value: &str) {
    if !value.is_empty() {
        let _ = write!(table, " {key}={value}");
    }
}
