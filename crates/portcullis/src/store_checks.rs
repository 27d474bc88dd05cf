//! Memory is compared with what is stored every few minutes, and whenever somebody with this process's rights asks by SIGUSR1 (upstream:
//! `storage/cacher/consistency`, every 5 minutes and up to half as much again).
//!
//! What is found goes into the log, by its key and never with its value, and into metrics. Readyz does not depend on it: the embedded
//! store answers from memory, which is what was acknowledged, and a server without clients would help nobody; that over etcd has made its
//! memory anew by then.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use portcullis_gate::metrics::family::{Families, Family, counter, gauge};
use portcullis_store::{Catalog, Difference, Engine, ReadError, Verified};
use prometheus::proto::{Metric, MetricType};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Pause between two comparisons, and how much longer it may be by chance: servers of one etcd are not to ask at once.
const INTERVAL: Duration = Duration::from_secs(300);
const JITTER: f64 = 0.5;

/// How one came out, under upstream's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Success,
    Failure,
    Error,
}

const STATUSES: [(Status, &str); 3] =
    [(Status::Success, "success"), (Status::Failure, "failure"), (Status::Error, "error")];

/// Comparisons, and what they came to.
pub(crate) struct StoreChecks {
    store: Arc<dyn Engine>,
    catalog: Arc<dyn Catalog>,
    told: Mutex<Told>,
}

/// What is told of them, all of it at once.
#[derive(Default)]
struct Told {
    /// By resource, in the catalog's order, and by status.
    counts: Vec<[u64; STATUSES.len()]>,
    healed: usize,
    last: Last,
}

/// What the last one found.
#[derive(Clone, Copy, Debug, Default)]
struct Last {
    differences: usize,
    damaged: usize,
    unopened: usize,
    seconds: f64,
    /// Since 1970, of one that could tell.
    ended: f64,
}

impl StoreChecks {
    pub(crate) fn new(store: Arc<dyn Engine>, catalog: Arc<dyn Catalog>) -> Arc<Self> {
        let counts = vec![[0; STATUSES.len()]; catalog.rings()];
        Arc::new(Self { store, catalog, told: Mutex::new(Told { counts, ..Told::default() }) })
    }

    /// Has everything counted shown.
    pub(crate) fn register(self: &Arc<Self>, registry: &prometheus::Registry) -> Result<()> {
        registry.register(Box::new(Families::new(Arc::clone(self), FAMILIES)?))?;
        Ok(())
    }

    /// Compares for as long as it is polled, from time to time and when asked.
    pub(crate) async fn keep_checking(self: Arc<Self>, mut asked: Signal) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(INTERVAL.mul_f64(1.0 + JITTER * chance())) => {}
                _ = asked.recv() => {}
            }
            self.check().await;
        }
    }

    /// By which a comparison is asked for, by whoever may end this process.
    pub(crate) fn requests() -> Result<Signal> {
        signal(SignalKind::user_defined1()).context("SIGUSR1")
    }

    /// Compares once.
    async fn check(&self) {
        let begun = Instant::now();
        let found = self.store.verify().await;
        let mut told = self.told();
        for (ring, counts) in told.counts.iter_mut().enumerate() {
            let concerns = |difference: &Difference| difference.key().is_none_or(|key| self.catalog.ring(key) == ring);
            if let Some(count) = counts.get_mut(status(&found, concerns) as usize) {
                *count += 1;
            }
        }
        told.last.seconds = begun.elapsed().as_secs_f64();
        let found = match found {
            Ok(found) => found,
            Err(error) => return tracing::error!(%error, "memory was not compared with the store"),
        };
        told.healed += found.healed.count;
        let last = &mut told.last;
        let is_news = (last.damaged, last.unopened) != (found.damaged.count, found.unopened.count);
        last.differences = found.differences.count;
        (last.damaged, last.unopened) = (found.damaged.count, found.unopened.count);
        last.ended = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        drop(told);
        say(&found, is_news);
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_counts(&self) -> Vec<Metric> {
        let mut metrics = Vec::new();
        for (ring, counts) in self.told().counts.iter().enumerate() {
            let name = self.catalog.ring_name(ring);
            let (resource, group) = name.split_once('.').unwrap_or((name, ""));
            for ((_, status), count) in STATUSES.iter().zip(counts).filter(|(_, count)| **count > 0) {
                let labels = [("group", group), ("resource", resource), ("status", status)];
                metrics.push(counter(&labels, *count as f64));
            }
        }
        metrics
    }
}

