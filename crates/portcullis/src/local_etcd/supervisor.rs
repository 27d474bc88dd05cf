//! Keeps etcd running: a thread that starts it, passes on what it logs, and starts it again when it dies.
//!
//! A thread and no task, because etcd lives no longer than the thread that started it (`program`).

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStderr, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Map, Value};
use tracing::Level;

use super::program::Program;

/// Before it is started again, the first time; each time after that twice as long.
const RESTART_PAUSE_MIN: Duration = Duration::from_millis(100);
/// And at most.
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(10);
/// After this time its end is the first one again.
const SOUND_AFTER: Duration = Duration::from_secs(60);
/// How long it may take to end when it is told to; then it is killed, which it survives without a loss.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks whether a process that has closed its log has ended.
const END_PAUSE: Duration = Duration::from_millis(5);
/// Octets of a line of its log; a longer one is passed on in parts.
const LOG_LINE_LEN_MAX: u64 = 16 * 1024;
/// What is not passed on of a line: we have our own.
const LOG_OWN_FIELDS: [&str; 4] = ["level", "ts", "caller", "msg"];

/// Who keeps it running. Dropping it ends both.
pub(super) struct Supervisor {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// It is reaped under the lock only, so that nobody signals a process that is another by now.
    child: Option<Child>,
    /// It has answered once: from now on it is started again.
    is_kept: bool,
    is_stopping: bool,
    /// The last error that it logged.
    last_words: Option<String>,
    /// Why it ended before it had answered.
    ended: Option<String>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Supervisor {
    /// Starts it.
    pub(super) fn start(program: Program, arguments: Vec<OsString>) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let held = Arc::clone(&shared);
        let supervise = move || supervise(&held, &program, &arguments);
        let thread =
            std::thread::Builder::new().name("etcd".to_owned()).spawn(supervise).context("no thread for etcd")?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// It answers: from now on it is started again when it ends.
    pub(super) fn keep(&self) {
        self.shared.lock().is_kept = true;
    }

    /// Why it ended before it was kept.
    pub(super) fn ended(&self) -> Option<String> {
        self.shared.lock().ended.clone()
    }

    /// The last error that it logged.
    pub(super) fn last_words(&self) -> Option<String> {
        self.shared.lock().last_words.clone()
    }

    /// Tells it to end, waits, and kills it if it does not.
    pub(super) fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        let mut state = self.shared.lock();
        state.is_stopping = true;
        signal(&state, Signal::SIGTERM);
        self.shared.changed.notify_all();
        let has_ended = self.shared.changed.wait_timeout_while(state, STOP_TIMEOUT, |state| state.child.is_some());
        let (state, waited) = has_ended.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            tracing::warn!("etcd did not end within {} s and is killed", STOP_TIMEOUT.as_secs());
            signal(&state, Signal::SIGKILL);
        }
        drop(state);
        if thread.join().is_err() {
            tracing::error!("the thread that kept etcd running had failed");
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.end();
    }
}

fn signal(state: &State, signal: Signal) {
    let Some(id) = state.child.as_ref().and_then(|child| i32::try_from(child.id()).ok()) else { return };
    if let Err(error) = kill(Pid::from_raw(id), signal) {
        tracing::warn!(%error, "etcd could not be told to end");
    }
}

fn supervise(shared: &Shared, program: &Program, arguments: &[OsString]) {
    let mut before = None;
    loop {
        let begun = Instant::now();
        let end = match run(shared, program, arguments) {
            Ok(None) => return,
            Ok(Some(status)) => status.to_string(),
            Err(error) => format!("it cannot be run: {error}"),
        };
        let mut state = shared.lock();
        if state.is_stopping {
            return;
        }
        if !state.is_kept {
            let said = state.last_words.clone().map_or(end.clone(), |words| format!("{words} ({end})"));
            state.ended = Some(said);
            return;
        }
        let pause = next_pause(before, begun.elapsed());
        before = Some(pause);
        tracing::error!(end, last_words = state.last_words, ?pause, "etcd ended by itself and is started again");
        let stopping = shared.changed.wait_timeout_while(state, pause, |state| !state.is_stopping);
        if stopping.unwrap_or_else(PoisonError::into_inner).0.is_stopping {
            return;
        }
    }
}

/// How long it is waited before it is started again: the pause before, and how long it then ran.
fn next_pause(before: Option<Duration>, ran_for: Duration) -> Duration {
    let again = before.filter(|_| ran_for < SOUND_AFTER);
    again.map_or(RESTART_PAUSE_MIN, |before| (before * 2).min(RESTART_PAUSE_MAX))
}

/// Runs it to its end. None if it was not started, because it is time to stop.
fn run(shared: &Shared, program: &Program, arguments: &[OsString]) -> std::io::Result<Option<ExitStatus>> {
    let log = {
        let mut state = shared.lock();
        if state.is_stopping {
            return Ok(None);
        }
        let mut child = program.spawn(arguments)?;
        let log = child.stderr.take();
        state.child = Some(child);
        log
    };
    if let Some(log) = log {
        pass_on(shared, log);
    }
    // Its log is closed: it has ended, or is about to.
    loop {
        let mut state = shared.lock();
        let ended = state.child.as_mut().map_or(Ok(None), Child::try_wait)?;
        if ended.is_some() {
            state.child = None;
            shared.changed.notify_all();
            return Ok(ended);
        }
        drop(state);
        std::thread::sleep(END_PAUSE);
    }
}

