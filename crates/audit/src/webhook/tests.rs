#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Response;
use portcullis_client::test_server::{Authority, Received, Server, Settings as ServerSettings};
use serde_json::Value;

use super::*;
use crate::batch::Settings;

const SETTINGS: WebhookSettings = WebhookSettings {
    mode: Mode::Batch,
    batch: Settings {
        queue_len_max: 100,
        batch_len_max: 2,
        batch_bytes_max: 10 << 20,
        wait_max: Duration::from_secs(600),
        throttle: None,
    },
    first_pause: Duration::from_millis(1),
    truncation: None,
};
/// More than any of these tests takes: what does not end by then never would.
const LONG: Duration = Duration::from_secs(60);

struct Place {
    server: Server,
    webhook: Webhook,
    batches: Option<Batches>,
    lost: IntCounter,
}

impl Place {
    async fn new<F>(settings: WebhookSettings, answer: F) -> Self
    where
        F: Fn(&Received) -> Response<Bytes> + Send + Sync + 'static,
    {
        let authority = Authority::new();
        let server = Server::start(ServerSettings::new(authority.issue("127.0.0.1")), answer).await;
        let access = server.access("/audit", &authority.pem);
        let rule = DialRule { loopback_allowed: true, ..DialRule::default() };
        let lost = IntCounter::new("lost", "lost").unwrap();
        let client = Client::new(&access, rule).unwrap();
        let (webhook, batches) = Webhook::start(client, &settings);
        webhook.count_losses(&lost);
        Self { server, webhook, batches, lost }
    }

    async fn send(&self, name: &str) -> Result<(), Unrecorded> {
        let line = Bytes::from(format!(r#"{{"auditID":"{name}"}}"#));
        match self.webhook.take_line(line, false) {
            Taken::Now(result) => result,
            Taken::Later(result) => result.await,
        }
    }

    async fn finish(&mut self) {
        self.batches.take().unwrap().finish(LONG).await;
    }

    /// The ids of the events of each request that came.
    fn received(&self) -> Vec<String> {
        let ids = |request: &Received| {
            let list: Value = serde_json::from_slice(&request.body).unwrap();
            assert_eq!(list["kind"], "EventList");
            assert_eq!(list["apiVersion"], "audit.k8s.io/v1");
            let ids = list["items"].as_array().unwrap().iter().map(|event| event["auditID"].as_str().unwrap());
            ids.collect::<Vec<_>>().join(" ")
        };
        self.server.received().iter().map(ids).collect()
    }
}

fn answer(status: u16) -> Response<Bytes> {
    Response::builder().status(status).body(Bytes::from_static(b"secret words of the receiver")).unwrap()
}

#[tokio::test]
async fn events_are_posted_in_batches_and_the_rest_at_the_end() {
    let mut place = Place::new(SETTINGS, |_| answer(200)).await;
    for name in ["a", "b", "c"] {
        place.send(name).await.unwrap();
    }
    place.finish().await;
    let mut received = place.received();
    // Two deliveries at once come in any order.
    received.sort();
    assert_eq!((received, place.lost.get()), (vec!["a b".to_owned(), "c".to_owned()], 0));
    let request = place.server.received().remove(0);
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/audit"));
    assert_eq!(request.headers["content-type"], "application/json");
    assert!(place.send("d").await.is_err());
}

#[tokio::test]
async fn what_fails_is_posted_again() {
    let check = async |statuses: &'static [u16], requests: usize, lost: u64| {
        let at = Arc::new(AtomicUsize::new(0));
        let settings = WebhookSettings { batch: Settings { batch_len_max: 1, ..SETTINGS.batch }, ..SETTINGS };
        let came = Arc::new(tokio::sync::Semaphore::new(0));
        let arrived = Arc::clone(&came);
        let mut place = Place::new(settings, move |_| {
            arrived.add_permits(1);
            let at = at.fetch_add(1, Ordering::SeqCst);
            let mut response = answer(statuses.get(at).copied().unwrap_or(200));
            response.headers_mut().insert("location", "https://127.0.0.1:1/elsewhere".parse().unwrap());
            response
        })
        .await;
        place.send("a").await.unwrap();
        // The end cuts pauses short and then attempts, so it may only begin when all attempts were made.
        let _ = came.acquire_many(u32::try_from(requests).unwrap()).await.unwrap();
        place.finish().await;
        assert_eq!((place.received(), place.lost.get()), (vec!["a".to_owned(); requests], lost), "{statuses:?}");
    };
    check(&[200], 1, 0).await;
    check(&[201], 1, 0).await;
    check(&[503, 429, 200], 3, 0).await;
    check(&[400, 413, 404, 401], 5, 0).await;
    check(&[500, 500, 500, 500, 500], 5, 1).await;
    // CVE-2020-8561: it goes to nobody else.
    check(&[302, 307, 308, 301, 303], 5, 1).await;
}

#[tokio::test]
async fn blocking_waits_for_the_webhook() {
    let check = async |mode: Mode, status: u16, expected: bool| {
        let place = Place::new(WebhookSettings { mode, ..SETTINGS }, move |_| answer(status)).await;
        assert!(place.batches.is_none());
        let sent = place.send("a").await;
        assert_eq!(sent.is_ok(), expected, "{mode:?} {status}");
        if let Err(error) = sent {
            assert_eq!(error.reason, format!("webhook answered with status {status}"));
        }
        assert_eq!(place.received().len(), if expected { 1 } else { 5 });
        assert_eq!(place.webhook.is_strict(), mode == Mode::BlockingStrict);
    };
    check(Mode::Blocking, 200, true).await;
    check(Mode::Blocking, 500, false).await;
    check(Mode::BlockingStrict, 200, true).await;
    check(Mode::BlockingStrict, 403, false).await;
}

#[tokio::test]
async fn a_webhook_that_is_away_loses_what_was_taken_and_says_so() {
    let mut place = Place::new(SETTINGS, |_| answer(200)).await;
    let authority = Authority::new();
    // Nobody vouches for this one.
    let access = place.server.access("/audit", &authority.pem);
    let rule = DialRule { loopback_allowed: true, ..DialRule::default() };
    let lost = IntCounter::new("lost", "lost").unwrap();
    let (webhook, batches) = Webhook::start(Client::new(&access, rule).unwrap(), &SETTINGS);
    webhook.count_losses(&lost);
    assert!(matches!(webhook.take_line(Bytes::from_static(b"{}"), false), Taken::Now(Ok(()))));
    batches.unwrap().finish(LONG).await;
    assert_eq!((lost.get(), place.received().len()), (1, 0));
    place.finish().await;
}

#[test]
fn a_webhook_must_be_verified() {
    let folder = tempfile::tempdir().unwrap();
    let check = |cluster: &str, expected: &str| {
        let path = folder.path().join("audit.kubeconfig");
        let text = format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: a\n  cluster: {{{cluster}}}\ncontexts:\n- name: a\n  \
             context: {{cluster: a}}\ncurrent-context: a\n"
        );
        std::fs::write(&path, text).unwrap();
        let error = client(&path, DialRule::default()).unwrap_err().to_string();
        assert!(error.contains(expected), "{cluster}: {error}");
    };
    check("server: 'https://127.0.0.1:1', insecure-skip-tls-verify: true", "is always verified");
    check("server: 'http://127.0.0.1:1'", "only https:// is spoken");
}
