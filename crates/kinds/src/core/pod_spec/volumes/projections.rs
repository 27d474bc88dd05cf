//! Objects of the API as files: secrets, config maps, the pod's own fields, tokens, certificates (upstream: `validateSecretVolumeSource`,
//! `validateConfigMapVolumeSource`, `validateDownwardAPIVolumeSource`, `validateProjectedVolumeSource`; KEP-1205, KEP-3257, KEP-4317).

use std::collections::HashSet;

use portcullis_model::names;

use super::super::Context;
use super::super::containers::env;
use crate::views::core_v1::{
    ClusterTrustBundleProjection, ConfigMapVolumeSource, DownwardAPIVolumeFile, DownwardAPIVolumeSource, KeyToPath,
    PodCertificateProjection, PodSpec, ProjectedVolumeSource, SecretVolumeSource, ServiceAccountTokenProjection,
    VolumeProjection,
};
use crate::views::{List, shown};
use crate::vocabulary::{Errors, Path, local_paths, names as named, number, selectors};

/// Highest mode of a file.
const MODE_MAX: i32 = 0o777;
const MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";
/// Shortest life of a token.
const TOKEN_SECONDS_MIN: i64 = 10 * 60;
/// Longest life of a token.
const TOKEN_SECONDS_MAX: i64 = 1 << 32;
/// Fields of a pod that a file can show, in the order of their bytes.
const FIELDS_OF_FILES: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
/// Shortest and longest life of a certificate.
const CERTIFICATE_SECONDS: (i64, i64) = (60 * 60, 91 * 24 * 60 * 60);
/// Keys that certificates are made for.
const KEY_TYPES: &[&str] = &["ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519", "RSA3072", "RSA4096"];

/// A secret's keys as files.
pub fn secret(source: SecretVolumeSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    source.check_secret_name(at, errors);
    mode(source.default_mode(), &at.field("defaultMode"), errors);
    items(source.items(), &at.field("items"), errors);
}

/// A config map's keys as files.
pub fn config_map(source: ConfigMapVolumeSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    source.check_name(at, errors);
    mode(source.default_mode(), &at.field("defaultMode"), errors);
    items(source.items(), &at.field("items"), errors);
}

/// The pod's own fields as files.
pub fn downward_api(source: DownwardAPIVolumeSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    mode(source.default_mode(), &at.field("defaultMode"), errors);
    for file in source.items().iter() {
        downward_file(file, at, errors);
    }
}

/// Several of them in one folder.
pub fn projected(source: ProjectedVolumeSource<'_>, context: Context<'_>, at: &Path<'_>, errors: &mut Errors) {
    mode(source.default_mode(), &at.field("defaultMode"), errors);
    let mut paths = HashSet::new();
    let list = at.field("sources");
    for (index, one) in source.sources().iter().enumerate() {
        projection(one, &mut paths, context, at, &list.index(index), errors);
    }
}

fn mode(mode: Option<i32>, at: &Path<'_>, errors: &mut Errors) {
    if let Some(mode) = mode.filter(|mode| !(0..=MODE_MAX).contains(mode)) {
        errors.invalid(at, mode, MODE);
    }
}

fn items(list: List<'_, KeyToPath<'_>>, at: &Path<'_>, errors: &mut Errors) {
    for (index, item) in list.iter().enumerate() {
        let at = at.index(index);
        item.check_key(&at, errors);
        item.check_path(&at, errors);
        local_paths::not_reserved(item.path(), &at.field("path"), errors);
        mode(item.mode(), &at.field("mode"), errors);
    }
}

