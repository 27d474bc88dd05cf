//! What the workloads read and write. Every number in a name or a stamp has a fixed width, so that two servers, and two
//! rounds, hold objects of the same size. Defaults are spelled out: a server that fills them in gains and loses nothing.

use bytes::Bytes;
use serde_json::{Value, json};

/// Digits of a stamp, which is what makes one write differ from the one before.
const STAMP_LEN: usize = 12;
/// Bytes of a ConfigMap's payload; with the rest it is about 1 KB as posted.
const PAYLOAD_LEN: usize = 760;
/// A time in every object, so that none depends on the clock.
const TIME: &str = "2026-01-01T00:00:00Z";

/// Text of a fixed width that differs from write to write.
pub fn stamp(number: u64) -> String {
    format!("{number:0STAMP_LEN$}")
}

/// JSON as it is sent.
pub fn content(object: &Value) -> Bytes {
    Bytes::from(object.to_string())
}

/// A namespace.
pub fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

/// The account that pods of a namespace name, for servers that insist on it.
pub fn service_account(namespace: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": namespace}})
}

/// A ConfigMap of about 1 KB.
pub fn config_map(namespace: &str, name: &str, number: u64) -> Value {
    let payload: String = (0..PAYLOAD_LEN as u64 / 8).map(|at| format!("{:08x}", fraction(number, at))).collect();
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {
            "name": name, "namespace": namespace,
            "labels": {"app.kubernetes.io/name": "bench", "bench.example.com/shard": format!("{:02}", number % 100)},
        },
        "data": {"stamp": stamp(0), "settings.conf": payload},
    })
}

/// A merge patch that changes a ConfigMap.
pub fn config_map_patch(number: u64) -> Bytes {
    content(&json!({"data": {"stamp": stamp(number)}}))
}

/// A node's heartbeat; with the version that it replaces, or without one to create it.
pub fn lease(namespace: &str, name: &str, number: u64, version: Option<u64>) -> Value {
    let mut lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": name, "namespace": namespace, "ownerReferences": [
            {"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid(number)},
        ]},
        "spec": {
            "holderIdentity": name, "leaseDurationSeconds": 40,
            "renewTime": format!("2026-01-01T{:02}:{:02}:{:02}.{:06}Z",
                number / 3_600_000_000 % 24, number / 60_000_000 % 60, number / 1_000_000 % 60, number % 1_000_000),
        },
    });
    if let (Some(version), Some(metadata)) = (version, lease.get_mut("metadata").and_then(Value::as_object_mut)) {
        metadata.insert("resourceVersion".into(), version.to_string().into());
    }
    lease
}

/// A strategic merge patch of one label and one annotation of a pod.
pub fn pod_patch(number: u64) -> Bytes {
    let stamp = stamp(number);
    content(&json!({"metadata": {
        "labels": {"bench.example.com/round": stamp},
        "annotations": {"bench.example.com/note": stamp},
    }}))
}

/// What a manager applies of a pod: a label, an annotation, and a few fields of elements that others made. The label and an image
/// change from one to the next.
pub fn pod_apply(namespace: &str, name: &str, number: u64) -> Bytes {
    let stamp = stamp(number);
    content(&json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": namespace,
            "labels": {"bench.example.com/applied": stamp}, "annotations": {"bench.example.com/applier": "bench"},
        },
        "spec": {"containers": [
            {
                "name": "server", "env": [{"name": "LOG_LEVEL", "value": "info"}],
                "ports": [{"containerPort": 8080, "name": "http", "protocol": "TCP"}],
            },
            {"name": "logs", "image": format!("registry.example.com/harbor/sidecar:2.14.{stamp}")},
        ]},
    }))
}

/// A whole manifest of a Deployment as it is applied, about 2 KB. One variable of its container changes from one to the next.
pub fn deployment_apply(namespace: &str, name: &str, number: u64) -> Bytes {
    let mut server = server_container();
    if let Some(container) = server.as_object_mut() {
        container.insert(
            "env".into(),
            json!([
                {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "LOG_LEVEL", "value": "info"}, {"name": "RELEASE", "value": stamp(number)},
            ]),
        );
    }
    let labels = json!({"app.kubernetes.io/name": "storefront", "app.kubernetes.io/part-of": "harbor"});
    content(&json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "replicas": 3, "revisionHistoryLimit": 5, "selector": {"matchLabels": labels},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {
                "metadata": {"labels": labels, "annotations": {"prometheus.io/scrape": "true"}},
                "spec": {
                    "containers": [server], "volumes": volumes(), "terminationGracePeriodSeconds": 30,
                    "securityContext": {"runAsUser": 10001, "runAsNonRoot": true},
                },
            },
        },
    }))
}

