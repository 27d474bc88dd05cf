#![allow(clippy::unwrap_used)]

use clap::Parser as _;
use portcullis_apiserver::rbac::{Sort, set};
use portcullis_gate::rbac::Id;
use portcullis_gate::rbac::Policy;
use serde_json::{Value, json};

use super::server::Decided;
use super::*;
use crate::arguments::{Arguments, Subcommands};

fn policy(objects: &[(Sort, &str, &str, Value)]) -> Policy {
    let mut policy = Policy::default();
    policy.change(|change| {
        for (sort, namespace, name, object) in objects {
            set(change, *sort, Id::new(*namespace, *name), object).unwrap();
        }
    });
    policy
}

fn reader() -> Policy {
    let rule = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["one"]});
    let reference = json!({"kind": "Role", "name": "reader"});
    let subjects = json!([{"kind": "User", "name": "ana"}]);
    policy(&[
        (Sort::Role, "shop", "reader", json!({"rules": [rule]})),
        (Sort::Binding, "shop", "reader", json!({"roleRef": reference, "subjects": subjects})),
    ])
}

fn secrets(name: &str) -> Asked {
    let owned = |text: &str| text.to_owned();
    let what = What::Resource {
        group: String::new(),
        version: owned("v1"),
        namespace: owned("shop"),
        resource: owned("secrets"),
        subresource: String::new(),
        name: owned(name),
    };
    Asked { verb: owned("get"), what }
}

fn said(asked: &Asked, decided: Option<&Decided>) -> String {
    let user = identity("ana", &[]);
    let attributes = asked.attributes(&user);
    text::explanation(&attributes, &explain(&reader(), &attributes), decided)
}

#[test]
fn an_allow_is_told() {
    let expected = r#"ana may get secrets "one" in the namespace "shop"

Because
  RBAC: allowed by RoleBinding "reader/shop" of Role "reader" to User "ana"
  {APIGroups:[""], Resources:["secrets"], ResourceNames:["one"], Verbs:["get"]}
"#;
    assert_eq!(said(&secrets("one"), None), expected);
}

#[test]
fn a_denial_is_told_with_what_would_be_enough() {
    let expected = r#"ana may not get secrets "two" in the namespace "shop"

What comes closest
  RoleBinding "reader" of the namespace "shop" gives Role "reader"
    {APIGroups:[""], Resources:["secrets"], ResourceNames:["one"], Verbs:["get"]}
    only for other objects

The smallest role that would be enough

apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: "ana-get-secrets"
  namespace: "shop"
rules:
- verbs: ["get"]
  apiGroups: [""]
  resources: ["secrets"]
  resourceNames: ["two"]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: "ana-get-secrets"
  namespace: "shop"
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: "ana-get-secrets"
subjects:
- kind: User
  apiGroup: rbac.authorization.k8s.io
  name: "ana"
"#;
    assert_eq!(said(&secrets("two"), None), expected);
}

#[test]
fn what_only_the_server_knows_is_told() {
    let check = |name: &str, allowed: bool, reason: &str, expected: &str| {
        let decided = Decided { allowed, reason: reason.to_owned() };
        let said = said(&secrets(name), Some(&decided));
        assert_eq!(said.lines().take(3).collect::<Vec<_>>().join("\n"), expected);
    };
    check(
        "two",
        true,
        "a webhook",
        "ana may get secrets \"two\" in the namespace \"shop\"\n\nNo role does it, another authoriser of the server does: a webhook",
    );
    check("two", false, "", "ana may not get secrets \"two\" in the namespace \"shop\"\n\nWhat comes closest");
    check(
        "one",
        false,
        "",
        "ana may not get secrets \"one\" in the namespace \"shop\"\n\nAnother authoriser of the server refuses it, whatever roles allow",
    );
}

#[test]
fn a_login_has_groups() {
    let check = |name: &str, groups: &[&str], expected: &[&str]| {
        let given: Vec<String> = groups.iter().map(ToString::to_string).collect();
        assert_eq!(identity(name, &given).groups, expected, "{name}");
    };
    check("ana", &[], &["system:authenticated"]);
    check("ana", &["devs", "system:authenticated"], &["devs", "system:authenticated"]);
    check("system:anonymous", &[], &["system:unauthenticated"]);
    check(
        "system:serviceaccount:shop:cart",
        &[],
        &["system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"],
    );
}

#[test]
fn a_command_line_is_a_question() {
    let resource = |name: &str, scope: &str| json!({"resource": name, "scope": scope, "subresources": [{"subresource": "status"}]});
    let resources = [resource("pods", "Namespaced"), resource("namespaces", "Cluster"), resource("nodes", "Cluster")];
    let known = resources::read(&json!({"items": [
        {"metadata": {}, "versions": [{"version": "v1", "resources": resources}]},
    ]}));
    let check = |line: &str, expected: Option<&str>| {
        let words = ["portcullis", "explain", "--as", "ana"].into_iter().chain(line.split(' '));
        let Subcommands::Explain(given) = Arguments::try_parse_from(words).unwrap().command else { panic!("{line}") };
        let namespace = given.namespace.as_deref().or(Some("ours"));
        let asked = resource_asked(&given, &known, namespace);
        assert_eq!(asked.as_deref().ok(), expected, "{line}");
    };
    check("get pods", Some("get ours pods  "));
    check("get pods/web -n shop", Some("get shop pods  web"));
    check("get pods web -A", Some("get  pods  web"));
    check("get pods/status web", Some("get ours pods status web"));
    check("get pods/web --subresource status", Some("get ours pods status web"));
    check("list nodes -n shop", Some("list  nodes  "));
    check("get ns -n shop", None);
    check("get namespaces/shop", Some("get shop namespaces  shop"));
    check("list namespaces", Some("list  namespaces  "));
}

fn resource_asked(given: &Explain, known: &[resources::Resource], namespace: Option<&str>) -> Result<String> {
    let asked = resource(given, known, namespace)?;
    let What::Resource { namespace, resource, subresource, name, .. } = asked.what else { anyhow::bail!("a path") };
    Ok(format!("{} {namespace} {resource} {subresource} {name}", asked.verb))
}
