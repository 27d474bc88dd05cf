//! The objects that a cluster begins with, made at start where they are missing. Of those that are there some are brought up to date as
//! `Held` says, all others are left alone.
//!
//! Reading order: this file (what is made and how it gets into the store), then what should be: `policy` (roles and bindings),
//! `flow_control` (flow schemas and their levels), `api_services`, `extension_authentication`.
//!
//! Upstream: `start-system-namespaces-controller`, `scheduling/bootstrap-system-priority-classes`, `bootstrap-controller`,
//! `start-kubernetes-service-cidr-controller`, `rbac/bootstrap-roles`, `priority-and-fairness-config-producer`,
//! `kube-apiserver-autoregistration`, `start-cluster-authentication-info-controller`.

mod api_services;
mod extension_authentication;
mod flow_control;
mod policy;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use bytes::Bytes;
use futures_util::future::try_join_all;
use portcullis_gate::Profile;
use portcullis_kinds::bootstrap_policy::PolicyError;
use portcullis_kinds::flow_control::FlowControlError;
use portcullis_kinds::networking::ip_address;
use portcullis_kinds::strategy::Requester;
use portcullis_model::cidr::Cidr;
use portcullis_model::schema::DecodeError;
use portcullis_model::schema::decode_json::{self, FieldValidation};
use portcullis_model::schema::field_set::PathSet;
use portcullis_model::schema::managed::{self, Change, Manager, Managers};
use portcullis_model::time::time_text;
use portcullis_model::tree::Tree;
use portcullis_store::{Commit, CommitError, Entry, Operation, ReadError, Snapshot};
use serde_json::{Value, json};
use thiserror::Error;

use crate::config::ExtensionAuthentication;
use crate::env::NoRandomness;
use crate::registry::metadata::{copy_top, metadata_of};
use crate::registry::{Served, prepare};
use crate::server::ApiServer;

/// How often it is begun again: after another server made an object first, and after a binding was deleted to be made anew.
const ATTEMPTS_MAX: usize = 5;
/// Who made these objects, in their managed fields.
const MANAGER: &str = "kube-apiserver";
/// What pods run as that name no account.
const ACCOUNT: &str = "default";
const ACCOUNTS: &str = "serviceaccounts";
/// The service by which pods reach this server.
const KUBERNETES: &str = "kubernetes";
const KUBERNETES_NAMESPACE: &str = "default";
/// Who upstream lets say that the range of service addresses is ready.
const MANAGER_SERVICE_CIDR: &str = "kubernetes-service-cidr-controller";
/// What upstream's servers add after they noted what its maker set, which therefore belongs to nobody.
const ADDED_LATER: &[&[&str]] = &[&["metadata", "finalizers"], &["spec", "clusterIPs"], &["spec", "ipFamilies"]];

