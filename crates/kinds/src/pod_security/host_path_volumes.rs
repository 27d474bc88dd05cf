//! A pod may not see the files of its node.

use super::words::named;
use super::{Check, Judged, Level, Violation};

pub(super) const CHECK: Check =
    Check { id: "hostPathVolumes", level: Level::Baseline, forms: &[(0, judge)], replaces: None };

fn judge(subject: Judged<'_>) -> Option<Violation> {
    let volumes = subject.spec.volumes().iter().filter(|volume| volume.host_path().is_some());
    let names: Vec<&str> = volumes.map(|volume| volume.name()).collect();
    (!names.is_empty()).then(|| Violation { reason: "hostPath volumes", detail: named("volume", &names) })
}
