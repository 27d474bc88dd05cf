#![allow(clippy::unwrap_used)]

use std::time::Instant;

use bytes::Bytes;
use portcullis_store::embedded::{Embedded, Options};
use portcullis_store::{Budget, Change, Commit, Condition, Operation};
use serde_json::{Value, json};

use super::*;
use crate::Catalog;

use RelatedKind::{
    ConfigMap, PersistentVolume as Volume, PersistentVolumeClaim, ResourceClaim, ResourceSlice, Secret, ServiceAccount,
    VolumeAttachment as Attachment,
};

struct Stage {
    engine: Arc<Embedded>,
    registry: Arc<Registry>,
    relations: Relations,
    _folder: tempfile::TempDir,
}

impl Stage {
    fn new() -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let registry = Arc::new(Registry::new());
        let catalog = Arc::new(Catalog::new(Arc::clone(&registry)));
        let options = Options { catalog, ..Options::new(folder.path().join("store")) };
        let engine = Arc::new(Embedded::open(options).unwrap());
        let relations = Relations::new(Arc::clone(&engine) as Arc<dyn Engine>, Arc::clone(&registry));
        Stage { engine, registry, relations, _folder: folder }
    }

    /// Writes what is stored under a key, whatever is there; nothing removes it.
    async fn write(&self, key: &str, object: Option<Value>) {
        let change = match object {
            Some(object) => Change::Put(body(&object)),
            None => Change::Delete,
        };
        let condition = match self.engine.snapshot().get(key) {
            Some(entry) => Condition::Version(entry.version),
            None => Condition::Absent,
        };
        if condition == Condition::Absent && change == Change::Delete {
            return;
        }
        self.engine.commit(Commit::from(Operation { key: key.into(), condition, change })).await.unwrap();
    }

    fn check(&self, rows: &[(&str, RelatedKind, &str, &str, bool)]) {
        let fresh = Relations::new(Arc::clone(&self.engine) as Arc<dyn Engine>, Arc::clone(&self.registry));
        for (node, kind, namespace, name, expected) in rows {
            let what = format!("{node} to {kind:?} {namespace}/{name}");
            assert_eq!(self.relations.reaches(node, *kind, namespace, name), *expected, "{what}");
            assert_eq!(fresh.reaches(node, *kind, namespace, name), *expected, "{what}, from a snapshot");
        }
    }
}

/// An object as it is stored: `metadata` first, with a uid.
fn body(object: &Value) -> Bytes {
    let mut metadata = object["metadata"].clone();
    let mut rest = object.clone();
    rest.as_object_mut().unwrap().remove("metadata");
    if metadata.is_null() {
        metadata = json!({});
    }
    metadata.as_object_mut().unwrap().insert("uid".to_owned(), json!("u-1"));
    let rest = rest.to_string();
    let rest = rest.trim_start_matches('{');
    let comma = if rest == "}" { "" } else { "," };
    format!(r#"{{"metadata":{metadata}{comma}{rest}"#).into()
}

fn pod(node: &str, secret: &str) -> Value {
    json!({
        "metadata": {"name": "web"},
        "spec": {"volumes": [{"name": "v", "secret": {"secretName": secret}}], "containers": null, "nodeName": node},
        "status": {"phase": "Pending"},
    })
}

#[tokio::test]
async fn what_a_pod_refers_to_is_reached_from_its_node() {
    let stage = Stage::new();
    stage.check(&[("n1", Secret, "shop", "tls", false)]);
    let pod = json!({
        "metadata": {"name": "web"},
        "spec": {
            "nodeName": "n1",
            "serviceAccountName": "account",
            "containers": [{"name": "c", "env": [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "k"}}}]}],
            "volumes": [
                {"name": "tls", "secret": {"secretName": "tls"}},
                {"name": "disk", "persistentVolumeClaim": {"claimName": "disk"}},
                {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}},
            ],
            "resourceClaims": [
                {"name": "named", "resourceClaimName": "gpu"},
                {"name": "made", "resourceClaimTemplateName": "template"},
                {"name": "pending", "resourceClaimTemplateName": "template"},
            ],
        },
        "status": {
            "resourceClaimStatuses": [{"name": "made", "resourceClaimName": "web-made-x"}, {"name": "pending"}],
            "extendedResourceClaimStatus": {"requestMappings": [], "resourceClaimName": "web-extended-x"},
        },
    });
    stage.write("/registry/pods/shop/web", Some(pod)).await;
    stage.check(&[
        ("n1", RelatedKind::Pod, "shop", "web", true),
        ("n1", Secret, "shop", "tls", true),
        ("n1", ConfigMap, "shop", "settings", true),
        ("n1", ServiceAccount, "shop", "account", true),
        ("n1", PersistentVolumeClaim, "shop", "disk", true),
        ("n1", PersistentVolumeClaim, "shop", "web-scratch", true),
        ("n1", ResourceClaim, "shop", "gpu", true),
        ("n1", ResourceClaim, "shop", "web-made-x", true),
        ("n1", ResourceClaim, "shop", "web-extended-x", true),
        ("n1", ResourceClaim, "shop", "template", false),
        ("n1", ResourceClaim, "shop", "made", false),
        ("n2", RelatedKind::Pod, "shop", "web", false),
        ("n2", Secret, "shop", "tls", false),
        ("n1", Secret, "other", "tls", false),
    ]);
    stage.write("/registry/pods/shop/web", None).await;
    stage.check(&[("n1", RelatedKind::Pod, "shop", "web", false), ("n1", Secret, "shop", "tls", false)]);
}

