//! SQLite's side of the simulated disk: a VFS whose files are a [`SimulatedDisk`]'s.
//!
//! One VFS serves all disks; a path tells which one is meant. Locks are granted to everybody, because the engine owns its directory
//! by another lock. The index of the WAL is never asked for: with an exclusive lock SQLite keeps it on its heap.

mod crash;
mod disk;

use std::{
    collections::HashMap,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, Mutex, Once, Weak},
    time::Duration,
};

use sqlite_vfs::{DatabaseHandle, LockKind, OpenAccess, OpenKind, OpenOptions, Vfs, WalDisabled};

pub use self::{
    crash::{Crash, Durable},
    disk::{Call, Failure, Fault, Image, SimulatedDisk},
};

/// As SQLite knows it.
const NAME: &str = "simulated";

static DISKS: LazyLock<Mutex<HashMap<PathBuf, Weak<SimulatedDisk>>>> = LazyLock::new(Mutex::default);
static REGISTERED: Once = Once::new();

/// Notes a disk that has everything below a directory.
fn register(root: &Path, disk: &Arc<SimulatedDisk>) {
    REGISTERED.call_once(|| sqlite_vfs::register(NAME, Simulated, false).unwrap());
    let mut disks = DISKS.lock().unwrap();
    disks.retain(|_, disk| disk.strong_count() > 0);
    disks.insert(root.to_owned(), Arc::downgrade(disk));
}

fn disk_of(path: &Path) -> io::Result<Arc<SimulatedDisk>> {
    let disks = DISKS.lock().unwrap();
    let disk = path.ancestors().find_map(|ancestor| disks.get(ancestor)?.upgrade());
    disk.ok_or_else(|| io::Error::new(ErrorKind::NotFound, "no disk has this path"))
}

struct Simulated;

/// An open file.
struct Open {
    disk: Arc<SimulatedDisk>,
    file: usize,
    /// The directory whose names its next sync makes durable too: SQLite's own VFS does so for a log that it has made.
    names: Option<PathBuf>,
}

impl Vfs for Simulated {
    type Handle = Open;

    fn open(&self, path: &str, options: OpenOptions) -> io::Result<Open> {
        let path = Path::new(path);
        let disk = disk_of(path)?;
        let may_create = matches!(options.access, OpenAccess::Create | OpenAccess::CreateNew);
        let file = disk.open(path, may_create)?;
        let is_log = may_create && matches!(options.kind, OpenKind::Wal | OpenKind::MainJournal);
        let names = path.parent().filter(|_| is_log).map(Path::to_owned);
        Ok(Open { disk, file, names })
    }

    fn delete(&self, path: &str) -> io::Result<()> {
        let path = Path::new(path);
        disk_of(path)?.delete(path)
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        let path = Path::new(path);
        disk_of(path)?.is_there(Call::Access, path)
    }

    fn temporary_name(&self) -> String {
        String::new()
    }

    fn random(&self, buffer: &mut [i8]) {
        buffer.fill(7);
    }

    fn sleep(&self, duration: Duration) -> Duration {
        duration
    }
}

impl DatabaseHandle for Open {
    type WalIndex = WalDisabled;

    fn size(&self) -> io::Result<u64> {
        self.disk.size(self.file)
    }

    fn read_exact_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.disk.read(self.file, buffer, offset)
    }

    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.write(self.file, bytes, offset)
    }

    fn sync(&mut self, _data_only: bool) -> io::Result<()> {
        self.disk.sync_file(self.file)?;
        if let Some(directory) = self.names.take() {
            // SQLite's own VFS does not look whether this one failed.
            let _ = self.disk.sync_names(Call::SyncNames, &directory);
        }
        Ok(())
    }

    /// SQLite asks for less only; that it will need more is a hint, which its own VFS does not take either.
    fn set_len(&mut self, size: u64) -> io::Result<()> {
        self.disk.truncate(self.file, size)
    }

    fn lock(&mut self, _lock: LockKind) -> io::Result<bool> {
        self.disk.lock()
    }

    fn unlock(&mut self, _lock: LockKind) -> io::Result<bool> {
        Ok(true)
    }

    fn reserved(&mut self) -> io::Result<bool> {
        Ok(false)
    }

    fn current_lock(&self) -> io::Result<LockKind> {
        Ok(LockKind::Exclusive)
    }

    fn wal_index(&self, _is_readonly: bool) -> io::Result<WalDisabled> {
        Err(ErrorKind::Unsupported.into())
    }
}
