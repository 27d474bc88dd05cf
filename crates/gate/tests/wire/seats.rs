//! Seats come back, however a request ends: answered, refused, past its deadline, panicked, or given up by its client at any moment.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::time::Duration;

use http::Response;
use portcullis_fairness::{
    Classifier, Dispatcher, Distinguisher, FlowSchema, Level, LevelKind, NonResourceRule, Overload, PolicyRule,
    ResourceRule, Subject, Width,
};
use portcullis_gate::{Body, Fairness, FlowControl, Guards, Limits, Permitted, Weighed};
use tokio::task::JoinSet;

use crate::client::{Chunks, Dial, PROTOCOLS, Protocol};
use crate::limits::Endless;
use crate::server::{Authority, Credential, Server, describe};

const CLIENTS: u64 = 24;
const REQUESTS: u64 = 40;
/// Long enough for some answers, and short enough that many requests are past it.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(40);

/// Few seats and short queues for everybody.
struct Narrow(Arc<Classifier>);

impl Narrow {
    fn new() -> Self {
        let overload = Overload::Queue { queues: 8, hand_size: 2, queue_length: 4 };
        let kind = LevelKind::Limited { borrowing_limit_percent: None, overload };
        let level = Level { name: "narrow".to_owned(), uid: String::new(), shares: 10, lendable_percent: 50, kind };
        let all = || vec!["*".to_owned()];
        let resource_rules = vec![ResourceRule {
            verbs: all(),
            api_groups: all(),
            resources: all(),
            cluster_scope: true,
            namespaces: all(),
        }];
        let non_resource_rules = vec![NonResourceRule { verbs: all(), paths: all() }];
        let rules =
            vec![PolicyRule { subjects: vec![Subject::User("*".to_owned())], resource_rules, non_resource_rules }];
        let schema = FlowSchema {
            name: "everybody".to_owned(),
            uid: String::new(),
            precedence: -1,
            level: "narrow".to_owned(),
            distinguisher: Distinguisher::ByNamespace,
            rules,
        };
        Self(Arc::new(Classifier::new(vec![level], vec![schema])))
    }
}

impl FlowControl for Narrow {
    fn classifier(&self) -> Arc<Classifier> {
        Arc::clone(&self.0)
    }

    /// As wide as the length of the path has it.
    fn width(&self, weighed: &Weighed<'_>) -> Width {
        let initial = 1 + u32::try_from(weighed.info.path().len() % 3).unwrap();
        Width { initial, r#final: initial % 2, linger: Duration::from_millis(2) }
    }
}

/// Ends, or not, as the name of the object says.
async fn answer(permitted: Permitted) -> Response<Body> {
    match permitted.info().resource().map_or("", |resource| resource.name) {
        "sleeps" => {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            Response::default()
        }
        "panics" => panic!("as it was asked to"),
        "endless" => Response::new(Body::from_stream(Endless(tokio::sync::mpsc::unbounded_channel().0))),
        _ => describe(permitted).await,
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Sends requests of all sorts, and gives up on some of them at some moment.
async fn misbehave(server: Arc<Server>, admin: Arc<Credential>, mut random: Random) {
    let (server, admin) = (&*server, &*admin);
    let protocol = PROTOCOLS[random.below(2) as usize];
    let mut client = Dial::to(server, Some(admin), protocol).client().await;
    for _ in 0..REQUESTS {
        let name = ["answers", "sleeps", "panics", "endless", "answers"][random.below(5) as usize];
        let namespace = random.below(20);
        let path = format!("/api/v1/namespaces/n{namespace}/configmaps/{name}");
        let (method, path, body) = match random.below(5) {
            0 => ("PUT", path, Chunks::that_never_end()),
            1 => ("PUT", path, Chunks::with_length(100_000)),
            2 => ("GET", format!("/api/v1/watch/namespaces/n{namespace}/configmaps/{name}"), Chunks::default()),
            3 => ("GET", format!("/api/v1/namespaces/n{namespace}/pods/{name}/log"), Chunks::default()),
            _ => ("GET", path, Chunks::default()),
        };
        let patience = Duration::from_micros(random.below(20_000));
        let called = tokio::time::timeout(patience, client.try_call(method, &path, &[], body)).await;
        let is_over = matches!(called, Ok(Ok(_)));
        if !is_over && (matches!(protocol, Protocol::Http1) || random.below(4) == 0) {
            client = Dial::to(server, Some(admin), protocol).client().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_seat_comes_back() {
    let seed = RandomState::new().hash_one("every seat comes back");
    println!("seed {seed}");
    let dispatcher = Arc::new(Dispatcher::new(6));
    let fairness = Some(Fairness::by_flows(Arc::new(Narrow::new()), Arc::clone(&dispatcher)));
    let guards = Guards { fairness, ..Guards::default() };
    let limits = Limits { request_timeout: REQUEST_TIMEOUT, ..Limits::default() };
    let server = Arc::new(Server::guarded(answer, guards, Authority::new(), limits).await);
    let admin = Arc::new(server.ca.admin());
    let client = |number| misbehave(Arc::clone(&server), Arc::clone(&admin), Random(seed.wrapping_add(number)));
    let clients: JoinSet<()> = (0..CLIENTS).map(client).collect();
    clients.join_all().await;
    let level = || {
        let mut table = String::new();
        dispatcher.dump_priority_levels(&mut table);
        let row = table.lines().find(|line| line.starts_with("narrow")).unwrap_or_default();
        row.split(',').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>()
    };
    // The server sees the end of the last ones at moments of its own.
    while level().get(4..6) != Some(&["0".to_owned(), "0".to_owned()]) {
        tokio::task::yield_now().await;
    }
    let level = level();
    assert!(level[6] != "0" && level[9] != "0", "{level:?}");
    let mut client = Dial::to(&server, Some(&admin), Protocol::Http2).client().await;
    for _ in 0..10 {
        assert_eq!(client.get("/api").await.status, 200);
    }
}
