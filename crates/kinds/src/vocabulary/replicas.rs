//! What every kind says that keeps a number of pods of one template running (upstream: `ValidatePodTemplateSpecForReplicaSet`,
//! `ValidatePodTemplateSpecForRC` and their like, the statuses of `apis/apps/validation`).

use portcullis_model::names;

use super::{Errors, Path, selectors};
use crate::views::core_v1::{PodSpec, PodTemplateSpec};
use crate::views::meta_v1::{LabelSelector, ObjectMeta};
use crate::views::{shown, shown_field};

/// The one restart policy of pods that are kept running.
const RESTART_ALWAYS: &str = "Always";

/// What a selector selects, as far as it can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selects {
    /// It is no selector.
    Unusable,
    /// The template's pods are among what it selects, or it is empty, which is complained about elsewhere.
    Template,
    /// The template's pods are not.
    Others,
}

impl Selects {
    /// Looks whether a selector selects the pods of a template. An absent selector selects nothing.
    #[must_use]
    pub fn of(selector: Option<LabelSelector<'_>>, template: PodTemplateSpec<'_>) -> Selects {
        let Some(selector) = selector else { return Selects::Others };
        let Ok(selector) = selectors::read(selector).to_selector() else { return Selects::Unusable };
        let labels = template.metadata().labels();
        if selector.matches(|key| labels.get(key)) { Selects::Template } else { Selects::Others }
    }
}

/// The selector must be there, make sense, and select something. `kind` is the word for what it belongs to.
pub fn selector(selector: Option<LabelSelector<'_>>, kind: &str, at: &Path<'_>, errors: &mut Errors) {
    match selector {
        None => errors.required(at, ""),
        Some(selector) => {
            selectors::label_selector(selector, at, errors);
            not_empty(selector, kind, at, errors);
        }
    }
}

/// An empty selector would select every pod there is.
pub fn not_empty(selector: LabelSelector<'_>, kind: &str, at: &Path<'_>, errors: &mut Errors) {
    if selectors::is_empty(selector) {
        errors.invalid(at, shown(selector.place()), format!("empty selector is invalid for {kind}"));
    }
}

/// The template's pods must be among those selected. `at` is where the template stands.
pub fn labels_not_selected(template: PodTemplateSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let labels = shown_field(template.metadata().place(), ObjectMeta::LABELS);
    errors.invalid(&at.field("metadata.labels"), labels, "`selector` does not match template `labels`");
}

/// Pods that are kept running are restarted whenever they end, and do not end for having run long enough. `kind` is the kind that keeps
/// them.
pub fn runs_for_ever(pods: PodSpec<'_>, kind: &str, at: &Path<'_>, errors: &mut Errors) {
    let at = at.field("spec");
    if pods.restart_policy() != RESTART_ALWAYS {
        errors.not_supported(&at.field("restartPolicy"), pods.restart_policy(), &[RESTART_ALWAYS]);
    }
    if pods.active_deadline_seconds().is_some() {
        let why = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.forbidden(&at.field("activeDeadlineSeconds"), why);
    }
}

/// No more than another count, which `most_of` names.
pub fn at_most(count: i32, most: i32, most_of: &str, at: &Path<'_>, errors: &mut Errors) {
    if count > most {
        errors.invalid(at, count, format!("cannot be greater than {most_of}"));
    }
}

/// What the statuses of deployments, replica sets and replication controllers end with: those that are ready are among all, and those
/// that are available among both. `at` is the status. Stateful sets ask in another order and with another word.
pub fn ready_and_available(ready: i32, available: i32, all: i32, at: &Path<'_>, errors: &mut Errors) {
    at_most(ready, all, "status.replicas", &at.field("readyReplicas"), errors);
    at_most(available, all, "status.replicas", &at.field("availableReplicas"), errors);
    at_most(available, ready, "readyReplicas", &at.field("availableReplicas"), errors);
}

/// A count of hash collisions only grows, or two templates could get one name.
pub fn not_decremented(new: Option<i32>, old: Option<i32>, at: &Path<'_>, errors: &mut Errors) {
    let is_less = match (new, old) {
        (None, Some(_)) => true,
        (Some(new), Some(old)) => new < old,
        (_, None) => false,
    };
    if is_less {
        errors.invalid(at, new.unwrap_or_default(), "cannot be decremented");
    }
}

/// Pods are named after what they belong to, and their hostnames after them.
pub fn warn_name(name: &str, warnings: &mut Vec<String>) {
    let complaints = names::dns1123_label(name);
    if !complaints.is_empty() {
        warnings.push(format!(
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is \
             recommended: [{}]",
            complaints.join(" ")
        ));
    }
}
