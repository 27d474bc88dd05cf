//! Files that are read again while the server runs (upstream: the dynamic file content controllers and the reload of structured
//! configuration).
//!
//! Whoever lives by a file is a [`FileFollower`]; one loop, [`keep_fresh`], looks at the files of all. One that can not be used
//! changes nothing: what was last good stays in force, and the log says so, once for each content.

use std::error::Error;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest;
use tokio::time::{MissedTickBehavior, interval};
use zeroize::Zeroizing;

use crate::body::BoxError;
use crate::metrics::{Metrics, ReloadedFile};

/// How often files are looked at: upstream's interval.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// Bytes of a file.
pub(crate) const FILE_LEN_MAX: u64 = 1 << 20;

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub enum LiveFileError {
    /// It can not be read.
    #[error("cannot read {}", .path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is too large.
    #[error("{} is larger than {FILE_LEN_MAX} bytes", .0.display())]
    TooLarge(PathBuf),
}

/// A file, and what it held when it was last looked at.
pub struct LiveFile {
    path: PathBuf,
    seen: Mutex<Seen>,
}

/// Never the content itself, which may be a private key.
#[derive(PartialEq, Eq)]
enum Seen {
    Nothing,
    Content([u8; digest::SHA256_OUTPUT_LEN]),
    Failure(io::ErrorKind),
}

impl Seen {
    fn of(content: &[u8]) -> Self {
        let mut hash = [0; digest::SHA256_OUTPUT_LEN];
        hash.copy_from_slice(digest::digest(&digest::SHA256, content).as_ref());
        Self::Content(hash)
    }
}

impl LiveFile {
    /// A file that was not looked at yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), seen: Mutex::new(Seen::Nothing) }
    }

    /// A file that held this when it was last looked at: only another content is news.
    pub(crate) fn holding(path: impl Into<PathBuf>, content: &[u8]) -> Self {
        Self { path: path.into(), seen: Mutex::new(Seen::of(content)) }
    }

    /// Returns where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it, whether it changed or not. Blocks.
    ///
    /// # Errors
    /// It can not be read, or is too large.
    pub fn read(&self) -> Result<Zeroizing<Vec<u8>>, LiveFileError> {
        let read = self.read_limited();
        self.see(&read);
        self.judge(read)
    }

    /// Reads it; nothing when it is as it was when it was last read, and when a failure is still the same. Blocks.
    ///
    /// # Errors
    /// As [`LiveFile::read`].
    pub fn read_changed(&self) -> Result<Option<Zeroizing<Vec<u8>>>, LiveFileError> {
        let read = self.read_limited();
        if self.see(&read) { self.judge(read).map(Some) } else { Ok(None) }
    }

    fn read_limited(&self) -> io::Result<Zeroizing<Vec<u8>>> {
        let file = File::open(&self.path)?;
        // In one piece: a buffer that grows leaves copies of what may be a key behind.
        let len = file.metadata()?.len().min(FILE_LEN_MAX);
        let mut content = Zeroizing::new(Vec::with_capacity(usize::try_from(len).unwrap_or_default()));
        file.take(FILE_LEN_MAX + 1).read_to_end(&mut content)?;
        Ok(content)
    }

    /// Remembers what was read, and says whether it is news.
    fn see(&self, read: &io::Result<Zeroizing<Vec<u8>>>) -> bool {
        let now = match read {
            Ok(content) => Seen::of(content),
            Err(error) => Seen::Failure(error.kind()),
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = *seen != now;
        *seen = now;
        is_news
    }

    fn judge(&self, read: io::Result<Zeroizing<Vec<u8>>>) -> Result<Zeroizing<Vec<u8>>, LiveFileError> {
        match read {
            Ok(content) if content.len() as u64 > FILE_LEN_MAX => Err(LiveFileError::TooLarge(self.path.clone())),
            Ok(content) => Ok(content),
            Err(source) => Err(LiveFileError::Unreadable { path: self.path.clone(), source }),
        }
    }
}

/// What a look at files led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// What was in force still is.
    Unchanged,
    /// Something else is in force.
    Replaced,
}

/// Something that lives by files.
pub trait FileFollower: Send + Sync + 'static {
    /// What it is, for the log.
    fn name(&self) -> &'static str;

    /// Which file's reloads it is counted as, if it is counted.
    fn counted_as(&self) -> Option<ReloadedFile> {
        None
    }

    /// Reads its files and puts in force what changed. Blocks, on a thread that may, in the runtime's context. When a file can not
    /// be used, all stays as it is.
    ///
    /// # Errors
    /// Why a file is not taken.
    fn reload(&self) -> Result<Reload, BoxError>;
}

