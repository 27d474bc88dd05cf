//! The objects that all clients want, the requests about them, and what the answers mean.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::record::{Asked, END, Guard, Held, Told};
use crate::object;
use crate::session::JSON;

/// Where the objects are.
pub const NAMESPACES: [&str; 2] = ["harbor-a", "harbor-b"];
/// Objects that all clients want: resource, namespace, name.
pub(super) const OBJECTS: [(&Resource, &str, &str); 8] = [
    (&CONFIG_MAPS, "harbor-a", "h0"),
    (&CONFIG_MAPS, "harbor-a", "h1"),
    (&CONFIG_MAPS, "harbor-b", "h0"),
    (&SECRETS, "harbor-a", "h0"),
    (&SECRETS, "harbor-a", "h1"),
    (&SECRETS, "harbor-b", "h0"),
    (&LEASES, "harbor-a", "h0"),
    (&LEASES, "harbor-b", "h0"),
];
/// What is watched, and whether the watcher breaks off every now and then by itself.
pub(super) const WATCHED: [(&Resource, Option<&str>, bool); 4] = [
    (&CONFIG_MAPS, None, true),
    (&SECRETS, None, true),
    (&LEASES, None, false),
    (&CONFIG_MAPS, Some("harbor-a"), true),
];
const MERGE_PATCH: &str = "application/merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";

/// A resource, and where its objects keep a value.
pub(super) struct Resource {
    pub(super) name: &'static str,
    pub(super) api: &'static str,
    kind: &'static str,
    field: [&'static str; 2],
    is_encoded: bool,
    /// Whether it may be replaced by one who does not say which version it was.
    pub(super) is_replaced_unseen: bool,
}

const CONFIG_MAPS: Resource = Resource {
    name: "configmaps",
    api: "/api/v1",
    kind: "ConfigMap",
    field: ["data", "value"],
    is_encoded: false,
    is_replaced_unseen: true,
};
const SECRETS: Resource = Resource { name: "secrets", kind: "Secret", is_encoded: true, ..CONFIG_MAPS };
const LEASES: Resource = Resource {
    name: "leases",
    api: "/apis/coordination.k8s.io/v1",
    kind: "Lease",
    field: ["spec", "holderIdentity"],
    is_encoded: false,
    is_replaced_unseen: false,
};

impl Resource {
    pub(super) fn path(&self, namespace: Option<&str>) -> String {
        match namespace {
            None => format!("{}/{}", self.api, self.name),
            Some(namespace) => format!("{}/namespaces/{namespace}/{}", self.api, self.name),
        }
    }

    pub(super) fn scope(&self, namespace: Option<&str>) -> String {
        namespace.map_or(self.name.to_owned(), |namespace| format!("{}/{namespace}", self.name))
    }

    fn shown(&self, value: &str) -> Value {
        if self.is_encoded { STANDARD.encode(value).into() } else { value.into() }
    }

    fn body(&self, name: &str, value: &str) -> Value {
        let [outer, inner] = self.field;
        let version = self.api.trim_start_matches("/apis/").trim_start_matches("/api/");
        json!({"apiVersion": version, "kind": self.kind, "metadata": {"name": name}, outer: {inner: self.shown(value)}})
    }

    /// What an answer shows of an object.
    pub(super) fn held(&self, object: &Value) -> Result<Held> {
        let [outer, inner] = self.field;
        let shown = object[outer][inner].as_str().with_context(|| format!("no value: {object}"))?;
        let value = if self.is_encoded { String::from_utf8(STANDARD.decode(shown)?)? } else { shown.to_owned() };
        let uid = object["metadata"]["uid"].as_str().context("no uid")?.to_owned();
        Ok(Held { version: object::version(object)?, uid, value })
    }

    /// The objects of a list that are ours.
    pub(super) fn items(&self, list: &Value, items: &mut BTreeMap<String, Held>) -> Result<()> {
        for item in list["items"].as_array().context("a list without items")? {
            if let Some(key) = self.key(item) {
                items.insert(key, self.held(item)?);
            }
        }
        Ok(())
    }

    /// The key of an object, if it is one of ours.
    pub(super) fn key(&self, object: &Value) -> Option<String> {
        let metadata = &object["metadata"];
        let namespace = metadata["namespace"].as_str().filter(|namespace| NAMESPACES.contains(namespace))?;
        let name = metadata["name"].as_str().filter(|name| name.starts_with('h') || name.starts_with(END))?;
        Some(format!("{}/{namespace}/{name}", self.name))
    }
}

/// One object.
pub(super) struct Target<'a> {
    pub(super) resource: &'static Resource,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
}

