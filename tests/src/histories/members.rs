//! Two servers over one etcd of three members: its leader is killed, stopped, or cut off from the others; its past is compacted away all the
//! time.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::json;
use tempfile::TempDir;

use super::fault::{Fault, Scene, pass};
use crate::client::{Client, Credentials};
use crate::etcd::{Etcd, Place};
use crate::program::{Server, port_to_keep};
use crate::random::Random;

const MEMBERS: usize = 3;
const SERVERS: usize = 2;
/// How often a leader is lost in a round.
const TIMES: u64 = 2;
/// How often the past is compacted away in a round.
const COMPACTIONS: u64 = 24;
/// How long members may take to agree on a leader.
const PATIENCE: Duration = Duration::from_secs(30);
/// Of a member's log that are told when it does not start.
const LOG_LINES: usize = 20;
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Servers over one etcd.
pub struct Members {
    fault: Fault,
    program: PathBuf,
    ports: Vec<String>,
    arguments: Vec<Vec<String>>,
    /// Each server knows all members; or one knows the first leader alone, and the other one another member alone.
    knows_all: bool,
    first_leader: usize,
    servers: Vec<Option<Server>>,
    etcd: Etcd,
    network: Option<Network>,
    directory: TempDir,
}

impl Members {
    /// Starts them.
    pub fn start(fault: Fault, program: &Path, random: &mut Random) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let network = if fault == Fault::Partition { Some(Network::new()?) } else { None };
        let places = network.as_ref().map_or_else(|| vec![Place::default(); MEMBERS], Network::places);
        let etcd = Etcd::start_at(&places).context("no etcd here (Debian: apt-get install etcd-server)")?;
        let ports = (0..SERVERS).map(|_| port_to_keep().to_string()).collect();
        let mut members = Self {
            fault,
            program: program.to_owned(),
            ports,
            arguments: Vec::new(),
            knows_all: random.below(2) == 0,
            first_leader: 0,
            servers: Vec::new(),
            etcd,
            network,
            directory,
        };
        members.first_leader = members.leader()?;
        for server in 0..SERVERS {
            let mut arguments = members.etcd.arguments();
            if !members.knows_all {
                let member = (members.first_leader + server) % MEMBERS;
                let at = arguments.iter().position(|argument| argument == "--etcd-servers").context("no endpoints")?;
                arguments[at + 1] = members.etcd.endpoints().swap_remove(member);
            }
            let key = members.directory.path().join("keys/seal-key").display().to_string();
            arguments.extend(["--seal-key".to_owned(), key]);
            members.arguments.push(arguments);
            members.servers.push(None);
            members.start_server(server)?;
        }
        Ok(members)
    }

    fn start_server(&mut self, number: usize) -> Result<()> {
        let port = &self.ports[number];
        let mut arguments = vec!["--components", "apiserver", "--secure-port", port, "--log-level", "error"];
        arguments.extend(self.arguments[number].iter().map(String::as_str));
        let data_dir = self.directory.path().join(format!("data-{number}"));
        let until = Instant::now() + PATIENCE;
        // A start needs a member that has a leader.
        self.servers[number] = Some(loop {
            match Server::start_with(&self.program, &data_dir, &arguments) {
                Ok(server) => break server,
                Err(error) if Instant::now() > until => return Err(error),
                Err(_) => std::thread::sleep(RETRY_PAUSE),
            }
        });
        Ok(())
    }

    fn kill_server(&mut self, number: usize) {
        if let Some(server) = self.servers[number].take() {
            server.signal(Signal::SIGKILL);
            server.ended();
        }
    }

    fn leader(&self) -> Result<usize> {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.etcd.leader() {
                Some(leader) => return Ok(leader),
                None if Instant::now() > until => bail!("etcd has no leader"),
                None => std::thread::sleep(RETRY_PAUSE),
            }
        }
    }

    fn lose_leader(&mut self, random: &mut Random) -> Result<()> {
        for _ in 0..TIMES {
            pass(random, 400, 900);
            let leader = self.leader()?;
            self.etcd.kill(leader);
            pass(random, 300, 2500);
            // One of the servers is killed meanwhile.
            let server = usize::try_from(random.below(2 * SERVERS as u64))?;
            if server < SERVERS {
                self.kill_server(server);
            }
            if server < SERVERS && self.knows_all {
                self.start_server(server)?;
            }
            self.start_member(leader)?;
            if server < SERVERS && !self.knows_all {
                self.start_server(server)?;
            }
        }
        pass(random, 600, 1000);
        Ok(())
    }

    fn stop_leader(&mut self, random: &mut Random) -> Result<()> {
        for _ in 0..TIMES {
            pass(random, 400, 900);
            let leader = self.leader()?;
            self.etcd.pause(leader);
            pass(random, 200, 3500);
            self.etcd.resume(leader);
        }
        pass(random, 600, 1000);
        Ok(())
    }

    fn compact(&mut self, random: &mut Random) -> Result<()> {
        let mut losses = TIMES;
        for number in 0..COMPACTIONS {
            pass(random, 20, 200);
            // A server that is stopped has not seen what is gone when it goes on, if nobody kept it for the server meanwhile.
            let stopped = usize::try_from(random.below(4 * SERVERS as u64))?;
            let server = self.servers.get(stopped).and_then(Option::as_ref);
            server.inspect(|server| server.signal(Signal::SIGSTOP));
            let mut lost = None;
            if server.is_some() && losses > 0 {
                losses -= 1;
                let other = usize::try_from(random.below(MEMBERS as u64))?;
                let member = if self.knows_all { other } else { (self.first_leader + stopped) % MEMBERS };
                self.etcd.kill(member);
                lost = Some(member);
                pass(random, 1000, 2000);
            }
            let compacted = self.compact_at(lost.map_or(0, |lost| (lost + 1) % MEMBERS), number % 2 == 0);
            self.servers.get(stopped).and_then(Option::as_ref).inspect(|server| server.signal(Signal::SIGCONT));
            compacted?;
            if let Some(lost) = lost {
                self.start_member(lost)?;
            }
        }
        Ok(())
    }

    /// Makes etcd forget everything but the present.
    fn compact_at(&self, member: usize, is_physical: bool) -> Result<()> {
        self.leader()?;
        let credentials = Credentials::read(Path::new(self.etcd.file("client.crt").trim_end_matches(".crt")))?;
        let address = *self.etcd.addresses().get(member).context("no such member")?;
        let client = Client::new(address, Path::new(&self.etcd.file("ca.crt")), Some(credentials))?;
        let status = client.send("POST", "/v3/maintenance/status", Some(&json!({})))?.json();
        let question = json!({"revision": status["header"]["revision"], "physical": is_physical});
        let answer = client.send("POST", "/v3/kv/compaction", Some(&question))?;
        // Nothing was written since the last time.
        let is_done = answer.status == 200 || answer.text().contains("has been compacted");
        ensure!(is_done, "no compaction: {} {}", answer.status, answer.text());
        Ok(())
    }

    /// What a member said last.
    fn log(&self, member: usize) -> String {
        let log = self.etcd.log(member);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    /// Starts a member that was killed, and waits until it takes requests.
    fn start_member(&mut self, member: usize) -> Result<()> {
        match self.etcd.start_again(member).recv_timeout(PATIENCE) {
            Err(RecvTimeoutError::Disconnected) => {
                bail!("etcd member {member} does not start again:\n{}", self.log(member))
            }
            Err(RecvTimeoutError::Timeout) => {
                bail!("etcd member {member} does not become ready:\n{}", self.log(member))
            }
            Ok(()) => Ok(()),
        }
    }

    fn partition(&mut self, random: &mut Random) -> Result<()> {
        for _ in 0..TIMES {
            pass(random, 400, 900);
            let leader = self.leader()?;
            let network = self.network.as_ref().context("no network")?;
            network.part(leader, *random.choose(&[Cut::Peers, Cut::Peers, Cut::Servers, Cut::Everybody]))?;
            pass(random, 1500, 4000);
            network.join(leader)?;
        }
        pass(random, 600, 1000);
        Ok(())
    }
}

