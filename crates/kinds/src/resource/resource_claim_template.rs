//! `ResourceClaimTemplate` (upstream: `registry/resource/resourceclaimtemplate`): a claim that each pod gets its own of.

use portcullis_model::tree::Tree;

use super::claims;
use crate::core::pod_spec::volumes::claims::template_metadata;
use crate::rest::Rest;
use crate::strategy::Strategy;
use crate::views;
use crate::views::resource_v1::{ResourceClaimTemplate, ResourceClaimTemplateEdit};
use crate::vocabulary::frozen::frozen;
use crate::vocabulary::{Errors, Path};

/// The rules of `ResourceClaimTemplate`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { delete_shows_object: true, ..Rest::PLAIN },
    default: |tree| {
        claims::default(views::write::<ResourceClaimTemplateEdit<'_>>(tree).spec_mut().spec_mut().devices_mut());
    },
    validate_create: validate,
    validate_update,
    ..Strategy::NONE
};

fn validate(tree: &Tree, errors: &mut Errors) {
    let spec = views::read::<ResourceClaimTemplate<'_>>(tree).spec();
    let at = Path::new("spec");
    template_metadata(spec.metadata(), "cannot be set", &at.field("metadata"), errors);
    claims::validate(spec.spec().devices(), &at.field("spec.devices"), errors);
}

fn validate_update(tree: &Tree, old: &Tree, _: &str, errors: &mut Errors) {
    validate(tree, errors);
    let spec = |tree| views::read::<ResourceClaimTemplate<'_>>(tree).place().get(ResourceClaimTemplate::SPEC);
    frozen(spec(tree), spec(old), &Path::new("spec"), errors);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{complaints, created, json, update_complaints};

    fn of(spec: &str) -> Tree {
        let text = format!(r#"{{"metadata":{{"name":"t"}},"spec":{{{spec}}}}}"#);
        created(&STRATEGY, "resource.k8s.io/v1", "ResourceClaimTemplate", &text)
    }

    #[test]
    fn a_template_is_a_claim_that_stays() {
        let one = of(r#""spec":{"devices":{"requests":[{"name":"gpu","exactly":{"deviceClassName":"gpu"}}]}}"#);
        assert_eq!(complaints(&STRATEGY, &one), [""; 0]);
        assert_eq!(json(&one).pointer("/spec/spec/devices/requests/0/exactly/count"), Some(&1.into()));
        assert_eq!(update_complaints(&STRATEGY, &one, &one, ""), [""; 0]);
        let bad = of(r#""spec":{"devices":{"requests":[{"name":"gpu"}]}},"metadata":{"labels":{"a b":"c"}}"#);
        let found: Vec<String> =
            update_complaints(&STRATEGY, &bad, &one, "").iter().map(|line| line.chars().take(40).collect()).collect();
        let expected = [
            "spec.metadata.labels: Invalid value: \"a ",
            "spec.spec.devices.requests[0]: Required ",
            "spec: Invalid value: {\"metadata\":{\"label",
        ];
        assert_eq!(found, expected);
    }
}
