//! What an operator decides about the gate: addresses, certificates, the profile of defaults, and every limit.
//!
//! The numbers are upstream's where upstream has one (generic API server options, `secure_serving`); the rest bound what a
//! peer without credentials can make the process hold.

use std::net::SocketAddr;
use std::time::Duration;

use portcullis_model::cidr::Cidr;
use zeroize::Zeroizing;

use crate::rate::Rate;

/// Connections open at once; one more is closed before its handshake.
pub const CONNECTIONS_MAX: usize = 8192;
/// Connections whose handshake is not finished; one more makes room for itself, see `handshakes`.
pub const HANDSHAKES_MAX: usize = 1024;
/// From accept to the end of the TLS handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// From the first moment an HTTP/1 request could begin to the end of its head; so an idle connection ends after it too.
pub const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(32);
/// Bytes of a request's head.
pub const HEADER_BYTES_MAX: u32 = 1 << 20;
/// Bytes of a request's body.
pub const BODY_BYTES_MAX: u64 = 3 * 1024 * 1024;
/// Bytes a second that the body of a request must bring on average once its grace is over: a bad line does, and a peer who only
/// keeps a request open does not.
pub const BODY_BYTES_PER_SECOND_MIN: u32 = 1024;
/// How long a body may bring nothing before it is judged by its rate.
pub const BODY_GRACE: Duration = Duration::from_secs(10);
/// Requests over HTTP/2 that one connection's peer abandons before the end of their answers (CVE-2023-44487). A controller that ends
/// all of its watches at once does so hundreds of times.
pub const ABANDONED: Rate = Rate { burst: 512, per_second: 32 };
/// Bytes of an unwanted HTTP/1 body that are read and dropped, so that its sender gets to read the answer.
pub(crate) const DISCARDED_BYTES_MAX: u64 = BODY_BYTES_MAX + 256 * 1024;
/// How long that may take.
pub(crate) const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);
/// A request that is not long-running gets its answer within this time, or 504.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// A connection without a request ends after this time, at most twice this time.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// Open streams of an HTTP/2 connection.
pub const STREAMS_MAX: u32 = 100;
/// Streams a peer has reset that were not yet accepted (CVE-2023-44487); one more ends the connection.
pub(crate) const PENDING_RESETS_MAX: usize = 20;
/// Streams reset here because of a peer's errors; one more ends the connection.
pub(crate) const LOCAL_RESETS_MAX: usize = 1024;
/// Bytes in flight to us on one HTTP/2 stream.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// Bytes in flight to us on one HTTP/2 connection.
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// Bytes of answers waiting on one HTTP/2 stream.
pub(crate) const SEND_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Between HTTP/2 keep-alive pings.
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(30);
/// A ping that is not answered within this time ends the connection.
pub(crate) const PING_TIMEOUT: Duration = Duration::from_secs(15);
/// How long an HTTP/2 connection without credentials may take to close after its one request.
pub const STRANGER_LINGER: Duration = Duration::from_secs(1);
/// How long requests in flight may take to end when the server stops: as long as a request may take at all (upstream's too).
pub const DRAIN_TIMEOUT: Duration = REQUEST_TIMEOUT;
/// Seconds after which a client that was turned away by a stopping server should come again (upstream's).
pub(crate) const TURNED_AWAY_RETRY_SECONDS: u32 = 5;
/// The largest part of HTTP/2 requests after which a client is told to come again (upstream's).
const GOAWAY_CHANCE_MAX: f64 = 0.02;
/// Pause after `accept` failed (no file descriptors left, usually).
pub(crate) const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(50);

/// Everything the gate is told at start.
pub struct GateConfig {
    /// Where to listen.
    pub bind: SocketAddr,
    /// The serving certificate and the CA of client certificates.
    pub tls: TlsMaterial,
    /// Which set of defaults is in force.
    pub defaults: Profile,
    /// The limits; `Limits::default()` outside tests.
    pub limits: Limits,
    /// Who may connect, and how connections end.
    pub connections: ConnectionRules,
}

