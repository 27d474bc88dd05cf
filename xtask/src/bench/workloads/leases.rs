//! Heartbeats, as nodes send them: an update of a Lease with the version that the last update got.

use anyhow::Result;
use http::Method;

use super::Stamps;
use super::reads::check_len;
use crate::bench::client::{Answer, Call, JSON, Protocol};
use crate::bench::data;
use crate::bench::load::{Crowd, Limit, Script, Workers};
use crate::bench::measures::{Measures, Meter};
use crate::bench::objects;
use crate::bench::plan::Plan;
use crate::bench::target::Target;

/// Leases that each worker renews in turn.
const LEASES_PER_WORKER: usize = 4;

/// Renews in a closed loop.
pub async fn renew(target: &Target, plan: &Plan, crowd: Crowd, stamps: &Stamps) -> Result<Measures> {
    let warm_up = Limit { ops: plan.writes_max / 4, time: plan.warm_up };
    let limit = Limit { ops: plan.writes_max, time: plan.run };
    let first = stamps.take(warm_up.ops + limit.ops);
    let mut leases = Leases::read(target, plan, crowd, first).await?.into_iter();
    let script = |_| -> Box<dyn Script> { Box::new(leases.next().unwrap_or_default()) };
    let mut workers = Workers::open(&target.endpoint, crowd, script).await?;
    workers.run(warm_up).await?;
    let meter = Meter::start(&target.processes)?;
    let tally = workers.run(limit).await?;
    let measures = meter.finish(&tally).await?;
    check_len(&tally)?;
    Ok(measures)
}

/// The leases of one worker and the versions that they have.
#[derive(Default)]
struct Leases {
    held: Vec<(u64, u64)>,
    at: usize,
    first: u64,
}

impl Leases {
    /// Reads the versions of as many leases as a crowd renews; no two workers share one.
    async fn read(target: &Target, plan: &Plan, crowd: Crowd, first: u64) -> Result<Vec<Self>> {
        let mut sender = target.endpoint.connect(Protocol::Http2).await?;
        let workers = crowd.connections * crowd.streams;
        let mut all = Vec::with_capacity(workers);
        for worker in 0..workers {
            let mut held = Vec::with_capacity(LEASES_PER_WORKER);
            for at in 0..LEASES_PER_WORKER {
                let number = (worker * LEASES_PER_WORKER + at) as u64 % plan.leases;
                held.push((number, sender.send(Call::get(data::lease_path(number))).await?.version()?));
            }
            all.push(Self { held, at: 0, first });
        }
        Ok(all)
    }
}

impl Script for Leases {
    fn next(&mut self, number: u64) -> Call {
        self.at = (self.at + 1) % self.held.len().max(1);
        let (lease, version) = self.held.get(self.at).copied().unwrap_or_default();
        let content = objects::content(&data::lease(lease, self.first + number, Some(version)));
        Call::send(Method::PUT, data::lease_path(lease), JSON, content)
    }

    fn answered(&mut self, answer: &Answer) -> Result<()> {
        if let Some((_, version)) = self.held.get_mut(self.at) {
            *version = answer.version()?;
        }
        Ok(())
    }
}
