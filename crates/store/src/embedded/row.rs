//! A row of the file: what it says, and the checksum that holds it together.
//!
//! The checksum covers the key, so a value that was moved to another key is found like one whose bytes have changed. It is made in two
//! steps, the value's own hash first: so a key with a damaged byte can be looked for without reading the value again and again.

use bytes::Bytes;
use rusqlite::types::{Value, ValueRef};
use xxhash_rust::xxh3::xxh3_64;

use crate::{Entry, Key, engine::check_key};

/// The columns, in the order that [`Found::read`] and the statements of the journal have them in.
pub(super) const COLUMNS: &str = "id, key, version, create_revision, epoch, expires, checksum, value";

/// An entry and its value as it is kept in the file, where it may be sealed.
pub(super) struct Row {
    pub(super) entry: Entry,
    pub(super) kept: Bytes,
    /// When it is to be removed, in seconds since 1970.
    pub(super) expires: Option<u64>,
}

/// What a row says beside its value.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) key: &'a [u8],
    pub(super) version: u64,
    pub(super) create_revision: u64,
    pub(super) epoch: u32,
    pub(super) expires: Option<u64>,
}

impl Head<'_> {
    /// The checksum, as SQLite keeps it: its integers are signed.
    pub(super) fn checksum(&self, value: &[u8]) -> i64 {
        self.checksum_with(xxh3_64(value))
    }

    fn checksum_with(&self, value_hash: u64) -> i64 {
        let numbers = [
            xxh3_64(self.key),
            self.version,
            self.create_revision,
            u64::from(self.epoch),
            u64::from(self.expires.is_some()),
            self.expires.unwrap_or(0),
            value_hash,
        ];
        let mut bytes = [0; 8 * 7];
        for (place, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        xxh3_64(&bytes).cast_signed()
    }

    /// The key that the checksum was made with, if at most one byte of it was changed. Of 64 bits chance finds none.
    fn true_key(&self, value: &[u8], checksum: i64) -> Option<Key> {
        let value_hash = xxh3_64(value);
        let mut key = self.key.to_vec();
        for at in 0..key.len() {
            let held = *key.get(at)?;
            for byte in 0..=u8::MAX {
                *key.get_mut(at)? = byte;
                if (Head { key: &key, ..*self }).checksum_with(value_hash) == checksum {
                    return named(&key);
                }
            }
            *key.get_mut(at)? = held;
        }
        None
    }
}

/// A row as it was found.
pub(super) struct Found {
    pub(super) id: i64,
    /// As it stands there; the name that it should have is [`Found::name`]'s.
    pub(super) key: Bytes,
    pub(super) version: u64,
    pub(super) create_revision: u64,
    pub(super) epoch: u32,
    pub(super) expires: Option<u64>,
    pub(super) value: Bytes,
    pub(super) state: State,
}

/// Whether a row is as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Whole,
    /// The checksum is another one.
    Changed(i64),
    /// A column holds what was never written there.
    Malformed,
}

impl Found {
    /// Reads a row of [`COLUMNS`]. Only what SQLite itself cannot read is an error; anything else is the row's own [`State`].
    pub(super) fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Found> {
        let mut state = State::Whole;
        let mut number = |column| -> rusqlite::Result<u64> {
            match row.get_ref(column)? {
                ValueRef::Integer(number) if number >= 0 => Ok(number.cast_unsigned()),
                _ => {
                    state = State::Malformed;
                    Ok(0)
                }
            }
        };
        let (version, create_revision, epoch) = (number(2)?, number(3)?, number(4)?);
        let expires = match row.get_ref(5)? {
            ValueRef::Null => None,
            _ => Some(number(5)?),
        };
        let mut bytes = |column| -> rusqlite::Result<Bytes> {
            match row.get_ref(column)? {
                ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Ok(Bytes::copy_from_slice(bytes)),
                _ => {
                    state = State::Malformed;
                    Ok(Bytes::new())
                }
            }
        };
        let (key, value) = (bytes(1)?, bytes(7)?);
        let epoch = u32::try_from(epoch).unwrap_or(u32::MAX);
        let id = row.get(0)?;
        let mut found = Found { id, key, version, create_revision, epoch, expires, value, state };
        found.state = match row.get_ref(6)? {
            ValueRef::Integer(checksum) if state == State::Whole => found.compare(checksum),
            _ => State::Malformed,
        };
        Ok(found)
    }

