//! How far etcd is, asked once for all readers that wait: one that came while a question was out waits for the next one, since the
//! answer may be older than the reader's own request.

use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use super::link::Link;

/// Readers that wait for one answer; more wait to be let in.
const READERS_MAX: usize = 1024;

/// Asks for the revision of etcd.
#[derive(Clone)]
pub(super) struct Reached(mpsc::Sender<oneshot::Sender<Result<u64, Status>>>);

impl Reached {
    /// Begins to answer; ends when the last clone is gone.
    pub(super) fn new(link: Link) -> Reached {
        let (readers, mut waiting) = mpsc::channel::<oneshot::Sender<Result<u64, Status>>>(READERS_MAX);
        tokio::spawn(async move {
            let mut round = Vec::new();
            while waiting.recv_many(&mut round, READERS_MAX).await > 0 {
                let revision = link.revision().await;
                // A reader that does not wait any more has gone.
                round.drain(..).for_each(|reader| drop(reader.send(revision.clone())));
            }
        });
        Reached(readers)
    }

    /// A revision that etcd has reached, not older than this call.
    pub(super) async fn now(&self) -> Result<u64, Status> {
        let (sender, answer) = oneshot::channel();
        let ended = || Status::unavailable("the store is closed");
        self.0.send(sender).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }
}
