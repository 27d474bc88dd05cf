//! What a table shows.

use super::*;

#[test]
fn a_row_says_how_the_pod_is() {
    let check = |spec: Value, status: Value, expected: [&str; 3]| {
        let mut held = pod(&json!({}), &spec);
        held["status"] = status.clone();
        let found = ["Ready", "Status", "Restarts"].map(|column| cell(&held, column, 1_000));
        assert_eq!(found, expected, "{status}");
    };
    let none = || json!({});
    check(none(), json!({"phase": "Pending"}), ["0/1", "Pending", "0"]);
    check(none(), json!({"phase": "Failed", "reason": "Evicted"}), ["0/1", "Evicted", "0"]);
    let gated = json!([{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]);
    check(none(), json!({"phase": "Pending", "conditions": gated}), ["0/1", "SchedulingGated", "0"]);
    let container = |state: Value| json!({"phase": "Running", "containerStatuses": [{"name": "c", "ready": true, "restartCount": 2, "state": state}]});
    check(none(), container(json!({"running": {}})), ["1/1", "Running", "2"]);
    check(none(), container(json!({"waiting": {"reason": "CrashLoopBackOff"}})), ["0/1", "CrashLoopBackOff", "2"]);
    check(none(), container(json!({"terminated": {"exitCode": 3}})), ["0/1", "ExitCode:3", "2"]);
    check(none(), container(json!({"terminated": {"exitCode": 3, "signal": 9}})), ["0/1", "Signal:9", "2"]);
    let mut restarted = container(json!({"running": {}}));
    restarted["containerStatuses"][0]["lastState"] =
        json!({"terminated": {"exitCode": 1, "finishedAt": "1970-01-01T00:15:00Z"}});
    check(none(), restarted, ["1/1", "Running", "2 (100s ago)"]);
    let done = json!({"phase": "Running", "containerStatuses": [
        {"name": "c", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}},
        {"name": "d", "ready": true, "state": {"running": {}}}]});
    let two = json!({"containers": [{"name": "c"}, {"name": "d"}]});
    check(two, done, ["1/2", "NotReady", "0"]);
}

#[test]
fn a_row_says_how_init_containers_are() {
    let spec = json!({"initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}]});
    let check = |init: Value, expected: [&str; 3]| {
        let mut held = pod(&json!({}), &spec);
        held["status"] = json!({"phase": "Pending", "initContainerStatuses": init.clone()});
        let found = ["Ready", "Status", "Restarts"].map(|column| cell(&held, column, 0));
        assert_eq!(found, expected, "{init}");
    };
    let first = |state: Value| json!({"name": "i", "restartCount": 4, "state": state});
    check(json!([first(json!({"running": {}}))]), ["0/2", "Init:0/2", "4"]);
    check(json!([first(json!({"waiting": {"reason": "PodInitializing"}}))]), ["0/2", "Init:0/2", "4"]);
    check(json!([first(json!({"waiting": {"reason": "ErrImagePull"}}))]), ["0/2", "Init:ErrImagePull", "4"]);
    check(json!([first(json!({"terminated": {"exitCode": 2}}))]), ["0/2", "Init:ExitCode:2", "4"]);
    let done = first(json!({"terminated": {"exitCode": 0}}));
    let side = |started: bool| json!({"name": "s", "ready": true, "started": started, "restartCount": 1, "state": {"running": {}}});
    check(json!([done, side(false)]), ["0/2", "Init:1/2", "5"]);
    check(json!([done, side(true)]), ["1/2", "Pending", "1"]);
}

#[test]
fn a_row_says_that_the_pod_goes() {
    let check = |status: Value, expected: &str| {
        let mut held = pod(&json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}), &json!({}));
        held["status"] = status;
        assert_eq!(cell(&held, "Status", 0), expected);
    };
    check(json!({"phase": "Running"}), "Terminating");
    check(json!({"phase": "Running", "reason": "NodeLost"}), "Unknown");
    check(json!({"phase": "Succeeded"}), "Succeeded");
}

#[test]
fn a_wide_row_says_where_the_pod_is() {
    let mut held = pod(&json!({}), &json!({}));
    let columns = ["IP", "Node", "Nominated Node", "Readiness Gates"];
    assert_eq!(columns.map(|column| cell(&held, column, 0)), ["<none>"; 4]);
    held["spec"]["nodeName"] = json!("quay");
    held["spec"]["readinessGates"] = json!([{"conditionType": "example.com/a"}, {"conditionType": "example.com/b"}]);
    held["status"] = json!({"podIPs": [{"ip": "10.0.0.1"}], "nominatedNodeName": "pier", "conditions": [
        {"type": "example.com/a", "status": "True"}, {"type": "example.com/b", "status": "False"}]});
    assert_eq!(columns.map(|column| cell(&held, column, 0)), ["10.0.0.1", "quay", "pier", "1/2"]);
}
