//! What a claim to devices says, whether it stands alone or in a template (upstream: `validateDeviceClaim`, `SetDefaults_*` of
//! `apis/resource/v1`; prioritized lists KEP-4816, consumable capacity KEP-5075).

use std::collections::{HashMap, HashSet};

use portcullis_model::status::BadValue;

use crate::views::resource_v1::{
    DeviceClaim, DeviceClaimConfiguration, DeviceClaimEdit, DeviceConstraint, DeviceRequest, DeviceRequestEdit,
    DeviceSubRequest, DeviceSubRequestEdit, ExactDeviceRequest, ExactDeviceRequestEdit,
};
use crate::views::{Edit, List};
use crate::vocabulary::{Errors, Path, names};

use super::selectors::{self, Origin};
use super::{lists, names as devices, taints};

/// Requests of a claim, and of what refers to them.
const REQUESTS_MAX: usize = 32;
/// Alternatives of a request.
const ALTERNATIVES_MAX: usize = 8;
/// Constraints of a claim.
const CONSTRAINTS_MAX: usize = 32;
/// What a claim or a class tells drivers.
pub const CONFIGURATIONS_MAX: usize = 32;

const ALL: &str = "All";
const EXACT_COUNT: &str = "ExactCount";

const ONE_KIND: &str = "exactly one of `exactly` or `firstAvailable` is required";
const NO_REQUEST: &str =
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";

/// Gives requests what they do not say: one device.
pub fn default(mut claim: DeviceClaimEdit<'_>) {
    // To open a list is to have one.
    if claim.view().requests().is_empty() {
        return;
    }
    claim.requests_mut().each(|place| {
        let mut request = DeviceRequestEdit::at(place);
        if request.view().exactly().is_some() {
            default_exactly(request.exactly_mut());
        }
        if !request.view().first_available().is_empty() {
            request.first_available_mut().each(|place| default_alternative(DeviceSubRequestEdit::at(place)));
        }
    });
}

fn default_exactly(mut request: ExactDeviceRequestEdit<'_>) {
    if request.view().allocation_mode().is_empty() {
        request.set_allocation_mode(EXACT_COUNT);
    }
    if request.view().allocation_mode() == EXACT_COUNT && request.view().count() == 0 {
        request.set_count(1);
    }
}

fn default_alternative(mut request: DeviceSubRequestEdit<'_>) {
    if request.view().allocation_mode().is_empty() {
        request.set_allocation_mode(EXACT_COUNT);
    }
    if request.view().allocation_mode() == EXACT_COUNT && request.view().count() == 0 {
        request.set_count(1);
    }
}

/// What is wrong with a new claim. `at` is where it stands.
pub fn validate(claim: DeviceClaim<'_>, at: &Path<'_>, errors: &mut Errors) {
    let requests_at = at.field("requests");
    if lists::is_short(claim.requests().len(), REQUESTS_MAX, &requests_at, errors) {
        for (index, one) in claim.requests().iter().enumerate() {
            request(one, &requests_at.index(index), errors);
        }
        lists::distinct_texts(claim.requests().iter().map(DeviceRequest::name), &requests_at, errors);
    }
    let known = Requests::of(claim);
    let constraints_at = at.field("constraints");
    if lists::is_short(claim.constraints().len(), CONSTRAINTS_MAX, &constraints_at, errors) {
        for (index, one) in claim.constraints().iter().enumerate() {
            constraint(one, &known, &constraints_at.index(index), errors);
        }
    }
    let config_at = at.field("config");
    if lists::is_short(claim.config().len(), CONFIGURATIONS_MAX, &config_at, errors) {
        for (index, one) in claim.config().iter().enumerate() {
            configuration(one, &known, &config_at.index(index), errors);
        }
    }
}

/// A request is for exactly something, or for the first of several things there is.
fn request(request: DeviceRequest<'_>, at: &Path<'_>, errors: &mut Errors) {
    request.check_name(at, errors);
    let alternatives = request.first_available();
    match (request.exactly(), alternatives.is_empty()) {
        (None, true) => errors.required(at, ONE_KIND),
        (Some(_), false) => {
            errors.invalid(at, BadValue::Null, format!("{ONE_KIND}, but multiple fields are set"));
        }
        (Some(one), true) => exactly(one, &at.field("exactly"), errors),
        (None, false) => {
            let at = at.field("firstAvailable");
            if lists::is_short(alternatives.len(), ALTERNATIVES_MAX, &at, errors) {
                for (index, one) in alternatives.iter().enumerate() {
                    alternative(one, &at.index(index), errors);
                }
                lists::distinct_texts(alternatives.iter().map(DeviceSubRequest::name), &at, errors);
            }
        }
    }
}

