//! Nobody reads through a policy what they may not read themselves (upstream: `authz.go` of the four resources of admission policies and
//! their bindings, KEP-3488): who makes a policy take parameters of some kind must be allowed to get all objects of that kind, and who
//! binds it to some objects must be allowed to get them, or to list where they are selected.
//!
//! Upstream asks where it validates, of what is valid otherwise, so the answers are those of a validation: 422. system:masters are not
//! asked. What cannot be found out to be of one resource needs the permission for all.

use portcullis_gate::{Attributes, GROUP_MASTERS, Identity, Selection, Target};
use portcullis_kinds::views;
use portcullis_kinds::views::admissionregistration_v1::{
    MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, ParamKind, ParamRef, ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding,
};
use portcullis_kinds::vocabulary::frozen::is_same;
use portcullis_model::status::{FieldError, Status};
use portcullis_model::tree::Tree;

use super::stored::{self, Resource};
use super::{Attempt, Operation, Pass, Plugin};
use crate::answer::Failure;
use crate::registry::Served;

const GROUP: &str = "admissionregistration.k8s.io";
const VALIDATING: Resource = (GROUP, "validatingadmissionpolicies");
const MUTATING: Resource = (GROUP, "mutatingadmissionpolicies");
const VALIDATING_BINDINGS: &str = "validatingadmissionpolicybindings";
const MUTATING_BINDINGS: &str = "mutatingadmissionpolicybindings";
/// Any group, version, resource, namespace or name.
const ALL: &str = "*";

/// The rule.
pub struct PolicyParameters;

impl Plugin for PolicyParameters {
    fn name(&self) -> &'static str {
        "PolicyParameters"
    }

    fn handles(&self, served: &Served, operation: Operation) -> bool {
        let resources = [VALIDATING.1, MUTATING.1, VALIDATING_BINDINGS, MUTATING_BINDINGS];
        let writes = matches!(operation, Operation::Create | Operation::Update);
        writes && served.resource.group == GROUP && resources.contains(&served.resource.name)
    }

    fn judges(&self, user: &Identity) -> bool {
        !user.is_in(GROUP_MASTERS)
    }

    fn validate<'a>(&'a self, attempt: &'a Attempt<'_>) -> Pass<'a> {
        // Nothing of a status is a parameter.
        let (Some(new), "") = (attempt.new(), attempt.subresource()) else { return Pass::on() };
        if attempt.identity().is_in(GROUP_MASTERS) {
            return Pass::on();
        }
        match attempt.served().resource.name {
            VALIDATING_BINDINGS => {
                let spec = views::read::<ValidatingAdmissionPolicyBinding<'_>>(new).spec();
                binds(attempt, spec.param_ref(), VALIDATING, spec.policy_name())
            }
            MUTATING_BINDINGS => {
                let spec = views::read::<MutatingAdmissionPolicyBinding<'_>>(new).spec();
                binds(attempt, spec.param_ref(), MUTATING, spec.policy_name())
            }
            policies => {
                let resource = if policies == VALIDATING.1 { VALIDATING } else { MUTATING };
                let Some(kind) = param_kind(resource, new) else { return Pass::on() };
                let old = attempt.old.and_then(|old| param_kind(resource, old));
                if old.is_some_and(|old| is_same(kind.place(), old.place())) {
                    return Pass::on();
                }
                Pass::Later(Box::pin(takes(attempt, kind)))
            }
        }
    }
}

/// What a binding gives is asked for each time: upstream compares pointers here, of which one is always set.
fn binds<'a>(attempt: &'a Attempt<'_>, given: Option<ParamRef<'a>>, policies: Resource, policy: &'a str) -> Pass<'a> {
    given.map_or_else(Pass::on, |given| Pass::Later(Box::pin(gives(attempt, given, policies, policy))))
}

fn param_kind(resource: Resource, tree: &Tree) -> Option<ParamKind<'_>> {
    if resource == VALIDATING {
        return views::read::<ValidatingAdmissionPolicy<'_>>(tree).spec().param_kind();
    }
    views::read::<MutatingAdmissionPolicy<'_>>(tree).spec().param_kind()
}

