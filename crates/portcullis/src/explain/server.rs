//! What is asked of the server: what resources it has, all roles and bindings, and what it would decide itself.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use http::header::ACCEPT;
use http::{HeaderValue, StatusCode};
use portcullis_apiserver::rbac::{SORTS, set};
use portcullis_client::{Access, Answer, Client, DialRule, Outgoing};
use portcullis_gate::rbac::{GROUP, Id, Policy};
use portcullis_gate::{Attributes, Target};
use serde_json::{Value, json};

use super::resources::{self, Resource};

/// Objects of one answer.
const PAGE_OBJECTS: usize = 500;
/// Answers of one resource.
const PAGES_MAX: usize = 400;
/// Longest answer, in bytes: a page of the largest roles.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Longest part of an answer that is shown when it is an error.
const SHOWN_CHARS_MAX: usize = 400;
const AGGREGATED: HeaderValue =
    HeaderValue::from_static("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");

/// A server, and whom it takes us for.
pub(super) struct Server {
    client: Client,
    /// The namespace of the kubeconfig's context.
    pub(super) namespace: Option<String>,
}

/// What a server says that it would decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decided {
    pub(super) allowed: bool,
    pub(super) reason: String,
}

impl Server {
    /// The server of a kubeconfig.
    pub(super) fn of(kubeconfig: &Path) -> Result<Server> {
        let access = Access::from_file(kubeconfig)?;
        let everything = ["0.0.0.0/0", "::/0"].into_iter().map(str::parse).collect::<Result<_, _>>()?;
        // The person at the keyboard may ask whom they like.
        let rule = DialRule { allowed: everything, ..DialRule::default() };
        let client = Client::new(&access, rule).with_context(|| format!("{}", kubeconfig.display()))?;
        Ok(Server { client, namespace: access.namespace })
    }

    /// All resources, as the server prefers them.
    pub(super) async fn resources(&self) -> Result<Vec<Resource>> {
        let mut all = Vec::new();
        for path in ["/api", "/apis"] {
            let mut outgoing = Outgoing::get(path);
            outgoing.headers.insert(ACCEPT, AGGREGATED);
            outgoing.response_bytes_max = ANSWER_BYTES_MAX;
            all.append(&mut resources::read(&json_of(path, &self.client.send(&outgoing).await?)?));
        }
        Ok(all)
    }

    /// All roles and bindings.
    pub(super) async fn policy(&self) -> Result<Policy> {
        let mut policy = Policy::default();
        for (resource, sort) in SORTS {
            let mut from = String::new();
            for page in 0.. {
                if page == PAGES_MAX {
                    bail!("there are more than {} {resource}", PAGES_MAX * PAGE_OBJECTS);
                }
                let path = format!("/apis/{GROUP}/v1/{resource}?limit={PAGE_OBJECTS}&continue={from}");
                let mut outgoing = Outgoing::get(&path);
                outgoing.response_bytes_max = ANSWER_BYTES_MAX;
                let list = json_of(&path, &self.client.send(&outgoing).await?)?;
                for object in list["items"].as_array().into_iter().flatten() {
                    let part = |name: &str| object["metadata"][name].as_str().unwrap_or_default();
                    let id = Id::new(part("namespace"), part("name"));
                    // As the server itself does: what cannot be read gives nothing.
                    if let Err(error) = policy.change(|change| set(change, sort, id, object)) {
                        eprintln!("warning: {resource} {:?} cannot be read: {error}", part("name"));
                    }
                }
                from = list["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
                if from.is_empty() {
                    break;
                }
            }
        }
        Ok(policy)
    }

    /// What the server would decide; nothing when we may not ask.
    pub(super) async fn decide(&self, attributes: &Attributes<'_>) -> Result<Option<Decided>> {
        let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        let body = json!({"spec": question(attributes)}).to_string();
        let answer = self.client.send(&Outgoing::post(path, body.into())).await?;
        if answer.status == StatusCode::FORBIDDEN {
            return Ok(None);
        }
        let review = json_of(path, &answer)?;
        let status = &review["status"];
        let reason = status["reason"].as_str().unwrap_or_default().to_owned();
        Ok(Some(Decided { allowed: status["allowed"] == true, reason }))
    }
}

/// The spec of a review of the question.
fn question(attributes: &Attributes<'_>) -> Value {
    let (user, verb) = (attributes.user, attributes.verb);
    let mut spec = json!({"user": user.name, "groups": user.groups});
    match attributes.target {
        Target::Path(path) => spec["nonResourceAttributes"] = json!({"path": path, "verb": verb}),
        Target::Resource { group, version, namespace, resource, subresource, name, .. } => {
            spec["resourceAttributes"] = json!({
                "group": group, "version": version, "namespace": namespace, "resource": resource,
                "subresource": subresource, "name": name, "verb": verb,
            });
        }
    }
    spec
}

fn json_of(path: &str, answer: &Answer) -> Result<Value> {
    let value = serde_json::from_slice::<Value>(&answer.body);
    if answer.status.is_success() {
        return value.with_context(|| format!("the answer to {path} is no JSON"));
    }
    let message = value.ok().and_then(|value| value["message"].as_str().map(str::to_owned));
    let message: String = message.unwrap_or_default().chars().take(SHOWN_CHARS_MAX).collect();
    bail!("{path}: {} {message}", answer.status)
}

#[cfg(test)]
mod tests {
    use portcullis_gate::{Identity, Selection};

    use super::*;

    #[test]
    fn the_server_is_asked_the_same() {
        let user = Identity { name: "ana".to_owned(), groups: vec!["devs".to_owned()], ..Identity::default() };
        let path = Attributes { user: &user, verb: "get", target: Target::Path("/metrics") };
        let asked =
            json!({"user": "ana", "groups": ["devs"], "nonResourceAttributes": {"path": "/metrics", "verb": "get"}});
        assert_eq!(question(&path), asked);
        let target = Target::Resource {
            group: "apps",
            version: "v1",
            namespace: "shop",
            resource: "deployments",
            subresource: "scale",
            name: "web",
            selectors: Selection::ALL,
        };
        let asked = question(&Attributes { user: &user, verb: "update", target });
        assert_eq!(asked["resourceAttributes"]["subresource"], "scale");
        assert_eq!(asked["resourceAttributes"]["namespace"], "shop");
    }
}
