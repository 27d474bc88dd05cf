//! Watches: events to many watchers, and watchers that see nothing.
//!
//! Every watcher must see every write once, in the order of the store: its versions are compared with those that the writes
//! were answered with. The lag of an event is from the moment its write was sent to the moment it was read here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::task::JoinSet;

use super::Stamps;
use super::writes::{patch_config_map, patch_pod};
use crate::bench::client::{Call, Protocol, Sender, shown, version};
use crate::bench::load::Tally;
use crate::bench::measures::{Measures, Meter, Metric};
use crate::bench::plan::Plan;
use crate::bench::target::Target;

/// Between two writes of the steady pace: a rate that upstream keeps up with, too.
const STEADY_INTERVAL: Duration = Duration::from_millis(100);
/// From the last write to the last event.
const EVENTS_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of an event in which its version must be.
const EVENT_HEAD_BYTES_MAX: usize = 1024;
/// After watchers were opened or closed, before memory is read.
const SETTLE: Duration = Duration::from_secs(1);
/// How long a watch is to last, as it is asked for.
const WATCH_SECONDS: u32 = 3600;
/// From one object to the next that is written; a prime.
const STRIDE: u64 = 7_919;

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// All pods: 15 KB an event.
    Pods,
    /// All ConfigMaps: 1.4 KB an event.
    ConfigMaps,
}

/// How the writes follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// At a fixed rate: what an event costs and how late it is.
    Steady,
    /// Each when the last was answered: how many events go through. The lag is that of a queue.
    Flood,
}

/// A fan-out.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// What is watched.
    pub watched: Watched,
    /// How it is written.
    pub pace: Pace,
}

/// An event that was seen.
#[derive(Clone, Copy, Debug)]
struct Seen {
    version: u64,
    at: Instant,
}

impl Watched {
    fn path(self) -> &'static str {
        match self {
            Self::Pods => "/api/v1/pods",
            Self::ConfigMaps => "/api/v1/configmaps",
        }
    }

    fn write(self, number: u64, stamp: u64, plan: &Plan) -> Call {
        match self {
            Self::Pods => patch_pod(number * STRIDE % plan.pods, stamp),
            Self::ConfigMaps => patch_config_map(number * STRIDE % plan.config_maps, stamp),
        }
    }
}

impl Load {
    /// Opens the watchers, writes, and waits until all have seen everything.
    pub async fn run(self, target: &Target, plan: &Plan, stamps: &Stamps) -> Result<Measures> {
        let (count, bytes) = (plan.watched_writes, Arc::<AtomicU64>::default());
        let (_senders, watches) = open(target, self.watched, plan.watchers).await?;
        let watchers = watches.len() as u64;
        let mut sender = target.endpoint.connect(Protocol::Http2).await?;
        let meter = Meter::start(&target.processes)?;
        let mut running = JoinSet::new();
        for watch in watches {
            running.spawn(follow(watch, count, bytes.clone()));
        }
        let begun = Instant::now();
        let first = stamps.take(count);
        let mut sent = BTreeMap::new();
        for number in 0..count {
            if self.pace == Pace::Steady {
                tokio::time::sleep_until((begun + STEADY_INTERVAL * u32::try_from(number)?).into()).await;
            }
            let at = Instant::now();
            let answer = sender.send(self.watched.write(number, first + number, plan)).await?;
            sent.insert(answer.version()?, at);
        }
        let all = async {
            let mut all = Vec::with_capacity(running.len());
            while let Some(seen) = running.join_next().await {
                all.push(seen??);
            }
            anyhow::Ok(all)
        };
        let all = tokio::time::timeout(EVENTS_TIMEOUT, all).await;
        let all = all.with_context(|| format!("not all {count} events came to all {watchers} watchers"))??;
        let wall = begun.elapsed();
        let mut tally = Tally { ops: watchers * count, bytes: bytes.load(Ordering::Relaxed), wall, ..Tally::default() };
        for seen in &all {
            tally.latencies.extend(lags(&sent, seen)?);
        }
        tally.latencies.sort_unstable();
        meter.finish(&tally).await
    }
}

/// Many watchers that see nothing: the memory that each takes.
pub async fn idle(target: &mut Target, plan: &Plan) -> Result<Measures> {
    target.restart()?;
    // What the first watch makes a server hold is not a watcher's.
    drop(open(target, Watched::ConfigMaps, (1, 1)).await?);
    tokio::time::sleep(SETTLE).await;
    let before = target.processes.rss()?;
    let opened = open(target, Watched::ConfigMaps, plan.idle_watchers).await?;
    tokio::time::sleep(SETTLE).await;
    let after = target.processes.rss()?;
    let each = after.saturating_sub(before) as f64 / 1024.0 / opened.1.len() as f64;
    let meter = Meter::start(&target.processes)?;
    tokio::time::sleep(plan.idle / 3).await;
    let mut measures = meter.idle()?;
    measures.insert(Metric::Watcher, each);
    Ok(measures)
}

