//! Connections before the end of their handshake (CVE-2026-73500 and its kind): how many there are, who makes room, whose turn it is.
//!
//! They have a room of their own, so that peers who never speak take no place from those who do. When it is full, the oldest of
//! the address that has most of them is cut to make room: a flood cuts its own connections, and nobody waits behind it. What a
//! handshake costs is signatures: its steps are taken in turns, a few at a time, and addresses take turns with each other. So a
//! flood of handshakes from one address delays another by a few steps, and a request by as many.
//!
//! Connections that are through with it and have proved no identity yet stand in a second room of the same order: when all places
//! are taken, one of them makes room for the next ([`crate::entrance`]).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::addresses::Origin;

/// Steps of handshakes that are taken at the same time; the others wait for their turn.
const STEPS_AT_ONCE_MAX: usize = 4;

/// The connections whose handshake is not finished.
pub(crate) struct Handshakes {
    max: usize,
    pending: Mutex<Pending>,
    turns: Turns,
}

#[derive(Default)]
struct Pending {
    number: u64,
    count: usize,
    /// Numbers grow with time, so the first of an address is its oldest. The handle is there once the task has begun.
    by_origin: HashMap<Origin, BTreeMap<u64, Option<AbortHandle>>>,
    /// The last one is who makes room: it has most, and of those who have as many the oldest.
    order: BTreeSet<(usize, Reverse<u64>, Origin)>,
}

/// A connection that stands among the pending ones until this is dropped, or until it is cut.
pub(crate) struct Entered {
    handshakes: Arc<Handshakes>,
    origin: Origin,
    number: u64,
}

impl Handshakes {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max: max.max(1), pending: Mutex::default(), turns: Turns::default() })
    }

    /// Lets a connection in; returns whether another was cut for it.
    pub(crate) fn enter(self: &Arc<Self>, origin: Origin) -> (Entered, bool) {
        let mut pending = self.pending();
        let is_full = pending.count >= self.max && pending.cut();
        let number = pending.number;
        pending.number += 1;
        pending.change(origin, |own| own.insert(number, None).is_none());
        (Entered { handshakes: Arc::clone(self), origin, number }, is_full)
    }

    /// Cuts one, of an address if that is named, if there is one: somebody needs what it holds.
    pub(crate) fn make_room(&self, of: Option<Origin>) -> bool {
        let mut pending = self.pending();
        match of {
            Some(origin) => pending.cut_of(origin),
            None => pending.cut(),
        }
    }

    /// Whether there is one to cut.
    pub(crate) fn could_make_room(&self, of: Option<Origin>) -> bool {
        let pending = self.pending();
        of.map_or(pending.count > 0, |origin| pending.by_origin.contains_key(&origin))
    }

    /// How many there are.
    #[cfg(test)]
    fn count(&self) -> usize {
        self.pending().count
    }

    /// Tells how a connection is cut. One that is through already, or was cut before it began, needs no more.
    pub(crate) fn began(&self, origin: Origin, number: u64, task: AbortHandle) {
        let mut pending = self.pending();
        match pending.by_origin.get_mut(&origin).and_then(|own| own.get_mut(&number)) {
            Some(handle) => *handle = Some(task),
            None => drop(pending),
        }
    }

    /// Lets in a connection that stands in another room, which it leaves.
    pub(crate) fn take_over(self: &Arc<Self>, entered: Entered) -> Entered {
        let (origin, number) = (entered.origin, entered.number);
        let task = entered.handshakes.pending().by_origin.get_mut(&origin).and_then(|own| own.get_mut(&number)?.take());
        let (taken, _) = self.enter(origin);
        if let Some(task) = task {
            self.began(origin, taken.number, task);
        }
        taken
    }

    /// Moves a handshake to its end, each step in its turn.
    pub(crate) async fn take_turns<F: Future>(&self, origin: Origin, mut handshake: Pin<&mut F>) -> F::Output {
        loop {
            let turn = self.turns.next(origin).await;
            let polled = poll_fn(|context| Poll::Ready(handshake.as_mut().poll(context))).await;
            drop(turn);
            if let Poll::Ready(output) = polled {
                return output;
            }
            until_woken().await;
        }
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entered {
    /// What names it in [`Handshakes::began`].
    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let number = self.number;
        self.handshakes.pending().change(self.origin, |own| own.remove(&number).is_some());
    }
}

