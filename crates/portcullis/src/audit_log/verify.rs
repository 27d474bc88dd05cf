//! `portcullis audit-log verify` and `head`: says whether a log is what its server wrote, and what was done to it if it is not.
//!
//! The head is read from the store when no server has it, else the server is asked: it tells what its store keeps. What a log says of
//! itself is never believed by itself; without a head it is said that the end cannot be vouched for.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use http::StatusCode;
use portcullis_apiserver::audit_log::{PATH, StoredHeads};
use portcullis_audit::log::{Head, HeadStore as _, Heads, Place};
use portcullis_audit::verify::{FINDINGS_MAX, Known, Report, Source, verify};
use portcullis_client::{Access, Client, DialRule, Outgoing};
use portcullis_store::embedded::{Embedded, OpenError, Options};

use super::{default_path, strangers_path};
use crate::arguments::DataDir;

/// How often files are opened again because the server has put one away meanwhile.
const ATTEMPTS_MAX: usize = 5;
/// Longest answer of a server, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// The file of the store in its directory.
const STORE_FILE: &str = "store/store.db";

/// The audit log: whether it is as its server wrote it
#[derive(Debug, Subcommand)]
pub(crate) enum AuditLog {
    Verify(Verify),
    Head(ShowHead),
}

/// Check the audit log against its chain and against the head in the store
///
/// Reads every file of the log and of the log of strangers, also compressed ones, and names each line that was changed, removed, moved
/// or put in. Ends with 0 when nothing is wrong and with 1 when something is. A server may be running.
#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    data_dir: DataDir,
    /// Where the log is, when --audit-log-path said so
    #[arg(long, value_name = "FILE")]
    audit_log_path: Option<PathBuf>,
    /// Only these files, in this order, as one chain
    #[arg(value_name = "FILES", conflicts_with = "audit_log_path")]
    files: Vec<PathBuf>,
    /// The last line, as `audit-log head` gave it; with it neither store nor server is asked
    #[arg(long, value_name = "NUMBER:HASH", value_parser = head)]
    head: Option<Head>,
}

/// Print the head of the audit log, to be kept elsewhere
#[derive(Debug, clap::Args)]
pub(crate) struct ShowHead {
    #[command(flatten)]
    data_dir: DataDir,
}

fn head(text: &str) -> Result<Head, String> {
    text.parse().map_err(|error: portcullis_audit::log::NotAHash| error.to_string())
}

/// Runs the command.
pub(crate) fn run(command: &AuditLog) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match command {
        AuditLog::Verify(arguments) if arguments.files.is_empty() => {
            let data_dir = arguments.data_dir.path()?;
            runtime.block_on(verify_data_dir(arguments, &data_dir))
        }
        AuditLog::Verify(arguments) => verify_files(arguments),
        AuditLog::Head(arguments) => {
            let Asked { heads, from } = runtime.block_on(ask(&arguments.data_dir.path()?))?;
            println!("{}", heads.log.head);
            eprintln!("from {from}");
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// What is kept, and who said so.
struct Asked {
    heads: Heads,
    from: Origin,
}

/// Where heads are from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    Store(PathBuf),
    Server(String),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Store(path) => write!(out, "the store {}", path.display()),
            Origin::Server(host) => write!(out, "the running server {host}"),
        }
    }
}

/// Asks the store, or the server that has it.
async fn ask(data_dir: &Path) -> Result<Asked> {
    let file = data_dir.join(STORE_FILE);
    if !file.exists() {
        bail!("there is no store in {}: give --data-dir, or --head", data_dir.display());
    }
    match Embedded::open(Options::new(data_dir.join("store"))) {
        Ok(store) => {
            let kept = StoredHeads::new(Arc::new(store)).kept().await?;
            let heads = kept.with_context(|| format!("{} keeps no head of an audit log", file.display()))?;
            Ok(Asked { heads, from: Origin::Store(file) })
        }
        Err(OpenError::InUse { .. }) => ask_server(data_dir).await,
        Err(error) => Err(error.into()),
    }
}

async fn ask_server(data_dir: &Path) -> Result<Asked> {
    let access = Access::from_file(&data_dir.join("admin.kubeconfig"))?;
    let everything = ["0.0.0.0/0", "::/0"].into_iter().map(str::parse).collect::<Result<_, _>>()?;
    // The person at the keyboard may ask whom they like.
    let client = Client::new(&access, DialRule { allowed: everything, ..DialRule::default() })?;
    let mut outgoing = Outgoing::get(PATH);
    outgoing.response_bytes_max = ANSWER_BYTES_MAX;
    let answer = client.send(&outgoing).await.context("the store is in use, and its server does not answer")?;
    if answer.status != StatusCode::OK {
        bail!("the running server answers {} to {PATH}", answer.status);
    }
    let heads = Heads::from_json(&answer.body)?;
    Ok(Asked { heads, from: Origin::Server(access.server.to_string()) })
}

