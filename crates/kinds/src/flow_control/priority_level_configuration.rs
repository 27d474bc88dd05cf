//! `PriorityLevelConfiguration` (upstream: `registry/flowcontrol/prioritylevelconfiguration`, `apis/flowcontrol/validation`; KEP-1040).

use portcullis_model::tree::Tree;

use super::{EXEMPT, conditions, mandatory};
use crate::rest::{Resets, Rest, StatusKeeps};
use crate::strategy::{Column, Strategy};
use crate::views::flowcontrol_v1::{
    ExemptPriorityLevelConfigurationEdit, LimitResponse, LimitedPriorityLevelConfiguration,
    LimitedPriorityLevelConfigurationEdit, PriorityLevelConfiguration, PriorityLevelConfigurationEdit,
    PriorityLevelConfigurationSpec, QueuingConfiguration, QueuingConfigurationEdit,
};
use crate::views::{self, shown};
use crate::vocabulary::{Errors, Path};

const SHARES_DEFAULT: i64 = 30;
const QUEUES_DEFAULT: i64 = 64;
const HAND_SIZE_DEFAULT: i64 = 8;
const QUEUE_LENGTH_DEFAULT: i64 = 50;

const QUEUES_MAX: i32 = 10_000_000;
/// Bits of a hash from which a hand is dealt.
const HASH_BITS_MAX: u32 = 60;

/// The rules of `PriorityLevelConfiguration`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest {
        generation: true,
        update_checks_changes_once: true,
        status_keeps: StatusKeeps::Metadata,
        resets: &[("status", Resets::SPEC_AND_METADATA)],
        ..Rest::PLAIN
    },
    default,
    validate_create,
    validate_update,
    columns: &[
        ("Type", Column::Field("spec.type", r#""""#)),
        ("NominalConcurrencyShares", Column::Field("spec.limited.nominalConcurrencyShares", NONE)),
        ("Queues", Column::Field("spec.limited.limitResponse.queuing.queues", NONE)),
        ("HandSize", Column::Field("spec.limited.limitResponse.queuing.handSize", NONE)),
        ("QueueLengthLimit", Column::Field("spec.limited.limitResponse.queuing.queueLengthLimit", NONE)),
    ],
    ..Strategy::NONE
};

/// What a table shows of a level that has no such number.
const NONE: &str = r#""<none>""#;

fn read(tree: &Tree) -> PriorityLevelConfiguration<'_> {
    views::read(tree)
}

fn default(tree: &mut Tree) {
    let mut level: PriorityLevelConfigurationEdit<'_> = views::write(tree);
    let spec = level.view().spec();
    let (is_limited, is_exempt) = (spec.limited().is_some(), spec.exempt().is_some());
    if is_limited {
        default_limited(level.spec_mut().limited_mut());
    }
    if is_exempt {
        default_exempt(level.spec_mut().exempt_mut());
    }
}

fn default_limited(mut limited: LimitedPriorityLevelConfigurationEdit<'_>) {
    let view = limited.view();
    let (has_shares, has_lendable) = (view.nominal_concurrency_shares().is_some(), view.lendable_percent().is_some());
    let has_queues = view.limit_response().queuing().is_some();
    if !has_shares {
        limited.set_nominal_concurrency_shares(SHARES_DEFAULT);
    }
    if !has_lendable {
        limited.set_lendable_percent(0);
    }
    if has_queues {
        default_queuing(limited.limit_response_mut().queuing_mut());
    }
}

fn default_queuing(mut queuing: QueuingConfigurationEdit<'_>) {
    let view = queuing.view();
    let (queues, hand_size, length) = (view.queues(), view.hand_size(), view.queue_length_limit());
    if hand_size == 0 {
        queuing.set_hand_size(HAND_SIZE_DEFAULT);
    }
    if queues == 0 {
        queuing.set_queues(QUEUES_DEFAULT);
    }
    if length == 0 {
        queuing.set_queue_length_limit(QUEUE_LENGTH_DEFAULT);
    }
}

fn default_exempt(mut exempt: ExemptPriorityLevelConfigurationEdit<'_>) {
    let view = exempt.view();
    let (has_shares, has_lendable) = (view.nominal_concurrency_shares().is_some(), view.lendable_percent().is_some());
    if !has_shares {
        exempt.set_nominal_concurrency_shares(0);
    }
    if !has_lendable {
        exempt.set_lendable_percent(0);
    }
}

fn validate_create(tree: &Tree, errors: &mut Errors) {
    let (level, at) = (read(tree), Path::new("spec"));
    let name = level.metadata().name();
    spec(name, level.spec(), &at, errors);
    if mandatory::level(name).is_some_and(|fixed| !mandatory::is_level(level.spec(), fixed)) {
        // How much of its seats exempt requests lend is the operator's to say.
        let except = if name == EXEMPT { " except the 'spec.exempt' field" } else { "" };
        let why = format!("spec of '{name}'{except} must equal the fixed value");
        errors.invalid(&at, shown(level.spec().place()), why);
    }
    status(level, errors);
}

