//! Client certificates: CN is the user, O its groups, the UID attribute its uid (upstream: the x509 authenticator, KEP-4193
//! for the credential id).
//!
//! The handshake proves only that the peer holds the key. Whether one of the cluster's CAs vouches for the certificate is
//! judged here, per request, because the answer to a wrong certificate is a 401 that a client can read, and because CAs are
//! replaced and certificates expire while connections stay. The verdict is kept with the connection for a minute. The front
//! proxy's certificate is judged the same way, by a CA of its own.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use aws_lc_rs::digest;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::{OID_X509_COMMON_NAME, OID_X509_ORGANIZATION_NAME, Oid};
use x509_parser::prelude::FromDer;

use crate::arrival::{Arrived, PeerCredential};
use crate::identity::{EXTRA_CREDENTIAL_ID, GROUP_AUTHENTICATED, Identity};
use crate::tls::TlsError;

use super::{Authentication, Authenticator};

/// How long a verdict over a certificate stands.
const VERDICT_TTL: Duration = Duration::from_secs(60);
/// Certificates a peer may send.
const CHAIN_LEN_MAX: usize = 10;
/// The subject attribute that holds a user's uid: 1.3.6.1.4.1.57683.2 (`AllowParsingUserUIDFromCertAuth`).
const UID_OID: &[u64] = &[1, 3, 6, 1, 4, 1, 57683, 2];

/// The CAs that vouch for client certificates, each in its own time. The library knows a trusted CA by name and key alone, so that
/// one that has ended would go on; upstream's ends.
pub(crate) struct ClientRoots {
    authorities: Vec<Authority>,
    provider: Arc<CryptoProvider>,
    in_force: ArcSwap<InForce>,
}

struct Authority {
    certificate: CertificateDer<'static>,
    seconds: RangeInclusive<i64>,
}

/// Who vouches in a span of time in which no CA begins and none ends.
struct InForce {
    seconds: Range<i64>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
}

impl ClientRoots {
    /// Makes them of certificates, of which there should be one.
    pub(crate) fn new(
        certificates: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let mut authorities = Vec::with_capacity(certificates.len());
        for certificate in certificates {
            // Also what is not in force now must be usable.
            RootCertStore::empty().add(certificate.clone()).map_err(TlsError::ClientCaUnusable)?;
            let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|_| TlsError::ClientCaMalformed)?;
            let validity = parsed.validity();
            let seconds = validity.not_before.timestamp()..=validity.not_after.timestamp();
            authorities.push(Authority { certificate, seconds });
        }
        let in_force = ArcSwap::from_pointee(InForce::at(&authorities, &provider, seconds(UnixTime::now()))?);
        Ok(Self { authorities, provider, in_force })
    }

    /// Says whether one of them vouches for a certificate, and until which second this may be believed.
    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<i64, &'static str> {
        let refused = "certificate is not vouched for by the client CA";
        let second = seconds(now);
        let mut in_force = self.in_force.load_full();
        if !in_force.seconds.contains(&second) {
            in_force = Arc::new(InForce::at(&self.authorities, &self.provider, second).map_err(|_| refused)?);
            self.in_force.store(Arc::clone(&in_force));
        }
        let verifier = in_force.verifier.as_ref().ok_or(refused)?;
        verifier.verify_client_cert(leaf, intermediates, now).map_err(|_| refused)?;
        Ok(in_force.seconds.end)
    }
}

impl InForce {
    fn at(authorities: &[Authority], provider: &Arc<CryptoProvider>, second: i64) -> Result<Self, TlsError> {
        let (mut seconds, mut roots) = (i64::MIN..i64::MAX, RootCertStore::empty());
        for authority in authorities {
            for turn in [*authority.seconds.start(), authority.seconds.end().saturating_add(1)] {
                if turn <= second {
                    seconds.start = seconds.start.max(turn);
                } else {
                    seconds.end = seconds.end.min(turn);
                }
            }
            if authority.seconds.contains(&second) {
                roots.add(authority.certificate.clone()).map_err(TlsError::ClientCaUnusable)?;
            }
        }
        if roots.is_empty() {
            return Ok(Self { seconds, verifier: None });
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        Ok(Self { seconds, verifier: Some(builder.build().map_err(TlsError::VerifierUnusable)?) })
    }
}

fn seconds(time: UnixTime) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

/// The CAs in force now; replaced as a whole when they are reloaded.
pub(crate) type ClientTrust = Arc<ArcSwap<ClientRoots>>;

/// The certificates a peer sent, and the latest verdict over them.
pub(crate) struct PeerCertificate {
    chain: Vec<CertificateDer<'static>>,
    /// When the peer's own certificate ends; zero for one that cannot be read.
    not_after: i64,
    trust: ClientTrust,
    verdict: ArcSwap<CertificateVerdict>,
    /// By the front proxy's CA; nothing until somebody asks.
    front_proxy: ArcSwapOption<CertificateVerdict>,
}

struct CertificateVerdict {
    roots: Arc<ClientRoots>,
    stands_until: UnixTime,
    outcome: Result<Arc<Identity>, &'static str>,
}

impl PeerCertificate {
    /// Judges the certificates of a new connection.
    pub(crate) fn new(chain: Vec<CertificateDer<'static>>, trust: ClientTrust) -> Self {
        let verdict = judge(&chain, trust.load_full(), UnixTime::now());
        let leaf = chain.first().and_then(|leaf| X509Certificate::from_der(leaf).ok());
        let not_after = leaf.map_or(0, |(_, leaf)| leaf.validity().not_after.timestamp());
        Self { chain, not_after, trust, verdict: ArcSwap::from_pointee(verdict), front_proxy: ArcSwapOption::empty() }
    }