/// What is known of the kind of parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known<'a> {
    /// Nothing: there is no such policy, or it takes none.
    Nothing,
    /// Its version cannot be read.
    Unparsed,
    /// No resource is of this kind.
    Unresolved { group: &'a str, version: &'a str },
    /// The resource.
    Resolved { group: &'a str, version: &'a str, resource: &'static str },
}

impl<'a> Known<'a> {
    fn of(attempt: &Attempt<'_>, kind: ParamKind<'a>) -> Known<'a> {
        let (group, version) = match kind.api_version().split_once('/') {
            None => ("", kind.api_version()),
            Some((_, version)) if version.contains('/') => return Known::Unparsed,
            Some(parts) => parts,
        };
        let found =
            attempt.server.registry.all().iter().map(|served| served.resource).find(|resource| {
                resource.group == group && resource.version == version && resource.kind == kind.kind()
            });
        match found {
            None => Known::Unresolved { group, version },
            Some(found) => Known::Resolved { group, version, resource: found.name },
        }
    }

    /// Group, version and resource for which a permission is needed.
    fn needed(self) -> [&'a str; 3] {
        match self {
            Known::Nothing | Known::Unparsed => [ALL, ALL, ALL],
            Known::Unresolved { group, version } => [group, version, ALL],
            Known::Resolved { group, version, resource } => [group, version, resource],
        }
    }
}

/// A policy takes parameters of a kind.
async fn takes(attempt: &Attempt<'_>, kind: ParamKind<'_>) -> Result<(), Failure> {
    if is_allowed(attempt, "get", Known::of(attempt, kind).needed(), ALL, ALL).await {
        return Ok(());
    }
    let (user, version, kind) = (shown(attempt.identity()), kind.api_version(), kind.kind());
    let what = format!("all objects of the referenced paramKind (kind={kind}, apiVersion={version})");
    Err(refused(attempt, "spec.paramKind", format!("user {user} must have \"get\" permission on {what}")))
}

/// A binding gives its policy parameters.
async fn gives(attempt: &Attempt<'_>, given: ParamRef<'_>, of: Resource, policy: &str) -> Result<(), Failure> {
    let found = stored::load(attempt, of, "", policy)?;
    let kind = found.as_ref().and_then(|found| param_kind(of, found));
    let known = kind.map_or(Known::Nothing, |kind| Known::of(attempt, kind));
    let verb = if given.name().is_empty() { "list" } else { "get" };
    if is_allowed(attempt, verb, known.needed(), given.namespace(), given.name()).await {
        return Ok(());
    }
    let user = shown(attempt.identity());
    let everywhere = format!(
        "to determine minimum required permissions and user {user} does not have \"{verb}\" permission for all groups, versions and \
         resources"
    );
    let kind = kind.map(|kind| format!("&{{{} {}}}", kind.api_version(), kind.kind())).unwrap_or_default();
    let why = match known {
        Known::Nothing if found.is_none() => format!("unable to get policy {policy} {everywhere}"),
        Known::Unparsed => format!("unable to parse paramKind {kind} {everywhere}"),
        Known::Unresolved { .. } => format!("unable to resolve paramKind {kind} {everywhere}"),
        Known::Nothing | Known::Resolved { .. } => {
            format!("user {user} does not have \"{verb}\" permission on the object referenced by paramRef")
        }
    };
    Err(refused(attempt, "spec.paramRef", why))
}

async fn is_allowed(attempt: &Attempt<'_>, verb: &str, of: [&str; 3], namespace: &str, name: &str) -> bool {
    let [group, version, resource] = of;
    let selectors = Selection::ALL;
    let target = Target::Resource { group, version, namespace, resource, subresource: "", name, selectors };
    attempt.authorizers().decide(&Attributes { user: attempt.identity(), verb, target }).await.is_allow()
}

/// A user as Go prints it.
fn shown(user: &Identity) -> String {
    let extra: Vec<String> = user.extra.iter().map(|(key, values)| format!("{key}:[{}]", values.join(" "))).collect();
    let (name, uid, groups) = (&user.name, &user.uid, user.groups.join(" "));
    format!("&{{{name} {uid} [{groups}] map[{}]}}", extra.join(" "))
}

fn refused(attempt: &Attempt<'_>, path: &'static str, why: String) -> Failure {
    let kind = attempt.served().resource.kind;
    Box::new(Status::invalid(GROUP, kind, attempt.name, &[FieldError::forbidden(path, why)]))
}
