#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use flate2::read::GzDecoder;
use portcullis_model::tree::Tree;
use serde_json::{Value, json};

use super::*;
use crate::testing;
use crate::views;

fn tree(pod: &Value) -> Tree {
    testing::read("v1", "Pod", &pod.to_string())
}

fn judged(standard: &str, pod: &Value) -> Vec<Violation> {
    judged_tree(standard, &tree(pod))
}

fn judged_tree(standard: &str, pod: &Tree) -> Vec<Violation> {
    let (level, version) = standard.split_once(':').unwrap();
    let standard = Standard { level: Level::parse(level).unwrap(), version: Version::parse(version).unwrap() };
    evaluate(standard, Subject::of_pod(views::read(pod)))
}

/// The verdicts that upstream's own test pods must get lie beside the project, not in it.
#[test]
fn every_pod_of_the_standards_is_judged_as_upstream_does() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/data/pod_security.jsonl.gz");
    let Ok(file) = File::open(path) else {
        println!("skipped: no ../shared/corpus/data/pod_security.jsonl.gz here");
        return;
    };
    let (mut judged_count, mut wrong) = (0, Vec::new());
    for line in BufReader::new(GzDecoder::new(file)).lines() {
        let case: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let text = |name: &str| case[name].as_str().unwrap();
        // Upstream sends them to a server: a volume that says nothing is an empty directory by then.
        let mut tree = tree(&case["pod"]);
        testing::default_all(&crate::core::pod::STRATEGY, &mut tree);
        let violations = judged_tree(&format!("{}:{}", text("level"), text("version")), &tree);
        judged_count += 1;
        if violations.is_empty() != (text("verdict") == "pass") {
            let (level, version, name) = (text("level"), text("version"), text("name"));
            wrong.push(format!("{name} at {level}:{version} should {}: {violations:?}", text("verdict")));
        }
    }
    println!("{judged_count} pods judged");
    assert!(wrong.is_empty(), "{} of {judged_count} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(judged_count > 4_000);
}

#[test]
fn checks_are_asked_in_upstreams_order() {
    let key = |check: &Check| (check.level, check.id);
    assert!(CHECKS.windows(2).all(|pair| key(&pair[0]) < key(&pair[1])));
    for check in &CHECKS {
        assert!(check.forms.windows(2).all(|pair| pair[0].0 < pair[1].0), "{}", check.id);
        let is_below = |id| CHECKS.iter().any(|other| other.id == id && other.level == Level::Baseline);
        assert!(check.replaces.is_none_or(|id| check.level == Level::Restricted && is_below(id)), "{}", check.id);
    }
}

/// A pod that breaks nothing, with what is given put into it.
fn pod(metadata: Value, spec: Value) -> Value {
    json!({"metadata": metadata, "spec": spec})
}

fn contained(security: Value) -> Value {
    pod(json!({}), json!({"containers": [{"name": "c", "securityContext": security}]}))
}

#[test]
fn violations_have_upstreams_words() {
    let check = |standard: &str, pod: Value, expected: &str| {
        assert_eq!(details(&judged(standard, &pod)), expected, "{standard} {pod}");
    };
    let two = |security: Value| {
        let containers = json!([{"name": "a", "securityContext": security}]);
        pod(
            json!({}),
            json!({"containers": containers, "initContainers": [{"name": "i", "securityContext": security}],
                "ephemeralContainers": [{"name": "e", "securityContext": security}]}),
        )
    };
    check("privileged:latest", contained(json!({"privileged": true})), "");
    check(
        "baseline:latest",
        two(json!({"privileged": true})),
        "privileged (containers \"i\", \"a\", \"e\" must not set securityContext.privileged=true)",
    );
    check(
        "baseline:latest",
        contained(json!({"capabilities": {"add": ["SYS_TIME", "CHOWN", "BPF"]}})),
        "non-default capabilities (container \"c\" must not include \"BPF\", \"SYS_TIME\" in securityContext.capabilities.add)",
    );
    check("baseline:latest", contained(json!({"capabilities": {"add": ["CHOWN"]}})), "");
    check(
        "baseline:latest",
        pod(json!({}), json!({"hostNetwork": true, "hostPID": true, "hostIPC": true})),
        "host namespaces (hostNetwork=true, hostPID=true, hostIPC=true)",
    );
    let volumes = json!([{"name": "a", "hostPath": {"path": "/"}}, {"name": "b", "nfs": {}}, {"name": "c"}, {"name": "d", "image": {}}]);
    check("baseline:latest", pod(json!({}), json!({"volumes": volumes})), "hostPath volumes (volume \"a\")");
    check(
        "restricted:v1.3",
        pod(json!({}), json!({"volumes": volumes})),
        "restricted volume types (volumes \"a\", \"b\", \"c\" use restricted volume types \"hostPath\", \"nfs\", \"unknown\")",
    );
    let ports = json!([{"hostPort": 80, "containerPort": 1}, {"hostPort": 443}, {"containerPort": 2}]);
    check(
        "baseline:latest",
        pod(json!({}), json!({"containers": [{"name": "c", "ports": ports}]})),
        "hostPort (container \"c\" uses hostPorts 443, 80)",
    );
    check(
        "baseline:latest",
        pod(
            json!({}),
            json!({"securityContext": {"sysctls": [{"name": "b"}, {"name": "net.ipv4.tcp_rmem"}, {"name": "a"}]}}),
        ),
        "forbidden sysctls (b, a)",
    );
    check(
        "baseline:v1.31",
        pod(json!({}), json!({"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_rmem"}]}})),
        "forbidden sysctls (net.ipv4.tcp_rmem)",
    );
    check(
        "baseline:latest",
        pod(
            json!({}),
            json!({"securityContext": {"windowsOptions": {"hostProcess": true}},
                "containers": [{"name": "c", "securityContext": {"windowsOptions": {"hostProcess": true}}}]}),
        ),
        "hostProcess (pod and container \"c\" must not set securityContext.windowsOptions.hostProcess=true)",
    );
    let options = json!({"seLinuxOptions": {"type": "container_engine_t", "role": "r", "user": "u"}});
    check(
        "baseline:latest",
        contained(options.clone()),
        "seLinuxOptions (container \"c\" set forbidden securityContext.seLinuxOptions: user may not be set; role may not be set)",
    );
    check(
        "baseline:v1.30",
        pod(json!({}), json!({"securityContext": options})),
        "seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type \"container_engine_t\"; user may not be set; role may \
         not be set)",
    );
    check(
        "restricted:v1.21",
        pod(json!({}), json!({"containers": [{"name": "c"}]})),
        "allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), \
         runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container \
         \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")",
    );
}

