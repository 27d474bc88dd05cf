//! What the values of an EncryptionConfiguration must be, with upstream's paths and words, in upstream's order.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_model::go_text::push_json_string;
use portcullis_model::status::{BadValue, FieldError, FieldReason};
use portcullis_model::time::push_duration;

use super::{KMS_VERSION, Rule, Written, WrittenKey, WrittenKms, WrittenProvider};

/// What the system takes: 108 bytes, one of which ends or begins it.
const SOCKET_PATH_BYTES_MAX: usize = 107;
const AES_KEY_LENS: &[usize] = &[16, 24, 32];
const SECRETBOX_KEY_LENS: &[usize] = &[32];
/// What is stored and has no API.
const NOT_REST: [&str; 3] = ["apiserveripinfo", "serviceipallocations", "servicenodeportallocations"];
/// Entries, and things of one entry: each stored value may be tried under all of them.
const ENTRIES_MAX: usize = 256;
const RESOURCES_MAX: usize = 1024;
const PROVIDERS_MAX: usize = 64;
const KEYS_MAX: usize = 64;
pub(super) const REDACTED: &str = "REDACTED";

/// Returns everything that is wrong.
pub(super) fn errors(written: &Written) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if written.resources.is_empty() {
        errors.push(FieldError::required("resources", "at least one resources is required"));
    }
    if !within(&mut errors, "resources", written.resources.len(), ENTRIES_MAX) {
        return errors;
    }
    let mut kms_names = BTreeSet::new();
    for (at, entry) in written.resources.iter().enumerate() {
        let resources = format!("resources[{at}].resources");
        if entry.resources.is_empty() {
            errors.push(FieldError::required(resources.as_str(), format!("at least one {resources} is required")));
        }
        if within(&mut errors, &resources, entry.resources.len(), RESOURCES_MAX) {
            check_overlap(&mut errors, &entry.resources, &resources);
            check_names(&mut errors, &entry.resources, &resources);
        }
        let providers = format!("resources[{at}].providers");
        if entry.providers.is_empty() {
            errors.push(FieldError::required(providers.as_str(), format!("at least one {providers} is required")));
        }
        if within(&mut errors, &providers, entry.providers.len(), PROVIDERS_MAX) {
            for (at, provider) in entry.providers.iter().enumerate() {
                check_provider(&mut errors, provider, &format!("{providers}[{at}]"), &mut kms_names);
            }
        }
    }
    errors
}

fn within(errors: &mut Vec<FieldError>, path: &str, count: usize, max: usize) -> bool {
    if count > max {
        errors.push(FieldError::too_many(path, count, max));
    }
    count <= max
}

/// One list has a resource once, and no wildcard beside what it stands for.
fn check_overlap(errors: &mut Vec<FieldError>, resources: &[String], path: &str) {
    let rules: Vec<Rule> = resources.iter().map(|text| Rule::parse(text)).collect();
    let all = Rule::wildcard("*");
    let mut seen = BTreeSet::new();
    let is_duplicate = rules.iter().filter(|rule| !seen.insert(*rule)).count() > 0;
    let overlaps = |rule: &&Rule| {
        let wildcard = Rule::wildcard(&rule.group);
        (**rule != wildcard && seen.contains(&wildcard)) || (**rule != all && seen.contains(&all))
    };
    let is_overlap = rules.iter().any(|rule| overlaps(&rule));
    let mut refuse = |detail: &'static str| {
        errors.push(FieldError::invalid(path, BadValue::Json(json_list(resources)), detail));
    };
    if is_duplicate {
        refuse("the same resource cannot be specified multiple times");
    }
    if is_overlap {
        refuse(
            "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked",
        );
    }
}

fn json_list(texts: &[String]) -> String {
    let mut out = b"[".to_vec();
    for (at, text) in texts.iter().enumerate() {
        if at != 0 {
            out.push(b',');
        }
        push_json_string(&mut out, text);
    }
    out.push(b']');
    String::from_utf8_lossy(&out).into_owned()
}

fn check_names(errors: &mut Vec<FieldError>, resources: &[String], path: &str) {
    for (at, name) in resources.iter().enumerate() {
        let rule = Rule::parse(name);
        let detail = if name.chars().any(char::is_uppercase) {
            "resource name should not contain capital letters"
        } else if name == "*" {
            "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources"
        } else if NOT_REST.contains(&name.as_str()) {
            "resources which do not have REST API/s cannot be encrypted"
        } else if rule.group == "events.k8s.io" {
            "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file"
        } else if rule.group == "extensions" {
            "'extensions' group has been removed and cannot be used for encryption"
        } else if rule.group == "*" && rule.resource != "*" {
            "encrypting the same resource across groups is not supported"
        } else {
            continue;
        };
        errors.push(FieldError::invalid(format!("{path}[{at}]"), name.as_str(), detail));
    }
}

fn check_provider<'w>(
    errors: &mut Vec<FieldError>,
    provider: &'w WrittenProvider,
    path: &str,
    kms_names: &mut BTreeSet<&'w str>,
) {
    let WrittenProvider { kms, aesgcm, aescbc, secretbox, identity } = provider;
    let found = [kms.is_some(), aesgcm.is_some(), aescbc.is_some(), secretbox.is_some(), *identity];
    let detail = match found.iter().filter(|is_there| **is_there).count() {
        0 => "provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity",
        1 => "",
        _ => "more than one provider specified in a single element, should split into different list elements",
    };
    if !detail.is_empty() {
        // The value would be shown with its keys.
        errors.push(FieldError::new(FieldReason::Invalid, path, BadValue::Omitted, detail));
    }
    if let Some(kms) = kms {
        check_kms(errors, kms, &format!("{path}.kms"), kms_names);
        kms_names.insert(&kms.name);
    } else if let Some(keys) = aesgcm {
        check_keys(errors, keys, &format!("{path}.aesgcm.keys"), AES_KEY_LENS);
    } else if let Some(keys) = aescbc {
        check_keys(errors, keys, &format!("{path}.aescbc.keys"), AES_KEY_LENS);
    } else if let Some(keys) = secretbox {
        check_keys(errors, keys, &format!("{path}.secretbox.keys"), SECRETBOX_KEY_LENS);
    }
}