impl Pending {
    /// Changes what an address has, and its place in the order.
    fn change(&mut self, origin: Origin, change: impl FnOnce(&mut BTreeMap<u64, Option<AbortHandle>>) -> bool) {
        let own = self.by_origin.entry(origin).or_default();
        let before = own.len();
        if let Some((oldest, _)) = own.first_key_value() {
            self.order.remove(&(before, Reverse(*oldest), origin));
        }
        change(own);
        self.count = (self.count + own.len()).saturating_sub(before);
        match own.first_key_value() {
            Some((oldest, _)) => drop(self.order.insert((own.len(), Reverse(*oldest), origin))),
            None => drop(self.by_origin.remove(&origin)),
        }
    }

    /// Cuts who is first to go.
    fn cut(&mut self) -> bool {
        let Some((_, _, origin)) = self.order.last().copied() else { return false };
        self.cut_of(origin)
    }

    /// Cuts the oldest one of an address.
    fn cut_of(&mut self, origin: Origin) -> bool {
        let oldest = self.by_origin.get(&origin).and_then(|own| own.first_key_value()).map(|(oldest, _)| *oldest);
        let Some(oldest) = oldest else { return false };
        let mut task = None;
        self.change(origin, |own| {
            task = own.remove(&oldest).flatten();
            true
        });
        if let Some(task) = task {
            task.abort();
        }
        true
    }
}

