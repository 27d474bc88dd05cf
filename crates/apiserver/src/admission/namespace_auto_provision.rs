//! NamespaceAutoProvision: a namespace begins with the first object that is made in it (upstream:
//! `plugin/pkg/admission/namespace/autoprovision`).
//!
//! Off: a name with a typing error would be a new namespace. It comes before those who look whether the namespace is there.

use portcullis_model::names;
use portcullis_model::status::{FieldError, Status};

use super::{Attempt, Operation, Pass, Plugin, stored};
use crate::answer::Failure;
use crate::registry::Served;

/// The plugin.
pub struct NamespaceAutoProvision;

impl Plugin for NamespaceAutoProvision {
    fn name(&self) -> &'static str {
        "NamespaceAutoProvision"
    }

    fn handles(&self, served: &Served, operation: Operation) -> bool {
        served.resource.namespaced && operation == Operation::Create
    }

    fn admit<'a>(&'a self, attempt: &'a mut Attempt<'_>) -> Pass<'a> {
        if attempt.dry_run || stored::namespace(attempt, attempt.snapshot).is_ok() {
            return Pass::on();
        }
        let attempt: &'a Attempt<'_> = attempt;
        Pass::Later(Box::pin(provide(attempt)))
    }
}

async fn provide(attempt: &Attempt<'_>) -> Result<(), Failure> {
    let name = attempt.namespace();
    let complaints = names::dns1123_label(name).into_iter();
    let errors: Vec<FieldError> = complaints.map(|why| FieldError::invalid("metadata.name", name, why)).collect();
    if !errors.is_empty() {
        return Err(attempt.forbidden(&Status::invalid("", "Namespace", name, &errors).message));
    }
    attempt.server.make_namespace(name).await.map_err(|error| attempt.forbidden(&error.to_string()))
}
