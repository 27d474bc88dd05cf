//! ServiceAccount: every pod runs as an account of its namespace, with a token of its own where it wants one (A11, P7; upstream:
//! `plugin/pkg/admission/serviceaccount`).
//!
//! The token is not in the store: the kubelet asks for it when the pod starts, and again before it expires. Here the pod only gets the
//! volume in which the kubelet puts it, with the authority to trust and the namespace, unless the pod or else its account says no.

use std::collections::HashSet;

use portcullis_gate::RelatedKind;
use portcullis_kinds::views::core_v1::{
    self, Container, ContainerEdit, EnvFromSource, EnvVar, Pod, PodEdit, ProjectedVolumeSourceEdit,
};
use portcullis_kinds::views::{self, Edit, List, Place};
use portcullis_model::names;
use portcullis_model::status::Status;
use portcullis_model::tree::Tree;

use super::stored::{self, SERVICE_ACCOUNTS};
use super::{Attempt, Operation, Pass, Plugin, pods};
use crate::answer::Failure;
use crate::pod_references;
use crate::registry::Served;

/// The account of a pod that names none.
const DEFAULT_NAME: &str = "default";
/// What the volume's name begins with.
const VOLUME_PREFIX: &str = "kube-api-access-";
/// Where clients of the cluster look for their token.
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// An hour and a little: by these seconds the token request knows a token that was mounted for a client unasked.
const TOKEN_SECONDS: i64 = 3607;
/// `0644`.
const FILE_MODE: i64 = 0o644;
/// Every namespace has the authority's certificate in this config map.
const AUTHORITY: (&str, &str) = ("kube-root-ca.crt", "ca.crt");
/// Marks what a kubelet shows of a pod that it runs from its own files.
const MIRROR_POD: &str = "kubernetes.io/config.mirror";
/// Says on an account that its pods may name only the secrets that it names.
const ENFORCE_SECRETS: &str = "kubernetes.io/enforce-mountable-secrets";

/// The plugin.
pub struct ServiceAccount;

impl Plugin for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    fn handles(&self, served: &Served, operation: Operation) -> bool {
        pods::are_written(served, operation)
    }

    fn admit<'a>(&'a self, attempt: &'a mut Attempt<'_>) -> Pass<'a> {
        if attempt.operation != Operation::Create {
            return Pass::on();
        }
        Pass::Now(equip(attempt).and_then(|()| judge(attempt)))
    }

    fn validate<'a>(&'a self, attempt: &'a Attempt<'_>) -> Pass<'a> {
        Pass::Now(match (attempt.operation, attempt.subresource()) {
            (Operation::Create, _) => judge(attempt),
            (Operation::Update, "ephemeralcontainers") => judge_ephemeral(attempt),
            _ => Ok(()),
        })
    }
}

/// Gives a new pod its account, its token and the account's pull secrets. A mirror pod stays as its kubelet made it.
fn equip(attempt: &mut Attempt<'_>) -> Result<(), Failure> {
    let Some(pod) = pods::read(attempt).filter(|pod| !is_mirror(*pod)) else { return Ok(()) };
    let name = match account_name(pod) {
        "" => DEFAULT_NAME,
        name => name,
    };
    let is_named = name == pod.spec().service_account_name();
    let name = name.to_owned();
    let tree = find(attempt, &name)?;
    let account: core_v1::ServiceAccount<'_> = views::read(&tree);
    let spec = pod.spec();
    // A11: the pod's word wins.
    let mounts = spec.automount_service_account_token().or(account.automount_service_account_token()).unwrap_or(true);
    let volume = if mounts { Some(token_volume(attempt, pod)?) } else { None };
    let pulls = spec.image_pull_secrets().is_empty();
    let Some(mut pod) = pods::write(attempt) else { return Ok(()) };
    if !is_named {
        let mut spec = pod.spec_mut();
        spec.set_service_account_name(&name);
        spec.set_service_account(&name);
    }
    if let Some(volume) = volume {
        mount(&mut pod, &volume);
    }
    if pulls && !account.image_pull_secrets().is_empty() {
        let mut spec = pod.spec_mut();
        for secret in account.image_pull_secrets().iter() {
            spec.image_pull_secrets_mut().push().set_name(secret.name());
        }
    }
    Ok(())
}

fn is_mirror(pod: Pod<'_>) -> bool {
    pod.metadata().annotations().get(MIRROR_POD).is_some()
}

/// The pod's account, by the field's name or by its older one.
fn account_name<'t>(pod: Pod<'t>) -> &'t str {
    match pod.spec().service_account_name() {
        "" => pod.spec().service_account(),
        name => name,
    }
}

