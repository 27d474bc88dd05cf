//! How fast an autoscaler goes up and down (upstream: `SetDefaults_HorizontalPodAutoscalerBehavior`, `validateBehavior`; KEP-853, tolerance
//! KEP-4951).

use portcullis_model::quantity::Quantity;

use crate::views::autoscaling_v2::{
    HPAScalingPolicy, HPAScalingRules, HPAScalingRulesEdit, HorizontalPodAutoscalerBehavior,
    HorizontalPodAutoscalerSpecEdit,
};
use crate::vocabulary::{Errors, Path, names};

/// Seconds of the past that decisions may wait for, and that a policy may count.
const STABILIZATION_SECONDS_MAX: i32 = 3_600;
const PERIOD_SECONDS_MAX: i32 = 1_800;

const SELECT_POLICIES: &[&str] = &["Disabled", "Max", "Min"];
const POLICY_TYPES: &[&str] = &["Percent", "Pods"];

/// A policy: of what, how much, in how many seconds.
type Policy = (&'static str, i64, i64);
/// Up: four pods or twice as many, whichever is more, every 15 seconds. Down: all at once.
const UP: &[Policy] = &[("Pods", 4, 15), ("Percent", 100, 15)];
const DOWN: &[Policy] = &[("Percent", 100, 15)];
/// Up at once. Down waits as long as the controller is told to.
const STABILIZATION_UP: i64 = 0;

/// A behavior that says something says the rest, too.
pub fn default(spec: &mut HorizontalPodAutoscalerSpecEdit<'_>) {
    if spec.view().behavior().is_none() {
        return;
    }
    let mut behavior = spec.behavior_mut();
    let mut up = behavior.scale_up_mut();
    if up.view().stabilization_window_seconds().is_none() {
        up.set_stabilization_window_seconds(STABILIZATION_UP);
    }
    default_rules(&mut up, UP);
    default_rules(&mut behavior.scale_down_mut(), DOWN);
}

fn default_rules(rules: &mut HPAScalingRulesEdit<'_>, policies: &[Policy]) {
    if rules.view().select_policy().is_none() {
        rules.set_select_policy("Max");
    }
    // A list that is there and empty was written so, and is refused.
    let (at, field) = (rules.view().place(), HPAScalingRules::POLICIES);
    let was_emptied = at.id().is_some_and(|node| at.tree().was_emptied(node, field.number()));
    if was_emptied || at.get(field).is_present() {
        return;
    }
    for (of, value, period) in policies {
        let mut list = rules.policies_mut();
        let mut policy = list.push();
        policy.set_type(of);
        policy.set_value(*value);
        policy.set_period_seconds(*period);
    }
}

/// What is wrong with a behavior.
pub fn validate(behavior: HorizontalPodAutoscalerBehavior<'_>, at: &Path<'_>, errors: &mut Errors) {
    for (field, rules) in [("scaleUp", behavior.scale_up()), ("scaleDown", behavior.scale_down())] {
        if let Some(rules) = rules {
            scaling_rules(rules, &at.field(field), errors);
        }
    }
}

fn scaling_rules(rules: HPAScalingRules<'_>, at: &Path<'_>, errors: &mut Errors) {
    if let Some(seconds) = rules.stabilization_window_seconds() {
        let at = at.field("stabilizationWindowSeconds");
        if seconds < 0 {
            errors.invalid(&at, seconds, "must be greater than or equal to zero");
        }
        at_most(seconds, STABILIZATION_SECONDS_MAX, &at, errors);
    }
    if let Some(policy) = rules.select_policy() {
        names::one_of(policy, SELECT_POLICIES, &at.field("selectPolicy"), errors);
    }
    let at_policies = at.field("policies");
    if rules.policies().is_empty() {
        errors.required(&at_policies, "must specify at least one Policy");
    }
    for (index, policy) in rules.policies().iter().enumerate() {
        scaling_policy(policy, &at_policies.index(index), errors);
    }
    if let Some(tolerance) = rules.tolerance()
        && Quantity::parse(tolerance).is_ok_and(|tolerance| tolerance.sign() < 0)
    {
        errors.invalid(&at.field("tolerance"), tolerance, "must be greater than or equal to 0");
    }
}

fn scaling_policy(policy: HPAScalingPolicy<'_>, at: &Path<'_>, errors: &mut Errors) {
    names::one_of(policy.type_(), POLICY_TYPES, &at.field("type"), errors);
    let at_period = at.field("periodSeconds");
    for (value, at) in [(policy.value(), &at.field("value")), (policy.period_seconds(), &at_period)] {
        if value <= 0 {
            errors.invalid(at, value, "must be greater than zero");
        }
    }
    at_most(policy.period_seconds(), PERIOD_SECONDS_MAX, &at_period, errors);
}

fn at_most(value: i32, most: i32, at: &Path<'_>, errors: &mut Errors) {
    if value > most {
        errors.invalid(at, value, format!("must be less than or equal to {most}"));
    }
}
