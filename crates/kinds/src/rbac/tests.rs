#![allow(clippy::unwrap_used)]

use portcullis_model::schema::{FieldValidation, decode_json, encode_json};
use serde_json::{Value, json};

use super::*;
use crate::testing::{complaints, update_complaints};

const CLUSTER: (&str, &Strategy) = ("ClusterRoleBinding", &CLUSTER_ROLE_BINDING);
const NAMESPACED: (&str, &Strategy) = ("RoleBinding", &ROLE_BINDING);

fn tree(kind: &str, object: &Value) -> Tree {
    let ty = crate::schema().by_kind("rbac.authorization.k8s.io/v1", kind).unwrap();
    let text = object.to_string().into_bytes();
    decode_json::decode(crate::schema(), ty, text, FieldValidation::Ignore).unwrap().tree
}

fn json_of(tree: &Tree) -> Value {
    let mut out = Vec::new();
    encode_json::write(crate::schema(), tree, &mut out);
    serde_json::from_slice(&out).unwrap()
}

#[test]
fn a_rule_says_what_may_be_done_to_what() {
    let check = |kind: &str, strategy: &Strategy, rule: Value, expected: &[&str]| {
        let role = tree(kind, &json!({"rules": [rule]}));
        assert_eq!(complaints(strategy, &role), expected, "{kind} {rule}");
        assert_eq!(update_complaints(strategy, &role, &role, ""), expected, "{kind} {rule}");
    };
    let sound = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]});
    check("Role", &ROLE, sound.clone(), &[]);
    check("ClusterRole", &CLUSTER_ROLE, sound, &[]);
    check(
        "Role",
        &ROLE,
        json!({}),
        &[
            "rules[0].verbs: Required value: verbs must contain at least one value",
            "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
            "rules[0].resources: Required value: resource rules must supply at least one resource",
        ],
    );
    let path = json!({"verbs": ["get"], "nonResourceURLs": ["/metrics"]});
    check("ClusterRole", &CLUSTER_ROLE, path.clone(), &[]);
    let namespaced = "rules[0].nonResourceURLs: Invalid value: [\"/metrics\"]: namespaced rules cannot apply to \
                      non-resource URLs";
    check("Role", &ROLE, path, &[namespaced]);
    let both = json!({"verbs": ["get"], "nonResourceURLs": ["/metrics"], "resources": ["pods"]});
    let mixed = "rules[0].nonResourceURLs: Invalid value: [\"/metrics\"]: rules cannot apply to both regular \
                 resources and non-resource URLs";
    check("ClusterRole", &CLUSTER_ROLE, both, &[mixed]);
}

