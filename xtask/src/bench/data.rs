//! The data set: what a server holds while it is measured. Built once a server; a mark at its end says that it is whole.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use http::Method;

use super::client::{Call, Endpoint, JSON, Protocol};
use super::load::{Crowd, send_all};
use super::measures::{Measures, Meter, Metric, mib};
use super::objects;
use super::plan::Plan;
use super::process::Processes;

/// Namespaces over which pods and ConfigMaps are spread.
const NAMESPACES: u64 = 10;
/// Nodes over which pods are spread.
const NODES: u64 = 100;
/// Where the leases are, and the mark.
const LEASES: &str = "bench-leases";
/// Where objects come and go.
pub const SCRATCH: &str = "bench-scratch";
/// Who builds the data set.
const BUILDERS: Crowd = Crowd::http2(8, 8);
/// Before the memory of a server that was filled is read.
const SETTLE: Duration = Duration::from_secs(1);

/// The media type of a merge patch.
pub const MERGE_PATCH: &str = "application/merge-patch+json";

/// The path of a pod of the data set.
pub fn pod_path(number: u64) -> String {
    format!("/api/v1/namespaces/bench-{}/pods/bench-{number:05}", number % NAMESPACES)
}

/// The path of a ConfigMap of the data set.
pub fn config_map_path(number: u64) -> String {
    format!("/api/v1/namespaces/bench-{}/configmaps/bench-{number:05}", number % NAMESPACES)
}

/// The name of a Lease of the data set.
pub fn lease_name(number: u64) -> String {
    format!("bench-node-{number:05}")
}

/// The path of a Lease of the data set.
pub fn lease_path(number: u64) -> String {
    format!("{}/{}", leases_path(), lease_name(number))
}

/// A Lease of the data set.
pub fn lease(number: u64, stamp: u64, version: Option<u64>) -> serde_json::Value {
    objects::lease(LEASES, &lease_name(number), stamp, version)
}

fn leases_path() -> String {
    format!("/apis/coordination.k8s.io/v1/namespaces/{LEASES}/leases")
}

/// Builds what is missing, and returns what that cost; of a server that has it all, only its memory.
pub async fn build(endpoint: &Endpoint, processes: &Processes, plan: &Plan) -> Result<Measures> {
    let mark = format!("bench-whole-{}", plan.name);
    let mut sender = endpoint.connect(Protocol::Http2).await?;
    let there = Call::get(format!("/api/v1/namespaces/{LEASES}/configmaps/{mark}"));
    if sender.send(there).await.is_ok() {
        return Ok(Measures::from([(Metric::Rss, mib(processes.rss()?))]));
    }
    let namespaces = (0..NAMESPACES).map(|number| format!("bench-{number}"));
    for name in namespaces.chain([LEASES.to_owned(), SCRATCH.to_owned()]) {
        let namespace = objects::content(&objects::namespace(&name));
        let made = sender.send(Call::send(Method::POST, "/api/v1/namespaces", JSON, namespace)).await;
        made.context("a server needs an empty store, or the whole data set of an earlier run of the same scale")?;
        let account = objects::content(&objects::service_account(&name));
        let accounts = format!("/api/v1/namespaces/{name}/serviceaccounts");
        // Where a controller makes them there may be one already.
        let _ = sender.send(Call::send(Method::POST, accounts, JSON, account)).await;
    }
    let (meter, begun) = (Meter::start(processes)?, Instant::now());
    let mut tally = send_all(endpoint, BUILDERS, plan.pods, post_pod).await.context("pods")?;
    for (count, call) in
        [(plan.pods, patch_status as fn(u64) -> Call), (plan.config_maps, post_config_map), (plan.leases, post_lease)]
    {
        let part = send_all(endpoint, BUILDERS, count, call).await?;
        tally.ops += part.ops;
        tally.bytes += part.bytes;
        tally.latencies.extend(part.latencies);
    }
    tally.wall = begun.elapsed();
    tally.latencies.sort_unstable();
    let mut measures = meter.finish(&tally).await?;
    let mark = objects::content(&objects::config_map(LEASES, &mark, 0));
    sender.send(Call::send(Method::POST, format!("/api/v1/namespaces/{LEASES}/configmaps"), JSON, mark)).await?;
    tokio::time::sleep(SETTLE).await;
    measures.insert(Metric::Rss, mib(processes.rss()?));
    Ok(measures)
}

fn post_pod(number: u64) -> Call {
    let (namespace, name) = (format!("bench-{}", number % NAMESPACES), format!("bench-{number:05}"));
    let pod = objects::pod(&namespace, &name, number, Some(&format!("bench-node-{:02}", number % NODES)));
    let path = format!("/api/v1/namespaces/{namespace}/pods?fieldManager=bench-controller");
    Call::send(Method::POST, path, JSON, objects::content(&pod))
}

fn patch_status(number: u64) -> Call {
    let path = format!("{}/status?fieldManager=bench-kubelet", pod_path(number));
    Call::send(Method::PATCH, path, MERGE_PATCH, objects::pod_status(number, 0))
}

fn post_config_map(number: u64) -> Call {
    let (namespace, name) = (format!("bench-{}", number % NAMESPACES), format!("bench-{number:05}"));
    let path = format!("/api/v1/namespaces/{namespace}/configmaps?fieldManager=bench-controller");
    Call::send(Method::POST, path, JSON, objects::content(&objects::config_map(&namespace, &name, number)))
}

fn post_lease(number: u64) -> Call {
    Call::send(Method::POST, leases_path(), JSON, objects::content(&lease(number, 0, None)))
}
