//! The objects that a cluster begins with, made at start where they are missing; what is there is left alone.
//!
//! Upstream: `start-system-namespaces-controller`, `scheduling/bootstrap-system-priority-classes`, `bootstrap-controller`,
//! `start-kubernetes-service-cidr-controller`.

use portcullis_model::schema::decode_json::{self, FieldValidation};
use portcullis_model::schema::{DecodeError, default};
use portcullis_model::time::time_text;
use portcullis_store::{Commit, CommitError, Operation, ReadError};
use serde_json::{Value, json};
use thiserror::Error;

use crate::env::NoRandomness;
use crate::registry::prepare;
use crate::server::ApiServer;

/// How often another server may have made an object first before that is taken for an error.
const ATTEMPTS_MAX: usize = 5;

/// Why the first objects could not be made.
#[derive(Debug, Error)]
pub enum BootstrapError {
    /// The store cannot be read.
    #[error("the store cannot be read: {0}")]
    Read(#[from] ReadError),
    /// The store does not take them.
    #[error("the first objects cannot be written: {0}")]
    Commit(#[from] CommitError),
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
    /// No uid can be made.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// A resource is not in the facts; a fault of this build.
    #[error("the resource {0} is not served")]
    NotServed(&'static str),
}

/// One object to be made.
struct First {
    group: &'static str,
    resource: &'static str,
    namespace: &'static str,
    name: &'static str,
    object: Value,
    /// Its status, which creation through the front door would drop.
    status: Option<Value>,
}

impl ApiServer {
    /// Makes the objects that a cluster begins with, as far as they are missing, in one commit. Until it has, the server is not ready.
    pub async fn bootstrap(&self) -> Result<(), BootstrapError> {
        let mut attempts = 0;
        loop {
            let snapshot = self.engine.newest().await?;
            let mut operations = Vec::new();
            for first in self.first_objects() {
                let (key, value) = self.make_first(&first)?;
                if snapshot.get(&key).is_none() {
                    operations.push(Operation::create(key, value));
                }
            }
            attempts += 1;
            match self.engine.commit(Commit::from(operations.clone())).await {
                _ if operations.is_empty() => break,
                Ok(_) => break,
                // Another server made one of them first.
                Err(CommitError::Conflict { .. }) if attempts < ATTEMPTS_MAX => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.mark_bootstrapped();
        Ok(())
    }

    fn make_first(&self, first: &First) -> Result<(String, bytes::Bytes), BootstrapError> {
        let served = self.registry.find(first.group, "v1", first.resource);
        let served = served.ok_or(BootstrapError::NotServed(first.resource))?;
        let malformed =
            |source| BootstrapError::Malformed { resource: first.resource, name: first.name.to_owned(), source };
        let read = |value: &Value| {
            let text = value.to_string().into_bytes();
            decode_json::decode(served.schema, served.resource.type_id, text, FieldValidation::Ignore)
        };
        let mut tree = read(&first.object).map_err(malformed)?.tree;
        default::apply(served.schema, &mut tree);
        prepare::for_create(served, &mut tree, first.namespace, &*self.env)?;
        if let (Some(status), Some(number)) = (&first.status, served.fields.status) {
            let status = read(&json!({"status": status})).map_err(malformed)?.tree;
            crate::registry::metadata::copy_top(&mut tree, &status, number);
        }
        let value = served.store(&mut tree).map_err(malformed)?;
        let key = served.key(first.namespace, first.name).ok_or(BootstrapError::NotServed(first.resource))?;
        Ok((key, value))
    }

    fn first_objects(&self) -> Vec<First> {
        let mut firsts: Vec<First> = ["default", "kube-node-lease", "kube-public", "kube-system"]
            .map(|name| {
                let object = json!({"metadata": {"name": name}});
                First { group: "", resource: "namespaces", namespace: "", name, object, status: None }
            })
            .into();
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
            let (group, resource) = ("scheduling.k8s.io", "priorityclasses");
            firsts.push(First { group, resource, namespace: "", name, object, status: None });
        }
        firsts.push(self.service_cidr());
        firsts.push(self.kubernetes_service());
        firsts
    }

    fn service_cidr(&self) -> First {
        let object = json!({
            "metadata": {"name": "kubernetes", "finalizers": ["networking.k8s.io/service-cidr-finalizer"]},
            "spec": {"cidrs": [self.config.service_cidr.to_string()]},
        });
        let status = json!({"conditions": [{
            "type": "Ready", "status": "True", "reason": "", "message": "Kubernetes Service CIDR is ready",
            "lastTransitionTime": time_text(self.now_seconds()),
        }]});
        let (group, resource) = ("networking.k8s.io", "servicecidrs");
        First { group, resource, namespace: "", name: "kubernetes", object, status: Some(status) }
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
        let (group, resource) = ("", "services");
        First { group, resource, namespace: "default", name: "kubernetes", object, status: Some(status) }
    }
}
