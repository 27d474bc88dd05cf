//! The embedded engine: every entry in memory, made durable by SQLite.
//!
//! - `directory`: one process owns the directory (0700) through a lock on `lock`; files are 0600.
//! - `disk`: what its files are on.
//! - `file`: the SQLite file: making it, opening it, and bringing older formats to the present one.
//! - `wal`: looks at what the last process left in the WAL before SQLite does.
//! - `row`: one entry in it, with a checksum.
//! - `journal`: writes rows, WAL with `synchronous=FULL`; it says which failures can be undone.
//! - `space`: gives room back, and packs pages that have become too empty.
//! - `load`: reads the file into memory when it is opened. What is damaged or cannot be opened is an error of its object alone.
//!   What values say of themselves is read when somebody asks, and by the committer afterwards.
//! - `open_error`: why a store cannot be opened, and what to do about it.
//! - `backup`: the file as it was at one commit, while the store is in use.
//! - `import`: the whole content of a file, out of it and into a new one.
//! - `check`: looks at a store that nobody has open, and removes damaged rows from it.
//! - `verify`: compares the file with memory while it is served, and heals rows.
//! - `clock`: what time it is, and which entries have lived long enough.
//! - `reseal`: seals values anew, row by row, while the store is in use.
//! - `part`: what is written at once, decided against the newest state.
//! - `committer`: orders commits, checks them against memory, gives each its revision, makes a batch durable with one
//!   sync, publishes it, and only then answers. A failed sync ends the process, because nobody can tell what the disk
//!   holds afterwards.
//! - `desk`: who does that when: one thread for all, or the caller that is alone.
//!
//! Current state only: history is in memory, so the file does not grow with the number of writes. The highest revision
//! is written in the transaction of its batch, and a revision is told to nobody before that transaction is durable;
//! so after a restart every new revision exceeds everything that was ever handed out.

mod backup;
mod check;
mod clock;
mod committer;
mod desk;
mod directory;
mod disk;
mod file;
mod import;
mod journal;
mod load;
mod open_error;
mod part;
mod reseal;
mod row;
mod space;
mod verify;
mod wal;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use tokio::sync::{Semaphore, mpsc, oneshot};

pub use self::{
    backup::{FreezeError, Frozen, freeze},
    check::{Repaired, Report, check, check_file, repair},
    clock::{Clock, SystemClock},
    directory::Lock,
    import::{Prepared, Restored, prepare, read, read_file, require_none, restore},
    load::{Damage, Damaged},
    open_error::OpenError,
    wal::LogRepaired,
};
#[doc(hidden)]
pub use self::{
    check::{check_on, repair_on},
    disk::{Disk, SystemDisk},
};
use self::{
    clock::{Deadlines, left},
    committer::{Committer, Message, Queued},
    desk::Desk,
    directory::{Directory, STORE_FILE},
    journal::Sqlite,
    load::{Loaded, Unopened},
};
use crate::{
    Budget, Catalog, Change, Commit, CommitError, Committed, Engine, Footprint, Index, Interest, Limits, Newest,
    Opaque, Operation, ReadError, Resealed, Sealing, Snapshot, Stats, SubscribeError, Subscription, Unsealed, Verified,
    Volume,
    budget::LIMIT_BYTES_DEFAULT,
    engine::{BoxFuture, OPERATIONS_MAX},
    memory::{Memory, RING_LIMITS},
    sealing::Opening,
};

/// Format of the file; a release that changes it migrates older ones and refuses newer ones.
pub const FORMAT: u64 = 3;
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
/// Entries that are removed in one commit because they have lived long enough.
pub const EXPIRED_AT_ONCE: usize = 256;
/// When it is tried again to remove an entry whose row could not be reached.
const EXPIRED_AGAIN: Duration = Duration::from_secs(600);
/// How often the committer looks what time it is when nobody writes.
const TICK: Duration = Duration::from_secs(1);
/// Sealed values that are opened in one go, between batches.
const REOPENED_AT_ONCE: usize = 256;

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
    /// How values are kept in the file.
    pub sealing: Arc<dyn Sealing>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What the files are on.
    #[doc(hidden)]
    pub disk: Arc<dyn Disk>,
    /// Bytes of memory that stored objects, what is made of them, and history may take.
    pub memory_bytes_max: usize,
    /// Whether a caller that is alone may write itself, and so keep its thread for up to as long as the disk takes. Not where a disk that
    /// stops would stop everything: in a runtime of one thread.
    pub callers_may_write: bool,
    /// Called when durability is lost. Only tests let it return: the engine is then closed.
    pub on_failure: FailureHook,
}

