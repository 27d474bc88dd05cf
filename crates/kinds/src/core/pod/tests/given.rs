//! What becomes of a pod that is created, and what is said of it.

use super::*;

#[test]
fn a_new_pod_waits() {
    let check =
        |spec: Value, expected: Value| assert_eq!(stored(&pod(&json!({}), &spec))["status"], expected, "{spec}");
    check(json!({}), json!({"phase": "Pending", "qosClass": "BestEffort"}));
    let limited = json!([{"name": "c", "image": "a", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}]);
    check(json!({"containers": limited}), json!({"phase": "Pending", "qosClass": "Guaranteed"}));
    check(
        json!({"schedulingGates": [{"name": "example.com/hold"}]}),
        json!({"phase": "Pending", "qosClass": "BestEffort", "conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
            "lastProbeTime": null, "lastTransitionTime": null,
        }]}),
    );
}

#[test]
fn what_is_limited_is_asked_for() {
    let check = |limits: Value, requests: Value, expected: Value| {
        let resources = json!({"limits": limits, "requests": requests});
        let containers = json!([{"name": "c", "image": "a", "resources": resources}]);
        let of = |field: &str| stored(&pod(&json!({}), &json!({field: containers.clone()})))["spec"][field].clone();
        assert_eq!(of("containers")[0]["resources"]["requests"], expected);
        assert_eq!(of("initContainers")[0]["resources"]["requests"], expected);
    };
    check(json!({"cpu": "1"}), json!(null), json!({"cpu": "1"}));
    check(json!({"cpu": "1", "memory": "1Gi"}), json!({"cpu": "100m"}), json!({"cpu": "100m", "memory": "1Gi"}));
    check(json!({}), json!(null), json!(null));
}

#[test]
fn a_pod_that_is_limited_as_a_whole_asks_for_what_its_containers_do() {
    let check = |whole: Value, containers: Value, init: Value, expected: Value| {
        let spec = json!({"resources": whole, "containers": containers, "initContainers": init});
        assert_eq!(stored(&pod(&json!({}), &spec))["spec"]["resources"], expected, "{spec}");
    };
    let asks = |name: &str, cpu: &str| json!({"name": name, "image": "a", "resources": {"requests": {"cpu": cpu}}});
    check(json!({}), json!([asks("c", "1")]), json!([]), json!({}));
    check(
        json!({"limits": {"cpu": "4", "memory": "1Gi"}}),
        json!([asks("a", "500m"), asks("b", "1")]),
        json!([asks("i", "1")]),
        json!({"limits": {"cpu": "4", "memory": "1Gi"}, "requests": {"cpu": "1500m", "memory": "1Gi"}}),
    );
    let mut staying = asks("s", "1");
    staying["restartPolicy"] = json!("Always");
    check(
        json!({"limits": {"cpu": "8"}}),
        json!([asks("a", "1")]),
        json!([staying, asks("i", "3")]),
        json!({"limits": {"cpu": "8"}, "requests": {"cpu": "4"}}),
    );
    let pages = json!([{"name": "c", "image": "a", "resources": {"limits": {"hugepages-2Mi": "2Mi", "cpu": "1"}}}]);
    check(
        json!({"requests": {"cpu": "2"}}),
        pages,
        json!([]),
        json!({"limits": {"hugepages-2Mi": "2Mi"}, "requests": {"cpu": "2", "hugepages-2Mi": "2Mi"}}),
    );
}

