//! The paths and the data set that they run over. All of them run over the same one: what a path costs must not depend on
//! how little else is there.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::BodyExt as _;
use portcullis_gate::{Body, RequestBody};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::cluster::{Cluster, get, write};
use crate::objects;

/// Pods as they run: 14.5 KB each.
const PODS_RUNNING: u64 = 500;
/// Pods as they were posted, in another namespace: 6 KB each.
const PODS_WAITING: u64 = 1_500;
/// Pods as they run that somebody has applied to, in a third namespace, and as many Deployments that were applied.
const APPLIED: u64 = 50;
const CONFIG_MAPS: u64 = 500;
const LEASES: u64 = 200;
/// Events that each watcher sees.
const EVENTS: u64 = 160;
const WATCHERS: usize = 100;

const NAMESPACE: &str = "bench-0";
const WAITING: &str = "bench-1";
const APPLIED_TO: &str = "bench-2";
const JSON: &str = "application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const MERGE_PATCH: &str = "application/merge-patch+json";
const STRATEGIC_MERGE_PATCH: &str = "application/strategic-merge-patch+json";
const APPLY_PATCH: &str = "application/apply-patch+yaml";

/// The paths. Each is run so often that its own instructions are at least 90 million more in one run than in the other: hash
/// maps are seeded by chance, and what that makes of the start differs by some 100,000.
pub const PATHS: &[HotPath] = &[
    HotPath { name: "get a pod", fewer: 200, more: 8_200, work: Work::Requests(get_pod) },
    HotPath { name: "list 500 pods as JSON", fewer: 5, more: 155, work: Work::Requests(list_json) },
    HotPath { name: "list 500 pods as protobuf", fewer: 5, more: 155, work: Work::Requests(list_protobuf) },
    HotPath {
        name: "list by a label that nothing has",
        fewer: 100,
        more: 4_100,
        work: Work::Requests(list_by_unknown_label),
    },
    HotPath { name: "create a ConfigMap", fewer: 100, more: 1_100, work: Work::Requests(create_config_map) },
    HotPath { name: "create a pod", fewer: 20, more: 220, work: Work::Requests(create_pod) },
    HotPath { name: "check a pod of 20 containers", fewer: 20, more: 120, work: Work::Requests(check_small_pod) },
    HotPath { name: "check a pod of 200 containers", fewer: 2, more: 22, work: Work::Requests(check_large_pod) },
    HotPath { name: "update a Lease", fewer: 100, more: 900, work: Work::Requests(update_lease) },
    HotPath { name: "patch a pod", fewer: 50, more: 200, work: Work::Requests(patch_pod) },
    HotPath { name: "apply a pod", fewer: 50, more: 200, work: Work::Requests(apply_pod) },
    HotPath { name: "apply a deployment", fewer: 50, more: 200, work: Work::Requests(apply_deployment) },
    HotPath { name: "an event to one of 100 watchers", fewer: 0, more: WATCHERS, work: Work::Watch },
];

/// A path and how often it is run.
pub struct HotPath {
    /// What it is called.
    pub name: &'static str,
    /// Units of work of one run, and of another: what lies between them is the path, without what comes before.
    pub fewer: usize,
    /// See `fewer`.
    pub more: usize,
    work: Work,
}

/// What a unit is.
enum Work {
    /// One request: the one with this number, of a store that was opened at this revision.
    Requests(fn(u64, u64) -> Request<RequestBody>),
    /// A watcher, who is sent every event. The writes are the same however many watch.
    Watch,
}

impl HotPath {
    /// Operations between the runs.
    pub fn operations(&self) -> usize {
        let units = self.more - self.fewer;
        match self.work {
            Work::Requests(_) => units,
            Work::Watch => units * usize::try_from(EVENTS).unwrap(),
        }
    }

