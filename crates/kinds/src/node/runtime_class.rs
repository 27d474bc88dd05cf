//! `RuntimeClass` (upstream: `registry/node/runtimeclass`, `apis/node/validation`; KEP-585, overhead KEP-688).

use portcullis_model::tree::Tree;

use crate::core::pod_spec::warnings::of_node_label;
use crate::rest::Rest;
use crate::strategy::{Column, Strategy};
use crate::views;
use crate::views::Map;
use crate::views::node_v1::{RuntimeClass, RuntimeClassEdit};
use crate::vocabulary::resource_names::{self, HUGE_PAGES_PREFIX};
use crate::vocabulary::{Errors, Path, amounts, labels, tolerations};

/// The rules of `RuntimeClass`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { put_creates: true, needs_version: true, ..Rest::PLAIN },
    default,
    validate_create: validate,
    validate_update,
    warn_create: warn,
    warn_update: |tree, _, _, warnings| warn(tree, warnings),
    columns: &[("Handler", Column::Field("handler", r#""""#))],
    ..Strategy::NONE
};

/// Amounts are kept in thousandths at the finest.
fn default(tree: &mut Tree) {
    let Some(overhead) = views::read::<RuntimeClass<'_>>(tree).overhead() else { return };
    let finer = amounts::finer(overhead.pod_fixed());
    if !finer.is_empty() {
        amounts::insert(views::write::<RuntimeClassEdit<'_>>(tree).overhead_mut().pod_fixed_mut(), &finer);
    }
}

fn validate(tree: &Tree, errors: &mut Errors) {
    let class: RuntimeClass<'_> = views::read(tree);
    class.check_handler(&Path::ROOT, errors);
    if let Some(overhead) = class.overhead() {
        fixed(overhead.pod_fixed(), &Path::new("overhead"), errors);
    }
    if let Some(scheduling) = class.scheduling() {
        let at = Path::new("scheduling");
        labels::labels(scheduling.node_selector(), &at.field("nodeSelector"), errors);
        tolerations::tolerations(scheduling.tolerations(), &at.field("tolerations"), errors);
    }
}

/// What each pod takes beside its containers. Clients know the paths as those of limits.
fn fixed(overhead: Map<'_, &str>, at: &Path<'_>, errors: &mut Errors) {
    let limits = at.field("limits");
    for (name, amount) in overhead.iter() {
        let at = limits.key(name);
        resource_names::container_resource(name, &at, errors);
        resource_names::amount(name, amount, &at, errors);
        resource_names::whole_huge_pages(name, amount, &at, errors);
    }
    let has_pages = overhead.iter().any(|(name, _)| name.starts_with(HUGE_PAGES_PREFIX));
    if has_pages && overhead.get("cpu").is_none() && overhead.get("memory").is_none() {
        errors.forbidden(at, "HugePages require cpu or memory");
    }
}

/// Pods have been made for the handler that a class names, so it keeps it.
fn validate_update(tree: &Tree, old: &Tree, _: &str, errors: &mut Errors) {
    validate(tree, errors);
    views::read::<RuntimeClass<'_>>(tree).check_frozen_handler(views::read(old), &Path::ROOT, errors);
}

fn warn(tree: &Tree, warnings: &mut Vec<String>) {
    let Some(scheduling) = views::read::<RuntimeClass<'_>>(tree).scheduling() else { return };
    for (label, _) in scheduling.node_selector().iter() {
        if let Some(why) = of_node_label(label) {
            warnings.push(format!("scheduling.nodeSelector: {why}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{complaints, created, json, update_complaints};

    fn of(fields: &str) -> Tree {
        created(&STRATEGY, "node.k8s.io/v1", "RuntimeClass", &format!(r#"{{"metadata":{{"name":"r"}},{fields}}}"#))
    }

    #[test]
    fn what_a_class_may_say() {
        let check =
            |fields: &str, expected: &[&str]| assert_eq!(complaints(&STRATEGY, &of(fields)), expected, "{fields}");
        check(
            r#""handler":"runsc","overhead":{"podFixed":{"cpu":"100m"}},"scheduling":{"nodeSelector":{"a":"b"},
                "tolerations":[{"operator":"Exists"}]}"#,
            &[],
        );
        check(r#""handler":"""#, &["handler: Required value"]);
        check(
            r#""handler":"h","overhead":{"podFixed":{"pods":"1","hugepages-2Mi":"3Mi"}}"#,
            &[
                "overhead.limits[hugepages-2Mi]: Invalid value: \"3Mi\": 3Mi is not positive integer multiple of hugepages-2Mi",
                r#"overhead.limits[pods]: Invalid value: "pods": must be a standard resource for containers"#,
                "overhead: Forbidden: HugePages require cpu or memory",
            ],
        );
        check(
            r#""handler":"h","scheduling":{"tolerations":[{}]}"#,
            &[
                r#"scheduling.tolerations[0].operator: Invalid value: "": operator must be Exists when `key` is empty, which means "match all values and all keys""#,
            ],
        );
    }

    #[test]
    fn a_class_keeps_its_handler() {
        let check = |new: &str, expected: &[&str]| {
            assert_eq!(update_complaints(&STRATEGY, &of(new), &of(r#""handler":"a""#), ""), expected, "{new}");
        };
        check(r#""handler":"a","overhead":{}"#, &[]);
        check(r#""handler":"b""#, &[r#"handler: Invalid value: "b": field is immutable"#]);
    }

    #[test]
    fn amounts_are_rounded_and_old_labels_are_told() {
        let class = of(
            r#""handler":"a","overhead":{"podFixed":{"cpu":"100u"}},"scheduling":{"nodeSelector":{"beta.kubernetes.io/os":"linux"}}"#,
        );
        assert_eq!(json(&class).pointer("/overhead/podFixed/cpu"), Some(&"1m".into()));
        let mut warnings = Vec::new();
        warn(&class, &mut warnings);
        assert_eq!(warnings, [r#"scheduling.nodeSelector: deprecated since v1.14; use "kubernetes.io/os" instead"#]);
    }
}
