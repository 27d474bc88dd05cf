//! Lists: all pods in each form that clients ask for, one page, selections that find nothing, and many at once.

use std::io::Read as _;

use anyhow::{Context as _, Result, bail};
use flate2::read::MultiGzDecoder;

use crate::bench::client::{Call, JSON, Protocol};
use crate::bench::items::{json_items, protobuf_items};
use crate::bench::load::{Crowd, Limit, Workers};
use crate::bench::measures::{Measures, Meter, Metric, mib};
use crate::bench::plan::Plan;
use crate::bench::process::MemorySampler;
use crate::bench::target::Target;

/// A label that no pod has.
pub const NO_LABEL: &str = "labelSelector=app.kubernetes.io%2Fname%3Dnothing";
/// A node that no pod is on.
pub const NO_NODE: &str = "fieldSelector=spec.nodeName%3Dnowhere";
/// All pods, as JSON.
pub const PODS: List = List { query: "", accept: JSON, is_json: true, gzip: false, items: Items::Pods };

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const METADATA: &str = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
/// What a query says where the plan's number belongs.
const PAGE: &str = "PAGE";

/// A list of pods of all namespaces.
#[derive(Clone, Copy, Debug)]
pub struct List {
    query: &'static str,
    accept: &'static str,
    is_json: bool,
    gzip: bool,
    items: Items,
}

/// How many items the answer has.
#[derive(Clone, Copy, Debug)]
pub enum Items {
    /// Every pod.
    Pods,
    /// As many as a page holds.
    Page,
    /// None.
    None,
}

impl List {
    /// The same with a query.
    pub const fn of(mut self, query: &'static str, items: Items) -> Self {
        self.query = query;
        self.items = items;
        self
    }

    /// The same, compressed.
    pub const fn gzip(mut self) -> Self {
        self.gzip = true;
        self
    }

    /// The same as protobuf.
    pub const fn protobuf(mut self) -> Self {
        self.accept = PROTOBUF;
        self.is_json = false;
        self
    }

    /// Only names, labels and the like, as protobuf.
    pub const fn metadata(mut self) -> Self {
        self.accept = METADATA;
        self.is_json = false;
        self
    }

    fn call(&self, plan: &Plan) -> Call {
        let path = format!("/api/v1/pods?{}", self.query.replace(PAGE, &plan.page.to_string()));
        Call { accept: self.accept, gzip: self.gzip, ..Call::get(path.trim_end_matches('?')) }
    }

    /// Asks once and counts the items. Returns the bytes of the answer, which every later one must have.
    async fn check(&self, target: &Target, plan: &Plan) -> Result<u64> {
        let mut sender = target.endpoint.connect(Protocol::Http2).await?;
        let (content, is_gzip) = sender.send_whole(self.call(plan)).await?;
        let len = content.len() as u64;
        let content = match (self.gzip, is_gzip) {
            (false, true) => bail!("a compressed answer that was not asked for"),
            (true, false) if matches!(self.items, Items::Pods) => bail!("an answer that is not compressed"),
            (_, false) => content,
            (true, true) => {
                let mut plain = Vec::new();
                MultiGzDecoder::new(content.as_slice()).read_to_end(&mut plain)?;
                plain
            }
        };
        let found = if self.is_json { json_items(&content) } else { protobuf_items(&content) };
        let found = found.context("an answer that is no list")?;
        let expected = match self.items {
            Items::Pods => plan.pods,
            Items::Page => plan.page,
            Items::None => 0,
        };
        if found != expected {
            bail!("a list of {found} items, not {expected}");
        }
        Ok(len)
    }

    /// Lists in a closed loop.
    pub async fn run(&self, target: &Target, plan: &Plan, crowd: Crowd) -> Result<Measures> {
        let len = self.check(target, plan).await?;
        let ops = if matches!(self.items, Items::None) { plan.reads_max } else { plan.lists_max };
        let call = self.call(plan);
        let mut workers = Workers::open(&target.endpoint, crowd, |_| repeat(&call)).await?;
        let meter = Meter::start(&target.processes)?;
        let tally = workers.run(Limit { ops, time: plan.run }).await?;
        let measures = meter.finish(&tally).await?;
        if (tally.len_min, tally.len_max) != (len, len) {
            bail!("answers of {} to {} bytes, not {len}", tally.len_min, tally.len_max);
        }
        Ok(measures)
    }
}

/// Full lists, each for a client with a connection of its own, and the memory that they take from a server that has made one
/// before.
pub async fn at_once(target: &mut Target, plan: &Plan) -> Result<Measures> {
    target.restart()?;
    let len = PODS.check(target, plan).await?;
    let call = PODS.call(plan);
    let mut workers = Workers::open(&target.endpoint, Crowd::http2(plan.lists_at_once, 1), |_| repeat(&call)).await?;
    let before = target.processes.rss()?;
    let sampler = MemorySampler::start(target.processes.clone());
    let meter = Meter::start(&target.processes)?;
    let tally = workers.run(Limit { ops: plan.lists_at_once as u64, time: plan.run }).await;
    let peak = sampler.peak()?;
    let tally = tally?;
    let mut measures = meter.finish(&tally).await?;
    if (tally.len_min, tally.len_max) != (len, len) {
        bail!("answers of {} to {} bytes, not {len}", tally.len_min, tally.len_max);
    }
    measures.insert(Metric::ExtraRss, mib(peak.saturating_sub(before)));
    measures.insert(Metric::Rss, mib(peak));
    Ok(measures)
}

fn repeat(call: &Call) -> Box<dyn crate::bench::load::Script> {
    let call = call.clone();
    Box::new(move |_| call.clone())
}