/// Opens watches from now on, as many as `connections` with `streams` each have. A watch lives as long as its sender.
async fn open(
    target: &Target,
    watched: Watched,
    (connections, streams): (usize, usize),
) -> Result<(Vec<Sender>, Vec<Incoming>)> {
    let mut senders = target.endpoint.open(Protocol::Http2, connections, streams).await?;
    let now =
        senders.first_mut().context("no watchers")?.send(Call::get(format!("{}?limit=1", watched.path()))).await?;
    let path =
        format!("{}?watch=true&resourceVersion={}&timeoutSeconds={WATCH_SECONDS}", watched.path(), now.version()?);
    let mut watches = Vec::with_capacity(senders.len());
    for sender in &mut senders {
        watches.push(sender.begin(Call::get(path.clone())).await?.into_body());
    }
    Ok((senders, watches))
}

/// Reads `count` events.
async fn follow(mut watch: Incoming, count: u64, bytes: Arc<AtomicU64>) -> Result<Vec<Seen>> {
    let mut seen = Vec::with_capacity(usize::try_from(count)?);
    let mut lines = Lines::default();
    while (seen.len() as u64) < count {
        let Some(frame) = watch.frame().await else {
            bail!("a watch ended after {} of {count} events", seen.len());
        };
        let Ok(data) = frame?.into_data() else { continue };
        bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        let at = Instant::now();
        lines.feed(&data, |head| {
            let version = version(head).with_context(|| format!("an event without a version: {:?}", shown(head)))?;
            seen.push(Seen { version, at });
            Ok(())
        })?;
    }
    Ok(seen)
}

/// The nanoseconds from each write to its event; an error when a watcher missed one, saw one twice or in another order.
fn lags(sent: &BTreeMap<u64, Instant>, seen: &[Seen]) -> Result<Vec<u64>> {
    if seen.len() != sent.len() {
        bail!("a watcher saw {} of {} writes", seen.len(), sent.len());
    }
    let pairs = sent.iter().zip(seen);
    let lag = |((version, sent), seen): ((&u64, &Instant), &Seen)| {
        if seen.version != *version {
            bail!("a watcher saw version {} where {version} was next", seen.version);
        }
        Ok(u64::try_from(seen.at.saturating_duration_since(*sent).as_nanos())?)
    };
    pairs.map(lag).collect()
}

/// Finds the ends of events in content that comes in any pieces, and keeps the beginning of each.
#[derive(Default)]
struct Lines {
    head: Vec<u8>,
}

impl Lines {
    /// Calls `event` with the beginning of each event that ends in `data`.
    fn feed(&mut self, mut data: &[u8], mut event: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        while let Some(end) = memchr::memchr(b'\n', data) {
            let (line, rest) = data.split_at(end);
            if self.head.is_empty() {
                event(line.get(..EVENT_HEAD_BYTES_MAX).unwrap_or(line))?;
            } else {
                self.keep(line);
                event(&self.head)?;
                self.head.clear();
            }
            data = rest.get(1..).unwrap_or_default();
        }
        self.keep(data);
        Ok(())
    }

    fn keep(&mut self, data: &[u8]) {
        let room = EVENT_HEAD_BYTES_MAX.saturating_sub(self.head.len());
        self.head.extend_from_slice(data.get(..room).unwrap_or(data));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn events_are_found_in_any_pieces() {
        let long = format!("{{\"c\":\"{}\"}}", "x".repeat(3 * EVENT_HEAD_BYTES_MAX));
        let stream = format!("{{\"a\":1}}\n{long}\n{{\"b\":2}}\n");
        for piece in [1, 2, 3, 7, 8, 9, 1000, 1024, 1025, stream.len()] {
            let (mut lines, mut found) = (Lines::default(), Vec::new());
            for data in stream.as_bytes().chunks(piece) {
                lines
                    .feed(data, |head| {
                        found.push(String::from_utf8(head.to_vec()).unwrap());
                        Ok(())
                    })
                    .unwrap();
            }
            assert_eq!(found, ["{\"a\":1}", &long[..EVENT_HEAD_BYTES_MAX], "{\"b\":2}"], "pieces of {piece}");
        }
    }

    #[test]
    fn a_watcher_sees_every_write_once_and_in_order() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let sent = BTreeMap::from([(5, after(0)), (7, after(10)), (12, after(20))]);
        let check = |versions: &[u64], expected: Option<&[u64]>| {
            let seen: Vec<_> =
                versions.iter().zip(1..).map(|(&version, at)| Seen { version, at: after(at * 20) }).collect();
            let expected = expected.map(|lags| lags.iter().map(|lag| lag * 1_000_000).collect::<Vec<_>>());
            assert_eq!(lags(&sent, &seen).ok(), expected, "{versions:?}");
        };
        check(&[5, 7, 12], Some(&[20, 30, 40]));
        check(&[5, 7], None);
        check(&[5, 7, 7], None);
        check(&[5, 12, 7], None);
        check(&[5, 7, 12, 13], None);
    }
}
