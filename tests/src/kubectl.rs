//! An unmodified kubectl with a cluster of its own.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use serde_json::Value;

use crate::client::Client;
use crate::cluster::Cluster;
use crate::program::Server;

/// A kubectl and the new cluster that it asks.
pub struct Kubectl {
    cluster: Cluster,
}

impl Kubectl {
    /// A new cluster with a kubectl for it. None where there is no kubectl, which it says in one line; in CI one is required.
    ///
    /// # Panics
    /// The server does not start.
    pub fn new() -> Option<Self> {
        let found =
            Command::new("kubectl").args(["version", "--client"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !found.is_ok_and(|status| status.success()) {
            assert!(std::env::var_os("CI").is_none(), "CI needs a kubectl");
            println!("no kubectl here: nothing tested");
            return None;
        }
        Some(Self { cluster: Cluster::start(&[]) })
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.cluster.server
    }

    /// Who may do everything, for looking at what a command did.
    pub fn admin(&self) -> Client {
        self.cluster.admin()
    }

    /// The certificate of the cluster's authority.
    pub fn authority(&self) -> PathBuf {
        self.server().data_dir().join("pki/ca.crt")
    }

    /// A command of words without blanks in them.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new("kubectl");
        command
            .args(line.split_whitespace())
            .env("KUBECONFIG", self.server().kubeconfig())
            .env("HOME", self.cluster.directory())
            .current_dir(self.cluster.directory())
            .stdin(Stdio::null());
        command
    }

    /// Runs a command and returns how it ended, what it printed, and what it complained of.
    ///
    /// # Panics
    /// It does not run.
    pub fn output(&self, line: &str) -> (Option<i32>, String, String) {
        told(self.command(line).output().expect("kubectl runs"))
    }

    /// Runs a command and returns what it printed.
    ///
    /// # Panics
    /// It fails.
    pub fn run(&self, line: &str) -> String {
        let (status, out, errors) = self.output(line);
        assert_eq!(status, Some(0), "kubectl {line}\n{out}{errors}");
        out
    }

    /// Runs a command that must say something.
    ///
    /// # Panics
    /// It fails, or says something else.
    pub fn says(&self, line: &str, said: &str) {
        assert_eq!(self.run(line).trim_end(), said, "kubectl {line}");
    }

    /// Runs a command that must be refused with a complaint.
    ///
    /// # Panics
    /// It succeeds, or complains of something else.
    pub fn fails(&self, line: &str, part: &str) {
        let (status, out, errors) = self.output(line);
        assert!(status != Some(0) && errors.contains(part), "kubectl {line}\n{out}{errors}\nexpected {part}");
    }

    /// Starts a command that goes on.
    ///
    /// # Panics
    /// It does not run.
    pub fn start(&self, line: &str) -> Running {
        let mut command = self.command(line);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("kubectl runs");
        let lines = BufReader::new(child.stdout.take().expect("its output"));
        Running { child, lines }
    }

    /// What the server holds at a path.
    ///
    /// # Panics
    /// Nothing.
    pub fn object(&self, path: &str) -> Value {
        let answer = self.admin().get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    /// Where its files are.
    pub fn directory(&self) -> &Path {
        self.cluster.directory()
    }

    /// Writes a file beside the cluster.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.cluster.file(name);
        fs::write(&path, content).expect("a file is written");
        path
    }
}

/// How a command ended, what it printed, and what it complained of.
pub fn told(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// A command that goes on. Dropping it ends it.
pub struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Running {
    /// The next line that it prints; empty at its end.
    ///
    /// # Panics
    /// It prints what is no text.
    pub fn next_line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("text");
        line.trim_end().to_owned()
    }

    /// Waits for its end and says whether all went well.
    ///
    /// # Panics
    /// It cannot be waited for.
    pub fn succeeds(mut self) -> bool {
        self.child.wait().expect("an exit status").success()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
