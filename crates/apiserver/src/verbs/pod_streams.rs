//! `/log`, `/exec`, `/attach` and `/portforward` of a pod: all that is decided before its node is called (upstream: `LogREST`, `ExecREST`,
//! `AttachREST` and `PortForwardREST` with `LogLocation` and `streamLocation` of the pod registry).
//!
//! Options, pod, container, node, in upstream's order. Whether `exec` and `attach` have a stream to connect is the kubelet's to judge, as
//! it is upstream. That a user who may only read needs `create` too is asked before ([`crate::permission`]).

use http::{Response, StatusCode};
use portcullis_gate::Body;
use portcullis_kinds::views;
use portcullis_kinds::views::core_v1::{
    Container, EphemeralContainer, Node, Pod, PodAttachOptions, PodExecOptions, PodLogOptions, PodPortForwardOptions,
    PodSpec,
};
use portcullis_kinds::vocabulary::gates;
use portcullis_model::schema::TypeId;
use portcullis_model::status::{FieldError, Status};
use portcullis_model::tree::Tree;
use portcullis_store::Snapshot;

use super::typed_options;
use crate::admission::{Attempt, Operation};
use crate::answer::{Answer, Failure, unreadable};
use crate::request::Request;
use crate::server::ApiServer;

const NOT_NEGATIVE: &str = "must be greater than or equal to 0";
const POSITIVE: &str = "must be greater than 0";
/// Which of a container's outputs a log may be of (KEP-3288), and the gate that lets a client choose.
const LOG_STREAMS: [&str; 3] = [LOG_STREAM_ALL, "Stderr", "Stdout"];
const LOG_STREAM_ALL: &str = "All";
const SPLIT_STREAMS: &str = "PodLogsQuerySplitStreams";

