//! A certificate authority: its key, and the signatures it gives.
//!
//! Keys that are made here are ECDSA P-256: microseconds to make, accepted by every client. An authority that the user brought
//! may have any key that rustls can sign with.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::{Signer, SigningKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::{Duration, OffsetDateTime};

use super::certificate::{Blueprint, Issuer, Purpose, Reading, Subject};
use super::der::{self, Tag};

/// Clocks of a cluster differ: a certificate is valid from a little before it was made.
const BACKDATED: Duration = Duration::minutes(5);
/// How long an authority lasts.
pub(super) const AUTHORITY_LIFE: Duration = Duration::days(3650);
/// How long a certificate that an authority gave lasts.
pub(super) const LEAF_LIFE: Duration = Duration::days(365);

/// Octets of a key identifier: the leading ones of a SHA-256 of the public key (RFC 7093, method 1).
const KEY_IDENTIFIER_LEN: usize = 20;

/// What a signature can be, best first, with the identifier that a certificate has for it.
const SCHEMES: &[(SignatureScheme, &[u8])] = &[
    (SignatureScheme::ECDSA_NISTP256_SHA256, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]),
    (SignatureScheme::ECDSA_NISTP384_SHA384, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3]),
    (SignatureScheme::ED25519, &[0x2b, 0x65, 0x70]),
    (SignatureScheme::RSA_PKCS1_SHA256, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11]),
];

/// A certificate and the key that belongs to it. It has no Debug: the key must not reach a log.
pub(crate) struct Pair {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: PrivateKeyDer<'static>,
}

/// Something that signs certificates.
pub(crate) struct Authority {
    certificate: CertificateDer<'static>,
    reading: Reading,
    key: Arc<dyn SigningKey>,
}

impl Authority {
    /// Takes a certificate and key that were found, and checks that they belong together and may sign.
    pub(super) fn new(pair: &Pair, now: OffsetDateTime) -> Result<Self> {
        let key = signing_key(&pair.key)?;
        let reading = Reading::of(&pair.certificate)?;
        if key.public_key().is_none_or(|public| public.as_ref() != reading.public_key) {
            bail!("the key is not the one of the certificate");
        }
        if !reading.is_authority {
            bail!("the certificate may not sign others: it is no CA");
        }
        if reading.not_after <= now {
            bail!("the certificate expired on {}", reading.not_after.date());
        }
        Ok(Self { certificate: pair.certificate.clone(), reading, key })
    }

    /// The authority's own certificate.
    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Whether a certificate names this authority, by name and by key, as its issuer.
    pub(super) fn issued(&self, leaf: &Reading) -> bool {
        leaf.issuer == self.reading.subject && leaf.issuer_key_identifier == self.reading.key_identifier
    }

    /// Makes a key and signs a certificate for it.
    pub(super) fn issue(&self, subject: &Subject, purpose: &Purpose, now: OffsetDateTime) -> Result<Pair> {
        let key = new_key()?;
        // Nothing outlives what it was signed by.
        let not_after = (now + LEAF_LIFE).min(self.reading.not_after);
        let issuer =
            Issued { name: Some(&self.reading.subject), key_identifier: self.reading.key_identifier.as_deref() };
        let certificate = sign(&*self.key, &issuer, &*signing_key(&key)?, subject, purpose, (now, not_after))?;
        Ok(Pair { certificate, key })
    }
}

/// A new private key.
pub(super) fn new_key() -> Result<PrivateKeyDer<'static>> {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).ok().context("cannot make a key")?;
    let document = key.to_pkcs8v1().ok().context("cannot encode a key")?;
    Ok(PrivatePkcs8KeyDer::from(document.as_ref().to_vec()).into())
}

/// The certificate of a new authority, signed with its own key.
pub(super) fn self_signed(
    key: &PrivateKeyDer<'_>,
    subject: &Subject,
    now: OffsetDateTime,
) -> Result<CertificateDer<'static>> {
    let key = signing_key(key)?;
    let itself = Issued { name: None, key_identifier: None };
    sign(&*key, &itself, &*key, subject, &Purpose::Authority, (now, now + AUTHORITY_LIFE))
}

/// The key, ready to sign.
pub(super) fn signing_key(key: &PrivateKeyDer<'_>) -> Result<Arc<dyn SigningKey>> {
    any_supported_type(key).ok().context("it is not a private key that can sign (ECDSA, Ed25519 or RSA)")
}

/// Whose name a signature is given in; without one it is the subject's own.
struct Issued<'a> {
    name: Option<&'a [u8]>,
    key_identifier: Option<&'a [u8]>,
}

fn sign(
    signing: &dyn SigningKey,
    issuer: &Issued<'_>,
    subject_key: &dyn SigningKey,
    subject: &Subject,
    purpose: &Purpose,
    (now, not_after): (OffsetDateTime, OffsetDateTime),
) -> Result<CertificateDer<'static>> {
    let public_key = subject_key.public_key().context("the key tells no public key")?;
    let mut serial = [0; 16];
    aws_lc_rs::rand::fill(&mut serial).ok().context("no randomness for a serial number")?;
    let (signer, algorithm) = signer(signing)?;
    let hash = digest(&SHA256, public_key.as_ref());
    let blueprint = Blueprint {
        serial,
        subject,
        purpose,
        not_before: now - BACKDATED,
        not_after,
        public_key: public_key.as_ref(),
        key_identifier: hash.as_ref().get(..KEY_IDENTIFIER_LEN).unwrap_or_default(),
    };
    let own_name = blueprint.name();
    let content = blueprint.encode(&Issuer {
        name: issuer.name.unwrap_or(&own_name),
        key_identifier: issuer.key_identifier,
        algorithm: &algorithm,
    });
    let signature = signer.sign(&content).context("the signature failed")?;
    Ok(der::sequence(&[content, algorithm, der::bit_string(&signature)]).into())
}

fn signer(key: &dyn SigningKey) -> Result<(Box<dyn Signer>, Vec<u8>)> {
    for &(scheme, oid) in SCHEMES {
        if let Some(signer) = key.choose_scheme(&[scheme]) {
            let mut identifier = vec![der::oid(oid)];
            if scheme == SignatureScheme::RSA_PKCS1_SHA256 {
                // RFC 4055: its parameters are a NULL; those of the others are absent.
                identifier.push(der::element(Tag::Null, &[]));
            }
            return Ok((signer, der::sequence(&identifier)));
        }
    }
    bail!("the key can sign no certificate: take ECDSA P-256 or P-384, Ed25519 or RSA")
}
