//! A KMS plugin in a process of its own (`bin/kms_plugin.rs`).

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A plugin, which may be running. Its socket stays the same.
pub struct KmsPlugin {
    program: PathBuf,
    directory: TempDir,
    process: Option<Child>,
}

impl KmsPlugin {
    /// One that does not run yet.
    ///
    /// # Panics
    /// There is no room for its socket.
    pub fn new(program: &Path) -> Self {
        Self { program: program.to_owned(), directory: tempfile::tempdir().expect("a directory"), process: None }
    }

    /// Its provider, as it stands in an EncryptionConfiguration.
    pub fn provider(&self) -> String {
        let socket = self.directory.path().join("kms.sock");
        format!("{{kms: {{apiVersion: v2, name: cloud, endpoint: \"unix://{}\", timeout: 3s}}}}", socket.display())
    }

    /// Has it behave in another way from now on (`bin/kms_plugin.rs`).
    ///
    /// # Panics
    /// The file cannot be written.
    pub fn behave(&self, behaviour: &str) {
        fs::write(self.directory.path().join("behaviour"), behaviour).expect("a file");
    }

    /// How often it was called so: `encrypt key-1`.
    pub fn calls(&self, call: &str) -> usize {
        let calls = fs::read_to_string(self.directory.path().join("behaviour.calls")).unwrap_or_default();
        calls.lines().filter(|line| *line == call).count()
    }

    /// Starts it, and waits until it listens.
    ///
    /// # Panics
    /// It does not start.
    pub fn start(&mut self) {
        let directory = self.directory.path();
        let mut child = Command::new(&self.program)
            .args([directory.join("kms.sock"), directory.join("behaviour")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the plugin runs");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines().map_while(Result::ok);
        assert_eq!(lines.next().as_deref(), Some("ready"));
        // Read all along, so that a full pipe never stops it.
        std::thread::spawn(move || lines.for_each(drop));
        self.process = Some(child);
    }

    /// Ends it.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.process.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for KmsPlugin {
    fn drop(&mut self) {
        self.stop();
    }
}
