//! Compares the file with memory while it is served, in slices between batches: there the two are the same state, and a slice is so
//! short that no commit notices.
//!
//! Rows are read in their order. One that is not as it was written, while memory has its entry whole, is written anew from memory. One that
//! is whole and says something else than memory is told and left alone: nobody knows which of them is right. Entries whose rows are gone
//! are found by counting: what was met, without what was removed or moved behind the walk, must be everything in the end.
//!
//! Rows on a page that SQLite cannot read are named, and those behind it are looked at: memory still has everything.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use rusqlite::{Connection, params};
use tokio::sync::oneshot;

use super::{
    Embedded,
    clock::{Clock, Deadlines},
    committer::Message,
    file::{PUT, number},
    journal::{Each, JournalError, Sqlite, Stretch, is_unreadable},
    load::{Damage, Damaged},
    row::{Found, Head, State, time},
};
use crate::{Difference, Digest, Entry, Key, ReadError, Snapshot, Verified};

/// How long rows are looked at in one slice; the one that is being looked at then is the last.
const SLICE_TIME: Duration = Duration::from_micros(500);
/// Pause behind a slice. With it a walk takes a tenth of the committer's time at most.
const SLICE_PAUSE: Duration = Duration::from_micros(4500);
/// Slices of one walk. Rows that are written while it goes on are put before it.
const SLICES_MAX: usize = 4_000_000;
/// Entries that are digested, or whose rows are looked for, in one go.
const ENTRIES_AT_ONCE: usize = 256;

/// What the committer is asked to do next.
pub(super) enum Step {
    /// Look at the next rows behind this one; nothing before them has been looked at if it is the first.
    After(Option<i64>),
    /// Look whether there are rows of these.
    Present(Vec<Key>),
}

/// What memory knows at the moment of a slice.
pub(super) struct Known<'a> {
    pub(super) snapshot: Snapshot,
    pub(super) clock: &'a dyn Clock,
    pub(super) deadlines: &'a Deadlines,
}

/// How far a walk is. The journal keeps it, because it knows what is removed and moved.
#[derive(Default)]
pub(super) struct Walk {
    /// Everything up to this row was looked at.
    position: Option<i64>,
    /// Rows up to there that entries lead to.
    met: u64,
}

impl Walk {
    /// The row that an entry led to is no longer there.
    pub(super) fn left(&mut self, id: i64) {
        if self.position.is_some_and(|position| id <= position) {
            self.met = self.met.saturating_sub(1);
        }
    }
}

/// What was found in a slice.
#[derive(Debug, Default)]
pub(super) struct Compared {
    /// The last row; none when there are no more.
    last: Option<i64>,
    /// All rows were looked at, and some entries led to none of them.
    is_short: bool,
    found: Verified,
}

/// What is to be said of a row.
enum Fate {
    Same,
    Unopened(Key),
    Differs(Difference),
    Damaged(Damaged),
}

/// A damaged row as memory has it.
struct Anew {
    key: Key,
    entry: Entry,
    kept: bytes::Bytes,
    damaged: Damaged,
}

impl Sqlite {
    /// Takes a step of a walk. What cannot be read is told, and only a failed write is an error.
    pub(super) fn compare(&mut self, step: Step, known: &Known<'_>) -> Result<Compared, JournalError> {
        let read = match step {
            Step::After(after) => {
                if after.is_none() {
                    self.walk = Walk { position: Some(i64::MIN), met: 0 };
                    // Pages that are kept would be compared, and not what is in the file.
                    if let Err(error) = self.connection.execute_batch("PRAGMA shrink_memory") {
                        tracing::warn!(%error, "pages of the store file stay in memory");
                    }
                }
                let begun = Instant::now();
                // Comparing them takes as long again.
                match self.next_rows(after.unwrap_or(i64::MIN), |_| begun.elapsed() >= SLICE_TIME / 2) {
                    Ok(stretch) => return self.compare_rows(stretch, known),
                    Err(error) => Err(error),
                }
            }
            Step::Present(keys) => self.find_rows(&keys, known),
        };
        Ok(read.unwrap_or_else(|error| Compared { found: unread(&error), ..Compared::default() }))
    }

    fn compare_rows(&mut self, stretch: Stretch, known: &Known<'_>) -> Result<Compared, JournalError> {
        let Stretch { rows, unread: unread_rows, last, end } = stretch;
        let mut compared = Compared { last, ..Compared::default() };
        let (mut met, mut broken) = (unread_rows.len() as u64, Vec::new());
        for row in &unread_rows {
            tracing::error!(unread = %row, "memory and the store file cannot be compared");
            compared.found.append(unread(row));
        }
        for row in rows {
            match row.name() {
                Some(key) if row.state == State::Whole => {
                    met += u64::from(self.places.get(&key).is_some_and(|place| place.id == row.id));
                    compared.found.add(self.fate(key, &row, known));
                }
                _ => broken.push(row),
            }
        }
        if !broken.is_empty() {
            met += self.mend(broken, known, &mut compared.found)?;
        }
        self.walk.position = last;
        self.walk.met += met;
        if last.is_none() {
            compared.found.append(end.map_or_else(Verified::default, |error| unread(&error)));
            compared.is_short = self.walk.met != known.snapshot.len() as u64;
            compared.found.append(self.compare_all(known).unwrap_or_else(|error| unread(&error)));
        }
        Ok(compared)
    }

