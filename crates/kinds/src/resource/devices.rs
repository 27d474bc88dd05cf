//! The devices that a slice of a pool has (upstream: `validateDevice`, `validateDeviceAttribute`, `validateCounterSet`; partitionable
//! devices KEP-4815).

use portcullis_model::status::BadValue;

use super::names::{self as devices, COUNTER_BYTES_SHOWN, QUALIFIED_BYTES_SHOWN};
use super::{capacities, lists, taints};
use crate::views::resource_v1::{
    Counter, CounterSet, Device, DeviceAttribute, DeviceCounterConsumption, ResourceSliceSpec,
};
use crate::views::{Map, shown};
use crate::vocabulary::frozen::is_same;
use crate::vocabulary::node_selectors::{Values, node_selector};
use crate::vocabulary::{Errors, Path, names};

/// Attributes and capacities of a device together.
const PROPERTIES_MAX: usize = 32;
/// Taints of a device.
const TAINTS_MAX: usize = 16;
/// Counters of a set, and of what a device takes of one.
const COUNTERS_MAX: usize = 32;
/// Sets that a device takes of.
const CONSUMED_SETS_MAX: usize = 2;
/// Bytes of an attribute's value.
const VALUE_BYTES_MAX: usize = 64;

const ONE_PLACE: &str = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true \
                         in the ResourceSlice spec";
const NO_PLACE: &str = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the \
                        ResourceSlice spec";

/// What is wrong with a device. `old` is the stored one of its name.
pub fn validate(
    device: Device<'_>,
    old: Option<Device<'_>>,
    slice: ResourceSliceSpec<'_>,
    at: &Path<'_>,
    errors: &mut Errors,
) {
    device.check_name(at, errors);
    let properties = device.attributes().len() + device.capacity().len();
    if properties > PROPERTIES_MAX {
        let why = format!("the total number of attributes and capacities must not exceed {PROPERTIES_MAX}");
        errors.invalid(at, i64::try_from(properties).unwrap_or(i64::MAX), why);
    }
    let attributes = device.attributes().iter();
    let at_attributes = at.field("attributes");
    lists::each_entry(attributes, QUALIFIED_BYTES_SHOWN, devices::qualified, attribute, &at_attributes, errors);
    let has_changed = |field| old.is_none_or(|old| !is_same(device.place().get(field), old.place().get(field)));
    if has_changed(Device::CAPACITY) {
        let is_shared = device.allow_multiple_allocations() == Some(true);
        let rule = if is_shared { capacities::of_many } else { capacities::of_one };
        let (entries, at) = (device.capacity().iter(), at.field("capacity"));
        lists::each_entry(entries, QUALIFIED_BYTES_SHOWN, devices::qualified, rule, &at, errors);
    }
    let at_taints = at.field("taints");
    if has_changed(Device::TAINTS) && lists::is_short(device.taints().len(), TAINTS_MAX, &at_taints, errors) {
        for (index, one) in device.taints().iter().enumerate() {
            taints::taint(one, &at_taints.index(index), errors);
        }
    }
    consumed_counters(device, &at.field("consumesCounters"), errors);
    place(device, slice, at, errors);
    let conditions = [Device::BINDING_CONDITIONS, Device::BINDING_FAILURE_CONDITIONS];
    taints::binding_conditions(device.place(), conditions, at, errors);
}

/// An attribute has one value.
fn attribute(attribute: DeviceAttribute<'_>, at: &Path<'_>, errors: &mut Errors) {
    let fields = [
        DeviceAttribute::INT,
        DeviceAttribute::BOOL,
        DeviceAttribute::STRING,
        DeviceAttribute::VERSION,
        DeviceAttribute::INTS,
        DeviceAttribute::BOOLS,
        DeviceAttribute::STRINGS,
        DeviceAttribute::VERSIONS,
    ];
    if attribute.string().is_some_and(|value| value.len() > VALUE_BYTES_MAX) {
        errors.too_long(&at.field("string"), VALUE_BYTES_MAX);
    }
    if let Some(value) = attribute.version() {
        version(value, &at.field("version"), errors);
    }
    let count = fields.iter().filter(|field| attribute.place().get(**field).is_present()).count();
    match count {
        0 => errors.invalid(at, "", "exactly one value must be specified"),
        1 => {}
        _ => errors.invalid(at, shown(attribute.place()), "exactly one value must be specified"),
    }
}

