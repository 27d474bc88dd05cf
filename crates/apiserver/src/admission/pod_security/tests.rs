#![allow(clippy::unwrap_used)]

use portcullis_gate::Document;
use portcullis_model::schema::{FieldValidation, decode_json};

use super::*;
use crate::admission::PluginFault;

const HEAD: &str = "apiVersion: pod-security.admission.config.k8s.io/v1\nkind: PodSecurityConfiguration\n";

fn read(text: &str) -> Result<Configuration, PluginFault> {
    Configuration::read(Some(Document::parse(format!("{HEAD}{text}").as_bytes()).unwrap()))
}

fn shown(policy: Policy) -> String {
    [policy.enforce, policy.audit, policy.warn].map(|standard| standard.to_string()).join(" ")
}

#[test]
fn a24_what_holds_where_nobody_says_anything() {
    let check = |profile: Profile, text: Option<&str>, expected: &str| {
        let configuration = text.map_or_else(Configuration::default, |text| read(text).unwrap());
        assert_eq!(shown(configuration.defaults(profile)), expected, "{profile:?} {text:?}");
    };
    check(Profile::Upstream, None, "privileged:latest privileged:latest privileged:latest");
    check(Profile::Locked, None, "baseline:latest restricted:latest restricted:latest");
    check(Profile::Locked, Some(""), "baseline:latest restricted:latest restricted:latest");
    let text = "defaults: {enforce: restricted, enforce-version: v1.30, warn-version: v1.2}";
    check(Profile::Upstream, Some(text), "restricted:v1.30 privileged:latest privileged:v1.2");
    check(Profile::Locked, Some(text), "restricted:v1.30 restricted:latest restricted:v1.2");
    check(
        Profile::Locked,
        Some("defaults: {enforce: privileged}"),
        "privileged:latest restricted:latest restricted:latest",
    );
}

#[test]
fn a24_namespaces_of_the_system_are_exempt() {
    let check = |profile: Profile, text: &str, expected: &[&str]| {
        let configuration = read(text).unwrap();
        let all = ["default", "harbor", "kube-node-lease", "kube-public", "kube-system"];
        let exempt = all.iter().filter(|name| configuration.exempts_namespace(profile, name));
        assert_eq!(exempt.copied().collect::<Vec<_>>(), expected, "{profile:?} {text}");
    };
    check(Profile::Upstream, "", &[]);
    check(Profile::Locked, "", &["kube-node-lease", "kube-public", "kube-system"]);
    check(Profile::Locked, "exemptions: {usernames: [ana]}", &["kube-node-lease", "kube-public", "kube-system"]);
    check(Profile::Locked, "exemptions: {namespaces: [harbor]}", &["harbor"]);
    check(Profile::Locked, "exemptions: {namespaces: []}", &[]);
    check(Profile::Upstream, "exemptions: {namespaces: [harbor]}", &["harbor"]);
}

#[test]
fn a_configuration_is_read_strictly() {
    let check = |text: &str, expected: &str| {
        let error = read(text).err().map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(error, expected, "{text}");
    };
    check("defaults: {enforce: baseline, audit-version: latest}\nexemptions: {runtimeClasses: [kata]}", "");
    check("defaults: {enforced: baseline}", "strict decoding error: unknown field \"defaults.enforced\"");
    check(
        "defaults: {enforce: tight, audit: x, warn-version: old}",
        "[defaults.enforce: Invalid value: \"tight\": must be one of privileged, baseline, restricted, \
         defaults.warn-version: Invalid value: \"old\": must be \"latest\" or \"v1.x\", \
         defaults.audit: Invalid value: \"x\": must be one of privileged, baseline, restricted]",
    );
    check(
        "exemptions: {usernames: [a, a, ''], namespaces: [b, b]}",
        "[exemptions.namespaces[1]: Duplicate value: \"b\", exemptions.usernames[1]: Duplicate value: \"a\", \
         exemptions.usernames[2]: Required value]",
    );
    assert!(
        read("exemptions: {namespaces: [A_b]}")
            .err()
            .unwrap()
            .to_string()
            .starts_with("exemptions.namespaces[0]: Invalid value")
    );
    let other = Document::parse(b"apiVersion: v1\nkind: Pod").unwrap();
    assert!(matches!(Configuration::read(Some(other)), Err(PluginFault::Unreadable(_))));
}

#[test]
fn another_image_or_container_makes_an_update_significant() {
    let pod = |spec: serde_json::Value| {
        let text = serde_json::json!({"spec": spec}).to_string().into_bytes();
        decode_json::decode(portcullis_kinds::schema(), Pod::TYPE, text, FieldValidation::Ignore).unwrap().tree
    };
    let old = serde_json::json!({
        "containers": [{"name": "a", "image": "a:1"}],
        "initContainers": [{"name": "i", "image": "i:1"}],
        "ephemeralContainers": [{"name": "e", "image": "e:1"}],
    });
    let check = |pointer: &str, value: serde_json::Value, expected: bool| {
        let mut new = old.clone();
        *new.pointer_mut(pointer).unwrap() = value.clone();
        let (new, old) = (pod(new), pod(old.clone()));
        assert_eq!(is_significant(views::read(&new), views::read(&old)), expected, "{pointer} {value}");
    };
    check("/containers/0/image", "a:1".into(), false);
    check("/containers/0/image", "a:2".into(), true);
    check("/containers", serde_json::json!([]), true);
    check("/initContainers/0/image", "i:2".into(), true);
    check("/initContainers", serde_json::json!([{"image": "i:1"}, {"image": "j"}]), true);
    check("/ephemeralContainers/0/image", "e:2".into(), true);
    check("/ephemeralContainers/0/name", "f".into(), true);
    check("/ephemeralContainers", serde_json::json!([]), false);
    check("/containers/0", serde_json::json!({"image": "a:1", "securityContext": {"privileged": true}}), false);
}
