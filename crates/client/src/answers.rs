//! What was answered a moment ago, so that it is not asked again, and what is being asked just now, so that it is asked once
//! (upstream: the token cache, and the webhook authoriser's cache).
//!
//! A question is kept as a keyed digest: nobody who reads this process's memory later finds a token in it, and nobody outside can
//! choose two questions that meet. What is used least goes first when there is no room.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use aws_lc_rs::rand::SystemRandom;
use thiserror::Error;
use tokio::sync::OnceCell;
use tokio::time::Instant;

/// Most answers that are kept, whatever they weigh.
const ANSWERS_MAX: usize = 8192;
/// Most bytes that the answers weigh together, as those who keep them say.
const BYTES_MAX: usize = 16 << 20;

/// The system gives no random key.
#[derive(Debug, Error)]
#[error("the system gives no random numbers")]
pub struct NoRandomness;

/// A question, as a keyed digest of all its parts.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Question([u8; 32]);

impl fmt::Debug for Question {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Question(..)")
    }
}

/// Whether an answer is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// It is not.
    No,
    /// It is.
    For {
        /// How long it is good.
        ttl: Duration,
        /// What it weighs, in bytes.
        bytes: usize,
    },
}

/// Answers to questions of one sort.
pub struct Answers<V> {
    key: hmac::Key,
    held: Mutex<Held<V>>,
    asking: Mutex<HashMap<Question, Arc<OnceCell<V>>>>,
}

struct Held<V> {
    answers: HashMap<Question, Entry<V>>,
    /// The questions, by when they were last asked.
    by_use: BTreeMap<u64, Question>,
    uses: u64,
    bytes: usize,
}

struct Entry<V> {
    value: V,
    until: Instant,
    bytes: usize,
    used: u64,
}

impl<V: Clone> Answers<V> {
    /// Makes room for answers.
    ///
    /// # Errors
    /// The system gives no random key.
    pub fn new() -> Result<Self, NoRandomness> {
        Ok(Self {
            key: hmac::Key::generate(HMAC_SHA256, &SystemRandom::new()).map_err(|_| NoRandomness)?,
            held: Mutex::new(Held { answers: HashMap::new(), by_use: BTreeMap::new(), uses: 0, bytes: 0 }),
            asking: Mutex::new(HashMap::new()),
        })
    }

    /// Makes the digest of a question. Each part counts with its length, so that no two lists of parts are the same text.
    pub fn question<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> Question {
        let mut digest = hmac::Context::with_key(&self.key);
        for part in parts {
            digest.update(&(part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        let mut question = Question([0; 32]);
        for (own, byte) in question.0.iter_mut().zip(digest.sign().as_ref()) {
            *own = *byte;
        }
        question
    }

    /// Returns an answer that is still good.
    pub fn find(&self, question: &Question) -> Option<V> {
        self.held().find(question)
    }

    /// Returns an answer that is still good, or gets one by `ask`. Whoever asks the same meanwhile waits for this answer; if
    /// the one that asks goes away, the next in line asks itself.
    pub async fn get<F>(&self, question: Question, ask: impl FnOnce() -> F) -> V
    where
        F: Future<Output = (V, Keep)>,
    {
        let asked = Asked { answers: self, question, cell: self.join(question) };
        let answered = asked.cell.get_or_init(async || {
            // It may have been answered between the look and the question.
            if let Some(value) = self.find(&question) {
                return value;
            }
            let (value, keep) = ask().await;
            if let Keep::For { ttl, bytes } = keep {
                self.held().keep(question, value.clone(), ttl, bytes);
            }
            value
        });
        answered.await.clone()
    }

    fn held(&self) -> MutexGuard<'_, Held<V>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asking(&self) -> MutexGuard<'_, HashMap<Question, Arc<OnceCell<V>>>> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(&self, question: Question) -> Arc<OnceCell<V>> {
        Arc::clone(self.asking().entry(question).or_default())
    }
}

/// A question that somebody waits for. There are never more than there are requests in flight.
struct Asked<'a, V: Clone> {
    answers: &'a Answers<V>,
    question: Question,
    cell: Arc<OnceCell<V>>,
}

impl<V: Clone> Drop for Asked<'_, V> {
    fn drop(&mut self) {
        let mut asking = self.answers.asking();
        // An answered question is no longer asked; an abandoned one is still somebody else's, if they hold it too.
        let is_last = Arc::strong_count(&self.cell) <= 2;
        let is_this = asking.get(&self.question).is_some_and(|cell| Arc::ptr_eq(cell, &self.cell));
        if is_this && (is_last || self.cell.initialized()) {
            asking.remove(&self.question);
        }
    }
}

impl<V: Clone> Held<V> {
    fn find(&mut self, question: &Question) -> Option<V> {
        let entry = self.answers.get_mut(question)?;
        if entry.until <= Instant::now() {
            self.forget(question);
            return None;
        }
        self.uses += 1;
        self.by_use.remove(&entry.used);
        self.by_use.insert(self.uses, *question);
        entry.used = self.uses;
        Some(entry.value.clone())
    }

