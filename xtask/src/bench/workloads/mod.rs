//! What is measured: one line for each workload, one file for each group of them.

mod applies;
mod leases;
mod life;
mod lists;
mod reads;
mod watches;
mod writes;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

use self::applies::Apply;
use self::life::Life;
use self::lists::{Items, List};
use self::reads::Read;
use self::watches::{Load, Pace, Watched};
use self::writes::Write;
use super::load::Crowd;
use super::measures::Measures;
use super::plan::Plan;
use super::target::Target;

const C1: Crowd = Crowd::http2(1, 1);
const C4: Crowd = Crowd::http2(4, 1);
const C32: Crowd = Crowd::http2(4, 8);
const C128: Crowd = Crowd::http2(8, 16);
const C32_HTTP1: Crowd = Crowd::http1(32);

/// Something that is measured.
pub struct Workload {
    /// Its name, for `--only` and for machines.
    pub name: &'static str,
    /// What it is, for people.
    pub what: &'static str,
    action: Action,
}

#[derive(Clone, Copy)]
enum Action {
    Life(Life),
    Read(Read, Crowd),
    Write(Write, Crowd),
    Apply(Apply, Crowd),
    Renew(Crowd),
    List(List, Crowd),
    /// As many full lists at once as the plan says, and the memory that they take.
    ListsAtOnce,
    FanOut(Watched, Pace),
    IdleWatchers,
}

/// All of them, in the order of a round. What changes the data set keeps the sizes of its objects; what adds objects
/// removes them; what measures memory comes last, because our own server is started anew for it.
pub const WORKLOADS: &[Workload] = &[
    new("cold-start", "start to /readyz, nothing there", Action::Life(Life::Cold)),
    new("idle-empty", "left alone, nothing there", Action::Life(Life::IdleEmpty)),
    new("build-data", "the data set, 64 writers", Action::Life(Life::Build)),
    new("warm-restart", "start to /readyz with the data set", Action::Life(Life::Warm)),
    new("idle-data", "left alone with the data set", Action::Life(Life::IdleData)),
    new("get-version-c32", "GET /version", Action::Read(Read::Version, C32)),
    new("get-pod-c1", "GET a pod, consistent", Action::Read(Read::Pod, C1)),
    new("get-pod-c32", "GET a pod, consistent", Action::Read(Read::Pod, C32)),
    new("get-pod-c32-http1", "GET a pod, consistent, HTTP/1.1", Action::Read(Read::Pod, C32_HTTP1)),
    new("get-pod-rv0-c1", "GET a pod, any version", Action::Read(Read::PodAny, C1)),
    new("get-pod-rv0-c32", "GET a pod, any version", Action::Read(Read::PodAny, C32)),
    new("post-configmap-c1", "POST a ConfigMap of 1 KB", Action::Write(Write::PostConfigMap, C1)),
    new("post-configmap-c32", "POST a ConfigMap of 1 KB", Action::Write(Write::PostConfigMap, C32)),
    new("post-configmap-c128", "POST a ConfigMap of 1 KB", Action::Write(Write::PostConfigMap, C128)),
    new("put-lease-c1", "PUT a Lease with its version", Action::Renew(C1)),
    new("put-lease-c32", "PUT a Lease with its version", Action::Renew(C32)),
    new("post-pod-c32", "POST a pod of 5 KB", Action::Write(Write::PostPod, C32)),
    new("delete-pod-c32", "DELETE a pod at once", Action::Write(Write::DeletePod, C32)),
    new("patch-pod-c32", "PATCH a pod: label, annotation", Action::Write(Write::PatchPod, C32)),
    new("patch-pod-status-c32", "PATCH a pod's status, 2.7 KB", Action::Write(Write::PatchPodStatus, C32)),
    new("patch-configmap-c32", "merge PATCH a ConfigMap", Action::Write(Write::PatchConfigMap, C32)),
    new("apply-pod-c32", "apply some fields of a pod", Action::Apply(Apply::Pod, C32)),
    new("apply-deployment-c32", "apply a Deployment of 2.3 KB", Action::Apply(Apply::Deployment, C32)),
    new("apply-deployment-noop-c32", "the same, nothing changes", Action::Apply(Apply::SameDeployment, C32)),
    new("list-json", "LIST all pods, JSON", Action::List(lists::PODS, C1)),
    new("list-json-gzip", "LIST all pods, JSON, gzip", Action::List(lists::PODS.gzip(), C1)),
    new("list-protobuf", "LIST all pods, protobuf", Action::List(lists::PODS.protobuf(), C1)),
    new("list-metadata", "LIST pods' metadata, protobuf", Action::List(lists::PODS.metadata(), C1)),
    new("list-page-c4", "LIST pods, one page", Action::List(lists::PODS.of("limit=PAGE", Items::Page), C4)),
    new("list-no-label-c4", "LIST pods, label of none", Action::List(lists::PODS.of(lists::NO_LABEL, Items::None), C4)),
    new("list-no-node-c4", "LIST pods, node of none", Action::List(lists::PODS.of(lists::NO_NODE, Items::None), C4)),
    new("fan-out-pods", "pod PATCHes to all watchers", Action::FanOut(Watched::Pods, Pace::Steady)),
    new("fan-out-pods-flood", "the same, as fast as it goes", Action::FanOut(Watched::Pods, Pace::Flood)),
    new("fan-out-configmaps", "ConfigMap PATCHes to all watchers", Action::FanOut(Watched::ConfigMaps, Pace::Steady)),
    new("fan-out-configmaps-flood", "the same, as fast as it goes", Action::FanOut(Watched::ConfigMaps, Pace::Flood)),
    new("idle-watchers", "watchers that see nothing", Action::IdleWatchers),
    new("lists-at-once", "full LISTs at once, JSON", Action::ListsAtOnce),
];

