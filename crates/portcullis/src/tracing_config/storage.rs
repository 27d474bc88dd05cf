//! Tells traces how long commits take: each is a span.

use portcullis_gate::trace_step;
use portcullis_store::engine::{BoxFuture, Commit, CommitError, Committed, Engine};
use tracing::Instrument as _;

use crate::commits::Around;

/// Makes each commit a span.
pub(super) struct Spans;

impl Around for Spans {
    fn commit<'a>(&'a self, engine: &'a dyn Engine, commit: Commit) -> BoxFuture<'a, Result<Committed, CommitError>> {
        Box::pin(engine.commit(commit).instrument(trace_step("Commit")))
    }
}
