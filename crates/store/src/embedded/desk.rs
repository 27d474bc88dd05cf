//! Who commits: one thread for all, or whoever is alone.
//!
//! A caller that hands its commit to the thread and waits costs two wakes of sleeping processors, each as long as the sync of a fast
//! disk. So where nobody else commits and the last write was over soon, the caller writes itself. As soon as two write at once the
//! thread does it for them, with one sync for both; and a disk that takes its time keeps nobody but the thread.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};

use super::committer::{Batch, Committer, Message, Next, Queued, Written};
use crate::memory::Memory;

/// Followers of the rings that a commit goes to, if its caller is to write it: it answers only after it woke them.
const FOLLOWERS_MAX: usize = 32;

/// Where the committer is, for the one who has something for it.
pub(super) struct Desk {
    /// None once it has ended.
    committer: Mutex<Option<Committer>>,
    memory: Arc<Memory>,
    callers_may_write: bool,
}

impl Desk {
    pub(super) fn new(committer: Committer, callers_may_write: bool) -> Self {
        let memory = Arc::clone(&committer.memory);
        Desk { committer: Mutex::new(Some(committer)), memory, callers_may_write }
    }

    /// The thread: works until it is closed, nobody can send any more, or durability is lost.
    pub(super) fn run(&self, mut queue: mpsc::Receiver<Message>) {
        // There may be words to be read.
        let mut next = Next::Proceed;
        let mut waiting = Vec::new();
        while next != Next::End {
            let first = match next {
                Next::Proceed => queue.try_recv().or_else(|error| match error {
                    mpsc::error::TryRecvError::Empty => Ok(Message::Tick(None)),
                    mpsc::error::TryRecvError::Disconnected => Err(error),
                }),
                _ => queue.blocking_recv().ok_or(mpsc::error::TryRecvError::Disconnected),
            };
            let Ok(first) = first else { break };
            let batch = Batch::gather(first, &mut queue);
            next = self.settle(batch, &mut waiting);
            if next == Next::Continue {
                // One who went away does not need the answer.
                for waiting in waiting.drain(..) {
                    let _: Result<(), ()> = oneshot::Sender::send(waiting, ());
                }
            }
        }
        self.end(queue);
    }

    fn settle(&self, batch: Batch, waiting: &mut Vec<oneshot::Sender<()>>) -> Next {
        // Nobody knows what a caller that panicked left behind.
        let Ok(mut held) = self.committer.lock() else { return batch.refuse() };
        let Some(committer) = held.as_mut().filter(|committer| !committer.is_lost) else { return batch.refuse() };
        committer.settle(batch, waiting)
    }

    /// Writes a commit here and now, and answers it, where that is as good as giving it to the thread. Gives it back otherwise.
    pub(super) fn serve_alone(&self, queued: Queued, queue: &mpsc::Sender<Message>) -> Option<Queued> {
        if !self.callers_may_write {
            return Some(queued);
        }
        let Ok(mut held) = self.committer.try_lock() else { return Some(queued) };
        let has_others = queue.is_closed() || queue.capacity() < queue.max_capacity();
        let is_free =
            |committer: &&mut Committer| !has_others && !self.memory.budget().is_overdrawn() && committer.is_free();
        let Some(committer) = held.as_mut().filter(is_free) else { return Some(queued) };
        let keys = queued.commit.operations.iter().map(|operation| &*operation.key);
        if keys.map(|key| self.memory.volume(key).followers).sum::<usize>() > FOLLOWERS_MAX {
            return Some(queued);
        }
        if committer.write(vec![queued]) == Written::Lost {
            // The thread has to see it, which it does with any message; if there is no room, it has some.
            let _ = queue.try_send(Message::Tick(None));
        }
        None
    }