fn find(attempt: &Attempt<'_>, name: &str) -> Result<Tree, Failure> {
    let namespace = attempt.namespace();
    stored::load(attempt, SERVICE_ACCOUNTS, namespace, name)?.ok_or_else(|| {
        // Upstream names the kind here rather than the resource.
        let missing = Status::not_found("", "serviceaccount", name);
        attempt.forbidden(&format!("error looking up service account {namespace}/{name}: {}", missing.message))
    })
}

/// The volume with the token.
struct TokenVolume {
    name: String,
    /// The pod brings it: it was made of one that had passed here.
    is_there: bool,
}

fn token_volume(attempt: &Attempt<'_>, pod: Pod<'_>) -> Result<TokenVolume, Failure> {
    let mut volumes = pod.spec().volumes().iter().map(|volume| volume.name());
    if let Some(name) = volumes.find(|name| name.starts_with(VOLUME_PREFIX)) {
        return Ok(TokenVolume { name: name.to_owned(), is_there: true });
    }
    let mut random = [0u8; 8];
    let filled = attempt.server.env.fill_random(&mut random);
    filled.map_err(|error| Box::new(Status::internal_error(&error.to_string())))?;
    Ok(TokenVolume { name: names::generate_name(VOLUME_PREFIX, u64::from_le_bytes(random)), is_there: false })
}

/// Mounts the token into every container that has nothing of its own there.
fn mount(pod: &mut PodEdit<'_>, volume: &TokenVolume) {
    let mut is_mounted = false;
    let mut into = |place: Place<'_>| {
        let mut container = ContainerEdit::at(place);
        if has_own(container.view()) {
            return;
        }
        let mut mounts = container.volume_mounts_mut();
        let mut mount = mounts.push();
        mount.set_name(&volume.name);
        mount.set_read_only(true);
        mount.set_mount_path(MOUNT_PATH);
        is_mounted = true;
    };
    let mut spec = pod.spec_mut();
    if !spec.view().init_containers().is_empty() {
        spec.init_containers_mut().each(&mut into);
    }
    if !spec.view().containers().is_empty() {
        spec.containers_mut().each(&mut into);
    }
    if is_mounted && !volume.is_there {
        let mut volumes = spec.volumes_mut();
        let mut added = volumes.push();
        added.set_name(&volume.name);
        fill(&mut added.projected_mut());
    }
}

fn has_own(container: Container<'_>) -> bool {
    container.volume_mounts().iter().any(|mount| mount.mount_path() == MOUNT_PATH)
}

/// Token, authority and namespace, in one folder.
fn fill(volume: &mut ProjectedVolumeSourceEdit<'_>) {
    volume.set_default_mode(FILE_MODE);
    let mut sources = volume.sources_mut();
    let mut source = sources.push();
    let mut token = source.service_account_token_mut();
    token.set_expiration_seconds(TOKEN_SECONDS);
    token.set_path("token");
    let mut sources = volume.sources_mut();
    let mut source = sources.push();
    let mut authority = source.config_map_mut();
    authority.set_name(AUTHORITY.0);
    let mut items = authority.items_mut();
    let mut item = items.push();
    item.set_key(AUTHORITY.1);
    item.set_path(AUTHORITY.1);
    let mut sources = volume.sources_mut();
    let mut source = sources.push();
    let mut facts = source.downward_api_mut();
    let mut items = facts.items_mut();
    let mut item = items.push();
    item.set_path("namespace");
    let mut field = item.field_ref_mut();
    field.set_api_version("v1");
    field.set_field_path("metadata.namespace");
}

/// Whether a new pod may name what it names.
fn judge(attempt: &Attempt<'_>) -> Result<(), Failure> {
    let Some(pod) = pods::read(attempt) else { return Ok(()) };
    if is_mirror(pod) {
        return judge_mirror(attempt, pod);
    }
    let tree = account(attempt, pod)?;
    let account: core_v1::ServiceAccount<'_> = views::read(&tree);
    if !enforces(account) {
        return Ok(());
    }
    match strange_secret(pod, account) {
        Some(why) => Err(attempt.forbidden(&why)),
        None => Ok(()),
    }
}

/// The account of a pod, which must have one.
fn account(attempt: &Attempt<'_>, pod: Pod<'_>) -> Result<Tree, Failure> {
    let name = account_name(pod);
    if name.is_empty() {
        let (namespace, name) = (attempt.namespace(), pod.metadata().name());
        return Err(attempt.forbidden(&format!("no service account specified for pod {namespace}/{name}")));
    }
    find(attempt, name)
}

