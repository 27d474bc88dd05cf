//! Who waits for the next event of a ring. Only those are woken whom an event may concern: those who follow everything
//! under a prefix, and those who follow a word that the event has. One who is not waiting, because its reader takes
//! nothing, is not in here and costs nothing.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
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
    /// Those who follow everything under a prefix, whether they wait just now or not.
    followers: AtomicUsize,
    /// Those who follow a word.
    followers_of_words: AtomicUsize,
}

impl Signal {
    /// A number for one who will wait.
    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Relaxed)
    }

    fn kept(&self, term: Option<Term>) -> &AtomicUsize {
        if term.is_none() { &self.followers } else { &self.followers_of_words }
    }

    /// Counts one in who will follow.
    pub(super) fn join(&self, term: Option<Term>) {
        self.kept(term).fetch_add(1, Relaxed);
    }

    /// Counts one out.
    pub(super) fn part(&self, term: Option<Term>) {
        self.kept(term).fetch_sub(1, Relaxed);
    }

    /// Whom an event concerns, about: all who follow everything, and one for those who follow words, of whom it concerns few.
    pub(super) fn concerned(&self) -> usize {
        self.followers.load(Relaxed) + self.followers_of_words.load(Relaxed).min(1)
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
        let woken: Vec<Waker> = {
            let mut waiting = self.waiting();
            let Some((&(last, _), _)) = waiting.last_key_value() else { return };
            if last.is_none() {
                std::mem::take(&mut *waiting).into_values().collect()
            } else {
                let mut woken = Vec::new();
                take(&mut waiting, None, &mut woken);
                for event in batches.flat_map(|batch| &batch.events) {
                    event.terms.iter().for_each(|term| take(&mut waiting, Some(*term), &mut woken));
                }
                woken
            }
        };
        woken.into_iter().for_each(Waker::wake);
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

/// Takes out all who wait for this word. Costs what it takes, however many wait for other words.
fn take(waiting: &mut BTreeMap<(Option<Term>, u64), Waker>, term: Option<Term>, woken: &mut Vec<Waker>) {
    woken.extend(waiting.extract_if((term, 0)..=(term, u64::MAX), |_, _| true).map(|(_, waker)| waker));
}
