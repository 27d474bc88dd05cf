//! The ConfigMap that tells extension servers how to recognise the clients that this server recognises.
//!
//! Upstream keeps whatever was published before beside what is published now, so that an authority that was taken out of service stays
//! trusted by extension servers until it expires, as does one that somebody else wrote there. Here it says what this server trusts.
//!
//! Upstream: `start-cluster-authentication-info-controller`.

use serde_json::{Map, Value, json};

use super::{Finding, First, Held};
use crate::config::ExtensionAuthentication;

const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";
/// Everything that this server says there. Other entries are not its business.
const KEYS: [&str; 7] = [
    "client-ca-file",
    "requestheader-allowed-names",
    "requestheader-client-ca-file",
    "requestheader-extra-headers-prefix",
    "requestheader-group-headers",
    "requestheader-uid-headers",
    "requestheader-username-headers",
];

/// The ConfigMap to be made.
pub(super) fn first(published: &ExtensionAuthentication) -> First {
    let object = json!({"metadata": {"name": NAME, "namespace": NAMESPACE}, "data": data(published)});
    First { held: Held::Authentication, ..First::kept("", "configmaps", NAMESPACE, NAME, object) }
}

fn data(published: &ExtensionAuthentication) -> Value {
    let mut data = Map::new();
    if !published.client_ca_pem.is_empty() {
        data.insert("client-ca-file".to_owned(), json!(published.client_ca_pem));
    }
    if let Some(header) = &published.request_header {
        data.insert("requestheader-client-ca-file".to_owned(), json!(header.client_ca_pem));
        let lists = [
            ("requestheader-allowed-names", &header.allowed_names),
            ("requestheader-extra-headers-prefix", &header.extra_header_prefixes),
            ("requestheader-group-headers", &header.group_headers),
            ("requestheader-username-headers", &header.username_headers),
        ];
        let uid = (!header.uid_headers.is_empty()).then_some(("requestheader-uid-headers", &header.uid_headers));
        // A list is a text there, in JSON.
        data.extend(lists.into_iter().chain(uid).map(|(key, list)| (key.to_owned(), json!(json!(list).to_string()))));
    }
    Value::Object(data)
}

/// Compares the stored ConfigMap with what it should be. Both have the shape of their type.
pub(super) fn reconcile(mut held: Value, wanted: &Value) -> Finding {
    let mut is_changed = false;
    for key in KEYS {
        let is_held = held["data"].get(key);
        let is_wanted = wanted["data"].get(key);
        if is_held == is_wanted {
            continue;
        }
        is_changed = true;
        match is_wanted {
            Some(value) => held["data"][key] = value.clone(),
            None => {
                held["data"].as_object_mut().and_then(|data| data.remove(key));
            }
        }
    }
    if is_changed { Finding::Changed(held) } else { Finding::Same }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::RequestHeader;

    fn published() -> ExtensionAuthentication {
        let header = RequestHeader {
            client_ca_pem: "proxy authority".to_owned(),
            allowed_names: vec!["front-proxy-client".to_owned()],
            username_headers: vec!["X-Remote-User".to_owned()],
            group_headers: vec!["X-Remote-Group".to_owned()],
            extra_header_prefixes: vec!["X-Remote-Extra-".to_owned()],
            uid_headers: Vec::new(),
        };
        ExtensionAuthentication { client_ca_pem: "authority".to_owned(), request_header: Some(header) }
    }

    #[test]
    fn what_is_configured_is_published() {
        let check = |published: &ExtensionAuthentication, expected: Value| {
            assert_eq!(first(published).object["data"], expected, "{published:?}");
        };
        let mut all = json!({
            "client-ca-file": "authority",
            "requestheader-client-ca-file": "proxy authority",
            "requestheader-allowed-names": r#"["front-proxy-client"]"#,
            "requestheader-username-headers": r#"["X-Remote-User"]"#,
            "requestheader-group-headers": r#"["X-Remote-Group"]"#,
            "requestheader-extra-headers-prefix": r#"["X-Remote-Extra-"]"#,
        });
        check(&published(), all.clone());
        let mut with_uid = published();
        with_uid.request_header.as_mut().unwrap().uid_headers = vec!["X-Remote-Uid".to_owned()];
        all["requestheader-uid-headers"] = json!(r#"["X-Remote-Uid"]"#);
        check(&with_uid, all);
        let only = ExtensionAuthentication { request_header: None, ..published() };
        check(&only, json!({"client-ca-file": "authority"}));
        check(&ExtensionAuthentication::default(), json!({}));
    }

    #[test]
    fn nobody_else_is_trusted() {
        let check = |(wanted, held): (&Value, Value), fix: Option<Value>| {
            let expected = fix.map_or(Finding::Same, |fix| {
                let mut expected = held.clone();
                json_patch::merge(&mut expected, &json!({"data": fix}));
                Finding::Changed(expected)
            });
            assert_eq!(reconcile(held, wanted), expected);
        };
        let wanted = first(&published()).object;
        let with = |data: Value| {
            let mut held = wanted.clone();
            json_patch::merge(&mut held, &json!({"data": data}));
            held
        };
        check((&wanted, wanted.clone()), None);
        check((&wanted, with(json!({"own": "x"}))), None);
        let both = json!({"own": "x", "client-ca-file": "authority and another"});
        check((&wanted, with(both)), Some(json!({"client-ca-file": "authority"})));
        let names = json!({"requestheader-allowed-names": "[]"});
        check((&wanted, with(names)), Some(json!({"requestheader-allowed-names": r#"["front-proxy-client"]"#})));
        check((&wanted, with(Value::Null)), Some(wanted["data"].clone()));
        let only = ExtensionAuthentication { request_header: None, ..published() };
        let cut = Value::Object(
            KEYS.iter()
                .filter(|key| key.starts_with("requestheader"))
                .map(|key| ((*key).to_owned(), Value::Null))
                .collect(),
        );
        check((&first(&only).object, wanted.clone()), Some(cut));
    }
}
