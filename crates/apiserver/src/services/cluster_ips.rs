//! The addresses of a service (upstream: `allocClusterIPs`, `updateClusterIPs`, `ipallocator`).

use std::net::IpAddr;

use portcullis_kinds::core::service::families::Family;
use portcullis_kinds::core::service::needs::{EXTERNAL_NAME, HEADLESS};
use portcullis_kinds::views;
use portcullis_kinds::views::core_v1::{Service, ServiceEdit, ServiceSpec};
use portcullis_kinds::views::networking_v1::IPAddress;
use portcullis_kinds::vocabulary::network::sloppy;
use portcullis_model::status::{BadValue, FieldError, Status};
use portcullis_model::tree::Tree;
use portcullis_store::{Condition, Operation};
use serde_json::json;

use super::ranges::{self, Range};
use super::{ADDRESSES, Giving, SERVICE_CIDRS, family_of};
use crate::answer::{Failure, unreadable};

const TAKEN: &str = "provided IP is already allocated";
const FULL: &str = "range is full";
const NOT_READY: &str = "allocator not ready";
const ELSEWHERE: &str = "the provided network does not match the current range";

/// A range that can be used, and the object that says so.
struct Usable {
    range: Range,
    key: String,
    version: u64,
}

/// What a service has of addresses, as far as allocation is concerned.
struct Held<'t> {
    type_: &'t str,
    families: Vec<Family>,
    addresses: Vec<String>,
}

