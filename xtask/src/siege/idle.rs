//! Connections that never say anything, and a client that wants to be served beside them.

use anyhow::{Context as _, Result};
use tokio::task::JoinSet;

use super::fortress::Fortress;
use super::others::{others, slower};
use super::{ATTACKER, Figure};
use crate::bench::client::connect_from;
use crate::bench::process::MemorySampler;

/// Connections that say nothing.
const CONNECTIONS: usize = 10_000;
/// Those who open them at once.
const OPENERS: usize = 50;
/// MiB that all of it may take.
const MEMORY_MAX: f64 = 64.0;

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
