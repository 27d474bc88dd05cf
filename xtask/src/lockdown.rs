//! Every row of docs/lockdown.md is held by a test that exists, or says which issue it waits for.
//!
//! A row's last cell names tests as `` `a15_keys_are_for_the_owner_only` ``, or waits: `issue 12`, or `not built: node/src/kubelet`, which
//! stands only as long as there is no `crates/node/src/kubelet`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use portcullis_tests::build::workspace;

const TABLE: &str = "docs/lockdown.md";
/// Rows of the table: listeners, settings, probes. A row may not get lost.
const ROWS: &[(char, usize)] = &[('L', 13), ('A', 27), ('P', 12)];
/// Where tests are.
const SOURCES: [&str; 2] = ["crates", "tests"];
/// Directories below each other in the sources.
const DEPTH_MAX: usize = 16;

/// Checks the table against the sources.
pub fn run() -> Result<()> {
    let table = fs::read_to_string(workspace().join(TABLE)).context(TABLE)?;
    let mut tests = BTreeSet::new();
    for directory in SOURCES {
        collect(&workspace().join(directory), DEPTH_MAX, &mut tests)?;
    }
    let faults = faults(&table, &tests, &|name| workspace().join("crates").join(name).exists());
    for fault in &faults {
        println!("{fault}");
    }
    if !faults.is_empty() {
        bail!("{} faults in {TABLE}", faults.len());
    }
    let rows = rows(&table);
    let waiting = rows.values().filter(|cell| tests_of(cell).is_empty()).count();
    println!("{} rows: {} held by tests, {waiting} waiting for their issue", rows.len(), rows.len() - waiting);
    Ok(())
}

/// Every row that is missing, waits for nothing, or names a test that does not exist; every test of a row that is not named.
fn faults(table: &str, tests: &BTreeSet<String>, built: &dyn Fn(&str) -> bool) -> Vec<String> {
    let rows = rows(table);
    let mut faults = Vec::new();
    for (letter, count) in ROWS {
        for number in 1..=*count {
            let id = format!("{letter}{number}");
            match rows.get(&id) {
                None => faults.push(format!("{id} has no row")),
                Some(cell) => faults.extend(faults_of(&id, cell, tests, built)),
            }
        }
    }
    let named: BTreeSet<&str> = rows.values().flat_map(|cell| tests_of(cell)).collect();
    for test in tests {
        if names_a_row(test) && !named.contains(test.as_str()) {
            faults.push(format!("the test {test} is named by no row"));
        }
    }
    faults
}

fn faults_of(id: &str, cell: &str, tests: &BTreeSet<String>, built: &dyn Fn(&str) -> bool) -> Vec<String> {
    let named = tests_of(cell);
    match part_waited_for(cell) {
        Some(part) if built(part) => return vec![format!("{id} waits for {part}, which is built: name its test")],
        Some(_) => {}
        None if named.is_empty() && !waits_for_issue(cell) => {
            return vec![format!("{id} names neither a test nor what it waits for: {cell:?}")];
        }
        None => {}
    }
    let mut faults = Vec::new();
    for name in named {
        if !tests.contains(name) {
            faults.push(format!("{id} names {name}, which is no test"));
        }
        // A test may hold several rows: `l2_p1_the_tls_port_is_the_only_one`.
        if !name.split('_').any(|part| part.eq_ignore_ascii_case(id)) {
            faults.push(format!("{id} names {name}, which is not named for it"));
        }
    }
    faults
}

/// The rows by their id, each with its last cell.
fn rows(table: &str) -> BTreeMap<String, &str> {
    let mut rows = BTreeMap::new();
    for line in table.lines() {
        let Some(cells) = line.trim().strip_prefix('|').and_then(|line| line.strip_suffix('|')) else { continue };
        let id = cells.split('|').next().unwrap_or_default().trim();
        if is_row(id) {
            rows.insert(id.to_owned(), cells.rsplit('|').next().unwrap_or_default().trim());
        }
    }
    rows
}

