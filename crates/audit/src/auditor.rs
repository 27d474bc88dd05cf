//! Opens records and gives their events to the sinks.

use std::sync::Arc;

use crate::policy::Policy;
use crate::record::{NewRecord, Record};
use crate::sink::Sink;

/// What decides which requests are recorded, and where.
pub struct Auditor {
    policy: Policy,
    sinks: Vec<Box<dyn Sink>>,
}

impl Auditor {
    /// Records by a policy into sinks.
    pub fn new(policy: Policy, sinks: Vec<Box<dyn Sink>>) -> Arc<Self> {
        Arc::new(Self { policy, sinks })
    }

    /// Records nothing.
    pub fn none() -> Arc<Self> {
        Self::new(Policy::default(), Vec::new())
    }

    /// Opens the record of a request.
    pub fn open(self: &Arc<Self>, request: &NewRecord<'_>) -> Record {
        let decided = self.policy.decide(&request.attributes);
        Record::new(Arc::clone(self), request, decided)
    }

    /// Says whether a request that changes something may go on: what it does can be recorded, or the operator does not mind.
    pub fn may_write(&self) -> bool {
        self.sinks.iter().all(|sink| sink.is_ready())
    }
}