#[test]
fn probes_profiles_and_annotations_have_upstreams_words() {
    let check = |standard: &str, pod: Value, expected: &str| {
        assert_eq!(details(&judged(standard, &pod)), expected, "{standard} {pod}");
    };
    let containers = json!([
        {"name": "b", "livenessProbe": {"httpGet": {"host": "y"}}, "lifecycle": {"preStop": {"tcpSocket": {"host": "x"}}}},
        {"name": "a", "startupProbe": {"tcpSocket": {"host": "x"}}},
    ]);
    check(
        "baseline:v1.34",
        pod(json!({}), json!({"containers": containers})),
        "probe or lifecycle host (containers \"a\", \"b\" use probe or lifecycle hosts \"x\", \"y\")",
    );
    check("baseline:v1.33", pod(json!({}), json!({"containers": containers})), "");
    let annotations = json!({
        "container.apparmor.security.beta.kubernetes.io/a": "unconfined",
        "container.apparmor.security.beta.kubernetes.io/b": "runtime/default",
        "container.apparmor.security.beta.kubernetes.io/c": "localhost/x",
    });
    check(
        "baseline:v1.0",
        pod(json!({"annotations": annotations}), json!({})),
        "forbidden AppArmor profile (annotation must not set AppArmor profile type to \
         \"container.apparmor.security.beta.kubernetes.io/a=\"unconfined\"\")",
    );
    check(
        "baseline:v1.0",
        pod(
            json!({"annotations": annotations}),
            json!({"securityContext": {"appArmorProfile": {"type": "Unconfined"}}, "containers": [{"name": "c",
                "securityContext": {"appArmorProfile": {"type": "Other"}}}]}),
        ),
        "forbidden AppArmor profiles (pod and container \"c\" and annotation must not set AppArmor profile type to \"Other\", \
         \"Unconfined\", \"container.apparmor.security.beta.kubernetes.io/a=\"unconfined\"\")",
    );
    let annotations = json!({
        "seccomp.security.alpha.kubernetes.io/pod": "unconfined",
        "container.seccomp.security.alpha.kubernetes.io/c": "x",
        "container.seccomp.security.alpha.kubernetes.io/none": "x",
    });
    check(
        "baseline:v1.18",
        pod(json!({"annotations": annotations}), json!({"containers": [{"name": "c"}]})),
        "seccompProfile (forbidden annotations container.seccomp.security.alpha.kubernetes.io/c=\"x\", \
         seccomp.security.alpha.kubernetes.io/pod=\"unconfined\")",
    );
    check("baseline:v1.19", pod(json!({"annotations": annotations}), json!({"containers": [{"name": "c"}]})), "");
    check(
        "baseline:v1.19",
        contained(json!({"seccompProfile": {"type": "Unconfined"}})),
        "seccompProfile (container \"c\" must not set securityContext.seccompProfile.type to \"Unconfined\")",
    );
    let unmasked = |users: bool| {
        let mut pod = contained(json!({"procMount": "Unmasked"}));
        pod["spec"]["hostUsers"] = json!(users);
        pod
    };
    let words = "procMount (container \"c\" must not set securityContext.procMount to \"Unmasked\")";
    check("baseline:latest", unmasked(true), words);
    check("baseline:v1.34", unmasked(false), words);
    check("baseline:v1.35", unmasked(false), "");
}

