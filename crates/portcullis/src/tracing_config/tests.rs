#![allow(clippy::unwrap_used)]

use tracing::{Instrument as _, info_span};
use tracing_subscriber::Registry;

use super::recorder::{Parent, current};
use super::wire::{KIND_SERVER, Span};
use super::*;

#[test]
fn a_configuration_is_read_strictly() {
    let check = |text: &str, expected: Result<(&str, u64), &str>| {
        let text = text.replace("TC", "kind: TracingConfiguration\napiVersion: apiserver.config.k8s.io");
        match (parse(text.as_bytes()), expected) {
            (Ok(read), Ok((endpoint, rate))) => {
                assert_eq!((read.endpoint.as_str(), read.rate_per_million), (endpoint, rate), "{text}");
            }
            (Err(error), Err(part)) => assert!(format!("{error:#}").contains(part), "{text}: {error:#}"),
            (read, expected) => panic!("{text}: {read:?}, and {expected:?} is expected"),
        }
    };
    check("TC/v1", Ok(("localhost:4317", 0)));
    check("TC/v1beta1\nsamplingRatePerMillion: 1000000", Ok(("localhost:4317", 1_000_000)));
    check("TC/v1\nendpoint: collector.example:4317\nsamplingRatePerMillion: 5", Ok(("collector.example:4317", 5)));
    check("TC/v1\nendpoint: dns:///collector:1", Ok(("collector:1", 0)));
    check("TC/v1\nendpoint: '[::1]:4317'", Ok(("[::1]:4317", 0)));
    check("TC/v1\nendpoint: http://x:1", Err("unsupported scheme: http"));
    check("TC/v1\nendpoint: unix:///run/x", Err("is a socket"));
    check("TC/v1\nendpoint: user@x:1/y", Err("no host and port"));
    check("TC/v1\nendpoint: ''", Err("no host and port"));
    check("TC/v1\nsamplingRatePerMillion: 1000001", Err("less than or equal to one million"));
    check("TC/v1\nsamplingRatePerMillion: -1", Err("must be positive"));
    check("TC/v1\nsamplingRatePerMillion: 0.5", Err("no whole number"));
    check("TC/v1\nsamplingRatePerMillion: many", Err("no number"));
    check("TC/v1\nrate: 1", Err("unknown field \"rate\""));
    check("TC/v1\nendpoint: a:1\nendpoint: b:1", Err("already set"));
    check("TC/v2", Err("is expected"));
    check("kind: Config\napiVersion: v1", Err("is expected"));
    check("[]", Err("no object"));
}

#[test]
fn a_parent_is_read_as_it_is_written() {
    let check = |text: &str, expected: Option<bool>| {
        assert_eq!(Parent::read(text).map(|parent| parent.is_sampled), expected, "{text}");
    };
    let ids = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";
    check(&format!("00-{ids}-01"), Some(true));
    check(&format!("00-{ids}-00"), Some(false));
    check(&format!("00-{ids}-03"), Some(true));
    check(&format!("cc-{ids}-01-more"), Some(true));
    check(&format!("00-{ids}-01-more"), None);
    check(&format!("ff-{ids}-01"), None);
    check(&format!("00-{ids}"), None);
    check(&format!("00-{}-01", ids.to_uppercase()), None);
    check("00-00000000000000000000000000000000-b7ad6b7169203331-01", None);
    check("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", None);
    check("00-ä", None);
    check("", None);
}

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";

/// Records one request with a step inside, and returns its spans.
fn record(rate: u64, parent: Option<&str>, is_trusted: bool) -> Option<(Vec<Span>, Option<String>)> {
    let (sender, mut ended) = mpsc::channel(1);
    let recorder = Recorder::new(rate, sender, Arc::default());
    let filtered = recorder.with_filter(filter_fn(|metadata| metadata.target() == TRACE_TARGET));
    let mut sent = None;
    tracing::subscriber::with_default(Registry::default().with(filtered), || {
        let request = info_span!(
            target: TRACE_TARGET, "request", name = "GET", traceparent = parent, is_trusted = tracing::field::Empty,
            "url.path" = "/x", "http.response.status_code" = tracing::field::Empty,
        );
        let step = async {
            let other = info_span!("of a log");
            let _entered = other.enter();
            tracing::info!("an event");
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let step = step.instrument(info_span!(target: TRACE_TARGET, parent: &request, "step", name = "authentication"));
        runtime.block_on(step);
        request.record("is_trusted", is_trusted);
        request.record("name", "GET /x");
        request.in_scope(|| sent = current().map(|value| value.to_str().unwrap().to_owned()));
        request.record("http.response.status_code", 503_u64);
    });
    ended.try_recv().ok().map(|ended| (ended.spans, sent))
}

#[test]
fn a_request_is_recorded_with_its_steps() {
    let (spans, sent) = record(MILLION, None, false).unwrap();
    let [step, request] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!((step.name.as_str(), request.name.as_str(), request.kind), ("authentication", "GET /x", KIND_SERVER));
    assert_eq!((&step.parent_span_id, &step.trace_id), (&request.span_id, &request.trace_id));
    assert!(request.parent_span_id.is_empty() && request.links.is_empty());
    let keys: Vec<_> = request.attributes.iter().map(|attribute| attribute.key.as_str()).collect();
    assert_eq!(keys, ["url.path", "http.response.status_code"]);
    assert!(request.status.is_some() && step.status.is_none());
    assert!(request.start_time_unix_nano <= step.start_time_unix_nano);
    assert_eq!(sent.unwrap().len(), 55);
}

#[test]
fn whose_word_counts_decides_what_is_recorded() {
    let check = |rate: u64, flags: &str, is_trusted: bool, expected: Option<(bool, usize)>| {
        let parent = format!("{PARENT}-{flags}");
        let recorded = record(rate, Some(&parent), is_trusted).map(|(spans, _)| {
            let request = spans.last().unwrap();
            assert!(spans.iter().all(|span| span.trace_id == request.trace_id));
            (!request.parent_span_id.is_empty(), request.links.len())
        });
        assert_eq!(recorded, expected, "{rate} {flags} {is_trusted}");
    };
    // (goes on with the sender's trace, links)
    check(0, "01", true, Some((true, 0)));
    check(0, "01", false, None);
    check(0, "00", true, None);
    check(MILLION, "00", true, None);
    check(MILLION, "01", true, Some((true, 0)));
    check(MILLION, "01", false, Some((false, 1)));
    assert!(record(0, None, true).is_none());
    let parent = format!("{PARENT}-01");
    let (_, sent) = record(0, Some(&parent), true).unwrap();
    assert!(sent.unwrap().starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
}
