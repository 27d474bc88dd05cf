#![allow(clippy::unwrap_used)]

use portcullis_gate::rbac::policy::absent;
use portcullis_gate::rbac::{Wording, cover};
use portcullis_gate::{Attributes, Identity, Selection, Target};
use serde_json::json;

use super::*;

fn place(resource: &str, sort: Sort) -> Place {
    Place { prefix: format!("/registry/{resource}/"), is_namespaced: is_namespaced(resource), sort }
}

#[test]
fn keys_name_objects() {
    let places: Vec<Place> = SORTS.into_iter().map(|(resource, sort)| place(resource, sort)).collect();
    let check = |key: &str, expected: Option<(Sort, &str, &str)>| {
        let expected = expected.map(|(sort, namespace, name)| (sort, Id::new(namespace, name)));
        assert_eq!(named(&places, key), expected, "{key}");
    };
    check("/registry/roles/default/r", Some((Sort::Role, "default", "r")));
    check("/registry/clusterroles/system:node", Some((Sort::Role, "", "system:node")));
    check("/registry/rolebindings/a/b", Some((Sort::Binding, "a", "b")));
    check("/registry/clusterrolebindings/b", Some((Sort::Binding, "", "b")));
    check("/registry/roles/r", None);
    check("/registry/pods/default/p", None);
}

#[test]
fn objects_are_read() {
    let role = role(&json!({
        "metadata": {"name": "r", "labels": {"a": "b"}},
        "aggregationRule": {"clusterRoleSelectors": [
            {"matchLabels": {"a": "b"}}, {"matchExpressions": [{"key": "c", "operator": "Exists"}]},
        ]},
        "rules": [
            {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["x"]},
            {"verbs": ["get"], "nonResourceURLs": ["/metrics"]},
        ],
    }))
    .unwrap();
    let shown: Vec<String> = role.rules.iter().map(cover::shown).collect();
    assert_eq!(
        shown,
        [
            r#"{APIGroups:[""], Resources:["pods"], ResourceNames:["x"], Verbs:["get"]}"#,
            r#"{NonResourceURLs:["/metrics"], Verbs:["get"]}"#,
        ]
    );
    assert_eq!(role.labels.len(), 1);
    let selectors: Vec<String> = role.gathers.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(selectors, ["a=b", "c"]);
    let binding = binding(&json!({
        "roleRef": {"apiGroup": GROUP, "kind": "Role", "name": "r"},
        "subjects": [
            {"kind": "User", "name": "ana"}, {"kind": "Robot", "name": "x"}, {"kind": "Group", "name": "devs"},
            {"kind": "ServiceAccount", "name": "bot", "namespace": "n"},
        ],
    }))
    .unwrap();
    let shown: Vec<String> = binding.subjects.iter().map(|subject| subject.describe("")).collect();
    assert_eq!(shown, [r#"User "ana""#, r#"Group "devs""#, r#"ServiceAccount "bot/n""#]);
    assert_eq!(absent([&binding.role], Wording::Storage), r#"roles.rbac.authorization.k8s.io "r" not found"#);
}

#[test]
fn what_cannot_be_read_changes_nothing() {
    let target = Target::Resource {
        group: "",
        version: "v1",
        namespace: "",
        resource: "pods",
        subresource: "",
        name: "",
        selectors: Selection::ALL,
    };
    let check = |sort: Sort, object: Value, expected: &str| {
        let mut policy = Policy::default();
        let ana = Identity { name: "ana".to_owned(), ..Identity::default() };
        let rules = json!({"rules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]});
        let to_ana =
            json!({"roleRef": {"kind": "ClusterRole", "name": "r"}, "subjects": [{"kind": "User", "name": "ana"}]});
        let error = policy.change(|change| {
            set(change, Sort::Role, Id::new("", "r"), &rules).unwrap();
            set(change, Sort::Binding, Id::new("", "b"), &to_ana).unwrap();
            let id = if sort == Sort::Role { Id::new("", "r") } else { Id::new("", "b") };
            set(change, sort, id, &object).unwrap_err()
        });
        assert_eq!(error.to_string(), expected, "{object}");
        assert!(policy.decide(&Attributes { user: &ana, verb: "list", target }).is_allow());
    };
    check(Sort::Role, json!({"rules": {}}), "rules is not a list");
    check(Sort::Role, json!({"rules": [{"verbs": "get"}]}), "verbs is not a list");
    check(Sort::Role, json!({"rules": [{"verbs": [1]}]}), "verbs is not a list of texts");
    check(Sort::Role, json!({"metadata": {"labels": {"a": 1}}}), "labels is not a map of texts");
    check(Sort::Binding, json!({"roleRef": {"kind": 7}}), "kind is not a text");
    check(Sort::Binding, json!({"subjects": "ana"}), "subjects is not a list");
}
