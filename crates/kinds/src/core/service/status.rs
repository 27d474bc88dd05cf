//! What may be said of a service's load balancer (upstream: `ValidateServiceStatusUpdate`, `ValidateLoadBalancerStatus`; modes of
//! addresses KEP-1860).

use portcullis_model::names::dns1123_subdomain;
use portcullis_model::tree::Tree;

use super::addresses::Held;
use super::needs;
use crate::views;
use crate::views::core_v1::{LoadBalancerIngress, Service, ServiceEdit};
use crate::vocabulary::{Errors, Path, names, network};

const MODES: [&str; 2] = ["Proxy", "VIP"];

/// Forgets the load balancer of a service that is to have none any longer. It may be there for a while, but is no client's to use.
pub fn drop_unused(tree: &mut Tree) {
    let service: Service<'_> = views::read(tree);
    if !needs::load_balancer(service.spec()) && !service.status().load_balancer().ingress().is_empty() {
        views::write::<ServiceEdit<'_>>(tree).status_mut().clear_load_balancer();
    }
}

/// Checks the points at which traffic comes in. Addresses that the stored status has already may be spelled as they are.
pub fn validate(tree: &Tree, old: &Tree, errors: &mut Errors) {
    let service: Service<'_> = views::read(tree);
    let at = Path::new("status.loadBalancer.ingress");
    let points = service.status().load_balancer().ingress();
    if !needs::load_balancer(service.spec()) && !points.is_empty() {
        errors.forbidden(&at, "may only be used when `spec.type` is 'LoadBalancer'");
        return;
    }
    let old: Service<'_> = views::read(old);
    let mut held = Held::of(|| old.status().load_balancer().ingress().iter().map(LoadBalancerIngress::ip));
    for (index, point) in points.iter().enumerate() {
        let at = at.index(index);
        if !point.ip().is_empty() {
            held.unless(point.ip(), errors, |errors| network::address(point.ip(), &at.field("ip"), errors));
        }
        mode(point, &at.field("ipMode"), errors);
        host_name(point.hostname(), &at.field("hostname"), errors);
    }
}

/// An address has a mode, and nothing else has.
fn mode(point: LoadBalancerIngress<'_>, at: &Path<'_>, errors: &mut Errors) {
    match (point.ip().is_empty(), point.ip_mode()) {
        (true, Some(_)) => errors.forbidden(at, "may not be specified when `ip` is not set"),
        (true, None) => {}
        (false, None) => errors.required(at, "must be specified when `ip` is set"),
        (false, Some(mode)) => names::one_of(mode, &MODES, at, errors),
    }
}

fn host_name(name: &str, at: &Path<'_>, errors: &mut Errors) {
    if name.is_empty() {
        return;
    }
    errors.complain(at, name, dns1123_subdomain(name));
    if network::sloppy(name).is_some() {
        errors.invalid(at, name, "must be a DNS name, not an IP address");
    }
}
