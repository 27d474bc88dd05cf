//! The queue between requests and the task that makes batches: bounded in events and in bytes, and in both for strangers first.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{Losses, Settings};
use crate::sink::Unrecorded;

/// Bytes of all events that were taken and are not delivered yet.
pub const QUEUE_BYTES_MAX: usize = 64 << 20;
/// The part of the queue that events of strangers may fill: one of so many.
const STRANGERS_SHARE: usize = 8;

/// The end of the queue that events are put in at.
#[derive(Clone)]
pub struct Queue {
    sender: mpsc::Sender<Queued>,
    held: Arc<Held>,
    losses: Arc<Losses>,
    len_max: usize,
}

/// What is in the queue, or taken from it and not delivered yet.
#[derive(Debug, Default)]
struct Held {
    bytes: AtomicUsize,
    strangers: AtomicUsize,
    stranger_bytes: AtomicUsize,
}

/// An event that was taken. Dropped before it is settled, it is lost.
pub(super) struct Queued {
    pub(super) line: Bytes,
    is_stranger: bool,
    is_settled: bool,
    held: Arc<Held>,
    losses: Arc<Losses>,
}

impl Queue {
    /// Puts an event in: one line of JSON without a newline.
    ///
    /// # Errors
    /// There is no room, or the server ends.
    pub fn push(&self, line: Bytes, is_stranger: bool) -> Result<(), Unrecorded> {
        let refuse = |reason: &str| Err(Unrecorded { reason: reason.to_owned() });
        let permit = match self.sender.try_reserve() {
            Ok(permit) => permit,
            Err(mpsc::error::TrySendError::Full(())) => return refuse("the queue is full"),
            Err(mpsc::error::TrySendError::Closed(())) => return refuse("the server ends"),
        };
        // Two that come at once may both be let in over the limit, by one event each.
        let Held { bytes, strangers, stranger_bytes } = &*self.held;
        let len = line.len();
        if bytes.load(Ordering::Relaxed) + len > QUEUE_BYTES_MAX {
            return refuse("the queue holds too many bytes");
        }
        if is_stranger
            && (strangers.load(Ordering::Relaxed) >= (self.len_max / STRANGERS_SHARE).max(1)
                || stranger_bytes.load(Ordering::Relaxed) + len > QUEUE_BYTES_MAX / STRANGERS_SHARE)
        {
            return refuse("the part of the queue for unauthenticated requests is full");
        }
        self.held.add(len, is_stranger);
        let (held, losses) = (Arc::clone(&self.held), Arc::clone(&self.losses));
        permit.send(Queued { line, is_stranger, is_settled: false, held, losses });
        Ok(())
    }
}

impl Held {
    fn add(&self, len: usize, is_stranger: bool) {
        self.bytes.fetch_add(len, Ordering::Relaxed);
        if is_stranger {
            self.strangers.fetch_add(1, Ordering::Relaxed);
            self.stranger_bytes.fetch_add(len, Ordering::Relaxed);
        }
    }

    fn remove(&self, len: usize, is_stranger: bool) {
        self.bytes.fetch_sub(len, Ordering::Relaxed);
        if is_stranger {
            self.strangers.fetch_sub(1, Ordering::Relaxed);
            self.stranger_bytes.fetch_sub(len, Ordering::Relaxed);
        }
    }
}

impl Queued {
    /// It is known what became of it.
    pub(super) fn settle(mut self) {
        self.is_settled = true;
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.held.remove(self.line.len(), self.is_stranger);
        if !self.is_settled {
            self.losses.add(1, "it was not delivered before the server ended");
        }
    }
}

/// The end that batches are taken from.
pub(super) struct Incoming {
    receiver: mpsc::Receiver<Queued>,
    is_closed: bool,
    /// What was received and is in no batch yet, and how many bytes that is.
    waiting: VecDeque<Queued>,
    waiting_bytes: usize,
    received: Vec<Queued>,
}

pub(super) fn bounded(settings: &Settings, losses: &Arc<Losses>) -> (Queue, Incoming) {
    let len_max = settings.queue_len_max.max(1);
    let (sender, receiver) = mpsc::channel(len_max);
    let queue = Queue { sender, held: Arc::default(), losses: Arc::clone(losses), len_max };
    let (waiting, received) = (VecDeque::new(), Vec::new());
    (queue, Incoming { receiver, is_closed: false, waiting, waiting_bytes: 0, received })
}

impl Incoming {
    /// Refuses what was not put in yet.
    pub(super) fn close(&mut self) {
        self.receiver.close();
        self.is_closed = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Waits for events and takes some; 0 when there will be none. Loses nothing when it is dropped unfinished.
    pub(super) async fn receive(&mut self, len_max: usize) -> usize {
        let received = self.receiver.recv_many(&mut self.received, len_max.max(1)).await;
        self.waiting_bytes += self.received.iter().map(|queued| queued.line.len()).sum::<usize>();
        self.waiting.extend(self.received.drain(..));
        received
    }

    pub(super) fn has_some(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Says whether what is at hand needs not wait for more.
    pub(super) fn is_batch(&self, len_max: usize, bytes_max: usize) -> bool {
        self.waiting.len() >= len_max || self.waiting_bytes >= bytes_max
    }

    /// Takes as many as one batch may have, and always one.
    pub(super) fn cut(&mut self, len_max: usize, bytes_max: usize) -> Vec<Queued> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(next) = self.waiting.front() {
            let fits = batch.len() < len_max && bytes + next.line.len() <= bytes_max;
            if !fits && !batch.is_empty() {
                break;
            }
            bytes += next.line.len();
            batch.extend(self.waiting.pop_front());
        }
        self.waiting_bytes -= bytes;
        batch
    }
}
