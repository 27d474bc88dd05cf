//! The recorded answers of an upstream API server, replayed against a release build, with the scores that are required.
//!
//! The recordings are not part of this repository: where they are missing there is nothing to do. Two fresh servers, both
//! under `--defaults upstream`: one for the exchanges, one for the kubectl commands.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;
use portcullis_tests::build::{self, Profile, workspace};
use portcullis_tests::program::{Server, issue};

const CORPUS: &str = "../shared/corpus";
const EXCHANGES_REQUIRED: &str = "tests/corpus-required.json";
const COMMANDS_REQUIRED: &str = "tests/kubectl-required.json";
/// The area under which the score of the kubectl commands stands in its file.
const COMMANDS: &str = "kubectl";
/// What kubectl prints depends on its version; the commands were recorded with this one.
const KUBECTL_MINOR: &str = "v1.32.";

/// Who sends the recorded requests: the file's name, the user and the groups.
const USERS: &[(&str, &str, &[&str])] = &[
    ("admin", "kubernetes-admin", &["system:masters"]),
    ("ana", "ana", &["harbor"]),
    ("node", "system:node:ex-node", &["system:nodes"]),
];

/// Areas whose exchanges wait for what a server does in its own time; each has a server to itself, so that none waits for
/// another's waiting.
const WAITING: &[&str] = &["custom", "update"];

/// Passes of each area.
type Scores = BTreeMap<String, u64>;

/// What to replay and what to do with the scores.
#[derive(clap::Args, Default)]
pub struct Options {
    /// Only these areas, separated by commas; `kubectl` is the recorded commands
    #[arg(long)]
    area: Option<String>,
    /// Only scenarios whose name holds this text; required scores are not looked at
    #[arg(long)]
    only: Option<String>,
    /// Print this many failures of each area
    #[arg(long, default_value_t = 0)]
    show: u32,
    /// Raise the required scores to what passes now; none is ever lowered
    #[arg(long)]
    raise: bool,
}

impl Options {
    fn asks_for(&self, area: &str) -> bool {
        self.area.as_deref().is_none_or(|areas| areas.split(',').any(|asked| asked == area))
    }

    fn wants_exchanges(&self) -> bool {
        self.area.as_deref() != Some(COMMANDS)
    }

    fn wants_commands(&self) -> bool {
        self.only.is_none() && self.asks_for(COMMANDS)
    }
}

/// Replays, prints the scores, and fails when one is lower than required.
pub fn run(options: &Options) -> Result<()> {
    let corpus = workspace().join(CORPUS);
    if !corpus.is_dir() {
        println!("no {CORPUS} here, nothing replayed");
        return Ok(());
    }
    let program = match std::env::var_os(build::PROGRAM) {
        Some(program) => PathBuf::from(program),
        None => build::build(Profile::Release)?,
    };
    let mut short = Vec::new();
    if options.wants_exchanges() {
        let scores = exchanges(&corpus, &program, options)?;
        if options.only.is_none() {
            short.extend(settle(EXCHANGES_REQUIRED, &scores, options)?);
        }
    }
    if options.wants_commands() {
        match kubectl_version() {
            Some(version) if version.starts_with(KUBECTL_MINOR) => {
                let scores = commands(&corpus, &program, options)?;
                short.extend(settle(COMMANDS_REQUIRED, &scores, options)?);
            }
            Some(version) => {
                println!("kubectl is {version}, the commands were recorded with {KUBECTL_MINOR}x: not replayed")
            }
            None if std::env::var_os("CI").is_some() => bail!("CI needs a kubectl"),
            None => println!("no kubectl here, its commands were not replayed"),
        }
    }
    if !short.is_empty() {
        bail!("fewer answers than required: {}", short.join(", "));
    }
    Ok(())
}

/// A fresh server with the users of the corpus. The directory is theirs; it goes away with this value.
struct Cluster {
    server: Server,
    pki: PathBuf,
    directory: tempfile::TempDir,
}

