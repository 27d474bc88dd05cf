#![allow(clippy::unwrap_used)]

use std::fs;

use super::*;
use crate::log::{LogMetrics, Sealed};

const LINES_OF_A_FILE: usize = 5;
const FILES: usize = 3;

/// The lines of a chain with this text in each, in files of five.
fn chain(text: &str) -> Vec<Vec<String>> {
    let mut head = Head::NONE;
    let mut files = vec![Vec::new(); FILES];
    for number in 0..FILES * LINES_OF_A_FILE {
        let mut line = format!(r#"{{"verb":"{text} {number}","annotations":{{}}}}"#);
        head = crate::log::seal(&mut line, &head);
        files[number / LINES_OF_A_FILE].push(line);
    }
    files
}

/// What the store keeps of a whole log.
fn kept(files: &[Vec<String>]) -> ChainHead {
    let head = |line: &String| Head {
        sequence: Sealed::of(line.as_bytes()).unwrap().sequence,
        hash: Hash::of(line.as_bytes()),
    };
    let (first, last) = (&files[0][0], files.last().unwrap().last().unwrap());
    let sealed = |line: &String| Sealed::of(line.as_bytes()).unwrap();
    let first = First { sequence: sealed(first).sequence, previous: sealed(first).previous, hash: head(first).hash };
    ChainHead { head: head(last), previous: sealed(last).previous, first }
}

/// Writes the files and checks them. The last one is the one that is written; without lines it is not there.
fn found(files: &[Vec<String>], known: &Known) -> Report {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::of(&directory.path().join("audit.log")).unwrap();
    for (number, lines) in files.iter().enumerate() {
        let path = if number + 1 == FILES {
            place.current()
        } else {
            directory.path().join(format!("audit-2026-11-2{number}T00-00-00.000.log"))
        };
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        if !lines.is_empty() {
            fs::write(path, text.strip_suffix("torn\n").unwrap_or(&text)).unwrap();
        }
    }
    let (sources, has_current) = Source::all(&place).unwrap();
    verify(sources, has_current, known)
}

/// Findings without their directory.
fn said(report: &Report) -> Vec<String> {
    let said = |finding: &Finding| {
        let text = finding.to_string();
        let words = text.split(' ').map(|word| word.rsplit('/').next().unwrap_or(word).trim_matches(['(', ')']));
        words.collect::<Vec<_>>().join(" ")
    };
    report.findings.iter().map(said).collect()
}

/// What is done to a log, and what is said of it. A file of no lines is removed.
fn check(change: impl FnOnce(&mut Vec<Vec<String>>), expected: &[&str]) {
    let mut files = chain("get");
    let known = Known::kept(&kept(&files), true, false);
    change(&mut files);
    let report = found(&files, &known);
    assert_eq!(said(&report), expected);
    assert_eq!(report.is_whole(), expected.is_empty());
}

#[test]
fn a_whole_log() {
    let files = chain("get");
    let known = Known::kept(&kept(&files), true, false);
    let report = found(&files, &known);
    assert_eq!((report.files, report.lines, report.first, report.last), (3, 15, Some(1), known.head));
    assert!(report.is_whole() && report.remarks.is_empty(), "{report:?}");
    assert!(found(&chain("get"), &Known::default()).is_whole());
    assert!(found(&[vec![], vec![], vec![]], &Known::default()).is_whole());
    assert!(found(&[vec![], vec![], vec![]], &Known::kept(&ChainHead::NONE, true, false)).is_whole());
}

#[test]
fn a25_changes_are_named() {
    let change = |line: &mut String| *line = line.replace("get", "put");
    check(|files| change(&mut files[0][2]), &["line 3 was changed audit-2026-11-20T00-00-00.000.log:3"]);
    check(|files| change(&mut files[0][0]), &["line 1 was changed audit-2026-11-20T00-00-00.000.log:1"]);
    check(|files| change(&mut files[0][4]), &["line 5 was changed audit-2026-11-20T00-00-00.000.log:5"]);
    check(|files| change(&mut files[2][4]), &["line 15 was changed audit.log:5"]);
    check(
        |files| files[1][2] = "{}".to_owned(),
        &["line 8 was overwritten: audit-2026-11-21T00-00-00.000.log:3 is no line of this log"],
    );
    check(|files| files[2][4] = "{}".to_owned(), &["line 15 was overwritten: audit.log:5 is no line of this log"]);
    let all = |files: &mut Vec<Vec<String>>| {
        change(&mut files[0][1]);
        change(&mut files[1][1]);
    };
    check(
        all,
        &[
            "line 2 was changed audit-2026-11-20T00-00-00.000.log:2",
            "line 7 was changed audit-2026-11-21T00-00-00.000.log:2",
        ],
    );
}

#[test]
fn a25_what_is_missing_is_named() {
    check(
        |files| drop(files[1].remove(2)),
        &["line 8 is missing: removed from the middle, before audit-2026-11-21T00-00-00.000.log:3"],
    );
    check(|files| files[2].truncate(2), &["lines 13 to 15 are missing: the end of the log was cut off"]);
    check(|files| files[2].clear(), &["lines 11 to 15 are missing: the last file of the log was removed"]);
    check(
        |files| files[1].clear(),
        &["lines 6 to 10 are missing: a file was removed between audit-2026-11-20T00-00-00.000.log and audit.log"],
    );
    let front = "are missing: the beginning of the log was cut off, and not by its server";
    check(|files| drop(files[0].drain(..2)), &[&format!("lines 1 to 2 {front}")]);
    check(|files| files[0].clear(), &[&format!("lines 1 to 5 {front}")]);
    check(
        |files| files.iter_mut().for_each(Vec::clear),
        &["lines 1 to 15 are missing: the last file of the log was removed"],
    );
}

#[test]
fn a25_what_was_moved_is_named() {
    check(
        |files| files[1].swap(1, 2),
        &["line 7 was moved: the order was changed at audit-2026-11-21T00-00-00.000.log:3"],
    );
    check(
        |files| files.swap(0, 1),
        &["lines 1 to 5 were moved: the order was changed at audit-2026-11-21T00-00-00.000.log:1"],
    );
    check(|files| files[2].swap(3, 4), &["line 14 was moved: the order was changed at audit.log:5"]);
    let far = |files: &mut Vec<Vec<String>>| {
        let line = files[0].remove(1);
        files[2].push(line);
    };
    check(far, &["line 2 was moved: the order was changed at audit.log:6"]);
}

#[test]
fn a25_what_was_put_in_is_named() {
    let twice = |files: &mut Vec<Vec<String>>| {
        let line = files[1][1].clone();
        files[1].insert(2, line);
    };
    check(twice, &["line 7 is there twice, again at audit-2026-11-21T00-00-00.000.log:3"]);
    let later = |files: &mut Vec<Vec<String>>| {
        let line = files[0][1].clone();
        files[2].insert(2, line);
    };
    check(later, &["line 2 is there twice, again at audit.log:3"]);
    check(|files| files[1].insert(2, "{}".to_owned()), &["a line was inserted at audit-2026-11-21T00-00-00.000.log:3"]);
    // One that fits to the line before it.
    let forged = |files: &mut Vec<Vec<String>>| {
        let before = Head { sequence: 7, hash: Hash::of(files[1][1].as_bytes()) };
        let mut line = r#"{"verb":"forged","annotations":{}}"#.to_owned();
        crate::log::seal(&mut line, &before);
        files[1].insert(2, line);
    };
    check(forged, &["a line was inserted at audit-2026-11-21T00-00-00.000.log:3"]);
    let at_the_end = |files: &mut Vec<Vec<String>>| {
        let before = Head { sequence: 15, hash: Hash::of(files[2][4].as_bytes()) };
        let mut line = r#"{"verb":"forged","annotations":{}}"#.to_owned();
        crate::log::seal(&mut line, &before);
        files[2].push(line);
    };
    check(at_the_end, &["line 16 was added after the server had ended"]);
}

#[test]
fn a25_another_chain_is_named() {
    let replaced = "the log was replaced: its chain holds, but line 15 is not the one that the store knows another server's log, or one that was computed anew";
    check(|files| *files = chain("put"), &[replaced]);
    // From the middle on.
    let anew = |files: &mut Vec<Vec<String>>| {
        let mut head = Head { sequence: 7, hash: Hash::of(files[1][1].as_bytes()) };
        for number in 7..15 {
            let mut line = format!(r#"{{"verb":"forged {number}","annotations":{{}}}}"#);
            head = crate::log::seal(&mut line, &head);
            files[number / LINES_OF_A_FILE][number % LINES_OF_A_FILE] = line;
        }
    };
    check(anew, &[replaced]);
    let shorter = |files: &mut Vec<Vec<String>>| {
        *files = chain("put");
        files[2].truncate(1);
    };
    check(shorter, &[replaced, "lines 12 to 15 are missing: the end of the log was cut off"]);
}

#[test]
fn a_torn_line_is_named_unless_it_is_on_its_way() {
    let torn = |files: &mut Vec<Vec<String>>| files[2].push("{\"verb\":torn".to_owned());
    check(torn, &["the last line is torn: audit.log:6 has 8 bytes and no end"]);
    let mut files = chain("get");
    let known = Known::kept(&kept(&files), false, true);
    torn(&mut files);
    assert!(found(&files, &known).is_whole());
    check(
        |files| files[0].push("{\"verb\":torn".to_owned()),
        &["the last line is torn: audit-2026-11-20T00-00-00.000.log:6 has 8 bytes and no end"],
    );
}

#[test]
fn a_beginning_that_the_server_removed_is_not_missing() {
    let mut files = chain("get");
    let mut known = Known::kept(&kept(&files), true, false);
    let first = Sealed::of(files[1][0].as_bytes()).unwrap();
    known.first = Some(First { sequence: 6, previous: first.previous, hash: Hash::of(files[1][0].as_bytes()) });
    // The server ended before it removed the file.
    assert!(found(&files, &known).is_whole());
    files[0].clear();
    assert!(found(&files, &known).is_whole());
    files[1].remove(0);
    let report = found(&files, &known);
    assert_eq!(said(&report), ["line 6 is missing: the beginning of the log was cut off, and not by its server"]);
    let unknown = Known { first: None, previous: None, ..known };
    let report = found(&files, &unknown);
    assert!(report.is_whole() && report.remarks == [Remark::UnknownBeginning { sequence: 7 }], "{report:?}");
}

#[test]
fn lines_behind_the_head_are_counted() {
    let files = chain("get");
    let mut known = Known::kept(&kept(&files), false, true);
    known.head = Some(Head { sequence: 12, hash: Hash::of(files[2][1].as_bytes()) });
    let report = found(&files, &known);
    assert_eq!((report.is_whole(), report.beyond_head), (true, 3));
}

#[test]
fn metrics_have_names_that_are_valid() {
    LogMetrics::new().unwrap().register(&prometheus::Registry::new()).unwrap();
}
