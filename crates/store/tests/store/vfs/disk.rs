//! Files in memory that note everything that is done to them, and fail where they are told to.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use portcullis_store::embedded::Disk;

/// What can be asked of a disk: by SQLite first, and then by the engine itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Call {
    Open,
    Read,
    Write,
    Sync,
    /// The sync of a directory that belongs to the first one of a new log.
    SyncNames,
    Truncate,
    Delete,
    Size,
    Lock,
    Access,
    Exists,
    CreateDirectory,
    Create,
    Remove,
    Rename,
    /// The engine's own sync of a file or directory.
    SyncPath,
    /// The engine's own look into the log.
    ReadPath,
    WritePath,
}

impl Call {
    /// In which ways it can fail.
    pub fn failures(self) -> &'static [Failure] {
        match self {
            Call::Write => &[Failure::Io, Failure::NoRoom, Failure::Part],
            Call::Open | Call::CreateDirectory | Call::Create | Call::Rename => &[Failure::Io, Failure::NoRoom],
            _ => &[Failure::Io],
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    Io,
    NoRoom,
    /// Half of what was asked for is done; no room for the rest, or nothing more to read.
    Part,
}

/// Calls that fail: so many of them, from the given one on, counted from 0.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub call: Call,
    pub number: usize,
    pub count: usize,
    pub failure: Failure,
}

/// What a name is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    Directory,
    File(usize),
}

/// What was done.
#[derive(Clone, Debug)]
pub enum Op {
    Name(PathBuf, Option<Node>),
    Rename(PathBuf, PathBuf),
    SyncNames(PathBuf),
    Write {
        file: usize,
        at: usize,
        bytes: Arc<[u8]>,
    },
    Truncate {
        file: usize,
        size: usize,
    },
    Sync(usize),
    /// The kernel has given up what it could not write, and says so once.
    SyncFailed(usize),
}

/// Where the store is, as images have it: without the place of the disk itself.
pub const STORE: &str = "store";

/// What is on a disk, or was at some moment.
#[derive(Clone, Debug, Default)]
pub struct Image {
    pub names: BTreeMap<PathBuf, Node>,
    pub files: Vec<Vec<u8>>,
}

impl Image {
    /// The content of a file of the store.
    pub fn file(&mut self, name: &str) -> Option<&mut Vec<u8>> {
        match self.names.get(&Path::new(STORE).join(name)) {
            Some(Node::File(file)) => self.files.get_mut(*file),
            _ => None,
        }
    }

    /// Puts a file into the store's directory.
    pub fn put(&mut self, name: &str, content: Vec<u8>) {
        self.names.insert(STORE.into(), Node::Directory);
        self.names.insert(Path::new(STORE).join(name), Node::File(self.files.len()));
        self.files.push(content);
    }
}

#[derive(Default)]
struct State {
    live: Image,
    log: Vec<Op>,
    fault: Option<Fault>,
    calls: BTreeMap<Call, usize>,
    hits: usize,
    /// The process is dead: nothing it does counts any more.
    is_halted: bool,
}

pub struct SimulatedDisk {
    /// There, and below it, everything is simulated, but for the lock, which needs real directories.
    root: PathBuf,
    _real: tempfile::TempDir,
    state: Mutex<State>,
}

impl SimulatedDisk {
    pub fn new() -> Arc<SimulatedDisk> {
        let real = tempfile::tempdir().unwrap();
        let root = real.path().canonicalize().unwrap();
        let disk = Arc::new(SimulatedDisk { root: root.clone(), _real: real, state: Mutex::default() });
        super::register(&root, &disk);
        disk
    }

    /// The store's directory on it.
    pub fn store(&self) -> PathBuf {
        self.root.join(STORE)
    }

