//! What the operator says (upstream: ResourceQuotaConfiguration of `apiserver.config.k8s.io/v1`): resources that may only be used in
//! namespaces with a quota that covers them.

use portcullis_gate::Document;
use portcullis_model::status::FieldError;

use crate::admission::PluginFault;

const GROUP: &str = "apiserver.config.k8s.io";
const KIND: &str = "ResourceQuotaConfiguration";
/// The group, versions and kind of older files.
const GROUP_OLD: &str = "resourcequota.admission.k8s.io";
const VERSIONS_OLD: [&str; 3] = ["v1", "v1beta1", "v1alpha1"];
const KIND_OLD: &str = "Configuration";

/// A resource that is limited by default.
pub struct LimitedResource {
    pub group: String,
    pub resource: String,
    /// Parts of names of what objects of the resource cost.
    pub contains: Vec<String>,
    /// Scopes of which any object is covered by a quota of that scope.
    pub scopes: Vec<LimitedScope>,
}

/// A scope, as a quota selects one.
pub struct LimitedScope {
    pub scope: String,
    pub operator: String,
    pub values: Vec<String>,
}

/// Reads it.
pub fn read(document: Document) -> Result<Vec<LimitedResource>, PluginFault> {
    let (version, kind) = document.version_and_kind();
    if kind == KIND_OLD && version.starts_with(GROUP_OLD) {
        document.expect(GROUP_OLD, &VERSIONS_OLD, KIND_OLD)?;
    } else {
        document.expect(GROUP, &["v1"], KIND)?;
    }
    let limited = document.read(|fields| {
        fields.objects("limitedResources", |fields| LimitedResource {
            group: fields.string("apiGroup"),
            resource: fields.string("resource"),
            contains: fields.strings("matchContains"),
            scopes: fields.objects("matchScopes", |fields| LimitedScope {
                scope: fields.string("scopeName"),
                operator: fields.string("operator"),
                values: fields.strings("values"),
            }),
        })
    })?;
    let nameless = limited.iter().enumerate().filter(|(_, one)| one.resource.is_empty());
    let errors: Vec<FieldError> =
        nameless.map(|(at, _)| FieldError::required(format!("limitedResources[{at}].resource"), "")).collect();
    if errors.is_empty() { Ok(limited) } else { Err(PluginFault::Invalid(errors)) }
}
