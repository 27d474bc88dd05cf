//! `/metrics` and `/metrics/slis` as a scraper reads them: the format to the letter, upstream's names, counters that never go down, and as
//! many series after a flood of made-up names as before it.

use std::collections::{BTreeMap, BTreeSet};

use http_body_util::BodyExt as _;
use portcullis_tests::build::program;
use portcullis_tests::client::Client;
use portcullis_tests::program::Server;
use portcullis_tests::session::{Asking, Connector, Protocol};

/// Connections of the flood, each with a user agent of its own.
const FLOOD_CONNECTIONS: usize = 30;
/// Requests on each of them.
const FLOOD_REQUESTS: usize = 100;
/// Bytes that a flood may leave in memory: caches that it fills are small.
const FLOOD_GROWTH_BYTES_MAX: f64 = 8.0 * 1024.0 * 1024.0;

/// A text in the plain format, read without mercy.
#[derive(Debug, Default)]
struct Text {
    /// The type of each family.
    families: BTreeMap<String, String>,
    /// The value of each series, by its line up to the value.
    series: BTreeMap<String, f64>,
}

impl Text {
    /// Reads a text, or says what is wrong with it.
    fn parse(text: &str) -> Result<Self, String> {
        let mut read = Self::default();
        let mut helped = BTreeSet::new();
        let mut family = String::new();
        if !text.is_empty() && !text.ends_with('\n') {
            return Err("no newline at the end".to_owned());
        }
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let name = help.split_once(' ').ok_or_else(|| format!("no help: {line}"))?.0;
                if !helped.insert(name.to_owned()) {
                    return Err(format!("HELP twice: {line}"));
                }
                name.clone_into(&mut family);
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').ok_or_else(|| format!("no type: {line}"))?;
                if name != family || !["counter", "gauge", "histogram"].contains(&kind) {
                    return Err(format!("TYPE out of place: {line}"));
                }
                if read.families.insert(name.to_owned(), kind.to_owned()).is_some() {
                    return Err(format!("TYPE twice: {line}"));
                }
            } else {
                read.sample(&family, line)?;
            }
        }
        read.families.iter().filter(|(_, kind)| *kind == "histogram").try_for_each(|(name, _)| read.histogram(name))?;
        Ok(read)
    }

    fn sample(&mut self, family: &str, line: &str) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("{what}: {line}"));
        let (series, value) = line.rsplit_once(' ').ok_or_else(|| format!("no value: {line}"))?;
        let value: f64 = value.replace("+Inf", "inf").parse().map_err(|_| format!("no number: {line}"))?;
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => {
                (name, labels.strip_suffix('}').ok_or_else(|| format!("labels do not end: {line}"))?)
            }
            None => (series, ""),
        };
        let Some(kind) = self.families.get(family) else { return wrong("a sample before its type") };
        let suffixes: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        if !suffixes.iter().any(|suffix| name.strip_suffix(suffix) == Some(family)) {
            return wrong("a sample of another family");
        }
        let names = label_names(labels).ok_or_else(|| format!("labels cannot be read: {line}"))?;
        let ordered: Vec<_> = names.iter().filter(|name| *name != "le").collect();
        if !ordered.windows(2).all(|pair| pair[0] < pair[1])
            || names.iter().rposition(|name| name == "le") == Some(0) && names.len() > 1
        {
            return wrong("labels out of order");
        }
        if kind == "counter" && (value < 0.0 || value.is_nan()) {
            return wrong("no count");
        }
        match self.series.insert(series.to_owned(), value) {
            Some(_) => wrong("a series twice"),
            None => Ok(()),
        }
    }

    /// Buckets grow, and the last one holds everything.
    fn histogram(&self, name: &str) -> Result<(), String> {
        let prefix = format!("{name}_bucket{{");
        let mut held: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        for (series, count) in self.series.range(prefix.clone()..).take_while(|(series, _)| series.starts_with(&prefix))
        {
            let at = series.rfind("le=\"").ok_or_else(|| format!("no bound: {series}"))?;
            let bound = series[at + 4..].trim_end_matches("\"}").replace("+Inf", "inf");
            let labels = series[prefix.len()..at].trim_end_matches(',');
            held.entry(labels.to_owned()).or_default().push((bound.parse().map_err(|_| series.clone())?, *count));
        }
        for (labels, mut buckets) in held {
            buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
            let count = if labels.is_empty() { format!("{name}_count") } else { format!("{name}_count{{{labels}}}") };
            let all = self.series.get(&count).ok_or_else(|| format!("no {count}"))?;
            let grows = buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1);
            let last = buckets.last().ok_or_else(|| format!("no bucket: {count}"))?;
            if !grows || !last.0.is_infinite() || last.1 != *all {
                return Err(format!("buckets of {count} do not add up: {buckets:?}"));
            }
        }
        Ok(())
    }

    /// The sum of the series of a family whose labels hold all of these.
    fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let of_family = |series: &str| series == name || series.starts_with(&format!("{name}{{"));
        let chosen = self.series.iter().filter(|(series, _)| of_family(series));
        chosen.filter(|(series, _)| labels.iter().all(|label| series.contains(label))).map(|(_, value)| value).sum()
    }

    /// What only ever grows: counters, and the counts of histograms.
    fn growing(&self) -> impl Iterator<Item = (&String, f64)> {
        let grows = |series: &str| {
            let name = series.split('{').next().unwrap_or_default();
            let base = ["_bucket", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
            self.families.get(name).is_some_and(|kind| kind == "counter")
                || self.families.get(base).is_some_and(|kind| kind == "histogram")
        };
        self.series.iter().filter(move |(series, _)| grows(series)).map(|(series, value)| (series, *value))
    }
}