#[test]
fn what_is_relaxed_and_what_replaces_what() {
    let safe = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    let check = |standard: &str, spec: Value, expected: &str| {
        assert_eq!(reasons(&judged(standard, &pod(json!({}), spec.clone()))), expected, "{standard} {spec}");
    };
    let with_users = |security: Value| json!({"hostUsers": false, "securityContext": security, "containers": [{"name": "c", "securityContext": safe}]});
    let profile = json!({"type": "RuntimeDefault"});
    let root = json!({"runAsUser": 0, "runAsNonRoot": false, "seccompProfile": profile});
    check("restricted:v1.34", with_users(root.clone()), "runAsNonRoot != true, runAsUser=0");
    check("restricted:v1.35", with_users(root.clone()), "");
    check("restricted:v1.22", with_users(root), "runAsNonRoot != true");
    let windows =
        json!({"os": {"name": "windows"}, "securityContext": {"runAsNonRoot": true}, "containers": [{"name": "c"}]});
    check("restricted:v1.25", windows.clone(), "");
    check(
        "restricted:v1.24",
        windows.clone(),
        "allowPrivilegeEscalation != false, unrestricted capabilities, seccompProfile",
    );
    check("restricted:v1.7", windows, "");
    let adds = json!({"containers": [{"name": "c", "securityContext": {"capabilities": {"add": ["BPF"]}}}],
        "securityContext": {"runAsNonRoot": true, "seccompProfile": profile}});
    check("restricted:v1.21", adds.clone(), "non-default capabilities, allowPrivilegeEscalation != false");
    check("restricted:v1.22", adds, "allowPrivilegeEscalation != false, unrestricted capabilities");
}

#[test]
fn versions_are_read_as_upstream_does() {
    let check = |text: &str, expected: Option<Version>| {
        assert_eq!(Version::parse(text).ok(), expected, "{text}");
        assert!(expected.is_none_or(|version| version.to_string() == text), "{text}");
    };
    check("latest", Some(Version::Latest));
    check("v1.0", Some(Version::Minor(0)));
    check("v1.24", Some(Version::Minor(24)));
    check("v1.9223372036854775807", Some(Version::Minor(i64::MAX as u64)));
    for text in
        ["", "v1", "v1.", "1.24", "v1.01", "v1.-1", "v1.+1", "v2.0", "Latest", "v1.24 ", "v1.9223372036854775808"]
    {
        check(text, None);
    }
}

#[test]
fn labels_make_a_policy() {
    let check = |labels: Value, expected: [&str; 3], faults: &[&str]| {
        let namespace = testing::read("v1", "Namespace", &json!({"metadata": {"labels": labels}}).to_string());
        let namespace: crate::views::core_v1::Namespace<'_> = views::read(&namespace);
        let (policy, errors) = Policy::of_labels(|label| namespace.metadata().labels().get(label), Policy::PRIVILEGED);
        let got = [policy.enforce, policy.audit, policy.warn].map(|standard| standard.to_string());
        assert_eq!(got, expected, "{labels}");
        assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), faults, "{labels}");
    };
    let label = |name: &str| format!("pod-security.kubernetes.io/{name}");
    let none = "privileged:latest";
    check(json!({}), [none; 3], &[]);
    check(json!({"enforce": "baseline"}), [none; 3], &[]);
    check(json!({label("enforce"): "baseline"}), ["baseline:latest"; 3], &[]);
    check(
        json!({label("enforce"): "baseline", label("enforce-version"): "v1.30", label("warn"): "privileged", label("audit-version"): "v1.2"}),
        ["baseline:v1.30", "baseline:v1.2", none],
        &[],
    );
    check(
        json!({label("enforce"): "baseline", label("enforce-version"): "v1.30", label("warn"): "restricted"}),
        ["baseline:v1.30", "baseline:v1.30", "restricted:latest"],
        &[],
    );
    check(json!({label("enforce-version"): "v1.30"}), ["privileged:v1.30", none, none], &[]);
    check(
        json!({label("audit"): "restricted", label("audit-version"): "v1.20", label("warn-version"): "v1.1"}),
        [none, "restricted:v1.20", "privileged:v1.1"],
        &[],
    );
    check(
        json!({label("enforce"): "tight", label("audit"): "x", label("warn"): "", label("enforce-version"): "old"}),
        ["restricted:latest", none, none],
        &[
            "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"tight\": must be one of privileged, baseline, restricted",
            "metadata.labels[pod-security.kubernetes.io/enforce-version]: Invalid value: \"old\": must be \"latest\" or \"v1.x\"",
            "metadata.labels[pod-security.kubernetes.io/audit]: Invalid value: \"x\": must be one of privileged, baseline, restricted",
            "metadata.labels[pod-security.kubernetes.io/warn]: Invalid value: \"\": must be one of privileged, baseline, restricted",
        ],
    );
}
