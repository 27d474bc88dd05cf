#![allow(clippy::unwrap_used)]

use portcullis_model::tree::Tree;
use serde_json::{Value, json};

use super::STRATEGY;
use crate::strategy::Cell;
use crate::testing::{complaints, created, json as shown, read, update_complaints};

mod doors;
mod given;
mod tables;

const ONLY: &str = "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,\
                    `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to \
                    existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously \
                    negative)";

/// A small pod with more in it.
fn pod(metadata: &Value, spec: &Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "namespace": "harbor"},
        "spec": {"containers": [{"name": "c", "image": "img:1"}]},
    });
    json_patch_merge(&mut pod["metadata"], metadata);
    json_patch_merge(&mut pod["spec"], spec);
    pod
}

fn json_patch_merge(target: &mut Value, patch: &Value) {
    for (key, value) in patch.as_object().unwrap() {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else {
            target[key] = value.clone();
        }
    }
}

/// The pod as the server has it on create.
fn new(pod: &Value) -> Tree {
    created(&STRATEGY, "v1", "Pod", &pod.to_string())
}

/// The pod as it is sent, with its defaults.
fn sent(pod: &Value) -> Tree {
    let mut tree = read("v1", "Pod", &pod.to_string());
    crate::testing::default_all(&STRATEGY, &mut tree);
    tree
}

/// What is said of a pod that is sent through a door to replace another.
fn refusals(door: &str, sent_pod: &Value, stored: &Value) -> Vec<String> {
    let (mut tree, old) = (sent(sent_pod), sent(stored));
    (STRATEGY.prepare_update)(&mut tree, &old, door, 0);
    update_complaints(&STRATEGY, &tree, &old, door)
}

fn cell(pod: &Value, column: &str, now: i64) -> String {
    match (STRATEGY.cell)(&read("v1", "Pod", &pod.to_string()), column, now) {
        Some(Cell::Text(text)) => text,
        other => format!("{other:?}"),
    }
}

fn of_create(pod: &Value) -> Vec<String> {
    complaints(&STRATEGY, &new(pod))
}

fn stored(pod: &Value) -> Value {
    shown(&new(pod))
}
