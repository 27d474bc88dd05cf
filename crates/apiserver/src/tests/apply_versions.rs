//! Server-side apply of kinds that are served in two versions: what a manager owns by the names of one counts in the other.

use super::apply::{APPLY, owners};
use super::*;

const ONE: &str = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
const TWO: &str = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";

async fn apply(cluster: &Cluster, path: &str, query: &str, object: &Value) -> Said {
    cluster.send("PATCH", &format!("{path}/h?{query}"), &[APPLY], object.to_string()).await
}

fn autoscaler(version: &str, more: Value) -> Value {
    let mut object = json!({
        "apiVersion": format!("autoscaling/{version}"), "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"},
        "spec": {"maxReplicas": 5, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}},
    });
    object["spec"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    object
}

fn cpu(percent: i64) -> Value {
    let target = json!({"type": "Utilization", "averageUtilization": percent});
    json!({"metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]})
}

/// `manager version` of each entry.
fn versions(said: &Said) -> Vec<String> {
    let managers = said.at("/metadata/managedFields");
    let shown = |entry: &Value| {
        format!(
            "{} {}",
            entry["manager"].as_str().unwrap_or_default(),
            entry["apiVersion"].as_str().unwrap_or_default()
        )
    };
    managers.as_array().into_iter().flatten().map(shown).collect()
}

#[tokio::test]
async fn a_manager_goes_over_to_another_version() {
    let cluster = Cluster::new().await;
    let one = autoscaler("v1", json!({"minReplicas": 2, "targetCPUUtilizationPercentage": 50}));
    let created = apply(&cluster, ONE, "fieldManager=m", &one).await;
    assert_eq!((created.code, versions(&created)), (201, vec!["m autoscaling/v1".to_owned()]), "{}", created.message());
    let two = apply(&cluster, TWO, "fieldManager=m", &autoscaler("v2", cpu(60))).await;
    assert_eq!((two.code, versions(&two)), (200, vec!["m autoscaling/v2".to_owned()]), "{}", two.message());
    assert_eq!(two.at("/spec/metrics/0/resource/target/averageUtilization"), 60);
    // What it left out now it gave up, though it said so by another name; what has a default has it again.
    assert_eq!(two.at("/spec/minReplicas"), 1);
    let gone = apply(&cluster, ONE, "fieldManager=m", &autoscaler("v1", json!({}))).await;
    assert_eq!((gone.code, versions(&gone)), (200, vec!["m autoscaling/v1".to_owned()]), "{}", gone.message());
    assert_eq!(gone.at("/spec/targetCPUUtilizationPercentage"), json!(80), "the default of all");
}

#[tokio::test]
async fn owners_in_one_version_are_heard_in_the_other() {
    let cluster = Cluster::new().await;
    let one = autoscaler("v1", json!({"targetCPUUtilizationPercentage": 50}));
    apply(&cluster, ONE, "fieldManager=a", &one).await;
    let refused = apply(&cluster, TWO, "fieldManager=b", &autoscaler("v2", cpu(60))).await;
    assert_eq!(
        (refused.code, refused.message().as_str()),
        (409, "Apply failed with 1 conflict: conflict with \"a\": .spec.targetCPUUtilizationPercentage")
    );
    // The same value by the other name is shared.
    let shared = apply(&cluster, TWO, "fieldManager=b", &autoscaler("v2", cpu(50))).await;
    assert_eq!(
        (shared.code, owners(&shared)),
        (200, vec!["b Apply".to_owned(), "a Apply".to_owned()]),
        "{}",
        shared.message()
    );
    // What one gives up stays while the other owns it.
    let less = apply(&cluster, ONE, "fieldManager=a", &autoscaler("v1", json!({}))).await;
    assert_eq!((less.code, less.at("/spec/targetCPUUtilizationPercentage")), (200, json!(50)), "{}", less.message());
    let taken = apply(
        &cluster,
        ONE,
        "fieldManager=c&force=true",
        &autoscaler("v1", json!({"targetCPUUtilizationPercentage": 70})),
    )
    .await;
    assert_eq!((taken.code, taken.at("/spec/targetCPUUtilizationPercentage")), (200, json!(70)), "{}", taken.message());
    let seen = cluster.get(&format!("{TWO}/h")).await;
    assert_eq!(seen.at("/spec/metrics/0/resource/target/averageUtilization"), 70);
}

#[tokio::test]
async fn a_version_that_is_gone_owns_nothing() {
    let cluster = Cluster::new().await;
    let path = format!("{CONFIG_MAPS}/a");
    cluster.config_map("a", json!({"x": "1"})).await;
    let entry = json!({
        "manager": "old", "operation": "Apply", "apiVersion": "v1beta7", "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {"f:x": {}}},
    });
    let set = cluster.merge(&path, json!({"metadata": {"managedFields": [entry]}})).await;
    assert_eq!((set.code, owners(&set)), (200, vec![]), "{}", set.message());
}

#[tokio::test]
async fn events_have_two_groups() {
    let cluster = Cluster::new().await;
    let regarding = json!({"kind": "Pod", "namespace": "default", "name": "p"});
    let event = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"}, "regarding": regarding, "reason": "R",
        "note": "old", "action": "A", "type": "Normal", "eventTime": "2027-01-15T08:00:00.000000Z",
        "reportingController": "example.com/c", "reportingInstance": "c-1",
    });
    let path = "/apis/events.k8s.io/v1/namespaces/default/events/e";
    let made = cluster.send("PATCH", &format!("{path}?fieldManager=a"), &[APPLY], event.to_string()).await;
    assert_eq!(made.code, 201, "{}", made.message());
    let core = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "message": "new"});
    let path = "/api/v1/namespaces/default/events/e";
    let refused = cluster.send("PATCH", &format!("{path}?fieldManager=b"), &[APPLY], core.to_string()).await;
    assert_eq!(refused.message(), "Apply failed with 1 conflict: conflict with \"a\": .note");
    let taken = cluster.send("PATCH", &format!("{path}?fieldManager=b&force=true"), &[APPLY], core.to_string()).await;
    assert_eq!((taken.code, taken.at("/message")), (200, json!("new")), "{}", taken.message());
    assert!(!taken.at("/metadata/managedFields/0/fieldsV1").to_string().contains("f:note"), "{}", taken.json());
}
