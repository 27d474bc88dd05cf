//! Bytes that change, in files that nobody has open and under a running engine: nothing else than what was written is ever served.
//!
//! Values that changed are the tests' of `damage`; here it is what SQLite itself makes of its pages and of its log.

use std::sync::Arc;

use portcullis_store::{
    Engine,
    embedded::{self, Embedded},
};

use super::{
    seeds,
    workload::{Client, fill, live, thin, write},
};
use crate::{
    random::Dice,
    vfs::{Image, SimulatedDisk},
};

const PAGE_BYTES: usize = 4096;

/// Changes a byte of a file where its structure is, more often than elsewhere.
fn flip(content: &mut [u8], dice: &mut Dice) {
    let page = dice.below(content.len() / PAGE_BYTES) * PAGE_BYTES;
    let at = match dice.below(4) {
        // The header of the file, and of the page; its first cells; anywhere.
        0 => dice.below(112),
        1 => page + dice.below(12),
        2 => page + dice.below(200),
        _ => dice.below(content.len()),
    };
    content[at] ^= 1 << dice.below(8);
}

/// What is found is what was written, or named as damaged, or the store is refused. Tells whether it was opened.
fn look(client: &Client, disk: &Arc<SimulatedDisk>, image: Image, at: &str) -> bool {
    let known = client.state();
    let after = client.after(disk, image);
    let engine = match Embedded::open(after.options()) {
        Ok(engine) => engine,
        Err(error) => {
            let said = error.to_string();
            assert!(said.contains("store"), "{at}: {said}");
            return false;
        }
    };
    let snapshot = engine.snapshot();
    for (key, entry) in snapshot.range("", None).filter(|(_, entry)| !entry.index().is_unreadable()) {
        let written = known.entries.get(key).map(|(version, _, value)| (*version, value));
        assert_eq!(written, Some((entry.version, &entry.value)), "{at}: {key} was never that");
    }
    let whole = snapshot.range("", None).filter(|(_, entry)| !entry.index().is_unreadable()).count();
    let gone = known.entries.len() - whole;
    assert!(gone <= engine.damaged().len(), "{at}: {gone} are gone, {:?} were named", engine.damaged());
    assert_eq!(snapshot.revision(), known.revision, "{at}");
    true
}

#[tokio::test]
async fn a_changed_byte_of_a_closed_store() {
    const FLIPS: usize = 300;
    for seed in seeds(1) {
        let (disk, mut dice) = (SimulatedDisk::new(), Dice(seed));
        let mut client = Client::new(&disk);
        live(&mut client, 12, &mut dice).await.unwrap();
        let (whole, looker) = (disk.live(), SimulatedDisk::new());
        let (mut opened, mut repaired) = (0, 0);
        for number in 0..FLIPS {
            let mut image = whole.clone();
            flip(image.file("store.db").unwrap(), &mut dice);
            let at = format!("seed {seed}, flip {number}");
            let is_open = look(&client, &looker, image.clone(), &at);
            opened += usize::from(is_open);
            looker.load(image);
            // It may say that SQLite cannot read the file. What it repairs can be opened.
            if embedded::repair_on(looker.clone(), &looker.store()).is_ok() {
                repaired += 1;
                let again = client.after(&looker, looker.live());
                let open = Embedded::open(again.options());
                assert!(open.is_ok() || !is_open, "{at}: {:?}", open.err());
            }
        }
        println!("seed {seed}: of {FLIPS} changed files {opened} were opened, {repaired} repaired");
        assert!(opened > 0 && opened < FLIPS);
    }
}

/// Pages change under an engine that serves: whatever meets them, the process goes on, and memory stays as it was.
#[tokio::test]
async fn changed_bytes_under_a_running_engine() {
    const ROUNDS: u64 = 12;
    let mut filler = Client::new(&SimulatedDisk::new());
    let begin = fill(&mut filler, &mut Dice(0)).await.unwrap();
    let mut refused = 0;
    for seed in 0..seeds(1).end * ROUNDS {
        let (disk, mut dice) = (SimulatedDisk::new(), Dice(seed));
        let mut client = Client::begin(&disk, begin.clone(), filler.state().clone());
        client.is_alone = true;
        client.open().unwrap();
        disk.damage("store.db", |content| {
            for _ in 0..40 {
                // Pages of the table, so that moves, keys and deletes meet them.
                let page = 3 + dice.below(content.len() / PAGE_BYTES - 3);
                content[page * PAGE_BYTES + dice.below(12)] ^= 0xff;
            }
        });
        client.reseal().await.unwrap();
        write(&mut client, 5, &mut dice).await.unwrap();
        thin(&mut client, &mut dice).await.unwrap();
        refused += client.refusals.len();
        assert_eq!(*client.ended.lock().unwrap(), None, "seed {seed}");
    }
    println!("{refused} refusals");
    assert!(refused > 0);
}
