//! Families of metrics as text: the plain format 0.0.4, and OpenMetrics 1.0.0 for those who take nothing else.
//!
//! Upstream's handler speaks the plain format whatever else is offered, and under its names: OpenMetrics has none for a counter that
//! does not end with `_total`. So a client that takes both is given the plain one, as upstream does.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response};
use portcullis_gate::Body;
use prometheus::proto::{Histogram, LabelPair, Metric, MetricFamily, MetricType};

/// Ranges of one `Accept` header that are looked at.
const RANGES_MAX: usize = 32;
/// Numbers with an exponent from this one to below the next are written without it.
const EXPONENT_MIN: i32 = -4;
const EXPONENT_MAX: i32 = 6;
/// Bytes that a text is expected to have.
const TEXT_BYTES_USUAL: usize = 64 * 1024;

/// How a text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Plain,
    OpenMetrics,
}

impl Format {
    /// That which a client asks for.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut takes_open_metrics = false;
        for range in ranges(headers, ACCEPT) {
            match range {
                "text/plain" | "text/*" | "*/*" => return Self::Plain,
                "application/openmetrics-text" => takes_open_metrics = true,
                _ => {}
            }
        }
        if takes_open_metrics { Self::OpenMetrics } else { Self::Plain }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Whether the answer is to be compressed.
pub(super) fn takes_gzip(headers: &HeaderMap) -> bool {
    ranges(headers, ACCEPT_ENCODING).any(|coding| coding.eq_ignore_ascii_case("gzip"))
}

/// What a header lists without what it refuses (`q=0`), and without parameters.
fn ranges(headers: &HeaderMap, name: http::HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    let ranges = values.flat_map(|value| value.split(',')).take(RANGES_MAX);
    ranges.filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let range = parts.next().filter(|range| !range.is_empty())?;
        let refused = |part: &str| {
            let quality = part.strip_prefix("q=").and_then(|quality| quality.parse::<f32>().ok());
            quality.is_some_and(|quality| quality <= 0.0)
        };
        (!parts.any(refused)).then_some(range)
    })
}

/// Makes the answer. Takes a while where there are many metrics.
pub(super) fn respond(families: &[MetricFamily], format: Format, gzip: bool) -> Response<Body> {
    let text = write(families, format);
    let compressed = if gzip { compress(&text) } else { None };
    let mut response = match compressed {
        Some(compressed) => {
            let mut response = Response::new(Body::from(compressed));
            response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            response
        }
        None => Response::new(Body::from(text)),
    };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    response
}

/// None when it cannot be, which writing to memory does not come to.
fn compress(text: &str) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 8), Compression::fast());
    encoder.write_all(text.as_bytes()).ok()?;
    encoder.finish().ok()
}

fn write(families: &[MetricFamily], format: Format) -> String {
    let mut out = Out { text: String::with_capacity(TEXT_BYTES_USUAL), format };
    for family in families {
        out.family(family);
    }
    if format == Format::OpenMetrics {
        out.text.push_str("# EOF\n");
    }
    out.text
}

struct Out {
    text: String,
    format: Format,
}

impl Out {
    fn family(&mut self, family: &MetricFamily) {
        let kind = match family.get_field_type() {
            MetricType::COUNTER => "counter",
            MetricType::GAUGE => "gauge",
            MetricType::HISTOGRAM => "histogram",
            // Nobody here makes one.
            MetricType::SUMMARY | MetricType::UNTYPED => return,
        };
        let is_open_counter = self.format == Format::OpenMetrics && kind == "counter";
        let shown = match family.name().strip_suffix("_total") {
            Some(base) if is_open_counter => base,
            _ => family.name(),
        };
        let help = escaped(family.help(), self.format == Format::OpenMetrics);
        let _ = write!(self.text, "# HELP {shown} {help}\n# TYPE {shown} {kind}\n");
        let suffix = if is_open_counter { "_total" } else { "" };
        for metric in family.get_metric() {
            match family.get_field_type() {
                MetricType::COUNTER => self.sample(shown, suffix, metric, "", metric.get_counter().get_value()),
                MetricType::GAUGE => self.sample(shown, "", metric, "", metric.get_gauge().get_value()),
                _ => self.histogram(shown, metric, metric.get_histogram()),
            }
        }
    }

    fn histogram(&mut self, name: &str, metric: &Metric, histogram: &Histogram) {
        let count = histogram.get_sample_count();
        for bucket in histogram.get_bucket() {
            let bound = bucket.upper_bound();
            if bound.is_finite() {
                let le = self.number(bound);
                self.sample(name, "_bucket", metric, &le, bucket.cumulative_count() as f64);
            }
        }
        self.sample(name, "_bucket", metric, "+Inf", count as f64);
        self.sample(name, "_sum", metric, "", histogram.get_sample_sum());
        self.sample(name, "_count", metric, "", count as f64);
    }

    fn sample(&mut self, name: &str, suffix: &str, metric: &Metric, le: &str, value: f64) {
        self.text.push_str(name);
        self.text.push_str(suffix);
        self.labels(metric.get_label(), le);
        let is_whole = self.format == Format::OpenMetrics && matches!(suffix, "_bucket" | "_count");
        let value = if is_whole { value.to_string() } else { self.number(value) };
        self.text.push(' ');
        self.text.push_str(&value);
        self.text.push('\n');
    }

