//! `FlowSchema` (upstream: `registry/flowcontrol/flowschema`, `apis/flowcontrol/validation`; KEP-1040).

use portcullis_model::names as model_names;
use portcullis_model::tree::Tree;

use super::{EXEMPT, conditions, mandatory};
use crate::rest::{Resets, Rest, StatusKeeps};
use crate::strategy::{Cell, Column, Strategy};
use crate::views::flowcontrol_v1::{
    FlowSchema, FlowSchemaEdit, FlowSchemaSpec, NonResourcePolicyRule, PolicyRulesWithSubjects, ResourcePolicyRule,
    ServiceAccountSubject, Subject,
};
use crate::views::{self, List, shown};
use crate::vocabulary::{Errors, Path, names};

const PRECEDENCE_DEFAULT: i64 = 1000;
const PRECEDENCE_MAX: i32 = 10_000;

const DISTINGUISHERS: &[&str] = &["ByNamespace", "ByUser"];
const SUBJECT_KINDS: &[&str] = &["Group", "ServiceAccount", "User"];
const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

/// All of its kind.
const ALL: &str = "*";

/// The rules of `FlowSchema`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest {
        generation: true,
        update_checks_changes_once: true,
        status_keeps: StatusKeeps::Metadata,
        resets: &[("status", Resets::SPEC_AND_METADATA)],
        ..Rest::PLAIN
    },
    default,
    validate_create,
    validate_update,
    columns: &[
        ("PriorityLevel", Column::Field("spec.priorityLevelConfiguration.name", r#""""#)),
        ("MatchingPrecedence", Column::Field("spec.matchingPrecedence", "0")),
        ("DistinguisherMethod", Column::Field("spec.distinguisherMethod.type", r#""<none>""#)),
    ],
    cell,
    ..Strategy::NONE
};

fn read(tree: &Tree) -> FlowSchema<'_> {
    views::read(tree)
}

fn default(tree: &mut Tree) {
    if read(tree).spec().matching_precedence() == 0 {
        views::write::<FlowSchemaEdit<'_>>(tree).spec_mut().set_matching_precedence(PRECEDENCE_DEFAULT);
    }
}

fn validate_create(tree: &Tree, errors: &mut Errors) {
    let (schema, at) = (read(tree), Path::new("spec"));
    let name = schema.metadata().name();
    spec(name, schema.spec(), &at, errors);
    if mandatory::schema(name).is_some_and(|fixed| !mandatory::is_schema(schema.spec(), fixed)) {
        let why = format!("spec of '{name}' must equal the fixed value");
        errors.invalid(&at, shown(schema.spec().place()), why);
    }
    status(schema, errors);
}

fn validate_update(tree: &Tree, _: &Tree, subresource: &str, errors: &mut Errors) {
    if subresource == "status" { status(read(tree), errors) } else { validate_create(tree, errors) }
}

fn status(schema: FlowSchema<'_>, errors: &mut Errors) {
    conditions(schema.status().conditions().iter().map(|one| one.type_()), errors);
}

fn spec(name: &str, spec: FlowSchemaSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let (precedence, at_precedence) = (spec.matching_precedence(), at.field("matchingPrecedence"));
    if precedence <= 0 {
        errors.invalid(&at_precedence, i64::from(precedence), "must be a positive value");
    }
    if precedence > PRECEDENCE_MAX {
        errors.invalid(&at_precedence, i64::from(precedence), format!("must not be greater than {PRECEDENCE_MAX}"));
    }
    if precedence == 1 && name != EXEMPT {
        let why = "only the schema named 'exempt' may have matchingPrecedence 1";
        errors.invalid(&at_precedence, i64::from(precedence), why);
    }
    if let Some(method) = spec.distinguisher_method()
        && !DISTINGUISHERS.contains(&method.type_())
    {
        errors.not_supported(&at.field("distinguisherMethod.type"), shown(method.place()), DISTINGUISHERS);
    }
    let (level, at_level) = (spec.priority_level_configuration().name(), at.field("priorityLevelConfiguration.name"));
    if level.is_empty() {
        errors.required(&at_level, "must reference a priority level");
    } else {
        names::dns_subdomain(level, &at_level, errors);
    }
    for (index, one) in spec.rules().iter().enumerate() {
        rule(one, &at.field("rules").index(index), errors);
    }
}

/// Whose requests, and which of them.
fn rule(rule: PolicyRulesWithSubjects<'_>, at: &Path<'_>, errors: &mut Errors) {
    if rule.subjects().is_empty() {
        errors.required(&at.field("subjects"), "subjects must contain at least one value");
    }
    for (index, one) in rule.subjects().iter().enumerate() {
        subject(one, &at.field("subjects").index(index), errors);
    }
    if rule.resource_rules().is_empty() && rule.non_resource_rules().is_empty() {
        errors.required(at, "at least one of resourceRules and nonResourceRules has to be non-empty");
    }
    for (index, one) in rule.resource_rules().iter().enumerate() {
        resource_rule(one, &at.field("resourceRules").index(index), errors);
    }
    for (index, one) in rule.non_resource_rules().iter().enumerate() {
        path_rule(one, &at.field("nonResourceRules").index(index), errors);
    }
}

/// A subject is described where its kind says, and only there.
fn subject(subject: Subject<'_>, at: &Path<'_>, errors: &mut Errors) {
    let kind = subject.kind();
    let required = |field: &str| format!("{field} is required when subject kind is '{kind}'");
    match kind {
        "ServiceAccount" => match subject.service_account() {
            None => errors.required(&at.field("serviceAccount"), required("serviceAccount")),
            Some(account) => service_account(account, &at.field("serviceAccount"), errors),
        },
        "User" | "Group" => {
            let field = if kind == "User" { "user" } else { "group" };
            let name = match kind {
                "User" => subject.user().map(|user| user.name()),
                _ => subject.group().map(|group| group.name()),
            };
            match name {
                None => errors.required(&at.field(field), required(field)),
                Some("") => errors.required(&at.field(field).field("name"), ""),
                Some(_) => {}
            }
        }
        other => return errors.not_supported(&at.field("kind"), other, SUBJECT_KINDS),
    }
    let parts = [
        ("serviceAccount", "ServiceAccount", subject.service_account().is_some()),
        ("user", "User", subject.user().is_some()),
        ("group", "Group", subject.group().is_some()),
    ];
    for (field, of, _) in parts.into_iter().filter(|(_, of, is_there)| *is_there && *of != kind) {
        errors.forbidden(&at.field(field), format!("{field} is forbidden when subject kind is not '{of}'"));
    }
}

fn service_account(account: ServiceAccountSubject<'_>, at: &Path<'_>, errors: &mut Errors) {
    match account.name() {
        "" => errors.required(&at.field("name"), ""),
        ALL => {}
        name => names::dns_subdomain(name, &at.field("name"), errors),
    }
    match account.namespace() {
        "" => errors.required(&at.field("namespace"), "must specify namespace for service account"),
        namespace => names::dns_label(namespace, &at.field("namespace"), errors),
    }
}

fn verbs(list: List<'_, &str>, at: &Path<'_>, errors: &mut Errors) {
    if list.is_empty() {
        errors.required(at, "verbs must contain at least one value");
    } else if has_all(list) {
        all_alone(list, "verbs", at, errors);
    } else if !list.iter().all(|verb| VERBS.contains(&verb)) {
        errors.not_supported(at, shown(list.place()), VERBS);
    }
}

fn has_all(list: List<'_, &str>) -> bool {
    list.iter().any(|one| one == ALL)
}

/// Who names all names no others beside them.
fn all_alone(list: List<'_, &str>, what: &str, at: &Path<'_>, errors: &mut Errors) {
    if list.len() > 1 && has_all(list) {
        errors.invalid(at, shown(list.place()), format!("if '*' is present, must not specify other {what}"));
    }
}

fn resource_rule(rule: ResourcePolicyRule<'_>, at: &Path<'_>, errors: &mut Errors) {
    verbs(rule.verbs(), &at.field("verbs"), errors);
    let (groups, at_groups) = (rule.api_groups(), at.field("apiGroups"));
    if groups.is_empty() {
        errors.required(&at_groups, "resource rules must supply at least one api group");
    }
    all_alone(groups, "api groups", &at_groups, errors);
    let (resources, at_resources) = (rule.resources(), at.field("resources"));
    if resources.is_empty() {
        errors.required(&at_resources, "resource rules must supply at least one resource");
    }
    all_alone(resources, "resources", &at_resources, errors);
    let (namespaces, at_namespaces) = (rule.namespaces(), at.field("namespaces"));
    if namespaces.is_empty() && !rule.cluster_scope() {
        let why = "resource rules that are not cluster scoped must supply at least one namespace";
        errors.required(&at_namespaces, why);
    } else if has_all(namespaces) {
        all_alone(namespaces, "namespaces", &at_namespaces, errors);
    } else {
        for (index, namespace) in namespaces.iter().enumerate() {
            for why in model_names::dns1123_label(namespace) {
                let why = format!("each member of this list must be '*' or a DNS-1123 label; {why}");
                errors.invalid(&at_namespaces.index(index), namespace, why);
            }
        }
    }
}

fn path_rule(rule: NonResourcePolicyRule<'_>, at: &Path<'_>, errors: &mut Errors) {
    verbs(rule.verbs(), &at.field("verbs"), errors);
    let (urls, at) = (rule.non_resource_urls(), at.field("nonResourceURLs"));
    if urls.is_empty() {
        errors.required(&at, "nonResourceURLs must contain at least one value");
    } else if has_all(urls) {
        all_alone(urls, "non-resource URLs", &at, errors);
    } else {
        for (index, url) in urls.iter().enumerate() {
            if let Some(why) = wrong_path(url) {
                errors.invalid(&at.index(index), url, why);
            }
        }
    }
}

/// Why a path is none, or leads to none; a star stands for what follows its last slash.
fn wrong_path(path: &str) -> Option<&'static str> {
    let stars = path.matches('*').count();
    match path {
        "" => Some("must not be empty"),
        "/" => None,
        _ if !path.starts_with('/') => Some("must start with slash"),
        _ if path.contains(' ') => Some("must not contain white-space"),
        _ if path.contains("//") => Some("must not contain double slash"),
        _ if stars > 1 || (stars == 1 && !path.ends_with("/*")) => Some("wildcard can only do suffix matching"),
        _ => None,
    }
}

fn cell(tree: &Tree, column: &str, _: i64) -> Option<Cell> {
    if column != "MissingPL" {
        return None;
    }
    let dangling = read(tree).status().conditions().iter().find(|condition| condition.type_() == "Dangling");
    Some(Cell::Text(dangling.map_or("?", |condition| condition.status()).to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{complaints, created, json, update_complaints};

    fn named(name: &str, spec: &str) -> Tree {
        let text = format!(r#"{{"metadata":{{"name":"{name}"}},"spec":{{{spec}}}}}"#);
        created(&STRATEGY, "flowcontrol.apiserver.k8s.io/v1", "FlowSchema", &text)
    }

    fn of(spec: &str) -> Tree {
        named("calm", &format!(r#""priorityLevelConfiguration":{{"name":"a"}},{spec}"#))
    }

    #[test]
    fn what_a_schema_may_say() {
        let check = |spec: &str, expected: &[&str]| {
            assert_eq!(complaints(&STRATEGY, &of(spec)), expected, "{spec}");
            assert_eq!(update_complaints(&STRATEGY, &of(spec), &of(r#""rules":[]"#), ""), expected, "{spec}");
        };
        check(r#""distinguisherMethod":{"type":"ByUser"}"#, &[]);
        assert_eq!(json(&of(r#""rules":[]"#))["spec"]["matchingPrecedence"], 1000);
        check(
            r#""matchingPrecedence":1"#,
            &[
                "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1",
            ],
        );
        check(
            r#""matchingPrecedence":10001"#,
            &["spec.matchingPrecedence: Invalid value: 10001: must not be greater than 10000"],
        );
        check(r#""matchingPrecedence":-1"#, &["spec.matchingPrecedence: Invalid value: -1: must be a positive value"]);
        check(
            r#""distinguisherMethod":{"type":"x"}"#,
            &[
                r#"spec.distinguisherMethod.type: Unsupported value: {"type":"x"}: supported values: "ByNamespace", "ByUser""#,
            ],
        );
        check(
            r#""rules":[{}]"#,
            &[
                "spec.rules[0].subjects: Required value: subjects must contain at least one value",
                "spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty",
            ],
        );
        assert_eq!(
            complaints(&STRATEGY, &named("calm", r#""rules":[]"#)),
            ["spec.priorityLevelConfiguration.name: Required value: must reference a priority level"]
        );
    }

    #[test]
    fn whose_requests() {
        let check = |subject: &str, expected: &[&str]| {
            let path = r#""nonResourceRules":[{"verbs":["*"],"nonResourceURLs":["*"]}]"#;
            let tree = of(&format!(r#""rules":[{{"subjects":[{{{subject}}}],{path}}}]"#));
            let expected: Vec<String> =
                expected.iter().map(|line| format!("spec.rules[0].subjects[0].{line}")).collect();
            assert_eq!(complaints(&STRATEGY, &tree), expected, "{subject}");
        };
        check(r#""kind":"User","user":{"name":"ana"}"#, &[]);
        check(r#""kind":"Group","group":{"name":"*"}"#, &[]);
        check(r#""kind":"ServiceAccount","serviceAccount":{"name":"*","namespace":"a"}"#, &[]);
        check(
            r#""kind":"x""#,
            &[r#"kind: Unsupported value: "x": supported values: "Group", "ServiceAccount", "User""#],
        );
        check(r#""kind":"Group""#, &["group: Required value: group is required when subject kind is 'Group'"]);
        check(
            r#""kind":"User","user":{},"group":{"name":"a"},"serviceAccount":{}"#,
            &[
                "user.name: Required value",
                "serviceAccount: Forbidden: serviceAccount is forbidden when subject kind is not 'ServiceAccount'",
                "group: Forbidden: group is forbidden when subject kind is not 'Group'",
            ],
        );
        check(
            r#""kind":"ServiceAccount","serviceAccount":{},"user":{"name":"a"},"group":{"name":"a"}"#,
            &[
                "serviceAccount.name: Required value",
                "serviceAccount.namespace: Required value: must specify namespace for service account",
                "user: Forbidden: user is forbidden when subject kind is not 'User'",
                "group: Forbidden: group is forbidden when subject kind is not 'Group'",
            ],
        );
    }

    #[test]
    fn which_requests() {
        let check = |rule: &str, expected: &[&str]| {
            let tree = of(&format!(r#""rules":[{{"subjects":[{{"kind":"Group","group":{{"name":"a"}}}}],{rule}}}]"#));
            let expected: Vec<String> = expected.iter().map(|line| format!("spec.rules[0].{line}")).collect();
            assert_eq!(complaints(&STRATEGY, &tree), expected, "{rule}");
        };
        check(
            r#""resourceRules":[{"verbs":["get","proxy"],"apiGroups":[""],"resources":["pods"],"namespaces":["a"]},{"verbs":["*"],"apiGroups":["*"],"resources":["*"],"clusterScope":true}]"#,
            &[],
        );
        check(
            r#""resourceRules":[{}]"#,
            &[
                "resourceRules[0].verbs: Required value: verbs must contain at least one value",
                "resourceRules[0].apiGroups: Required value: resource rules must supply at least one api group",
                "resourceRules[0].resources: Required value: resource rules must supply at least one resource",
                "resourceRules[0].namespaces: Required value: resource rules that are not cluster scoped must supply at least one namespace",
            ],
        );
        check(
            r#""resourceRules":[{"verbs":["*","get"],"apiGroups":["*","a"],"resources":["*","a"],"namespaces":["*","a"]}]"#,
            &[
                r#"resourceRules[0].verbs: Invalid value: ["*","get"]: if '*' is present, must not specify other verbs"#,
                r#"resourceRules[0].apiGroups: Invalid value: ["*","a"]: if '*' is present, must not specify other api groups"#,
                r#"resourceRules[0].resources: Invalid value: ["*","a"]: if '*' is present, must not specify other resources"#,
                r#"resourceRules[0].namespaces: Invalid value: ["*","a"]: if '*' is present, must not specify other namespaces"#,
            ],
        );
        let paths = |urls: &str| format!(r#""nonResourceRules":[{{"verbs":["get"],"nonResourceURLs":[{urls}]}}]"#);
        check(&paths(r#""/","/healthz","/openapi/*""#), &[]);
        check(&paths(r#""*""#), &[]);
        let invalid = "nonResourceRules[0].nonResourceURLs[0]: Invalid value:";
        check(&paths(r#""""#), &[&format!(r#"{invalid} "": must not be empty"#)]);
        check(&paths(r#""a""#), &[&format!(r#"{invalid} "a": must start with slash"#)]);
        check(&paths(r#""/a b""#), &[&format!(r#"{invalid} "/a b": must not contain white-space"#)]);
        check(&paths(r#""/a//b""#), &[&format!(r#"{invalid} "/a//b": must not contain double slash"#)]);
        check(&paths(r#""/a*""#), &[&format!(r#"{invalid} "/a*": wildcard can only do suffix matching"#)]);
        check(
            r#""nonResourceRules":[{"verbs":["x"]}]"#,
            &[
                r#"nonResourceRules[0].verbs: Unsupported value: ["x"]: supported values: "create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch""#,
                "nonResourceRules[0].nonResourceURLs: Required value: nonResourceURLs must contain at least one value",
            ],
        );
    }

    #[test]
    fn what_no_cluster_is_without_stays() {
        let exempt = r#""matchingPrecedence":1,"priorityLevelConfiguration":{"name":"exempt"},"rules":[{"subjects":[{"kind":"Group","group":{"name":"system:masters"}}],"resourceRules":[{"verbs":["*"],"apiGroups":["*"],"resources":["*"],"clusterScope":true,"namespaces":["*"]}],"nonResourceRules":[{"verbs":["*"],"nonResourceURLs":["*"]}]}]"#;
        assert_eq!(complaints(&STRATEGY, &named("exempt", exempt)), Vec::<String>::new());
        for other in [exempt.replace("masters", "sailors"), exempt.replace(r#","clusterScope":true"#, "")] {
            let found = complaints(&STRATEGY, &named("exempt", &other));
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].ends_with("spec of 'exempt' must equal the fixed value"), "{found:?}");
        }
    }

    #[test]
    fn what_is_said_of_a_schema() {
        let of = |conditions: &str| {
            let text = format!(r#"{{"metadata":{{"name":"calm"}},"status":{{"conditions":[{conditions}]}}}}"#);
            crate::testing::read("flowcontrol.apiserver.k8s.io/v1", "FlowSchema", &text)
        };
        let cell = |conditions: &str| cell(&of(conditions), "MissingPL", 0);
        assert_eq!(cell(""), Some(Cell::Text("?".to_owned())));
        assert_eq!(cell(r#"{"type":"Dangling","status":"False"}"#), Some(Cell::Text("False".to_owned())));
        let check = |conditions: &str, expected: &[&str]| {
            assert_eq!(update_complaints(&STRATEGY, &of(conditions), &of(""), "status"), expected);
        };
        check(r#"{"type":"Dangling"}"#, &[]);
        check(
            r#"{"type":"a"},{"type":"a"},{}"#,
            &[
                r#"status.conditions[1].type: Duplicate value: "a""#,
                "status.conditions[2].type: Required value: must not be empty",
            ],
        );
    }
}