#[tokio::test]
async fn volumes_attachments_and_slices_lead_to_their_node() {
    let stage = Stage::new();
    let secrets = json!({
        "driver": "d",
        "volumeHandle": "h",
        "nodeStageSecretRef": {"name": "stage", "namespace": "drivers"},
        "nodePublishSecretRef": {"name": "publish"},
        "nodeExpandSecretRef": {"name": "expand", "namespace": "drivers"},
        "controllerPublishSecretRef": {"name": "controller", "namespace": "drivers"},
        "controllerExpandSecretRef": {"name": "controller", "namespace": "drivers"},
    });
    let volume = |claim: &str| {
        let claim = json!({"kind": "PersistentVolumeClaim", "namespace": "shop", "name": claim});
        json!({"metadata": {"name": "pv"}, "spec": {"csi": secrets, "claimRef": claim}, "status": {}})
    };
    let web = json!({
        "metadata": {"name": "web"},
        "spec": {"volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "disk"}}], "nodeName": "n1"},
    });
    // The volume is written after the pod and read before it: what one says does not depend on the other.
    stage.write("/registry/pods/shop/web", Some(web)).await;
    stage.write("/registry/persistentvolumes/pv", Some(volume("disk"))).await;
    stage
        .write(
            "/registry/volumeattachments/a",
            Some(json!({"spec": {"attacher": "x", "source": {}, "nodeName": "n1"}})),
        )
        .await;
    let slice = json!({"spec": {"driver": "d", "pool": {"name": "p"}, "nodeName": "n1"}});
    stage.write("/registry/resourceslices/s", Some(slice)).await;
    let everywhere = json!({"spec": {"driver": "d", "pool": {"name": "p"}, "allNodes": true}});
    stage.write("/registry/resourceslices/all", Some(everywhere)).await;
    stage.check(&[
        ("n1", Volume, "", "pv", true),
        ("n2", Volume, "", "pv", false),
        ("n1", Secret, "drivers", "stage", true),
        ("n1", Secret, "shop", "publish", true),
        ("n1", Secret, "drivers", "expand", true),
        ("n1", Secret, "drivers", "controller", false),
        ("n2", Secret, "drivers", "stage", false),
        ("n1", Attachment, "", "a", true),
        ("n2", Attachment, "", "a", false),
        ("n1", ResourceSlice, "", "s", true),
        ("n2", ResourceSlice, "", "s", false),
        ("n1", ResourceSlice, "", "all", false),
    ]);
    stage.write("/registry/persistentvolumes/pv", Some(volume("other"))).await;
    stage.write("/registry/volumeattachments/a", None).await;
    stage.write("/registry/resourceslices/s", None).await;
    stage.check(&[
        ("n1", Volume, "", "pv", false),
        ("n1", Secret, "drivers", "stage", false),
        ("n1", Attachment, "", "a", false),
        ("n1", ResourceSlice, "", "s", false),
    ]);
}

#[tokio::test]
async fn only_what_a_pod_now_says_counts() {
    let stage = Stage::new();
    let tls = |expected: bool| [("n1", Secret, "shop", "tls", expected)];
    let key = "/registry/pods/shop/web";
    // Bound to no node, it is nobody's.
    stage.write(key, Some(pod("", "tls"))).await;
    stage.check(&tls(false));
    stage.write(key, Some(pod("n1", "tls"))).await;
    stage.check(&tls(true));
    let mut running = pod("n1", "tls");
    running["status"]["phase"] = json!("Running");
    stage.write(key, Some(running)).await;
    stage.check(&tls(true));
    stage.write(key, Some(pod("n2", "tls"))).await;
    stage.check(&tls(false));
    stage.write(key, Some(pod("n1", "other"))).await;
    stage.check(&tls(false));
    let mut with_claim = pod("n1", "tls");
    with_claim["spec"]["resourceClaims"] = json!([{"name": "made", "resourceClaimTemplateName": "t"}]);
    stage.write(key, Some(with_claim.clone())).await;
    stage.check(&[("n1", ResourceClaim, "shop", "made-x", false)]);
    with_claim["status"]["resourceClaimStatuses"] = json!([{"name": "made", "resourceClaimName": "made-x"}]);
    stage.write(key, Some(with_claim.clone())).await;
    stage.check(&[("n1", ResourceClaim, "shop", "made-x", true)]);
    with_claim["status"].as_object_mut().unwrap().remove("resourceClaimStatuses");
    stage.write(key, Some(with_claim)).await;
    stage.check(&[("n1", ResourceClaim, "shop", "made-x", false), ("n1", Secret, "shop", "tls", true)]);
}

/// A node makes mirror pods itself: CVE-2025-4563 let it reach resource claims through one.
#[tokio::test]
async fn cve_2025_4563_a_mirror_pod_leads_nowhere() {
    let stage = Stage::new();
    let mut mirror = pod("n1", "tls");
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "hash"});
    mirror["spec"]["resourceClaims"] = json!([{"name": "c", "resourceClaimName": "gpu"}]);
    stage.write("/registry/pods/shop/web", Some(mirror.clone())).await;
    let nowhere = [("n1", Secret, "shop", "tls", false), ("n1", ResourceClaim, "shop", "gpu", false)];
    stage.check(&nowhere);
    stage.check(&[("n1", RelatedKind::Pod, "shop", "web", true)]);
    mirror["status"]["resourceClaimStatuses"] = json!([{"name": "c", "resourceClaimName": "gpu"}]);
    stage.write("/registry/pods/shop/web", Some(mirror.clone())).await;
    stage.check(&nowhere);
    // One that stops being a mirror is what an administrator made of it.
    mirror["metadata"]["annotations"] = json!({"note": "kubernetes.io/config.mirror"});
    stage.write("/registry/pods/shop/web", Some(mirror)).await;
    stage.check(&[("n1", Secret, "shop", "tls", true), ("n1", ResourceClaim, "shop", "gpu", true)]);
}

