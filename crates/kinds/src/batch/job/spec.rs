//! What a job may want (upstream: `ValidateJobSpec`, `validateJobSpec`; indexed jobs KEP-2214, backoff for each index KEP-3850, other
//! controllers KEP-4368).

use portcullis_model::names as texts;
use portcullis_model::status::BadValue;

use super::policies;
use super::{INDEXED, NEEDS_INDEXES, NON_INDEXED, is_indexed};
use crate::core::pod_spec;
use crate::views::batch_v1::JobSpec;
use crate::views::core_v1::PodTemplateSpec;
use crate::vocabulary::frozen::is_same;
use crate::vocabulary::{Errors, Path, names, selectors};

/// Pods at once, and indexes that may fail, of an indexed job: what is kept of them must fit into its status.
const PARALLELISM_MAX: i32 = 100_000;
const FAILED_INDEXES_MAX: i32 = 100_000;
/// From here on both must be fewer.
const COMPLETIONS_MANY: i32 = 100_000;
const PARALLELISM_MAX_OF_MANY: i32 = 10_000;
const FAILED_INDEXES_MAX_OF_MANY: i32 = 10_000;
/// Bytes of the name of the controller that runs a job.
const MANAGER_BYTES_MAX: usize = 63;

/// A job's own wants, selector and template.
pub fn whole(spec: JobSpec<'_>, old: Option<JobSpec<'_>>, at: &Path<'_>, errors: &mut Errors) {
    without_selector(spec, old, at, errors);
    let at_selector = at.field("selector");
    match spec.selector() {
        None => errors.required(&at_selector, ""),
        // What is wrong with it was let in once.
        Some(selector) if old.and_then(JobSpec::selector).is_some_and(|old| is_same(selector.place(), old.place())) => {
        }
        Some(selector) => selectors::label_selector(selector, &at_selector, errors),
    }
    let labels = spec.template().metadata().labels();
    // No selector selects nothing, and one that makes no sense was complained about.
    let is_selected = match spec.selector().map(|selector| selectors::read(selector).to_selector()) {
        None => false,
        Some(Ok(selector)) => selector.matches(|key| labels.get(key)),
        Some(Err(_)) => true,
    };
    if !is_selected {
        let labels = super::shown_labels(spec.template());
        errors.invalid(&at.field("template.metadata.labels"), labels, "`selector` does not match template `labels`");
    }
}

/// A job's wants and template, as they stand in a job template, too.
pub fn without_selector(spec: JobSpec<'_>, old: Option<JobSpec<'_>>, at: &Path<'_>, errors: &mut Errors) {
    numbers(spec, at, errors);
    managed_by(spec, &at.field("managedBy"), errors);
    completion_mode(spec, at, errors);
    policies::pod_failure(spec, &at.field("podFailurePolicy"), errors);
    policies::success(spec, &at.field("successPolicy"), errors);
    policies::pod_replacement(spec, &at.field("podReplacementPolicy"), errors);
    template(spec, old.map(JobSpec::template), &at.field("template"), errors);
}

