//! Step 3, `Recorded`: from here on the request is on record (A25; upstream: the audit filter).
//!
//! The record is opened when it is known who sends the request, or that nobody could be proved. What later steps decide is noted on
//! it, and `gate` completes it with the answer. Every later step takes a value that only this one makes, so nothing can be
//! decided or done before it is on record. What a record says and where it goes: the crate `portcullis-audit`.

mod policy_file;
mod sources;

use std::sync::Arc;

use http::header;
use portcullis_audit::{Attributes, Auditor, Level, NewRecord, Record, Target, User};

use crate::arrival::Arrived;
use crate::authn::{Identified, TokenRemark, Unidentified};
use crate::identity::Identity;
use crate::refusal::Refusal;
use crate::request_info::{RequestInfo, Unlocated};
use crate::trail::Trail;

pub use self::policy_file::{AuditPolicyError, AuditPolicyFile};

use self::sources::Sources;

/// What an authoriser, or whoever else could refuse, decided (upstream's key).
const DECISION: &str = "authorization.k8s.io/decision";
/// Why (upstream's key).
const REASON: &str = "authorization.k8s.io/reason";
/// By which sort of credential the user was proved: a certificate may bear the name of a service account (NCC-R44).
const AUTHENTICATOR: &str = "audit.portcullis.io/authenticator";

/// A request that the audit log knows.
pub(crate) struct Recorded {
    identified: Identified,
    record: Record,
}

impl Recorded {
    pub(crate) fn identified(&self) -> &Identified {
        &self.identified
    }

    pub(crate) fn identified_mut(&mut self) -> &mut Identified {
        &mut self.identified
    }

    pub(crate) fn record(&self) -> &Record {
        &self.record
    }
}

/// Puts a request on record, or refuses it when nothing can be recorded now.
pub(crate) async fn record(auditor: &Arc<Auditor>, identified: Identified, trail: &Trail) -> Result<Recorded, Refusal> {
    if !auditor.has_sinks() {
        return Ok(Recorded { identified, record: Record::none() });
    }
    let located = identified.located();
    let attributes = attributes(located.info(), Some(identified.identity()));
    let record = open(auditor, located.arrived(), attributes);
    record.annotate(AUTHENTICATOR, identified.authenticator());
    if let Some(TokenRemark { key, value }) = identified.remark() {
        record.annotate(*key, value.clone());
    }
    trail.record(&record);
    if !auditor.lets_pass(&attributes, &record) {
        return Err(Refusal::Unrecordable);
    }
    record.received().await.map_err(|_| Refusal::Unrecordable)?;
    Ok(Recorded { identified, record })
}

/// Puts on record that nobody could be proved.
pub(crate) fn record_stranger(auditor: &Arc<Auditor>, unidentified: Unidentified, trail: &Trail) -> Refusal {
    let Unidentified { located, attempted, refusal, .. } = unidentified;
    let record = open(auditor, located.arrived(), attributes(located.info(), None));
    record.failed_authentication(attempted);
    trail.record(&record);
    refusal
}

/// Puts on record that a path could not be read; nobody asked who sends it.
pub(crate) fn record_unlocated(auditor: &Arc<Auditor>, unlocated: Unlocated, trail: &Trail) -> Refusal {
    let Unlocated { arrived, refusal } = unlocated;
    let verb = arrived.parts.method.as_str().to_ascii_lowercase();
    let target = Target::Path(arrived.parts.uri.path());
    trail.record(&open(auditor, &arrived, Attributes { user: None, verb: &verb, target }));
    refusal
}

/// Notes that an action was allowed.
pub(crate) fn note_allow(record: &Record, reason: &str) {
    note(record, "allow", reason);
}

/// Notes that an action was not allowed.
pub(crate) fn note_forbid(record: &Record, reason: &str) {
    note(record, "forbid", reason);
}

fn note(record: &Record, decision: &'static str, reason: &str) {
    if record.level() > Level::None {
        record.annotate(DECISION, decision);
        record.annotate(REASON, reason.to_owned());
    }
}

fn attributes<'a>(info: &'a RequestInfo, identity: Option<&'a Arc<Identity>>) -> Attributes<'a> {
    let target = match info.resource() {
        Some(info) => Target::Resource {
            group: info.group,
            version: info.version,
            resource: info.resource,
            subresource: info.subresource,
            namespace: info.namespace,
            name: info.name,
        },
        None => Target::Path(info.path()),
    };
    Attributes { user: identity.map(|identity| user(identity)), verb: info.verb(), target }
}

fn open(auditor: &Arc<Auditor>, arrived: &Arrived, attributes: Attributes<'_>) -> Record {
    let Some(decided) = auditor.decide(&attributes) else { return Record::none() };
    let headers = &arrived.parts.headers;
    let user_agent = headers.get(header::USER_AGENT).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let sources = Sources::of(headers, arrived.peer.remote().ip());
    let request = NewRecord {
        attributes,
        audit_id: arrived.audit_id.to_str().unwrap_or_default(),
        uri: arrived.parts.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str),
        source_ips: sources.as_slice(),
        user_agent: user_agent.as_deref().unwrap_or_default(),
    };
    auditor.open_as(&request, decided)
}

/// An identity as the record has it.
pub(crate) fn user(identity: &Identity) -> User<'_> {
    let Identity { name, uid, groups, extra } = identity;
    User { name, uid, groups, extra }
}

#[cfg(test)]
mod tests;
