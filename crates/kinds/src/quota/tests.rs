#![allow(clippy::unwrap_used)]

use super::*;
use crate::testing::read;
use scopes::Values;

fn shown(usage: &Usage) -> String {
    usage.iter().map(|(name, amount)| format!("{name}={amount}")).collect::<Vec<_>>().join(",")
}

fn check(evaluator: Evaluator<'_>, object: &Tree, expected: &str) {
    let usage = evaluator.usage(object, 1_000_000_000);
    assert_eq!(shown(&usage), expected);
    for name in usage.keys() {
        assert!(evaluator.costs(name), "{name}");
    }
}

#[test]
fn an_object_costs_its_place() {
    let map = read("v1", "ConfigMap", "{}");
    check(Evaluator::of("", "configmaps").unwrap(), &map, "configmaps=1,count/configmaps=1");
    check(Evaluator::of("apps", "deployments").unwrap(), &map, "count/deployments.apps=1");
    assert_eq!(Evaluator::of("", "events"), None);
    let deployments = Evaluator::of("apps", "deployments").unwrap();
    assert!(!deployments.costs("deployments") && !deployments.costs("count/deployments"));
    assert!(!Evaluator::of("", "configmaps").unwrap().costs("count/configmaps.apps"));
}

#[test]
fn a_pod_costs_what_it_asks_for_until_it_ends() {
    let pod = |rest: &str| {
        let resources =
            r#"{"requests":{"cpu":"1","example.com/crane":"2","hugepages-2Mi":"4Mi"},"limits":{"memory":"1Gi"}}"#;
        let spec = format!(r#"{{"containers":[{{"name":"a","resources":{resources}}}]}}"#);
        read("v1", "Pod", &format!(r#"{{"spec":{spec}{rest}}}"#))
    };
    let all = "count/pods=1,cpu=1,hugepages-2Mi=4Mi,limits.memory=1Gi,pods=1,requests.cpu=1,requests.example.com/crane=2,\
               requests.hugepages-2Mi=4Mi";
    check(Evaluator::Pods, &pod(""), all);
    check(Evaluator::Pods, &pod(r#","status":{"phase":"Succeeded"}"#), "count/pods=1");
    let ending = |grace: i64| {
        format!(r#","metadata":{{"deletionTimestamp":"2001-09-09T01:46:30Z","deletionGracePeriodSeconds":{grace}}}"#)
    };
    check(Evaluator::Pods, &pod(&ending(30)), all);
    check(Evaluator::Pods, &pod(&ending(5)), "count/pods=1");
    for name in ["limits.hugepages-2Mi", "example.com/crane", "services", "requests.storage"] {
        assert!(!Evaluator::Pods.costs(name), "{name}");
    }
}

#[test]
fn a_service_costs_ports_and_load_balancers() {
    let service = |spec: &str| read("v1", "Service", &format!(r#"{{"spec":{spec}}}"#));
    let ports = r#""ports":[{"port":1,"nodePort":30000},{"port":2}]"#;
    let of = |node_ports: u8, balancers: u8| {
        format!("count/services=1,services=1,services.loadbalancers={balancers},services.nodeports={node_ports}")
    };
    check(Evaluator::Services, &service(&format!("{{{ports}}}")), &of(0, 0));
    check(Evaluator::Services, &service(&format!(r#"{{"type":"NodePort",{ports}}}"#)), &of(2, 0));
    check(Evaluator::Services, &service(&format!(r#"{{"type":"LoadBalancer",{ports}}}"#)), &of(2, 1));
    let none = format!(r#"{{"type":"LoadBalancer","allocateLoadBalancerNodePorts":false,{ports}}}"#);
    check(Evaluator::Services, &service(&none), &of(1, 1));
}

#[test]
fn a_claim_costs_storage_of_its_class() {
    let claim = |text: &str| read("v1", "PersistentVolumeClaim", text);
    check(Evaluator::Claims, &claim("{}"), "count/persistentvolumeclaims=1,persistentvolumeclaims=1");
    check(
        Evaluator::Claims,
        &claim(
            r#"{"spec":{"storageClassName":"gold","resources":{"requests":{"storage":"1500m"}}},
            "status":{"allocatedResources":{"storage":"1"}}}"#,
        ),
        "count/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/persistentvolumeclaims=1,\
         gold.storageclass.storage.k8s.io/requests.storage=2,persistentvolumeclaims=1,requests.storage=2",
    );
    assert!(!Evaluator::Claims.costs("services"));
}

#[test]
fn a_resource_claim_costs_the_worst_case() {
    let exact = r#"{"exactly":{"deviceClassName":"crane","allocationMode":"ExactCount","count":2}}"#;
    let first = r#"{"firstAvailable":[{"deviceClassName":"crane","allocationMode":"All"},
        {"deviceClassName":"tug","allocationMode":"ExactCount","count":1}]}"#;
    let text = format!(r#"{{"spec":{{"devices":{{"requests":[{exact},{first}]}}}}}}"#);
    check(
        Evaluator::Devices,
        &read("resource.k8s.io/v1", "ResourceClaim", &text),
        "count/resourceclaims.resource.k8s.io=1,crane.deviceclass.resource.k8s.io/devices=34,\
         tug.deviceclass.resource.k8s.io/devices=1",
    );
}

#[test]
fn pods_are_in_scopes() {
    let values = ["high".to_owned()];
    let check = |spec: &str, scope: &str, operator: &str, expected: bool| {
        let pod = read("v1", "Pod", &format!(r#"{{"spec":{spec}}}"#));
        let listed = if operator.ends_with("In") { Values::Configured(&values) } else { Values::None };
        let requirement = Requirement { scope, operator, values: listed };
        assert_eq!(Evaluator::Pods.is_in(&pod, requirement), expected, "{spec} {scope} {operator}");
    };
    check("{}", "Terminating", "Exists", false);
    check("{}", "NotTerminating", "Exists", true);
    check(r#"{"activeDeadlineSeconds":5}"#, "Terminating", "Exists", true);
    check("{}", "BestEffort", "Exists", true);
    let asking = r#"{"containers":[{"name":"a","resources":{"requests":{"cpu":"1"}}}]}"#;
    check(asking, "BestEffort", "Exists", false);
    check(asking, "NotBestEffort", "Exists", true);
    let high = r#"{"priorityClassName":"high"}"#;
    check(high, "PriorityClass", "In", true);
    check(high, "PriorityClass", "NotIn", false);
    check(high, "PriorityClass", "Exists", true);
    check("{}", "PriorityClass", "In", false);
    check("{}", "PriorityClass", "NotIn", true);
    check("{}", "PriorityClass", "DoesNotExist", true);
    check("{}", "VolumeAttributesClass", "Exists", false);
    let term = |rest: &str| {
        format!(
            r#"{{"affinity":{{"podAffinity":{{"requiredDuringSchedulingIgnoredDuringExecution":[{{"topologyKey":"a"{rest}}}]}}}}}}"#
        )
    };
    check(&term(""), "CrossNamespacePodAffinity", "Exists", false);
    check(&term(r#","namespaces":["b"]"#), "CrossNamespacePodAffinity", "Exists", true);
    check(&term(r#","namespaceSelector":{}"#), "CrossNamespacePodAffinity", "Exists", true);
}

#[test]
fn claims_are_in_scopes() {
    let values = ["gold".to_owned()];
    let check = |text: &str, operator: &str, expected: bool| {
        let claim = read("v1", "PersistentVolumeClaim", text);
        let values = if operator.ends_with("In") { Values::Configured(&values) } else { Values::None };
        let requirement = Requirement { scope: "VolumeAttributesClass", operator, values };
        assert_eq!(Evaluator::Claims.is_in(&claim, requirement), expected, "{text} {operator}");
    };
    let gold = r#"{"spec":{"volumeAttributesClassName":"gold"}}"#;
    check(gold, "In", true);
    check(gold, "Exists", true);
    check(gold, "NotIn", false);
    check("{}", "Exists", false);
    check("{}", "NotIn", true);
    check(r#"{"status":{"currentVolumeAttributesClassName":"gold"}}"#, "In", true);
}

#[test]
fn containers_must_say_what_is_limited() {
    let check = |spec: &str, names: &[&str], expected: Option<&str>| {
        let pod = read("v1", "Pod", &format!(r#"{{"spec":{spec}}}"#));
        assert_eq!(Evaluator::Pods.unsaid(&pod, names).as_deref(), expected, "{spec}");
    };
    let two = r#"{"containers":[{"name":"b"},{"name":"a","resources":{"requests":{"cpu":"1"}}}],"initContainers":[{"name":"i"}]"#;
    let names = ["pods", "requests.cpu", "limits.memory", "requests.ephemeral-storage"];
    check(&format!("{two}}}"), &["pods"], None);
    check(&format!("{two}}}"), &names, Some("limits.memory for: a,b,i; requests.cpu for: b,i"));
    check(&format!(r#"{two},"resources":{{"limits":{{"memory":"1Gi"}}}}}}"#), &names, Some("requests.cpu for: b,i"));
}

#[test]
fn only_what_is_more_is_charged() {
    let of = |pairs: &[(&str, i64)]| -> Usage {
        pairs.iter().map(|(name, number)| ((*name).to_owned(), count(*number))).collect()
    };
    let more = increase(of(&[("a", 3), ("b", 1), ("c", 2), ("d", 0)]), &of(&[("a", 1), ("b", 2), ("c", 2)]));
    assert_eq!(shown(&more), "a=2");
    assert_eq!(shown(&increase(of(&[("a", 1)]), &Usage::new())), "a=1");
}
