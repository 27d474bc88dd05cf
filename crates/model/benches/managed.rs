//! What accounting for one change of a pod costs: its managers read, the change found, taken from others, and written.
//!
//! The pod is a running one of about 10 KB: made by one manager, scheduled, its status written by a second, an annotation by a third.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use portcullis_model::schema::managed::{Change, Manager, Managers, Unwritten, compare};
use portcullis_model::schema::{FieldValidation, Schema, TypeId, decode_json, encode_json};
use portcullis_model::tree::Tree;
use serde_json::{Value, json};

const NOW: i64 = 1_800_000_000;

fn schema() -> Schema {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kinds/facts/v1_36");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| !path.ends_with("resources.facts") && !path.ends_with("columns.facts"));
    let tables: Vec<String> = paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    Schema::load(tables.iter().map(String::as_str)).unwrap()
}

/// Who writes, through which subresource, and what.
type Step = (&'static str, &'static str, fn(&mut Value));

/// The numbers of `metadata` and of its `managedFields`.
struct Numbers {
    metadata: u16,
    managed: u16,
}

fn status() -> Value {
    let condition = |kind: &str| json!({"type": kind, "status": "True", "lastProbeTime": null, "lastTransitionTime": "2026-01-02T03:04:05Z", "observedGeneration": 1});
    let container = |name: &str| {
        json!({
            "name": name, "ready": true, "restartCount": 0, "started": true, "image": format!("registry.example.com/shop/{name}:1.2.3"),
            "imageID": format!("registry.example.com/shop/{name}@sha256:{:0>64}", 7), "containerID": format!("containerd://{:0>64}", 9),
            "lastState": {}, "state": {"running": {"startedAt": "2026-01-02T03:04:06Z"}},
            "resources": {"limits": {"memory": "1Gi"}, "requests": {"cpu": "250m", "memory": "512Mi"}},
            "volumeMounts": [{"mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "name": "token", "readOnly": true, "recursiveReadOnly": "Disabled"}],
        })
    };
    let kinds = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];
    json!({
        "phase": "Running", "qosClass": "Burstable", "observedGeneration": 1, "startTime": "2026-01-02T03:04:05Z",
        "hostIP": "192.0.2.7", "hostIPs": [{"ip": "192.0.2.7"}], "podIP": "10.1.2.3", "podIPs": [{"ip": "10.1.2.3"}],
        "conditions": kinds.map(condition), "containerStatuses": [container("web"), container("sidecar")],
    })
}

fn account(schema: &Schema, numbers: &Numbers, old: &Tree, new: &mut Tree, who: &str, subresource: &str) {
    let metadata = new.field(new.root(), numbers.metadata).unwrap();
    let held = old.field(old.root(), numbers.metadata).and_then(|metadata| old.field(metadata, numbers.managed));
    let mut managers = held.map(|list| Managers::stored(schema, old, list).unwrap()).unwrap_or_default();
    let before = managers.clone();
    new.remove(metadata, numbers.managed);
    let comparison = compare(schema, old, new).unwrap();
    let nothing = Unwritten::default();
    let manager = Manager::of_update(who, "", "v1", subresource);
    let is_same = comparison.is_same_but_for_identity();
    managers.update(Change { manager, comparison, unwritten: &nothing, now: Some(NOW) }, &mut |_| None);
    if is_same && managers.same_but_for_time(&before) {
        managers = before;
    }
    managers.write(schema, new, metadata, numbers.managed);
}

fn running(schema: &Schema, ty: TypeId, numbers: &Numbers) -> Value {
    let mut object: Value = serde_json::from_slice(include_bytes!("data/pod.json")).unwrap();
    let tree = |object: &Value| {
        decode_json::decode(schema, ty, object.to_string().into_bytes(), FieldValidation::Ignore).unwrap().tree
    };
    let mut old = Tree::new(ty);
    let text = |tree: &Tree| serde_json::from_slice::<Value>(&encode_json::to_vec(schema, tree)).unwrap();
    let steps: [Step; 3] = [
        ("kube-controller-manager", "", |_| {}),
        ("kubelet", "status", |object| object["status"] = status()),
        ("warden", "", |object| object["metadata"]["annotations"]["example.com/seen"] = "yes".into()),
    ];
    for (who, subresource, change) in steps {
        change(&mut object);
        let mut new = tree(&object);
        account(schema, numbers, &old, &mut new, who, subresource);
        object = text(&new);
        old = new;
    }
    object
}

fn managed(bench: &mut Criterion) {
    let schema = schema();
    let ty = schema.by_kind("v1", "Pod").unwrap();
    let meta = schema.by_name("apimachinery.pkg.apis.meta.v1.ObjectMeta").unwrap();
    let numbers = Numbers {
        metadata: schema.ty(ty).find("metadata").unwrap(),
        managed: schema.ty(meta).find("managedFields").unwrap(),
    };
    let mut object = running(&schema, ty, &numbers);
    let decode = |object: &Value| {
        decode_json::decode(&schema, ty, object.to_string().into_bytes(), FieldValidation::Ignore).unwrap().tree
    };
    let old = decode(&object);
    println!("the pod has {} bytes", encode_json::to_vec(&schema, &old).len());
    object["metadata"]["labels"]["example.com/label"] = "new".into();
    let new = decode(&object);
    let metadata = old.field(old.root(), numbers.metadata).unwrap();
    let list = old.field(metadata, numbers.managed).unwrap();
    bench.bench_function("managed/read", |b| b.iter(|| black_box(Managers::read(&schema, &old, list).unwrap())));
    bench.bench_function("managed/compare", |b| b.iter(|| black_box(compare(&schema, &old, &new).unwrap())));
    bench.bench_function("managed/a label of a pod", |b| {
        b.iter_batched(
            || new.clone(),
            |mut new| {
                account(&schema, &numbers, &old, &mut new, "four", "");
                new
            },
            BatchSize::SmallInput,
        );
    });
    object["status"]["podIP"] = "10.9.9.9".into();
    object["status"]["containerStatuses"][0]["restartCount"] = 4.into();
    let busy = decode(&object);
    bench.bench_function("managed/the status of a pod", |b| {
        b.iter_batched(
            || busy.clone(),
            |mut new| {
                account(&schema, &numbers, &old, &mut new, "kubelet", "status");
                new
            },
            BatchSize::SmallInput,
        );
    });
    let map = json!({"metadata": {"name": "a"}, "data": {"a": "x".repeat(500), "b": "y".repeat(500)}});
    let ty = schema.by_kind("v1", "ConfigMap").unwrap();
    let text = map.to_string().into_bytes();
    let map = decode_json::decode(&schema, ty, text, FieldValidation::Ignore).unwrap().tree;
    let nothing = Tree::new(ty);
    bench.bench_function("managed/a new config map", |b| {
        b.iter_batched(
            || map.clone(),
            |mut new| {
                account(&schema, &numbers, &nothing, &mut new, "one", "");
                new
            },
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(benches, managed);
criterion_main!(benches);
