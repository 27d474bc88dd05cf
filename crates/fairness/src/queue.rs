//! The queues of a level, and whose turn it is: fair queuing by virtual time.
//!
//! Each queue has a virtual time at which its next request may start; a request moves it by its work, which is its seats times
//! the time it holds them, estimated at first and put right when it is over. The queue whose time is least is next, and its time
//! is then the level's. A queue that was empty starts at the level's time, so who did not ask saved nothing up, and who asks
//! for much pays by waiting while others take their turns. Work is counted the same whether it is wide or long.
//!
//! Upstream moves its virtual time (R) by the clock, the seats and the number of busy queues. Taking it from the request that
//! started last (start-time fair queuing) is as fair without knowing how many seats there will be, which borrowing changes at
//! any moment.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use crate::shuffle::Dealer;

/// Queues of a level at most, whatever its object says; each takes memory while the level lives.
const QUEUES_MAX: u32 = 4_096;
/// Queues of all levels together, as far as [`QUEUES_EACH`] allows: where there are many levels each has fewer.
const QUEUES_ALL_MAX: u32 = 65_536;
/// Queues that a level may have however many levels there are.
const QUEUES_EACH: u32 = 64;
/// Requests in a queue at most, whatever its object says.
pub(crate) const QUEUE_LEN_MAX: u32 = 4_096;
/// Requests that wait in one level at most.
pub(crate) const WAITING_MAX: usize = 65_536;
/// How long a request is thought to take before it is known.
pub(crate) const SERVICE_ESTIMATE: Duration = Duration::from_millis(3);

/// Returns how many queues each of so many levels may have.
pub(crate) fn queues_max(levels: usize) -> u32 {
    let part = u32::try_from(levels).map_or(0, |levels| QUEUES_ALL_MAX / levels.max(1));
    part.clamp(QUEUES_EACH, QUEUES_MAX)
}