#[test]
fn a_role_that_gathers_others_says_which() {
    let check = |rule: Value, expected: &[&str]| {
        let role = tree("ClusterRole", &json!({"aggregationRule": rule}));
        assert_eq!(complaints(&CLUSTER_ROLE, &role), expected, "{rule}");
    };
    check(json!({"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}), &[]);
    check(
        json!({}),
        &["aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if \
           aggregationRule is non-nil"],
    );
    let errors = {
        let rule = json!({"clusterRoleSelectors": [{"matchExpressions": [{"key": "a", "operator": "Near"}]}]});
        let role = tree("ClusterRole", &json!({"aggregationRule": rule}));
        complaints(&CLUSTER_ROLE, &role)
    };
    assert!(
        errors[0].starts_with("aggregationRule.clusterRoleSelectors[0].matchExpressions[0].operator: "),
        "{errors:?}"
    );
}

#[test]
fn a_binding_is_to_a_role() {
    let check = |(kind, strategy): (&str, &Strategy), role: Value, expected: &[&str]| {
        let mut binding = tree(kind, &json!({"roleRef": role}));
        (strategy.default)(&mut binding);
        assert_eq!(complaints(strategy, &binding), expected, "{kind} {role}");
    };
    for binding in [CLUSTER, NAMESPACED] {
        check(binding, json!({"kind": "ClusterRole", "name": "view"}), &[]);
        check(binding, json!({"kind": "ClusterRole"}), &["roleRef.name: Required value"]);
        check(
            binding,
            json!({"kind": "ClusterRole", "name": "a/b"}),
            &["roleRef.name: Invalid value: \"a/b\": may not contain '/'"],
        );
        check(
            binding,
            json!({"apiGroup": "other", "kind": "ClusterRole", "name": "view"}),
            &["roleRef.apiGroup: Unsupported value: \"other\": supported values: \"rbac.authorization.k8s.io\""],
        );
    }
    check(NAMESPACED, json!({"kind": "Role", "name": "r"}), &[]);
    check(
        CLUSTER,
        json!({"kind": "Role", "name": "r"}),
        &["roleRef.kind: Unsupported value: \"Role\": supported values: \"ClusterRole\""],
    );
}

#[test]
fn a_binding_names_users_groups_and_service_accounts() {
    let check = |(kind, strategy): (&str, &Strategy), subject: Value, expected: &[&str]| {
        let object = json!({"roleRef": {"kind": "ClusterRole", "name": "view"}, "subjects": [subject]});
        let mut binding = tree(kind, &object);
        (strategy.default)(&mut binding);
        assert_eq!(complaints(strategy, &binding), expected, "{kind} {subject}");
    };
    for binding in [CLUSTER, NAMESPACED] {
        check(binding, json!({"kind": "User", "name": "Not Valid!"}), &[]);
        check(binding, json!({"kind": "Group", "name": "system:masters"}), &[]);
        check(binding, json!({"kind": "ServiceAccount", "name": "sa", "namespace": "default"}), &[]);
        check(binding, json!({"kind": "User"}), &["subjects[0].name: Required value"]);
        check(
            binding,
            json!({"kind": "Node", "name": "n"}),
            &[
                "subjects[0].kind: Unsupported value: \"Node\": supported values: \"ServiceAccount\", \"User\", \"Group\"",
            ],
        );
        check(
            binding,
            json!({"kind": "ServiceAccount", "name": "sa", "namespace": "default", "apiGroup": GROUP}),
            &["subjects[0].apiGroup: Unsupported value: \"rbac.authorization.k8s.io\": supported values: \"\""],
        );
    }
    check(NAMESPACED, json!({"kind": "ServiceAccount", "name": "sa"}), &[]);
    check(CLUSTER, json!({"kind": "ServiceAccount", "name": "sa"}), &["subjects[0].namespace: Required value"]);
}

#[test]
fn a_binding_stays_with_its_role() {
    for (kind, strategy) in [CLUSTER, NAMESPACED] {
        let bound = |name: &str| {
            let mut binding = tree(kind, &json!({"roleRef": {"kind": "ClusterRole", "name": name}}));
            (strategy.default)(&mut binding);
            binding
        };
        assert_eq!(update_complaints(strategy, &bound("view"), &bound("view"), ""), [""; 0]);
        assert_eq!(
            update_complaints(strategy, &bound("edit"), &bound("view"), ""),
            ["roleRef: Invalid value: {\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"ClusterRole\",\
              \"name\":\"edit\"}: cannot change roleRef"]
        );
    }
}

#[test]
fn groups_are_given_where_they_are_missing() {
    for (kind, strategy) in [CLUSTER, NAMESPACED] {
        let mut binding = tree(
            kind,
            &json!({
                "roleRef": {"kind": "ClusterRole", "name": "view"},
                "subjects": [
                    {"kind": "User", "name": "ana"}, {"kind": "ServiceAccount", "name": "sa"},
                    {"kind": "Group", "name": "harbor", "apiGroup": "other"},
                ],
            }),
        );
        (strategy.default)(&mut binding);
        let once = json_of(&binding);
        (strategy.default)(&mut binding);
        assert_eq!(json_of(&binding), once);
        assert_eq!(once["roleRef"]["apiGroup"], GROUP);
        assert_eq!(once["subjects"][0]["apiGroup"], GROUP);
        assert_eq!(once["subjects"][1].get("apiGroup"), None);
        assert_eq!(once["subjects"][2]["apiGroup"], "other");
        let mut nobody = tree(kind, &json!({"roleRef": {"kind": "ClusterRole", "name": "view"}}));
        (strategy.default)(&mut nobody);
        assert_eq!(json_of(&nobody).get("subjects"), None);
    }
}

#[test]
fn a_table_shows_who_is_bound_to_what() {
    for (kind, strategy) in [CLUSTER, NAMESPACED] {
        let binding = tree(
            kind,
            &json!({
                "roleRef": {"kind": "ClusterRole", "name": "view"},
                "subjects": [
                    {"kind": "User", "name": "ana"}, {"kind": "User", "name": "bo"}, {"kind": "Group", "name": "harbor"},
                    {"kind": "ServiceAccount", "name": "sa", "namespace": "default"},
                ],
            }),
        );
        let check = |column: &str, expected: Option<&str>| {
            let expected = expected.map(|text| Cell::Text(text.to_owned()));
            assert_eq!((strategy.cell)(&binding, column, 0), expected, "{kind} {column}");
        };
        check("Role", Some("ClusterRole/view"));
        check("Users", Some("ana, bo"));
        check("Groups", Some("harbor"));
        check("ServiceAccounts", Some("default/sa"));
        check("Age", None);
    }
}
