//! The key that is made when nobody says how to seal: a file outside the data directory, so that who copies the one does not
//! have the other (A17).
//!
//! Its first key seals, as upstream's `aesgcm` provider does under that key's name, all of them open. Nonces are random, so a key
//! may seal so many values only. What it sealed is counted in the file, in blocks that are reserved before they are used: a crash
//! counts too much, never too little. A key that is used up gets a successor by itself; `rotate` gives it one at any time, from
//! another process too, whose key is taken up when the file is looked at.
//!
//! Every change is made under a lock, on what the file holds then, and replaces the file as a whole.

mod disk;
mod text;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::chain::NamedKey;
use crate::cipher::{AesGcm, Cipher};
use crate::{OpenError, SealError};

use self::disk::Disk;
use self::text::{KEYS_BY_HAND_MAX, KEYS_MAX, KeyLine, KeyText};
pub use self::text::{KeyInfo, TextError};

/// Values that a key seals. With random nonces of 96 bits two are alike with a chance of 2^-41 then; 2^32 is where NIST draws the
/// line, so that sixteen servers may have a copy of one file each.
pub const WRITES_PER_KEY_MAX: u64 = 1 << 28;
/// Values that are counted at a time: a sync of the file for so many writes.
const BLOCK: u64 = 1 << 16;
/// Times that the newest key is looked for: others may use up what was just reserved.
const TRIES_MAX: usize = 16;
/// What is sealed under these keys begins with.
const PREFIX: &str = "k8s:enc:aesgcm:v1:";
const WORD: &str = "AES";

/// Why a key file can not be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// There is none.
    #[error("there is no seal key at {}: without it what it sealed can not be read, so put the file back", .0.display())]
    Missing(PathBuf),
    /// It lies where the data lies.
    #[error("the seal key {} is inside the data directory {}: who copies the one has the other", .path.display(), .data.display())]
    InsideData {
        /// Which file.
        path: PathBuf,
        /// The data directory.
        data: PathBuf,
    },
    /// Others may read or write it, or replace it.
    #[error("the seal key {} is open to others: {}", .path.display(), .why)]
    Open {
        /// Which file.
        path: PathBuf,
        /// How, and what to do.
        why: String,
    },
    /// It can not be read or written.
    #[error("cannot {what} the seal key {}", .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What failed.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// Somebody else has it locked.
    #[error("the seal key {} is locked by another process", .0.display())]
    Locked(PathBuf),
    /// It is no key file, or was damaged.
    #[error("{} is no seal key that can be used", .path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: TextError,
    },
    /// Nothing random can be had.
    #[error("a key can not be made")]
    NoRandomness,
    /// It has as many keys as it may have.
    #[error(
        "the seal key file has {0} keys: remove the last lines of it, whose keys nothing is sealed under any more, in backups neither"
    )]
    TooManyKeys(usize),
    /// Its newest key is used up faster than it can be counted.
    #[error("no key of {} has room", .0.display())]
    UsedUp(PathBuf),
}

/// What to do where there is no key file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Make one: the store is new.
    Create,
    /// Refuse: there may be values that only the missing one opens.
    Refuse,
}

/// A key in use.
struct Live {
    key: NamedKey,
    /// Values that it may still seal before more are reserved.
    room: AtomicU64,
}

impl Live {
    /// Takes one of the values that are reserved.
    fn take_one(&self) -> bool {
        self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |room| room.checked_sub(1)).is_ok()
    }
}

/// The keys of a file, the newest first.
struct Ring {
    keys: Vec<Arc<Live>>,
    infos: Vec<KeyInfo>,
}

/// The file, and its keys.
pub struct KeyFile {
    disk: Disk,
    ring: ArcSwap<Ring>,
    /// One change at a time, so that a thousand writers do not reserve a thousand blocks.
    changing: Mutex<()>,
}

impl KeyFile {
    /// Reads the file, or makes it. `data` is where the data lies. Blocks.
    ///
    /// # Errors
    /// It is not there, not private, or no key file.
    pub fn open(path: &Path, data: Option<&Path>, missing: Missing) -> Result<Self, KeyFileError> {
        // Whoever only looks leaves no directory behind.
        if missing == Missing::Refuse && path.parent().is_some_and(|directory| !directory.exists()) {
            return Err(KeyFileError::Missing(path.to_owned()));
        }
        let disk = Disk::at(path, data)?;
        let mut is_made = false;
        if !disk.exists()? {
            match missing {
                Missing::Refuse => return Err(KeyFileError::Missing(disk.path().to_owned())),
                // With its first values reserved: one sync for both.
                Missing::Create => disk.create(|| {
                    is_made = true;
                    let mut text = KeyText::default();
                    text.add_key(KEYS_MAX)?;
                    text.reserve(BLOCK);
                    Ok(text)
                })?,
            }
        }
        let text = disk.read()?;
        let ring = ring_of(&text, &[]).ok_or(KeyFileError::NoRandomness)?;
        if let Some(newest) = ring.keys.first().filter(|_| is_made) {
            newest.room.store(BLOCK, Ordering::Relaxed);
        }
        Ok(Self { disk, ring: ArcSwap::from_pointee(ring), changing: Mutex::default() })
    }

