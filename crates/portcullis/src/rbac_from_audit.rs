//! `portcullis rbac from-audit`: the least role that covers what somebody did (upstream has nothing like it).
//!
//! It reads the audit log, turns every request back into the questions that the gate put to the authorisers, and writes the roles that
//! answer those and no others with yes. A log can be of any size: what is held is what was asked, once.
//!
//! Reading order: `asked` (an event's questions), `person` (whose they are), `permissions` (what is held of them, and the smallest rules
//! for it), `manifest` (what is printed).

mod asked;
mod manifest;
mod permissions;
mod person;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::builder::NonEmptyStringValueParser;
use portcullis_audit::reader::{self, EventReader, Found};
use portcullis_gate::rbac::Subject;
use portcullis_model::time::{parse_duration, parse_micro_time, parse_time};
use time::OffsetDateTime;

use self::manifest::Format;
use self::permissions::Names;
use self::person::{Defaults, People, Refused, Roles, Wanted};
use crate::arguments::DataDir;

/// Where the server keeps its log, below the data directory.
const DIRECTORY: &str = "audit";
/// What the files of the log begin with, rotated ones too.
const FILE_PREFIX: &str = "audit";
/// What they end with.
const FILE_SUFFIXES: [&str; 2] = [".log", ".log.gz"];
/// Stands for the standard input.
const STANDARD_INPUT: &str = "-";
/// Lines that cannot be read are named up to this number, and then only counted.
const BROKEN_SHOWN_MAX: u64 = 20;
/// The end of the program when lines could not be read: what is printed may lack what they said.
const EXIT_BROKEN: u8 = 3;

const SECOND_MICROS: i64 = 1_000_000;
const MICRO_NANOS: i64 = 1_000;

/// Make the least role that covers what a user did, from the audit log
///
/// Prints roles and bindings, a Role for each namespace and a ClusterRole for the rest, ready for `kubectl apply -f -`. They allow what was
/// asked and allowed, by name where RBAC can tell objects apart, and nothing else. What a request did as another user counts for that one;
/// who acted as another needs `impersonate`. What the audit policy did not record is not in them.
///
/// Ends with 0; with 1 when there is nothing to say or a log cannot be opened; with 3 when lines could not be read, so that something may
/// be missing.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("whose").required(true).multiple(true))]
#[command(after_help = "Examples:
  portcullis rbac from-audit --user ana > ana.yaml
  portcullis rbac from-audit --serviceaccount shop:cart --since 24h --names any
  portcullis rbac from-audit --all --log /var/log/kubernetes/audit.log --log audit-old.log.gz")]
pub(crate) struct FromAudit {
    /// A user; can be given again
    #[arg(long = "user", value_name = "NAME", group = "whose", value_parser = NonEmptyStringValueParser::new())]
    users: Vec<String>,
    /// A service account; can be given again
    #[arg(long = "serviceaccount", value_name = "NAMESPACE:NAME", group = "whose", value_parser = service_account)]
    service_accounts: Vec<Subject>,
    /// All members of a group together; can be given again
    #[arg(long = "group", value_name = "NAME", group = "whose", value_parser = NonEmptyStringValueParser::new())]
    groups: Vec<String>,
    /// Every user that is found, but for the cluster's own components (system:...)
    #[arg(long, group = "whose")]
    all: bool,
    /// A log to read instead of the server's own, compressed or not; - is the standard input; can be given again
    #[arg(long = "log", value_name = "FILE")]
    logs: Vec<PathBuf>,
    /// Only requests from then on: a time (2026-01-02T03:04:05Z), or how long ago (24h, 90m)
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Moment>,
    /// Only requests before then, in the same forms
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Moment>,
    /// What the roles and bindings are called [default: from-audit- and the user's name]
    #[arg(long, value_name = "NAME", conflicts_with = "all", value_parser = role_name)]
    name: Option<String>,
    /// Whether objects are told apart. Namespaces, and whoever is impersonated, always are
    #[arg(long, value_name = "HOW", value_enum, default_value = "exact")]
    names: Names,
    /// Put in what was refused, too, instead of naming it in a comment
    #[arg(long)]
    include_refused: bool,
    /// Leave out what every login may do anyway (system:basic-user, system:discovery, system:public-info-viewer); =false where those
    /// bindings were taken away
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true",
          action = clap::ArgAction::Set)]
    minus_defaults: bool,
    /// The form
    #[arg(short, long, value_name = "FORM", value_enum, default_value = "yaml")]
    output: Format,
    #[command(flatten)]
    data_dir: DataDir,
}

/// A time as it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// Microseconds since the Unix epoch.
    At(i64),
    /// Microseconds before now.
    Ago(i64),
}

impl Moment {
    fn micros(self, now: i64) -> i64 {
        match self {
            Moment::At(micros) => micros,
            Moment::Ago(micros) => now.saturating_sub(micros),
        }
    }
}

