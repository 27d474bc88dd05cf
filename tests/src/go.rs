//! The Go programs of `tests/go`, one module: clients that use the server as theirs do, and Helm, which is a tool of it. Their versions
//! are those of its go.mod and go.sum, whatever else a machine has under their names.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::build::workspace;

/// What to build.
#[derive(Clone, Copy, Debug)]
pub enum GoProgram {
    /// A command of the module.
    Command(&'static str),
    /// Tests of the module, which ask the cluster of the environment's KUBECONFIG.
    Tests(&'static str),
    /// Helm.
    Helm,
}

impl GoProgram {
    /// What `go` is told to build, before the place to put it and after.
    fn build(self) -> (&'static [&'static str], String) {
        match self {
            Self::Command(name) => (&["build"], format!("./{name}")),
            Self::Tests(name) => (&["test", "-c"], format!("./{name}")),
            Self::Helm => (&["build"], "helm.sh/helm/v4/cmd/helm".to_owned()),
        }
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Command(name) | Self::Tests(name) => name,
            Self::Helm => "helm",
        }
    }
}

/// Builds a program into a directory and says where it is. Without a Go that can, it says so in one line; in CI one is required.
pub fn built(program: GoProgram, directory: &Path) -> Option<PathBuf> {
    /// What two programs have in common is compiled once.
    static BUILDS: Mutex<()> = Mutex::new(());
    let module = workspace().join("tests/go");
    let go = |arguments: &[&str]| {
        let mut command = Command::new("go");
        // What is installed must do: nothing is fetched that would take its place.
        command.args(arguments).current_dir(&module).env("GOTOOLCHAIN", "local").env("CGO_ENABLED", "0");
        command
    };
    let suits = go(&["list", "-m"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !suits.is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("CI").is_none(), "CI needs the Go of tests/go/go.mod");
        println!("no Go here that builds tests/go: nothing tested");
        return None;
    }
    let place = directory.join(program.name());
    let (how, what) = program.build();
    let one_at_a_time = BUILDS.lock().unwrap_or_else(PoisonError::into_inner);
    // As .ci/run does it before: a flag that differs compiles everything again.
    let mut build = go(how);
    build.args([OsStr::new("-buildvcs=false"), OsStr::new("-ldflags=-s -w"), OsStr::new("-o"), place.as_os_str()]);
    let status = build.arg(&what).status();
    drop(one_at_a_time);
    assert!(status.is_ok_and(|status| status.success()), "go cannot build {what} in {}", module.display());
    Some(place)
}
