//! `ServiceAccount` (upstream: `registry/core/serviceaccount`, `apis/core/validation`).

use portcullis_model::tree::Tree;

use crate::rest::Rest;
use crate::strategy::Strategy;
use crate::views::core_v1::{ObjectReference, ObjectReferenceEdit, ServiceAccount, ServiceAccountEdit};
use crate::views::{self, Edit, View};

/// The rules of `ServiceAccount`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { delete_shows_object: true, ..Rest::PLAIN },
    prepare_create: |tree, _| only_name_secrets(tree),
    prepare_update: |tree, _, _, _| only_name_secrets(tree),
    warn_create: |tree, warnings| warn(tree, None, warnings),
    warn_update: |tree, old, _, warnings| warn(tree, Some(old), warnings),
    ..Strategy::NONE
};

/// Holds pods of the account to its own secrets.
pub const ENFORCE_MOUNTABLE_SECRETS: &str = "kubernetes.io/enforce-mountable-secrets";

/// A secret is of the account's namespace and can only be named.
fn only_name_secrets(tree: &mut Tree) {
    let is_bare = |secret: ObjectReference<'_>| {
        let others = [secret.kind(), secret.namespace(), secret.uid(), secret.api_version()];
        others.iter().chain(&[secret.resource_version(), secret.field_path()]).all(|text| text.is_empty())
    };
    if views::read::<ServiceAccount<'_>>(tree).secrets().iter().all(is_bare) {
        return;
    }
    views::write::<ServiceAccountEdit<'_>>(tree).secrets_mut().each(|place| {
        if is_bare(ObjectReference::at(place.view())) {
            return;
        }
        let mut secret = ObjectReferenceEdit::at(place);
        secret.clear_kind();
        secret.clear_namespace();
        secret.clear_uid();
        secret.clear_api_version();
        secret.clear_resource_version();
        secret.clear_field_path();
    });
}

fn warn(tree: &Tree, old: Option<&Tree>, warnings: &mut Vec<String>) {
    let enforces = |tree: &Tree| {
        views::read::<ServiceAccount<'_>>(tree).metadata().annotations().get(ENFORCE_MOUNTABLE_SECRETS).is_some()
    };
    if enforces(tree) && !old.is_some_and(enforces) {
        warnings.push(format!(
            "metadata.annotations[{ENFORCE_MOUNTABLE_SECRETS}]: deprecated in v1.32+; prefer separate namespaces to isolate \
             access to mounted secrets"
        ));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{created, json, read};

    #[test]
    fn secrets_are_only_named() {
        let check = |secrets: &str, expected: &str| {
            let tree = created(&STRATEGY, "v1", "ServiceAccount", &format!(r#"{{"secrets":{secrets}}}"#));
            assert_eq!(json(&tree).pointer("/secrets").cloned().unwrap_or_default().to_string(), expected, "{secrets}");
        };
        check(r#"[{"name":"a"}]"#, r#"[{"name":"a"}]"#);
        check(r#"[{"name":"a"},{"name":"b","namespace":"c","kind":"d","uid":"e"}]"#, r#"[{"name":"a"},{"name":"b"}]"#);
        check(r#"[{"fieldPath":"a","apiVersion":"b","resourceVersion":"c"}]"#, "[{}]");
    }

    #[test]
    fn who_begins_to_enforce_secrets_is_warned() {
        let of = |annotations: &str| {
            read("v1", "ServiceAccount", &format!(r#"{{"metadata":{{"annotations":{annotations}}}}}"#))
        };
        let (plain, enforcing) = (of("{}"), of(&format!(r#"{{"{ENFORCE_MOUNTABLE_SECRETS}":"true"}}"#)));
        let check = |tree: &Tree, old: Option<&Tree>, count: usize| {
            let mut warnings = Vec::new();
            warn(tree, old, &mut warnings);
            assert_eq!(warnings.len(), count, "{warnings:?}");
        };
        check(&plain, None, 0);
        check(&enforcing, None, 1);
        check(&enforcing, Some(&plain), 1);
        check(&enforcing, Some(&enforcing), 0);
    }
}
