//! What services are given of what a cluster has: addresses inside of it and ports of its nodes (upstream: `registry/core/service/storage`,
//! KEP-1880).
//!
//! An address is an object, the `IPAddress` of its name, and is made in the commit of the service that gets it; the ports of all services
//! are one object, which is changed in that commit. So nothing is given out twice by however many servers, and a server that ends at any
//! point leaves nothing behind that is nobody's. Upstream allocates first and writes then, and cleans up later what that leaves.
//!
//! Reading order: this file (what is done with which write), [`cluster_ips`] and [`ports`] (what a service gets and gives back),
//! [`ranges`] and [`node_ports`] (what there is), [`drawn`], [`repair`] (what others left behind).

mod cluster_ips;
mod drawn;
mod node_ports;
mod ports;
mod ranges;
mod repair;

use std::net::IpAddr;
use std::sync::Arc;

use portcullis_kinds::core::service::families::{self, Family};
use portcullis_kinds::views;
use portcullis_kinds::views::core_v1::Service;
use portcullis_kinds::vocabulary::Errors;
use portcullis_model::status::{FieldError, Status};
use portcullis_model::tree::Tree;
use portcullis_store::{Commit, CommitError, Committed, Operation, Snapshot};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::admission::Alongside;
use crate::answer::{Failure, unreadable};
use crate::registry::Served;
use crate::server::ApiServer;
use crate::verbs::delete::{self, Plan};
use crate::verbs::options::DeleteOptions;
use drawn::{Drawn, Kept};
pub use node_ports::{PortRange, PortRangeError};
use node_ports::{Ports, Unreadable};
#[cfg(test)]
pub(crate) use repair::Found;

const ADDRESSES: (&str, &str) = ("networking.k8s.io", "ipaddresses");
const ENDPOINTS: (&str, &str) = ("", "endpoints");
const SERVICES: (&str, &str) = ("", "services");
const SERVICE_CIDRS: (&str, &str) = ("networking.k8s.io", "servicecidrs");

/// How often a commit that changes which ports are taken is tried again when another server changed that first. The writers of one
/// server take turns, so each of these is lost to another server, which has won one then.
const PORT_ATTEMPTS_MAX: usize = 64;

/// What the requests of this server have drawn and not committed yet.
pub(crate) struct OnTheirWay {
    addresses: Drawn<IpAddr>,
    ports: Drawn<u16>,
    /// Whose turn it is to write which ports are taken: one object, at which they would only be in each other's way. Fair. Who waits
    /// here may have a turn at its object and one in its namespace; who has the turn waits for nothing but the store.
    turn_at_ports: Arc<Semaphore>,
}

impl Default for OnTheirWay {
    fn default() -> Self {
        OnTheirWay { addresses: Drawn::default(), ports: Drawn::default(), turn_at_ports: Arc::new(Semaphore::new(1)) }
    }
}

/// What one write takes and gives back: committed with it, or not at all.
#[derive(Default)]
pub(crate) struct Allocation {
    /// What happens to other objects; no key twice.
    operations: Vec<Operation>,
    ports_taken: Vec<u16>,
    ports_released: Vec<u16>,
    _addresses_kept: Vec<Kept<IpAddr>>,
    _ports_kept: Vec<Kept<u16>>,
    turn: Option<OwnedSemaphorePermit>,
}

impl Allocation {
    /// Commits a write together with what it takes and gives back. A conflict is one of the write, which begins again then; the outer
    /// failure is that of reading what there is.
    pub(crate) async fn commit(
        &mut self,
        server: &ApiServer,
        mut operations: Vec<Operation>,
    ) -> Result<Result<Committed, CommitError>, Failure> {
        operations.append(&mut self.operations);
        if self.ports_taken.is_empty() && self.ports_released.is_empty() {
            return Ok(server.engine.commit(Commit::from(operations)).await);
        }
        self.turn = Arc::clone(&server.on_their_way.turn_at_ports).acquire_owned().await.ok();
        for _ in 0..PORT_ATTEMPTS_MAX {
            let Some(ports) = self.ports_operation(server, &server.newest().await?)? else { break };
            let all = operations.iter().cloned().chain([ports]).collect::<Vec<_>>();
            match server.engine.commit(Commit::from(all)).await {
                Err(CommitError::Conflict { key, .. }) if *key == *node_ports::KEY => {}
                committed => return Ok(committed),
            }
        }
        Ok(Err(CommitError::Conflict { key: node_ports::KEY.into(), current: None }))
    }

