//! Whether a certificate and a private key are a pair, as far as clients are told (upstream: `warningsForSecret`, which asks Go's
//! `tls.X509KeyPair`). Only the words for it: nothing is refused here, and a secret's key is looked at but never kept.

use std::fmt::Write as _;

use x509_parser::der_parser::asn1_rs::Tag;
use x509_parser::der_parser::der::{DerObject, parse_der};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

use crate::certificates::pem::{Block, blocks};

const CERTIFICATE: &str = "CERTIFICATE";
const PRIVATE_KEY: &str = "PRIVATE KEY";
const NO_KEY: &str = "tls: failed to parse private key";

const RSA: &str = "1.2.840.113549.1.1.1";
const ELLIPTIC_CURVE: &str = "1.2.840.10045.2.1";
const ED25519: &str = "1.3.101.112";

/// A private key as far as it tells its public one.
enum Private {
    /// Its modulus.
    Rsa(Vec<u8>),
    /// The point that is its public key, where it is written beside.
    EllipticCurve(Option<Vec<u8>>),
    /// Which tells nothing without arithmetic.
    Ed25519,
}

/// What is wrong with a pair in PEM, if anything.
pub(super) fn complaint(certificates: &[u8], key: &[u8]) -> Option<String> {
    let certificate = match certificate(certificates) {
        Ok(certificate) => certificate,
        Err(why) => return Some(why),
    };
    let key = match private_key(key) {
        Ok(key) => key,
        Err(why) => return Some(why),
    };
    let Ok((_, certificate)) = X509Certificate::from_der(&certificate.contents) else {
        return Some("x509: malformed certificate".to_owned());
    };
    let private = match read(&key.contents) {
        Ok(private) => private,
        Err(why) => return Some(why.to_owned()),
    };
    judge(&certificate, &private).map(str::to_owned)
}

fn judge(certificate: &X509Certificate<'_>, private: &Private) -> Option<&'static str> {
    let key = certificate.public_key();
    let is_pair = match (key.algorithm.algorithm.to_id_string().as_str(), key.parsed(), private) {
        (RSA, Ok(PublicKey::RSA(public)), Private::Rsa(modulus)) => significant(public.modulus) == significant(modulus),
        (ELLIPTIC_CURVE, Ok(PublicKey::EC(public)), Private::EllipticCurve(point)) => {
            point.as_ref().is_none_or(|point| public.data() == point)
        }
        (ED25519, _, Private::Ed25519) => true,
        (RSA | ELLIPTIC_CURVE | ED25519, ..) => return Some("tls: private key type does not match public key type"),
        _ => return Some("tls: unknown public key algorithm"),
    };
    (!is_pair).then_some("tls: private key does not match public key")
}

/// A number without zeros before it.
fn significant(number: &[u8]) -> &[u8] {
    number.iter().position(|byte| *byte != 0).and_then(|at| number.get(at..)).unwrap_or_default()
}

/// The first certificate.
fn certificate(text: &[u8]) -> Result<Block, String> {
    let found: Vec<Block> = blocks(text).collect();
    let others: Vec<&str> =
        found.iter().map(|block| block.label.as_str()).filter(|label| *label != CERTIFICATE).collect();
    let refusal = match others.as_slice() {
        [] => "tls: failed to find any PEM data in certificate input".to_owned(),
        [one] if one.ends_with(PRIVATE_KEY) => {
            "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been \
             switched"
                .to_owned()
        }
        others => {
            let what = "\"CERTIFICATE\" PEM block in certificate input";
            format!("tls: failed to find {what} after skipping PEM blocks of the following types: {}", listed(others))
        }
    };
    found.into_iter().find(|block| block.label == CERTIFICATE).ok_or(refusal)
}

/// The first private key.
fn private_key(text: &[u8]) -> Result<Block, String> {
    let mut others = Vec::new();
    for block in blocks(text) {
        if block.label == PRIVATE_KEY || block.label.strip_suffix(PRIVATE_KEY).is_some_and(|rest| rest.ends_with(' ')) {
            return Ok(block);
        }
        others.push(block.label);
    }
    let others: Vec<&str> = others.iter().map(String::as_str).collect();
    Err(match others.as_slice() {
        [] => "tls: failed to find any PEM data in key input".to_owned(),
        [CERTIFICATE] => "tls: found a certificate rather than a key in the PEM for the private key".to_owned(),
        others => {
            let what = "PEM block with type ending in \"PRIVATE KEY\" in key input";
            format!("tls: failed to find {what} after skipping PEM blocks of the following types: {}", listed(others))
        }
    })
}

/// A list as Go prints it.
fn listed(texts: &[&str]) -> String {
    let mut out = String::from("[");
    for (at, text) in texts.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = write!(out, "{}{text}", if at > 0 { " " } else { "" });
    }
    out.push(']');
    out
}

/// Reads a key in any of its three forms: PKCS #1, PKCS #8 and SEC 1.
fn read(contents: &[u8]) -> Result<Private, &'static str> {
    let (_, key) = parse_der(contents).map_err(|_| NO_KEY)?;
    let fields = key.as_sequence().map_err(|_| NO_KEY)?;
    match fields.as_slice() {
        [_, second, third, ..] if second.header.tag() == Tag::Sequence => wrapped(second, third),
        [_, modulus, ..] if modulus.header.tag() == Tag::Integer => rsa(fields),
        [_, secret, ..] if secret.header.tag() == Tag::OctetString => elliptic_curve(fields),
        _ => Err(NO_KEY),
    }
}

fn wrapped(algorithm: &DerObject<'_>, contents: &DerObject<'_>) -> Result<Private, &'static str> {
    let algorithm = algorithm.as_sequence().map_err(|_| NO_KEY)?.first().ok_or(NO_KEY)?;
    let algorithm = algorithm.as_oid().map_err(|_| NO_KEY)?.to_id_string();
    let contents = contents.as_slice().map_err(|_| NO_KEY)?;
    let inner = || parse_der(contents).map_err(|_| NO_KEY);
    match algorithm.as_str() {
        RSA => rsa(inner()?.1.as_sequence().map_err(|_| NO_KEY)?),
        ELLIPTIC_CURVE => elliptic_curve(inner()?.1.as_sequence().map_err(|_| NO_KEY)?),
        ED25519 => Ok(Private::Ed25519),
        // X25519 is a key that Go reads and that no certificate has.
        "1.3.101.110" => Err("tls: found unknown private key type in PKCS#8 wrapping"),
        _ => Err(NO_KEY),
    }
}

fn rsa(fields: &[DerObject<'_>]) -> Result<Private, &'static str> {
    let [_, modulus, _exponent, _private, _p, _q, ..] = fields else { return Err(NO_KEY) };
    Ok(Private::Rsa(modulus.as_slice().map_err(|_| NO_KEY)?.to_vec()))
}

fn elliptic_curve(fields: &[DerObject<'_>]) -> Result<Private, &'static str> {
    let explicit = fields.iter().skip(2).find(|field| field.header.tag().0 == 1);
    let point = explicit.and_then(|field| {
        let (_, bits) = parse_der(field.as_slice().ok()?).ok()?;
        Some(bits.as_bitstring().ok()?.data.to_vec())
    });
    Ok(Private::EllipticCurve(point))
}

#[cfg(test)]
mod tests;
