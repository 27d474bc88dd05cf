//! Token buckets, one for each of those who are told apart, in bounded room.

use std::collections::{BTreeMap, HashMap};

use aws_lc_rs::digest::{SHA256, digest};

/// How fast a bucket fills.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// Tokens that come in a second.
    pub(super) per_second: f64,
    /// Tokens that a bucket holds.
    pub(super) burst: f64,
}

/// Whose bucket it is.
type Key = [u8; 32];

struct Bucket {
    tokens: f64,
    /// When it was last filled, in microseconds.
    filled: i64,
    used: u64,
}

/// The buckets of one limit. One that made room for another is full when it comes again.
pub(super) struct Buckets {
    rate: Rate,
    room: usize,
    buckets: HashMap<Key, Bucket>,
    /// Whose they are, by when they were last used.
    by_use: BTreeMap<u64, Key>,
    uses: u64,
}

impl Buckets {
    /// Makes room for so many.
    pub(super) fn new(rate: Rate, room: usize) -> Buckets {
        Buckets { rate, room: room.max(1), buckets: HashMap::new(), by_use: BTreeMap::new(), uses: 0 }
    }

    /// Takes a token of somebody's bucket; says whether there was one.
    pub(super) fn take(&mut self, name: &str, now_micros: i64) -> bool {
        let key = key(name);
        if !self.buckets.contains_key(&key) {
            self.make_room();
        }
        self.uses += 1;
        let full = Bucket { tokens: self.rate.burst, filled: now_micros, used: self.uses };
        let bucket = self.buckets.entry(key).or_insert(full);
        self.by_use.remove(&bucket.used);
        self.by_use.insert(self.uses, key);
        bucket.used = self.uses;
        // A clock that is set back fills nothing.
        let seconds = (now_micros - bucket.filled).max(0) as f64 / 1e6;
        bucket.tokens = (bucket.tokens + seconds * self.rate.per_second).min(self.rate.burst);
        bucket.filled = now_micros;
        let is_there = bucket.tokens >= 1.0;
        if is_there {
            bucket.tokens -= 1.0;
        }
        is_there
    }

    fn make_room(&mut self) {
        while self.buckets.len() >= self.room {
            let Some((_, key)) = self.by_use.pop_first() else { break };
            self.buckets.remove(&key);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        debug_assert_eq!(self.buckets.len(), self.by_use.len());
        self.buckets.len()
    }
}

fn key(name: &str) -> Key {
    let mut key = [0; 32];
    for (own, byte) in key.iter_mut().zip(digest(&SHA256, name.as_bytes()).as_ref()) {
        *own = *byte;
    }
    key
}
