//! How a server stops, in order: what has no end of its own ends, requests in flight are answered, connections close.
//!
//! Streams (watches) and connections are told apart, because a stream may be given time (upstream:
//! `--shutdown-watch-termination-grace-period`): the ends are spread evenly over it, so that the clients, who all come back
//! elsewhere, do not come at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// The golden section of 2^64. Multiples of it, without what is over, are spread evenly however many there are.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Tells when the server begins to stop.
#[derive(Clone, Debug)]
pub struct Draining {
    begun: watch::Receiver<bool>,
    /// Of a stream that has a moment of its own after that.
    turn: Option<Arc<Turn>>,
    grace: Option<Arc<Grace>>,
}

/// How long streams are given.
#[derive(Debug)]
struct Grace {
    period: Duration,
    begun_at: OnceLock<Instant>,
    streams: AtomicU64,
}

#[derive(Debug)]
struct Turn {
    grace: Arc<Grace>,
    after: Duration,
}

impl Draining {
    /// Follows a value that turns true once; a sender that is gone has stopped.
    pub fn new(draining: watch::Receiver<bool>) -> Self {
        Self { begun: draining, turn: None, grace: None }
    }

    /// Of a part of the process, which is ended by whoever began it.
    pub(crate) fn never() -> Self {
        static NEVER: LazyLock<watch::Sender<bool>> = LazyLock::new(|| watch::Sender::new(false));
        Self::new(NEVER.subscribe())
    }

    /// For one more stream, with its own moment in the time that streams are given; what has its moment already keeps it.
    pub(crate) fn for_a_stream(&self) -> Self {
        if self.turn.is_some() {
            return self.clone();
        }
        let turn = self.grace.as_ref().map(|grace| {
            let number = grace.streams.fetch_add(1, Ordering::Relaxed);
            Arc::new(Turn { grace: Arc::clone(grace), after: grace.share(number) })
        });
        Self { begun: self.begun.clone(), turn, grace: None }
    }

    /// Whether the server stops already.
    pub fn has_begun(&self) -> bool {
        let has_begun = self.begun.has_changed().unwrap_or(true) || *self.begun.borrow();
        has_begun && self.turn.as_ref().is_none_or(|turn| turn.left(Instant::now()).is_zero())
    }

    /// Waits until the server stops. May be dropped and called again.
    pub async fn begun(&mut self) {
        let _ = self.begun.wait_for(|draining| *draining).await;
        if let Some(turn) = &self.turn {
            tokio::time::sleep(turn.left(Instant::now())).await;
        }
    }
}

impl Grace {
    /// When in the period a stream ends, by its number.
    fn share(&self, number: u64) -> Duration {
        let part = number.wrapping_mul(GOLDEN) >> 32;
        let nanos = self.period.as_nanos().saturating_mul(u128::from(part)) >> 32;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl Turn {
    /// How long until the stream ends. A server that is gone gives no time.
    fn left(&self, now: Instant) -> Duration {
        let begun_at = self.grace.begun_at.get();
        begun_at.map_or(Duration::ZERO, |at| (*at + self.after).saturating_duration_since(now))
    }
}

/// Who tells them.
pub(crate) struct Stop {
    streams: watch::Sender<bool>,
    connections: watch::Sender<bool>,
    grace: Option<Arc<Grace>>,
}

impl Stop {
    /// Streams are given `period`; none when it is zero.
    pub(crate) fn new(period: Duration) -> Self {
        let grace = (!period.is_zero())
            .then(|| Arc::new(Grace { period, begun_at: OnceLock::new(), streams: AtomicU64::new(0) }));
        Self { streams: watch::Sender::new(false), connections: watch::Sender::new(false), grace }
    }

    /// Tells streams to end.
    pub(crate) fn end_streams(&self) {
        if let Some(grace) = &self.grace {
            let _ = grace.begun_at.set(Instant::now());
        }
        self.streams.send_replace(true);
    }

    /// Tells connections to end after what is in flight.
    pub(crate) fn end_connections(&self) {
        self.connections.send_replace(true);
    }

    /// What a connection's requests hear.
    pub(crate) fn heard_by_streams(&self) -> Draining {
        Draining { grace: self.grace.clone(), ..Draining::new(self.streams.subscribe()) }
    }

    /// What a connection hears.
    pub(crate) fn heard_by_connections(&self) -> watch::Receiver<bool> {
        self.connections.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn streams_end_evenly_over_their_time() {
        let stop = Stop::new(Duration::from_secs(100));
        let heard = stop.heard_by_streams();
        let streams: Vec<_> = (0..1000).map(|_| heard.for_a_stream()).collect();
        assert!(!streams.iter().any(Draining::has_begun));
        stop.end_streams();
        assert!(heard.has_begun());
        for tenth in 1..=10 {
            tokio::time::advance(Duration::from_secs(10)).await;
            let ended = streams.iter().filter(|stream| stream.has_begun()).count();
            assert!(ended.abs_diff(tenth * 100) <= 10, "{ended} after {tenth} parts of ten");
        }
        for mut stream in streams {
            stream.begun().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_time_they_end_at_once() {
        let stop = Stop::new(Duration::ZERO);
        let mut stream = stop.heard_by_streams().for_a_stream();
        assert!(!stream.has_begun());
        stop.end_streams();
        assert!(stream.has_begun());
        stream.begun().await;
        assert!(stream.has_begun());
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_gone_gives_no_time() {
        let stop = Stop::new(Duration::from_secs(100));
        let mut stream = stop.heard_by_streams().for_a_stream();
        drop(stop);
        stream.begun().await;
        assert!(stream.has_begun());
    }
}