/// Answers a request for one of the streams.
pub async fn open(server: &ApiServer, request: &Request<'_>) -> Result<Answer, Failure> {
    match request.info.subresource {
        "log" => log(server, request).await,
        "exec" => {
            let options = connect(server, request, PodExecOptions::TYPE).await?;
            to_container(server, request, views::read::<PodExecOptions<'_>>(&options).container()).await
        }
        "attach" => {
            let options = connect(server, request, PodAttachOptions::TYPE).await?;
            to_container(server, request, views::read::<PodAttachOptions<'_>>(&options).container()).await
        }
        "portforward" => {
            connect(server, request, PodPortForwardOptions::TYPE).await?;
            let (snapshot, pod) = pod(server, request).await?;
            to_node(server, request, &snapshot, views::read(&pod))
        }
        _ => Err(Box::new(Status::method_not_allowed())),
    }
}

async fn log(server: &ApiServer, request: &Request<'_>) -> Result<Answer, Failure> {
    let options = typed_options::read(request.served.schema, PodLogOptions::TYPE, request.query)?;
    let options: PodLogOptions<'_> = views::read(&options);
    let errors = complaints(options, gates::is_on(SPLIT_STREAMS));
    if !errors.is_empty() {
        return Err(Box::new(Status::invalid("", "PodLogOptions", request.path_name(), &errors)));
    }
    let (snapshot, pod) = pod(server, request).await?;
    let pod: Pod<'_> = views::read(&pod);
    check_container(pod, options.container())?;
    if pod.spec().node_name().is_empty() {
        // Who runs nowhere has not said anything.
        let mut silence = Response::new(Body::from(Vec::new()));
        *silence.status_mut() = StatusCode::NO_CONTENT;
        return Ok(Answer::Ready(silence));
    }
    to_node(server, request, &snapshot, pod)
}

/// What is wrong with the options of a log.
fn complaints(options: PodLogOptions<'_>, may_choose_stream: bool) -> Vec<FieldError> {
    // Upstream's path of what is wrong with the whole.
    const WHOLE: &str = "[]";
    let mut errors = Vec::new();
    if let Some(lines) = options.tail_lines().filter(|lines| *lines < 0) {
        errors.push(FieldError::invalid("tailLines", lines, NOT_NEGATIVE));
    }
    if let Some(bytes) = options.limit_bytes().filter(|bytes| *bytes < 1) {
        errors.push(FieldError::invalid("limitBytes", bytes, POSITIVE));
    }
    match (options.since_seconds(), options.since_time()) {
        (Some(_), Some(_)) => {
            let why = "at most one of `sinceTime` or `sinceSeconds` may be specified";
            errors.push(FieldError::forbidden(WHOLE, why));
        }
        (Some(seconds), None) if seconds < 1 => errors.push(FieldError::invalid("sinceSeconds", seconds, POSITIVE)),
        _ => {}
    }
    match options.stream() {
        Some(_) if !may_choose_stream => errors.push(FieldError::forbidden("stream", "may not be specified")),
        Some(stream) => {
            if !LOG_STREAMS.contains(&stream) {
                errors.push(FieldError::not_supported("stream", stream, &LOG_STREAMS));
            }
            if stream != LOG_STREAM_ALL && options.tail_lines().is_some() {
                let why = "`tailLines` and specific `stream` are mutually exclusive for now";
                errors.push(FieldError::forbidden(WHOLE, why));
            }
        }
        None => {}
    }
    errors
}

/// Reads the options of a connection, and asks admission about it.
async fn connect(server: &ApiServer, request: &Request<'_>, ty: TypeId) -> Result<Tree, Failure> {
    let mut options = typed_options::read(request.served.schema, ty, request.query)?;
    let operation = Operation::Connect;
    if !server.admission.concerns(request.served, operation, request.permitted.identity()) {
        return Ok(options);
    }
    let snapshot = server.newest().await?;
    let mut attempt = Attempt {
        server,
        request,
        operation,
        name: request.path_name(),
        object: Some(&mut options),
        old: None,
        snapshot: &snapshot,
        dry_run: false,
        alongside: None,
    };
    server.admission.admit(&mut attempt).await?;
    server.admission.validate(&attempt).await?;
    Ok(options)
}

/// The pod of the path as it is now, and the state that it was found in.
async fn pod(server: &ApiServer, request: &Request<'_>) -> Result<(Snapshot, Tree), Failure> {
    let (pods, name) = (request.served, request.path_name());
    let missing = || Box::new(Status::not_found("", "pods", name));
    let snapshot = server.newest().await?;
    let key = pods.key(request.namespace(), name).ok_or_else(missing)?;
    let pod = pods.load(&snapshot.get(&key).ok_or_else(missing)?.value).map_err(unreadable)?;
    Ok((snapshot, pod))
}

async fn to_container(server: &ApiServer, request: &Request<'_>, container: &str) -> Result<Answer, Failure> {
    let (snapshot, pod) = pod(server, request).await?;
    let pod: Pod<'_> = views::read(&pod);
    check_container(pod, container)?;
    to_node(server, request, &snapshot, pod)
}

/// Whether the pod has the container, or needs nobody to say which one is meant. The annotation that names a default is for clients,
/// who say what it says.
fn check_container(pod: Pod<'_>, named: &str) -> Result<(), Failure> {
    let (name, spec) = (pod.metadata().name(), pod.spec());
    if !named.is_empty() {
        if names(spec).any(|held| held == named) {
            return Ok(());
        }
        return Err(Box::new(Status::bad_request(format!("container {named} is not valid for pod {name}"))));
    }
    let joined = |containers: views::List<'_, Container<'_>>| {
        containers.iter().map(Container::name).collect::<Vec<_>>().join(" ")
    };
    let mut why = format!("a container name must be specified for pod {name}");
    match spec.containers().len() {
        1 => return Ok(()),
        0 => {}
        _ => {
            why.push_str(&format!(", choose one of: [{}]", joined(spec.containers())));
            if !spec.init_containers().is_empty() {
                why.push_str(&format!(" or one of the init containers: [{}]", joined(spec.init_containers())));
            }
        }
    }
    Err(Box::new(Status::bad_request(why)))
}

/// The names of all containers of a pod.
fn names(spec: PodSpec<'_>) -> impl Iterator<Item = &str> {
    let lasting = spec.init_containers().iter().chain(spec.containers().iter()).map(Container::name);
    lasting.chain(spec.ephemeral_containers().iter().map(EphemeralContainer::name))
}

/// Goes on at the pod's node.
fn to_node(server: &ApiServer, request: &Request<'_>, snapshot: &Snapshot, pod: Pod<'_>) -> Result<Answer, Failure> {
    let node = pod.spec().node_name();
    if node.is_empty() {
        let name = request.path_name();
        return Err(Box::new(Status::bad_request(format!("pod {name} does not have a host assigned"))));
    }
    // Upstream names the resource of the request, whatever it was that is missing.
    let missing = || Box::new(Status::not_found("", "pods", node));
    let nodes = server.registry.find("", "v1", "nodes").ok_or_else(missing)?;
    let key = nodes.key("", node).ok_or_else(missing)?;
    let held = nodes.load(&snapshot.get(&key).ok_or_else(missing)?.value).map_err(unreadable)?;
    if views::read::<Node<'_>>(&held).status().addresses().is_empty() {
        return Err(Box::new(Status::unexpected("no preferred addresses found; known addresses: []")));
    }
    // Nothing is wrong with the request, and it may work once this server has what it takes to call a kubelet (a client certificate
    // that kubelets know, and their addresses judged before they are dialled): 503, not 405. It says no time after which to try again.
    let subresource = request.info.subresource;
    let why =
        format!("{subresource} of pods is not served here yet: this server does not connect to nodes (node {node:?})");
    Err(Box::new(Status::service_unavailable(why)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use portcullis_gate::Query;

    use super::*;

    #[test]
    fn options_of_a_log() {
        let check = |query: &str, may_choose: bool, expected: &[&str]| {
            let tree = typed_options::read(portcullis_kinds::schema(), PodLogOptions::TYPE, Query::new(query)).unwrap();
            let found = complaints(views::read(&tree), may_choose);
            assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), expected, "{query}");
        };
        check("", false, &[]);
        check("tailLines=0&limitBytes=1&sinceSeconds=1", false, &[]);
        check(
            "tailLines=-1&limitBytes=0&sinceSeconds=0",
            false,
            &[
                "tailLines: Invalid value: -1: must be greater than or equal to 0",
                "limitBytes: Invalid value: 0: must be greater than 0",
                "sinceSeconds: Invalid value: 0: must be greater than 0",
            ],
        );
        check(
            "sinceSeconds=0&sinceTime=",
            false,
            &["[]: Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified"],
        );
        check("stream=All", false, &["stream: Forbidden: may not be specified"]);
        check("stream=All&tailLines=1", true, &[]);
        check("stream=Stdout", true, &[]);
        check(
            "stream=both&tailLines=1",
            true,
            &[
                "stream: Unsupported value: \"both\": supported values: \"All\", \"Stderr\", \"Stdout\"",
                "[]: Forbidden: `tailLines` and specific `stream` are mutually exclusive for now",
            ],
        );
    }
}
