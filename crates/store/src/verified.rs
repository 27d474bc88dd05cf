//! What a comparison of memory with what is stored found ([`Engine::verify`]; upstream: `storage/cacher/consistency`, which compares digests
//! of lists). Here every entry is compared, so that what differs can be named; the digest is there to compare two stores by.
//!
//! Three things are told apart: a *difference* (both are whole, and say something else: a fault of ours or of the disk), *damage* (what is
//! stored is not as it was written: memory still has it, or nobody has), and what could not be looked at.
//!
//! [`Engine::verify`]: crate::Engine::verify

use std::fmt;

use crate::{Digested, Key};

/// Of what is found of one kind, so many are named; the others are counted.
pub const NAMED_MAX: usize = 20;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// The revision that memory was at, of the embedded engine at the end of the walk.
    pub revision: u64,
    /// All entries of memory at that revision.
    pub digested: Digested,
    /// Where memory and what is stored are whole and not the same.
    pub differences: Findings<Difference>,
    /// Keys whose rows were damaged and were written anew from memory.
    pub healed: Findings<Key>,
    /// What is damaged where it is stored, and memory does not have it whole either.
    pub damaged: Findings<String>,
    /// Keys whose values cannot be opened now; all else of them was compared.
    pub unopened: Findings<Key>,
    /// Why not everything could be read, if so. What was not read was not compared.
    pub unread: Option<String>,
}

impl Verified {
    /// Whether memory is what is stored, as far as anybody can tell.
    pub fn is_consistent(&self) -> bool {
        self.differences.is_empty() && self.unread.is_none()
    }

    /// Whether nothing at all is wrong.
    pub fn is_sound(&self) -> bool {
        self.is_consistent() && self.healed.is_empty() && self.damaged.is_empty() && self.unopened.is_empty()
    }

    /// Takes over what another part of the comparison found.
    pub(crate) fn append(&mut self, other: Verified) {
        self.differences.append(other.differences);
        self.healed.append(other.healed);
        self.damaged.append(other.damaged);
        self.unopened.append(other.unopened);
        self.unread = self.unread.take().or(other.unread);
    }
}

/// Things of one kind: how many, and the first of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings<T> {
    /// How many there are.
    pub count: usize,
    /// The first [`NAMED_MAX`] of them.
    pub named: Vec<T>,
}

impl<T> Default for Findings<T> {
    fn default() -> Self {
        Findings { count: 0, named: Vec::new() }
    }
}

impl<T> Findings<T> {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn add(&mut self, found: T) {
        self.count += 1;
        if self.named.len() < NAMED_MAX {
            self.named.push(found);
        }
    }

    fn append(&mut self, other: Findings<T>) {
        let count = self.count + other.count;
        self.extend(other.named);
        self.count = count;
    }
}

impl<T> Extend<T> for Findings<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, found: I) {
        found.into_iter().for_each(|found| self.add(found));
    }
}

/// Memory and what is stored do not say the same. Values are never shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Memory has an entry that is not stored.
    NotStored {
        /// Its key.
        key: Key,
    },
    /// An entry is stored that memory does not have.
    NotInMemory {
        /// Its key.
        key: Key,
    },
    /// The entry was last written at, or created at, another revision.
    Version {
        /// Its key.
        key: Key,
        /// The version and the revision of its creation, in memory.
        memory: (u64, u64),
        /// The same, as stored.
        stored: (u64, u64),
    },
    /// The value is another one.
    Value {
        /// Its key.
        key: Key,
    },
    /// One of both says that it is removed by itself some day.
    Expiry {
        /// Its key.
        key: Key,
    },
    /// The store says that it is at another revision.
    Revision {
        /// Of memory.
        memory: u64,
        /// As stored.
        stored: u64,
    },
    /// There should be another number of rows.
    Rows {
        /// How many there should be.
        memory: u64,
        /// How many there are.
        stored: u64,
    },
}

impl Difference {
    /// The key, if it is about one.
    pub fn key(&self) -> Option<&Key> {
        match self {
            Difference::NotStored { key }
            | Difference::NotInMemory { key }
            | Difference::Version { key, .. }
            | Difference::Value { key }
            | Difference::Expiry { key } => Some(key),
            Difference::Revision { .. } | Difference::Rows { .. } => None,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::NotStored { key } => write!(out, "{key:?} is in memory and not stored"),
            Difference::NotInMemory { key } => write!(out, "{key:?} is stored and not in memory"),
            Difference::Version { key, memory, stored } => {
                let ((version, created), (stored, stored_created)) = (memory, stored);
                write!(
                    out,
                    "{key:?} has version {version} of {created} in memory, and {stored} of {stored_created} as stored"
                )
            }
            Difference::Value { key } => write!(out, "{key:?} has another value in memory than as stored"),
            Difference::Expiry { key } => write!(out, "{key:?} expires either in memory or as stored, but not in both"),
            Difference::Revision { memory, stored } => {
                write!(out, "memory is at revision {memory}, what is stored says {stored}")
            }
            Difference::Rows { memory, stored } => {
                write!(out, "{memory} rows should be stored, and there are {stored}")
            }
        }
    }
}
