//! State that is derived from stored objects and kept up with them: RBAC's rules, the graph of nodes (upstream: shared informers
//! with event handlers).
//!
//! Nothing runs between questions. Whoever asks first after a write reads what happened since from the rings, so an answer knows
//! every write that was acknowledged before the question. Only when so much happened that a ring has forgotten, the state is built
//! anew from a snapshot.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use futures_util::FutureExt as _;
use portcullis_store::{Engine, Entry, Event, EventBatch, Interest, Snapshot, Subscription};

/// State that can be built from objects, and changed by what happens to one.
pub trait Derived: Send + Sync + 'static {
    /// Forgets everything and begins with these objects, by key.
    fn reset(&mut self, entries: &mut dyn Iterator<Item = (&str, &Entry)>);

    /// Takes one change in.
    fn apply(&mut self, event: &Event);
}

/// Derived state and the place in history that it is at.
pub struct Follower<S> {
    engine: Arc<dyn Engine>,
    prefixes: Vec<String>,
    /// Every change up to this revision is in the state; changed while `cursors` is held.
    seen: AtomicU64,
    cursors: Mutex<Cursors>,
    state: RwLock<S>,
}

/// A place in the history of each prefix; none before the first question.
type Cursors = Option<Vec<Box<dyn Subscription>>>;

impl<S: Derived> Follower<S> {
    /// Follows what is stored under the prefixes. Nothing is read before the first question.
    pub fn new(engine: Arc<dyn Engine>, prefixes: Vec<String>, state: S) -> Follower<S> {
        Follower { engine, prefixes, seen: AtomicU64::new(0), cursors: Mutex::new(None), state: RwLock::new(state) }
    }

    /// Looks at the state, which knows every write that was acknowledged before. The state cannot change meanwhile, so a look is
    /// short and waits for nobody.
    pub fn read<R>(&self, look: impl FnOnce(&S) -> R) -> R {
        let revision = self.engine.snapshot().revision();
        if self.seen.load(Ordering::Acquire) < revision {
            self.catch_up(revision);
        }
        look(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn catch_up(&self, revision: u64) {
        let mut cursors = self.lock();
        if self.seen.load(Ordering::Acquire) >= revision {
            return;
        }
        let mut news = Vec::new();
        let is_whole =
            cursors.as_mut().is_some_and(|cursors| cursors.iter_mut().all(|cursor| drain(&mut **cursor, &mut news)));
        let mut seen = revision;
        // Most writes are of no interest, and then nobody waits.
        if !is_whole || !news.is_empty() {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            if is_whole {
                news.iter().flat_map(|batch| &batch.events).for_each(|event| state.apply(event));
            } else {
                let snapshot = self.engine.snapshot();
                let entries = self.prefixes.iter().flat_map(|prefix| snapshot.range(prefix, None));
                state.reset(&mut entries.map(|(key, entry)| (&**key, entry)));
                *cursors = self.subscribe(&snapshot);
                seen = snapshot.revision();
            }
        }
        self.seen.store(seen, Ordering::Release);
    }

    /// Whoever panicked while it held the cursors left the state half changed: it is built anew.
    fn lock(&self) -> MutexGuard<'_, Cursors> {
        self.cursors.lock().unwrap_or_else(|poisoned| {
            self.cursors.clear_poison();
            let mut cursors = poisoned.into_inner();
            *cursors = None;
            cursors
        })
    }

    /// Cursors after a snapshot; none when the store cannot give them now, and then the next change builds the state anew.
    fn subscribe(&self, snapshot: &Snapshot) -> Cursors {
        let subscribe = |prefix: &String| {
            let subscription = self.engine.subscribe(Interest::from(prefix), snapshot.revision());
            subscription.now_or_never().and_then(Result::ok)
        };
        self.prefixes.iter().map(subscribe).collect()
    }
}

/// Takes what happened; false when a part of it is forgotten already.
fn drain(cursor: &mut dyn Subscription, news: &mut Vec<Arc<EventBatch>>) -> bool {
    loop {
        match cursor.try_next() {
            Ok(Some(batch)) => news.push(batch),
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests;
