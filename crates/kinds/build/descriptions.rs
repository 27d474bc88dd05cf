//! Takes the descriptions of all types and fields from the JSON schemas of the `k8s-openapi` crate and leaves them compressed for
//! `descriptions.rs`: they are published prose, which this repository does not hold.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use k8s_openapi::schemars::{JsonSchema, SchemaGenerator};
use portcullis_model::schema::Schema;
use serde_json::Value;

/// Fewer types than this cannot have been compared unless the names of one side changed.
const COMPARED_MIN: usize = 500;
const TYPE_END: char = '\u{1e}';
const SEPARATOR: char = '\u{1f}';

/// Writes `descriptions.deflate` to the build's folder.
///
/// The same schemas are a second witness of the facts: a type that has other fields there than here fails the build.
pub fn write(schema: &Schema, out: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mut generator = SchemaGenerator::default();
    roots(&mut generator);
    let (mut text, mut compared) = (String::new(), 0);
    for (name, published) in generator.definitions() {
        // Names of the schemas are OpenAPI's; ours leave the common beginning out.
        let Some(name) = name.strip_prefix("io.k8s.") else { continue };
        compared += usize::from(check(schema, name, published)?);
        text.push_str(name);
        text.push(SEPARATOR);
        text.push_str(description(published));
        for (field, schema) in published["properties"].as_object().into_iter().flatten() {
            for part in [field.as_str(), description(schema)] {
                text.push(SEPARATOR);
                text.push_str(part);
            }
        }
        text.push(TYPE_END);
    }
    if compared < COMPARED_MIN {
        return Err(format!("only {compared} types could be compared with k8s-openapi").into());
    }
    let target = out.join("descriptions.deflate");
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text.as_bytes())?;
    std::fs::write(target, encoder.finish()?)?;
    Ok(())
}

/// Compares the fields of a type with those that are published, and says whether there was something to compare.
fn check(schema: &Schema, name: &str, published: &Value) -> Result<bool, String> {
    let (Some(id), Some(properties)) = (schema.by_name(name), published["properties"].as_object()) else {
        return Ok(false);
    };
    let ours: BTreeSet<&str> = schema.ty(id).fields.iter().map(|field| &*field.name).collect();
    let theirs: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
    if ours == theirs {
        return Ok(true);
    }
    let differ: Vec<_> = ours.symmetric_difference(&theirs).collect();
    Err(format!("the facts and k8s-openapi differ about the fields {differ:?} of {name}"))
}

fn description(schema: &Value) -> &str {
    schema["description"].as_str().unwrap_or_default()
}

fn root<T: JsonSchema>(generator: &mut SchemaGenerator) {
    generator.subschema_for::<T>();
}

/// Declares the types that are asked for; each brings those that it refers to.
macro_rules! roots {
    ($($module:path { $($kind:ident)* })*) => {
        fn roots(generator: &mut SchemaGenerator) {
            $({
                #[allow(clippy::wildcard_imports)]
                use $module::*;
                $(root::<$kind>(generator);)*
            })*
        }
    };
}

roots! {
    k8s_openapi::api::admissionregistration::v1 {
        MutatingAdmissionPolicy MutatingAdmissionPolicyBinding MutatingWebhookConfiguration
        ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding ValidatingWebhookConfiguration
    }
    k8s_openapi::api::apps::v1 { ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet }
    k8s_openapi::api::authentication::v1 { SelfSubjectReview TokenRequest TokenReview }
    k8s_openapi::api::authorization::v1 {
        LocalSubjectAccessReview SelfSubjectAccessReview SelfSubjectRulesReview SubjectAccessReview
    }
    k8s_openapi::api::autoscaling::v1 { HorizontalPodAutoscaler Scale }
    k8s_openapi::api::autoscaling::v2 { HorizontalPodAutoscaler }
    k8s_openapi::api::batch::v1 { CronJob Job }
    k8s_openapi::api::certificates::v1 { CertificateSigningRequest }
    k8s_openapi::api::coordination::v1 { Lease }
    k8s_openapi::api::core::v1 {
        Binding ComponentStatus ConfigMap Endpoints Event LimitRange Namespace Node PersistentVolume
        PersistentVolumeClaim Pod PodTemplate ReplicationController ResourceQuota Secret Service ServiceAccount
    }
    k8s_openapi::api::discovery::v1 { EndpointSlice }
    k8s_openapi::api::events::v1 { Event }
    k8s_openapi::api::flowcontrol::v1 { FlowSchema PriorityLevelConfiguration }
    k8s_openapi::api::networking::v1 { IPAddress Ingress IngressClass NetworkPolicy ServiceCIDR }
    k8s_openapi::api::node::v1 { RuntimeClass }
    k8s_openapi::api::policy::v1 { Eviction PodDisruptionBudget }
    k8s_openapi::api::rbac::v1 { ClusterRole ClusterRoleBinding Role RoleBinding }
    k8s_openapi::api::resource::v1 { DeviceClass ResourceClaim ResourceClaimTemplate ResourceSlice }
    k8s_openapi::api::scheduling::v1 { PriorityClass }
    k8s_openapi::api::storage::v1 {
        CSIDriver CSINode CSIStorageCapacity StorageClass VolumeAttachment VolumeAttributesClass
    }
    k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 { CustomResourceDefinition }
    k8s_openapi::apimachinery::pkg::apis::meta::v1 {
        APIGroup APIGroupList APIResourceList APIVersions DeleteOptions ListMeta Status
    }
    k8s_openapi::apimachinery::pkg::version { Info }
    k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1 { APIService }
}
