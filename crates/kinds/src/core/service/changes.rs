//! What an update of a service may not change (upstream: `ValidateServiceUpdate`). The first address and family are a service's own as
//! long as it has any; a second one comes and goes.

use portcullis_model::tree::Tree;

use super::addresses::SINGLE_STACK;
use super::{needs, validate};
use crate::views::core_v1::{Service, ServiceSpec};
use crate::views::{self, List, shown};
use crate::vocabulary::{Errors, Path};

const FIXED: &str = "may not change once set";

/// Checks what is not as it was.
pub fn changes(tree: &Tree, old: &Tree, errors: &mut Errors) {
    let (new, old) = (views::read::<Service<'_>>(tree).spec(), views::read::<Service<'_>>(old).spec());
    let at = Path::new("spec");
    // A service that becomes a name gives its addresses up, one that was a name is given some.
    if needs::cluster_ip(new) && needs::cluster_ip(old) {
        addresses(new, old, &at, errors);
        families(new, old, &at, errors);
    }
    load_balancer_class(new, old, &at, errors);
    let is_checked = |spec| needs::health_check_node_port(spec);
    if is_checked(new) && is_checked(old) && new.health_check_node_port() != old.health_check_node_port() {
        errors.forbidden(&at.field("healthCheckNodePort"), "field is immutable");
    }
}

fn addresses(new: ServiceSpec<'_>, old: ServiceSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    if needs::has_no_address_but_none(new) && needs::has_no_address_but_none(old) {
        return;
    }
    let (list, held) = (new.cluster_ips(), old.cluster_ips());
    let bad = || shown(new.place().get(ServiceSpec::CLUSTER_IPS));
    let at_list = at.field("clusterIPs");
    if list.len() == held.len() {
        for (index, _) in list.iter().zip(held.iter()).enumerate().filter(|(_, (new, old))| new != old) {
            errors.invalid(&at_list.index(index), bad(), FIXED);
            if errors.is_full() {
                return;
            }
        }
        return;
    }
    if list.is_empty() {
        errors.invalid(&at_list.index(0), bad(), "primary clusterIP can not be unset");
    }
    if has_another_first(list, held) {
        errors.invalid(&at_list.index(0), bad(), FIXED);
    }
    if held.len() > list.len() && list.len() == 1 {
        wants_one(new, "must be set to 'SingleStack' when releasing the secondary clusterIP", at, errors);
    }
}

fn families(new: ServiceSpec<'_>, old: ServiceSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    if needs::has_no_address_but_none(new) || needs::has_no_address_but_none(old) {
        return;
    }
    let (list, held) = (new.ip_families(), old.ip_families());
    let at_list = at.field("ipFamilies");
    let at_first = at_list.index(0);
    let shown = |field| shown(new.place().get(field));
    if list.len() == held.len() {
        for _ in list.iter().zip(held.iter()).filter(|(new, old)| new != old) {
            errors.invalid(&at_first, shown(ServiceSpec::IP_FAMILIES), FIXED);
            if errors.is_full() {
                return;
            }
        }
        return;
    }
    // Upstream looks at the addresses here, and shows them below: that is how its answers read.
    if held.len() > list.len() && new.cluster_ips().is_empty() {
        errors.invalid(&at_first, shown(ServiceSpec::IP_FAMILIES), "primary ipFamily can not be unset");
    }
    if has_another_first(list, held) {
        errors.invalid(&at_first, shown(ServiceSpec::CLUSTER_IPS), FIXED);
    }
    if held.len() > list.len() && list.len() == 1 {
        wants_one(new, "must be set to 'SingleStack' when releasing the secondary ipFamily", at, errors);
    }
}

fn has_another_first(list: List<'_, &str>, held: List<'_, &str>) -> bool {
    matches!((list.iter().next(), held.iter().next()), (Some(new), Some(old)) if new != old)
}

/// Who gives up a second one says so.
fn wants_one(spec: ServiceSpec<'_>, why: &'static str, at: &Path<'_>, errors: &mut Errors) {
    if spec.ip_family_policy() != Some(SINGLE_STACK) {
        errors.invalid(&at.field("ipFamilyPolicy"), shown(spec.place().get(ServiceSpec::IP_FAMILY_POLICY)), why);
    }
}

/// A load balancer stays with who made it (KEP-1959).
fn load_balancer_class(new: ServiceSpec<'_>, old: ServiceSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let have_balancers = needs::load_balancer(new) && needs::load_balancer(old);
    if have_balancers && new.load_balancer_class() != old.load_balancer_class() {
        let bad = shown(new.place().get(ServiceSpec::LOAD_BALANCER_CLASS));
        errors.invalid(&at.field("loadBalancerClass"), bad, FIXED);
    }
    validate::load_balancer_class(new, at, errors);
}