pub(super) struct Request {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) content: Option<(&'static str, Value)>,
}

impl Target<'_> {
    pub(super) fn key(&self) -> String {
        format!("{}/{}/{}", self.resource.name, self.namespace, self.name)
    }

    /// Where there are two ways to say the same, the coin chooses.
    pub(super) fn request(&self, asked: &Asked, coin: bool) -> Request {
        let Self { resource, namespace, name } = self;
        let [outer, inner] = resource.field;
        let collection = resource.path(Some(namespace));
        let path = format!("{collection}/{name}");
        let with_version = |mut body: Value, version: &u64| {
            body["metadata"]["resourceVersion"] = version.to_string().into();
            body
        };
        let merge = |value: &str| json!({outer: {inner: resource.shown(value)}, "metadata": {}});
        let delete =
            |preconditions: Value| json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions});
        let (method, path, content) = match asked {
            Asked::Get | Asked::List(_) => ("GET", path, None),
            Asked::Put(value, Guard::Absent) => ("POST", collection, Some((JSON, resource.body(name, value)))),
            // A PUT of a resource that is not replaced unseen creates what is not there, whatever version it names.
            Asked::Put(value, Guard::Version(version)) if coin && resource.is_replaced_unseen => {
                ("PUT", path, Some((JSON, with_version(resource.body(name, value), version))))
            }
            Asked::Put(value, Guard::Version(version)) => {
                ("PATCH", path, Some((MERGE_PATCH, with_version(merge(value), version))))
            }
            Asked::Put(value, Guard::Present) if coin && resource.is_replaced_unseen => {
                ("PUT", path, Some((JSON, resource.body(name, value))))
            }
            Asked::Put(value, Guard::Present) => ("PATCH", path, Some((MERGE_PATCH, merge(value)))),
            Asked::Put(value, Guard::Value(old)) => {
                let field = format!("/{outer}/{inner}");
                let test = json!({"op": "test", "path": field, "value": resource.shown(old)});
                let replace = json!({"op": "replace", "path": field, "value": resource.shown(value)});
                ("PATCH", path, Some((JSON_PATCH, json!([test, replace]))))
            }
            Asked::Put(value, Guard::Uid(uid)) => {
                let mut body = merge(value);
                body["metadata"]["uid"] = uid.as_str().into();
                ("PATCH", path, Some((MERGE_PATCH, body)))
            }
            Asked::Delete(Guard::Version(version)) => {
                ("DELETE", path, Some((JSON, delete(json!({"resourceVersion": version.to_string()})))))
            }
            Asked::Delete(Guard::Uid(uid)) => ("DELETE", path, Some((JSON, delete(json!({"uid": uid}))))),
            Asked::Delete(_) => ("DELETE", path, None),
        };
        Request { method, path, content }
    }

    /// What an answer means.
    pub(super) fn told(&self, asked: &Asked, status: u16, body: &Value) -> Result<Told> {
        let guard = match asked {
            Asked::Put(_, guard) | Asked::Delete(guard) => Some(guard),
            Asked::Get | Asked::List(_) => None,
        };
        Ok(match (status, asked, guard) {
            (200, Asked::Delete(_), _) => {
                let uid = body["details"]["uid"].as_str().or(body["metadata"]["uid"].as_str());
                Told::Removed(uid.with_context(|| format!("a removal without uid: {body}"))?.to_owned())
            }
            (201, _, Some(Guard::Absent)) => Told::Held(self.resource.held(body)?),
            (200, _, guard) if guard != Some(&Guard::Absent) => Told::Held(self.resource.held(body)?),
            (404, _, guard) if guard != Some(&Guard::Absent) => Told::Missing,
            (409, _, Some(Guard::Absent | Guard::Version(_) | Guard::Uid(_))) => Told::Unmet,
            // The server met others too often while it tried.
            (409, _, Some(_)) => Told::Refused("conflict".to_owned()),
            (422, _, Some(Guard::Value(_))) => Told::Unmet,
            (status, _, _) => return no_answer(status, body),
        })
    }
}

/// What it means that there is neither an object nor a reason in it.
pub(super) fn no_answer(status: u16, body: &Value) -> Result<Told> {
    let message = format!("{status} {}", body["message"].as_str().unwrap_or_default());
    match status {
        410 | 429 | 503 => Ok(Told::Refused(message)),
        504 => Ok(Told::Unknown(message)),
        _ => anyhow::bail!("{message}: {body}"),
    }
}
