//! The socket of a running server, in the directory of its store, by which a backup of the store is asked for.
//!
//! It gives nobody anything that is not theirs already: the directory lets only its owner in, who can read the file; whoever asks is
//! asked for by the system who it is; and it is answered with that file's own bytes, sealed as they are. So no path of the API server
//! leads to a backup, and no right to it can be given away by mistake (docs/decisions/0019). The server writes no file for anybody.
//!
//! A question is a line. The answer to `backup` is `frozen BYTES`, so many bytes, and `whole` or `changed`; or `error`, and why.

use std::fs::{File, Permissions};
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use portcullis_store::embedded::{Embedded, Frozen};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

const NAME: &str = "control.sock";
const BACKUP: &str = "backup";
const SOCKET_MODE: u32 = 0o600;
/// Who may be connected at once; more are turned away.
const CONNECTIONS_MAX: usize = 4;
/// Longest line either way, and how long one may take.
const LINE_BYTES_MAX: u64 = 512;
const LINE_TIMEOUT: Duration = Duration::from_secs(5);
/// What is sent in one go, and how long whoever asked may take for it.
const CHUNK_BYTES: usize = 256 << 10;
const CHUNK_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause after the system could not give a connection.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// How long whoever asks is waited for.
#[derive(Clone, Copy)]
struct Patience {
    line: Duration,
    chunk: Duration,
}

const PATIENCE: Patience = Patience { line: LINE_TIMEOUT, chunk: CHUNK_TIMEOUT };

/// The socket, for as long as its server runs.
pub(crate) struct Socket {
    listener: UnixListener,
    path: PathBuf,
    store: Arc<Embedded>,
}

impl Socket {
    /// Makes the socket. One that is in its place is of a server that is gone: this one has the directory. Anything else somebody has put
    /// there, and is not removed.
    pub(crate) fn bind(store: Arc<Embedded>) -> Result<Self> {
        let path = store.directory().join(NAME);
        let bind = || -> std::io::Result<UnixListener> {
            match std::fs::symlink_metadata(&path) {
                Ok(found) if found.file_type().is_socket() => std::fs::remove_file(&path)?,
                Ok(_) => return Err(std::io::Error::other("something else is in its place: move it away")),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            let listener = Short::of(store.directory())?.with(|path| UnixListener::bind(path))?;
            std::fs::set_permissions(&path, Permissions::from_mode(SOCKET_MODE))?;
            Ok(listener)
        };
        let listener = bind().with_context(|| format!("cannot make the socket {}", path.display()))?;
        Ok(Self { listener, path, store })
    }

    /// Answers for as long as it is polled.
    pub(crate) async fn serve(self) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = self.listener.accept().await;
            while connections.try_join_next().is_some() {}
            match accepted {
                Ok((stream, _)) if connections.len() >= CONNECTIONS_MAX => {
                    // There is room for so little, or whoever is there does not read: then being closed says it, too.
                    let _ = stream.try_write(b"error it is asked by too many at once\n");
                }
                Ok((stream, _)) => drop(connections.spawn(answer(stream, Arc::clone(&self.store), PATIENCE))),
                Err(error) => {
                    tracing::warn!(%error, "the control socket takes no connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(socket = ?self.path, %error, "the control socket could not be removed");
        }
    }
}

async fn answer(mut stream: UnixStream, store: Arc<Embedded>, patience: Patience) {
    let own = nix::unistd::geteuid().as_raw();
    match stream.peer_cred() {
        Ok(peer) if is_let_in(peer.uid(), own) => {}
        refused => return tracing::warn!(peer = ?refused.map(|peer| peer.uid()), "refused at the control socket"),
    }
    let mut line = String::new();
    let mut question = tokio::io::BufReader::new(&mut stream).take(LINE_BYTES_MAX);
    let Ok(Ok(_)) = timeout(patience.line, question.read_line(&mut line)).await else { return };
    let answered = match line.trim_end() {
        BACKUP => match store.freeze().await {
            Ok(frozen) => send(&mut stream, frozen, patience).await,
            Err(error) => say(&mut stream, &format!("error {error}\n"), patience).await,
        },
        _ => say(&mut stream, "error this server does not know the question\n", patience).await,
    };
    match answered {
        Ok(()) => tracing::info!(question = line.trim_end(), "answered at the control socket"),
        Err(error) => tracing::warn!(%error, "whoever asked at the control socket did not take the answer"),
    }
}

/// Whoever the server runs as, and root: both can read the file already.
fn is_let_in(peer: u32, own: u32) -> bool {
    peer == own || peer == 0
}

async fn send(stream: &mut UnixStream, mut frozen: Frozen, patience: Patience) -> std::io::Result<()> {
    say(stream, &format!("frozen {}\n", frozen.size()), patience).await?;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        // Reading from a disk may take a while.
        let (same, buffer, read) = tokio::task::spawn_blocking(move || {
            let read = frozen.read(&mut chunk);
            (frozen, chunk, read)
        })
        .await?;
        (frozen, chunk) = (same, buffer);
        let bytes = chunk.get(..read?).unwrap_or_default();
        if bytes.is_empty() {
            break;
        }
        timeout(patience.chunk, stream.write_all(bytes)).await??;
    }
    say(stream, if frozen.is_whole() { "whole\n" } else { "changed\n" }, patience).await
}

async fn say(stream: &mut UnixStream, line: &str, patience: Patience) -> std::io::Result<()> {
    timeout(patience.line, stream.write_all(line.as_bytes())).await?
}

/// A directory under a name that is short: the path of a socket may have 107 bytes.
struct Short(File);

impl Short {
    fn of(directory: &Path) -> std::io::Result<Self> {
        File::open(directory).map(Self)
    }