/// How it came out for what some of the differences are about.
fn status(found: &Result<Verified, ReadError>, concerns: impl Fn(&Difference) -> bool) -> Status {
    match found {
        Err(_) => Status::Error,
        Ok(found) if found.differences.named.iter().any(concerns) => Status::Failure,
        // Some of it was not looked at, or differs and is not named.
        Ok(found) if found.unread.is_some() || found.differences.count > found.differences.named.len() => Status::Error,
        Ok(_) => Status::Success,
    }
}

/// A number from 0 to 1.
fn chance() -> f64 {
    let mut random = [0; 4];
    // Without randomness servers may ask at once.
    let _ = aws_lc_rs::rand::fill(&mut random);
    f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX)
}

/// Tells the log. What was damaged or not opened before is not told again and again.
fn say(found: &Verified, is_news: bool) {
    for difference in &found.differences.named {
        tracing::error!(key = difference.key().map_or("", |key| key), %difference, "memory is not what is stored");
    }
    if let Some(reason) = &found.unread {
        tracing::error!(reason, "the store cannot be read as a whole");
    }
    if is_news {
        for damaged in &found.damaged.named {
            tracing::error!(%damaged, "a row of the store is damaged: its object cannot be read, the store repair removes it");
        }
        for key in &found.unopened.named {
            tracing::warn!(%key, "a stored value cannot be opened now");
        }
    }
    let Verified { revision, digested, .. } = found;
    let (differences, healed) = (found.differences.count, found.healed.count);
    let (damaged, unopened) = (found.damaged.count, found.unopened.count);
    let is_consistent = found.is_consistent();
    tracing::info!(
        revision,
        is_consistent,
        differences,
        healed,
        damaged,
        unopened,
        %digested,
        "memory was compared with the store"
    );
}

fn one(value: f64) -> Vec<Metric> {
    vec![gauge(&[], value)]
}

const FAMILIES: &[Family<Arc<StoreChecks>>] = &[
    Family {
        name: "apiserver_storage_consistency_checks_total",
        help: "[ALPHA] Comparisons of memory with what is stored, by how they came out.",
        kind: MetricType::COUNTER,
        read: |checks| checks.read_counts(),
    },
    Family {
        name: "portcullis_store_healed_rows_total",
        help: "Damaged rows that were written anew from memory.",
        kind: MetricType::COUNTER,
        read: |checks| vec![counter(&[], checks.told().healed as f64)],
    },
    Family {
        name: "portcullis_store_differences",
        help: "Entries of which the last comparison found that memory is not what is stored.",
        kind: MetricType::GAUGE,
        read: |checks| one(checks.told().last.differences as f64),
    },
    Family {
        name: "portcullis_store_damaged_rows",
        help: "Rows that the last comparison found damaged, and memory does not have whole.",
        kind: MetricType::GAUGE,
        read: |checks| one(checks.told().last.damaged as f64),
    },
    Family {
        name: "portcullis_store_unopened_values",
        help: "Stored values that could not be opened in the last comparison.",
        kind: MetricType::GAUGE,
        read: |checks| one(checks.told().last.unopened as f64),
    },
    Family {
        name: "portcullis_store_check_seconds",
        help: "How long the last comparison took.",
        kind: MetricType::GAUGE,
        read: |checks| one(checks.told().last.seconds),
    },
    Family {
        name: "portcullis_store_last_check_timestamp_seconds",
        help: "When the last comparison that could tell anything ended.",
        kind: MetricType::GAUGE,
        read: |checks| one(checks.told().last.ended),
    },
];

#[cfg(test)]
mod tests {
    use portcullis_store::Findings;

    use super::*;

    #[test]
    fn what_counts_as_what() {
        let check = |found: Result<Verified, ReadError>, expected: Status| {
            assert_eq!(status(&found, |difference| difference.key().is_some_and(|key| &**key == "a")), expected);
        };
        let differing = |key: &str, count: usize, unread: Option<&str>| {
            let named = vec![Difference::Value { key: key.into() }];
            let differences = Findings { count, named };
            Ok(Verified { differences, unread: unread.map(str::to_owned), ..Verified::default() })
        };
        check(Ok(Verified::default()), Status::Success);
        check(Err(ReadError::Closed), Status::Error);
        check(differing("a", 1, None), Status::Failure);
        check(differing("a", 1, Some("a page")), Status::Failure);
        check(differing("b", 1, None), Status::Success);
        check(differing("b", 1, Some("a page")), Status::Error);
        check(differing("b", 21, None), Status::Error);
    }
}