/// A pod as a controller posts it: about 5.2 KB. With [`pod_status`] and managed fields it is 14.4 KB.
pub fn pod(namespace: &str, name: &str, number: u64, node: Option<&str>) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": namespace,
            "labels": {
                "app.kubernetes.io/name": "storefront", "app.kubernetes.io/component": "checkout",
                "app.kubernetes.io/part-of": "harbor", "pod-template-hash": "6b7f9c5d84",
                "bench.example.com/shard": format!("{:02}", number % 100), "bench.example.com/round": stamp(0),
            },
            "annotations": {
                "prometheus.io/scrape": "true", "prometheus.io/port": "9090", "prometheus.io/path": "/metrics",
                "bench.example.com/checksum": digest(number, 0),
                "bench.example.com/note": stamp(0),
            },
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "storefront-6b7f9c5d84",
                "uid": uid(number % 100), "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": {
            "initContainers": [init_container()],
            "containers": [server_container(), sidecar("proxy", 15090), sidecar("logs", 24231)],
            "volumes": volumes(),
            "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
            "serviceAccountName": "default", "serviceAccount": "default", "automountServiceAccountToken": false,
            "securityContext": {"runAsUser": 10001, "runAsNonRoot": true, "fsGroup": 10001},
            "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
                "weight": 100, "podAffinityTerm": {
                    "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "storefront"}},
                    "topologyKey": "kubernetes.io/hostname",
                },
            }]}},
            "topologySpreadConstraints": [{
                "maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "storefront"}},
            }],
            "schedulerName": "default-scheduler", "tolerations": tolerations(), "priority": 0,
            "enableServiceLinks": true, "preemptionPolicy": "PreemptLowerPriority",
        },
    });
    if let (Some(node), Some(spec)) = (node, pod.get_mut("spec").and_then(Value::as_object_mut)) {
        spec.insert("nodeName".into(), node.into());
    }
    pod
}

/// What a node reports of a running pod, about 2.7 KB: a patch of its status. Only the stamp changes from one to the next,
/// because a patch adds to the addresses that are there.
pub fn pod_status(number: u64, stamped: u64) -> Bytes {
    let condition = |kind: &str| json!({"type": kind, "status": "True", "lastProbeTime": null, "lastTransitionTime": TIME, "observedGeneration": 1});
    let address = format!("10.{}.{}.{}", 100 + number / 10_000 % 100, 100 + number / 100 % 100, 100 + number % 100);
    content(&json!({"status": {
        "phase": "Running", "message": stamp(stamped), "startTime": TIME, "qosClass": "Burstable",
        "hostIP": "192.168.100.100", "hostIPs": [{"ip": "192.168.100.100"}],
        "podIP": address, "podIPs": [{"ip": address}],
        "conditions": [
            condition("PodReadyToStartContainers"), condition("Initialized"), condition("Ready"),
            condition("ContainersReady"), condition("PodScheduled"),
        ],
        "initContainerStatuses": [{
            "name": "migrate", "ready": true, "started": false, "restartCount": 0,
            "image": "registry.example.com/harbor/storefront:2.14.1", "imageID": image_id("storefront"),
            "containerID": container_id(number, 0), "lastState": {},
            "state": {"terminated": {
                "exitCode": 0, "reason": "Completed", "startedAt": TIME, "finishedAt": TIME,
                "containerID": container_id(number, 0),
            }},
        }],
        "containerStatuses": [
            container_status("server", "storefront", number), container_status("proxy", "sidecar", number),
            container_status("logs", "sidecar", number),
        ],
    }}))
}

fn container_status(name: &str, image: &str, number: u64) -> Value {
    json!({
        "name": name, "ready": true, "started": true, "restartCount": 0, "lastState": {},
        "image": format!("registry.example.com/harbor/{image}:2.14.1"), "imageID": image_id(image),
        "containerID": container_id(number, name.len() as u64), "state": {"running": {"startedAt": TIME}},
    })
}

fn init_container() -> Value {
    json!({
        "name": "migrate", "image": "registry.example.com/harbor/storefront:2.14.1", "imagePullPolicy": "IfNotPresent",
        "command": ["/app/migrate"], "args": ["--to=latest", "--timeout=5m"],
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
        "volumeMounts": [{"name": "settings", "mountPath": "/etc/storefront", "readOnly": true}],
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
    })
}

