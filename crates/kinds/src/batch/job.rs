//! `Job` (upstream: `registry/batch/job`, `apis/batch/validation`, `apis/batch/v1/defaults.go`).

pub mod indexes;
mod policies;
pub mod spec;
mod status;
mod update;

use portcullis_model::names;
use portcullis_model::status::BadValue;
use portcullis_model::tree::Tree;

use crate::core::pod_spec::{self, cells};
use crate::rest::{Dependents, Rest, SelectableField};
use crate::strategy::{Cell, Requester, Strategy};
use crate::views::batch_v1::{
    Job, JobEdit, JobSpec, JobSpecEdit, JobStatus, PodFailurePolicyOnPodConditionsPatternEdit,
};
use crate::views::core_v1::PodTemplateSpec;
use crate::views::meta_v1::ObjectMeta;
use crate::views::{self, Edit, shown, shown_field};
use crate::vocabulary::{Errors, Path, replicas, selectors};

/// The modes of completion: any so many pods, or one pod for each index.
const NON_INDEXED: &str = "NonIndexed";
const INDEXED: &str = "Indexed";
/// What is said of fields that only an indexed job has.
const NEEDS_INDEXES: &str = "requires indexed completion mode";

/// Conditions of a job.
const COMPLETE: &str = "Complete";
const FAILED: &str = "Failed";
const FAILURE_TARGET: &str = "FailureTarget";
const SUCCESS_CRITERIA_MET: &str = "SuccessCriteriaMet";
const SUSPENDED: &str = "Suspended";

/// Labels by which a job finds its pods, each with the older name that is set beside it.
const UID_LABEL: &str = "batch.kubernetes.io/controller-uid";
const NAME_LABEL: &str = "batch.kubernetes.io/job-name";
const UID_LABEL_OLD: &str = "controller-uid";
const NAME_LABEL_OLD: &str = "job-name";

/// Pods that may fail before a job does; with a limit for each index there is none for all.
const BACKOFF_LIMIT: i64 = 6;
const BACKOFF_LIMIT_NONE: i64 = i32::MAX as i64;

/// Completions and pods at once beyond which the status may not hold every index that fails.
const COMPLETIONS_SAFE: i32 = 100_000;
const PARALLELISM_SAFE: i32 = 10_000;

/// The rules of `Job`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest {
        generation: true,
        dependents: Dependents::Orphaned,
        fields: &[SelectableField::or("status.successful", &["status.succeeded"], "0")],
        ..Rest::PLAIN
    },
    default,
    prepare_create,
    validate_create,
    warn_create,
    validate_update,
    warn_update,
    cell,
    ..Strategy::NONE
};

fn default(tree: &mut Tree) {
    copy_labels(tree);
    let mut job: JobEdit<'_> = views::write(tree);
    let mut spec = job.spec_mut();
    default_counts(&mut spec);
    if spec.view().completion_mode().is_none() {
        spec.set_completion_mode(NON_INDEXED);
    }
    if spec.view().suspend().is_none() {
        spec.set_suspend(false);
    }
    if spec.view().manual_selector().is_none() {
        spec.set_manual_selector(false);
    }
    if spec.view().pod_replacement_policy().is_none() {
        let sees_failures = spec.view().pod_failure_policy().is_some();
        spec.set_pod_replacement_policy(if sees_failures { "Failed" } else { "TerminatingOrFailed" });
    }
    default_patterns(&mut spec);
    pod_spec::default_template(spec.template_mut());
}

fn default_counts(spec: &mut JobSpecEdit<'_>) {
    let view = spec.view();
    let (completions, parallelism) = (view.completions(), view.parallelism());
    let (limit, each) = (view.backoff_limit(), view.backoff_limit_per_index());
    if completions.is_none() && parallelism.is_none() {
        spec.set_completions(1);
    }
    if parallelism.is_none() {
        spec.set_parallelism(1);
    }
    if limit.is_none() {
        spec.set_backoff_limit(if each.is_some() { BACKOFF_LIMIT_NONE } else { BACKOFF_LIMIT });
    }
}

/// A condition that a pod failure policy asks for is to be true, unless it says otherwise.
fn default_patterns(spec: &mut JobSpecEdit<'_>) {
    if spec.view().pod_failure_policy().is_none_or(|policy| policy.rules().is_empty()) {
        return;
    }
    spec.pod_failure_policy_mut().rules_mut().each(|place| {
        let mut rule = crate::views::batch_v1::PodFailurePolicyRuleEdit::at(place);
        if rule.view().on_pod_conditions().is_empty() {
            return;
        }
        rule.on_pod_conditions_mut().each(|place| {
            let mut pattern = PodFailurePolicyOnPodConditionsPatternEdit::at(place);
            if pattern.view().status().is_empty() {
                pattern.set_status("True");
            }
        });
    });
}