fn check_keys(errors: &mut Vec<FieldError>, keys: &[WrittenKey], path: &str, lens: &[usize]) {
    if keys.is_empty() {
        errors.push(FieldError::required(path, "at least one keys is required"));
    }
    if !within(errors, path, keys.len(), KEYS_MAX) {
        return;
    }
    for (at, WrittenKey { name, secret }) in keys.iter().enumerate() {
        if name.is_empty() {
            errors.push(FieldError::required(format!("{path}[{at}].name"), "name is a mandatory field for a key"));
        }
        let path = format!("{path}[{at}].secret");
        if secret.is_empty() {
            errors.push(FieldError::required(path, "secret is a mandatory field for a key"));
            continue;
        }
        match STANDARD.decode(&**secret).map(zeroize::Zeroizing::new) {
            Err(_) => errors.push(FieldError::invalid(path, REDACTED, "secrets must be base64 encoded")),
            Ok(key) if !lens.contains(&key.len()) => {
                let lens = lens.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
                let detail =
                    format!("secret is not of the expected length, got {}, expected one of [{lens}]", key.len());
                errors.push(FieldError::invalid(path, REDACTED, detail));
            }
            Ok(_) => {}
        }
    }
}

fn check_kms(errors: &mut Vec<FieldError>, kms: &WrittenKms, path: &str, names: &BTreeSet<&str>) {
    let name = format!("{path}.name");
    if kms.name.is_empty() {
        errors.push(FieldError::required(name.as_str(), "name is a mandatory field for a provider"));
    }
    if kms.version != KMS_VERSION && kms.name.contains(':') {
        let detail = format!("invalid KMS provider name {}, must not contain ':'", kms.name);
        errors.push(FieldError::invalid(name.as_str(), kms.name.as_str(), detail));
    }
    if names.contains(kms.name.as_str()) {
        let detail = format!("duplicate KMS provider name {}, names must be unique", kms.name);
        errors.push(FieldError::invalid(name, kms.name.as_str(), detail));
    }
    if kms.timeout.0 <= 0 {
        let mut text = Vec::new();
        push_duration(&mut text, kms.timeout.0);
        let text = String::from_utf8_lossy(&text).into_owned();
        errors.push(FieldError::invalid(format!("{path}.timeout"), text, "timeout should be a positive value"));
    }
    check_endpoint(errors, &kms.endpoint, format!("{path}.endpoint"));
    let cache_size = format!("{path}.cachesize");
    match kms.cache_size {
        Some(size) if kms.version != KMS_VERSION => {
            errors.push(FieldError::invalid(cache_size, size, "cachesize is not supported in v2"));
        }
        Some(0) => {
            let detail = "cachesize should be a positive value, or negative to disable";
            errors.push(FieldError::invalid(cache_size, 0, detail));
        }
        _ => {}
    }
    if !["v1", "v2"].contains(&kms.version.as_str()) {
        let detail = "unsupported apiVersion apiVersion for KMS provider, only v1 and v2 are supported";
        errors.push(FieldError::invalid(format!("{path}.apiVersion"), kms.version.as_str(), detail));
    }
}

fn check_endpoint(errors: &mut Vec<FieldError>, endpoint: &str, path: String) {
    if endpoint.is_empty() {
        errors.push(FieldError::invalid(path, "", "endpoint is a mandatory field for a kms"));
        return;
    }
    let scheme = endpoint.split_once(':').map_or("", |(scheme, _)| scheme).to_ascii_lowercase();
    if scheme != "unix" {
        let detail = format!("unsupported scheme \"{scheme}\" for KMS provider, only unix is supported");
        errors.push(FieldError::invalid(path, endpoint, detail));
    } else if let Err(detail) = socket_of(endpoint) {
        let detail = format!("invalid endpoint for kms provider, error: {detail}");
        errors.push(FieldError::invalid(path, endpoint, detail));
    }
}

/// The path of an endpoint's socket, or what is wrong with it. Behind `/@` stands the name of one that has no file. As in each URL, a byte
/// may be given by `%` and two digits, and what follows a `?` or `#` is no part of the path.
pub(super) fn socket_of(endpoint: &str) -> Result<String, String> {
    let nothing = || "it names no socket, as unix:///run/kms.sock does".to_owned();
    let path = endpoint.split_once("://").and_then(|(_, rest)| rest.get(rest.find('/')?..)).ok_or_else(nothing)?;
    let path = unescaped(path.split(['?', '#']).next().unwrap_or_default())?;
    let socket = if path.starts_with("/@") { path.trim_start_matches('/') } else { path.as_str() };
    if socket.len() <= 1 || socket.contains('\0') {
        return Err(nothing());
    }
    if socket.len() > SOCKET_PATH_BYTES_MAX {
        return Err(format!(
            "its path has {} bytes, and that of a unix socket may have {SOCKET_PATH_BYTES_MAX}",
            socket.len()
        ));
    }
    Ok(socket.to_owned())
}

fn unescaped(path: &str) -> Result<String, String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(path.len()), path);
    while let Some((before, behind)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        let digits = behind.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.ok_or("a % in it is not followed by two hexadecimal digits")?);
        rest = behind.get(2..).unwrap_or_default();
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).map_err(|_| "its path is not UTF-8".to_owned())
}
