//! Puts right what others broke: addresses and ports that services have and that are not noted as theirs, and those that are noted and
//! nobody's (upstream: `ipallocator/controller/repairip.go`, `portallocator/controller/repair.go`).
//!
//! This server leaves nothing behind that would need it. Others may: an administrator who deletes an `IPAddress`, a store that is shared
//! with servers that allocate first and write then, a store that was restored. Whoever must do something about it reads so in an event.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use portcullis_kinds::core::service::needs::{EXTERNAL_NAME, HEADLESS};
use portcullis_kinds::networking::ip_address::{ALLOCATOR, MANAGED_BY};
use portcullis_kinds::views;
use portcullis_kinds::views::core_v1::Service;
use portcullis_kinds::views::networking_v1::IPAddress;
use portcullis_kinds::vocabulary::network::sloppy;
use portcullis_model::tree::Tree;
use portcullis_store::{Commit, CommitError, Condition, Operation, ReadError, Snapshot};
use thiserror::Error;

use super::cluster_ips::belongs_to;
use super::node_ports::{self, PortSet, Unreadable};
use super::ranges::{self, Range};
use super::{ADDRESSES, SERVICE_CIDRS, SERVICES, family_of, ports};
use crate::bootstrap::{BootstrapError, Happened};
use crate::registry::Served;
use crate::server::ApiServer;

/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(180);
/// After it could not be done.
const RETRY_DELAY: Duration = Duration::from_secs(10);
/// How old an address must be before it is taken for nobody's: another server may be about to write its service.
const NEW_SECONDS: i64 = 60;
/// How often in a row a port must be found to be nobody's before it is taken back, for the same reason.
const LEAKS_BEFORE_CLEANUP: u32 = 3;
/// Most that is put right at once; the rest the next time.
const REPAIRS_MAX: usize = 1_000;
/// How many objects are looked at before others get their turn of the processor.
const LOOKED_AT_ONCE: usize = 64;

const ADDRESS_REPORTER: &str = "ipallocator-repair-controller";
const PORT_REPORTER: &str = "portallocator-repair-controller";
const ADDRESS_ACTION: &str = "ClusterIPAllocation";
const PORT_ACTION: &str = "PortAllocation";