/// A job without labels has those of its pods.
fn copy_labels(tree: &mut Tree) {
    let job: Job<'_> = views::read(tree);
    if !job.metadata().labels().is_empty() {
        return;
    }
    let labels = job.spec().template().metadata().labels();
    let labels: Vec<(String, String)> = labels.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    if labels.is_empty() {
        return;
    }
    let mut job: JobEdit<'_> = views::write(tree);
    let mut metadata = job.metadata_mut();
    let mut held = metadata.labels_mut();
    for (key, value) in &labels {
        held.insert(key, value);
    }
}

fn prepare_create(tree: &mut Tree, _: &Requester<'_>) {
    if views::read::<Job<'_>>(tree).spec().manual_selector() == Some(true) {
        return;
    }
    generate_selector(tree);
    // Upstream defaults an object once more when it is read from the store, which is where these labels of pods become the job's own. A
    // name that is no label is refused with the pods' labels, before that.
    let name = views::read::<Job<'_>>(tree).metadata().name();
    if names::label_value(name).is_empty() {
        copy_labels(tree);
    }
}

/// Labels that no other job's pods have, and the selector for them. What a client wrote stays, to be complained about if it is wrong.
fn generate_selector(tree: &mut Tree) {
    let metadata = views::read::<Job<'_>>(tree).metadata();
    let (name, uid) = (metadata.name().to_owned(), metadata.uid().to_owned());
    let mut job: JobEdit<'_> = views::write(tree);
    let mut spec = job.spec_mut();
    for (label, value) in [(NAME_LABEL_OLD, &name), (NAME_LABEL, &name), (UID_LABEL_OLD, &uid), (UID_LABEL, &uid)] {
        if spec.view().template().metadata().labels().get(label).is_none() {
            spec.template_mut().metadata_mut().labels_mut().insert(label, value);
        }
    }
    let is_selected = spec.view().selector().is_some_and(|selector| selector.match_labels().get(UID_LABEL).is_some());
    if !is_selected {
        spec.selector_mut().match_labels_mut().insert(UID_LABEL, &uid);
    }
}

fn validate_create(tree: &Tree, errors: &mut Errors) {
    whole(views::read(tree), None, errors);
}

fn validate_update(tree: &Tree, old_tree: &Tree, subresource: &str, errors: &mut Errors) {
    let (new, old): (Job<'_>, Job<'_>) = (views::read(tree), views::read(old_tree));
    if subresource == "status" {
        status::update(new, old, &Path::new("status"), errors);
        return;
    }
    whole(new, Some(old), errors);
    // Upstream checks the spec a second time with its changes, and says twice what is wrong with it.
    let at = Path::new("spec");
    spec::whole(new.spec(), Some(old.spec()), &at, errors);
    update::frozen_fields(tree, old_tree, &at, errors);
}

fn whole(job: Job<'_>, old: Option<Job<'_>>, errors: &mut Errors) {
    generated_selector(job, old, errors);
    spec::whole(job.spec(), old.map(Job::spec), &Path::new("spec"), errors);
    spec::host_name(job.metadata().name(), job.spec(), errors);
}

/// A selector that was not chosen by hand is exactly the generated one.
fn generated_selector(job: Job<'_>, old: Option<Job<'_>>, errors: &mut Errors) {
    if job.spec().manual_selector() == Some(true) {
        return;
    }
    let Some(selector) = job.spec().selector() else { return };
    let (name, uid) = (job.metadata().name(), job.metadata().uid());
    if uid.is_empty() {
        errors.required(&Path::new("metadata.uid"), "");
    }
    has_label(job, UID_LABEL_OLD, uid, errors);
    has_label(job, NAME_LABEL_OLD, name, errors);
    // Jobs of before these labels were go on without them.
    let has_both = |old: Job<'_>| {
        let labels = old.spec().template().metadata().labels();
        labels.get(NAME_LABEL).is_some() && labels.get(UID_LABEL).is_some()
    };
    let is_prefixed = old.is_none_or(has_both);
    if is_prefixed {
        has_label(job, UID_LABEL, uid, errors);
        has_label(job, NAME_LABEL, name, errors);
    }
    let expected = |key: &str| match key {
        UID_LABEL_OLD => Some(uid),
        NAME_LABEL_OLD => Some(name),
        UID_LABEL if is_prefixed => Some(uid),
        NAME_LABEL if is_prefixed => Some(name),
        _ => None,
    };
    if selectors::read(selector).to_selector().is_ok_and(|selector| !selector.matches(expected)) {
        errors.invalid(&Path::new("spec.selector"), shown(selector.place()), "`selector` not auto-generated");
    }
}

