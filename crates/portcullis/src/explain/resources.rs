//! What a server has, and what a person means by a name of it: `deploy`, `deployment.apps`, `pods/log`, `pods/web-0`.
//!
//! As kubectl does: a resource, its singular or a short name, then perhaps its version and its group. Behind a slash is a subresource if there
//! is one of that name, else an object.

use anyhow::{Result, bail};
use serde_json::Value;

/// A resource of discovery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Resource {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) name: String,
    singular: String,
    short_names: Vec<String>,
    subresources: Vec<String>,
    pub(super) namespaced: bool,
}

/// What a person named.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) resource: Resource,
    pub(super) subresource: String,
    pub(super) name: String,
}

/// Reads an aggregated discovery document (`apidiscovery.k8s.io/v2`).
pub(super) fn read(document: &Value) -> Vec<Resource> {
    let mut found = Vec::new();
    for group in list(document, "items") {
        for version in list(group, "versions") {
            for resource in list(version, "resources") {
                found.push(Resource {
                    group: text(group.pointer("/metadata/name")),
                    version: text(version.get("version")),
                    name: text(resource.get("resource")),
                    singular: text(resource.get("singularResource")),
                    short_names: list(resource, "shortNames").iter().map(|name| text(Some(name))).collect(),
                    subresources: list(resource, "subresources")
                        .iter()
                        .map(|sub| text(sub.get("subresource")))
                        .collect(),
                    namespaced: resource.get("scope").and_then(Value::as_str) == Some("Namespaced"),
                });
            }
        }
    }
    found
}

fn list<'v>(value: &'v Value, field: &str) -> &'v [Value] {
    value.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn text(value: Option<&Value>) -> String {
    value.and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Finds what is meant. Groups come in the order in which the server prefers them.
pub(super) fn find(known: &[Resource], given: &str, subresource: Option<&str>, name: Option<&str>) -> Result<Named> {
    let (what, behind) = given.split_once('/').map_or((given, None), |(what, behind)| (what, Some(behind)));
    if behind == Some("") || what.is_empty() {
        bail!("{given:?} names no resource");
    }
    let resource = match what {
        "*" => Resource { group: "*".to_owned(), name: "*".to_owned(), namespaced: true, ..Resource::default() },
        what => match known.iter().find(|resource| resource.is_called(what)) {
            Some(resource) => resource.clone(),
            None => bail!("the server has no resource {what:?}: kubectl api-resources lists what there is"),
        },
    };
    let (mut subresource, mut name) = (subresource.map(str::to_owned), name.map(str::to_owned));
    if let Some(behind) = behind {
        let is_subresource = resource.subresources.iter().any(|held| held == behind) || resource.name == "*";
        let place = if is_subresource && subresource.is_none() { &mut subresource } else { &mut name };
        if place.is_some() {
            bail!("{given:?} and what follows name two objects");
        }
        *place = Some(behind.to_owned());
    }
    Ok(Named { resource, subresource: subresource.unwrap_or_default(), name: name.unwrap_or_default() })
}

impl Resource {
    fn is_called(&self, what: &str) -> bool {
        let (name, rest) = what.split_once('.').map_or((what, None), |(name, rest)| (name, Some(rest)));
        let is_named = name == self.name || name == self.singular || self.short_names.iter().any(|short| short == name);
        let is_of = match rest {
            None => true,
            Some(rest) if rest == self.group => true,
            Some(rest) => rest.strip_prefix(self.version.as_str()).is_some_and(|group| {
                // `pods.v1.` is of the core group, and `pods.v1` is as good.
                group.strip_prefix('.').unwrap_or(group) == self.group
            }),
        };
        is_named && is_of
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn known() -> Vec<Resource> {
        let resource = |name: &str, singular: &str, short: &[&str], subresources: &[&str], scope: &str| {
            let subresources: Vec<Value> = subresources.iter().map(|sub| json!({"subresource": sub})).collect();
            json!({
                "resource": name, "singularResource": singular, "shortNames": short, "subresources": subresources,
                "scope": scope,
            })
        };
        read(&json!({"items": [
            {"metadata": {}, "versions": [{"version": "v1", "resources": [
                resource("pods", "pod", &["po"], &["log", "exec"], "Namespaced"),
                resource("events", "event", &["ev"], &[], "Namespaced"),
                resource("nodes", "node", &["no"], &[], "Cluster"),
            ]}]},
            {"metadata": {"name": "apps"}, "versions": [{"version": "v1", "resources": [
                resource("deployments", "deployment", &["deploy"], &["scale"], "Namespaced"),
            ]}]},
            {"metadata": {"name": "events.k8s.io"}, "versions": [{"version": "v1", "resources": [
                resource("events", "event", &["ev"], &[], "Namespaced"),
            ]}]},
        ]}))
    }

    #[test]
    fn a_resource_has_many_names() {
        let check = |given: &str, expected: Option<[&str; 4]>| {
            let found = find(&known(), given, None, None).ok();
            let found = found.map(|named| [named.resource.group, named.resource.name, named.subresource, named.name]);
            assert_eq!(found, expected.map(|parts| parts.map(str::to_owned)), "{given}");
        };
        check("pods", Some(["", "pods", "", ""]));
        check("pod", Some(["", "pods", "", ""]));
        check("po", Some(["", "pods", "", ""]));
        check("pods.v1", Some(["", "pods", "", ""]));
        check("pods.v1.", Some(["", "pods", "", ""]));
        check("pods.apps", None);
        check("deploy", Some(["apps", "deployments", "", ""]));
        check("deploy.apps", Some(["apps", "deployments", "", ""]));
        check("deployments.v1.apps", Some(["apps", "deployments", "", ""]));
        check("deployments.v2.apps", None);
        check("events", Some(["", "events", "", ""]));
        check("events.events.k8s.io", Some(["events.k8s.io", "events", "", ""]));
        check("pods/log", Some(["", "pods", "log", ""]));
        check("pods/web", Some(["", "pods", "", "web"]));
        check("deploy.apps/scale", Some(["apps", "deployments", "scale", ""]));
        check("deploy/log", Some(["apps", "deployments", "", "log"]));
        check("*", Some(["*", "*", "", ""]));
        check("boats", None);
        check("pods/", None);
        check("/log", None);
    }

    #[test]
    fn an_object_may_stand_apart() {
        let check = |given: &str, subresource: Option<&str>, name: Option<&str>, expected: Option<[&str; 2]>| {
            let found = find(&known(), given, subresource, name).ok().map(|named| [named.subresource, named.name]);
            assert_eq!(found, expected.map(|parts| parts.map(str::to_owned)), "{given} {subresource:?} {name:?}");
        };
        check("pods", None, Some("web"), Some(["", "web"]));
        check("pods/log", None, Some("web"), Some(["log", "web"]));
        // A pod that is called as a subresource.
        check("pods/log", Some("exec"), None, Some(["exec", "log"]));
        check("pods/web", Some("exec"), None, Some(["exec", "web"]));
        check("pods/web", None, Some("db"), None);
        check("pods/web", Some("exec"), Some("db"), None);
    }
}