impl<'t> Held<'t> {
    fn of(spec: ServiceSpec<'t>) -> Held<'t> {
        let mut addresses: Vec<String> = spec.cluster_ips().iter().map(str::to_owned).collect();
        // Old objects have the first one only.
        if addresses.is_empty() && !spec.cluster_ip().is_empty() {
            addresses.push(spec.cluster_ip().to_owned());
        }
        let mut families: Vec<Family> = spec.ip_families().iter().filter_map(Family::named).collect();
        if families.is_empty() {
            families = addresses.iter().filter_map(|address| sloppy(address)).map(family_of).collect();
        }
        Held { type_: spec.type_(), families, addresses }
    }

    fn has_none(&self) -> bool {
        self.type_ == EXTERNAL_NAME || self.is_headless()
    }

    fn is_headless(&self) -> bool {
        self.addresses.first().is_some_and(|address| address == HEADLESS)
    }
}

impl Giving<'_> {
    /// An address of each family.
    pub(super) fn new_addresses(&mut self, tree: &mut Tree) -> Result<(), Failure> {
        let mut held = Held::of(views::read::<Service<'_>>(tree).spec());
        if held.has_none() {
            return Ok(());
        }
        let families = std::mem::take(&mut held.families);
        let missing = families.len().saturating_sub(held.addresses.len());
        held.addresses.extend(std::iter::repeat_n(String::new(), missing));
        let shown = held.addresses.clone();
        for (address, family) in held.addresses.iter_mut().zip(families) {
            *address = self.address(family, address, &shown)?;
        }
        write(tree, &held.addresses);
        Ok(())
    }

    /// What a service gets or loses that is not what it was.
    pub(super) fn update_addresses(&mut self, tree: &mut Tree, old: &Tree) -> Result<(), Failure> {
        let old = Held::of(views::read::<Service<'_>>(old).spec());
        let mut new = Held::of(views::read::<Service<'_>>(tree).spec());
        if old.type_ == EXTERNAL_NAME && new.type_ != EXTERNAL_NAME {
            return self.new_addresses(tree);
        }
        if old.is_headless() || old.type_ == EXTERNAL_NAME {
            return Ok(());
        }
        if new.type_ == EXTERNAL_NAME {
            return old.addresses.iter().try_for_each(|address| self.release_address(address));
        }
        match (old.families.len(), new.families.as_slice()) {
            (1, [_, second]) => {
                let second = *second;
                if new.addresses.len() < 2 {
                    new.addresses.push(String::new());
                }
                let shown = new.addresses.clone();
                if let Some(address) = new.addresses.get_mut(1) {
                    *address = self.address(second, address, &shown)?;
                }
                write(tree, &new.addresses);
                Ok(())
            }
            (2, [_]) => old.addresses.get(1).map_or(Ok(()), |address| self.release_address(address)),
            _ => Ok(()),
        }
    }

    /// All addresses of a service that is gone.
    pub(super) fn release_addresses(&mut self, tree: &Tree) -> Result<(), Failure> {
        let held = Held::of(views::read::<Service<'_>>(tree).spec());
        if held.has_none() {
            return Ok(());
        }
        held.addresses.iter().try_for_each(|address| self.release_address(address))
    }

    /// The address that is wanted, or one that is free for an empty text.
    fn address(&mut self, family: Family, wanted: &str, shown: &[String]) -> Result<String, Failure> {
        if wanted.is_empty() {
            let drawn = self.draw(family)?;
            let why = || Box::new(Status::internal_error(&format!("failed to allocate a serviceIP: {FULL}")));
            return drawn.map(|address| address.to_string()).ok_or_else(why);
        }
        let Some(address) = sloppy(wanted) else {
            let shown = json!(wanted);
            return Err(Box::new(Status::internal_error(&format!("failed to parse service IP {shown}"))));
        };
        match self.take(family, address)? {
            Ok(()) => Ok(wanted.to_owned()),
            Err(why) => {
                let why = format!("failed to allocate IP {wanted}: {why}");
                let shown = BadValue::Json(json!(shown).to_string());
                Err(self.invalid(FieldError::invalid("spec.clusterIPs", shown, why)))
            }
        }
    }

    /// Takes the address that is wanted, or says why not. A dry run does not look if somebody has it (as upstream).
    fn take(&mut self, family: Family, address: IpAddr) -> Result<Result<(), String>, Failure> {
        let usable = self.usable(family)?;
        let found = usable.iter().find(|usable| usable.range.gives(address));
        let outside = |range: &Range| {
            let range = range.cidr;
            format!("the provided IP ({address}) is not in the valid range. The range of valid IPs is {range}")
        };
        match (found, usable.first()) {
            (None, None) if self.dry_run => Ok(Err(NOT_READY.to_owned())),
            (None, Some(first)) if self.dry_run => Ok(Err(outside(&first.range))),
            // To whoever wants it, the network's own address is in no range either.
            (None, _) => Ok(Err(ELSEWHERE.to_owned())),
            (Some(_), _) if self.dry_run => Ok(Ok(())),
            (Some(found), _) => {
                if self.snapshot.get(&self.key(ADDRESSES, "", &address.to_string())?).is_some() {
                    return Ok(Err(TAKEN.to_owned()));
                }
                self.note(found, address)?;
                Ok(Ok(()))
            }
        }
    }

    /// Takes an address that is free. A dry run answers with the network's own.
    fn draw(&mut self, family: Family) -> Result<Option<IpAddr>, Failure> {
        let usable = self.usable(family)?;
        if self.dry_run {
            return Ok(usable.first().map(|first| first.range.cidr.address()));
        }
        let prefix = self.served(ADDRESSES)?.prefix().unwrap_or_default();
        // The first is as hard to guess as it gets; those after it, which are only for who meets somebody, follow from it.
        let mut state = self.random()?;
        let mut random = || {
            state = state.wrapping_mul(0x2360_ED05_1FC6_5DA4_4385_DF64_9FCC_F645).wrapping_add(1);
            state >> 64
        };
        for usable in &usable {
            let mut kept = None;
            let mut is_taken = |address: IpAddr| {
                if self.snapshot.get(&format!("{prefix}{address}")).is_none() {
                    kept = self.server.on_their_way.addresses.keep(address);
                }
                kept.is_none()
            };
            let all = || {
                let stored = self.snapshot.range(prefix, None);
                let stored = stored.filter_map(|(key, _)| key.strip_prefix(prefix)?.parse().ok());
                stored.chain(self.server.on_their_way.addresses.all()).collect()
            };
            let Some(drawn) = usable.range.draw(&mut random, &mut is_taken, all) else { continue };
            self.allocation._addresses_kept.extend(kept);
            self.note(usable, drawn)?;
            return Ok(Some(drawn));
        }
        Ok(None)
    }

    /// Makes the address the service's, on the condition that its range stays what it is.
    fn note(&mut self, usable: &Usable, address: IpAddr) -> Result<(), Failure> {
        let made = self.server.address_of(address, (self.namespace, &self.name));
        self.allocation.add(made.map_err(|error| Box::new(Status::internal_error(&error.to_string())))?);
        self.allocation.add(Operation::check(usable.key.as_str(), Condition::Version(usable.version)));
        Ok(())
    }

    /// The ranges of a family that can be used, in the order of the names of what says so.
    fn usable(&self, family: Family) -> Result<Vec<Usable>, Failure> {
        let served = self.served(SERVICE_CIDRS)?;
        let mut usable = Vec::new();
        for (key, entry) in self.snapshot.range(served.prefix().unwrap_or_default(), None) {
            let tree = served.load(&entry.value).map_err(unreadable)?;
            let ranges = ranges::of_service_cidr(&tree).into_iter().filter(|range| range.family() == family);
            usable.extend(ranges.map(|range| Usable { range, key: key.to_string(), version: entry.version }));
        }
        Ok(usable)
    }

    /// Gives an address back, if it is this service's.
    fn release_address(&mut self, address: &str) -> Result<(), Failure> {
        let Some(address) = sloppy(address).filter(|_| !self.dry_run) else { return Ok(()) };
        let served = self.served(ADDRESSES)?;
        let key = self.key(ADDRESSES, "", &address.to_string())?;
        let Some(entry) = self.snapshot.get(&key) else { return Ok(()) };
        let tree = served.load(&entry.value).map_err(unreadable)?;
        if !belongs_to(&tree, self.namespace, &self.name) {
            return Ok(());
        }
        self.allocation.delete(self.server, self.snapshot, served, key)
    }
}

/// Whether an address is that of a service.
pub(super) fn belongs_to(address: &Tree, namespace: &str, name: &str) -> bool {
    views::read::<IPAddress<'_>>(address).spec().parent_ref().is_some_and(|parent| {
        parent.group().is_empty()
            && parent.resource() == "services"
            && (parent.namespace(), parent.name()) == (namespace, name)
    })
}

fn write(tree: &mut Tree, addresses: &[String]) {
    let mut service: ServiceEdit<'_> = views::write(tree);
    let mut spec = service.spec_mut();
    if let Some(first) = addresses.first() {
        spec.set_cluster_ip(first);
    }
    spec.clear_cluster_ips();
    let mut list = spec.cluster_ips_mut();
    addresses.iter().for_each(|address| list.push_text(address));
}