/// Why it could not be put right.
#[derive(Debug, Error)]
pub(crate) enum RepairError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Ports(#[from] Unreadable),
    #[error("what is missing cannot be made: {0}")]
    Make(#[from] BootstrapError),
    #[error("it cannot be written: {0}")]
    Write(#[from] CommitError),
}

/// A service as the repair sees it.
struct Known {
    key: String,
    version: u64,
    namespace: String,
    name: String,
    uid: String,
    addresses: Vec<IpAddr>,
    ports: Vec<u16>,
}

/// One thing that is put right, with what its service is told.
struct Repair {
    operations: Vec<Operation>,
    happened: Option<Happened>,
}

/// What was found the times before.
#[derive(Default)]
pub(crate) struct Found {
    /// How often in a row each port was nobody's.
    leaks: HashMap<u16, u32>,
    /// What was said the last time, of which service: it is not said again as long as it stays so.
    told: HashSet<(String, String)>,
}

impl ApiServer {
    /// Keeps what services have right until the store is closed. Dropping it ends it at any point.
    pub async fn keep_services(&self) {
        let mut found = Found::default();
        loop {
            let delay = match self.repair_services(&mut found).await {
                Ok(()) => EVERY,
                Err(RepairError::Read(ReadError::Closed) | RepairError::Write(CommitError::Closed)) => return,
                Err(error) => {
                    tracing::warn!(%error, "what services have is not put right, it is tried again");
                    RETRY_DELAY
                }
            };
            tokio::time::sleep(delay).await;
        }
    }

    pub(crate) async fn repair_services(&self, found: &mut Found) -> Result<(), RepairError> {
        let snapshot = self.engine.newest().await?;
        let services = self.known_services(&snapshot).await;
        let mut repairs = self.wrong_ports(&snapshot, &services, &mut found.leaks)?;
        repairs.extend(self.missing_addresses(&snapshot, &services).await?);
        repairs.extend(self.leaked_addresses(&snapshot, &services).await);
        let told = std::mem::take(&mut found.told);
        let mut left = REPAIRS_MAX;
        for mut repair in repairs {
            let said = repair.happened.as_ref().map(|happened| (happened.uid.clone(), happened.note.clone()));
            if said.as_ref().is_some_and(|said| told.contains(said)) {
                repair.happened = None;
                found.told.extend(said.clone());
            }
            if left == 0 || repair.operations.is_empty() && repair.happened.is_none() {
                continue;
            }
            left -= 1;
            self.put_service_right(repair).await?;
            found.told.extend(said);
        }
        Ok(())
    }

    /// Whoever was first has put it right, or will: a conflict is no failure.
    async fn put_service_right(&self, repair: Repair) -> Result<(), RepairError> {
        let Repair { mut operations, happened } = repair;
        if let Some(happened) = &happened {
            tracing::warn!(service = happened.name, namespace = happened.namespace, "{}", happened.note);
            operations.push(self.event_of(happened)?);
        }
        match self.engine.commit(Commit::from(operations)).await {
            Ok(_) | Err(CommitError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn resource(&self, (group, resource): (&str, &str)) -> Option<(&Served, &str)> {
        let served = self.registry.find(group, "v1", resource)?;
        Some((served, served.prefix()?))
    }

    /// All services that can be read.
    async fn known_services(&self, snapshot: &Snapshot) -> Vec<Known> {
        let Some((served, prefix)) = self.resource(SERVICES) else { return Vec::new() };
        let mut services = Vec::new();
        for (looked_at, (key, entry)) in snapshot.range(prefix, None).enumerate() {
            let_others(looked_at).await;
            services.extend(served.load(&entry.value).ok().map(|tree| known(key, entry.version, &tree)));
        }
        services
    }

    fn ranges(&self, snapshot: &Snapshot) -> Vec<Range> {
        let Some((served, prefix)) = self.resource(SERVICE_CIDRS) else { return Vec::new() };
        let read = snapshot.range(prefix, None).filter_map(|(_, entry)| served.load(&entry.value).ok());
        read.flat_map(|tree| ranges::of_service_cidr(&tree)).collect()
    }

    /// Addresses that services have and that are not theirs.
    async fn missing_addresses(&self, snapshot: &Snapshot, services: &[Known]) -> Result<Vec<Repair>, RepairError> {
        let Some((served, prefix)) = self.resource(ADDRESSES) else { return Ok(Vec::new()) };
        let ranges = self.ranges(snapshot);
        let holders: HashSet<(IpAddr, &str, &str)> = services.iter().flat_map(Known::holdings).collect();
        let mut first: HashSet<IpAddr> = HashSet::new();
        let mut repairs = Vec::new();
        for (looked_at, service) in services.iter().enumerate() {
            let_others(looked_at).await;
            for address in service.addresses.iter().copied() {
                let (family, key) = (family_of(address).name(), format!("{prefix}{address}"));
                let entry = snapshot.get(&key);
                let tree = entry.and_then(|entry| served.load(&entry.value).ok());
                let is_own = tree.as_ref().is_some_and(|tree| belongs_to(tree, &service.namespace, &service.name));
                let tell = |reason, why: &str| {
                    Some(service.told(
                        reason,
                        ADDRESS_ACTION,
                        ADDRESS_REPORTER,
                        format!("Cluster IP [{family}]: {address} {why}"),
                    ))
                };
                if is_own {
                    first.insert(address);
                    continue;
                }
                if !ranges.iter().any(|range| range.gives(address)) {
                    let why = "is not within any configured Service CIDR; please recreate service";
                    repairs.push(Repair { operations: Vec::new(), happened: tell("ClusterIPOutOfRange", why) });
                    continue;
                }
                let other = tree.as_ref().and_then(|tree| owner(tree));
                let is_others = other.is_some_and(|(namespace, name)| holders.contains(&(address, namespace, name)));
                if is_others || !first.insert(address) {
                    let why = "was assigned to multiple services; please recreate service";
                    repairs.push(Repair { operations: Vec::new(), happened: tell("ClusterIPAlreadyAllocated", why) });
                    continue;
                }
                let check = Operation::check(service.key.as_str(), Condition::Version(service.version));
                let mut made = self.address_of(address, (&service.namespace, &service.name))?;
                let (reason, why) = match entry {
                    None => ("ClusterIPNotAllocated", "is not allocated; repairing"),
                    Some(entry) => {
                        made.condition = Condition::Version(entry.version);
                        ("IPAddressWrongReference", "is noted as that of something else; repairing")
                    }
                };
                repairs.push(Repair { operations: vec![check, made], happened: tell(reason, why) });
            }
        }
        Ok(repairs)
    }

    /// Addresses that are noted as those of services and nobody's.
    async fn leaked_addresses(&self, snapshot: &Snapshot, services: &[Known]) -> Vec<Repair> {
        let Some((served, prefix)) = self.resource(ADDRESSES) else { return Vec::new() };
        let of_services = self.resource(SERVICES);
        let holders: HashSet<(IpAddr, &str, &str)> = services.iter().flat_map(Known::holdings).collect();
        let now = self.now_seconds();
        let mut repairs = Vec::new();
        for (looked_at, (key, entry)) in snapshot.range(prefix, None).enumerate() {
            let_others(looked_at).await;
            let Some(address) = key.strip_prefix(prefix).and_then(|name| name.parse::<IpAddr>().ok()) else { continue };
            let Ok(tree) = served.load(&entry.value) else { continue };
            let metadata = views::read::<IPAddress<'_>>(&tree).metadata();
            let is_ours = metadata.labels().get(MANAGED_BY) == Some(ALLOCATOR);
            let is_new = metadata.creation_timestamp().is_some_and(|made| now - made < NEW_SECONDS);
            let is_held = metadata.finalizers().iter().next().is_some();
            if !is_ours
                || is_new
                || is_held
                || owner(&tree).is_some_and(|(at, name)| holders.contains(&(address, at, name)))
            {
                continue;
            }
            tracing::warn!(%address, "an address that is no service's is given back");
            let mut operations = vec![Operation::delete(key.to_string(), entry.version)];
            // The service may have come since, with this address: then it is for the next time.
            let service = owner(&tree).and_then(|(at, name)| of_services.as_ref()?.0.key(at, name));
            operations.extend(service.map(|service| {
                let condition =
                    snapshot.get(&service).map_or(Condition::Absent, |held| Condition::Version(held.version));
                Operation::check(service, condition)
            }));
            repairs.push(Repair { operations, happened: None });
        }
        repairs
    }

    /// Ports that services have and that are not noted, and those that are noted and nobody's.
    fn wrong_ports(
        &self,
        snapshot: &Snapshot,
        services: &[Known],
        leaks: &mut HashMap<u16, u32>,
    ) -> Result<Vec<Repair>, RepairError> {
        let entry = snapshot.get(node_ports::KEY);
        let stored = PortSet::stored(entry)?;
        let range = self.config.service_node_ports;
        let (mut wanted, mut repairs) = (PortSet::new(), Vec::new());
        for service in services {
            for port in service.ports.iter().copied() {
                let (reason, why) = if !range.holds(port.into()) {
                    ("PortOutOfRange", format!("is not within the port range {range}; please recreate service"))
                } else if wanted.holds(port) {
                    ("PortAlreadyAllocated", "was assigned to multiple services; please recreate service".to_owned())
                } else {
                    wanted.insert(port);
                    if stored.holds(port) {
                        continue;
                    }
                    ("PortNotAllocated", "is not allocated; repairing".to_owned())
                };
                let told = service.told(reason, PORT_ACTION, PORT_REPORTER, format!("Port {port} {why}"));
                repairs.push(Repair { operations: Vec::new(), happened: Some(told) });
            }
        }
        let nobodys = stored.iter().filter(|port| range.holds(i32::from(*port)) && !wanted.holds(*port));
        *leaks = nobodys.map(|port| (port, leaks.get(&port).copied().unwrap_or_default() + 1)).collect();
        for (port, times) in leaks {
            if *times < LEAKS_BEFORE_CLEANUP {
                wanted.insert(*port);
            } else {
                tracing::warn!(port, "a node port that is no service's is given back");
            }
        }
        if wanted != stored {
            // On the condition that nobody has taken or given back a port since the services were read.
            repairs.insert(0, Repair { operations: vec![wanted.operation(range, entry)], happened: None });
        }
        Ok(repairs)
    }
}

async fn let_others(looked_at: usize) {
    if looked_at % LOOKED_AT_ONCE == LOOKED_AT_ONCE - 1 {
        tokio::task::yield_now().await;
    }
}

fn known(key: &str, version: u64, tree: &Tree) -> Known {
    let service: Service<'_> = views::read(tree);
    let (metadata, spec) = (service.metadata(), service.spec());
    let has_addresses = spec.type_() != EXTERNAL_NAME && spec.cluster_ip() != HEADLESS;
    let first = Some(spec.cluster_ip()).filter(|_| spec.cluster_ips().is_empty());
    let written = spec.cluster_ips().iter().chain(first).filter(|_| has_addresses);
    Known {
        key: key.to_owned(),
        version,
        namespace: metadata.namespace().to_owned(),
        name: metadata.name().to_owned(),
        uid: metadata.uid().to_owned(),
        addresses: written.filter_map(sloppy).collect(),
        ports: ports::all(spec).into_iter().collect(),
    }
}

impl Known {
    fn holdings(&self) -> impl Iterator<Item = (IpAddr, &str, &str)> {
        self.addresses.iter().map(|address| (*address, self.namespace.as_str(), self.name.as_str()))
    }

    fn told(&self, reason: &'static str, action: &'static str, reporter: &'static str, note: String) -> Happened {
        let (namespace, name, uid) = (self.namespace.clone(), self.name.clone(), self.uid.clone());
        Happened { namespace, name, uid, reason, action, reporter, note }
    }
}

/// Namespace and name of the service that an address is noted as that of.
fn owner(address: &Tree) -> Option<(&str, &str)> {
    let parent = views::read::<IPAddress<'_>>(address).spec().parent_ref()?;
    (parent.group().is_empty() && parent.resource() == SERVICES.1).then(|| (parent.namespace(), parent.name()))
}
