//! The embedded engine: every entry in memory, made durable by SQLite.
//!
//! - `directory`: one process owns the directory (0700) through a lock on `lock`; files are 0600.
//! - `journal`: the SQLite file, one row an entry, WAL with `synchronous=FULL`; it says which failures can be undone.
//! - `load`: reads the file into memory when it is opened.
//! - `committer`: one thread orders commits, checks them against memory, gives each its revision, makes a batch
//!   durable with one sync, publishes it, and only then answers. A failed sync ends the process, because nobody can
//!   tell what the disk holds afterwards.
//!
//! Current state only: history is in memory, so the file does not grow with the number of writes. The highest revision
//! is written in the transaction of its batch, and a revision is told to nobody before that transaction is durable;
//! so after a restart every new revision exceeds everything that was ever handed out.

mod committer;
mod directory;
mod journal;
mod load;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

use tokio::sync::{Semaphore, mpsc, oneshot};

use self::{
    committer::{Committer, Message, Queued},
    directory::Directory,
    journal::Sqlite,
};
use crate::{
    Budget, Catalog, Change, Commit, CommitError, Committed, Engine, Index, Interest, Limits, Newest, Opaque,
    Operation, Snapshot, Stats, SubscribeError, Subscription, Volume,
    budget::LIMIT_BYTES_DEFAULT,
    engine::{BoxFuture, OPERATIONS_MAX, Source},
    memory::{Memory, RING_LIMITS},
};

/// Format of the file; a release that changes it migrates older ones and refuses newer ones.
pub const FORMAT: u64 = 2;
/// Largest value: upstream's request body limit (3 MiB) and what defaults and managed fields may add to it.
pub const VALUE_BYTES_MAX: usize = 4 << 20;
/// Largest commit: an object of the largest size and what belongs to it.
pub const COMMIT_BYTES_MAX: usize = 8 << 20;
/// Commits waiting; more are told [`CommitError::QueueFull`]. Upstream lets in 600 requests at once by default.
pub const QUEUE_COMMITS_MAX: usize = 4096;
/// Bytes of commits waiting; more are told [`CommitError::QueueFull`].
pub const QUEUE_BYTES_MAX: usize = 64 << 20;
/// Commits made durable with one sync.
pub const BATCH_COMMITS_MAX: usize = 1024;
/// Bytes of commits made durable with one sync; the last one may go beyond.
pub const BATCH_BYTES_MAX: usize = 16 << 20;

/// What one commit may carry.
pub const LIMITS: Limits =
    Limits { operations_max: OPERATIONS_MAX, value_bytes_max: VALUE_BYTES_MAX, commit_bytes_max: COMMIT_BYTES_MAX };

/// What happens when a sync failed or the file cannot be trusted any more. It gets the reason.
pub type FailureHook = Box<dyn FnMut(&str) + Send>;

/// How to open the engine.
pub struct Options {
    /// The store's own directory; made when it is not there.
    pub directory: PathBuf,
    /// What is known of keys and values.
    pub catalog: Arc<dyn Catalog>,
    /// Bytes of memory that stored objects, what is made of them, and history may take.
    pub memory_bytes_max: usize,
    /// Called when durability is lost. Only tests let it return: the engine is then closed.
    pub on_failure: FailureHook,
}

impl Options {
    /// The directory; values are opaque, memory has its default limit, and a failure ends the process.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Options {
            directory: directory.into(),
            catalog: Arc::new(Opaque),
            memory_bytes_max: LIMIT_BYTES_DEFAULT,
            on_failure: Box::new(end_process),
        }
    }
}

/// Ends the process at once: no destructor runs, nothing more is answered.
fn end_process(reason: &str) {
    tracing::error!(reason, "durability lost, ending the process");
    std::process::abort()
}

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory could not be made, or made private.
    #[error("cannot prepare the store directory {directory:?}")]
    DirectoryFailed {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process has it open.
    #[error("the store in {directory:?} is in use by process {pid}: stop it, or use another data directory")]
    InUse {
        /// The directory.
        directory: PathBuf,
        /// The process, as it wrote itself down; `?` when it has not yet.
        pid: String,
    },
    /// The lock file could not be opened or locked.
    #[error("cannot lock {file:?}")]
    LockFailed {
        /// The lock file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A newer release wrote it. Nothing was changed.
    #[error(
        "the store in {directory:?} has format {found}, this program reads formats up to {supported}: \
         use the release that wrote it, or a newer one"
    )]
    NewerFormat {
        /// The directory.
        directory: PathBuf,
        /// The format of the file.
        found: u64,
        /// The newest format this program knows.
        supported: u64,
    },
    /// The file is a database, but not one of ours.
    #[error("{file:?} is not a store of this program")]
    NotAStore {
        /// The file.
        file: PathBuf,
    },
    /// What is in the file contradicts itself.
    #[error("the store file {file:?} is damaged: {detail}")]
    Damaged {
        /// The file.
        file: PathBuf,
        /// The contradiction.
        detail: String,
    },
    /// SQLite could not do its part.
    #[error("cannot {action} the store file {file:?}")]
    FileFailed {
        /// The file.
        file: PathBuf,
        /// What was being done.
        action: &'static str,
        /// What went wrong.
        source: Source,
    },
    /// The committer could not be started.
    #[error("cannot start the committer thread")]
    ThreadFailed {
        /// What the system said.
        source: std::io::Error,
    },
}

