//! What a claim got (upstream: `validateResourceClaimStatusUpdate`, `validateAllocationResult`, `validateDeviceStatus`; device status
//! KEP-4817): devices, who may use them, and what their drivers say of each.

use std::collections::HashSet;

use portcullis_model::status::BadValue;

use super::claims::{CONFIGURATIONS_MAX, Requests};
use super::names as devices;
use super::selectors::{self, Origin, PARAMETERS_BYTES_MAX};
use super::{lists, taints};
use crate::core::pod_spec::volumes::drivers::driver_name;
use crate::views::List;
use crate::views::meta_v1::Condition;
use crate::views::resource_v1::{
    AllocatedDeviceStatus, AllocationResult, DeviceAllocationConfiguration, DeviceRequestAllocationResult,
    NetworkDeviceData, ResourceClaim, ResourceClaimConsumerReference, ResourceClaimStatus,
};
use crate::vocabulary::frozen::frozen;
use crate::vocabulary::network::sloppy;
use crate::vocabulary::node_selectors::{Values, node_selector};
use crate::vocabulary::{Errors, Path, conditions};

/// Who may use one claim at a time.
const CONSUMERS_MAX: usize = 256;
/// Devices that one claim gets.
const RESULTS_MAX: usize = 32;
/// Conditions of a device.
const CONDITIONS_MAX: usize = 8;
const INTERFACE_NAME_BYTES_MAX: usize = 256;
const HARDWARE_ADDRESS_BYTES_MAX: usize = 128;
/// Addresses of a device.
const ADDRESSES_MAX: usize = 16;

/// A device of a driver's pool, or a share of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeviceId<'t> {
    driver: &'t str,
    pool: &'t str,
    device: &'t str,
    share: Option<&'t str>,
}