    /// What makes the ports this write's; none when another server has taken one of them meanwhile.
    fn ports_operation(&self, server: &ApiServer, newest: &Snapshot) -> Result<Option<Operation>, Failure> {
        let mut held = ports::held(server, newest)?;
        for port in &self.ports_taken {
            if held.holds(*port) {
                return Ok(None);
            }
            held.insert(*port);
        }
        self.ports_released.iter().for_each(|port| held.remove(*port));
        Ok(Some(held.operation(server.config.service_node_ports, newest.get(node_ports::KEY))))
    }

    /// Adds an operation, once for each key.
    fn add(&mut self, operation: Operation) {
        if self.operations.iter().all(|held| held.key != operation.key) {
            self.operations.push(operation);
        }
    }

    /// Adds the deletion of an object, as if a client had asked for it: one that finalizers hold is marked.
    fn delete(&mut self, server: &ApiServer, snapshot: &Snapshot, served: &Served, key: String) -> Result<(), Failure> {
        let Some(entry) = snapshot.get(&key) else { return Ok(()) };
        let tree = served.load(&entry.value).map_err(unreadable)?;
        match delete::plan(server, served, entry, tree, &DeleteOptions::default())?.0 {
            Plan::Wait => {}
            Plan::Mark(value) => self.add(Operation::update(key, entry.version, value)),
            Plan::MarkAndRemove(_) | Plan::Remove => self.add(Operation::delete(key, entry.version)),
        }
        Ok(())
    }
}

/// A write of a service, on its way to be given something.
struct Giving<'a> {
    server: &'a ApiServer,
    snapshot: &'a Snapshot,
    namespace: &'a str,
    name: String,
    dry_run: bool,
    allocation: Allocation,
}

impl<'a> Giving<'a> {
    fn new(server: &'a ApiServer, snapshot: &'a Snapshot, namespace: &'a str, service: &Tree, dry_run: bool) -> Self {
        let name = views::read::<Service<'_>>(service).metadata().name().to_owned();
        Giving { server, snapshot, namespace, name, dry_run, allocation: Allocation::default() }
    }

    fn served(&self, (group, resource): (&str, &str)) -> Result<&'a Served, Failure> {
        let found = self.server.registry.find(group, "v1", resource);
        found.ok_or_else(|| Box::new(Status::internal_error(&format!("{resource} are not served"))))
    }

    fn key(&self, of: (&str, &str), namespace: &str, name: &str) -> Result<String, Failure> {
        Ok(self.served(of)?.key(namespace, name).unwrap_or_default())
    }

    /// The ports as the state has them.
    fn ports(&self) -> Result<Ports<'a>, Failure> {
        let held = ports::held(self.server, self.snapshot)?;
        let range = self.server.config.service_node_ports;
        Ok(Ports::new(range, held, &self.server.on_their_way.ports, self.dry_run))
    }

    fn give(&mut self, ports: Ports<'_>) {
        let number = |port: &i32| u16::try_from(*port).ok();
        self.allocation.ports_taken.extend(ports.taken.iter().filter_map(number));
        self.allocation.ports_released.extend(ports.released.iter().filter_map(number));
        self.allocation._ports_kept.extend(ports.kept);
    }

    /// A number nobody can guess.
    fn random(&self) -> Result<u128, Failure> {
        let mut random = [0; 16];
        let drawn = self.server.env.fill_random(&mut random);
        drawn.map_err(|error| Box::new(Status::internal_error(&error.to_string())))?;
        Ok(u128::from_le_bytes(random))
    }

    fn invalid(&self, error: FieldError) -> Failure {
        Box::new(Status::invalid("", "Service", &self.name, &[error]))
    }

    fn refuse_if_any(&self, errors: Errors) -> Result<(), Failure> {
        if errors.is_empty() {
            return Ok(());
        }
        Err(Box::new(Status::invalid("", "Service", &self.name, &errors.into_vec())))
    }
}

