//! The API server itself: what all requests share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use portcullis_fairness::Dispatcher;
use portcullis_gate::{Body, Permitted};
use portcullis_model::status::Status;
use portcullis_store::{CommitError, Engine, ReadError, Refusal, Snapshot};

use crate::admission::Admission;
use crate::answer::Failure;
use crate::config::Config;
use crate::discovery::Discovery;
use crate::env::Env;
use crate::metrics::Metrics;
use crate::openapi::OpenApi;
use crate::openid;
use crate::pages::Pages;
use crate::path;
use crate::rbac::StoredPolicy;
use crate::registry::Registry;
use crate::services::OnTheirWay;
use crate::version;

/// Seconds after which a client that was refused for load should come back.
const RETRY_AFTER_SECONDS: i32 = 1;

/// Paths beside those of resources that `/` lists.
const OTHER_PATHS: [&str; 8] =
    ["/healthz", "/livez", "/metrics", "/metrics/slis", "/openapi/v2", "/openapi/v3", "/readyz", "/version"];

/// The API server: answers what passed the gate, over one store.
pub struct ApiServer {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) config: Config,
    pub(crate) env: Arc<dyn Env>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) admission: Admission,
    pub(crate) on_their_way: OnTheirWay,
    pub(crate) policy: Arc<StoredPolicy>,
    pub(crate) pages: Pages,
    pub(crate) metrics: Metrics,
    pub(crate) discovery: Discovery,
    pub(crate) openapi: Arc<OpenApi>,
    /// Who gives seats, where somebody does.
    pub(crate) flows: OnceLock<Arc<Dispatcher>>,
    is_bootstrapped: AtomicBool,
    is_stopping: AtomicBool,
}

impl ApiServer {
    /// Makes a server over a store that was opened with the catalog of the same registry. Nothing is read or written yet: [`ApiServer::bootstrap`] makes the objects that a cluster begins with.
    pub fn new(engine: Arc<dyn Engine>, registry: Arc<Registry>, config: Config, env: Arc<dyn Env>) -> Arc<ApiServer> {
        let resources = portcullis_kinds::resources();
        let address = format!("{}:{}", config.service_cidr.first_host(), config.secure_port);
        let mut other_paths = OTHER_PATHS.to_vec();
        if config.service_accounts.is_some() {
            other_paths.extend([openid::CONFIGURATION, openid::JWKS]);
        }
        let discovery = Discovery::new(resources, &address, &other_paths);
        let version = version::git_version(config.build_version);
        let openapi = Arc::new(OpenApi::new(portcullis_kinds::schema(), resources, &version));
        let admission = Admission::new(&registry, &config.admission);
        let policy = Arc::new(StoredPolicy::new(Arc::clone(&engine), &registry));
        let metrics = Metrics::new(&registry);
        Arc::new(ApiServer {
            engine,
            config,
            env,
            registry,
            admission,
            on_their_way: OnTheirWay::default(),
            policy,
            pages: Pages::default(),
            metrics,
            discovery,
            openapi,
            flows: OnceLock::new(),
            is_bootstrapped: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
        })
    }

    /// Returns the roles and bindings, for the gate's RBAC. All who decide by them share them.
    pub fn policy(&self) -> Arc<StoredPolicy> {
        Arc::clone(&self.policy)
    }

    /// Shows what this one does under `/debug/api_priority_and_fairness/`, from now on and for good.
    pub fn show_flows(&self, dispatcher: Arc<Dispatcher>) {
        let _ = self.flows.set(dispatcher);
    }

    /// Answers a request that passed the gate.
    pub async fn handle(&self, permitted: Permitted) -> http::Response<Body> {
        path::answer(self, permitted).await
    }

    /// Seconds since 1970 in UTC.
    pub(crate) fn now_seconds(&self) -> i64 {
        self.env.now_micros().div_euclid(1_000_000)
    }

    /// Whether the objects that a cluster begins with are there.
    pub(crate) fn is_bootstrapped(&self) -> bool {
        self.is_bootstrapped.load(Ordering::Acquire)
    }

    pub(crate) fn mark_bootstrapped(&self) {
        self.is_bootstrapped.store(true, Ordering::Release);
    }

    /// Says from now on that no new work should be sent here: `/readyz` fails. Everything is still answered.
    pub fn begin_stopping(&self) {
        self.is_stopping.store(true, Ordering::Release);
    }

    /// Whether the server is on its way out.
    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// The newest state.
    pub(crate) async fn newest(&self) -> Result<Snapshot, Failure> {
        self.engine.newest().await.map_err(read_failure)
    }
}

fn read_failure(error: ReadError) -> Failure {
    tracing::warn!(%error, "the store cannot be read");
    Box::new(match error {
        ReadError::Closed => Status::service_unavailable("the server is shutting down"),
        ReadError::Unreachable { .. } => Status::service_unavailable("the store cannot be reached"),
        ReadError::Behind { .. } => Status::timeout("the store did not answer in time", RETRY_AFTER_SECONDS),
    })
}

/// What a client is told when a commit failed for a reason that is not its own. A conflict is the caller's to judge.
pub(crate) fn commit_failure(error: CommitError) -> Failure {
    tracing::warn!(%error, "a commit failed");
    Box::new(match error {
        CommitError::QueueFull => {
            let message = "the store has too many writes waiting, please try again later";
            Status::too_many_requests(message, RETRY_AFTER_SECONDS)
        }
        CommitError::Refused(Refusal::ValueTooLarge { max, .. } | Refusal::CommitTooLarge { max, .. }) => {
            Status::request_entity_too_large(&format!("limit is {max}"))
        }
        CommitError::MemoryFull { .. } => {
            Status::service_unavailable("the stored objects take all memory they may take")
        }
        CommitError::StorageFull { .. } => Status::service_unavailable("the store has no room left"),
        CommitError::Closed => Status::service_unavailable("the server is shutting down"),
        CommitError::Unreachable { .. } => Status::service_unavailable("the store cannot be reached"),
        CommitError::OutcomeUnknown { .. } => {
            Status::timeout("the outcome of the write is unknown", RETRY_AFTER_SECONDS)
        }
        CommitError::Conflict { .. } | CommitError::Refused(_) | CommitError::Rejected { .. } => {
            Status::internal_error("the store refused the write")
        }
    })
}
