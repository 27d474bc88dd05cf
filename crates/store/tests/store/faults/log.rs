//! Bytes of the log change after a crash. SQLite would end it there and say nothing: the store is refused instead, by name and with what
//! is safe, unless it is in the last transaction, which a crash could have torn as well. No crash is taken for that (`power`).

use std::sync::Arc;

use portcullis_store::embedded::{self, Embedded, LogRepaired, OpenError};

use super::workload::{Client, State, write};
use crate::{
    random::Dice,
    vfs::{Image, SimulatedDisk},
};

const LOG: &str = "store.db-wal";
const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
const FRAME_BYTES: usize = FRAME_HEADER_BYTES + 4096;
/// In the page of a frame, where a byte changes: its head, a cell, its end.
const OF_PAGE: [usize; 4] = [0, 5, 2000, 4095];
const MASKS: [u8; 2] = [0x01, 0xff];

/// What a process left that was killed: a log of several commits, and the state after each of them.
struct Left {
    image: Image,
    states: Vec<State>,
    /// The frames of each commit.
    commits: Vec<std::ops::Range<usize>>,
    client: Client,
    looker: Arc<SimulatedDisk>,
}

async fn left(seed: u64) -> Left {
    let mut client = Client::new(&SimulatedDisk::new());
    client.is_alone = true;
    client.open().unwrap();
    write(&mut client, 12, &mut Dice(seed)).await.unwrap();
    let mut image = client.disk.live();
    let log = image.file(LOG).unwrap();
    let (mut commits, mut first) = (Vec::new(), 0);
    for (number, frame) in log[HEADER_BYTES..].chunks_exact(FRAME_BYTES).enumerate() {
        if frame[4..8] != [0; 4] {
            commits.push(first..number + 1);
            first = number + 1;
        }
    }
    let mut states: Vec<State> = client.steps.iter().map(|step| step.state.clone()).collect();
    states.dedup();
    assert_eq!(states.len(), commits.len() + 1, "seed {seed}: commits are not one transaction each");
    Left { image, states, commits, client, looker: SimulatedDisk::new() }
}

impl Left {
    /// Changes a byte of the log and opens the store.
    fn open(&self, at: usize, mask: u8) -> (Client, Result<State, OpenError>) {
        let mut image = self.image.clone();
        image.file(LOG).unwrap()[at] ^= mask;
        let after = self.client.after(&self.looker, image);
        let opened =
            Embedded::open(after.options()).map(|engine| State::of(&portcullis_store::Engine::snapshot(&engine)));
        (after, opened)
    }

    /// It is refused, whoever asks and however often; a repair goes on from this state.
    fn is_refused(&self, at: usize, mask: u8, safe: &State, expected: LogRepaired, case: &str) {
        let (after, opened) = self.open(at, mask);
        let Err(error @ OpenError::Damaged { .. }) = opened else { panic!("{case}: {opened:?}") };
        let said = error.to_string();
        assert!(said.contains(LOG) && said.contains("restore a backup"), "{case}: {said}");
        if let LogRepaired::Cut { revision, .. } = expected {
            assert!(said.contains(&format!("revision {revision} is safe")), "{case}: {said}");
        }
        let (disk, directory) = (self.looker.clone(), self.looker.store());
        let report = embedded::check_on(disk.clone(), &directory).unwrap();
        assert!(!report.is_sound() && report.problems[0].starts_with("the WAL: "), "{case}: {report:?}");
        assert!(Embedded::open(after.options()).is_err(), "{case}: a look made it whole");
        let repaired = embedded::repair_on(disk.clone(), &directory).unwrap();
        assert_eq!(repaired.log, Some(expected), "{case}");
        let engine = Embedded::open(after.options()).unwrap_or_else(|error| panic!("{case}: {error:?}"));
        let found = State::of(&portcullis_store::Engine::snapshot(&engine));
        assert!(found.entries == safe.entries, "{case}: repaired to {}", found.revision);
        let last = self.states.last().unwrap().revision;
        match expected {
            LogRepaired::Cut { .. } => assert!(found.revision > last && repaired.revision == Some(found.revision)),
            _ => assert_eq!((found.revision, repaired.revision), (last, None), "{case}"),
        }
        drop(engine);
        assert!(embedded::check_on(disk, &directory).unwrap().is_sound(), "{case}");
    }
}

#[tokio::test]
async fn a_changed_byte_of_the_log_is_never_taken_for_its_end() {
    let left = left(1).await;
    let last = left.commits.len() - 1;
    for commit in [0, last / 2, last - 1, last] {
        let frames = left.commits[commit].clone();
        let safe = &left.states[commit];
        let some = [frames.start, (frames.start + frames.end) / 2, frames.end - 1];
        for (number, frame) in some.into_iter().enumerate().filter(|(number, frame)| !some[..*number].contains(frame)) {
            for of_frame in (0..FRAME_HEADER_BYTES).chain(OF_PAGE.map(|of_page| FRAME_HEADER_BYTES + of_page)) {
                let mask = MASKS[(number + of_frame) % MASKS.len()];
                let case = format!("commit {commit} of {last}, frame {frame}, byte {of_frame} by {mask:x}");
                let at = HEADER_BYTES + frame * FRAME_BYTES + of_frame;
                if commit == last {
                    let (_, opened) = left.open(at, mask);
                    assert!(opened.is_ok_and(|state| state == *safe), "{case}");
                } else {
                    let (frame, revision) = (Some(frame as u64 + 1), safe.revision);
                    left.is_refused(at, mask, safe, LogRepaired::Cut { frame, revision }, &case);
                }
            }
        }
    }
}

#[tokio::test]
async fn a_changed_header_of_the_log_is_made_again() {
    let left = left(2).await;
    let whole = left.states.last().unwrap();
    for at in 0..HEADER_BYTES {
        for mask in MASKS {
            left.is_refused(at, mask, whole, LogRepaired::Header, &format!("byte {at} by {mask:x}"));
        }
    }
}

/// After a start the log is in the store file, and is still there until something is written: then nothing is lost by either change.
#[tokio::test]
async fn a_log_that_was_moved_is_not_missed() {
    let mut left = left(3).await;
    let after = left.client.after(&left.looker, left.image.clone());
    let engine = Embedded::open(after.options()).unwrap();
    left.image = left.looker.live();
    drop(engine);
    let whole = left.states.last().unwrap();
    let frame = left.commits[1].start;
    let at = HEADER_BYTES + frame * FRAME_BYTES + FRAME_HEADER_BYTES + 100;
    left.is_refused(at, 1, whole, LogRepaired::Removed, "a page");
    let (_, opened) = left.open(9, 1);
    assert!(opened.is_ok_and(|state| state == *whole), "the header");
}