    fn compare(&self, checksum: i64) -> State {
        if self.head().checksum(&self.value) != checksum {
            return State::Changed(checksum);
        }
        let is_possible =
            self.create_revision > 0 && self.create_revision <= self.version && named(&self.key).is_some();
        if is_possible { State::Whole } else { State::Malformed }
    }

    pub(super) fn head(&self) -> Head<'_> {
        let Found { version, create_revision, epoch, expires, .. } = *self;
        Head { key: &self.key, version, create_revision, epoch, expires }
    }

    /// The key of the row, if it can be told.
    pub(super) fn name(&self) -> Option<Key> {
        named(&self.key)
    }

    /// The key that the row was written under, when nothing else of it is damaged and of the key only one byte.
    pub(super) fn true_key(&self) -> Option<Key> {
        match self.state {
            State::Changed(checksum) => self.head().true_key(&self.value, checksum),
            State::Whole | State::Malformed => None,
        }
    }

    /// What the row takes in the file, about.
    pub(super) fn bytes(&self) -> usize {
        row_bytes(&self.key, &self.value)
    }
}

/// What a row takes in the file, about: its numbers and SQLite's own beside the key and the value.
pub(super) fn row_bytes(key: &[u8], value: &[u8]) -> usize {
    const NUMBERS_BYTES: usize = 36;
    key.len() + value.len() + NUMBERS_BYTES
}

fn named(key: &[u8]) -> Option<Key> {
    let key: Key = std::str::from_utf8(key).ok()?.into();
    check_key(&key).is_ok().then_some(key)
}

/// A time as SQLite keeps it.
pub(super) fn time(expires: Option<u64>) -> Value {
    expires.map_or(Value::Null, |seconds| Value::Integer(i64::try_from(seconds).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Head<'_> =
        Head { key: b"/registry/pods/a/b", version: 7, create_revision: 3, epoch: 1, expires: Some(9) };

    #[test]
    fn a_checksum_covers_everything() {
        let value = b"value";
        let own = HEAD.checksum(value);
        let check = |head: Head<'_>, value: &[u8]| assert_ne!(head.checksum(value), own, "{:?}", head.key);
        check(Head { key: b"/registry/pods/a/c", ..HEAD }, value);
        check(Head { version: 8, ..HEAD }, value);
        check(Head { create_revision: 2, ..HEAD }, value);
        check(Head { version: 3, create_revision: 7, ..HEAD }, value);
        check(Head { epoch: 0, ..HEAD }, value);
        check(Head { expires: None, ..HEAD }, value);
        check(Head { expires: Some(0), ..HEAD }, value);
        check(HEAD, b"Value");
        check(HEAD, b"");
        assert_eq!(own, HEAD.checksum(value));
        // Kept in files: it must never change.
        assert_eq!(own, 1452078906542998166);
    }

    #[test]
    fn a_key_with_one_damaged_byte_is_found() {
        let checksum = HEAD.checksum(b"value");
        let check = |key: &[u8], expected: Option<&str>| {
            assert_eq!((Head { key, ..HEAD }).true_key(b"value", checksum).as_deref(), expected, "{key:?}");
        };
        check(b"/registry/pods/a/c", Some("/registry/pods/a/b"));
        check(b"\xff\x72egistry/pods/a/b", Some("/registry/pods/a/b"));
        check(b"/registry/pods/b/c", None);
        check(b"/registry/pods/a/", None);
    }
}