fn is_row(id: &str) -> bool {
    let (letter, number) = (id.chars().next().unwrap_or_default(), id.get(1..).unwrap_or_default());
    ROWS.iter().any(|(known, _)| *known == letter) && number.parse::<usize>().is_ok()
}

fn tests_of(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

fn waits_for_issue(cell: &str) -> bool {
    cell.split_once("issue ").is_some_and(|(_, rest)| rest.starts_with(|letter: char| letter.is_ascii_digit()))
}

/// The crate that a row waits for, or what of it.
fn part_waited_for(cell: &str) -> Option<&str> {
    let (_, rest) = cell.split_once("not built: ")?;
    rest.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '/').next()
}

/// Whether a test's first word is the id of a row.
fn names_a_row(test: &str) -> bool {
    test.split('_').next().is_some_and(|word| word.len() > 1 && is_row(&word.to_ascii_uppercase()))
}

fn collect(directory: &Path, depth_left: usize, tests: &mut BTreeSet<String>) -> Result<()> {
    let mut open = vec![(directory.to_owned(), depth_left)];
    while let Some((directory, depth_left)) = open.pop() {
        if depth_left == 0 {
            bail!("{} is too deep", directory.display());
        }
        for entry in fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                open.push((path, depth_left - 1));
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                tests.extend(tests_in(&fs::read_to_string(&path)?));
            }
        }
    }
    Ok(())
}

/// The names of the functions under a test attribute.
fn tests_in(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some((_, name)) = line.split_once("fn ").filter(|_| is_test && !line.starts_with("//")) {
            found.push(name.split('(').next().unwrap_or_default().to_owned());
            is_test = false;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table in which every row but the given one waits.
    fn table(id: &str, cell: &str) -> String {
        let mut table = String::new();
        for (letter, count) in ROWS {
            for number in 1..=*count {
                let row = format!("{letter}{number}");
                let cell = if row == id { cell } else { "issue 9" };
                table.push_str(&format!("| {row} | some text | {cell} |\n"));
            }
        }
        table
    }

    #[test]
    fn a_row_is_held_or_waits() {
        let tests = BTreeSet::from(["a2_no_files".to_owned(), "l2_p1_closed".to_owned(), "other".to_owned()]);
        let check = |id: &str, cell: &str, expected: &[&str]| {
            let rest = ["the test a2_no_files is named by no row", "the test l2_p1_closed is named by no row"];
            let mut all = expected.to_vec();
            all.extend(rest.iter().filter(|line| !tests_of(cell).iter().any(|name| line.contains(name))));
            assert_eq!(faults(&table(id, cell), &tests, &|part| part == "gate"), all, "{id}: {cell}");
        };
        check("A2", "`a2_no_files`", &[]);
        check("L2", "`l2_p1_closed`", &[]);
        check("P1", "`l2_p1_closed`; the rest: issue 8", &[]);
        check("A2", "issue 12", &[]);
        check("A2", "not built: node", &[]);
        check("A2", "not built: gate/src/kubelet", &[]);
        check("A2", "not built: gate", &["A2 waits for gate, which is built: name its test"]);
        check("A2", "", &["A2 names neither a test nor what it waits for: \"\""]);
        check("A2", "later", &["A2 names neither a test nor what it waits for: \"later\""]);
        check("A2", "`a2_gone`", &["A2 names a2_gone, which is no test"]);
        check("A2", "`other`", &["A2 names other, which is not named for it"]);
    }

    #[test]
    fn a_lost_row_is_missed() {
        let without = table("", "").replace("| A9 |", "| B9 |");
        assert_eq!(faults(&without, &BTreeSet::new(), &|_| false), ["A9 has no row"]);
    }

    #[test]
    fn tests_are_found_in_sources() {
        let source = "#[test]\nfn a1_one() {\n#[tokio::test(flavor = \"x\")]\nasync fn two() {}\nfn three() {}\n#[test]\n#[should_panic]\nfn four() {}";
        assert_eq!(tests_in(source), ["a1_one", "two", "four"]);
    }
}