#[test]
fn what_only_older_servers_knew_is_put_in_order() {
    let metadata = json!({"annotations": {"pod.beta.kubernetes.io/init-containers": "[]", "a": "b"}});
    let given = pod(&metadata, &json!({"terminationGracePeriodSeconds": -5}));
    let held = stored(&given);
    assert_eq!(held["metadata"]["annotations"], json!({"a": "b"}));
    assert_eq!(held["spec"]["terminationGracePeriodSeconds"], json!(1));
    let check = |status: Value, expected: Value| {
        let mut given = pod(&json!({}), &json!({}));
        given["status"] = status;
        assert_eq!(shown(&sent(&given))["status"], expected);
    };
    let both = |single: &str, first: &str| json!({"podIP": single, "podIPs": [{"ip": first}]});
    check(json!({"podIP": "10.0.0.1"}), both("10.0.0.1", "10.0.0.1"));
    check(json!({"podIPs": [{"ip": "10.0.0.1"}]}), both("10.0.0.1", "10.0.0.1"));
    check(both("10.0.0.2", "10.0.0.1"), both("10.0.0.2", "10.0.0.2"));
}

#[test]
fn ports_on_the_hosts_network_are_the_hosts() {
    let ports = json!([{"containerPort": 80}, {"containerPort": 81, "hostPort": 81}]);
    let spec = json!({"hostNetwork": true, "containers": [{"name": "c", "image": "a", "ports": ports}]});
    let held = stored(&pod(&json!({}), &spec));
    let ports: Vec<_> =
        held["spec"]["containers"][0]["ports"].as_array().unwrap().iter().map(|port| &port["hostPort"]).collect();
    assert_eq!(ports, [80, 81]);
}

#[test]
fn selectors_know_the_pods_own_labels() {
    let term = json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "a"}},
        "matchLabelKeys": ["hash", "none"], "mismatchLabelKeys": ["tenant"]});
    let spec = json!({
        "affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term.clone()]},
            "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": term}]}},
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {}, "matchLabelKeys": ["hash"]}],
    });
    let given = pod(&json!({"labels": {"hash": "7", "tenant": "x"}}), &spec);
    let hash = json!({"key": "hash", "operator": "In", "values": ["7"]});
    let tenant = json!({"key": "tenant", "operator": "NotIn", "values": ["x"]});
    let mut tree = new(&given);
    // A creation that is tried again prepares again.
    crate::testing::requester(|requester| (STRATEGY.prepare_create)(&mut tree, requester));
    let spec = &shown(&tree)["spec"];
    let to = &spec["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0];
    assert_eq!(to["labelSelector"]["matchExpressions"], json!([hash, tenant]));
    let away = &spec["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"][0];
    assert_eq!(away["podAffinityTerm"]["labelSelector"]["matchExpressions"], json!([hash, tenant]));
    assert_eq!(spec["topologySpreadConstraints"][0]["labelSelector"], json!({"matchExpressions": [hash]}));
}

#[test]
fn a_profile_in_an_annotation_becomes_a_field() {
    const KEY: &str = "container.apparmor.security.beta.kubernetes.io/c";
    let check = |value: &str, spec: Value, profile: Value, warns: bool| {
        let given = pod(&json!({"annotations": {KEY: value}}), &spec);
        let mut warnings = Vec::new();
        (STRATEGY.warn_given)(&sent(&given), &mut warnings);
        assert_eq!(!warnings.is_empty(), warns, "{value} {warnings:?}");
        let held = stored(&given);
        assert_eq!(held["spec"]["containers"][0]["securityContext"]["appArmorProfile"], profile, "{value}");
    };
    check("unconfined", json!({}), json!({"type": "Unconfined"}), true);
    check("localhost/a", json!({}), json!({"type": "Localhost", "localhostProfile": "a"}), true);
    check("localhost/", json!({}), json!(null), true);
    check("localhost/ a", json!({}), json!(null), true);
    let whole = json!({"securityContext": {"appArmorProfile": {"type": "RuntimeDefault"}}});
    check("runtime/default", whole, json!(null), false);
    check("unconfined", json!({"os": {"name": "windows"}}), json!(null), false);
    let own = json!({"type": "Unconfined"});
    let containers = json!([{"name": "c", "image": "a", "securityContext": {"appArmorProfile": own.clone()}}]);
    check("unconfined", json!({"containers": containers}), own, false);
}

