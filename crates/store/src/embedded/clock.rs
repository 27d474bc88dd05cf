//! What time it is, and what is due.
//!
//! The file says when an entry is to be removed by the clock on the wall, because nothing else goes on while the process is down. But
//! clocks on walls are set. So it is asked only when a row is written and once at the start, and from there on the time that passes is
//! counted: setting the clock while the server runs removes nothing early and keeps nothing longer. At a start nobody can tell a
//! clock that was set from a server that was down. What is then left to an entry is never more than its whole life, so a clock that
//! went back costs one life at most; a clock that went forward costs what it went forward, of entries that are for a while anyway.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::Key;

/// What time it is. Tests have their own.
pub trait Clock: Send + Sync + 'static {
    /// Time since 1970, as the clock on the wall says; it may be set.
    fn wall(&self) -> Duration;

    /// Time that has passed since some moment; it never jumps.
    fn elapsed(&self) -> Duration;

    /// Whether the engine looks by itself what time it is. Tests say when it looks, so that each run is the same.
    #[doc(hidden)]
    fn is_ticking(&self) -> bool {
        true
    }
}

/// The system's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock(Instant);

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock(Instant::now())
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// When entries are to be removed, in time that has passed. It holds one moment a key.
#[derive(Default)]
pub(super) struct Deadlines {
    by_key: HashMap<Key, Duration>,
    by_time: BTreeSet<(Duration, Key)>,
}

impl Deadlines {
    /// Gives a key its moment in the place of the one that it has, or takes that away.
    pub(super) fn set(&mut self, key: &Key, at: Option<Duration>) {
        if at.is_none() && self.by_key.is_empty() {
            return;
        }
        let before = match at {
            Some(at) => self.by_key.insert(key.clone(), at),
            None => self.by_key.remove(key),
        };
        if let Some(before) = before {
            self.by_time.remove(&(before, key.clone()));
        }
        if let Some(at) = at {
            self.by_time.insert((at, key.clone()));
        }
    }

    /// The moment of a key.
    pub(super) fn get(&self, key: &Key) -> Option<Duration> {
        self.by_key.get(key).copied()
    }

    /// Keys whose moment has come, the oldest first.
    pub(super) fn due(&self, now: Duration, count_max: usize) -> Vec<Key> {
        self.by_time.iter().take_while(|(at, _)| *at <= now).take(count_max).map(|(_, key)| key.clone()).collect()
    }

    /// Whether any moment has come.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        self.by_time.first().is_some_and(|(at, _)| *at <= now)
    }
}

/// How much of its life is left to what expires then.
pub(super) fn left(expires: u64, wall: Duration, lifetime: Option<Duration>) -> Duration {
    let left = Duration::from_secs(expires).saturating_sub(wall);
    lifetime.map_or(left, |lifetime| left.min(lifetime))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn deadlines() {
        let mut deadlines = Deadlines::default();
        let key = |name: &str| Key::from(name);
        deadlines.set(&key("a"), None);
        for (name, at) in [("c", 3), ("a", 1), ("b", 2)] {
            deadlines.set(&key(name), Some(at * SECOND));
        }
        let check = |deadlines: &Deadlines, now: u32, max: usize, expected: &[&str]| {
            let due = deadlines.due(now * SECOND, max);
            assert_eq!(due.iter().map(|key| &**key).collect::<Vec<_>>(), expected, "at {now}");
            assert_eq!(deadlines.is_due(now * SECOND), !expected.is_empty());
        };
        check(&deadlines, 0, 9, &[]);
        check(&deadlines, 2, 9, &["a", "b"]);
        check(&deadlines, 3, 2, &["a", "b"]);
        deadlines.set(&key("a"), Some(3 * SECOND));
        deadlines.set(&key("b"), None);
        check(&deadlines, 2, 9, &[]);
        check(&deadlines, 3, 9, &["a", "c"]);
        assert_eq!((deadlines.by_key.len(), deadlines.by_time.len()), (2, 2));
    }

    #[test]
    fn what_is_left_of_a_life() {
        let check = |expires: u64, wall: u64, lifetime: Option<Duration>, expected: u64| {
            assert_eq!(left(expires, Duration::from_secs(wall), lifetime), Duration::from_secs(expected));
        };
        check(10_000, 9_000, Some(HOUR), 1_000);
        check(10_000, 10_000, Some(HOUR), 0);
        // The server was down for long, or the clock went forward.
        check(10_000, 90_000, Some(HOUR), 0);
        // The clock went back.
        check(10_000, 1_000, Some(HOUR), 3_600);
        check(u64::MAX, 1_000, Some(HOUR), 3_600);
        check(10_000, 1_000, None, 9_000);
    }
}
