//! What a job makes of pods that fail and of indexes that succeed (upstream: `validatePodFailurePolicy`, KEP-3329;
//! `validateSuccessPolicy`, KEP-3998; `validatePodReplacementPolicy`, KEP-3939).

use portcullis_model::status::BadValue;

use super::indexes;
use crate::views::batch_v1::{
    JobSpec, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyOnPodConditionsPattern, PodFailurePolicyRule,
    SuccessPolicyRule,
};
use crate::views::{List, shown, shown_field};
use crate::vocabulary::{Errors, Path, names, number};

/// Rules of a pod failure policy, and patterns of conditions in a rule.
const FAILURE_RULES_MAX: usize = 20;
const PATTERNS_MAX: usize = 20;
/// Exit codes of a rule: as many as there are beside 0.
const EXIT_CODES_MAX: usize = 255;
/// Rules of a success policy, and bytes of the indexes in one.
const SUCCESS_RULES_MAX: usize = 20;
const INDEXES_BYTES_MAX: usize = 64 * 1024;

const ACTIONS: &[&str] = &["Count", "FailIndex", "FailJob", "Ignore"];
const OPERATORS: &[&str] = &["In", "NotIn"];
const STATUSES: &[&str] = &["False", "True", "Unknown"];

/// When failed pods are replaced.
const REPLACEMENTS: &[&str] = &["Failed", "TerminatingOrFailed"];
/// The same beside a pod failure policy, which must see how a pod ended first.
const REPLACEMENTS_WITH_FAILURE_POLICY: &[&str] = &["Failed"];

/// Pods that fail.
pub fn pod_failure(spec: JobSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let Some(policy) = spec.pod_failure_policy() else { return };
    let at = at.field("rules");
    let rules = policy.rules();
    if rules.len() > FAILURE_RULES_MAX {
        errors.too_many(&at, rules.len(), FAILURE_RULES_MAX);
    }
    for (index, rule) in rules.iter().enumerate() {
        failure_rule(spec, rule, &at.index(index), errors);
    }
}

fn failure_rule(spec: JobSpec<'_>, rule: PodFailurePolicyRule<'_>, at: &Path<'_>, errors: &mut Errors) {
    let action = rule.action();
    required_word(action, ACTIONS, &at.field("action"), errors);
    if action == "FailIndex" && spec.backoff_limit_per_index().is_none() {
        errors.invalid(&at.field("action"), action, "requires the backoffLimitPerIndex to be set");
    }
    let (codes, conditions) = (rule.on_exit_codes(), rule.on_pod_conditions());
    if let Some(codes) = codes {
        exit_codes(spec, codes, &at.field("onExitCodes"), errors);
    }
    pod_conditions(conditions, &at.field("onPodConditions"), errors);
    match (codes.is_some(), !conditions.is_empty()) {
        (true, true) => {
            let why = "specifying both OnExitCodes and OnPodConditions is not supported";
            errors.invalid(at, BadValue::Omitted, why);
        }
        (false, false) => {
            let why = "specifying one of OnExitCodes and OnPodConditions is required";
            errors.invalid(at, BadValue::Omitted, why);
        }
        _ => {}
    }
}

fn exit_codes(
    spec: JobSpec<'_>,
    codes: PodFailurePolicyOnExitCodesRequirement<'_>,
    at: &Path<'_>,
    errors: &mut Errors,
) {
    required_word(codes.operator(), OPERATORS, &at.field("operator"), errors);
    if let Some(name) = codes.container_name() {
        let pod = spec.template().spec();
        let is_there = pod.containers().iter().chain(pod.init_containers().iter()).any(|one| one.name() == name);
        if !is_there {
            let why = "must be one of the container or initContainer names in the pod template";
            errors.invalid(&at.field("containerName"), name, why);
        }
    }
    let (values, at) = (codes.values(), at.field("values"));
    let shown = || shown_field(codes.place(), PodFailurePolicyOnExitCodesRequirement::VALUES);
    if values.is_empty() {
        errors.invalid(&at, shown(), "at least one value is required");
    } else if values.len() > EXIT_CODES_MAX {
        errors.too_many(&at, values.len(), EXIT_CODES_MAX);
    }
    let mut seen = std::collections::HashSet::with_capacity(values.len().min(EXIT_CODES_MAX));
    for (index, value) in values.iter().enumerate() {
        if value == 0 && codes.operator() == "In" {
            errors.invalid(&at.index(index), value, "must not be 0 for the In operator");
        }
        if !seen.insert(value) {
            errors.duplicate(&at.index(index), value);
        }
    }
    if values.iter().zip(values.iter().skip(1)).any(|(one, next)| one > next) {
        errors.invalid(&at, shown(), "must be ordered");
    }
}

