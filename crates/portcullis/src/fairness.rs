//! The flags about who is served when not everybody can be (upstream: generic server run options, KEP-1040).

use std::sync::Arc;

use clap::ArgAction;
use portcullis_apiserver::StoredFlowControl;
use portcullis_fairness::Dispatcher;
use portcullis_gate::Fairness;

#[derive(Debug, clap::Args)]
pub(crate) struct FairnessArguments {
    /// Requests that only read served at once, watches apart; together with those that change something, the seats that
    /// levels of priority share. 0: no limit, where there are no levels
    #[arg(long, value_name = "NUMBER", default_value_t = 400)]
    max_requests_inflight: u32,
    /// Requests that change something served at once
    #[arg(long, value_name = "NUMBER", default_value_t = 200)]
    max_mutating_requests_inflight: u32,
    /// Share seats by flow schemas and levels of priority, and let requests wait for them; else the two limits hold as they are
    #[arg(
        long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_value_t = true, default_missing_value = "true"
    )]
    enable_priority_and_fairness: bool,
}

/// Who waits for whom, and what shares the seats, if there are any.
pub(crate) struct Built {
    /// For the gate.
    pub(crate) fairness: Fairness,
    /// For whoever shows what it does.
    pub(crate) dispatcher: Option<Arc<Dispatcher>>,
}

impl FairnessArguments {
    /// Checks what clap cannot.
    ///
    /// # Errors
    /// When there would be no seat.
    pub(crate) fn check(&self) -> Result<(), clap::Error> {
        if !self.enable_priority_and_fairness || self.seats() > 0 {
            return Ok(());
        }
        let message = "--max-requests-inflight and --max-mutating-requests-inflight are 0: together they are the seats that \
                       levels of priority share\n";
        Err(clap::Error::raw(clap::error::ErrorKind::InvalidValue, message))
    }

    fn seats(&self) -> u32 {
        self.max_requests_inflight.saturating_add(self.max_mutating_requests_inflight)
    }

    /// Builds what the flags ask for.
    pub(crate) fn build(&self, stored: StoredFlowControl) -> Built {
        if !self.enable_priority_and_fairness {
            let places = |most: u32| usize::try_from(most).unwrap_or(usize::MAX);
            let (reading, changing) = (self.max_requests_inflight, self.max_mutating_requests_inflight);
            let fairness = Fairness::by_number(places(reading), places(changing));
            return Built { fairness, dispatcher: None };
        }
        let dispatcher = Arc::new(Dispatcher::new(self.seats()));
        let fairness = Fairness::by_flows(Arc::new(stored), Arc::clone(&dispatcher));
        Built { fairness, dispatcher: Some(dispatcher) }
    }
}
