//! Eviction: a pod is deleted if the budgets that cover it allow one more to be missing (upstream: `EvictionREST` of the pod storage;
//! KEP-85, KEP-3017).
//!
//! The budget is charged in the same commit that marks the pod, so that no eviction is counted that did not happen, and none happens
//! uncounted, however many drain the cluster at once.

use http::StatusCode;
use portcullis_kinds::views::core_v1::{Pod, PodConditionEdit, PodEdit};
use portcullis_kinds::views::meta_v1::{Condition, ConditionEdit};
use portcullis_kinds::views::policy_v1::{
    Eviction, PodDisruptionBudget, PodDisruptionBudgetEdit, PodDisruptionBudgetStatus,
};
use portcullis_kinds::views::{self, Edit, Map};
use portcullis_kinds::vocabulary::selectors;
use portcullis_model::status::{Status, StatusCause};
use portcullis_model::time::time_text;
use portcullis_model::tree::Tree;
use portcullis_store::{CommitError, Operation, Snapshot};

use super::delete::{self, Plan};
use super::input::{self, Expected};
use super::options::{self, DeleteFields, DeleteOptions, WriteOptions};
use super::turns;
use crate::admission::{Attempt, Operation as Admitted};
use crate::answer::{Answer, Failure, unreadable};
use crate::negotiate;
use crate::registry::Served;
use crate::request::Request;
use crate::server::{ApiServer, commit_failure};

/// How often an eviction is tried again when another write of the pod or of its budget came first.
const ATTEMPTS_MAX: usize = 20;
/// Pods that a budget counts as gone before they are (upstream: `MaxDisruptedPodSize`).
const DISRUPTED_PODS_MAX: usize = 2_000;
/// Seconds after which it may make sense to ask again, when it is known that a controller has yet to look.
const RETRY_SECONDS: i32 = 10;

const BUDGETS: (&str, &str, &str) = ("policy", "v1", "poddisruptionbudgets");
/// What a refusal calls the resource.
const BUDGET: &str = "poddisruptionbudget";
const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";
const SEVERAL: &str =
    "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";

/// Answers a POST to `pods/NAME/eviction`.
pub async fn create(server: &ApiServer, request: &mut Request<'_>) -> Result<Answer, Failure> {
    let (mut eviction, options) = received(request)?;
    let request: &Request<'_> = request;
    let name = request.path_name();
    let concerns = server.admission.concerns(request.served, Admitted::Create, request.permitted.identity());
    let snapshot = if concerns { Some(server.newest().await?) } else { None };
    if let Some(snapshot) = &snapshot {
        server.admission.admit(&mut attempt(server, request, &mut eviction, &options, snapshot)).await?;
    }
    if views::read::<Eviction<'_>>(&eviction).metadata().name() != name {
        return Err(Box::new(Status::bad_request("name in URL does not match name in Eviction object")));
    }
    let deletion = deletion_of(request.served, &eviction, &options)?;
    if let Some(snapshot) = &snapshot {
        server.admission.validate(&attempt(server, request, &mut eviction, &options, snapshot)).await?;
    }
    evict(server, request, &deletion).await?;
    Ok(Answer::Status(Status::success(StatusCode::CREATED.as_u16())))
}

fn received(request: &mut Request<'_>) -> Result<(Tree, WriteOptions), Failure> {
    let format = negotiate::body_format(request.permitted.headers())?;
    let options = options::write("CreateOptions", request.query)?;
    let schema = request.served.schema;
    let expected = Expected { schema, ty: Eviction::TYPE, api_version: "policy/v1", kind: "Eviction" };
    let tree = input::receive(request, expected, format, options.field_validation)?;
    let given = views::read::<Eviction<'_>>(&tree).metadata().namespace();
    if !given.is_empty() && given != request.namespace() {
        let why = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Box::new(Status::bad_request(why)));
    }
    Ok((tree, options))
}

fn attempt<'a>(
    server: &'a ApiServer,
    request: &'a Request<'a>,
    eviction: &'a mut Tree,
    options: &WriteOptions,
    snapshot: &'a Snapshot,
) -> Attempt<'a> {
    Attempt {
        server,
        request,
        operation: Admitted::Create,
        name: request.path_name(),
        object: Some(eviction),
        old: None,
        snapshot,
        dry_run: options.dry_run,
        alongside: None,
    }
}

