//! The etcd program: where it is, whether it is new enough, how it is started, and how it ends with its server.
//!
//! The system ends a process whose parent dies if the process has asked for it. etcd does not, so it is started by this program as
//! `portcullis etcd-child`, which asks and then becomes etcd: what was asked for stays over an `exec`. So a server that is killed with
//! SIGKILL leaves no etcd behind that nobody supervises and that holds its ports and its data.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::getppid;

use super::Ports;
use crate::pki::{ETCD_PEER, EtcdFiles};

/// Client certificate authentication is sound and the flags below exist from here on.
const VERSION_MIN: (u32, u32) = (3, 4);
/// What stands before the version in what `etcd --version` prints.
const VERSION_LABEL: &str = "etcd Version:";
/// Octets that are read of it.
const VERSION_LEN_MAX: u64 = 4096;
/// How long it may take for that.
const VERSION_TIMEOUT: Duration = Duration::from_secs(10);
/// Letters of it that an error quotes.
const QUOTED_LEN_MAX: usize = 100;
/// TLS 1.2 with forward secrecy and without CBC (A22), for certificates of ECDSA, which ours are; suites of TLS 1.3 are all strong.
const CIPHER_SUITES: &str = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384";
/// What its data may grow to; its own default of 2 GB is small for a cluster, and 8 GiB the most that its makers advise.
const QUOTA_BYTES: u64 = 8 << 30;
/// Entries of its log that it holds in memory before it takes a snapshot: what a follower that lags would be sent. There is none.
const SNAPSHOT_COUNT: u64 = 10_000;
/// Its only member.
const MEMBER: &str = "portcullis";
/// This program, also after its file was replaced by a newer one.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// An etcd that can be started.
#[derive(Clone, Debug)]
pub(crate) struct Program(PathBuf);

/// Runs etcd for `up --etcd`
///
/// Becomes the program, which ends when the process that started it does.
#[derive(Debug, clap::Args)]
pub(crate) struct EtcdChild {
    /// The process that has to live
    #[arg(long)]
    parent: i32,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

impl Program {
    /// The one that was named, or the first in PATH, if it is new enough.
    pub(super) fn find(named: Option<&Path>) -> Result<Self> {
        let file = match named {
            Some(file) => std::path::absolute(file).with_context(|| format!("--etcd-program {file:?}"))?,
            None => in_path().context(
                "--etcd: there is no etcd in PATH: install it (Debian: apt-get install etcd-server), or name it with --etcd-program",
            )?,
        };
        let named = || format!("--etcd-program {file:?}");
        let (major, minor) = version(&said_of_version(&file).with_context(named)?).with_context(named)?;
        if (major, minor) < VERSION_MIN {
            bail!("{} is etcd {major}.{minor}: {}.{} or newer is needed", named(), VERSION_MIN.0, VERSION_MIN.1);
        }
        Ok(Self(file))
    }

