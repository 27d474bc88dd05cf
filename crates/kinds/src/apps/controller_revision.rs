//! `ControllerRevision` (upstream: `registry/apps/controllerrevision`, `apis/apps/validation`): what a template was, kept so that one
//! can go back to it. It is only good for that if it never changes.

use portcullis_model::tree::Tree;

use crate::core::pod_spec::cells::NONE;
use crate::rest::Rest;
use crate::strategy::{Cell, Column, Strategy};
use crate::views;
use crate::views::apps_v1::ControllerRevision;
use crate::vocabulary::frozen::frozen;
use crate::vocabulary::{Errors, Path};

/// The rules of `ControllerRevision`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest::PLAIN,
    validate_create,
    validate_update,
    columns: &[("Revision", Column::Field("revision", "0"))],
    cell,
    ..Strategy::NONE
};

fn validate_create(tree: &Tree, errors: &mut Errors) {
    let revision: ControllerRevision<'_> = views::read(tree);
    match revision.data().0.trim_ascii_start().as_bytes().first() {
        None => errors.required(&Path::new("data"), "data is mandatory"),
        Some(b'{') => {}
        Some(_) => errors.required(&Path::new("data"), "data must be a valid JSON object"),
    }
    revision.check_revision(&Path::ROOT, errors);
}

fn validate_update(tree: &Tree, old: &Tree, _: &str, errors: &mut Errors) {
    let (new, old): (ControllerRevision<'_>, ControllerRevision<'_>) = (views::read(tree), views::read(old));
    new.check_revision(&Path::ROOT, errors);
    let field = ControllerRevision::DATA;
    frozen(new.place().get(field), old.place().get(field), &Path::new("data"), errors);
}

fn cell(tree: &Tree, column: &str, _: i64) -> Option<Cell> {
    if column != "Controller" {
        return None;
    }
    let revision: ControllerRevision<'_> = views::read(tree);
    let mut owners = revision.metadata().owner_references().iter();
    let Some(owner) = owners.find(|owner| owner.controller() == Some(true)) else {
        return Some(Cell::Text(NONE.to_owned()));
    };
    let (group, kind) = (owner.api_version().split_once('/').map_or("", |(group, _)| group), owner.kind());
    let dot = if group.is_empty() { "" } else { "." };
    Some(Cell::Text(format!("{}/{}", format!("{kind}{dot}{group}").to_lowercase(), owner.name())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{complaints, read, update_complaints};

    fn of(fields: &str) -> Tree {
        read("apps/v1", "ControllerRevision", fields)
    }

    #[test]
    fn a_revision_holds_an_object() {
        let check =
            |fields: &str, expected: &[&str]| assert_eq!(complaints(&STRATEGY, &of(fields)), expected, "{fields}");
        check(r#"{"revision":1,"data":{}}"#, &[]);
        check(r#"{"revision":1,"data":{"spec":{"a":[1]}}}"#, &[]);
        check(r#"{"revision":1}"#, &["data: Required value: data is mandatory"]);
        check(r#"{"revision":1,"data":null}"#, &["data: Required value: data is mandatory"]);
        check(r#"{"revision":1,"data":[]}"#, &["data: Required value: data must be a valid JSON object"]);
        check(
            r#"{"revision":-1,"data":"a"}"#,
            &[
                "data: Required value: data must be a valid JSON object",
                "revision: Invalid value: -1: must be greater than or equal to 0",
            ],
        );
    }

    #[test]
    fn what_it_holds_stays() {
        let old = of(r#"{"revision":1,"data":{"a":1}}"#);
        let check = |fields: &str, expected: &[&str]| {
            assert_eq!(update_complaints(&STRATEGY, &of(fields), &old, ""), expected, "{fields}");
        };
        check(r#"{"revision":2,"data":{"a":1}}"#, &[]);
        check(r#"{"revision":1,"data":{"a":2}}"#, &[r#"data: Invalid value: {"a":2}: field is immutable"#]);
        check(r#"{"revision":1}"#, &["data: Invalid value: null: field is immutable"]);
    }

    #[test]
    fn a_table_names_its_controller() {
        let check = |owners: &str, expected: &str| {
            let tree = of(&format!(r#"{{"metadata":{{"ownerReferences":[{owners}]}}}}"#));
            assert_eq!(cell(&tree, "Controller", 0), Some(Cell::Text(expected.to_owned())), "{owners}");
        };
        check("", "<none>");
        check(r#"{"apiVersion":"apps/v1","kind":"StatefulSet","name":"db"}"#, "<none>");
        check(r#"{"apiVersion":"apps/v1","kind":"StatefulSet","name":"db","controller":true}"#, "statefulset.apps/db");
        check(r#"{"apiVersion":"v1","kind":"Node","name":"n","controller":true}"#, "node/n");
    }
}
