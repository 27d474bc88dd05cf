//! What a controller may say of a job (upstream: `validateJobStatus`, `ValidateJobStatusUpdate`, `getStatusValidationOptions`; KEP-4368:
//! since anybody's controller may run a job, what it says is checked).
//!
//! Most rules hold only for what this update changes: a status that was let in once must not keep a controller from mending the rest.

use std::collections::HashSet;

use portcullis_model::status::BadValue;

use super::{COMPLETE, FAILED, FAILURE_TARGET, SUCCESS_CRITERIA_MET, indexes, is_indexed, is_true};
use crate::views::batch_v1::{Job, JobStatus};
use crate::views::shown;
use crate::vocabulary::frozen::is_same;
use crate::vocabulary::{Errors, Path};

/// Conditions that never go away again.
const TERMINAL: [&str; 3] = [FAILED, COMPLETE, FAILURE_TARGET];

/// What a status says, and of which job.
#[derive(Clone, Copy)]
struct Said<'a> {
    job: Job<'a>,
    status: JobStatus<'a>,
    is_complete: bool,
    is_failed: bool,
    is_failure_target: bool,
    meets_criteria: bool,
}

impl<'a> Said<'a> {
    fn of(job: Job<'a>) -> Said<'a> {
        let status = job.status();
        Said {
            job,
            status,
            is_complete: is_true(status, COMPLETE),
            is_failed: is_true(status, FAILED),
            is_failure_target: is_true(status, FAILURE_TARGET),
            meets_criteria: is_true(status, SUCCESS_CRITERIA_MET),
        }
    }

    fn is_finished(self) -> bool {
        self.is_complete || self.is_failed
    }
}

/// A status that replaces another.
pub fn update(job: Job<'_>, old: Job<'_>, at: &Path<'_>, errors: &mut Errors) {
    let (new, old) = (Said::of(job), Said::of(old));
    numbers(new, at, errors);
    outcome(new, old, at, errors);
    finished(new, old, at, errors);
    completed_and_failed(new, old, at, errors);
    counts(new, old, at, errors);
    success_criteria(new, at, errors);
    history(new, old, at, errors);
}

fn conditions(at: &Path<'_>, why: &'static str, errors: &mut Errors) {
    errors.invalid(&at.field("conditions"), BadValue::Omitted, why);
}

fn numbers(new: Said<'_>, at: &Path<'_>, errors: &mut Errors) {
    let status = new.status;
    status.check_active(at, errors);
    status.check_succeeded(at, errors);
    status.check_failed(at, errors);
    status.check_ready(at, errors);
    status.check_terminating(at, errors);
    let Some(uncounted) = status.uncounted_terminated_pods() else { return };
    let at = at.field("uncountedTerminatedPods");
    let mut seen = HashSet::new();
    for (name, uids) in [("succeeded", uncounted.succeeded()), ("failed", uncounted.failed())] {
        let at = at.field(name);
        for (index, uid) in uids.iter().enumerate() {
            if uid.is_empty() {
                errors.invalid(&at.index(index), uid, "must not be empty");
            } else if !seen.insert(uid) {
                errors.duplicate(&at.index(index), uid);
            }
        }
    }
}

/// Complete, failed, on the way to either: not both, and with the time it takes.
fn outcome(new: Said<'_>, old: Said<'_>, at: &Path<'_>, errors: &mut Errors) {
    let (status, was) = (new.status, old.status);
    let completes = new.is_complete != old.is_complete;
    let fails = new.is_failed != old.is_failed;
    let fails_soon = new.is_failure_target != old.is_failure_target;
    let starts = status.start_time() != was.start_time();
    let ends = status.completion_time() != was.completion_time();
    let completion_time = || shown(status.place().get(JobStatus::COMPLETION_TIME));
    let at_end = at.field("completionTime");
    if (completes || fails) && new.is_complete && new.is_failed {
        conditions(at, "cannot set Complete=True and Failed=true conditions", errors);
    }
    if (completes || fails_soon) && new.is_complete && new.is_failure_target {
        conditions(at, "cannot set Complete=True and FailureTarget=true conditions", errors);
    }
    if (completes || ends) && status.completion_time().is_some() && !new.is_complete {
        let why = "cannot set completionTime when there is no Complete=True condition";
        errors.invalid(&at_end, completion_time(), why);
    }
    if (completes || ends) && status.completion_time().is_none() && new.is_complete {
        errors.required(&at_end, "completionTime is required for Complete jobs");
    }
    if let (Some(start), Some(end)) = (status.start_time(), status.completion_time())
        && (starts || ends)
        && end < start
    {
        errors.invalid(&at_end, completion_time(), "completionTime cannot be set before startTime");
    }
    if (fails || fails_soon) && new.is_failed && !new.is_failure_target {
        conditions(at, "cannot set Failed=True condition without the FailureTarget=true condition", errors);
    }
    let meets = new.meets_criteria != old.meets_criteria;
    if (completes || meets) && new.is_complete && !new.meets_criteria {
        conditions(at, "cannot set Complete=True condition without the SuccessCriteriaMet=true condition", errors);
    }
}

/// A job that is finished has nothing left to do.
fn finished(new: Said<'_>, old: Said<'_>, at: &Path<'_>, errors: &mut Errors) {
    if !new.is_finished() {
        return;
    }
    let (status, was) = (new.status, old.status);
    let finishes = !old.is_finished();
    if (finishes || status.active() != was.active()) && status.active() > 0 {
        errors.invalid(&at.field("active"), status.active(), "active>0 is invalid for finished job");
    }
    if (finishes || status.start_time() != was.start_time()) && status.start_time().is_none() {
        errors.required(&at.field("startTime"), "startTime is required for finished job");
    }
    let (field, uncounted) = (JobStatus::UNCOUNTED_TERMINATED_PODS, status.uncounted_terminated_pods());
    let changes = || !is_same(status.place().get(field), was.place().get(field));
    if uncounted.is_some_and(|pods| !pods.succeeded().is_empty() || !pods.failed().is_empty())
        && (finishes || changes())
    {
        let why = "uncountedTerminatedPods needs to be empty for finished job";
        errors.invalid(&at.field(field.name()), shown(status.place().get(field)), why);
    }
}

fn completed_and_failed(new: Said<'_>, old: Said<'_>, at: &Path<'_>, errors: &mut Errors) {
    let (spec, status, was) = (new.job.spec(), new.status, old.status);
    let (completed, failed) = (status.completed_indexes(), status.failed_indexes());
    let completed_changes = completed != was.completed_indexes();
    let failed_changes = failed != was.failed_indexes();
    let (at_completed, at_failed) = (at.field("completedIndexes"), at.field("failedIndexes"));
    if let Some(completions) = spec.completions() {
        if completed_changes && let Err(why) = indexes::count(completed, completions) {
            errors.invalid(&at_completed, completed, format!("error parsing completedIndexes: {why}"));
        }
        if let Some(failed) = failed.filter(|_| failed_changes && spec.backoff_limit_per_index().is_some())
            && let Err(why) = indexes::count(failed, completions)
        {
            errors.invalid(&at_failed, failed, format!("error parsing failedIndexes: {why}"));
        }
    }
    if completed_changes && !completed.is_empty() && !is_indexed(spec) {
        let why = "cannot set non-empty completedIndexes when non-indexed completion mode";
        errors.invalid(&at_completed, completed, why);
    }
    let Some(failed) = failed else { return };
    if failed_changes && spec.backoff_limit_per_index().is_none() {
        let why = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        errors.invalid(&at_failed, failed, why);
    }
    if (failed_changes || completed_changes)
        && let Some(completions) = spec.completions()
        && let Some(index) = indexes::overlap(completed, failed, completions)
    {
        errors.invalid(&at_failed, failed, format!("failedIndexes and completedIndexes overlap at index: {index}"));
    }
}

fn counts(new: Said<'_>, old: Said<'_>, at: &Path<'_>, errors: &mut Errors) {
    let (status, was) = (new.status, old.status);
    let finishes = new.is_finished() != old.is_finished();
    if let Some(terminating) = status.terminating().filter(|terminating| *terminating > 0)
        && (finishes || status.terminating() != was.terminating())
        && new.is_finished()
    {
        errors.invalid(&at.field("terminating"), terminating, "terminating>0 is invalid for finished job");
    }
    if let Some(ready) = status.ready().filter(|ready| *ready > status.active())
        && (status.ready() != was.ready() || status.active() != was.active())
    {
        errors.invalid(&at.field("ready"), ready, "cannot set more ready pods than active");
    }
}

fn success_criteria(new: Said<'_>, at: &Path<'_>, errors: &mut Errors) {
    if new.meets_criteria && new.is_failed {
        conditions(at, "cannot set SuccessCriteriaMet=True and Failed=true conditions", errors);
    }
    if new.meets_criteria && new.is_failure_target {
        conditions(at, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions", errors);
    }
    if new.job.spec().success_policy().is_some() && !new.meets_criteria && new.is_complete {
        let why = "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True";
        conditions(at, why, errors);
    }
}

/// What was said once and is true for good.
fn history(new: Said<'_>, old: Said<'_>, at: &Path<'_>, errors: &mut Errors) {
    let (status, was) = (new.status, old.status);
    for condition in TERMINAL {
        if is_true(was, condition) && !is_true(status, condition) {
            let why = format!("cannot disable the terminal {condition}=True condition");
            errors.invalid(&at.field("conditions"), BadValue::Omitted, why);
        }
    }
    if status.failed() < was.failed() {
        errors.invalid(&at.field("failed"), status.failed(), "cannot decrease the failed counter");
    }
    // An indexed job that runs all its indexes at once may have become smaller.
    let spec = new.job.spec();
    let may_shrink = is_indexed(spec) && spec.completions() == spec.parallelism();
    if !may_shrink && status.succeeded() < was.succeeded() {
        errors.invalid(&at.field("succeeded"), status.succeeded(), "cannot decrease the succeeded counter");
    }
    let (end, had_ended) = (status.completion_time(), was.completion_time());
    if end.is_some() && had_ended.is_some() && end != had_ended {
        let end = shown(status.place().get(JobStatus::COMPLETION_TIME));
        errors.invalid(&at.field("completionTime"), end, "completionTime cannot be mutated");
    }
    if was.start_time().is_some() && status.start_time() != was.start_time() && spec.suspend() != Some(true) {
        errors.required(&at.field("startTime"), "startTime cannot be removed for unsuspended job");
    }
    if old.meets_criteria && !new.meets_criteria {
        conditions(at, "cannot disable the SuccessCriteriaMet=True condition", errors);
    }
    if old.is_complete && !old.meets_criteria && new.meets_criteria {
        let why = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
        conditions(at, why, errors);
    }
}
