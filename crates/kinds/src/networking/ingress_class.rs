//! `IngressClass` (upstream: `registry/networking/ingressclass`, `apis/networking/validation`; parameters in a namespace KEP-2365).

use portcullis_model::tree::Tree;

use super::references::reference;
use crate::rest::Rest;
use crate::strategy::{Cell, Column, Strategy};
use crate::views;
use crate::views::networking_v1::{
    IngressClass, IngressClassEdit, IngressClassParametersReference, IngressClassParametersReferenceEdit,
};
use crate::vocabulary::{Errors, Path, names};

/// Longest name of a controller, in bytes.
const CONTROLLER_LEN_MAX: usize = 250;

/// What the parameters are of: the cluster.
const CLUSTER: &str = "Cluster";
/// Or a namespace, which is named.
const NAMESPACE: &str = "Namespace";

/// The rules of `IngressClass`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { generation: true, ..Rest::PLAIN },
    default,
    validate_create: validate,
    validate_update,
    columns: &[("Controller", Column::Field("spec.controller", r#""""#))],
    cell,
    ..Strategy::NONE
};

fn default(tree: &mut Tree) {
    let is_open = |class: IngressClass<'_>| class.spec().parameters().is_some_and(|one| one.scope().is_none());
    if is_open(views::read(tree)) {
        let mut class: IngressClassEdit<'_> = views::write(tree);
        let mut spec = class.spec_mut();
        let mut parameters: IngressClassParametersReferenceEdit<'_> = spec.parameters_mut();
        parameters.set_scope(CLUSTER);
    }
}

fn validate_update(tree: &Tree, old: &Tree, _: &str, errors: &mut Errors) {
    let (new, old): (IngressClass<'_>, IngressClass<'_>) = (views::read(tree), views::read(old));
    new.spec().check_frozen_controller(old.spec(), &Path::new("spec"), errors);
    validate(tree, errors);
}

fn validate(tree: &Tree, errors: &mut Errors) {
    let spec = views::read::<IngressClass<'_>>(tree).spec();
    let at = Path::new("spec");
    let controller = spec.controller();
    if controller.len() > CONTROLLER_LEN_MAX {
        errors.too_long(&at.field("controller"), CONTROLLER_LEN_MAX);
    }
    names::domain_prefixed_path(controller, &at.field("controller"), errors);
    if let Some(parameters) = spec.parameters() {
        validate_parameters(parameters, &at.field("parameters"), errors);
    }
}

fn validate_parameters(parameters: IngressClassParametersReference<'_>, at: &Path<'_>, errors: &mut Errors) {
    reference(parameters.api_group(), parameters.kind(), parameters.name(), at, errors);
    let namespace = at.field("namespace");
    match (parameters.scope(), parameters.namespace()) {
        (None, _) => errors.required(&at.field("scope"), ""),
        (Some(NAMESPACE), None) => errors.required(&namespace, "`parameters.scope` is set to 'Namespace'"),
        (Some(NAMESPACE), Some(name)) => names::dns_label(name, &namespace, errors),
        (Some(CLUSTER), Some(_)) => errors.forbidden(&namespace, "`parameters.scope` is set to 'Cluster'"),
        (Some(CLUSTER), None) => {}
        (Some(other), _) => errors.not_supported(&at.field("scope"), other, &[CLUSTER, NAMESPACE]),
    }
}

fn cell(tree: &Tree, column: &str, _: i64) -> Option<Cell> {
    if column != "Parameters" {
        return None;
    }
    let Some(parameters) = views::read::<IngressClass<'_>>(tree).spec().parameters() else {
        return Some(Cell::Text("<none>".to_owned()));
    };
    let group = parameters.api_group().map(|group| format!(".{group}")).unwrap_or_default();
    Some(Cell::Text(format!("{}{group}/{}", parameters.kind(), parameters.name())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{complaints, created, json, update_complaints};

    fn of(spec: &str) -> Tree {
        let text = format!(r#"{{"metadata":{{"name":"outer"}},"spec":{{{spec}}}}}"#);
        created(&STRATEGY, "networking.k8s.io/v1", "IngressClass", &text)
    }

    fn with(parameters: &str) -> Tree {
        of(&format!(r#""controller":"example.com/gate","parameters":{{{parameters}}}"#))
    }

    #[test]
    fn parameters_are_of_the_cluster_unless_they_say_otherwise() {
        let check = |parameters: &str, expected: &str| {
            assert_eq!(json(&with(parameters))["spec"]["parameters"]["scope"], expected, "{parameters}");
        };
        check(r#""kind":"Gate","name":"outer""#, "Cluster");
        check(r#""kind":"Gate","name":"outer","scope":null"#, "Cluster");
        check(r#""kind":"Gate","name":"outer","scope":"Namespace""#, "Namespace");
        assert!(json(&of(r#""controller":"example.com/gate""#))["spec"].get("parameters").is_none());
    }

    #[test]
    fn a_class_names_its_controller() {
        let check = |spec: &str, expected: &[&str]| assert_eq!(complaints(&STRATEGY, &of(spec)), expected, "{spec}");
        check(r#""controller":"example.com/gate""#, &[]);
        check("", &["spec.controller: Required value"]);
        let why = r#"must be a domain-prefixed path (such as "acme.io/foo")"#;
        check(r#""controller":"other""#, &[&format!(r#"spec.controller: Invalid value: "other": {why}"#)]);
        let long = "x".repeat(251);
        check(
            &format!(r#""controller":"{long}""#),
            &[
                "spec.controller: Too long: may not be more than 250 bytes",
                &format!(r#"spec.controller: Invalid value: "{long}": {why}"#),
            ],
        );
    }

    #[test]
    fn parameters_are_found() {
        let check = |parameters: &str, expected: &[&str]| {
            assert_eq!(complaints(&STRATEGY, &with(parameters)), expected, "{parameters}");
        };
        check(r#""apiGroup":"example.com","kind":"Gate","name":"outer""#, &[]);
        check(r#""kind":"Gate","name":"outer","scope":"Namespace","namespace":"harbor""#, &[]);
        check("", &["spec.parameters.kind: Required value", "spec.parameters.name: Required value"]);
        check(
            r#""kind":"a/b","name":"..""#,
            &[
                r#"spec.parameters.kind: Invalid value: "a/b": may not contain '/'"#,
                r#"spec.parameters.name: Invalid value: "..": may not be '..'"#,
            ],
        );
        check(
            r#""kind":"Gate","name":"outer","scope":"Namespace""#,
            &["spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"],
        );
        check(
            r#""kind":"Gate","name":"outer","namespace":"harbor""#,
            &["spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'"],
        );
        check(
            r#""kind":"Gate","name":"outer","scope":"other""#,
            &[r#"spec.parameters.scope: Unsupported value: "other": supported values: "Cluster", "Namespace""#],
        );
    }

    #[test]
    fn a_class_keeps_its_controller() {
        let old = of(r#""controller":"example.com/gate""#);
        let check = |spec: &str, expected: &[&str]| {
            assert_eq!(update_complaints(&STRATEGY, &of(spec), &old, ""), expected, "{spec}");
        };
        check(r#""controller":"example.com/gate","parameters":{"kind":"Gate","name":"outer"}"#, &[]);
        check(
            r#""controller":"example.com/other""#,
            &[r#"spec.controller: Invalid value: "example.com/other": field is immutable"#],
        );
        check("", &[r#"spec.controller: Invalid value: "": field is immutable"#, "spec.controller: Required value"]);
    }

    #[test]
    fn what_a_table_shows() {
        let check = |tree: &Tree, expected: &str| {
            assert_eq!(cell(tree, "Parameters", 0), Some(Cell::Text(expected.to_owned())));
        };
        check(&of(""), "<none>");
        check(&with(r#""kind":"Gate","name":"outer""#), "Gate/outer");
        check(&with(r#""apiGroup":"example.com","kind":"Gate","name":"outer""#), "Gate.example.com/outer");
    }
}
