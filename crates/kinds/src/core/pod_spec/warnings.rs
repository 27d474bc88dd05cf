//! What the client of a pod or a template that is taken is told (upstream: `api/pod/warnings.go`): of what works no more, or not as its
//! author thinks. Containers have a file of their own.

use std::collections::HashSet;
use std::net::IpAddr;

use portcullis_model::names;

use super::containers::warn_of_fraction;
use super::{Context, annotations};
use crate::core::claim_spec;
use crate::views::Field;
use crate::views::core_v1::{Affinity, NodeSelectorTerm, PodSpec, Volume};
use crate::vocabulary::Path;

mod overlaps;

/// Labels of nodes under the names of their first days, and what is said of them.
const OLD_NODE_LABELS: &[(&str, &str)] = &[
    ("beta.kubernetes.io/arch", r#"deprecated since v1.14; use "kubernetes.io/arch" instead"#),
    ("beta.kubernetes.io/os", r#"deprecated since v1.14; use "kubernetes.io/os" instead"#),
    (
        "failure-domain.beta.kubernetes.io/region",
        r#"deprecated since v1.17; use "topology.kubernetes.io/region" instead"#,
    ),
    ("failure-domain.beta.kubernetes.io/zone", r#"deprecated since v1.17; use "topology.kubernetes.io/zone" instead"#),
    ("beta.kubernetes.io/instance-type", r#"deprecated since v1.17; use "node.kubernetes.io/instance-type" instead"#),
];

/// Annotations that fields have replaced.
const OLD_ANNOTATIONS: &[(&str, &str)] = &[
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        r#"non-functional in v1.16+; use the "priorityClassName" field instead"#,
    ),
    ("security.alpha.kubernetes.io/sysctls", r#"non-functional in v1.11+; use the "sysctls" field instead"#),
    ("security.alpha.kubernetes.io/unsafe-sysctls", r#"non-functional in v1.11+; use the "sysctls" field instead"#),
];

/// Sources whose drivers are gone.
const OLD_SOURCES: &[(Field, &str)] = &[
    (Volume::PHOTON_PERSISTENT_DISK, "deprecated in v1.11, non-functional in v1.16+"),
    (Volume::GIT_REPO, "deprecated in v1.11, and disabled by default in v1.33+"),
    (Volume::SCALE_IO, "deprecated in v1.16, non-functional in v1.22+"),
    (Volume::FLOCKER, "deprecated in v1.22, non-functional in v1.25+"),
    (Volume::STORAGEOS, "deprecated in v1.22, non-functional in v1.25+"),
    (Volume::QUOBYTE, "deprecated in v1.22, non-functional in v1.25+"),
    (Volume::GLUSTERFS, "deprecated in v1.25, non-functional in v1.26+"),
    (Volume::CEPHFS, "deprecated in v1.28, non-functional in v1.31+"),
    (Volume::RBD, "deprecated in v1.28, non-functional in v1.31+"),
];

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const NO_SELECTOR: &str = "a null labelSelector results in matching no pod";

/// What comes before the containers. `at` is where the spec stands, `metadata` where the metadata beside it does.
pub(super) fn before_containers(
    spec: PodSpec<'_>,
    context: Context<'_>,
    at: &Path<'_>,
    metadata: &Path<'_>,
    warnings: &mut Vec<String>,
) {
    nodes(spec, at, warnings);
    let place = metadata.field("annotations");
    for (key, why) in OLD_ANNOTATIONS {
        if context.annotations.get(key).is_some() {
            warnings.push(format!("{}: {why}", place.key(key)));
        }
    }
    volumes(spec, &at.field("volumes"), warnings);
    overlaps::warn(spec, warnings);
    repeated(spec, at, warnings);
    for resource in ["memory", "ephemeral-storage"] {
        warn_of_fraction(spec.overhead().get(resource), &at.field("overhead").key(resource), warnings);
    }
    let has_profile = spec.security_context().is_some_and(|security| security.seccomp_profile().is_some());
    if !has_profile && context.annotations.get(annotations::SECCOMP).is_some() {
        let why = r#"non-functional in v1.27+; use the "seccompProfile" field instead"#;
        warnings.push(format!("{}: {why}", place.key(annotations::SECCOMP)));
    }
}

/// What comes after the containers. `at` is where the spec stands.
pub(super) fn after_containers(spec: PodSpec<'_>, at: &Path<'_>, warnings: &mut Vec<String>) {
    if spec.termination_grace_period_seconds().is_some_and(|seconds| seconds < 0) {
        let why = "must be >= 0; negative values are invalid and will be treated as 1";
        warnings.push(format!("{}: {why}", at.field("terminationGracePeriodSeconds")));
    }
    if let Some(affinity) = spec.affinity() {
        pod_affinity(affinity, &at.field("affinity"), warnings);
    }
    let servers = spec.dns_config().into_iter().flat_map(|config| config.nameservers().iter());
    for (index, server) in servers.enumerate() {
        address(server, &at.field("dnsConfig.nameservers").index(index), warnings);
    }
    for (index, alias) in spec.host_aliases().iter().enumerate() {
        address(alias.ip(), &at.field("hostAliases").index(index).field("ip"), warnings);
    }
}

/// What is said of a label of nodes under its old name.
pub fn of_node_label(label: &str) -> Option<&'static str> {
    OLD_NODE_LABELS.iter().find(|(old, _)| *old == label).map(|(_, why)| *why)
}

/// Labels of nodes that are named otherwise now.
fn nodes(spec: PodSpec<'_>, at: &Path<'_>, warnings: &mut Vec<String>) {
    for (label, _) in spec.node_selector().iter() {
        if let Some(why) = of_node_label(label) {
            warnings.push(format!("{}: {why}", at.field("nodeSelector").key(label)));
        }
    }
    if let Some(affinity) = spec.affinity().and_then(|affinity| affinity.node_affinity()) {
        let place = at.field("affinity.nodeAffinity");
        let required = affinity.required_during_scheduling_ignored_during_execution();
        let terms = required.into_iter().flat_map(|required| required.node_selector_terms().iter());
        for (index, one) in terms.enumerate() {
            let required = place.field(REQUIRED);
            term(one, false, &required.field("nodeSelectorTerms").index(index), warnings);
        }
        let preferred = affinity.preferred_during_scheduling_ignored_during_execution();
        for (index, one) in preferred.iter().enumerate() {
            let preferred = place.field(PREFERRED);
            term(one.preference(), true, &preferred.index(index).field("preference"), warnings);
        }
    }
    for (index, one) in spec.topology_spread_constraints().iter().enumerate() {
        let list = at.field("topologySpreadConstraints");
        let at = list.index(index);
        if let Some(why) = of_node_label(one.topology_key()) {
            warnings.push(format!("{}: {} is {why}", at.field("topologyKey"), one.topology_key()));
        }
        if one.label_selector().is_none() {
            warnings.push(format!("{}: {NO_SELECTOR}", at.field("labelSelector")));
        }
    }
}

/// Labels of nodes that a term names by their old names; where it is only a wish, also values that no label has.
pub fn term(term: NodeSelectorTerm<'_>, tells_of_values: bool, at: &Path<'_>, warnings: &mut Vec<String>) {
    for (index, one) in term.match_expressions().iter().enumerate() {
        let list = at.field("matchExpressions");
        let at = list.index(index);
        if let Some(why) = of_node_label(one.key()) {
            warnings.push(format!("{}: {} is {why}", at.field("key"), one.key()));
        }
        for (index, value) in one.values().iter().enumerate().filter(|_| tells_of_values) {
            for why in names::label_value(value) {
                warnings.push(format!("{}: {value} is invalid, {why}", at.field("values").index(index)));
            }
        }
    }
}

/// Sources that nobody serves any more, and amounts of claims that make no sense.
fn volumes(spec: PodSpec<'_>, at: &Path<'_>, warnings: &mut Vec<String>) {
    for (index, volume) in spec.volumes().iter().enumerate() {
        let at = at.index(index);
        let mut old = OLD_SOURCES.iter().filter(|(field, _)| volume.place().get(*field).is_present());
        if let Some((field, why)) = old.next() {
            warnings.push(format!("{}: {why}", at.field(field.name())));
        }
        let template = volume.ephemeral().and_then(|source| source.volume_claim_template());
        if let Some(template) = template {
            claim_spec::warn(template.spec(), &at.field("ephemeral.volumeClaimTemplate.spec"), warnings);
        }
    }
}

/// What stands twice in lists that are merged by it.
fn repeated(spec: PodSpec<'_>, at: &Path<'_>, warnings: &mut Vec<String>) {
    let mut seen = HashSet::new();
    for (index, alias) in spec.host_aliases().iter().enumerate() {
        if !seen.insert(alias.ip()) {
            let at = at.field("hostAliases");
            warnings.push(format!("{}: duplicate ip {:?}", at.index(index).field("ip"), alias.ip()));
        }
    }
    seen.clear();
    let at = at.field("imagePullSecrets");
    for (index, secret) in spec.image_pull_secrets().iter().enumerate() {
        if !seen.insert(secret.name()) {
            warnings.push(format!("{}: duplicate name {:?}", at.index(index).field("name"), secret.name()));
        }
    }
    for (index, _) in spec.image_pull_secrets().iter().enumerate().filter(|(_, secret)| secret.name().is_empty()) {
        warnings.push(format!(r#"{}: invalid empty name """#, at.index(index).field("name")));
    }
}

/// Terms that select no pod at all.
fn pod_affinity(affinity: Affinity<'_>, at: &Path<'_>, warnings: &mut Vec<String>) {
    let both = [
        ("podAffinity", affinity.pod_affinity()),
        ("podAntiAffinity", affinity.pod_anti_affinity().map(|pods| crate::views::View::at(pods.place()))),
    ];
    for (name, pods) in both {
        let Some(pods) = pods else { continue };
        let at = at.field(name);
        for (index, term) in pods.required_during_scheduling_ignored_during_execution().iter().enumerate() {
            if term.label_selector().is_none() {
                let at = at.field(REQUIRED);
                warnings.push(format!("{}: {NO_SELECTOR}", at.index(index).field("labelSelector")));
            }
        }
        for (index, one) in pods.preferred_during_scheduling_ignored_during_execution().iter().enumerate() {
            if one.pod_affinity_term().label_selector().is_none() {
                let at = at.field(PREFERRED);
                let at = at.index(index);
                warnings.push(format!("{}: {NO_SELECTOR}", at.field("podAffinityTerm.labelSelector")));
            }
        }
    }
}

/// An address of the sixth version that is not written in the one form that all agree on.
fn address(value: &str, at: &Path<'_>, warnings: &mut Vec<String>) {
    let Ok(IpAddr::V6(address)) = value.parse() else { return };
    let canonical = address.to_string();
    if canonical != value {
        warnings.push(format!("{at}: IPv6 address {value:?} should be in RFC 5952 canonical format ({canonical:?})"));
    }
}
