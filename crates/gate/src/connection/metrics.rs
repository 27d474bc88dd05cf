//! What is counted of connections: how many there are, who was refused and why, who was cut and why. Labels are reasons of ours, never
//! a peer's text or address.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::places::NoPlace;

/// Why a connection was closed before its handshake, or right after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefusedFor {
    /// Its address may not connect (A16).
    AddressRange,
    /// Its address abused connections a moment ago.
    Penalty,
    /// All places are taken.
    Full,
    /// Few places are left, and its address has its share.
    AddressShare,
}

impl RefusedFor {
    fn label(self) -> &'static str {
        match self {
            Self::AddressRange => "address_range",
            Self::Penalty => "penalty",
            Self::Full => "full",
            Self::AddressShare => "address_share",
        }
    }
}

impl From<NoPlace> for RefusedFor {
    fn from(no_place: NoPlace) -> Self {
        match no_place {
            NoPlace::Full => Self::Full,
            NoPlace::ShareTaken => Self::AddressShare,
        }
    }
}

/// Why a connection was ended that was open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CutFor {
    /// Its handshake took too long.
    HandshakeTimeout,
    /// Another one needed its place among the handshakes.
    HandshakeRoom,
    /// Another one needed its place, and it had not proved who it is.
    StrangerRoom,
    /// It sent too many frames that are no requests.
    Frames,
    /// It abandoned too many requests (CVE-2023-44487).
    AbandonedRequests,
    /// It sent a flood that the protocol itself knows: resets before acceptance, CONTINUATION, tiny DATA.
    Protocol,
    /// It does not read its answers.
    UnreadAnswer,
    /// It does not finish the head of a request.
    SlowHead,
}

impl CutFor {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::HandshakeTimeout => "handshake_timeout",
            Self::HandshakeRoom => "handshake_room",
            Self::StrangerRoom => "stranger_room",
            Self::Frames => "frames",
            Self::AbandonedRequests => "abandoned_requests",
            Self::Protocol => "protocol",
            Self::UnreadAnswer => "unread_answer",
            Self::SlowHead => "slow_head",
        }
    }

    /// Whether no client that means well does this.
    pub(crate) fn is_abuse(self) -> bool {
        matches!(self, Self::Frames | Self::AbandonedRequests | Self::Protocol)
    }
}

/// The counters of one listener.
#[derive(Clone)]
pub struct ConnectionMetrics {
    pub(crate) accepted: IntCounter,
    pub(crate) pending: IntGauge,
    pub(crate) open: IntGauge,
    pub(crate) handshake_errors: IntCounter,
    pub(crate) requests_abandoned: IntCounter,
    pub(crate) bodies_too_slow: IntCounter,
    pub(crate) goaways: IntCounter,
    pub(crate) turned_away: IntCounter,
    refused: IntCounterVec,
    cut: IntCounterVec,
}

impl ConnectionMetrics {
    /// Counters at zero.
    ///
    /// # Errors
    /// Never for the names that stand here.
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| IntCounter::new(name, help);
        let gauge = |name: &str, help: &str| IntGauge::new(name, help);
        let by_reason = |name: &str, help: &str| IntCounterVec::new(Opts::new(name, help), &["reason"]);
        Ok(Self {
            accepted: counter("portcullis_connections_accepted_total", "Connections accepted from the system.")?,
            pending: gauge("portcullis_connections_pending", "Connections whose handshake is not finished.")?,
            open: gauge("portcullis_connections_open", "Connections whose handshake is finished.")?,
            handshake_errors: counter(
                "apiserver_tls_handshake_errors_total",
                "Connections whose TLS handshake failed.",
            )?,
            requests_abandoned: counter(
                "portcullis_connections_requests_abandoned_total",
                "Requests over HTTP/2 whose client went away before the end of the answer.",
            )?,
            bodies_too_slow: counter(
                "portcullis_connections_slow_bodies_total",
                "Requests whose body came slower than the least rate, answered with 408.",
            )?,
            goaways: counter(
                "portcullis_connections_goaway_chance_total",
                "Connections over HTTP/2 that were told to go and come again (--goaway-chance).",
            )?,
            turned_away: counter(
                "portcullis_connections_shutdown_turned_away_total",
                "Requests answered with 429 because the server stops (--shutdown-send-retry-after).",
            )?,
            refused: by_reason("portcullis_connections_refused_total", "Connections closed before they were served.")?,
            cut: by_reason("portcullis_connections_cut_total", "Connections ended by the server for a limit.")?,
        })
    }

    /// Makes them part of what `/metrics` shows.
    ///
    /// # Errors
    /// When one of the names is taken.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        let Self { accepted, pending, open, handshake_errors, requests_abandoned, bodies_too_slow, .. } = self;
        for counter in
            [accepted, handshake_errors, requests_abandoned, bodies_too_slow, &self.goaways, &self.turned_away]
        {
            registry.register(Box::new(counter.clone()))?;
        }
        for gauge in [pending, open] {
            registry.register(Box::new(gauge.clone()))?;
        }
        registry.register(Box::new(self.refused.clone()))?;
        registry.register(Box::new(self.cut.clone()))
    }

    /// How many connections were refused for a reason that this label names.
    #[must_use]
    pub fn refused(&self, reason: &str) -> u64 {
        self.refused.get_metric_with_label_values(&[reason]).map_or(0, |counter| counter.get())
    }

    /// How many connections were cut for a reason that this label names.
    #[must_use]
    pub fn cut(&self, reason: &str) -> u64 {
        self.cut.get_metric_with_label_values(&[reason]).map_or(0, |counter| counter.get())
    }

    /// Connections whose handshake is not finished, now.
    #[must_use]
    pub fn pending(&self) -> i64 {
        self.pending.get()
    }

    /// Connections whose handshake is finished, now.
    #[must_use]
    pub fn open(&self) -> i64 {
        self.open.get()
    }

    /// Requests over HTTP/2 whose client went away before the end of the answer.
    #[must_use]
    pub fn requests_abandoned(&self) -> u64 {
        self.requests_abandoned.get()
    }

    pub(crate) fn count_refused(&self, reason: RefusedFor) {
        self.refused.with_label_values(&[reason.label()]).inc();
    }

    pub(crate) fn count_cut(&self, reason: CutFor) {
        self.cut.with_label_values(&[reason.label()]).inc();
    }
}
