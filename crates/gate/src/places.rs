//! The places of connections after their handshake: how many there are, and how many one address may have of them.
//!
//! Many clients may share one address (a NAT, a load balancer), so an address may have as many places as it likes while there
//! are enough. Once most are taken, one that has its share gets no more: whoever fills the house fills it for themselves.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::addresses::Origin;

/// With so many of four parts taken, addresses are held to their share.
const CROWDED_QUARTERS: usize = 3;
/// The share of an address is one part of so many.
const SHARES: usize = 8;
/// The share of an address is never less.
const SHARE_MIN: usize = 16;

/// See the module's text.
pub(crate) struct Places {
    max: usize,
    share: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by_origin: HashMap<Origin, usize>,
}

impl Taken {
    fn add(&mut self, origin: Origin) {
        self.all += 1;
        *self.by_origin.entry(origin).or_default() += 1;
    }
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// All are taken.
    Full,
    /// Few are left, and the address has its share.
    ShareTaken,
}

impl NoPlace {
    /// Whose place would do: anybody's, or only one of the same address.
    pub(crate) fn of(self, origin: Origin) -> Option<Origin> {
        match self {
            Self::Full => None,
            Self::ShareTaken => Some(origin),
        }
    }
}

/// The place of one connection, until it is dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    origin: Origin,
}

impl Places {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, share: (max / SHARES).max(SHARE_MIN), taken: Mutex::default() })
    }

    /// Says whether a claim would be granted now.
    pub(crate) fn has_room(&self, origin: Origin) -> Result<(), NoPlace> {
        self.judge(&self.taken(), origin)
    }

    /// Takes a place.
    pub(crate) fn claim(self: &Arc<Self>, origin: Origin) -> Result<Place, NoPlace> {
        let mut taken = self.taken();
        self.judge(&taken, origin)?;
        taken.add(origin);
        drop(taken);
        Ok(Place { places: Arc::clone(self), origin })
    }

    /// Takes the place of one that was told to go, and is gone in a moment.
    pub(crate) fn claim_of_another(self: &Arc<Self>, origin: Origin) -> Place {
        self.taken().add(origin);
        Place { places: Arc::clone(self), origin }
    }

    fn judge(&self, taken: &Taken, origin: Origin) -> Result<(), NoPlace> {
        let is_crowded = taken.all * 4 >= self.max * CROWDED_QUARTERS;
        let own = taken.by_origin.get(&origin).copied().unwrap_or_default();
        if is_crowded && own >= self.share {
            return Err(NoPlace::ShareTaken);
        }
        if taken.all >= self.max {
            return Err(NoPlace::Full);
        }
        Ok(())
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all = taken.all.saturating_sub(1);
        if let Entry::Occupied(mut own) = taken.by_origin.entry(self.origin) {
            *own.get_mut() = own.get().saturating_sub(1);
            if *own.get() == 0 {
                own.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn one_address_fills_the_house_only_while_others_have_room() {
        let places = Places::new(160);
        let origin = |last: u8| Origin::of([192, 0, 2, last].into());
        let mut held = Vec::new();
        // 160 places: crowded from 120 on, a share of 20.
        for _ in 0..120 {
            held.push(places.claim(origin(1)).unwrap());
        }
        assert_eq!(places.claim(origin(1)).err(), Some(NoPlace::ShareTaken));
        for last in [2, 3] {
            for _ in 0..20 {
                held.push(places.claim(origin(last)).unwrap());
            }
        }
        assert_eq!(places.claim(origin(4)).err(), Some(NoPlace::Full));
        assert_eq!(places.has_room(origin(4)), Err(NoPlace::Full));
        held.remove(0);
        assert_eq!(places.claim(origin(2)).err(), Some(NoPlace::ShareTaken));
        held.push(places.claim(origin(4)).unwrap());
        held.clear();
        assert_eq!(places.taken().by_origin.len(), 0);
        assert!(places.claim(origin(1)).is_ok());
    }
}