    /// Reserves the first values, so that a file that can not be written is found at the start and not by the first secret. Blocks.
    ///
    /// # Errors
    /// The file can not be written.
    pub fn prepare(&self) -> Result<(), KeyFileError> {
        self.reserve()
    }

    /// Returns where it is.
    pub fn path(&self) -> &Path {
        self.disk.path()
    }

    /// Returns its keys, the newest first.
    pub fn keys(&self) -> Vec<KeyInfo> {
        self.ring.load().infos.clone()
    }

    /// Looks whether another process changed the file, and takes its keys up; says whether it did. When it can not be used, the
    /// keys that were read last stay in use. Blocks.
    ///
    /// # Errors
    /// It is not there, not private, or no key file.
    pub fn reload(&self) -> Result<bool, KeyFileError> {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let text = self.disk.read()?;
        let before = self.keys();
        self.take_up(&text, None)?;
        Ok(before.iter().map(|key| &key.id).ne(self.keys().iter().map(|key| &key.id)))
    }

    /// Adds a key, under which everything is sealed from now on, and returns its id. Blocks.
    ///
    /// # Errors
    /// The file can not be written; then nothing changed.
    pub fn rotate(&self) -> Result<String, KeyFileError> {
        self.change(|text| text.add_key(KEYS_BY_HAND_MAX))
    }

    /// Seals under the newest key, and counts it.
    pub(crate) fn seal(&self, place: &[u8], plain: &[u8]) -> Result<Vec<u8>, SealError> {
        for _ in 0..TRIES_MAX {
            let ring = self.ring.load();
            if let Some(newest) = ring.keys.first()
                && newest.take_one()
            {
                return newest.key.seal(PREFIX, place, plain);
            }
            drop(ring);
            self.reserve().map_err(SealError::KeyFile)?;
        }
        Err(SealError::KeyFile(KeyFileError::UsedUp(self.path().to_owned())))
    }

    /// Opens what was sealed under one of the keys; nothing when it was sealed otherwise.
    pub(crate) fn open_value(&self, place: &[u8], stored: &[u8]) -> Option<Result<(Vec<u8>, bool), OpenError>> {
        let rest = stored.strip_prefix(PREFIX.as_bytes())?;
        let ring = self.ring.load();
        let mut found = ring.keys.iter().enumerate().filter_map(|(at, live)| {
            let opened = live.key.open(PREFIX, place, rest)?;
            Some(opened.map(|plain| (plain, at != 0)))
        });
        Some(found.next().unwrap_or(Err(OpenError::NoKey { provider: WORD })))
    }

    /// Reserves the newest key's next values, or makes its successor.
    fn reserve(&self) -> Result<(), KeyFileError> {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let ring = self.ring.load_full();
        if ring.keys.first().is_some_and(|newest| newest.room.load(Ordering::Relaxed) > 0) {
            return Ok(());
        }
        let (text, id) = self.disk.change(|text| {
            if text.newest().is_none_or(|newest| newest.info.writes + BLOCK > WRITES_PER_KEY_MAX) {
                let id = text.add_key(KEYS_MAX)?;
                tracing::info!(key = id, "the seal key is used up: a new one was made");
            }
            Ok(text.reserve(BLOCK).unwrap_or_default())
        })?;
        self.take_up(&text, Some(&id))
    }

    fn change<T>(&self, change: impl FnOnce(&mut KeyText) -> Result<T, KeyFileError>) -> Result<T, KeyFileError> {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let (text, changed) = self.disk.change(change)?;
        self.take_up(&text, None)?;
        Ok(changed)
    }

    /// Puts the keys of a text in use. Those that are in use already keep their room.
    fn take_up(&self, text: &KeyText, reserved: Option<&str>) -> Result<(), KeyFileError> {
        let before = self.ring.load_full();
        let ring = ring_of(text, &before.keys).ok_or(KeyFileError::NoRandomness)?;
        if let Some(live) = ring.keys.iter().find(|live| Some(live.key.name.as_str()) == reserved) {
            live.room.fetch_add(BLOCK, Ordering::Relaxed);
        }
        self.ring.store(Arc::new(ring));
        Ok(())
    }
}

fn ring_of(text: &KeyText, before: &[Arc<Live>]) -> Option<Ring> {
    let live = |line: &KeyLine| {
        if let Some(known) = before.iter().find(|known| known.key.name == line.info.id) {
            return Some(Arc::clone(known));
        }
        let cipher = Cipher::AesGcm(AesGcm::new(&line.secret)?);
        let key = NamedKey { name: line.info.id.clone(), cipher };
        Some(Arc::new(Live { key, room: AtomicU64::new(0) }))
    };
    let keys = text.lines().iter().map(live).collect::<Option<Vec<_>>>()?;
    Some(Ring { keys, infos: text.lines().iter().map(|line| line.info.clone()).collect() })
}

#[cfg(test)]
mod tests;
