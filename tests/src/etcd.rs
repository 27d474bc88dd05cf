//! An etcd of a test's own, of one member or of several, under a CA of its own: its members answer nobody who shows no certificate of that
//! CA, neither clients nor each other. Without the program a test says so in one line and is skipped; in CI that is a failure.
//!
//! ```ignore
//! let Some(mut etcd) = Etcd::start_members(3) else { return };
//! let server = Server::start_with(program(), &data_dir, &etcd.arguments())?;
//! let leader = etcd.leader().unwrap();
//! etcd.kill(leader);      // SIGKILL; also pause (SIGSTOP), resume (SIGCONT)
//! etcd.restart(leader);   // on the same ports, over the same data
//! ```
//!
//! [`Etcd::start_at`] puts members in places of the caller's choice, such as network namespaces that it can part.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{Client, Credentials};
use crate::credentials::{Authority, Validity};
use crate::program::port_to_keep;

/// Another program may take a port between our choice and etcd's start.
const START_ATTEMPTS: usize = 5;
/// Says that a member takes requests, which is when a majority of them is there.
const READY_LINE: &str = "ready to serve client requests";
/// Everything under a prefix that ends in a slash.
const BEHIND_SLASH: u8 = b'0';

/// An etcd that runs. Dropping it kills all its members.
pub struct Etcd {
    members: Vec<Member>,
    files: TempDir,
    /// Who signed its certificates, and those of its clients.
    pub authority: Authority,
}

/// Where a member runs.
#[derive(Clone, Debug)]
pub struct Place {
    /// Where the member listens, for clients and for its peers.
    pub host: IpAddr,
    /// What etcd is started by, and becomes: `ip netns exec NAME`, or nothing. It keeps its process id.
    pub by: Vec<String>,
}

impl Default for Place {
    /// This machine.
    fn default() -> Self {
        Self { host: Ipv4Addr::LOCALHOST.into(), by: Vec::new() }
    }
}

struct Member {
    place: Place,
    client: SocketAddr,
    peer: SocketAddr,
    /// None while it is killed.
    process: Option<Child>,
    is_paused: bool,
}

impl Etcd {
    /// A new one of one member. None where there is no etcd.
    ///
    /// # Panics
    /// It does not start.
    pub fn start() -> Option<Self> {
        Self::start_members(1)
    }

    /// A new one of so many members, which are called 0, 1 and so on. None where there is no etcd.
    ///
    /// # Panics
    /// It does not start.
    pub fn start_members(count: usize) -> Option<Self> {
        Self::start_at(&vec![Place::default(); count])
    }

    /// A new one with a member in each of these places. None where there is no etcd.
    ///
    /// # Panics
    /// It does not start.
    pub fn start_at(places: &[Place]) -> Option<Self> {
        if !is_here() {
            return None;
        }
        let attempt = |_| Self::try_start(places).inspect_err(|error| println!("etcd: {error:#}")).ok();
        Some((0..START_ATTEMPTS).find_map(attempt).expect("etcd starts"))
    }

    fn try_start(places: &[Place]) -> Result<Self> {
        let files = tempfile::tempdir()?;
        let authority = Authority::stranger()?;
        let hosts: Vec<String> = places.iter().map(|place| place.host.to_string()).collect();
        let names: Vec<&str> = hosts.iter().map(String::as_str).chain(["localhost"]).collect();
        authority.member(&names)?.write(&files.path().join("member"))?;
        authority.issue("apiserver", None, Validity::Now)?.write(&files.path().join("client"))?;
        std::fs::write(files.path().join("ca.crt"), authority.pem())?;
        let at = |place: &Place| SocketAddr::new(place.host, port_to_keep());
        let member = |place: &Place| Member {
            place: place.clone(),
            client: at(place),
            peer: at(place),
            process: None,
            is_paused: false,
        };
        let mut etcd = Self { members: places.iter().map(member).collect(), files, authority };
        let numbers = 0..etcd.members.len();
        // None is ready before a majority runs.
        let ready: Vec<Ready> = numbers.map(|number| etcd.spawn(number)).collect::<Result<_>>()?;
        ready.iter().try_for_each(|ready| ready.recv().context("a member ended"))?;
        Ok(etcd)
    }

