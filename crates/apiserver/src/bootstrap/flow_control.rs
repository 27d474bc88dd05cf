//! What the levels of priority and the flow schemas that every cluster begins with should be, and what is done about those that are
//! something else.
//!
//! The two levels and the two schemas without which requests could be lost or refused are always put right. All others are suggestions:
//! the annotation says whether they follow this build, and one that an operator changed without a word is left to the operator.
//!
//! Upstream: `flowcontrol/ensurer` (KEP-1040).

use portcullis_kinds::bootstrap_policy::Subject;
use portcullis_kinds::flow_control::{self, FlowControlError, FlowSchema, Level, Overload, PathRule, ResourceRule};
use serde_json::{Value, json};

use super::{Finding, First, Held};
use crate::flow_control::status;
pub(super) use crate::flow_control::{GROUP, LEVELS, SCHEMAS};

/// Whether an object follows what this build suggests.
const ANNOTATION_AUTOUPDATE: &str = "apf.kubernetes.io/autoupdate-spec";
/// Who says what they are.
const MANAGER: &str = "api-priority-and-fairness-config-producer-v1";
/// Levels and schemas of these names are no suggestions.
const MANDATORY: [&str; 2] = [EXEMPT, "catch-all"];
const EXEMPT: &str = "exempt";

/// The levels and schemas to be made.
pub(super) fn firsts(now_seconds: i64) -> Result<impl Iterator<Item = First>, FlowControlError> {
    let read = flow_control::flow_control()?;
    let levels = read.levels.iter().map(|level| made(LEVELS, level.name, level_spec(level)));
    let schemas = read.schemas.iter().map(move |schema| {
        let status = json!({"conditions": [status::condition(schema.level, true, now_seconds)]});
        First { status: Some((status, status::MANAGER)), ..made(SCHEMAS, schema.name, schema_spec(schema)) }
    });
    Ok(levels.chain(schemas))
}

fn made(resource: &'static str, name: &'static str, spec: Value) -> First {
    let object = json!({"metadata": {"name": name, "annotations": {ANNOTATION_AUTOUPDATE: "true"}}, "spec": spec});
    First { manager: MANAGER, held: Held::FlowControl, ..First::kept(GROUP, resource, "", name, object) }
}

fn level_spec(level: &Level) -> Value {
    let (shares, lendable) = (level.shares, level.lendable_percent);
    let mut part = json!({"nominalConcurrencyShares": shares, "lendablePercent": lendable});
    match level.overload {
        Overload::Exempt => return json!({"type": "Exempt", "exempt": part}),
        Overload::Reject => part["limitResponse"] = json!({"type": "Reject"}),
        Overload::Queue { queues, hand_size, queue_len_max } => {
            let queuing = json!({"queues": queues, "handSize": hand_size, "queueLengthLimit": queue_len_max});
            part["limitResponse"] = json!({"type": "Queue", "queuing": queuing});
        }
    }
    json!({"type": "Limited", "limited": part})
}

fn schema_spec(schema: &FlowSchema) -> Value {
    let mut rule = json!({"subjects": schema.subjects.iter().map(subject).collect::<Vec<_>>()});
    if !schema.resources.is_empty() {
        rule["resourceRules"] = schema.resources.iter().map(resource_rule).collect();
    }
    if !schema.paths.is_empty() {
        let of = |rule: &PathRule| json!({"verbs": rule.verbs, "nonResourceURLs": rule.paths});
        rule["nonResourceRules"] = schema.paths.iter().map(of).collect();
    }
    let mut spec = json!({
        "priorityLevelConfiguration": {"name": schema.level},
        "matchingPrecedence": schema.precedence,
        "rules": [rule],
    });
    if !schema.distinguisher.is_empty() {
        spec["distinguisherMethod"] = json!({"type": schema.distinguisher});
    }
    spec
}

fn resource_rule(rule: &ResourceRule) -> Value {
    let mut object = json!({
        "verbs": rule.verbs, "apiGroups": rule.groups, "resources": rule.resources, "namespaces": rule.namespaces,
    });
    if rule.is_cluster_scoped {
        object["clusterScope"] = json!(true);
    }
    object
}

fn subject(subject: &Subject) -> Value {
    match subject {
        Subject::User(name) => json!({"kind": "User", "user": {"name": name}}),
        Subject::Group(name) => json!({"kind": "Group", "group": {"name": name}}),
        Subject::ServiceAccount { namespace, name } => {
            json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": namespace, "name": name}})
        }
    }
}