fn pod_conditions(patterns: List<'_, PodFailurePolicyOnPodConditionsPattern<'_>>, at: &Path<'_>, errors: &mut Errors) {
    if patterns.len() > PATTERNS_MAX {
        errors.too_many(at, patterns.len(), PATTERNS_MAX);
    }
    for (index, pattern) in patterns.iter().enumerate() {
        let at = at.index(index);
        names::qualified_name(pattern.type_(), &at.field("type"), errors);
        required_word(pattern.status(), STATUSES, &at.field("status"), errors);
    }
}

/// A word of a closed list that must be there.
fn required_word(value: &str, known: &[&str], at: &Path<'_>, errors: &mut Errors) {
    if value.is_empty() {
        let known: Vec<String> = known.iter().map(|word| format!("{word:?}")).collect();
        errors.required(at, format!("valid values: [{}]", known.join(" ")));
    } else {
        names::one_of(value, known, at, errors);
    }
}

/// Indexes that succeed: only an indexed job has any.
pub fn success(spec: JobSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let Some(policy) = spec.success_policy() else { return };
    if !super::is_indexed(spec) {
        errors.invalid(at, shown(policy.place()), super::NEEDS_INDEXES);
        return;
    }
    let at = at.field("rules");
    let rules = policy.rules();
    if rules.is_empty() {
        errors.required(&at, "at least one rules must be specified when the successPolicy is specified");
    }
    if rules.len() > SUCCESS_RULES_MAX {
        errors.too_many(&at, rules.len(), SUCCESS_RULES_MAX);
    }
    for (index, rule) in rules.iter().enumerate() {
        success_rule(spec, rule, &at.index(index), errors);
    }
}

fn success_rule(spec: JobSpec<'_>, rule: SuccessPolicyRule<'_>, at: &Path<'_>, errors: &mut Errors) {
    let (text, wanted) = (rule.succeeded_indexes(), rule.succeeded_count());
    if text.is_none() && wanted.is_none() {
        errors.required(at, "at least one of succeededCount or succeededIndexes must be specified");
    }
    // Without completions, which is complained about elsewhere, there is nothing to measure indexes by; upstream fails there.
    let completions = spec.completions();
    let mut named = 0;
    if let Some(text) = text {
        let at = at.field("succeededIndexes");
        if text.len() > INDEXES_BYTES_MAX {
            errors.too_long(&at, INDEXES_BYTES_MAX);
        }
        match completions.map(|completions| indexes::count(text, completions)) {
            Some(Ok(count)) => named = count,
            Some(Err(why)) => errors.invalid(&at, text, format!("error parsing succeededIndexes: {why}")),
            None => {}
        }
    }
    let Some(wanted) = wanted else { return };
    let at = at.field("succeededCount");
    number::non_negative(wanted.into(), &at, errors);
    let Some(completions) = completions else { return };
    if wanted > completions {
        let why = format!("must be less than or equal to {completions} (the number of specified completions)");
        errors.invalid(&at, wanted, why);
    }
    if text.is_some() && i64::from(wanted) > named {
        let why = format!(
            "must be less than or equal to {named} (the number of indexes in the specified succeededIndexes field)"
        );
        errors.invalid(&at, wanted, why);
    }
}

/// When pods are replaced.
pub fn pod_replacement(spec: JobSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let Some(policy) = spec.pod_replacement_policy() else { return };
    let known = if spec.pod_failure_policy().is_some() { REPLACEMENTS_WITH_FAILURE_POLICY } else { REPLACEMENTS };
    names::one_of(policy, known, at, errors);
}
