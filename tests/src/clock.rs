//! A program with a clock of its own, which a test sets while it runs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Result;

/// The library of Debian's package faketime.
pub(crate) const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// A clock, kept in files of a directory.
pub struct Clock(PathBuf);

impl Clock {
    /// A clock that is off by some time, in the words of that library: `-2h`, `+0`.
    pub fn new(directory: &Path, time: &str) -> Result<Self> {
        let clock = Self(directory.to_owned());
        clock.set(time)?;
        Ok(clock)
    }

    /// The program with this clock.
    pub fn around(&self, program: &Path) -> Result<PathBuf> {
        let clock = format!("FAKETIME_TIMESTAMP_FILE={} FAKETIME_NO_CACHE=1", self.file().display());
        script(&self.0, program, &clock)
    }

    /// Sets it; who runs with it notices at once.
    pub fn set(&self, time: &str) -> Result<()> {
        let new = self.0.join("clock.new");
        fs::write(&new, format!("{time}\n"))?;
        Ok(fs::rename(&new, self.file())?)
    }

    fn file(&self) -> PathBuf {
        self.0.join("clock")
    }
}

/// The program with a clock that nobody sets. Unlike one that is set, it is read from no file, which now and then tells the true time to
/// one of two threads that read it at once.
pub fn off_by(time: &str, directory: &Path, program: &Path) -> Result<PathBuf> {
    script(directory, program, &format!("FAKETIME={time}"))
}

fn script(directory: &Path, program: &Path, clock: &str) -> Result<PathBuf> {
    let script = directory.join("with-clock");
    let environment = format!("LD_PRELOAD={FAKETIME} FAKETIME_DONT_FAKE_MONOTONIC=1 {clock}");
    fs::write(&script, format!("#!/bin/sh\nexec env {environment} {} \"$@\"\n", program.display()))?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700))?;
    Ok(script)
}
