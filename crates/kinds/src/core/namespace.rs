//! `Namespace` (upstream: `registry/core/namespace`, `apis/core/validation`, `apis/core/v1/defaults.go`).
//!
//! It says its name in a label, by which policies select it, and is not gone before what is in it is: a finalizer of its own in the
//! spec, which only `/finalize` takes out, holds it.

use portcullis_model::names::{self, NameRule};
use portcullis_model::tree::Tree;

use crate::rest::{Rest, SelectableField};
use crate::strategy::{Column, Requester, Strategy};
use crate::views;
use crate::views::core_v1::{Namespace, NamespaceEdit};
use crate::vocabulary::{Errors, Path};

/// The rules of `Namespace`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest {
        delete_shows_object: true,
        marks_time_only: true,
        name: NameRule::Label,
        fields: &[SelectableField::new("status.phase", &["status.phase"])],
        ..Rest::PLAIN
    },
    default: label_name,
    prepare_create,
    validate_create: validate,
    prepare_update,
    validate_update,
    columns: &[("Status", Column::Field("status.phase", r#""""#))],
    ..Strategy::NONE
};

/// In the spec of every namespace: its content goes first.
const FINALIZER: &str = "kubernetes";
/// The label by which a namespace can be selected by its name.
const LABEL_NAME: &str = "kubernetes.io/metadata.name";
const ACTIVE: &str = "Active";
const TERMINATING: &str = "Terminating";
/// Finalizers that need no domain.
const FINALIZERS_STANDARD: [&str; 3] = [FINALIZER, "orphan", "foregroundDeletion"];

/// The door through which finalizers of the spec are changed.
const FINALIZE: &str = "finalize";
/// The door through which the phase is changed.
const STATUS: &str = "status";

/// One that is yet to be given its name gets the label with it.
fn label_name(tree: &mut Tree) {
    let metadata = views::read::<Namespace<'_>>(tree).metadata();
    let name = metadata.name();
    if name.is_empty() || metadata.labels().get(LABEL_NAME) == Some(name) {
        return;
    }
    let name = name.to_owned();
    views::write::<NamespaceEdit<'_>>(tree).metadata_mut().labels_mut().insert(LABEL_NAME, &name);
}

fn prepare_create(tree: &mut Tree, _: &Requester<'_>) {
    label_name(tree);
    let is_held = views::read::<Namespace<'_>>(tree).spec().finalizers().iter().any(|held| held == FINALIZER);
    let mut namespace: NamespaceEdit<'_> = views::write(tree);
    if !is_held {
        namespace.spec_mut().finalizers_mut().push_text(FINALIZER);
    }
    namespace.status_mut().set_phase(ACTIVE);
}

/// Each door changes its own part: none but `/finalize` the spec, which leaves the status alone.
fn prepare_update(tree: &mut Tree, old: &Tree, subresource: &str, _: i64) {
    let old: Namespace<'_> = views::read(old);
    let kept = if subresource == FINALIZE { Namespace::STATUS } else { Namespace::SPEC };
    views::write::<NamespaceEdit<'_>>(tree).place().keep(kept, old.place());
}

fn validate(tree: &Tree, errors: &mut Errors) {
    let namespace: Namespace<'_> = views::read(tree);
    for finalizer in namespace.spec().finalizers().iter() {
        check_finalizer(finalizer, &Path::new("spec.finalizers"), errors);
    }
}

fn validate_update(tree: &Tree, _: &Tree, subresource: &str, errors: &mut Errors) {
    let namespace: Namespace<'_> = views::read(tree);
    match subresource {
        STATUS => check_phase(namespace, errors),
        FINALIZE => {
            for (index, finalizer) in namespace.spec().finalizers().iter().enumerate() {
                check_finalizer(finalizer, &Path::new("spec.finalizers").index(index), errors);
            }
        }
        _ => validate(tree, errors),
    }
}

fn check_finalizer(finalizer: &str, at: &Path<'_>, errors: &mut Errors) {
    errors.complain(at, finalizer, names::qualified_name(finalizer));
    if !finalizer.contains('/') && !FINALIZERS_STANDARD.contains(&finalizer) {
        errors.invalid(at, finalizer, "name is neither a standard finalizer name nor is it fully qualified");
    }
}

/// The phase says whether deletion has begun, and nothing else does.
fn check_phase(namespace: Namespace<'_>, errors: &mut Errors) {
    let phase = namespace.status().phase();
    // Upstream's complaint has the name of the field in its own program.
    let at = Path::new("status.Phase");
    let is_deleting = namespace.metadata().deletion_timestamp().is_some();
    if is_deleting && phase != TERMINATING {
        errors.invalid(&at, phase, "may only be 'Terminating' if `deletionTimestamp` is not empty");
    } else if !is_deleting && phase != ACTIVE {
        errors.invalid(&at, phase, "may only be 'Active' if `deletionTimestamp` is empty");
    }
}

/// Whether a namespace waits for its content to go.
#[must_use]
pub fn waits_for_content(tree: &Tree) -> bool {
    !views::read::<Namespace<'_>>(tree).spec().finalizers().is_empty()
}

/// A namespace whose deletion has begun says so.
pub fn mark_terminating(tree: &mut Tree) {
    views::write::<NamespaceEdit<'_>>(tree).status_mut().set_phase(TERMINATING);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{complaints, created, json, read, update_complaints};

    fn of(text: &str) -> Tree {
        created(&STRATEGY, "v1", "Namespace", text)
    }

    #[test]
    fn a_new_namespace_is_active_labelled_and_held() {
        let check = |text: &str, labels: &str, finalizers: &str| {
            let tree = of(text);
            let found = json(&tree);
            let at = |path: &str| found.pointer(path).cloned().unwrap_or_default().to_string();
            assert_eq!(at("/metadata/labels"), labels, "{text}");
            assert_eq!(at("/spec/finalizers"), finalizers, "{text}");
            assert_eq!(at("/status/phase"), r#""Active""#, "{text}");
            assert!(waits_for_content(&tree), "{text}");
        };
        let label = r#"{"kubernetes.io/metadata.name":"a"}"#;
        check(r#"{"metadata":{"name":"a"}}"#, label, r#"["kubernetes"]"#);
        check(r#"{"metadata":{"name":"a","labels":{"kubernetes.io/metadata.name":"b"}}}"#, label, r#"["kubernetes"]"#);
        check(r#"{"metadata":{"name":"a"},"spec":{"finalizers":["a.b/c"]}}"#, label, r#"["a.b/c","kubernetes"]"#);
        check(r#"{"metadata":{"name":"a"},"spec":{"finalizers":["kubernetes"]}}"#, label, r#"["kubernetes"]"#);
        check(r#"{"metadata":{"generateName":"a-"}}"#, "null", r#"["kubernetes"]"#);
    }

    #[test]
    fn finalizers_are_standard_or_have_a_domain() {
        let with = |finalizer: &str| {
            of(&format!(r#"{{"metadata":{{"name":"a"}},"spec":{{"finalizers":["kubernetes","{finalizer}"]}}}}"#))
        };
        let check = |finalizer: &str, expected: &[&str]| {
            let tree = with(finalizer);
            let lines = |at: &str| -> Vec<String> {
                expected.iter().map(|why| format!("{at}: Invalid value: {finalizer:?}: {why}")).collect()
            };
            assert_eq!(complaints(&STRATEGY, &tree), lines("spec.finalizers"), "{finalizer}");
            assert_eq!(
                update_complaints(&STRATEGY, &tree, &tree, FINALIZE),
                lines("spec.finalizers[1]"),
                "{finalizer}"
            );
        };
        check("orphan", &[]);
        check("example.com/hold", &[]);
        check("hold", &["name is neither a standard finalizer name nor is it fully qualified"]);
    }

    #[test]
    fn a_door_changes_its_own_part() {
        let old = of(r#"{"metadata":{"name":"a"}}"#);
        let new = r#"{"metadata":{"name":"a"},"spec":{"finalizers":[]},"status":{"phase":"Terminating"}}"#;
        let check = |subresource: &str, waits: bool, phase: &str| {
            let mut tree = read("v1", "Namespace", new);
            prepare_update(&mut tree, &old, subresource, 0);
            let namespace: Namespace<'_> = views::read(&tree);
            assert_eq!((waits_for_content(&tree), namespace.status().phase()), (waits, phase), "{subresource}");
        };
        // What a door does to the status and nothing else, the server does for all kinds.
        check("", true, "Terminating");
        check("status", true, "Terminating");
        check("finalize", false, "Active");
    }

    #[test]
    fn the_phase_says_whether_deletion_has_begun() {
        let check = |deletion: &str, phase: &str, expected: &[&str]| {
            let text = format!(r#"{{"metadata":{{"name":"a"{deletion}}},"status":{{"phase":"{phase}"}}}}"#);
            let tree = read("v1", "Namespace", &text);
            assert_eq!(update_complaints(&STRATEGY, &tree, &tree, "status"), expected, "{text}");
        };
        let deletion = r#","deletionTimestamp":"2026-01-01T00:00:00Z""#;
        check("", "Active", &[]);
        check(deletion, "Terminating", &[]);
        let active =
            r#"status.Phase: Invalid value: "Terminating": may only be 'Active' if `deletionTimestamp` is empty"#;
        check("", "Terminating", &[active]);
        let terminating =
            r#"status.Phase: Invalid value: "Active": may only be 'Terminating' if `deletionTimestamp` is not empty"#;
        check(deletion, "Active", &[terminating]);
    }
}
