//! Keys that sign and verify tokens: read from PEM and from JWK, written as JWK, named by their key id (upstream: the keyutil
//! package and the service account key getters).
//!
//! A key knows which algorithms it may be used with, so a token can not choose a wrong one. RSA from 2048 bits and the curves
//! P-256, P-384 and P-521; nothing else signs tokens in Kubernetes.

use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{
    self as lc, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _, ParsedPublicKey, RsaKeyPair, UnparsedPublicKey,
    VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::pem::{PemObject as _, SectionKind};
use serde_json::{Value, json};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey as ParsedSpki;
use x509_parser::x509::SubjectPublicKeyInfo;
use zeroize::Zeroizing;

use super::jws::Algorithm;

/// Bits of an RSA modulus.
const RSA_BITS_MIN: usize = 2048;
/// More bits cost a verifier more than any key is worth.
const RSA_BITS_MAX: usize = 8192;
/// Bytes of a JWK's number, encoded.
const JWK_NUMBER_LEN_MAX: usize = 2048;
/// Keys of one file or one JWKS document.
pub(crate) const KEYS_MAX: usize = 128;

/// Why something is no key for tokens.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The text is no PEM.
    #[error("it holds no PEM block that can be read")]
    Pem,
    /// There is PEM, and no key in it.
    #[error("it holds no {0}")]
    NoKey(&'static str),
    /// More keys than anybody rotates.
    #[error("it holds more than {KEYS_MAX} keys")]
    TooManyKeys,
    /// A key that does not parse.
    #[error("a key does not parse: {0}")]
    Malformed(&'static str),
    /// A sort of key that signs no tokens here.
    #[error("a key is of a sort that signs no tokens: take RSA, or ECDSA on P-256, P-384 or P-521")]
    Unsupported,
    /// An RSA key of a size that is refused.
    #[error("an RSA key has {0} bits: take {RSA_BITS_MIN} to {RSA_BITS_MAX}")]
    RsaSize(usize),
}

/// A curve of NIST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    const ALL: [Curve; 3] = [Curve::P256, Curve::P384, Curve::P521];

    fn name(self) -> &'static str {
        match self {
            Curve::P256 => "P-256",
            Curve::P384 => "P-384",
            Curve::P521 => "P-521",
        }
    }

    /// Its identifier in an X.509 key.
    fn oid(self) -> &'static str {
        match self {
            Curve::P256 => "1.2.840.10045.3.1.7",
            Curve::P384 => "1.3.132.0.34",
            Curve::P521 => "1.3.132.0.35",
        }
    }

    /// Bytes of a coordinate.
    fn coordinate_len(self) -> usize {
        match self {
            Curve::P256 => 32,
            Curve::P384 => 48,
            Curve::P521 => 66,
        }
    }

    fn algorithm(self) -> Algorithm {
        match self {
            Curve::P256 => Algorithm::Es256,
            Curve::P384 => Algorithm::Es384,
            Curve::P521 => Algorithm::Es512,
        }
    }

    fn signing(self) -> &'static EcdsaSigningAlgorithm {
        match self {
            Curve::P256 => &lc::ECDSA_P256_SHA256_FIXED_SIGNING,
            Curve::P384 => &lc::ECDSA_P384_SHA384_FIXED_SIGNING,
            Curve::P521 => &lc::ECDSA_P521_SHA512_FIXED_SIGNING,
        }
    }
}

/// What a public key is made of.
#[derive(Clone, PartialEq, Eq)]
enum Material {
    /// Big-endian numbers without leading zeros.
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    /// An uncompressed point: 4, x, y.
    Ec { curve: Curve, point: Vec<u8> },
}

/// A key that verifies tokens.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PublicKey {
    id: String,
    /// X.509 SubjectPublicKeyInfo, in the one encoding that DER has.
    spki: Vec<u8>,
    material: Material,
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "PublicKey({})", self.id)
    }
}

impl PublicKey {
    /// Reads every key of a PEM text: public keys, certificates, and the public halves of private keys.
    pub(crate) fn all_from_pem(text: &[u8]) -> Result<Vec<Self>, KeyError> {
        let mut keys = Vec::new();
        for section in sections(text) {
            let (kind, der) = section?;
            let key = match kind {
                SectionKind::PublicKey => Self::from_spki(&der)?,
                SectionKind::Certificate => Self::from_certificate(&der)?,
                SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => {
                    SigningKey::from_der(kind, &der)?.public
                }
                _ => continue,
            };
            if keys.len() == KEYS_MAX {
                return Err(KeyError::TooManyKeys);
            }
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        if keys.is_empty() { Err(KeyError::NoKey("public key, certificate or private key")) } else { Ok(keys) }
    }

    fn from_certificate(der: &[u8]) -> Result<Self, KeyError> {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|_| KeyError::Malformed("it is no certificate"))?;
        Self::from_spki(certificate.public_key().raw)
    }

