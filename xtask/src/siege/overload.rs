//! Ten times as many lists as the server can give, while nodes renew their leases and something asks whether it lives.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use http::Method;
use serde_json::json;
use tokio::task::JoinSet;

use super::fortress::{Fortress, Latencies, probe};
use super::lists::{Orders, TABLE};
use super::{Figure, attacker};
use crate::bench::client::{Call, Endpoint, JSON, Protocol, Sender};
use crate::bench::load::{Crowd, Limit, Workers, send_all};
use crate::bench::process::MemorySampler;

/// Nodes, and leases that all of them renew in a second.
const NODES: usize = 50;
const LEASES_PER_SECOND: usize = 500;
/// Those who ask whether the server lives, and the time between two questions of one.
const PROBERS: u32 = 5;
const LIVEZ_EVERY: Duration = Duration::from_millis(100);
/// Objects that a list has, of 1 KB each.
const OBJECTS: u64 = 2_000;
/// How many times more than can be given is asked for.
const OVERLOAD: f64 = 10.0;
/// How long the capacity is measured.
const CAPACITY_TIME: Duration = Duration::from_secs(3);
/// Those who measure it.
const CAPACITY_CROWD: Crowd = Crowd::http2(2, 2);
/// No lease may be later than this, in milliseconds.
const LEASE_LATE_MAX: f64 = 1_000.0;
/// Of 100 questions, 99 must be answered within this, in milliseconds.
const LIVEZ_P99_MAX: f64 = 50.0;
/// The cost of a request after the flood, beside that before.
const COST_RATIO_MAX: f64 = 1.10;

const LIST: &str = "/api/v1/namespaces/default/configmaps";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";

/// Besieges with lists as JSON, and then with tables, which cost more time for each byte.
pub async fn run(fortress: &Fortress, seconds: u64) -> Result<Vec<Figure>> {
    let admin = fortress.admin()?;
    let lister = fortress.user("lister", "lister", &["analysts"])?;
    prepare(&admin).await?;
    let mut nodes = Vec::with_capacity(NODES);
    for number in 0..NODES {
        nodes.push(Node::join(fortress, &admin, number).await?);
    }
    let before = fortress.cost().await?;
    let mut figures = Vec::new();
    for (form, accept) in [("JSON", JSON), ("tables", TABLE)] {
        let capacity = capacity(&lister, accept).await?;
        figures.push(Figure::told(format!("{form}: lists a second that can be given"), capacity, "/s"));
        let orders = Orders {
            authority: fortress.authority(),
            pki: fortress.pki(),
            user: "lister".to_owned(),
            path: LIST.to_owned(),
            accept,
            rate: capacity * OVERLOAD,
            time: Duration::from_secs(seconds),
        };
        let (back, flooded) = flood(fortress, &orders, nodes).await?;
        nodes = back;
        figures.extend(flooded.into_iter().map(|mut figure| {
            figure.what = format!("{form}: {}", figure.what);
            figure
        }));
    }
    let after = fortress.cost().await?;
    figures.push(Figure::told("cost of GET /version before", before, "us"));
    figures.push(Figure::told("cost of GET /version after", after, "us"));
    figures.push(Figure::at_most("after / before", after / before, "", COST_RATIO_MAX));
    Ok(figures)
}

/// What is listed, and the right to list it.
async fn prepare(admin: &Endpoint) -> Result<()> {
    send_all(admin, Crowd::http2(4, 8), OBJECTS, |number| {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": format!("listed-{number:05}") },
            "data": { "text": "x".repeat(1_000) },
        });
        Call::send(Method::POST, LIST, JSON, object.to_string().into())
    })
    .await?;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "name": "lister" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "lister" }],
    });
    let path = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
    let mut sender = admin.connect(Protocol::Http2).await?;
    sender.send(Call::send(Method::POST, path, JSON, binding.to_string().into())).await?;
    Ok(())
}

/// Lists a second that a few who wait for their answers get.
async fn capacity(lister: &Endpoint, accept: &'static str) -> Result<f64> {
    let script = |_| -> Box<dyn crate::bench::load::Script> { Box::new(move |_| Call { accept, ..Call::get(LIST) }) };
    let mut workers = Workers::open(lister, CAPACITY_CROWD, script).await?;
    let tally = workers.run(Limit { ops: u64::MAX / 2, time: CAPACITY_TIME }).await?;
    Ok(tally.ops as f64 / tally.wall.as_secs_f64())
}

