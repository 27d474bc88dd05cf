//! Tokens that a node asks for: for a pod that it runs, and for an audience that the pod uses (upstream feature
//! ServiceAccountNodeAudienceRestriction, KEP-4935).

use portcullis_gate::{Attributes, Selection, Target};
use portcullis_kinds::views;
use portcullis_kinds::views::authentication_v1::TokenRequest;
use portcullis_kinds::views::core_v1::{PersistentVolume, PersistentVolumeClaim, Pod, Volume};
use portcullis_kinds::views::storage_v1::CSIDriver;
use portcullis_model::go_text::quoted;
use portcullis_model::status::Status;
use portcullis_model::tree::Tree;

use super::super::{Attempt, Operation, Pass};
use super::{stored, typed};
use crate::answer::Failure;
use crate::pod_references;

/// The verb on a virtual resource, named as the audience, that lets a node have tokens for it.
const VERB_AUDIENCE: &str = "request-serviceaccounts-token-audience";

/// Judges a write of a service account: only its tokens are a node's business.
pub(super) fn admit<'a>(attempt: &'a Attempt<'_>, node: &str) -> Pass<'a> {
    if attempt.operation != Operation::Create || attempt.subresource() != "token" {
        return Pass::on();
    }
    match check(attempt, node) {
        Err(failure) => Pass::Now(Err(failure)),
        Ok(None) => Pass::on(),
        Ok(Some(audience)) => Pass::Later(Box::pin(check_permission(attempt, audience))),
    }
}

/// Gives the audience that the pod does not use, which a role must allow then.
fn check(attempt: &Attempt<'_>, node: &str) -> Result<Option<String>, Failure> {
    let refuse = |why: &str| Err(attempt.forbidden(why));
    let request = views::read::<TokenRequest<'_>>(typed(attempt, attempt.new(), TokenRequest::TYPE)?).spec();
    let bound = request.bound_object_ref();
    let bound = bound.filter(|bound| (bound.api_version(), bound.kind()) == ("v1", "Pod") && !bound.name().is_empty());
    let Some(bound) = bound else { return refuse("node requested token not bound to a pod") };
    if bound.uid().is_empty() {
        return refuse("node requested token with a pod binding without a uid");
    }
    let Some(pod) = stored(attempt, ("", "pods"), attempt.namespace(), bound.name()) else {
        return Err(Box::new(Status::not_found("", "pods", bound.name())));
    };
    let pod = views::read::<Pod<'_>>(&pod);
    if bound.uid() != pod.metadata().uid() {
        return refuse(&format!(
            "the UID in the bound object reference ({}) does not match the UID in record. The object might have been \
             deleted and then recreated",
            bound.uid()
        ));
    }
    if pod.spec().node_name() != node {
        return refuse("node requested token bound to a pod scheduled on a different node");
    }
    let mut audiences = request.audiences().iter();
    let (audience, second) = (audiences.next().unwrap_or_default(), audiences.next());
    if second.is_some() {
        return refuse("node may only request 0 or 1 audiences");
    }
    let name = bound.name();
    let is_used = pod.spec().volumes().iter().any(|volume| uses_audience(attempt, name, volume, audience));
    Ok((!is_used).then(|| audience.to_owned()))
}

/// Says whether a volume of a pod brings tokens for the audience: itself, or by its driver.
fn uses_audience(attempt: &Attempt<'_>, pod: &str, volume: Volume<'_>, audience: &str) -> bool {
    let mut tokens = pod_references::projections(volume).filter_map(|source| source.service_account_token());
    if tokens.any(|token| token.audience() == audience) {
        return true;
    }
    let Some(driver) = driver(attempt, pod, volume) else { return false };
    let Some(driver) = stored(attempt, ("storage.k8s.io", "csidrivers"), "", &driver) else { return false };
    let mut requests = views::read::<CSIDriver<'_>>(&driver).spec().token_requests().iter();
    requests.any(|request| request.audience() == audience)
}

/// The driver that took over from a volume type of the system's own (upstream: `csi-translation-lib`): of a pod's volume or of a
/// persistent one, which have the same fields for it.
macro_rules! migrated {
    ($volume:expr) => {
        [
            ($volume.gce_persistent_disk().is_some(), "pd.csi.storage.gke.io"),
            ($volume.aws_elastic_block_store().is_some(), "ebs.csi.aws.com"),
            ($volume.cinder().is_some(), "cinder.csi.openstack.org"),
            ($volume.azure_disk().is_some(), "disk.csi.azure.com"),
            ($volume.azure_file().is_some(), "file.csi.azure.com"),
            ($volume.vsphere_volume().is_some(), "csi.vsphere.vmware.com"),
            ($volume.portworx_volume().is_some(), "pxd.portworx.com"),
        ]
        .into_iter()
        .find_map(|(is_there, driver)| is_there.then_some(driver))
    };
}

/// The CSI driver that mounts the volume: of the pod, or of the volume that its claim is bound to.
fn driver(attempt: &Attempt<'_>, pod: &str, volume: Volume<'_>) -> Option<String> {
    let claim = if volume.ephemeral().is_some() {
        Some(format!("{pod}-{}", volume.name()))
    } else {
        volume.persistent_volume_claim().map(|claim| claim.claim_name().to_owned())
    };
    let Some(claim) = claim else {
        return volume.csi().map(|volume| volume.driver()).or_else(|| migrated!(volume)).map(str::to_owned);
    };
    let claim = stored(attempt, ("", "persistentvolumeclaims"), attempt.namespace(), &claim)?;
    let bound: Tree = stored(
        attempt,
        ("", "persistentvolumes"),
        "",
        views::read::<PersistentVolumeClaim<'_>>(&claim).spec().volume_name(),
    )?;
    let bound = views::read::<PersistentVolume<'_>>(&bound).spec();
    bound.csi().map(|volume| volume.driver()).or_else(|| migrated!(bound)).map(str::to_owned)
}

/// Whether a role lets the node have tokens of this account for an audience that none of its pods shows.
async fn check_permission(attempt: &Attempt<'_>, audience: String) -> Result<(), Failure> {
    let target = Target::Resource {
        group: "",
        version: "v1",
        namespace: attempt.namespace(),
        resource: &audience,
        subresource: "",
        name: attempt.name,
        selectors: Selection::ALL,
    };
    let question = Attributes { user: attempt.identity(), verb: VERB_AUDIENCE, target };
    if attempt.authorizers().decide(&question).await.is_allow() {
        return Ok(());
    }
    Err(attempt.forbidden(&format!(
        "audience {} not found in pod spec volume, {} is not authorized to request tokens for this audience",
        quoted(&audience),
        attempt.identity().name
    )))
}
