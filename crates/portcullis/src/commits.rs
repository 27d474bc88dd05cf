//! A store that has somebody beside it for as long as a commit takes: traces, or measurements. Reads answer from memory and are nobody's
//! business.

use std::sync::Arc;

use portcullis_store::engine::{
    BoxFuture, Commit, CommitError, Committed, Engine, Footprint, Interest, Limits, Newest, ReadError, Stats,
    SubscribeError, Subscription, Volume,
};
use portcullis_store::{Resealed, Snapshot, Verified};

/// Makes a commit, and does something of its own around it.
pub(crate) trait Around: Send + Sync + 'static {
    /// Makes it.
    fn commit<'a>(&'a self, engine: &'a dyn Engine, commit: Commit) -> BoxFuture<'a, Result<Committed, CommitError>>;
}

/// Another store, and what is done around its commits.
pub(crate) struct Attended<A>(pub(crate) Arc<dyn Engine>, pub(crate) A);

impl<A: Around> Engine for Attended<A> {
    fn limits(&self) -> Limits {
        self.0.limits()
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Committed, CommitError>> {
        self.1.commit(&*self.0, commit)
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

    fn footprint(&self) -> Footprint {
        self.0.footprint()
    }

    fn reopen(&self) -> BoxFuture<'_, Result<usize, ReadError>> {
        self.0.reopen()
    }

    fn reseal(&self) -> BoxFuture<'_, Result<Resealed, ReadError>> {
        self.0.reseal()
    }

    fn verify(&self) -> BoxFuture<'_, Result<Verified, ReadError>> {
        self.0.verify()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.0.close()
    }
}