/// The names of labels; nothing when they cannot be read.
fn label_names(mut labels: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    while !labels.is_empty() {
        let (name, rest) = labels.split_once("=\"")?;
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        names.push(is_name.then(|| name.to_owned())?);
        let mut escaped = false;
        let end = rest.bytes().position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        })?;
        labels = rest.get(end + 1..)?;
        labels = if labels.is_empty() { labels } else { labels.strip_prefix(',')? };
    }
    Some(names)
}

fn scrape(client: &Client, path: &str) -> Text {
    let answer = client.get(path);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    Text::parse(&answer.text()).unwrap_or_else(|wrong| panic!("{path}: {wrong}"))
}

#[test]
fn the_parser_is_strict() {
    let check = |text: &str, is_right: bool| assert_eq!(Text::parse(text).is_ok(), is_right, "{text}");
    let head = "# HELP a b\n# TYPE a counter\n";
    check("", true);
    check(&format!("{head}a 1\n"), true);
    check(&format!("{head}a{{x=\"1\",y=\"a\\\"b\"}} 1e+06\n"), true);
    check(&format!("{head}a 1"), false);
    check(&format!("{head}{head}a 1\n"), false);
    check(&format!("{head}b 1\n"), false);
    check(&format!("{head}a 1\na 1\n"), false);
    check(&format!("{head}a -1\n"), false);
    check(&format!("{head}a x\n"), false);
    check(&format!("{head}a{{y=\"1\",x=\"1\"}} 1\n"), false);
    check("a 1\n", false);
    let head = "# HELP h b\n# TYPE h histogram\n";
    check(&format!("{head}h_bucket{{le=\"1\"}} 1\nh_bucket{{le=\"+Inf\"}} 2\nh_sum 3\nh_count 2\n"), true);
    check(&format!("{head}h_bucket{{le=\"1\"}} 3\nh_bucket{{le=\"+Inf\"}} 2\nh_sum 3\nh_count 2\n"), false);
    check(&format!("{head}h_bucket{{le=\"+Inf\"}} 2\nh_sum 3\nh_count 1\n"), false);
}

