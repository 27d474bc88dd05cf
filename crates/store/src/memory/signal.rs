//! Who waits for the next event of a ring. Only those are woken whom an event may concern: those who follow everything
//! under a prefix, and those who follow a word that the event has. One who is not waiting, because its reader takes
//! nothing, is not in here and costs nothing.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::Waker,
};

use crate::{EventBatch, Term};

/// The waiting of one ring.
#[derive(Default)]
pub(super) struct Signal {
    /// By word (none for all) and then by the waiting one's number.
    waiting: Mutex<BTreeMap<(Option<Term>, u64), Waker>>,
    numbers: AtomicU64,
}

impl Signal {
    /// A number for one who will wait.
    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Relaxed)
    }

    /// Waits for the next event with this word, or for any.
    pub(super) fn wait(&self, term: Option<Term>, number: u64, waker: &Waker) {
        let mut waiting = self.waiting();
        match waiting.get_mut(&(term, number)) {
            Some(held) if held.will_wake(waker) => {}
            Some(held) => held.clone_from(waker),
            None => drop(waiting.insert((term, number), waker.clone())),
        }
    }

    /// Waits no more.
    pub(super) fn leave(&self, term: Option<Term>, number: u64) {
        self.waiting().remove(&(term, number));
    }

    /// Wakes those whom one of these commits may concern.
    pub(super) fn wake<'a>(&self, batches: impl Iterator<Item = &'a EventBatch>) {
        let woken = {
            let mut waiting = self.waiting();
            let Some((&(last, _), _)) = waiting.last_key_value() else { return };
            if last.is_none() {
                std::mem::take(&mut *waiting)
            } else {
                let mut woken = take(&mut waiting, None);
                for event in batches.flat_map(|batch| &batch.events) {
                    for term in &event.terms {
                        woken.append(&mut take(&mut waiting, Some(*term)));
                    }
                }
                woken
            }
        };
        woken.into_values().for_each(Waker::wake);
    }

    /// Wakes all.
    pub(super) fn wake_all(&self) {
        let woken = std::mem::take(&mut *self.waiting());
        woken.into_values().for_each(Waker::wake);
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting().len()
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<(Option<Term>, u64), Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes out all who wait for this word.
fn take(
    waiting: &mut BTreeMap<(Option<Term>, u64), Waker>,
    term: Option<Term>,
) -> BTreeMap<(Option<Term>, u64), Waker> {
    if waiting.range((term, 0)..=(term, u64::MAX)).next().is_none() {
        return BTreeMap::new();
    }
    let mut taken = waiting.split_off(&(term, 0));
    waiting.append(&mut taken.split_off(&(term, u64::MAX)));
    taken
}
