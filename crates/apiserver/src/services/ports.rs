//! The ports of a service on the nodes, and the one at which load balancers ask about it (upstream: `initNodePorts`, `updateNodePorts`,
//! `allocHealthCheckNodePort`).

use std::collections::{BTreeSet, HashMap, HashSet};

use portcullis_kinds::core::service::needs::{self, LOAD_BALANCER, NODE_PORT};
use portcullis_kinds::views;
use portcullis_kinds::views::core_v1::{Service, ServiceEdit, ServicePortEdit, ServiceSpec};
use portcullis_kinds::views::{Edit as _, Place};
use portcullis_kinds::vocabulary::Path;
use portcullis_model::status::{FieldError, Status};
use portcullis_model::tree::Tree;
use portcullis_store::Snapshot;

use super::node_ports::{PortSet, Ports};
use super::{Giving, node_ports};
use crate::answer::{Failure, unreadable};
use crate::server::ApiServer;

/// A port of a service, as far as allocation is concerned.
struct Port {
    protocol: String,
    port: i32,
    node_port: i32,
}

fn is_on_nodes(spec: ServiceSpec<'_>) -> bool {
    [NODE_PORT, LOAD_BALANCER].contains(&spec.type_())
}

fn of(tree: &Tree) -> ServiceSpec<'_> {
    views::read::<Service<'_>>(tree).spec()
}

fn ports_of(spec: ServiceSpec<'_>) -> Vec<Port> {
    let read = spec.ports().iter();
    read.map(|port| Port { protocol: port.protocol().to_owned(), port: port.port(), node_port: port.node_port() })
        .collect()
}

/// The node ports of a service.
pub(super) fn numbers(spec: ServiceSpec<'_>) -> HashSet<i32> {
    spec.ports().iter().map(|port| port.node_port()).filter(|port| *port != 0).collect()
}

/// The ports that are taken. Where nothing is noted, before the first and when the note was lost, those that services have: a server that
/// took them for free would give them out twice (upstream refuses until they are repaired).
pub(super) fn held(server: &ApiServer, snapshot: &Snapshot) -> Result<PortSet, Failure> {
    if let Some(entry) = snapshot.get(node_ports::KEY) {
        return PortSet::stored(Some(entry)).map_err(super::unreadable_ports);
    }
    let mut held = PortSet::new();
    let Some(served) = server.registry.find(super::SERVICES.0, "v1", super::SERVICES.1) else { return Ok(held) };
    for (_, entry) in snapshot.range(served.prefix().unwrap_or_default(), None) {
        let tree = served.load(&entry.value).map_err(unreadable)?;
        all(of(&tree)).into_iter().for_each(|port| held.insert(port));
    }
    Ok(held)
}

/// The ports that a service has, the one for health checks among them.
pub(super) fn all(spec: ServiceSpec<'_>) -> BTreeSet<u16> {
    let asked = Some(spec.health_check_node_port()).filter(|_| needs::health_check_node_port(spec));
    let all = numbers(spec).into_iter().chain(asked).filter_map(|port| u16::try_from(port).ok());
    all.filter(|port| *port != 0).collect()
}

