//! A further permission, where a request does more than its verb says: the same authorisers are asked about the same thing with another
//! verb (upstream: the create behind a PUT, and `AuthorizePodWebsocketUpgradeCreatePermission` of KEP-4006).

use portcullis_gate::{Attributes, Permitted, Profile, ResourceInfo, Target, Verb, Verdict};
use portcullis_model::status::{Refused, Status, refusal};

use crate::answer::Failure;

/// Subresources of pods through which somebody acts in the pod.
const POD_STREAMS: [&str; 3] = ["attach", "exec", "portforward"];
/// Paths of a kubelet with the same effect, in lower case.
const KUBELET_STREAMS: [&str; 4] = ["attach", "exec", "portforward", "run"];

/// Whether a request opens a stream into a pod by another verb than `create`, which it then needs, too: a WebSocket begins with a GET, and
/// who may only read must not act. Under the locked profile the same holds on the way around, through a node's proxy.
pub fn needs_create(profile: Profile, info: &ResourceInfo<'_>) -> bool {
    !info.subresource.is_empty() && info.verb != Verb::Create && opens_stream(profile, info)
}

fn opens_stream(profile: Profile, info: &ResourceInfo<'_>) -> bool {
    match (info.group, info.resource, info.subresource) {
        ("", "pods", subresource) => POD_STREAMS.contains(&subresource),
        // Dots and case are the kubelet's to read, so what might lead to a stream counts as one.
        ("", "nodes", "proxy") if profile == Profile::Locked => {
            let mut segments = info.tail.split('/').filter(|segment| !matches!(*segment, "" | "."));
            let first = segments.next().unwrap_or_default().to_ascii_lowercase();
            KUBELET_STREAMS.contains(&first.as_str()) || first == ".." || segments.any(|segment| segment == "..")
        }
        _ => false,
    }
}

/// Lets a request go on whose user may do this, too, to what the request is about.
///
/// # Errors
/// 403, in the words of the gate for a request with this verb.
pub async fn require(permitted: &Permitted, verb: &str) -> Result<(), Failure> {
    let attributes = Attributes { verb, ..permitted.attributes() };
    let reason = match permitted.authorizers().decide(&attributes).await {
        Verdict::Allow { .. } => return Ok(()),
        Verdict::Deny { reason } | Verdict::NoOpinion { reason } => reason,
    };
    let user = &attributes.user.name;
    tracing::info!(
        audit_id = permitted.audit_id().to_str().unwrap_or_default(),
        user,
        verb,
        path = permitted.info().path(),
        gate = "authz",
        reason = &*reason,
        "request refused"
    );
    Err(Box::new(match attributes.target {
        Target::Resource { group, namespace, resource, subresource, name, .. } => {
            let full = if subresource.is_empty() { resource.to_owned() } else { format!("{resource}/{subresource}") };
            let namespace = Some(namespace).filter(|namespace| !namespace.is_empty());
            let what = Refused::Resource { resource: &full, group, namespace };
            Status::forbidden(group, resource, name, &refusal(user, verb, what, &reason))
        }
        Target::Path(path) => Status::forbidden("", "", "", &refusal(user, verb, Refused::Path(path), &reason)),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams() {
        let check = |resource: &str, subresource: &str, tail: &str, expected: [bool; 2]| {
            let info = ResourceInfo {
                prefix: "api",
                group: "",
                version: "v1",
                namespace: "",
                resource,
                subresource,
                name: "a",
                path_name: "a",
                tail,
                verb: Verb::Get,
                is_in_namespace: false,
                is_verb_in_path: false,
            };
            let found = [Profile::Locked, Profile::Upstream].map(|profile| opens_stream(profile, &info));
            assert_eq!(found, expected, "{resource}/{subresource}/{tail}");
        };
        check("pods", "exec", "", [true, true]);
        check("pods", "attach", "", [true, true]);
        check("pods", "portforward", "", [true, true]);
        check("pods", "log", "", [false, false]);
        check("pods", "proxy", "exec", [false, false]);
        check("services", "proxy", "exec", [false, false]);
        check("nodes", "proxy", "", [false, false]);
        check("nodes", "proxy", "pods", [false, false]);
        check("nodes", "proxy", "metrics/exec", [false, false]);
        check("nodes", "proxy", "exec/default/web/app", [true, false]);
        check("nodes", "proxy", "//./Exec/default/web/app", [true, false]);
        check("nodes", "proxy", "run/default/web/app", [true, false]);
        check("nodes", "proxy", "portForward/default/web", [true, false]);
        check("nodes", "proxy", "pods/../exec/default/web/app", [true, false]);
    }
}
