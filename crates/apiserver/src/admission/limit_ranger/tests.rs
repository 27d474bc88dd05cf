#![allow(clippy::unwrap_used)]

use portcullis_kinds::schema;
use portcullis_model::schema::{FieldValidation, decode_json, encode_json};
use serde_json::Value;

use super::*;

fn read(kind: &str, text: &str) -> Tree {
    let ty = schema().by_kind("v1", kind).unwrap();
    decode_json::decode(schema(), ty, text.as_bytes().to_vec(), FieldValidation::Strict).unwrap().tree
}

fn range(item: &str) -> Tree {
    read("LimitRange", &format!(r#"{{"spec":{{"limits":[{item}]}}}}"#))
}

fn pod(resources: &str) -> Tree {
    read(
        "Pod",
        &format!(
            r#"{{"spec":{{"containers":[{{"name":"a","resources":{resources}}}],"initContainers":[{{"name":"i"}}]}}}}"#
        ),
    )
}

#[test]
fn containers_get_what_they_do_not_say() {
    let check = |resources: &str, item: &str, expected: &str, init: &str, note: &str| {
        let mut tree = pod(resources);
        set_defaults(views::read(&range(item)), &mut tree);
        let json: Value = serde_json::from_slice(&encode_json::to_vec(schema(), &tree)).unwrap();
        let at = |path: &str| json.pointer(path).cloned().unwrap_or_default();
        assert_eq!(at("/spec/containers/0/resources").to_string(), expected, "{resources} {item}");
        assert_eq!(at("/spec/initContainers/0/resources").to_string(), init, "{resources} {item}");
        let found = at("/metadata/annotations");
        assert_eq!(found.get(ANNOTATION).and_then(Value::as_str).unwrap_or_default(), note, "{resources} {item}");
    };
    let both = r#"{"type":"Container","default":{"cpu":"2","memory":"1Gi"},"defaultRequest":{"cpu":"1"}}"#;
    let full = r#"{"limits":{"cpu":"2","memory":"1Gi"},"requests":{"cpu":"1"}}"#;
    check(
        "{}",
        both,
        full,
        full,
        "LimitRanger plugin set: cpu request for container a; cpu, memory limit for container a; \
         cpu request for init container i; cpu, memory limit for init container i",
    );
    check(
        r#"{"limits":{"cpu":"3","memory":"1Gi"}}"#,
        both,
        r#"{"limits":{"cpu":"3","memory":"1Gi"},"requests":{"cpu":"1"}}"#,
        full,
        "LimitRanger plugin set: cpu request for container a; cpu request for init container i; \
         cpu, memory limit for init container i",
    );
    check("{}", r#"{"type":"Pod","max":{"cpu":"2"}}"#, "{}", "{}", "");
}

#[test]
fn pods_stay_within_limits() {
    let check = |item: &str, resources: &str, expected: &[&str]| {
        let tree = read("Pod", &format!(r#"{{"spec":{{"containers":[{{"name":"a","resources":{resources}}}]}}}}"#));
        assert_eq!(of_pod(views::read(&range(item)), views::read(&tree)), expected, "{item} {resources}");
    };
    let of = |field: &str| format!(r#"{{"type":"Container","{field}":{{"cpu":"2"}}}}"#);
    let (min, max, ratio) = (of("min"), of("max"), of("maxLimitRequestRatio"));
    check(&min, "{}", &["minimum cpu usage per Container is 2.  No request is specified"]);
    check(&min, r#"{"requests":{"cpu":"1900m"}}"#, &["minimum cpu usage per Container is 2, but request is 1900m"]);
    let odd = r#"{"requests":{"cpu":"2"},"limits":{"cpu":"1"}}"#;
    check(&min, odd, &["minimum cpu usage per Container is 2, but limit is 1"]);
    check(&min, r#"{"requests":{"cpu":"2"}}"#, &[]);
    check(&max, "{}", &["maximum cpu usage per Container is 2.  No limit is specified"]);
    check(&max, r#"{"limits":{"cpu":"2100m"}}"#, &["maximum cpu usage per Container is 2, but limit is 2100m"]);
    let odd = r#"{"requests":{"cpu":"3"},"limits":{"cpu":"1"}}"#;
    check(&max, odd, &["maximum cpu usage per Container is 2, but request is 3"]);
    check(&max, r#"{"limits":{"cpu":"2"}}"#, &[]);
    let none = "cpu max limit to request ratio per Container is 2, but no request is specified or request is 0";
    check(&ratio, "{}", &[none]);
    let none = "cpu max limit to request ratio per Container is 2, but no limit is specified or limit is 0";
    check(&ratio, r#"{"requests":{"cpu":"3"}}"#, &[none]);
    let most = "cpu max limit to request ratio per Container is 2, but provided ratio is 2.500000";
    check(&ratio, r#"{"requests":{"cpu":"2"},"limits":{"cpu":"5"}}"#, &[most]);
    check(&ratio, r#"{"requests":{"cpu":"2"},"limits":{"cpu":"4"}}"#, &[]);
    let pod = r#"{"type":"Pod","max":{"memory":"1Gi"}}"#;
    check(pod, r#"{"limits":{"memory":"2Gi"}}"#, &["maximum memory usage per Pod is 1Gi, but limit is 2Gi"]);
}

#[test]
fn claims_stay_within_limits() {
    let check = |item: &str, storage: &str, expected: &[&str]| {
        let requests = if storage.is_empty() { String::new() } else { format!(r#""storage":"{storage}""#) };
        let claim = format!(r#"{{"spec":{{"resources":{{"requests":{{{requests}}}}}}}}}"#);
        let tree = read("PersistentVolumeClaim", &claim);
        assert_eq!(of_claim(views::read(&range(item)), views::read(&tree)), expected, "{item} {storage}");
    };
    let item = r#"{"type":"PersistentVolumeClaim","min":{"storage":"1Gi"},"max":{"storage":"2Gi"}}"#;
    check(item, "1Gi", &[]);
    check(item, "3Gi", &["maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi"]);
    check(item, "1Mi", &["minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi"]);
    check(
        item,
        "",
        &[
            "minimum storage usage per PersistentVolumeClaim is 1Gi.  No request is specified",
            "maximum storage usage per PersistentVolumeClaim is 2Gi.  No request is specified",
        ],
    );
}

#[test]
fn several_complaints_are_one() {
    let check = |found: &[&str], expected: &str| {
        let found: Vec<String> = found.iter().map(|text| (*text).to_owned()).collect();
        assert_eq!(aggregate(&found), expected);
    };
    check(&["a"], "a");
    check(&["a", "a"], "a");
    check(&["a", "b", "a"], "[a, b]");
}

#[test]
fn complaints_are_each_made_once() {
    const COUNT: usize = 100_000;
    let texts: Vec<String> =
        (0..COUNT * 2).map(|at| format!("maximum cpu usage per Container is 1, but limit is {}", at % COUNT)).collect();
    assert_eq!(aggregate(&texts).matches("maximum").count(), COUNT);
    assert_eq!(aggregate(&["a".to_owned(), "a".to_owned()]), "a");
    assert_eq!(aggregate(&["b".to_owned(), "a".to_owned(), "b".to_owned()]), "[b, a]");
}
