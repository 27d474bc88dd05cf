//! A level of priority: one lock around its seats and queues, and the wait for a turn.
//!
//! What is decided stands in [`state`], without locks and without I/O. Here it is done under the lock, and told after it: who got
//! seats is woken, figures are counted, and when the pool of lent seats may have something for others, the hub is asked to share
//! it out. Nothing is awaited while a lock is held.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use crate::configuration;
use crate::dispatcher::RejectedBecause;
use crate::hub::Hub;
use crate::limits::Limits;
use crate::metrics::{FlowMeter, LevelMeter};
use crate::pool::{Pool, signed};
use crate::seat::{Request, Stage};

mod state;

pub(crate) use state::{Arrival, State};

/// How often one of those who wait looks whether seats that lingered are free. Everything else is told at once.
const TICK: Duration = Duration::from_millis(10);
/// The appetite of a level that wants nothing from the pool.
pub(crate) const SATED: u64 = u64::MAX;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Level {
    name: String,
    pool: Arc<Pool>,
    hub: Weak<Hub>,
    /// How much of its own the level would use with the next request that needs the pool: the less, the sooner it gets it.
    appetite: AtomicU64,
    meter: LevelMeter,
    flows: ArcSwap<HashMap<String, Arc<FlowMeter>>>,
    /// Counts, for nobody to see, what comes from schemas that are not (yet, or any more) configured for this level.
    unlisted: Arc<FlowMeter>,
    state: Mutex<State>,
}

/// Why a wait ended without a seat, and what the client is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal {
    pub(crate) because: RejectedBecause,
    pub(crate) retry_after: u32,
}