    /// A path without that of the disk.
    fn local<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.root).unwrap()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins anew with what is in an image; names of directories are of this disk.
    pub fn load(&self, image: Image) {
        if image.names.contains_key(Path::new(STORE)) {
            std::fs::create_dir_all(self.store()).unwrap();
        }
        *self.state() = State { live: image, ..State::default() };
    }

    /// What the next call to look finds: everything, whether it was synced or not.
    pub fn live(&self) -> Image {
        self.state().live.clone()
    }

    /// Changes a file behind everybody's back.
    pub fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        change(self.state().live.file(name).unwrap());
    }

    pub fn log(&self) -> Vec<Op> {
        self.state().log.clone()
    }

    /// How much was done.
    pub fn ops(&self) -> usize {
        self.state().log.len()
    }

    /// How often it was asked for each thing.
    pub fn calls(&self) -> BTreeMap<Call, usize> {
        self.state().calls.clone()
    }

    pub fn set_fault(&self, fault: Option<Fault>) {
        let mut state = self.state();
        state.fault = fault;
        state.calls.clear();
    }

    /// How many calls have failed.
    pub fn hits(&self) -> usize {
        self.state().hits
    }

    /// The process dies: whatever is asked from now on fails and does nothing.
    pub fn halt(&self) {
        self.state().is_halted = true;
    }

    pub fn open(&self, path: &Path, may_create: bool) -> io::Result<usize> {
        let (mut state, path) = (self.state(), self.local(path));
        state.begin(Call::Open)?;
        match state.live.names.get(path) {
            Some(Node::File(file)) => Ok(*file),
            Some(Node::Directory) => Err(ErrorKind::IsADirectory.into()),
            None if may_create => Ok(state.add_file(path)),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    pub fn delete(&self, path: &Path) -> io::Result<()> {
        let (mut state, path) = (self.state(), self.local(path));
        state.begin(Call::Delete)?;
        if !state.live.names.contains_key(path) {
            return Err(ErrorKind::NotFound.into());
        }
        state.name(path, None);
        Ok(())
    }

    pub fn is_there(&self, call: Call, path: &Path) -> io::Result<bool> {
        let mut state = self.state();
        state.begin(call)?;
        Ok(state.live.names.contains_key(self.local(path)))
    }

    pub fn size(&self, file: usize) -> io::Result<u64> {
        let mut state = self.state();
        state.begin(Call::Size)?;
        Ok(state.content(file).len() as u64)
    }

    pub fn read(&self, file: usize, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut state = self.state();
        let mut wanted = buffer.len();
        match state.ask(Call::Read) {
            Some(Failure::Part) => wanted /= 2,
            Some(failure) => return Err(failure.error()),
            None => {}
        }
        let content = state.content(file);
        let from = usize::try_from(offset).unwrap().min(content.len());
        let found = &content[from..content.len().min(from + wanted)];
        let (head, tail) = buffer.split_at_mut(found.len());
        head.copy_from_slice(found);
        tail.fill(0);
        if tail.is_empty() { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
    }

    pub fn write(&self, file: usize, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.state();
        let mut fitting = bytes;
        let failure = state.ask(Call::Write);
        match failure {
            Some(Failure::Part) => fitting = &bytes[..bytes.len() / 2],
            Some(failure) => return Err(failure.error()),
            None => {}
        }
        let at = usize::try_from(offset).unwrap();
        write_at(state.content(file), at, fitting);
        state.log.push(Op::Write { file, at, bytes: fitting.into() });
        failure.map_or(Ok(()), |failure| Err(failure.error()))
    }

    pub fn truncate(&self, file: usize, size: u64) -> io::Result<()> {
        let mut state = self.state();
        let size = usize::try_from(size).unwrap();
        if size >= state.content(file).len() {
            return Ok(());
        }
        state.begin(Call::Truncate)?;
        state.content(file).truncate(size);
        state.log.push(Op::Truncate { file, size });
        Ok(())
    }

    pub fn sync_file(&self, file: usize) -> io::Result<()> {
        self.sync_as(Call::Sync, file)
    }

    fn sync_as(&self, call: Call, file: usize) -> io::Result<()> {
        let mut state = self.state();
        let is_alive = !state.is_halted;
        let done = state.begin(call);
        if is_alive {
            state.log.push(if done.is_ok() { Op::Sync(file) } else { Op::SyncFailed(file) });
        }
        done
    }

    pub fn sync_names(&self, call: Call, directory: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.begin(call)?;
        state.log.push(Op::SyncNames(self.local(directory).to_owned()));
        Ok(())
    }

    pub fn lock(&self) -> io::Result<bool> {
        self.state().begin(Call::Lock)?;
        Ok(true)
    }
}

impl State {
    /// Counts a call, and says how it fails if it does.
    fn ask(&mut self, call: Call) -> Option<Failure> {
        if self.is_halted {
            return Some(Failure::Io);
        }
        let count = self.calls.entry(call).or_default();
        let number = *count;
        *count += 1;
        let fault = self.fault.filter(|fault| fault.call == call)?;
        let is_hit = number.checked_sub(fault.number).is_some_and(|after| after < fault.count);
        self.hits += usize::from(is_hit);
        is_hit.then_some(fault.failure)
    }

    fn begin(&mut self, call: Call) -> io::Result<()> {
        self.ask(call).map_or(Ok(()), |failure| Err(failure.error()))
    }

    fn content(&mut self, file: usize) -> &mut Vec<u8> {
        &mut self.live.files[file]
    }

    fn name(&mut self, path: &Path, node: Option<Node>) {
        match node {
            Some(node) => drop(self.live.names.insert(path.to_owned(), node)),
            None => drop(self.live.names.remove(path)),
        }
        self.log.push(Op::Name(path.to_owned(), node));
    }

    fn add_file(&mut self, path: &Path) -> usize {
        let file = self.live.files.len();
        self.live.files.push(Vec::new());
        self.name(path, Some(Node::File(file)));
        file
    }
}

impl Failure {
    fn error(self) -> io::Error {
        match self {
            Failure::Io => io::Error::other("simulated input/output error"),
            // What the VFS takes for a full disk.
            Failure::NoRoom | Failure::Part => ErrorKind::WriteZero.into(),
        }
    }
}

/// Writes, and fills what is between the end and there with zeros.
pub fn write_at(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[at..end].copy_from_slice(bytes);
}

impl Disk for SimulatedDisk {
    fn vfs(&self) -> Option<&str> {
        Some(super::NAME)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        if self.root.starts_with(path) {
            return Ok(true);
        }
        self.is_there(Call::Exists, path)
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.begin(Call::CreateDirectory)?;
        std::fs::create_dir_all(path)?;
        state.name(self.local(path), Some(Node::Directory));
        Ok(())
    }

    fn create(&self, file: &Path) -> io::Result<()> {
        let (mut state, file) = (self.state(), self.local(file));
        state.begin(Call::Create)?;
        if state.live.names.contains_key(file) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        state.add_file(file);
        Ok(())
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        let (mut state, file) = (self.state(), self.local(file));
        state.begin(Call::Remove)?;
        if state.live.names.contains_key(file) {
            state.name(file, None);
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (mut state, from, to) = (self.state(), self.local(from), self.local(to));
        state.begin(Call::Rename)?;
        let node = state.live.names.remove(from).ok_or(ErrorKind::NotFound)?;
        state.live.names.insert(to.to_owned(), node);
        state.log.push(Op::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let node = self.state().live.names.get(self.local(path)).copied();
        match node {
            Some(Node::File(file)) => self.sync_as(Call::SyncPath, file),
            _ => self.sync_names(Call::SyncPath, path),
        }
    }

    fn read_at(&self, file: &Path, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.state();
        state.begin(Call::ReadPath)?;
        let Some(Node::File(file)) = state.live.names.get(self.local(file)).copied() else {
            return Err(ErrorKind::NotFound.into());
        };
        let content = state.content(file);
        let found = &content[usize::try_from(at).unwrap().min(content.len())..];
        let length = found.len().min(buffer.len());
        buffer[..length].copy_from_slice(&found[..length]);
        Ok(length)
    }

    fn write_at(&self, file: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.begin(Call::WritePath)?;
        let Some(Node::File(file)) = state.live.names.get(self.local(file)).copied() else {
            return Err(ErrorKind::NotFound.into());
        };
        let at = usize::try_from(at).unwrap();
        write_at(state.content(file), at, bytes);
        state.log.push(Op::Write { file, at, bytes: bytes.into() });
        Ok(())
    }
}
