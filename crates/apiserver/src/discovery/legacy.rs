//! Discovery in the old form: a document for `/`, `/api`, `/apis`, each group and each version.

use std::collections::BTreeSet;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_kinds::Registry;
use portcullis_kinds::resources::{GroupVersion, Resource, Storage};
use serde_json::{Map, Value, json};

/// The messages of the documents, in the form of [`crate::messages`].
pub(super) const MESSAGES: &str = "\
message APIVersions
 versions 1 []string
 serverAddressByClientCIDRs 2 []ServerAddressByClientCIDR
message ServerAddressByClientCIDR
 clientCIDR 1 string
 serverAddress 2 string
message APIGroupList
 groups 1 []APIGroup
message APIGroup
 name 1 string
 versions 2 []GroupVersionForDiscovery
 preferredVersion 3 GroupVersionForDiscovery
message GroupVersionForDiscovery
 groupVersion 1 string
 version 2 string
message APIResourceList
 groupVersion 1 string
 resources 2 []APIResource
message APIResource
 name 1 string
 namespaced 2 bool
 kind 3 string
 verbs 4 Verbs
 shortNames 5 []string
 singularName 6 string
 categories 7 []string
 group 8 string
 version 9 string
 storageVersionHash 10 string
list Verbs
 * 1 string
";
/// Bytes of a storage version's hash that are shown.
const STORAGE_HASH_BYTES: usize = 8;
/// Clients everywhere are told the same address.
const ALL_CLIENTS: &str = "0.0.0.0/0";

/// Makes the documents.
#[derive(Debug)]
pub(super) struct Legacy {
    registry: &'static Registry,
    server_address: String,
    other_paths: Vec<String>,
}

impl Legacy {
    pub(super) fn new(registry: &'static Registry, server_address: &str, other_paths: &[&str]) -> Legacy {
        let other_paths = other_paths.iter().map(|path| (*path).to_owned()).collect();
        Legacy { registry, server_address: server_address.to_owned(), other_paths }
    }

    /// The document at a path without a slash at its end.
    pub(super) fn document(&self, path: &str) -> Option<Value> {
        match path {
            "/" => return Some(self.paths()),
            "/api" => return Some(self.core_versions()),
            "/apis" => return Some(self.groups()),
            _ => {}
        }
        let group_version = self.registry.group_versions().iter().find(|gv| path == path_of(gv));
        if let Some(gv) = group_version {
            return Some(self.resources(gv));
        }
        let name = path.strip_prefix("/apis/")?;
        let known = !name.is_empty() && self.registry.group_versions().iter().any(|gv| gv.group == name);
        known.then(|| with_type("APIGroup", self.group(name)))
    }

    fn paths(&self) -> Value {
        let mut paths: BTreeSet<String> = self.other_paths.iter().cloned().collect();
        paths.extend(["/api", "/apis"].map(str::to_owned));
        for gv in self.registry.group_versions() {
            paths.insert(path_of(gv));
            if !gv.group.is_empty() {
                paths.insert(format!("/apis/{}", gv.group));
            }
        }
        json!({ "paths": paths })
    }

    fn core_versions(&self) -> Value {
        let addresses = json!([{ "clientCIDR": ALL_CLIENTS, "serverAddress": self.server_address }]);
        json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses })
    }

    fn groups(&self) -> Value {
        let mut names: Vec<&str> =
            self.registry.group_versions().iter().map(|gv| gv.group).filter(|name| !name.is_empty()).collect();
        names.dedup();
        let groups: Vec<Value> = names.into_iter().map(|name| self.group(name)).collect();
        with_type("APIGroupList", json!({ "groups": groups }))
    }

    fn group(&self, name: &str) -> Value {
        let versions = self.registry.group_versions().iter().filter(|gv| gv.group == name);
        let versions: Vec<Value> =
            versions.map(|gv| json!({ "groupVersion": gv.api_version(), "version": gv.version })).collect();
        json!({ "name": name, "preferredVersion": versions.first(), "versions": versions })
    }

    fn resources(&self, gv: &GroupVersion) -> Value {
        let mut out = Vec::new();
        for resource in self.registry.of_group_version(gv.group, gv.version) {
            out.push(resource_entry(resource));
            for sub in &resource.subresources {
                let mut entry = json!({
                    "name": format!("{}/{}", resource.name, sub.name),
                    "singularName": "",
                    "namespaced": resource.namespaced,
                    "kind": sub.kind,
                    "verbs": sub.verbs,
                });
                if (sub.group, sub.version) != (resource.group, resource.version) {
                    entry["group"] = json!(sub.group);
                    entry["version"] = json!(sub.version);
                }
                out.push(entry);
            }
        }
        let list = json!({ "groupVersion": gv.api_version(), "resources": out });
        // The list of the core group is older than the rule that a document says its version.
        if gv.group.is_empty() { with_kind("APIResourceList", list) } else { with_type("APIResourceList", list) }
    }
}

