//! Service account tokens: those that are bound and expire, and those of old that stand in secrets (upstream: the JWT
//! authenticator of the service account package with its two validators; KEP-1205, KEP-4193; NCC-TTV, security.md 2.1 "JWT").
//!
//! That a signature is good is remembered; that the account and everything a token is bound to still exist is asked at every
//! use, so that a token ends with the pod, secret or node it was made for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use portcullis_model::go_text::quoted;
use serde_json::Value;

use crate::cluster::{Cluster, Held, Holder};
use crate::identity::{
    EXTRA_CREDENTIAL_ID, EXTRA_NODE_NAME, GROUP_AUTHENTICATED, GROUP_SERVICE_ACCOUNTS, Identity, SERVICE_ACCOUNT_PREFIX,
};
use crate::tokens::claims::{self, ClaimsError, Dates, LEEWAY_SECONDS};
use crate::tokens::jws::{Algorithm, KeySet, TOKEN_LEN_MAX, Unverified};
use crate::tokens::remembered::{Remembered, TokenHash};
use crate::tokens::service_account::{BOUND_CLAIM, LEGACY_ISSUER, ServiceAccountIssuer};

use super::bearer::{KnownToken, TokenAuthenticator, TokenRemark, TokenVerdict};

/// Tokens whose signature is remembered: about 1 KB each.
const REMEMBERED_MAX: usize = 16 * 1024;
/// Bytes of such a token. Who may ask for tokens chooses their audiences, and so how much a longer one would keep here.
const REMEMBERED_LEN_MAX: usize = 4 * 1024;

const EXTRA_POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const EXTRA_POD_UID: &str = "authentication.kubernetes.io/pod-uid";
const EXTRA_NODE_UID: &str = "authentication.kubernetes.io/node-uid";

/// The type of secrets that hold tokens.
const SECRET_TYPE: &str = "kubernetes.io/service-account-token";
/// The key of a secret's data that holds its token.
const SECRET_TOKEN: &str = "token";
/// The label of a secret whose token is not to be used any more (KEP-2800).
const LABEL_INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";

/// What the record of a request says of tokens that should not be relied on (upstream's keys).
const STALE_ANNOTATION: &str = "authentication.k8s.io/stale-token";
const LEGACY_ANNOTATION: &str = "authentication.k8s.io/legacy-token";
/// What upstream says of a token whose account or object has gone.
const INVALIDATED: &str = "service account token has been invalidated";

/// Knows service account tokens.
pub struct ServiceAccountTokens {
    issuer: Arc<ServiceAccountIssuer>,
    api_audiences: Vec<String>,
    cluster: Arc<dyn Cluster>,
    verified: Remembered<Verified>,
}

/// A token whose signature is good, as far as these keys say.
struct Verified {
    keys: Arc<KeySet>,
    claims: Claims,
}

/// What a token says.
enum Claims {
    Bound(Bound),
    Legacy(Legacy),
}

impl Claims {
    /// What is wrong with a token that is accepted all the same: its bearer reads a file that is renewed, but not often enough; or
    /// it never ends (upstream's annotations).
    fn remark(&self, identity: &Identity, now: i64) -> Option<TokenRemark> {
        match self {
            Claims::Bound(Bound { warn_after: Some(at), .. }) if *at != 0 && now > *at => {
                let value = format!("subject: {}, seconds after warning threshold: {}", identity.name, now - at);
                Some(TokenRemark { key: STALE_ANNOTATION, value })
            }
            Claims::Bound(_) => None,
            Claims::Legacy(_) => Some(TokenRemark { key: LEGACY_ANNOTATION, value: identity.name.clone() }),
        }
    }
}

struct Bound {
    dates: Dates,
    audiences: Vec<String>,
    id: String,
    namespace: String,
    account: Object,
    pod: Option<Object>,
    secret: Option<Object>,
    node: Option<Object>,
    warn_after: Option<i64>,
}

struct Legacy {
    dates: Dates,
    audiences: Vec<String>,
    namespace: String,
    account: Object,
    secret: String,
}

struct Object {
    name: String,
    uid: String,
}

