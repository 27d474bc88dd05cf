//! `PodTemplate` (upstream: `registry/core/podtemplate`, `apis/core/validation`): a template that nobody keeps pods of.

use portcullis_model::tree::Tree;

use super::pod_spec::{self, cells};
use crate::rest::Rest;
use crate::strategy::{Cell, Strategy};
use crate::views;
use crate::views::core_v1::{PodTemplate, PodTemplateEdit};
use crate::vocabulary::{Errors, Path};

/// The rules of `PodTemplate`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { generation: true, delete_shows_object: true, ..Rest::PLAIN },
    default,
    validate_create: |tree, errors| validate(tree, None, errors),
    warn_create,
    validate_update: |tree, old, _, errors| validate(tree, Some(old), errors),
    warn_update,
    cell,
    ..Strategy::NONE
};

/// Where the template stands.
const TEMPLATE: Path<'_> = Path::new("template");

fn default(tree: &mut Tree) {
    pod_spec::default_template(views::write::<PodTemplateEdit<'_>>(tree).template_mut());
}

fn validate(tree: &Tree, old: Option<&Tree>, errors: &mut Errors) {
    let template = |of| views::read::<PodTemplate<'_>>(of).template();
    pod_spec::validate_template(template(tree), old.map(template), &TEMPLATE, errors);
}

fn warn_create(tree: &Tree, warnings: &mut Vec<String>) {
    pod_spec::warn_template(views::read::<PodTemplate<'_>>(tree).template(), None, &TEMPLATE, warnings);
}

fn warn_update(tree: &Tree, old: &Tree, _: &str, warnings: &mut Vec<String>) {
    let (new, old): (PodTemplate<'_>, PodTemplate<'_>) = (views::read(tree), views::read(old));
    if new.metadata().generation() != old.metadata().generation() {
        pod_spec::warn_template(new.template(), Some(old.template()), &TEMPLATE, warnings);
    }
}

fn cell(tree: &Tree, column: &str, _: i64) -> Option<Cell> {
    let template = views::read::<PodTemplate<'_>>(tree).template();
    Some(match column {
        "Containers" => cells::containers(template.spec()),
        "Images" => cells::images(template.spec()),
        "Pod Labels" => cells::labels(template.metadata().labels()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{complaints, created, json, update_complaints};

    fn of(template: &str) -> Tree {
        let text = format!(r#"{{"metadata":{{"name":"t"}},"template":{template}}}"#);
        created(&STRATEGY, "v1", "PodTemplate", &text)
    }

    #[test]
    fn a_template_is_that_of_any_pod() {
        let check = |template: &str, expected: &[&str]| {
            assert_eq!(complaints(&STRATEGY, &of(template)), expected, "{template}");
            assert_eq!(update_complaints(&STRATEGY, &of(template), &of(template), ""), expected, "{template}");
        };
        let once = r#"{"spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"i"}]}}"#;
        check(once, &[]);
        check("{}", &["template.spec.containers: Required value"]);
        let shown = json(&of(once));
        assert_eq!(shown.pointer("/template/spec/dnsPolicy"), Some(&"ClusterFirst".into()));
    }

    #[test]
    fn a_table_shows_the_template() {
        let check = |template: &str, column: &str, expected: Option<&str>| {
            assert_eq!(cell(&of(template), column, 0), expected.map(|text| Cell::Text(text.to_owned())), "{column}");
        };
        let one = r#"{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}"#;
        check(one, "Containers", Some("c"));
        check(one, "Images", Some("i"));
        check(one, "Pod Labels", Some("a=b"));
        check("{}", "Pod Labels", Some("<none>"));
        check(one, "Age", None);
    }
}