    /// Answers what is still queued, lets go of the file and its lock, and then says so.
    fn end(&self, mut queue: mpsc::Receiver<Message>) {
        queue.close();
        // Until there is nothing, not until it is empty: a sender that has its place may not have put anything there yet.
        while let Some(message) = queue.blocking_recv() {
            message.refuse();
        }
        drop(self.committer.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.memory.close();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::thread::ThreadId;

    use bytes::Bytes;

    use super::*;
    use crate::{
        Budget, CommitError, Engine, Opaque, Operation, Snapshot, SubscriptionError,
        budget::LIMIT_BYTES_DEFAULT,
        embedded::{
            Embedded, Options,
            clock::Deadlines,
            journal::{JournalError, Rows, Scripted},
        },
        memory::RING_LIMITS,
    };

    /// Commits of which one is written by its caller, if any can be.
    const COMMITS: usize = 10_000;
    /// Commits of which one would be, very likely, if it could.
    const COMMITS_OF_THREAD: usize = 1000;

    struct Bench {
        engine: Embedded,
        writers: Arc<Mutex<Vec<ThreadId>>>,
        failures: Arc<Mutex<Vec<String>>>,
    }

    /// Notes who writes; the writes of who `fails` are lost.
    fn bench(is_quick: bool, callers_may_write: bool, fails: Option<ThreadId>) -> Bench {
        let (writers, failures) = <(Arc<Mutex<Vec<ThreadId>>>, Arc<Mutex<Vec<String>>>)>::default();
        let noted = Arc::clone(&failures);
        let options = Options {
            callers_may_write,
            on_failure: Box::new(move |reason| noted.lock().unwrap().push(reason.to_owned())),
            ..Options::new("unused")
        };
        let budget = Arc::new(Budget::new(LIMIT_BYTES_DEFAULT));
        let memory = Memory::new(Snapshot::empty(1), RING_LIMITS, Arc::new(Opaque), budget);
        let noted = Arc::clone(&writers);
        let write = move |_: &Rows| {
            let writer = std::thread::current().id();
            noted.lock().unwrap().push(writer);
            if fails == Some(writer) { Err(JournalError::Lost("a failed sync".into())) } else { Ok(()) }
        };
        let journal = Box::new(Scripted { is_quick, write });
        Bench { engine: Embedded::start(options, memory, journal, Deadlines::default()).unwrap(), writers, failures }
    }

    impl Bench {
        async fn put(&self, number: usize) -> Result<u64, CommitError> {
            let create = Operation::create(format!("/registry/{number}"), Bytes::new());
            self.engine.commit(create.into()).await.map(|committed| committed.revision)
        }

        /// Whether this thread wrote the last commit.
        fn wrote_itself(&self) -> bool {
            *self.writers.lock().unwrap().last().unwrap() == std::thread::current().id()
        }
    }

    /// Whether one of many commits, one after the other, was written by the thread that asked for it.
    async fn anybody_writes(bench: &Bench, commits: usize) -> bool {
        for number in 0..commits {
            assert_eq!(bench.put(number).await.unwrap(), number as u64 + 2);
            if bench.wrote_itself() {
                return true;
            }
        }
        false
    }

    #[tokio::test]
    async fn who_is_alone_writes() {
        let bench = bench(true, true, None);
        assert!(anybody_writes(&bench, COMMITS).await);
        // And so does not have to wait for anybody.
        bench.engine.close().await;
        assert!(matches!(bench.put(COMMITS).await, Err(CommitError::Closed)));
    }

    #[tokio::test]
    async fn the_thread_writes_where_it_takes_long_or_callers_may_not() {
        for (is_quick, callers_may_write) in [(false, true), (true, false)] {
            let bench = bench(is_quick, callers_may_write, None);
            assert!(!anybody_writes(&bench, COMMITS_OF_THREAD).await, "{is_quick} {callers_may_write}");
        }
    }

    /// Looking for room takes long.
    #[tokio::test]
    async fn the_thread_writes_where_memory_is_full() {
        let bench = bench(true, true, None);
        bench.engine.memory.budget().charge_body(LIMIT_BYTES_DEFAULT + 1);
        assert!(!anybody_writes(&bench, COMMITS_OF_THREAD).await);
    }

    #[tokio::test]
    async fn the_thread_writes_what_many_follow() {
        let bench = bench(true, true, None);
        let mut followers = Vec::new();
        for _ in 0..=FOLLOWERS_MAX {
            followers.push(bench.engine.subscribe("/registry/".into(), 1).await.unwrap());
        }
        assert!(!anybody_writes(&bench, COMMITS_OF_THREAD).await);
    }

    /// Each commit has its own revision and is there, whoever wrote it.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn callers_and_the_thread_take_turns() {
        const CALLERS: usize = 4;
        let bench = Arc::new(bench(true, true, None));
        let one = |caller: usize| {
            let bench = Arc::clone(&bench);
            tokio::spawn(async move {
                let mut revisions = Vec::new();
                for number in 0..COMMITS / CALLERS {
                    revisions.push(bench.put(caller * COMMITS + number).await.unwrap());
                    if number % 100 == caller {
                        tokio::task::yield_now().await;
                    }
                }
                revisions
            })
        };
        let mut revisions = Vec::new();
        for task in (0..CALLERS).map(one).collect::<Vec<_>>() {
            revisions.extend(task.await.unwrap());
        }
        revisions.sort_unstable();
        assert!(revisions.iter().copied().eq(2..COMMITS as u64 + 2));
        assert_eq!(bench.engine.snapshot().len(), COMMITS);
    }

    #[tokio::test]
    async fn a_caller_whose_sync_fails_ends_everything() {
        let bench = bench(true, true, Some(std::thread::current().id()));
        let mut events = bench.engine.subscribe("/nowhere/".into(), 1).await.unwrap();
        let mut number = 0;
        let error = loop {
            match bench.put(number).await {
                Ok(_) => number += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, CommitError::OutcomeUnknown { .. }), "{error}");
        assert!(matches!(bench.put(number + 1).await, Err(CommitError::Closed)));
        assert_eq!(*bench.failures.lock().unwrap(), ["durability is lost: a failed sync"]);
        assert_eq!(events.next().await, Err(SubscriptionError::Closed));
        assert_eq!(bench.engine.snapshot().len(), number);
    }
}
