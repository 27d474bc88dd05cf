#![allow(clippy::unwrap_used)]

use super::*;

const SECOND: i64 = 1_000_000;

#[test]
fn a_bucket_fills_as_time_goes_by() {
    let mut buckets = Buckets::new(Rate { per_second: 2.0, burst: 3.0 }, 10);
    let mut check = |name: &str, now: i64, expected: &[bool]| {
        let got: Vec<bool> = expected.iter().map(|_| buckets.take(name, now)).collect();
        assert_eq!(got, expected, "{name} at {now}");
    };
    check("a", 0, &[true, true, true, false]);
    check("b", 0, &[true, true, true, false]);
    check("a", SECOND / 4, &[false]);
    check("a", SECOND / 2, &[true, false]);
    check("a", SECOND / 2 + SECOND, &[true, true, false]);
    // The clock goes back, and then a day goes by.
    check("a", 0, &[false]);
    check("a", 86_400 * SECOND, &[true, true, true, false]);
}

#[test]
fn the_bucket_that_was_used_least_recently_makes_room() {
    let mut buckets = Buckets::new(Rate { per_second: 1.0, burst: 1.0 }, 2);
    assert!(buckets.take("a", 0) && buckets.take("b", 0));
    assert!(!buckets.take("a", 0));
    assert!(buckets.take("c", 0), "it takes the place of b");
    assert!(!buckets.take("a", 0));
    assert!(buckets.take("b", 0), "it comes again as a new one");
    assert_eq!(buckets.len(), 2);
}

#[test]
fn a_configuration_is_read_strictly() {
    let check = |text: &str, expected: &str| {
        let text = format!("apiVersion: eventratelimit.admission.k8s.io/v1alpha1\nkind: Configuration\n{text}");
        let read = read(Document::parse(text.as_bytes()).unwrap());
        let error = read.err().map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(error, expected, "{text}");
    };
    check("limits: [{type: Server, qps: 1, burst: 2}, {type: User, qps: 1, burst: 2, cacheSize: 10}]", "");
    check("limits: [{type: Server, qps: 1, burst: 2, cacheSize: -1}]", "");
    check("limits: []", "limits: Invalid value: null: must not be empty");
    check("limits: [{type: Server, qps: 1, bursts: 2}]", "strict decoding error: unknown field \"limits[0].bursts\"");
    check(
        "limits: [{type: Server, qps: x, burst: 2}]",
        "strict decoding error: limits[0].qps: expected a whole number",
    );
    check(
        "limits: [{type: Everybody, cacheSize: -1}]",
        "[limits[0].type: Unsupported value: \"Everybody\": supported values: \"Namespace\", \"Server\", \"SourceAndObject\", \"User\", \
         limits[0].burst: Invalid value: 0: must be positive, limits[0].qps: Invalid value: 0: must be positive, \
         limits[0].cacheSize: Invalid value: -1: must not be negative]",
    );
    let missing =
        EventRateLimit::configured(Given { configuration: None, dial: &portcullis_client::DialRule::default() });
    assert!(matches!(missing, Err(PluginFault::Missing)));
}

#[test]
fn a_refusal_has_upstreams_words() {
    let failure = refusal(LimitType::Namespace, "harbor");
    assert_eq!((failure.code, failure.reason), (429, Reason::TooManyRequests));
    assert_eq!(failure.message, "Too many requests: limit reached on type Namespace for key harbor");
}
