//! Step 5, `Seated`: the request has a seat among those served at once.
//!
//! It hands every request on. It will hold priority and fairness (upstream: `flowcontrol.apiserver.k8s.io`): flow schemas,
//! levels, shuffle sharding, seats, 429 with `Retry-After`, and the two `X-Kubernetes-PF` headers. Until then the limits are
//! those of connections and streams.

use crate::impersonation::Acting;

/// A request that may take time and memory now. The seat is free again when this value is dropped.
pub(crate) struct Seated {
    acting: Acting,
}

impl Seated {
    pub(crate) fn acting(&self) -> &Acting {
        &self.acting
    }

    pub(crate) fn acting_mut(&mut self) -> &mut Acting {
        &mut self.acting
    }
}

/// Gives a request a seat.
pub(crate) fn seat(acting: Acting) -> Seated {
    Seated { acting }
}