    /// Returns the second since 1970 at which the peer's own certificate ends; zero when it cannot be read.
    pub(crate) fn not_after(&self) -> i64 {
        self.not_after
    }

    /// Returns the identity the certificate proves at `now`, or why it proves none.
    fn identity(&self, now: UnixTime) -> Result<Arc<Identity>, &'static str> {
        let verdict = self.verdict.load();
        let roots = self.trust.load();
        if verdict.stands(&roots, now) {
            return verdict.outcome.clone();
        }
        let renewed = judge(&self.chain, Arc::clone(&roots), now);
        let outcome = renewed.outcome.clone();
        self.verdict.store(Arc::new(renewed));
        outcome
    }

    /// Returns the identity that the certificate proves to those who trust the front proxy's CA.
    pub(super) fn front_proxy(&self, roots: &Arc<ClientRoots>, now: UnixTime) -> Result<Arc<Identity>, &'static str> {
        if let Some(verdict) = self.front_proxy.load().as_ref().filter(|verdict| verdict.stands(roots, now)) {
            return verdict.outcome.clone();
        }
        let renewed = judge(&self.chain, Arc::clone(roots), now);
        let outcome = renewed.outcome.clone();
        self.front_proxy.store(Some(Arc::new(renewed)));
        outcome
    }
}

impl CertificateVerdict {
    /// Says whether it holds for these CAs at `now`.
    fn stands(&self, roots: &Arc<ClientRoots>, now: UnixTime) -> bool {
        Arc::ptr_eq(&self.roots, roots) && now.as_secs() < self.stands_until.as_secs()
    }
}

fn judge(chain: &[CertificateDer<'static>], roots: Arc<ClientRoots>, now: UnixTime) -> CertificateVerdict {
    let mut until = now.as_secs().saturating_add(VERDICT_TTL.as_secs());
    let outcome = prove(chain, &roots, now).map(|(identity, not_after)| {
        until = until.min(not_after);
        Arc::new(identity)
    });
    CertificateVerdict { roots, stands_until: UnixTime::since_unix_epoch(Duration::from_secs(until)), outcome }
}

/// Verifies a chain and reads its user; also returns the second from which on all this must be looked at again.
fn prove(
    chain: &[CertificateDer<'static>],
    roots: &ClientRoots,
    now: UnixTime,
) -> Result<(Identity, u64), &'static str> {
    let (leaf, intermediates) = chain.split_first().ok_or("no certificate")?;
    if chain.len() > CHAIN_LEN_MAX {
        return Err("too many certificates");
    }
    let believed_until = roots.verify(leaf, intermediates, now)?;
    let (_, certificate) = X509Certificate::from_der(leaf).map_err(|_| "certificate does not parse")?;
    let mut identity = read_identity(&certificate)?;
    let fingerprint = digest::digest(&digest::SHA256, leaf);
    identity.extra.insert(EXTRA_CREDENTIAL_ID.to_owned(), vec![format!("X509SHA256={}", Hex(fingerprint.as_ref()))]);
    // The second named by notAfter is still inside the validity.
    let ends = certificate.validity().not_after.timestamp().saturating_add(1).min(believed_until);
    Ok((identity, u64::try_from(ends).unwrap_or_default()))
}

fn read_identity(certificate: &X509Certificate<'_>) -> Result<Identity, &'static str> {
    let usage = certificate.extended_key_usage().map_err(|_| "certificate's key usage does not parse")?;
    // Stricter than the verifier, which lets a certificate without any key usage pass.
    if !usage.is_some_and(|usage| usage.value.client_auth) {
        return Err("certificate is not for client authentication");
    }
    let mut identity = Identity::default();
    let uid_oid = Oid::from(UID_OID).map_err(|_| "uid attribute has no id")?;
    for attribute in certificate.subject().iter_attributes() {
        let kind = attribute.attr_type();
        let text = attribute.as_str();
        if *kind == OID_X509_COMMON_NAME {
            set_once(&mut identity.name, text.map_err(|_| "common name is not text")?, "several common names")?;
        } else if *kind == OID_X509_ORGANIZATION_NAME {
            identity.join(text.map_err(|_| "organization is not text")?);
        } else if *kind == uid_oid {
            set_once(&mut identity.uid, text.map_err(|_| "uid is not text")?, "uid is empty, or there are several")?;
        }
    }
    if identity.name.is_empty() {
        return Err("certificate names no user");
    }
    identity.join(GROUP_AUTHENTICATED);
    Ok(identity)
}

/// Two names could be read as either; upstream takes the last one, here the certificate proves nothing.
fn set_once(place: &mut String, text: &str, fault: &'static str) -> Result<(), &'static str> {
    if !place.is_empty() || text.is_empty() {
        return Err(fault);
    }
    text.clone_into(place);
    Ok(())
}

struct Hex<'a>(&'a [u8]);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

pub(super) struct ClientCertificate;

impl Authenticator for ClientCertificate {
    fn name(&self) -> &'static str {
        "x509"
    }

    fn authenticate<'a>(&'a self, arrived: &'a Arrived) -> Authentication<'a> {
        let PeerCredential::Certificate(certificate) = arrived.peer.credential() else { return Authentication::Silent };
        match certificate.identity(UnixTime::now()) {
            Ok(identity) => Authentication::Identified(identity),
            Err(reason) => Authentication::refused(reason),
        }
    }
}

#[cfg(test)]
mod tests;
