//! A store that tells traces how long commits take.

use std::sync::Arc;

use portcullis_gate::trace_step;
use portcullis_store::Snapshot;
use portcullis_store::engine::{
    BoxFuture, Commit, CommitError, Committed, Engine, Interest, Limits, Newest, Stats, SubscribeError, Subscription,
    Volume,
};
use tracing::Instrument as _;

/// Another store, whose commits are spans. Reads answer from memory and are none.
pub(super) struct Traced(pub(super) Arc<dyn Engine>);

impl Engine for Traced {
    fn limits(&self) -> Limits {
        self.0.limits()
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Committed, CommitError>> {
        Box::pin(self.0.commit(commit).instrument(trace_step("Commit")))
    }

    fn snapshot(&self) -> Snapshot {
        self.0.snapshot()
    }

    fn newest(&self) -> Newest<'_> {
        self.0.newest()
    }

    fn subscribe<'a>(
        &'a self,
        interest: Interest<'a>,
        after: u64,
    ) -> BoxFuture<'a, Result<Box<dyn Subscription>, SubscribeError>> {
        self.0.subscribe(interest, after)
    }

    fn stats(&self) -> Stats {
        self.0.stats()
    }

    fn volume(&self, prefix: &str) -> Volume {
        self.0.volume(prefix)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.0.close()
    }
}