fn unreadable_ports(error: Unreadable) -> Failure {
    tracing::error!(key = node_ports::KEY, "{error}: no service gets or gives back a port");
    Box::new(Status::internal_error(&error.to_string()))
}

/// Gives a new service what it needs: the first thing that happens to it once it has a name (upstream: `beginCreate`).
///
/// # Errors
/// What it wants cannot be had.
pub(crate) fn begin_create(
    server: &ApiServer,
    served: &Served,
    snapshot: &Snapshot,
    (tree, namespace): (&mut Tree, &str),
    dry_run: bool,
    alongside: &Alongside,
) -> Result<(), Failure> {
    if !served.is(SERVICES.0, SERVICES.1) {
        return Ok(());
    }
    let mut giving = Giving::new(server, snapshot, namespace, tree, dry_run);
    let mut errors = Errors::new();
    families::begin_create(tree, &server.config.service_families(), &mut errors);
    giving.refuse_if_any(errors)?;
    giving.new_addresses(tree)?;
    giving.new_ports(tree)?;
    alongside.allot(giving.allocation);
    Ok(())
}

/// Gives a service that replaces another what it needs beyond what that had, and takes back what it no longer needs: before anything
/// is put back that may not change, and before validation (upstream: `beginUpdate`).
///
/// # Errors
/// What it wants cannot be had.
pub(crate) fn begin_update(
    server: &ApiServer,
    served: &Served,
    snapshot: &Snapshot,
    (tree, old, namespace): (&mut Tree, &Tree, &str),
    dry_run: bool,
    alongside: &Alongside,
) -> Result<(), Failure> {
    if !served.is(SERVICES.0, SERVICES.1) {
        return Ok(());
    }
    let mut giving = Giving::new(server, snapshot, namespace, tree, dry_run);
    let mut errors = Errors::new();
    families::begin_update(tree, old, &server.config.service_families(), &mut errors);
    giving.refuse_if_any(errors)?;
    giving.update_addresses(tree, old)?;
    giving.update_ports(tree, old)?;
    alongside.allot(giving.allocation);
    Ok(())
}

/// What goes with an object that is gone: all that a service has, and the endpoints of its name (upstream: `afterDelete`). Nothing for
/// any other resource.
///
/// # Errors
/// Something of it cannot be read.
pub(crate) fn release(
    server: &ApiServer,
    served: &Served,
    snapshot: &Snapshot,
    tree: &Tree,
) -> Result<Option<Allocation>, Failure> {
    if !served.is(SERVICES.0, SERVICES.1) {
        return Ok(None);
    }
    let namespace = views::read::<Service<'_>>(tree).metadata().namespace();
    let mut giving = Giving::new(server, snapshot, namespace, tree, false);
    giving.release_addresses(tree)?;
    giving.release_ports(tree);
    let endpoints = giving.served(ENDPOINTS)?;
    let key = giving.key(ENDPOINTS, namespace, &giving.name)?;
    giving.allocation.delete(server, snapshot, endpoints, key)?;
    Ok(Some(giving.allocation))
}

/// The ports that are noted as taken.
#[cfg(test)]
pub(crate) fn ports_noted(snapshot: &Snapshot) -> std::collections::BTreeSet<u16> {
    let noted = node_ports::PortSet::stored(snapshot.get(node_ports::KEY));
    noted.map(|ports| ports.iter().collect()).unwrap_or_default()
}

/// The family of an address.
fn family_of(address: IpAddr) -> Family {
    if address.is_ipv4() { Family::V4 } else { Family::V6 }
}