impl Scene for Members {
    fn admins(&self) -> Vec<Client> {
        self.servers.iter().flatten().map(Server::admin).collect()
    }

    fn disturb(&mut self, random: &mut Random) -> Result<()> {
        match self.fault {
            Fault::Leader => self.lose_leader(random),
            Fault::StopLeader => self.stop_leader(random),
            Fault::Compaction => self.compact(random),
            Fault::Partition => self.partition(random),
            other => bail!("{} is nothing that befalls etcd", other.name()),
        }
    }

    fn heal(&mut self) -> Result<()> {
        self.leader().map(drop)
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        // It may be a stopped one that is to be killed; whoever is gone needs nothing.
        (0..self.servers.len()).for_each(|number| self.kill_server(number));
    }
}

/// From whom a member is cut off.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// The other members: servers reach it, a majority does not.
    Peers,
    /// The servers: it may go on leading, and they must go elsewhere.
    Servers,
    /// Everybody.
    Everybody,
}

/// A network of the round's own: this process is in one namespace, each member in another one, all of them at one bridge. The namespace of
/// this process must be its own.
struct Network {
    names: Vec<String>,
}

/// Where the system keeps the names of networks, and how ours begin: the process that made them follows.
const NAMES: &str = "/run/netns";
const NAME: &str = "pc";
const BRIDGE: &str = "hub";
/// A range of addresses for documentation, which are nobody's.
const NET: [u8; 3] = [192, 0, 2];
const HUB: u8 = 254;

