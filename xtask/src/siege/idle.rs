//! Connections that never say anything, and a client that wants to be served beside them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::task::JoinSet;

use super::fortress::{Fortress, Latencies, probe, probe_anew};
use super::{ATTACKER, Figure};
use crate::bench::client::{Call, Endpoint, Protocol, connect_from};
use crate::bench::process::MemorySampler;

/// Connections that say nothing.
const CONNECTIONS: usize = 10_000;
/// Those who open them at once.
const OPENERS: usize = 50;
/// How long others are asked before and while.
const PROBE_TIME: Duration = Duration::from_secs(5);
const PROBE_EVERY: Duration = Duration::from_millis(5);
const ANEW_EVERY: Duration = Duration::from_millis(25);
/// MiB that all of it may take.
const MEMORY_MAX: f64 = 64.0;
/// How many times slower others may be served.
const SLOWER_MAX: f64 = 2.0;

/// Besieges.
pub async fn run(fortress: &Fortress) -> Result<Vec<Figure>> {
    let admin = fortress.admin()?;
    let mut before = others(&admin).await?;
    let held = fortress.processes().rss()?;
    let memory = MemorySampler::start(fortress.processes());
    let mut opening = JoinSet::new();
    for _ in 0..OPENERS {
        let authority = fortress.authority();
        opening.spawn(async move {
            let mut open = Vec::with_capacity(CONNECTIONS / OPENERS);
            for _ in 0..CONNECTIONS / OPENERS {
                open.push(connect_from(ATTACKER, &authority).await?);
            }
            anyhow::Ok(open)
        });
    }
    let mut open = Vec::with_capacity(CONNECTIONS);
    while let Some(opened) = opening.join_next().await {
        open.extend(opened?.context("a connection that says nothing")?);
    }
    let mut during = others(&admin).await?;
    let peak = memory.peak()?.saturating_sub(held) as f64 / 1048576.0;
    drop(open);
    let mut figures = vec![Figure::at_most("memory above what it held before", peak, "MiB", MEMORY_MAX)];
    figures.extend(slower(&mut before, &mut during));
    Ok(figures)
}

/// What others are served like: on a connection that they have, and on a new one for each request.
pub struct Others {
    kept: Latencies,
    anew: Latencies,
}

/// Asks for a while.
pub async fn others(endpoint: &Endpoint) -> Result<Others> {
    let sender = endpoint.connect(Protocol::Http2).await?;
    let until = Instant::now() + PROBE_TIME;
    let call = Call::get("/version");
    let kept = probe(sender, call.clone(), PROBE_EVERY, until);
    let anew = probe_anew(endpoint, call, ANEW_EVERY, until);
    let (kept, anew) = tokio::try_join!(kept, anew)?;
    Ok(Others { kept, anew })
}

/// How many times slower they were served while.
pub fn slower(before: &mut Others, during: &mut Others) -> Vec<Figure> {
    let mut figures = Vec::new();
    let pairs = [
        ("an open connection", &mut before.kept, &mut during.kept),
        ("new connections", &mut before.anew, &mut during.anew),
    ];
    for (what, before, during) in pairs {
        let (was, is) = (before.millis(50.0), during.millis(50.0));
        figures.push(Figure::told(format!("{what}: p50 before"), was, "ms"));
        figures.push(Figure::told(format!("{what}: p50 while"), is, "ms"));
        figures.push(Figure::told(format!("{what}: p99 before"), before.millis(99.0), "ms"));
        figures.push(Figure::told(format!("{what}: p99 while"), during.millis(99.0), "ms"));
        figures.push(Figure::at_most(format!("{what}: p50 while / before"), is / was, "", SLOWER_MAX));
    }
    figures
}