impl Options {
    /// The directory; values are opaque and not sealed, memory has its default limit, callers may write, and a failure ends the process.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Options {
            directory: directory.into(),
            catalog: Arc::new(Opaque),
            sealing: Arc::new(Unsealed),
            clock: Arc::new(SystemClock::default()),
            disk: Arc::new(SystemDisk),
            memory_bytes_max: LIMIT_BYTES_DEFAULT,
            callers_may_write: true,
            on_failure: Box::new(end_process),
        }
    }
}

/// Ends the process at once: no destructor runs, nothing more is answered.
fn end_process(reason: &str) {
    tracing::error!(reason, "durability lost, ending the process");
    std::process::abort()
}

/// The engine. Dropping it finishes what is queued and lets go of the directory; [`Engine::close`] does so without
/// blocking.
pub struct Embedded {
    memory: Arc<Memory>,
    desk: Arc<Desk>,
    queue: Option<mpsc::Sender<Message>>,
    queue_bytes: Arc<Semaphore>,
    committer: Mutex<Option<JoinHandle<()>>>,
    directory: PathBuf,
    sealing: Arc<dyn Sealing>,
    /// What could not be opened when it came into memory, and may be later.
    unopened: Mutex<Vec<Unopened>>,
    damaged: Vec<Damaged>,
    /// One comparison with memory at a time.
    verifying: tokio::sync::Mutex<()>,
    /// Bytes of the file that were free when the committer last looked.
    free_bytes: Arc<AtomicU64>,
    ticker: Option<Ticker>,
}

/// Tells the committer that time passes. Dropping it ends it.
struct Ticker {
    end: Option<std::sync::mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    fn start(queue: mpsc::WeakSender<Message>) -> Result<Ticker, OpenError> {
        let (end, ended) = std::sync::mpsc::channel();
        let tick = move || {
            while ended.recv_timeout(TICK) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                // A queue that is full needs no tick.
                let Some(queue) = queue.upgrade() else { return };
                let _ = queue.try_send(Message::Tick(None));
            }
        };
        let thread = std::thread::Builder::new()
            .name("store-ticker".to_owned())
            .spawn(tick)
            .map_err(|source| OpenError::ThreadFailed { source })?;
        Ok(Ticker { end: Some(end), thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            // It has nothing that could panic.
            let _ = thread.join();
        }
    }
}

impl Embedded {
    /// Opens the store, making it when there is none, and reads all entries. Blocks: a few milliseconds for an empty
    /// one, beyond that as long as reading the file takes.
    pub fn open(options: Options) -> Result<Embedded, OpenError> {
        let directory = Directory::acquire_on(Arc::clone(&options.disk), &options.directory)?;
        let budget = Arc::new(Budget::new(options.memory_bytes_max));
        let (journal, loaded) = Sqlite::open(directory, &options.catalog, &options.sealing, &*options.clock, &budget)?;
        let Loaded { snapshot, expiring, damaged, unopened, .. } = loaded;
        let catalog = Arc::clone(&options.catalog);
        let (wall, elapsed) = (options.clock.wall(), options.clock.elapsed());
        let mut deadlines = Deadlines::default();
        for (key, expires) in &expiring {
            deadlines.set(key, Some(elapsed + left(*expires, wall, catalog.lifetime(key))));
        }
        let memory = Memory::new(snapshot, RING_LIMITS, catalog, budget);
        let free_bytes = Arc::clone(&journal.space.free_bytes);
        let is_ticking = options.clock.is_ticking();
        let mut engine = Embedded::start(options, memory, Box::new(journal), deadlines)?;
        engine.free_bytes = free_bytes;
        engine.unopened = Mutex::new(unopened);
        engine.damaged = damaged;
        let ticked = engine.queue.as_ref().filter(|_| is_ticking);
        engine.ticker = ticked.map(|queue| Ticker::start(queue.downgrade())).transpose()?;
        Ok(engine)
    }

    fn start(
        options: Options,
        memory: Arc<Memory>,
        journal: Box<dyn journal::Journal>,
        deadlines: Deadlines,
    ) -> Result<Embedded, OpenError> {
        let (queue, queued) = mpsc::channel(QUEUE_COMMITS_MAX);
        let Options { directory, sealing, clock, callers_may_write, on_failure, .. } = options;
        let committer = Committer {
            memory: Arc::clone(&memory),
            sealing: Arc::clone(&sealing),
            clock,
            deadlines,
            journal,
            on_failure,
            alone: 0,
            is_lost: false,
        };
        let desk = Arc::new(Desk::new(committer, callers_may_write));
        let of_thread = Arc::clone(&desk);
        let committer = std::thread::Builder::new()
            .name("store-committer".to_string())
            .spawn(move || of_thread.run(queued))
            .map_err(|source| OpenError::ThreadFailed { source })?;
        Ok(Embedded {
            memory,
            desk,
            queue: Some(queue),
            queue_bytes: Arc::new(Semaphore::new(QUEUE_BYTES_MAX)),
            committer: Mutex::new(Some(committer)),
            directory,
            sealing,
            unopened: Mutex::default(),
            damaged: Vec::new(),
            verifying: tokio::sync::Mutex::default(),
            free_bytes: Arc::default(),
            ticker: None,
        })
    }