/// One field of the pod, or one resource of a container. Clients know the paths without the file's number.
fn downward_file(file: DownwardAPIVolumeFile<'_>, at: &Path<'_>, errors: &mut Errors) {
    file.check_path(at, errors);
    local_paths::not_reserved(file.path(), &at.field("path"), errors);
    match (file.field_ref(), file.resource_field_ref()) {
        (Some(field), resource) => {
            env::field_selector(field, FIELDS_OF_FILES, &at.field("fieldRef"), errors);
            if resource.is_some() {
                errors.invalid(at, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously");
            }
        }
        (None, Some(resource)) => env::resource_selector(resource, true, &at.field("resourceFieldRef"), errors),
        (None, None) => errors.required(at, "one of fieldRef and resourceFieldRef is required"),
    }
    mode(file.mode(), &at.field("mode"), errors);
}

/// One source of several; no two write the same file. `folder` is where the volume's source stands, `at` where this one does.
fn projection<'t>(
    one: VolumeProjection<'t>,
    paths: &mut HashSet<&'t str>,
    context: Context<'_>,
    folder: &Path<'_>,
    at: &Path<'_>,
    errors: &mut Errors,
) {
    let mut count = 0;
    let mut write = |path: &'t str, said: &str, errors: &mut Errors| {
        if !path.is_empty() && !paths.insert(path) {
            errors.invalid(folder, said, "conflicting duplicate paths");
        }
    };
    if let Some(secret) = one.secret() {
        count += 1;
        let at = at.field("secret");
        secret.check_name(&at, errors);
        items_of(secret.items(), secret.name(), &at.field("items"), &mut write, errors);
    }
    if let Some(map) = one.config_map() {
        count += 1;
        let at = at.field("configMap");
        map.check_name(&at, errors);
        items_of(map.items(), map.name(), &at.field("items"), &mut write, errors);
    }
    if let Some(fields) = one.downward_api() {
        count += 1;
        for file in fields.items().iter() {
            downward_file(file, &at.field("downwardAPI"), errors);
            write(file.path(), file.path(), errors);
        }
    }
    if let Some(token) = one.service_account_token() {
        count += 1;
        service_account_token(token, context, folder, &at.field("serviceAccountToken"), errors);
    }
    if let Some(bundle) = one.cluster_trust_bundle() {
        count += 1;
        // Clients know this path as it is.
        cluster_trust_bundle(bundle, &at.field("clusterTrustBundlePEM"), errors);
        write(bundle.path(), bundle.path(), errors);
    }
    if let Some(certificate) = one.pod_certificate() {
        count += 1;
        let at = at.field("podCertificate");
        pod_certificate(certificate, &at, errors);
        for path in [certificate.credential_bundle_path(), certificate.key_path(), certificate.certificate_chain_path()]
        {
            write(path, path, errors);
        }
    }
    if count > 1 {
        errors.forbidden(at, "may not specify more than 1 volume type");
    }
}

/// Files by keys. A file that is written twice is said of the object.
fn items_of<'t>(
    list: List<'t, KeyToPath<'t>>,
    object: &str,
    at: &Path<'_>,
    write: &mut impl FnMut(&'t str, &str, &mut Errors),
    errors: &mut Errors,
) {
    for (index, item) in list.iter().enumerate() {
        let at = at.index(index);
        item.check_key(&at, errors);
        item.check_path(&at, errors);
        local_paths::not_reserved(item.path(), &at.field("path"), errors);
        mode(item.mode(), &at.field("mode"), errors);
        write(item.path(), object, errors);
    }
}

/// A token of the pod's account. Clients know its path as that of the volume's source.
fn service_account_token(
    token: ServiceAccountTokenProjection<'_>,
    context: Context<'_>,
    folder: &Path<'_>,
    at: &Path<'_>,
    errors: &mut Errors,
) {
    let seconds = token.expiration_seconds().unwrap_or_default();
    if seconds < TOKEN_SECONDS_MIN {
        errors.invalid(&at.field("expirationSeconds"), seconds, "may not specify a duration less than 10 minutes");
    }
    if seconds > TOKEN_SECONDS_MAX {
        let why = "may not specify a duration larger than 2^32 seconds";
        errors.invalid(&at.field("expirationSeconds"), seconds, why);
    }
    let at = folder.field("path");
    if token.path().is_empty() {
        errors.required(&at, "");
    } else if !context.old.is_some_and(has_token_elsewhere) {
        local_paths::not_reserved(token.path(), &at, errors);
    }
}

