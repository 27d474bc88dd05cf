//! `APIService` (upstream: `registry/apiregistration/apiservice`, `apis/apiregistration/validation`).
//!
//! It puts one version of one group into the hands of another server; without one, this server has it itself.

use portcullis_model::names::{self as model_names, NameRule};
use portcullis_model::tree::Tree;

use crate::rest::{Resets, Rest, StatusKeeps};
use crate::strategy::{Cell, Requester, Strategy};
use crate::views;
use crate::views::apiregistration_v1::{APIService, APIServiceEdit, APIServiceSpec, ServiceReference};
use crate::vocabulary::{Errors, Path, names, webhooks};

const PORT_DEFAULT: i64 = 443;
const GROUP_PRIORITY_MAX: i32 = 20_000;
const VERSION_PRIORITY_MAX: i32 = 1_000;

const AVAILABLE: &str = "Available";
const STATUSES: &[&str] = &["True", "False", "Unknown"];

/// The rules of `APIService`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest {
        needs_version: true,
        // The name says version and group; that it does is checked with them.
        name: NameRule::PathSegment,
        status_keeps: StatusKeeps::Metadata,
        resets: &[("status", Resets::SPEC_AND_METADATA)],
        ..Rest::PLAIN
    },
    default,
    prepare_create,
    validate_create,
    validate_update,
    cell,
    ..Strategy::NONE
};

fn read(tree: &Tree) -> APIService<'_> {
    views::read(tree)
}

fn default(tree: &mut Tree) {
    // To open a service is to have one.
    if read(tree).spec().service().is_some_and(|service| service.port().is_none()) {
        views::write::<APIServiceEdit<'_>>(tree).spec_mut().service_mut().set_port(PORT_DEFAULT);
    }
}

/// What this server has itself is there from the first moment.
fn prepare_create(tree: &mut Tree, _: &Requester<'_>) {
    let mut service: APIServiceEdit<'_> = views::write(tree);
    if service.view().spec().service().is_some() {
        return;
    }
    let now = service.view().metadata().creation_timestamp();
    let mut status = service.status_mut();
    let mut conditions = status.conditions_mut();
    let mut condition = conditions.push();
    condition.set_type(AVAILABLE);
    condition.set_status("True");
    if let Some(now) = now {
        condition.set_last_transition_time(now);
    }
    condition.set_reason("Local");
    condition.set_message("Local APIServices are always available");
}

fn validate_create(tree: &Tree, errors: &mut Errors) {
    let service = read(tree);
    let name = service.metadata().name();
    // A name that no path can have was complained about already.
    if !name.is_empty() && model_names::path_segment(name).is_empty() {
        own_name(name, service.spec(), &Path::new("metadata.name"), errors);
    }
    spec(service.spec(), &Path::new("spec"), errors);
}

fn validate_update(tree: &Tree, _: &Tree, subresource: &str, errors: &mut Errors) {
    if subresource == "status" { status(read(tree), errors) } else { validate_create(tree, errors) }
}