    /// The store's directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Rows that were not as they had been written when the store was opened. Their objects cannot be read until they are written
    /// again or removed.
    pub fn damaged(&self) -> &[Damaged] {
        &self.damaged
    }

    /// Does what is due now: removes what has lived long enough, and gives room back. It happens by itself, a second later at most.
    pub async fn maintain(&self) -> Result<(), ReadError> {
        let (answer, done) = oneshot::channel();
        self.tell(Message::Tick(Some(answer))).await?;
        done.await.map_err(|_| ReadError::Closed)
    }

    /// The file as it is at one commit, for a backup. Commits go on meanwhile.
    pub async fn freeze(&self) -> Result<Frozen, FreezeError> {
        let (answer, frozen) = oneshot::channel();
        self.tell(Message::Freeze(answer)).await.map_err(|_| FreezeError::Closed)?;
        frozen.await.map_err(|_| FreezeError::Closed)?
    }

    /// Tells the committer, behind the commits that wait.
    async fn tell(&self, message: Message) -> Result<(), ReadError> {
        let queue = self.queue.as_ref().ok_or(ReadError::Closed)?;
        queue.send(message).await.map_err(|_| ReadError::Closed)
    }

    fn unopened(&self) -> std::sync::MutexGuard<'_, Vec<Unopened>> {
        self.unopened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn reopen_all(&self) -> Result<usize, ReadError> {
        // A wait that is given up must lose nothing.
        let before = self.unopened().clone();
        let (mut opening, mut untried, mut still) = (Opening::default(), Vec::new(), Vec::new());
        for some in before.chunks(REOPENED_AT_ONCE) {
            let mut worth_it = Vec::new();
            let snapshot = self.memory.snapshot();
            for one in some {
                let Some(entry) = snapshot.get(&one.key).filter(|entry| entry.version == one.version) else { continue };
                let has_given_up = opening.has_given_up();
                // What it needs is fetched here, where nobody waits for it.
                let opened = opening.open(&*self.sealing, &one.key, &entry.value).await;
                let worth = if opened.is_ok() {
                    &mut worth_it
                } else if has_given_up {
                    &mut untried
                } else {
                    &mut still
                };
                worth.push(one.clone());
            }
            let (answer, left) = oneshot::channel();
            self.tell(Message::Reopen(worth_it, answer)).await?;
            still.append(&mut left.await.map_err(|_| ReadError::Closed)?);
        }
        // What was not tried is the first the next time.
        untried.append(&mut still);
        let count = untried.len();
        *self.unopened() = untried;
        Ok(count)
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
        let queued = Queued { commit, indexes, answer, _room: room };
        if let Some(queued) = self.desk.serve_alone(queued, queue) {
            match queue.try_send(Message::Commit(queued)) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(_)) => return Err(CommitError::QueueFull),
                Err(mpsc::error::TrySendError::Closed(_)) => return Err(CommitError::Closed),
            }
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

    fn footprint(&self) -> Footprint {
        let file = self.directory.join(STORE_FILE);
        // Looked at from outside: whoever opened the file and closed it would take SQLite's locks away.
        let bytes = |file: &Path| std::fs::metadata(file).ok().map(|metadata| metadata.len());
        Footprint {
            file_bytes: bytes(&file),
            free_bytes: Some(self.free_bytes.load(Ordering::Relaxed)),
            log_bytes: bytes(&file.with_extension("db-wal")).or(Some(0)),
            compactions: 0,
        }
    }

    fn reopen(&self) -> BoxFuture<'_, Result<usize, ReadError>> {
        Box::pin(self.reopen_all())
    }

    fn reseal(&self) -> BoxFuture<'_, Result<Resealed, ReadError>> {
        Box::pin(self.reseal_all())
    }

    fn verify(&self) -> BoxFuture<'_, Result<Verified, ReadError>> {
        Box::pin(self.verify_all())
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.close_queue())
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.ticker = None;
        self.queue = None;
        let committer = self.committer.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(committer) = committer
            && committer.join().is_err()
        {
            tracing::error!(directory = ?self.directory, "the committer thread panicked");
        }
    }
}