fn validate_update(tree: &Tree, _: &Tree, subresource: &str, errors: &mut Errors) {
    if subresource == "status" { status(read(tree), errors) } else { validate_create(tree, errors) }
}

fn status(level: PriorityLevelConfiguration<'_>, errors: &mut Errors) {
    conditions(level.status().conditions().iter().map(|one| one.type_()), errors);
}

fn spec(name: &str, spec: PriorityLevelConfigurationSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let kind = spec.type_();
    if (name == EXEMPT) != (kind == "Exempt") {
        let why = "type must be 'Exempt' if and only if name is 'exempt'";
        errors.invalid(&at.field("type"), kind, why);
    }
    match (kind, spec.limited()) {
        ("Exempt", limited) => {
            if limited.is_some() {
                errors.forbidden(&at.field("limited"), "must be nil if the type is not Limited");
            }
            if let Some(exempt) = spec.exempt() {
                let at = at.field("exempt");
                shares(exempt.nominal_concurrency_shares(), &at, errors);
                exempt.check_lendable_percent(&at, errors);
            }
        }
        ("Limited", found) => {
            if spec.exempt().is_some() {
                errors.forbidden(&at.field("exempt"), "must be nil if the type is Limited");
            }
            match found {
                None => errors.required(&at.field("limited"), "must not be empty when type is Limited"),
                Some(found) => limited(found, &at.field("limited"), errors),
            }
        }
        _ => spec.check_type(at, errors),
    }
}

fn shares(value: Option<i32>, at: &Path<'_>, errors: &mut Errors) {
    if let Some(value) = value.filter(|value| *value < 0) {
        let why = "must be a non-negative integer";
        errors.invalid(&at.field("nominalConcurrencyShares"), i64::from(value), why);
    }
}

fn limited(limited: LimitedPriorityLevelConfiguration<'_>, at: &Path<'_>, errors: &mut Errors) {
    shares(limited.nominal_concurrency_shares(), at, errors);
    limit_response(limited.limit_response(), &at.field("limitResponse"), errors);
    limited.check_lendable_percent(at, errors);
    if let Some(percent) = limited.borrowing_limit_percent().filter(|percent| *percent < 0) {
        let why = "if specified, must be a non-negative integer";
        errors.invalid(&at.field("borrowingLimitPercent"), i64::from(percent), why);
    }
}

/// What becomes of a request that finds no seat. The words say Limited where Queue is meant.
fn limit_response(response: LimitResponse<'_>, at: &Path<'_>, errors: &mut Errors) {
    let at_queuing = at.field("queuing");
    match (response.type_(), response.queuing()) {
        ("Reject", None) => {}
        ("Reject", Some(_)) => {
            errors.forbidden(&at_queuing, "must be nil if limited.limitResponse.type is not Limited");
        }
        ("Queue", None) => {
            errors.required(&at_queuing, "must not be empty if limited.limitResponse.type is Limited");
        }
        ("Queue", Some(found)) => queuing(found, &at_queuing, errors),
        _ => response.check_type(at, errors),
    }
}

