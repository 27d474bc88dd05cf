//! Where objects are kept: one engine trait, the embedded engine over SQLite, and the engine over etcd v3.
//!
//! This crate never looks into a value (objects are opaque bytes to it), never makes a key (the registry does, in
//! upstream's layout) and never talks to a client. Answers to upstream's `storage.Interface` and to the etcd v3 API
//! beneath it.
//!
//! Reading order:
//! - [`engine`]: keys, entries, conditional commits, and the [`Engine`] trait;
//! - [`snapshot`]: immutable views of all entries at one revision;
//! - `memory`: the published view with its recent history, which both engines fill and subscriptions read;
//! - [`embedded`]: one file, one committer, one sync for many commits;
//! - `etcd` (feature `etcd`): the same trait over a cluster of etcd servers;
//! - `suite` (feature `suite`): the cases that every engine must pass.

pub mod embedded;
pub mod engine;
#[cfg(feature = "etcd")]
pub mod etcd;
mod memory;
pub mod snapshot;
#[cfg(feature = "suite")]
pub mod suite;

pub use engine::{
    Change, Commit, CommitError, Committed, Condition, Engine, Entry, Event, EventBatch, Key, Limits, Newest,
    Operation, ReadError, Refusal, SubscribeError, Subscription, SubscriptionError,
};
pub use snapshot::Snapshot;
