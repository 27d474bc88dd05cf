//! The audit log and those who would change it (A25): a real log of the built program is tampered with, and `audit-log verify` says how.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use nix::sys::signal::Signal;
use portcullis_tests::build::program;
use portcullis_tests::program::Server;

/// Requests that fill three files of 1 MiB, with their length.
const REQUESTS: usize = 420;
const QUERY_BYTES: usize = 6_000;
/// How long a server may take at most to notice that there is room again.
const RECOVERED_WITHIN: Duration = Duration::from_secs(60);
/// The names of a file's parts.
const CURRENT: &str = "audit.log";
const BEFORE_PREVIOUS: &str = "\"audit.portcullis.io/previous\":\"";
const BEFORE_SEQUENCE: &str = "\",\"audit.portcullis.io/sequence\":\"";

/// Starts a server with small files, asks it much, and ends it in order.
fn fill(data: &Path, requests: usize) {
    let server = Server::start_with(program(), data, &["--audit-log-maxsize", "1"]).unwrap();
    let admin = server.admin();
    let query = "x".repeat(QUERY_BYTES);
    for number in 0..requests {
        admin.get(&format!("/api/v1/namespaces/default?number={number}&{query}"));
    }
    server.stranger().with_bearer("nobody").get("/api/v1/namespaces");
    server.signal(Signal::SIGTERM);
    let (status, _, log) = server.ended();
    assert!(status.success(), "{log}");
}

/// The data directory of a server that has ended, with a log of several files.
fn filled() -> &'static Path {
    static FILLED: OnceLock<tempfile::TempDir> = OnceLock::new();
    let filled = FILLED.get_or_init(|| {
        let data = tempfile::tempdir().unwrap();
        fill(data.path(), REQUESTS);
        data
    });
    filled.path()
}

/// A copy of the log and of the store.
fn copy() -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for part in ["audit", "store"] {
        fs::create_dir(to.path().join(part)).unwrap();
        for entry in fs::read_dir(filled().join(part)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), to.path().join(part).join(entry.file_name())).unwrap();
        }
    }
    to
}

