//! What each door to a pod lets in.

use super::*;

#[test]
fn the_main_door_lets_little_in() {
    let check = |change: Value, expected: &[&str]| {
        let old = pod(&json!({}), &json!({"activeDeadlineSeconds": 100}));
        let mut new = old.clone();
        json_patch_merge(&mut new["spec"], &change);
        assert_eq!(refusals("", &new, &old), expected, "{change}");
    };
    check(json!({}), &[]);
    check(json!({"containers": [{"name": "c", "image": "img:2"}]}), &[]);
    check(json!({"containers": [{"name": "c", "image": "img:1", "command": ["x"]}]}), &[ONLY]);
    check(json!({"nodeName": "quay"}), &[ONLY]);
    check(json!({"nodeSelector": {"a": "b"}}), &[ONLY]);
    check(json!({"terminationGracePeriodSeconds": 5}), &[ONLY]);
    let two = json!([{"name": "c", "image": "a"}, {"name": "d", "image": "a"}]);
    check(json!({"containers": two}), &["spec.containers: Forbidden: pod updates may not add or remove containers"]);
    let one = json!([{"name": "i", "image": "a"}]);
    let why = "spec.initContainers: Forbidden: pod updates may not add or remove containers";
    check(json!({"initContainers": one}), &[why]);
    let at = "spec.activeDeadlineSeconds: Invalid value: ";
    check(json!({"activeDeadlineSeconds": 50}), &[]);
    let why = format!("{at}500: must be less than or equal to previous value");
    check(json!({"activeDeadlineSeconds": 500}), &[&why]);
    let why = format!("{at}null: must not update from a positive integer to nil value");
    check(json!({"activeDeadlineSeconds": null}), &[&why]);
    let gate = json!([{"name": "example.com/a"}]);
    let why = "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'example.com/a'";
    check(json!({"schedulingGates": gate}), &[why]);
}

#[test]
fn tolerations_are_added() {
    let toleration = |key: &str, seconds: i64| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds});
    let check = |new: Value, expected: &[&str]| {
        let of = |list: Value| pod(&json!({}), &json!({"tolerations": list}));
        assert_eq!(refusals("", &of(new), &of(json!([toleration("a", 5)]))), expected);
    };
    check(json!([toleration("a", 5)]), &[]);
    check(json!([toleration("a", 9)]), &[]);
    check(json!([toleration("b", 1), toleration("a", 5)]), &[]);
    let why = "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds";
    check(json!([]), &[why]);
    check(json!([toleration("b", 5)]), &[why]);
}

#[test]
fn nodes_of_a_gated_pod_are_narrowed() {
    let terms = |terms: Value| json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}});
    let term = |keys: &[&str]| {
        let expressions: Vec<_> = keys.iter().map(|key| json!({"key": key, "operator": "Exists"})).collect();
        json!({"matchExpressions": expressions})
    };
    let check = |old: Value, new: Value, expected: &[&str]| {
        let gated = |spec: &Value| {
            let mut gated = pod(&json!({}), &json!({"schedulingGates": [{"name": "example.com/a"}]}));
            json_patch_merge(&mut gated["spec"], spec);
            gated
        };
        let found = refusals("", &gated(&new), &gated(&old));
        let is_as_expected = found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| a.contains(b));
        assert!(is_as_expected, "{old} {new}: {found:?}");
        // Without gates nothing of it may change.
        if old != new {
            assert_eq!(refusals("", &pod(&json!({}), &new), &pod(&json!({}), &old)), [ONLY]);
        }
    };
    check(json!({}), json!({"nodeSelector": {"a": "b"}}), &[]);
    check(json!({"nodeSelector": {"a": "b"}}), json!({"nodeSelector": {"a": "b", "c": "d"}}), &[]);
    let label = "spec.nodeSelector: Invalid value: ";
    check(json!({"nodeSelector": {"a": "b"}}), json!({"nodeSelector": {"a": "c"}}), &[label]);
    check(json!({"nodeSelector": {"a": "b"}}), json!({}), &[label]);
    check(json!({}), json!({"affinity": terms(json!([term(&["a"])]))}), &[]);
    let one = json!({"affinity": terms(json!([term(&["a"])]))});
    check(one.clone(), json!({"affinity": terms(json!([term(&["a", "b"])]))}), &[]);
    check(one.clone(), json!({"affinity": terms(json!([term(&["b"])]))}), &["only additions are allowed"]);
    check(one.clone(), json!({"affinity": terms(json!([term(&["a"]), term(&["b"])]))}), &["no additions/deletions"]);
    check(one, json!({}), &["no additions/deletions"]);
    let pods = json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "zone", "labelSelector": {"matchLabels": {"a": "b"}}}]}});
    check(json!({}), json!({"affinity": pods}), &[ONLY]);
}

