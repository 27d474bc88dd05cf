//! Tests of the rules of services.
#![allow(clippy::unwrap_used)]

use portcullis_model::tree::Tree;
use serde_json::{Value, json};

use super::STRATEGY;
use super::families::{Family, begin_create, begin_update};
use crate::strategy::Cell;
use crate::testing::{self, complaints, created, update_complaints};
use crate::vocabulary::Errors;

const PORT: &str = r#""ports":[{"port":80}]"#;

fn service(metadata: &str, spec: &str) -> Tree {
    let text = format!(r#"{{"metadata":{{"name":"quay"{metadata}}},"spec":{{{spec}}}}}"#);
    created(&STRATEGY, "v1", "Service", &text)
}

fn of(spec: &str) -> Tree {
    service("", spec)
}

/// A service with a port and more.
fn with(spec: &str) -> Tree {
    of(&format!("{PORT},{spec}"))
}

fn spec(tree: &Tree) -> Value {
    testing::json(tree).get("spec").cloned().unwrap_or_default()
}

#[test]
fn what_it_takes_when_nothing_is_said() {
    let check = |given: &str, expected: Value| assert_eq!(spec(&of(given)), expected, "{given}");
    let port = json!({"port": 80, "protocol": "TCP", "targetPort": 80});
    check(
        PORT,
        json!({"ports": [port], "sessionAffinity": "None", "type": "ClusterIP", "internalTrafficPolicy": "Cluster"}),
    );
    check(
        r#""ports":[{"port":80,"protocol":"UDP","targetPort":"web"},{"port":81,"targetPort":""}],"sessionAffinity":"ClientIP""#,
        json!({"ports": [{"port": 80, "protocol": "UDP", "targetPort": "web"},
            {"port": 81, "protocol": "TCP", "targetPort": 81}], "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}}, "type": "ClusterIP",
            "internalTrafficPolicy": "Cluster"}),
    );
    check(
        &format!(r#"{PORT},"externalIPs":["192.0.2.1"],"sessionAffinityConfig":{{"clientIP":{{"timeoutSeconds":1}}}}"#),
        json!({"ports": [port], "externalIPs": ["192.0.2.1"], "sessionAffinity": "None", "type": "ClusterIP",
            "internalTrafficPolicy": "Cluster", "externalTrafficPolicy": "Cluster"}),
    );
    check(
        &format!(r#"{PORT},"type":"LoadBalancer""#),
        json!({"ports": [port], "sessionAffinity": "None", "type": "LoadBalancer", "internalTrafficPolicy": "Cluster",
            "externalTrafficPolicy": "Cluster", "allocateLoadBalancerNodePorts": true}),
    );
    check(
        r#""type":"ExternalName","externalName":"db.example.com","internalTrafficPolicy":"Cluster""#,
        json!({"sessionAffinity": "None", "type": "ExternalName", "externalName": "db.example.com"}),
    );
}

#[test]
fn what_it_may_say() {
    let check = |spec: &str, expected: &[&str]| {
        assert_eq!(complaints(&STRATEGY, &of(spec)), expected, "{spec}");
    };
    check(PORT, &[]);
    check(r#""clusterIP":"None","clusterIPs":["None"]"#, &[]);
    check(r#""type":"ExternalName","externalName":"db.example.com.""#, &[]);
    check("", &["spec.ports: Required value"]);
    check(
        r#""type":"ExternalName","clusterIPs":["10.96.0.9"],"ipFamilies":["IPv4"],"ipFamilyPolicy":"SingleStack""#,
        &[
            "spec.clusterIPs: Forbidden: may not be set for ExternalName services",
            "spec.ipFamilies: Forbidden: may not be set for ExternalName services",
            "spec.ipFamilyPolicy: Forbidden: may not be set for ExternalName services",
            "spec.externalName: Required value",
        ],
    );
    check(
        r#""type":"LoadBalancer","clusterIP":"None","clusterIPs":["None"],"ports":[{"port":10250}]"#,
        &[
            "spec.ports[0]: Invalid value: 10250: may not expose port 10250 externally since it is used by kubelet",
            r#"spec.clusterIPs[0]: Invalid value: "None": may not be set to 'None' for LoadBalancer services"#,
        ],
    );
    check(
        r#""type":"NodePort","clusterIP":"None","clusterIPs":["None"]"#,
        &[r#"spec.clusterIPs[0]: Invalid value: "None": may not be set to 'None' for NodePort services"#],
    );
}

#[test]
fn ports() {
    let check = |ports: &str, more: &str, expected: &[&str]| {
        let spec = format!(r#""ports":[{ports}]{more}"#);
        assert_eq!(complaints(&STRATEGY, &of(&spec)), expected, "{spec}");
    };
    let udp = r#"{"name":"dns-udp","port":53,"protocol":"UDP"}"#;
    check(&format!(r#"{{"name":"dns","port":53}},{udp}"#), "", &[]);
    check(r#"{"port":443,"appProtocol":"kubernetes.io/h2c"}"#, "", &[]);
    check(
        r#"{"port":0,"protocol":"ICMP","targetPort":"Web","appProtocol":"a/b/c"},null"#,
        "",
        &[
            "spec.ports[0].name: Required value",
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
            r#"spec.ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP""#,
            r#"spec.ports[0].targetPort: Invalid value: "Web": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"#,
            r#"spec.ports[0].appProtocol: Invalid value: "a/b/c": a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"#,
            "spec.ports[1].name: Required value",
            "spec.ports[1].port: Invalid value: 0: must be between 1 and 65535, inclusive",
            "spec.ports[1].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive",
        ],
    );
    check(
        r#"{"name":"a","port":80,"nodePort":30080},{"name":"a","port":80,"nodePort":30080}"#,
        r#","type":"NodePort""#,
        &[
            r#"spec.ports[1].name: Duplicate value: "a""#,
            "spec.ports[1].nodePort: Duplicate value: 30080",
            r#"spec.ports[1]: Duplicate value: {"Name":"","Protocol":"TCP","AppProtocol":null,"Port":80,"TargetPort":0,"NodePort":0}"#,
        ],
    );
    check(
        r#"{"port":80,"nodePort":30080}"#,
        "",
        &["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
    );
}

#[test]
fn affinity_and_traffic() {
    let check = |spec: &str, expected: &[&str]| {
        assert_eq!(complaints(&STRATEGY, &with(spec)), expected, "{spec}");
    };
    check(r#""sessionAffinity":"ClientIP","sessionAffinityConfig":{"clientIP":{"timeoutSeconds":86400}}"#, &[]);
    check(r#""trafficDistribution":"PreferSameZone","internalTrafficPolicy":"Local""#, &[]);
    check(r#""type":"LoadBalancer","externalTrafficPolicy":"Local","healthCheckNodePort":30001"#, &[]);
    check(
        r#""sessionAffinity":"ClientIP","sessionAffinityConfig":{"clientIP":{"timeoutSeconds":86401}}"#,
        &[
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401: must be greater than 0 and less than 86400",
        ],
    );
    check(
        r#""sessionAffinity":"Sticky","trafficDistribution":"Near","internalTrafficPolicy":"","externalTrafficPolicy":"Local","healthCheckNodePort":30001"#,
        &[
            r#"spec.sessionAffinity: Unsupported value: "Sticky": supported values: "ClientIP", "None""#,
            r#"spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services"#,
            "spec.healthCheckNodePort: Invalid value: 30001: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
            r#"spec.internalTrafficPolicy: Unsupported value: "": supported values: "Cluster", "Local""#,
            r#"spec.trafficDistribution: Unsupported value: "Near": supported values: "PreferClose", "PreferSameNode", "PreferSameZone""#,
        ],
    );
    check(r#""type":"LoadBalancer","externalTrafficPolicy":"Local""#, &["spec.healthCheckNodePort: Required value"]);
    check(
        r#""loadBalancerClass":"a b","allocateLoadBalancerNodePorts":false,"loadBalancerSourceRanges":["10.0.0.0/8"]"#,
        &[
            "spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'",
            "spec.allocateLoadBalancerNodePorts: Forbidden: may only be used when `type` is 'LoadBalancer'",
            "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'",
        ],
    );
    check(
        r#""type":"LoadBalancer","loadBalancerSourceRanges":[" 10.0.0.0/8 ","10.1.0.0/8"]"#,
        &[
            r#"spec.LoadBalancerSourceRanges[1]: Invalid value: "10.1.0.0/8": must not have bits set beyond the prefix length"#,
        ],
    );
}

/// CVE-2020-8554 is about who may set these; what they may be is said here.
#[test]
fn external_addresses_are_not_the_machines_own() {
    let check = |addresses: &str, expected: &[&str]| {
        assert_eq!(complaints(&STRATEGY, &with(&format!(r#""externalIPs":[{addresses}]"#))), expected, "{addresses}");
    };
    check(r#""192.0.2.1","2001:db8::1""#, &[]);
    check(
        r#""127.0.0.1","169.254.1.1","010.0.0.1","::""#,
        &[
            r#"spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)"#,
            r#"spec.externalIPs[1]: Invalid value: "169.254.1.1": may not be in the link-local range (169.254.0.0/16, fe80::/10)"#,
            r#"spec.externalIPs[2]: Invalid value: "010.0.0.1": must not have leading 0s"#,
            r#"spec.externalIPs[3]: Invalid value: "::": may not be unspecified (::)"#,
        ],
    );
    let (new, old) = (with(r#""externalIPs":["010.0.0.1","010.0.0.2"]"#), with(r#""externalIPs":["010.0.0.1"]"#));
    assert_eq!(
        update_complaints(&STRATEGY, &new, &old, ""),
        [r#"spec.externalIPs[1]: Invalid value: "010.0.0.2": must not have leading 0s"#]
    );
}

#[test]
fn annotations() {
    let check = |annotations: &str, spec: &str, expected: &[&str]| {
        let tree = service(&format!(r#","annotations":{{{annotations}}}"#), &format!("{PORT}{spec}"));
        assert_eq!(complaints(&STRATEGY, &tree), expected, "{annotations}");
    };
    let mode = r#""service.kubernetes.io/topology-mode":"Auto""#;
    check(mode, "", &[]);
    check(
        &format!(r#"{mode},"service.kubernetes.io/topology-aware-hints":"auto""#),
        "",
        &[
            r#"metadata.annotations[service.kubernetes.io/topology-mode]: Invalid value: "Auto": must match annotations[service.kubernetes.io/topology-aware-hints] when both are specified"#,
        ],
    );
    let ranges = r#""service.beta.kubernetes.io/load-balancer-source-ranges":"10.0.0.0/8, ship""#;
    let path = "metadata.annotations[service.beta.kubernetes.io/load-balancer-source-ranges]";
    let no_range =
        format!(r#"{path}: Invalid value: "ship": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"#);
    check(ranges, r#","type":"LoadBalancer""#, &[&no_range]);
    let misplaced = format!("{path}: Forbidden: may only be used when `type` is 'LoadBalancer'");
    check(ranges, "", &[&misplaced, &no_range]);
}

#[test]
fn addresses_and_families_fit_together() {
    let check = |spec: &str, expected: &[&str]| {
        assert_eq!(complaints(&STRATEGY, &with(spec)), expected, "{spec}");
    };
    check(r#""clusterIP":"10.96.0.9","clusterIPs":["10.96.0.9","fd00::9"],"ipFamilies":["IPv4","IPv6"]"#, &[]);
    check(r#""clusterIP":"10.96.0.9""#, &["spec.clusterIPs: Required value"]);
    check(
        r#""clusterIPs":["10.96.0.9"]"#,
        &[r#"spec.clusterIPs: Invalid value: ["10.96.0.9"]: must be empty when `clusterIP` is not specified"#],
    );
    check(
        r#""clusterIP":"10.96.0.8","clusterIPs":["10.96.0.9"],"ipFamilies":["IPv6","IPv6","IPv5"],"ipFamilyPolicy":"Two""#,
        &[
            r#"spec.clusterIPs: Invalid value: ["10.96.0.9"]: first value must match `clusterIP`"#,
            r#"spec.ipFamilies[1]: Duplicate value: "IPv6""#,
            r#"spec.ipFamilies[2]: Unsupported value: "IPv5": supported values: "IPv4", "IPv6""#,
            r#"spec.ipFamilyPolicy: Unsupported value: "Two": supported values: "PreferDualStack", "RequireDualStack", "SingleStack""#,
            r#"spec.clusterIPs[0]: Invalid value: "10.96.0.9": expected an IPv6 value as indicated by `ipFamilies[0]`"#,
        ],
    );
    check(
        r#""clusterIP":"None","clusterIPs":["None","ship","10.96.0.9"]"#,
        &[
            r#"spec.clusterIPs: Invalid value: ["None","ship","10.96.0.9"]: 'None' must be the first and only value"#,
            r#"spec.clusterIPs[1]: Invalid value: "ship": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"#,
            r#"spec.clusterIPs: Invalid value: ["None","ship","10.96.0.9"]: may only hold up to 2 values"#,
        ],
    );
    check(
        r#""clusterIP":"10.96.0.9","clusterIPs":["10.96.0.9","10.96.0.8"]"#,
        &[
            r#"spec.clusterIPs: Invalid value: ["10.96.0.9","10.96.0.8"]: may specify no more than one IP for each IP family"#,
        ],
    );
}

const ONE: &[Family] = &[Family::V4];
const TWO: &[Family] = &[Family::V4, Family::V6];

/// What becomes of a service's addresses and families, or what is said against them.
fn begun(tree: &mut Tree, old: Option<&Tree>, families: &[Family]) -> Value {
    let mut errors = Errors::new();
    match old {
        None => begin_create(tree, families, &mut errors),
        Some(old) => begin_update(tree, old, families, &mut errors),
    }
    if !errors.is_empty() {
        return json!(testing::lines(errors));
    }
    let mut spec = spec(tree);
    let fields = ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"];
    Value::Array(fields.iter().map(|field| spec[*field].take()).collect())
}

#[test]
fn families_of_new_services() {
    let check = |given: &str, families: &[Family], expected: Value| {
        assert_eq!(begun(&mut with(given), None, families), expected, "{given} {families:?}");
    };
    let plain = r#""type":"ClusterIP""#;
    check(plain, ONE, json!([null, null, ["IPv4"], "SingleStack"]));
    check(plain, TWO, json!([null, null, ["IPv4"], "SingleStack"]));
    check(r#""type":"ExternalName""#, ONE, json!([null, null, null, null]));
    check(r#""clusterIP":"10.96.0.9""#, ONE, json!(["10.96.0.9", ["10.96.0.9"], ["IPv4"], "SingleStack"]));
    check(r#""ipFamilyPolicy":"PreferDualStack""#, ONE, json!([null, null, ["IPv4"], "PreferDualStack"]));
    check(r#""ipFamilyPolicy":"PreferDualStack""#, TWO, json!([null, null, ["IPv4", "IPv6"], "PreferDualStack"]));
    check(
        r#""ipFamilyPolicy":"RequireDualStack","ipFamilies":["IPv6"]"#,
        TWO,
        json!([null, null, ["IPv6", "IPv4"], "RequireDualStack"]),
    );
    let headless = r#""clusterIP":"None""#;
    check(headless, ONE, json!(["None", ["None"], ["IPv4", "IPv6"], "RequireDualStack"]));
    let selecting = r#""clusterIP":"None","selector":{"app":"web"}"#;
    check(selecting, ONE, json!(["None", ["None"], ["IPv4"], "SingleStack"]));
    check(
        r#""clusterIP":"None","ipFamilyPolicy":"SingleStack","ipFamilies":["IPv6"]"#,
        ONE,
        json!(["None", ["None"], ["IPv6"], "SingleStack"]),
    );
    check(
        r#""ipFamilyPolicy":"RequireDualStack""#,
        ONE,
        json!([
            r#"spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services"#
        ]),
    );
    check(
        r#""ipFamilies":["IPv6"]"#,
        ONE,
        json!([r#"spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster"#]),
    );
    check(
        r#""clusterIP":"fd00::9""#,
        ONE,
        json!([r#"spec.clusterIPs[0]: Invalid value: ["fd00::9"]: IPv6 is not configured on this cluster"#]),
    );
    check(
        r#""ipFamilies":["IPv4","IPv6"],"clusterIP":"10.96.0.9","clusterIPs":["10.96.0.9","fd00::9"]"#,
        TWO,
        json!([
            r#"spec.ipFamilyPolicy: Invalid value: "SingleStack": must be RequireDualStack or PreferDualStack when multiple cluster IPs are specified"#,
            r#"spec.ipFamilyPolicy: Invalid value: "SingleStack": must be RequireDualStack or PreferDualStack when multiple IP families are specified"#
        ]),
    );
    check(
        r#""clusterIP":"ship""#,
        ONE,
        json!([
            r#"spec.clusterIPs[0]: Invalid value: "ship": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"#
        ]),
    );
}

#[test]
fn families_of_changed_services() {
    let check = |given: &str, stored: &str, families: &[Family], expected: Value| {
        let found = begun(&mut with(given), Some(&with(stored)), families);
        assert_eq!(found, expected, "{given} after {stored} {families:?}");
    };
    let one =
        r#""clusterIP":"10.96.0.9","clusterIPs":["10.96.0.9"],"ipFamilies":["IPv4"],"ipFamilyPolicy":"SingleStack""#;
    let two = r#""clusterIP":"10.96.0.9","clusterIPs":["10.96.0.9","fd00::9"],"ipFamilies":["IPv4","IPv6"],"ipFamilyPolicy":"PreferDualStack""#;
    let kept = json!(["10.96.0.9", ["10.96.0.9"], ["IPv4"], "SingleStack"]);
    let both = json!(["10.96.0.9", ["10.96.0.9", "fd00::9"], ["IPv4", "IPv6"], "PreferDualStack"]);
    // What is left out stays, however the client is told of addresses.
    check(r#""type":"ClusterIP""#, one, ONE, kept.clone());
    check(r#""type":"NodePort""#, two, TWO, both.clone());
    check(r#""clusterIPs":["10.96.0.9"]"#, one, ONE, kept.clone());
    check(r#""clusterIP":"10.96.0.7""#, one, ONE, json!(["10.96.0.7", ["10.96.0.7"], ["IPv4"], "SingleStack"]));
    check(&one.replacen("96.0.9", "96.0.7", 1), one, ONE, json!(["10.96.0.7", ["10.96.0.7"], ["IPv4"], "SingleStack"]));
    // A second one comes and goes.
    check(
        &one.replace("Single", "PreferDual"),
        one,
        TWO,
        json!(["10.96.0.9", ["10.96.0.9"], ["IPv4", "IPv6"], "PreferDualStack"]),
    );
    check(&two.replace("PreferDual", "Single"), two, TWO, kept.clone());
    check(
        r#""clusterIPs":["10.96.0.9"],"ipFamilies":["IPv4"]"#,
        two,
        TWO,
        json!([
            r#"spec.ipFamilyPolicy: Invalid value: "PreferDualStack": must be 'SingleStack' to release the secondary cluster IP"#,
            r#"spec.ipFamilyPolicy: Invalid value: "PreferDualStack": must be 'SingleStack' to release the secondary IP family"#
        ]),
    );
    // The cluster has changed: who prefers two keeps what there is.
    check(two, two, ONE, both);
    let preferred = one.replace("Single", "PreferDual");
    check(&preferred, &preferred, TWO, json!(["10.96.0.9", ["10.96.0.9"], ["IPv4"], "PreferDualStack"]));
    // From a name, and to one.
    check(r#""type":"ClusterIP""#, r#""type":"ExternalName""#, ONE, json!([null, null, ["IPv4"], "SingleStack"]));
    check(r#""type":"ExternalName""#, one, ONE, json!([null, null, null, null]));
}

#[test]
fn node_ports_stay() {
    let check = |given: &str, stored: &str, expected: Value| {
        let (mut tree, old) = (of(given), of(stored));
        begin_update(&mut tree, &old, ONE, &mut Errors::new());
        let spec = spec(&tree);
        let ports: Vec<Value> = spec["ports"].as_array().unwrap().iter().map(|port| port["nodePort"].clone()).collect();
        assert_eq!(json!([ports, spec["healthCheckNodePort"]]), expected, "{given}");
    };
    let ports = |first: &str, second: &str| {
        format!(r#""type":"NodePort","ports":[{{"name":"a","port":80{first}}},{{"name":"b","port":81{second}}}]"#)
    };
    let stored = ports(r#","nodePort":30001"#, r#","nodePort":30002"#);
    check(&ports("", ""), &stored, json!([[30001, 30002], null]));
    check(&ports(r#","nodePort":30003"#, ""), &stored, json!([[30003, 30002], null]));
    check(&ports(r#","nodePort":30002"#, ""), &stored, json!([[30002, null], null]));
    check(
        r#""type":"NodePort","ports":[{"name":"c","port":80},{"name":"a","port":82}]"#,
        &stored,
        json!([[null, 30001], null]),
    );
    check(
        r#""type":"LoadBalancer","allocateLoadBalancerNodePorts":false,"ports":[{"name":"a","port":80}]"#,
        &stored,
        json!([[null], null]),
    );
    check(
        r#""type":"NodePort","ports":[{"name":"a","port":80},{"name":"a","port":80}]"#,
        &stored,
        json!([[30001, 30001], null]),
    );
    let balanced = r#""type":"LoadBalancer","externalTrafficPolicy":"Local","ports":[{"port":80}]"#;
    check(balanced, &format!(r#"{balanced},"healthCheckNodePort":30009"#), json!([[null], 30009]));
}

#[test]
fn what_another_type_has_no_use_for_goes() {
    let check = |given: &str, stored: &str, expected: Value| {
        let (mut tree, old) = (of(given), of(stored));
        begin_update(&mut tree, &old, ONE, &mut Errors::new());
        (STRATEGY.prepare_update)(&mut tree, &old, "", 0);
        assert_eq!(spec(&tree), expected, "{given}");
    };
    let stored = r#""type":"LoadBalancer","ports":[{"port":80,"nodePort":30001}],"externalTrafficPolicy":"Local",
        "healthCheckNodePort":30002,"loadBalancerClass":"example.com/lb","clusterIP":"10.96.0.9","clusterIPs":["10.96.0.9"],
        "ipFamilies":["IPv4"],"ipFamilyPolicy":"SingleStack""#;
    let port = json!({"port": 80, "protocol": "TCP", "targetPort": 80});
    check(
        &stored
            .replace("LoadBalancer\"", "ClusterIP\"")
            .replace(r#""ports""#, r#""allocateLoadBalancerNodePorts":true,"ports""#),
        stored,
        json!({"type": "ClusterIP", "ports": [port], "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"],
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "sessionAffinity": "None",
            "internalTrafficPolicy": "Cluster"}),
    );
    check(
        &format!(r#"{},"externalName":"db.example.com""#, stored.replace("LoadBalancer\"", "ExternalName\"")),
        stored,
        json!({"type": "ExternalName", "ports": [port], "externalName": "db.example.com", "sessionAffinity": "None"}),
    );
    // What is changed at the same time is not dropped, but refused.
    let changed = stored.replace("LoadBalancer\"", "ClusterIP\"").replace("30001", "30003").replace("Local", "Cluster");
    let (mut tree, old) = (of(&changed), of(stored));
    begin_update(&mut tree, &old, ONE, &mut Errors::new());
    (STRATEGY.prepare_update)(&mut tree, &old, "", 0);
    assert_eq!(
        update_complaints(&STRATEGY, &tree, &old, ""),
        [
            "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
            r#"spec.externalTrafficPolicy: Invalid value: "Cluster": may only be set for externally-accessible services"#,
        ]
    );
}

#[test]
fn what_an_update_may_not_change() {
    let check = |given: &str, stored: &str, expected: &[&str]| {
        assert_eq!(update_complaints(&STRATEGY, &with(given), &with(stored), ""), expected, "{given} after {stored}");
    };
    let one =
        r#""clusterIP":"10.96.0.9","clusterIPs":["10.96.0.9"],"ipFamilies":["IPv4"],"ipFamilyPolicy":"SingleStack""#;
    let two = r#""clusterIP":"10.96.0.9","clusterIPs":["10.96.0.9","fd00::9"],"ipFamilies":["IPv4","IPv6"],"ipFamilyPolicy":"RequireDualStack""#;
    check(two, one, &[]);
    check(one, two, &[]);
    check(
        &one.replace("96.0.9", "96.0.8"),
        one,
        &[r#"spec.clusterIPs[0]: Invalid value: ["10.96.0.8"]: may not change once set"#],
    );
    check(
        &one.replace("Single", "PreferDual"),
        two,
        &[
            r#"spec.ipFamilyPolicy: Invalid value: "PreferDualStack": must be set to 'SingleStack' when releasing the secondary clusterIP"#,
            r#"spec.ipFamilyPolicy: Invalid value: "PreferDualStack": must be set to 'SingleStack' when releasing the secondary ipFamily"#,
        ],
    );
    check(
        r#""ipFamilies":["IPv6"]"#,
        one,
        &[
            "spec.clusterIPs[0]: Invalid value: null: primary clusterIP can not be unset",
            r#"spec.ipFamilies[0]: Invalid value: ["IPv6"]: may not change once set"#,
        ],
    );
    let headless = r#""clusterIP":"None","clusterIPs":["None"],"ipFamilies":["IPv4"]"#;
    check(&headless.replace("IPv4", "IPv6"), headless, &[]);
    check(one, headless, &[r#"spec.clusterIPs[0]: Invalid value: ["10.96.0.9"]: may not change once set"#]);
    let balanced = |class: &str, port: u16| {
        format!(r#""type":"LoadBalancer","externalTrafficPolicy":"Local","healthCheckNodePort":{port}{class}"#)
    };
    check(
        &balanced(r#","loadBalancerClass":"b c""#, 30002),
        &balanced(r#","loadBalancerClass":"example.com/a""#, 30001),
        &[
            r#"spec.loadBalancerClass: Invalid value: "b c": may not change once set"#,
            r#"spec.loadBalancerClass: Invalid value: "b c": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#,
            "spec.healthCheckNodePort: Forbidden: field is immutable",
            r#"spec.loadBalancerClass: Invalid value: "b c": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#,
        ],
    );
}

#[test]
fn what_its_load_balancer_may_say() {
    let tree = |ty: &str, points: &str| {
        let text = format!(
            r#"{{"metadata":{{"name":"quay"}},"spec":{{"type":"{ty}",{PORT}}},"status":{{"loadBalancer":{{"ingress":[{points}]}}}}}}"#
        );
        let mut tree = testing::read("v1", "Service", &text);
        testing::default_all(&STRATEGY, &mut tree);
        tree
    };
    let check = |ty: &str, points: &str, expected: &[&str]| {
        let old = tree("LoadBalancer", r#"{"ip":"010.0.0.1"}"#);
        assert_eq!(update_complaints(&STRATEGY, &tree(ty, points), &old, "status"), expected, "{points}");
    };
    check(
        "LoadBalancer",
        r#"{"ip":"010.0.0.1"},{"ip":"192.0.2.1","ipMode":"Proxy"},{"hostname":"lb.example.com"}"#,
        &[],
    );
    check(
        "ClusterIP",
        r#"{"ip":"192.0.2.1"}"#,
        &["status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'"],
    );
    check(
        "LoadBalancer",
        r#"{"ip":"ship","ipMode":"Both"},{"hostname":"192.0.2.1","ipMode":"VIP"},{"hostname":"A"}"#,
        &[
            r#"status.loadBalancer.ingress[0].ip: Invalid value: "ship": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"#,
            r#"status.loadBalancer.ingress[0].ipMode: Unsupported value: "Both": supported values: "Proxy", "VIP""#,
            "status.loadBalancer.ingress[1].ipMode: Forbidden: may not be specified when `ip` is not set",
            r#"status.loadBalancer.ingress[1].hostname: Invalid value: "192.0.2.1": must be a DNS name, not an IP address"#,
            r#"status.loadBalancer.ingress[2].hostname: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#,
        ],
    );
}

#[test]
fn what_its_client_is_told() {
    let check = |metadata: &str, spec: &str, expected: &[&str]| {
        let mut warnings = Vec::new();
        (STRATEGY.warn_create)(&service(metadata, spec), &mut warnings);
        assert_eq!(warnings, expected, "{spec}");
    };
    check("", r#""clusterIP":"10.96.0.9","clusterIPs":["10.96.0.9"]"#, &[]);
    check(
        r#","annotations":{"service.kubernetes.io/topology-aware-hints":"auto"}"#,
        r#""clusterIP":"fd00::0:9","clusterIPs":["fd00::0:9"],"externalName":"a.b","trafficDistribution":"PreferClose""#,
        &[
            "annotation service.kubernetes.io/topology-aware-hints is deprecated, please use service.kubernetes.io/topology-mode instead",
            r#"spec.clusterIPs[0]: IPv6 address "fd00::0:9" should be in RFC 5952 canonical format ("fd00::9")"#,
            r#"spec.externalName is ignored when spec.type is not "ExternalName""#,
            r#"spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone""#,
        ],
    );
    check(
        "",
        r#""clusterIP":"None","loadBalancerIP":"192.0.2.1","externalIPs":["192.0.2.1"],"sessionAffinity":"ClientIP""#,
        &[
            "spec.loadBalancerIP is ignored for headless services",
            "spec.externalIPs is ignored for headless services",
            "spec.SessionAffinity is ignored for headless services",
        ],
    );
    check(
        "",
        r#""externalIPs":["192.0.2.1"]"#,
        &["spec.externalIPs is deprecated and may no longer be implemented in some clusters"],
    );
    check(
        "",
        r#""type":"ExternalName","externalIPs":["192.0.2.1"]"#,
        &[r#"spec.externalIPs is ignored when spec.type is "ExternalName""#],
    );
}

#[test]
fn cells() {
    let check = |spec: &str, ingress: &str, expected: [&str; 4]| {
        let text = format!(r#"{{"spec":{{{spec}}},"status":{{"loadBalancer":{{"ingress":[{ingress}]}}}}}}"#);
        let mut tree = testing::read("v1", "Service", &text);
        testing::default_all(&STRATEGY, &mut tree);
        let cell = |column| (STRATEGY.cell)(&tree, column, 0);
        let found = ["Cluster-IP", "External-IP", "Port(s)", "Selector"].map(cell);
        assert_eq!(found, expected.map(|text| Some(Cell::Text(text.to_owned()))), "{spec}");
    };
    check("", "", ["<none>", "<none>", "<none>", "<none>"]);
    check(
        r#""type":"NodePort","clusterIPs":["10.96.0.9"],"ports":[{"port":80,"nodePort":30080},{"port":53,"protocol":"UDP"}],"selector":{"b":"2","a":"1"}"#,
        "",
        ["10.96.0.9", "<none>", "80:30080/TCP,53/UDP", "a=1,b=2"],
    );
    check(
        r#""type":"LoadBalancer","externalIPs":["192.0.2.9"]"#,
        r#"{"ip":"192.0.2.2"},{"hostname":"lb.example.com"},{"ip":"192.0.2.1"}"#,
        ["<none>", "192.0.2.1,192.0.2.2,lb.example.com,192.0.2.9", "<none>", "<none>"],
    );
    check(r#""type":"LoadBalancer""#, "", ["<none>", "<pending>", "<none>", "<none>"]);
    check(
        r#""type":"ExternalName","externalName":"db.example.com""#,
        "",
        ["<none>", "db.example.com", "<none>", "<none>"],
    );
    check(r#""type":"Other""#, "", ["<none>", "<unknown>", "<none>", "<none>"]);
}