/// Passes its log on to ours, until it ends.
fn pass_on(shared: &Shared, log: ChildStderr) {
    let mut log = BufReader::new(log);
    let mut line = Vec::new();
    while matches!(log.by_ref().take(LOG_LINE_LEN_MAX).read_until(b'\n', &mut line), Ok(len) if len > 0) {
        let said = Line::of(&String::from_utf8_lossy(&line));
        let mut state = shared.lock();
        if said.level == Level::ERROR {
            state.last_words = Some(said.text.clone());
        }
        let is_kept = state.is_kept;
        drop(state);
        said.pass_on(is_kept);
        line.clear();
    }
}

/// A line of its log.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    level: Level,
    text: String,
}

impl Line {
    /// Lines of both its loggers: JSON, and `DATE TIME LETTER | TEXT`, which 3.4 still has in places.
    fn of(line: &str) -> Line {
        if let Ok(fields) = serde_json::from_str::<Map<String, Value>>(line) {
            return Line::of_json(fields);
        }
        let line = line.trim();
        if let Some((head, text)) = line.split_once(" | ")
            && let Some(level) = head.rsplit(' ').next().and_then(level)
        {
            return Line { level, text: text.to_owned() };
        }
        // No line of a logger's: why the program cannot run.
        Line { level: Level::ERROR, text: line.to_owned() }
    }

    fn of_json(mut fields: Map<String, Value>) -> Line {
        let word = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (given, mut text) = (word("level"), word("msg"));
        fields.retain(|name, _| !LOG_OWN_FIELDS.contains(&name.as_str()));
        if !fields.is_empty() {
            text = format!("{text} {}", Value::Object(fields));
        }
        Line { level: level(&given).unwrap_or(Level::ERROR), text }
    }

    /// Until it has answered for the first time, it warns of what every start is like.
    fn pass_on(&self, is_kept: bool) {
        let Line { level, text } = self;
        match *level {
            Level::TRACE => tracing::trace!(target: "etcd", "{text}"),
            Level::WARN if is_kept => tracing::warn!(target: "etcd", "{text}"),
            Level::ERROR => tracing::error!(target: "etcd", "{text}"),
            _ => tracing::debug!(target: "etcd", "{text}"),
        }
    }
}

/// Our level for one of its names or letters. What it calls information is of no interest to who runs a cluster, and there is much of it.
fn level(given: &str) -> Option<Level> {
    match given {
        "debug" | "D" | "T" => Some(Level::TRACE),
        "info" | "I" | "N" => Some(Level::DEBUG),
        "warn" | "W" => Some(Level::WARN),
        "error" | "dpanic" | "panic" | "fatal" | "E" | "C" => Some(Level::ERROR),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_started_again_ever_more_seldom_until_it_runs() {
        let check = |before: Option<u64>, ran_for: u64, expected: u64| {
            let pause = next_pause(before.map(Duration::from_millis), Duration::from_secs(ran_for));
            assert_eq!(pause, Duration::from_millis(expected), "{before:?} {ran_for}");
        };
        check(None, 0, 100);
        check(None, 3600, 100);
        check(Some(100), 0, 200);
        check(Some(200), 59, 400);
        check(Some(6400), 1, 10_000);
        check(Some(10_000), 1, 10_000);
        check(Some(10_000), 60, 100);
    }

    #[test]
    fn lines() {
        let check = |line: &str, level: Level, text: &str| {
            assert_eq!(Line::of(line), Line { level, text: text.to_owned() });
        };
        check(
            r#"{"level":"info","ts":"t","caller":"c","msg":"m","b":"x","a":1}"#,
            Level::DEBUG,
            r#"m {"a":1,"b":"x"}"#,
        );
        check(r#"{"level":"debug","msg":"m"}"#, Level::TRACE, "m");
        check(r#"{"level":"warn","msg":"m"}"#, Level::WARN, "m");
        check(r#"{"level":"fatal","msg":"m","error":"e"}"#, Level::ERROR, r#"m {"error":"e"}"#);
        check("{}", Level::ERROR, "");
        check("2026-01-02 03:04:05.678 W | etcdserver: slow\n", Level::WARN, "etcdserver: slow");
        check("2026-01-02 03:04:05.678 I | etcdserver: up", Level::DEBUG, "etcdserver: up");
        check("2026-01-02 03:04:05.678 C | etcdmain: no", Level::ERROR, "etcdmain: no");
        check("usage: a | b", Level::ERROR, "usage: a | b");
        check("panic: at the disk\n", Level::ERROR, "panic: at the disk");
        check("[1]", Level::ERROR, "[1]");
    }
}