fn has_label(job: Job<'_>, key: &str, expected: &str, errors: &mut Errors) {
    let template = job.spec().template();
    let at = Path::new("spec.template.metadata.labels");
    match template.metadata().labels().get(key) {
        None => errors.required(&at.key(key), format!("must be '{expected}'")),
        Some(value) if value != expected => {
            errors.invalid(&at.key(key), shown_labels(template), format!("must be '{expected}'"));
        }
        Some(_) => {}
    }
}

/// The labels of a template, as a complaint shows them.
fn shown_labels(template: PodTemplateSpec<'_>) -> BadValue {
    shown_field(template.metadata().place(), ObjectMeta::LABELS)
}

/// Whether a job has a pod for each index.
fn is_indexed(spec: JobSpec<'_>) -> bool {
    spec.completion_mode() == Some(INDEXED)
}

/// Whether a job is in this condition.
fn is_true(status: JobStatus<'_>, condition: &str) -> bool {
    status.conditions().iter().any(|one| one.type_() == condition && one.status() == "True")
}

fn warn_create(tree: &Tree, warnings: &mut Vec<String>) {
    let job: Job<'_> = views::read(tree);
    replicas::warn_name(job.metadata().name(), warnings);
    warn_spec(job.spec(), None, &Path::new("spec"), warnings);
}

fn warn_update(tree: &Tree, old: &Tree, subresource: &str, warnings: &mut Vec<String>) {
    let (new, old): (Job<'_>, Job<'_>) = (views::read(tree), views::read(old));
    if subresource.is_empty() && new.metadata().generation() != old.metadata().generation() {
        warn_spec(new.spec(), Some(old.spec()), &Path::new("spec"), warnings);
    }
}

/// What the client of a job, or of a job template, should be told (upstream: `WarningsForJobSpec`).
pub fn warn_spec(spec: JobSpec<'_>, old: Option<JobSpec<'_>>, at: &Path<'_>, warnings: &mut Vec<String>) {
    let (completions, parallelism) = (spec.completions().unwrap_or(0), spec.parallelism().unwrap_or(0));
    if is_indexed(spec) && completions > COMPLETIONS_SAFE && parallelism > PARALLELISM_SAFE {
        warnings.push(format!(
            "{at}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might \
             not be able to track completedIndexes when a big number of indexes fail"
        ));
    }
    pod_spec::warn_template(spec.template(), old.map(JobSpec::template), &at.field("template"), warnings);
}

fn cell(tree: &Tree, column: &str, now: i64) -> Option<Cell> {
    let job: Job<'_> = views::read(tree);
    let (spec, status) = (job.spec(), job.status());
    Some(match column {
        "Status" => Cell::Text(condition(job).to_owned()),
        "Completions" => Cell::Text(match (spec.completions(), spec.parallelism()) {
            (Some(completions), _) => format!("{}/{completions}", status.succeeded()),
            (None, Some(parallelism)) if parallelism > 1 => format!("{}/1 of {parallelism}", status.succeeded()),
            (None, _) => format!("{}/1", status.succeeded()),
        }),
        "Duration" => match (status.start_time().flatten(), status.completion_time().flatten()) {
            (None, _) => Cell::Text(String::new()),
            (Some(start), end) => Cell::Duration(end.unwrap_or(now).saturating_sub(start)),
        },
        "Containers" => cells::containers(spec.template().spec()),
        "Images" => cells::images(spec.template().spec()),
        "Selector" => cells::selector(spec.selector()),
        _ => return None,
    })
}

/// The condition that says most of where a job stands.
fn condition(job: Job<'_>) -> &'static str {
    let is = |condition: &str| is_true(job.status(), condition);
    if let Some(end) = [COMPLETE, FAILED].into_iter().find(|condition| is(condition)) {
        return end;
    }
    if job.metadata().deletion_timestamp().is_some() {
        return "Terminating";
    }
    let on_its_way = [SUSPENDED, FAILURE_TARGET, SUCCESS_CRITERIA_MET];
    on_its_way.into_iter().find(|condition| is(condition)).unwrap_or("Running")
}

#[cfg(test)]
mod tests;
