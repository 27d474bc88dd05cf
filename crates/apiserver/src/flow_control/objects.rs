//! A stored object of the group as a level or a schema, defaults filled in (upstream: `flowcontrol/v1` defaults).
//!
//! Nothing is believed: a number that is out of its range is taken as the nearest that is in it, because what it sizes is memory.

use portcullis_fairness::{
    Distinguisher, FlowSchema, Level, LevelKind, NonResourceRule, Overload, PolicyRule, ResourceRule, Subject,
};
use serde_json::Value;

use crate::rbac::{UnreadableError, list, text, texts};

const SHARES_DEFAULT: i64 = 30;
const QUEUES_DEFAULT: i64 = 64;
const HAND_SIZE_DEFAULT: i64 = 8;
const QUEUE_LENGTH_DEFAULT: i64 = 50;
const PRECEDENCE_DEFAULT: i64 = 1000;
/// More shares than anybody means, and few enough that those of many levels can be added.
const SHARES_MAX: i64 = i32::MAX as i64;
/// Each queue takes memory from the start. Upstream allows ten million.
const QUEUES_MAX: i64 = 1 << 16;
/// Requests in one queue; each takes memory only while it waits.
const QUEUE_LENGTH_MAX: i64 = 1 << 20;
/// Bits of a flow's hash, from which its hand is dealt.
const HASH_BITS: u32 = 60;

/// What was read, or why not.
pub(super) type Read<T> = Result<T, UnreadableError>;

/// Reads a `PriorityLevelConfiguration`.
pub(super) fn level(value: &[u8]) -> Read<Level> {
    let object: Value = serde_json::from_slice(value)?;
    let (metadata, spec) = (part(&object, "metadata"), part(&object, "spec"));
    let (details, shares_default) = match text(spec, "type")? {
        "Exempt" => (part(spec, "exempt"), 0),
        "Limited" => (part(spec, "limited"), SHARES_DEFAULT),
        _ => return Err(UnreadableError::Mismatch { field: "spec.type", wanted: "Exempt or Limited" }),
    };
    let is_exempt = text(spec, "type")? == "Exempt";
    Ok(Level {
        name: text(metadata, "name")?.to_owned(),
        uid: text(metadata, "uid")?.to_owned(),
        shares: number(details, "nominalConcurrencyShares", shares_default, 0..=SHARES_MAX)?,
        lendable_percent: number(details, "lendablePercent", 0, 0..=100)?,
        kind: if is_exempt { LevelKind::Exempt } else { limited(details)? },
    })
}

fn limited(details: &Value) -> Read<LevelKind> {
    let borrowing_limit_percent = match details.get("borrowingLimitPercent") {
        None | Some(Value::Null) => None,
        Some(_) => Some(number(details, "borrowingLimitPercent", 0, 0..=i64::from(u32::MAX))?),
    };
    let response = part(details, "limitResponse");
    let overload = match text(response, "type")? {
        "Reject" => Overload::Reject,
        "Queue" => queue(part(response, "queuing"))?,
        _ => return Err(UnreadableError::Mismatch { field: "limitResponse.type", wanted: "Queue or Reject" }),
    };
    Ok(LevelKind::Limited { borrowing_limit_percent, overload })
}

fn queue(queuing: &Value) -> Read<Overload> {
    let queues = number(queuing, "queues", QUEUES_DEFAULT, 1..=QUEUES_MAX)?;
    let hand_size = number(queuing, "handSize", HAND_SIZE_DEFAULT, 1..=i64::from(queues))?;
    let queue_length = number(queuing, "queueLengthLimit", QUEUE_LENGTH_DEFAULT, 1..=QUEUE_LENGTH_MAX)?;
    Ok(Overload::Queue { queues, hand_size: dealt(queues, hand_size), queue_length })
}

