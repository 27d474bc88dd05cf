//! What the cluster takes where it is kept (upstream: `apiserver_storage_size_bytes`). Asked when metrics are read; nobody waits for it.

use std::sync::Arc;

use anyhow::Result;
use portcullis_gate::metrics::family::{Families, Family, counter, gauge};
use portcullis_store::{Engine, Footprint};
use prometheus::proto::{Metric, MetricType};

/// The label of the store. etcd's is upstream's for the first of several, of which there is one here.
const EMBEDDED: &str = "embedded";
const ETCD: &str = "etcd-0";

/// The store, and what it is called.
pub(crate) struct StoreFootprint {
    store: Arc<dyn Engine>,
    label: &'static str,
}

impl StoreFootprint {
    /// Has it shown.
    pub(crate) fn register(store: Arc<dyn Engine>, is_embedded: bool, registry: &prometheus::Registry) -> Result<()> {
        let label = if is_embedded { EMBEDDED } else { ETCD };
        registry.register(Box::new(Families::new(Self { store, label }, FAMILIES)?))?;
        Ok(())
    }

    /// A number of bytes, if it is known.
    fn bytes(&self, value: fn(&Footprint) -> Option<u64>) -> Vec<Metric> {
        let labels = [("storage_cluster_id", self.label)];
        value(&self.store.footprint()).map(|bytes| gauge(&labels, bytes as f64)).into_iter().collect()
    }
}

const FAMILIES: &[Family<StoreFootprint>] = &[
    Family {
        name: "apiserver_storage_size_bytes",
        help: "[STABLE] Bytes of the file that the cluster is kept in, without its log.",
        kind: MetricType::GAUGE,
        read: |store| store.bytes(|footprint| footprint.file_bytes),
    },
    Family {
        name: "portcullis_store_free_bytes",
        help: "Bytes of that file that hold nothing at present.",
        kind: MetricType::GAUGE,
        read: |store| store.bytes(|footprint| footprint.free_bytes),
    },
    Family {
        name: "portcullis_store_log_bytes",
        help: "Bytes of the log of what is not in that file yet.",
        kind: MetricType::GAUGE,
        read: |store| store.bytes(|footprint| footprint.log_bytes),
    },
    Family {
        name: "portcullis_store_compactions_total",
        help: "How often this server had etcd forget what is older.",
        kind: MetricType::COUNTER,
        read: |store| vec![counter(&[], store.store.footprint().compactions as f64)],
    },
];
