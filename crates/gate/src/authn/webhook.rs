//! Tokens that somebody else knows: a webhook is asked by `TokenReview` (upstream: the webhook token authenticator and the token
//! cache before it, `--authentication-token-webhook-config-file`).
//!
//! Every token that no authenticator before this one took reaches the webhook, so it is asked over verified TLS only. What it
//! answers is kept for a while, under a keyed digest; that it could not be asked is not.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use portcullis_client::{Answers, Attempts, DialRule, Keep, Reviewer};
use portcullis_model::go_text::push_json_string;
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::{KnownToken, TokenAuthenticator, TokenVerdict};
use crate::identity::{GROUP_AUTHENTICATED, GROUP_UNAUTHENTICATED, Identity};
use crate::webhook::{ReviewVersion, WebhookError, client, printable};

/// How long an answer is good, unless the operator says otherwise.
const CACHE_TTL: Duration = Duration::from_secs(120);
/// How long one token may be asked about, all attempts together: well under what a request has.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest token that is asked about, in bytes.
const TOKEN_BYTES_MAX: usize = 128 << 10;
/// Tokens that are being asked about, or wait to be: each holds a request of somebody who proved nothing yet.
const QUESTIONS_MAX: usize = 512;
/// Longest complaint of a webhook that is passed on, in characters.
const COMPLAINT_CHARS_MAX: usize = 256;

/// How to ask a webhook about tokens.
#[derive(Clone, Debug)]
pub struct TokenWebhookSettings {
    /// The file that says where the webhook is, in kubeconfig format.
    pub kubeconfig: PathBuf,
    /// The version of the reviews.
    pub version: ReviewVersion,
    /// How long an answer is good; zero keeps none.
    pub cache_ttl: Duration,
    /// How long one question may take, all attempts together.
    pub timeout: Duration,
    /// How often a question is put.
    pub attempts: Attempts,
    /// What may be dialled.
    pub dial: DialRule,
}

impl TokenWebhookSettings {
    /// Settings with upstream's defaults.
    pub fn new(kubeconfig: PathBuf, dial: DialRule) -> Self {
        Self {
            kubeconfig,
            version: ReviewVersion::default(),
            cache_ttl: CACHE_TTL,
            timeout: TIMEOUT,
            attempts: Attempts::default(),
            dial,
        }
    }
}

/// Asks a webhook about tokens.
pub struct TokenWebhook {
    reviewer: Reviewer,
    cache_ttl: Duration,
    answers: Answers<Answered>,
    places: Semaphore,
}

/// What a webhook said of a token.
#[derive(Clone)]
enum Answered {
    Known { identity: Arc<Identity>, audiences: Vec<String> },
    Unknown,
    Refused(Arc<str>),
}

impl TokenWebhook {
    /// Reads the kubeconfig; nothing is asked yet.
    ///
    /// # Errors
    /// The settings can not be used.
    pub fn new(settings: TokenWebhookSettings) -> Result<Self, WebhookError> {
        let client = client(&settings.kubeconfig, &settings.dial)?;
        let TokenWebhookSettings { version, timeout, attempts, cache_ttl, .. } = settings;
        if timeout.is_zero() || timeout > TIMEOUT {
            return Err(WebhookError::TimeoutOutOfRange { limit: TIMEOUT });
        }
        let api_version = match version {
            ReviewVersion::V1 => "authentication.k8s.io/v1",
            ReviewVersion::V1beta1 => "authentication.k8s.io/v1beta1",
        };
        let reviewer = Reviewer::new(client, api_version, "TokenReview", timeout, attempts);
        Ok(Self { reviewer, cache_ttl, answers: Answers::new()?, places: Semaphore::new(QUESTIONS_MAX) })
    }

    async fn ask(&self, token: &str, audiences: &[String]) -> (Answered, Keep) {
        let review = review(self.reviewer.api_version(), token, audiences);
        let status = match self.reviewer.ask(review).await {
            Ok(status) => status,
            Err(error) => {
                tracing::warn!(gate = "authn", %error, "token webhook not answered");
                return (Answered::Refused(format!("webhook could not be asked: {error}").into()), Keep::No);
            }
        };
        let answered = match read(&status, token, audiences) {
            Ok(answered) => answered,
            Err(why) => Answered::Refused(why.into()),
        };
        let keep = Keep::For { ttl: self.cache_ttl, bytes: answered.bytes() };
        // A complaint may be about the webhook's own day, as upstream takes it: it is not kept.
        let is_kept = !matches!(answered, Answered::Refused(_));
        (answered, if is_kept { keep } else { Keep::No })
    }
}

impl TokenAuthenticator for TokenWebhook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn authenticate<'a>(&'a self, token: &'a str, audiences: &'a [String]) -> TokenVerdict<'a> {
        if token.len() > TOKEN_BYTES_MAX {
            return TokenVerdict::refused("token is too long to ask a webhook about it");
        }
        let parts = std::iter::once(token).chain(audiences.iter().map(String::as_str));
        let question = self.answers.question(parts.map(str::as_bytes));
        if let Some(answered) = self.answers.find(&question) {
            return answered.verdict();
        }
        let Ok(place) = self.places.try_acquire() else {
            return TokenVerdict::refused("webhook is being asked about too many tokens");
        };
        TokenVerdict::Later(Box::pin(async move {
            let _place = place;
            self.answers.get(question, || self.ask(token, audiences)).await.verdict()
        }))
    }
}