/// How the pod is to be deleted: as the body says, for show if the body or the query says so.
fn deletion_of(served: &Served, eviction: &Tree, options: &WriteOptions) -> Result<DeleteOptions, Failure> {
    let given = views::read::<Eviction<'_>>(eviction).delete_options().and_then(|given| given.place().id());
    let fields = given.map_or_else(DeleteFields::default, |node| delete::fields_at(served, eviction, node));
    let deletion = fields.checked()?;
    Ok(DeleteOptions { dry_run: deletion.dry_run || options.dry_run, ..deletion })
}

/// Deletes the pod, and charges its budget.
async fn evict(server: &ApiServer, request: &Request<'_>, options: &DeleteOptions) -> Result<(), Failure> {
    let pods = request.served;
    let name = request.path_name();
    let missing = || Box::new(Status::not_found("", "pods", name));
    let key = pods.key(request.namespace(), name).ok_or_else(missing)?;
    let mut turn = None;
    for _ in 0..ATTEMPTS_MAX {
        let snapshot = server.newest().await?;
        let entry = snapshot.get(&key).ok_or_else(missing)?;
        let mut tree = pods.load(&entry.value).map_err(unreadable)?;
        let charge = if needs_no_budget(views::read(&tree)) {
            delete::check_preconditions(pods, &tree, entry.version, options)?;
            None
        } else {
            let charge = charge(server, request, &snapshot, views::read(&tree))?;
            delete::check_preconditions(pods, &tree, entry.version, options)?;
            add_condition(&mut tree, server.now_seconds());
            charge
        };
        let (plan, uid) = delete::plan(server, pods, entry, tree, options)?;
        if matches!(plan, Plan::Wait) {
            return Ok(());
        }
        match delete::carry_out(server, &key, entry, plan, uid, options.dry_run, charge, None).await? {
            Ok(_) => return Ok(()),
            // Of many that drain at once, most meet at the budget rather than at the pod. Nobody waits for a turn with one in hand.
            Err(CommitError::Conflict { key: lost, .. }) => {
                drop(turn.take());
                turn = turns::take(&lost).await;
            }
            Err(error) => return Err(commit_failure(error)),
        }
    }
    Err(Box::new(Status::modified("", "pods", name)))
}

/// A pod that has ended, that never ran or that is going anyway is missed by nobody.
fn needs_no_budget(pod: Pod<'_>) -> bool {
    matches!(pod.status().phase(), "Failed" | "Pending" | "Succeeded") || pod.metadata().deletion_timestamp().is_some()
}

/// What the eviction costs: nothing, or one of the disruptions that the pod's budget allows.
fn charge(
    server: &ApiServer,
    request: &Request<'_>,
    snapshot: &Snapshot,
    pod: Pod<'_>,
) -> Result<Option<Operation>, Failure> {
    let (group, version, resource) = BUDGETS;
    let Some(budgets) = server.registry.find(group, version, resource) else { return Ok(None) };
    let Some(prefix) = budgets.key_prefix(request.namespace()) else { return Ok(None) };
    let mut covering = None;
    for (key, entry) in snapshot.range(&prefix, None) {
        let tree = budgets.load(&entry.value).map_err(unreadable)?;
        if !covers(views::read(&tree), pod.metadata().labels()) {
            continue;
        }
        if covering.replace((key, entry, tree)).is_some() {
            return Err(Box::new(Status::unexpected(SEVERAL)));
        }
    }
    let Some((key, entry, mut tree)) = covering else { return Ok(None) };
    if is_free(views::read(&tree), pod) {
        return Ok(None);
    }
    check(views::read(&tree))?;
    count(&mut tree, pod.metadata().name(), server.now_seconds());
    let value = budgets.store(&mut tree).map_err(unreadable)?;
    Ok(Some(Operation::update(&**key, entry.version, value)))
}

fn covers(budget: PodDisruptionBudget<'_>, labels: Map<'_, &str>) -> bool {
    budget.spec().selector().is_some_and(|selector| selectors::selects(selector, labels))
}

/// A pod that is not ready does not count: it may go when the budget's owner says so, or when enough others are ready.
fn is_free(budget: PodDisruptionBudget<'_>, pod: Pod<'_>) -> bool {
    let mut conditions = pod.status().conditions().iter();
    if conditions.any(|condition| condition.type_() == "Ready" && condition.status() == "True") {
        return false;
    }
    let status = budget.status();
    budget.spec().unhealthy_pod_eviction_policy() == Some("AlwaysAllow")
        || status.desired_healthy() > 0 && status.current_healthy() >= status.desired_healthy()
}