    /// Starts a member. What it returns is told once it takes requests, and closed if it ends before.
    fn spawn(&mut self, number: usize) -> Result<Ready> {
        let initial: Vec<String> = self
            .members
            .iter()
            .enumerate()
            .map(|(number, member)| format!("m{number}=https://{}", member.peer))
            .collect();
        let files = self.files.path();
        let member = &mut self.members[number];
        let (client, peer) = (format!("https://{}", member.client), format!("https://{}", member.peer));
        let mut words = member.place.by.iter().map(String::as_str).chain(["etcd"]);
        let mut command = Command::new(words.next().context("no program")?);
        command.args(words).args(["--name", &format!("m{number}")]).arg("--data-dir").arg(data_dir(files, number));
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &initial.join(","), "--client-cert-auth", "--peer-client-cert-auth"]);
        for (flag, file) in [
            ("--cert-file", "member.crt"),
            ("--key-file", "member.key"),
            ("--trusted-ca-file", "ca.crt"),
            ("--peer-cert-file", "member.crt"),
            ("--peer-key-file", "member.key"),
            ("--peer-trusted-ca-file", "ca.crt"),
        ] {
            command.arg(flag).arg(files.join(file));
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().context("cannot run etcd")?;
        let lines = BufReader::new(process.stderr.take().context("no standard error")?).lines().map_while(Result::ok);
        member.process = Some(process);
        let path = files.join(format!("log-{number}"));
        let mut log = std::fs::File::options().create(true).append(true).open(path)?;
        let (tell, ready) = channel();
        // Its log must be read for as long as it runs, or it would block.
        std::thread::spawn(move || {
            let mut tell = Some(tell);
            for line in lines {
                let _ = writeln!(log, "{line}");
                if line.contains(READY_LINE)
                    && let Some(tell) = tell.take()
                {
                    let _ = tell.send(());
                }
            }
        });
        Ok(ready)
    }

    /// Ends a member at once, as a machine that loses its power.
    pub fn kill(&mut self, number: usize) {
        if let Some(mut process) = self.members[number].process.take() {
            let _ = process.kill();
            let _ = process.wait();
            self.members[number].is_paused = false;
        }
    }

    /// Starts a member that was killed: same ports, same data. Returns when it takes requests, so a majority must be there.
    ///
    /// # Panics
    /// It does not start.
    pub fn restart(&mut self, number: usize) {
        self.start_again(number).recv().expect("the member starts");
    }

    /// As [`Etcd::restart`], without waiting: the answer is told when it takes requests.
    ///
    /// # Panics
    /// It runs, or cannot be run.
    pub fn start_again(&mut self, number: usize) -> Ready {
        assert!(self.members[number].process.is_none(), "member {number} runs");
        self.spawn(number).expect("etcd runs")
    }

    /// Stops a member (SIGSTOP): it keeps its connections and answers nothing.
    pub fn pause(&mut self, number: usize) {
        self.signal(number, Signal::SIGSTOP);
        self.members[number].is_paused = true;
    }

    /// Lets a paused member go on (SIGCONT).
    pub fn resume(&mut self, number: usize) {
        self.signal(number, Signal::SIGCONT);
        self.members[number].is_paused = false;
    }

    /// Sends a signal to a member.
    ///
    /// # Panics
    /// It does not run.
    pub fn signal(&self, number: usize, signal: Signal) {
        let process = self.members[number].process.as_ref().expect("a member that runs");
        kill(Pid::from_raw(i32::try_from(process.id()).expect("a process id")), signal).expect("a process");
    }

    /// The processes of the members that run.
    pub fn ids(&self) -> Vec<u32> {
        self.members.iter().filter_map(|member| member.process.as_ref().map(Child::id)).collect()
    }

    /// How many members it has.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Never: an etcd has members.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Which member leads, as those say that run and are not paused. None between two leaders, and while the one that
    /// leads is paused.
    pub fn leader(&self) -> Option<usize> {
        let answers = |member: &Member| member.process.is_some() && !member.is_paused;
        let running: Vec<usize> = (0..self.members.len()).filter(|number| answers(&self.members[*number])).collect();
        let status = |number: &usize| {
            let answer = self.client_of(*number).send("POST", "/v3/maintenance/status", Some(&json!({}))).ok()?;
            let answer = answer.json();
            let id = |value: &Value| value.as_str().map(str::to_owned);
            Some((id(&answer["header"]["member_id"])?, id(&answer["leader"]).filter(|id| id != "0")))
        };
        let statuses: Vec<_> = running.iter().map(status).collect();
        let leader = statuses.iter().flatten().find_map(|(_, leader)| leader.clone())?;
        let at = statuses.iter().position(|status| status.as_ref().is_some_and(|(id, _)| *id == leader))?;
        running.get(at).copied()
    }

    /// Where its first member answers.
    pub fn address(&self) -> SocketAddr {
        self.members[0].client
    }

    /// Where its members answer.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.members.iter().map(|member| member.client).collect()
    }

    /// Where its members answer each other.
    pub fn peer_addresses(&self) -> Vec<SocketAddr> {
        self.members.iter().map(|member| member.peer).collect()
    }

    /// The URLs of its members.
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|member| format!("https://{}", member.client)).collect()
    }

    /// What a member has logged.
    pub fn log(&self, number: usize) -> String {
        std::fs::read_to_string(self.files.path().join(format!("log-{number}"))).unwrap_or_default()
    }

    /// Where its first member keeps everything.
    pub fn data_dir(&self) -> PathBuf {
        data_dir(self.files.path(), 0)
    }

    /// Where a member keeps everything.
    pub fn data_dir_of(&self, number: usize) -> PathBuf {
        data_dir(self.files.path(), number)
    }

    /// A file of its: `ca.crt`, `client.crt`, `client.key`.
    pub fn file(&self, name: &str) -> String {
        self.files.path().join(name).display().to_string()
    }

    /// What a server is told to keep its cluster here.
    pub fn arguments(&self) -> Vec<String> {
        let flag = |name: &str, value: String| [format!("--etcd-{name}"), value];
        [
            flag("servers", self.endpoints().join(",")),
            flag("cafile", self.file("ca.crt")),
            flag("certfile", self.file("client.crt")),
            flag("keyfile", self.file("client.key")),
        ]
        .concat()
    }

    /// Another client of a member.
    fn client_of(&self, number: usize) -> Client {
        let credentials = Credentials::read(&self.files.path().join("client")).expect("credentials");
        let address = self.members[number].client;
        Client::new(address, &self.files.path().join("ca.crt"), Some(credentials)).expect("a client")
    }

    fn ask(&self, call: &str, question: &Value) -> Value {
        let answer = self.client_of(0).post(&format!("/v3/kv/{call}"), question);
        assert_eq!(answer.status, 200, "{call}: {}", answer.text());
        answer.json()
    }

    /// Everything under a prefix that ends in a slash.
    pub fn under(&self, prefix: &str) -> Vec<(String, Vec<u8>)> {
        let mut end = prefix.trim_end_matches('/').as_bytes().to_vec();
        end.push(BEHIND_SLASH);
        let answer = self.ask("range", &json!({"key": STANDARD.encode(prefix), "range_end": STANDARD.encode(end)}));
        let bytes = |value: &Value| STANDARD.decode(value.as_str().unwrap_or_default()).expect("base64");
        let pair = |kv: &Value| (String::from_utf8(bytes(&kv["key"])).expect("a key"), bytes(&kv["value"]));
        answer["kvs"].as_array().into_iter().flatten().map(pair).collect()
    }

    /// How many keys it has under a prefix that ends in a slash.
    pub fn count(&self, prefix: &str) -> usize {
        let mut end = prefix.trim_end_matches('/').as_bytes().to_vec();
        end.push(BEHIND_SLASH);
        let range = json!({"key": STANDARD.encode(prefix), "range_end": STANDARD.encode(end), "count_only": true});
        let count = self.ask("range", &range)["count"].clone();
        count.as_str().map_or(0, |count| count.parse().expect("a number"))
    }

    /// What it holds under a key.
    ///
    /// # Panics
    /// Nothing.
    pub fn value(&self, key: &str) -> Vec<u8> {
        let answer = self.ask("range", &json!({"key": STANDARD.encode(key)}));
        let value = answer["kvs"][0]["value"].as_str().unwrap_or_else(|| panic!("nothing at {key}"));
        STANDARD.decode(value).expect("base64")
    }

    /// Writes a value.
    pub fn put(&self, key: &str, value: &[u8]) {
        self.ask("put", &json!({"key": STANDARD.encode(key), "value": STANDARD.encode(value)}));
    }

    /// Removes a key.
    pub fn delete(&self, key: &str) {
        self.ask("deleterange", &json!({"key": STANDARD.encode(key)}));
    }
}

/// Whether there is an etcd; if not, says so, and fails in CI.
///
/// # Panics
/// In CI there has to be one.
pub fn is_here() -> bool {
    let found = Command::new("etcd").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let is_here = found.is_ok_and(|status| status.success());
    if !is_here {
        assert!(std::env::var_os("CI").is_none(), "CI needs an etcd");
        println!("no etcd here (Debian: apt-get install etcd-server): nothing tested");
    }
    is_here
}

/// Told once, when a member takes requests.
pub type Ready = Receiver<()>;

fn data_dir(files: &Path, number: usize) -> PathBuf {
    files.join(format!("data-{number}"))
}

impl Drop for Etcd {
    fn drop(&mut self) {
        (0..self.members.len()).for_each(|number| self.kill(number));
    }
}
