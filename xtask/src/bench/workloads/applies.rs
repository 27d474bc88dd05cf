//! Server-side applies to objects that are there. They are made for it and removed: who has applied stays among the managers of an
//! object, and the data set keeps its sizes.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use http::{Method, StatusCode};

use super::Stamps;
use super::reads::check_len;
use super::writes::{HELPERS, Prepared, STRATEGIC_MERGE_PATCH};
use crate::bench::client::{Call, JSON};
use crate::bench::data::SCRATCH;
use crate::bench::load::{Crowd, Limit, Workers, send_all};
use crate::bench::measures::{Measures, Meter};
use crate::bench::objects;
use crate::bench::plan::Plan;
use crate::bench::target::Target;

/// The media type of what is applied; JSON is YAML.
const APPLY_PATCH: &str = "application/apply-patch+yaml";
/// The node that the pods are on.
const NODE: &str = "bench-node-00";

/// What is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apply {
    /// A label and an image of a pod with a status, which has other managers.
    Pod,
    /// A whole Deployment, in which one value changes.
    Deployment,
    /// A whole Deployment as it is.
    SameDeployment,
}

impl Apply {
    /// Applies in a closed loop. What a failed one leaves is removed, too.
    pub async fn run(self, target: &Target, plan: &Plan, crowd: Crowd, stamps: &Stamps) -> Result<Measures> {
        let first = stamps.take(plan.applied);
        let measured = self.measure(target, plan, crowd, stamps, first).await;
        let remove = move |number| Call::delete(format!("{}?gracePeriodSeconds=0", self.path(first + number)));
        let removed = send_all(&target.endpoint, HELPERS, plan.applied, remove).await;
        let measures = measured?;
        removed.context("removing what was made")?;
        Ok(measures)
    }

    async fn measure(
        self,
        target: &Target,
        plan: &Plan,
        crowd: Crowd,
        stamps: &Stamps,
        first: u64,
    ) -> Result<Measures> {
        if self == Self::Pod {
            send_all(&target.endpoint, HELPERS, plan.applied, move |number| post_pod(first + number)).await?;
            send_all(&target.endpoint, HELPERS, plan.applied, move |number| patch_status(first + number)).await?;
        }
        // The first apply makes its manager, and the Deployment.
        let expected = if self == Self::Pod { StatusCode::OK } else { StatusCode::CREATED };
        let begin = move |number| Call { expected, ..self.call(first + number, 0) };
        send_all(&target.endpoint, HELPERS, plan.applied, begin).await?;
        let warm_up = Limit { ops: plan.writes_max / 4, time: plan.warm_up };
        let limit = Limit { ops: plan.writes_max, time: plan.run };
        let most = warm_up.ops + limit.ops;
        let stamp = stamps.take(most);
        let call = |number: u64| {
            let stamp = if self == Self::SameDeployment { 0 } else { stamp + number };
            self.call(first + number % plan.applied, stamp)
        };
        let calls: Arc<[Call]> = (0..most).map(call).collect();
        let mut workers = Workers::open(&target.endpoint, crowd, |_| Box::new(Prepared(calls.clone()))).await?;
        workers.run(warm_up).await?;
        let meter = Meter::start(&target.processes)?;
        let tally = workers.run(limit).await?;
        let measures = meter.finish(&tally).await?;
        check_len(&tally)?;
        Ok(measures)
    }

    fn call(self, number: u64, stamp: u64) -> Call {
        let name = name(number);
        let content = match self {
            Self::Pod => objects::pod_apply(SCRATCH, &name, stamp),
            Self::Deployment | Self::SameDeployment => objects::deployment_apply(SCRATCH, &name, stamp),
        };
        let path = format!("{}?fieldManager=bench-applier&force=true", self.path(number));
        Call::send(Method::PATCH, path, APPLY_PATCH, content)
    }

    fn path(self, number: u64) -> String {
        let resources = match self {
            Self::Pod => format!("/api/v1/namespaces/{SCRATCH}/pods"),
            Self::Deployment | Self::SameDeployment => format!("/apis/apps/v1/namespaces/{SCRATCH}/deployments"),
        };
        format!("{resources}/{}", name(number))
    }
}

fn post_pod(number: u64) -> Call {
    let pod = objects::pod(SCRATCH, &name(number), number, Some(NODE));
    let path = format!("/api/v1/namespaces/{SCRATCH}/pods?fieldManager=bench-controller");
    Call::send(Method::POST, path, JSON, objects::content(&pod))
}

fn patch_status(number: u64) -> Call {
    let path = format!("{}/status?fieldManager=bench-kubelet", Apply::Pod.path(number));
    Call::send(Method::PATCH, path, STRATEGIC_MERGE_PATCH, objects::pod_status(number, 0))
}

fn name(number: u64) -> String {
    format!("applied-{}", objects::stamp(number))
}