impl Level {
    pub(crate) fn new(
        config: &Arc<configuration::Level>,
        pool: &Arc<Pool>,
        hub: Weak<Hub>,
        meter: LevelMeter,
        unlisted: &Arc<FlowMeter>,
        now: Instant,
    ) -> Arc<Self> {
        Arc::new(Self {
            name: config.name.clone(),
            pool: Arc::clone(pool),
            hub,
            appetite: AtomicU64::new(SATED),
            meter,
            flows: ArcSwap::default(),
            unlisted: Arc::clone(unlisted),
            state: Mutex::new(State::new(Arc::clone(config), now)),
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn appetite(&self) -> u64 {
        self.appetite.load(Ordering::SeqCst)
    }

    /// The handles of a flow schema.
    pub(crate) fn flow(&self, schema: &str) -> Arc<FlowMeter> {
        Arc::clone(self.flows.load().get(schema).unwrap_or(&self.unlisted))
    }

    pub(crate) fn set_flows(&self, flows: HashMap<String, Arc<FlowMeter>>) {
        self.flows.store(Arc::new(flows));
    }

    pub(crate) fn flows(&self) -> Arc<HashMap<String, Arc<FlowMeter>>> {
        self.flows.load_full()
    }

    /// The state as it is. Whoever changes it uses [`Level::change`].
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // A panic under the lock is a bug of ours that must not stop all requests of the level.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request comes. It has seats, waits, or is refused; none when the level is gone.
    pub(crate) fn arrive(&self, request: &Arc<Request>, hash: u64) -> Option<Result<(), Refusal>> {
        let now = request.arrived;
        let arrival = self.change(now, |state, pool| state.arrive(request, hash, pool, now));
        let widest = request.width.initial.max(request.width.r#final);
        request.meter.work_seats.observe(f64::from(widest));
        match arrival {
            Arrival::Gone => None,
            Arrival::Seated => {
                self.count_seated(request);
                Some(Ok(()))
            }
            Arrival::Waits { queue_len } => {
                request.meter.no_accommodation.inc();
                request.meter.queue_len.observe(f64::from(queue_len));
                Some(Ok(()))
            }
            Arrival::Refused { because, retry_after } => {
                request.meter.rejected(because);
                Some(Err(Refusal { because, retry_after }))
            }
        }
    }

    /// Waits until the request has seats, at most until `deadline`. When this future is dropped, the request leaves its queue.
    pub(crate) async fn wait(&self, request: &Arc<Request>, deadline: Instant) -> Result<(), Refusal> {
        let mut wait = Wait { level: self, request, is_over: false };
        loop {
            if request.stage() != Stage::Waiting {
                break;
            }
            let wake = if request.keeps() { deadline.min(Instant::now() + TICK) } else { deadline };
            let _ = tokio::time::timeout_at(wake, request.turn.notified()).await;
            let now = Instant::now();
            if request.stage() == Stage::Waiting && now >= deadline {
                if let Some(retry_after) = self.withdraw(request, RejectedBecause::TimeOut, now) {
                    wait.is_over = true;
                    return Err(Refusal { because: RejectedBecause::TimeOut, retry_after });
                }
            } else if request.keeps()
                && let Some(hub) = self.hub.upgrade()
            {
                hub.tick(now);
            }
        }
        wait.is_over = true;
        Ok(())
    }

    /// Takes a request out of its queue, and returns the seconds after which it should come back; none when it has seats.
    fn withdraw(&self, request: &Arc<Request>, because: RejectedBecause, now: Instant) -> Option<u32> {
        let retry_after = self.change(now, |state, _| state.withdraw(request, because, now))?;
        request.meter.rejected(because);
        let waited = now.saturating_duration_since(request.arrived);
        request.meter.waited_in_vain.observe(waited.as_secs_f64());
        Some(retry_after)
    }

    /// A request is over.
    pub(crate) fn finish(&self, request: &Arc<Request>, now: Instant) {
        if let Some(took) = self.change(now, |state, pool| state.finish(request, pool, now)) {
            Self::count_finished(request, took);
        }
    }

    fn count_finished(request: &Request, took: Duration) {
        let meter = &request.meter;
        meter.executing_requests.dec();
        meter.executing_seats.sub(signed(request.seats().0));
        match request.is_watch() {
            true => meter.executed_watch.observe(took.as_secs_f64()),
            false => meter.executed.observe(took.as_secs_f64()),
        }
    }

    /// Takes other limits into force.
    pub(crate) fn configure(
        &self,
        config: &Arc<configuration::Level>,
        limits: Limits,
        queues_max: u32,
        is_quiescing: bool,
        now: Instant,
    ) {
        self.turn(now, |state, pool| {
            state.configure(Arc::clone(config), limits, queues_max, pool);
            state.set_quiescing(is_quiescing);
        });
        self.meter.limits(limits);
    }

    /// Ends the level if nobody holds or wants any of its seats.
    pub(crate) fn retire(&self, now: Instant) -> bool {
        self.turn(now, |state, pool| state.retire(pool))
    }

    /// Frees the seats that lingered long enough.
    pub(crate) fn tick(&self, now: Instant) {
        self.turn(now, |_, _| ());
    }

    /// Gives the next request seats from the pool. Tells whether anything changed.
    pub(crate) fn serve_from_pool(&self, now: Instant) -> bool {
        let before = self.appetite();
        self.turn(now, |state, pool| state.serve_from_pool(pool, now)) || self.appetite() != before
    }

    /// Puts the figures of this moment right.
    pub(crate) fn measure(&self, now: Instant) {
        let (current, demand) = {
            let mut state = self.state();
            (state.seats_at_hand(&self.pool), state.demand(now))
        };
        self.meter.now(current, demand);
    }

    /// Changes the state, and sees to what follows from it in this level and in others.
    fn change<R>(&self, now: Instant, change: impl FnOnce(&mut State, &Pool) -> R) -> R {
        let result = self.turn(now, change);
        let is_pool_of_use = self.pool.is_wanted() && self.pool.free() > 0;
        let has_drained = self.pool.has_drained();
        if (is_pool_of_use || has_drained)
            && let Some(hub) = self.hub.upgrade()
        {
            if has_drained {
                hub.share_out_seats(now);
            }
            hub.share_out_pool(now);
        }
        result
    }

    /// Changes the state, and sees to what follows from it in this level.
    fn turn<R>(&self, now: Instant, change: impl FnOnce(&mut State, &Pool) -> R) -> R {
        let (result, effects, is_drained) = {
            let mut state = self.state();
            state.settle(now, &self.pool);
            let result = change(&mut state, &self.pool);
            let effects = state.follow_up(now);
            self.announce(state.appetite());
            (result, effects, state.is_drained())
        };
        for request in effects.seated {
            self.count_seated(&request);
            request.turn.notify_one();
        }
        for (request, took) in effects.overdue {
            Self::count_finished(&request, took);
        }
        if let Some(keeper) = effects.keeper {
            keeper.turn.notify_one();
        }
        if is_drained {
            self.pool.note_drained();
        }
        result
    }

    /// Tells the pool whether this level waits for it. The level is locked.
    fn announce(&self, appetite: u64) {
        let before = self.appetite.swap(appetite, Ordering::SeqCst);
        match (before == SATED, appetite == SATED) {
            (true, false) => self.pool.hunger_begins(),
            (false, true) => self.pool.hunger_ends(),
            _ => (),
        }
    }

    fn count_seated(&self, request: &Request) {
        let meter = &request.meter;
        meter.dispatched.inc();
        meter.executing_requests.inc();
        meter.executing_seats.add(signed(request.seats().0));
        let started = request.started.get().copied().unwrap_or(request.arrived);
        let waited = started.saturating_duration_since(request.arrived);
        meter.waited_to_execute.observe(waited.as_secs_f64());
    }
}

/// Someone waits. When they stop before it is over, their place or their seats are given up.
struct Wait<'a> {
    level: &'a Level,
    request: &'a Arc<Request>,
    is_over: bool,
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let now = Instant::now();
        if self.level.withdraw(self.request, RejectedBecause::Cancelled, now).is_none() {
            self.level.finish(self.request, now);
        }
    }
}
