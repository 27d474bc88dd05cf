//! DenyServiceExternalIPs: no service gets an address from outside that its author chose (upstream:
//! `plugin/pkg/admission/network/denyserviceexternalips`; A23, CVE-2020-8554).
//!
//! Whoever may write a service could have the traffic to any address sent to pods of their own: to a bank, to a metadata service. What a
//! service has already it keeps, and it may give some of it up.

use portcullis_kinds::views;
use portcullis_kinds::views::core_v1::Service;

use super::{Attempt, Operation, Pass, Plugin};
use crate::registry::Served;

/// The plugin.
pub struct DenyServiceExternalIPs;

impl Plugin for DenyServiceExternalIPs {
    fn name(&self) -> &'static str {
        "DenyServiceExternalIPs"
    }

    fn handles(&self, served: &Served, operation: Operation) -> bool {
        served.is("", "services") && matches!(operation, Operation::Create | Operation::Update)
    }

    fn validate<'a>(&'a self, attempt: &'a Attempt<'_>) -> Pass<'a> {
        if !attempt.subresource().is_empty() {
            return Pass::on();
        }
        let Some(new) = attempt.new().map(views::read::<Service<'_>>) else { return Pass::on() };
        let new = new.spec().external_ips();
        if new.is_empty() {
            return Pass::on();
        }
        let old = attempt.old.map(views::read::<Service<'_>>);
        let held: std::collections::HashSet<&str> =
            old.into_iter().flat_map(|old| old.spec().external_ips().iter()).collect();
        if new.iter().all(|address| held.contains(address)) {
            return Pass::on();
        }
        Pass::Now(Err(attempt.forbidden("Use of external IPs is denied by admission control.")))
    }
}