/// Why the first objects could not be made.
#[derive(Debug, Error)]
pub enum BootstrapError {
    /// The store cannot be read.
    #[error("the store cannot be read: {0}")]
    Read(#[from] ReadError),
    /// The store does not take them.
    #[error("the first objects cannot be written: {0}")]
    Commit(#[from] CommitError),
    /// Somebody else changed them each time.
    #[error("the first objects cannot be written: others have changed them {ATTEMPTS_MAX} times meanwhile")]
    Contended,
    /// An object is not one of its kind; a fault of this build.
    #[error("the {resource} {name} of this build is malformed: {source}")]
    Malformed {
        /// Its resource.
        resource: &'static str,
        /// Its name.
        name: String,
        /// What is wrong.
        source: DecodeError,
    },
    /// The table of roles and bindings is malformed; a fault of this build.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The table of flow schemas is malformed; a fault of this build.
    #[error(transparent)]
    FlowControl(#[from] FlowControlError),
    /// No uid can be made.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// A resource is not in the facts; a fault of this build.
    #[error("the resource {0} is not served")]
    NotServed(&'static str),
}

/// Something that happened to a service.
pub(crate) struct Happened {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) reason: &'static str,
    pub(crate) action: &'static str,
    pub(crate) reporter: &'static str,
    pub(crate) note: String,
}

/// One object to be made.
struct First {
    group: &'static str,
    resource: &'static str,
    namespace: Cow<'static, str>,
    name: Cow<'static, str>,
    object: Value,
    /// Who made it, in its managed fields.
    manager: &'static str,
    /// Its status, which creation through the front door would drop, and who says it; nobody for an empty name.
    status: Option<(Value, &'static str)>,
    /// What is done when it is there already.
    held: Held,
}

/// What is done with an object that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    /// Nothing.
    Keep,
    /// What it grants is added to, unless it says that it is not to be touched.
    Policy,
    /// It is made what it should be, unless an operator changed it and did not have to leave it.
    FlowControl,
    /// It is made what it should be, unless it is an operator's own.
    ApiService,
    /// It is made what it should be.
    Authentication,
    /// A second range is added to its only one; any other is what the operator is told of.
    ServiceCidr,
    /// Nothing. It is not made if the service is there and has another address.
    Address,
    /// Nothing. It is not made if its address is another service's.
    Service,
}

/// What an object is, compared with what it should be.
#[derive(Clone, Debug, PartialEq)]
enum Finding {
    /// It has all that it should have, or is not to be touched.
    Same,
    /// Something was missing or wrong, and is right in this one.
    Changed(Value),
    /// It is a binding to another role, which no update can change.
    OtherRole,
}

/// What is done with objects that an earlier version began with and this one does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leftovers {
    Keep,
    Delete,
}

/// What is to be done to the store.
#[derive(Default)]
struct Plan {
    operations: Vec<Operation>,
    /// Whether something is deleted to be made anew, which a second plan does.
    is_partial: bool,
}

impl ApiServer {
    /// Makes the objects that a cluster begins with, as far as they are missing, and reconciles those that are to be. Until it has, the
    /// server is not ready.
    pub async fn bootstrap(&self) -> Result<(), BootstrapError> {
        self.put_right(&self.first_objects()?, Leftovers::Delete).await?;
        self.mark_bootstrapped();
        Ok(())
    }

    /// Tells extension servers how to recognise clients, as [`ApiServer::bootstrap`] does from the configuration: to be called when an
    /// authority was loaded again. What was published before and is not in it is no longer trusted.
    pub async fn publish_authentication(&self, published: &ExtensionAuthentication) -> Result<(), BootstrapError> {
        self.put_right(&[extension_authentication::first(published)], Leftovers::Keep).await
    }

    /// Puts levels of priority and flow schemas right, as [`ApiServer::bootstrap`] does: those that were deleted are made anew.
    pub(crate) async fn restore_flow_control(&self) -> Result<(), BootstrapError> {
        let firsts: Vec<First> = flow_control::firsts(self.now_seconds())?.collect();
        self.put_right(&firsts, Leftovers::Keep).await
    }

    /// Makes a namespace, unless somebody else does.
    pub(crate) async fn make_namespace(&self, name: &str) -> Result<(), BootstrapError> {
        self.put_right(&self.namespace(name), Leftovers::Keep).await
    }

    /// What commits the account that a new namespace begins with; none where there is one, or where it is left to a controller.
    pub(crate) fn account_of_namespace(
        &self,
        name: &str,
        snapshot: &Snapshot,
    ) -> Result<Vec<Operation>, BootstrapError> {
        let firsts = self.namespace(name);
        let accounts: Vec<First> = firsts.into_iter().filter(|first| first.resource == ACCOUNTS).collect();
        Ok(self.plan(&accounts, snapshot)?.operations)
    }

    /// A namespace and, under the locked profile, the account of its pods. Upstream leaves that to a controller, and until it has run no
    /// pod can be made there.
    fn namespace(&self, name: &str) -> Vec<First> {
        let mut firsts = vec![First::kept("", "namespaces", "", name.to_owned(), json!({"metadata": {"name": name}}))];
        if self.config.profile == Profile::Locked {
            let object = json!({"metadata": {"name": ACCOUNT}});
            firsts.push(First::kept("", ACCOUNTS, name.to_owned(), ACCOUNT, object));
        }
        firsts
    }

    async fn put_right(&self, firsts: &[First], leftovers: Leftovers) -> Result<(), BootstrapError> {
        for _ in 0..ATTEMPTS_MAX {
            let snapshot = self.engine.newest().await?;
            let mut plan = self.plan(firsts, &snapshot)?;
            if leftovers == Leftovers::Delete {
                self.plan_leftovers(&mut plan, firsts, &snapshot)?;
            }
            match self.commit_all(plan.operations).await {
                Ok(()) if !plan.is_partial => return Ok(()),
                // The rest of it, or what is still to be done since another server was first.
                Ok(()) | Err(CommitError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(BootstrapError::Contended)
    }

    /// Commits in as few parts as the store allows, which wait for the disk together. Of some that fail others may have happened.
    async fn commit_all(&self, mut operations: Vec<Operation>) -> Result<(), CommitError> {
        let most = self.engine.limits().operations_max.max(1);
        let mut commits = Vec::new();
        while !operations.is_empty() {
            let rest = operations.split_off(operations.len().min(most));
            commits.push(self.engine.commit(Commit::from(operations)));
            operations = rest;
        }
        try_join_all(commits).await.map(|_| ())
    }

    fn plan(&self, firsts: &[First], snapshot: &Snapshot) -> Result<Plan, BootstrapError> {
        let mut plan = Plan::default();
        for first in firsts {
            let served = self.served(first.group, first.resource)?;
            let key = served.key(&first.namespace, &first.name).ok_or(BootstrapError::NotServed(first.resource))?;
            let Some(entry) = snapshot.get(&key) else {
                if !self.may_be_made(first, snapshot)? {
                    continue;
                }
                plan.operations.push(Operation::create(key, self.make_first(served, first)?));
                continue;
            };
            match first.held {
                Held::Keep | Held::Address | Held::Service => {}
                _ => self.reconcile(&mut plan, served, first, key, entry)?,
            }
        }
        Ok(plan)
    }

    /// Whether a first object stands in nobody's way: the server's own service keeps the address that it has when the flags say another,
    /// and takes none that is somebody else's.
    fn may_be_made(&self, first: &First, snapshot: &Snapshot) -> Result<bool, BootstrapError> {
        let (group, resource, namespace, name) = match first.held {
            Held::Address => ("", "services", KUBERNETES_NAMESPACE, KUBERNETES.to_owned()),
            Held::Service => {
                ("networking.k8s.io", "ipaddresses", "", self.config.service_cidr.first_host().to_string())
            }
            _ => return Ok(true),
        };
        let served = self.served(group, resource)?;
        let key = served.key(namespace, &name).ok_or(BootstrapError::NotServed(resource))?;
        let held: Option<Value> = snapshot.get(&key).and_then(|entry| serde_json::from_slice(&entry.value).ok());
        let Some(held) = held else { return Ok(true) };
        let expected = match first.held {
            Held::Address => held["spec"]["clusterIP"] == *first.name,
            _ => {
                let parent = &held["spec"]["parentRef"];
                parent["namespace"] == KUBERNETES_NAMESPACE && parent["name"] == KUBERNETES
            }
        };
        if !expected {
            tracing::warn!(
                resource = first.resource,
                name = &*first.name,
                "not made: {resource} {name} is not as the flags say"
            );
        }
        Ok(expected)
    }

    fn plan_leftovers(&self, plan: &mut Plan, firsts: &[First], snapshot: &Snapshot) -> Result<(), BootstrapError> {
        for (group, resource, is_ours) in [
            (flow_control::GROUP, flow_control::SCHEMAS, flow_control::is_ours as fn(&Value) -> bool),
            (flow_control::GROUP, flow_control::LEVELS, flow_control::is_ours),
            (api_services::GROUP, api_services::RESOURCE, api_services::is_ours),
        ] {
            let served = self.served(group, resource)?;
            let prefix = served.key_prefix("").ok_or(BootstrapError::NotServed(resource))?;
            let of_resource = firsts.iter().filter(|first| first.resource == resource && first.group == group);
            let wanted: HashSet<&str> = of_resource.map(|first| &*first.name).collect();
            for (key, entry) in snapshot.range(&prefix, None) {
                let (_, name) = served.names(key);
                if wanted.contains(name) || !serde_json::from_slice(&entry.value).is_ok_and(|held| is_ours(&held)) {
                    continue;
                }
                tracing::info!(resource, name, "an object that clusters no longer begin with was deleted");
                plan.operations.push(Operation::delete(key.to_string(), entry.version));
            }
        }
        Ok(())
    }

    fn served(&self, group: &str, resource: &'static str) -> Result<&Served, BootstrapError> {
        self.registry.find(group, "v1", resource).ok_or(BootstrapError::NotServed(resource))
    }

    fn reconcile(
        &self,
        plan: &mut Plan,
        served: &Served,
        first: &First,
        key: String,
        entry: &Entry,
    ) -> Result<(), BootstrapError> {
        let (resource, name) = (first.resource, &*first.name);
        let (Ok(held), Ok(old)) = (serde_json::from_slice(&entry.value), served.load(&entry.value)) else {
            tracing::warn!(
                resource,
                name,
                "a stored object that clusters begin with cannot be read and stays as it is"
            );
            return Ok(());
        };
        // What was read as its type has the shape that this relies on.
        let finding = match first.held {
            Held::Keep | Held::Address | Held::Service => Finding::Same,
            Held::ServiceCidr => reconcile_service_cidr(held, &first.object),
            Held::Policy => policy::reconcile(held, &first.object),
            Held::FlowControl => flow_control::reconcile(held, &first.object),
            Held::ApiService => api_services::reconcile(held, &first.object),
            Held::Authentication => extension_authentication::reconcile(held, &first.object),
        };
        match finding {
            Finding::Same => {}
            Finding::Changed(object) => {
                let mut tree = first.read(served, &object)?;
                self.account(served, &mut tree, Some(&old), first.manager);
                let value = served.store(&mut tree).map_err(|source| first.malformed(source))?;
                tracing::info!(resource, name, "an object that clusters begin with was put right");
                plan.operations.push(Operation::update(key, entry.version, value));
            }
            Finding::OtherRole => {
                tracing::info!(
                    resource,
                    name,
                    "a binding of the bootstrap policy was to another role and is made anew"
                );
                plan.operations.push(Operation::delete(key, entry.version));
                plan.is_partial = true;
            }
        }
        Ok(())
    }

    fn make_first(&self, served: &Served, first: &First) -> Result<Bytes, BootstrapError> {
        let mut tree = first.read(served, &first.object)?;
        served.default(&mut tree);
        self.account(served, &mut tree, None, first.manager);
        prepare::for_create(served, &mut tree, &first.namespace, &*self.env)?;
        if let Some(strategy) = served.strategy {
            let now = self.now_seconds();
            let requester = Requester { name: first.manager, uid: "", groups: &[], extra: &BTreeMap::new(), now };
            (strategy.prepare_create)(&mut tree, &requester);
        }
        if let (Some((status, manager)), Some(number)) = (&first.status, served.fields.status) {
            let status = first.read(served, &json!({"status": status}))?;
            self.account_status(served, &mut tree, &status, manager);
            copy_top(&mut tree, &status, number);
        }
        served.store(&mut tree).map_err(|source| first.malformed(source))
    }

    /// Notes that this server set what differs from `old`.
    fn account(&self, served: &Served, tree: &mut Tree, old: Option<&Tree>, manager: &str) {
        let metadata = metadata_of(served, tree);
        let nothing = Tree::new(served.resource.type_id);
        let mut managers = stored_managers(served, old.unwrap_or(&nothing));
        // Whoever had its managers forgotten gets none again.
        if old.is_some() && managers.entries.is_empty() {
            return;
        }
        tree.remove(metadata, served.meta.managed_fields);
        let Ok(comparison) = managed::compare(served.schema, old.unwrap_or(&nothing), tree) else { return };
        let manager = Manager::of_update(manager, "", &served.resource.api_version, "");
        let unwritten = PathSet::of_fields(ADDED_LATER).into();
        let change = Change { manager, comparison, unwritten: &unwritten, now: Some(self.now_seconds()) };
        managers.update(change, &mut |_| None);
        managers.write(served.schema, tree, metadata, served.meta.managed_fields);
    }

    /// Notes who applied a status, in the place of what was noted of them before.
    pub(crate) fn account_status(&self, served: &Served, tree: &mut Tree, status: &Tree, manager: &str) {
        let Ok(fields) = managed::fields(served.schema, status) else { return };
        if manager.is_empty() {
            return;
        }
        let mut managers = stored_managers(served, tree);
        let manager = Manager {
            name: manager.to_owned(),
            operation: managed::Operation::Apply,
            api_version: served.resource.api_version.clone(),
            subresource: "status".to_owned(),
        };
        managers.entries.retain(|entry| entry.manager != manager);
        managers.entries.push(managed::Entry { manager, time: Some(self.now_seconds()), fields: fields.into() });
        let metadata = metadata_of(served, tree);
        managers.write(served.schema, tree, metadata, served.meta.managed_fields);
    }

    fn first_objects(&self) -> Result<Vec<First>, BootstrapError> {
        let namespaces = ["default", "kube-node-lease", "kube-public", "kube-system"];
        let mut firsts: Vec<First> = namespaces.iter().flat_map(|name| self.namespace(name)).collect();
        let priorities = [
            (
                "system-cluster-critical",
                2_000_000_000,
                "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
            ),
            (
                "system-node-critical",
                2_000_001_000,
                "Used for system critical pods that must not be moved from their current node.",
            ),
        ];
        for (name, value, description) in priorities {
            let object = json!({
                "metadata": {"name": name}, "value": value, "description": description,
                "preemptionPolicy": "PreemptLowerPriority",
            });
            firsts.push(First::kept("scheduling.k8s.io", "priorityclasses", "", name, object));
        }
        firsts.push(self.service_cidr());
        firsts.push(self.kubernetes_service());
        let address = self.config.service_cidr.first_host();
        let first = self.first_address(address, (KUBERNETES_NAMESPACE, KUBERNETES));
        firsts.push(First { held: Held::Address, ..first });
        firsts.extend(flow_control::firsts(self.now_seconds())?);
        firsts.extend(api_services::firsts(self.now_seconds()));
        firsts.extend(self.config.extension_authentication.as_ref().map(extension_authentication::first));
        firsts.extend(policy::firsts()?);
        Ok(firsts)
    }

    fn service_cidr(&self) -> First {
        let object = json!({
            "metadata": {"name": "kubernetes", "finalizers": ["networking.k8s.io/service-cidr-finalizer"]},
            "spec": {"cidrs": self.config.service_cidrs().map(|range| range.to_string()).collect::<Vec<_>>()},
        });
        let status = json!({"conditions": [{
            "type": "Ready", "status": "True", "message": "Kubernetes default Service CIDR is ready",
            "lastTransitionTime": time_text(self.now_seconds()),
        }]});
        let first = First::kept("networking.k8s.io", "servicecidrs", "", "kubernetes", object);
        First { status: Some((status, MANAGER_SERVICE_CIDR)), held: Held::ServiceCidr, ..first }
    }

    /// Makes the object of an address that a service has.
    pub(crate) fn address_of(&self, address: IpAddr, service: (&str, &str)) -> Result<Operation, BootstrapError> {
        let first = self.first_address(address, service);
        let served = self.served(first.group, first.resource)?;
        let key = served.key("", &first.name).ok_or(BootstrapError::NotServed(first.resource))?;
        Ok(Operation::create(key, self.make_first(served, &first)?))
    }

    /// Makes what a service's people read of what was done with it.
    pub(crate) fn event_of(&self, happened: &Happened) -> Result<Operation, BootstrapError> {
        let mut random = [0; 8];
        self.env.fill_random(&mut random)?;
        let name = format!("{}.{:x}", happened.name, u64::from_be_bytes(random));
        let time = time_text(self.now_seconds());
        let object = json!({
            "metadata": {"name": name, "namespace": happened.namespace},
            "involvedObject": {
                "kind": "Service", "apiVersion": "v1", "namespace": happened.namespace, "name": happened.name,
                "uid": happened.uid,
            },
            "reason": happened.reason, "message": happened.note, "type": "Warning", "action": happened.action,
            "eventTime": time.replace('Z', ".000000Z"),
            "reportingComponent": happened.reporter, "reportingInstance": happened.reporter,
        });
        let first = First::kept("", "events", happened.namespace.clone(), name, object);
        let served = self.served(first.group, first.resource)?;
        let key = served.key(&first.namespace, &first.name).ok_or(BootstrapError::NotServed(first.resource))?;
        Ok(Operation::create(key, self.make_first(served, &first)?))
    }

    fn first_address(&self, address: IpAddr, (namespace, name): (&str, &str)) -> First {
        let object = json!({
            "metadata": {"name": address.to_string(), "labels": {
                ip_address::FAMILY: Cidr::from(address).family(), ip_address::MANAGED_BY: ip_address::ALLOCATOR,
            }},
            "spec": {"parentRef": {"resource": "services", "namespace": namespace, "name": name}},
        });
        First::kept("networking.k8s.io", "ipaddresses", "", address.to_string(), object)
    }

    fn kubernetes_service(&self) -> First {
        let address = self.config.service_cidr.first_host().to_string();
        let object = json!({
            "metadata": {"name": "kubernetes", "labels": {"component": "apiserver", "provider": "kubernetes"}},
            "spec": {
                "clusterIP": address, "clusterIPs": [address],
                "internalTrafficPolicy": "Cluster",
                "ipFamilies": [self.config.service_cidr.family()], "ipFamilyPolicy": "SingleStack",
                "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": self.config.secure_port}],
                "sessionAffinity": "None", "type": "ClusterIP",
            },
        });
        let status = json!({"loadBalancer": {}});
        let first = First::kept("", "services", KUBERNETES_NAMESPACE, KUBERNETES, object);
        First { status: Some((status, "")), held: Held::Service, ..first }
    }
}

impl First {
    fn kept(
        group: &'static str,
        resource: &'static str,
        namespace: impl Into<Cow<'static, str>>,
        name: impl Into<Cow<'static, str>>,
        object: Value,
    ) -> First {
        let (namespace, name) = (namespace.into(), name.into());
        First { group, resource, namespace, name, object, manager: MANAGER, status: None, held: Held::Keep }
    }

    fn read(&self, served: &Served, value: &Value) -> Result<Tree, BootstrapError> {
        let text = value.to_string().into_bytes();
        let decoded = decode_json::decode(served.schema, served.resource.type_id, text, FieldValidation::Ignore);
        Ok(decoded.map_err(|source| self.malformed(source))?.tree)
    }

    fn malformed(&self, source: DecodeError) -> BootstrapError {
        BootstrapError::Malformed { resource: self.resource, name: self.name.clone().into_owned(), source }
    }
}

/// Compares the ranges that are stored with those of the flags (upstream: `defaultservicecidr`): one range gets its second, and a range
/// is never taken away from those who have addresses of it.
fn reconcile_service_cidr(mut held: Value, wanted: &Value) -> Finding {
    let wanted = &wanted["spec"]["cidrs"];
    let is_going = !held["metadata"]["deletionTimestamp"].is_null();
    if is_going || held["spec"]["cidrs"] == *wanted {
        return Finding::Same;
    }
    if let (Some([only]), Some([first, _])) =
        (held["spec"]["cidrs"].as_array().map(Vec::as_slice), wanted.as_array().map(Vec::as_slice))
        && only == first
    {
        held["spec"]["cidrs"] = wanted.clone();
        return Finding::Changed(held);
    }
    let stored = &held["spec"]["cidrs"];
    tracing::warn!(
        %stored,
        %wanted,
        "--service-cluster-ip-range is not what the ServiceCIDR kubernetes says, which is what services get"
    );
    Finding::Same
}

/// The managers of an object; none when they cannot be read.
fn stored_managers(served: &Served, tree: &Tree) -> Managers {
    let metadata = tree.field(tree.root(), served.fields.metadata);
    let list = metadata.and_then(|metadata| tree.field(metadata, served.meta.managed_fields));
    list.and_then(|list| Managers::stored(served.schema, tree, list).ok()).unwrap_or_default()
}