/// Waits until somebody wakes this task: what it waits for was told before.
async fn until_woken() {
    let mut has_waited = false;
    poll_fn(|_| if std::mem::replace(&mut has_waited, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

/// Whose turn it is: addresses one after the other, each with its oldest.
#[derive(Default)]
struct Turns(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    taken: usize,
    number: u64,
    by_origin: HashMap<Origin, BTreeMap<u64, oneshot::Sender<()>>>,
    order: VecDeque<Origin>,
}

/// The turn of one, until it is dropped; or its place among those who wait for one.
struct Turn<'a> {
    turns: &'a Turns,
    origin: Origin,
    /// Its number as long as it waits.
    waiting: Option<u64>,
}

impl Turns {
    async fn next(&self, origin: Origin) -> Turn<'_> {
        let (number, granted) = self.wait(origin);
        let mut turn = Turn { turns: self, origin, waiting: Some(number) };
        // Who grants takes the number away first. The sender is gone only together with the grant.
        let _ = granted.await;
        turn.waiting = None;
        turn
    }

    /// Nobody is served at once: who came at the same time is to be seen first.
    fn wait(&self, origin: Origin) -> (u64, oneshot::Receiver<()>) {
        let (grant, granted) = oneshot::channel();
        let mut waiting = self.waiting();
        let number = waiting.number;
        waiting.number += 1;
        let own = waiting.by_origin.entry(origin).or_default();
        let is_first = own.is_empty();
        own.insert(number, grant);
        if is_first {
            waiting.order.push_back(origin);
        }
        waiting.grant();
        (number, granted)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn grant(&mut self) {
        while self.taken < STEPS_AT_ONCE_MAX {
            let Some(origin) = self.order.pop_front() else { return };
            let Some(own) = self.by_origin.get_mut(&origin) else { continue };
            let next = own.pop_first();
            if own.is_empty() {
                self.by_origin.remove(&origin);
            } else {
                self.order.push_back(origin);
            }
            if next.is_some_and(|(_, grant)| grant.send(()).is_ok()) {
                self.taken += 1;
            }
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut waiting = self.turns.waiting();
        let mut was_waiting = false;
        if let Some(number) = self.waiting
            && let Some(own) = waiting.by_origin.get_mut(&self.origin)
        {
            was_waiting = own.remove(&number).is_some();
            if own.is_empty() {
                waiting.by_origin.remove(&self.origin);
                let origin = self.origin;
                waiting.order.retain(|other| *other != origin);
            }
        }
        // One that went away between its grant and its step has had its turn.
        if !was_waiting {
            waiting.taken = waiting.taken.saturating_sub(1);
        }
        waiting.grant();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::task::JoinSet;

    use super::*;

    fn origin(last: u8) -> Origin {
        Origin::of([192, 0, 2, last].into())
    }

    /// Enters with a task that never ends by itself.
    fn enter(handshakes: &Arc<Handshakes>, tasks: &mut JoinSet<u64>, last: u8) -> bool {
        let (entered, is_full) = handshakes.enter(origin(last));
        let number = entered.number();
        let task = tasks.spawn(async move {
            std::future::pending::<()>().await;
            drop(entered);
            number
        });
        handshakes.began(origin(last), number, task);
        is_full
    }

    #[tokio::test]
    async fn the_oldest_of_whoever_has_most_makes_room() {
        let check = async |before: &[u8], expected: u8, at: usize| {
            let (handshakes, mut tasks) = (Handshakes::new(before.len()), JoinSet::new());
            let numbers: Vec<_> = before
                .iter()
                .map(|last| {
                    assert!(!enter(&handshakes, &mut tasks, *last));
                    *last
                })
                .collect();
            assert!(enter(&handshakes, &mut tasks, 99));
            assert!(tasks.join_next().await.unwrap().unwrap_err().is_cancelled());
            assert_eq!(handshakes.count(), before.len());
            let pending = handshakes.pending();
            assert!(!pending.by_origin.get(&origin(expected)).is_some_and(|own| own.contains_key(&(at as u64))));
            assert_eq!(numbers[at], expected);
        };
        check(&[1], 1, 0).await;
        check(&[1, 2, 3], 1, 0).await;
        check(&[1, 2, 2, 3], 2, 1).await;
        check(&[1, 2, 2, 3, 3, 3], 3, 3).await;
    }

    #[tokio::test]
    async fn one_that_is_through_is_not_cut() {
        let handshakes = Handshakes::new(1);
        let (first, _) = handshakes.enter(origin(1));
        drop(first);
        let (second, is_full) = handshakes.enter(origin(1));
        assert!(!is_full);
        drop(second);
        assert!(!handshakes.make_room(None));
        assert_eq!(handshakes.pending().order.len(), 0);
    }

    #[tokio::test]
    async fn addresses_take_turns() {
        let turns = Turns::default();
        let mut held = Vec::new();
        for _ in 0..STEPS_AT_ONCE_MAX {
            held.push(turns.next(origin(9)).await);
        }
        let mut waiting: Vec<_> = [1, 1, 1, 2, 1, 3].map(|last| (last, turns.wait(origin(last)))).into();
        let mut served = Vec::new();
        for _ in 0..6 {
            held.pop();
            let at = waiting.iter_mut().position(|(_, (_, granted))| granted.try_recv().is_ok()).unwrap();
            let (last, (number, _)) = waiting.remove(at);
            served.push(last);
            let turn = Turn { turns: &turns, origin: origin(last), waiting: Some(number) };
            held.push(turn);
        }
        assert_eq!(served, [1, 2, 3, 1, 1, 1]);
        held.clear();
        assert_eq!(turns.waiting().taken, 0);
    }

    #[tokio::test]
    async fn one_that_goes_away_gives_its_turn_to_the_next() {
        let turns = Turns::default();
        let mut held = Vec::new();
        for _ in 0..STEPS_AT_ONCE_MAX {
            held.push(turns.next(origin(1)).await);
        }
        let (gone, _) = turns.wait(origin(2));
        let (_, mut stays) = turns.wait(origin(2));
        drop(Turn { turns: &turns, origin: origin(2), waiting: Some(gone) });
        held.pop();
        assert!(stays.try_recv().is_ok());
    }
}