impl Cluster {
    fn start(program: &Path) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let (data, pki) = (directory.path().join("data"), directory.path().join("pki"));
        let server = Server::start_with(program, &data, &["--defaults", "upstream", "--log-level", "warn"])?;
        fs::create_dir(&pki)?;
        fs::copy(data.join("pki/ca.crt"), pki.join("ca.crt"))?;
        for (name, user, groups) in USERS {
            issue(program, &data, user, groups, &pki.join(name))?;
        }
        Ok(Self { server, pki, directory })
    }

    /// A script of the corpus, told where the server is.
    fn script(&self, path: &Path) -> Command {
        let mut command = Command::new("python3");
        // The corpus is read only: no bytecode beside it.
        command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUNBUFFERED", "1").arg(path);
        command.args(["--server", &self.server.address().to_string(), "--pki"]).arg(&self.pki);
        command
    }

    /// Stops the server. A panic on the way is a failure, even where the recorded answer came.
    fn stop(self) -> Result<()> {
        self.server.signal(Signal::SIGTERM);
        let (status, _, log) = self.server.ended();
        let panics: Vec<_> = log.lines().filter(|line| line.contains("panicked at")).collect();
        if !panics.is_empty() || !status.success() {
            bail!("the server ended with {status} after {} panics\n{}", panics.len(), panics.join("\n"));
        }
        Ok(())
    }
}

/// Replays the areas, in as many fresh servers as there are groups, at the same time.
fn exchanges(corpus: &Path, program: &Path, options: &Options) -> Result<Scores> {
    let areas = areas(corpus)?;
    let groups = groups(&areas, |area| options.asks_for(area));
    if groups.is_empty() {
        bail!("no such area: there are {}", areas.into_iter().collect::<Vec<_>>().join(", "));
    }
    let replayed: Vec<Result<(Scores, String)>> = std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for group in &groups {
            threads.push(scope.spawn(move || exchanges_of(corpus, program, group, options)));
        }
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("a replay panicked"))).collect()
    });
    let mut scores = Scores::new();
    for result in replayed {
        let (passes, said) = result?;
        print!("{said}");
        scores.extend(passes);
    }
    println!("{:<14} {:>6} pass", "all areas", scores.values().sum::<u64>());
    Ok(scores)
}

