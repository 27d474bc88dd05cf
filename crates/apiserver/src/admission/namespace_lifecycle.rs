//! NamespaceLifecycle: nothing is written in a namespace that is not there, nothing new begins in one that is on its way out, and the
//! namespaces that a cluster cannot be without stay (upstream: `apiserver/pkg/admission/plugin/namespace/lifecycle`).
//!
//! Upstream looks into a cache and then, for what it does not find there, into the store; a namespace can still end between that look and
//! the write. Here the second pass makes it a condition of the write that the namespace is as it was when it was looked at.

use portcullis_model::status::StatusCause;
use portcullis_store::{Condition, Entry, Operation as StoreOperation};

use super::stored::{self, NAMESPACES};
use super::{Attempt, Operation, Pass, Plugin};
use crate::answer::{Failure, Unservable};
use crate::registry::Served;

/// Namespaces that the cluster cannot be without.
const IMMORTAL: [&str; 3] = ["default", "kube-public", "kube-system"];
/// What clients read from the refusal: they wait for the namespace's end.
const CAUSE_TERMINATING: &str = "NamespaceTerminating";
/// A question about a namespace, which is answered whether it is there or not: the answer must not tell.
const REVIEW: (&str, &str) = ("authorization.k8s.io", "localsubjectaccessreviews");

/// The plugin.
pub struct NamespaceLifecycle;

impl Plugin for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn handles(&self, served: &Served, operation: Operation) -> bool {
        match operation {
            Operation::Create | Operation::Update => served.resource.namespaced && !served.is(REVIEW.0, REVIEW.1),
            Operation::Delete => served.is(NAMESPACES.0, NAMESPACES.1),
            Operation::Connect => false,
        }
    }

    fn admit<'a>(&'a self, attempt: &'a mut Attempt<'_>) -> Pass<'a> {
        if attempt.operation == Operation::Delete {
            return Pass::Now(match IMMORTAL.contains(&attempt.name) {
                true => Err(attempt.forbidden("this namespace may not be deleted")),
                false => Ok(()),
            });
        }
        check(attempt, judge)
    }

    fn validate<'a>(&'a self, attempt: &'a Attempt<'_>) -> Pass<'a> {
        if attempt.operation != Operation::Create {
            return Pass::on();
        }
        check(attempt, |attempt, namespace| {
            judge(attempt, namespace)?;
            let key = stored::key(attempt, NAMESPACES, "", attempt.namespace());
            if let (Some(alongside), Some(key)) = (attempt.alongside, key) {
                alongside.add(StoreOperation::check(key, Condition::Version(namespace.version)));
            }
            Ok(())
        })
    }
}

/// Looks at the namespace; once more, and then at the newest state, when it was not there when the write began.
fn check<'a>(attempt: &'a Attempt<'_>, look: fn(&Attempt<'_>, &Entry) -> Result<(), Failure>) -> Pass<'a> {
    match stored::namespace(attempt, attempt.snapshot) {
        Ok(namespace) => Pass::Now(look(attempt, namespace)),
        Err(_) => Pass::Later(Box::pin(async move {
            let newest = attempt.server.newest().await?;
            look(attempt, stored::namespace(attempt, &newest)?)
        })),
    }
}

/// What is there may be changed to the end; new is only made in a namespace that stays.
fn judge(attempt: &Attempt<'_>, namespace: &Entry) -> Result<(), Failure> {
    if attempt.operation != Operation::Create {
        return Ok(());
    }
    if namespace.index().is_unreadable() {
        return Err(Unservable::Unreadable.into());
    }
    if !namespace.index().is_deleting() {
        return Ok(());
    }
    let name = attempt.namespace();
    let why = format!("unable to create new content in namespace {name} because it is being terminated");
    let cause = StatusCause {
        reason: CAUSE_TERMINATING.into(),
        message: format!("namespace {name} is being terminated"),
        field: "metadata.namespace".to_owned(),
    };
    Err(Box::new(attempt.forbidden(&why).with_cause(cause)))
}
