//! Addresses that abused connections a moment ago: what one connection may do is bounded, and so is how soon the next one comes.
//!
//! Each connection that was ended for abuse is a strike. An address with [`STRIKES`] of them, none of them long after the one before,
//! is admitted at [`PENALTY_RATE`], before any work is done for it, until it has been quiet for [`PENALTY`]. It is slowed and not
//! shut out, because others may share it (a NAT): they are let in, one after the other, and their connections that are open
//! are not touched at all.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::addresses::Origin;
use crate::rate::{Rate, TokenBucket};

/// Strikes that bring the penalty.
const STRIKES: u32 = 4;
/// After this time without a strike everything is forgotten.
const PENALTY: Duration = Duration::from_secs(30);
/// New connections of an address under penalty.
pub(crate) const PENALTY_RATE: Rate = Rate { burst: 4, per_second: 1 };
/// Addresses remembered; the one that has been quiet for longest makes room.
const ADDRESSES_MAX: usize = 4096;

/// See the module's text.
#[derive(Default)]
pub(crate) struct Penalties(Mutex<Remembered>);

#[derive(Default)]
struct Remembered {
    by_origin: HashMap<Origin, Abuse>,
    /// By the number of their last strike: the first one has been quiet for longest.
    order: BTreeMap<u64, Origin>,
    strikes: u64,
}

struct Abuse {
    count: u32,
    number: u64,
    last: Instant,
    admitted: TokenBucket,
}

impl Penalties {
    /// A connection of an address was ended for abuse.
    pub(crate) fn strike(&self, origin: Origin, now: Instant) {
        let mut remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.forget(now);
        let number = remembered.strikes;
        remembered.strikes += 1;
        let fresh = Abuse { count: 0, number, last: now, admitted: TokenBucket::full(PENALTY_RATE, now) };
        let abuse = remembered.by_origin.entry(origin).or_insert(fresh);
        let before = std::mem::replace(&mut abuse.number, number);
        abuse.count = abuse.count.saturating_add(1);
        abuse.last = now;
        remembered.order.remove(&before);
        remembered.order.insert(number, origin);
        if remembered.by_origin.len() > ADDRESSES_MAX
            && let Some((_, quietest)) = remembered.order.pop_first()
        {
            remembered.by_origin.remove(&quietest);
        }
    }

    /// Says whether an address may open a connection now.
    pub(crate) fn admit(&self, origin: Origin, now: Instant) -> bool {
        let mut remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.by_origin.is_empty() {
            return true;
        }
        remembered.forget(now);
        match remembered.by_origin.get_mut(&origin) {
            Some(abuse) if abuse.count >= STRIKES => abuse.admitted.take(PENALTY_RATE, now),
            _ => true,
        }
    }
}

impl Remembered {
    /// Lets go of addresses that have been quiet.
    fn forget(&mut self, now: Instant) {
        while let Some((number, origin)) = self.order.first_key_value().map(|(number, origin)| (*number, *origin)) {
            let is_over = |abuse: &Abuse| now.saturating_duration_since(abuse.last) >= PENALTY;
            if !self.by_origin.get(&origin).is_none_or(is_over) {
                return;
            }
            self.order.remove(&number);
            self.by_origin.remove(&origin);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_address_is_slowed_and_forgiven() {
        let (penalties, begun) = (Penalties::default(), Instant::now());
        let (bad, good) = (Origin::of([192, 0, 2, 1].into()), Origin::of([192, 0, 2, 2].into()));
        let admitted = |origin: Origin, seconds: u64| {
            let now = begun + Duration::from_secs(seconds);
            (0..100).filter(|_| penalties.admit(origin, now)).count()
        };
        assert_eq!(admitted(bad, 0), 100);
        for _ in 1..STRIKES {
            penalties.strike(bad, begun);
        }
        assert_eq!(admitted(bad, 0), 100);
        penalties.strike(bad, begun);
        assert_eq!(admitted(bad, 0), 4);
        assert_eq!(admitted(good, 0), 100);
        assert_eq!(admitted(bad, 1), 1);
        assert_eq!(admitted(bad, 3), 2);
        penalties.strike(bad, begun + Duration::from_secs(10));
        assert_eq!(admitted(bad, 35), 4);
        assert_eq!(admitted(bad, 40), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_addresses_are_remembered_than_there_is_room_for() {
        let (penalties, now) = (Penalties::default(), Instant::now());
        for number in 0..3 * ADDRESSES_MAX {
            let octets = u32::try_from(number).unwrap_or_default().to_be_bytes();
            (0..STRIKES).for_each(|_| penalties.strike(Origin::of(octets.into()), now));
        }
        let remembered = penalties.0.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!((remembered.by_origin.len(), remembered.order.len()), (ADDRESSES_MAX, ADDRESSES_MAX));
    }
}