    /// Does something with the path of the socket.
    fn with<T>(self, work: impl FnOnce(PathBuf) -> std::io::Result<T>) -> std::io::Result<T> {
        work(PathBuf::from(format!("/proc/self/fd/{}/{NAME}", self.0.as_raw_fd())))
    }
}

/// A backup that a running server sends.
pub(crate) struct Backup {
    stream: BufReader<std::os::unix::net::UnixStream>,
    left: u64,
}

impl Backup {
    /// Asks the server that has the store in a directory.
    pub(crate) fn ask(store: &Path) -> Result<Self> {
        let connect = || -> std::io::Result<_> {
            let stream = Short::of(store)?.with(std::os::unix::net::UnixStream::connect)?;
            stream.set_read_timeout(Some(CHUNK_TIMEOUT))?;
            stream.set_write_timeout(Some(LINE_TIMEOUT))?;
            match (&stream).write_all(format!("{BACKUP}\n").as_bytes()) {
                // Turned away: what it says of that can still be read.
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
                written => written?,
            }
            Ok(BufReader::with_capacity(CHUNK_BYTES, stream))
        };
        let socket = store.join(NAME);
        let stream = connect().with_context(|| {
            format!("the process that uses the store does not answer at {}: is it a server?", socket.display())
        })?;
        let mut backup = Self { stream, left: 0 };
        let said = backup.line()?;
        match said.split_once(' ') {
            Some(("frozen", bytes)) => {
                backup.left = bytes.parse().context("the server did not say how much it sends")?
            }
            Some(("error", reason)) => bail!("the server makes no backup: {reason}"),
            _ => bail!("the server does not answer the question"),
        }
        Ok(backup)
    }

    /// After the last byte: whether all of them were of one commit.
    pub(crate) fn finish(mut self) -> Result<()> {
        match self.line()?.as_str() {
            "whole" => Ok(()),
            _ => bail!(
                "too much was written to the store while it was read: try again, with a faster place for the backup"
            ),
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        (&mut self.stream).take(LINE_BYTES_MAX).read_line(&mut line).context("the server does not answer")?;
        Ok(line.trim_end().to_owned())
    }
}

impl Read for Backup {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = (&mut self.stream).take(self.left).read(buffer)?;
        if read == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the server ended in the middle"));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::symlink;

