//! DefaultServiceAccount: a namespace begins with the account of its pods (upstream: the service account controller).
//!
//! Committed with the namespace, so that nobody finds one without the other. Only under the locked profile, where a server alone is to be a
//! working cluster; upstream's server leaves it to the controller manager, which finds what it would have made.

use portcullis_gate::Profile;

use super::{Attempt, Operation, Pass, Plugin};
use crate::answer::Failure;
use crate::registry::Served;

/// The plugin.
pub struct DefaultServiceAccount;

impl Plugin for DefaultServiceAccount {
    fn name(&self) -> &'static str {
        "DefaultServiceAccount"
    }

    fn handles(&self, served: &Served, operation: Operation) -> bool {
        served.is("", "namespaces") && operation == Operation::Create
    }

    fn validate<'a>(&'a self, attempt: &'a Attempt<'_>) -> Pass<'a> {
        if attempt.server.config.profile != Profile::Locked || attempt.dry_run {
            return Pass::on();
        }
        Pass::Now(begin(attempt))
    }
}

fn begin(attempt: &Attempt<'_>) -> Result<(), Failure> {
    let made = attempt.server.account_of_namespace(attempt.name, attempt.snapshot);
    let operations = made.map_err(|error| attempt.forbidden(&error.to_string()))?;
    if let Some(alongside) = attempt.alongside {
        operations.into_iter().for_each(|operation| alongside.add(operation));
    }
    Ok(())
}
