//! One delivery: the list is made, posted, and posted again after longer and longer pauses.

use std::ops::RangeInclusive;
use std::time::Duration;

use aws_lc_rs::rand;
use bytes::Bytes;
use portcullis_client::{Client, Outgoing};

use crate::batch::{Deliver, End};
use crate::sink::Unrecorded;

/// How often a list is posted at most, and how much longer each pause is than the one before (upstream's
/// `DefaultRetryBackoffWithInitialDelay`).
const ATTEMPTS_MAX: u32 = 5;
const PAUSE_FACTOR: f64 = 1.5;
/// Part of a pause that is left to chance, so that servers that were refused together do not come back together.
const JITTER: f64 = 0.2;
/// How long one attempt may take. Upstream waits for ever.
const TIMEOUT: Duration = Duration::from_secs(30);
/// What upstream's client takes for a success.
const SUCCESS: RangeInclusive<u16> = 200..=206;

const LIST_HEAD: &[u8] = br#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":["#;
const LIST_TAIL: &[u8] = b"]}\n";

/// Posts events.
pub(super) struct Poster {
    client: Client,
    first_pause: Duration,
}

impl Poster {
    pub(super) fn new(client: Client, first_pause: Duration) -> Self {
        Self { client, first_pause }
    }

    async fn post(&self, body: Bytes) -> Result<(), String> {
        let outgoing = Outgoing { timeout: TIMEOUT, ..Outgoing::post("", body) };
        let answer = self.client.send(&outgoing).await.map_err(|error| error.to_string())?;
        let status = answer.status.as_u16();
        if SUCCESS.contains(&status) { Ok(()) } else { Err(format!("webhook answered with status {status}")) }
    }
}

impl Deliver for Poster {
    /// Whatever fails is tried again, as upstream's backend does: what a webhook answers to an event says little about the next
    /// attempt, and the event is worth it. When the server ends there are no more pauses, and one last attempt.
    async fn deliver(&self, events: &[Bytes], end: &mut End) -> Result<(), Unrecorded> {
        let body = list(events);
        let mut pause = self.first_pause;
        let mut attempt = 1;
        loop {
            let was_over = end.has_begun();
            let Err(reason) = self.post(body.clone()).await else { return Ok(()) };
            if attempt >= ATTEMPTS_MAX || was_over {
                return Err(Unrecorded { reason });
            }
            tracing::debug!(error = reason, attempt, events = events.len(), "audit events are sent again");
            end.or_after(pause.mul_f64(1.0 + JITTER * chance())).await;
            pause = pause.mul_f64(PAUSE_FACTOR);
            attempt += 1;
        }
    }
}

/// Makes an `EventList`.
fn list(events: &[Bytes]) -> Bytes {
    let len = events.iter().map(|event| event.len() + 1).sum::<usize>();
    let mut body = Vec::with_capacity(LIST_HEAD.len() + len + LIST_TAIL.len());
    body.extend_from_slice(LIST_HEAD);
    for (at, event) in events.iter().enumerate() {
        if at > 0 {
            body.push(b',');
        }
        body.extend_from_slice(event);
    }
    body.extend_from_slice(LIST_TAIL);
    body.into()
}

/// A number from 0 to 1.
fn chance() -> f64 {
    let mut bytes = [0; 4];
    // Without chance the pause is only less scattered.
    let _ = rand::fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_one_json_object() {
        let check = |events: &[&'static str], expected: &str| {
            let events: Vec<Bytes> = events.iter().map(|event| Bytes::from_static(event.as_bytes())).collect();
            let expected = format!(
                "{{\"kind\":\"EventList\",\"apiVersion\":\"audit.k8s.io/v1\",\"metadata\":{{}},\"items\":[{expected}]}}\n"
            );
            assert_eq!(list(&events), expected);
        };
        check(&["{}"], "{}");
        check(&[r#"{"a":1}"#, r#"{"b":2}"#], r#"{"a":1},{"b":2}"#);
    }
}
