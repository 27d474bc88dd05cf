//! What a level decides: who gets seats, who waits, who is refused. No lock, no clock, no I/O: the time and the pool are given.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::SATED;
use crate::configuration::{self, LevelKind, Overload};
use crate::demand::{Demand, Figures};
use crate::dispatcher::RejectedBecause;
use crate::limits::Limits;
use crate::pool::{Pool, signed};
use crate::queue::{Entry, QueueSet, SERVICE_ESTIMATE, work};
use crate::retry_after::Refusals;
use crate::seat::{NOWHERE, Request, Stage};

/// The scale of appetites: a level that would use just its own has this one.
const APPETITE_OF_ITS_OWN: u64 = 1 << 20;
/// The appetite of a level that has nothing of its own.
const APPETITE_OF_BEGGARS: u64 = SATED - 1;
/// Final seats are not held longer, whatever is asked for.
const LINGER_MAX: Duration = Duration::from_secs(60);
/// Seats of a watch that tells its beginning are not held longer. Other requests have a deadline; a watch has none, and a client that
/// does not read it must not keep others from being served.
const WATCH_HELD_MAX: Duration = Duration::from_secs(60);
/// Between two looks at who holds seats for too long.
const SWEEP: Duration = Duration::from_secs(1);
/// Places of served requests that are kept when none is taken.
const PLACES_KEPT: usize = 1_024;

/// What became of a request that came.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arrival {
    /// It has seats.
    Seated,
    /// It waits among this many, itself one of them.
    Waits { queue_len: u32 },
    /// It gets nothing.
    Refused { because: RejectedBecause, retry_after: u32 },
    /// The level is no more.
    Gone,
}

/// Who must hear of a change.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// They have seats.
    pub(crate) seated: Vec<Arc<Request>>,
    /// They have seats no more, and held them for so long.
    pub(crate) overdue: Vec<(Arc<Request>, Duration)>,
    /// It is to look after the level's time from now on.
    pub(crate) keeper: Option<Arc<Request>>,
}

/// What a level counted since it is there.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) dispatched: u64,
    pub(crate) rejected: u64,
    pub(crate) timed_out: u64,
    pub(crate) cancelled: u64,
}

/// Seats that a request left taken, until when; the earliest first in a heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Lingering {
    until: Instant,
    seats: u64,
    queue: usize,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct State {
    config: Arc<configuration::Level>,
    limits: Limits,
    in_use: u64,
    executing: usize,
    /// Not more than there are seats in use.
    lingering: BinaryHeap<Reverse<Lingering>>,
    queues: QueueSet<Arc<Request>>,
    /// Requests that are served, for who wants to see them.
    places: Vec<Option<Arc<Request>>>,
    vacant: Vec<usize>,
    seated: Vec<Arc<Request>>,
    overdue: Vec<(Arc<Request>, Duration)>,
    swept: Instant,
    keeper: Option<Arc<Request>>,
    demand: Demand,
    refusals: Refusals,
    totals: Totals,
    is_quiescing: bool,
    is_gone: bool,
}

impl State {
    pub(crate) fn new(config: Arc<configuration::Level>, now: Instant) -> Self {
        Self {
            config,
            limits: Limits::default(),
            in_use: 0,
            executing: 0,
            lingering: BinaryHeap::new(),
            queues: QueueSet::new(),
            places: Vec::new(),
            vacant: Vec::new(),
            seated: Vec::new(),
            overdue: Vec::new(),
            swept: now,
            keeper: None,
            demand: Demand::new(now),
            refusals: Refusals::new(now),
            totals: Totals::default(),
            is_quiescing: false,
            is_gone: false,
        }
    }

    pub(crate) fn config(&self) -> &Arc<configuration::Level> {
        &self.config
    }

    pub(crate) fn is_quiescing(&self) -> bool {
        self.is_quiescing
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.executing == 0 && self.queues.waiting() == 0
    }

    /// Whether a level that is no longer configured has nothing left to do.
    pub(crate) fn is_drained(&self) -> bool {
        self.is_quiescing && !self.is_gone && self.is_empty()
    }

