//! The first state of a request, `Arrived`: parsed HTTP, the peer it came from, and the audit id that its answer will carry.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request};

use crate::authn::certificate::PeerCertificate;
use crate::body::RequestBody;
use crate::draining::Draining;
use crate::identity::Identity;
use crate::places::Place;

/// The header that names a request in the audit log.
pub(crate) const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

const UUID_LEN: usize = 36;

/// The other end of a connection, shared by its requests. It holds the connection's place among the connections allowed at
/// once: whoever keeps the peer (an upgraded stream) keeps the place.
pub struct Peer {
    remote: SocketAddr,
    credential: PeerCredential,
    known: AtomicBool,
    stranger: AtomicBool,
    draining: Draining,
    _place: Option<Place>,
}

/// What a connection proves before any of its requests.
pub(crate) enum PeerCredential {
    /// Nothing.
    None,
    /// A certificate whose key the peer holds; whether a CA vouches for it is judged by `authn`.
    Certificate(PeerCertificate),
    /// A part of this process, which was given its identity when it was started.
    Process(Arc<Identity>),
}

impl Peer {
    /// A peer behind a TLS connection.
    pub(crate) fn over_tls(
        remote: SocketAddr,
        certificate: Option<PeerCertificate>,
        place: Place,
        draining: Draining,
    ) -> Arc<Self> {
        let credential = certificate.map_or(PeerCredential::None, PeerCredential::Certificate);
        Arc::new(Self {
            remote,
            credential,
            known: AtomicBool::new(false),
            stranger: AtomicBool::new(false),
            draining,
            _place: Some(place),
        })
    }

    /// A part of this process (a controller under `up`): it has an identity of its own and passes the same gate.
    pub fn in_process(identity: Arc<Identity>) -> Arc<Self> {
        Arc::new(Self {
            remote: SocketAddr::from(([127, 0, 0, 1], 0)),
            credential: PeerCredential::Process(identity),
            known: AtomicBool::new(true),
            stranger: AtomicBool::new(false),
            draining: Draining::never(),
            _place: None,
        })
    }

    /// Returns the address the connection came from.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    pub(crate) fn credential(&self) -> &PeerCredential {
        &self.credential
    }

    /// Tells when the server that the peer came to begins to stop.
    pub(crate) fn draining(&self) -> &Draining {
        &self.draining
    }

    /// Notes that a request of this connection proved an identity.
    pub(crate) fn mark_known(&self) {
        self.known.store(true, Ordering::Relaxed);
    }

    /// Says whether a request of this connection proved an identity.
    pub(crate) fn is_known(&self) -> bool {
        self.known.load(Ordering::Relaxed)
    }

    /// Notes that a request of this connection proved no identity.
    pub(crate) fn mark_stranger(&self) {
        self.stranger.store(true, Ordering::Relaxed);
    }

    /// Says whether a request of this connection proved no identity.
    pub(crate) fn is_stranger(&self) -> bool {
        self.stranger.load(Ordering::Relaxed)
    }
}

/// A request as it came from the wire. Nothing is known about it but its bytes and its peer.
pub(crate) struct Arrived {
    pub(crate) peer: Arc<Peer>,
    pub(crate) parts: Parts,
    pub(crate) body: RequestBody,
    pub(crate) audit_id: HeaderValue,
}

impl Arrived {
    pub(crate) fn new(peer: Arc<Peer>, request: Request<RequestBody>) -> Self {
        let (parts, body) = request.into_parts();
        let audit_id = audit_id(&parts.headers);
        Self { peer, parts, body, audit_id }
    }
}

/// Returns the audit id an aggregating server in front gave the request, if it has the form of one, else a new one.
fn audit_id(headers: &HeaderMap) -> HeaderValue {
    if let Some(given) = headers.get(AUDIT_ID).filter(|given| is_uuid(given.as_bytes())) {
        return given.clone();
    }
    let mut random = [0_u8; 16];
    // Refused only when the system has no randomness at all; TLS would not work either. An id of zeros is still an id.
    let _ = aws_lc_rs::rand::fill(&mut random);
    HeaderValue::from_bytes(&uuid_v4(random))
        .unwrap_or(HeaderValue::from_static("00000000-0000-4000-8000-000000000000"))
}

fn is_uuid(text: &[u8]) -> bool {
    text.len() == UUID_LEN
        && text.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Writes 16 random bytes as a version 4 UUID.
fn uuid_v4(mut random: [u8; 16]) -> [u8; UUID_LEN] {
    const HEX: [u8; 16] = *b"0123456789abcdef";
    random[6] = random[6] & 0x0f | 0x40;
    random[8] = random[8] & 0x3f | 0x80;
    let mut text = [b'-'; UUID_LEN];
    let mut digits = random.iter().flat_map(|byte| [byte >> 4, byte & 0x0f]);
    for (at, place) in text.iter_mut().enumerate() {
        if matches!(at, 8 | 13 | 18 | 23) {
            continue;
        }
        let digit = digits.next().unwrap_or_default();
        *place = HEX.get(usize::from(digit)).copied().unwrap_or(b'0');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audit_id_is_kept_only_in_the_form_of_one() {
        let check = |given: &'static str, kept: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(AUDIT_ID, HeaderValue::from_static(given));
            let id = audit_id(&headers);
            assert_eq!(id == given, kept, "{given}");
            assert!(is_uuid(id.as_bytes()), "{id:?}");
        };
        check("0d1f3c54-88aa-4f6e-9c3e-0123456789ab", true);
        check("0d1f3c54-88aa-4f6e-9c3e-0123456789a", false);
        check("0d1f3c54-88aa-4f6e-9c3e-0123456789ag", false);
        check("0d1f3c54x88aa-4f6e-9c3e-0123456789ab", false);
        check("x", false);
        check("", false);
    }

    #[test]
    fn ids_differ_and_carry_their_version() {
        let text = uuid_v4([0xff; 16]);
        assert_eq!(text, *b"ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_ne!(audit_id(&HeaderMap::new()), audit_id(&HeaderMap::new()));
    }
}
