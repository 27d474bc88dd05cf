//! Pods that are there already when a namespace begins to enforce more: whoever changes the labels is told which of them would not pass.
//! Nothing happens to them.

use std::collections::{BTreeMap, HashSet, VecDeque};

use portcullis_kinds::pod_security::{Standard, Subject, evaluate, reasons};
use portcullis_kinds::views;
use portcullis_kinds::views::core_v1::Pod;
use portcullis_model::go_text::quoted;
use portcullis_model::tree::Tree;
use portcullis_store::Entry;

use super::super::Attempt;
use super::configuration::Configuration;
use crate::registry::Served;

/// Pods that are judged at most.
const JUDGED_MAX: usize = 3_000;
/// Microseconds after which no more are judged.
const MICROS_MAX: i64 = 1_000_000;
/// Pods that are judged before others have a turn.
const JUDGED_AT_ONCE: usize = 32;

/// Pods with the same faults.
struct Alike {
    /// The first by name.
    name: String,
    count: usize,
}

/// Walks through pods: one of each controller first, for the others are like it.
struct Walk<'a> {
    served: &'a Served,
    entries: VecDeque<Entry>,
    /// Controllers that were met.
    controllers: HashSet<String>,
    /// Pods of which there was one like them.
    alike: VecDeque<Entry>,
}

/// Returns what to tell.
pub(super) async fn warnings(attempt: &Attempt<'_>, enforced: Standard, configuration: &Configuration) -> Vec<String> {
    let Some(served) = attempt.server.registry.find("", "v1", "pods") else { return Vec::new() };
    let Some(prefix) = served.key_prefix(attempt.name) else { return Vec::new() };
    let entries = attempt.snapshot.range(&prefix, None).map(|(_, entry)| entry.clone()).collect();
    let mut walk = Walk { served, entries, controllers: HashSet::new(), alike: VecDeque::new() };
    let (mut left, mut judged) = (walk.entries.len(), 0);
    let mut faults: BTreeMap<String, Alike> = BTreeMap::new();
    let begun = attempt.server.env.now_micros();
    while let Some(tree) = walk.next() {
        let pod: Pod<'_> = views::read(&tree);
        if pod.spec().runtime_class_name().is_some_and(|class| configuration.exempts_runtime_class(class)) {
            left -= 1;
            continue;
        }
        if judged == JUDGED_MAX || attempt.server.env.now_micros() - begun > MICROS_MAX {
            break;
        }
        judged += 1;
        let violations = evaluate(enforced, Subject::of_pod(pod));
        if !violations.is_empty() {
            note(&mut faults, reasons(&violations), pod.metadata().name());
        }
        if judged.is_multiple_of(JUDGED_AT_ONCE) {
            tokio::task::yield_now().await;
        }
    }
    told(attempt.name, enforced, &faults, (judged, left))
}

impl Walk<'_> {
    /// Returns the next pod. One that can not be read is none.
    fn next(&mut self) -> Option<Tree> {
        while let Some(entry) = self.entries.pop_front() {
            let Ok(tree) = self.served.load(&entry.value) else { continue };
            let pod: Pod<'_> = views::read(&tree);
            let owners = pod.metadata().owner_references();
            let controller = owners.iter().find(|owner| owner.controller() == Some(true));
            if controller.is_some_and(|controller| !self.controllers.insert(controller.uid().to_owned())) {
                self.alike.push_back(entry);
                continue;
            }
            return Some(tree);
        }
        std::iter::from_fn(|| self.alike.pop_front()).find_map(|entry| self.served.load(&entry.value).ok())
    }
}

fn note(faults: &mut BTreeMap<String, Alike>, reasons: String, name: &str) {
    let alike = faults.entry(reasons).or_insert_with(|| Alike { name: name.to_owned(), count: 0 });
    alike.count += 1;
    if name < alike.name.as_str() {
        name.clone_into(&mut alike.name);
    }
}

/// The lines of it.
fn told(
    namespace: &str,
    enforced: Standard,
    faults: &BTreeMap<String, Alike>,
    (judged, all): (usize, usize),
) -> Vec<String> {
    let mut lines = Vec::new();
    if judged < all {
        lines.push(format!(
            "new PodSecurity enforce level only checked against the first {judged} of {all} existing pods"
        ));
    }
    if !faults.is_empty() {
        let (namespace, standard) = (quoted(namespace), quoted(&enforced.to_string()));
        lines.push(format!(
            "existing pods in namespace {namespace} violate the new PodSecurity enforce level {standard}"
        ));
    }
    let mut of_pods: Vec<String> = faults
        .iter()
        .map(|(reasons, Alike { name, count })| match count {
            1 => format!("{name}: {reasons}"),
            2 => format!("{name} (and 1 other pod): {reasons}"),
            more => format!("{name} (and {} other pods): {reasons}", more - 1),
        })
        .collect();
    of_pods.sort();
    lines.append(&mut of_pods);
    lines
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use portcullis_kinds::pod_security::Level;

    use super::*;

    #[test]
    fn pods_with_the_same_faults_share_a_line() {
        let check = |pods: &[(&str, &str)], counts: (usize, usize), expected: &[&str]| {
            let mut faults = BTreeMap::new();
            for (name, reasons) in pods {
                note(&mut faults, (*reasons).to_owned(), name);
            }
            assert_eq!(told("quay", Standard::latest(Level::Baseline), &faults, counts), expected, "{pods:?}");
        };
        let head = "existing pods in namespace \"quay\" violate the new PodSecurity enforce level \"baseline:latest\"";
        check(&[], (3, 3), &[]);
        check(&[("b", "x")], (1, 1), &[head, "b: x"]);
        check(&[("b", "x"), ("a", "x"), ("z", "w")], (3, 3), &[head, "a (and 1 other pod): x", "z: w"]);
        check(
            &[("b", "x"), ("a", "x"), ("c", "x")],
            (3_000, 4_000),
            &[
                "new PodSecurity enforce level only checked against the first 3000 of 4000 existing pods",
                head,
                "a (and 2 other pods): x",
            ],
        );
    }
}
