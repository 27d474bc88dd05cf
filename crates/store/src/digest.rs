//! One number for a whole state, to tell two of them apart: what was copied from what it was copied from, memory from what is stored
//! (upstream: `storage/cacher/consistency`, which compares digests of lists).
//!
//! XXH3 with 128 bits. It tells accidents, not attacks: who can write to a store can also write another digest.

use std::fmt;

use xxhash_rust::xxh3::Xxh3;

use crate::Snapshot;

/// A digest of keys and values, in the order in which they are added.
#[derive(Clone, Default)]
pub struct Digest {
    hash: Xxh3,
    entries: u64,
}

/// A digest of everything, and of how many entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digested {
    /// Entries.
    pub entries: u64,
    /// Of all keys and values.
    pub digest: u128,
}

impl Digest {
    /// Adds an entry. Keys come in their order.
    pub fn add(&mut self, key: &str, value: &[u8]) {
        for part in [key.as_bytes(), value] {
            // With its length, so that no end of a key is the beginning of a value.
            self.hash.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            self.hash.update(part);
        }
        self.entries += 1;
    }

    /// Returns the digest of what was added.
    pub fn finish(&self) -> Digested {
        Digested { entries: self.entries, digest: self.hash.digest128() }
    }

    /// Of all entries of a view, as memory holds them.
    pub fn of(snapshot: &Snapshot) -> Digested {
        let mut digest = Digest::default();
        for (key, entry) in snapshot.range("", None) {
            digest.add(key, &entry.value);
        }
        digest.finish()
    }
}

impl fmt::Display for Digested {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:032x} of {} entries", self.digest, self.entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(entries: &[(&str, &str)]) -> Digested {
        let mut digest = Digest::default();
        entries.iter().for_each(|(key, value)| digest.add(key, value.as_bytes()));
        digest.finish()
    }

    #[test]
    fn every_difference_shows() {
        let whole = of(&[("/registry/a", "1"), ("/registry/b", "2")]);
        assert_eq!(whole, of(&[("/registry/a", "1"), ("/registry/b", "2")]));
        let check = |other: &[(&str, &str)]| assert_ne!(whole, of(other), "{other:?}");
        check(&[]);
        check(&[("/registry/a", "1")]);
        check(&[("/registry/a", "2"), ("/registry/b", "1")]);
        check(&[("/registry/a", "1"), ("/registry/b", "3")]);
        check(&[("/registry/a", "1"), ("/registry/c", "2")]);
        check(&[("/registry/a1", ""), ("/registry/b", "2")]);
        check(&[("/registry/a", "1"), ("/registry/b", "2"), ("/registry/c", "")]);
    }
}
