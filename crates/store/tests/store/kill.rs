//! SIGKILL in the middle of writes: whatever was acknowledged is there afterwards, whole.
//!
//! The writer is this test program again, told by a variable in its environment that it is the child.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use portcullis_store::{
    Change, Condition, Engine, Operation,
    embedded::{Embedded, Options},
};

const DIRECTORY_VARIABLE: &str = "PORTCULLIS_STORE_KILL_TEST";
const WRITERS: usize = 4;
const ROUNDS: usize = 3;
/// Acknowledged writes before the kill; more follow while the signal is on its way.
const ACKNOWLEDGED_MIN: usize = 200;
/// The child gives up when nobody kills it.
const WRITES_MAX: usize = 1_000_000;

/// The child's part: writes pairs of keys without end, and says which are done. As an ordinary test it does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_writes() {
    let Some(directory) = std::env::var_os(DIRECTORY_VARIABLE) else { return };
    let engine = Arc::new(Embedded::open(Options::new(directory)).unwrap());
    let write = |engine: Arc<Embedded>, writer: usize| async move {
        for number in 0..WRITES_MAX {
            let pair = ["left", "right"].map(|side| Operation {
                key: format!("/registry/{side}/{writer}/{}", number % 50).into(),
                condition: Condition::Any,
                change: Change::Put(vec![b'x'; 100 + number % 4000].into()),
            });
            let committed = engine.commit(pair.to_vec().into()).await.unwrap();
            println!("acknowledged {writer}/{} {}", number % 50, committed.revision);
        }
    };
    let writers: Vec<_> = (0..WRITERS).map(|writer| tokio::spawn(write(engine.clone(), writer))).collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

/// Runs the child until it has acknowledged enough, kills it, and gives what it acknowledged.
fn acknowledged(directory: &Path) -> Vec<(String, u64)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child_writes", "--nocapture"])
        .env(DIRECTORY_VARIABLE, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut found = Vec::new();
    let mut killed = false;
    let mut line = String::new();
    // The pipe ends with the child.
    while output.read_line(&mut line).unwrap() > 0 {
        let said = std::mem::take(&mut line);
        // A line that the kill has cut was not said.
        let Some(said) = said.strip_suffix('\n').and_then(|said| said.strip_prefix("acknowledged ")) else { continue };
        let (key, revision) = said.split_once(' ').unwrap();
        found.push((key.to_string(), revision.parse().unwrap()));
        if found.len() == ACKNOWLEDGED_MIN {
            child.kill().unwrap();
            killed = true;
        }
    }
    child.wait().unwrap();
    assert!(killed, "the child ended by itself after {} writes", found.len());
    found
}

#[test]
fn acknowledged_writes_survive_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let mut highest = 0;
    for round in 0..ROUNDS {
        let found = acknowledged(directory.path());
        let first = found.iter().map(|(_, revision)| *revision).min().unwrap();
        assert!(first > highest, "round {round}: revision {first} was handed out before, {highest} is the highest");
        highest = found.iter().map(|(_, revision)| *revision).max().unwrap();

        let engine = Embedded::open(Options::new(directory.path())).unwrap();
        let snapshot = engine.snapshot();
        assert!(snapshot.revision() >= highest, "round {round}");
        for (key, revision) in &found {
            let left = snapshot.get(&format!("/registry/left/{key}")).unwrap();
            let right = snapshot.get(&format!("/registry/right/{key}")).unwrap();
            assert!(left.version >= *revision, "round {round}: {key} is of {}, not {revision}", left.version);
            assert_eq!((left.version, &left.value), (right.version, &right.value), "round {round}: half a commit");
        }
        highest = snapshot.revision();
        let verified = tokio::runtime::Runtime::new().unwrap().block_on(engine.verify()).unwrap();
        assert!(verified.is_sound(), "round {round}: {verified:?}");
    }
}
