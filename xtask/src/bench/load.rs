//! A closed loop: a number of workers, each of which sends its next request when its last was answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::task::JoinSet;

use super::client::{Answer, Call, Endpoint, Protocol, Sender};

/// No closed loop takes longer, however slow the server is.
const LOOP_TIMEOUT: Duration = Duration::from_secs(600);

/// How many ask at once, and over what.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// HTTP/1.1 gives each worker a connection, HTTP/2 each of `connections` the same number of streams.
    pub protocol: Protocol,
    /// Connections of HTTP/2.
    pub connections: usize,
    /// Requests in flight on each.
    pub streams: usize,
}

impl Crowd {
    /// Requests over HTTP/2.
    pub const fn http2(connections: usize, streams: usize) -> Self {
        Self { protocol: Protocol::Http2, connections, streams }
    }

    /// Requests over HTTP/1.1.
    pub const fn http1(connections: usize) -> Self {
        Self { protocol: Protocol::Http1, connections, streams: 1 }
    }
}

/// When a loop ends: whichever comes first.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Requests.
    pub ops: u64,
    /// Time; a request that has begun is waited for.
    pub time: Duration,
}

/// What one worker sends. It lives longer than one loop, so that it can know what the server holds.
pub trait Script: Send {
    /// Its next request; `number` is another one for each request of a run, over all workers.
    fn next(&mut self, number: u64) -> Call;

    /// Looks at the answer to it.
    fn answered(&mut self, _: &Answer) -> Result<()> {
        Ok(())
    }
}

/// Requests that depend on their number alone.
impl<F: FnMut(u64) -> Call + Send> Script for F {
    fn next(&mut self, number: u64) -> Call {
        self(number)
    }
}

/// What a loop did.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Requests that were answered as expected; there are no others.
    pub ops: u64,
    /// Bytes of all answers' content.
    pub bytes: u64,
    /// Bytes of the shortest answer.
    pub len_min: u64,
    /// Bytes of the longest.
    pub len_max: u64,
    /// From the first request to the last answer.
    pub wall: Duration,
    /// Nanoseconds from request to the end of the answer, in ascending order.
    pub latencies: Vec<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        Self { ops: 0, bytes: 0, len_min: u64::MAX, len_max: 0, wall: Duration::ZERO, latencies: Vec::new() }
    }
}

impl Tally {
    fn count(&mut self, answer: &Answer, took: Duration) {
        self.ops += 1;
        self.bytes += answer.len;
        self.len_min = self.len_min.min(answer.len);
        self.len_max = self.len_max.max(answer.len);
        self.latencies.push(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    fn add(&mut self, other: Self) {
        self.ops += other.ops;
        self.bytes += other.bytes;
        self.len_min = self.len_min.min(other.len_min);
        self.len_max = self.len_max.max(other.len_max);
        self.latencies.extend(other.latencies);
    }
}

/// Workers with open connections.
pub struct Workers {
    workers: Vec<Worker>,
    number: Arc<AtomicU64>,
}

struct Worker {
    sender: Sender,
    script: Box<dyn Script>,
}

impl Workers {
    /// Connects as many workers as the crowd has; `script` is told which one it is for.
    pub async fn open(
        endpoint: &Endpoint,
        crowd: Crowd,
        mut script: impl FnMut(usize) -> Box<dyn Script>,
    ) -> Result<Self> {
        let senders = endpoint.open(crowd.protocol, crowd.connections, crowd.streams).await?;
        let workers = senders.into_iter().enumerate();
        let workers = workers.map(|(at, sender)| Worker { sender, script: script(at) }).collect();
        Ok(Self { workers, number: Arc::default() })
    }

    /// How many requests were begun by all loops: the numbers that were given out are below it.
    pub fn begun(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }

    /// Runs a loop. The first request that fails ends it and is the error.
    pub async fn run(&mut self, limit: Limit) -> Result<Tally> {
        let end = self.begun().saturating_add(limit.ops);
        let begun = Instant::now();
        let deadline = begun + limit.time;
        let mut running = JoinSet::new();
        for worker in self.workers.drain(..) {
            running.spawn(work(worker, self.number.clone(), end, deadline));
        }
        let mut tally = Tally::default();
        let all = async {
            while let Some(done) = running.join_next().await {
                let (worker, part) = done??;
                self.workers.push(worker);
                tally.add(part);
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(LOOP_TIMEOUT, all).await.context("not answered in time")??;
        tally.wall = begun.elapsed();
        tally.latencies.sort_unstable();
        // A worker that was turned away took a number all the same.
        self.number.fetch_min(end, Ordering::Relaxed);
        Ok(tally)
    }
}

async fn work(mut worker: Worker, number: Arc<AtomicU64>, end: u64, deadline: Instant) -> Result<(Worker, Tally)> {
    let mut tally = Tally::default();
    while Instant::now() < deadline {
        let mine = number.fetch_add(1, Ordering::Relaxed);
        if mine >= end {
            break;
        }
        let call = worker.script.next(mine);
        let sent = Instant::now();
        let answer = worker.sender.send(call).await?;
        tally.count(&answer, sent.elapsed());
        worker.script.answered(&answer)?;
    }
    Ok((worker, tally))
}

/// Sends one request for each number below `count` and waits for all: to make and remove objects, not to measure.
pub async fn send_all(
    endpoint: &Endpoint,
    crowd: Crowd,
    count: u64,
    call: impl Fn(u64) -> Call + Clone + Send + 'static,
) -> Result<Tally> {
    let mut workers = Workers::open(endpoint, crowd, |_| Box::new(call.clone())).await?;
    workers.run(Limit { ops: count, time: LOOP_TIMEOUT }).await
}