async fn flood(fortress: &Fortress, orders: &Orders, nodes: Vec<Node>) -> Result<(Vec<Node>, Vec<Figure>)> {
    let memory = MemorySampler::start(fortress.processes());
    let held = fortress.processes().rss()?;
    let stranger = fortress.stranger()?;
    let mut probers = Vec::new();
    for _ in 0..PROBERS {
        probers.push(stranger.connect(Protocol::Http1).await?);
    }
    let lister = attacker::spawn(&orders.json())?;
    // The first moments belong to the connections.
    let from = Instant::now() + Duration::from_millis(500);
    let until = from + orders.time.saturating_sub(Duration::from_secs(1));
    let mut renewing = JoinSet::new();
    for (number, node) in nodes.into_iter().enumerate() {
        renewing.spawn(node.renew(number, from, until));
    }
    let mut probing = JoinSet::new();
    for (number, prober) in (0_u32..).zip(probers) {
        probing.spawn(async move {
            tokio::time::sleep_until((from + LIVEZ_EVERY * number / PROBERS).into()).await;
            probe(prober, Call::get("/livez"), LIVEZ_EVERY, until).await
        });
    }
    let mut livez = Latencies::default();
    while let Some(probed) = probing.join_next().await {
        livez.add(probed?.context("/livez")?);
    }
    let (mut leases, mut back) = (Latencies::default(), Vec::with_capacity(NODES));
    while let Some(renewed) = renewing.join_next().await {
        let (node, late) = renewed??;
        leases.add(late);
        back.push(node);
    }
    let report = attacker::report(lister).await?;
    let peak = memory.peak()?;
    let mut figures = Vec::new();
    let seconds = orders.time.as_secs_f64();
    figures.push(Figure::told("lists a second that were asked for", orders.rate, "/s"));
    for (name, what) in [
        ("ok", "lists a second that were given"),
        ("refused", "lists a second that got 429"),
        ("other", "lists that failed otherwise, in all"),
        ("not_offered", "lists a second that were due and found no free stream"),
    ] {
        let count = report[name].as_f64().unwrap_or(f64::NAN);
        let (value, unit) = if name == "other" { (count, "") } else { (count / seconds, "/s") };
        figures.push(Figure::told(what, value, unit));
    }
    figures.push(Figure::told("leases renewed", leases.count() as f64, ""));
    figures.push(Figure::told("lease, p50", leases.millis(50.0), "ms"));
    figures.push(Figure::told("lease, p99", leases.millis(99.0), "ms"));
    figures.push(Figure::at_most("lease, the latest", leases.millis(100.0), "ms", LEASE_LATE_MAX));
    figures.push(Figure::told("/livez, p50", livez.millis(50.0), "ms"));
    figures.push(Figure::at_most("/livez, p99", livez.millis(99.0), "ms", LIVEZ_P99_MAX));
    figures.push(Figure::told("/livez, the latest", livez.millis(100.0), "ms"));
    figures.push(Figure::told("memory above what it held before", peak.saturating_sub(held) as f64 / 1048576.0, "MiB"));
    Ok((back, figures))
}

/// A node with its lease.
struct Node {
    name: String,
    sender: Sender,
    version: u64,
}

impl Node {
    /// Gives it a certificate, a Node object and a lease.
    async fn join(fortress: &Fortress, admin: &Endpoint, number: usize) -> Result<Self> {
        let name = format!("node-{number:03}");
        let endpoint = fortress.user(&name, &format!("system:node:{name}"), &["system:nodes"])?;
        let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name } });
        let mut sender = admin.connect(Protocol::Http2).await?;
        sender.send(Call::send(Method::POST, "/api/v1/nodes", JSON, node.to_string().into())).await?;
        let mut sender = endpoint.connect(Protocol::Http2).await?;
        let lease = lease(&name, 0, None);
        let version = sender.send(Call::send(Method::POST, LEASES, JSON, lease)).await?.version()?;
        Ok(Self { name, sender, version })
    }

    /// Renews in turn with the others; late is how long after it was due a renewal was confirmed.
    async fn renew(mut self, number: usize, from: Instant, until: Instant) -> Result<(Self, Latencies)> {
        let every = Duration::from_secs_f64(NODES as f64 / LEASES_PER_SECOND as f64);
        let mut due = from + every.mul_f64(number as f64 / NODES as f64);
        let (mut latencies, mut times) = (Latencies::default(), 0);
        while due < until {
            tokio::time::sleep_until(due.into()).await;
            times += 1;
            let content = lease(&self.name, times, Some(self.version));
            let call = Call::send(Method::PUT, format!("{LEASES}/{}", self.name), JSON, content);
            self.version = self.sender.send(call).await.context("a lease")?.version()?;
            latencies.push(due.elapsed());
            due += every;
        }
        Ok((self, latencies))
    }
}

fn lease(node: &str, times: u64, version: Option<u64>) -> bytes::Bytes {
    let mut lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": node, "namespace": "kube-node-lease" },
        "spec": {
            "holderIdentity": node, "leaseDurationSeconds": 40,
            "renewTime": format!("2026-01-01T00:{:02}:{:02}.{:06}Z", times / 60 % 60, times % 60, times % 1_000_000),
        },
    });
    if let Some(version) = version {
        lease["metadata"]["resourceVersion"] = json!(version.to_string());
    }
    lease.to_string().into()
}
