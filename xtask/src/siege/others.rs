//! A client that wants to be served beside an attack: how long it waits before and while, on a connection that it has and on new ones.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::Figure;
use super::fortress::{Latencies, probe, probe_anew};
use crate::bench::client::{Call, Endpoint, Protocol};

/// How long others are asked before and while.
const PROBE_TIME: Duration = Duration::from_secs(5);
const PROBE_EVERY: Duration = Duration::from_millis(5);
const ANEW_EVERY: Duration = Duration::from_millis(25);
/// How many times slower others may be served.
const SLOWER_MAX: f64 = 2.0;

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
