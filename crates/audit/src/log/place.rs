//! Where the files of a log are and what they are called: upstream's names (those of lumberjack), so that what collects upstream's
//! logs collects these. `audit.log` is the one that is written; `audit-2026-11-21T23-00-00.000.log` was, until then.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use portcullis_model::time::{parse_time, time_text};

use super::medium::DIRECTORY_MODE;

/// What ends the name of a compressed file.
const COMPRESSED: &str = ".gz";
/// Length of `2026-11-21T23-00-00.000`.
const STAMP_LEN: usize = 23;
const MILLIS_PER_SECOND: i64 = 1_000;

/// The files of one log.
#[derive(Clone, Debug)]
pub struct Place {
    directory: PathBuf,
    stem: String,
    ending: String,
}

/// A file that is no longer written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rotated {
    /// When it was put away, as its name says it; names sort as times do.
    stamp: String,
    /// Whether it is compressed.
    pub is_compressed: bool,
    /// Where it is.
    pub path: PathBuf,
}

impl Rotated {
    /// When it was put away, in seconds since 1970.
    pub(crate) fn seconds(&self) -> Option<i64> {
        let (date, time) = self.stamp.split_once('T')?;
        parse_time(&format!("{date}T{}Z", time.replace('-', ":"))).ok()
    }
}

impl Place {
    /// The files of the log at a path.
    ///
    /// # Errors
    /// When the path names no file.
    pub fn of(path: &Path) -> io::Result<Place> {
        let path = std::path::absolute(path)?;
        let name = path.file_name().and_then(|name| name.to_str());
        let (Some(directory), Some(name)) = (path.parent(), name) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it names no file"));
        };
        let (stem, ending) = match name.rfind('.') {
            Some(dot) => name.split_at(dot),
            None => (name, ""),
        };
        Ok(Place { directory: directory.to_owned(), stem: stem.to_owned(), ending: ending.to_owned() })
    }

    /// The file that is written.
    pub fn current(&self) -> PathBuf {
        self.directory.join(format!("{}{}", self.stem, self.ending))
    }

    /// Where the next file is prepared before it gets its name.
    pub(crate) fn next(&self) -> PathBuf {
        self.directory.join(format!("{}{}.new", self.stem, self.ending))
    }

    /// Where the beginning of a line is put that a crash left.
    pub(crate) fn torn(&self) -> PathBuf {
        self.directory.join(format!("{}.torn", self.stem))
    }

    /// The name of a file that is put away now. It comes after all others, whatever the clock says.
    pub(crate) fn rotated(&self, now_micros: i64) -> io::Result<PathBuf> {
        let now = now_micros.div_euclid(1_000);
        let newest = self.list()?.pop();
        let millis = newest.and_then(|newest| {
            let millis = newest.stamp.get(STAMP_LEN - 3..)?.parse::<i64>().ok()?;
            Some(newest.seconds()? * MILLIS_PER_SECOND + millis)
        });
        let at = now.max(millis.map_or(i64::MIN, |millis| millis + 1));
        let (seconds, millis) = (at.div_euclid(MILLIS_PER_SECOND), at.rem_euclid(MILLIS_PER_SECOND));
        let text = time_text(seconds).replace(':', "-");
        let text = text.trim_end_matches('Z');
        Ok(self.directory.join(format!("{}-{text}.{millis:03}{}", self.stem, self.ending)))
    }

    /// The files that are no longer written, the oldest first. One that is also there compressed counts once, as it was written.
    pub fn list(&self) -> io::Result<Vec<Rotated>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if let Some((stamp, is_compressed)) = self.stamp(name) {
                found.push(Rotated { stamp: stamp.to_owned(), is_compressed, path });
            }
        }
        found.sort_unstable();
        found.dedup_by(|later, earlier| later.stamp == earlier.stamp);
        Ok(found)
    }

    /// What a name says, if it is one of ours.
    fn stamp<'a>(&self, name: &'a str) -> Option<(&'a str, bool)> {
        let rest = name.strip_prefix(self.stem.as_str())?.strip_prefix('-')?;
        let (stamp, rest) = rest.split_at_checked(STAMP_LEN)?;
        let shape = |(letter, at): (u8, usize)| match at {
            4 | 7 | 13 | 16 => letter == b'-',
            10 => letter == b'T',
            19 => letter == b'.',
            _ => letter.is_ascii_digit(),
        };
        let is_stamp = stamp.bytes().zip(0..).all(shape);
        let is_compressed = match rest.strip_prefix(self.ending.as_str())? {
            "" => false,
            COMPRESSED => true,
            _ => return None,
        };
        is_stamp.then_some((stamp, is_compressed))
    }

    /// The compressed name of a file.
    pub(crate) fn compressed(path: &Path) -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push(COMPRESSED);
        name.into()
    }

    /// Makes the directory if it is not there.
    pub(crate) fn make_directory(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(&self.directory)
    }

    /// Makes the names in the directory durable.
    pub(crate) fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names() {
        let directory = tempfile::tempdir().unwrap();
        let check = |file: &str, micros: i64, expected: &str| {
            let place = Place::of(&directory.path().join(file)).unwrap();
            assert_eq!(place.current(), directory.path().join(file));
            let path = place.rotated(micros).unwrap();
            assert_eq!(path.strip_prefix(directory.path()).unwrap().to_str().unwrap(), expected);
            fs::write(&path, "").unwrap();
        };
        check("audit.log", 1_795_302_000_123_456, "audit-2026-11-21T23-00-00.123.log");
        check("audit.log", 1_795_302_000_123_456, "audit-2026-11-21T23-00-00.124.log");
        // The clock went back.
        check("audit.log", 0, "audit-2026-11-21T23-00-00.125.log");
        check("audit", 0, "audit-1970-01-01T00-00-00.000");
        let place = Place::of(&directory.path().join("audit.log")).unwrap();
        for other in
            ["audit-2026-11-21T23-00-00.log", "audit-x.log", "audit.log", "audit-2026-11-21T23-00-00.123.log.gz"]
        {
            fs::write(directory.path().join(other), "").unwrap();
        }
        fs::write(directory.path().join("audit-2025-11-21T23-00-00.000.log.gz"), "").unwrap();
        let found = place.list().unwrap();
        let names: Vec<_> = found.iter().map(|found| found.path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(
            names,
            [
                "audit-2025-11-21T23-00-00.000.log.gz",
                "audit-2026-11-21T23-00-00.123.log",
                "audit-2026-11-21T23-00-00.124.log",
                "audit-2026-11-21T23-00-00.125.log"
            ]
        );
        assert_eq!(found[1].seconds(), Some(1_795_302_000));
        assert!(Place::of(Path::new("/")).is_err());
    }
}
