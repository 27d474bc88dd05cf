//! A question to a webhook of authentication or authorisation: one review is posted, and posted again while nobody hears it
//! (upstream: `GenericWebhook` and its exponential backoff).

use std::time::Duration;

use aws_lc_rs::rand;
use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;
use thiserror::Error;
use tokio::time::Instant;

use crate::https::{Client, Outgoing, RequestError};

/// Part of a pause that is left to chance, so that servers that were refused together do not come back together.
const JITTER: f64 = 0.2;

/// How often a question is put, and how long the pauses are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attempts {
    /// How often at most.
    pub count_max: u32,
    /// The pause after the first attempt.
    pub first_pause: Duration,
    /// How much longer each further pause is.
    pub factor: f64,
}

impl Default for Attempts {
    /// Five attempts with pauses from half a second on (upstream's `DefaultRetryBackoff`).
    fn default() -> Self {
        Self { count_max: 5, first_pause: Duration::from_millis(500), factor: 1.5 }
    }
}

/// Why a review has no answer. No text holds anything that the webhook sent.
#[derive(Debug, Error)]
pub enum ReviewError {
    /// There is no answer.
    #[error(transparent)]
    RequestFailed(#[from] RequestError),
    /// The answer is no success.
    #[error("webhook answered with status {}", status.as_u16())]
    Refused {
        /// The status.
        status: StatusCode,
    },
    /// The answer is no review of the sort that was asked for.
    #[error("webhook did not answer with a {api_version} {kind}: {why}")]
    NotReview {
        /// What was asked for.
        api_version: &'static str,
        /// What was asked for.
        kind: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl ReviewError {
    fn is_transient(&self) -> bool {
        match self {
            Self::RequestFailed(error) => error.is_transient(),
            Self::Refused { status } => status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS,
            Self::NotReview { .. } => false,
        }
    }
}

/// A webhook that answers reviews of one kind.
#[derive(Debug)]
pub struct Reviewer {
    client: Client,
    api_version: &'static str,
    kind: &'static str,
    timeout: Duration,
    attempts: Attempts,
}

impl Reviewer {
    /// Asks `client` for reviews of a kind. All attempts of one question together take `timeout` at most.
    pub fn new(
        client: Client,
        api_version: &'static str,
        kind: &'static str,
        timeout: Duration,
        attempts: Attempts,
    ) -> Self {
        Self { client, api_version, kind, timeout, attempts }
    }

    /// Returns the API version of the reviews.
    pub fn api_version(&self) -> &'static str {
        self.api_version
    }

    /// Puts a question, given as the whole review in JSON, and returns the `status` of the answer: an object, empty when there
    /// is none.
    ///
    /// # Errors
    /// There is no answer in time, or none that is a review.
    pub async fn ask(&self, review: Bytes) -> Result<Value, ReviewError> {
        let end = Instant::now() + self.timeout;
        let mut pause = self.attempts.first_pause;
        let mut attempt = 1;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let error = match self.attempt(review.clone(), left).await {
                Ok(status) => return Ok(status),
                Err(error) => error,
            };
            let pause_now = pause.mul_f64(1.0 + JITTER * chance());
            let is_over = attempt >= self.attempts.count_max || Instant::now() + pause_now >= end;
            if is_over || !error.is_transient() {
                return Err(error);
            }
            tracing::debug!(%error, attempt, "webhook asked again");
            tokio::time::sleep(pause_now).await;
            pause = pause.mul_f64(self.attempts.factor);
            attempt += 1;
        }
    }

    async fn attempt(&self, review: Bytes, timeout: Duration) -> Result<Value, ReviewError> {
        let outgoing = Outgoing { timeout, ..Outgoing::post("", review) };
        let answer = self.client.send(&outgoing).await?;
        // 206 is the last one that upstream's client takes for a success.
        if !(200..=206).contains(&answer.status.as_u16()) {
            return Err(ReviewError::Refused { status: answer.status });
        }
        let wrong = |why| ReviewError::NotReview { api_version: self.api_version, kind: self.kind, why };
        let Ok(Value::Object(mut review)) = serde_json::from_slice(&answer.body) else {
            return Err(wrong("it is not a JSON object"));
        };
        for (field, expected) in [("apiVersion", self.api_version), ("kind", self.kind)] {
            match review.get(field) {
                None | Some(Value::Null) => {}
                Some(Value::String(found)) if found.is_empty() || found == expected => {}
                Some(_) => return Err(wrong("its apiVersion or kind is another one")),
            }
        }
        match review.remove("status") {
            None | Some(Value::Null) => Ok(Value::Object(serde_json::Map::new())),
            Some(status) if status.is_object() => Ok(status),
            Some(_) => Err(wrong("its status is not an object")),
        }
    }
}

/// A number from 0 to 1.
fn chance() -> f64 {
    let mut bytes = [0; 4];
    // Without chance the pause is only less scattered.
    let _ = rand::fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}