/// The recorded areas.
fn areas(corpus: &Path) -> Result<BTreeSet<String>> {
    let mut areas = BTreeSet::new();
    for entry in fs::read_dir(corpus.join("recorded"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        areas.extend(name.split_once('.').map(|(area, _)| area.to_owned()));
    }
    Ok(areas)
}

/// The areas that are asked for, those that wait much apart from the others.
fn groups(areas: &BTreeSet<String>, asked: impl Fn(&str) -> bool) -> Vec<Vec<&str>> {
    let asked: Vec<&str> = areas.iter().map(String::as_str).filter(|area| asked(area)).collect();
    let (alone, together): (Vec<&str>, Vec<&str>) = asked.into_iter().partition(|area| WAITING.contains(area));
    let mut groups = vec![together];
    groups.extend(alone.into_iter().map(|area| vec![area]));
    groups.retain(|group| !group.is_empty());
    groups
}

fn exchanges_of(corpus: &Path, program: &Path, areas: &[&str], options: &Options) -> Result<(Scores, String)> {
    let cluster = Cluster::start(program)?;
    let passes = cluster.directory.path().join("passes.json");
    let mut command = cluster.script(&corpus.join("replay.py"));
    command.arg("--json").arg(&passes).args(["--show", &options.show.to_string(), "--area", &areas.join(",")]);
    if let Some(only) = &options.only {
        command.args(["--only", only]);
    }
    let output = command.stderr(Stdio::inherit()).output().context("cannot run python3")?;
    if !output.status.success() {
        bail!("replay.py ended with {}", output.status);
    }
    let passes = fs::read_to_string(&passes).context("replay.py wrote no scores")?;
    cluster.stop().with_context(|| format!("after {}", areas.join(", ")))?;
    Ok((serde_json::from_str(&passes)?, String::from_utf8_lossy(&output.stdout).into_owned()))
}

fn commands(corpus: &Path, program: &Path, options: &Options) -> Result<Scores> {
    let cluster = Cluster::start(program)?;
    let mut command = cluster.script(&corpus.join("kubectl_replay.py"));
    if options.show > 0 {
        command.arg("--show");
    }
    // kubectl keeps what it discovered under the home directory.
    command.env("HOME", cluster.directory.path()).env("TMPDIR", cluster.directory.path());
    let output = command.stderr(Stdio::inherit()).output().context("cannot run python3")?;
    let said = String::from_utf8_lossy(&output.stdout);
    print!("{said}");
    if !output.status.success() {
        bail!("kubectl_replay.py ended with {}", output.status);
    }
    cluster.stop()?;
    let score = said.lines().find_map(|line| line.strip_prefix("kubectl ")?.split(' ').next()?.parse().ok());
    Ok(Scores::from([(COMMANDS.to_owned(), score.context("kubectl_replay.py told no score")?)]))
}

fn kubectl_version() -> Option<String> {
    let output = Command::new("kubectl").args(["version", "--client", "-o", "json"]).output().ok()?;
    let version: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    Some(version["clientVersion"]["gitVersion"].as_str()?.to_owned())
}

/// Compares scores with the required ones, and raises those when told to. Returns the areas that fall short.
fn settle(file: &str, scores: &Scores, options: &Options) -> Result<Vec<String>> {
    let path = workspace().join(file);
    let text = fs::read_to_string(&path).with_context(|| file.to_owned())?;
    let required: Scores = serde_json::from_str(&text).with_context(|| file.to_owned())?;
    let (raised, short) = compare(&required, scores, |area| options.asks_for(area));
    if options.raise && raised != required {
        fs::write(&path, format!("{}\n", serde_json::to_string_pretty(&raised)?))?;
        println!("{file} raised");
    }
    Ok(short)
}

/// The required scores after a raise, and the areas that fall short. Areas that were not asked for stay as they are.
fn compare(required: &Scores, scores: &Scores, asked: impl Fn(&str) -> bool) -> (Scores, Vec<String>) {
    let mut raised = required.clone();
    for (area, passes) in scores {
        let held = raised.entry(area.clone()).or_default();
        *held = (*held).max(*passes);
    }
    let short = required.iter().filter(|(area, _)| asked(area)).filter_map(|(area, required)| {
        let passes = scores.get(area).copied().unwrap_or_default();
        (passes < *required).then(|| format!("{area} {passes} of {required}"))
    });
    (raised, short.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_that_wait_are_apart() {
        let areas = BTreeSet::from(["access", "crud", "custom", "update"].map(str::to_owned));
        assert_eq!(groups(&areas, |_| true), [vec!["access", "crud"], vec!["custom"], vec!["update"]]);
        assert_eq!(groups(&areas, |area| area == "update"), [vec!["update"]]);
        assert!(groups(&areas, |_| false).is_empty());
    }

    #[test]
    fn scores_only_rise() {
        let scores =
            |list: &[(&str, u64)]| list.iter().map(|(area, score)| ((*area).to_owned(), *score)).collect::<Scores>();
        let check = |required: &[(&str, u64)], passes: &[(&str, u64)], raised: &[(&str, u64)], short: &[&str]| {
            let (got, fell) = compare(&scores(required), &scores(passes), |area| area != "wire");
            assert_eq!((got, fell.iter().map(String::as_str).collect::<Vec<_>>()), (scores(raised), short.to_vec()));
        };
        check(&[], &[("crud", 3)], &[("crud", 3)], &[]);
        check(&[("crud", 3)], &[("crud", 3)], &[("crud", 3)], &[]);
        check(&[("crud", 3)], &[("crud", 5), ("list", 0)], &[("crud", 5), ("list", 0)], &[]);
        check(&[("crud", 3)], &[("crud", 2)], &[("crud", 3)], &["crud 2 of 3"]);
        check(&[("crud", 3), ("wire", 9)], &[], &[("crud", 3), ("wire", 9)], &["crud 0 of 3"]);
    }
}
