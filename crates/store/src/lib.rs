//! Where objects are kept: one engine trait, the embedded engine over SQLite, and the engine over etcd v3.
//!
//! This crate never looks into a value (objects are opaque bytes to it), never makes a key (the registry does, in
//! upstream's layout) and never talks to a client. Answers to upstream's `storage.Interface` and to the etcd v3 API
//! beneath it.
//!
//! Reading order:
//! - [`engine`]: keys, conditional commits, events, and the [`Engine`] trait;
//! - [`entry`]: what is under a key, with its index and what was made of it on demand;
//! - [`catalog`]: what an engine asks about keys and values it does not understand;
//! - [`budget`]: the one account of memory, and the three steps when it is overdrawn;
//! - [`snapshot`]: immutable views of all entries at one revision, in key order and by word;
//! - [`digest`]: one number for a whole state;
//! - [`verified`]: what a comparison of memory with what is stored found;
//! - [`transfer`]: everything that a store holds, on its way to another one;
//! - `memory`: the published view with its rings of events, which both engines fill and subscriptions read;
//! - [`embedded`]: one file, one committer, one sync for many commits;
//! - `etcd` (feature `etcd`): the same trait over a cluster of etcd servers;
//! - `suite` (feature `suite`): the cases that every engine must pass.

pub mod budget;
pub mod catalog;
pub mod digest;
pub mod embedded;
pub mod engine;
pub mod entry;
#[cfg(feature = "etcd")]
pub mod etcd;
mod memory;
pub mod sealing;
pub mod snapshot;
#[cfg(feature = "suite")]
pub mod suite;
pub mod transfer;
pub mod verified;

pub use budget::Budget;
pub use catalog::{Catalog, Index, IndexBuilder, Opaque, Term, Text};
pub use digest::{Digest, Digested};
pub use engine::{
    Change, Commit, CommitError, Committed, Condition, Engine, Event, EventBatch, Footprint, Interest, Key, Limits,
    Newest, Operation, ReadError, Refusal, RingStats, Stats, SubscribeError, Subscription, SubscriptionError, Volume,
};
pub use entry::{Entry, Stored};
pub use sealing::{Opened, Resealed, Sealing, Unsealed};
pub use snapshot::Snapshot;
pub use verified::{Difference, Findings, Verified};