    /// Does so many units of work. What is made ready for them is the same for any number.
    pub async fn run(&self, cluster: &Cluster, units: usize) {
        cluster.bootstrap().await;
        let revision = cluster.revision();
        match self.work {
            Work::Requests(make) => {
                let requests: Vec<_> = (0..self.more as u64).map(|number| make(number, revision)).collect();
                for request in requests.into_iter().take(units) {
                    assert!(cluster.send(request).await > 0);
                }
            }
            Work::Watch => watch(cluster, revision, units).await,
        }
    }
}

/// Makes the data set.
pub async fn fill(cluster: &Cluster) {
    cluster.bootstrap().await;
    for namespace in [NAMESPACE, WAITING, APPLIED_TO] {
        let body = objects::content(&objects::namespace(namespace));
        cluster.send(write(Method::POST, "/api/v1/namespaces", JSON, body)).await;
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        // A server that makes it itself has it already.
        cluster
            .try_send(write(Method::POST, &path, JSON, objects::content(&objects::service_account(namespace))))
            .await;
    }
    let running = [(NAMESPACE, PODS_RUNNING), (APPLIED_TO, APPLIED)];
    for (namespace, number) in running.iter().flat_map(|(namespace, count)| (0..*count).map(|at| (*namespace, at))) {
        post_pod(cluster, namespace, number).await;
        let path = format!("{}/{}/status?fieldManager=bench-kubelet", pods(namespace), object_name(number));
        cluster.send(write(Method::PATCH, &path, MERGE_PATCH, objects::pod_status(number, 0))).await;
    }
    for number in 0..APPLIED {
        cluster.send(applied_pod(number)).await;
        cluster.send(applied_deployment(number)).await;
    }
    for number in 0..PODS_WAITING {
        post_pod(cluster, WAITING, number).await;
    }
    for number in 0..CONFIG_MAPS {
        cluster.send(post_config_map("old", number)).await;
    }
    for number in 0..LEASES {
        let lease = objects::content(&objects::lease(NAMESPACE, &object_name(number), number, None));
        cluster.send(write(Method::POST, &leases(), JSON, lease)).await;
    }
}

async fn post_pod(cluster: &Cluster, namespace: &str, number: u64) {
    let pod = objects::content(&objects::pod(namespace, &object_name(number), number, Some("bench-node-00")));
    let path = format!("{}?fieldManager=bench-controller", pods(namespace));
    cluster.send(write(Method::POST, &path, JSON, pod)).await;
}

fn post_config_map(prefix: &str, number: u64) -> Request<RequestBody> {
    let name = format!("{prefix}-{number:05}");
    let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps?fieldManager=bench-controller");
    let content = objects::content(&objects::config_map(NAMESPACE, &name, number));
    write(Method::POST, &path, JSON, content)
}

fn object_name(number: u64) -> String {
    format!("bench-{number:05}")
}

fn pods(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods")
}

fn pod_path(number: u64) -> String {
    format!("{}/{}", pods(NAMESPACE), object_name(number % PODS_RUNNING))
}

fn leases() -> String {
    format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases")
}

fn get_pod(number: u64, _revision: u64) -> Request<RequestBody> {
    get(&pod_path(number * 7), JSON)
}

fn list_json(_number: u64, _revision: u64) -> Request<RequestBody> {
    get(&pods(NAMESPACE), JSON)
}

fn list_protobuf(_number: u64, _revision: u64) -> Request<RequestBody> {
    get(&pods(NAMESPACE), PROTOBUF)
}

fn list_by_unknown_label(_number: u64, _revision: u64) -> Request<RequestBody> {
    get("/api/v1/pods?labelSelector=bench.example.com%2Fnobody%3Dhas-it", JSON)
}

fn create_config_map(number: u64, _revision: u64) -> Request<RequestBody> {
    post_config_map("new", number)
}

fn create_pod(number: u64, _revision: u64) -> Request<RequestBody> {
    let pod = objects::pod(NAMESPACE, &format!("new-{number:05}"), number, Some("bench-node-00"));
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods?fieldManager=bench-controller");
    write(Method::POST, &path, JSON, objects::content(&pod))
}

fn check_small_pod(number: u64, _revision: u64) -> Request<RequestBody> {
    check_pod(number, 20)
}

