//! Bytes of the file that have changed: each row that they are in is found and named, and no other suffers.

use std::{collections::BTreeMap, path::Path};

use bytes::Bytes;
use portcullis_store::{
    Change, Condition, Engine, Operation,
    embedded::{self, Damage, Embedded, OpenError, Options},
};
use tokio::sync::OnceCell;

pub use super::random::Dice;
use super::random::{key, store_file, value};

const ROWS: usize = 400;
const ROUNDS: u64 = 25;
const PAGE_BYTES: usize = 4096;
/// Bytes before the key that belong to the row alone: its versions and its checksum.
const NUMBERS_BYTES: usize = 10;

fn open(directory: &Path) -> Result<Embedded, OpenError> {
    Embedded::open(Options::new(directory))
}

/// A store whose rows are in pages of the table, each of them whole in one.
async fn make(directory: &Path) {
    static MADE: OnceCell<Vec<u8>> = OnceCell::const_new();
    std::fs::write(directory.join("store.db"), MADE.get_or_init(|| store_file(ROWS)).await).unwrap();
}

/// Where the key and the value of a row are in the file, beside one another.
fn find(content: &[u8], number: usize) -> std::ops::Range<usize> {
    let row = [key(number).as_bytes(), &value(number)].concat();
    let at = content.windows(row.len()).position(|window| window == row).unwrap();
    at..at + row.len()
}

#[tokio::test]
async fn every_changed_byte_is_found_and_harms_its_row_alone() {
    let made = tempfile::tempdir().unwrap();
    make(made.path()).await;
    let whole = std::fs::read(made.path().join("store.db")).unwrap();
    for seed in 0..ROUNDS {
        let mut dice = Dice(seed);
        let mut content = whole.clone();
        let mut hit: BTreeMap<String, (usize, bool)> = BTreeMap::new();
        for _ in 0..1 + dice.below(5) {
            let number = dice.below(ROWS);
            let row = find(&whole, number);
            let at = row.start - NUMBERS_BYTES + dice.below(row.len() + NUMBERS_BYTES);
            if hit.contains_key(&key(number)) {
                continue;
            }
            content[at] ^= 1 << dice.below(8);
            hit.insert(key(number), (at - row.start.min(at), (row.start..row.start + key(number).len()).contains(&at)));
        }
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("store.db"), &content).unwrap();
        let report = embedded::check(directory.path()).unwrap();
        let engine = open(directory.path()).unwrap();
        let named = |damaged: &[embedded::Damaged]| {
            let mut keys: Vec<String> = damaged.iter().map(|one| one.key.as_deref().unwrap().to_owned()).collect();
            keys.sort();
            keys
        };
        let expected: Vec<String> = hit.keys().cloned().collect();
        assert_eq!(named(engine.damaged()), expected, "seed {seed}");
        assert_eq!(named(&report.damaged), expected, "seed {seed}");
        let snapshot = engine.snapshot();
        assert_eq!(snapshot.len(), ROWS, "seed {seed}");
        for number in 0..ROWS {
            let entry = snapshot.get(&key(number)).unwrap();
            // A key is found again by the checksum, so its row is whole.
            let is_whole = hit.get(&key(number)).is_none_or(|(_, is_key)| *is_key);
            assert_eq!(!entry.index().is_unreadable(), is_whole, "seed {seed}: {}", key(number));
            assert!(!is_whole || entry.value == value(number), "seed {seed}: {}", key(number));
        }
        // The store serves everything else, and what is written over is whole.
        engine.commit(Operation::create("/registry/new", "new".into()).into()).await.unwrap();
        let first = hit.keys().next().unwrap();
        let change = Change::Put(Bytes::from_static(b"anew"));
        let over = Operation { key: first.as_str().into(), condition: Condition::Present, change };
        engine.commit(over.into()).await.unwrap();
        engine.close().await;
        drop(engine);
        let repaired = embedded::repair(directory.path()).unwrap();
        let gone = hit.iter().skip(1).filter(|(_, (_, is_key))| !is_key).count();
        assert_eq!((repaired.removed.len(), repaired.revision), (gone, None), "seed {seed}: {repaired:?}");
        assert_eq!(repaired.restored.len() + gone, hit.len() - 1, "seed {seed}: {repaired:?}");
        let engine = open(directory.path()).unwrap();
        assert_eq!((engine.snapshot().len(), engine.damaged()), (ROWS + 1 - gone, &[][..]), "seed {seed}");
        drop(engine);
        assert!(embedded::check(directory.path()).unwrap().is_sound(), "seed {seed}");
    }
}

/// Changes the file behind the engine's back; says what it finds then.
async fn changed(sql: &str) -> (tempfile::TempDir, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    make(directory.path()).await;
    rusqlite::Connection::open(directory.path().join("store.db")).unwrap().execute_batch(sql).unwrap();
    let engine = open(directory.path()).unwrap();
    let found = engine.damaged().iter().map(ToString::to_string).collect();
    (directory, found)
}

