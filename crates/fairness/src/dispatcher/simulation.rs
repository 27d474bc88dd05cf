//! A cluster's levels and clients on a simulated clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::classify::Flow;
use crate::configuration::{Configuration, Distinguisher, FlowSchema, Level, LevelKind, Overload};
use crate::dispatcher::{Dispatcher, Width};
use crate::level::{SATED, State};

/// The length of a request where a test does not care.
pub(super) const SERVICE: Duration = Duration::from_millis(10);

/// Numbers that look random and follow from a seed (SplitMix64).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }
}

/// A level that queues; `hand_size` 1.
pub(super) fn queueing(name: &str, shares: u32, lendable_percent: u32, queues: u32) -> Level {
    let overload = Overload::Queue { queues, hand_size: 1, queue_length: 4_000 };
    let kind = LevelKind::Limited { borrowing_limit_percent: None, overload };
    Level { name: name.to_owned(), uid: String::new(), shares, lendable_percent, kind }
}

pub(super) fn rejecting(name: &str, shares: u32) -> Level {
    let kind = LevelKind::Limited { borrowing_limit_percent: None, overload: Overload::Reject };
    Level { name: name.to_owned(), uid: String::new(), shares, lendable_percent: 0, kind }
}

pub(super) fn schema(level: &str) -> FlowSchema {
    FlowSchema {
        name: format!("of-{level}"),
        uid: String::new(),
        precedence: 100,
        level: level.to_owned(),
        distinguisher: Distinguisher::ByUser,
        rules: Vec::new(),
    }
}

/// These levels, each with one schema. The level `catch-all` has no shares, so that numbers are round.
pub(super) fn configuration(levels: &[Level]) -> Arc<Configuration> {
    let schemas = levels.iter().map(|level| Arc::new(schema(&level.name))).collect();
    let mut levels = levels.to_vec();
    levels.push(rejecting("catch-all", 0));
    levels.sort_by(|a, b| a.name.cmp(&b.name));
    Arc::new(Configuration { levels: levels.into_iter().map(Arc::new).collect(), schemas })
}

pub(super) fn flow(level: &str, user: &str) -> Flow {
    let level = Arc::new(rejecting(level, 0));
    Flow { schema: Arc::new(schema(&level.name)), level, distinguisher: user.to_owned() }
}

pub(super) fn wide(seats: u32) -> Width {
    Width { initial: seats, ..Width::ONE }
}

impl Dispatcher {
    pub(super) fn in_use(&self, level: &str) -> u64 {
        self.of(level, |state| state.in_use())
    }

    pub(super) fn waiting(&self, level: &str) -> usize {
        self.of(level, |state| state.queues().waiting())
    }

    fn of<R>(&self, name: &str, read: impl FnOnce(&State) -> R) -> R {
        let levels = self.hub().levels();
        let level = levels.ordered().iter().find(|level| level.name() == name);
        read(&level.unwrap_or_else(|| panic!("no level {name}")).state())
    }

    /// No seat is lost, none is there twice, none lies idle that somebody could have. Returns the seats in use of levels with limits, and all own seats.
    pub(super) fn recount(&self) -> (u64, u64) {
        let (mut free, mut in_use, mut own) = (0, 0, 0);
        let mut next = None;
        for level in self.hub().levels().ordered() {
            let state = level.state();
            if level.appetite() != SATED && next.is_none_or(|(appetite, _)| level.appetite() < appetite) {
                next = Some((level.appetite(), state.next_cost()));
            }
            free += state.recount();
            own += state.limits().nominal;
            if state.config().kind != LevelKind::Exempt {
                in_use += state.in_use();
            }
        }
        assert_eq!(self.hub().pool().free(), free, "the pool has what the levels do not use");
        assert_eq!(self.hub().pool().is_wanted(), next.is_some());
        assert!(next.is_none_or(|(_, cost)| cost > free), "{next:?} waits and there are {free} seats");
        (in_use, own)
    }
}

/// Starts a client that sends its next request when the last one is served, until it is aborted. Counts served requests.
pub(super) fn client(
    dispatcher: &Arc<Dispatcher>,
    flow: &Flow,
    width: Width,
    service: Duration,
    served: &Arc<AtomicU64>,
) -> JoinHandle<()> {
    let (dispatcher, flow, served) = (Arc::clone(dispatcher), flow.clone(), Arc::clone(served));
    tokio::spawn(async move {
        loop {
            match dispatcher.admit(&flow, width, Duration::from_secs(600)).await {
                Ok(_seat) => tokio::time::sleep(service).await,
                Err(_) => tokio::time::sleep(SERVICE).await,
            }
            served.fetch_add(1, Ordering::Relaxed);
        }
    })
}

/// Lets this much time pass, everything that happens in it in order.
pub(super) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}
