//! What is counted of sealing (upstream: `storage/value/metrics.go`, `value/encrypt/envelope/metrics`). Values of resources that nobody
//! seals are not among it: nothing is done with them.
//!
//! Labels are a served resource, a format with the name of its KMS, one of gRPC's codes. A KMS is named by an operator; beyond so many names
//! they are counted as one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::Result;
use portcullis_gate::metrics::family::{Families, Family, counter, gauge, histogram};
use portcullis_gate::metrics::histogram::{Bounds, Histogram};
use portcullis_seal::{KeyInfo, KmsError, KmsObserver, OpenError, SealError, code_name, sealed_under};
use portcullis_store::Catalog;
use prometheus::proto::{Metric, MetricType};
use tonic::Code;

use super::StoreSealing;

/// KMS providers that are told apart, also those of configurations that were replaced.
const PROVIDERS_MAX: usize = 16;
const OTHER_PROVIDERS: &str = "other";
/// Upper bounds of the time that a call of a KMS takes (upstream's).
const CALL_DURATIONS: Bounds<14> = Bounds::of_microseconds([
    100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 102_400, 204_800, 409_600, 819_200,
]);
/// Formats whose keys are here.
const FORMATS: [&str; 3] = ["aesgcm", "aescbc", "secretbox"];
/// Those, plain values where sealed ones are due, and what nobody could tell.
const FIXED_PREFIXES: [&str; 5] =
    ["k8s:enc:aesgcm:v1:", "k8s:enc:aescbc:v1:", "k8s:enc:secretbox:v1:", "identity", "unknown"];
const IDENTITY: usize = 3;
const UNKNOWN: usize = 4;
const PREFIXES: usize = FIXED_PREFIXES.len() + PROVIDERS_MAX + 1;
/// gRPC's codes by their numbers, and what is none.
const STATUSES: usize = 18;
const NO_CODE: &str = "unknown-non-grpc";

/// Which way a value went.
#[derive(Clone, Copy)]
enum Way {
    ToStorage,
    FromStorage,
}

const WAYS: [(Way, &str); 2] = [(Way::ToStorage, "to_storage"), (Way::FromStorage, "from_storage")];

/// One resource's values, by way, prefix and status.
type Cells = [[[AtomicU64; STATUSES]; PREFIXES]; WAYS.len()];

/// Everything that is counted of sealing.
pub(super) struct Metrics {
    catalog: Arc<dyn Catalog>,
    /// By resource, in the catalog's order; made with its first value that is sealed.
    values: Box<[OnceLock<Box<Cells>>]>,
    providers: [OnceLock<Box<str>>; PROVIDERS_MAX],
    calls: Mutex<BTreeMap<Call, Histogram<14>>>,
}

