//! The instructions that the hottest paths take, counted by valgrind's callgrind, with the counts that are held.
//!
//! Time on a machine that others use does not repeat; instructions do. A path's count is the difference of two runs that differ in
//! nothing but how often they take it, so what comes before and after is in neither. The system's own work (a sync, a
//! wake) has no instructions here: `cargo xtask bench` measures it.
//!
//! A count belongs to a compiler: with another one than the file names, counts are shown and not judged. One that has to rise is
//! written into the file by hand, and the commit says why.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::ScopedJoinHandle;

use anyhow::{Context as _, Result, bail};
use portcullis_tests::build::{self, Profile, workspace};
use serde_json::{Value, json};

const HELD: &str = "tests/instructions.json";
/// The package whose program runs the paths.
const PACKAGE: &str = "portcullis-instructions";
/// How much higher than held a count may be, in percent.
const TOLERANCE_PERCENT: u64 = 3;
/// How often a path is counted at most before it is said to take more. Runs of one build differ, some by four percent: hash maps are
/// seeded by chance, and two threads take turns as they like. The least is what the program needs; a path that grew has grown
/// in its least count too.
const COUNTS_MAX: usize = 5;
/// What glibc picks by processor, pinned. Valgrind shows every processor that has AVX2 as the same one, except for the sizes
/// of its caches; and it counts each round of a repeated instruction.
const TUNABLES: &str = "glibc.cpu.hwcaps=-ERMS,-FSRM:glibc.cpu.x86_data_cache_size=0x8000:\
                        glibc.cpu.x86_shared_cache_size=0x100000:glibc.cpu.x86_non_temporal_threshold=0xc0000";

/// Paths that do the same to more of the same: the second may take no more than so many times the first's instructions.
const LINEAR: &[(&str, &str, u64)] = &[("check a pod of 20 containers", "check a pod of 200 containers", 11)];

/// Instructions of one operation of each path.
type Counts = BTreeMap<String, u64>;

/// What to do with the counts.
#[derive(clap::Args, Default)]
pub struct Options {
    /// Only paths whose name holds this text
    #[arg(long)]
    only: Option<String>,
    /// Lower the counts that are held to those of now; none is ever raised. With another compiler, hold those of now
    #[arg(long)]
    lower: bool,
    /// Keep what callgrind wrote in this directory, for callgrind_annotate
    #[arg(long)]
    keep: Option<PathBuf>,
}

/// A path: its name, the units of work of its two runs, and the operations between them.
#[derive(Debug, PartialEq, Eq)]
struct HotPath {
    name: String,
    fewer: u64,
    more: u64,
    operations: u64,
}

/// The counts that are held, and the compiler that they are of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Held {
    rustc: String,
    counts: Counts,
}

/// Counts, prints a table, and fails when a path takes more instructions than are held.
pub fn run(options: &Options) -> Result<()> {
    if Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_err() {
        if std::env::var_os("CI").is_some() {
            bail!("CI needs valgrind");
        }
        println!("no valgrind here, nothing counted");
        return Ok(());
    }
    let (program, rustc) = (build()?, rustc()?);
    let held = Held::read(&workspace().join(HELD))?;
    let is_judged = held.rustc == rustc;
    let counts = count(&program, options, |name, count| is_judged && held.is_risen(name, count))?;
    print!("{}", table(&held, &counts));
    let crooked = crooked(&counts);
    if !crooked.is_empty() {
        bail!("more than linear: {}", crooked.join(", "));
    }
    if options.lower {
        if !is_judged && options.only.is_some() {
            bail!("{HELD} is of another compiler: all paths are to be counted anew, not only some");
        }
        let lowered = if is_judged { held.lowered(&counts) } else { Held { rustc, counts } };
        if lowered != held {
            lowered.write(&workspace().join(HELD))?;
            println!("{HELD} written");
        }
        return Ok(());
    }
    if !is_judged {
        println!("not judged: this is {rustc}, the counts of {HELD} are of {}", held.rustc);
        return Ok(());
    }
    let risen = held.risen(&counts);
    if !risen.is_empty() {
        bail!("more instructions than {HELD} holds: {}", risen.join(", "));
    }
    Ok(())
}

/// The pairs of paths of which the larger costs more than its size explains.
fn crooked(counts: &Counts) -> Vec<String> {
    let judged = LINEAR.iter().filter_map(|(small, large, times)| {
        let (few, many) = (counts.get(*small)?, counts.get(*large)?);
        (*many > few * times).then(|| format!("{large} takes {many}, {small} {few}"))
    });
    judged.collect()
}

/// Builds the program as a release is built, together with the release: both are made of the same parts.
fn build() -> Result<PathBuf> {
    let packages = ["portcullis", PACKAGE];
    build::programs(&packages, Profile::Release)?.pop().context("cargo named no program")
}