impl Network {
    fn new() -> Result<Self> {
        let own = std::process::id();
        leftovers(own).iter().for_each(|name| drop(run(&format!("ip netns delete {name}"))));
        let mut network = Self { names: Vec::new() };
        let [a, b, c] = NET;
        run(&format!("ip link add {BRIDGE} type bridge"))?;
        run(&format!("ip address add {a}.{b}.{c}.{HUB}/24 dev {BRIDGE}"))?;
        run(&format!("ip link set {BRIDGE} up"))?;
        for member in 0..MEMBERS {
            let name = format!("{NAME}{own}m{member}");
            run(&format!("ip netns add {name}"))?;
            network.names.push(name.clone());
            run(&format!("ip link add member{member} type veth peer name eth0 netns {name}"))?;
            run(&format!("ip link set member{member} master {BRIDGE} up"))?;
            run(&format!("ip -netns {name} link set lo up"))?;
            run(&format!("ip -netns {name} address add {}/24 dev eth0", address(member)))?;
            run(&format!("ip -netns {name} link set eth0 up"))?;
            run(&format!("ip netns exec {name} nft add table inet cut"))?;
        }
        Ok(network)
    }

    fn places(&self) -> Vec<Place> {
        let place = |(member, name): (usize, &String)| Place {
            host: address(member).into(),
            by: ["ip", "netns", "exec", name].map(str::to_owned).to_vec(),
        };
        self.names.iter().enumerate().map(place).collect()
    }

    /// Drops, without a word to anybody, what comes and goes between a member and others.
    fn part(&self, member: usize, cut: Cut) -> Result<()> {
        let [a, b, c] = NET;
        let hub = Ipv4Addr::new(a, b, c, HUB);
        let own = address(member);
        let which = match cut {
            Cut::Peers => format!("!= {{ {hub}, {own}, 127.0.0.1 }}"),
            Cut::Servers => format!("{hub}"),
            Cut::Everybody => format!("!= {{ {own}, 127.0.0.1 }}"),
        };
        let table = format!(
            "table inet cut {{ chain in {{ type filter hook input priority 0; ip saddr {which} drop; }}; \
             chain out {{ type filter hook output priority 0; ip daddr {which} drop; }}; }}"
        );
        let status = Command::new("ip").args(["netns", "exec", &self.names[member], "nft", &table]).status()?;
        ensure!(status.success(), "cannot cut {member} off");
        Ok(())
    }

    fn join(&self, member: usize) -> Result<()> {
        run(&format!("ip netns exec {} nft flush ruleset", self.names[member]))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.names.iter().for_each(|name| drop(run(&format!("ip netns delete {name}"))));
    }
}

/// Networks of rounds that were killed: whoever made them is gone, or was an earlier process of our own number.
fn leftovers(own: u32) -> Vec<String> {
    let names = std::fs::read_dir(NAMES).into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let is_left = |process: u32| process == own || !Path::new(&format!("/proc/{process}")).exists();
    names.filter(|name| maker(name).is_some_and(is_left)).collect()
}

/// The process that made a network of this name, if one of ours did.
fn maker(name: &str) -> Option<u32> {
    let (process, member) = name.strip_prefix(NAME)?.split_once('m')?;
    member.parse::<usize>().ok().filter(|member| *member < MEMBERS)?;
    process.parse().ok()
}

fn address(member: usize) -> Ipv4Addr {
    let [a, b, c] = NET;
    Ipv4Addr::new(a, b, c, 1 + u8::try_from(member).unwrap_or_default())
}

fn run(line: &str) -> Result<()> {
    let mut words = line.split(' ');
    let status = Command::new(words.next().unwrap_or_default()).args(words).status().context(line.to_owned())?;
    ensure!(status.success(), "{line}: {status}");
    Ok(())
}
