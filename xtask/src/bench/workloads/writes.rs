//! Writes of one object. What is made is removed, what is removed was made: the data set stays as it is.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use http::Method;

use super::Stamps;
use super::reads::check_len;
use crate::bench::client::{Call, JSON, Protocol};
use crate::bench::data::{self, MERGE_PATCH, SCRATCH};
use crate::bench::load::{Crowd, Limit, Script, Workers, send_all};
use crate::bench::measures::{Measures, Meter};
use crate::bench::objects;
use crate::bench::plan::Plan;
use crate::bench::target::Target;

/// From one object to the next that is patched; a prime.
const STRIDE: u64 = 7_919;
/// Who makes and removes what is not measured.
pub const HELPERS: Crowd = Crowd::http2(4, 8);
/// The media type of a strategic merge patch.
pub const STRATEGIC_MERGE_PATCH: &str = "application/strategic-merge-patch+json";

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// A new ConfigMap.
    PostConfigMap,
    /// A new pod, for no node yet.
    PostPod,
    /// The end of such a pod, without grace.
    DeletePod,
    /// One label and one annotation of a pod.
    PatchPod,
    /// What a node reports of a pod.
    PatchPodStatus,
    /// One key of a ConfigMap.
    PatchConfigMap,
}

impl Write {
    /// Writes in a closed loop. What a failed one leaves is removed, too.
    pub async fn run(self, target: &Target, plan: &Plan, crowd: Crowd, stamps: &Stamps) -> Result<Measures> {
        let measured = self.measure(target, plan, crowd, stamps).await;
        if measured.is_err() {
            let mut sender = target.endpoint.connect(Protocol::Http2).await?;
            for resource in ["pods", "configmaps"] {
                let path = format!("/api/v1/namespaces/{SCRATCH}/{resource}?gracePeriodSeconds=0");
                sender.send(Call::delete(path)).await?;
            }
        }
        measured
    }

    async fn measure(self, target: &Target, plan: &Plan, crowd: Crowd, stamps: &Stamps) -> Result<Measures> {
        // Each number of a loop is given out once, warm-up included, and a stamp goes with each.
        // What is deleted has to be made first, which takes a slow server longer than all the rest.
        let ops = if self == Self::DeletePod { plan.writes_max / 4 } else { plan.writes_max };
        let warm_up = Limit { ops: ops / 4, time: plan.warm_up };
        let limit = Limit { ops, time: plan.run };
        let most = warm_up.ops + limit.ops;
        let first = stamps.take(most);
        if self == Self::DeletePod {
            send_all(&target.endpoint, HELPERS, most, move |number| post_pod(first + number)).await?;
        }
        // Made beforehand: 5 KB of JSON cost a client as much as everything else that it does.
        let calls: Arc<[Call]> = (0..most).map(|number| self.call(number, first + number, plan)).collect();
        let mut workers = Workers::open(&target.endpoint, crowd, |_| Box::new(Prepared(calls.clone()))).await?;
        workers.run(warm_up).await?;
        let meter = Meter::start(&target.processes)?;
        let tally = workers.run(limit).await?;
        let measures = meter.finish(&tally).await?;
        self.tidy(target, first, workers.begun(), most).await.context("removing what was made")?;
        check_len(&tally)?;
        Ok(measures)
    }

    fn call(self, number: u64, stamp: u64, plan: &Plan) -> Call {
        match self {
            Self::PostConfigMap => {
                let config_map = objects::config_map(SCRATCH, &name(stamp), stamp);
                let path = format!("/api/v1/namespaces/{SCRATCH}/configmaps");
                Call::send(Method::POST, path, JSON, objects::content(&config_map))
            }
            Self::PostPod => post_pod(stamp),
            Self::DeletePod => Call::delete(scratch_path("pods", stamp)),
            Self::PatchPod => patch_pod(number * STRIDE % plan.pods, stamp),
            Self::PatchPodStatus => {
                let pod = number * STRIDE % plan.pods;
                let path = format!("{}/status?fieldManager=bench-kubelet", data::pod_path(pod));
                Call::send(Method::PATCH, path, STRATEGIC_MERGE_PATCH, objects::pod_status(pod, stamp))
            }
            Self::PatchConfigMap => patch_config_map(number * STRIDE % plan.config_maps, stamp),
        }
    }

    /// Removes what a run has made.
    async fn tidy(self, target: &Target, first: u64, begun: u64, most: u64) -> Result<()> {
        let (resource, from, to) = match self {
            Self::PostConfigMap => ("configmaps", first, first + begun),
            Self::PostPod => ("pods", first, first + begun),
            Self::DeletePod => ("pods", first + begun, first + most),
            _ => return Ok(()),
        };
        let remove = move |number| Call::delete(scratch_path(resource, from + number));
        send_all(&target.endpoint, HELPERS, to - from, remove).await?;
        Ok(())
    }
}

/// A change of a ConfigMap of the data set.
pub fn patch_config_map(number: u64, stamp: u64) -> Call {
    let path = format!("{}?fieldManager=bench-controller", data::config_map_path(number));
    Call::send(Method::PATCH, path, MERGE_PATCH, objects::config_map_patch(stamp))
}

/// A change of a pod of the data set.
pub fn patch_pod(number: u64, stamp: u64) -> Call {
    let path = format!("{}?fieldManager=bench-controller", data::pod_path(number));
    Call::send(Method::PATCH, path, STRATEGIC_MERGE_PATCH, objects::pod_patch(stamp))
}

fn post_pod(stamp: u64) -> Call {
    let content = objects::content(&objects::pod(SCRATCH, &name(stamp), stamp, None));
    Call::send(Method::POST, format!("/api/v1/namespaces/{SCRATCH}/pods"), JSON, content)
}

fn name(stamp: u64) -> String {
    format!("scratch-{}", objects::stamp(stamp))
}

fn scratch_path(resource: &str, stamp: u64) -> String {
    format!("/api/v1/namespaces/{SCRATCH}/{resource}/{}?gracePeriodSeconds=0", name(stamp))
}

/// Requests that were made before, in the order of their numbers.
pub struct Prepared(pub Arc<[Call]>);

impl Script for Prepared {
    fn next(&mut self, number: u64) -> Call {
        let call = usize::try_from(number).ok().and_then(|number| self.0.get(number));
        // A loop gives out no number that nothing was made for.
        call.cloned().unwrap_or_else(|| Call::get("/"))
    }
}
