//! NamespaceExists: nothing is written or deleted in a namespace that is not there (upstream: `plugin/pkg/admission/namespace/exists`).
//!
//! Off: [`NamespaceLifecycle`](super::namespace_lifecycle::NamespaceLifecycle) says the same of what is made and changed. It is for those
//! who turn that one off.

use super::{Attempt, Operation, Pass, Plugin, stored};
use crate::registry::Served;

/// The plugin.
pub struct NamespaceExists;

impl Plugin for NamespaceExists {
    fn name(&self) -> &'static str {
        "NamespaceExists"
    }

    fn handles(&self, served: &Served, operation: Operation) -> bool {
        served.resource.namespaced && operation != Operation::Connect
    }

    fn validate<'a>(&'a self, attempt: &'a Attempt<'_>) -> Pass<'a> {
        match stored::namespace(attempt, attempt.snapshot) {
            Ok(_) => Pass::on(),
            Err(_) => Pass::Later(Box::pin(async move {
                let newest = attempt.server.newest().await?;
                stored::namespace(attempt, &newest).map(|_| ())
            })),
        }
    }
}