/// Both chains of a data directory.
async fn verify_data_dir(arguments: &Verify, data_dir: &Path) -> Result<ExitCode> {
    let log = Place::of(&arguments.audit_log_path.clone().unwrap_or_else(|| default_path(data_dir)))?;
    if let Some(head) = arguments.head {
        let (sources, has_current) = Source::all(&log)?;
        let known = Known { head: Some(head), ..Known::default() };
        let report = verify(sources, has_current, &known);
        return Ok(tell("log", &log.current().display().to_string(), &report, Some((head, "--head"))));
    }
    let (asked, found) = consistent(data_dir, [&log, &Place::of(&strangers_path(data_dir))?]).await?;
    let Asked { heads, from } = asked;
    let is_written = matches!(from, Origin::Server(_));
    let mut code = ExitCode::SUCCESS;
    for ((place, sources, has_current), (name, chain)) in
        found.into_iter().zip([("log", heads.log), ("strangers", heads.strangers)])
    {
        let report = verify(sources, has_current, &Known::kept(&chain, heads.is_closed, is_written));
        let told = tell(name, &place.current().display().to_string(), &report, Some((chain.head, &from.to_string())));
        if told != ExitCode::SUCCESS {
            code = told;
        }
    }
    Ok(code)
}

type Found = (Place, Vec<Source>, bool);

/// Opens files and asks for the heads until both belong together: a running server puts files away.
async fn consistent(data_dir: &Path, places: [&Place; 2]) -> Result<(Asked, Vec<Found>)> {
    for _ in 0..ATTEMPTS_MAX {
        let asked = ask(data_dir).await?;
        let open =
            || places.into_iter().map(|place| Source::all(place).map(|(found, has)| (place.clone(), found, has)));
        let found = open().collect::<std::io::Result<Vec<Found>>>();
        if matches!(asked.from, Origin::Store(_)) {
            return Ok((asked, found?));
        }
        // Nothing went meanwhile, and no file changed its name.
        let again = ask(data_dir).await?;
        let listed = open().collect::<std::io::Result<Vec<Found>>>();
        let first = |asked: &Asked| (asked.heads.log.first.sequence, asked.heads.strangers.first.sequence);
        if let (Ok(found), Ok(listed)) = (found, listed)
            && first(&asked) == first(&again)
            && names(&found) == names(&listed)
        {
            return Ok((asked, found));
        }
    }
    bail!("the server puts files away faster than they can be opened: try again")
}

fn names(found: &[Found]) -> Vec<&Path> {
    found.iter().flat_map(|(_, sources, _)| sources.iter().map(|source| &*source.path)).collect()
}

/// Files that were given.
fn verify_files(arguments: &Verify) -> Result<ExitCode> {
    let open = |path: &PathBuf| Source::open(path.clone()).with_context(|| path.display().to_string());
    let sources = arguments.files.iter().map(open).collect::<Result<Vec<_>>>()?;
    let known = Known { head: arguments.head, ..Known::default() };
    let report = verify(sources, true, &known);
    let name = arguments.files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ");
    Ok(tell("log", &name, &report, arguments.head.map(|head| (head, "--head"))))
}

/// Says what was found.
fn tell(name: &str, path: &str, report: &Report, head: Option<(Head, &str)>) -> ExitCode {
    for remark in &report.remarks {
        println!("note: {name}: {remark}");
    }
    for finding in &report.findings {
        println!("WRONG: {name}: {finding}");
    }
    if report.finding_count > FINDINGS_MAX {
        println!("WRONG: {name}: and {} more", report.finding_count - FINDINGS_MAX);
    }
    let verdict = if report.is_whole() { "whole" } else { "NOT WHOLE" };
    let numbers = match (report.first, report.last) {
        (Some(first), Some(last)) => format!(", numbers {first} to {}", last.sequence),
        _ => String::new(),
    };
    println!("{name}: {verdict}: {} lines in {} files{numbers}: {path}", report.lines, report.files);
    match head {
        Some((head, from)) => println!("  head {head} from {from}; {} lines are behind it", report.beyond_head),
        None => {
            println!("  no head was given: lines that are missing at the end, or a chain computed anew, cannot be seen")
        }
    }
    if report.is_whole() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_on_the_command_line() {
        assert!(head("1").is_err());
        assert_eq!(head(&Head::NONE.to_string()), Ok(Head::NONE));
    }
}
