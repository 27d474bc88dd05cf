//! Annotations that say something about the pod, from before there were fields for it (upstream: `ValidatePodSpecificAnnotations`,
//! `validateSeccompAnnotationsAndFields`).
//!
//! Nodes once read these, and some still do: a profile that is written twice must not say two things. AppArmor's are compared in
//! `pod/app_armor.rs`, for only in pods they become fields.

use std::collections::HashSet;

use portcullis_model::go_text::quoted;
use portcullis_model::schema::{FieldValidation, decode_json};

use super::Context;
use super::containers;
use crate::views::core_v1::{Pod, PodSpec, SeccompProfile};
use crate::views::{self, Map};
use crate::vocabulary::{Errors, Path, local_paths, tolerations};

/// On pods that only show what runs on a node.
pub const MIRROR: &str = "kubernetes.io/config.mirror";
/// What it costs to end this pod rather than another.
pub const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
/// Tolerations, before they were a field.
const TOLERATIONS: &str = "scheduler.alpha.kubernetes.io/tolerations";
/// The seccomp profile of a pod.
pub const SECCOMP: &str = "seccomp.security.alpha.kubernetes.io/pod";
/// The seccomp profile of a container, with its name behind.
pub const SECCOMP_OF: &str = "container.seccomp.security.alpha.kubernetes.io/";
/// The AppArmor profile of a container, with its name behind.
pub const APP_ARMOR_OF: &str = "container.apparmor.security.beta.kubernetes.io/";

/// What is wrong with annotations of a pod or of a template's pods. `at` is where they stand.
pub fn validate(spec: PodSpec<'_>, context: Context<'_>, at: &Path<'_>, errors: &mut Errors) {
    let annotations = context.annotations;
    if annotations.is_empty() {
        return;
    }
    if let Some(value) = annotations.get(MIRROR)
        && spec.node_name().is_empty()
    {
        errors.invalid(&at.key(MIRROR), value, "must set spec.nodeName if mirror pod annotation is set");
    }
    if let Some(text) = annotations.get(TOLERATIONS).filter(|text| !text.is_empty()) {
        old_tolerations(text, at, errors);
    }
    let has_bad_cost = |map: Map<'_, &str>| map.get(DELETION_COST).is_some_and(|cost| !is_cost(cost));
    if has_bad_cost(annotations) && !context.old_annotations.is_some_and(has_bad_cost) {
        let cost = annotations.get(DELETION_COST).unwrap_or_default();
        errors.invalid(&at.key(DELETION_COST), cost, "must be a 32bit integer");
    }
    if let Some(profile) = annotations.get(SECCOMP) {
        seccomp(profile, &at.field(SECCOMP), errors);
    }
    for (key, profile) in annotations.iter().filter(|(key, _)| key.starts_with(SECCOMP_OF)) {
        seccomp(profile, &at.field(key), errors);
    }
    let mut containers = None;
    for (key, profile) in annotations.iter() {
        let Some(name) = key.strip_prefix(APP_ARMOR_OF) else { continue };
        if !containers.get_or_insert_with(|| names(spec)).contains(name) {
            errors.invalid(&at.key(key), name, "container not found");
        }
        if !matches!(profile, "" | "runtime/default" | "unconfined") && !profile.starts_with("localhost/") {
            errors.invalid(&at.key(key), profile, format!("invalid AppArmor profile name: {}", quoted(profile)));
        }
    }
}

/// The names of all containers.
fn names<'t>(spec: PodSpec<'t>) -> HashSet<&'t str> {
    let first = spec.init_containers().iter().chain(spec.containers().iter()).map(|one| one.name());
    first.chain(spec.ephemeral_containers().iter().map(|one| one.name())).collect()
}

/// A 32 bit number without a plus and without zeros before it.
fn is_cost(text: &str) -> bool {
    let starts_well = matches!(text.as_bytes(), [b'-' | b'1'..=b'9', ..] | [b'0']);
    starts_well && text.parse::<i32>().is_ok()
}

/// Tolerations as JSON are held to the rules of the field.
fn old_tolerations(text: &str, at: &Path<'_>, errors: &mut Errors) {
    let pod = format!(r#"{{"spec":{{"tolerations":{text}}}}}"#).into_bytes();
    match decode_json::decode(crate::schema(), Pod::TYPE, pod, FieldValidation::Ignore) {
        Ok(decoded) => {
            let list = views::read::<Pod<'_>>(&decoded.tree).spec().tolerations();
            tolerations::tolerations(list, &at.field(TOLERATIONS), errors);
        }
        Err(error) => errors.invalid(at, TOLERATIONS, error.to_string()),
    }
}

fn seccomp(profile: &str, at: &Path<'_>, errors: &mut Errors) {
    if matches!(profile, "runtime/default" | "docker/default" | "unconfined") {
        return;
    }
    match profile.strip_prefix("localhost/") {
        Some(file) => local_paths::descending(file, at, errors),
        None => errors.invalid(at, profile, "must be a valid seccomp profile"),
    }
}

/// Seccomp profiles that stand in a field and in an annotation too are the same. `at` is where the spec stands.
pub fn seccomp_agrees(spec: PodSpec<'_>, context: Context<'_>, at: &Path<'_>, errors: &mut Errors) {
    let annotations = context.annotations;
    if annotations.is_empty() {
        return;
    }
    if let Some(field) = spec.security_context().and_then(|security| security.seccomp_profile())
        && let Some(text) = annotations.get(SECCOMP)
    {
        seccomp_is(field, text, &at.field("securityContext.seccompProfile"), errors);
    }
    for (list, index, one) in containers::all(spec) {
        let field = one.security_context().and_then(|security| security.seccomp_profile());
        if let Some(field) = field
            && let Some(text) = annotations.get(&format!("{SECCOMP_OF}{}", one.name()))
        {
            let list = at.field(list);
            seccomp_is(field, text, &list.index(index).field("securityContext.seccompProfile"), errors);
        }
    }
}

fn seccomp_is(field: SeccompProfile<'_>, text: &str, at: &Path<'_>, errors: &mut Errors) {
    let names: &[&str] = match field.type_() {
        "Unconfined" => &["unconfined"],
        "RuntimeDefault" => &["runtime/default", "docker/default"],
        "Localhost" => return file_is(text, field.localhost_profile(), at, errors),
        _ => return,
    };
    if !names.contains(&text) {
        errors.forbidden(&at.field("type"), "seccomp type in annotation and field must match");
    }
}

/// The file that an annotation names is that of the field.
fn file_is(text: &str, file: Option<&str>, at: &Path<'_>, errors: &mut Errors) {
    match text.strip_prefix("localhost/") {
        None => errors.forbidden(&at.field("type"), "seccomp type in annotation and field must match"),
        named if named != file => {
            errors.forbidden(&at.field("localhostProfile"), "seccomp profile in annotation and field must match");
        }
        Some(_) => {}
    }
}