/// The compiler, as it names itself.
fn rustc() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").current_dir(workspace()).output().context("cannot run rustc")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Counts each path that is asked for, over copies of one data set: again while its count is one to doubt. The least counts.
fn count(program: &Path, options: &Options, is_doubtful: impl Fn(&str, u64) -> bool) -> Result<Counts> {
    let directory = tempfile::tempdir()?;
    let kept = options.keep.as_deref().unwrap_or(directory.path());
    fs::create_dir_all(kept)?;
    let full = directory.path().join("full");
    let filled = Command::new(program).arg("fill").arg(&full).status()?;
    if !filled.success() {
        bail!("the data set was not made");
    }
    let listed = Command::new(program).arg("list").output()?;
    let mut counts = Counts::new();
    for (number, path) in paths(&String::from_utf8_lossy(&listed.stdout))?.into_iter().enumerate() {
        if options.only.as_ref().is_some_and(|only| !path.name.contains(only)) {
            continue;
        }
        let instructions = |units: u64| {
            let copy = directory.path().join(format!("{number}-{units}"));
            let profile = kept.join(format!("callgrind.{number}-{units}"));
            instructions(program, &full, &copy, &profile, &path.name, units)
        };
        let counted = || {
            std::thread::scope(|scope| {
                let fewer = scope.spawn(|| instructions(path.fewer));
                let more = scope.spawn(|| instructions(path.more));
                anyhow::Ok(joined(more)?.saturating_sub(joined(fewer)?) / path.operations)
            })
        };
        let least = least(counted, |count| is_doubtful(&path.name, count))?;
        counts.insert(path.name, least);
    }
    Ok(counts)
}

/// The least of the counts, of which the next is made while all so far are to be doubted.
fn least(mut counted: impl FnMut() -> Result<u64>, is_doubtful: impl Fn(u64) -> bool) -> Result<u64> {
    let mut least = counted()?;
    for _ in 1..COUNTS_MAX {
        if !is_doubtful(least) {
            break;
        }
        least = least.min(counted()?);
    }
    Ok(least)
}

fn joined(thread: ScopedJoinHandle<'_, Result<u64>>) -> Result<u64> {
    thread.join().unwrap_or_else(|_| bail!("a count panicked"))
}

/// The paths as the program lists them.
fn paths(listed: &str) -> Result<Vec<HotPath>> {
    let parsed = |line: &str| {
        let mut words = line.splitn(4, ' ');
        let mut number = || words.next()?.parse().ok();
        let (fewer, more, operations) = (number()?, number()?, number()?);
        Some(HotPath { name: words.next()?.to_owned(), fewer, more, operations })
    };
    listed.lines().map(|line| parsed(line).with_context(|| format!("the program lists {line:?}"))).collect()
}

