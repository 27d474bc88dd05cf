//! Where events go: a log, a webhook (upstream: audit backends).

use prometheus::IntCounter;

use crate::BoxFuture;
use crate::event::Event;

/// Why an event is not on record.
#[derive(Clone, Debug, thiserror::Error)]
#[error("audit event was not recorded: {reason}")]
pub struct Unrecorded {
    /// What went wrong, for the log of the server.
    pub reason: String,
}

/// What became of an event.
pub enum Taken<'a> {
    /// It is on record, or it is not.
    Now(Result<(), Unrecorded>),
    /// Somebody else must confirm it first.
    Later(BoxFuture<'a, Result<(), Unrecorded>>),
}

/// One place that events go to.
pub trait Sink: Send + Sync {
    /// Its name in metrics and logs (upstream's: `log`, `webhook`).
    fn name(&self) -> &'static str;

    /// Takes an event. Never blocks for long: a sink that must wait answers [`Taken::Later`].
    fn take<'a>(&'a self, event: &'a Event) -> Taken<'a>;

    /// Is told where to count events that it took and lost later.
    fn count_losses(&self, counter: &IntCounter) {
        let _ = counter;
    }

    /// Says whether the next event of somebody known could be recorded; a full disk says no. What follows from it is the
    /// auditor's to decide.
    fn is_ready(&self) -> bool {
        true
    }

    /// Whether a request must fail whose first event this sink does not take (upstream: `blocking-strict`).
    fn is_strict(&self) -> bool {
        false
    }
}
