//! What is done to the servers of a round while its clients ask.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::client::Client;
use crate::clock::FAKETIME;
use crate::random::Random;

const ETCD: &str = "/usr/bin/etcd";
const IP: &str = "/usr/sbin/ip";
const NFT: &str = "/usr/sbin/nft";

/// One sort of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The server is killed and started again, several times.
    Kill,
    /// It is stopped for moments, and continued.
    Stop,
    /// It is stopped for 30 seconds.
    LongStop,
    /// Its clock jumps an hour ahead and back, and it is killed in another time than it was started in.
    Clock,
    /// Its disk is full, it is killed then, and there is room again.
    Full,
    /// Of two servers over etcd: the leading member is killed, and started again.
    Leader,
    /// It is stopped for moments.
    StopLeader,
    /// It is cut off from the other members, from the servers, or from everybody.
    Partition,
    /// What etcd knows of the past is compacted away, over and over.
    Compaction,
}

impl Fault {
    /// All of them, those that take longest first.
    pub const ALL: [Self; 9] = [
        Self::LongStop,
        Self::Partition,
        Self::Leader,
        Self::StopLeader,
        Self::Compaction,
        Self::Clock,
        Self::Full,
        Self::Stop,
        Self::Kill,
    ];

    /// What a user calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::LongStop => "stop30",
            Self::Clock => "clock",
            Self::Full => "full",
            Self::Leader => "etcd-kill",
            Self::StopLeader => "etcd-stop",
            Self::Partition => "etcd-partition",
            Self::Compaction => "etcd-compaction",
        }
    }

    /// Whether it befalls etcd, and not a server over its own file.
    pub fn is_of_etcd(self) -> bool {
        matches!(self, Self::Leader | Self::StopLeader | Self::Partition | Self::Compaction)
    }

    /// What this machine lacks for it, if anything, and where that comes from.
    pub fn lacks(self) -> Option<&'static str> {
        let has = |path: &str| Path::new(path).exists();
        let is_root = nix::unistd::geteuid().is_root();
        match self {
            Self::Clock if !has(FAKETIME) => Some("libfaketime (Debian: apt-get install faketime)"),
            Self::Full if !is_root => Some("root, who may mount a disk"),
            _ if self.is_of_etcd() && !has(ETCD) => Some("etcd (Debian: apt-get install etcd-server)"),
            Self::Partition if !is_root => Some("root, who may part a network"),
            Self::Partition if !has(IP) || !has(NFT) => Some("ip and nft (Debian: apt-get install iproute2 nftables)"),
            _ => None,
        }
    }

    /// The one of a name.
    pub fn of(name: &str) -> Result<Self> {
        let known = || Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|fault| fault.name() == name)
            .with_context(|| format!("no fault is called {name:?}; there are {}", known()))
    }
}

/// The servers of a round.
pub trait Scene {
    /// One client of each server, who may do everything.
    fn admins(&self) -> Vec<Client>;
    /// Does to them what the round is about.
    fn disturb(&mut self, random: &mut Random) -> Result<()>;
    /// Makes everything right again; says what the servers did that they may not do.
    fn heal(&mut self) -> Result<()>;
}

/// What a round is run by, so that it has a network of its own: nobody else takes a port while its server is down. Only root may.
pub fn run_by() -> &'static [&'static str] {
    if nix::unistd::geteuid().is_root() && Path::new(IP).exists() { &["unshare", "--net"] } else { &[] }
}

/// Makes a network that a round has of its own usable.
pub fn bring_up_network() -> Result<()> {
    let status = Command::new(IP).args(["link", "set", "lo", "up"]).status()?;
    ensure!(status.success(), "cannot bring up the network");
    Ok(())
}

/// Lets clients ask for a while.
pub(super) fn pass(random: &mut Random, least_ms: u64, most_ms: u64) {
    std::thread::sleep(Duration::from_millis(least_ms + random.below(most_ms - least_ms)));
}