    /// Compares a row that is as it was written.
    fn fate(&self, key: Key, row: &Found, known: &Known<'_>) -> Fate {
        let (Some(entry), Some(place)) = (known.snapshot.get(&key), self.places.get(&key)) else {
            return Fate::Differs(Difference::NotInMemory { key });
        };
        if place.id != row.id {
            return Fate::Damaged(Damaged { id: row.id, key: Some(key), what: Damage::Twice });
        }
        let (memory, stored) = ((entry.version, entry.create_revision), (row.version, row.create_revision));
        if memory != stored {
            return Fate::Differs(Difference::Version { key, memory, stored });
        }
        if row.expires.is_some() != known.deadlines.get(&key).is_some() {
            return Fate::Differs(Difference::Expiry { key });
        }
        // What could not be opened is kept in memory as it stands there.
        if entry.value == row.value {
            return Fate::Same;
        }
        let Ok(opened) = self.sealing.open(&key, &row.value) else { return Fate::Unopened(key) };
        let is_same = opened.plain == entry.value
            || row.epoch != self.catalog.epoch(&key)
                && self.catalog.renew(&key, &opened.plain, row.epoch).is_some_and(|renewed| renewed == entry.value);
        if is_same { Fate::Same } else { Fate::Differs(Difference::Value { key }) }
    }

    /// Writes rows anew that are damaged and whose entries memory has whole. Tells how many of all of them entries lead to.
    fn mend(&mut self, broken: Vec<Found>, known: &Known<'_>, found: &mut Verified) -> Result<u64, JournalError> {
        // What a row says of itself may be wrong: its number is what leads to its entry.
        let mut keys: HashMap<i64, Option<Key>> = broken.iter().map(|row| (row.id, None)).collect();
        for (key, place) in &self.places {
            if let Some(of_row) = keys.get_mut(&place.id) {
                *of_row = Some(key.clone());
            }
        }
        let (mut anew, mut met) = (Vec::new(), 0);
        for row in broken {
            let key = keys.remove(&row.id).flatten();
            met += u64::from(key.is_some());
            let what = if row.state == State::Malformed { Damage::Malformed } else { Damage::Changed };
            let damaged = Damaged { id: row.id, key: key.clone().or_else(|| row.name()), what };
            let entry = key.and_then(|key| known.snapshot.get(&key).map(|entry| (key, entry.clone())));
            let Some((key, entry)) = entry.filter(|(_, entry)| !entry.index().is_unreadable()) else {
                found.damaged.add(damaged.to_string());
                continue;
            };
            match self.sealing.seal(&key, &entry.value) {
                Ok(kept) => anew.push(Anew { key, entry, kept, damaged }),
                Err(_) => found.damaged.add(damaged.to_string()),
            }
        }
        self.write_anew(&anew, known, found)?;
        Ok(met)
    }

    /// What cannot be written, for want of room or because of a page around it that cannot be read, stays as it is.
    fn write_anew(&mut self, anew: &[Anew], known: &Known<'_>, found: &mut Verified) -> Result<(), JournalError> {
        let each = match self.transact_each(anew, |journal, one| journal.put_anew(one, known)) {
            Err(JournalError::Full(error)) => {
                tracing::error!(%error, rows = anew.len(), "no room to write damaged rows of the store anew");
                Each { done: Vec::new(), left: anew.iter().collect() }
            }
            each => each?,
        };
        found.damaged.extend(each.left.iter().map(|one| one.damaged.to_string()));
        for Anew { key, kept, damaged, .. } in &each.done {
            tracing::error!(%damaged, "a row of the store was damaged, and was written anew from memory: look after the disk");
            self.took(key, damaged.id, kept);
            found.healed.add(key.clone());
        }
        if !each.done.is_empty() {
            self.wrote(each.done.len(), each.done.iter().map(|one| one.kept.len()).sum());
        }
        Ok(())
    }

