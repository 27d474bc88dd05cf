//! Admission: what is said about a write between authorisation and the store (upstream: `apiserver/pkg/admission`, A8).
//!
//! Two passes over all plugins, in the order of the list in [`order`]. `admit` comes first and may change the object; it runs before
//! the server puts in what is its own and before validation. `validate` comes after validation, right before the commit, and sees what
//! will be stored. A write that is tried again, because another came first, is admitted again with what is stored then.
//!
//! A plugin is one file here and one line in `ORDER` of [`order`]. What it has a say about it says once, at start; a write that no plugin
//! cares about costs a look into a table.
//!
//! Reading order: this file, [`order`], then a file a plugin.

pub mod always_pull_images;
pub mod certificate_approval;
pub mod certificate_signing;
pub mod certificate_subject_restriction;
pub mod configuration;
pub mod default_ingress_class;
mod default_service_account;
pub mod default_storage_class;
pub mod default_toleration_seconds;
pub mod deny_service_external_ips;
mod device_claims;
pub mod event_rate_limit;
pub mod extended_resource_toleration;
pub mod image_policy_webhook;
pub mod limit_pod_hard_anti_affinity_topology;
pub mod limit_ranger;
pub mod namespace_auto_provision;
pub mod namespace_exists;
pub mod namespace_lifecycle;
pub mod node_declared_features;
pub mod node_restriction;
pub mod order;
pub mod owner_references;
pub mod persistent_volume_claim_resize;
pub mod pod_node_selector;
pub mod pod_resize;
pub mod pod_security;
pub mod pod_toleration_restriction;
pub mod pod_topology_labels;
mod pods;
mod policy_parameters;
pub mod priority;
pub mod resource_quota;
mod role_escalation;
pub mod runtime_class;
pub mod service_account;
mod signer;
pub mod storage_object_in_use_protection;
mod stored;
pub mod taint_nodes_by_condition;
mod tolerations;

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use portcullis_gate::{AuthorizerChain, BoxFuture, Identity, trace_step};
use portcullis_model::status::Status;
use portcullis_model::tree::Tree;
use portcullis_store::{self as store, Snapshot};
use tokio::sync::SemaphorePermit;
use tracing::Instrument as _;

use crate::answer::Failure;
use crate::metrics::admission::{Durations, Pass as Measured};
use crate::registry::metadata::Metadata;
use crate::registry::{Registry, Served};
use crate::request::Request;
use crate::server::ApiServer;
use crate::services::Allocation;
pub use configuration::{AdmissionConfiguration, AdmissionConfigurationError, Given, PluginFault};
pub use order::{Selection, SelectionError};

/// Plugins that one build can have: they are kept as bits.
const PLUGINS_MAX: usize = 64;
/// What a message names when the object has neither a name nor the beginning of one.
const NAMELESS: &str = "Unknown!";

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A new object, or a POST to a subresource.
    Create,
    /// PUT or PATCH of an object or of a subresource that is stored in it.
    Update,
    /// One object goes, by itself or with its collection.
    Delete,
    /// A stream or a proxied request begins (`exec`, `attach`, `portforward`, `proxy`).
    Connect,
}

impl Operation {
    /// All of them.
    pub const ALL: [Operation; 4] = [Operation::Create, Operation::Update, Operation::Delete, Operation::Connect];

    /// Returns upstream's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }
}

/// A write on its way: what a plugin is shown.
pub struct Attempt<'a> {
    /// The server, for what a plugin wants to look up beside the object.
    pub server: &'a ApiServer,
    /// The request that passed the gate. Its verb may be another than the operation: a PUT can create.
    pub request: &'a Request<'a>,
    /// What is done.
    pub operation: Operation,
    /// The object's name: the path's, or that of the object; empty for one that will be given its name.
    pub name: &'a str,
    /// What is to be written: of the subresource's own type where that has one (a Binding, a Scale, a TokenRequest), else the whole
    /// object, in the version of the path, with its defaults. None for a deletion. Only `admit` may change it.
    pub object: Option<&'a mut Tree>,
    /// What is stored now, in the same type and version; none for a creation.
    pub old: Option<&'a Tree>,
    /// The state that the write is decided on.
    pub snapshot: &'a Snapshot,
    /// Whether nothing will be written.
    pub dry_run: bool,
    /// What is committed with the write; none where it is written alone (a deletion, a binding, a token).
    pub alongside: Option<&'a Alongside>,
}

/// What plugins want committed together with a write, or not at all: a quota that is charged, a namespace that must still be there.
/// Filled in the second pass, which runs again, from nothing, when one of the conditions does not hold any longer.
#[derive(Default)]
pub struct Alongside(Mutex<Held>);

#[derive(Default)]
struct Held {
    operations: Vec<store::Operation>,
    turns: Vec<SemaphorePermit<'static>>,
    allocation: Allocation,
}