fn server_container() -> Value {
    let probe = |path: &str, period: u32| {
        json!({
            "httpGet": {"path": path, "port": "http", "scheme": "HTTP"}, "initialDelaySeconds": 5,
            "periodSeconds": period, "timeoutSeconds": 1, "successThreshold": 1, "failureThreshold": 3,
        })
    };
    let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}});
    json!({
        "name": "server", "image": "registry.example.com/harbor/storefront:2.14.1", "imagePullPolicy": "IfNotPresent",
        "command": ["/app/storefront"], "args": ["--listen=:8080", "--config=/etc/storefront/storefront.yaml", "--log=json"],
        "ports": [
            {"name": "http", "containerPort": 8080, "protocol": "TCP"},
            {"name": "metrics", "containerPort": 9090, "protocol": "TCP"},
        ],
        "env": [
            field("POD_NAME", "metadata.name"), field("POD_NAMESPACE", "metadata.namespace"),
            field("NODE_NAME", "spec.nodeName"),
            {"name": "DATABASE_URL", "valueFrom": {"secretKeyRef": {"name": "storefront-database", "key": "url"}}},
            {"name": "CACHE_ADDRESS", "value": "cache.harbor.svc.cluster.local:6379"},
            {"name": "LOG_LEVEL", "value": "info"}, {"name": "REGION", "value": "north-1"},
        ],
        "resources": {
            "requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "512Mi"},
        },
        "volumeMounts": [
            {"name": "settings", "mountPath": "/etc/storefront", "readOnly": true},
            {"name": "keys", "mountPath": "/etc/storefront/keys", "readOnly": true},
            {"name": "scratch", "mountPath": "/tmp"},
        ],
        "livenessProbe": probe("/healthz", 10), "readinessProbe": probe("/readyz", 5),
        "lifecycle": {"preStop": {"exec": {"command": ["/app/storefront", "drain"]}}},
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
        "securityContext": {
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
        },
    })
}

fn sidecar(name: &str, port: u32) -> Value {
    json!({
        "name": name, "image": "registry.example.com/harbor/sidecar:2.14.1", "imagePullPolicy": "IfNotPresent",
        "args": [format!("--role={name}"), format!("--listen=:{port}")],
        "ports": [{"name": name, "containerPort": port, "protocol": "TCP"}],
        "env": [{"name": "UPSTREAM", "value": "127.0.0.1:8080"}],
        "resources": {
            "requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"cpu": "200m", "memory": "128Mi"},
        },
        "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}],
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
    })
}

fn volumes() -> Value {
    json!([
        {"name": "settings", "configMap": {"name": "storefront-settings", "defaultMode": 420}},
        {"name": "keys", "secret": {"secretName": "storefront-keys", "defaultMode": 256}},
        {"name": "scratch", "emptyDir": {}},
    ])
}

fn tolerations() -> Value {
    let evicted =
        |key: &str| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300});
    json!([evicted("node.kubernetes.io/not-ready"), evicted("node.kubernetes.io/unreachable")])
}

fn image_id(image: &str) -> String {
    format!("registry.example.com/harbor/{image}@sha256:{}", digest(image.len() as u64, 0))
}

fn container_id(number: u64, part: u64) -> String {
    format!("containerd://{}", digest(number, part))
}

/// 64 hexadecimal digits.
fn digest(number: u64, part: u64) -> String {
    (0..8).map(|at| format!("{:08x}", fraction(number, part * 8 + at))).collect()
}

fn uid(number: u64) -> String {
    format!("{:08x}-0000-4000-8000-{number:012x}", fraction(number, 0))
}

/// 32 bits that look like any, the same in each run: digests and identifiers that do not compress like zeros.
fn fraction(number: u64, at: u64) -> u32 {
    let mixed = (number << 20 | at).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_of_a_kind_has_the_same_size() {
        for number in [1, 99, 100, 9_999, 123_456_789, 999_999_999_999] {
            let name = format!("bench-{:05}", number % 100_000);
            assert_eq!(
                pod("a", &name, number, None).to_string().len(),
                pod("a", "bench-00000", 0, None).to_string().len()
            );
            assert_eq!(pod_status(number, number).len(), pod_status(0, 0).len(), "status {number}");
            assert_eq!(pod_patch(number).len(), pod_patch(0).len(), "patch {number}");
            assert_eq!(config_map_patch(number).len(), config_map_patch(0).len(), "patch {number}");
            assert_eq!(pod_apply("a", &name, number).len(), pod_apply("a", &name, 0).len(), "apply {number}");
            let deployment = |number| deployment_apply("a", &name, number).len();
            assert_eq!(deployment(number), deployment(0), "Deployment {number}");
            let lease = |number| lease("a", "bench-00000", number, None).to_string().len();
            assert_eq!(lease(number), lease(0), "lease {number}");
            let config_map = |number| config_map("a", "bench-00000", number).to_string().len();
            assert_eq!(config_map(number), config_map(0), "ConfigMap {number}");
        }
    }

    #[test]
    fn objects_have_the_sizes_that_the_figures_are_for() {
        let check = |what: &str, len: usize, expected: std::ops::Range<usize>| {
            assert!(expected.contains(&len), "{what} has {len} bytes");
        };
        check(
            "the pod as posted",
            pod("bench-0", "bench-00000", 0, Some("bench-node-00")).to_string().len(),
            5_000..5_500,
        );
        check("its status", pod_status(0, 0).len(), 2_500..3_000);
        check("the ConfigMap", config_map("bench-0", "bench-00000", 0).to_string().len(), 950..1_100);
        check("the patch of a pod", pod_patch(0).len(), 80..200);
        check("what is applied of a pod", pod_apply("bench-0", "bench-00000", 0).len(), 400..600);
        check("the Deployment", deployment_apply("bench-0", "bench-00000", 0).len(), 2_200..2_400);
    }
}
