//! AppArmor may not be turned off, neither by the field nor by the annotation that was there before it (KEP-24). The field counts in every
//! version.

use portcullis_model::go_text;

use super::words::{Values, plural, quoted, setters};
use super::{Check, Judged, Level, Violation};
use crate::views::core_v1::AppArmorProfile;

/// What the annotation of a container begins with; its name follows.
const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";

pub(super) const CHECK: Check =
    Check { id: "appArmorProfile", level: Level::Baseline, forms: &[(0, judge)], replaces: None };

fn is_allowed(profile: AppArmorProfile<'_>) -> bool {
    matches!(profile.type_(), "RuntimeDefault" | "Localhost")
}

fn is_allowed_annotation(value: &str) -> bool {
    value.is_empty() || value == "runtime/default" || value.starts_with("localhost/")
}

fn judge(subject: Judged<'_>) -> Option<Violation> {
    let of_pod = subject.spec.security_context().and_then(|security| security.app_armor_profile());
    let bad_of_pod = of_pod.filter(|profile| !is_allowed(*profile));
    let mut values: Values<'_> = bad_of_pod.iter().map(|profile| profile.type_()).collect();
    let mut containers = Vec::new();
    for container in subject.containers {
        let profile = container.security.and_then(|security| security.app_armor_profile());
        if let Some(profile) = profile.filter(|profile| !is_allowed(*profile)) {
            containers.push(container.name);
            values.insert(profile.type_());
        }
    }
    let annotations = subject.metadata.annotations().iter();
    let annotations: Vec<String> = annotations
        .filter(|(key, value)| key.starts_with(ANNOTATION) && !is_allowed_annotation(value))
        .map(|(key, value)| format!("{key}={}", go_text::quoted(value)))
        .collect();
    let mut who: Vec<String> = setters(bad_of_pod.is_some(), &containers).into_iter().collect();
    if !annotations.is_empty() {
        who.push(plural("annotation", annotations.len()));
    }
    if who.is_empty() {
        return None;
    }
    let count = values.len() + annotations.len();
    let values = values.into_iter().chain(annotations.iter().map(String::as_str));
    Some(Violation {
        reason: if count == 1 { "forbidden AppArmor profile" } else { "forbidden AppArmor profiles" },
        detail: format!("{} must not set AppArmor profile type to {}", who.join(" and "), quoted(values)),
    })
}
