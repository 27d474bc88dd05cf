//! The gate: everything between a socket and a request that may be served.
//!
//! A request meets the modules in the order of this list: `listener`, `tls`, `connection`, `arrival`,
//! `request_info`, `authn`, `audit`, `impersonation`, `fairness`, `authz`. Each step takes the type the step before
//! gave (`Arrived`, `Located`, `Identified`, `Recorded`, `Acting`, `Seated`, `Permitted`), and only that step can make the
//! next one; `gate` has the whole order on one screen. A verb takes [`Permitted`]. See docs/decisions/0004. `upgrade` is what a
//! connection becomes after a 101, still under its owner.
//!
//! What this crate never does: read an object, know a kind, open a plain-text port, or hold a value that means "no
//! authoriser". Everything in the process that asks for something comes in here too, with an identity of its own.

mod addresses;
mod arrival;
mod audit;
mod authn;
mod authz;
mod body;
mod cluster;
mod config;
mod connection;
mod deadline;
mod draining;
mod entrance;
mod fairness;
mod gate;
mod handshakes;
mod identity;
mod impersonation;
mod listener;
mod live_file;
pub mod metrics;
mod penalties;
mod places;
mod query;
mod rate;
mod refusal;
mod request_info;
mod tls;
mod tls_stream;
mod tokens;
mod trace;
mod trail;
mod upgrade;
mod webhook;

pub use arrival::Peer;
pub use audit::{AuditPolicyError, AuditPolicyFile};
pub use authn::{
    Anonymous, AnonymousPaths, AuthenticationConfiguration, Authenticators, BootstrapTokens, ConfigurationError,
    ConfigurationFile, ConfigurationFileError, Credentials, Dial, Fetch, FetchError, FrontProxy, HttpsDial, JwtIssuers,
    KnownToken, OidcFlags, RequestHeaderError, RequestHeaders, ServiceAccountTokens, SystemNames, TokenAuthenticator,
    TokenRemark, TokenVerdict, TokenWebhook, TokenWebhookSettings, Tokens, TrustFiles, TrustFilesError, Trusted,
};
pub use authz::{
    Abac, AbacError, Attributes, AuthorizationConfigurationError, AuthorizationFile, Authorizer, AuthorizerChain,
    AuthorizerSetting, AuthorizerSources, AuthorizerType, Decision, EveryoneMayDoEverything, NAMESPACE_NODE_LEASE,
    NodeAuthorizer, NodeGraph, NodeIdentity, NodeRelations, NodesRefused, Operator, PathRule, Permitted, RelatedKind,
    Requirement, ResourceRule, Rules, Selection, Selectors, Target, Verdict, WebhookAuthorizer, WebhookFailurePolicy,
    WebhookSetting, WebhookSource, rbac,
};
pub use body::{Body, BodyError, BoxError, RequestBody, status_response};
pub use cluster::{Cluster, Held, Holder, StoredSecret};
pub use config::{
    ABANDONED, BODY_BYTES_MAX, BODY_BYTES_PER_SECOND_MIN, BODY_GRACE, CONNECTIONS_MAX, ConnectionRules, DRAIN_TIMEOUT,
    GateConfig, GoawayChance, HANDSHAKE_TIMEOUT, HANDSHAKES_MAX, HEADER_BYTES_MAX, HEADER_READ_TIMEOUT, IDLE_TIMEOUT,
    Limits, Profile, REQUEST_TIMEOUT, STRANGER_LINGER, STREAMS_MAX, TlsMaterial,
};
pub use connection::ConnectionMetrics;
pub use draining::Draining;
pub use fairness::{Fairness, FlowControl, Weighed};
pub use gate::{Gate, Guards, Handler};
pub use identity::{
    ANONYMOUS, EXTRA_NODE_NAME, GROUP_AUTHENTICATED, GROUP_MASTERS, GROUP_NODES, GROUP_SERVICE_ACCOUNTS,
    GROUP_UNAUTHENTICATED, Identity, NODE_NAME_PREFIX, SERVICE_ACCOUNT_PREFIX,
};
pub use listener::{Drained, ListenError, Listener};
pub use live_file::{FileFollower, LiveFile, LiveFileError, Reload, keep_fresh, keep_fresh_every};
pub use metrics::{Metrics, ReloadedFile, ResourceNames};
pub use portcullis_model::strict::{Document, Fields, Nanoseconds, StrictError};
pub use query::Query;
pub use rate::Rate;
pub use refusal::not_found;
pub use request_info::{PathFault, RequestInfo, ResourceInfo, Verb, selected_name};
pub use tls::{Tls, TlsError};
pub use tokens::{KeyError, Named, NewToken, ServiceAccountIssuer, ServiceAccountKeys};
pub use trace::{TRACE_TARGET, trace_step, traced, turn_on_traces};
pub use upgrade::{Upgrade, UpgradedStream};
pub use webhook::{ReviewVersion, WebhookError};

/// A future that is made where it is asked for, because few ever wait.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