fn version(value: &str, at: &Path<'_>, errors: &mut Errors) {
    if !is_semantic_version(value) {
        errors.invalid(at, value, "must be a string compatible with semver.org spec 2.0.0");
    }
    if value.len() > VALUE_BYTES_MAX {
        errors.too_long(at, VALUE_BYTES_MAX);
    }
}

/// `1.2.3`, perhaps with `-rc.1`, perhaps with `+build.7`.
fn is_semantic_version(text: &str) -> bool {
    let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
    let (core, stage) = text.split_once('-').map_or((text, None), |(core, stage)| (core, Some(stage)));
    let is_word =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let is_number = |part: &str| !part.is_empty() && is_digits(part) && (part == "0" || !part.starts_with('0'));
    core.split('.').count() == 3
        && core.split('.').all(is_number)
        && stage.is_none_or(|stage| stage.split('.').all(|part| is_word(part) && (!is_digits(part) || is_number(part))))
        && build.is_none_or(|build| build.split('.').all(is_word))
}

/// What a device takes of the counters that devices share.
fn consumed_counters(device: Device<'_>, at: &Path<'_>, errors: &mut Errors) {
    let list = device.consumes_counters();
    if !lists::is_short(list.len(), CONSUMED_SETS_MAX, at, errors) {
        return;
    }
    for (index, one) in list.iter().enumerate() {
        let at = at.index(index);
        one.check_counter_set(&at, errors);
        counters(one.counters(), &at.field("counters"), errors);
    }
    lists::distinct_texts(list.iter().map(DeviceCounterConsumption::counter_set), at, errors);
}

/// A set of counters that devices share.
pub fn counter_set(set: CounterSet<'_>, at: &Path<'_>, errors: &mut Errors) {
    set.check_name(at, errors);
    counters(set.counters(), &at.field("counters"), errors);
}

fn counters(map: Map<'_, Counter<'_>>, at: &Path<'_>, errors: &mut Errors) {
    if map.is_empty() {
        errors.required(at, "");
    } else if lists::is_short(map.len(), COUNTERS_MAX, at, errors) {
        lists::each_entry(map.iter(), COUNTER_BYTES_SHOWN, names::dns_label, |_, _, _| (), at, errors);
    }
}

/// Where the device can be used from, if that is not the same for all devices of the slice.
fn place(device: Device<'_>, slice: ResourceSliceSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    if slice.per_device_node_selection() != Some(true) {
        let is_any = device.node_name().is_some() || device.node_selector().is_some() || device.all_nodes().is_some();
        if is_any {
            errors.invalid(at, BadValue::Null, NO_PLACE);
        }
        return;
    }
    let mut set = Vec::new();
    match device.node_name() {
        None => {}
        Some("") => errors.invalid(&at.field("nodeName"), "", "must not be empty"),
        Some(name) => {
            set.push("`nodeName`");
            names::dns_subdomain(name, &at.field("nodeName"), errors);
        }
    }
    if let Some(selector) = device.node_selector() {
        set.push("`nodeSelector`");
        node_selector(selector, Values::Labels, &at.field("nodeSelector"), errors);
    }
    match device.all_nodes() {
        None => {}
        Some(true) => set.push("`allNodes`"),
        Some(false) => errors.invalid(&at.field("allNodes"), false, "must be either unset or set to true"),
    }
    match set.len() {
        0 => errors.required(at, ONE_PLACE),
        1 => {}
        _ => errors.invalid(at, format!("{{{}}}", set.join(", ")), ONE_PLACE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for version in ["0.0.0", "1.2.3", "1.2.3-rc.1", "1.2.3-0a.x-y", "1.2.3+build.007", "10.20.30-a+b-c"] {
            assert!(is_semantic_version(version), "{version}");
        }
        for version in ["", "1", "1.2", "1.2.3.4", "01.2.3", "1.2.3-", "1.2.3-01", "1.2.3+", "v1.2.3", "1.2.3-a..b"] {
            assert!(!is_semantic_version(version), "{version}");
        }
    }
}
