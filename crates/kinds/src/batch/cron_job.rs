//! `CronJob` (upstream: `registry/batch/cronjob`, `apis/batch/validation`, `apis/batch/v1/defaults.go`; time zones KEP-3140).

use portcullis_model::tree::Tree;

use super::job::{self, spec as job_spec};
use crate::core::pod_spec::{self, cells};
use crate::rest::Rest;
use crate::strategy::{Cell, Column, Strategy};
use crate::views::batch_v1::{CronJob, CronJobEdit, CronJobSpec, JobTemplateSpec};
use crate::views::{self, shown};
use crate::vocabulary::{Errors, Path, cron, replicas, time_zone};

/// Bytes of a name, which the names of its jobs begin with: a label has 63, a time and its dash 11.
const NAME_BYTES_MAX: usize = 52;
/// Jobs that are kept after their end.
const SUCCESSFUL_JOBS_KEPT: i64 = 3;
const FAILED_JOBS_KEPT: i64 = 1;
/// What a zone within a schedule is known by.
const ZONE: &str = "TZ";

/// The rules of `CronJob`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { generation: true, update_checks_all_metadata: false, ..Rest::PLAIN },
    default,
    validate_create,
    warn_create,
    validate_update,
    warn_update,
    columns: &[
        ("Active", Column::Count(&["status.active"])),
        ("Schedule", Column::Field("spec.schedule", r#""""#)),
        ("Timezone", Column::Field("spec.timeZone", r#""<none>""#)),
    ],
    cell,
    ..Strategy::NONE
};

/// The template of jobs keeps what a client wrote: it is a job only when it is made one.
fn default(tree: &mut Tree) {
    let mut cron_job: CronJobEdit<'_> = views::write(tree);
    let mut spec = cron_job.spec_mut();
    if spec.view().concurrency_policy().is_empty() {
        spec.set_concurrency_policy("Allow");
    }
    if spec.view().suspend().is_none() {
        spec.set_suspend(false);
    }
    if spec.view().successful_jobs_history_limit().is_none() {
        spec.set_successful_jobs_history_limit(SUCCESSFUL_JOBS_KEPT);
    }
    if spec.view().failed_jobs_history_limit().is_none() {
        spec.set_failed_jobs_history_limit(FAILED_JOBS_KEPT);
    }
    pod_spec::default_template(spec.job_template_mut().spec_mut().template_mut());
}

fn validate_create(tree: &Tree, errors: &mut Errors) {
    let cron_job: CronJob<'_> = views::read(tree);
    spec(cron_job.spec(), None, &Path::new("spec"), errors);
    let name = cron_job.metadata().name();
    if name.len() > NAME_BYTES_MAX {
        errors.invalid(&Path::new("metadata.name"), name, format!("must be no more than {NAME_BYTES_MAX} characters"));
    }
}

fn validate_update(tree: &Tree, old: &Tree, subresource: &str, errors: &mut Errors) {
    if subresource == "status" {
        return;
    }
    let (new, old): (CronJob<'_>, CronJob<'_>) = (views::read(tree), views::read(old));
    spec(new.spec(), Some(old.spec()), &Path::new("spec"), errors);
}

fn spec(spec: CronJobSpec<'_>, old: Option<CronJobSpec<'_>>, at: &Path<'_>, errors: &mut Errors) {
    schedule(spec, old, &at.field("schedule"), errors);
    spec.check_starting_deadline_seconds(at, errors);
    // A zone that was let in stays, though this server may not know it.
    if let Some(zone) = spec.time_zone().filter(|zone| old.is_none_or(|old| old.time_zone() != Some(*zone))) {
        time_zone::time_zone(zone, &at.field("timeZone"), errors);
    }
    spec.check_concurrency_policy(at, errors);
    let old = old.map(CronJobSpec::job_template);
    job_template(spec.job_template(), old, &at.field("jobTemplate.spec"), errors);
    spec.check_successful_jobs_history_limit(at, errors);
    spec.check_failed_jobs_history_limit(at, errors);
}

fn schedule(spec: CronJobSpec<'_>, old: Option<CronJobSpec<'_>>, at: &Path<'_>, errors: &mut Errors) {
    let text = spec.schedule();
    if text.is_empty() {
        errors.required(at, "");
        return;
    }
    if let Err(why) = cron::check(text) {
        errors.invalid(at, text, why);
    }
    if !text.contains(ZONE) {
        return;
    }
    // Only a cron job that was made with a zone in its schedule may have one there, and then no other.
    if !old.is_some_and(|old| old.schedule().contains(ZONE)) {
        errors.invalid(at, text, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
    } else if spec.time_zone().is_some() {
        errors.invalid(at, text, "cannot use both timeZone field and TZ or CRON_TZ in schedule");
    }
}

/// The selector of each job that is made is its own.
fn job_template(template: JobTemplateSpec<'_>, old: Option<JobTemplateSpec<'_>>, at: &Path<'_>, errors: &mut Errors) {
    let spec = template.spec();
    job_spec::without_selector(spec, old.map(JobTemplateSpec::spec), at, errors);
    if let Some(selector) = spec.selector() {
        errors.invalid(&at.field("selector"), shown(selector.place()), "`selector` will be auto-generated");
    }
    if spec.manual_selector() == Some(true) {
        errors.not_supported(&at.field("manualSelector"), true, &["nil", "false"]);
    }
}

fn warn_create(tree: &Tree, warnings: &mut Vec<String>) {
    let cron_job: CronJob<'_> = views::read(tree);
    replicas::warn_name(cron_job.metadata().name(), warnings);
    let at = Path::new("spec.jobTemplate.spec");
    job::warn_spec(cron_job.spec().job_template().spec(), None, &at, warnings);
    warn_schedule(cron_job.spec(), warnings);
}

fn warn_update(tree: &Tree, old: &Tree, subresource: &str, warnings: &mut Vec<String>) {
    if subresource == "status" {
        return;
    }
    let (new, old): (CronJob<'_>, CronJob<'_>) = (views::read(tree), views::read(old));
    if new.metadata().generation() != old.metadata().generation() {
        let (new, old) = (new.spec().job_template().spec(), old.spec().job_template().spec());
        job::warn_spec(new, Some(old), &Path::new("spec.jobTemplate.spec"), warnings);
    }
    warn_schedule(new.spec(), warnings);
}

fn warn_schedule(spec: CronJobSpec<'_>, warnings: &mut Vec<String>) {
    if spec.schedule().contains(ZONE) {
        // Upstream's path has a name too many.
        warnings.push(
            "CRON_TZ or TZ used in spec.spec.schedule is not officially supported, see \
             https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
                .to_owned(),
        );
    }
}

fn cell(tree: &Tree, column: &str, now: i64) -> Option<Cell> {
    let cron_job: CronJob<'_> = views::read(tree);
    let template = cron_job.spec().job_template().spec();
    Some(match column {
        "Suspend" => Cell::Text(match cron_job.spec().suspend() {
            Some(true) => "True".to_owned(),
            Some(false) => "False".to_owned(),
            None => "<unset>".to_owned(),
        }),
        "Last Schedule" => match cron_job.status().last_schedule_time() {
            None => Cell::Text("<none>".to_owned()),
            Some(None) => Cell::Text("<unknown>".to_owned()),
            Some(Some(time)) => Cell::Duration(now.saturating_sub(time)),
        },
        "Containers" => cells::containers(template.template().spec()),
        "Images" => cells::images(template.template().spec()),
        "Selector" => cells::selector(template.selector()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{complaints, created, update_complaints};

    const TEMPLATE: &str = r#""jobTemplate":{"spec":{"template":{"spec":{"restartPolicy":"Never","containers":[
        {"name":"c","image":"shop:1"}]}}}}"#;

    fn of(fields: &str) -> Tree {
        let text = format!(r#"{{"metadata":{{"name":"tide"}},"spec":{{{fields},{TEMPLATE}}}}}"#);
        created(&STRATEGY, "batch/v1", "CronJob", &text)
    }

    const ZONE_FORBIDDEN: &str = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";

    #[test]
    fn what_a_cron_job_may_want() {
        let check =
            |fields: &str, expected: &[&str]| assert_eq!(complaints(&STRATEGY, &of(fields)), expected, "{fields}");
        check(r#""schedule":"*/5 * * * *""#, &[]);
        check(r#""schedule":"@hourly","timeZone":"Europe/Lisbon""#, &[]);
        check(r#""suspend":true"#, &["spec.schedule: Required value"]);
        check(r#""schedule":"x""#, &[r#"spec.schedule: Invalid value: "x": expected exactly 5 fields, found 1: [x]"#]);
        let zone = "TZ=UTC * * * * *";
        check(
            r#""schedule":"TZ=UTC * * * * *""#,
            &[&format!("spec.schedule: Invalid value: \"{zone}\": {ZONE_FORBIDDEN}")],
        );
        check(
            r#""schedule":"* * * * *","startingDeadlineSeconds":-1,"concurrencyPolicy":"Some","failedJobsHistoryLimit":-7"#,
            &[
                "spec.startingDeadlineSeconds: Invalid value: -1: must be greater than or equal to 0",
                r#"spec.concurrencyPolicy: Unsupported value: "Some": supported values: "Allow", "Forbid", "Replace""#,
                "spec.failedJobsHistoryLimit: Invalid value: -7: must be greater than or equal to 0",
            ],
        );
    }

    #[test]
    fn what_was_let_in_stays() {
        let check = |old: &str, new: &str, expected: &[&str]| {
            let (old, new) = (of(old), of(new));
            assert_eq!(update_complaints(&STRATEGY, &new, &old, ""), expected);
        };
        let zoned = r#""schedule":"TZ=UTC * * * * *""#;
        check(zoned, zoned, &[]);
        let both = r#""schedule":"TZ=UTC 1 * * * *","timeZone":"UTC""#;
        let why = "cannot use both timeZone field and TZ or CRON_TZ in schedule";
        check(zoned, both, &[&format!("spec.schedule: Invalid value: \"TZ=UTC 1 * * * *\": {why}")]);
        let unknown = r#""schedule":"* * * * *","timeZone":"Moon/Base""#;
        check(unknown, unknown, &[]);
        let plain = r#""schedule":"* * * * *""#;
        check(plain, unknown, &[r#"spec.timeZone: Invalid value: "Moon/Base": unknown time zone Moon/Base"#]);
    }
}