const fn new(name: &'static str, what: &'static str, action: Action) -> Workload {
    Workload { name, what, action }
}

impl Workload {
    /// Whether it starts and ends processes or measures one without data: only our own server can be treated so.
    pub fn is_for_own_only(&self) -> bool {
        matches!(self.action, Action::Life(Life::Cold | Life::IdleEmpty | Life::Warm))
    }

    /// Whether one run is enough, because it takes long or because a second finds another server.
    pub fn is_run_once(&self) -> bool {
        let life = matches!(self.action, Action::Life(Life::IdleEmpty | Life::Build | Life::IdleData));
        life || matches!(self.action, Action::IdleWatchers | Action::ListsAtOnce)
    }

    fn needs_data(&self) -> bool {
        !matches!(self.action, Action::Life(Life::Cold | Life::IdleEmpty))
    }

    /// Runs it once.
    pub async fn run(&self, target: &mut Target, plan: &Plan, stamps: &Stamps) -> Result<Measures> {
        if self.needs_data() {
            target.fill(plan).await?;
        }
        match self.action {
            Action::Life(life) => life.run(target, plan).await,
            Action::Read(read, crowd) => read.run(target, plan, crowd).await,
            Action::Write(write, crowd) => write.run(target, plan, crowd, stamps).await,
            Action::Apply(apply, crowd) => apply.run(target, plan, crowd, stamps).await,
            Action::Renew(crowd) => leases::renew(target, plan, crowd, stamps).await,
            Action::List(list, crowd) => list.run(target, plan, crowd).await,
            Action::ListsAtOnce => lists::at_once(target, plan).await,
            Action::FanOut(watched, pace) => (Load { watched, pace }).run(target, plan, stamps).await,
            Action::IdleWatchers => watches::idle(target, plan).await,
        }
    }
}

/// Numbers that no write of this or an earlier run has used, so that each write changes something.
pub struct Stamps(AtomicU64);

impl Stamps {
    /// Begins at the time, in milliseconds: more than a second's writes never come in a second.
    pub fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(AtomicU64::new(u64::try_from(now.as_millis()).unwrap_or_default() % 1_000_000_000_000))
    }

    /// The first of `count` numbers.
    pub fn take(&self, count: u64) -> u64 {
        self.0.fetch_add(count, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique() {
        let names: BTreeSet<_> = WORKLOADS.iter().map(|workload| workload.name).collect();
        assert_eq!(names.len(), WORKLOADS.len());
    }
}