impl Giving<'_> {
    pub(super) fn new_ports(&mut self, tree: &mut Tree) -> Result<(), Failure> {
        let (on_nodes, asked) = (is_on_nodes(of(tree)), needs::health_check_node_port(of(tree)));
        if !on_nodes && !asked {
            return Ok(());
        }
        let mut ports = self.ports()?;
        if on_nodes {
            let is_given = needs::node_port(of(tree));
            let mut given = ports_of(of(tree));
            self.fill(&mut given, is_given, &mut ports)?;
            write(tree, &given);
        }
        if asked {
            self.health_check_port(tree, &mut ports)?;
        }
        self.give(ports);
        Ok(())
    }

    /// One node port for each port; the same for protocols that share one.
    fn fill(&self, given: &mut [Port], is_given: bool, ports: &mut Ports<'_>) -> Result<(), Failure> {
        let mut by_port: HashMap<i32, i32> = HashMap::new();
        // What is asked for, for the first port of each number that asks.
        let mut asked: HashMap<i32, i32> = HashMap::new();
        for port in given.iter().filter(|port| port.node_port != 0) {
            asked.entry(port.port).or_insert(port.node_port);
        }
        for (index, port) in given.iter_mut().enumerate() {
            if port.node_port == 0 && !is_given {
                continue;
            }
            match (by_port.get(&port.port).copied(), asked.get(&port.port).copied()) {
                (Some(held), _) if port.node_port == held => {}
                (Some(held), _) if port.node_port == 0 => port.node_port = held,
                (Some(_), _) => self.take_at(index, port.node_port, ports)?,
                (None, Some(wanted)) => {
                    self.take_at(index, wanted, ports)?;
                    port.node_port = wanted;
                    by_port.insert(port.port, wanted);
                }
                (None, None) => {
                    port.node_port = self.draw_port(ports)?;
                    by_port.insert(port.port, port.node_port);
                }
            }
        }
        Ok(())
    }

    fn take_at(&self, index: usize, wanted: i32, ports: &mut Ports<'_>) -> Result<(), Failure> {
        ports.take(wanted).map_err(|why| {
            let ports = Path::new("spec.ports");
            self.invalid(FieldError::invalid(ports.index(index).field("nodePort"), wanted, why))
        })
    }

    fn draw_port(&self, ports: &mut Ports<'_>) -> Result<i32, Failure> {
        let drawn = self.random()?;
        let failed = |why: String| Box::new(Status::internal_error(&format!("failed to allocate a nodePort: {why}")));
        ports.draw(|| drawn).map_err(failed)
    }

    fn health_check_port(&self, tree: &mut Tree, ports: &mut Ports<'_>) -> Result<(), Failure> {
        let wanted = of(tree).health_check_node_port();
        let failed = |why: String| Box::new(Status::internal_error(&why));
        if wanted != 0 {
            let why = |why| format!("failed to allocate requested HealthCheck NodePort {wanted}: {why}");
            return ports.take(wanted).map_err(|error| failed(why(error)));
        }
        let drawn = self.random()?;
        let why = |why| format!("failed to allocate a HealthCheck NodePort {wanted}: {why}");
        let port = ports.draw(|| drawn).map_err(|error| failed(why(error)))?;
        views::write::<ServiceEdit<'_>>(tree).spec_mut().set_health_check_node_port(port.into());
        Ok(())
    }

    pub(super) fn update_ports(&mut self, tree: &mut Tree, old: &Tree) -> Result<(), Failure> {
        let (was, had) = (is_on_nodes(of(old)), needs::health_check_node_port(of(old)));
        let (is, has) = (is_on_nodes(of(tree)), needs::health_check_node_port(of(tree)));
        if !(was || had || is || has) {
            return Ok(());
        }
        let mut ports = self.ports()?;
        if was && !is {
            numbers(of(old)).into_iter().for_each(|port| ports.release(port));
        }
        if is {
            self.update_node_ports(tree, &numbers(of(old)), &mut ports)?;
        }
        match (had, has) {
            (false, true) => self.health_check_port(tree, &mut ports)?,
            (true, false) => ports.release(of(old).health_check_node_port()),
            _ => {}
        }
        self.give(ports);
        Ok(())
    }

    fn update_node_ports(&self, tree: &mut Tree, old: &HashSet<i32>, ports: &mut Ports<'_>) -> Result<(), Failure> {
        let is_given = needs::node_port(of(tree));
        let mut given = ports_of(of(tree));
        let mut seen: HashSet<(String, i32)> = HashSet::new();
        for (index, port) in given.iter_mut().enumerate() {
            if port.node_port == 0 && !is_given {
                continue;
            }
            if port.node_port == 0 {
                port.node_port = self.draw_port(ports)?;
            } else if !old.contains(&port.node_port) && !ports.taken.contains(&port.node_port) {
                self.take_at(index, port.node_port, ports)?;
            }
            let pair = (port.protocol.clone(), port.node_port);
            if seen.contains(&pair) {
                let (protocol, port) = pair;
                return Err(Box::new(Status::unexpected(format!("duplicate nodePort: {{{protocol} {port}}}"))));
            }
            seen.insert(pair);
        }
        write(tree, &given);
        let new = numbers(of(tree));
        old.difference(&new).for_each(|port| ports.release(*port));
        Ok(())
    }

    /// All ports of a service that is gone.
    pub(super) fn release_ports(&mut self, tree: &Tree) {
        self.allocation.ports_released.extend(all(of(tree)));
    }
}

fn write(tree: &mut Tree, given: &[Port]) {
    let mut numbers = given.iter();
    let mut service: ServiceEdit<'_> = views::write(tree);
    service.spec_mut().ports_mut().each(|place: Place<'_>| {
        let Some(port) = numbers.next().filter(|port| port.node_port != 0) else { return };
        ServicePortEdit::at(place).set_node_port(port.node_port.into());
    });
}
