//! `PriorityClass` (upstream: `registry/scheduling/priorityclass`, `apis/scheduling/validation`, `apis/scheduling/v1/defaults.go`).

use portcullis_model::tree::Tree;

use crate::rest::Rest;
use crate::strategy::{Column, Requester, Strategy};
use crate::views;
use crate::views::scheduling_v1::{PriorityClass, PriorityClassEdit};
use crate::vocabulary::frozen::frozen;
use crate::vocabulary::{Errors, Path, names};

/// The highest priority that is not the system's.
pub const HIGHEST_OF_USERS: i32 = 1_000_000_000;
/// What the names of the system's classes begin with.
pub const SYSTEM_PREFIX: &str = "system-";
/// The classes that every cluster has. None is the default of all pods.
pub const SYSTEM_CLASSES: &[(&str, i32)] =
    &[("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

const PREEMPTION_POLICIES: &[&str] = &["PreemptLowerPriority", "Never"];

/// The rules of `PriorityClass`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { update_checks_all_metadata: false, ..Rest::PLAIN },
    default,
    prepare_create,
    validate_create,
    validate_update,
    columns: &[
        ("Global-Default", Column::Field("globalDefault", "false")),
        ("PreemptionPolicy", Column::Field("preemptionPolicy", r#""<unset>""#)),
        ("Value", Column::Field("value", "0")),
    ],
    ..Strategy::NONE
};

fn default(tree: &mut Tree) {
    let mut class: PriorityClassEdit<'_> = views::write(tree);
    if class.view().preemption_policy().is_none() {
        class.set_preemption_policy("PreemptLowerPriority");
    }
}

/// A class has a generation that counts nothing.
fn prepare_create(tree: &mut Tree, _: &Requester<'_>) {
    views::write::<PriorityClassEdit<'_>>(tree).metadata_mut().set_generation(1);
}

fn validate_create(tree: &Tree, errors: &mut Errors) {
    let class: PriorityClass<'_> = views::read(tree);
    if class.metadata().name().starts_with(SYSTEM_PREFIX) {
        if let Some(why) = is_no_system_class(class) {
            let why = format!(
                "priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only. error: {why}"
            );
            errors.forbidden(&Path::new("metadata.name"), why);
        }
    } else if class.value() > HIGHEST_OF_USERS {
        let why = format!("maximum allowed value of a user defined priority is {HIGHEST_OF_USERS}");
        errors.forbidden(&Path::new("value"), why);
    }
    let at = Path::new("preemptionPolicy");
    match class.preemption_policy() {
        None => {}
        Some("") => errors.required(&at, ""),
        Some(policy) => names::one_of(policy, PREEMPTION_POLICIES, &at, errors),
    }
}

/// Why a class with a system's name is none of the system's.
fn is_no_system_class(class: PriorityClass<'_>) -> Option<String> {
    let name = class.metadata().name();
    match SYSTEM_CLASSES.iter().find(|(known, _)| *known == name) {
        None => Some(format!("{name} is not a known system priority class")),
        Some((_, value)) if *value != class.value() => Some(format!("value of {name} PriorityClass must be {value}")),
        Some(_) if class.global_default() => Some(format!("globalDefault of {name} PriorityClass must be false")),
        Some(_) => None,
    }
}

/// Pods have the priority that their class had, so a class keeps it.
fn validate_update(tree: &Tree, old: &Tree, _: &str, errors: &mut Errors) {
    let (new, old): (PriorityClass<'_>, PriorityClass<'_>) = (views::read(tree), views::read(old));
    if new.value() != old.value() {
        errors.forbidden(&Path::new("value"), "may not be changed in an update.");
    }
    let field = PriorityClass::PREEMPTION_POLICY;
    frozen(new.place().get(field), old.place().get(field), &Path::new(field.name()), errors);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{complaints, created, update_complaints};

    fn of(name: &str, fields: &str) -> Tree {
        let text = format!(r#"{{"metadata":{{"name":"{name}"}},{fields}}}"#);
        created(&STRATEGY, "scheduling.k8s.io/v1", "PriorityClass", &text)
    }

    #[test]
    fn what_a_class_may_be() {
        let check = |name: &str, fields: &str, expected: &[&str]| {
            assert_eq!(complaints(&STRATEGY, &of(name, fields)), expected, "{name} {fields}");
        };
        check("high", r#""value":1000000000"#, &[]);
        check("low", r#""value":-2000000000,"preemptionPolicy":"Never""#, &[]);
        check(
            "high",
            r#""value":1000000001"#,
            &["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"],
        );
        let words = r#"supported values: "PreemptLowerPriority", "Never""#;
        check("a", r#""preemptionPolicy":"x""#, &[&format!(r#"preemptionPolicy: Unsupported value: "x": {words}"#)]);
        check("a", r#""preemptionPolicy":"""#, &["preemptionPolicy: Required value"]);
        let reserved = "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: ";
        check("system-a", r#""value":1"#, &[&format!("{reserved}system-a is not a known system priority class")]);
        check("system-node-critical", r#""value":2000001000"#, &[]);
        check(
            "system-node-critical",
            r#""value":1"#,
            &[&format!("{reserved}value of system-node-critical PriorityClass must be 2000001000")],
        );
        check(
            "system-cluster-critical",
            r#""value":2000000000,"globalDefault":true"#,
            &[&format!("{reserved}globalDefault of system-cluster-critical PriorityClass must be false")],
        );
    }

    #[test]
    fn a_class_keeps_its_priority() {
        let check = |old: &str, new: &str, expected: &[&str]| {
            assert_eq!(update_complaints(&STRATEGY, &of("a", new), &of("a", old), ""), expected);
        };
        check(r#""value":1"#, r#""value":1,"description":"x","globalDefault":true"#, &[]);
        check(r#""value":1"#, r#""value":2"#, &["value: Forbidden: may not be changed in an update."]);
        check(
            r#""value":1"#,
            r#""value":1,"preemptionPolicy":"Never""#,
            &[r#"preemptionPolicy: Invalid value: "Never": field is immutable"#],
        );
    }
}