impl<'t> DeviceId<'t> {
    fn of_result(result: DeviceRequestAllocationResult<'t>) -> DeviceId<'t> {
        DeviceId { driver: result.driver(), pool: result.pool(), device: result.device(), share: result.share_id() }
    }

    fn of_status(status: AllocatedDeviceStatus<'t>) -> DeviceId<'t> {
        DeviceId { driver: status.driver(), pool: status.pool(), device: status.device(), share: status.share_id() }
    }

    fn shown(self) -> String {
        let DeviceId { driver, pool, device, share } = self;
        match share {
            None => format!("{driver}/{pool}/{device}"),
            Some(share) => format!("{driver}/{pool}/{device}/{share}"),
        }
    }

    /// The device as a whole.
    fn whole(self) -> DeviceId<'t> {
        DeviceId { share: None, ..self }
    }
}

fn results(status: ResourceClaimStatus<'_>) -> impl Iterator<Item = DeviceRequestAllocationResult<'_>> {
    status.allocation().into_iter().flat_map(|allocation| allocation.devices().results().iter())
}

/// Which devices a claim has no longer; each is there for all its shares.
pub fn taken_away<'t>(new: ResourceClaimStatus<'t>, old: ResourceClaimStatus<'t>) -> HashSet<DeviceId<'t>> {
    let mut gone: HashSet<DeviceId<'t>> = results(old).map(|result| DeviceId::of_result(result).whole()).collect();
    for result in results(new) {
        gone.remove(&DeviceId::of_result(result).whole());
    }
    gone
}

/// Whether what a driver says is of one of these devices.
pub fn is_among(status: AllocatedDeviceStatus<'_>, devices: &HashSet<DeviceId<'_>>) -> bool {
    devices.contains(&DeviceId::of_status(status).whole())
}

/// What is wrong with the status of a claim that replaces another.
pub fn validate(claim: ResourceClaim<'_>, old: ResourceClaim<'_>, at: &Path<'_>, errors: &mut Errors) {
    let (status, old_status) = (claim.status(), old.status());
    let at_consumers = at.field("reservedFor");
    if lists::is_short(status.reserved_for().len(), CONSUMERS_MAX, &at_consumers, errors) {
        for (index, one) in status.reserved_for().iter().enumerate() {
            consumer(one, &at_consumers.index(index), errors);
        }
        let uids = status.reserved_for().iter().map(ResourceClaimConsumerReference::uid);
        lists::distinct_texts(uids, &at_consumers, errors);
    }
    all_devices(status, &at.field("devices"), errors);
    if !status.reserved_for().is_empty() {
        if status.allocation().is_none() {
            errors.forbidden(&at_consumers, "may not be specified when `allocated` is not set");
        } else if claim.metadata().deletion_timestamp().is_some() && has_more_consumers(status, old_status) {
            let why = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
            errors.forbidden(&at_consumers, why);
        }
    }
    let at_allocation = at.field("allocation");
    match (status.allocation(), old_status.allocation()) {
        (Some(new), Some(old)) => frozen(new.place(), old.place(), &at_allocation, errors),
        (Some(new), None) => allocation(new, &Requests::of(claim.spec().devices()), &at_allocation, errors),
        (None, _) => {}
    }
}

fn consumer(consumer: ResourceClaimConsumerReference<'_>, at: &Path<'_>, errors: &mut Errors) {
    consumer.check_resource(at, errors);
    consumer.check_name(at, errors);
    consumer.check_uid(at, errors);
}

fn has_more_consumers(new: ResourceClaimStatus<'_>, old: ResourceClaimStatus<'_>) -> bool {
    let key = |one: ResourceClaimConsumerReference<'_>| {
        let parts = [one.api_group(), one.resource(), one.name(), one.uid()];
        parts.map(str::to_owned)
    };
    let held: HashSet<[String; 4]> = old.reserved_for().iter().map(key).collect();
    new.reserved_for().iter().any(|one| !held.contains(&key(one)))
}

/// What drivers say is of devices that the claim has.
fn all_devices(status: ResourceClaimStatus<'_>, at: &Path<'_>, errors: &mut Errors) {
    if status.devices().is_empty() {
        return;
    }
    let allocated: HashSet<DeviceId<'_>> = results(status).map(DeviceId::of_result).collect();
    for (index, one) in status.devices().iter().enumerate() {
        if errors.is_full() {
            return;
        }
        device(one, &allocated, &at.index(index), errors);
    }
    let ids = status.devices().iter().map(DeviceId::of_status);
    lists::distinct(ids, DeviceId::shown, at, errors);
}

fn device(status: AllocatedDeviceStatus<'_>, allocated: &HashSet<DeviceId<'_>>, at: &Path<'_>, errors: &mut Errors) {
    driver_name(status.driver(), &at.field("driver"), errors);
    devices::pool(status.pool(), &at.field("pool"), errors);
    status.check_device(at, errors);
    if let Some(share) = status.share_id() {
        devices::uid(share, &at.field("shareID"), errors);
    }
    let id = DeviceId::of_status(status);
    if !allocated.contains(&id) {
        errors.invalid(at, BadValue::Json(id.shown()), "must be an allocated device in the claim");
    }
    let (list, at_conditions): (List<'_, Condition<'_>>, _) = (status.conditions(), at.field("conditions"));
    lists::is_short(list.len(), CONDITIONS_MAX, &at_conditions, errors);
    conditions::conditions(list, &at_conditions, errors);
    if let Some(data) = status.data().filter(|data| !data.0.is_empty()) {
        selectors::object(data, PARAMETERS_BYTES_MAX, &at.field("data"), errors);
    }
    if let Some(data) = status.network_data() {
        network(data, &at.field("networkData"), errors);
    }
}

/// How a device is seen on its network.
fn network(data: NetworkDeviceData<'_>, at: &Path<'_>, errors: &mut Errors) {
    if data.interface_name().len() > INTERFACE_NAME_BYTES_MAX {
        errors.too_long(&at.field("interfaceName"), INTERFACE_NAME_BYTES_MAX);
    }
    if data.hardware_address().len() > HARDWARE_ADDRESS_BYTES_MAX {
        errors.too_long(&at.field("hardwareAddress"), HARDWARE_ADDRESS_BYTES_MAX);
    }
    let at = at.field("ips");
    if lists::is_short(data.ips().len(), ADDRESSES_MAX, &at, errors) {
        for (index, address) in data.ips().iter().enumerate() {
            interface_address(address, &at.index(index), errors);
        }
        lists::distinct_texts(data.ips().iter(), &at, errors);
    }
}

/// An address with the length of its network's prefix, written in the one way.
fn interface_address(value: &str, at: &Path<'_>, errors: &mut Errors) {
    let parts = value.split_once('/').and_then(|(address, bits)| {
        let bits_max = if address.contains(':') { 128 } else { 32 };
        let is_number = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
        let bits = bits.parse::<u32>().ok().filter(|bits| is_number && *bits <= bits_max)?;
        Some((sloppy(address)?, bits))
    });
    let Some((address, bits)) = parts else {
        errors.invalid(at, value, "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)");
        return;
    };
    let canonical = format!("{address}/{bits}");
    if value != canonical {
        errors.invalid(at, value, format!("must be in canonical form (\"{canonical}\")"));
    }
}

/// What a claim gets. One that is stored is not looked at again.
fn allocation(allocation: AllocationResult<'_>, requests: &Requests<'_>, at: &Path<'_>, errors: &mut Errors) {
    let (devices, at_devices) = (allocation.devices(), at.field("devices"));
    let at_results = at_devices.field("results");
    if lists::is_short(devices.results().len(), RESULTS_MAX, &at_results, errors) {
        for (index, one) in devices.results().iter().enumerate() {
            result(one, requests, &at_results.index(index), errors);
        }
    }
    // Those of the class and of the claim.
    let at_config = at_devices.field("config");
    if lists::is_short(devices.config().len(), 2 * CONFIGURATIONS_MAX, &at_config, errors) {
        for (index, one) in devices.config().iter().enumerate() {
            configuration(one, requests, &at_config.index(index), errors);
        }
    }
    if let Some(selector) = allocation.node_selector() {
        node_selector(selector, Values::Labels, &at.field("nodeSelector"), errors);
    }
}

fn result(result: DeviceRequestAllocationResult<'_>, requests: &Requests<'_>, at: &Path<'_>, errors: &mut Errors) {
    requests.reference(result.request(), &at.field("request"), errors);
    driver_name(result.driver(), &at.field("driver"), errors);
    devices::pool(result.pool(), &at.field("pool"), errors);
    result.check_device(at, errors);
    let conditions =
        [DeviceRequestAllocationResult::BINDING_CONDITIONS, DeviceRequestAllocationResult::BINDING_FAILURE_CONDITIONS];
    taints::binding_conditions(result.place(), conditions, at, errors);
    taints::tolerations(result.tolerations(), &at.field("tolerations"), errors);
    if let Some(share) = result.share_id() {
        devices::uid(share, &at.field("shareID"), errors);
    }
}

fn configuration(
    config: DeviceAllocationConfiguration<'_>,
    requests: &Requests<'_>,
    at: &Path<'_>,
    errors: &mut Errors,
) {
    config.check_source(at, errors);
    requests.references(config.requests(), &at.field("requests"), errors);
    selectors::configuration(config.opaque(), Origin::New, at, errors);
}