/// The engine. Dropping it finishes what is queued and lets go of the directory; [`Engine::close`] does so without
/// blocking.
pub struct Embedded {
    memory: Arc<Memory>,
    queue: Option<mpsc::Sender<Message>>,
    queue_bytes: Arc<Semaphore>,
    committer: Mutex<Option<JoinHandle<()>>>,
    directory: PathBuf,
}

impl Embedded {
    /// Opens the store, making it when there is none, and reads all entries. Blocks: a few milliseconds for an empty
    /// one, beyond that as long as reading the file takes.
    pub fn open(options: Options) -> Result<Embedded, OpenError> {
        let directory = Directory::acquire(&options.directory)?;
        let budget = Arc::new(Budget::new(options.memory_bytes_max));
        let (journal, loaded) = Sqlite::open(directory, &options.catalog, &budget)?;
        let catalog = Arc::clone(&options.catalog);
        let memory = Memory::new(loaded, RING_LIMITS, catalog, budget);
        Embedded::start(options, memory, journal)
    }

    fn start<J: journal::Journal>(options: Options, memory: Arc<Memory>, journal: J) -> Result<Embedded, OpenError> {
        let (queue, queued) = mpsc::channel(QUEUE_COMMITS_MAX);
        let committer = Committer::new(memory.clone(), journal, queued, options.on_failure);
        let committer = std::thread::Builder::new()
            .name("store-committer".to_string())
            .spawn(move || committer.run())
            .map_err(|source| OpenError::ThreadFailed { source })?;
        Ok(Embedded {
            memory,
            queue: Some(queue),
            queue_bytes: Arc::new(Semaphore::new(QUEUE_BYTES_MAX)),
            committer: Mutex::new(Some(committer)),
            directory: options.directory,
        })
    }

    /// The store's directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    async fn commit_queued(&self, commit: Commit) -> Result<Committed, CommitError> {
        commit.check(&LIMITS)?;
        let bytes = u32::try_from(commit.bytes()).unwrap_or(u32::MAX);
        let queue = self.queue.as_ref().ok_or(CommitError::Closed)?;
        let Ok(room) = self.queue_bytes.clone().try_acquire_many_owned(bytes) else {
            return Err(if queue.is_closed() { CommitError::Closed } else { CommitError::QueueFull });
        };
        let (answer, answered) = oneshot::channel();
        // Looked at here, by as many as write, and not by the one committer.
        let indexes = commit.operations.iter().map(|operation| self.index(operation)).collect();
        match queue.try_send(Message::Commit(Queued { commit, indexes, answer, _room: room })) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err(CommitError::QueueFull),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(CommitError::Closed),
        }
        // The committer answers everything it took; it only goes without a word when it is lost.
        answered.await.unwrap_or_else(|gone| Err(CommitError::OutcomeUnknown { source: gone.into() }))
    }

    /// What the value that an operation puts says about itself.
    fn index(&self, operation: &Operation) -> Index {
        match &operation.change {
            Change::Put(value) => self.memory.catalog().index(&operation.key, value),
            Change::Delete | Change::Check => Index::default(),
        }
    }

    async fn close_queue(&self) {
        if let Some(queue) = &self.queue {
            // An error means that the committer is gone already.
            let _ = queue.send(Message::Close).await;
        }
        self.memory.closed().await;
    }
}

impl Engine for Embedded {
    fn limits(&self) -> Limits {
        LIMITS
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Committed, CommitError>> {
        Box::pin(self.commit_queued(commit))
    }

    fn snapshot(&self) -> Snapshot {
        self.memory.snapshot()
    }

    fn newest(&self) -> Newest<'_> {
        Newest::ready(self.memory.snapshot())
    }

    fn subscribe<'a>(
        &'a self,
        interest: Interest<'a>,
        after: u64,
    ) -> BoxFuture<'a, Result<Box<dyn Subscription>, SubscribeError>> {
        let cursor = self.memory.subscribe(interest, after);
        Box::pin(async move { cursor.map(|cursor| Box::new(cursor) as Box<dyn Subscription>) })
    }

    fn stats(&self) -> Stats {
        self.memory.stats()
    }

    fn volume(&self, prefix: &str) -> Volume {
        self.memory.volume(prefix)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.close_queue())
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.queue = None;
        let committer = self.committer.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(committer) = committer
            && committer.join().is_err()
        {
            tracing::error!(directory = ?self.directory, "the committer thread panicked");
        }
    }
}