impl Alongside {
    /// Commits this too. Nothing is committed for a dry run.
    pub fn add(&self, operation: store::Operation) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).operations.push(operation);
    }

    /// Keeps a turn until the write is done.
    pub fn hold(&self, turn: SemaphorePermit<'static>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).turns.push(turn);
    }

    /// Commits with it what a service takes and gives back, in place of what was said before.
    pub(crate) fn allot(&self, allocation: Allocation) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).allocation = allocation;
    }

    /// Commits the write with what was added. What is held stays held. A conflict may be one of any of it; the outer failure is that of
    /// reading what there is.
    pub(crate) async fn commit(
        &self,
        server: &ApiServer,
        write: store::Operation,
    ) -> Result<Result<store::Committed, store::CommitError>, Failure> {
        let (added, mut allocation) = {
            let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            (std::mem::take(&mut held.operations), std::mem::take(&mut held.allocation))
        };
        let operations = std::iter::once(write).chain(added).collect();
        let committed = allocation.commit(server, operations).await;
        self.allot(allocation);
        committed
    }
}

impl<'a> Attempt<'a> {
    /// Returns the resource.
    pub fn served(&self) -> &'a Served {
        self.request.served
    }

    /// Returns the subresource, or nothing.
    pub fn subresource(&self) -> &'a str {
        self.request.info.subresource
    }

    /// Returns the namespace; empty at the cluster scope.
    pub fn namespace(&self) -> &'a str {
        self.request.namespace()
    }

    /// Returns who acts.
    pub fn identity(&self) -> &'a Identity {
        self.request.permitted.identity()
    }

    /// Returns those who let the request pass, for further questions.
    pub fn authorizers(&self) -> &'a AuthorizerChain {
        self.request.permitted.authorizers()
    }

    /// Whether the resource is this one of this group.
    pub fn is_of(&self, group: &str, resource: &str) -> bool {
        self.served().is(group, resource)
    }

    /// Returns what is to be written, to read. The opposite of [`Attempt::old`].
    #[allow(clippy::new_ret_no_self)]
    pub fn new(&self) -> Option<&Tree> {
        self.object.as_deref()
    }

    /// Notes something on the record of the request (upstream: `AddAnnotation`). The key begins with the plugin's own domain; the first
    /// value of a key stays.
    pub fn annotate(&self, key: &'static str, value: impl Into<Cow<'static, str>>) {
        self.request.permitted.record().annotate(key, value);
    }

    /// Warns the client, once for each text (upstream: `warning.AddWarning`).
    pub fn warn(&self, text: impl Into<String>) {
        self.request.warn(text.into());
    }

    /// Makes the refusal of the write: `pods "a" is forbidden: ` and the reason (upstream: `admission.NewForbidden`).
    pub fn forbidden(&self, why: &str) -> Failure {
        let resource = self.served().resource;
        Box::new(Status::forbidden(resource.group, resource.name, self.shown_name(), why))
    }

    fn shown_name(&self) -> &str {
        if !self.name.is_empty() {
            return self.name;
        }
        let Some(object) = self.new() else { return NAMELESS };
        // Every type that is admitted has its metadata where its resource's type has them or in a type of its own.
        if object.object_type(object.root()) != Some(self.served().resource.type_id) {
            return NAMELESS;
        }
        let metadata = Metadata::of(self.served(), object);
        [metadata.name(), metadata.generate_name()].into_iter().find(|name| !name.is_empty()).unwrap_or(NAMELESS)
    }
}

/// What a plugin says, or how to find out.
pub enum Pass<'a> {
    /// The write may go on, or not.
    Now(Result<(), Failure>),
    /// Somebody must be asked first.
    Later(BoxFuture<'a, Result<(), Failure>>),
}

impl Pass<'_> {
    /// The write may go on.
    pub fn on() -> Self {
        Pass::Now(Ok(()))
    }
}

/// One rule about writes. Both passes let everything go on unless a plugin says otherwise.
pub trait Plugin: Send + Sync {
    /// Its name: upstream's, as in `--enable-admission-plugins`, where upstream has it.
    fn name(&self) -> &'static str;

    /// Whether it has a say about this operation on the resource or any of its subresources. Asked once, at start: what depends on the
    /// request, it decides in its passes.
    fn handles(&self, served: &Served, operation: Operation) -> bool;

    /// Whether it has a say about what this user does. Asked for each write, before anything is made for it.
    fn judges(&self, user: &Identity) -> bool {
        let _ = user;
        true
    }

    /// First pass: may change [`Attempt::object`]. Runs before preparing and validation.
    fn admit<'a>(&'a self, attempt: &'a mut Attempt<'_>) -> Pass<'a> {
        let _ = attempt;
        Pass::on()
    }

    /// Second pass: sees what will be stored. Runs after validation, before the commit.
    fn validate<'a>(&'a self, attempt: &'a Attempt<'_>) -> Pass<'a> {
        let _ = attempt;
        Pass::on()
    }
}