fn exactly(request: ExactDeviceRequest<'_>, at: &Path<'_>, errors: &mut Errors) {
    request.check_device_class_name(at, errors);
    selectors::selectors(request.selectors(), Origin::New, &at.field("selectors"), errors);
    count(request.allocation_mode(), request.count(), at, errors);
    taints::tolerations(request.tolerations(), &at.field("tolerations"), errors);
}

fn alternative(request: DeviceSubRequest<'_>, at: &Path<'_>, errors: &mut Errors) {
    request.check_name(at, errors);
    request.check_device_class_name(at, errors);
    selectors::selectors(request.selectors(), Origin::New, &at.field("selectors"), errors);
    count(request.allocation_mode(), request.count(), at, errors);
    taints::tolerations(request.tolerations(), &at.field("tolerations"), errors);
}

/// How many devices: a number, or all there are.
fn count(mode: &str, count: i64, at: &Path<'_>, errors: &mut Errors) {
    match mode {
        ALL if count == 0 => {}
        ALL => errors.invalid(&at.field("count"), count, "must not be specified when allocationMode is 'All'"),
        EXACT_COUNT if count > 0 => {}
        EXACT_COUNT => errors.invalid(&at.field("count"), count, "must be greater than zero"),
        other => errors.not_supported(&at.field("allocationMode"), other, &[ALL, EXACT_COUNT]),
    }
}

/// Devices that agree in an attribute, or differ in one.
fn constraint(constraint: DeviceConstraint<'_>, known: &Requests<'_>, at: &Path<'_>, errors: &mut Errors) {
    known.references(constraint.requests(), &at.field("requests"), errors);
    if let Some(attribute) = constraint.match_attribute() {
        devices::fully_qualified(attribute, &at.field("matchAttribute"), errors);
    } else if let Some(attribute) = constraint.distinct_attribute() {
        devices::fully_qualified(attribute, &at.field("distinctAttribute"), errors);
    } else {
        // The words are upstream's, though here no field is set.
        let why = r#"exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set"#;
        errors.required(at, why);
    }
}

fn configuration(config: DeviceClaimConfiguration<'_>, known: &Requests<'_>, at: &Path<'_>, errors: &mut Errors) {
    known.references(config.requests(), &at.field("requests"), errors);
    selectors::configuration(config.opaque(), Origin::New, at, errors);
}

/// The requests of a claim by name, and the alternatives of each.
pub struct Requests<'t>(HashMap<&'t str, HashSet<&'t str>>);

impl<'t> Requests<'t> {
    /// Those of a claim.
    pub fn of(claim: DeviceClaim<'t>) -> Requests<'t> {
        let alternatives = |one: DeviceRequest<'t>| one.first_available().iter().map(DeviceSubRequest::name).collect();
        Requests(claim.requests().iter().map(|one| (one.name(), alternatives(one))).collect())
    }

    /// Names of requests, or of their alternatives, none twice.
    pub fn references(&self, list: List<'_, &str>, at: &Path<'_>, errors: &mut Errors) {
        if !lists::is_short(list.len(), REQUESTS_MAX, at, errors) {
            return;
        }
        for (index, name) in list.iter().enumerate() {
            self.reference(name, &at.index(index), errors);
        }
        lists::distinct_texts(list.iter(), at, errors);
    }

    /// The name of a request, or of one of its alternatives.
    pub fn reference(&self, name: &str, at: &Path<'_>, errors: &mut Errors) {
        let (request, alternative) = name.split_once('/').map_or((name, None), |(of, one)| (of, Some(one)));
        if alternative.is_some_and(|one| one.contains('/')) {
            errors.invalid(at, name, NO_REQUEST);
            return;
        }
        names::dns_label(request, at, errors);
        if let Some(one) = alternative {
            names::dns_label(one, at, errors);
        }
        let is_known =
            self.0.get(request).is_some_and(|known| alternative.is_none_or(|alternative| known.contains(alternative)));
        if !is_known {
            errors.invalid(at, name, NO_REQUEST);
        }
    }
}
