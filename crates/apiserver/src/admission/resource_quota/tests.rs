#![allow(clippy::unwrap_used)]

use portcullis_gate::Document;
use portcullis_kinds::schema;
use portcullis_model::schema::{FieldValidation, decode_json};
use portcullis_model::tree::Tree;

use super::*;

fn read(kind: &str, text: &str) -> Tree {
    let ty = schema().by_kind("v1", kind).unwrap();
    decode_json::decode(schema(), ty, text.as_bytes().to_vec(), FieldValidation::Strict).unwrap().tree
}

fn quota(name: &str, spec: &str, hard: &str, used: &str) -> Tree {
    let status = format!(r#"{{"hard":{hard},"used":{used}}}"#);
    read("ResourceQuota", &format!(r#"{{"metadata":{{"name":"{name}"}},"spec":{spec},"status":{status}}}"#))
}

fn pod(cpu: &str) -> Tree {
    let resources = if cpu.is_empty() { "{}".to_owned() } else { format!(r#"{{"requests":{{"cpu":"{cpu}"}}}}"#) };
    read("Pod", &format!(r#"{{"spec":{{"containers":[{{"name":"a","resources":{resources}}}]}}}}"#))
}

/// What is used then, or why not.
fn decide(object: &Tree, old: Option<&Tree>, quotas: &[&Tree], limited: &[LimitedResource]) -> String {
    let (evaluator, group) = (Evaluator::Pods, "");
    let decision = Decision { evaluator, group, resource: "pods", object, old, limited, now: 0 };
    match decision.charges(quotas) {
        Err(Refusal::Forbidden(why)) => format!("forbidden: {why}"),
        Err(Refusal::Plain(why)) => why,
        Ok(charges) => {
            let show =
                |usage: &Usage| usage.iter().map(|(name, used)| format!("{name}={used}")).collect::<Vec<_>>().join(",");
            charges.iter().map(show).collect::<Vec<_>>().join(" | ")
        }
    }
}

#[test]
fn what_there_is_room_for_is_charged() {
    let check = |hard: &str, used: &str, cpu: &str, expected: &str| {
        assert_eq!(decide(&pod(cpu), None, &[&quota("q", "{}", hard, used)], &[]), expected, "{hard} {used} {cpu}");
    };
    let hard = r#"{"pods":"2","requests.cpu":"1","services":"1"}"#;
    check(hard, r#"{"pods":"1","requests.cpu":"400m","services":"0"}"#, "400m", "pods=2,requests.cpu=800m");
    check(r#"{"services":"0"}"#, r#"{"services":"0"}"#, "", "");
    check("{}", "{}", "", "");
    check(
        hard,
        r#"{"pods":"2","requests.cpu":"800m","services":"0"}"#,
        "400m",
        "forbidden: exceeded quota: q, requested: pods=1,requests.cpu=400m, used: pods=2,requests.cpu=800m, \
         limited: pods=2,requests.cpu=1",
    );
    check(
        r#"{"pods":"9","requests.cpu":"1"}"#,
        r#"{"pods":"2","requests.cpu":"800m"}"#,
        "400m",
        "forbidden: exceeded quota: q, requested: requests.cpu=400m, used: requests.cpu=800m, limited: requests.cpu=1",
    );
    check(
        hard,
        r#"{"pods":"0","requests.cpu":"0"}"#,
        "",
        "forbidden: failed quota: q: must specify requests.cpu for: a",
    );
    check(hard, r#"{"pods":"0"}"#, "1m", "forbidden: status unknown for quota: q, resources: pods,requests.cpu");
    check(
        hard,
        r#"{"pods":"0","requests.cpu":"0"}"#,
        "-1",
        "forbidden: quota usage is negative for resource(s): cpu,requests.cpu",
    );
}

#[test]
fn every_quota_that_is_concerned_is_charged() {
    let (hard, used) = (r#"{"pods":"2"}"#, r#"{"pods":"0"}"#);
    let all = quota("all", "{}", hard, used);
    let best = quota("best", r#"{"scopes":["BestEffort"]}"#, hard, used);
    let not = quota("not", r#"{"scopes":["NotBestEffort"]}"#, hard, used);
    let ending = quota(
        "ending",
        r#"{"scopeSelector":{"matchExpressions":[{"scopeName":"Terminating","operator":"Exists"}]}}"#,
        hard,
        used,
    );
    let quotas = [&all, &best, &ending, &not];
    assert_eq!(decide(&pod(""), None, &quotas, &[]), "pods=1 | pods=1 |  | ");
    assert_eq!(decide(&pod("1"), None, &quotas, &[]), "pods=1 |  |  | pods=1");
}

#[test]
fn only_the_increase_of_a_resize_is_charged() {
    let quota = quota("q", "{}", r#"{"pods":"1","requests.cpu":"3"}"#, r#"{"pods":"1","requests.cpu":"2"}"#);
    let check = |new: &str, expected: &str| {
        assert_eq!(decide(&pod(new), Some(&pod("2")), &[&quota], &[]), expected, "{new}");
    };
    check("2", "");
    check("1", "");
    check("3", "requests.cpu=3");
    check(
        "4",
        "forbidden: exceeded quota: q, requested: requests.cpu=2, used: requests.cpu=2, limited: requests.cpu=3",
    );
}

#[test]
fn what_is_limited_by_default_needs_a_quota() {
    let text = r#"
apiVersion: apiserver.config.k8s.io/v1
kind: ResourceQuotaConfiguration
limitedResources:
- resource: pods
  matchContains: [requests.cpu]
- resource: pods
  matchScopes:
  - {scopeName: PriorityClass, operator: In, values: [high]}
"#;
    let limited = configuration::read(Document::parse(text.as_bytes()).unwrap()).unwrap();
    let high = |cpu: &str| {
        let requests = if cpu.is_empty() { String::new() } else { format!(r#""cpu":"{cpu}""#) };
        read(
            "Pod",
            &format!(
                r#"{{"spec":{{"priorityClassName":"high","containers":[{{"name":"a","resources":{{"requests":{{{requests}}}}}}}]}}}}"#
            ),
        )
    };
    assert_eq!(decide(&pod(""), None, &[], &limited), "");
    assert_eq!(decide(&pod("1"), None, &[], &limited), "forbidden: insufficient quota to consume: requests.cpu");
    let cpu = quota("cpu", "{}", r#"{"requests.cpu":"4"}"#, r#"{"requests.cpu":"0"}"#);
    assert_eq!(decide(&pod("1"), None, &[&cpu], &limited), "requests.cpu=1");
    let uncovered = "insufficient quota to match these scopes: [{PriorityClass In [high]}]";
    assert_eq!(decide(&high(""), None, &[], &limited), uncovered);
    let selector = r#"{"scopeSelector":{"matchExpressions":[{"scopeName":"PriorityClass","operator":"Exists"}]}}"#;
    let covering = quota("high", selector, r#"{"pods":"4"}"#, r#"{"pods":"0"}"#);
    assert_eq!(decide(&high(""), None, &[&covering], &limited), "pods=1");
}

#[test]
fn a_configuration_names_resources() {
    let check = |text: &str, expected: Result<usize, &str>| {
        let found = configuration::read(Document::parse(text.as_bytes()).unwrap());
        match (found, expected) {
            (Ok(found), Ok(count)) => assert_eq!(found.len(), count, "{text}"),
            (Err(fault), Err(why)) => assert!(fault.to_string().contains(why), "{text}: {fault}"),
            (found, _) => panic!("{text}: {:?}", found.map(|found| found.len())),
        }
    };
    let new = r#""apiVersion":"apiserver.config.k8s.io/v1","kind":"ResourceQuotaConfiguration""#;
    check(&format!("{{{new}}}"), Ok(0));
    check(r#"{"apiVersion":"resourcequota.admission.k8s.io/v1beta1","kind":"Configuration"}"#, Ok(0));
    check(&format!(r#"{{{new},"limitedResources":[{{"resource":"pods"}}]}}"#), Ok(1));
    check(
        &format!(r#"{{{new},"limitedResources":[{{"apiGroup":"a"}}]}}"#),
        Err("limitedResources[0].resource: Required value"),
    );
    check(&format!(r#"{{{new},"limited":[]}}"#), Err("limited"));
    check(r#"{"apiVersion":"v1","kind":"ResourceQuotaConfiguration"}"#, Err("ResourceQuotaConfiguration"));
}
