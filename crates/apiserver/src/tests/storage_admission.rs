//! What plugins make of claims, volumes and their classes, and which claims may grow.

use super::*;

const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";
const VOLUMES: &str = "/api/v1/persistentvolumes";
const CLASSES: &str = "/apis/storage.k8s.io/v1/storageclasses";
const ATTRIBUTES: &str = "/apis/storage.k8s.io/v1/volumeattributesclasses";
const IS_DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";

fn claim(name: &str, more: &Value) -> Value {
    let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    let mut claim = json!({"metadata": {"name": name}, "spec": spec});
    claim["spec"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    claim
}

fn class(name: &str, annotations: &Value, may_grow: bool) -> Value {
    json!({"metadata": {"name": name, "annotations": annotations}, "provisioner": "csi.example.com",
        "allowVolumeExpansion": may_grow})
}

impl Cluster {
    async fn made_of(&self, path: &str, object: Value) -> Value {
        let said = self.post(path, object.clone()).await;
        assert_eq!(said.code, 201, "{object}: {}", said.message());
        said.at("")
    }
}

#[tokio::test]
async fn claims_get_the_class_of_the_cluster() {
    let cluster = Cluster::new().await;
    let class_of = async |more: Value| {
        let made = cluster.made_of(&format!("{CLAIMS}?dryRun=All"), claim("c", &more)).await;
        made["spec"]["storageClassName"].as_str().map(str::to_owned)
    };
    assert_eq!(class_of(json!({})).await, None);
    cluster.made_of(CLASSES, class("plain", &json!({"note": "/is-default-class"}), false)).await;
    cluster.made_of(CLASSES, class("never", &json!({IS_DEFAULT: "false"}), false)).await;
    assert_eq!(class_of(json!({})).await, None);
    cluster.made_of(CLASSES, class("slow", &json!({IS_DEFAULT: "true"}), false)).await;
    assert_eq!(class_of(json!({})).await.as_deref(), Some("slow"));
    assert_eq!(class_of(json!({"storageClassName": ""})).await.as_deref(), Some(""));
    assert_eq!(class_of(json!({"storageClassName": "plain"})).await.as_deref(), Some("plain"));
    // Of those that were made in the same second the first by name counts.
    let old = json!({"storageclass.beta.kubernetes.io/is-default-class": "true"});
    cluster.made_of(CLASSES, class("fast", &old, false)).await;
    assert_eq!(class_of(json!({})).await.as_deref(), Some("fast"));
}

#[tokio::test]
async fn what_may_be_in_use_is_protected() {
    let cluster = Cluster::new().await;
    let volume = json!({"metadata": {"name": "v"}, "spec": {"capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/a"}}});
    let attributes = json!({"metadata": {"name": "gold"}, "driverName": "csi.example.com", "parameters": {"a": "b"}});
    let rows = [
        (CLAIMS, claim("c", &json!({})), "kubernetes.io/pvc-protection"),
        (VOLUMES, volume, "kubernetes.io/pv-protection"),
        (ATTRIBUTES, attributes, "kubernetes.io/vac-protection"),
    ];
    for (path, mut object, finalizer) in rows {
        let dry = format!("{path}?dryRun=All");
        assert_eq!(cluster.made_of(&dry, object.clone()).await["metadata"]["finalizers"], json!([finalizer]));
        object["metadata"]["finalizers"] = json!([finalizer, "example.com/hold"]);
        let made = cluster.made_of(&dry, object).await;
        assert_eq!(made["metadata"]["finalizers"], json!([finalizer, "example.com/hold"]));
    }
}

#[tokio::test]
async fn claims_grow_where_their_class_lets_them() {
    let cluster = Cluster::new().await;
    cluster.made_of(CLASSES, class("grows", &json!({}), true)).await;
    cluster.made_of(CLASSES, class("stays", &json!({}), false)).await;
    let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
    let grown = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
    for (class, refused) in [("grows", None), ("stays", Some(why)), ("gone", Some(why)), ("", Some(why))] {
        let name = format!("c{class}");
        cluster.made_of(CLAIMS, claim(&name, &json!({"storageClassName": class, "volumeName": "v"}))).await;
        let path = format!("{CLAIMS}/{name}");
        // A claim that waits stays as it is, whatever its class says.
        assert_eq!(cluster.merge(&path, grown.clone()).await.code, 422, "{class}");
        let bound = json!({"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}});
        assert_eq!(cluster.merge(&format!("{path}/status"), bound).await.code, 200, "{class}");
        let said = cluster.merge(&path, grown.clone()).await;
        match refused {
            None => assert_eq!(said.code, 200, "{class}: {}", said.message()),
            Some(why) => {
                let expected = format!(r#"persistentvolumeclaims "{name}" is forbidden: {why}"#);
                assert_eq!((said.code, said.message()), (403, expected), "{class}");
            }
        }
    }
}
