//! Sends events to a webhook (upstream: the webhook audit backend): an `EventList` is posted, and posted again while it is not
//! accepted.
//!
//! The receiver is trusted with what the log knows, so it is always verified (A21), dialled as every webhook is (A26), and a
//! redirect is a failure (CVE-2020-8561). What it answers is neither read for anything but its status, nor logged.

mod post;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use portcullis_client::{Access, Client, DialRule, KubeconfigError, SetupError, Trust};
use prometheus::IntCounter;
use thiserror::Error;

use crate::batch::{self, Batches, Deliver as _, End, Losses, Queue};
use crate::event::Event;
use crate::sink::{Sink, Taken, Unrecorded};
use crate::truncate::{self, Truncation};

use post::Poster;

/// Its name in metrics and logs.
pub const WEBHOOK: &str = "webhook";

/// Who waits for the webhook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nobody: events are gathered and sent when there are enough.
    #[default]
    Batch,
    /// Each request, for each of its events.
    Blocking,
    /// Each request, and it fails when its arrival is not recorded.
    BlockingStrict,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Batch, Self::Blocking, Self::BlockingStrict];

    /// Returns its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Blocking => "blocking",
            Self::BlockingStrict => "blocking-strict",
        }
    }
}

/// How events are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WebhookSettings {
    /// Who waits.
    pub mode: Mode,
    /// How they are gathered, if they are.
    pub batch: batch::Settings,
    /// The pause after the first attempt; each further one is longer.
    pub first_pause: Duration,
    /// How long an event may be; as long as it is when nothing is said.
    pub truncation: Option<Truncation>,
}

/// Why nothing can be sent to a webhook.
#[derive(Debug, Error)]
pub enum WebhookError {
    /// Its kubeconfig can not be used.
    #[error(transparent)]
    KubeconfigUnusable(#[from] KubeconfigError),
    /// What the kubeconfig says can not be used.
    #[error(transparent)]
    ClientUnusable(#[from] SetupError),
    /// Nobody would vouch for it (A21).
    #[error(
        "a webhook that is sent the audit log is always verified: replace insecure-skip-tls-verify by certificate-authority"
    )]
    Unverified,
}

/// Makes a client of a webhook from its kubeconfig.
///
/// # Errors
/// It can not be read or used, or says that nobody is to be verified.
pub fn client(kubeconfig: &Path, dial: DialRule) -> Result<Client, WebhookError> {
    let access = Access::from_file(kubeconfig)?;
    if matches!(access.trust, Trust::Unverified) {
        return Err(WebhookError::Unverified);
    }
    Ok(Client::new(&access, dial)?)
}

/// The webhook as a place that events go to.
pub struct Webhook {
    way: Way,
    is_strict: bool,
    truncation: Option<Truncation>,
}

enum Way {
    Batch(Queue, Arc<Losses>),
    Blocking(Box<Poster>),
}

impl Webhook {
    /// Starts sending, on the runtime of whoever calls; nothing is dialled before the first event. What was taken and lost later is
    /// counted as [`Sink::count_losses`] says; what is not taken, by whoever offers it. The task, where there is one, is to be finished at the end.
    pub fn start(client: Client, settings: &WebhookSettings) -> (Self, Option<Batches>) {
        let WebhookSettings { mode, batch, first_pause, truncation } = *settings;
        let poster = Poster::new(client, first_pause);
        let (way, batches) = match mode {
            Mode::Batch => {
                let losses = Arc::new(Losses::new(WEBHOOK));
                let (queue, batches) = Batches::start(poster, batch, Arc::clone(&losses));
                (Way::Batch(queue, losses), Some(batches))
            }
            Mode::Blocking | Mode::BlockingStrict => (Way::Blocking(Box::new(poster)), None),
        };
        (Self { way, is_strict: mode == Mode::BlockingStrict, truncation }, batches)
    }
}

impl Webhook {
    fn take_line(&self, line: Bytes, is_stranger: bool) -> Taken<'_> {
        match &self.way {
            Way::Batch(queue, _) => Taken::Now(queue.push(line, is_stranger)),
            Way::Blocking(poster) => Taken::Later(Box::pin(send(poster, line))),
        }
    }
}

impl Sink for Webhook {
    fn name(&self) -> &'static str {
        WEBHOOK
    }

    fn take<'a>(&'a self, event: &'a Event) -> Taken<'a> {
        match truncate::line(event, self.truncation.as_ref()) {
            Ok(line) => self.take_line(line.into(), event.is_stranger()),
            Err(error) => Taken::Now(Err(error)),
        }
    }

    fn count_losses(&self, counter: &IntCounter) {
        if let Way::Batch(_, losses) = &self.way {
            losses.count_by(counter);
        }
    }

    fn is_strict(&self) -> bool {
        self.is_strict
    }
}

async fn send(poster: &Poster, line: Bytes) -> Result<(), Unrecorded> {
    poster.deliver(&[line], &mut End::never()).await
}

#[cfg(test)]
mod tests;
