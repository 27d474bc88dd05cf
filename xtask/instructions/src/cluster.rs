//! A server behind its gate, asked in process, in a world where time stands still and chance repeats.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use portcullis_apiserver::env::NoRandomness;
use portcullis_apiserver::registry::Registry;
use portcullis_apiserver::{ApiServer, Catalog, Config, Env};
use portcullis_gate::{
    Body, GROUP_AUTHENTICATED, GROUP_MASTERS, Gate, Guards, Handler, Identity, Limits, Peer, Permitted, RequestBody,
};
use portcullis_store::Engine;
use portcullis_store::embedded::{Embedded, Options};

/// 2027-01-15T08:00:00Z.
const NOW_MICROS: i64 = 1_800_000_000_000_000;
/// Between two looks at whether a store has read everything.
const POLL: Duration = Duration::from_millis(5);
/// From the numbers of one store's life to those of the next: no process draws what another drew.
const DRAWS_OF_A_LIFE: u64 = 1 << 32;
/// The name that each request brings along. One that is drawn costs little, but the source of chance behind it measures
/// jitter until it has enough, which takes some million instructions more in one run than in another.
const AUDIT_ID: &str = "00000000-0000-4000-8000-000000000000";

/// A clock that stands still, and bytes that differ from call to call and are the same in each run.
struct FixedEnv {
    drawn: AtomicU64,
}

impl Env for FixedEnv {
    fn now_micros(&self) -> i64 {
        NOW_MICROS
    }

    fn fill_random(&self, buffer: &mut [u8]) -> Result<(), NoRandomness> {
        let mut state = self.drawn.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        for byte in buffer {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = state.to_le_bytes()[3];
        }
        Ok(())
    }
}

struct Answers {
    server: Arc<ApiServer>,
}

impl Handler for Answers {
    async fn handle(&self, permitted: Permitted) -> Response<Body> {
        self.server.handle(permitted).await
    }
}

/// A server and one who may do everything.
pub struct Cluster {
    gate: Gate<Answers>,
    admin: Arc<Peer>,
    server: Arc<ApiServer>,
    engine: Arc<Embedded>,
}

impl Cluster {
    /// Opens the store in `directory`, or makes it.
    pub fn open(directory: &Path) -> Cluster {
        let registry = Arc::new(Registry::new());
        let catalog = Arc::new(Catalog::new(Arc::clone(&registry)));
        let engine = Arc::new(Embedded::open(Options { catalog, ..Options::new(directory) }).unwrap());
        // What the store reads on after its start, in a thread of its own, is no part of any path.
        while engine.snapshot().lacks_words() {
            std::thread::sleep(POLL);
        }
        let env = FixedEnv { drawn: AtomicU64::new(1 + engine.snapshot().revision() * DRAWS_OF_A_LIFE) };
        let held: Arc<dyn Engine> = Arc::clone(&engine) as Arc<dyn Engine>;
        let server = ApiServer::new(held, registry, Config::default(), Arc::new(env));
        let groups = vec![GROUP_MASTERS.to_owned(), GROUP_AUTHENTICATED.to_owned()];
        let admin = Identity { name: "admin".to_owned(), groups, ..Identity::default() };
        let gate = Gate::new(Answers { server: Arc::clone(&server) }, Guards::default(), Limits::default());
        Cluster { gate, admin: Peer::in_process(Arc::new(admin)), server, engine }
    }

    /// Makes the objects that a cluster begins with.
    pub async fn bootstrap(&self) {
        self.server.bootstrap().await.unwrap();
    }

    /// The newest revision.
    pub fn revision(&self) -> u64 {
        self.engine.snapshot().revision()
    }

    /// Sends a request and reads its answer to the end. Returns its length.
    pub async fn send(&self, request: Request<RequestBody>) -> usize {
        let mut body = self.begin(request).await;
        let mut len = 0;
        while let Some(piece) = body.frame().await {
            len += piece.unwrap().data_ref().map_or(0, Bytes::len);
        }
        len
    }

    /// Sends a request whose answer does not matter: what it asks for may be so already.
    pub async fn try_send(&self, request: Request<RequestBody>) {
        let _ = self.gate.handle(&self.admin, request).await.into_body().collect().await;
    }

    /// Sends a request and returns the body of its answer, which must be of success.
    pub async fn begin(&self, request: Request<RequestBody>) -> Body {
        let response = self.gate.handle(&self.admin, request).await;
        if !response.status().is_success() {
            let (head, body) = response.into_parts();
            let said = body.collect().await.unwrap().to_bytes();
            panic!("{}: {}", head.status, String::from_utf8_lossy(&said));
        }
        response.into_body()
    }
}

/// A request for something.
pub fn get(path: &str, accept: &str) -> Request<RequestBody> {
    Request::get(path)
        .header("accept", accept)
        .header("audit-id", AUDIT_ID)
        .body(RequestBody::from_bytes(Bytes::new()))
        .unwrap()
}

/// A request with a body.
pub fn write(method: Method, path: &str, content_type: &str, body: Bytes) -> Request<RequestBody> {
    let request = Request::builder().method(method).uri(path).header("content-type", content_type);
    request
        .header("accept", "application/json")
        .header("audit-id", AUDIT_ID)
        .body(RequestBody::from_bytes(body))
        .unwrap()
}
