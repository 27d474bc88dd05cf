//! What a claim for devices needs beside being right (upstream: `pkg/registry/resource/utils.go`): a namespace that may have an
//! administrator's access to devices in use (KEP-5018), and a writer of its status that may write just this part of it (KEP-4817, the
//! gate `DRAResourceClaimGranularStatusAuthorization`): who binds claims to devices is not who tells how a device does, and a driver
//! tells of its own devices only, one that runs on a node only of those there.
//!
//! Upstream asks where it validates, so the answers are those of a validation: 422.

use std::collections::{BTreeSet, HashMap};

use portcullis_gate::{Attributes, EXTRA_NODE_NAME, SERVICE_ACCOUNT_PREFIX, Selection, Target, Verdict};
use portcullis_kinds::views::resource_v1::{
    AllocatedDeviceStatus, AllocationResult, DeviceClaim, ResourceClaim, ResourceClaimStatus, ResourceClaimTemplate,
};
use portcullis_kinds::views::{self, core_v1::Namespace};
use portcullis_kinds::vocabulary::frozen::is_same;
use portcullis_model::names;
use portcullis_model::status::{FieldError, Refused, Status, refusal};
use portcullis_model::tree::Tree;

use super::{Attempt, Operation, Pass, Plugin, stored};
use crate::answer::Failure;
use crate::registry::Served;

const GROUP: &str = "resource.k8s.io";
const CLAIMS: &str = "resourceclaims";
const TEMPLATES: &str = "resourceclaimtemplates";
/// What a namespace is labelled with whose claims may have an administrator's access to devices.
const ADMIN_LABEL: &str = "resource.kubernetes.io/admin-access";
/// What stands before the verb of who writes about devices of the node it runs on.
const ASSOCIATED_NODE: &str = "associated-node:";
/// What stands before the verb of who writes about devices of any node.
const ARBITRARY_NODE: &str = "arbitrary-node:";

/// The rule.
pub struct DeviceClaims;

impl Plugin for DeviceClaims {
    fn name(&self) -> &'static str {
        "DeviceClaims"
    }

    fn handles(&self, served: &Served, operation: Operation) -> bool {
        match operation {
            Operation::Create => served.is(GROUP, CLAIMS) || served.is(GROUP, TEMPLATES),
            Operation::Update => served.is(GROUP, CLAIMS),
            Operation::Delete | Operation::Connect => false,
        }
    }

    fn validate<'a>(&'a self, attempt: &'a Attempt<'_>) -> Pass<'a> {
        let Some(new) = attempt.new() else { return Pass::on() };
        match (attempt.operation, attempt.subresource(), attempt.old) {
            (Operation::Create, "", _) if attempt.is_of(GROUP, TEMPLATES) => {
                let template: ResourceClaimTemplate<'_> = views::read(new);
                Pass::Now(admin_requested(attempt, template.spec().spec().devices()))
            }
            (Operation::Create, "", _) => {
                Pass::Now(admin_requested(attempt, views::read::<ResourceClaim<'_>>(new).spec().devices()))
            }
            (Operation::Update, "status", Some(old)) => Pass::Later(Box::pin(status(attempt, new, old))),
            // What is claimed does not change.
            _ => Pass::on(),
        }
    }
}

/// What is claimed with an administrator's access is claimed where that is allowed. The path is upstream's, of templates too.
fn admin_requested(attempt: &Attempt<'_>, claim: DeviceClaim<'_>) -> Result<(), Failure> {
    let is_admin = |one: views::resource_v1::DeviceRequest<'_>| {
        one.exactly().is_some_and(|exactly| exactly.admin_access() == Some(true))
    };
    let Some(index) = claim.requests().iter().position(is_admin) else { return Ok(()) };
    let error = admin_refusal(attempt, format!("spec.devices.requests[{index}].adminAccess"))?;
    refuse_if_any(attempt, error.into_iter().collect())
}

/// Where the first device stands that a claim has with an administrator's access.
fn admin_granted(status: ResourceClaimStatus<'_>) -> Option<usize> {
    let results = status.allocation()?.devices().results();
    results.iter().position(|one| one.admin_access() == Some(true))
}

fn admin_refusal(attempt: &Attempt<'_>, path: String) -> Result<Option<FieldError>, Failure> {
    let Some(namespace) = stored::load(attempt, stored::NAMESPACES, "", attempt.namespace())? else {
        return stored::namespace(attempt, attempt.snapshot).map(|_| None);
    };
    let labels = views::read::<Namespace<'_>>(&namespace).metadata().labels();
    if labels.get(ADMIN_LABEL) == Some("true") {
        return Ok(None);
    }
    let why = format!("admin access to devices requires the `{ADMIN_LABEL}: true` label on the containing namespace");
    Ok(Some(FieldError::forbidden(path, why)))
}

async fn status(attempt: &Attempt<'_>, new: &Tree, old: &Tree) -> Result<(), Failure> {
    let (new, old) = (views::read::<ResourceClaim<'_>>(new).status(), views::read::<ResourceClaim<'_>>(old).status());
    let mut errors = Vec::new();
    if admin_granted(old).is_none()
        && let Some(index) = admin_granted(new)
    {
        let path = format!("status.allocation.devices.results[{index}].adminAccess");
        errors.extend(admin_refusal(attempt, path)?);
    }
    errors.extend(may_bind(attempt, new, old).await);
    may_tell(attempt, new, old, &mut errors).await;
    refuse_if_any(attempt, errors)
}

