//! What was found out about tokens, kept for a while under a hash of the token: the token itself is not kept, and how long a look
//! takes says nothing about it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest;

/// Bytes of a SHA-256.
const HASH_LEN: usize = 32;

/// The hash of a token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TokenHash([u8; HASH_LEN]);

impl TokenHash {
    /// Hashes a token.
    pub(crate) fn of(token: &str) -> Self {
        let mut hash = [0; HASH_LEN];
        hash.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        Self(hash)
    }
}

/// A bounded map. Full, it forgets the half that was not asked for lately.
pub(crate) struct Remembered<V> {
    halves: Mutex<Halves<V>>,
    half_len_max: usize,
}

struct Halves<V> {
    young: HashMap<TokenHash, Arc<V>>,
    old: HashMap<TokenHash, Arc<V>>,
}

impl<V> Remembered<V> {
    /// Makes an empty map of at most `len_max` values.
    pub(crate) fn new(len_max: usize) -> Self {
        let halves = Halves { young: HashMap::new(), old: HashMap::new() };
        Self { halves: Mutex::new(halves), half_len_max: (len_max / 2).max(1) }
    }

    /// Returns what is known of a token.
    pub(crate) fn get(&self, hash: &TokenHash) -> Option<Arc<V>> {
        let mut halves = self.lock();
        if let Some(value) = halves.young.get(hash) {
            return Some(Arc::clone(value));
        }
        let value = halves.old.remove(hash)?;
        self.put(&mut halves, *hash, Arc::clone(&value));
        Some(value)
    }

    /// Remembers something of a token.
    pub(crate) fn insert(&self, hash: TokenHash, value: Arc<V>) {
        let mut halves = self.lock();
        self.put(&mut halves, hash, value);
    }

    /// Forgets a token.
    pub(crate) fn remove(&self, hash: &TokenHash) {
        let mut halves = self.lock();
        halves.young.remove(hash);
        halves.old.remove(hash);
    }

    fn put(&self, halves: &mut Halves<V>, hash: TokenHash, value: Arc<V>) {
        if halves.young.len() >= self.half_len_max {
            halves.old = std::mem::take(&mut halves.young);
        }
        halves.young.insert(hash, value);
    }

    /// Nothing in here panics while it holds the lock, and each change leaves the map whole.
    fn lock(&self) -> MutexGuard<'_, Halves<V>> {
        self.halves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_the_size_is_bounded() {
        let map = Remembered::new(8);
        let hash = |number: usize| TokenHash::of(&number.to_string());
        map.insert(hash(0), Arc::new(0));
        for number in 1..100 {
            map.insert(hash(number), Arc::new(number));
            assert_eq!(map.get(&hash(0)).as_deref(), Some(&0), "{number}");
            let halves = map.lock();
            assert!(halves.young.len() + halves.old.len() <= 8, "{number}");
        }
        assert!(map.get(&hash(1)).is_none());
        map.remove(&hash(0));
        assert!(map.get(&hash(0)).is_none());
    }
}
