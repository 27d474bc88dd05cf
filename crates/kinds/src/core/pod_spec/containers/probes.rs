//! Probes (upstream: `validateProbe` and its three users).

use crate::views::core_v1::Probe;
use crate::vocabulary::{Errors, Path};

use super::handlers::{self, Handler};

/// A probe that ends the container's start: one success is enough.
pub(super) fn validate_liveness(probe: Option<Probe<'_>>, grace: Option<i64>, at: &Path<'_>, errors: &mut Errors) {
    let Some(probe) = probe else { return };
    validate(probe, grace, at, errors);
    if probe.success_threshold() != 1 {
        errors.invalid(&at.field("successThreshold"), probe.success_threshold(), "must be 1");
    }
}

/// A probe that takes the container out of service, and kills nothing.
pub(super) fn validate_readiness(probe: Option<Probe<'_>>, grace: Option<i64>, at: &Path<'_>, errors: &mut Errors) {
    let Some(probe) = probe else { return };
    validate(probe, grace, at, errors);
    if let Some(seconds) = probe.termination_grace_period_seconds() {
        errors.invalid(&at.field("terminationGracePeriodSeconds"), seconds, "must not be set for readinessProbes");
    }
}

fn validate(probe: Probe<'_>, grace: Option<i64>, at: &Path<'_>, errors: &mut Errors) {
    handlers::validate(Handler::of_probe(probe), grace, at, errors);
    probe.check_initial_delay_seconds(at, errors);
    probe.check_timeout_seconds(at, errors);
    probe.check_period_seconds(at, errors);
    probe.check_success_threshold(at, errors);
    probe.check_failure_threshold(at, errors);
    probe.check_termination_grace_period_seconds(at, errors);
}