/// Whether the budget allows one more pod to be missing.
fn check(budget: PodDisruptionBudget<'_>) -> Result<(), Failure> {
    let (name, status) = (budget.metadata().name(), budget.status());
    let forbidden = |why: &str| Err(Box::new(Status::forbidden("policy", BUDGET, name, why)));
    if status.observed_generation() < budget.metadata().generation() {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(refused(why, RETRY_SECONDS));
    }
    if status.disruptions_allowed() < 0 {
        return forbidden("pdb disruptions allowed is negative");
    }
    if status.disrupted_pods().len() > DISRUPTED_PODS_MAX {
        return forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller");
    }
    if status.disruptions_allowed() > 0 {
        return Ok(());
    }
    let has_failed = |condition: &Condition<'_>| {
        condition.type_() == "DisruptionAllowed" && condition.status() == "False" && condition.reason() == "SyncFailed"
    };
    let why = match status.conditions().iter().find(has_failed) {
        Some(condition) => {
            let why = condition.message();
            format!("The disruption budget {name} does not allow evicting pods currently because it failed sync: {why}")
        }
        None => {
            let (needs, has) = (status.desired_healthy(), status.current_healthy());
            format!("The disruption budget {name} needs {needs} healthy pods and has {has} currently")
        }
    };
    Err(refused(why, 0))
}

fn refused(message: String, retry_after_seconds: i32) -> Failure {
    let cause = StatusCause { reason: "DisruptionBudget".into(), message, field: String::new() };
    Box::new(Status::too_many_requests(REFUSED, retry_after_seconds).with_cause(cause))
}

/// One pod less may be missing; the budget's controller counts this one as gone already.
fn count(budget: &mut Tree, pod: &str, now: i64) {
    let status = views::write::<PodDisruptionBudgetEdit<'_>>(budget).status_mut().view().place().id();
    if let Some(status) = status {
        let gone = budget.map_at(status, PodDisruptionBudgetStatus::DISRUPTED_PODS.number());
        budget.insert(gone, pod, &time_text(now));
    }
    let mut budget: PodDisruptionBudgetEdit<'_> = views::write(budget);
    let mut status = budget.status_mut();
    let left = status.view().disruptions_allowed().saturating_sub(1);
    status.set_disruptions_allowed(left.into());
    if left > 0 {
        return;
    }
    let observed = status.view().observed_generation();
    let set = |mut condition: ConditionEdit<'_>| {
        if condition.view().status() != "False" {
            condition.set_status("False");
            condition.set_last_transition_time(now);
        }
        condition.set_type("DisruptionAllowed");
        condition.set_reason("InsufficientPods");
        condition.set_message("");
        condition.set_observed_generation(observed);
    };
    if status.view().conditions().iter().all(|condition| condition.type_() != "DisruptionAllowed") {
        return set(status.conditions_mut().push());
    }
    status.conditions_mut().each(|place| {
        let condition = ConditionEdit::at(place);
        if condition.view().type_() == "DisruptionAllowed" {
            set(condition);
        }
    });
}

/// The pod says why it goes (KEP-3329).
fn add_condition(pod: &mut Tree, now: i64) {
    const TYPE: &str = "DisruptionTarget";
    let mut pod: PodEdit<'_> = views::write(pod);
    let generation = pod.view().metadata().generation();
    let mut status = pod.status_mut();
    let set = |mut condition: PodConditionEdit<'_>| {
        if condition.view().status() != "True" {
            condition.set_last_transition_time(now);
        }
        condition.clear_last_probe_time();
        condition.set_type(TYPE);
        condition.set_status("True");
        condition.set_reason("EvictionByEvictionAPI");
        condition.set_message("Eviction API: evicting");
        if generation != 0 {
            condition.set_observed_generation(generation);
        }
    };
    if status.view().conditions().iter().all(|condition| condition.type_() != TYPE) {
        return set(status.conditions_mut().push());
    }
    status.conditions_mut().each(|place| {
        let condition = PodConditionEdit::at(place);
        if condition.view().type_() == TYPE {
            set(condition);
        }
    });
}