#[test]
fn annotations_of_nodes_and_profiles_stay() {
    const PROFILE: &str = "container.apparmor.security.beta.kubernetes.io/c";
    const MIRROR: &str = "kubernetes.io/config.mirror";
    let check = |old: Value, new: Value, expected: &[&str]| {
        let of = |annotations: Value| pod(&json!({"annotations": annotations}), &json!({"nodeName": "quay"}));
        let found = refusals("", &of(new), &of(old));
        let is_as_expected = found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| a.ends_with(b));
        assert!(is_as_expected, "{found:?}");
    };
    check(json!({"a": "b"}), json!({}), &[]);
    check(json!({}), json!({PROFILE: "unconfined"}), &["Forbidden: may not add AppArmor annotations"]);
    check(json!({PROFILE: "unconfined"}), json!({}), &["Forbidden: may not remove or update AppArmor annotations"]);
    check(json!({}), json!({MIRROR: "x"}), &["Forbidden: may not add mirror pod annotation"]);
    check(json!({MIRROR: "y"}), json!({MIRROR: "x"}), &["Forbidden: may not remove or update mirror pod annotation"]);
}

#[test]
fn ephemeral_containers_are_added_and_stay() {
    let with = |list: Value| pod(&json!({}), &json!({"ephemeralContainers": list}));
    let one = |name: &str, image: &str| json!({"name": name, "image": image});
    let check = |old: Value, new: Value, expected: &[&str]| {
        assert_eq!(refusals("ephemeralcontainers", &with(new), &with(old)), expected);
    };
    check(json!([]), json!([one("a", "x")]), &[]);
    check(json!([one("a", "x")]), json!([one("b", "y"), one("a", "x")]), &[]);
    let at = "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"a\" may not be";
    check(json!([one("a", "x")]), json!([]), &[&format!("{at} removed\n")]);
    check(json!([one("a", "x")]), json!([one("a", "y")]), &[&format!("{at} changed")]);
    // Whatever else is sent does not come in.
    let (mut tree, old) = (sent(&with(json!([one("a", "x")]))), sent(&pod(&json!({"labels": {"a": "b"}}), &json!({}))));
    (STRATEGY.prepare_update)(&mut tree, &old, "ephemeralcontainers", 0);
    let held = shown(&tree);
    assert_eq!(held["metadata"]["labels"], json!({"a": "b"}));
    assert_eq!(held["spec"]["ephemeralContainers"][0]["name"], json!("a"));
    let mirror = pod(&json!({"annotations": {"kubernetes.io/config.mirror": "x"}}), &json!({"nodeName": "quay"}));
    assert_eq!(
        refusals("ephemeralcontainers", &mirror, &mirror),
        [": Forbidden: static pods do not support ephemeral containers"]
    );
}