#[test]
fn a_scraper_finds_upstreams_names_and_counts_that_only_grow() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_with(program(), data.path(), &[]).expect("the server starts");
    let admin = server.admin();
    let object = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    admin.post("/api/v1/namespaces/default/configmaps", &object);
    admin.get("/api/v1/namespaces/default/configmaps/a");
    admin.get("/api/v1/configmaps");
    admin.get("/api/v1/componentstatuses");
    admin.get("/api/v1/configmaps?watch=1&timeoutSeconds=1");
    for path in ["/healthz", "/livez", "/readyz", "/nosuch"] {
        admin.get(path);
    }
    server.stranger().get("/api/v1/pods");
    let first = scrape(&admin, "/metrics");
    for name in [
        "apiserver_cache_list_total",
        "apiserver_client_certificate_expiration_seconds",
        "apiserver_current_inflight_requests",
        "apiserver_current_inqueue_requests",
        "apiserver_longrunning_requests",
        "apiserver_request_body_size_bytes",
        "apiserver_request_duration_seconds",
        "apiserver_request_filter_duration_seconds",
        "apiserver_request_sli_duration_seconds",
        "apiserver_request_total",
        "apiserver_requested_deprecated_apis",
        "apiserver_resource_objects",
        "apiserver_response_sizes",
        "apiserver_storage_objects",
        "apiserver_watch_events_sizes",
        "apiserver_watch_events_total",
        "authenticated_user_requests",
        "authentication_attempts",
        "authentication_duration_seconds",
        "authorization_attempts_total",
        "authorization_duration_seconds",
        "kubernetes_build_info",
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
    ] {
        assert!(first.families.contains_key(name), "{name}\n{:#?}", first.families);
    }
    let total = "apiserver_request_total";
    assert_eq!(first.sum(total, &["verb=\"POST\"", "resource=\"configmaps\"", "code=\"201\""]), 1.0);
    assert_eq!(first.sum(total, &["resource=\"pods\"", "code=\"401\"", "scope=\"cluster\"", "verb=\"LIST\""]), 1.0);
    assert!(first.sum("apiserver_storage_objects", &["\"configmaps\""]) >= 1.0);
    for _ in 0..3 {
        admin.get("/api/v1/namespaces/default/configmaps/a");
    }
    let second = scrape(&admin, "/metrics");
    for (series, value) in first.growing() {
        let now = second.series.get(series).unwrap_or_else(|| panic!("{series} is gone"));
        assert!(*now >= value, "{series} fell from {value} to {now}");
    }
    let gets: [&str; 2] = ["resource=\"configmaps\"", "verb=\"GET\""];
    assert_eq!(second.sum(total, &gets) - first.sum(total, &gets), 3.0);
    let slis = scrape(&admin, "/metrics/slis");
    for endpoint in ["healthz", "livez", "readyz"] {
        assert_eq!(slis.series[&format!("kubernetes_healthcheck{{name=\"etcd\",type=\"{endpoint}\"}}")], 1.0);
    }
    assert!(slis.sum("kubernetes_healthchecks_total", &["status=\"success\""]) >= 3.0);
    assert_eq!(server.stranger().get("/metrics/slis").status, 401);
}

#[test]
fn metrics_come_compressed_or_open_to_those_who_ask() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_with(program(), data.path(), &[]).expect("the server starts");
    let gzip = server.admin().with_header("Accept-Encoding", "gzip").get("/metrics");
    assert_eq!((gzip.status, gzip.header("content-encoding")), (200, Some("gzip")));
    assert!(gzip.body.starts_with(&[0x1f, 0x8b]));
    let open = server.admin().with_header("Accept", "application/openmetrics-text;version=1.0.0").get("/metrics");
    assert_eq!(open.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert!(open.text().ends_with("# EOF\n"), "{}", open.text());
}

/// Asks for things that nobody has, each time for others.
async fn flood(client: &Client, begin: usize) {
    for connection in begin..begin + FLOOD_CONNECTIONS {
        let client = client.with_header("User-Agent", &format!("agent-{connection}"));
        let mut session = Connector::of(&client).open(Protocol::Http1).await.unwrap();
        for request in 0..FLOOD_REQUESTS {
            let number = connection * FLOOD_REQUESTS + request;
            let path = match number % 7 {
                0 => format!("/p{number}"),
                1 => format!("/api/v1/r{number}"),
                2 => format!("/apis/g{number}/v1/namespaces/n{number}/pods/x{number}"),
                3 => format!("/api/v{number}/pods"),
                4 => format!("/api/v1/namespaces/n{number}/pods/x{number}/s{number}"),
                5 => format!("/api/v1/namespaces/n{number}/pods/x{number}?dryRun=d{number}"),
                _ => format!("/healthz/c{number}"),
            };
            let method = if number.is_multiple_of(2) { "GET".to_owned() } else { format!("M{number}") };
            let accept = format!("a{number}/b, application/json");
            let answer = session.open(&path, Asking { method: &method, accept: &accept, content: None }).await.unwrap();
            assert!(answer.status().is_client_error(), "{method} {path}: {}", answer.status());
            answer.into_body().collect().await.unwrap();
        }
    }
}

#[test]
fn cve_2020_8552_a_flood_of_made_up_names_makes_no_series() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_with(program(), data.path(), &[]).expect("the server starts");
    let admin = server.admin();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(flood(&admin, 0));
    scrape(&admin, "/metrics");
    let before = scrape(&admin, "/metrics");
    runtime.block_on(flood(&admin, FLOOD_CONNECTIONS));
    let after = scrape(&admin, "/metrics");
    let names = |text: &Text| text.series.keys().cloned().collect::<BTreeSet<_>>();
    let new: Vec<_> = names(&after).difference(&names(&before)).cloned().collect();
    assert!(new.is_empty(), "{new:#?}");
    let asked = after.sum("apiserver_request_total", &[]) - before.sum("apiserver_request_total", &[]);
    assert!(asked >= (FLOOD_CONNECTIONS * FLOOD_REQUESTS) as f64, "{asked}");
    let memory = "process_resident_memory_bytes";
    let growth = after.series[memory] - before.series[memory];
    assert!(growth < FLOOD_GROWTH_BYTES_MAX, "{growth} bytes");
}