/// How many queues there are, and among how many of them one flow is dealt (shuffle sharding).
fn queuing(queuing: QueuingConfiguration<'_>, at: &Path<'_>, errors: &mut Errors) {
    const POSITIVE: &str = "must be positive";
    let (length, queues, hand) = (queuing.queue_length_limit(), queuing.queues(), queuing.hand_size());
    let (at_queues, at_hand) = (at.field("queues"), at.field("handSize"));
    if length <= 0 {
        errors.invalid(&at.field("queueLengthLimit"), i64::from(length), POSITIVE);
    }
    if queues <= 0 {
        errors.invalid(&at_queues, i64::from(queues), POSITIVE);
    } else if queues > QUEUES_MAX {
        errors.invalid(&at_queues, i64::from(queues), format!("must not be greater than {QUEUES_MAX}"));
    }
    if hand <= 0 {
        errors.invalid(&at_hand, i64::from(hand), POSITIVE);
    } else if hand > queues {
        errors.invalid(&at_hand, i64::from(hand), format!("should not be greater than queues ({queues})"));
    } else if (f64::from(queues).log2() * f64::from(hand)).ceil() > f64::from(HASH_BITS_MAX) {
        let why = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {HASH_BITS_MAX}"
        );
        errors.invalid(&at_hand, i64::from(hand), why);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{complaints, created, json, update_complaints};

    fn named(name: &str, spec: &str) -> Tree {
        let text = format!(r#"{{"metadata":{{"name":"{name}"}},"spec":{{{spec}}}}}"#);
        created(&STRATEGY, "flowcontrol.apiserver.k8s.io/v1", "PriorityLevelConfiguration", &text)
    }

    #[test]
    fn what_a_level_gets() {
        let check = |spec: &str, expected: serde_json::Value| {
            assert_eq!(json(&named("calm", spec))["spec"], expected, "{spec}");
        };
        check(
            r#""type":"Limited","limited":{"limitResponse":{"type":"Queue","queuing":{}}}"#,
            serde_json::json!({"type": "Limited", "limited": {"nominalConcurrencyShares": 30, "lendablePercent": 0,
                "limitResponse": {"type": "Queue", "queuing": {"queues": 64, "handSize": 8, "queueLengthLimit": 50}}}}),
        );
        check(
            r#""type":"Limited","limited":{"nominalConcurrencyShares":0,"limitResponse":{"type":"Reject"}}"#,
            serde_json::json!({"type": "Limited", "limited": {"nominalConcurrencyShares": 0, "lendablePercent": 0,
                "limitResponse": {"type": "Reject"}}}),
        );
        check(
            r#""type":"Exempt","exempt":{}"#,
            serde_json::json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}}),
        );
    }

    #[test]
    fn what_a_level_may_say() {
        let check = |spec: &str, expected: &[&str]| {
            let tree = named("calm", spec);
            assert_eq!(complaints(&STRATEGY, &tree), expected, "{spec}");
            assert_eq!(update_complaints(&STRATEGY, &tree, &tree, ""), expected, "{spec}");
        };
        check("", &["spec.type: Required value"]);
        check(r#""type":"x""#, &[r#"spec.type: Unsupported value: "x": supported values: "Exempt", "Limited""#]);
        check(r#""type":"Limited""#, &["spec.limited: Required value: must not be empty when type is Limited"]);
        check(
            r#""type":"Exempt","limited":{"limitResponse":{"type":"Reject"}},"exempt":{"nominalConcurrencyShares":-1,"lendablePercent":101}"#,
            &[
                r#"spec.type: Invalid value: "Exempt": type must be 'Exempt' if and only if name is 'exempt'"#,
                "spec.limited: Forbidden: must be nil if the type is not Limited",
                "spec.exempt.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer",
                "spec.exempt.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive",
            ],
        );
        check(
            r#""type":"Limited","exempt":{},"limited":{"nominalConcurrencyShares":-1,"lendablePercent":-1,"borrowingLimitPercent":-1,"limitResponse":{"type":"Reject","queuing":{}}}"#,
            &[
                "spec.exempt: Forbidden: must be nil if the type is Limited",
                "spec.limited.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer",
                "spec.limited.limitResponse.queuing: Forbidden: must be nil if limited.limitResponse.type is not Limited",
                "spec.limited.lendablePercent: Invalid value: -1: must be between 0 and 100, inclusive",
                "spec.limited.borrowingLimitPercent: Invalid value: -1: if specified, must be a non-negative integer",
            ],
        );
        let queuing = |queuing: &str, expected: &[&str]| {
            let spec =
                format!(r#""type":"Limited","limited":{{"limitResponse":{{"type":"Queue","queuing":{{{queuing}}}}}}}"#);
            let expected: Vec<String> =
                expected.iter().map(|line| format!("spec.limited.limitResponse.queuing.{line}")).collect();
            assert_eq!(complaints(&STRATEGY, &named("calm", &spec)), expected, "{queuing}");
        };
        queuing(r#""queues":1024,"handSize":6"#, &[]);
        queuing(
            r#""queues":512,"handSize":8"#,
            &[
                "handSize: Invalid value: 8: required entropy bits of deckSize 512 and handSize 8 should not be greater than 60",
            ],
        );
        queuing(r#""queues":2,"handSize":3"#, &["handSize: Invalid value: 3: should not be greater than queues (2)"]);
        queuing(
            r#""queues":-1,"handSize":-1,"queueLengthLimit":-1"#,
            &[
                "queueLengthLimit: Invalid value: -1: must be positive",
                "queues: Invalid value: -1: must be positive",
                "handSize: Invalid value: -1: must be positive",
            ],
        );
        queuing(
            r#""queues":10000001,"handSize":1"#,
            &["queues: Invalid value: 10000001: must not be greater than 10000000"],
        );
    }

    #[test]
    fn what_no_cluster_is_without_stays() {
        let check = |name: &str, spec: &str, expected: &str| {
            let found = complaints(&STRATEGY, &named(name, spec));
            assert!(found.first().is_none_or(|line| line.ends_with(expected)), "{found:?}");
            assert_eq!(found.len(), usize::from(!expected.is_empty()), "{found:?}");
        };
        check("exempt", r#""type":"Exempt","exempt":{"lendablePercent":50}"#, "");
        check("exempt", r#""type":"Exempt""#, "");
        let limited = |shares: u32| {
            format!(
                r#""type":"Limited","limited":{{"nominalConcurrencyShares":{shares},"limitResponse":{{"type":"Reject"}}}}"#
            )
        };
        check("catch-all", &limited(5), "");
        check("catch-all", &limited(6), "spec of 'catch-all' must equal the fixed value");
        check("other", &limited(6), "");
    }
}
