//! What all connections of a listener share: who may come in, the rooms they wait and stay in, and how they are told to go.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use portcullis_model::cidr::Cidr;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::addresses::{ClientRanges, Origin};
use crate::config::{ConnectionRules, GoawayChance, Limits};
use crate::connection::metrics::{ConnectionMetrics, CutFor, RefusedFor};
use crate::draining::Stop;
use crate::handshakes::Handshakes;
use crate::penalties::Penalties;
use crate::places::{Place, Places};
use crate::rate::Seldom;

/// See the module's text.
pub(crate) struct Entrance {
    ranges: ClientRanges,
    penalties: Penalties,
    refused: Seldom,
    pub(crate) handshakes: Arc<Handshakes>,
    /// Connections that have a place and no request of theirs has proved an identity.
    pub(crate) strangers: Arc<Handshakes>,
    pub(crate) places: Arc<Places>,
    pub(crate) metrics: Arc<ConnectionMetrics>,
    pub(crate) stop: Stop,
    pub(crate) goaway_chance: GoawayChance,
    is_turning_away: AtomicBool,
    /// Requests that are not answered yet, streams aside.
    in_flight: AtomicU64,
    answered: Notify,
}

impl Entrance {
    pub(crate) fn new(limits: &Limits, rules: &ConnectionRules, metrics: Arc<ConnectionMetrics>) -> Arc<Self> {
        let ranges: Vec<Cidr> = rules.client_ranges.clone();
        Arc::new(Self {
            ranges: ClientRanges::new(ranges),
            penalties: Penalties::default(),
            refused: Seldom::default(),
            handshakes: Handshakes::new(limits.handshakes_max),
            strangers: Handshakes::new(limits.connections_max),
            places: Places::new(limits.connections_max),
            metrics,
            stop: Stop::new(rules.watch_grace),
            goaway_chance: rules.goaway_chance,
            is_turning_away: AtomicBool::new(false),
            in_flight: AtomicU64::new(0),
            answered: Notify::new(),
        })
    }

    /// Judges an address before anything is done for it (A16: a refused client gets no TLS byte).
    pub(crate) fn admit(&self, address: IpAddr) -> Result<(), RefusedFor> {
        if !self.ranges.admit(address) {
            return Err(RefusedFor::AddressRange);
        }
        if !self.penalties.admit(Origin::of(address), Instant::now()) {
            return Err(RefusedFor::Penalty);
        }
        Ok(())
    }

    /// Says whether a claim would be granted now.
    pub(crate) fn has_room(&self, origin: Origin) -> Result<(), RefusedFor> {
        match self.places.has_room(origin) {
            Err(no_place) if !self.strangers.could_make_room(no_place.of(origin)) => Err(no_place.into()),
            _ => Ok(()),
        }
    }

    /// Gives a connection the place it keeps. When all are taken, or the share of its address is, somebody goes who has proved no
    /// identity, of that address in the latter case: nobody without one can keep those out who have.
    pub(crate) fn claim(&self, origin: Origin) -> Result<Place, RefusedFor> {
        self.places.claim(origin).or_else(|no_place| {
            if !self.strangers.make_room(no_place.of(origin)) {
                return Err(no_place.into());
            }
            self.metrics.count_cut(CutFor::StrangerRoom);
            Ok(self.places.claim_of_another(origin))
        })
    }

    /// Makes room where the system has no more: a connection is cut that has not said who it is.
    pub(crate) fn make_room(&self) {
        if self.handshakes.make_room(None) {
            self.metrics.count_cut(CutFor::HandshakeRoom);
        } else if self.strangers.make_room(None) {
            self.metrics.count_cut(CutFor::StrangerRoom);
        }
    }

    /// Counts a connection that was closed before it was served.
    pub(crate) fn refused(&self, address: IpAddr, reason: RefusedFor) {
        self.metrics.count_refused(reason);
        if let Some(count) = self.refused.count(Instant::now()) {
            tracing::warn!(%address, ?reason, count, "connections refused; the last one's address and reason");
        }
    }

    /// Counts a connection that was ended, and holds it against its address if it was abuse.
    pub(crate) fn cut(&self, address: IpAddr, reason: CutFor) {
        self.metrics.count_cut(reason);
        if reason.is_abuse() {
            self.penalties.strike(Origin::of(address), Instant::now());
        }
    }

    /// From now on requests are answered with "come again elsewhere".
    pub(crate) fn turn_away(&self) {
        self.is_turning_away.store(true, Ordering::Release);
    }

    pub(crate) fn is_turning_away(&self) -> bool {
        self.is_turning_away.load(Ordering::Acquire)
    }

    /// Waits until nothing but streams is in flight.
    pub(crate) async fn until_answered(&self) {
        loop {
            let answered = self.answered.notified();
            if self.in_flight.load(Ordering::Acquire) == 0 {
                return;
            }
            answered.await;
        }
    }
}

/// A request in flight, until it is dropped.
pub(crate) struct InFlight(Arc<Entrance>);

impl InFlight {
    pub(crate) fn begin(entrance: &Arc<Entrance>) -> Self {
        entrance.in_flight.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(entrance))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 && self.0.is_turning_away() {
            self.0.answered.notify_waiters();
        }
    }
}