#[test]
fn annotations_have_rules() {
    let check = |annotations: Value, spec: Value, expected: &[&str]| {
        assert_eq!(of_create(&pod(&json!({"annotations": annotations.clone()}), &spec)), expected, "{annotations}");
    };
    let cost = "controller.kubernetes.io/pod-deletion-cost";
    for right in ["0", "-5", "2147483647", "-0"] {
        check(json!({cost: right}), json!({}), &[]);
    }
    for wrong in ["", "+1", "01", "2147483648", "a"] {
        let why = format!("metadata.annotations[{cost}]: Invalid value: \"{wrong}\": must be a 32bit integer");
        check(json!({cost: wrong}), json!({}), &[&why]);
    }
    let mirror = "kubernetes.io/config.mirror";
    let why = "metadata.annotations[kubernetes.io/config.mirror]: Invalid value: \"x\": must set spec.nodeName if mirror pod \
               annotation is set";
    check(json!({mirror: "x"}), json!({}), &[why]);
    check(json!({mirror: "x"}), json!({"nodeName": "quay"}), &[]);
    let profile = "container.apparmor.security.beta.kubernetes.io/";
    check(
        json!({format!("{profile}other"): "runtime/default"}),
        json!({}),
        &[&format!("metadata.annotations[{profile}other]: Invalid value: \"other\": container not found")],
    );
    check(
        json!({format!("{profile}c"): "strict"}),
        json!({}),
        &[&format!(
            "metadata.annotations[{profile}c]: Invalid value: \"strict\": invalid AppArmor profile name: \"strict\""
        )],
    );
    let field =
        json!([{"name": "c", "image": "a", "securityContext": {"appArmorProfile": {"type": "RuntimeDefault"}}}]);
    check(
        json!({format!("{profile}c"): "unconfined"}),
        json!({"containers": field}),
        &[
            "spec.containers[0].securityContext.appArmorProfile.type: Forbidden: apparmor type in annotation and field must match",
        ],
    );
    let seccomp = "seccomp.security.alpha.kubernetes.io/pod";
    check(json!({seccomp: "localhost/a"}), json!({}), &[]);
    check(
        json!({seccomp: "x"}),
        json!({}),
        &[&format!("metadata.annotations.{seccomp}: Invalid value: \"x\": must be a valid seccomp profile")],
    );
    // What the annotation and the field of a new pod say is the same.
    check(json!({seccomp: "unconfined"}), json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}), &[]);
    check(
        json!({seccomp: "unconfined"}),
        json!({"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}),
        &["spec.securityContext.seccompProfile.type: Forbidden: seccomp type in annotation and field must match"],
    );
}

#[test]
fn a_new_pod_has_no_ephemeral_containers_and_no_node_while_it_is_gated() {
    let check = |spec: Value, expected: &[&str]| {
        let found = of_create(&pod(&json!({}), &spec));
        assert!(expected.iter().all(|line| found.iter().any(|held| held == line)), "{found:?}");
    };
    check(
        json!({"ephemeralContainers": [{"name": "e", "image": "a"}]}),
        &["spec.ephemeralContainers: Forbidden: cannot be set on create"],
    );
    check(
        json!({"nodeName": "quay", "schedulingGates": [{"name": "a/b"}]}),
        &["spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"],
    );
    let token = json!([{"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]);
    let why = "spec.volumes[0].projected.sources[0].serviceAccountToken: Forbidden: must not be specified when serviceAccountName is not set";
    check(json!({"volumes": token}), &[why]);
}

#[test]
fn a_name_that_is_no_host_name_is_warned_of() {
    let check = |name: &str, expected: usize| {
        let mut warnings = Vec::new();
        (STRATEGY.warn_create)(&new(&pod(&json!({"name": name}), &json!({}))), &mut warnings);
        assert_eq!(
            warnings
                .iter()
                .filter(|line| line.starts_with("metadata.name: this is used in the Pod's hostname"))
                .count(),
            expected
        );
    };
    check("p", 0);
    check("p.q", 1);
}