fn own_name(name: &str, spec: APIServiceSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    if name.strip_prefix(spec.version()).and_then(|rest| rest.strip_prefix('.')) != Some(spec.group()) {
        let wanted = format!("{}.{}", spec.version(), spec.group());
        let wanted = portcullis_model::go_text::quoted(&wanted);
        errors.invalid(at, name, format!(r#"must be `spec.version+"."+spec.group`: {wanted}"#));
    }
}

fn spec(spec: APIServiceSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let (group, version) = (spec.group(), spec.version());
    if !group.is_empty() {
        names::dns_subdomain(group, &at.field("group"), errors);
    } else if version != "v1" {
        errors.required(&at.field("group"), "only v1 may have an empty group and it better be legacy kube");
    }
    errors.complain(&at.field("version"), version, model_names::dns1035_label(version));
    for (field, value, most) in [
        ("groupPriorityMinimum", spec.group_priority_minimum(), GROUP_PRIORITY_MAX),
        ("versionPriority", spec.version_priority(), VERSION_PRIORITY_MAX),
    ] {
        if !(1..=most).contains(&value) {
            errors.invalid(&at.field(field), i64::from(value), format!("must be positive and less than {most}"));
        }
    }
    match spec.service() {
        None => local(spec, at, errors),
        Some(service) => {
            reference(service, &at.field("service"), errors);
            if spec.insecure_skip_tls_verify() && !spec.ca_bundle().is_empty() {
                errors.invalid(&at.field("insecureSkipTLSVerify"), true, "may not be true if caBundle is present");
            }
        }
    }
}

/// What this server has itself is not asked by TLS.
fn local(spec: APIServiceSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let bundle_len = decoded_len(spec.ca_bundle());
    if bundle_len > 0 {
        let shown = format!("{bundle_len} bytes");
        errors.invalid(&at.field("caBundle"), shown, "local APIServices may not have a caBundle");
    }
    if spec.insecure_skip_tls_verify() {
        let why = "local APIServices may not have insecureSkipTLSVerify";
        errors.invalid(&at.field("insecureSkipTLSVerify"), true, why);
    }
}

/// How many bytes a text in base 64 stands for.
fn decoded_len(text: &str) -> usize {
    text.trim_end_matches('=').len() * 3 / 4
}

fn reference(service: ServiceReference<'_>, at: &Path<'_>, errors: &mut Errors) {
    for (field, value) in [("namespace", service.namespace()), ("name", service.name())] {
        if value.is_empty() {
            errors.required(&at.field(field), "");
        }
    }
    webhooks::port(service.port().unwrap_or_default(), &at.field("port"), errors);
}

fn status(service: APIService<'_>, errors: &mut Errors) {
    let list = Path::new("status.conditions");
    for (index, condition) in service.status().conditions().iter().enumerate() {
        names::one_of(condition.status(), STATUSES, &list.index(index).field("status"), errors);
    }
}

fn cell(tree: &Tree, column: &str, _: i64) -> Option<Cell> {
    let service = read(tree);
    Some(Cell::Text(match column {
        "Service" => match service.spec().service() {
            Some(reference) => format!("{}/{}", reference.namespace(), reference.name()),
            None => "Local".to_owned(),
        },
        "Available" => {
            let mut conditions = service.status().conditions().iter();
            match conditions.find(|condition| condition.type_() == AVAILABLE) {
                None => "Unknown".to_owned(),
                Some(condition) if condition.status() == "True" || condition.reason().is_empty() => {
                    condition.status().to_owned()
                }
                Some(condition) => format!("{} ({})", condition.status(), condition.reason()),
            }
        }
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{complaints, created, json, update_complaints};

    const GOOD: &str = r#""group":"tide.example.com","version":"v1","groupPriorityMinimum":100,"versionPriority":10"#;

    fn of(name: &str, spec: &str) -> Tree {
        let text = format!(
            r#"{{"metadata":{{"name":"{name}","creationTimestamp":"2026-01-01T00:00:00Z"}},"spec":{{{spec}}}}}"#
        );
        created(&STRATEGY, "apiregistration.k8s.io/v1", "APIService", &text)
    }

    #[test]
    fn what_a_service_gets() {
        let tree = of("v1.tide.example.com", GOOD);
        assert_eq!(
            json(&tree)["status"]["conditions"][0],
            serde_json::json!({"type": "Available", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z",
                "reason": "Local", "message": "Local APIServices are always available"})
        );
        let tree = of("v1.tide.example.com", &format!(r#"{GOOD},"service":{{"name":"a","namespace":"b"}}"#));
        assert_eq!(json(&tree)["spec"]["service"]["port"], 443);
        assert_eq!(json(&tree)["status"], serde_json::json!({}));
    }

    #[test]
    fn what_a_service_may_say() {
        let check = |name: &str, spec: &str, expected: &[&str]| {
            let tree = of(name, spec);
            assert_eq!(complaints(&STRATEGY, &tree), expected, "{name} {spec}");
            assert_eq!(update_complaints(&STRATEGY, &tree, &tree, ""), expected, "{name} {spec}");
        };
        let good = "v1.tide.example.com";
        check(good, GOOD, &[]);
        check("v1.", r#""version":"v1","groupPriorityMinimum":20000,"versionPriority":1000"#, &[]);
        let wanted = r#"must be `spec.version+"."+spec.group`"#;
        check("v1", GOOD, &[&format!(r#"metadata.name: Invalid value: "v1": {wanted}: "v1.tide.example.com""#)]);
        let service = |fields: &str| format!(r#"{GOOD},"service":{{{fields}}}"#);
        check(good, &service(r#""name":"a","namespace":"b","port":8443"#), &[]);
        check(
            good,
            &service(r#""port":0"#),
            &[
                "spec.service.namespace: Required value",
                "spec.service.name: Required value",
                "spec.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive",
            ],
        );
        check(
            good,
            &format!(r#"{},"insecureSkipTLSVerify":true,"caBundle":"YWJj""#, service(r#""name":"a","namespace":"b""#)),
            &["spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present"],
        );
        check(
            good,
            &format!(r#"{GOOD},"insecureSkipTLSVerify":true,"caBundle":"YWJjZA==""#),
            &[
                r#"spec.caBundle: Invalid value: "4 bytes": local APIServices may not have a caBundle"#,
                "spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have insecureSkipTLSVerify",
            ],
        );
        check(
            "v2.",
            r#""version":"v2","groupPriorityMinimum":20001"#,
            &[
                "spec.group: Required value: only v1 may have an empty group and it better be legacy kube",
                "spec.groupPriorityMinimum: Invalid value: 20001: must be positive and less than 20000",
                "spec.versionPriority: Invalid value: 0: must be positive and less than 1000",
            ],
        );
    }

    #[test]
    fn what_is_said_of_a_service() {
        let of = |condition: &str| {
            let text = format!(r#"{{"status":{{"conditions":[{{"type":"Available",{condition}}}]}}}}"#);
            crate::testing::read("apiregistration.k8s.io/v1", "APIService", &text)
        };
        let check = |condition: &str, shown: &str| {
            let tree = of(condition);
            assert_eq!(cell(&tree, "Available", 0), Some(Cell::Text(shown.to_owned())));
            assert!(update_complaints(&STRATEGY, &tree, &tree, "status").is_empty());
        };
        check(r#""status":"True","reason":"Passed""#, "True");
        check(r#""status":"False","reason":"ServiceNotFound""#, "False (ServiceNotFound)");
        check(r#""status":"Unknown""#, "Unknown");
        let bad = of(r#""status":"other""#);
        assert_eq!(
            update_complaints(&STRATEGY, &bad, &bad, "status"),
            [
                r#"status.conditions[0].status: Unsupported value: "other": supported values: "True", "False", "Unknown""#
            ]
        );
    }
}