impl ServiceAccountTokens {
    /// Makes the authenticator of an issuer's tokens. A token without audiences is meant for `api_audiences`.
    pub fn new(issuer: Arc<ServiceAccountIssuer>, api_audiences: Vec<String>, cluster: Arc<dyn Cluster>) -> Self {
        Self { issuer, api_audiences, cluster, verified: Remembered::new(REMEMBERED_MAX) }
    }

    fn judge(&self, token: &str, audiences: &[String], now: i64) -> TokenVerdict<'static> {
        let verified = match self.verified(token, now) {
            Ok(verified) => verified,
            Err(verdict) => return verdict,
        };
        let (own, dates) = match &verified.claims {
            Claims::Bound(bound) => (&bound.audiences, &bound.dates),
            Claims::Legacy(legacy) => (&legacy.audiences, &legacy.dates),
        };
        let own = if own.is_empty() { &self.api_audiences } else { own };
        let shared: Vec<String> = own.iter().filter(|audience| audiences.contains(audience)).cloned().collect();
        if shared.is_empty() && !(self.api_audiences.is_empty() && audiences.is_empty()) {
            let (own, asked) = (quoted_list(own), quoted_list(audiences));
            return TokenVerdict::Refused(
                format!("token audiences {own} is invalid for the target audiences {asked}").into(),
            );
        }
        if let Err(error) = dates.check(now) {
            self.verified.remove(&TokenHash::of(token));
            return TokenVerdict::refused(match error {
                ClaimsError::Expired => "service account token has expired",
                ClaimsError::NotYet => "service account token is not valid yet",
                ClaimsError::FromTheFuture | ClaimsError::Malformed(_) => {
                    "service account token is issued in the future"
                }
            });
        }
        let identity = match &verified.claims {
            Claims::Bound(bound) => self.check_bound(bound, now),
            Claims::Legacy(legacy) => self.check_legacy(legacy, token),
        };
        match identity {
            Ok(identity) => {
                let remark = verified.claims.remark(&identity, now);
                TokenVerdict::Known(KnownToken { identity: Arc::new(identity), audiences: shared, remark })
            }
            Err(reason) => TokenVerdict::Refused(reason.into()),
        }
    }

    /// Verifies a token's signature, or remembers that the keys in force did.
    fn verified(&self, token: &str, now: i64) -> Result<Arc<Verified>, TokenVerdict<'static>> {
        if token.len() > TOKEN_LEN_MAX {
            return Err(TokenVerdict::Unknown);
        }
        let hash = TokenHash::of(token);
        let keys = self.issuer.verifying();
        if let Some(verified) = self.verified.get(&hash).filter(|verified| Arc::ptr_eq(&verified.keys, &keys)) {
            return Ok(verified);
        }
        let parsed = Unverified::parse(token).map_err(|_| TokenVerdict::Unknown)?;
        let issuer = parsed.claimed_issuer().unwrap_or_default();
        let is_legacy = issuer == LEGACY_ISSUER;
        if !is_legacy && !self.issuer.accepts(issuer) {
            return Err(TokenVerdict::Unknown);
        }
        let refused = |error: String| TokenVerdict::Refused(error.into());
        let claims = parsed
            .verify(&keys, &Algorithm::SERVICE_ACCOUNT)
            .map_err(|error| refused(format!("service account token is invalid: {error}")))?;
        let read =
            if is_legacy { Legacy::read(&claims).map(Claims::Legacy) } else { Bound::read(&claims).map(Claims::Bound) };
        let claims = read.map_err(|why| refused(format!("service account token is invalid: {why}")))?;
        let verified = Arc::new(Verified { keys, claims });
        let dates = match &verified.claims {
            Claims::Bound(bound) => bound.dates,
            Claims::Legacy(legacy) => legacy.dates,
        };
        if token.len() <= REMEMBERED_LEN_MAX && dates.check(now).is_ok() {
            self.verified.insert(hash, Arc::clone(&verified));
        }
        Ok(verified)
    }

    /// Asks whether the account and what the token is bound to are what they were.
    fn check_bound(&self, bound: &Bound, now: i64) -> Result<Identity, String> {
        let mut checks = vec![("service account", "claim", Holder::ServiceAccount, &bound.account)];
        if let Some(secret) = &bound.secret {
            checks.push(("secret", "service account secret ref claim", Holder::Secret, secret));
        }
        match (&bound.pod, &bound.node) {
            // The node of a pod is there for information: the pod's own end is what counts.
            (Some(pod), _) => checks.push(("pod", "service account pod ref claim", Holder::Pod, pod)),
            (None, Some(node)) => checks.push(("node", "service account node ref claim", Holder::Node, node)),
            (None, None) => {}
        }
        for (what, claim, holder, object) in checks {
            let namespace = if holder == Holder::Node { "" } else { &bound.namespace };
            let held = self.cluster.find(holder, namespace, &object.name).ok_or(INVALIDATED)?;
            if object.uid.is_empty() || held.uid != object.uid {
                // Upstream's words; for the account it says `service account UID`.
                return Err(format!("{what} UID ({}) does not match {claim} ({})", held.uid, object.uid));
            }
            if is_past(&held, now) {
                return Err(INVALIDATED.to_owned());
            }
        }
        let mut identity = identity(&bound.namespace, &bound.account);
        let mut extra = |key: &str, value: &str| {
            if !value.is_empty() {
                identity.extra.insert(key.to_owned(), vec![value.to_owned()]);
            }
        };
        if !bound.id.is_empty() {
            extra(EXTRA_CREDENTIAL_ID, &format!("JTI={}", bound.id));
        }
        if let Some(pod) = &bound.pod {
            extra(EXTRA_POD_NAME, &pod.name);
            extra(EXTRA_POD_UID, &pod.uid);
        }
        if let Some(node) = &bound.node {
            extra(EXTRA_NODE_NAME, &node.name);
            extra(EXTRA_NODE_UID, &node.uid);
        }
        Ok(identity)
    }

    /// Asks whether the secret still holds this very token, and whether its account is what it was.
    fn check_legacy(&self, legacy: &Legacy, token: &str) -> Result<Identity, String> {
        let gone = "Token has been invalidated";
        let secret = self.cluster.secret(&legacy.namespace, &legacy.secret).ok_or(gone)?;
        // Upstream takes a secret of any type, so that who keeps a token that was taken back could store it once more as something else.
        if secret.held.deletion_timestamp.is_some() || secret.kind != SECRET_TYPE {
            return Err(gone.to_owned());
        }
        let held = secret.data.get(SECRET_TOKEN).map_or(&[][..], |held| held.as_slice());
        if verify_slices_are_equal(held, token.as_bytes()).is_err() {
            return Err("Token does not match server's copy".to_owned());
        }
        let (namespace, account) = (&legacy.namespace, &legacy.account);
        let found = self.cluster.find(Holder::ServiceAccount, namespace, &account.name).ok_or(gone)?;
        if found.deletion_timestamp.is_some() {
            return Err(format!("ServiceAccount {namespace}/{} has been deleted", account.name));
        }
        if found.uid != account.uid {
            return Err(format!("ServiceAccount UID ({}) does not match claim ({})", found.uid, account.uid));
        }
        if secret.labels.contains_key(LABEL_INVALID_SINCE) {
            return Err(format!(
                "the token in secret {namespace}/{} for service account {namespace}/{} has been marked invalid. Use tokens from \
                 the TokenRequest API or manually created secret-based tokens, or remove the '{LABEL_INVALID_SINCE}' label from \
                 the secret to temporarily allow use of this token",
                legacy.secret, account.name
            ));
        }
        Ok(identity(namespace, account))
    }
}