    fn put_anew(&self, anew: &Anew, known: &Known<'_>) -> rusqlite::Result<()> {
        let Anew { key, entry, kept, damaged } = anew;
        let left = known.deadlines.get(key).map(|at| at.saturating_sub(known.clock.elapsed()));
        let expires = left.map(|left| (known.clock.wall() + left).as_secs());
        let (version, create_revision, epoch) = (entry.version, entry.create_revision, self.catalog.epoch(key));
        let head = Head { key: key.as_bytes(), version, create_revision, epoch, expires };
        let checksum = head.checksum(kept);
        let (version, created) = (number(version)?, number(create_revision)?);
        let mut put = self.connection.prepare_cached(PUT)?;
        put.execute(params![damaged.id, &**key, version, created, epoch, time(expires), checksum, &**kept])?;
        Ok(())
    }

    /// What is said of all rows, when each was looked at.
    fn compare_all(&self, known: &Known<'_>) -> rusqlite::Result<Verified> {
        let mut found = Verified { revision: known.snapshot.revision(), ..Verified::default() };
        let (revision, rows) = (meta(&self.connection, "revision")?, meta(&self.connection, "rows")?);
        if revision != found.revision {
            found.differences.add(Difference::Revision { memory: found.revision, stored: revision });
        }
        if rows != self.rows {
            found.differences.add(Difference::Rows { memory: self.rows, stored: rows });
        }
        Ok(found)
    }

    /// Names what has no row.
    fn find_rows(&self, keys: &[Key], known: &Known<'_>) -> rusqlite::Result<Compared> {
        let mut found = Verified::default();
        let mut count = self.connection.prepare_cached("SELECT count(*) FROM objects WHERE id = ?1")?;
        for key in keys.iter().filter(|key| known.snapshot.get(key).is_some()) {
            let place = self.places.get(key).map(|place| place.id);
            match count.query_row([place], |row| row.get::<_, i64>(0)) {
                Ok(0) => found.differences.add(Difference::NotStored { key: key.clone() }),
                Err(error) if is_unreadable(&error) => found.append(unread(&error)),
                other => drop(other?),
            }
        }
        Ok(Compared { found, ..Compared::default() })
    }
}

/// What is said of something that could not be read.
fn unread(error: &dyn std::error::Error) -> Verified {
    let why = format!("{error}: memory still has everything, so make a backup while it is served");
    Verified { unread: Some(why), ..Verified::default() }
}

impl Verified {
    fn add(&mut self, fate: Fate) {
        match fate {
            Fate::Same => {}
            Fate::Unopened(key) => self.unopened.add(key),
            Fate::Differs(difference) => self.differences.add(difference),
            Fate::Damaged(damaged) => self.damaged.add(damaged.to_string()),
        }
    }
}

fn meta(connection: &Connection, name: &str) -> rusqlite::Result<u64> {
    let mut select = connection.prepare_cached("SELECT value FROM meta WHERE name = ?1")?;
    let value: i64 = select.query_row([name], |row| row.get(0))?;
    Ok(value.cast_unsigned())
}

impl Embedded {
    /// Walks along all rows.
    pub(super) async fn verify_all(&self) -> Result<Verified, ReadError> {
        let _one_at_a_time = self.verifying.lock().await;
        let (mut found, mut after) = (Verified::default(), None);
        for _ in 0..SLICES_MAX {
            let Compared { last, is_short, found: more } = self.step(Step::After(after)).await?;
            found.append(more);
            after = last;
            if last.is_none() {
                if is_short {
                    self.find_missing(&mut found).await?;
                }
                break;
            }
            tokio::time::sleep(SLICE_PAUSE).await;
        }
        if after.is_some() {
            found.unread = Some("rows are written faster than they are looked at".to_owned());
        }
        let snapshot = self.memory.snapshot();
        found.revision = snapshot.revision();
        let mut digest = Digest::default();
        for (count, (key, entry)) in snapshot.range("", None).enumerate() {
            digest.add(key, &entry.value);
            if count % ENTRIES_AT_ONCE == 0 {
                tokio::task::yield_now().await;
            }
        }
        found.digested = digest.finish();
        Ok(found)
    }

    /// Names entries that have no row, once it is known that there are some.
    async fn find_missing(&self, found: &mut Verified) -> Result<(), ReadError> {
        let before = found.differences.count;
        let snapshot = self.memory.snapshot();
        let keys: Vec<Key> = snapshot.range("", None).map(|(key, _)| key.clone()).collect();
        for some in keys.chunks(ENTRIES_AT_ONCE) {
            found.append(self.step(Step::Present(some.to_vec())).await?.found);
            tokio::time::sleep(SLICE_PAUSE).await;
        }
        if found.differences.count == before && found.unread.is_none() {
            found.unread = Some("rows are there that were not met, or were met twice: check the store file".to_owned());
        }
        Ok(())
    }

    async fn step(&self, step: Step) -> Result<Compared, ReadError> {
        let (answer, compared) = oneshot::channel();
        self.tell(Message::Verify(step, answer)).await?;
        compared.await.map_err(|_| ReadError::Closed)?
    }
}