/// The instructions of one run, over its own copy of the data set.
fn instructions(program: &Path, full: &Path, copy: &Path, profile: &Path, name: &str, units: u64) -> Result<u64> {
    fs::create_dir(copy)?;
    for entry in fs::read_dir(full)? {
        let entry = entry?;
        fs::copy(entry.path(), copy.join(entry.file_name()))?;
    }
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--quiet", "--fair-sched=yes"]);
    command.arg(format!("--callgrind-out-file={}", profile.display())).arg(program);
    command.arg("run").arg(copy).args([&units.to_string(), name]).env("GLIBC_TUNABLES", TUNABLES);
    let output = command.output().context("cannot run valgrind")?;
    if !output.status.success() {
        bail!("{name}, {units} times: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    fs::remove_dir_all(copy)?;
    let profile = fs::read_to_string(profile).context("callgrind wrote nothing")?;
    total(&profile).context("callgrind wrote no total")
}

/// What callgrind counted in all.
fn total(profile: &str) -> Option<u64> {
    profile.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok())
}

impl Held {
    /// No file holds nothing.
    fn read(path: &Path) -> Result<Held> {
        if !path.exists() {
            return Ok(Held::default());
        }
        let file: Value = serde_json::from_str(&fs::read_to_string(path)?).context(HELD)?;
        let counts = serde_json::from_value(file["instructions"].clone()).context(HELD)?;
        Ok(Held { rustc: file["rustc"].as_str().context(HELD)?.to_owned(), counts })
    }

    fn write(&self, path: &Path) -> Result<()> {
        let file = json!({"rustc": self.rustc, "instructions": self.counts});
        fs::write(path, format!("{}\n", serde_json::to_string_pretty(&file)?)).context(HELD)
    }

    /// What is held after counts have fallen. New paths join.
    fn lowered(&self, counts: &Counts) -> Held {
        let mut lowered = self.clone();
        for (name, count) in counts {
            lowered.counts.entry(name.clone()).and_modify(|held| *held = (*held).min(*count)).or_insert(*count);
        }
        lowered
    }

    /// The paths that take more than they may.
    fn risen(&self, counts: &Counts) -> Vec<String> {
        let risen = counts.iter().filter_map(|(name, count)| match self.counts.get(name) {
            None => Some(format!("{name} is not in the file")),
            Some(held) if self.is_risen(name, *count) => {
                Some(format!("{name} {} ({count} of {held})", percent(*held, *count)))
            }
            Some(_) => None,
        });
        risen.collect()
    }

    /// Whether a count of a path is more than the one that is held allows.
    fn is_risen(&self, name: &str, count: u64) -> bool {
        self.counts.get(name).is_some_and(|held| count * 100 > held * (100 + TOLERANCE_PERCENT))
    }
}

/// What a count is more than another, as `+1.5 %`.
fn percent(held: u64, count: u64) -> String {
    let share = (count as f64 / held.max(1) as f64 - 1.0) * 100.0;
    format!("{share:+.1} %")
}

fn table(held: &Held, counts: &Counts) -> String {
    let mut table = format!("{:<36} {:>12} {:>12} {:>9}\n", "instructions of an operation", "held", "now", "");
    for (name, count) in counts {
        let held = held.counts.get(name);
        let change = held.map(|held| percent(*held, *count)).unwrap_or_default();
        let held = held.map(u64::to_string).unwrap_or_default();
        table.push_str(&format!("{name:<36} {held:>12} {count:>12} {change:>9}\n"));
    }
    table
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn counts(list: &[(&str, u64)]) -> Counts {
        list.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn what_grows_faster_than_its_size_is_named() {
        let check = |few: u64, many: u64, expected: usize| {
            let counts = counts(&[("check a pod of 20 containers", few), ("check a pod of 200 containers", many)]);
            assert_eq!(crooked(&counts).len(), expected, "{few} {many}");
        };
        check(100, 900, 0);
        check(100, 1_100, 0);
        check(100, 1_101, 1);
        assert_eq!(crooked(&Counts::new()).len(), 0);
    }

    #[test]
    fn counts_only_fall() {
        let check = |held: &[(&str, u64)], now: &[(&str, u64)], lowered: &[(&str, u64)], risen: &[&str]| {
            let held = Held { rustc: "rustc 1".to_owned(), counts: counts(held) };
            assert_eq!(held.lowered(&counts(now)).counts, counts(lowered), "{now:?}");
            assert_eq!(held.risen(&counts(now)), risen, "{now:?}");
        };
        check(&[("get", 1000)], &[("get", 1000)], &[("get", 1000)], &[]);
        check(&[("get", 1000)], &[("get", 900)], &[("get", 900)], &[]);
        check(&[("get", 1000)], &[("get", 1030)], &[("get", 1000)], &[]);
        check(&[("get", 1000)], &[("get", 1031)], &[("get", 1000)], &["get +3.1 % (1031 of 1000)"]);
        check(&[("get", 1000)], &[], &[("get", 1000)], &[]);
        check(&[], &[("list", 5)], &[("list", 5)], &["list is not in the file"]);
    }

    #[test]
    fn a_count_in_doubt_is_repeated_and_the_least_counts() {
        let check = |counts: &[u64], least_count: u64, made: usize| {
            let mut next = counts.iter().copied();
            let counted = || next.next().context("more counts than there may be");
            assert_eq!(least(counted, |count| count > 103).unwrap(), least_count, "{counts:?}");
            assert_eq!(counts.len() - next.count(), made, "{counts:?}");
        };
        check(&[100, 90], 100, 1);
        check(&[104, 103, 90], 103, 2);
        check(&[110, 120, 108, 109, 107, 90], 107, 5);
        let mut failing = || bail!("valgrind says no");
        assert!(least(&mut failing, |_| true).is_err());
    }

    #[test]
    fn what_others_write_is_read() {
        let path = HotPath { name: "get a pod".to_owned(), fewer: 3, more: 13, operations: 10 };
        assert_eq!(paths("3 13 10 get a pod\n").unwrap(), [path]);
        assert!(paths("3 13 get a pod\n").is_err());
        assert_eq!(total("events: Ir\n1 2\ntotals: 1234\n"), Some(1234));
        assert_eq!(total("events: Ir\n"), None);
    }

    #[test]
    fn the_file_is_what_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("held.json");
        assert_eq!(Held::read(&path).unwrap(), Held::default());
        let held = Held { rustc: "rustc 1".to_owned(), counts: counts(&[("get", 7), ("list", 9)]) };
        held.write(&path).unwrap();
        assert_eq!(Held::read(&path).unwrap(), held);
    }
}