impl TokenAuthenticator for ServiceAccountTokens {
    fn name(&self) -> &'static str {
        "serviceaccount"
    }

    fn authenticate<'a>(&'a self, token: &'a str, audiences: &'a [String]) -> TokenVerdict<'a> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.judge(token, audiences, i64::try_from(now).unwrap_or(i64::MAX))
    }
}

/// A deletion that is announced, and a minute more: what is bound may finish its work.
fn is_past(held: &Held, now: i64) -> bool {
    held.deletion_timestamp.is_some_and(|at| at < now.saturating_sub(LEEWAY_SECONDS))
}

/// A list as upstream prints one.
fn quoted_list(list: &[String]) -> String {
    let words: Vec<String> = list.iter().map(|word| quoted(word).to_string()).collect();
    format!("[{}]", words.join(" "))
}

fn identity(namespace: &str, account: &Object) -> Identity {
    Identity {
        name: format!("{SERVICE_ACCOUNT_PREFIX}{namespace}:{}", account.name),
        uid: account.uid.clone(),
        groups: vec![
            GROUP_SERVICE_ACCOUNTS.to_owned(),
            format!("{GROUP_SERVICE_ACCOUNTS}:{namespace}"),
            GROUP_AUTHENTICATED.to_owned(),
        ],
        extra: BTreeMap::new(),
    }
}

