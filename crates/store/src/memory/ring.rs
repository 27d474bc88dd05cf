//! The recent events of one resource: without a gap from its floor on, bounded by bytes, commits and age.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use imbl::Vector;

use crate::{Event, EventBatch};

/// What an event costs beyond its key and values.
const EVENT_OVERHEAD_BYTES: usize = 192;

/// How much a ring keeps; the older part is dropped first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RingLimits {
    pub(crate) commits_max: usize,
    pub(crate) bytes_max: usize,
    pub(crate) age_max: Duration,
}

/// As long as upstream's etcd keeps revisions, and no more than seconds of the heaviest load; one commit always fits.
pub(crate) const RING_LIMITS: RingLimits =
    RingLimits { commits_max: 102_400, bytes_max: 32 << 20, age_max: Duration::from_secs(5 * 60) };
/// Commits from the newest back that are looked at before the place of a revision is searched.
const STEPS_MAX: usize = 8;
/// Shortening leaves at least this much.
const BYTES_MIN: usize = 256 << 10;

/// The commits after `floor`.
#[derive(Clone)]
pub(super) struct Ring {
    limits: RingLimits,
    floor: u64,
    /// The newest commit's, so that each watcher that looks need not find it.
    newest: u64,
    bytes: usize,
    commits: Vector<Slot>,
    /// What came since all who wait were last woken.
    round: Round,
}

#[derive(Clone, Copy, Default)]
struct Round {
    bytes: usize,
    commits: usize,
    begun: Option<Instant>,
}

#[derive(Clone)]
struct Slot {
    at: Instant,
    batch: Arc<EventBatch>,
}

impl Ring {
    pub(super) fn new(floor: u64, limits: RingLimits) -> Ring {
        Ring { limits, floor, newest: floor, bytes: 0, commits: Vector::new(), round: Round::default() }
    }

    /// The revision after which nothing is missing.
    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    /// Whether something is there after a revision.
    pub(super) fn has_after(&self, revision: u64) -> bool {
        self.newest > revision
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.commits.len()
    }

    /// Takes a commit. Whether half of what fits has come since this was last true: then those who are not woken by every
    /// event must look at least once, or their place is gone although nothing of theirs is.
    pub(super) fn push(&mut self, batch: Arc<EventBatch>, now: Instant) -> bool {
        let bytes = batch_bytes(&batch);
        self.bytes += bytes;
        self.newest = batch.revision;
        self.commits.push_back(Slot { at: now, batch });
        let RingLimits { commits_max, bytes_max, age_max } = self.limits;
        while self.commits.len() > commits_max
            || self.bytes > bytes_max && self.commits.len() > 1
            || self.commits.front().is_some_and(|slot| now.duration_since(slot.at) > age_max)
        {
            self.drop_oldest();
        }
        let begun = *self.round.begun.get_or_insert(now);
        self.round.bytes += bytes;
        self.round.commits += 1;
        let is_half = self.round.bytes > bytes_max / 2
            || self.round.commits > commits_max / 2
            || now.duration_since(begun) > age_max / 2;
        if is_half {
            self.round = Round::default();
        }
        is_half
    }

    /// Keeps the newer half; whether anything went.
    pub(super) fn shorten(&mut self) -> bool {
        let target = (self.bytes / 2).max(BYTES_MIN);
        let before = self.commits.len();
        while self.bytes > target && !self.commits.is_empty() {
            self.drop_oldest();
        }
        self.commits.len() < before
    }

    fn drop_oldest(&mut self) {
        if let Some(Slot { batch, .. }) = self.commits.pop_front() {
            self.bytes -= batch_bytes(&batch);
            self.floor = batch.revision;
        }
    }

    /// The commits after a revision. Who is nearly up to date, as almost all are, finds them without a search.
    pub(super) fn after(&self, revision: u64) -> impl Iterator<Item = &Arc<EventBatch>> {
        let mut first = self.commits.len();
        for _ in 0..STEPS_MAX {
            match first.checked_sub(1).and_then(|before| self.commits.get(before)) {
                Some(slot) if slot.batch.revision > revision => first -= 1,
                _ => return self.from(first),
            }
        }
        self.from(match self.commits.binary_search_by_key(&revision, |slot| slot.batch.revision) {
            Ok(at) => at + 1,
            Err(at) => at,
        })
    }

    fn from(&self, first: usize) -> impl Iterator<Item = &Arc<EventBatch>> {
        (first..self.commits.len()).filter_map(|at| self.commits.get(at)).map(|slot| &slot.batch)
    }
}

/// What only the ring holds: values that were replaced. What is current belongs to the state, or to the next event.
fn batch_bytes(batch: &EventBatch) -> usize {
    let previous = |event: &Event| event.previous.as_ref().map_or(0, |entry| entry.bytes());
    batch.events.iter().map(|event| EVENT_OVERHEAD_BYTES + event.key.len() + previous(event)).sum()
}