fn resource_entry(resource: &Resource) -> Value {
    let mut entry = json!({
        "name": resource.name,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": resource.verbs,
    });
    if !resource.short_names.is_empty() {
        entry["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        entry["categories"] = json!(resource.categories);
    }
    if let Some(storage) = &resource.storage {
        entry["storageVersionHash"] = json!(storage_version_hash(storage, resource.kind));
    }
    entry
}

/// Tells clients when the stored form of a kind changes: a hash of its group, version and kind.
fn storage_version_hash(storage: &Storage, kind: &str) -> String {
    let stored = format!("{}/{}/{kind}", storage.group, storage.version);
    let hash = digest::digest(&digest::SHA256, stored.as_bytes());
    STANDARD.encode(hash.as_ref().get(..STORAGE_HASH_BYTES).unwrap_or_default())
}

fn path_of(gv: &GroupVersion) -> String {
    if gv.group.is_empty() { format!("/api/{}", gv.version) } else { format!("/apis/{}/{}", gv.group, gv.version) }
}

fn with_kind(kind: &str, document: Value) -> Value {
    let mut out = Map::from_iter([("kind".to_owned(), json!(kind))]);
    out.extend(document.as_object().cloned().unwrap_or_default());
    Value::Object(out)
}

fn with_type(kind: &str, document: Value) -> Value {
    let mut out = with_kind(kind, document);
    out["apiVersion"] = json!("v1");
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::messages::Messages;

    fn legacy() -> Legacy {
        Legacy::new(portcullis_kinds::resources(), "192.0.2.1:6443", &["/healthz"])
    }

    #[test]
    fn storage_version_hashes() {
        let check = |group: &str, plural: &str, expected: &str| {
            let resource = portcullis_kinds::resources().find(group, "v1", plural).unwrap();
            assert_eq!(resource_entry(resource)["storageVersionHash"], expected, "{plural}");
        };
        check("", "configmaps", "qFsyl6wFWjQ=");
        check("apps", "deployments", "8aSe+NMegvE=");
        // Stored as something else than what is served.
        check("events.k8s.io", "events", "r2yiGXH7wu8=");
        check("autoscaling", "horizontalpodautoscalers", "qwQve8ut294=");
        check("apiextensions.k8s.io", "customresourcedefinitions", "jfWCUB31mvA=");
        check("admissionregistration.k8s.io", "mutatingadmissionpolicies", "LYmCf+UMVdg=");
    }

    #[test]
    fn what_is_not_stored_has_no_hash() {
        let resource = portcullis_kinds::resources().find("", "v1", "bindings").unwrap();
        assert_eq!(resource_entry(resource).get("storageVersionHash"), None);
    }

    #[test]
    fn documents_by_path() {
        let check = |path: &str, key: &str, expected: Option<Value>| {
            assert_eq!(legacy().document(path).map(|document| document[key].clone()), expected, "{path}");
        };
        check("/api", "versions", Some(json!(["v1"])));
        check("/api/v1", "apiVersion", Some(Value::Null));
        check("/apis/apps/v1", "apiVersion", Some(json!("v1")));
        check(
            "/apis/autoscaling",
            "preferredVersion",
            Some(json!({ "groupVersion": "autoscaling/v2", "version": "v2" })),
        );
        check("/apis/boats", "name", None);
        check("/apis/apps/v9", "name", None);
        check("/apis/", "name", None);
        check("/api/v2", "name", None);
        let paths = legacy().document("/").unwrap()["paths"].clone();
        for path in ["/healthz", "/api", "/apis/apps", "/apis/apps/v1"] {
            assert!(paths.as_array().unwrap().contains(&json!(path)), "{path}");
        }
    }

    #[test]
    fn a_subresource_of_another_group_says_so() {
        let list = legacy().document("/apis/apps/v1").unwrap();
        let check = |name: &str, expected: Option<&str>| {
            let entry = list["resources"].as_array().unwrap().iter().find(|entry| entry["name"] == name).unwrap();
            assert_eq!(entry.get("group").and_then(Value::as_str), expected, "{name}");
        };
        check("deployments/scale", Some("autoscaling"));
        check("deployments/status", None);
        check("deployments", None);
    }

    #[test]
    fn messages() {
        assert!(Messages::read(MESSAGES).is_whole(MESSAGES));
        let group = json!({ "name": "a", "preferredVersion": { "groupVersion": "b", "version": "c" } });
        assert_eq!(Messages::read(MESSAGES).encode("APIGroup", &group), b"\x0a\x01a\x1a\x06\x0a\x01b\x12\x01c");
        let resource = json!({ "verbs": ["get", "put"] });
        assert_eq!(Messages::read(MESSAGES).encode("APIResource", &resource), b"\x22\x0a\x0a\x03get\x0a\x03put");
    }
}