    /// Reads an X.509 SubjectPublicKeyInfo.
    pub(crate) fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        let (rest, info) =
            SubjectPublicKeyInfo::from_der(der).map_err(|_| KeyError::Malformed("it is no public key"))?;
        if !rest.is_empty() {
            return Err(KeyError::Malformed("something follows the public key"));
        }
        match info.parsed() {
            Ok(ParsedSpki::RSA(rsa)) => Self::rsa(rsa.modulus, rsa.exponent),
            Ok(ParsedSpki::EC(_)) => {
                let parameters = info.algorithm.parameters.as_ref();
                let oid = parameters.and_then(|any| any.as_oid().ok()).ok_or(KeyError::Unsupported)?;
                let oid = oid.to_id_string();
                let curve = Curve::ALL.into_iter().find(|curve| curve.oid() == oid).ok_or(KeyError::Unsupported)?;
                Self::ec(curve, info.subject_public_key.data.to_vec())
            }
            Ok(_) => Err(KeyError::Unsupported),
            Err(_) => Err(KeyError::Malformed("it is no public key")),
        }
    }

    /// Reads a key of a JWKS document (RFC 7517, 7518). Whether it may be used by its `use` and `alg` is for the caller.
    pub(crate) fn from_jwk(jwk: &Value) -> Result<Self, KeyError> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str).unwrap_or_default();
        match text("kty") {
            "RSA" => Self::rsa(&jwk_number(text("n"))?, &jwk_number(text("e"))?),
            "EC" => {
                let name = text("crv");
                let curve = Curve::ALL.into_iter().find(|curve| curve.name() == name).ok_or(KeyError::Unsupported)?;
                let (x, y) = (jwk_number(text("x"))?, jwk_number(text("y"))?);
                if x.len() != curve.coordinate_len() || y.len() != curve.coordinate_len() {
                    return Err(KeyError::Malformed("a coordinate has the wrong length"));
                }
                let mut point = vec![4];
                point.extend_from_slice(&x);
                point.extend_from_slice(&y);
                Self::ec(curve, point)
            }
            _ => Err(KeyError::Unsupported),
        }
    }

    fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, KeyError> {
        let (modulus, exponent) = (without_leading_zeros(modulus), without_leading_zeros(exponent));
        let bits = bits(modulus);
        if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
            return Err(KeyError::RsaSize(bits));
        }
        // An even modulus or exponent, or an exponent of one, makes any signature good.
        let odd = |number: &[u8]| number.last().is_some_and(|low| low & 1 == 1);
        if !odd(modulus) || !odd(exponent) || exponent == [1] {
            return Err(KeyError::Malformed("its numbers make no RSA key"));
        }
        let components = PublicKeyComponents { n: modulus, e: exponent };
        let spki: PublicKeyX509Der<'_> =
            components.as_der().map_err(|_| KeyError::Malformed("its numbers make no RSA key"))?;
        let material = Material::Rsa { modulus: modulus.to_vec(), exponent: exponent.to_vec() };
        Self::checked(spki.as_ref().to_vec(), material)
    }

    fn ec(curve: Curve, point: Vec<u8>) -> Result<Self, KeyError> {
        if point.first() != Some(&4) || point.len() != 1 + 2 * curve.coordinate_len() {
            return Err(KeyError::Malformed("its point is not written in full"));
        }
        let parsed = ParsedPublicKey::new(curve.algorithm().verification(), &point)
            .map_err(|_| KeyError::Malformed("its point is not on its curve"))?;
        let spki: PublicKeyX509Der<'_> =
            parsed.as_der().map_err(|_| KeyError::Malformed("its point is not on its curve"))?;
        Self::checked(spki.as_ref().to_vec(), Material::Ec { curve, point })
    }

    fn checked(spki: Vec<u8>, material: Material) -> Result<Self, KeyError> {
        let id = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, &spki));
        let key = Self { id, spki, material };
        let algorithm: &'static dyn VerificationAlgorithm = match &key.material {
            Material::Rsa { .. } => Algorithm::Rs256.verification(),
            Material::Ec { curve, .. } => curve.algorithm().verification(),
        };
        ParsedPublicKey::new(algorithm, &key.spki).map_err(|_| KeyError::Malformed("it verifies nothing"))?;
        Ok(key)
    }

    /// Returns its key id as upstream makes it: the SHA-256 of its X.509 form, base64url without padding.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Says whether it may be used with an algorithm: the family of the key, and for ECDSA its curve.
    pub(crate) fn fits(&self, algorithm: Algorithm) -> bool {
        match &self.material {
            Material::Rsa { .. } => algorithm.is_rsa(),
            Material::Ec { curve, .. } => curve.algorithm() == algorithm,
        }
    }

    /// Says whether `signature` over `message` was made with its private half. Never for an algorithm that does not fit.
    pub(crate) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        self.fits(algorithm)
            && UnparsedPublicKey::new(algorithm.verification(), &self.spki).verify(message, signature).is_ok()
    }

    /// Returns the algorithm that service account tokens of this key are signed with.
    pub(crate) fn algorithm(&self) -> Algorithm {
        match &self.material {
            Material::Rsa { .. } => Algorithm::Rs256,
            Material::Ec { curve, .. } => curve.algorithm(),
        }
    }

    /// Writes it as a JWK for signatures, members in upstream's order.
    pub(crate) fn to_jwk(&self) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let algorithm = self.algorithm().name();
        match &self.material {
            Material::Rsa { modulus, exponent } => json!({
                "use": "sig", "kty": "RSA", "kid": self.id, "alg": algorithm,
                "n": encode(modulus), "e": encode(exponent),
            }),
            Material::Ec { curve, point } => {
                let (x, y) = point.get(1..).unwrap_or_default().split_at(curve.coordinate_len());
                json!({
                    "use": "sig", "kty": "EC", "kid": self.id, "crv": curve.name(), "alg": algorithm,
                    "x": encode(x), "y": encode(y),
                })
            }
        }
    }
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

