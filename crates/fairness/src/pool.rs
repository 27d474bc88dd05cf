//! The seats that levels lend each other.
//!
//! A level commits `max(seats in use, lower limit)`: what it uses, and what must be there for it whenever it wants it. What the
//! own seats of all levels together exceed all commitments by is the pool. A level that grows beyond its lower limit takes from
//! the pool, and gives back when it shrinks. So the seats in use are never more than all own seats, and a level that uses less
//! than its own finds seats again as soon as borrowers give theirs back.
//!
//! Upstream moves the limits of levels every 10 s after their smoothed demand. Here nothing is moved: a seat is lent when it is
//! wanted, and when it comes back it goes to the level that has least of what is its own ([`crate::hub`]).

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

/// All orders are sequentially consistent: who asks and finds nothing announces its hunger before it asks again, who gives looks
/// for hunger after it gave; one of the two sees the other.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    /// Below zero while a configuration with fewer seats is not yet followed, or exempt requests took theirs back.
    free: AtomicI64,
    hungry: AtomicUsize,
    /// A level that is no longer configured has nothing left to do, so its seats are the others'.
    drained: AtomicBool,
}

impl Pool {
    pub(crate) fn free(&self) -> i64 {
        self.free.load(Ordering::SeqCst)
    }

    /// Takes this many seats if there are as many.
    pub(crate) fn take(&self, seats: u64) -> bool {
        let seats = signed(seats);
        let less = |free: i64| (free >= seats).then(|| free - seats);
        self.free.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok()
    }

    /// Gives seats; takes them, whether or not they are there, when below zero.
    pub(crate) fn give(&self, seats: i64) {
        if seats != 0 {
            self.free.fetch_add(seats, Ordering::SeqCst);
        }
    }

    /// Whether a level waits for the pool.
    pub(crate) fn is_wanted(&self) -> bool {
        self.hungry.load(Ordering::SeqCst) > 0
    }

    pub(crate) fn note_drained(&self) {
        self.drained.store(true, Ordering::SeqCst);
    }

    /// Returns whether a level drained since this was last asked.
    pub(crate) fn has_drained(&self) -> bool {
        self.drained.load(Ordering::SeqCst) && self.drained.swap(false, Ordering::SeqCst)
    }

    pub(crate) fn hunger_begins(&self) {
        self.hungry.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn hunger_ends(&self) {
        self.hungry.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Counts of seats are far below what would not fit.
pub(crate) fn signed(seats: u64) -> i64 {
    i64::try_from(seats).unwrap_or(i64::MAX)
}