/// Whether a token of a stored spec stands outside its volume: it was let in before upstream looked.
fn has_token_elsewhere(spec: PodSpec<'_>) -> bool {
    let sources =
        spec.volumes().iter().filter_map(|volume| volume.projected()).flat_map(|source| source.sources().iter());
    sources.filter_map(|source| source.service_account_token()).any(|token| {
        let mut errors = Errors::new();
        local_paths::not_reserved(token.path(), &Path::ROOT, &mut errors);
        !errors.is_empty()
    })
}

/// Certificates of authorities, by name or by signer.
fn cluster_trust_bundle(bundle: ClusterTrustBundleProjection<'_>, at: &Path<'_>, errors: &mut Errors) {
    match (bundle.name(), bundle.signer_name()) {
        (Some(_), Some(_)) => {
            errors.invalid(at, shown(bundle.place()), "only one of name and signerName may be used");
        }
        (Some(name), None) => bundle_name(bundle, name, at, errors),
        (None, Some(signer)) => {
            if signer.is_empty() {
                errors.required(&at.field("signerName"), "must be a valid signer name");
            }
            signer_name(signer, &at.field("signerName"), errors);
            if let Some(selector) = bundle.label_selector() {
                selectors::label_selector(selector, &at.field("labelSelector"), errors);
            }
        }
        (None, None) => errors.required(at, "either name or signerName must be specified"),
    }
    bundle.check_path(at, errors);
    local_paths::not_reserved(bundle.path(), &at.field("path"), errors);
}

/// `bundle`, or `example.com:signer:bundle` for one of a signer.
fn bundle_name(bundle: ClusterTrustBundleProjection<'_>, name: &str, at: &Path<'_>, errors: &mut Errors) {
    let place = at.field("name");
    if name.is_empty() {
        errors.required(&place, "must be a valid object name");
    }
    let own = name.rsplit_once(':').map_or(name, |(_, own)| own);
    for why in names::dns1123_subdomain(own) {
        errors.invalid(&place, name, format!("not a valid clustertrustbundlename: {why}"));
    }
    if let Some(selector) = bundle.label_selector() {
        let why = "labelSelector must be unset if name is specified";
        errors.invalid(&at.field("labelSelector"), shown(selector.place()), why);
    }
}

/// `example.com/signer` (upstream: `ValidateSignerName`).
fn signer_name(name: &str, at: &Path<'_>, errors: &mut Errors) {
    let Some((domain, path)) = name.split_once('/').filter(|(_, path)| !path.contains('/')) else {
        errors.invalid(at, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'");
        return;
    };
    named::dns_subdomain(domain, at, errors);
    if !domain.contains('.') {
        errors.invalid(at, name, "should be a domain with at least two segments separated by dots");
    }
    for part in path.split('.') {
        errors.complain(at, part, names::dns1123_subdomain(part));
    }
}

/// A certificate for the pod itself.
fn pod_certificate(certificate: PodCertificateProjection<'_>, at: &Path<'_>, errors: &mut Errors) {
    signer_name(certificate.signer_name(), &at.field("signerName"), errors);
    match certificate.key_type() {
        "" => errors.required(&at.field("keyType"), ""),
        kind => named::one_of(kind, KEY_TYPES, &at.field("keyType"), errors),
    }
    if let Some(seconds) = certificate.max_expiration_seconds() {
        let (least, most) = CERTIFICATE_SECONDS;
        number::between(i64::from(seconds), least, most, &at.field("maxExpirationSeconds"), errors);
    }
    let files = [
        ("credentialBundlePath", certificate.credential_bundle_path()),
        ("keyPath", certificate.key_path()),
        ("certificateChainPath", certificate.certificate_chain_path()),
    ];
    if files.iter().all(|(_, path)| path.is_empty()) {
        errors.required(at, "specify at least one of credentialBundlePath, keyPath, and certificateChainPath");
    }
    for (name, path) in files {
        local_paths::not_reserved(path, &at.field(name), errors);
    }
}
