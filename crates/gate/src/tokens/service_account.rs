//! Who issues service account tokens: the issuer's names, its keys, what a bound token says, and the two documents by which
//! others verify it (upstream: the service account token generator and its OpenID metadata; KEP-1205, KEP-1393).
//!
//! The keys are replaced as a whole when their files change; a token is issued with the newest, and verified with all.

use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::identity::SERVICE_ACCOUNT_PREFIX;

use super::jws::{self, KeySet};
use super::keys::{KEYS_MAX, KeyError, PublicKey, SigningKey};

/// The issuer of tokens that stand in secrets.
pub(crate) const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";
/// The claim that holds what a token is bound to.
pub(crate) const BOUND_CLAIM: &str = "kubernetes.io";

/// The keys of service account tokens: one signs, all verify. Nothing of them can be printed.
pub struct ServiceAccountKeys {
    signing: SigningKey,
    /// Apart, because whoever remembers what verified a token must not keep a key that signs.
    verifying: Arc<KeySet>,
}

impl ServiceAccountKeys {
    /// Reads keys from PEM texts. The public half of the signing key verifies too: a token that its own issuer refuses would
    /// be of use to nobody.
    ///
    /// # Errors
    /// A text holds no key, or one that is refused.
    pub fn from_pem<'a>(signing: &[u8], verifying: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, KeyError> {
        let signing = SigningKey::from_pem(signing)?;
        let mut keys: Vec<PublicKey> = Vec::new();
        for text in verifying {
            for key in PublicKey::all_from_pem(text)? {
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
        }
        if !keys.contains(signing.public()) {
            keys.push(signing.public().clone());
        }
        if keys.len() > KEYS_MAX {
            return Err(KeyError::TooManyKeys);
        }
        Ok(Self { signing, verifying: Arc::new(KeySet::of_service_accounts(keys)) })
    }

    /// Says what is wrong with one text of verifying keys.
    ///
    /// # Errors
    /// It holds no key, or one that is refused.
    pub fn check_verifying(text: &[u8]) -> Result<(), KeyError> {
        PublicKey::all_from_pem(text).map(drop)
    }

    /// Returns the ids of the keys that verify, for the log.
    pub fn key_ids(&self) -> Vec<String> {
        self.verifying.keys().map(|key| key.id().to_owned()).collect()
    }
}

/// An object that a token names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its uid; empty for a node that a pod names and that is not there.
    pub uid: &'a str,
}

impl Named<'_> {
    fn claim(&self) -> Value {
        let mut claim = Map::new();
        claim.insert("name".to_owned(), self.name.into());
        if !self.uid.is_empty() {
            claim.insert("uid".to_owned(), self.uid.into());
        }
        claim.into()
    }
}

/// What a new token says. Times are seconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct NewToken<'a> {
    /// The namespace of the service account and of what the token is bound to.
    pub namespace: &'a str,
    /// Whose token it is.
    pub service_account: Named<'a>,
    /// The pod that it ends with.
    pub pod: Option<Named<'a>>,
    /// The secret that it ends with.
    pub secret: Option<Named<'a>>,
    /// The node that it ends with; with a pod, the node where that runs, for information.
    pub node: Option<Named<'a>>,
    /// Whom it is meant for.
    pub audiences: &'a [String],
    /// Unique among all tokens.
    pub id: &'a str,
    /// When it begins.
    pub now: i64,
    /// When it ends.
    pub expires_at: i64,
    /// When its bearer should have had a new one.
    pub warn_after: Option<i64>,
}

/// Issues service account tokens and says how they are verified.
pub struct ServiceAccountIssuer {
    issuers: Vec<String>,
    keys: ArcSwap<ServiceAccountKeys>,
}

impl ServiceAccountIssuer {
    /// Makes an issuer that calls itself by the first name and accepts tokens of all of them; without any name nothing is
    /// accepted.
    pub fn new(issuers: Vec<String>, keys: ServiceAccountKeys) -> Arc<Self> {
        Arc::new(Self { issuers, keys: ArcSwap::from_pointee(keys) })
    }

    /// Puts new keys in force, for tokens issued and tokens judged from now on.
    pub fn replace_keys(&self, keys: ServiceAccountKeys) {
        self.keys.store(Arc::new(keys));
    }

    /// Returns the name that it issues under.
    pub fn name(&self) -> &str {
        self.issuers.first().map_or("", String::as_str)
    }

    /// Returns every name that it accepts tokens of.
    pub fn names(&self) -> &[String] {
        &self.issuers
    }

    /// Says whether a token with this `iss` is one of ours.
    pub(crate) fn accepts(&self, issuer: &str) -> bool {
        self.issuers.iter().any(|own| own == issuer)
    }

    /// Returns the keys that verify now; another set is never the same `Arc`.
    pub(crate) fn verifying(&self) -> Arc<KeySet> {
        Arc::clone(&self.keys.load().verifying)
    }

    /// Issues a token.
    ///
    /// # Errors
    /// The library can not sign.
    pub fn issue(&self, token: &NewToken<'_>) -> Result<Zeroizing<String>, KeyError> {
        let mut bound = Map::new();
        bound.insert("namespace".to_owned(), token.namespace.into());
        bound.insert("serviceaccount".to_owned(), token.service_account.claim());
        for (name, object) in [("pod", token.pod), ("secret", token.secret), ("node", token.node)] {
            if let Some(object) = object {
                bound.insert(name.to_owned(), object.claim());
            }
        }
        if let Some(warn_after) = token.warn_after {
            bound.insert("warnafter".to_owned(), warn_after.into());
        }
        let claims = json!({
            "aud": token.audiences,
            "exp": token.expires_at,
            "iat": token.now,
            "iss": self.name(),
            "jti": token.id,
            BOUND_CLAIM: bound,
            "nbf": token.now,
            "sub": format!("{SERVICE_ACCOUNT_PREFIX}{}:{}", token.namespace, token.service_account.name),
        });
        let keys = self.keys.load();
        jws::sign(&keys.signing, claims.to_string().as_bytes()).map(Zeroizing::new)
    }

    /// Returns the JWKS document: the keys that verify its tokens.
    pub fn jwks(&self) -> String {
        let keys = self.keys.load();
        let keys: Vec<Value> = keys.verifying.keys().map(PublicKey::to_jwk).collect();
        json!({ "keys": keys }).to_string()
    }

    /// Returns the OIDC discovery document, which says where the JWKS document is.
    pub fn discovery(&self, jwks_uri: &str) -> String {
        let keys = self.keys.load();
        let mut algorithms: Vec<&str> = keys.verifying.keys().map(|key| key.algorithm().name()).collect();
        algorithms.sort_unstable();
        algorithms.dedup();
        json!({
            "issuer": self.name(),
            "jwks_uri": jwks_uri,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": algorithms,
        })
        .to_string()
    }
}