/// The plugins of this server, and which of them each write concerns.
pub struct Admission {
    plugins: Vec<Arc<dyn Plugin>>,
    /// By a resource's place, then by operation: bits of `plugins`.
    concerned: Vec<[u64; Operation::ALL.len()]>,
    /// How long each plugin took, by its place in `plugins`.
    durations: Vec<Durations>,
    /// How long the passes over all of them took.
    steps: Durations,
}

impl Admission {
    /// Takes the plugins that were selected and asks each what it has a say about.
    pub fn new(registry: &Registry, selection: &Selection) -> Admission {
        Admission::of(registry, selection.plugins())
    }

    /// Takes plugins in the order in which they are asked.
    pub(crate) fn of(registry: &Registry, plugins: Vec<impl Into<Arc<dyn Plugin>>>) -> Admission {
        let plugins: Vec<Arc<dyn Plugin>> = plugins.into_iter().map(Into::into).collect();
        debug_assert!(plugins.len() <= PLUGINS_MAX);
        let bits = |served: &Served, operation: Operation| {
            let handling = plugins.iter().enumerate().filter(|(_, plugin)| plugin.handles(served, operation));
            handling.fold(0u64, |bits, (at, _)| bits | 1 << at)
        };
        let concerned = registry.all().iter().map(|served| Operation::ALL.map(|operation| bits(served, operation)));
        let durations = plugins.iter().map(|_| Durations::default()).collect();
        Admission { concerned: concerned.collect(), plugins, durations, steps: Durations::default() }
    }

    /// Whether any plugin has a say. Whoever asks first needs not make an [`Attempt`] in vain.
    #[inline]
    pub fn concerns(&self, served: &Served, operation: Operation, user: &Identity) -> bool {
        let bits = self.bits(served, operation);
        bits != 0 && self.handling(bits).any(|plugin| plugin.judges(user))
    }

    fn bits(&self, served: &Served, operation: Operation) -> u64 {
        let bits = self.concerned.get(served.place).and_then(|bits| bits.get(operation as usize));
        bits.copied().unwrap_or_default()
    }

    fn handling(&self, bits: u64) -> impl Iterator<Item = &dyn Plugin> {
        self.measured(bits).map(|(plugin, _)| plugin)
    }

    fn measured(&self, bits: u64) -> impl Iterator<Item = (&dyn Plugin, &Durations)> {
        let all = self.plugins.iter().zip(&self.durations).enumerate();
        all.filter(move |(at, _)| bits >> at & 1 == 1).map(|(_, (plugin, durations))| (plugin.as_ref(), durations))
    }

    /// Returns how long each plugin took, by its name.
    pub(crate) fn plugin_durations(&self) -> impl Iterator<Item = (&'static str, &Durations)> {
        self.plugins.iter().zip(&self.durations).map(|(plugin, durations)| (plugin.name(), durations))
    }

    /// Returns how long the passes over all plugins took.
    pub(crate) fn step_durations(&self) -> &Durations {
        &self.steps
    }

    /// First pass. The first refusal ends it.
    ///
    /// # Errors
    /// What the plugin answers.
    pub async fn admit(&self, attempt: &mut Attempt<'_>) -> Result<(), Failure> {
        let begun = Instant::now();
        let (mut since, operation) = (begun, attempt.operation);
        let mut passed = Ok(());
        for (plugin, durations) in self.measured(self.bits(attempt.served(), operation)) {
            passed = match plugin.admit(attempt) {
                Pass::Now(said) => said,
                Pass::Later(said) => said.instrument(trace_step("admission")).await,
            };
            since = durations.count(operation, Measured::Admit, passed.is_err(), since);
            if let Err(failure) = &passed {
                log(plugin, attempt, failure);
                break;
            }
        }
        self.steps.count(operation, Measured::Admit, passed.is_err(), begun);
        passed
    }

    /// Second pass. The first refusal ends it.
    ///
    /// # Errors
    /// What the plugin answers.
    pub async fn validate(&self, attempt: &Attempt<'_>) -> Result<(), Failure> {
        let begun = Instant::now();
        let (mut since, operation) = (begun, attempt.operation);
        let mut passed = Ok(());
        for (plugin, durations) in self.measured(self.bits(attempt.served(), operation)) {
            passed = match plugin.validate(attempt) {
                Pass::Now(said) => said,
                Pass::Later(said) => said.instrument(trace_step("admission")).await,
            };
            since = durations.count(operation, Measured::Validate, passed.is_err(), since);
            if let Err(failure) = &passed {
                log(plugin, attempt, failure);
                break;
            }
        }
        self.steps.count(operation, Measured::Validate, passed.is_err(), begun);
        passed
    }
}

fn log(plugin: &dyn Plugin, attempt: &Attempt<'_>, failure: &Status) {
    tracing::info!(
        audit_id = attempt.request.permitted.audit_id().to_str().unwrap_or_default(),
        user = attempt.identity().name,
        operation = attempt.operation.as_str(),
        resource = attempt.served().resource.name,
        gate = "admission",
        plugin = plugin.name(),
        reason = &*failure.message,
        "request refused"
    );
}
