//! Step 3, `Recorded`: from here on the request is on record.
//!
//! It gives the request its place in the audit log and hands it on. It will hold the policy (which level for whom), the
//! stages, and the chained log of A25 (upstream: `audit.k8s.io`); every later step already takes a value that only this one
//! makes, so nothing can be decided or done before it is on record.

use crate::authn::Identified;

/// A request that the audit log knows.
pub(crate) struct Recorded {
    identified: Identified,
}

impl Recorded {
    pub(crate) fn identified(&self) -> &Identified {
        &self.identified
    }

    pub(crate) fn identified_mut(&mut self) -> &mut Identified {
        &mut self.identified
    }
}

/// Puts a request on record.
pub(crate) fn record(identified: Identified) -> Recorded {
    let located = identified.located();
    tracing::debug!(
        audit_id = located.arrived().audit_id.to_str().unwrap_or_default(),
        user = identified.identity().name,
        verb = located.info().verb(),
        path = located.info().path(),
        gate = "audit",
        "request received"
    );
    Recorded { identified }
}
