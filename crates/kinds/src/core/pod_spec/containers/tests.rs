//! Containers of a pod, defaulted and checked as a whole: what passes, what is refused, and in which words.

#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;
use crate::core::pod::STRATEGY;
use crate::testing::{default_all, lines, read};
use crate::views::core_v1::Pod;
use crate::views::{self};

/// A spec with one container that has these fields beside what every container has.
fn with(fields: Value) -> Value {
    let mut container = json!({"name": "web", "image": "nginx:1"});
    container.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({"containers": [container], "terminationGracePeriodSeconds": 30, "restartPolicy": "Always"})
}

/// A pod of a spec, with the defaults of its containers.
fn pod(spec: &Value) -> portcullis_model::tree::Tree {
    let mut tree = read("v1", "Pod", &json!({"spec": spec}).to_string());
    default_all(&STRATEGY, &mut tree);
    tree
}

/// Everything that is said of a pod's containers.
fn said_of(spec: &Value, old: Option<&Value>) -> Vec<String> {
    let (tree, old) = (pod(spec), old.map(pod));
    let pod: Pod<'_> = views::read(&tree);
    let volumes: Vec<Volume<'_>> = pod.spec().volumes().iter().collect();
    let context = Context { volumes: &volumes, ..Context::of_pod(pod, old.as_ref().map(views::read)) };
    let (mut errors, at) = (Errors::new(), Path::new("spec"));
    validate(pod.spec(), context, &at, &mut errors);
    validate_pod_resources(pod.spec(), context, &at, &mut errors);
    validate_host_network(pod.spec(), context, &at, &mut errors);
    validate_only_for_pod(pod.spec(), &at, &mut errors);
    lines(errors)
}

fn check(spec: Value, expected: &[&str]) {
    let expected: Vec<String> = expected.iter().map(|line| format!("spec.{line}")).collect();
    assert_eq!(said_of(&spec, None), expected, "{spec}");
}

