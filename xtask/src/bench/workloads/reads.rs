//! Reads of one object, and of the answer that is as near to nothing as a server gets.

use anyhow::{Result, bail};

use crate::bench::client::Call;
use crate::bench::data;
use crate::bench::load::{Crowd, Limit, Tally, Workers};
use crate::bench::measures::{Measures, Meter};
use crate::bench::plan::Plan;
use crate::bench::target::Target;

/// From one pod to the next that is read: a prime, so that all get their turn and no neighbours follow each other.
const STRIDE: u64 = 7_919;
/// How much shorter than the longest answer the shortest of one run may be, in percent: versions gain digits.
const SHORTER_PERCENT_MAX: u64 = 2;

/// What is read.
#[derive(Clone, Copy, Debug)]
pub enum Read {
    /// `/version`: the cost of asking at all.
    Version,
    /// Pods, the newest.
    Pod,
    /// Pods with `resourceVersion=0`.
    PodAny,
}

impl Read {
    /// Reads in a closed loop.
    pub async fn run(self, target: &Target, plan: &Plan, crowd: Crowd) -> Result<Measures> {
        let pods = plan.pods;
        let call = move |number: u64| match self {
            Self::Version => Call::get("/version"),
            Self::Pod => Call::get(data::pod_path(number * STRIDE % pods)),
            Self::PodAny => Call::get(format!("{}?resourceVersion=0", data::pod_path(number * STRIDE % pods))),
        };
        let mut workers = Workers::open(&target.endpoint, crowd, |_| Box::new(call)).await?;
        workers.run(Limit { ops: plan.reads_max, time: plan.warm_up }).await?;
        let meter = Meter::start(&target.processes)?;
        let tally = workers.run(Limit { ops: plan.reads_max, time: plan.run }).await?;
        let measures = meter.finish(&tally).await?;
        check_len(&tally)?;
        Ok(measures)
    }
}

/// Answers of one kind have one length, or some of them were not what was asked for.
pub fn check_len(tally: &Tally) -> Result<()> {
    if tally.len_min < tally.len_max - tally.len_max * SHORTER_PERCENT_MAX / 100 {
        bail!("answers of {} to {} bytes to the same question", tally.len_min, tally.len_max);
    }
    Ok(())
}