fn run(command: &str, data: &Path, more: &[&str]) -> Output {
    Command::new(program()).args(["audit-log", command, "--data-dir"]).arg(data).args(more).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The files of the log, the oldest first.
fn files(data: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(data.join("audit")).unwrap().map(|entry| entry.unwrap().path());
    let rotated = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("audit-");
    let mut files: Vec<_> = names.filter(rotated).collect();
    files.sort();
    files.push(data.join("audit").join(CURRENT));
    files
}

fn lines(file: &Path) -> Vec<String> {
    fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect()
}

fn write(file: &Path, lines: &[String]) {
    fs::write(file, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
}

/// Changes the lines of a file.
fn edit(file: &Path, change: impl FnOnce(&mut Vec<String>)) {
    let mut lines = lines(file);
    change(&mut lines);
    write(file, &lines);
}

fn hash(line: &str) -> String {
    digest(&SHA256, line.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The number of a line, and the line with another number and hash of the one before.
fn sequence(line: &str) -> u64 {
    let (_, number) = line.rsplit_once(BEFORE_SEQUENCE).unwrap();
    number.trim_end_matches("\"}}").parse().unwrap()
}

fn sealed(line: &str, previous: &str, sequence: u64) -> String {
    let (event, _) = line.rsplit_once(BEFORE_PREVIOUS).unwrap();
    format!("{event}{BEFORE_PREVIOUS}{previous}{BEFORE_SEQUENCE}{sequence}\"}}}}")
}

/// Does something to a log, and expects to be told what, and nothing else but `more` findings.
fn check(change: impl FnOnce(&[PathBuf]), expected: &str) {
    let data = copy();
    let before = said(&run("verify", data.path(), &[]));
    change(&files(data.path()));
    let output = run("verify", data.path(), &[]);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{expected}: {text}\nbefore: {before}");
    let wrong: Vec<_> = text.lines().filter(|line| line.starts_with("WRONG")).collect();
    assert!(wrong.len() == 1 && wrong[0].contains(expected), "{expected}: {text}");
}

#[test]
fn a25_a_log_is_whole_and_its_head_is_in_the_store() {
    let data = copy();
    assert!(files(data.path()).len() >= 3, "{:?}", files(data.path()));
    let output = run("verify", data.path(), &[]);
    let text = said(&output);
    assert!(
        output.status.success() && text.contains("log: whole") && text.contains("strangers: whole: 1 lines"),
        "{text}"
    );
    assert!(text.contains("from the store") && text.contains("0 lines are behind it"), "{text}");
    let last = lines(files(data.path()).last().unwrap()).pop().unwrap();
    let head = format!("{}:{}", sequence(&last), hash(&last));
    assert_eq!(String::from_utf8_lossy(&run("head", data.path(), &[]).stdout).trim(), head);
    assert!(run("verify", data.path(), &["--head", &head]).status.success());
    let all: Vec<_> = files(data.path()).iter().map(|path| path.display().to_string()).collect();
    let all: Vec<_> = all.iter().map(String::as_str).collect();
    assert!(run("verify", data.path(), &all).status.success());
    assert_eq!(
        run("verify", data.path(), &all[1..]).status.code(),
        Some(0),
        "without a head nothing is known of the beginning"
    );
}

#[test]
fn a25_tampering_is_named_in_each_of_its_ways() {
    let change = |line: &mut String| *line = line.replacen("admin", "nobody", 1);
    check(|files| edit(&files[0], |lines| change(&mut lines[5])), "line 6 was changed");
    check(|files| edit(files.last().unwrap(), |lines| change(lines.last_mut().unwrap())), "was changed");
    check(|files| edit(&files[0], |lines| drop(lines.remove(5))), "line 6 is missing: removed from the middle");
    check(|files| edit(files.last().unwrap(), |lines| drop(lines.pop())), "is missing: the end of the log was cut off");
    check(|files| fs::remove_file(files.last().unwrap()).unwrap(), "the last file of the log was removed");
    check(|files| fs::remove_file(&files[1]).unwrap(), "a file was removed between");
    check(
        |files| edit(&files[0], |lines| drop(lines.remove(0))),
        "line 1 is missing: the beginning of the log was cut off",
    );
    check(|files| fs::remove_file(&files[0]).unwrap(), "the beginning of the log was cut off");
    check(|files| edit(&files[0], |lines| lines.swap(5, 6)), "line 6 was moved: the order was changed");
    let swap_files = |files: &[PathBuf]| {
        let (first, second) = (lines(&files[0]), lines(&files[1]));
        write(&files[0], &second);
        write(&files[1], &first);
    };
    check(swap_files, "were moved: the order was changed");
    let twice = |lines: &mut Vec<String>| lines.insert(6, lines[5].clone());
    check(|files| edit(&files[0], twice), "line 6 is there twice");
    check(|files| edit(&files[0], |lines| lines.insert(5, "{}".to_owned())), "a line was inserted");
    let forged = |lines: &mut Vec<String>| lines.insert(5, sealed(&lines[20], &hash(&lines[4]), 6));
    check(|files| edit(&files[0], forged), "a line was inserted");
    let torn = |files: &[PathBuf]| {
        let last = files.last().unwrap();
        let text = fs::read_to_string(last).unwrap();
        fs::write(last, format!("{text}{{\"kind\":\"Ev")).unwrap();
    };
    check(torn, "the last line is torn");
}

#[test]
fn a25_a_chain_that_was_computed_anew_is_named() {
    let anew = |files: &[PathBuf]| {
        let (mut previous, mut number) = ("0".repeat(64), 0);
        for file in files {
            edit(file, |lines| {
                for line in lines {
                    number += 1;
                    *line = sealed(&line.replacen("admin", "nobody", 1), &previous, number);
                    previous = hash(line);
                }
            });
        }
    };
    check(anew, "the log was replaced: its chain holds");
    let other = tempfile::tempdir().unwrap();
    fill(other.path(), REQUESTS + 5);
    let another = |files: &[PathBuf]| {
        files.iter().for_each(|file| fs::remove_file(file).unwrap());
        for file in self::files(other.path()) {
            fs::copy(&file, files[0].with_file_name(file.file_name().unwrap())).unwrap();
        }
    };
    // With its last line in the place of the kept one, or beyond it.
    let data = copy();
    another(&files(data.path()));
    let text = said(&run("verify", data.path(), &[]));
    assert!(text.contains("the log was replaced: its chain holds"), "{text}");
}

#[test]
fn a25_the_log_of_strangers_is_checked_too() {
    let data = copy();
    edit(&data.path().join("audit/strangers.log"), |lines| lines[0] = lines[0].replacen("namespaces", "pods", 1));
    let output = run("verify", data.path(), &[]);
    let text = said(&output);
    assert!(text.contains("WRONG: strangers: line 1 was changed") && text.contains("log: whole"), "{text}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a25_one_chain_over_kills_and_restarts_and_a_running_server_tells_its_head() {
    let data = tempfile::tempdir().unwrap();
    for number in 0..4 {
        let server = Server::start(data.path());
        let admin = server.admin();
        for _ in 0..=number {
            assert_eq!(admin.get("/api/v1/namespaces/default").status, 200);
        }
        let output = run("verify", data.path(), &[]);
        assert!(output.status.success() && said(&output).contains("from the running server"), "{}", said(&output));
        server.signal(if number % 2 == 0 { Signal::SIGKILL } else { Signal::SIGTERM });
        server.ended();
    }
    let output = run("verify", data.path(), &[]);
    assert!(output.status.success(), "{}", said(&output));
    let log = data.path().join("audit").join(CURRENT);
    let numbers: Vec<_> = lines(&log).iter().map(|line| sequence(line)).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    // What is done between two starts is said by the second one, and still found.
    edit(&log, |lines| drop(lines.pop()));
    let server = Server::start(data.path());
    server.admin().get("/api/v1/namespaces/default");
    server.signal(Signal::SIGTERM);
    let (_, _, log) = server.ended();
    assert!(log.contains("audit log is not as this server left it"), "{log}");
    let text = said(&run("verify", data.path(), &[]));
    assert!(
        text.contains("is missing: removed from the middle") && text.contains("says that the server found"),
        "{text}"
    );
}

#[test]
fn a25_the_head_is_told_to_those_who_may_ask_and_is_no_object() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let path = "/debug/audit-log/head";
    let answer = server.admin().get(path);
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    assert!(answer.json()["log"]["head"].is_string());
    assert_eq!(server.stranger().get(path).status, 401);
    let prefix = data.path().join("ana");
    portcullis_tests::program::issue(program(), data.path(), "ana", &["harbor"], &prefix).unwrap();
    assert_eq!(server.client(&prefix).get(path).status, 403);
    assert_eq!(server.admin().send("POST", path, None).unwrap().status, 404);
    let metrics = server.admin().get("/metrics").text();
    assert!(!metrics.contains("portcullis.io/audit-log"), "the key is in no metric");
    assert!(metrics.contains("portcullis_audit_log_lines_total{log=\"events\"}"), "{metrics}");
}

/// Starts a server whose log is on a file system of 8 MiB that only it sees; nothing where this machine has no such thing.
fn in_a_small_room(data: &Path, room: &Path, mode: &str) -> Option<Server> {
    let mount = format!("mount -t tmpfs -o size=8m tmpfs {}", room.display());
    let tried = Command::new("unshare").args(["-rm", "sh", "-c", &mount]).status();
    if !tried.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no file system can be mounted here");
        return None;
    }
    let wrapper = data.join("wrapper.sh");
    let text =
        format!("#!/bin/sh\nexec unshare -rm sh -c '{mount} && exec {} \"$@\"' sh \"$@\"\n", program().display());
    fs::write(&wrapper, text).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o700)).unwrap();
    let log = room.join(CURRENT);
    let arguments = ["--audit-log-path", log.to_str().unwrap(), "--audit-log-mode", mode];
    Some(Server::start_with(&wrapper, &data.join("data"), &arguments).unwrap())
}

/// A file system that is really full.
#[test]
fn a25_on_a_full_disk_writes_are_refused_reads_go_on_and_what_was_lost_is_said() {
    for mode in ["blocking", "blocking-strict"] {
        let (data, room) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let Some(server) = in_a_small_room(data.path(), room.path(), mode) else { return };
        let admin = server.admin();
        let query = "x".repeat(QUERY_BYTES);
        let write = |number: usize| {
            let name = format!("written-{number}");
            let object = serde_json::json!({"metadata": {"name": &name}});
            let answer = admin.post(&format!("/api/v1/namespaces/default/configmaps?{query}"), &object);
            (answer.status, answer.header("retry-after").map(str::to_owned), name)
        };
        // As the server sees it.
        let seen = PathBuf::from(format!("/proc/{}/root{}", server.id(), room.path().display()));
        let filler = seen.join("filler");
        fs::write(&filler, vec![0; 8 << 20]).unwrap_err();
        let mut acknowledged = Vec::new();
        let mut refused = 0;
        for number in 0..1_500 {
            match write(number) {
                (201, _, name) => acknowledged.push(name),
                (503, Some(_), _) => refused += 1,
                other => panic!("{mode}: {other:?}"),
            }
            let read = admin.get(&format!("/api/v1/namespaces/default?{query}"));
            assert_eq!(read.status, 200, "{mode}: {}", read.text());
        }
        assert!(acknowledged.len() > 100 && refused > 100, "{mode}: {} {refused}", acknowledged.len());
        fs::remove_file(&filler).unwrap();
        let begun = Instant::now();
        let recovered = (1_500..).map(write).find(|(status, ..)| *status == 201 || begun.elapsed() > RECOVERED_WITHIN);
        let (status, _, name) = recovered.unwrap();
        assert_eq!(status, 201, "{mode}");
        acknowledged.push(name);
        let log = seen.join(CURRENT);
        let text = fs::read_to_string(&log).unwrap();
        // No write is acknowledged that is not on record.
        for name in acknowledged {
            assert!(text.contains(&format!("\"name\":\"{name}\"")), "{mode}: {name}");
        }
        let output = run("verify", &data.path().join("data"), &["--audit-log-path", log.to_str().unwrap()]);
        let told = said(&output);
        assert!(output.status.success() && told.contains("that events could not be written"), "{mode}: {told}");
        server.signal(Signal::SIGTERM);
        server.ended();
    }
}