/// Who says what a claim gets and who uses it binds claims.
async fn may_bind(
    attempt: &Attempt<'_>,
    new: ResourceClaimStatus<'_>,
    old: ResourceClaimStatus<'_>,
) -> Option<FieldError> {
    let fields = [ResourceClaimStatus::ALLOCATION, ResourceClaimStatus::RESERVED_FOR];
    if fields.into_iter().all(|field| is_same(new.place().get(field), old.place().get(field))) {
        return None;
    }
    let verb = attempt.request.permitted.attributes().verb;
    let refused = ask(attempt, verb, "binding", "", "").await.err()?;
    let what = "changing status.allocation or status.reservedFor requires resource=\"resourceclaims/binding\"";
    Some(FieldError::forbidden("status", format!("{what}, verb=\"{verb}\" permission: {refused}")))
}

/// Who says how devices do speaks for their drivers.
async fn may_tell(
    attempt: &Attempt<'_>,
    new: ResourceClaimStatus<'_>,
    old: ResourceClaimStatus<'_>,
    errors: &mut Vec<FieldError>,
) {
    let drivers = drivers_changed(new, old);
    if drivers.is_empty() {
        return;
    }
    let verb = attempt.request.permitted.attributes().verb;
    let is_local = new.allocation().and_then(only_node).is_some_and(|node| runs_on(attempt, node));
    let mut verbs = vec![format!("{ARBITRARY_NODE}{verb}")];
    if is_local {
        verbs.insert(0, format!("{ASSOCIATED_NODE}{verb}"));
    }
    for driver in drivers {
        let mut refused = None;
        for verb in &verbs {
            match ask(attempt, verb, "driver", attempt.namespace(), driver).await {
                Ok(()) => {
                    refused = None;
                    break;
                }
                Err(why) => refused = refused.or(Some(why)),
            }
        }
        if let Some(refused) = refused {
            let verbs = verbs.join(" ");
            let what = "changing status.devices requires resource=\"resourceclaims/driver\"";
            let why = format!("{what}, verb=\"[{verbs}]\" permission: {refused}");
            errors.push(FieldError::forbidden("status.devices", why));
        }
    }
}

/// The drivers of which something new is told, or no longer told, by name.
fn drivers_changed<'t>(new: ResourceClaimStatus<'t>, old: ResourceClaimStatus<'t>) -> BTreeSet<&'t str> {
    let key =
        |one: AllocatedDeviceStatus<'t>| [one.driver(), one.pool(), one.device(), one.share_id().unwrap_or_default()];
    let mut held: HashMap<[&str; 4], AllocatedDeviceStatus<'_>> =
        old.devices().iter().map(|one| (key(one), one)).collect();
    let mut changed = BTreeSet::new();
    for one in new.devices().iter() {
        if held.remove(&key(one)).is_none_or(|held| !is_same(one.place(), held.place())) {
            changed.insert(one.driver());
        }
    }
    changed.extend(held.into_values().map(AllocatedDeviceStatus::driver));
    changed
}

/// The node to which an allocation is bound, if it is a single one.
fn only_node(allocation: AllocationResult<'_>) -> Option<&str> {
    let terms = allocation.node_selector()?.node_selector_terms();
    let term = terms.iter().next().filter(|_| terms.len() == 1)?;
    let fields = term.match_fields();
    let field = fields.iter().next().filter(|_| fields.len() == 1 && term.match_expressions().is_empty())?;
    let values = field.values();
    let is_name = field.key() == "metadata.name" && field.operator() == "In" && values.len() == 1;
    values.iter().next().filter(|_| is_name)
}

/// Whether the writer is a service account whose pod runs on the node.
fn runs_on(attempt: &Attempt<'_>, node: &str) -> bool {
    let user = attempt.identity();
    let is_account = user.name.strip_prefix(SERVICE_ACCOUNT_PREFIX).is_some_and(|rest| {
        rest.split_once(':').is_some_and(|(namespace, name)| {
            names::dns1123_label(namespace).is_empty() && names::dns1123_subdomain(name).is_empty()
        })
    });
    let own = user.extra.get(EXTRA_NODE_NAME).map_or(&[] as &[String], Vec::as_slice);
    is_account && matches!(own, [own] if own == node) && names::dns1123_subdomain(node).is_empty()
}

/// Asks for a permission on a subresource that is there to be authorised only.
async fn ask(attempt: &Attempt<'_>, verb: &str, subresource: &str, namespace: &str, name: &str) -> Result<(), String> {
    let target = Target::Resource {
        group: GROUP,
        version: attempt.served().resource.version,
        namespace,
        resource: CLAIMS,
        subresource,
        name,
        selectors: Selection::ALL,
    };
    let user = attempt.identity();
    let reason = match attempt.authorizers().decide(&Attributes { user, verb, target }).await {
        Verdict::Allow { .. } => return Ok(()),
        Verdict::Deny { reason } | Verdict::NoOpinion { reason } => reason,
    };
    let resource = format!("{CLAIMS}/{subresource}");
    let namespace = Some(namespace).filter(|namespace| !namespace.is_empty());
    let what = Refused::Resource { resource: &resource, group: GROUP, namespace };
    Err(Status::forbidden(GROUP, CLAIMS, name, &refusal(&user.name, verb, what, &reason)).message.into())
}

fn refuse_if_any(attempt: &Attempt<'_>, errors: Vec<FieldError>) -> Result<(), Failure> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(Box::new(Status::invalid(GROUP, attempt.served().resource.kind, attempt.name, &errors)))
}