/// The most queues up to `hand_size` that a hash has the bits to choose.
fn dealt(queues: u32, hand_size: u32) -> u32 {
    let mut choices: u64 = 1;
    for dealt in 0..hand_size {
        choices = choices.saturating_mul(u64::from(queues - dealt));
        if choices >= 1 << HASH_BITS {
            return dealt.max(1);
        }
    }
    hand_size
}

/// Reads a `FlowSchema`.
pub(super) fn schema(value: &[u8]) -> Read<FlowSchema> {
    let object: Value = serde_json::from_slice(value)?;
    let (metadata, spec) = (part(&object, "metadata"), part(&object, "spec"));
    let precedence: u32 = number(spec, "matchingPrecedence", PRECEDENCE_DEFAULT, 0..=i64::from(i32::MAX))?;
    Ok(FlowSchema {
        name: text(metadata, "name")?.to_owned(),
        uid: text(metadata, "uid")?.to_owned(),
        precedence: match i32::try_from(precedence).unwrap_or(i32::MAX) {
            0 => PRECEDENCE_DEFAULT as i32,
            precedence => precedence,
        },
        level: text(part(spec, "priorityLevelConfiguration"), "name")?.to_owned(),
        distinguisher: match text(part(spec, "distinguisherMethod"), "type")? {
            "" => Distinguisher::None,
            "ByUser" => Distinguisher::ByUser,
            "ByNamespace" => Distinguisher::ByNamespace,
            _ => {
                let wanted = "ByUser or ByNamespace";
                return Err(UnreadableError::Mismatch { field: "distinguisherMethod.type", wanted });
            }
        },
        rules: list(spec, "rules")?.iter().map(rule).collect::<Read<_>>()?,
    })
}

fn rule(object: &Value) -> Read<PolicyRule> {
    Ok(PolicyRule {
        subjects: list(object, "subjects")?.iter().map(subject).collect::<Read<_>>()?,
        resource_rules: list(object, "resourceRules")?.iter().map(resource_rule).collect::<Read<_>>()?,
        non_resource_rules: list(object, "nonResourceRules")?.iter().map(path_rule).collect::<Read<_>>()?,
    })
}

fn subject(object: &Value) -> Read<Subject> {
    let name = |of: &Value| text(of, "name").map(str::to_owned);
    Ok(match text(object, "kind")? {
        "User" => Subject::User(name(part(object, "user"))?),
        "Group" => Subject::Group(name(part(object, "group"))?),
        "ServiceAccount" => {
            let account = part(object, "serviceAccount");
            Subject::ServiceAccount { namespace: text(account, "namespace")?.to_owned(), name: name(account)? }
        }
        _ => return Err(UnreadableError::Mismatch { field: "subjects.kind", wanted: "User, Group or ServiceAccount" }),
    })
}

fn resource_rule(object: &Value) -> Read<ResourceRule> {
    Ok(ResourceRule {
        verbs: texts(object, "verbs")?,
        api_groups: texts(object, "apiGroups")?,
        resources: texts(object, "resources")?,
        cluster_scope: object.get("clusterScope").and_then(Value::as_bool).unwrap_or_default(),
        namespaces: texts(object, "namespaces")?,
    })
}

fn path_rule(object: &Value) -> Read<NonResourceRule> {
    Ok(NonResourceRule { verbs: texts(object, "verbs")?, paths: texts(object, "nonResourceURLs")? })
}

fn part<'v>(object: &'v Value, field: &str) -> &'v Value {
    object.get(field).unwrap_or(&Value::Null)
}

fn number(
    object: &Value,
    field: &'static str,
    default: i64,
    range: std::ops::RangeInclusive<i64>,
) -> Result<u32, UnreadableError> {
    let number = match object.get(field) {
        None | Some(Value::Null) => default,
        Some(value) => value.as_i64().ok_or(UnreadableError::Mismatch { field, wanted: "a whole number" })?,
    };
    Ok(u32::try_from(number.clamp(*range.start(), *range.end())).unwrap_or(u32::MAX))
}