impl Bound {
    /// Reads the claims of a bound token. What upstream writes into every token is required here.
    fn read(claims: &Value) -> Result<Self, &'static str> {
        let dates = Dates::read(claims).map_err(|_| "a date is malformed")?;
        if dates.expires_at.is_none() {
            return Err("it has no end");
        }
        let bound = claims.get(BOUND_CLAIM).ok_or("it is bound to nothing")?;
        let namespace = text(bound, "namespace").ok_or("namespace claim is missing")?;
        let account = Object::read(bound, "serviceaccount")?.ok_or("serviceaccount claim is missing")?;
        check_subject(claims, namespace, &account.name)?;
        Ok(Self {
            dates,
            audiences: claims::audiences(claims).map_err(|_| "its audiences are malformed")?,
            id: text(claims, "jti").unwrap_or_default().to_owned(),
            namespace: namespace.to_owned(),
            account,
            pod: Object::read(bound, "pod")?,
            secret: Object::read(bound, "secret")?,
            node: Object::read(bound, "node")?,
            warn_after: claims::date(bound, "warnafter").map_err(|_| "a date is malformed")?,
        })
    }
}

impl Legacy {
    fn read(claims: &Value) -> Result<Self, &'static str> {
        let namespace = text(claims, "kubernetes.io/serviceaccount/namespace").ok_or("namespace claim is missing")?;
        let secret = text(claims, "kubernetes.io/serviceaccount/secret.name").ok_or("secretName claim is missing")?;
        let name = text(claims, "kubernetes.io/serviceaccount/service-account.name")
            .ok_or("serviceAccountName claim is missing")?;
        let uid = text(claims, "kubernetes.io/serviceaccount/service-account.uid")
            .ok_or("serviceAccountUID claim is missing")?;
        check_subject(claims, namespace, name)?;
        Ok(Self {
            dates: Dates::read(claims).map_err(|_| "a date is malformed")?,
            audiences: claims::audiences(claims).map_err(|_| "its audiences are malformed")?,
            namespace: namespace.to_owned(),
            account: Object { name: name.to_owned(), uid: uid.to_owned() },
            secret: secret.to_owned(),
        })
    }
}

impl Object {
    /// Reads a reference; one that is there and names nothing is no reference to nothing.
    fn read(claims: &Value, name: &str) -> Result<Option<Self>, &'static str> {
        match claims.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(object) => {
                let of = |name: &str| text(object, name).map(str::to_owned);
                let name = of("name").ok_or("a reference names nothing")?;
                Ok(Some(Self { name, uid: of("uid").unwrap_or_default() }))
            }
        }
    }
}

fn check_subject(claims: &Value, namespace: &str, name: &str) -> Result<(), &'static str> {
    let subject = text(claims, "sub").ok_or("sub claim is missing")?;
    let names = subject.strip_prefix(SERVICE_ACCOUNT_PREFIX).and_then(|rest| rest.split_once(':'));
    if names == Some((namespace, name)) { Ok(()) } else { Err("sub claim is invalid") }
}

/// A text that is there and not empty.
fn text<'a>(claims: &'a Value, name: &str) -> Option<&'a str> {
    claims.get(name)?.as_str().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests;
