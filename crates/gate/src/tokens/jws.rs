//! Signed tokens in their compact form: three parts of base64url, a header that says how it is signed, claims, a signature
//! (RFC 7515, 7519, 8725; upstream: go-jose, as the service account and OIDC authenticators call it).
//!
//! What decides is the verifier's list of algorithms and its keys, never the token: an algorithm that is not on the list or does
//! not fit the key is refused (`none` and every HMAC are on no list), keys that a header brings along are not looked at, and a
//! `kid` only chooses among the keys that are trusted anyway.

use aws_lc_rs::signature::{self as lc, VerificationAlgorithm};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::json;
use super::keys::{KeyError, PublicKey, SigningKey};

/// Bytes of a token. An issuer that lists a user's groups stays below; the request's head has a limit of its own.
pub(crate) const TOKEN_LEN_MAX: usize = 64 * 1024;
/// Bytes of a header, encoded.
const HEADER_LEN_MAX: usize = 8 * 1024;

/// How a token is signed. There is no value for `none` and none for HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
}

impl Algorithm {
    /// Every algorithm: what foreign issuers may choose from.
    pub(crate) const ALL: [Algorithm; 9] = [
        Algorithm::Rs256,
        Algorithm::Rs384,
        Algorithm::Rs512,
        Algorithm::Ps256,
        Algorithm::Ps384,
        Algorithm::Ps512,
        Algorithm::Es256,
        Algorithm::Es384,
        Algorithm::Es512,
    ];
    /// Those of service account tokens.
    pub(crate) const SERVICE_ACCOUNT: [Algorithm; 4] =
        [Algorithm::Rs256, Algorithm::Es256, Algorithm::Es384, Algorithm::Es512];

    /// Returns its name in a header (RFC 7518).
    pub(crate) fn name(self) -> &'static str {
        match self {
            Algorithm::Rs256 => "RS256",
            Algorithm::Rs384 => "RS384",
            Algorithm::Rs512 => "RS512",
            Algorithm::Ps256 => "PS256",
            Algorithm::Ps384 => "PS384",
            Algorithm::Ps512 => "PS512",
            Algorithm::Es256 => "ES256",
            Algorithm::Es384 => "ES384",
            Algorithm::Es512 => "ES512",
        }
    }

    /// Finds it by its name, exactly as written.
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// Says whether RSA keys are used with it.
    pub(crate) fn is_rsa(self) -> bool {
        !matches!(self, Algorithm::Es256 | Algorithm::Es384 | Algorithm::Es512)
    }

    pub(super) fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Algorithm::Rs256 => &lc::RSA_PKCS1_2048_8192_SHA256,
            Algorithm::Rs384 => &lc::RSA_PKCS1_2048_8192_SHA384,
            Algorithm::Rs512 => &lc::RSA_PKCS1_2048_8192_SHA512,
            Algorithm::Ps256 => &lc::RSA_PSS_2048_8192_SHA256,
            Algorithm::Ps384 => &lc::RSA_PSS_2048_8192_SHA384,
            Algorithm::Ps512 => &lc::RSA_PSS_2048_8192_SHA512,
            Algorithm::Es256 => &lc::ECDSA_P256_SHA256_FIXED,
            Algorithm::Es384 => &lc::ECDSA_P384_SHA384_FIXED,
            Algorithm::Es512 => &lc::ECDSA_P521_SHA512_FIXED,
        }
    }
}

/// Why a token is not taken. No variant holds a part of the token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JwsError {
    /// It is no token of this form at all.
    #[error("token is malformed: {0}")]
    Malformed(&'static str),
    /// Header or claims are no JSON, or ambiguous.
    #[error("token's {part} can not be read")]
    Unreadable { part: &'static str },
    /// The algorithm is not one that this verifier takes.
    #[error("token is signed with an algorithm that is not accepted here")]
    AlgorithmRefused,
    /// The header asks for something that must be understood (RFC 7515 4.1.11).
    #[error("token has critical extensions, and none is known here")]
    CriticalExtension,
    /// No key has the id that the token names.
    #[error("no key has the id that the token names")]
    NoSuchKey,
    /// No key verifies it.
    #[error("token's signature does not verify")]
    BadSignature,
}

/// A verifying key, and the name that its issuer gave it.
#[derive(Clone, Debug)]
pub(crate) struct NamedKey {
    /// The key id; without one the key is tried for tokens of any id.
    pub(crate) id: Option<String>,
    /// The one algorithm that its issuer restricted it to.
    pub(crate) algorithm: Option<Algorithm>,
    /// The key.
    pub(crate) key: PublicKey,
}

/// The keys that an issuer's tokens are verified with.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeySet(Vec<NamedKey>);

impl KeySet {
    /// Puts keys together.
    pub(crate) fn new(keys: Vec<NamedKey>) -> Self {
        Self(keys)
    }

    /// Puts keys together under the ids that upstream gives service account keys.
    pub(crate) fn of_service_accounts(keys: impl IntoIterator<Item = PublicKey>) -> Self {
        let named = |key: PublicKey| NamedKey { id: Some(key.id().to_owned()), algorithm: None, key };
        Self(keys.into_iter().map(named).collect())
    }

    /// Says whether a key has this id: if not, an issuer's document may be stale.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.0.iter().any(|key| key.id.as_deref() == Some(id))
    }

    /// Returns the keys.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.0.iter().map(|named| &named.key)
    }
}