#[tokio::test]
async fn damage_is_named() {
    let check = async |sql: &str, expected: &[String]| {
        let (_directory, mut found) = changed(sql).await;
        found.sort();
        assert_eq!(found, expected, "{sql}");
    };
    let (one, two) = (key(0), key(1));
    let changed = |id: usize, key: &str| format!("row {id} of {key:?} does not fit its checksum");
    check("", &[]).await;
    check("UPDATE objects SET value = x'00' WHERE id = 1", &[changed(1, &one)]).await;
    // A value of another object, with its checksum and with its own.
    check(
        "UPDATE objects SET value = (SELECT value FROM objects WHERE id = 1), \
         checksum = (SELECT checksum FROM objects WHERE id = 1) WHERE id = 2",
        &[changed(2, &two)],
    )
    .await;
    check("UPDATE objects SET value = (SELECT value FROM objects WHERE id = 1) WHERE id = 2", &[changed(2, &two)])
        .await;
    // Two that change places are both found.
    check(
        &format!("UPDATE objects SET key = CASE id WHEN 1 THEN '{two}' ELSE '{one}' END WHERE id < 3"),
        &[changed(1, &two), changed(2, &one)],
    )
    .await;
    let other = one.replace("name-", "nama-");
    let damaged = format!("row 1 of {one:?} has a damaged key, {other:?}");
    check(&format!("UPDATE objects SET key = '{other}' WHERE id = 1"), &[damaged]).await;
    check("UPDATE objects SET version = 1, create_revision = 1 WHERE id = 1", &[changed(1, &one)]).await;
    check("UPDATE objects SET expires = 1 WHERE id = 1", &[changed(1, &one)]).await;
    check(
        "UPDATE objects SET epoch = -1 WHERE id = 1",
        &[format!("row 1 of {one:?} holds what was never written there")],
    )
    .await;
    check(
        "UPDATE objects SET key = 'nobody' WHERE id = 1",
        &["row 1 of a key that cannot be told does not fit its checksum".to_owned()],
    )
    .await;
    check(
        "UPDATE meta SET value = value + 1 WHERE name = 'rows'; \
         INSERT INTO objects SELECT 9999, version, create_revision, epoch, expires, checksum, key, value FROM objects \
         WHERE id = 1",
        &[format!("row 9999 of {one:?} is there twice")],
    )
    .await;
}

/// A revision that is not as it was written would be given again: nothing starts before a repair has raised it.
#[tokio::test]
async fn a_damaged_revision_is_raised_by_a_repair() {
    let directory = tempfile::tempdir().unwrap();
    make(directory.path()).await;
    let file = rusqlite::Connection::open(directory.path().join("store.db")).unwrap();
    file.execute_batch("UPDATE meta SET value = 3 WHERE name = 'revision'").unwrap();
    drop(file);
    assert!(matches!(open(directory.path()), Err(OpenError::Damaged { .. })));
    let report = embedded::check(directory.path()).unwrap();
    assert!(!report.is_sound() && report.damaged.is_empty());
    let revision = embedded::repair(directory.path()).unwrap().revision.unwrap();
    assert!(revision > 1_000_000_000);
    assert_eq!(open(directory.path()).unwrap().snapshot().revision(), revision);
    assert_eq!(embedded::repair(directory.path()).unwrap(), embedded::Repaired::default());
}

/// What SQLite itself cannot read refuses the whole store, by name and with what to do; and never without a word.
#[tokio::test]
async fn a_damaged_structure_is_refused_or_harmless() {
    let made = tempfile::tempdir().unwrap();
    make(made.path()).await;
    let whole = std::fs::read(made.path().join("store.db")).unwrap();
    let mut refused = 0;
    for seed in 0..ROUNDS * 2 {
        let mut dice = Dice(seed);
        let mut content = whole.clone();
        // Half of them where pages say what is in them.
        let (page, of_page) = (dice.below(whole.len() / PAGE_BYTES), dice.below([PAGE_BYTES, 16][seed as usize % 2]));
        content[page * PAGE_BYTES + of_page] ^= 1 << dice.below(8);
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("store.db");
        std::fs::write(&file, &content).unwrap();
        let engine = match open(directory.path()) {
            Ok(engine) => engine,
            Err(error) => {
                let said = error.to_string();
                assert!(
                    said.contains("store.db") || said.contains(directory.path().to_str().unwrap()),
                    "seed {seed}: {said}"
                );
                refused += 1;
                continue;
            }
        };
        let snapshot = engine.snapshot();
        let lost: Vec<usize> = (0..ROWS)
            .filter(|number| snapshot.get(&key(*number)).is_none_or(|entry| entry.value != value(*number)))
            .collect();
        assert!(lost.len() <= engine.damaged().len(), "seed {seed}: {lost:?} without a word, {:?}", engine.damaged());
        let is_named =
            |one: &embedded::Damaged| one.key.is_some() || matches!(one.what, Damage::Malformed | Damage::Changed);
        assert!(engine.damaged().iter().all(is_named), "seed {seed}");
    }
    assert!(refused > 0, "no round hit the structure");
}
