//! One server over its own file: killed, stopped, told another time, without room on its disk.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::json;
use tempfile::TempDir;

use super::fault::{Fault, Scene, pass};
use crate::client::Client;
use crate::clock::Clock;
use crate::program::{Server, port_to_keep};
use crate::random::Random;

/// How often the server is killed, or stopped, in a round.
const TIMES: u64 = 3;
const LONG_STOP: Duration = Duration::from_secs(30);
/// What the clock is off by, in the words of that library. Certificates are made at the first.
const TIMES_TOLD: [&str; 4] = ["-2h", "+0", "-1h", "+1h"];
const DAY_SECONDS: i64 = 24 * 3600;
/// How far the server may be off the time that it is told.
const CLOCK_SLACK_SECONDS: i64 = 600;
/// The disk that becomes full.
const DISK: &str = "size=24m,mode=0700";
const BALLAST: &str = "ballast";
/// A write that a full disk has no room for.
const LARGE_BYTES: usize = 256 * 1024;
/// Large writes until one of them must have been refused.
const LARGE_WRITES_MAX: usize = 64;

/// A server over its own file.
pub struct Embedded {
    fault: Fault,
    port: String,
    program: PathBuf,
    clock: Option<Clock>,
    server: Option<Server>,
    disk: Option<Disk>,
    directory: TempDir,
}

impl Embedded {
    /// Starts it.
    pub fn start(fault: Fault, program: &Path, random: &mut Random) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let data = directory.path().join("data");
        let disk = match fault {
            // All of its files are on the disk, or those of the store alone.
            Fault::Full if random.below(2) == 0 => Some(Disk::mount(&data)?),
            Fault::Full => Some(Disk::mount(&data.join("store"))?),
            _ => None,
        };
        let port = port_to_keep().to_string();
        let clock = (fault == Fault::Clock).then(|| Clock::new(directory.path(), TIMES_TOLD[0])).transpose()?;
        let program = clock.as_ref().map_or_else(|| Ok(program.to_owned()), |clock| clock.around(program))?;
        let mut embedded = Self { fault, port, program, clock, server: None, disk, directory };
        embedded.start_server()?;
        Ok(embedded)
    }

    fn start_server(&mut self) -> Result<()> {
        let arguments = ["--components", "apiserver", "--secure-port", &self.port, "--log-level", "error"];
        self.server = Some(Server::start_with(&self.program, &self.directory.path().join("data"), &arguments)?);
        Ok(())
    }

    fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            server.signal(Signal::SIGKILL);
            server.ended();
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(server) = &self.server {
            server.signal(signal);
        }
    }

    fn kills(&mut self, random: &mut Random) -> Result<()> {
        for _ in 0..TIMES {
            pass(random, 200, 900);
            self.kill();
            self.start_server()?;
        }
        pass(random, 300, 600);
        Ok(())
    }

    fn stops(&mut self, random: &mut Random) {
        for _ in 0..TIMES {
            pass(random, 200, 600);
            self.signal(Signal::SIGSTOP);
            pass(random, 50, 1500);
            self.signal(Signal::SIGCONT);
        }
        pass(random, 300, 600);
    }

    fn long_stop(&mut self, random: &mut Random) {
        pass(random, 300, 900);
        self.signal(Signal::SIGSTOP);
        std::thread::sleep(LONG_STOP);
        self.signal(Signal::SIGCONT);
        pass(random, 500, 900);
    }

    fn jumps(&mut self, random: &mut Random) -> Result<()> {
        self.tell_time(TIMES_TOLD[1])?;
        for time in [random.choose(&TIMES_TOLD[2..]), &"+0", random.choose(&TIMES_TOLD[2..]), &"+0"] {
            pass(random, 200, 700);
            self.tell_time(time)?;
            self.is_told(time)?;
            pass(random, 100, 300);
            if random.below(2) == 0 {
                self.kill();
                self.start_server()?;
            }
        }
        pass(random, 300, 600);
        Ok(())
    }

    fn tell_time(&self, time: &str) -> Result<()> {
        self.clock.as_ref().context("no clock")?.set(time)
    }

    /// Makes sure that the server believes it: by when something was created.
    fn is_told(&self, time: &str) -> Result<()> {
        let hours: i64 = time.trim_end_matches('h').parse()?;
        let body = json!({"metadata": {"generateName": "at-"}});
        let admin = self.server.as_ref().context("no server")?.admin();
        let answer = admin.send("POST", "/api/v1/namespaces/default/configmaps", Some(&body))?.json();
        let created = answer["metadata"]["creationTimestamp"].as_str().with_context(|| format!("no time: {answer}"))?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        let off = (second_of_day(created)? - i64::try_from(now)? - hours * 3600).rem_euclid(DAY_SECONDS);
        let is_right = off.min(DAY_SECONDS - off) < CLOCK_SLACK_SECONDS;
        ensure!(is_right, "the server has another time than {time}: {created}");
        Ok(())
    }

    fn full_disk(&mut self, random: &mut Random) -> Result<()> {
        pass(random, 300, 600);
        let disk = self.disk.as_ref().context("no disk")?;
        disk.fill()?;
        // What is already allocated takes small writes for a while; large ones end that.
        let admin = self.server.as_ref().context("no server")?.admin();
        refused_clearly(&admin)?;
        pass(random, 300, 600);
        ensure!(admin.get("/api/v1/configmaps").status == 200, "a full disk keeps readers out");
        if random.below(2) == 0 {
            self.kill();
            // It needs no room to start, or it says that it does.
            if let Err(error) = self.start_server() {
                let why = format!("{error:#}");
                ensure!(
                    ["room", "full", "space"].iter().any(|word| why.contains(word)),
                    "not why it does not start: {why}"
                );
            }
            pass(random, 200, 400);
        }
        self.disk.as_ref().context("no disk")?.clear()?;
        if self.server.is_none() {
            self.start_server()?;
        }
        pass(random, 400, 800);
        Ok(())
    }
}