fn moment(text: &str) -> Result<Moment, String> {
    if let Ok(seconds) = parse_time(text) {
        return Ok(Moment::At(seconds.saturating_mul(SECOND_MICROS)));
    }
    match parse_duration(text) {
        Ok(nanos) if nanos >= 0 => Ok(Moment::Ago(nanos / MICRO_NANOS)),
        _ => Err("neither a time as 2026-01-02T03:04:05Z nor a duration as 24h".to_owned()),
    }
}

fn service_account(text: &str) -> Result<Subject, &'static str> {
    match text.split_once(':') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains(':') => {
            Ok(Subject::ServiceAccount { namespace: namespace.to_owned(), name: name.to_owned() })
        }
        _ => Err("not NAMESPACE:NAME"),
    }
}

/// A name that the path of a role can have.
fn role_name(text: &str) -> Result<String, &'static str> {
    if text.is_empty() || matches!(text, "." | "..") || text.contains(['/', '%']) {
        return Err("a role's name is not empty, `.` or `..`, and has no `/` and no `%`");
    }
    Ok(text.to_owned())
}

/// Reads, gathers and prints.
pub(crate) fn run(arguments: &FromAudit) -> Result<ExitCode> {
    let mut people = People::new(arguments.wanted()?, arguments.refused(), arguments.names);
    let (from, until) = arguments.span();
    let mut broken = Broken::default();
    for log in arguments.logs()? {
        let shown = log.display().to_string();
        for found in open(&log)? {
            match found {
                Found::Event(event) => {
                    // A time that cannot be read is of no use to leave an event out by.
                    let at = parse_micro_time(&event.received).ok();
                    if at.is_none_or(|at| from.is_none_or(|from| at >= from) && until.is_none_or(|until| at < until)) {
                        people.take(&event).with_context(|| shown.clone())?;
                    }
                }
                Found::Broken { line, fault } => broken.tell(&shown, line, &fault),
            }
        }
    }
    let mut roles = people.finish(if arguments.minus_defaults { Defaults::LeftOut } else { Defaults::Included })?;
    manifest::name(&mut roles, arguments.name.as_deref());
    let printed = manifest::print(&roles, arguments.output, &mut io::stdout().lock(), &mut io::stderr().lock());
    match printed {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        printed => printed.context("cannot print")?,
    }
    if broken.count > 0 {
        broken.sum_up();
        return Ok(ExitCode::from(EXIT_BROKEN));
    }
    let is_anyone_there = roles.iter().any(Roles::are_founded);
    Ok(if is_anyone_there { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl FromAudit {
    fn wanted(&self) -> Result<Wanted> {
        if self.all {
            return Ok(Wanted::All);
        }
        let mut subjects: Vec<Subject> = self.users.iter().map(|user| person::subject_of(user)).collect();
        subjects.extend(self.service_accounts.iter().cloned());
        subjects.extend(self.groups.iter().map(|group| Subject::Group(group.clone())));
        if self.name.is_some() && subjects.len() > 1 {
            bail!("--name names the roles of one user: leave it out, or ask for one at a time");
        }
        Ok(Wanted::These(subjects))
    }

    fn refused(&self) -> Refused {
        if self.include_refused { Refused::Included } else { Refused::Named }
    }

    /// The times between which requests count, in microseconds since the Unix epoch.
    fn span(&self) -> (Option<i64>, Option<i64>) {
        let now = OffsetDateTime::now_utc().unix_timestamp().saturating_mul(SECOND_MICROS);
        (self.since.map(|since| since.micros(now)), self.until.map(|until| until.micros(now)))
    }

    fn logs(&self) -> Result<Vec<PathBuf>> {
        if !self.logs.is_empty() {
            return Ok(self.logs.clone());
        }
        let directory = self.data_dir.path()?.join(DIRECTORY);
        let entries = std::fs::read_dir(&directory)
            .with_context(|| format!("no audit log in {}: give --data-dir or --log", directory.display()))?;
        let mut found = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if is_log(&path) {
                found.push(path);
            }
        }
        if found.is_empty() {
            bail!("no audit log in {}: give --data-dir or --log", directory.display());
        }
        found.sort();
        Ok(found)
    }
}

fn is_log(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with(FILE_PREFIX) && FILE_SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}

fn open(log: &Path) -> Result<EventReader<Box<dyn io::BufRead>>> {
    let opened =
        if log.as_os_str() == STANDARD_INPUT { EventReader::new(Box::new(io::stdin())) } else { reader::open(log) };
    opened.with_context(|| format!("cannot open {}", log.display()))
}

/// Lines that are no events.
#[derive(Default)]
struct Broken {
    count: u64,
}

impl Broken {
    fn tell(&mut self, log: &str, line: u64, fault: &reader::LineFault) {
        self.count += 1;
        if self.count <= BROKEN_SHOWN_MAX {
            // What stands in a log is a client's in part, and a fault may quote it.
            let fault: String = fault.to_string().chars().flat_map(char::escape_debug).collect();
            let _ = writeln!(io::stderr(), "{log}:{line}: {fault}");
        }
    }

    fn sum_up(&self) {
        let _ =
            writeln!(io::stderr(), "error: {} lines could not be read: the roles may lack what they said", self.count);
    }
}

#[cfg(test)]
mod tests;
