//! `ResourceSlice` (upstream: `registry/resource/resourceslice`, `apis/resource/validation`): some of the devices of a pool, as their
//! driver tells of them.

use std::collections::HashMap;

use portcullis_model::tree::Tree;

use super::{devices, lists, names as pools};
use crate::core::pod_spec::volumes::drivers::driver_name;
use crate::rest::{Rest, SelectableField};
use crate::strategy::{Column, Requester, Strategy};
use crate::views;
use crate::views::core_v1::NodeSelector;
use crate::views::resource_v1::{
    CounterSet, Device, DeviceEdit, DeviceTaintEdit, ResourcePool, ResourceSlice, ResourceSliceEdit, ResourceSliceSpec,
};
use crate::views::{Edit, View, shown};
use crate::vocabulary::frozen::{frozen, frozen_text};
use crate::vocabulary::node_selectors::{Values, node_selector};
use crate::vocabulary::{Errors, Path, names};

/// Devices of a slice.
const DEVICES_MAX: usize = 128;
/// Devices of a slice of which one has taints or takes of counters.
const ADVANCED_DEVICES_MAX: usize = 64;
/// Sets of counters of a slice.
const COUNTER_SETS_MAX: usize = 8;

const ONE_PLACE: &str = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";

/// The rules of `ResourceSlice`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest {
        generation: true,
        unknown_field_names_kind: true,
        delete_shows_object: true,
        update_checks_all_metadata: false,
        fields: &[
            SelectableField::posted("spec.nodeName", &["spec.nodeName"]),
            SelectableField::posted("spec.driver", &["spec.driver"]),
        ],
        ..Rest::PLAIN
    },
    prepare_create: |tree, requester: &Requester<'_>| date_taints(tree, requester.now),
    prepare_update: |tree, _, _, now| date_taints(tree, now),
    validate_create: |tree, errors| validate(tree, None, errors),
    validate_update: |tree, old, _, errors| validate(tree, Some(old), errors),
    warn_create: warn,
    warn_update: |tree, _, _, warnings| warn(tree, warnings),
    columns: &[
        ("Node", Column::Field("spec.nodeName", r#""""#)),
        ("Driver", Column::Field("spec.driver", r#""""#)),
        ("Pool", Column::Field("spec.pool.name", r#""""#)),
    ],
    ..Strategy::NONE
};

/// A taint says when it was added. One that does not was added now.
fn date_taints(tree: &mut Tree, now: i64) {
    let spec = views::read::<ResourceSlice<'_>>(tree).spec();
    let is_undated = |device: Device<'_>| device.taints().iter().any(|taint| taint.time_added().is_none());
    if !spec.devices().iter().any(is_undated) {
        return;
    }
    let mut slice: ResourceSliceEdit<'_> = views::write(tree);
    slice.spec_mut().devices_mut().each(|place| {
        if !is_undated(Device::at(place.view())) {
            return;
        }
        DeviceEdit::at(place).taints_mut().each(|place| {
            let mut taint = DeviceTaintEdit::at(place);
            if taint.view().time_added().is_none() {
                taint.set_time_added(now);
            }
        });
    });
}

fn validate(tree: &Tree, old: Option<&Tree>, errors: &mut Errors) {
    let of = |tree| views::read::<ResourceSlice<'_>>(tree).spec();
    let (spec, old, at) = (of(tree), old.map(of), Path::new("spec"));
    driver_name(spec.driver(), &at.field("driver"), errors);
    pool(spec.pool(), &at.field("pool"), errors);
    if let Some(old) = old {
        frozen_text(spec.pool().name(), old.pool().name(), &at.field("pool.name"), errors);
        frozen_text(spec.driver(), old.driver(), &at.field("driver"), errors);
        let node = ResourceSliceSpec::NODE_NAME;
        frozen(spec.place().get(node), old.place().get(node), &at.field(node.name()), errors);
    }
    place(spec, &at, errors);
    if !spec.shared_counters().is_empty() && !spec.devices().is_empty() {
        errors.invalid(&at, "", "only one of `sharedCounters` or `devices` is allowed");
    }
    all_devices(spec, old, &at.field("devices"), errors);
    let (sets, at) = (spec.shared_counters(), at.field("sharedCounters"));
    if lists::is_short(sets.len(), COUNTER_SETS_MAX, &at, errors) {
        for (index, one) in sets.iter().enumerate() {
            devices::counter_set(one, &at.index(index), errors);
        }
        lists::distinct_texts(sets.iter().map(CounterSet::name), &at, errors);
    }
}

fn pool(pool: ResourcePool<'_>, at: &Path<'_>, errors: &mut Errors) {
    pools::pool(pool.name(), &at.field("name"), errors);
    if pool.resource_slice_count() <= 0 {
        errors.invalid(&at.field("resourceSliceCount"), pool.resource_slice_count(), "must be greater than zero");
    }
    if pool.generation() < 0 {
        errors.invalid(&at.field("generation"), pool.generation(), "must be greater than or equal to zero");
    }
}

/// Where the devices can be used from.
fn place(spec: ResourceSliceSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    const TRUE_OR_UNSET: &str = "must be either unset or set to true";
    let mut set = Vec::new();
    match spec.node_name() {
        None => {}
        Some("") => errors.invalid(&at.field("nodeName"), "", "must be either unset or set to a non-empty string"),
        Some(name) => {
            set.push("`nodeName`");
            names::dns_subdomain(name, &at.field("nodeName"), errors);
        }
    }
    if let Some(selector) = spec.node_selector() {
        set.push("`nodeSelector`");
        let at = at.field("nodeSelector");
        node_selector(selector, Values::Labels, &at, errors);
        if selector.node_selector_terms().len() != 1 {
            let terms = selector.place().get(NodeSelector::NODE_SELECTOR_TERMS);
            let why = "must have exactly one node selector term";
            errors.invalid(&at.field("nodeSelectorTerms"), shown(terms), why);
        }
    }
    let flags = [
        ("allNodes", "`allNodes`", spec.all_nodes()),
        ("perDeviceNodeSelection", "`perDeviceNodeSelection`", spec.per_device_node_selection()),
    ];
    for (field, name, flag) in flags {
        match flag {
            None => {}
            Some(true) => set.push(name),
            Some(false) => errors.invalid(&at.field(field), false, TRUE_OR_UNSET),
        }
    }
    match set.len() {
        0 => errors.required(at, ONE_PLACE),
        1 => {}
        _ => errors.invalid(at, format!("{{{}}}", set.join(", ")), format!("{ONE_PLACE}, but multiple fields are set")),
    }
}

fn all_devices(spec: ResourceSliceSpec<'_>, old: Option<ResourceSliceSpec<'_>>, at: &Path<'_>, errors: &mut Errors) {
    let list = spec.devices();
    let is_advanced = |one: Device<'_>| !one.taints().is_empty() || !one.consumes_counters().is_empty();
    let count_max = if list.iter().any(is_advanced) { ADVANCED_DEVICES_MAX } else { DEVICES_MAX };
    if !lists::is_short(list.len(), count_max, at, errors) {
        return;
    }
    let old_devices = old.into_iter().flat_map(|old| old.devices().iter());
    let mut stored: HashMap<&str, Device<'_>> = HashMap::new();
    for one in old_devices {
        stored.entry(one.name()).or_insert(one);
    }
    for (index, one) in list.iter().enumerate() {
        devices::validate(one, stored.get(one.name()).copied(), spec, &at.index(index), errors);
    }
    lists::distinct_texts(list.iter().map(Device::name), at, errors);
}

fn warn(tree: &Tree, warnings: &mut Vec<String>) {
    let spec = views::read::<ResourceSlice<'_>>(tree).spec();
    let driver = spec.driver();
    if driver.chars().any(char::is_uppercase) {
        warnings
            .push(format!("spec.driver: driver names should be lowercase; {driver:?} contains uppercase characters"));
    }
}

#[cfg(test)]
mod tests;