/// A sort of call: a provider's place, a method, a code.
type Call = (usize, &'static str, i32);

impl Metrics {
    pub(super) fn new(catalog: Arc<dyn Catalog>) -> Arc<Self> {
        let values = (0..catalog.rings()).map(|_| OnceLock::new()).collect();
        Arc::new(Self { catalog, values, providers: Default::default(), calls: Mutex::default() })
    }

    /// Counts a value that was sealed; one that was to stay plain is not counted.
    pub(super) fn sealed(&self, key: &str, kept: &[u8]) {
        if let Some(label) = sealed_under(kept) {
            self.count(key, Way::ToStorage, self.prefix(label), 0);
        }
    }

    /// Counts a value that could not be sealed.
    pub(super) fn not_sealed(&self, key: &str, error: &SealError) {
        let (prefix, status) = match error {
            SealError::Kms { provider, source } => (self.provider(provider), status_of(Some(source))),
            SealError::KeyFile(_) => (0, status_of(None)),
            SealError::Cipher { provider, .. } => (self.prefix(provider), status_of(None)),
        };
        self.count(key, Way::ToStorage, prefix, status);
    }

    /// Counts a value that was opened; a plain one only where it should have been sealed.
    pub(super) fn opened(&self, key: &str, kept: &[u8], is_stale: bool) {
        match sealed_under(kept) {
            Some(label) => self.count(key, Way::FromStorage, self.prefix(label), 0),
            None if is_stale => self.count(key, Way::FromStorage, IDENTITY, 0),
            None => {}
        }
    }

    /// Counts a value that could not be opened. That its key has to be fetched first is no failure yet.
    pub(super) fn not_opened(&self, key: &str, kept: &[u8], error: &OpenError) {
        let status = match error {
            OpenError::KeyNotHere { .. } => return,
            OpenError::Kms { source, .. } => status_of(Some(source)),
            _ => status_of(None),
        };
        let prefix = match (error, sealed_under(kept)) {
            (OpenError::NoProvider, _) | (_, None) => UNKNOWN,
            (_, Some(label)) => self.prefix(label),
        };
        self.count(key, Way::FromStorage, prefix, status);
    }

    fn count(&self, key: &str, way: Way, prefix: usize, status: usize) {
        let Some(cells) = self.values.get(self.catalog.ring(key)) else { return };
        let cells = cells.get_or_init(|| {
            Box::new([const { [const { [const { AtomicU64::new(0) }; STATUSES] }; PREFIXES] }; WAYS.len()])
        });
        if let Some(cell) = cells.get(way as usize).and_then(|of| of.get(prefix)).and_then(|of| of.get(status)) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The place of what a value says that it is sealed under.
    fn prefix(&self, label: &str) -> usize {
        let (format, rest) = label.split_once(':').unwrap_or((label, ""));
        match FORMATS.iter().position(|known| *known == format) {
            Some(place) => place,
            None if format == "kms" => self.provider(rest.split_once(':').map_or("", |(_, name)| name)),
            None => UNKNOWN,
        }
    }

    /// The place of a KMS provider, which has it for good.
    fn provider(&self, name: &str) -> usize {
        let is_its = |place: &OnceLock<Box<str>>| &**place.get_or_init(|| name.into()) == name;
        FIXED_PREFIXES.len() + self.providers.iter().position(is_its).unwrap_or(PROVIDERS_MAX)
    }

    fn provider_name(&self, place: usize) -> &str {
        let named = place.checked_sub(FIXED_PREFIXES.len()).and_then(|place| self.providers.get(place)?.get());
        named.map_or(OTHER_PROVIDERS, |name| name)
    }

    fn prefix_name(&self, place: usize) -> String {
        match FIXED_PREFIXES.get(place) {
            Some(prefix) => (*prefix).to_owned(),
            None => format!("k8s:enc:kms:v2:{}:", self.provider_name(place)),
        }
    }

    fn read_values(&self) -> Vec<Metric> {
        let mut metrics = Vec::new();
        for (ring, cells) in self.values.iter().enumerate() {
            let Some(cells) = cells.get() else { continue };
            let resource = self.catalog.ring_name(ring);
            for ((_, way), prefixes) in WAYS.iter().zip(&**cells) {
                for (place, statuses) in prefixes.iter().enumerate() {
                    for (status, count) in statuses.iter().enumerate() {
                        let count = count.load(Ordering::Relaxed);
                        if count == 0 {
                            continue;
                        }
                        let (prefix, status) = (self.prefix_name(place), status_name(status));
                        let labels = [
                            ("resource", resource),
                            ("status", &status),
                            ("transformation_type", way),
                            ("transformer_prefix", &prefix),
                        ];
                        metrics.push(counter(&labels, count as f64));
                    }
                }
            }
        }
        metrics
    }

    fn read_calls(&self) -> Vec<Metric> {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let read = |((provider, method, code), durations): (&Call, &Histogram<14>)| {
            let (code, provider) = (code_name(Code::from_i32(*code)), self.provider_name(*provider));
            let labels = [("grpc_status_code", &*code), ("method_name", *method), ("provider_name", provider)];
            Some(histogram(&labels, durations.read(&CALL_DURATIONS)?))
        };
        calls.iter().filter_map(read).collect()
    }
}

impl KmsObserver for Metrics {
    fn called(&self, provider: &str, method: &'static str, code: Code, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.entry((self.provider(provider), method, code as i32)).or_default().observe(&CALL_DURATIONS, took);
    }
}

/// A status by its place: gRPC's number, or the last for what came of no call.
fn status_of(source: Option<&Arc<KmsError>>) -> usize {
    match source.map(|source| &**source) {
        Some(KmsError::Call { code, .. }) => usize::try_from(*code as i32).unwrap_or(STATUSES - 1),
        // Why it was not well to begin with.
        Some(KmsError::Expired(source)) => match &**source {
            KmsError::Call { code, .. } => usize::try_from(*code as i32).unwrap_or(STATUSES - 1),
            _ => STATUSES - 1,
        },
        _ => STATUSES - 1,
    }
}

fn status_name(status: usize) -> String {
    if status == STATUSES - 1 {
        return NO_CODE.to_owned();
    }
    code_name(Code::from_i32(i32::try_from(status).unwrap_or_default()))
}

/// Has everything shown.
pub(crate) fn register(sealing: &Arc<StoreSealing>, registry: &prometheus::Registry) -> Result<()> {
    registry.register(Box::new(Families::new(Arc::clone(sealing), FAMILIES)?))?;
    Ok(())
}

/// The newest key of the key file.
fn newest_key(sealing: &StoreSealing, value: fn(&KeyInfo) -> f64) -> Vec<Metric> {
    let keys = sealing.seals().and_then(|seals| Some(seals.key_file()?.keys())).unwrap_or_default();
    keys.first().map(|newest| gauge(&[], value(newest))).into_iter().collect()
}

const FAMILIES: &[Family<Arc<StoreSealing>>] = &[
    Family {
        name: "apiserver_storage_transformation_operations_total",
        help: "[ALPHA] Values that were sealed and opened, by resource, way, format and how it came out.",
        kind: MetricType::COUNTER,
        read: |sealing| sealing.metrics().read_values(),
    },
    Family {
        name: "apiserver_envelope_encryption_kms_operations_latency_seconds",
        help: "[ALPHA] How long a KMS takes for a call, by provider, method and gRPC's code.",
        kind: MetricType::HISTOGRAM,
        read: |sealing| sealing.metrics().read_calls(),
    },
    Family {
        name: "apiserver_envelope_encryption_dek_source_cache_size",
        help: "[ALPHA] Keys of a KMS that are kept, by provider.",
        kind: MetricType::GAUGE,
        read: |sealing| {
            let health = sealing.seals().map(portcullis_seal::Seals::kms_health).unwrap_or_default();
            health.iter().map(|kms| gauge(&[("provider_name", &*kms.name)], kms.keys as f64)).collect()
        },
    },
    Family {
        name: "portcullis_seal_key_created_timestamp_seconds",
        help: "When the newest key of the seal key file was made.",
        kind: MetricType::GAUGE,
        read: |sealing| newest_key(sealing, |key| key.created as f64),
    },
    Family {
        name: "portcullis_seal_key_writes",
        help: "Values that the newest key of the seal key file has sealed at most; it gets a successor at 2^28.",
        kind: MetricType::GAUGE,
        read: |sealing| newest_key(sealing, |key| key.writes as f64),
    },
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use portcullis_apiserver::registry::Registry;

    use super::*;

    fn metrics() -> Arc<Metrics> {
        Metrics::new(Arc::new(portcullis_apiserver::Catalog::new(Arc::new(Registry::new()))))
    }

    const KEY: &str = "/registry/secrets/default/a";

    /// The counters as lines of their labels' values.
    fn lines(metrics: &[Metric]) -> Vec<String> {
        let values = |metric: &Metric| {
            let labels: Vec<&str> = metric.get_label().iter().map(|label| label.value()).collect();
            format!("{} {}", labels.join(" "), metric.get_counter().get_value())
        };
        metrics.iter().map(values).collect()
    }

    #[test]
    fn values_are_counted_by_what_became_of_them() {
        let metrics = metrics();
        metrics.sealed(KEY, b"k8s:enc:aesgcm:v1:seal-1:xyz");
        metrics.sealed(KEY, b"{}");
        metrics.opened(KEY, b"{}", false);
        metrics.opened(KEY, b"{}", true);
        metrics.opened(KEY, b"k8s:enc:kms:v2:cloud:xyz", false);
        metrics.opened(KEY, b"k8s:enc:kms:v2:cloud:xyz", true);
        metrics.not_opened(KEY, b"k8s:enc:kms:v2:cloud:x", &OpenError::KeyNotHere { provider: "cloud".to_owned() });
        let call = || Arc::new(KmsError::Call { code: Code::Unavailable, said: String::new() });
        let error = OpenError::Kms { provider: "cloud".to_owned(), source: call() };
        metrics.not_opened(KEY, b"k8s:enc:kms:v2:cloud:x", &error);
        metrics.not_opened(KEY, b"k8s:enc:rot13:v1:x:y", &OpenError::NoProvider);
        let source = Arc::new(KmsError::Expired(call()));
        metrics.not_sealed(KEY, &SealError::Kms { provider: "other".to_owned(), source });
        let expected = [
            "secrets OK to_storage k8s:enc:aesgcm:v1: 1",
            "secrets Unavailable to_storage k8s:enc:kms:v2:other: 1",
            "secrets OK from_storage identity 1",
            "secrets unknown-non-grpc from_storage unknown 1",
            "secrets OK from_storage k8s:enc:kms:v2:cloud: 2",
            "secrets Unavailable from_storage k8s:enc:kms:v2:cloud: 1",
        ];
        assert_eq!(lines(&metrics.read_values()), expected);
    }

    /// However many names a configuration has had, there are no more series than that.
    #[test]
    fn names_of_providers_are_bounded() {
        let metrics = metrics();
        for number in 0..PROVIDERS_MAX * 4 {
            metrics.called(&format!("kms-{number}"), "/v2.KeyManagementService/Status", Code::Ok, Duration::ZERO);
        }
        metrics.called("kms-3", "/v2.KeyManagementService/Status", Code::Cancelled, Duration::ZERO);
        let calls = metrics.read_calls();
        assert_eq!(calls.len(), PROVIDERS_MAX + 2);
        let check = |name: &str, series: usize, count: u64| {
            let is_its = |call: &&Metric| call.get_label().iter().any(|label| label.value() == name);
            let counts: Vec<u64> =
                calls.iter().filter(is_its).map(|call| call.get_histogram().get_sample_count()).collect();
            assert_eq!((counts.len(), counts.iter().sum()), (series, count), "{name}");
        };
        check("kms-3", 2, 2);
        check("Canceled", 1, 1);
        check("other", 1, 3 * PROVIDERS_MAX as u64);
    }
}
