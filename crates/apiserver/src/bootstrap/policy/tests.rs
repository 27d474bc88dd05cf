//! What is there and what should be, as a table.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;

/// A stored object: the one that should be, with changes of a merge patch.
fn changed(wanted: &Value, patch: &Value) -> Value {
    let mut held = wanted.clone();
    json_patch::merge(&mut held, patch);
    held
}

fn role() -> Value {
    let pods = Rule { verbs: vec!["get", "list"], groups: vec![""], resources: vec!["pods"], ..Rule::default() };
    let paths = Rule { verbs: vec!["get"], paths: vec!["/a", "/b/c"], ..Rule::default() };
    role_object(&Role { name: "reader", rules: vec![pods, paths], ..Role::default() })
}

fn binding() -> Value {
    let subjects = vec![Subject::User("u"), Subject::ServiceAccount { namespace: "n", name: "s" }];
    binding_object(&Binding { name: "readers", role: "reader", subjects, ..Binding::default() })
}

#[test]
fn roles_get_what_is_missing_and_keep_what_is_more() {
    let check = |patch: Value, expected: Option<Value>| {
        let held = changed(&role(), &patch);
        let expected = expected.map_or(Finding::Same, |fix| Finding::Changed(changed(&held, &fix)));
        assert_eq!(reconcile(held, &role()), expected, "{patch}");
    };
    let pods = json!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]});
    let paths = json!({"verbs": ["get"], "nonResourceURLs": ["/a", "/b/c"]});
    let own = json!({"verbs": ["delete"], "apiGroups": ["g"], "resources": ["boats"]});
    check(json!({}), None);
    // A rule is missing; all are.
    check(json!({"rules": [pods]}), Some(json!({"rules": [pods, paths]})));
    check(json!({"rules": null}), Some(json!({"rules": [pods, paths]})));
    // More than there should be stays.
    check(json!({"rules": [own, pods, paths]}), None);
    check(json!({"rules": [own, paths]}), Some(json!({"rules": [own, paths, pods]})));
    // Others cover it.
    let all = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]});
    check(json!({"rules": [all, {"verbs": ["get"], "nonResourceURLs": ["/a*", "/b/*"]}]}), None);
    // A part of a rule is missing.
    let less = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]});
    let list = json!({"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]});
    check(json!({"rules": [less, paths]}), Some(json!({"rules": [less, paths, list]})));
    let path = json!({"verbs": ["get"], "nonResourceURLs": ["/a"]});
    let other = json!({"verbs": ["get"], "nonResourceURLs": ["/b/c"]});
    check(json!({"rules": [pods, path]}), Some(json!({"rules": [pods, path, other]})));
    // A rule for some objects does not cover all.
    let named = json!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["p"]});
    check(json!({"rules": [named, paths]}), Some(json!({"rules": [named, paths, pods]})));
    // A role that should not be an aggregate is none.
    check(json!({"aggregationRule": {"clusterRoleSelectors": []}}), Some(json!({"aggregationRule": null})));
}

#[test]
fn labels_and_annotations_are_added_and_not_changed() {
    let label = |value: Value| json!({"metadata": {"labels": {LABEL_BOOTSTRAPPING: value}}});
    let annotation = |value: Value| json!({"metadata": {"annotations": {ANNOTATION_AUTOUPDATE: value}}});
    let check = |patch: Value, expected: Option<Value>| {
        for wanted in [role(), binding()] {
            let held = changed(&wanted, &patch);
            let expected = expected.as_ref().map_or(Finding::Same, |fix| Finding::Changed(changed(&held, fix)));
            assert_eq!(reconcile(held, &wanted), expected, "{patch}");
        }
    };
    check(label(Value::Null), Some(label(json!("rbac-defaults"))));
    check(annotation(Value::Null), Some(annotation(json!("true"))));
    check(json!({"metadata": {"labels": null}}), Some(label(json!("rbac-defaults"))));
    check(label(json!("mine")), None);
    check(json!({"metadata": {"labels": {"own": "x"}, "annotations": {"own": "y"}, "uid": "u"}}), None);
}