fn check_large_pod(number: u64, _revision: u64) -> Request<RequestBody> {
    check_pod(number, 200)
}

/// Everything that a create does but the commit, for a pod of so many containers: what it costs must grow as they do.
fn check_pod(number: u64, containers: usize) -> Request<RequestBody> {
    let mut pod = objects::pod(NAMESPACE, "checked", number, Some("bench-node-00"));
    let first = pod["spec"]["containers"][0].clone();
    let all = (0..containers).map(|at| {
        let mut container = first.clone();
        container["name"] = format!("container-{at:03}").into();
        container
    });
    pod["spec"]["containers"] = all.collect();
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods?dryRun=All&fieldManager=bench-controller");
    write(Method::POST, &path, JSON, objects::content(&pod))
}

/// The Lease that the data set ends with: its version is that of the store, and each update makes the next.
fn update_lease(number: u64, revision: u64) -> Request<RequestBody> {
    let name = object_name(LEASES - 1);
    let lease = objects::lease(NAMESPACE, &name, LEASES + number, Some(revision + number));
    write(Method::PUT, &format!("{}/{name}", leases()), JSON, objects::content(&lease))
}

fn patch_pod(number: u64, _revision: u64) -> Request<RequestBody> {
    write(Method::PATCH, &pod_path(number * 7), STRATEGIC_MERGE_PATCH, objects::pod_patch(number + 1))
}

/// Somebody who has applied to the pod before applies another value.
fn apply_pod(number: u64, _revision: u64) -> Request<RequestBody> {
    applied_pod(APPLIED + number)
}

fn apply_deployment(number: u64, _revision: u64) -> Request<RequestBody> {
    applied_deployment(APPLIED + number)
}

fn applied_pod(number: u64) -> Request<RequestBody> {
    let name = object_name(number % APPLIED);
    let path = format!("{}/{name}?fieldManager=bench-applier&force=true", pods(APPLIED_TO));
    write(Method::PATCH, &path, APPLY_PATCH, objects::pod_apply(APPLIED_TO, &name, number))
}

fn applied_deployment(number: u64) -> Request<RequestBody> {
    let name = object_name(number % APPLIED);
    let path = format!("/apis/apps/v1/namespaces/{APPLIED_TO}/deployments/{name}?fieldManager=bench-applier");
    write(Method::PATCH, &path, APPLY_PATCH, objects::deployment_apply(APPLIED_TO, &name, number))
}

/// Opens all watches, writes, and lets `units` of the watchers read each event before the next is written. The others
/// stay behind, which costs nothing.
async fn watch(cluster: &Cluster, revision: u64, units: usize) {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods?watch=true&resourceVersion={revision}");
    let mut bodies = Vec::new();
    for _ in 0..WATCHERS {
        bodies.push(cluster.begin(get(&path, JSON)).await);
    }
    let writes: Vec<_> = (0..=EVENTS).map(|number| patch_pod(number, revision)).collect();
    let seen = Arc::new(Semaphore::new(0));
    let mut watchers = JoinSet::new();
    let mut behind = Vec::new();
    for (number, write) in writes.into_iter().enumerate() {
        cluster.send(write).await;
        if number > 0 {
            seen.acquire_many(u32::try_from(units).unwrap()).await.unwrap().forget();
            continue;
        }
        // The first event is everybody's, so that each has begun.
        for (at, mut body) in bodies.drain(..).enumerate() {
            assert!(piece(&mut body).await.ends_with(b"\n"));
            if at < units {
                watchers.spawn(follow(body, Arc::clone(&seen)));
            } else {
                behind.push(body);
            }
        }
    }
    assert_eq!(watchers.join_all().await.len(), units);
}

async fn follow(mut body: Body, seen: Arc<Semaphore>) {
    for _ in 0..EVENTS {
        assert!(piece(&mut body).await.ends_with(b"\n"));
        seen.add_permits(1);
    }
}

async fn piece(body: &mut Body) -> Bytes {
    body.frame().await.unwrap().unwrap().into_data().unwrap()
}
