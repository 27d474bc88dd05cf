//! Step 3, `Recorded`: from here on the request is on record (A25; upstream: the audit filter).
//!
//! The record is opened when it is known who sends the request, or that nobody could be proved. What later steps decide is noted on
//! it, and `gate` completes it with the answer. Every later step takes a value that only this one makes, so nothing can be
//! decided or done before it is on record. What a record says and where it goes: the crate `portcullis-audit`.

use std::sync::Arc;

use portcullis_audit::{Attributes, Auditor, NewRecord, Record, Target, User};

use crate::authn::{Identified, Unidentified};
use crate::identity::Identity;
use crate::refusal::Refusal;
use crate::request_info::Located;
use crate::trail::Trail;

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

/// Puts a request on record.
pub(crate) async fn record(auditor: &Arc<Auditor>, identified: Identified, trail: &Trail) -> Result<Recorded, Refusal> {
    let record = open(auditor, identified.located(), Some(identified.identity()));
    trail.record(&record);
    record.received().await.map_err(|_| Refusal::Unrecordable)?;
    Ok(Recorded { identified, record })
}

/// Puts on record that nobody could be proved.
pub(crate) fn record_stranger(auditor: &Arc<Auditor>, unidentified: Unidentified, trail: &Trail) -> Refusal {
    trail.record(&open(auditor, &unidentified.located, None));
    unidentified.refusal
}

fn open(auditor: &Arc<Auditor>, located: &Located, identity: Option<&Arc<Identity>>) -> Record {
    let (arrived, info) = (located.arrived(), located.info());
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
    auditor.open(&NewRecord {
        attributes: Attributes { user: identity.map(|identity| user(identity)), verb: info.verb(), target },
        audit_id: arrived.audit_id.to_str().unwrap_or_default(),
        uri: arrived.parts.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str),
        source_ips: &[],
        user_agent: "",
    })
}

/// An identity as the record has it.
pub(crate) fn user(identity: &Identity) -> User<'_> {
    let Identity { name, uid, groups, extra } = identity;
    User { name, uid, groups, extra }
}