#[test]
fn what_is_not_to_be_updated_is_not_touched() {
    let off = json!({"metadata": {"annotations": {ANNOTATION_AUTOUPDATE: "false"}, "labels": null}});
    for (wanted, patch) in [
        (role(), json!({"rules": []})),
        (role(), json!({"rules": null})),
        (binding(), json!({"subjects": null})),
        (binding(), json!({"roleRef": {"name": "other"}})),
    ] {
        let held = changed(&changed(&wanted, &patch), &off);
        assert_eq!(reconcile(held, &wanted), Finding::Same, "{patch}");
    }
}

#[test]
fn bindings_get_subjects_and_never_another_role() {
    let check = |patch: Value, expected: Finding| {
        assert_eq!(reconcile(changed(&binding(), &patch), &binding()), expected, "{patch}");
    };
    let user = json!({"kind": "User", "apiGroup": GROUP, "name": "u"});
    let account = json!({"kind": "ServiceAccount", "namespace": "n", "name": "s"});
    let own = json!({"kind": "Group", "apiGroup": GROUP, "name": "g"});
    let with = |subjects: Value| Finding::Changed(changed(&binding(), &json!({"subjects": subjects})));
    check(json!({}), Finding::Same);
    check(json!({"subjects": null}), with(json!([user, account])));
    check(json!({"subjects": [account]}), with(json!([account, user])));
    check(json!({"subjects": [own, account, user]}), Finding::Same);
    check(json!({"subjects": [own, user]}), with(json!([own, user, account])));
    check(json!({"roleRef": {"name": "other"}}), Finding::OtherRole);
    check(json!({"roleRef": {"kind": "Role"}, "subjects": []}), Finding::OtherRole);
}

#[test]
fn aggregates_get_selectors_and_keep_their_rules() {
    let wanted = role_object(&Role { name: "edit", from: "edit", to: "admin", ..Role::default() });
    let label = |name: &str| json!({"matchLabels": {format!("{LABEL_AGGREGATE_TO}{name}"): "true"}});
    assert_eq!(wanted["metadata"]["labels"][format!("{LABEL_AGGREGATE_TO}admin")], "true");
    let check = |patch: Value, expected: Option<Value>| {
        let held = changed(&wanted, &patch);
        let expected = expected.map_or(Finding::Same, |fix| Finding::Changed(changed(&held, &fix)));
        assert_eq!(reconcile(held, &wanted), expected, "{patch}");
    };
    let selectors = |list: Value| json!({"aggregationRule": {"clusterRoleSelectors": list}});
    check(json!({}), None);
    // The aggregation controller has filled it.
    check(json!({"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]}), None);
    check(json!({"aggregationRule": null}), Some(selectors(json!([label("edit")]))));
    check(selectors(json!([label("own")])), Some(selectors(json!([label("own"), label("edit")]))));
    check(selectors(json!([label("own"), label("edit")])), None);
}

#[test]
fn permissions_are_covered() {
    let check = |wanted: (&str, &str, &str), held: (&str, &str, &str), expected: bool| {
        let rule = |(verb, group, resource): (&str, &str, &str)| json!({"verbs": [verb], "apiGroups": [group], "resources": [resource]});
        let missing = missing_rules(&[rule(held)], &[rule(wanted)]);
        assert_eq!(missing.is_empty(), expected, "{wanted:?} by {held:?}");
    };
    check(("get", "apps", "a"), ("get", "apps", "a"), true);
    check(("get", "apps", "a"), ("*", "apps", "a"), true);
    check(("get", "apps", "a"), ("get", "*", "a"), true);
    check(("get", "apps", "a"), ("get", "apps", "*"), true);
    check(("get", "apps", "a"), ("list", "apps", "a"), false);
    check(("get", "apps", "a"), ("get", "", "a"), false);
    check(("get", "apps", "a/status"), ("get", "apps", "a"), false);
    check(("get", "apps", "a/status"), ("get", "apps", "*/status"), true);
    check(("get", "apps", "a/status"), ("get", "apps", "*/scale"), false);
    check(("get", "apps", "a"), ("get", "apps", "*/"), false);
    check(("*", "*", "*"), ("get", "*", "*"), false);
}
