//! Who may be served at once: levels of priority with seats, flows that share a level fairly, queues with an end (upstream: API
//! Priority and Fairness, KEP-1040, `flowcontrol.apiserver.k8s.io`).
//!
//! A request is classified (`classify`: the first flow schema that matches gives a level and a flow), weighed ([`Width`]), and
//! admitted by its level (`dispatcher`), at once or from a queue. It holds a [`Seat`] until it is done. Nothing here knows HTTP,
//! and nothing here has a task of its own.
//!
//! Reading order: `configuration`, `classify`; `dispatcher` (the interface, and what differs from upstream), `level` and
//! `level/state` (one level: who gets seats), `queue` and `shuffle` (whose turn it is), `limits`, `pool` and `hub` (all levels:
//! whose seats, and who borrows them), `seat`; `demand`, `retry_after`, `metrics`, `dump`.

mod classify;
mod configuration;
mod demand;
mod dispatcher;
mod dump;
mod hub;
mod level;
mod limits;
mod metrics;
mod pool;
mod queue;
mod retry_after;
mod seat;
mod shuffle;

pub use classify::{Classifier, Digest, Flow, Target};
pub use configuration::{
    CATCH_ALL, Configuration, Distinguisher, EXEMPT, FlowSchema, Level, LevelKind, NonResourceRule, Overload,
    PolicyRule, ResourceRule, Subject,
};
pub use dispatcher::{Describe, Details, Dispatcher, Rejected, RejectedBecause, Seat, Width};