fn numbers(spec: JobSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    spec.check_parallelism(at, errors);
    spec.check_completions(at, errors);
    spec.check_active_deadline_seconds(at, errors);
    spec.check_backoff_limit(at, errors);
    spec.check_ttl_seconds_after_finished(at, errors);
    spec.check_backoff_limit_per_index(at, errors);
    spec.check_max_failed_indexes(at, errors);
    if spec.max_failed_indexes().is_some() && spec.backoff_limit_per_index().is_none() {
        errors.required(&at.field("backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
}

/// `example.com/runner`.
fn managed_by(spec: JobSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let Some(manager) = spec.managed_by() else { return };
    names::domain_prefixed_path(manager, at, errors);
    if manager.len() > MANAGER_BYTES_MAX {
        errors.too_long(at, MANAGER_BYTES_MAX);
    }
}

fn completion_mode(spec: JobSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    match spec.completion_mode() {
        None | Some(NON_INDEXED) => without_indexes(spec, at, errors),
        Some(INDEXED) => with_indexes(spec, at, errors),
        Some(mode) => errors.not_supported(&at.field("completionMode"), mode, &[NON_INDEXED, INDEXED]),
    }
}

fn without_indexes(spec: JobSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    if let Some(limit) = spec.backoff_limit_per_index() {
        errors.invalid(&at.field("backoffLimitPerIndex"), limit, NEEDS_INDEXES);
    }
    if let Some(most) = spec.max_failed_indexes() {
        errors.invalid(&at.field("maxFailedIndexes"), most, NEEDS_INDEXES);
    }
}

fn with_indexes(spec: JobSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let (at_failed, at_parallelism) = (at.field("maxFailedIndexes"), at.field("parallelism"));
    let (completions, failed, parallelism) = (spec.completions(), spec.max_failed_indexes(), spec.parallelism());
    if completions.is_none() {
        errors.required(&at.field("completions"), format!("when completion mode is {INDEXED}"));
    }
    if let Some(parallelism) = parallelism.filter(|parallelism| *parallelism > PARALLELISM_MAX) {
        let why = format!("must be less than or equal to {PARALLELISM_MAX} when completion mode is {INDEXED}");
        errors.invalid(&at_parallelism, parallelism, why);
    }
    if let (Some(completions), Some(failed)) = (completions, failed)
        && failed > completions
    {
        errors.invalid(&at_failed, failed, "must be less than or equal to completions");
    }
    if let Some(failed) = failed.filter(|failed| *failed > FAILED_INDEXES_MAX) {
        errors.invalid(&at_failed, failed, format!("must be less than or equal to {FAILED_INDEXES_MAX}"));
    }
    // Upstream looks at the completions here whether there are any or not, and fails when there are none.
    let is_many = completions.is_some_and(|completions| completions > COMPLETIONS_MANY);
    if !is_many || spec.backoff_limit_per_index().is_none() {
        return;
    }
    let beyond = |most: i32| {
        format!(
            "must be less than or equal to {most} when completions are above {COMPLETIONS_MANY} and used with backoff limit per index"
        )
    };
    if failed.is_none() {
        errors.required(&at_failed, format!("must be specified when completions is above {COMPLETIONS_MANY}"));
    }
    if let Some(parallelism) = parallelism.filter(|parallelism| *parallelism > PARALLELISM_MAX_OF_MANY) {
        errors.invalid(&at_parallelism, parallelism, beyond(PARALLELISM_MAX_OF_MANY));
    }
    if let Some(failed) = failed.filter(|failed| *failed > FAILED_INDEXES_MAX_OF_MANY) {
        errors.invalid(&at_failed, failed, beyond(FAILED_INDEXES_MAX_OF_MANY));
    }
}

/// A job's pods end, so they are not restarted always.
fn template(spec: JobSpec<'_>, old: Option<PodTemplateSpec<'_>>, at: &Path<'_>, errors: &mut Errors) {
    pod_spec::validate_template(spec.template(), old, at, errors);
    let at = at.field("spec.restartPolicy");
    match spec.template().spec().restart_policy() {
        "" | "Always" => errors.required(&at, r#"valid values: "OnFailure", "Never""#),
        "OnFailure" if spec.pod_failure_policy().is_some() => {
            errors.invalid(&at, "OnFailure", r#"only "Never" is supported when podFailurePolicy is specified"#);
        }
        "OnFailure" | "Never" => {}
        other => errors.not_supported(&at, other, &["OnFailure", "Never"]),
    }
}

/// The name must leave room for what an indexed job's pods are called.
pub fn host_name(name: &str, spec: JobSpec<'_>, errors: &mut Errors) {
    let Some(completions) = spec.completions().filter(|completions| is_indexed(spec) && *completions > 0) else {
        return;
    };
    let last = format!("{name}-{}", completions - 1);
    if !texts::dns1123_label(&last).is_empty() {
        let why = format!("will not able to create pod with invalid DNS label: {last}");
        errors.invalid(&Path::new("metadata.name"), BadValue::from(name), why);
    }
}