#[test]
fn processor_and_memory_are_resized() {
    let of = |resources: Value| {
        pod(&json!({}), &json!({"containers": [{"name": "c", "image": "img:1", "resources": resources}]}))
    };
    let requests = |requests: Value| of(json!({"requests": requests}));
    let check =
        |old: &Value, new: &Value, expected: &[&str]| assert_eq!(refusals("resize", new, old), expected, "{new}");
    let half = requests(json!({"cpu": "500m"}));
    check(&half, &half, &[]);
    check(&half, &requests(json!({"cpu": "1"})), &[]);
    check(&half, &requests(json!({"cpu": "500m", "memory": "1Gi"})), &[]);
    let gone = "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed";
    check(&requests(json!({"cpu": "1", "memory": "1Gi"})), &half, &[gone]);
    let class = "Pod QOS Class may not change as a result of resizing";
    check(&of(json!({})), &half, &[&format!("spec: Invalid value: \"\": {class}")]);
    let storage = |amount: &str| requests(json!({"cpu": "1", "ephemeral-storage": amount}));
    check(&storage("1Gi"), &storage("1024Mi"), &[]);
    check(&storage("1Gi"), &storage("2Gi"), &["spec: Forbidden: only cpu and memory resources are mutable"]);
    // Whatever else is sent does not come in, unless containers are not the same.
    let mut image = half.clone();
    image["spec"]["containers"][0]["image"] = json!("img:2");
    check(&half, &image, &[]);
    let mut renamed = half.clone();
    renamed["spec"]["containers"][0]["name"] = json!("d");
    check(
        &half,
        &renamed,
        &["spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize"],
    );
    let windows = pod(&json!({}), &json!({"os": {"name": "windows"}}));
    check(&windows, &windows, &[": Forbidden: windows pods cannot be resized"]);
    let mut running = half.clone();
    running["status"] = json!({"containerStatuses": [{"name": "c", "state": {"running": {}}}]});
    check(&running, &running, &["spec: Forbidden: Pod running on node without support for resize"]);
    running["status"]["containerStatuses"][0]["resources"] = json!({});
    check(&running, &running, &[]);
}

