//! The APIServices of the group-versions that this server answers itself.
//!
//! Upstream: `kube-apiserver-autoregistration` and `local` in `apiservice-status-local-available-controller`.

use portcullis_model::time::time_text;
use serde_json::{Value, json};

use super::{Finding, First, Held};

pub(super) const GROUP: &str = "apiregistration.k8s.io";
pub(super) const RESOURCE: &str = "apiservices";
/// Who keeps an APIService: this server, when it starts (`onstart`) or always (`true`); without it an operator.
const LABEL_AUTOMANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
const ON_START: &str = "onstart";

/// The APIServices to be made. The group of APIServices itself has none.
pub(super) fn firsts(now_seconds: i64) -> impl Iterator<Item = First> {
    let served = portcullis_kinds::resources().group_versions().iter().filter(|served| served.group != GROUP);
    served.map(move |served| {
        let name = format!("{}.{}", served.version, served.group);
        let mut object = json!({
            "metadata": {"name": name, "labels": {LABEL_AUTOMANAGED: ON_START}},
            "spec": {
                "version": served.version,
                "groupPriorityMinimum": served.group_priority,
                "versionPriority": served.version_priority,
            },
        });
        if !served.group.is_empty() {
            object["spec"]["group"] = json!(served.group);
        }
        let status = json!({"conditions": [{
            "type": "Available", "status": "True", "reason": "Local",
            "message": "Local APIServices are always available",
            "lastTransitionTime": time_text(now_seconds),
        }]});
        let first = First::kept(GROUP, RESOURCE, "", name, object);
        First { status: Some((status, "")), held: Held::ApiService, ..first }
    })
}

/// Compares a stored APIService with what it should be. Both have the shape of their type.
pub(super) fn reconcile(mut held: Value, wanted: &Value) -> Finding {
    let is_kept = matches!(held["metadata"]["labels"][LABEL_AUTOMANAGED].as_str(), Some(ON_START | "true"));
    if !is_kept {
        return Finding::Same;
    }
    let is_same = held["spec"] == wanted["spec"] && held["metadata"]["labels"][LABEL_AUTOMANAGED] == ON_START;
    if is_same {
        return Finding::Same;
    }
    held["metadata"]["labels"][LABEL_AUTOMANAGED] = json!(ON_START);
    held["spec"] = wanted["spec"].clone();
    Finding::Changed(held)
}

/// Whether an APIService that this build does not want was made by an earlier build, and not by an operator or for a custom resource.
pub(super) fn is_ours(held: &Value) -> bool {
    held["metadata"]["labels"][LABEL_AUTOMANAGED] == ON_START
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_group_version_but_their_own_has_one() {
        let names: Vec<String> = firsts(0).map(|first| first.name.into_owned()).collect();
        assert_eq!(names.len(), 21);
        for name in ["v1.", "v1.apps", "v2.autoscaling", "v1.apiextensions.k8s.io"] {
            assert!(names.iter().any(|found| found == name), "{name}: {names:?}");
        }
        assert!(!names.iter().any(|name| name.ends_with(GROUP)), "{names:?}");
    }

    #[test]
    fn what_is_not_an_operators_is_put_right() {
        let check = |patch: Value, expected: bool| {
            let wanted = firsts(0).find(|first| first.name == "v1.apps").unwrap().object;
            let mut held = wanted.clone();
            json_patch::merge(&mut held, &patch);
            let expected = if expected { Finding::Changed(wanted.clone()) } else { Finding::Same };
            assert_eq!(reconcile(held, &wanted), expected, "{patch}");
        };
        let says = |said: Value| json!({"labels": {LABEL_AUTOMANAGED: said}});
        check(json!({}), false);
        check(json!({"spec": {"groupPriorityMinimum": 1}}), true);
        check(json!({"spec": {"service": {"name": "own", "namespace": "own"}}}), true);
        check(json!({"metadata": says(json!("true"))}), true);
        check(json!({"metadata": says(Value::Null), "spec": {"groupPriorityMinimum": 1}}), false);
        check(json!({"metadata": says(json!("false")), "spec": {"groupPriorityMinimum": 1}}), false);
    }
}
