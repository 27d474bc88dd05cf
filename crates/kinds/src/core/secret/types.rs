//! What a secret of a known type must hold (upstream: `ValidateSecret`). Other types are their owners' business.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_model::schema::decode_json;

use crate::views::Map;
use crate::views::core_v1::Secret;
use crate::vocabulary::{Errors, Path};

/// A certificate and its key.
pub(super) const TLS: &str = "kubernetes.io/tls";
/// The key of the certificate.
pub(super) const TLS_CERTIFICATE: &str = "tls.crt";
/// The key of the private key.
pub(super) const TLS_KEY: &str = "tls.key";

/// The token of a service account.
pub(super) const SERVICE_ACCOUNT_TOKEN: &str = "kubernetes.io/service-account-token";
/// Whose token it is.
pub(super) const ACCOUNT_ANNOTATION: &str = "kubernetes.io/service-account.name";

/// What stands in a complaint in place of what nobody may see.
const REDACTED: &str = "<secret contents redacted>";

/// Holds what its type promises.
pub(super) fn validate(secret: Secret<'_>, errors: &mut Errors) {
    let (data, at) = (secret.data(), Path::new("data"));
    let mut required = |key: &str| errors.required(&at.key(key), "");
    match secret.type_() {
        SERVICE_ACCOUNT_TOKEN => {
            let account = secret.metadata().annotations().get(ACCOUNT_ANNOTATION);
            if account.is_none_or(str::is_empty) {
                errors.required(&Path::new("metadata.annotations").key(ACCOUNT_ANNOTATION), "");
            }
        }
        "kubernetes.io/dockercfg" => json_object(data, ".dockercfg", &at, errors),
        "kubernetes.io/dockerconfigjson" => json_object(data, ".dockerconfigjson", &at, errors),
        "kubernetes.io/basic-auth" => {
            let keys = ["username", "password"];
            if keys.iter().all(|key| data.get(key).is_none()) {
                keys.into_iter().for_each(required);
            }
        }
        "kubernetes.io/ssh-auth" if data.get("ssh-privatekey").is_none_or(str::is_empty) => required("ssh-privatekey"),
        TLS => [TLS_CERTIFICATE, TLS_KEY].into_iter().filter(|key| data.get(key).is_none()).for_each(required),
        _ => {}
    }
}

fn json_object(data: Map<'_, &str>, key: &str, at: &Path<'_>, errors: &mut Errors) {
    let at = at.key(key);
    let Some(encoded) = data.get(key) else { return errors.required(&at, "") };
    let held = STANDARD.decode(encoded).unwrap_or_default();
    if let Err(error) = decode_json::check_object(held, "map[string]interface {}") {
        errors.invalid(&at, REDACTED, error.to_string());
    }
}