    fn keep(&mut self, question: Question, value: V, ttl: Duration, bytes: usize) {
        let bytes = bytes + size_of::<(Question, Entry<V>)>();
        self.forget(&question);
        let Some(until) = Instant::now().checked_add(ttl) else { return };
        if ttl.is_zero() || bytes > BYTES_MAX {
            return;
        }
        while self.answers.len() >= ANSWERS_MAX || self.bytes + bytes > BYTES_MAX {
            let Some((_, oldest)) = self.by_use.first_key_value() else { break };
            let oldest = *oldest;
            self.forget(&oldest);
        }
        self.uses += 1;
        self.bytes += bytes;
        self.by_use.insert(self.uses, question);
        self.answers.insert(question, Entry { value, until, bytes, used: self.uses });
    }

    fn forget(&mut self, question: &Question) {
        if let Some(entry) = self.answers.remove(question) {
            self.by_use.remove(&entry.used);
            self.bytes -= entry.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::cell::Cell;

    use tokio::sync::Notify;

    use super::*;

    const TTL: Duration = Duration::from_secs(60);

    fn question(answers: &Answers<u32>, text: &str) -> Question {
        answers.question([text.as_bytes()])
    }

    #[test]
    fn questions_differ_by_their_parts() {
        let answers = Answers::<u32>::new().unwrap();
        let ask = |parts: &[&str]| answers.question(parts.iter().map(|part| part.as_bytes()));
        assert_eq!(ask(&["ab", "c"]), ask(&["ab", "c"]));
        assert_ne!(ask(&["ab", "c"]), ask(&["a", "bc"]));
        assert_ne!(ask(&["ab"]), ask(&["ab", ""]));
        assert_ne!(ask(&[]), ask(&[""]));
        let other = Answers::<u32>::new().unwrap();
        assert_ne!(ask(&["ab"]), other.question([b"ab".as_slice()]));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_good_for_its_time() {
        let answers = Answers::new().unwrap();
        let asked = Cell::new(0);
        let check = async |text: &str, keep: Keep, expected: u32| {
            let value = answers.get(question(&answers, text), async || {
                asked.set(asked.get() + 1);
                (asked.get(), keep)
            });
            assert_eq!(value.await, expected, "{text}");
        };
        let keep = Keep::For { ttl: TTL, bytes: 10 };
        check("a", keep, 1).await;
        check("a", keep, 1).await;
        check("b", Keep::No, 2).await;
        check("b", Keep::No, 3).await;
        check("c", Keep::For { ttl: Duration::ZERO, bytes: 10 }, 4).await;
        check("c", Keep::For { ttl: Duration::ZERO, bytes: 10 }, 5).await;
        check("d", Keep::For { ttl: TTL, bytes: BYTES_MAX }, 6).await;
        check("d", Keep::For { ttl: TTL, bytes: BYTES_MAX }, 7).await;
        tokio::time::advance(TTL).await;
        check("a", keep, 8).await;
        assert!(answers.asking().is_empty());
    }

    #[tokio::test]
    async fn there_is_room_for_so_many() {
        let answers = Answers::new().unwrap();
        let keep = async |text: &str, bytes: usize| {
            answers.get(question(&answers, text), async || (0, Keep::For { ttl: TTL, bytes })).await;
        };
        keep("first", 0).await;
        keep("second", 0).await;
        for at in 2..ANSWERS_MAX {
            keep(&at.to_string(), 0).await;
        }
        // The first is used, so the second goes.
        assert!(answers.find(&question(&answers, "first")).is_some());
        keep("one more", 0).await;
        assert!(answers.find(&question(&answers, "first")).is_some());
        assert!(answers.find(&question(&answers, "second")).is_none());
        assert_eq!(answers.held().answers.len(), ANSWERS_MAX);
        keep("heavy", BYTES_MAX - 1024).await;
        let held = answers.held();
        assert!(held.bytes <= BYTES_MAX && held.answers.len() < 20, "{} {}", held.bytes, held.answers.len());
        assert_eq!(held.answers.len(), held.by_use.len());
    }

    #[tokio::test]
    async fn equal_questions_are_asked_once() {
        let answers = Arc::new(Answers::new().unwrap());
        let answered = Arc::new(Notify::new());
        let asked = Arc::new(Mutex::new(0));
        let ask = || {
            let (answers, answered, asked) = (Arc::clone(&answers), Arc::clone(&answered), Arc::clone(&asked));
            tokio::spawn(async move {
                let question = question(&answers, "same");
                let ask = async || {
                    *asked.lock().unwrap() += 1;
                    answered.notified().await;
                    (7, Keep::No)
                };
                answers.get(question, ask).await
            })
        };
        let abandoned = ask();
        let others = [ask(), ask(), ask()];
        tokio::task::yield_now().await;
        assert_eq!(*asked.lock().unwrap(), 1);
        // Whoever asked goes away: the next in line asks, and the others still wait.
        abandoned.abort();
        assert!(abandoned.await.unwrap_err().is_cancelled());
        answered.notify_one();
        for other in others {
            assert_eq!(other.await.unwrap(), 7);
        }
        assert_eq!(*asked.lock().unwrap(), 2);
        assert!(answers.asking().is_empty());
    }
}