#[test]
fn init_containers_and_the_pod_as_a_whole_are_resized() {
    let of = |init: Value, whole: Value| {
        let containers = json!([{"name": "c", "image": "a", "resources": {"requests": {"cpu": "1"}}}]);
        pod(&json!({}), &json!({"containers": containers, "initContainers": [init], "resources": whole}))
    };
    let init = |cpu: &str| json!({"name": "i", "image": "a", "resources": {"requests": {"cpu": cpu}}});
    let whole = |cpu: &str| json!({"requests": {"cpu": cpu}});
    let check =
        |old: &Value, new: &Value, expected: &[&str]| assert_eq!(refusals("resize", new, old), expected, "{new}");
    check(&of(init("1"), whole("2")), &of(init("2"), whole("3")), &[]);
    check(
        &of(init("1"), whole("2")),
        &of(init("1"), json!(null)),
        &["spec.resources: Forbidden: pod-level resources cannot be removed"],
    );
    let memory = json!({"requests": {"cpu": "2", "memory": "1Gi"}});
    let gone = "spec.resources.requests: Forbidden: pod-level resource requests cannot be removed";
    check(&of(init("1"), memory), &of(init("1"), whole("2")), &[gone]);
    let restarting = |cpu: &str| {
        let mut init = init(cpu);
        init["resizePolicy"] = json!([{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]);
        init
    };
    let why = "spec.initContainers[0]: Forbidden: non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
    check(&of(restarting("1"), json!(null)), &of(restarting("2"), json!(null)), &[why]);
}

#[test]
fn nodes_write_the_status() {
    let check = |spec: Value, old: Value, new: Value, expected: &[&str]| {
        let of = |status: Value| {
            let mut held = pod(&json!({}), &spec);
            held["status"] = status;
            held
        };
        assert_eq!(refusals("status", &of(new.clone()), &of(old)), expected, "{new}");
    };
    let none = json!({});
    check(none.clone(), none.clone(), json!({"nominatedNodeName": "quay"}), &[]);
    let class = "status.qosClass: Invalid value: \"Burstable\": field is immutable";
    check(none.clone(), json!({"qosClass": "BestEffort"}), json!({"qosClass": "Burstable"}), &[class]);
    check(none.clone(), json!({"qosClass": "BestEffort"}), none.clone(), &[]);
    let ended = |code: i64| json!({"containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": code}}}]});
    let running = json!({"containerStatuses": [{"name": "c", "state": {"running": {}}}]});
    let back = "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state";
    check(json!({"restartPolicy": "Always"}), ended(0), running.clone(), &[]);
    check(json!({"restartPolicy": "Never"}), ended(0), running.clone(), &[back]);
    check(json!({"restartPolicy": "OnFailure"}), ended(0), running.clone(), &[back]);
    check(json!({"restartPolicy": "OnFailure"}), ended(1), running.clone(), &[]);
    let rules = json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]);
    let containers = json!([{"name": "c", "image": "a", "restartPolicy": "Never", "restartPolicyRules": rules}]);
    let ruled = json!({"restartPolicy": "Never", "containers": containers});
    check(ruled.clone(), ended(42), running.clone(), &[]);
    check(ruled, ended(41), running, &[back]);
    let ips = |ips: &[&str]| json!({"podIPs": ips.iter().map(|ip| json!({"ip": ip})).collect::<Vec<_>>()});
    check(none.clone(), none.clone(), ips(&["10.0.0.1", "fd00::1"]), &[]);
    check(none.clone(), ips(&["010.0.0.1"]), ips(&["010.0.0.1"]), &[]);
    let zeros = "status.podIPs[0]: Invalid value: \"010.0.0.1\": must not have leading 0s";
    check(none.clone(), none.clone(), ips(&["010.0.0.1"]), &[zeros]);
    let host = json!({"hostIP": "10.0.0.2", "hostIPs": [{"ip": "10.0.0.1"}]});
    let differs = "status.hostIPs[0].ip: Invalid value: \"10.0.0.1\": must be equal to `hostIP`";
    check(none.clone(), none.clone(), host, &[differs]);
    let claim = json!({"resourceClaimStatuses": [{"name": "a", "resourceClaimName": "b"}]});
    let unknown = "status.resourceClaimStatuses[0].name: Invalid value: \"a\": must match the name of an entry in `spec.resourceClaims`";
    check(none.clone(), none.clone(), claim, &[unknown]);
    let device = |name: &str, health: &str| {
        let resources = json!([{"resourceID": "0", "health": health}]);
        json!({"containerStatuses": [{"name": "c", "allocatedResourcesStatus": [{"name": name, "resources": resources}]}]})
    };
    let asks = json!({"containers": [{"name": "c", "image": "a", "resources": {"requests": {"example.com/gpu": "1"}, "claims": [{"name": "k", "request": "r"}]}}]});
    check(asks.clone(), none.clone(), device("example.com/gpu", "Healthy"), &[]);
    check(asks.clone(), none.clone(), device("claim:k/r", "Unknown"), &[]);
    let at = "status.containerStatuses[0].allocatedResourcesStatus[0]";
    check(
        asks.clone(),
        none.clone(),
        device("example.com/fpga", "Healthy"),
        &[&format!(
            "{at}.name: Invalid value: \"example.com/fpga\": must match one of the container's resource requests"
        )],
    );
    check(
        asks,
        none,
        device("example.com/gpu", "Fine"),
        &[&format!(
            "{at}.resources[0].health: Unsupported value: \"Fine\": supported values: \"Healthy\", \"Unhealthy\", \"Unknown\""
        )],
    );
}

#[test]
fn a_status_does_not_forget_generations() {
    let of = |status: Value| {
        let mut held = pod(&json!({}), &json!({}));
        held["status"] = status;
        sent(&held)
    };
    let condition =
        |of: &str, generation: Value| json!({"type": of, "status": "True", "observedGeneration": generation});
    let old = of(
        json!({"observedGeneration": 4, "qosClass": "BestEffort", "conditions": [condition("Ready", json!(3)), condition("A", json!(2))]}),
    );
    let mut tree = of(
        json!({"conditions": [condition("A", json!(null)), condition("Ready", json!(5)), condition("B", json!(null))]}),
    );
    (STRATEGY.prepare_update)(&mut tree, &old, "status", 0);
    let status = &shown(&tree)["status"];
    assert_eq!(status["observedGeneration"], json!(4));
    assert_eq!(status["qosClass"], json!("BestEffort"));
    let generations: Vec<_> =
        status["conditions"].as_array().unwrap().iter().map(|held| held["observedGeneration"].clone()).collect();
    assert_eq!(generations, [json!(2), json!(5), json!(null)]);
}
