//! DefaultTolerationSeconds: a pod that does not say how long it stays on a node that is not ready, or that nobody reaches, stays for five
//! minutes (upstream: `plugin/pkg/admission/defaulttolerationseconds`).

use portcullis_kinds::views::core_v1::{Pod, PodEdit};

use super::{Attempt, Operation, Pass, Plugin, pods};
use crate::registry::Served;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const EFFECT: &str = "NoExecute";
/// How long a pod stays (upstream: `--default-not-ready-toleration-seconds`, `--default-unreachable-toleration-seconds`).
const SECONDS: i64 = 300;

/// The plugin.
pub struct DefaultTolerationSeconds;

impl Plugin for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    fn handles(&self, served: &Served, operation: Operation) -> bool {
        pods::are_written(served, operation)
    }

    fn admit<'a>(&'a self, attempt: &'a mut Attempt<'_>) -> Pass<'a> {
        if let Some(mut pod) = pods::write(attempt) {
            let missing = [NOT_READY, UNREACHABLE].map(|taint| !tolerates(pod.view(), taint));
            for (taint, is_missing) in [NOT_READY, UNREACHABLE].into_iter().zip(missing) {
                if is_missing {
                    tolerate(&mut pod, taint);
                }
            }
        }
        Pass::on()
    }
}

/// Whether the pod says anything about the taint, be it by saying something about all.
fn tolerates(pod: Pod<'_>, taint: &str) -> bool {
    pod.spec().tolerations().iter().any(|toleration| {
        matches!(toleration.effect(), EFFECT | "") && (toleration.key() == taint || toleration.key().is_empty())
    })
}

fn tolerate(pod: &mut PodEdit<'_>, taint: &str) {
    let mut spec = pod.spec_mut();
    let mut tolerations = spec.tolerations_mut();
    let mut toleration = tolerations.push();
    toleration.set_key(taint);
    toleration.set_operator("Exists");
    toleration.set_effect(EFFECT);
    toleration.set_toleration_seconds(SECONDS);
}
