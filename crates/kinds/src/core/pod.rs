//! `Pod` (upstream: `registry/core/pod`, `apis/core/validation`, `apis/core/v1/defaults.go`): what runs.
//!
//! A pod has four doors, and each lets in something else: the object itself, `/status` for its node, `/ephemeralcontainers` for who looks
//! at it while it runs, `/resize` for who gives it more or less to run with. What its spec may say is in [`pod_spec`].

mod annotations;
mod app_armor;
mod cells;
mod defaults;
mod ephemeral_containers;
mod prepare;
pub mod qos;
mod resize;
mod status;
#[cfg(test)]
mod tests;
mod update;
mod validate;

use portcullis_model::names;
use portcullis_model::tree::Tree;

use super::pod_spec::{self, Context};
use crate::rest::{ANY, Resets, Rest, SelectableField, StatusKeeps};
use crate::strategy::Strategy;
use crate::views;
use crate::views::core_v1::Pod;
use crate::vocabulary::{Errors, Path};

/// What pods are selected by.
const FIELDS: &[SelectableField] = &[
    SelectableField::posted("spec.nodeName", &["spec.nodeName"]),
    SelectableField::posted("spec.host", &["spec.nodeName"]),
    SelectableField::new("spec.restartPolicy", &["spec.restartPolicy"]),
    SelectableField::new("spec.schedulerName", &["spec.schedulerName"]),
    SelectableField::new("spec.serviceAccountName", &["spec.serviceAccountName"]),
    SelectableField::or("spec.hostNetwork", &["spec.hostNetwork"], "false"),
    SelectableField::new("status.phase", &["status.phase"]),
    SelectableField::new("status.podIP", &["status.podIP"]),
    SelectableField::new("status.podIPs", &["status.podIP"]),
    SelectableField::new("status.nominatedNodeName", &["status.nominatedNodeName"]),
];

/// What doors to a pod do not write.
const RESETS: &[(&str, Resets)] = &[
    ("status", Resets::Fields(&[&["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"], &["spec"]])),
    ("ephemeralcontainers", Resets::AllBut(&[&["spec", "ephemeralContainers"]])),
    (
        "resize",
        Resets::AllBut(&[
            &["spec", "containers", ANY, "resizePolicy"],
            &["spec", "containers", ANY, "resources"],
            &["spec", "initContainers", ANY, "resizePolicy"],
            &["spec", "initContainers", ANY, "resources"],
        ]),
    ),
];

/// The rules of `Pod`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest {
        generation: true,
        delete_shows_object: true,
        graceful: true,
        fields: FIELDS,
        // Old kubelets break who owns a pod.
        status_keeps: StatusKeeps::Owners,
        resets: RESETS,
        ..Rest::PLAIN
    },
    default: defaults::default,
    warn_given: |tree, warnings| app_armor::warn(views::read(tree), warnings),
    prepare_create: prepare::create,
    validate_create: |tree, errors| validate::create(views::read(tree), errors),
    warn_create,
    prepare_update: prepare::update,
    validate_update,
    warn_update: |tree, _, subresource, warnings| {
        // Programs write pods, and often: only what a node says of addresses is worth a look.
        if subresource == "status" {
            status::warn(views::read::<Pod<'_>>(tree).status(), warnings);
        }
    },
    cell: cells::cell,
    ..Strategy::NONE
};

fn validate_update(tree: &Tree, old: &Tree, subresource: &str, errors: &mut Errors) {
    let (new, old): (Pod<'_>, Pod<'_>) = (views::read(tree), views::read(old));
    match subresource {
        "status" => status::validate(new, old, errors),
        "ephemeralcontainers" => ephemeral_containers::validate(new, old, errors),
        "resize" => resize::validate(new, old, errors),
        _ => update::validate(new, old, errors),
    }
}

fn warn_create(tree: &Tree, warnings: &mut Vec<String>) {
    let pod: Pod<'_> = views::read(tree);
    let complaints = names::dns1123_label(pod.metadata().name());
    if !complaints.is_empty() {
        let why: Vec<String> = complaints.iter().map(ToString::to_string).collect();
        warnings.push(format!(
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is \
             recommended: [{}]",
            why.join(" ")
        ));
    }
    pod_spec::warn(pod.spec(), Context::of_pod(pod, None), &Path::new("spec"), warnings);
}
