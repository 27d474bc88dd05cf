//! Streams of a pod, as far as they get without a kubelet.

use portcullis_model::schema::encode_json;

use super::*;
use crate::admission::{Attempt, Operation, Pass};
use crate::registry::Served;

const PODS: &str = "/api/v1/namespaces/default/pods";

/// Refuses every connection, and says to what and with which options.
struct Quarantine;

impl Plugin for Quarantine {
    fn name(&self) -> &'static str {
        "Quarantine"
    }

    fn handles(&self, served: &Served, operation: Operation) -> bool {
        served.is("", "pods") && operation == Operation::Connect
    }

    fn admit<'a>(&'a self, attempt: &'a mut Attempt<'_>) -> Pass<'a> {
        let options = attempt.new().map(|options| encode_json::to_vec(attempt.served().schema, options));
        let options = String::from_utf8(options.unwrap()).unwrap();
        let why = format!("{} of {} with {options}", attempt.subresource(), attempt.name);
        Pass::Now(Err(attempt.forbidden(&why)))
    }
}

async fn pod(cluster: &Cluster, name: &str, spec: Value) {
    let said = cluster.post(PODS, json!({"metadata": {"name": name}, "spec": spec})).await;
    assert_eq!(said.code, 201, "{}", said.message());
}

fn containers(names: &[&str]) -> Value {
    names.iter().map(|name| json!({"name": name, "image": "i"})).collect()
}

#[tokio::test]
async fn options_pod_container_node() {
    let cluster = Cluster::new().await;
    pod(&cluster, "idle", json!({"containers": containers(&["c"])})).await;
    pod(&cluster, "adrift", json!({"nodeName": "gone", "containers": containers(&["c"])})).await;
    pod(&cluster, "pair", json!({"containers": containers(&["a", "b"])})).await;
    let crew = json!({"containers": containers(&["a", "b"]), "initContainers": containers(&["x", "y"])});
    pod(&cluster, "crew", crew).await;
    pod(&cluster, "homeless", json!({"nodeName": "bare", "containers": containers(&["c"])})).await;
    pod(&cluster, "moored", json!({"nodeName": "quay", "containers": containers(&["c"])})).await;
    for (name, addresses) in [("bare", json!([])), ("quay", json!([{"type": "Hostname", "address": "quay"}]))] {
        let node = json!({"metadata": {"name": name}, "status": {"addresses": addresses}});
        assert_eq!(cluster.post("/api/v1/nodes", node).await.code, 201);
    }
    let check = async |method: &str, path: &str, code: u16, message: &str| {
        let said = cluster.send(method, &format!("{PODS}/{path}"), &[], "").await;
        let found = if said.body.is_empty() { String::new() } else { said.message() };
        assert_eq!((said.code, found.as_str()), (code, message), "{method} {path}");
    };
    let negative =
        "PodLogOptions \"none\" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0";
    check("GET", "none/log?tailLines=-1", 422, negative).await;
    check("GET", "none/log?tailLines=x", 400, "strconv.ParseInt: parsing \"x\": invalid syntax").await;
    let ports = "cannot convert to []int32: strconv.ParseUint: parsing \"x\": invalid syntax";
    check("POST", "none/portforward?ports=x", 400, ports).await;
    let choose = "a container name must be specified for pod pair, choose one of: [a b]";
    let choose_among_all =
        "a container name must be specified for pod crew, choose one of: [a b] or one of the init containers: [x y]";
    let no_host = "pod idle does not have a host assigned";
    for (method, stream) in [("GET", "log"), ("POST", "exec"), ("GET", "exec"), ("POST", "attach"), ("GET", "attach")] {
        check(method, &format!("none/{stream}"), 404, "pods \"none\" not found").await;
        check(method, &format!("pair/{stream}"), 400, choose).await;
        check(method, &format!("crew/{stream}"), 400, choose_among_all).await;
        let no_such = "container nosuch is not valid for pod pair";
        check(method, &format!("pair/{stream}?container=nosuch"), 400, no_such).await;
        let alone = if stream == "log" { (204, "") } else { (400, no_host) };
        check(method, &format!("idle/{stream}?container=c"), alone.0, alone.1).await;
        check(method, &format!("adrift/{stream}"), 404, "pods \"gone\" not found").await;
    }
    check("POST", "none/portforward", 404, "pods \"none\" not found").await;
    check("POST", "idle/portforward", 400, no_host).await;
    check("POST", "pair/portforward", 400, "pod pair does not have a host assigned").await;
    check("GET", "homeless/log", 500, "no preferred addresses found; known addresses: []").await;
    let not_yet = "log of pods is not served here yet: this server does not connect to nodes (node \"quay\")";
    check("GET", "moored/log", 503, not_yet).await;
    check("POST", "moored/log", 405, "the server does not allow this method on the requested resource").await;
    check("DELETE", "moored/exec", 405, "the server does not allow this method on the requested resource").await;
}

#[tokio::test]
async fn admission_judges_connections() {
    let cluster = Cluster::with(Config::default(), Vec::new(), Some(vec![Box::new(Quarantine)])).await;
    let check = async |path: &str, message: &str| {
        let said = cluster.send("POST", &format!("{PODS}/{path}"), &[], "").await;
        let message = format!("pods \"a\" is forbidden: {message}");
        assert_eq!((said.code, said.message()), (403, message), "{path}");
    };
    check("a/exec?command=ls&tty=true", r#"exec of a with {"tty":true,"command":["ls"]}"#).await;
    check("a/attach?stdin=1", r#"attach of a with {"stdin":true}"#).await;
    check("a/portforward?ports=80", r#"portforward of a with {"ports":[80]}"#).await;
    // To read a log is no connection.
    assert_eq!(cluster.get(&format!("{PODS}/a/log")).await.code, 404);
}