/// Work in seat-microseconds.
pub(crate) fn work(seats: u64, time: Duration) -> u64 {
    seats.saturating_mul(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

/// A request in a queue.
#[derive(Debug)]
pub(crate) struct Entry<T> {
    /// Different for each request that waits.
    pub(crate) id: usize,
    /// Seats while it is served.
    pub(crate) initial: u64,
    /// Seats at its widest.
    pub(crate) widest: u64,
    /// What it is thought to take.
    pub(crate) work: u64,
    /// The request.
    pub(crate) item: T,
}

/// One queue as it stands.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    pub(crate) waiting: VecDeque<Entry<T>>,
    pub(crate) next_start: u64,
    pub(crate) executing: usize,
    pub(crate) seats_in_use: u64,
    seats_waiting: u64,
}

impl<T> Queue<T> {
    fn new() -> Self {
        Self { waiting: VecDeque::new(), next_start: 0, executing: 0, seats_in_use: 0, seats_waiting: 0 }
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.executing == 0 && self.seats_in_use == 0
    }
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct QueueSet<T> {
    /// More than are dealt while those too many drain.
    queues: Vec<Queue<T>>,
    dealer: Option<Dealer>,
    count: usize,
    length: usize,
    /// Queues in which somebody waits, by when they may start.
    order: BTreeSet<(u64, usize)>,
    virtual_time: u64,
    waiting: usize,
    seats_waiting: u64,
    hand: Vec<u32>,
}

impl<T> QueueSet<T> {
    pub(crate) fn new() -> Self {
        Self {
            queues: Vec::new(),
            dealer: None,
            count: 0,
            length: 0,
            order: BTreeSet::new(),
            virtual_time: 0,
            waiting: 0,
            seats_waiting: 0,
            hand: Vec::new(),
        }
    }

    /// Takes other numbers into force. Without queues nobody more may wait; those who do stay.
    pub(crate) fn configure(&mut self, queues: u32, hand: u32, length: u32) {
        let queues = queues.min(QUEUES_MAX);
        self.dealer = Dealer::new(queues, hand);
        self.count = queues as usize;
        self.length = length.clamp(1, QUEUE_LEN_MAX) as usize;
        while self.queues.len() < self.count {
            self.queues.push(Queue::new());
        }
        self.trim();
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    pub(crate) fn seats_waiting(&self) -> u64 {
        self.seats_waiting
    }

    pub(crate) fn queues(&self) -> &[Queue<T>] {
        &self.queues
    }

    /// Returns the queue of the flow's hand with the fewest seats waiting, of several the one that may start first; none where
    /// there are no queues.
    pub(crate) fn choose(&mut self, hash: u64) -> Option<usize> {
        self.dealer?.deal(hash, &mut self.hand);
        let load = |index: &usize| match self.queues.get(*index) {
            Some(queue) => (queue.seats_waiting, queue.next_start.max(self.virtual_time)),
            None => (u64::MAX, u64::MAX),
        };
        self.hand.iter().map(|card| *card as usize).min_by_key(load)
    }

    /// Puts a request at the end of a queue, and returns how many wait in it now; none when it is full.
    pub(crate) fn enqueue(&mut self, index: usize, entry: Entry<T>) -> Option<usize> {
        let full = self.waiting >= WAITING_MAX;
        let (virtual_time, length) = (self.virtual_time, self.length);
        if full || self.queues.get(index)?.waiting.len() >= length {
            return None;
        }
        self.waiting += 1;
        self.seats_waiting += entry.widest;
        self.change(index, |queue| {
            if queue.waiting.is_empty() {
                queue.next_start = queue.next_start.max(virtual_time);
            }
            queue.seats_waiting += entry.widest;
            queue.waiting.push_back(entry);
            queue.waiting.len()
        })
    }

    /// Returns the request whose turn it is.
    pub(crate) fn head(&self) -> Option<&Entry<T>> {
        let (_, index) = self.order.first()?;
        self.queues.get(*index)?.waiting.front()
    }

    /// Returns one that will wait long.
    pub(crate) fn farthest(&self) -> Option<&Entry<T>> {
        let (_, index) = self.order.last()?;
        self.queues.get(*index)?.waiting.back()
    }

    /// Starts the request whose turn it is, with this many seats.
    pub(crate) fn start_head(&mut self, seats: u64) -> Option<(usize, Entry<T>)> {
        let (start, index) = *self.order.first()?;
        let entry = self.change(index, |queue| {
            let entry = queue.waiting.pop_front()?;
            queue.seats_waiting = queue.seats_waiting.saturating_sub(entry.widest);
            queue.next_start = queue.next_start.saturating_add(entry.work);
            queue.executing += 1;
            queue.seats_in_use += seats;
            Some(entry)
        })??;
        self.virtual_time = self.virtual_time.max(start);
        self.forget(&entry);
        Some((index, entry))
    }

    /// Starts a request that need not wait.
    pub(crate) fn start(&mut self, index: usize, seats: u64, work: u64) {
        let virtual_time = self.virtual_time;
        let start = self.change(index, |queue| {
            let start = queue.next_start.max(virtual_time);
            queue.next_start = start.saturating_add(work);
            queue.executing += 1;
            queue.seats_in_use += seats;
            start
        });
        self.virtual_time = start.unwrap_or(virtual_time);
    }

    /// Takes out a request that waits no more.
    pub(crate) fn remove(&mut self, index: usize, id: usize) -> Option<Entry<T>> {
        let entry = self.change(index, |queue| {
            let at = queue.waiting.iter().position(|entry| entry.id == id)?;
            let entry = queue.waiting.remove(at)?;
            queue.seats_waiting = queue.seats_waiting.saturating_sub(entry.widest);
            Some(entry)
        })??;
        self.forget(&entry);
        self.trim();
        Some(entry)
    }

    /// A request of `initial` seats, which held `held`, is over after `took`; `last` seats stay taken for a while.
    pub(crate) fn finish(&mut self, index: usize, initial: u64, held: u64, last: u64, took: Duration) {
        self.change(index, |queue| {
            queue.next_start =
                (queue.next_start.saturating_add(work(initial, took))).saturating_sub(work(initial, SERVICE_ESTIMATE));
            queue.executing = queue.executing.saturating_sub(1);
            queue.seats_in_use = (queue.seats_in_use + last).saturating_sub(held);
        });
        self.trim();
    }

    /// Seats that stayed taken are free.
    pub(crate) fn free(&mut self, index: usize, seats: u64) {
        self.change(index, |queue| queue.seats_in_use = queue.seats_in_use.saturating_sub(seats));
        self.trim();
    }

    fn forget(&mut self, entry: &Entry<T>) {
        self.waiting = self.waiting.saturating_sub(1);
        self.seats_waiting = self.seats_waiting.saturating_sub(entry.widest);
    }

    /// Changes a queue and keeps its place in the order right.
    fn change<R>(&mut self, index: usize, change: impl FnOnce(&mut Queue<T>) -> R) -> Option<R> {
        let queue = self.queues.get_mut(index)?;
        let before = (!queue.waiting.is_empty()).then_some((queue.next_start, index));
        let result = change(queue);
        let after = (!queue.waiting.is_empty()).then_some((queue.next_start, index));
        if before != after {
            if let Some(place) = before {
                self.order.remove(&place);
            }
            if let Some(place) = after {
                self.order.insert(place);
            }
        }
        Some(result)
    }

    /// Queues too many go when nothing is left of them, from the end, so the places of others stay.
    fn trim(&mut self) {
        while self.queues.len() > self.count && self.queues.last().is_some_and(Queue::is_idle) {
            self.queues.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: usize, seats: u64) -> Entry<usize> {
        Entry { id, initial: seats, widest: seats, work: work(seats, SERVICE_ESTIMATE), item: id }
    }

    fn set(queues: u32, length: u32) -> QueueSet<usize> {
        let mut set = QueueSet::new();
        set.configure(queues, 1, length);
        set
    }

    fn starts(set: &mut QueueSet<usize>) -> Vec<usize> {
        let mut ids = Vec::new();
        while let Some(seats) = set.head().map(|head| head.initial) {
            ids.extend(set.start_head(seats).map(|(_, entry)| entry.id));
        }
        ids
    }

    #[test]
    fn many_levels_have_fewer_queues_each() {
        let check = |levels: usize, expected: u32| assert_eq!(queues_max(levels), expected, "{levels}");
        check(0, 4_096);
        check(8, 4_096);
        check(16, 4_096);
        check(17, 3_855);
        check(1_000, 65);
        check(100_000, 64);
    }

    #[test]
    fn queues_take_turns_by_the_work_they_bring() {
        let mut set = set(2, 50);
        for id in 0..6 {
            assert!(set.enqueue(0, entry(id, 1)).is_some());
        }
        for id in 10..13 {
            assert!(set.enqueue(1, entry(id, 2)).is_some());
        }
        assert_eq!((set.waiting(), set.seats_waiting()), (9, 12));
        assert_eq!(starts(&mut set), [0, 10, 1, 2, 11, 3, 4, 12, 5]);
        assert_eq!((set.waiting(), set.seats_waiting()), (0, 0));
    }

    #[test]
    fn who_did_not_ask_has_saved_nothing_up() {
        let mut set = set(2, 500);
        for id in 0..100 {
            set.enqueue(0, entry(id, 1));
        }
        for _ in 0..90 {
            set.start_head(1);
        }
        for id in 200..210 {
            set.enqueue(1, entry(id, 1));
        }
        let order = starts(&mut set);
        let first: Vec<bool> = order.iter().take(10).map(|id| *id >= 200).collect();
        assert_eq!(first.iter().filter(|late| **late).count(), 5, "{order:?}");
    }

    #[test]
    fn who_takes_longer_than_thought_waits_longer() {
        let mut set = set(2, 50);
        set.start(0, 1, work(1, SERVICE_ESTIMATE));
        set.finish(0, 1, 1, 0, Duration::from_millis(30));
        for id in 0..3 {
            set.enqueue(0, entry(id, 1));
            set.enqueue(1, entry(10 + id, 1));
        }
        assert_eq!(starts(&mut set), [10, 11, 12, 0, 1, 2]);
    }

    #[test]
    fn a_full_queue_takes_nobody_and_one_that_leaves_makes_room() {
        let mut set = set(1, 2);
        assert_eq!(set.enqueue(0, entry(1, 1)), Some(1));
        assert_eq!(set.enqueue(0, entry(2, 1)), Some(2));
        assert_eq!(set.enqueue(0, entry(3, 1)), None);
        assert_eq!(set.remove(0, 1).map(|entry| entry.id), Some(1));
        assert!(set.remove(0, 1).is_none());
        assert_eq!(set.enqueue(0, entry(4, 1)), Some(2));
        assert_eq!(starts(&mut set), [2, 4]);
    }

    #[test]
    fn queues_too_many_drain() {
        let mut set = set(4, 10);
        set.enqueue(3, entry(1, 1));
        set.start(2, 1, 3_000);
        set.configure(1, 1, 10);
        assert_eq!(set.queues().len(), 4);
        assert_eq!(starts(&mut set), [1]);
        set.finish(3, 1, 1, 2, Duration::ZERO);
        assert_eq!(set.queues().len(), 4, "seats that linger keep their queue");
        set.free(3, 2);
        assert_eq!(set.queues().len(), 3);
        set.finish(2, 1, 1, 0, Duration::ZERO);
        assert_eq!(set.queues().len(), 1);
        set.configure(0, 1, 10);
        assert_eq!((set.queues().len(), set.choose(7)), (0, None));
    }
}
