//! Everything that a running server says it answers, one request for each path and verb, with the right that each needs. Objects in it
//! do not exist, collections are narrowed to nothing, and no request has content: none changes anything, whoever sends it.

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::client::Client;

/// The name of no object.
pub const ABSENT: &str = "matrix-absent";
/// The namespace of requests that have one.
pub const NAMESPACE: &str = "default";

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The verb of HTTP.
    pub method: &'static str,
    /// The path, with its query.
    pub path: String,
    /// What is needed to send it.
    pub right: Right,
}

/// What is needed to send a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Right {
    /// A verb on a resource.
    Resource {
        /// The verb.
        verb: &'static str,
        /// The group; empty for core.
        group: String,
        /// The resource, with its subresource as `pods/log`.
        resource: String,
    },
    /// `get` on a path.
    Path(String),
}

/// All requests of a server.
pub fn of(admin: &Client) -> Result<Vec<Request>> {
    let mut requests = Vec::new();
    for path in strings(&admin.get("/").json()["paths"]) {
        requests.push(Request { method: "GET", path: path.clone(), right: Right::Path(path) });
    }
    let mut group_versions = vec![("/api/v1".to_owned(), String::new())];
    let groups = admin.get("/apis").json();
    for group in groups["groups"].as_array().context("groups")? {
        for version in group["versions"].as_array().context("versions")? {
            let api_version = version["groupVersion"].as_str().context("groupVersion")?;
            let name = group["name"].as_str().context("name")?;
            group_versions.push((format!("/apis/{api_version}"), name.to_owned()));
        }
    }
    for (base, group) in group_versions {
        let list = admin.get(&base).json();
        for resource in list["resources"].as_array().with_context(|| format!("resources of {base}"))? {
            let name = resource["name"].as_str().context("name")?;
            let verbs = strings(&resource["verbs"]);
            add(&mut requests, &base, &group, name, resource["namespaced"] == true, &verbs);
        }
    }
    Ok(requests)
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

fn add(requests: &mut Vec<Request>, base: &str, group: &str, resource: &str, is_namespaced: bool, verbs: &[String]) {
    let (parent, sub) = resource.split_once('/').map_or((resource, ""), |(parent, sub)| (parent, sub));
    let collection =
        if is_namespaced { format!("{base}/namespaces/{NAMESPACE}/{parent}") } else { format!("{base}/{parent}") };
    let object = format!("{collection}/{ABSENT}{}{sub}", if sub.is_empty() { "" } else { "/" });
    let mut push = |verb: &'static str, method: &'static str, path: String| {
        let right = Right::Resource { verb, group: group.to_owned(), resource: resource.to_owned() };
        requests.push(Request { method, path, right });
    };
    for verb in verbs {
        match (verb.as_str(), sub.is_empty()) {
            ("get", _) => push("get", "GET", object.clone()),
            ("update", _) => push("update", "PUT", object.clone()),
            ("patch", _) => push("patch", "PATCH", object.clone()),
            ("delete", _) => push("delete", "DELETE", object.clone()),
            ("create", false) => push("create", "POST", object.clone()),
            ("create", true) => push("create", "POST", collection.clone()),
            ("deletecollection", true) => {
                push("deletecollection", "DELETE", format!("{collection}?labelSelector=matrix%3D{ABSENT}"));
            }
            ("list", true) => {
                push("list", "GET", collection.clone());
                if is_namespaced {
                    push("list", "GET", format!("{base}/{parent}"));
                }
            }
            // A watch that is granted is refused for its deadline, at once.
            ("watch", true) => push("watch", "GET", format!("{collection}?watch=1&timeoutSeconds=soon")),
            _ => {}
        }
    }
}
