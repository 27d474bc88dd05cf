//! What becomes of ingresses and endpoints on their way into the store.

use super::*;

const CLASSES: &str = "/apis/networking.k8s.io/v1/ingressclasses";
const INGRESSES: &str = "/apis/networking.k8s.io/v1/namespaces/default/ingresses";

fn class(name: &str, is_default: &str) -> Value {
    let annotations = json!({"ingressclass.kubernetes.io/is-default-class": is_default});
    json!({"metadata": {"name": name, "annotations": annotations}, "spec": {"controller": "example.com/gate"}})
}

#[tokio::test]
async fn an_ingress_is_of_the_default_class_unless_it_names_one() {
    let cluster = Cluster::new().await;
    let dry = async |annotations: Value, class: Option<&str>| {
        let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
        let mut ingress =
            json!({"metadata": {"name": "shop", "annotations": annotations}, "spec": {"defaultBackend": backend}});
        if let Some(class) = class {
            ingress["spec"]["ingressClassName"] = json!(class);
        }
        let said = cluster.post(&format!("{INGRESSES}?dryRun=All"), ingress).await;
        assert_eq!(said.code, 201, "{}", said.message());
        said.at("/spec")["ingressClassName"].clone()
    };
    assert_eq!(dry(json!({}), None).await, Value::Null);
    for (name, is_default) in [("inner", "false"), ("plain", ""), ("outer", "true")] {
        assert_eq!(cluster.post(CLASSES, class(name, is_default)).await.code, 201);
    }
    assert_eq!(dry(json!({}), None).await, "outer");
    assert_eq!(dry(json!({}), Some("inner")).await, "inner");
    assert_eq!(dry(json!({"kubernetes.io/ingress.class": "old"}), None).await, Value::Null);
    // Of those of one second, the first by its name.
    assert_eq!(cluster.post(CLASSES, class("also", "true")).await.code, 201);
    let chosen = dry(json!({}), None).await;
    assert!(["also", "outer"].contains(&chosen.as_str().unwrap_or_default()), "{chosen}");
}

#[tokio::test]
async fn everyone_who_uses_endpoints_is_told_of_slices() {
    let cluster = Cluster::new().await;
    let told =
        vec![r#"299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice""#.to_owned()];
    let endpoints = "/api/v1/namespaces/default/endpoints";
    let made = cluster.post(endpoints, json!({"metadata": {"name": "db"}})).await;
    assert_eq!((made.code, made.warnings), (201, told.clone()));
    let found = cluster.get(&format!("{endpoints}/nosuch")).await;
    assert_eq!((found.code, found.warnings), (404, told));
}