#[tokio::test]
async fn random_writes_leave_the_graph_that_a_snapshot_gives() {
    const SEEDS: u64 = 4;
    const WRITES: usize = 120;
    let names = ["w", "x", "y"];
    for seed in 0..SEEDS {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut roll = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 33) as usize % below
        };
        let stage = Stage::new();
        for write in 0..WRITES {
            let (name, node) = (names[roll(3)], ["", "n1", "n2"][roll(3)]);
            match roll(6) {
                0..=2 => {
                    let mut object = pod(node, names[roll(3)]);
                    object["status"]["phase"] = json!(["Pending", "Running"][roll(2)]);
                    let claim = json!({"name": "d", "persistentVolumeClaim": {"claimName": names[roll(3)]}});
                    object["spec"]["volumes"].as_array_mut().unwrap().push(claim);
                    stage.write(&format!("/registry/pods/shop/{name}"), Some(object)).await;
                }
                3 => stage.write(&format!("/registry/pods/shop/{name}"), None).await,
                4 => {
                    let claim = json!({"namespace": "shop", "name": names[roll(3)]});
                    let csi = json!({"driver": "d", "nodeStageSecretRef": {"name": names[roll(3)]}});
                    let volume = json!({"spec": {"csi": csi, "claimRef": claim}});
                    stage.write(&format!("/registry/persistentvolumes/{name}"), Some(volume)).await;
                }
                _ => stage.write(&format!("/registry/persistentvolumes/{name}"), None).await,
            }
            if write % 4 != 0 {
                continue;
            }
            let fresh = Relations::new(Arc::clone(&stage.engine) as Arc<dyn Engine>, Arc::clone(&stage.registry));
            for node in ["n1", "n2"] {
                for name in names {
                    for (kind, namespace) in
                        [(RelatedKind::Pod, "shop"), (Secret, "shop"), (PersistentVolumeClaim, "shop"), (Volume, "")]
                    {
                        let followed = stage.relations.reaches(node, kind, namespace, name);
                        let built = fresh.reaches(node, kind, namespace, name);
                        assert_eq!(followed, built, "seed {seed}, write {write}: {node} to {kind:?} {name}");
                    }
                }
            }
        }
    }
}