/// What is said of one container; paths are within it.
fn check_one(fields: Value, expected: &[&str]) {
    let expected: Vec<String> = expected.iter().map(|line| format!("containers[0].{line}")).collect();
    check(with(fields), &expected.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn a_container_has_a_name_of_its_own_and_an_image() {
    check_one(json!({}), &[]);
    check(json!({"containers": []}), &["containers: Required value"]);
    check_one(json!({"name": "", "image": ""}), &["name: Required value", "image: Required value"]);
    check_one(
        json!({"image": " nginx"}),
        &[r#"image: Invalid value: " nginx": must not have leading or trailing whitespace"#],
    );
    let two = json!({"containers": [{"name": "a", "image": "a"}, {"name": "a", "image": "a"}]});
    check(two, &[r#"containers[1].name: Duplicate value: "a""#]);
    let pull = r#"imagePullPolicy: Unsupported value: "other": supported values: "Always", "IfNotPresent", "Never""#;
    check_one(json!({"imagePullPolicy": "other"}), &[pull]);
    let message =
        r#"terminationMessagePolicy: Unsupported value: "x": supported values: "File", "FallbackToLogsOnError""#;
    check_one(json!({"terminationMessagePolicy": "x"}), &[message]);
}

#[test]
fn ports_are_apart() {
    let named = |name: &str| json!({"name": name, "containerPort": 80});
    check_one(json!({"ports": [named("http"), named("dns")]}), &[]);
    check_one(json!({"ports": [named("http"), named("http")]}), &[r#"ports[1].name: Duplicate value: "http""#]);
    check_one(json!({"ports": [{}]}), &["ports[0].containerPort: Required value"]);
    let range = "must be between 1 and 65535, inclusive";
    let wrong = json!({"ports": [{"containerPort": -7, "hostPort": 70_000, "protocol": "tcp"}]});
    let expected = [
        format!("ports[0].containerPort: Invalid value: -7: {range}"),
        format!("ports[0].hostPort: Invalid value: 70000: {range}"),
        r#"ports[0].protocol: Unsupported value: "tcp": supported values: "SCTP", "TCP", "UDP""#.to_owned(),
    ];
    check_one(wrong, &expected.each_ref().map(String::as_str));
    let host = json!({"containerPort": 80, "hostPort": 80});
    check_one(json!({"ports": [host, host]}), &[r#"ports[1].hostPort: Duplicate value: "TCP//80""#]);
    let elsewhere = json!({"containerPort": 80, "hostPort": 80, "hostIP": "192.0.2.1"});
    check_one(json!({"ports": [host, elsewhere]}), &[]);
}

#[test]
fn on_the_hosts_network_a_port_is_the_hosts() {
    let mut spec = with(json!({"ports": [{"containerPort": 80}]}));
    spec["hostNetwork"] = json!(true);
    check(spec.clone(), &[]);
    assert_eq!(crate::testing::json(&pod(&spec))["spec"]["containers"][0]["ports"][0]["hostPort"], 80);
    spec["containers"][0]["ports"][0]["hostPort"] = json!(81);
    check(
        spec,
        &["containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true"],
    );
}

#[test]
fn variables_have_one_source() {
    let from = |source: Value| json!({"env": [{"name": "A", "valueFrom": source}]});
    check_one(json!({"env": [{"name": "A", "value": "1"}, {"name": "B"}]}), &[]);
    check_one(json!({"env": [{"value": "1"}]}), &["env[0].name: Required value"]);
    let none = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
    check_one(from(json!({})), &[&format!(r#"env[0].valueFrom: Invalid value: "": {none}"#)]);
    for path in ["metadata.name", "status.podIPs", "spec.host", "metadata.labels['app']", "metadata.annotations['A/b']"]
    {
        check_one(from(json!({"fieldRef": {"fieldPath": path}})), &[]);
    }
    let at = "env[0].valueFrom.fieldRef";
    check_one(from(json!({"fieldRef": {}})), &[&format!("{at}.fieldPath: Required value")]);
    let unknown = "error converting fieldPath: field label not supported: a.b";
    let label = format!(r#"{at}.fieldPath: Invalid value: "a.b": {unknown}"#);
    check_one(from(json!({"fieldRef": {"fieldPath": "a.b"}})), &[&label]);
    let subscript = "error converting fieldPath: field label does not support subscript: metadata.name['a']";
    let line = format!(r#"{at}.fieldPath: Invalid value: "metadata.name['a']": {subscript}"#);
    check_one(from(json!({"fieldRef": {"fieldPath": "metadata.name['a']"}})), &[&line]);
    let version = format!(
        r#"{at}.fieldPath: Invalid value: "metadata.name": error converting fieldPath: unsupported pod version: v2"#
    );
    check_one(from(json!({"fieldRef": {"fieldPath": "metadata.name", "apiVersion": "v2"}})), &[&version]);
    let both = json!({"fieldRef": {"fieldPath": "metadata.name"}, "secretKeyRef": {"name": "a", "key": "b"}});
    check_one(
        from(both),
        &[r#"env[0].valueFrom: Invalid value: "": may not have more than one field specified at a time"#],
    );
    let valued =
        json!({"env": [{"name": "A", "value": "1", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}]});
    check_one(valued, &[r#"env[0].valueFrom: Invalid value: "": may not be specified when `value` is not empty"#]);
}

#[test]
fn variables_are_read_from_files_of_an_empty_dir() {
    let check_volume = |volumes: Value, expected: &[&str]| {
        let from = json!({"fileKeyRef": {"volumeName": "v", "path": "a", "key": "K"}});
        let container = json!({"name": "c", "image": "a", "env": [{"name": "A", "valueFrom": from}]});
        check(json!({"containers": [container], "volumes": volumes}), expected);
    };
    let at = "containers[0].env[0].valueFrom.fileKeyRef.volumeName";
    check_volume(json!([{"name": "v", "emptyDir": {}}]), &[]);
    check_volume(json!([]), &[&format!(r#"{at}: Not found: "v""#)]);
    let why = "referenced volume must be of type emptyDir";
    check_volume(
        json!([{"name": "v", "hostPath": {"path": "/a", "type": ""}}]),
        &[&format!(r#"{at}: Invalid value: "v": {why}"#)],
    );
}

#[test]
fn a_resource_is_shown_in_a_unit_that_fits() {
    let of = |resource: &str, divisor: &str| json!({"env": [{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": resource, "divisor": divisor}}}]});
    for (resource, divisor) in
        [("limits.cpu", "1m"), ("requests.memory", "1Mi"), ("limits.hugepages-2Mi", "1"), ("limits.memory", "0")]
    {
        check_one(of(resource, divisor), &[]);
    }
    let at = "env[0].valueFrom.resourceFieldRef";
    let why = "only divisor's values 1m and 1 are supported with the cpu resource";
    check_one(of("limits.cpu", "2"), &[&format!(r#"{at}.divisor: Invalid value: "limits.cpu": {why}"#)]);
    check_one(of("", "0"), &[&format!("{at}.resource: Required value")]);
    let known = r#""limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory""#;
    check_one(of("other", "2"), &[&format!(r#"{at}.resource: Unsupported value: "other": supported values: {known}"#)]);
}

#[test]
fn probes_and_events_do_one_thing() {
    let get = json!({"httpGet": {"port": 80}});
    check_one(
        json!({"livenessProbe": get, "readinessProbe": {"grpc": {"port": 1}}, "startupProbe": {"tcpSocket": {"port": "a"}}}),
        &[],
    );
    check_one(json!({"livenessProbe": {}}), &["livenessProbe: Required value: must specify a handler type"]);
    let two = json!({"livenessProbe": {"exec": {"command": ["a"]}, "httpGet": {"port": 80}}});
    check_one(two, &["livenessProbe.httpGet: Forbidden: may not specify more than 1 handler type"]);
    check_one(json!({"livenessProbe": {"exec": {}}}), &["livenessProbe.exec.command: Required value"]);
    let often = json!({"httpGet": {"port": 80}, "successThreshold": 2});
    check_one(json!({"readinessProbe": often}), &[]);
    check_one(json!({"startupProbe": often}), &["startupProbe.successThreshold: Invalid value: 2: must be 1"]);
    let killing = json!({"httpGet": {"port": 80}, "terminationGracePeriodSeconds": 1});
    check_one(json!({"livenessProbe": killing}), &[]);
    let not = "readinessProbe.terminationGracePeriodSeconds: Invalid value: 1: must not be set for readinessProbes";
    check_one(json!({"readinessProbe": killing}), &[not]);
    let sleep = |seconds: i64| json!({"lifecycle": {"preStop": {"sleep": {"seconds": seconds}}}});
    check_one(sleep(0), &[]);
    check_one(sleep(30), &[]);
    let why = "must be non-negative and less than terminationGracePeriodSeconds (30)";
    check_one(sleep(31), &[&format!("lifecycle.preStop.sleep: Invalid value: 31: {why}")]);
    check_one(
        json!({"lifecycle": {"postStart": {}}}),
        &["lifecycle.postStart: Required value: must specify a handler type"],
    );
}

#[test]
fn requests_are_within_limits() {
    let of = |limits: Value, requests: Value| json!({"resources": {"limits": limits, "requests": requests}});
    check_one(of(json!({"cpu": "1"}), json!({"cpu": "1000m"})), &[]);
    let over = r#"resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1"#;
    check_one(of(json!({"cpu": "1"}), json!({"cpu": "2"})), &[over]);
    let unequal = r#"resources.requests: Invalid value: "1": must be equal to example.com/crane limit of 2"#;
    check_one(of(json!({"example.com/crane": "2"}), json!({"example.com/crane": "1"})), &[unequal]);
    let open = "resources.limits: Required value: Limit must be set for non overcommitable resources";
    check_one(of(json!({}), json!({"example.com/crane": "1"})), &[open]);
    let alone = "resources: Forbidden: HugePages require cpu or memory";
    check_one(of(json!({"hugepages-2Mi": "4Mi"}), json!({})), &[alone]);
    let split = with(of(json!({"hugepages-2Mi": "3Mi", "cpu": 1}), json!({})));
    let why = "3Mi is not positive integer multiple of hugepages-2Mi";
    let lines = ["limits", "requests"]
        .map(|part| format!(r#"containers[0].resources.{part}[hugepages-2Mi]: Invalid value: "3Mi": {why}"#));
    check(split.clone(), &lines.each_ref().map(String::as_str));
    // What was let in once stays.
    assert_eq!(said_of(&split, Some(&split)), Vec::<String>::new());
}

#[test]
fn claims_are_those_of_the_pod() {
    let of = |claims: Value| {
        let mut spec = with(json!({"resources": {"claims": claims}}));
        spec["resourceClaims"] =
            json!([{"name": "a", "resourceClaimName": "x"}, {"name": "b", "resourceClaimName": "x"}]);
        spec
    };
    check(of(json!([{"name": "a"}, {"name": "b", "request": "one"}, {"name": "b", "request": "two"}])), &[]);
    let at = "containers[0].resources.claims";
    check(of(json!([{"name": ""}])), &[&format!("{at}[0]: Required value")]);
    let unknown = format!(r#"{at}[0]: Not found: "c": must be one of the names in pod.spec.resourceClaims: a, b"#);
    check(of(json!([{"name": "c"}])), &[&unknown]);
    check(of(json!([{"name": "a", "request": "r"}, {"name": "a"}])), &[&format!(r#"{at}[1]: Duplicate value: "a""#)]);
    let twice = json!([{"name": "a", "request": "r"}, {"name": "a", "request": "r"}]);
    check(of(twice), &[&format!(r#"{at}[1]: Duplicate value: "a/r""#)]);
}

#[test]
fn volumes_are_mounted_once_at_a_path() {
    let of = |fields: Value| {
        let mut spec = with(fields);
        spec["volumes"] = json!([
            {"name": "v", "emptyDir": {}}, {"name": "w", "emptyDir": {}}, {"name": "p", "persistentVolumeClaim": {"claimName": "p"}}
        ]);
        spec
    };
    let mount = |name: &str, path: &str| json!({"name": name, "mountPath": path});
    check(of(json!({"volumeMounts": [mount("v", "/a"), mount("v", "/b")]})), &[]);
    let at = "containers[0].volumeMounts";
    check(
        of(json!({"volumeMounts": [{}]})),
        &[
            &format!("{at}[0].name: Required value"),
            &format!(r#"{at}[0].name: Not found: """#),
            &format!("{at}[0].mountPath: Required value"),
        ],
    );
    let twice = format!(r#"{at}[1].mountPath: Invalid value: "/a": must be unique"#);
    check(of(json!({"volumeMounts": [mount("v", "/a"), mount("w", "/a")]})), &[&twice]);
    let up = json!({"volumeMounts": [{"name": "v", "mountPath": "/a", "subPath": "../b"}]});
    check(of(up), &[&format!(r#"{at}.subPath: Invalid value: "../b": must not contain '..'"#)]);
    let both = json!({"volumeMounts": [{"name": "v", "mountPath": "/a", "subPath": "b", "subPathExpr": "c"}]});
    let why = "subPathExpr and subPath are mutually exclusive";
    check(of(both), &[&format!(r#"{at}[0].subPathExpr: Invalid value: "c": {why}"#)]);
    let back = json!({"volumeMounts": [{"name": "v", "mountPath": "/a", "mountPropagation": "Bidirectional"}]});
    let why = "Bidirectional mount propagation is available only to privileged containers";
    check(of(back), &[&format!("{at}.mountPropagation: Forbidden: {why}")]);
    let deep = json!({"volumeMounts": [{"name": "v", "mountPath": "/a", "recursiveReadOnly": "Enabled"}]});
    check(of(deep), &[&format!("{at}.recursiveReadOnly: Forbidden: may only be specified when readOnly is true")]);
    let device = |name: &str, path: &str| json!({"volumeDevices": [{"name": name, "devicePath": path}]});
    check(of(device("p", "/dev/a")), &[]);
    let at = "containers[0].volumeDevices[0]";
    let why = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
    check(of(device("v", "/dev/a")), &[&format!(r#"{at}.name: Invalid value: "v": {why}"#)]);
    check(
        of(device("p", "/a/..")),
        &[&format!(r#"{at}.devicePath: Invalid value: "/a/..": can not contain backsteps ('..')"#)],
    );
}

#[test]
fn a_container_may_do_what_fits_together() {
    let of = |context: Value| json!({"securityContext": context});
    check_one(of(json!({"privileged": true, "runAsUser": 0, "procMount": "Default"})), &[]);
    check_one(
        of(json!({"runAsUser": -1})),
        &["securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive"],
    );
    let unmasked =
        "securityContext.procMount: Invalid value: \"Unmasked\": `hostUsers` must be false to use `Unmasked`";
    check_one(of(json!({"procMount": "Unmasked"})), &[unmasked]);
    let missing =
        "securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost";
    check_one(of(json!({"seccompProfile": {"type": "Localhost"}})), &[missing]);
    let kind = "securityContext.appArmorProfile.type: Required value: type is required when appArmorProfile is set";
    check_one(of(json!({"appArmorProfile": {}})), &[kind]);
    let padded =
        r#"securityContext.appArmorProfile.localhostProfile: Invalid value: " a": must not be padded with whitespace"#;
    check_one(of(json!({"appArmorProfile": {"type": "Localhost", "localhostProfile": " a"}})), &[padded]);
}

#[test]
fn restart_rules_have_a_policy_to_fall_back_to() {
    let rule = json!({"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}});
    check_one(json!({"restartPolicy": "Never", "restartPolicyRules": [rule]}), &[]);
    let missing = "restartPolicy: Required value: must specify restartPolicy when restart rules are used";
    check_one(json!({"restartPolicyRules": [rule]}), &[missing]);
    check_one(
        json!({"restartPolicy": "Never", "restartPolicyRules": [{"exitCodes": {"operator": "=="}}, {"action": "Restart"}]}),
        &[
            r#"restartPolicyRules[0].action: Unsupported value: "": supported values: "Restart", "RestartAllContainers""#,
            r#"restartPolicyRules[0].exitCodes.operator: Unsupported value: "==": supported values: "In", "NotIn""#,
            "restartPolicyRules[1].exitCodes: Required value: must be specified",
        ],
    );
    let many = vec![rule; 21];
    let why = "restartPolicyRules: Too many: 21: must have at most 20 items";
    check_one(json!({"restartPolicy": "Never", "restartPolicyRules": many}), &[why]);
}

#[test]
fn only_sidecars_are_served_among_init_containers() {
    let of = |init: Value| {
        let mut spec = with(json!({}));
        spec["initContainers"] = json!([init]);
        spec
    };
    let probe = json!({"httpGet": {"port": 80}});
    check(of(json!({"name": "a", "image": "a", "restartPolicy": "Always", "livenessProbe": probe})), &[]);
    let why =
        "initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always";
    check(of(json!({"name": "a", "image": "a", "livenessProbe": probe})), &[why]);
    check(of(json!({"name": "web", "image": "a"})), &[r#"initContainers[0].name: Duplicate value: "web""#]);
}

#[test]
fn nobody_relies_on_an_ephemeral_container() {
    let of = |ephemeral: Value| {
        let mut spec = with(json!({}));
        spec["volumes"] = json!([{"name": "v", "emptyDir": {}}]);
        spec["ephemeralContainers"] = json!([ephemeral]);
        spec
    };
    check(of(json!({"name": "dbg", "image": "a", "targetContainerName": "web", "stdin": true})), &[]);
    let full = json!({
        "name": "web", "image": "a ", "targetContainerName": "none", "ports": [{"containerPort": 80}],
        "resources": {"limits": {"cpu": 1}}, "lifecycle": {},
        "volumeMounts": [{"name": "v", "mountPath": "/a", "subPath": "b"}],
    });
    let not = "Forbidden: cannot be set for an Ephemeral Container";
    let expected = [
        r#"image: Invalid value: "a ": must not have leading or trailing whitespace"#.to_owned(),
        r#"name: Duplicate value: "web""#.to_owned(),
        r#"targetContainerName: Not found: "none""#.to_owned(),
        format!("ports: {not}"),
        format!("resources: {not}"),
        format!("lifecycle: {not}"),
        format!("volumeMounts[0].subPath: {not}"),
    ]
    .map(|line| format!("ephemeralContainers[0].{line}"));
    check(of(full), &expected.each_ref().map(String::as_str));
}

#[test]
fn a_pod_covers_its_containers() {
    let of = |pod: Value, container: Value| {
        let mut spec = with(json!({"resources": container}));
        spec["resources"] = pod;
        spec
    };
    let spec = of(json!({"limits": {"cpu": "2"}}), json!({"requests": {"cpu": "1500m"}}));
    check(spec.clone(), &[]);
    let stored = crate::testing::json(&pod(&spec));
    assert_eq!(stored["spec"]["resources"], json!({"limits": {"cpu": "2"}, "requests": {"cpu": "1500m"}}));
    let less = "must be greater than or equal to aggregate container requests of 1500m";
    let line = format!(r#"resources.requests[cpu]: Invalid value: "1": {less}"#);
    check(of(json!({"requests": {"cpu": "1"}}), json!({"requests": {"cpu": "1500m"}})), &[&line]);
    let line =
        r#"resources.containers[0][cpu].limits: Invalid value: "3": must be less than or equal to pod limits of 2"#;
    let requests = "must be greater than or equal to aggregate container requests of 3";
    let spec = of(json!({"limits": {"cpu": "2"}, "requests": {"cpu": "2"}}), json!({"limits": {"cpu": "3"}}));
    check(spec, &[&format!(r#"resources.requests[cpu]: Invalid value: "2": {requests}"#), line]);
    let line = r#"resources.limits[example.com/a]: Unsupported value: "example.com/a": supported values: "cpu", "hugepages-", "memory""#;
    check(of(json!({"limits": {"example.com/a": "1"}}), json!({})), &[line]);
}

#[test]
fn what_is_left_out_is_filled_in() {
    let fields = json!({
        "image": "nginx", "livenessProbe": {"httpGet": {"port": 80}},
        "lifecycle": {"postStart": {"httpGet": {"port": 80}}},
        "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "resources": {"limits": {"cpu": "100u", "memory": "1Gi"}, "requests": {"memory": "1Mi"}},
    });
    let tree = pod(&with(fields));
    let stored = crate::testing::json(&tree);
    let container = &stored["spec"]["containers"][0];
    let expected = json!({
        "name": "web", "image": "nginx", "imagePullPolicy": "Always",
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
        "livenessProbe": {
            "httpGet": {"path": "/", "port": 80, "scheme": "HTTP"},
            "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
        },
        "lifecycle": {"postStart": {"httpGet": {"path": "/", "port": 80, "scheme": "HTTP"}}},
        "env": [{"name": "A", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}],
        "resources": {"limits": {"cpu": "1m", "memory": "1Gi"}, "requests": {"cpu": "1m", "memory": "1Mi"}},
    });
    assert_eq!(container, &expected);
    // Once more changes nothing.
    let again = pod(&stored["spec"]);
    assert_eq!(crate::testing::json(&again), stored);
}

#[test]
fn clients_are_told_of_what_they_cannot_have_meant() {
    let warned = |spec: Value| {
        let tree = pod(&spec);
        let pod: Pod<'_> = views::read(&tree);
        let mut warnings = Vec::new();
        warn(pod.spec(), Context::of_pod(pod, None), &Path::new("spec"), &Path::new("metadata"), &mut warnings);
        warnings
    };
    assert_eq!(
        warned(with(json!({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}]}))),
        Vec::<String>::new()
    );
    let hides = r#"spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply"#;
    assert_eq!(warned(with(json!({"env": [{"name": "A"}, {"name": "A", "value": "2"}]}))), [hides]);
    let fraction =
        r#"spec.containers[0].resources.limits[memory]: fractional byte value "100m" is invalid, must be an integer"#;
    assert_eq!(
        warned(with(json!({"resources": {"limits": {"memory": "100m"}, "requests": {"memory": "1"}}}))),
        [fraction]
    );
    let ports = json!([{"containerPort": 80}, {"containerPort": 80}, {"containerPort": 80, "hostPort": 80}]);
    let at = "spec.containers[0].ports";
    assert_eq!(
        warned(with(json!({"ports": ports}))),
        [
            format!("{at}[1]: duplicate port definition with {at}[0]"),
            format!("{at}[2]: overlapping port definition with {at}[0]"),
            format!("{at}[2]: overlapping port definition with {at}[1]"),
        ]
    );
    let free = format!(
        "{at}[0]: hostIP set without hostPort: {{Name: HostPort:0 ContainerPort:80 Protocol:TCP HostIP:192.0.2.1}}"
    );
    assert_eq!(warned(with(json!({"ports": [{"containerPort": 80, "hostIP": "192.0.2.1"}]}))), [free]);
}
