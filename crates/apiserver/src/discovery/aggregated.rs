//! Discovery in one document: `apidiscovery.k8s.io/v2` `APIGroupDiscoveryList` (KEP-3352).

use portcullis_kinds::Registry;
use portcullis_kinds::resources::{GroupVersion, Resource};
use serde_json::{Value, json};

/// The messages of the document, in the form of [`crate::messages`].
const MESSAGES: &str = "\
message APIGroupDiscoveryList
 metadata 1 ListMeta
 items 2 []APIGroupDiscovery
message ListMeta
message APIGroupDiscovery
 metadata 1 ObjectMeta
 versions 2 []APIVersionDiscovery
message ObjectMeta
 name 1 string
message APIVersionDiscovery
 version 1 string
 resources 2 []APIResourceDiscovery
 freshness 3 string
message APIResourceDiscovery
 resource 1 string
 responseKind 2 GroupVersionKind
 scope 3 string
 singularResource 4 string
 verbs 5 []string
 shortNames 6 []string
 categories 7 []string
 subresources 8 []APISubresourceDiscovery
message GroupVersionKind
 group 1 string
 version 2 string
 kind 3 string
message APISubresourceDiscovery
 subresource 1 string
 responseKind 2 GroupVersionKind
 verbs 4 []string
";
/// What is served by this very server is always up to date.
const FRESHNESS: &str = "Current";

/// Makes the list of the core group or of all others.
#[derive(Debug)]
pub(super) struct Aggregated {
    registry: &'static Registry,
    core: bool,
}

impl Aggregated {
    pub(super) fn new(registry: &'static Registry, core: bool) -> Aggregated {
        Aggregated { registry, core }
    }

    pub(super) fn json(&self) -> Vec<u8> {
        (self.list().to_string() + "\n").into_bytes()
    }

    pub(super) fn protobuf(&self) -> Vec<u8> {
        super::protobuf(MESSAGES, &self.list())
    }

    fn list(&self) -> Value {
        let mut groups: Vec<&str> = self.registry.group_versions().iter().map(|gv| gv.group).collect();
        groups.retain(|group| group.is_empty() == self.core);
        groups.dedup();
        let items: Vec<Value> = groups.into_iter().map(|group| self.group(group)).collect();
        json!({ "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items })
    }

    fn group(&self, group: &str) -> Value {
        let versions = self.registry.group_versions().iter().filter(|gv| gv.group == group);
        let versions: Vec<Value> = versions.map(|gv| self.version(gv)).collect();
        let metadata = if group.is_empty() { json!({}) } else { json!({ "name": group }) };
        json!({ "metadata": metadata, "versions": versions })
    }

    fn version(&self, gv: &GroupVersion) -> Value {
        let resources: Vec<Value> = self.registry.of_group_version(gv.group, gv.version).map(resource_entry).collect();
        json!({ "version": gv.version, "resources": resources, "freshness": FRESHNESS })
    }
}

fn resource_entry(resource: &Resource) -> Value {
    // A kind of the same group-version does not name it again.
    let own = |group: &'static str, version: &'static str| {
        if (group, version) == (resource.group, resource.version) { ("", "") } else { (group, version) }
    };
    let kind = |(group, version): (&str, &str), kind: &str| json!({ "group": group, "version": version, "kind": kind });
    let mut out = json!({
        "resource": resource.name,
        "responseKind": kind(("", ""), resource.kind),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": resource.verbs,
    });
    if !resource.short_names.is_empty() {
        out["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        out["categories"] = json!(resource.categories);
    }
    if !resource.subresources.is_empty() {
        let subresources = resource.subresources.iter().map(|sub| {
            let response_kind = kind(own(sub.group, sub.version), sub.kind);
            json!({ "subresource": sub.name, "responseKind": response_kind, "verbs": sub.verbs })
        });
        out["subresources"] = subresources.collect();
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::messages::Messages;

    #[test]
    fn groups_come_in_the_order_of_their_priority() {
        let names = |core: bool| {
            let list = Aggregated::new(portcullis_kinds::resources(), core).list();
            list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(true), [Value::Null]);
        assert_eq!(names(false).len(), 20);
        assert_eq!(names(false)[..3], [json!("apiregistration.k8s.io"), json!("apps"), json!("events.k8s.io")]);
    }

    #[test]
    fn kinds_of_other_groups_are_named_in_full() {
        let pods = resource_entry(portcullis_kinds::resources().find("", "v1", "pods").unwrap());
        let check = |name: &str, expected: Value| {
            let sub = pods["subresources"].as_array().unwrap().iter().find(|sub| sub["subresource"] == name).unwrap();
            assert_eq!(sub["responseKind"], expected, "{name}");
        };
        check("status", json!({ "group": "", "version": "", "kind": "Pod" }));
        check("eviction", json!({ "group": "policy", "version": "v1", "kind": "Eviction" }));
    }

    #[test]
    fn the_table_is_whole() {
        assert!(Messages::read(MESSAGES).is_whole(MESSAGES));
    }
}
