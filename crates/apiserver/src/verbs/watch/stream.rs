//! The body of a watch: a cursor into the store's events, and what of it is being sent.
//!
//! It is a state machine that only its connection moves: nothing runs, is made or is queued unless the connection asks for more. So an
//! idle watcher costs this struct and a place among those who wait, and one that does not read costs what its connection has
//! taken and nothing else, until its place in the history is gone and it is told 410.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use std::vec::IntoIter;

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame};
use portcullis_fairness::Seat;
use portcullis_gate::{BoxError, Draining};
use portcullis_model::status::Status;
use portcullis_store::{Entry, Event, EventBatch, Subscription, SubscriptionError};
use tokio::time::{Instant, Sleep, sleep_until};

use super::frame::{EventType, Framer};
use crate::answer::Failure;
use crate::env::Env;
use crate::metrics::{OfResource, WatchList};
use crate::verbs::select::Selection;

/// Between bookmarks (upstream: about a minute).
pub(super) const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);
/// The last bookmark comes this long before the end (upstream's too).
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);
/// Frames of changes that are ready together leave as one piece of at most this size: a TLS record.
const JOINED_BYTES_MAX: usize = 16 * 1024;
/// The state is made and sent in pieces that end with the object that reaches this size.
const STATE_BYTES: usize = 32 * 1024;
/// Events that are looked at, or frames that are sent, before others have their turn and the clock is looked at.
const EVENTS_AT_ONCE_MAX: usize = 512;

/// What a watch begins with.
pub(super) struct Beginning {
    /// The objects that are there, if they are to be sent.
    pub(super) state: Vec<Entry>,
    /// Whether a bookmark ends the state.
    pub(super) ends_state: bool,
    /// Only changes after this version are sent.
    pub(super) after: u64,
    /// Whether bookmarks are sent, and when the first one is due.
    pub(super) first_bookmark: Option<Instant>,
    /// When the watch ends.
    pub(super) deadline: Instant,
    /// What sending the state costs; it is given back then.
    pub(super) seat: Seat,
    /// Where its events are counted.
    pub(super) counts: Arc<OfResource>,
    /// Measures how long it takes to send the state, where that has an end that is told.
    pub(super) watch_list: Option<WatchList>,
}

/// The body of a watch.
pub(super) struct WatchBody {
    framer: Framer,
    selection: Selection,
    env: Arc<dyn Env>,
    /// The state that is still to be sent.
    state: IntoIter<Entry>,
    ends_state: bool,
    after: u64,
    subscription: Box<dyn Subscription>,
    /// A commit that is being sent, and how many of its events were looked at.
    batch: Option<(Arc<EventBatch>, usize)>,
    /// A frame that is ready and did not fit to those before it.
    held: Option<Bytes>,
    /// Frames since the clock was looked at.
    sent: usize,
    is_bookmark_due: bool,
    deadline: Instant,
    /// Fires when the next bookmark is due, or at the end.
    timer: Pin<Box<Sleep>>,
    tick: Instant,
    draining: Draining,
    begun: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Whom the two wake.
    waker: Option<Waker>,
    /// Held until the connection has taken the state.
    seat: Option<Seat>,
    counts: Arc<OfResource>,
    watch_list: Option<WatchList>,
    is_over: bool,
}

/// What comes next in the history.
enum Step {
    /// A frame. It is the last one if the watch is over.
    Frame(Bytes),
    /// Nothing any more.
    End,
}

impl WatchBody {
    pub(super) fn new(
        framer: Framer,
        selection: Selection,
        env: Arc<dyn Env>,
        subscription: Box<dyn Subscription>,
        draining: Draining,
        beginning: Beginning,
    ) -> WatchBody {
        let Beginning { state, ends_state, after, first_bookmark, deadline, seat, counts, watch_list } = beginning;
        let tick = first_bookmark.map_or(deadline, |first| next_tick(first, deadline, Instant::now()));
        WatchBody {
            framer,
            selection,
            env,
            state: state.into_iter(),
            ends_state,
            after,
            subscription,
            batch: None,
            held: None,
            sent: 0,
            is_bookmark_due: false,
            deadline,
            timer: Box::pin(sleep_until(tick)),
            tick,
            begun: Box::pin(begun(draining.clone())),
            draining,
            waker: None,
            seat: Some(seat),
            counts,
            watch_list,
            is_over: false,
        }
    }