    pub(crate) fn executing(&self) -> usize {
        self.executing
    }

    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }

    pub(crate) fn queues(&self) -> &QueueSet<Arc<Request>> {
        &self.queues
    }

    /// Requests that are served, in no order that means anything.
    pub(crate) fn served(&self) -> impl Iterator<Item = &Arc<Request>> {
        self.places.iter().flatten()
    }

    #[cfg(test)]
    pub(crate) fn in_use(&self) -> u64 {
        self.in_use
    }

    #[cfg(test)]
    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// What the next request needs of the pool.
    #[cfg(test)]
    pub(crate) fn next_cost(&self) -> i64 {
        self.queues.head().map_or(0, |head| signed(self.cost(head.widest.min(self.width_max()))))
    }

    /// Counts everything again, and returns what the pool has of this level's own.
    #[cfg(test)]
    pub(crate) fn recount(&self) -> i64 {
        let served: u64 = self.served().map(|request| request.seats().0).sum();
        let lingering: u64 = self.lingering.iter().map(|Reverse(lingering)| lingering.seats).sum();
        assert_eq!(self.in_use, served + lingering, "seats in use of {}", self.config.name);
        assert_eq!(self.executing, self.served().count());
        assert_eq!(self.queues.waiting(), self.queues.queues().iter().map(|queue| queue.waiting.len()).sum::<usize>());
        let is_keeper_there = self.keeper.as_ref().is_some_and(|keeper| keeper.stage() == Stage::Waiting);
        assert_eq!(is_keeper_there, self.queues.waiting() > 0, "somebody keeps the time while there are some who wait");
        signed(self.limits.nominal) - signed(self.committed(self.in_use))
    }

    /// What the level uses or could use at this moment.
    pub(crate) fn seats_at_hand(&self, pool: &Pool) -> u64 {
        let free = u64::try_from(pool.free()).unwrap_or(0);
        (self.in_use.max(self.limits.lower) + free).min(self.limits.upper.max(self.in_use))
    }

    pub(crate) fn demand(&mut self, now: Instant) -> Figures {
        self.demand.figures(now)
    }

    fn is_exempt(&self) -> bool {
        self.config.kind == LevelKind::Exempt
    }

    fn is_empty(&self) -> bool {
        self.in_use == 0 && self.is_idle()
    }

    /// What is not the pool's when this many seats are in use. Exempt requests take what they want, but of others' seats
    /// nothing.
    fn committed(&self, in_use: u64) -> u64 {
        let at_least = in_use.max(self.limits.lower);
        if self.is_exempt() { at_least.min(self.limits.nominal) } else { at_least }
    }

    /// A request as wide as all own seats can get them; a wider one never could without taking others' own.
    fn width_max(&self) -> u64 {
        self.limits.nominal.max(1)
    }

    fn cost(&self, seats: u64) -> u64 {
        self.committed(self.in_use + seats) - self.committed(self.in_use)
    }

    /// Changes the seats in use to what they are now, and settles that with the pool.
    fn set_in_use(&mut self, in_use: u64, pool: &Pool) {
        let before = signed(self.committed(self.in_use));
        self.in_use = in_use;
        pool.give(before - signed(self.committed(in_use)));
    }

    pub(crate) fn configure(
        &mut self,
        config: Arc<configuration::Level>,
        limits: Limits,
        queues_max: u32,
        pool: &Pool,
    ) {
        let lent = |state: &State| signed(state.limits.nominal) - signed(state.committed(state.in_use));
        let before = lent(self);
        (self.config, self.limits) = (config, limits);
        pool.give(lent(self) - before);
        match self.config.kind {
            LevelKind::Limited { overload: Overload::Queue { queues, hand_size, queue_length }, .. } => {
                self.queues.configure(queues.clamp(1, queues_max), hand_size, queue_length);
            }
            LevelKind::Limited { overload: Overload::Reject, .. } | LevelKind::Exempt => {
                self.queues.configure(0, 1, 1);
            }
        }
    }

    /// Whether the level is no longer configured.
    pub(crate) fn set_quiescing(&mut self, is_quiescing: bool) {
        self.is_quiescing = is_quiescing;
    }

    /// Ends the level if it is empty; its seats are no longer the pool's.
    pub(crate) fn retire(&mut self, pool: &Pool) -> bool {
        if !self.is_gone && self.is_empty() {
            self.is_gone = true;
            pool.give(signed(self.committed(0)) - signed(self.limits.nominal));
            self.limits = Limits::default();
        }
        self.is_gone
    }

    /// Frees the seats that lingered until now, and those of watches that hold them for too long.
    pub(crate) fn settle(&mut self, now: Instant, pool: &Pool) {
        if now.saturating_duration_since(self.swept) >= SWEEP {
            self.swept = now;
            self.sweep(now, pool);
        }
        while let Some(Reverse(first)) = self.lingering.peek().copied() {
            if first.until > now {
                break;
            }
            self.lingering.pop();
            self.set_in_use(self.in_use.saturating_sub(first.seats), pool);
            self.queues.free(first.queue, first.seats);
        }
    }

    fn sweep(&mut self, now: Instant, pool: &Pool) {
        let is_overdue = |request: &&Arc<Request>| {
            let started = request.started.get().copied().unwrap_or(now);
            request.is_watch() && now.saturating_duration_since(started) >= WATCH_HELD_MAX
        };
        let overdue: Vec<_> = self.served().filter(is_overdue).cloned().collect();
        for request in overdue {
            if let Some(took) = self.finish(&request, pool, now) {
                self.overdue.push((request, took));
            }
        }
    }

    /// A request comes.
    pub(crate) fn arrive(&mut self, request: &Arc<Request>, hash: u64, pool: &Pool, now: Instant) -> Arrival {
        if self.is_gone {
            return Arrival::Gone;
        }
        if self.is_exempt() {
            let seats = u64::from(widest(request));
            self.set_in_use(self.in_use + seats, pool);
            return self.seated_at_once(request, seats, NOWHERE, now);
        }
        let seats = u64::from(widest(request)).min(self.width_max());
        // Nobody is overtaken: neither who waits here nor a level that waits for the pool.
        let is_first = self.queues.waiting() == 0 && (self.cost(seats) == 0 || !pool.is_wanted());
        let Some(queue) = self.queues.choose(hash) else {
            // Who cannot wait for what is its own takes it when it is there.
            let may = is_first || self.in_use + seats <= self.limits.nominal;
            return match may && self.take(seats, Some(pool)) {
                true => self.seated_at_once(request, seats, NOWHERE, now),
                false => self.refused(RejectedBecause::ConcurrencyLimit, now),
            };
        };
        if is_first && self.take(seats, Some(pool)) {
            self.queues.start(queue, seats, self.estimate(request));
            return self.seated_at_once(request, seats, queue, now);
        }
        request.set_queue(queue);
        match self.queues.enqueue(queue, self.entry(request)) {
            Some(queue_len) => {
                request.meter.inqueue_requests.inc();
                request.meter.inqueue_seats.add(i64::from(widest(request)));
                Arrival::Waits { queue_len: u32::try_from(queue_len).unwrap_or(u32::MAX) }
            }
            None => self.refused(RejectedBecause::QueueFull, now),
        }
    }

    fn seated_at_once(&mut self, request: &Arc<Request>, seats: u64, queue: usize, now: Instant) -> Arrival {
        self.seat(request, seats, queue, now);
        Arrival::Seated
    }

    fn refused(&mut self, because: RejectedBecause, now: Instant) -> Arrival {
        self.totals.rejected += 1;
        Arrival::Refused { because, retry_after: self.refusals.record(now) }
    }

    fn estimate(&self, request: &Request) -> u64 {
        let cap = self.width_max();
        let initial = u64::from(request.width.initial.max(1)).min(cap);
        let last = u64::from(request.width.r#final).min(cap);
        work(initial, SERVICE_ESTIMATE).saturating_add(work(last, request.width.linger.min(LINGER_MAX)))
    }

    fn entry(&self, request: &Arc<Request>) -> Entry<Arc<Request>> {
        Entry {
            id: id(request),
            initial: u64::from(request.width.initial),
            widest: u64::from(widest(request)),
            work: self.estimate(request),
            item: Arc::clone(request),
        }
    }

    /// Takes seats if there are as many; without the pool, only those that are kept for this level.
    fn take(&mut self, seats: u64, pool: Option<&Pool>) -> bool {
        if self.in_use + seats > self.limits.upper {
            return false;
        }
        let cost = self.cost(seats);
        if cost > 0 && !pool.is_some_and(|pool| pool.take(cost)) {
            return false;
        }
        self.in_use += seats;
        true
    }

    /// Notes that a request is served; its seats are taken.
    fn seat(&mut self, request: &Arc<Request>, seats: u64, queue: usize, now: Instant) {
        self.executing += 1;
        self.totals.dispatched += 1;
        let place = self.vacant.pop().unwrap_or(self.places.len());
        match self.places.get_mut(place) {
            Some(vacant) => *vacant = Some(Arc::clone(request)),
            None => self.places.push(Some(Arc::clone(request))),
        }
        request.set_place(place);
        request.set_queue(queue);
        request.set_seats(seats, u64::from(request.width.r#final).min(seats));
        let _ = request.started.set(now);
        request.set_stage(Stage::Seated);
    }

    /// A request is served no more; returns how long it was. None if that was said before.
    pub(crate) fn finish(&mut self, request: &Arc<Request>, pool: &Pool, now: Instant) -> Option<Duration> {
        if request.stage() != Stage::Seated {
            return None;
        }
        request.set_stage(Stage::Over);
        self.executing = self.executing.saturating_sub(1);
        if let Some(place) = self.places.get_mut(request.place()) {
            *place = None;
            self.vacant.push(request.place());
        }
        if self.executing == 0 && self.places.len() > PLACES_KEPT {
            (self.places, self.vacant) = (Vec::new(), Vec::new());
        }
        let took = now.saturating_duration_since(request.started.get().copied().unwrap_or(now));
        let (held, last) = request.seats();
        let lingers = last > 0 && request.width.linger > Duration::ZERO;
        let last = if lingers { last } else { 0 };
        if lingers {
            let until = now + request.width.linger.min(LINGER_MAX);
            self.lingering.push(Reverse(Lingering { until, seats: last, queue: request.queue() }));
        }
        self.set_in_use((self.in_use + last).saturating_sub(held), pool);
        let initial = u64::from(request.width.initial).min(held);
        self.queues.finish(request.queue(), initial, held, last, took);
        Some(took)
    }

    /// A request waits no more; returns the seconds after which it should come back. None if it does not wait.
    pub(crate) fn withdraw(&mut self, request: &Arc<Request>, because: RejectedBecause, now: Instant) -> Option<u32> {
        if request.stage() != Stage::Waiting {
            return None;
        }
        self.queues.remove(request.queue(), id(request))?;
        leave_queue(request);
        request.set_stage(Stage::Over);
        self.totals.rejected += 1;
        match because {
            RejectedBecause::TimeOut => self.totals.timed_out += 1,
            RejectedBecause::Cancelled => {
                self.totals.cancelled += 1;
                return Some(1);
            }
            RejectedBecause::QueueFull | RejectedBecause::ConcurrencyLimit => (),
        }
        Some(self.refusals.record(now))
    }

    /// Seats the request whose turn it is, if its seats are there. No other is served before it, however narrow.
    fn serve(&mut self, pool: Option<&Pool>, now: Instant) -> bool {
        let Some(head) = self.queues.head() else { return false };
        let seats = head.widest.min(self.width_max());
        if !self.take(seats, pool) {
            return false;
        }
        let Some((queue, entry)) = self.queues.start_head(seats) else { return false };
        leave_queue(&entry.item);
        self.seat(&entry.item, seats, queue, now);
        self.seated.push(entry.item);
        true
    }

    /// Seats the next request with lent seats.
    pub(crate) fn serve_from_pool(&mut self, pool: &Pool, now: Instant) -> bool {
        self.serve(Some(pool), now)
    }

    /// Seats everybody who needs nothing from the pool, and appoints a keeper where one is missing.
    pub(crate) fn follow_up(&mut self, now: Instant) -> Effects {
        while self.serve(None, now) {}
        self.demand.set(self.in_use + self.queues.seats_waiting(), now);
        let mut effects = Effects {
            seated: std::mem::take(&mut self.seated),
            overdue: std::mem::take(&mut self.overdue),
            keeper: None,
        };
        if self.keeper.as_ref().is_none_or(|keeper| keeper.stage() != Stage::Waiting) {
            self.keeper = self.queues.farthest().map(|entry| Arc::clone(&entry.item));
            if let Some(keeper) = &self.keeper {
                keeper.set_keeps(true);
                effects.keeper = Some(Arc::clone(keeper));
            }
        }
        effects
    }

    /// How much of its own the level would use with the next request, if that waits for the pool.
    pub(crate) fn appetite(&self) -> u64 {
        let Some(head) = self.queues.head() else { return SATED };
        let seats = head.widest.min(self.width_max());
        let in_use = self.in_use + seats;
        if in_use > self.limits.upper || self.cost(seats) == 0 {
            return SATED;
        }
        let part = in_use.saturating_mul(APPETITE_OF_ITS_OWN).checked_div(self.limits.nominal);
        part.unwrap_or(APPETITE_OF_BEGGARS).min(APPETITE_OF_BEGGARS)
    }
}

fn widest(request: &Request) -> u32 {
    request.width.initial.max(request.width.r#final).max(1)
}

fn leave_queue(request: &Request) {
    request.meter.inqueue_requests.dec();
    request.meter.inqueue_seats.sub(i64::from(widest(request)));
}

/// Where a request lies tells it from all others that wait.
fn id(request: &Arc<Request>) -> usize {
    Arc::as_ptr(request).addr()
}