fn bits(number: &[u8]) -> usize {
    number.first().map_or(0, |high| number.len() * 8 - high.leading_zeros() as usize)
}

fn jwk_number(text: &str) -> Result<Vec<u8>, KeyError> {
    if text.is_empty() || text.len() > JWK_NUMBER_LEN_MAX {
        return Err(KeyError::Malformed("a number is missing or too long"));
    }
    URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyError::Malformed("a number is not base64url"))
}

fn sections(text: &[u8]) -> impl Iterator<Item = Result<(SectionKind, Zeroizing<Vec<u8>>), KeyError>> {
    <(SectionKind, Vec<u8>)>::pem_slice_iter(text)
        .map(|section| section.map(|(kind, der)| (kind, Zeroizing::new(der))).map_err(|_| KeyError::Pem))
}

enum Private {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
}

/// A key that signs tokens. It has no Debug and does not leave this module; the library wipes it when it is dropped.
pub(crate) struct SigningKey {
    private: Private,
    public: PublicKey,
}

impl SigningKey {
    /// Reads the first private key of a PEM text: PKCS#8, PKCS#1 or SEC1.
    pub(crate) fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        for section in sections(text) {
            let (kind, der) = section?;
            if matches!(kind, SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey) {
                return Self::from_der(kind, &der);
            }
        }
        Err(KeyError::NoKey("private key"))
    }

    fn from_der(kind: SectionKind, der: &[u8]) -> Result<Self, KeyError> {
        let rsa = match kind {
            SectionKind::PrivateKey => RsaKeyPair::from_pkcs8(der).ok(),
            SectionKind::RsaPrivateKey => RsaKeyPair::from_der(der).ok(),
            _ => None,
        };
        if let Some(pair) = rsa {
            let spki: PublicKeyX509Der<'_> =
                pair.public_key().as_der().map_err(|_| KeyError::Malformed("it has no public half"))?;
            let public = PublicKey::from_spki(spki.as_ref())?;
            return Ok(Self { private: Private::Rsa(pair), public });
        }
        for curve in Curve::ALL {
            let pair = match kind {
                SectionKind::PrivateKey => EcdsaKeyPair::from_pkcs8(curve.signing(), der).ok(),
                SectionKind::EcPrivateKey => EcdsaKeyPair::from_private_key_der(curve.signing(), der).ok(),
                _ => None,
            };
            if let Some(pair) = pair {
                let public = PublicKey::ec(curve, pair.public_key().as_ref().to_vec())?;
                return Ok(Self { private: Private::Ec(pair), public });
            }
        }
        Err(KeyError::Unsupported)
    }

    /// Returns its public half.
    pub(crate) fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs, with the one algorithm that its tokens have.
    ///
    /// # Errors
    /// The library has no randomness.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let failed = |_| KeyError::Malformed("it can not sign");
        let random = SystemRandom::new();
        match &self.private {
            Private::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&lc::RSA_PKCS1_SHA256, &random, message, &mut signature).map_err(failed)?;
                Ok(signature)
            }
            Private::Ec(pair) => Ok(pair.sign(&random, message).map_err(failed)?.as_ref().to_vec()),
        }
    }
}

#[cfg(test)]
mod tests;