    use portcullis_store::embedded::Options;
    use portcullis_store::{Change, Condition, Engine as _, Operation};

    use super::*;

    /// More than sockets hold.
    const LARGE: usize = 1 << 20;

    async fn large_store(directory: &Path) -> Arc<Embedded> {
        let store = Embedded::open(Options::new(directory)).unwrap();
        let change = Change::Put(vec![b'x'; LARGE].into());
        let put = Operation { key: "/registry/a".into(), condition: Condition::Absent, change };
        store.commit(vec![put].into()).await.unwrap();
        Arc::new(store)
    }

    #[tokio::test]
    async fn whoever_says_nothing_or_reads_nothing_is_let_go() {
        let directory = tempfile::tempdir().unwrap();
        let store = large_store(directory.path()).await;
        let check = async |question: &[u8], patience: Patience, answer: &[u8]| {
            let (mut client, server) = UnixStream::pair().unwrap();
            client.write_all(question).await.unwrap();
            // It comes back although the client neither goes on nor goes.
            super::answer(server, Arc::clone(&store), patience).await;
            let mut said = Vec::new();
            // What was not taken is gone with the connection.
            let _ = client.read_to_end(&mut said).await;
            assert!(
                said.starts_with(answer) && said.is_empty() == answer.is_empty(),
                "{question:?}: {} bytes",
                said.len()
            );
            assert!(said.len() < LARGE, "{question:?}: {} bytes", said.len());
        };
        let short = Duration::from_millis(10);
        check(b"", Patience { line: short, ..PATIENCE }, b"").await;
        check(b"back", Patience { line: short, ..PATIENCE }, b"").await;
        check(b"backup\n", Patience { chunk: short, ..PATIENCE }, b"frozen ").await;
        check(b"other\n", PATIENCE, b"error ").await;
        // Nothing is held for those who have gone.
        let mut frozen = store.freeze().await.unwrap();
        assert!(frozen.read_to_end(&mut Vec::new()).unwrap() > LARGE && frozen.is_whole());
    }

    #[tokio::test]
    async fn only_a_socket_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(Embedded::open(Options::new(directory.path().join("store"))).unwrap());
        let (place, other) = (store.directory().join(NAME), directory.path().join("other"));
        std::fs::write(&other, "kept").unwrap();
        let refused = |what: &str| {
            let error = format!("{:#}", Socket::bind(Arc::clone(&store)).err().unwrap());
            assert!(error.contains(NAME) && error.contains("something else is in its place"), "{what}: {error}");
        };
        std::fs::write(&place, "kept").unwrap();
        refused("a file");
        std::fs::remove_file(&place).unwrap();
        std::fs::create_dir(&place).unwrap();
        refused("a directory");
        std::fs::remove_dir(&place).unwrap();
        for target in [other.as_path(), Path::new("/nowhere")] {
            symlink(target, &place).unwrap();
            refused("a link");
            std::fs::remove_file(&place).unwrap();
        }
        assert_eq!(std::fs::read(&other).unwrap(), b"kept");
        drop(std::os::unix::net::UnixListener::bind(&place).unwrap());
        let socket = Socket::bind(Arc::clone(&store)).unwrap();
        assert_eq!(place.metadata().unwrap().permissions().mode() & 0o777, SOCKET_MODE);
        drop(socket);
        assert!(!place.exists());
    }

    #[test]
    fn who_is_let_in() {
        let check = |peer, own, expected| assert_eq!(is_let_in(peer, own), expected, "{peer} by {own}");
        check(1000, 1000, true);
        check(0, 1000, true);
        check(0, 0, true);
        check(1001, 1000, false);
        check(1000, 0, false);
        check(u32::MAX, 1000, false);
    }
}
