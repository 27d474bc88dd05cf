//! The levels and schemas that no cluster is without: what they say is fixed (upstream: `flowcontrol/bootstrap`, `MandatoryFlowSchemas`).
//!
//! Without them there would be requests that belong nowhere, and an operator could lock themselves out.

use super::{EXEMPT, FlowSchema, Level, Overload, PathRule, ResourceRule, flow_control};
use crate::bootstrap_policy::Subject;
use crate::views::flowcontrol_v1::{self as v1, FlowSchemaSpec, PriorityLevelConfigurationSpec};
use crate::views::{List, View};

const MANDATORY: [&str; 2] = [EXEMPT, "catch-all"];

/// The schema of this name, if it is fixed.
pub fn schema(name: &str) -> Option<&'static FlowSchema> {
    let read = MANDATORY.contains(&name).then(|| flow_control().ok()).flatten()?;
    read.schemas.iter().find(|schema| schema.name == name)
}

/// The level of this name, if it is fixed.
pub fn level(name: &str) -> Option<&'static Level> {
    let read = MANDATORY.contains(&name).then(|| flow_control().ok()).flatten()?;
    read.levels.iter().find(|level| level.name == name)
}

/// Whether a level says what it should. An exempt one may say what it lends.
pub fn is_level(spec: PriorityLevelConfigurationSpec<'_>, fixed: &Level) -> bool {
    if fixed.overload == Overload::Exempt {
        return spec.type_() == "Exempt" && spec.limited().is_none();
    }
    let Some(limited) = spec.limited() else { return false };
    let queuing = limited.limit_response().queuing();
    let queue = queuing.map(|one| [one.queues(), one.hand_size(), one.queue_length_limit()].map(i64::from));
    let (overload, wanted) = match fixed.overload {
        Overload::Queue { queues, hand_size, queue_len_max } => {
            ("Queue", Some([queues, hand_size, queue_len_max].map(i64::from)))
        }
        _ => ("Reject", None),
    };
    spec.type_() == "Limited"
        && spec.exempt().is_none()
        && limited.nominal_concurrency_shares().map(i64::from) == Some(fixed.shares.into())
        && limited.lendable_percent().map(i64::from) == Some(fixed.lendable_percent.into())
        && limited.borrowing_limit_percent().is_none()
        && limited.limit_response().type_() == overload
        && queue == wanted
}

/// Whether a schema says what it should.
pub fn is_schema(spec: FlowSchemaSpec<'_>, fixed: &FlowSchema) -> bool {
    let distinguisher = spec.distinguisher_method().map(|method| method.type_());
    let wanted = Some(fixed.distinguisher).filter(|wanted| !wanted.is_empty());
    let mut rules = spec.rules().iter();
    let (Some(rule), None) = (rules.next(), rules.next()) else { return false };
    spec.priority_level_configuration().name() == fixed.level
        && i64::from(spec.matching_precedence()) == i64::from(fixed.precedence)
        && distinguisher == wanted
        && same(rule.subjects(), &fixed.subjects, is_subject)
        && same(rule.resource_rules(), &fixed.resources, is_resource_rule)
        && same(rule.non_resource_rules(), &fixed.paths, is_path_rule)
}

/// Whether two lists say the same, one by one.
fn same<'t, V: View<'t> + 't, W>(list: List<'t, V>, wanted: &[W], is_same: impl Fn(V, &W) -> bool) -> bool {
    list.len() == wanted.len() && list.iter().zip(wanted).all(|(one, wanted)| is_same(one, wanted))
}

fn texts(list: List<'_, &str>, wanted: &[&str]) -> bool {
    same(list, wanted, |one, wanted| one == *wanted)
}

fn is_subject(subject: v1::Subject<'_>, wanted: &Subject) -> bool {
    let user = subject.user().map(|user| user.name());
    let group = subject.group().map(|group| group.name());
    let account = subject.service_account().map(|account| (account.namespace(), account.name()));
    let said = (subject.kind(), user, group, account);
    match *wanted {
        Subject::User(name) => said == ("User", Some(name), None, None),
        Subject::Group(name) => said == ("Group", None, Some(name), None),
        Subject::ServiceAccount { namespace, name } => said == ("ServiceAccount", None, None, Some((namespace, name))),
    }
}

fn is_resource_rule(rule: v1::ResourcePolicyRule<'_>, wanted: &ResourceRule) -> bool {
    texts(rule.verbs(), &wanted.verbs)
        && texts(rule.api_groups(), &wanted.groups)
        && texts(rule.resources(), &wanted.resources)
        && rule.cluster_scope() == wanted.is_cluster_scoped
        && texts(rule.namespaces(), &wanted.namespaces)
}

fn is_path_rule(rule: v1::NonResourcePolicyRule<'_>, wanted: &PathRule) -> bool {
    texts(rule.verbs(), &wanted.verbs) && texts(rule.non_resource_urls(), &wanted.paths)
}