/// A token taken apart; nothing in it is proved yet.
#[derive(Debug)]
pub(crate) struct Unverified<'a> {
    signed: &'a str,
    signature: Vec<u8>,
    /// `None` for one that no verifier here takes.
    algorithm: Option<Algorithm>,
    critical: bool,
    key_id: String,
    claims: Map<String, Value>,
}

impl<'a> Unverified<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// It is too long, not in compact form, or its header or claims are no objects, or ambiguous.
    pub(crate) fn parse(token: &'a str) -> Result<Self, JwsError> {
        if token.len() > TOKEN_LEN_MAX {
            return Err(JwsError::Malformed("too long"));
        }
        let malformed = || JwsError::Malformed("it has not three parts");
        let (signed, signature) = token.rsplit_once('.').ok_or_else(malformed)?;
        let (header, claims) = signed.split_once('.').ok_or_else(malformed)?;
        if claims.contains('.') {
            return Err(malformed());
        }
        if header.len() > HEADER_LEN_MAX {
            return Err(JwsError::Malformed("its header is too long"));
        }
        let header = object(header, "header")?;
        let claims = object(claims, "claims")?;
        let signature =
            URL_SAFE_NO_PAD.decode(signature).map_err(|_| JwsError::Malformed("its signature is not base64url"))?;
        let text = |name: &str| match header.get(name) {
            None => Ok(""),
            Some(Value::String(text)) => Ok(text.as_str()),
            Some(_) => Err(JwsError::Unreadable { part: "header" }),
        };
        Ok(Self {
            signed,
            signature,
            algorithm: Algorithm::by_name(text("alg")?),
            critical: header.contains_key("crit"),
            key_id: text("kid")?.to_owned(),
            claims,
        })
    }

    /// Returns who the token says made it: good for choosing a verifier, and for nothing else.
    pub(crate) fn claimed_issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }

    /// Returns the id of the key that it says it was signed with; empty when it does not say.
    pub(crate) fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Verifies the signature and returns the claims.
    ///
    /// # Errors
    /// The algorithm is not among `allowed`, or no key of `keys` that has the token's key id (any key, if it names none)
    /// verifies it.
    pub(crate) fn verify(self, keys: &KeySet, allowed: &[Algorithm]) -> Result<Value, JwsError> {
        if self.critical {
            return Err(JwsError::CriticalExtension);
        }
        let algorithm = self.algorithm.filter(|algorithm| allowed.contains(algorithm));
        let algorithm = algorithm.ok_or(JwsError::AlgorithmRefused)?;
        let mut tried = false;
        for named in &keys.0 {
            let named_other = named.id.as_deref().is_some_and(|id| id != self.key_id) && !self.key_id.is_empty();
            if named_other {
                continue;
            }
            tried = true;
            let may = named.algorithm.is_none_or(|only| only == algorithm);
            if may && named.key.verifies(algorithm, self.signed.as_bytes(), &self.signature) {
                return Ok(Value::Object(self.claims));
            }
        }
        Err(if tried { JwsError::BadSignature } else { JwsError::NoSuchKey })
    }
}

/// Takes a token apart and verifies it in one step; see [`Unverified::verify`]. Times and audiences are for the caller.
#[cfg(test)]
pub(crate) fn verify(token: &str, keys: &KeySet, allowed: &[Algorithm]) -> Result<Value, JwsError> {
    Unverified::parse(token)?.verify(keys, allowed)
}

/// Signs claims, with the key's own algorithm and under its own id. `claims` is JSON.
pub(crate) fn sign(key: &SigningKey, claims: &[u8]) -> Result<String, KeyError> {
    let public = key.public();
    let header = format!(r#"{{"alg":"{}","kid":"{}"}}"#, public.algorithm().name(), public.id());
    let mut token = URL_SAFE_NO_PAD.encode(header);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(claims, &mut token);
    let signature = key.sign(token.as_bytes())?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(token)
}

fn object(encoded: &str, part: &'static str) -> Result<Map<String, Value>, JwsError> {
    let unreadable = JwsError::Unreadable { part };
    let Ok(text) = URL_SAFE_NO_PAD.decode(encoded) else { return Err(unreadable) };
    match json::read(&text) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(unreadable),
    }
}

#[cfg(test)]
mod tests;