/// Of a time like `2026-01-02T03:04:05Z`.
fn second_of_day(time: &str) -> Result<i64> {
    let clock = time.split_once('T').and_then(|(_, clock)| clock.strip_suffix('Z')).context("not a time")?;
    clock.split(':').try_fold(0, |sum, part| Ok(sum * 60 + part.parse::<i64>()?))
}

/// Sends large writes until one is refused, for a reason that names what is missing.
fn refused_clearly(admin: &Client) -> Result<()> {
    let path = "/api/v1/namespaces/default/configmaps";
    for number in 0..LARGE_WRITES_MAX {
        let data = json!({"a": "x".repeat(LARGE_BYTES)});
        let answer =
            admin.send("POST", path, Some(&json!({"metadata": {"name": format!("large-{number}")}, "data": data})))?;
        match answer.status {
            201 => {}
            500 | 503 | 507 => {
                let text = answer.text();
                ensure!(["room", "audit"].iter().any(|word| text.contains(word)), "not why it is refused: {text}");
                return Ok(());
            }
            _ => bail!("a full disk is {} {}", answer.status, answer.text()),
        }
    }
    bail!("a full disk takes {LARGE_WRITES_MAX} writes of {LARGE_BYTES} bytes")
}

impl Scene for Embedded {
    fn admins(&self) -> Vec<Client> {
        self.server.iter().map(Server::admin).collect()
    }

    fn disturb(&mut self, random: &mut Random) -> Result<()> {
        match self.fault {
            Fault::Kill => self.kills(random)?,
            Fault::Stop => self.stops(random),
            Fault::LongStop => self.long_stop(random),
            Fault::Clock => self.jumps(random)?,
            Fault::Full => self.full_disk(random)?,
            other => bail!("{} is nothing that befalls a server over its own file", other.name()),
        }
        Ok(())
    }

    fn heal(&mut self) -> Result<()> {
        // A last start from the file alone.
        self.kill();
        self.start_server()
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.signal(Signal::SIGCONT);
        self.kill();
    }
}

/// A disk of a few MiB. It goes when it is dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(place: &Path) -> Result<Self> {
        fs::create_dir_all(place)?;
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", DISK, "portcullis-test"]).arg(place).status()?;
        ensure!(mounted.success(), "cannot mount a disk: that needs root");
        Ok(Self(place.to_owned()))
    }

    fn fill(&self) -> Result<()> {
        let mut ballast = File::create(self.0.join(BALLAST))?;
        let mut block = vec![b'x'; 1 << 20];
        while !block.is_empty() {
            if ballast.write_all(&block).is_err() {
                block.truncate(block.len() / 2);
            }
        }
        Ok(())
    }

    fn clear(&self) -> Result<()> {
        Ok(fs::remove_file(self.0.join(BALLAST))?)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