impl Answered {
    fn verdict(self) -> TokenVerdict<'static> {
        match self {
            Self::Known { identity, audiences } => {
                TokenVerdict::Known(KnownToken { identity, audiences, remark: None })
            }
            Self::Unknown => TokenVerdict::Unknown,
            Self::Refused(reason) => TokenVerdict::Refused(reason.to_string().into()),
        }
    }

    /// What an answer weighs in the cache.
    fn bytes(&self) -> usize {
        let of = |texts: &[String]| texts.iter().map(|text| text.len() + size_of::<String>()).sum::<usize>();
        match self {
            Self::Known { identity, audiences } => {
                let extra = identity.extra.iter().map(|(key, values)| key.len() + of(values)).sum::<usize>();
                identity.name.len() + identity.uid.len() + of(&identity.groups) + extra + of(audiences)
            }
            Self::Unknown => 0,
            Self::Refused(reason) => reason.len(),
        }
    }
}

/// Makes the question. It holds the token, so it wipes itself when it has been sent.
fn review(api_version: &str, token: &str, audiences: &[String]) -> Bytes {
    // Room for all of it at once, each character escaped, so that no copy of the token is left behind where it grew.
    let mut review = Zeroizing::new(Vec::with_capacity(256 + 6 * token.len()));
    review.extend_from_slice(br#"{"kind":"TokenReview","apiVersion":"#);
    push_json_string(&mut review, api_version);
    review.extend_from_slice(br#","metadata":{},"spec":{"token":"#);
    push_json_string(&mut review, token);
    if !audiences.is_empty() {
        review.extend_from_slice(br#","audiences":"#);
        review.extend_from_slice(json!(audiences).to_string().as_bytes());
    }
    review.extend_from_slice(b"}}");
    Bytes::from_owner(review)
}

/// Judges an answer. A malformed one is a complaint.
fn read(status: &Value, token: &str, asked: &[String]) -> Result<Answered, &'static str> {
    let audiences = texts(status.get("audiences"), "webhook answered with audiences that are not texts")?;
    // Nothing left of the audiences that were asked for: it is somebody's token, but not ours.
    let audiences: Vec<String> = match audiences.as_slice() {
        // A webhook that knows no audiences vouches for the API server alone; the caller sees to that.
        [] => Vec::new(),
        named => {
            let common: Vec<String> = asked.iter().filter(|audience| named.contains(audience)).cloned().collect();
            if common.is_empty() && !asked.is_empty() {
                return Ok(Answered::Unknown);
            }
            common
        }
    };
    match status.get("authenticated") {
        Some(Value::Bool(true)) => {}
        None | Some(Value::Null | Value::Bool(false)) => {
            return match text(status.get("error"), "webhook answered with an error that is not a text")? {
                "" => Ok(Answered::Unknown),
                error => Ok(Answered::Refused(complaint(error, token).into())),
            };
        }
        Some(_) => return Err("webhook answered with something else than authenticated or not"),
    }
    let none = Map::new();
    let user = match status.get("user") {
        None | Some(Value::Null) => &none,
        Some(Value::Object(user)) => user,
        Some(_) => return Err("webhook answered with a user that is not an object"),
    };
    Ok(Answered::Known { identity: Arc::new(identity(user)?), audiences })
}

fn identity(user: &Map<String, Value>) -> Result<Identity, &'static str> {
    let name = text(user.get("username"), "webhook answered with a username that is not a text")?;
    if name.is_empty() {
        return Err("webhook answered without a username");
    }
    let mut identity = Identity {
        name: name.to_owned(),
        uid: text(user.get("uid"), "webhook answered with a uid that is not a text")?.to_owned(),
        groups: texts(user.get("groups"), "webhook answered with groups that are not texts")?,
        extra: extra(user.get("extra"))?,
    };
    // Whoever was called anonymous by the webhook has proved nothing.
    if !identity.is_anonymous() && !identity.is_in(GROUP_UNAUTHENTICATED) {
        identity.join(GROUP_AUTHENTICATED);
    }
    Ok(identity)
}

fn extra(value: Option<&Value>) -> Result<BTreeMap<String, Vec<String>>, &'static str> {
    let wrong = "webhook answered with extra that is not an object of lists of texts";
    match value {
        None | Some(Value::Null) => Ok(BTreeMap::new()),
        Some(Value::Object(fields)) => {
            fields.iter().map(|(key, values)| Ok((key.clone(), texts(Some(values), wrong)?))).collect()
        }
        Some(_) => Err(wrong),
    }
}

fn text<'a>(value: Option<&'a Value>, wrong: &'static str) -> Result<&'a str, &'static str> {
    match value {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(wrong),
    }
}

fn texts(value: Option<&Value>, wrong: &'static str) -> Result<Vec<String>, &'static str> {
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => items.iter().map(|item| item.as_str().map(str::to_owned).ok_or(wrong)).collect(),
        Some(_) => Err(wrong),
    }
}

/// Makes a webhook's complaint fit for the log and for whoever reviews a token: short, printable, and without the token.
fn complaint(error: &str, token: &str) -> String {
    if error.contains(token) {
        return "webhook refused the token".to_owned();
    }
    printable(error, COMPLAINT_CHARS_MAX)
}

#[cfg(test)]
pub(crate) mod tests;