    /// Starts it. The thread that calls this has to live for as long as etcd shall: the system counts its end as the parent's.
    pub(super) fn spawn(&self, arguments: &[OsString]) -> std::io::Result<Child> {
        let mut command = Command::new(THIS_PROGRAM);
        command.arg("etcd-child").arg("--parent").arg(std::process::id().to_string()).arg("--").arg(&self.0);
        command.args(arguments).env_clear();
        if cfg!(target_arch = "aarch64") {
            // Etcd 3.4 runs there, and wants to hear that this is known.
            command.env("ETCD_UNSUPPORTED_ARCH", "arm64");
        }
        // A Ctrl-C at the terminal is for the server, which ends etcd when nobody needs it any more.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()
    }
}

impl EtcdChild {
    /// Becomes etcd. Returns only if it cannot.
    pub(crate) fn run(&self) -> Result<Infallible> {
        set_pdeathsig(Signal::SIGKILL).context("the system does not end a process with its parent")?;
        // It may have died before it was asked for.
        if getppid().as_raw() != self.parent {
            bail!("the server that started this is gone");
        }
        let (program, arguments) = self.command.split_first().context("no program")?;
        // What was good for this program would stay over the exec.
        crate::memory::allow_huge_pages(true);
        Err(Command::new(program).args(arguments).exec()).with_context(|| format!("cannot run {program:?}"))
    }
}

/// All that it is told. No secret is among it: keys are in files.
pub(super) fn arguments(etcd_dir: &Path, files: &EtcdFiles, ports: &Ports) -> Vec<OsString> {
    let (client, peer) = (format!("https://{}", ports.client), format!("https://{}", ports.peer));
    let mut arguments: Vec<OsString> = Vec::new();
    let mut set = |flag: &str, value: &dyn AsRef<std::ffi::OsStr>| {
        let mut argument = OsString::from(format!("--{flag}="));
        argument.push(value);
        arguments.push(argument);
    };
    set("name", &MEMBER);
    set("data-dir", &etcd_dir);
    set("listen-client-urls", &client);
    set("advertise-client-urls", &client);
    set("listen-peer-urls", &peer);
    set("initial-advertise-peer-urls", &peer);
    set("initial-cluster", &format!("{MEMBER}={peer}"));
    set("listen-metrics-urls", &format!("http://{}", ports.metrics));
    set("cert-file", &files.server_certificate);
    set("key-file", &files.server_key);
    set("trusted-ca-file", &files.authority_file);
    set("client-cert-auth", &"true");
    set("auto-tls", &"false");
    set("peer-cert-file", &files.peer_certificate);
    set("peer-key-file", &files.peer_key);
    set("peer-trusted-ca-file", &files.authority_file);
    set("peer-client-cert-auth", &"true");
    set("peer-cert-allowed-cn", &ETCD_PEER);
    set("peer-auto-tls", &"false");
    set("cipher-suites", &CIPHER_SUITES);
    // It would have etcd be a client of itself, with a certificate that only a server should have.
    set("enable-grpc-gateway", &"false");
    set("enable-pprof", &"false");
    set("quota-backend-bytes", &QUOTA_BYTES.to_string());
    set("snapshot-count", &SNAPSHOT_COUNT.to_string());
    // The API server does it.
    set("auto-compaction-retention", &"0");
    set("logger", &"zap");
    set("log-outputs", &"stderr");
    arguments
}

fn in_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut files = std::env::split_paths(&path).map(|directory| directory.join("etcd"));
    files.find(|file| file.is_absolute() && file.is_file())
}

fn said_of_version(file: &Path) -> Result<String> {
    let mut command = Command::new(file);
    command.arg("--version").env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    if cfg!(target_arch = "aarch64") {
        command.env("ETCD_UNSUPPORTED_ARCH", "arm64");
    }
    let mut child = command.spawn().context("cannot be run")?;
    let stdout = child.stdout.take().context("has no output")?;
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut said = Vec::new();
        // Who asked may have given up.
        let _ = tell.send(stdout.take(VERSION_LEN_MAX).read_to_end(&mut said).map(|_| said));
    });
    let said = told.recv_timeout(VERSION_TIMEOUT);
    // Whatever it goes on to say is not waited for.
    let _ = child.kill();
    let _ = child.wait();
    let said = said.with_context(|| format!("is no etcd: {VERSION_TIMEOUT:?} are not enough for its --version"))?;
    Ok(String::from_utf8_lossy(&said.context("cannot be read")?).into_owned())
}

fn version(said: &str) -> Result<(u32, u32)> {
    let version = said.lines().find_map(|line| line.trim().strip_prefix(VERSION_LABEL)).map(str::trim);
    let numbers = version.and_then(|version| {
        let mut numbers = version.split('.');
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    });
    numbers.with_context(|| {
        let begins: String = said.lines().next().unwrap_or_default().chars().take(QUOTED_LEN_MAX).collect();
        format!("is no etcd: with --version it says {begins:?}")
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn versions() {
        let check = |said: &str, expected: Option<(u32, u32)>| assert_eq!(version(said).ok(), expected, "{said:?}");
        check("etcd Version: 3.4.23\nGit SHA: x\n", Some((3, 4)));
        check("etcd Version: 3.6.0-rc.1\n", Some((3, 6)));
        check("etcd Version: 3.10.1", Some((3, 10)));
        check("etcd Version: three\n", None);
        check("bash, version 5\n", None);
        check("", None);
    }

    #[test]
    fn a_program_that_is_none_or_too_old_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let check = |script: Option<&str>, part: &str| {
            let file = directory.path().join("etcd");
            if let Some(script) = script {
                std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
                let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
                std::fs::set_permissions(&file, mode).unwrap();
            }
            let error = format!("{:#}", Program::find(Some(&file)).unwrap_err());
            assert!(error.starts_with("--etcd-program") && error.contains(part), "{error}");
        };
        check(None, "cannot be run");
        check(Some("echo etcd Version: 3.3.27"), "is etcd 3.3: 3.4 or newer is needed");
        check(Some("echo etcd Version: 2.9.0"), "is etcd 2.9: 3.4 or newer is needed");
        check(Some("echo something"), "is no etcd: with --version it says \"something\"");
        check(Some("exit 1"), "is no etcd");
    }
}
