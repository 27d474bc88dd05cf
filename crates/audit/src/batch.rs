//! Events on their way in batches (upstream: the buffered audit backend): a queue that never waits, batches by count, size and age,
//! and a token bucket that spares the receiver.
//!
//! Whoever puts an event in never waits: a full queue refuses it. One task owns the rest and is ended by [`Batches::finish`], which
//! sends what is left. What was taken and did not arrive is counted ([`Losses`]), also when the task is cut off.
//!
//! Senders whose identity is not proved have a part of the queue of their own, so that a flood of theirs displaces nobody.

mod losses;
mod queue;
mod throttle;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::sink::Unrecorded;

pub use losses::Losses;
use queue::{Incoming, Queued};
pub use queue::{QUEUE_BYTES_MAX, Queue};
use throttle::Bucket;
pub use throttle::Throttle;

/// Batches that are delivered at the same time; one more waits. Upstream has no limit here, and holds every batch in memory for as
/// long as its receiver is slow.
pub const DELIVERIES_MAX: usize = 8;

/// How events are gathered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Events that wait at most; one more is refused.
    pub queue_len_max: usize,
    /// Events of one batch at most.
    pub batch_len_max: usize,
    /// Bytes of the events of one batch at most. An event that is longer by itself is a batch of its own.
    pub batch_bytes_max: usize,
    /// How long the first event of a batch waits for more.
    pub wait_max: Duration,
    /// How often a batch may be delivered; as often as there is one when nothing is said.
    pub throttle: Option<Throttle>,
}

/// Brings a batch to where it belongs.
pub trait Deliver: Send + Sync + 'static {
    /// Delivers events, each one line of JSON without a newline, in the order in which they came. What it waits for, it gives up
    /// when the end has begun.
    ///
    /// # Errors
    /// They did not arrive, and nobody will try again.
    fn deliver(&self, events: &[Bytes], end: &mut End) -> impl Future<Output = Result<(), Unrecorded>> + Send;
}

/// Tells when the server ends, and nothing should be waited for any more.
#[derive(Clone, Debug)]
pub struct End(watch::Receiver<bool>);

impl End {
    /// One that never comes, for what is not part of a batch.
    pub fn never() -> Self {
        // A sender that is gone can not begin anything.
        Self(watch::channel(false).1)
    }

    /// Says whether it has begun.
    pub fn has_begun(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it begins.
    pub async fn begun(&mut self) {
        if self.0.wait_for(|has_begun| *has_begun).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits for a time, or until the end begins.
    pub async fn or_after(&mut self, pause: Duration) {
        // Only the one that comes first matters.
        let _ = tokio::time::timeout(pause, self.begun()).await;
    }
}

/// The task that makes and delivers batches. Dropped unfinished, it is cut off.
pub struct Batches {
    end: watch::Sender<bool>,
    task: JoinHandle<()>,
    losses: Arc<Losses>,
}

impl Batches {
    /// Starts the task, on the runtime of whoever calls. The queue is where it takes events from.
    pub fn start(deliver: impl Deliver, settings: Settings, losses: Arc<Losses>) -> (Queue, Self) {
        let (queue, incoming) = queue::bounded(&settings, &losses);
        let (end, has_ended) = watch::channel(false);
        let worker = Worker {
            deliver: Arc::new(deliver),
            bucket: settings.throttle.map(Bucket::new),
            settings,
            incoming,
            end: End(has_ended),
            deliveries: JoinSet::new(),
            losses: Arc::clone(&losses),
        };
        let task = tokio::spawn(worker.run());
        (queue, Self { end, task, losses })
    }

    /// Refuses further events, delivers what is there, and ends the task. What has not arrived by then is lost, and counted.
    pub async fn finish(mut self, within: Duration) {
        let _ = self.end.send(true);
        if tokio::time::timeout(within, &mut self.task).await.is_err() {
            self.task.abort();
            // What it held counts itself as it goes.
            let _ = (&mut self.task).await;
        }
        self.losses.say_rest();
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Worker<D> {
    deliver: Arc<D>,
    bucket: Option<Bucket>,
    settings: Settings,
    incoming: Incoming,
    end: End,
    deliveries: JoinSet<()>,
    losses: Arc<Losses>,
}

impl<D: Deliver> Worker<D> {
    async fn run(mut self) {
        while let Some(batch) = self.gather().await {
            self.wait_for_token().await;
            if self.deliveries.len() >= DELIVERIES_MAX {
                let _ = self.deliveries.join_next().await;
            }
            // Those that are over leave nothing behind.
            while self.deliveries.try_join_next().is_some() {}
            let (deliver, losses, end) = (Arc::clone(&self.deliver), Arc::clone(&self.losses), self.end.clone());
            self.deliveries.spawn(deliver_one(deliver, batch, losses, end));
        }
        while self.deliveries.join_next().await.is_some() {}
    }

    /// Waits for events until they are a batch; nothing when no more can come.
    async fn gather(&mut self) -> Option<Vec<Queued>> {
        let Settings { batch_len_max, batch_bytes_max, wait_max, .. } = self.settings;
        self.fill(None).await?;
        let deadline = Instant::now() + wait_max;
        while !self.incoming.is_batch(batch_len_max, batch_bytes_max) && !self.end.has_begun() {
            if self.fill(Some(deadline)).await.is_none() {
                break;
            }
        }
        Some(self.incoming.cut(batch_len_max, batch_bytes_max))
    }

    /// Waits until something is at hand, or with a deadline until something more is. Nothing when it is over, or the time is.
    async fn fill(&mut self, deadline: Option<Instant>) -> Option<()> {
        if deadline.is_none() && self.incoming.has_some() {
            return Some(());
        }
        if self.end.has_begun() {
            self.incoming.close();
        }
        loop {
            let limit = self.settings.batch_len_max;
            let received = tokio::select! {
                biased;
                () = self.end.begun(), if !self.incoming.is_closed() => {
                    self.incoming.close();
                    continue;
                }
                received = self.incoming.receive(limit) => received,
                () = until(deadline) => return None,
            };
            return (received > 0).then_some(());
        }
    }

    async fn wait_for_token(&mut self) {
        let Some(bucket) = &mut self.bucket else { return };
        let pause = bucket.take(Instant::now());
        if !pause.is_zero() {
            self.end.or_after(pause).await;
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn deliver_one<D: Deliver>(deliver: Arc<D>, batch: Vec<Queued>, losses: Arc<Losses>, mut end: End) {
    let lines: Vec<Bytes> = batch.iter().map(|queued| queued.line.clone()).collect();
    let delivered = deliver.deliver(&lines, &mut end).await;
    if let Err(error) = &delivered {
        losses.add(batch.len() as u64, &error.reason);
    }
    batch.into_iter().for_each(Queued::settle);
}

#[cfg(test)]
mod tests;
