//! The record of who did what: events of `audit.k8s.io/v1`, the policy that says which, and where they go.
//!
//! A request has one [`Record`] from the moment its sender is known to the last byte of its answer. The [`Auditor`] opens it:
//! the policy gives its level, and at each stage the record becomes an [`Event`] that every [`Sink`] takes. Nothing here knows
//! HTTP or an object; the gate opens records, and the API server adds what only it knows.
//!
//! Reading order: `record` (the life of a record), `policy`, `event` (what a line says), `sink`; then
//! `truncate`, `batch` and `webhook` (how events leave the machine).

mod attributes;
mod auditor;
pub mod batch;
mod event;
pub mod log;
mod metrics;
mod policy;
pub mod reader;
mod record;
mod sink;
pub mod truncate;
pub mod verify;
pub mod webhook;

pub use attributes::{Attributes, Target, User};
pub use auditor::{Auditor, OnError};
pub use event::{Event, Objects};
pub use policy::{Criteria, Decided, GroupResources, Level, Policy, PolicyDocument, RuleDocument, Stage, Stages};
pub use record::{NewRecord, ObjectNames, Record};
pub use sink::{Sink, Taken, Unrecorded};

/// A future that is made where it is asked for, because few ever wait.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
