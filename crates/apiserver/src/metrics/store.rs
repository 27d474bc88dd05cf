//! What is said about the store: how many objects there are, and where its memory goes and which of the steps against too much of it
//! were taken. Read when somebody asks; no object is walked over, and labels are the names of resources and nothing else.

use portcullis_gate::metrics::family::{Family, counter, gauge};
use portcullis_kinds::Resource;
use portcullis_store::{RingStats, Stats, Volume};
use prometheus::proto::{Metric, MetricType};

use crate::server::ApiServer;

/// What the store said when it was asked.
pub(super) struct Read {
    stats: Stats,
    /// Resources that share their storage stand here once, as the stored one.
    stored: Vec<(String, &'static Resource, Volume)>,
    kept_snapshots: usize,
}

impl Read {
    pub(super) fn new(server: &ApiServer) -> Self {
        let stored = server.registry.all().iter().filter(|served| served.stored_as_served());
        let stored = stored
            .filter_map(|served| Some((served.full_name(), served.resource, server.engine.volume(served.prefix()?))));
        Self { stats: server.engine.stats(), stored: stored.collect(), kept_snapshots: server.pages.len() }
    }

    fn by_resource(&self, value: fn(&Volume) -> usize) -> Vec<Metric> {
        let metric = |(_, resource, volume): &(String, &Resource, Volume)| {
            gauge(&[("group", resource.group), ("resource", resource.name)], value(volume) as f64)
        };
        self.stored.iter().map(metric).collect()
    }

    fn by_ring(&self, value: fn(&RingStats) -> usize) -> Vec<Metric> {
        let rings = self.stats.rings.iter();
        rings.map(|ring| gauge(&[("resource", &*ring.name)], value(ring) as f64)).collect()
    }
}

fn bytes(value: usize) -> Vec<Metric> {
    vec![gauge(&[], value as f64)]
}

fn times(value: u64) -> Vec<Metric> {
    vec![counter(&[], value as f64)]
}

pub(super) const FAMILIES: &[Family<Read>] = &[
    Family {
        name: "apiserver_storage_objects",
        help: "[STABLE] Objects that are stored, by resource.",
        kind: MetricType::GAUGE,
        read: |read| {
            let stored = read.stored.iter();
            stored.map(|(name, _, volume)| gauge(&[("resource", &**name)], volume.entries as f64)).collect()
        },
    },
    Family {
        name: "apiserver_resource_objects",
        help: "[ALPHA] Objects that are stored, by group and resource.",
        kind: MetricType::GAUGE,
        read: |read| read.by_resource(|volume| volume.entries),
    },
    Family {
        name: "apiserver_resource_size_estimate_bytes",
        help: "[ALPHA] Bytes of stored objects in memory, by group and resource.",
        kind: MetricType::GAUGE,
        read: |read| read.by_resource(|volume| volume.bytes),
    },
    Family {
        name: "portcullis_store_live_bytes",
        help: "Bytes of the newest state.",
        kind: MetricType::GAUGE,
        read: |read| bytes(read.stats.live_bytes),
    },
    Family {
        name: "portcullis_store_body_bytes",
        help: "Bytes of all stored objects in memory, those of history included.",
        kind: MetricType::GAUGE,
        read: |read| bytes(read.stats.body_bytes),
    },
    Family {
        name: "portcullis_store_form_bytes",
        help: "Bytes of what was made of stored objects and kept.",
        kind: MetricType::GAUGE,
        read: |read| bytes(read.stats.form_bytes),
    },
    Family {
        name: "portcullis_store_limit_bytes",
        help: "Bytes that stored objects and what is made of them may take.",
        kind: MetricType::GAUGE,
        read: |read| bytes(read.stats.limit_bytes),
    },
    Family {
        name: "portcullis_store_kept_snapshots",
        help: "Snapshots kept for lists in pages.",
        kind: MetricType::GAUGE,
        read: |read| bytes(read.kept_snapshots),
    },
    Family {
        name: "portcullis_store_forms_made_total",
        help: "Encodings and segments that were made.",
        kind: MetricType::COUNTER,
        read: |read| times(read.stats.forms_made),
    },
    Family {
        name: "portcullis_store_forms_not_kept_total",
        help: "Encodings and segments for which there was no room.",
        kind: MetricType::COUNTER,
        read: |read| times(read.stats.forms_not_kept),
    },
    Family {
        name: "portcullis_store_forms_dropped_total",
        help: "Encodings and segments that were dropped to make room.",
        kind: MetricType::COUNTER,
        read: |read| times(read.stats.forms_dropped),
    },
    Family {
        name: "portcullis_store_histories_shortened_total",
        help: "Times that history was shortened to make room.",
        kind: MetricType::COUNTER,
        read: |read| times(read.stats.histories_shortened),
    },
    Family {
        name: "portcullis_store_writes_refused_total",
        help: "Writes that were refused for want of room.",
        kind: MetricType::COUNTER,
        read: |read| times(read.stats.writes_refused),
    },
    Family {
        name: "portcullis_store_history_commits",
        help: "Commits in the history of a resource.",
        kind: MetricType::GAUGE,
        read: |read| read.by_ring(|ring| ring.commits),
    },
    Family {
        name: "portcullis_store_history_bytes",
        help: "Bytes that only the history of a resource holds.",
        kind: MetricType::GAUGE,
        read: |read| read.by_ring(|ring| ring.bytes),
    },
    Family {
        name: "portcullis_store_history_waiting",
        help: "Watchers that wait for the next event of a resource.",
        kind: MetricType::GAUGE,
        read: |read| read.by_ring(|ring| ring.waiting),
    },
];