/// Looks at files for as long as it is polled.
pub async fn keep_fresh(followers: Vec<Arc<dyn FileFollower>>, metrics: Arc<Metrics>) {
    keep_fresh_every(LOOK_INTERVAL, followers, metrics).await;
}

/// As [`keep_fresh`], for files that somebody waits for.
pub async fn keep_fresh_every(look_interval: Duration, followers: Vec<Arc<dyn FileFollower>>, metrics: Arc<Metrics>) {
    let mut followed: Vec<_> = followers.into_iter().map(|follower| Followed { follower, complaint: None }).collect();
    let mut ticks = interval(look_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick is at once, and all was read just now.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        for followed in &mut followed {
            followed.look(&metrics).await;
        }
    }
}

struct Followed {
    follower: Arc<dyn FileFollower>,
    /// What was wrong the last time, so that it is said once.
    complaint: Option<String>,
}

impl Followed {
    async fn look(&mut self, metrics: &Metrics) {
        let what = self.follower.name();
        let follower = Arc::clone(&self.follower);
        let reloaded = match tokio::task::spawn_blocking(move || follower.reload()).await {
            Ok(reloaded) => reloaded,
            Err(error) => Err(error.into()),
        };
        if let Some(file) = self.follower.counted_as() {
            metrics.reloaded(file, &reloaded);
        }
        let complaint = reloaded.as_ref().err().map(|error| chain_of(&**error));
        if let Ok(Reload::Replaced) = reloaded {
            tracing::info!(what, "reloaded");
        }
        if let Some(reason) = &complaint
            && self.complaint != complaint
        {
            tracing::error!(what, reason, "not reloaded: what was last good stays in force");
        }
        self.complaint = complaint;
    }
}

/// An error and what caused it, in one line.
pub(crate) fn chain_of(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (**error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn each_content_is_news_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let file = LiveFile::new(&path);
        let check = |expected: &str| {
            let got = match file.read_changed() {
                Ok(Some(content)) => String::from_utf8(content.to_vec()).unwrap(),
                Ok(None) => "no news".to_owned(),
                Err(error) => error.to_string(),
            };
            assert!(got.starts_with(expected), "{got}, not {expected}");
        };
        check("cannot read ");
        check("no news");
        for content in ["one", "", "two"] {
            std::fs::write(&path, content).unwrap();
            check(content);
            check("no news");
        }
        assert_eq!(**file.read().unwrap(), *b"two", "asked for, it is read again");
        std::fs::write(&path, " ".repeat(FILE_LEN_MAX as usize + 1)).unwrap();
        assert!(matches!(file.read_changed(), Err(LiveFileError::TooLarge(_))));
        check("no news");
        std::fs::write(&path, " ".repeat(FILE_LEN_MAX as usize)).unwrap();
        check(" ");
        std::fs::remove_file(&path).unwrap();
        check("cannot read ");
        let known = LiveFile::holding(&path, b"one");
        std::fs::write(&path, "one").unwrap();
        assert!(known.read_changed().unwrap().is_none());
    }

    /// Counts how often it is asked, and can not be used every other time.
    #[derive(Default)]
    struct Counting(AtomicUsize);

    impl FileFollower for Counting {
        fn name(&self) -> &'static str {
            "counting"
        }

        fn reload(&self) -> Result<Reload, BoxError> {
            match self.0.fetch_add(1, Ordering::Relaxed) % 2 {
                0 => Err("not this time".into()),
                _ => Ok(Reload::Replaced),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn files_are_looked_at_every_minute() {
        let counting = Arc::new(Counting::default());
        let followers: Vec<Arc<dyn FileFollower>> = vec![Arc::clone(&counting) as _, Arc::clone(&counting) as _];
        let following = keep_fresh(followers, Arc::default());
        assert!(tokio::time::timeout(LOOK_INTERVAL * 3 + LOOK_INTERVAL / 2, following).await.is_err());
        assert_eq!(counting.0.load(Ordering::Relaxed), 6);
    }

    #[test]
    fn an_error_is_told_with_its_causes() {
        let error = LiveFileError::Unreadable { path: "/x".into(), source: io::Error::other("no disk") };
        assert_eq!(chain_of(&error), "cannot read /x: no disk");
    }
}