    fn labels(&mut self, labels: &[LabelPair], le: &str) {
        let mut begin = '{';
        for label in labels {
            let _ = write!(self.text, "{begin}{}=\"{}\"", label.name(), escaped(label.value(), true));
            begin = ',';
        }
        if !le.is_empty() {
            let _ = write!(self.text, "{begin}le=\"{le}\"");
            begin = ',';
        }
        if begin == ',' {
            self.text.push('}');
        }
    }

    fn number(&self, value: f64) -> String {
        let mut text = go_number(value);
        if self.format == Format::OpenMetrics && value.is_finite() && !text.contains(['.', 'e']) {
            text.push_str(".0");
        }
        text
    }
}

/// Text in a line; `quotes` too where it stands between them.
fn escaped(text: &str, quotes: bool) -> Cow<'_, str> {
    let is_special = |letter: char| matches!(letter, '\\' | '\n') || quotes && letter == '"';
    if !text.contains(is_special) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        match letter {
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            '"' if quotes => escaped.push_str("\\\""),
            letter => escaped.push(letter),
        }
    }
    Cow::Owned(escaped)
}

/// A number as Go writes it in its shortest form, with an exponent of two digits where it is very large or small.
fn go_number(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let shortest = format!("{value:e}");
    let (digits, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if value != 0.0 && !(EXPONENT_MIN..EXPONENT_MAX).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    value.to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use portcullis_gate::metrics::family::{counter, gauge, histogram};

    use super::*;

    #[test]
    fn numbers_are_gos() {
        let check = |value: f64, expected: &str| assert_eq!(go_number(value), expected);
        check(0.0, "0");
        check(1.0, "1");
        check(-2.5, "-2.5");
        check(0.005, "0.005");
        check(0.0001, "0.0001");
        check(0.00005, "5e-05");
        check(100_000.0, "100000");
        check(1_000_000.0, "1e+06");
        check(1_500_000.0, "1.5e+06");
        check(1_234_567.0, "1.234567e+06");
        check(1e9, "1e+09");
        check(1_763_765_134.25, "1.76376513425e+09");
        check(f64::INFINITY, "+Inf");
        check(f64::NAN, "NaN");
    }

    #[test]
    fn a_client_that_takes_the_plain_format_is_given_it() {
        let check = |accept: &'static str, expected: Format| {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(Format::of(&headers), expected, "{accept}");
        };
        assert_eq!(Format::of(&HeaderMap::new()), Format::Plain);
        check("*/*", Format::Plain);
        check("application/json", Format::Plain);
        check("application/openmetrics-text", Format::OpenMetrics);
        check("application/openmetrics-text; version=1.0.0; charset=utf-8", Format::OpenMetrics);
        check(
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            Format::Plain,
        );
        check("application/openmetrics-text, text/plain;q=0", Format::OpenMetrics);
        check("application/openmetrics-text;q=0", Format::Plain);
    }

    #[test]
    fn gzip_is_for_those_who_take_it() {
        let check = |accept: &'static str, expected: bool| {
            let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(accept))]);
            assert_eq!(takes_gzip(&headers), expected, "{accept}");
        };
        check("gzip", true);
        check("deflate, gzip;q=0.5", true);
        check("gzip;q=0", false);
        check("identity", false);
        check("", false);
    }

    fn families() -> Vec<MetricFamily> {
        let family = |name: &str, kind: MetricType, metric: Metric| {
            let mut family = MetricFamily::default();
            family.set_name(name.to_owned());
            family.set_help("What it \"is\".\nAnd \\ more.".to_owned());
            family.set_field_type(kind);
            family.set_metric(vec![metric]);
            family
        };
        let observed = portcullis_gate::metrics::histogram::Histogram::new();
        let bounds = portcullis_gate::metrics::histogram::Bounds::plain([1000, 1_000_000]);
        observed.observe(&bounds, 7);
        observed.observe(&bounds, 2_000_000);
        vec![
            family("attempts", MetricType::COUNTER, counter(&[("result", "a\"b\\c\n")], 3.0)),
            family("bytes", MetricType::HISTOGRAM, histogram(&[("verb", "GET")], observed.read(&bounds).unwrap())),
            family("now", MetricType::GAUGE, gauge(&[], 1.5)),
            family("seen_total", MetricType::COUNTER, counter(&[], 2.0)),
        ]
    }

    #[test]
    fn the_plain_format() {
        let expected = r#"# HELP attempts What it "is".\nAnd \\ more.
# TYPE attempts counter
attempts{result="a\"b\\c\n"} 3
# HELP bytes What it "is".\nAnd \\ more.
# TYPE bytes histogram
bytes_bucket{verb="GET",le="1000"} 1
bytes_bucket{verb="GET",le="1e+06"} 1
bytes_bucket{verb="GET",le="+Inf"} 2
bytes_sum{verb="GET"} 2.000007e+06
bytes_count{verb="GET"} 2
# HELP now What it "is".\nAnd \\ more.
# TYPE now gauge
now 1.5
# HELP seen_total What it "is".\nAnd \\ more.
# TYPE seen_total counter
seen_total 2
"#;
        assert_eq!(write(&families(), Format::Plain), expected);
    }

    #[test]
    fn the_open_format() {
        let text = write(&families(), Format::OpenMetrics);
        for line in [
            "# TYPE attempts counter\nattempts_total{result=\"a\\\"b\\\\c\\n\"} 3.0\n",
            "bytes_bucket{verb=\"GET\",le=\"1000.0\"} 1\n",
            "# TYPE seen counter\nseen_total 2.0\n",
            "# HELP now What it \\\"is\\\".\\nAnd \\\\ more.\n",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
