//! What the client should be told of a service that is taken (upstream: `GetWarningsForService`).

use portcullis_model::tree::Tree;

use super::defaults::AFFINITY_NONE;
use super::needs;
use super::validate::{TOPOLOGY_HINTS, TOPOLOGY_MODE};
use crate::strategy::WARNINGS_MAX;
use crate::views;
use crate::views::core_v1::{Service, ServiceSpec};
use crate::vocabulary::Path;
use crate::vocabulary::network::{warn_of_address, warn_of_range};

/// The former word for `PreferSameZone`.
const PREFER_CLOSE: &str = "PreferClose";

/// Warns of what is deprecated, spelled in an odd way, or without effect.
pub fn warn(tree: &Tree, warnings: &mut Vec<String>) {
    let service: Service<'_> = views::read(tree);
    let (spec, at) = (service.spec(), Path::new("spec"));
    let is_name = spec.type_() == needs::EXTERNAL_NAME;
    let is_headless = spec.type_() == needs::CLUSTER_IP && needs::is_headless(spec);
    let has_outer = !spec.external_ips().is_empty();
    if service.metadata().annotations().get(TOPOLOGY_HINTS).is_some() {
        warnings.push(format!("annotation {TOPOLOGY_HINTS} is deprecated, please use {TOPOLOGY_MODE} instead"));
    }
    if !spec.cluster_ip().is_empty() && !needs::is_headless(spec) && !is_name {
        for (index, address) in spec.cluster_ips().iter().enumerate() {
            warn_of_address(address, &at.field("clusterIPs").index(index), warnings);
        }
    }
    if is_headless {
        without_effect(spec, warnings);
    }
    for (index, address) in spec.external_ips().iter().enumerate() {
        warn_of_address(address, &at.field("externalIPs").index(index), warnings);
        if warnings.len() > WARNINGS_MAX {
            return;
        }
    }
    if has_outer && !is_headless && !is_name {
        warnings.push("spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned());
    }
    if !spec.load_balancer_ip().is_empty() {
        warn_of_address(spec.load_balancer_ip(), &at.field("loadBalancerIP"), warnings);
    }
    for (index, range) in spec.load_balancer_source_ranges().iter().enumerate() {
        warn_of_range(range, &at.field("loadBalancerSourceRanges").index(index), warnings);
        if warnings.len() > WARNINGS_MAX {
            return;
        }
    }
    if is_name && has_outer {
        warnings.push(r#"spec.externalIPs is ignored when spec.type is "ExternalName""#.to_owned());
    }
    if !is_name && !spec.external_name().is_empty() {
        warnings.push(r#"spec.externalName is ignored when spec.type is not "ExternalName""#.to_owned());
    }
    if spec.traffic_distribution() == Some(PREFER_CLOSE) {
        warnings.push(r#"spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone""#.to_owned());
    }
}

/// What a headless service has no use for.
fn without_effect(spec: ServiceSpec<'_>, warnings: &mut Vec<String>) {
    let given = [
        (!spec.load_balancer_ip().is_empty(), "loadBalancerIP"),
        (!spec.external_ips().is_empty(), "externalIPs"),
        (spec.session_affinity() != AFFINITY_NONE, "SessionAffinity"),
    ];
    for (_, field) in given.into_iter().filter(|(is_given, _)| *is_given) {
        warnings.push(format!("spec.{field} is ignored for headless services"));
    }
}