    /// The next bytes to send; nothing at the end.
    fn poll_bytes(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.is_over {
            return Poll::Ready(self.held.take());
        }
        if let Some(bytes) = self.state_bytes() {
            return Poll::Ready(Some(bytes));
        }
        // From here on it costs only what changes, which is charged to who changes it.
        if let Some(seat) = self.seat.take() {
            seat.release();
        }
        if self.sent == EVENTS_AT_ONCE_MAX {
            self.sent = 0;
            if let Poll::Ready(bytes) = self.poll_clock(context) {
                return Poll::Ready(bytes);
            }
        }
        if let Poll::Ready(bytes) = self.poll_changes(context) {
            self.sent += 1;
            return Poll::Ready(bytes);
        }
        self.sent = 0;
        self.poll_clock(context)
    }

    /// A piece of the state; nothing when all of it is sent.
    fn state_bytes(&mut self) -> Option<Bytes> {
        if self.state.as_slice().is_empty() && !self.ends_state {
            return None;
        }
        let now = self.now_seconds();
        let mut out = Vec::new();
        while out.len() < STATE_BYTES
            && let Some(entry) = self.state.next()
        {
            if out.is_empty() {
                out.reserve(STATE_BYTES + entry.value.len());
            }
            let before = out.len();
            if let Err(status) = self.framer.push_state(&entry, now, &mut out) {
                out.extend_from_slice(&self.last_words(&status));
                return Some(out.into());
            }
            self.counts.event(out.len() - before);
        }
        if self.state.as_slice().is_empty() {
            // Frees the list itself.
            self.state = Vec::new().into_iter();
            if std::mem::take(&mut self.ends_state) {
                let bookmark = self.framer.bookmark(self.after, true);
                self.counts.event(bookmark.len());
                out.extend_from_slice(&bookmark);
                if let Some(watch_list) = self.watch_list.take() {
                    watch_list.end();
                }
            }
        }
        Some(out.into())
    }

    /// The next change, joined with those that are ready and small.
    fn poll_changes(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let first = match self.held.take() {
            Some(held) => held,
            None => match ready!(self.poll_step(Some(context))) {
                Step::Frame(frame) => frame,
                Step::End => return Poll::Ready(None),
            },
        };
        let mut joined = Vec::new();
        while first.len().max(joined.len()) < JOINED_BYTES_MAX
            && let Poll::Ready(Step::Frame(next)) = self.poll_step(None)
        {
            if first.len().max(joined.len()) + next.len() > JOINED_BYTES_MAX {
                self.held = Some(next);
                break;
            }
            if joined.is_empty() {
                joined.extend_from_slice(&first);
            }
            joined.extend_from_slice(&next);
        }
        Poll::Ready(Some(if joined.is_empty() { first } else { joined.into() }))
    }