#[test]
fn the_rules_of_the_role_are_there() {
    let stage = tempfile::tempdir().unwrap();
    let engine = Arc::new(Embedded::open(Options::new(stage.path().join("store"))).unwrap());
    assert!(node_authorizer(engine, Arc::new(Registry::new())).is_ok());
    let policy = bootstrap_policy::bootstrap_policy().unwrap();
    let role = policy.roles.iter().find(|role| role.namespace.is_empty() && role.name == ROLE_NODE).unwrap();
    assert!(role.rules.iter().any(|rule| rule.resources.contains(&"services")));
}

/// Prints what an event of a pod costs; asserts nothing about time.
#[test]
fn a_pod_event() {
    const EVENTS: u32 = 2_000;
    let registry = Arc::new(Registry::new());
    let mut followed = Followed::new(Arc::clone(&registry));
    let catalog = Catalog::new(registry);
    let key = "/registry/pods/shop/web";
    let budget = Arc::new(Budget::new(0));
    let entry = |object: &Value| {
        let value = body(object);
        let index = portcullis_store::Catalog::index(&catalog, key, &value);
        Entry::new(1, 1, value, index, &budget)
    };
    let mut object = pod("n1", "tls");
    let container = |number: usize| {
        let env: Vec<Value> =
            (0..10).map(|env| json!({"name": format!("ENV_{env}"), "value": "x".repeat(40)})).collect();
        json!({"name": format!("c{number}"), "image": "registry.example/shop:1", "env": env})
    };
    object["spec"]["containers"] = (0..4).map(container).collect();
    let before = entry(&object);
    object["status"]["phase"] = json!("Running");
    let after = entry(&object);
    let started = Instant::now();
    for _ in 0..EVENTS {
        assert!(refers_to_the_same(&before, &after));
    }
    let same = started.elapsed() / EVENTS;
    let started = Instant::now();
    for _ in 0..EVENTS {
        followed.put(key, Some(&after));
    }
    let read = started.elapsed() / EVENTS;
    println!("a pod of {} bytes: {same:?} when it refers to the same, {read:?} when it is read", after.value.len());
    assert!(followed.graph.reaches("n1", Secret, "shop", "tls"));
}