/// Compares a stored level or schema with what it should be. Both have the shape of their type.
pub(super) fn reconcile(mut held: Value, wanted: &Value) -> Finding {
    let name = wanted["metadata"]["name"].as_str().unwrap_or_default();
    let follows = MANDATORY.contains(&name) || follows(&held);
    let said = if follows { "true" } else { "false" };
    let mut is_changed = false;
    if held["metadata"]["annotations"][ANNOTATION_AUTOUPDATE] != said {
        held["metadata"]["annotations"][ANNOTATION_AUTOUPDATE] = json!(said);
        is_changed = true;
    }
    let mut spec = wanted["spec"].clone();
    // How much exempt requests lend and borrow is the operator's to say.
    if name == EXEMPT && held["spec"]["exempt"].is_object() && spec["exempt"].is_object() {
        spec["exempt"] = held["spec"]["exempt"].clone();
    }
    if follows && held["spec"] != spec {
        held["spec"] = spec;
        held["metadata"]["generation"] = json!(held["metadata"]["generation"].as_i64().unwrap_or_default() + 1);
        is_changed = true;
    }
    if is_changed { Finding::Changed(held) } else { Finding::Same }
}

/// Whether a suggestion still follows this build: as it says, and where it says nothing, when nobody has changed it yet.
fn follows(held: &Value) -> bool {
    match held["metadata"]["annotations"][ANNOTATION_AUTOUPDATE].as_str() {
        Some("1" | "t" | "T" | "true" | "True" | "TRUE") => true,
        Some("0" | "f" | "F" | "false" | "False" | "FALSE") => false,
        _ => held["metadata"]["generation"] == 1,
    }
}

/// Whether a level or schema that this build does not know was one of an earlier build, and not an operator's.
pub(super) fn is_ours(held: &Value) -> bool {
    held["metadata"]["annotations"][ANNOTATION_AUTOUPDATE] == "true"
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn wanted(resource: &str, name: &str) -> Value {
        firsts(0).unwrap().find(|first| first.resource == resource && first.name == name).unwrap().object
    }

    #[test]
    fn what_is_wrong_is_put_right_unless_an_operator_has_taken_over() {
        let check = |(resource, name): (&str, &str), patch: Value, expected: Option<Value>| {
            let wanted = wanted(resource, name);
            let mut held = wanted.clone();
            held["metadata"]["generation"] = json!(1);
            json_patch::merge(&mut held, &patch);
            let expected = expected.map_or(Finding::Same, |fix| {
                let mut expected = held.clone();
                json_patch::merge(&mut expected, &fix);
                Finding::Changed(expected)
            });
            assert_eq!(reconcile(held, &wanted), expected, "{name} {patch}");
        };
        let says = |said: Value| json!({"metadata": {"annotations": {ANNOTATION_AUTOUPDATE: said}}});
        let both = |said: Value, generation: i64, spec: Value| {
            let metadata = json!({"annotations": {ANNOTATION_AUTOUPDATE: said}, "generation": generation});
            json!({"metadata": metadata, "spec": spec})
        };
        let system = (LEVELS, "system");
        let more = json!({"limited": {"nominalConcurrencyShares": 31}});
        let back = json!({"limited": {"nominalConcurrencyShares": 30}});
        check(system, json!({}), None);
        check(system, json!({"spec": more}), Some(both(json!("true"), 2, back.clone())));
        check(system, both(json!("true"), 7, more.clone()), Some(both(json!("true"), 8, back.clone())));
        check(system, both(json!("false"), 7, more.clone()), None);
        check(system, both(Value::Null, 1, more.clone()), Some(both(json!("true"), 2, back)));
        check(system, both(Value::Null, 2, more.clone()), Some(says(json!("false"))));
        check(system, both(json!("maybe"), 2, more), Some(says(json!("false"))));
        let schema = (SCHEMAS, "system-nodes");
        let wider = json!({"matchingPrecedence": 5});
        check(
            schema,
            both(json!("true"), 1, wider.clone()),
            Some(both(json!("true"), 2, json!({"matchingPrecedence": 500}))),
        );
        check(schema, both(json!("F"), 1, wider.clone()), Some(says(json!("false"))));
        // Those that must be there do not ask.
        let last = (SCHEMAS, "catch-all");
        let narrower = json!({"matchingPrecedence": 10});
        check(
            last,
            both(json!("false"), 3, narrower),
            Some(both(json!("true"), 4, json!({"matchingPrecedence": 10000}))),
        );
        let catch_all = (LEVELS, "catch-all");
        let none = json!({"limited": {"nominalConcurrencyShares": 0}});
        let five = json!({"limited": {"nominalConcurrencyShares": 5}});
        check(catch_all, both(json!("false"), 3, none), Some(both(json!("true"), 4, five)));
        // But for what is an operator's to say.
        let exempt = (LEVELS, "exempt");
        check(exempt, json!({"spec": {"exempt": {"nominalConcurrencyShares": 9}}}), None);
        let limited = json!({"type": "Limited", "exempt": null});
        let whole = json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}});
        check(exempt, both(json!("true"), 1, limited), Some(both(json!("true"), 2, whole)));
    }

    #[test]
    fn leftovers_are_those_that_say_so() {
        let check = |annotations: Value, expected: bool| {
            assert_eq!(is_ours(&json!({"metadata": {"annotations": annotations}})), expected, "{annotations}");
        };
        check(json!({ANNOTATION_AUTOUPDATE: "true"}), true);
        check(json!({ANNOTATION_AUTOUPDATE: "false"}), false);
        check(json!({}), false);
        check(Value::Null, false);
    }
}