/// What an operator decides about connections.
#[derive(Clone, Debug, Default)]
pub struct ConnectionRules {
    /// The addresses that may connect (A16); all of them when it is empty.
    pub client_ranges: Vec<Cidr>,
    /// How often a client is told to connect again, so that clients spread over several servers (upstream: `--goaway-chance`).
    pub goaway_chance: GoawayChance,
    /// Over how long the ends of watches are spread when the server stops; they end at once when it is zero (upstream:
    /// `--shutdown-watch-termination-grace-period`).
    pub watch_grace: Duration,
    /// Whether a stopping server goes on listening until what is in flight is answered, and answers everything else with 429
    /// (upstream: `--shutdown-send-retry-after`).
    pub send_retry_after: bool,
}

/// A part of requests between none and two of a hundred.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GoawayChance(u64);

impl GoawayChance {
    /// None for what is no such part.
    #[must_use]
    pub fn new(part: f64) -> Option<Self> {
        // Of the 2^64 values that a random number has.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and a fiftieth of u64")]
        let of_all = |part: f64| (part * 2_f64.powi(64)) as u64;
        (0.0..=GOAWAY_CHANCE_MAX).contains(&part).then(|| Self(of_all(part)))
    }

    /// Says whether it is this request's turn.
    pub(crate) fn strikes(self) -> bool {
        if self.0 == 0 {
            return false;
        }
        let mut random = [0xff; 8];
        // Without randomness nobody is told to go.
        let _ = aws_lc_rs::rand::fill(&mut random);
        u64::from_ne_bytes(random) < self.0
    }
}

/// Certificates and keys as PEM text, as they stand in files.
pub struct TlsMaterial {
    /// The serving certificate, then its intermediates.
    pub cert_chain_pem: Vec<u8>,
    /// The private key of the serving certificate.
    pub key_pem: Zeroizing<Vec<u8>>,
    /// One or more CA certificates; a client certificate must chain to one of them.
    pub client_ca_pem: Vec<u8>,
}

/// Which set of defaults is in force (A27). The gate itself behaves the same under both: what it holds (L1, A2-A6, A22) is
/// never relaxed. Later steps read it from here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// All of `docs/lockdown.md`; the default.
    #[default]
    Locked,
    /// Upstream's answers.
    Upstream,
}

/// The limits of one gate. Each field has the meaning of the constant of the same name, which is its default.
#[derive(Clone, Debug)]
pub struct Limits {
    /// See [`CONNECTIONS_MAX`].
    pub connections_max: usize,
    /// See [`HANDSHAKES_MAX`].
    pub handshakes_max: usize,
    /// See [`HANDSHAKE_TIMEOUT`].
    pub handshake_timeout: Duration,
    /// See [`HEADER_READ_TIMEOUT`].
    pub header_read_timeout: Duration,
    /// See [`HEADER_BYTES_MAX`].
    pub header_bytes_max: u32,
    /// See [`BODY_BYTES_MAX`].
    pub body_bytes_max: u64,
    /// See [`BODY_BYTES_PER_SECOND_MIN`].
    pub body_bytes_per_second_min: u32,
    /// See [`BODY_GRACE`].
    pub body_grace: Duration,
    /// See [`ABANDONED`].
    pub abandoned: Rate,
    /// See [`REQUEST_TIMEOUT`].
    pub request_timeout: Duration,
    /// See [`IDLE_TIMEOUT`].
    pub idle_timeout: Duration,
    /// See [`STREAMS_MAX`].
    pub streams_max: u32,
    /// See [`STRANGER_LINGER`].
    pub stranger_linger: Duration,
    /// See [`DRAIN_TIMEOUT`].
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: CONNECTIONS_MAX,
            handshakes_max: HANDSHAKES_MAX,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            header_read_timeout: HEADER_READ_TIMEOUT,
            header_bytes_max: HEADER_BYTES_MAX,
            body_bytes_max: BODY_BYTES_MAX,
            body_bytes_per_second_min: BODY_BYTES_PER_SECOND_MIN,
            body_grace: BODY_GRACE,
            abandoned: ABANDONED,
            request_timeout: REQUEST_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            streams_max: STREAMS_MAX,
            stranger_linger: STRANGER_LINGER,
            drain_timeout: DRAIN_TIMEOUT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goaway_chance_is_small() {
        let check = |part: f64, expected: bool| assert_eq!(GoawayChance::new(part).is_some(), expected, "{part}");
        check(0.0, true);
        check(0.001, true);
        check(0.02, true);
        check(0.021, false);
        check(1.0, false);
        check(-0.001, false);
        check(f64::NAN, false);
        assert!(!GoawayChance::default().strikes());
        assert!(GoawayChance(u64::MAX).strikes());
    }
}