    /// The next frame. Without a context it waits for nothing.
    fn poll_step(&mut self, mut context: Option<&mut Context<'_>>) -> Poll<Step> {
        if self.is_over {
            return Poll::Ready(Step::End);
        }
        for _ in 0..EVENTS_AT_ONCE_MAX {
            if let Some(event) = self.next_event() {
                match self.frame_of(&event) {
                    Ok(None) => continue,
                    Ok(Some(frame)) => {
                        self.counts.event(frame.len());
                        return Poll::Ready(Step::Frame(frame));
                    }
                    Err(status) => return Poll::Ready(Step::Frame(self.last_words(&status))),
                }
            }
            let batch = match &mut context {
                Some(context) => ready!(self.subscription.poll_next(context)).map(Some),
                None => self.subscription.try_next(),
            };
            match batch {
                // What comes before a version to come is not for one who waits for that.
                Ok(Some(batch)) if batch.revision <= self.after => {}
                Ok(Some(batch)) => self.batch = Some((batch, 0)),
                Ok(None) => return Poll::Pending,
                Err(SubscriptionError::Lagged { after, oldest }) => {
                    return Poll::Ready(Step::Frame(self.last_words(&too_old(after, oldest))));
                }
                Err(SubscriptionError::Closed) => {
                    self.is_over = true;
                    return Poll::Ready(Step::End);
                }
            }
        }
        if let Some(context) = context {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn next_event(&mut self) -> Option<Arc<Event>> {
        let (batch, seen) = self.batch.as_mut()?;
        let event = batch.events.get(*seen).cloned();
        *seen += 1;
        if *seen >= batch.events.len() {
            self.batch = None;
        }
        event
    }

    /// The frame of an event, if it is one for this watcher.
    fn frame_of(&mut self, event: &Event) -> Result<Option<Bytes>, Failure> {
        let now = if self.framer.is_shared() { 0 } else { self.now_seconds() };
        let Some(served) = self.framer.served() else { return Ok(None) };
        let is_meant = |entry: &Option<Entry>| match entry {
            Some(entry) => self.selection.matches(served, &event.key, entry),
            None => Ok(false),
        };
        let (is_meant, was_meant) = (is_meant(&event.current)?, is_meant(&event.previous)?);
        let Some(ty) = EventType::seen(is_meant, was_meant) else { return Ok(None) };
        // What leaves is shown as it was, at the version at which it left.
        let entry = if is_meant { &event.current } else { &event.previous };
        let Some(entry) = entry else { return Ok(None) };
        self.framer.change(event, ty, entry, event.revision, now).map(Some)
    }

    /// What happens without a change: bookmarks and the end.
    fn poll_clock(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let now = Instant::now();
        if now >= self.deadline || self.draining.has_begun() {
            self.is_over = true;
            return Poll::Ready(None);
        }
        if now >= self.tick {
            self.is_bookmark_due = true;
            self.tick = next_tick(now + BOOKMARK_INTERVAL, self.deadline, now);
            self.timer.as_mut().reset(self.tick);
            self.waker = None;
        }
        // A change comes far more often than these: one look at the clock is less than asking both each time.
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            self.waker = Some(context.waker().clone());
            if self.timer.as_mut().poll(context).is_ready() || self.begun.as_mut().poll(context).is_ready() {
                // Only just: next time it is seen above.
                self.waker = None;
                context.waker().wake_by_ref();
            }
        }
        // What is still to be sent of what was read already comes before the version it is of.
        if !self.is_bookmark_due || self.batch.is_some() || self.held.is_some() {
            return Poll::Pending;
        }
        self.is_bookmark_due = false;
        // One who waits for a version to come is told of none before it.
        let position = self.subscription.position();
        if position < self.after {
            return Poll::Pending;
        }
        let bookmark = self.framer.bookmark(position, false);
        self.counts.event(bookmark.len());
        Poll::Ready(Some(bookmark.into()))
    }

    /// The error that ends the watch.
    fn last_words(&mut self, status: &Status) -> Bytes {
        self.is_over = true;
        self.framer.error(status).into()
    }

    fn now_seconds(&self) -> i64 {
        self.env.now_micros().div_euclid(1_000_000)
    }
}

/// Waits until the server stops.
async fn begun(mut draining: Draining) {
    draining.begun().await;
}

/// When to wake next for a bookmark that would be due then, or for the end.
fn next_tick(due: Instant, deadline: Instant, now: Instant) -> Instant {
    match deadline.checked_sub(BOOKMARK_BEFORE_END) {
        Some(last) if last > now => due.min(last),
        _ => deadline,
    }
}

/// What is told to one whose place in the history is gone.
pub(super) fn too_old(after: u64, oldest: u64) -> Status {
    Status::expired(format!("too old resource version: {after} ({oldest})"))
}

impl HttpBody for WatchBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let bytes = ready!(self.poll_bytes(context));
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
