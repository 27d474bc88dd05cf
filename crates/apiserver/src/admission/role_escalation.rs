//! Nobody gives away rights that they do not have (upstream: the policy-based storage of the four RBAC resources, and the verbs
//! `escalate` and `bind`; security review: RBAC escalation).
//!
//! A role needs all that it allows, or `escalate` on it. One that gathers others needs everything, because what it will gather is not known
//! yet. A binding needs all that its role allows, or `bind` on the role. system:masters need nothing. Runs last in the first pass: what is
//! checked is what will be validated and stored.

use std::sync::Arc;

use portcullis_gate::rbac::policy::absent;
use portcullis_gate::rbac::{Binding, GROUP, PolicySource as _, Role, RoleKind, Rule, StoredRole, Wording, cover};
use portcullis_gate::{Attributes, GROUP_MASTERS, Selection, Target};
use portcullis_model::status::Status;
use portcullis_model::tree::Tree;
use serde_json::Value;

use super::{Attempt, Operation, Pass, Plugin};
use crate::answer::{Failure, unreadable};
use crate::rbac;
use crate::registry::Served;

/// What may change of a role or binding without being a grant: the garbage collector must be able to let it go.
const COLLECTORS_FIELDS: [&str; 3] = ["finalizers", "managedFields", "ownerReferences"];

/// The rule.
pub struct RoleEscalation;

impl Plugin for RoleEscalation {
    fn name(&self) -> &'static str {
        "RoleEscalation"
    }

    fn handles(&self, served: &Served, operation: Operation) -> bool {
        let writes = matches!(operation, Operation::Create | Operation::Update);
        writes && served.resource.group == GROUP && rbac::SORTS.iter().any(|(name, _)| *name == served.resource.name)
    }

    fn admit<'a>(&'a self, attempt: &'a mut Attempt<'_>) -> Pass<'a> {
        if attempt.identity().is_in(GROUP_MASTERS) {
            return Pass::on();
        }
        let attempt: &'a Attempt<'_> = attempt;
        Pass::Later(Box::pin(check(attempt)))
    }
}

async fn check(attempt: &Attempt<'_>) -> Result<(), Failure> {
    let Some(new) = attempt.new() else { return Ok(()) };
    let served = attempt.served();
    let object = value(served, new)?;
    let old = attempt.old.map(|old| value(served, old)).transpose()?;
    if old.as_ref().is_some_and(|old| without_collectors_fields(old) == without_collectors_fields(&object)) {
        return Ok(());
    }
    // What cannot be read here cannot be valid either, but nothing passes unchecked.
    let malformed = |error: rbac::UnreadableError| -> Failure { Box::new(Status::bad_request(error.to_string())) };
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if served.resource.name.ends_with("bindings") {
        return binding(attempt, name, &rbac::binding(&object).map_err(malformed)?).await;
    }
    let gathered = old.as_ref().is_some_and(|old| !old["aggregationRule"].is_null());
    role(attempt, name, &rbac::role(&object).map_err(malformed)?, gathered).await
}

/// The object as JSON, in the form in which it would be stored.
fn value(served: &Served, tree: &Tree) -> Result<Value, Failure> {
    let text = served.store(&mut tree.clone()).map_err(unreadable)?;
    serde_json::from_slice(&text).map_err(|error| Box::new(Status::internal_error(&error.to_string())))
}

fn without_collectors_fields(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        COLLECTORS_FIELDS.iter().for_each(|field| drop(metadata.remove(*field)));
    }
    object
}

async fn role(attempt: &Attempt<'_>, name: &str, role: &StoredRole, gathered: bool) -> Result<(), Failure> {
    if allows(attempt, Attributes { verb: "escalate", ..attempt.request.permitted.attributes() }).await {
        return Ok(());
    }
    refuse_unless_held(attempt, name, &role.rules)?;
    if (gathered || role.gathers.is_some()) && not_held(attempt, &cover::full_authority()).is_some() {
        return Err(forbidden(attempt, name, "must have cluster-admin privileges to use the aggregationRule"));
    }
    Ok(())
}

async fn binding(attempt: &Attempt<'_>, name: &str, binding: &Binding) -> Result<(), Failure> {
    let (role, namespace) = (&binding.role, attempt.namespace());
    let resource = match &role.kind {
        RoleKind::ClusterRole => "clusterroles",
        RoleKind::Role => "roles",
        RoleKind::Unknown(_) => return Err(Box::new(Status::unexpected(role.absent(Wording::Storage)))),
    };
    let target = Target::Resource {
        group: GROUP,
        version: "*",
        namespace,
        resource,
        subresource: "",
        name: &role.name,
        selectors: Selection::ALL,
    };
    if allows(attempt, Attributes { user: attempt.identity(), verb: "bind", target }).await {
        return Ok(());
    }
    let mut found = None;
    attempt.server.policy.read(&mut |policy| found = policy.role(role, namespace).map(Arc::clone));
    let Some(found) = found else { return Err(Box::new(Status::not_found(GROUP, resource, &role.name))) };
    refuse_unless_held(attempt, name, found.rules())
}

async fn allows(attempt: &Attempt<'_>, attributes: Attributes<'_>) -> bool {
    attempt.authorizers().decide(&attributes).await.is_allow()
}

fn refuse_unless_held(attempt: &Attempt<'_>, name: &str, given: &[Rule]) -> Result<(), Failure> {
    not_held(attempt, given).map_or(Ok(()), |why| Err(forbidden(attempt, name, &why)))
}

fn not_held(attempt: &Attempt<'_>, given: &[Rule]) -> Option<String> {
    let (user, mut held) = (attempt.identity(), (Vec::new(), String::new()));
    // Comparing may take a while, and the policy cannot change while it is looked at.
    attempt.server.policy.read(&mut |policy| {
        let (roles, missing) = policy.roles_of(user, attempt.namespace());
        held = (roles.into_iter().map(Arc::clone).collect(), absent(missing, Wording::Storage));
    });
    let (roles, missing) = held;
    cover::not_held(user, roles.iter().flat_map(|role: &Arc<Role>| role.rules()), &missing, given)
}

/// Names the object by its name only: one that will be given its name has none yet.
fn forbidden(attempt: &Attempt<'_>, name: &str, why: &str) -> Failure {
    Box::new(Status::forbidden(GROUP, attempt.served().resource.name, name, why))
}