/// A kubelet may show what it runs; what it names in the cluster it would get for it, so it names nothing.
fn judge_mirror(attempt: &Attempt<'_>, pod: Pod<'_>) -> Result<(), Failure> {
    let names_secrets = || {
        let named = pod_references::secrets_and_config_maps(pod);
        named.iter().any(|(kind, _)| *kind == RelatedKind::Secret)
    };
    let mut volumes = pod.spec().volumes().iter();
    Err(attempt.forbidden(if !account_name(pod).is_empty() {
        "a mirror pod may not reference service accounts"
    } else if names_secrets() {
        "a mirror pod may not reference secrets"
    } else if volumes
        .any(|volume| pod_references::projections(volume).any(|from| from.service_account_token().is_some()))
    {
        "a mirror pod may not use ServiceAccountToken volume projections"
    } else {
        return Ok(());
    }))
}

/// Whether the account's pods may name only what it names. The words for yes are those that Go's `ParseBool` takes.
fn enforces(account: core_v1::ServiceAccount<'_>) -> bool {
    let value = account.metadata().annotations().get(ENFORCE_SECRETS);
    matches!(value, Some("1" | "t" | "T" | "true" | "TRUE" | "True"))
}

/// Why a pod of such an account is refused, if it is.
fn strange_secret(pod: Pod<'_>, account: core_v1::ServiceAccount<'_>) -> Option<String> {
    let (spec, of) = (pod.spec(), account.metadata().name());
    let known: HashSet<&str> = account.secrets().iter().map(|secret| secret.name()).collect();
    for secret in spec.volumes().iter().filter_map(|volume| volume.secret()) {
        let name = secret.secret_name();
        if !known.contains(name) {
            return Some(format!(
                "volume with secret.secretName=\"{name}\" is not allowed because service account {of} does not reference \
                 that secret"
            ));
        }
    }
    let init = spec.init_containers().iter().map(|container| ("init container", container));
    for (what, container) in init.chain(spec.containers().iter().map(|container| ("container", container))) {
        let found = strange_variable(container.env(), container.env_from(), &known);
        if let Some(found) = found {
            return Some(found.refusal(what, container.name(), of));
        }
    }
    let known: HashSet<&str> = account.image_pull_secrets().iter().map(|secret| secret.name()).collect();
    let mut pulls = spec.image_pull_secrets().iter().map(|secret| secret.name()).enumerate();
    let (at, name) = pulls.find(|(_, name)| !known.contains(name))?;
    Some(format!(
        "imagePullSecrets[{at}].name=\"{name}\" is not allowed because service account {of} does not reference that \
         imagePullSecret"
    ))
}

/// A secret that an environment names and the account does not.
struct Strange<'t> {
    secret: &'t str,
    /// The variable that is to have it; none where all of it is to be variables.
    variable: Option<&'t str>,
}

impl Strange<'_> {
    fn refusal(&self, what: &str, container: &str, account: &str) -> String {
        let by = match self.variable {
            Some(variable) => format!("envVar {variable}"),
            None => "envFrom".to_owned(),
        };
        let secret = self.secret;
        format!(
            "{what} {container} with {by} referencing secret.secretName=\"{secret}\" is not allowed because service account \
             {account} does not reference that secret"
        )
    }
}

fn strange_variable<'t>(
    variables: List<'t, EnvVar<'t>>,
    sources: List<'t, EnvFromSource<'t>>,
    known: &HashSet<&str>,
) -> Option<Strange<'t>> {
    let single = variables.iter().filter_map(|variable| {
        let secret = variable.value_from()?.secret_key_ref()?.name();
        Some(Strange { secret, variable: Some(variable.name()) })
    });
    let whole =
        sources.iter().filter_map(|source| Some(Strange { secret: source.secret_ref()?.name(), variable: None }));
    single.chain(whole).find(|named| !known.contains(named.secret))
}

/// Whether the ephemeral containers of a pod may name what they name.
fn judge_ephemeral(attempt: &Attempt<'_>) -> Result<(), Failure> {
    let Some(new) = attempt.new() else { return Ok(()) };
    let pod: Pod<'_> = views::read(new);
    let tree = account(attempt, pod)?;
    let account: core_v1::ServiceAccount<'_> = views::read(&tree);
    if !enforces(account) {
        return Ok(());
    }
    let known: HashSet<&str> = account.secrets().iter().map(|secret| secret.name()).collect();
    for container in pod.spec().ephemeral_containers().iter() {
        if let Some(found) = strange_variable(container.env(), container.env_from(), &known) {
            let of = account.metadata().name();
            return Err(attempt.forbidden(&found.refusal("ephemeral container", container.name(), of)));
        }
    }
    Ok(())
}
