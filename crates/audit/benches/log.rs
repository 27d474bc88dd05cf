//! What a line of the log costs: rendered, hashed, written to a file, with its room reserved and its file put away when it is full.
//!
//! The aim is 5 us of processor time for a line of 900 bytes.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::future::Future as _;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis_audit::log::{Destination, Log, LogMetrics, Mode, Options, Retention};
use portcullis_audit::{Attributes, Auditor, Event, NewRecord, Policy, Sink, Taken, Target, User};

/// Gives one event to the log many times.
struct Again {
    log: Arc<Log>,
    times: AtomicU64,
    took: Mutex<Duration>,
}

/// What the auditor holds of it.
struct Shared(Arc<Again>);

impl Sink for Shared {
    fn name(&self) -> &'static str {
        "again"
    }

    fn take<'a>(&'a self, event: &'a Event) -> Taken<'a> {
        let begun = Instant::now();
        for _ in 0..self.0.times.load(Ordering::Relaxed) {
            assert!(matches!(self.0.log.take(event), Taken::Now(Ok(()))));
        }
        *self.0.took.lock().unwrap() = begun.elapsed();
        Taken::Now(Ok(()))
    }
}

fn record(auditor: &Arc<Auditor>) {
    let groups = ["system:nodes".to_owned(), "system:authenticated".to_owned()];
    let credential = "X509SHA256=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef".to_owned();
    let extra = BTreeMap::from([("authentication.kubernetes.io/credential-id".to_owned(), vec![credential])]);
    let target = Target::Resource {
        group: "",
        version: "v1",
        resource: "pods",
        subresource: "status",
        namespace: "default",
        name: "web-5d78c9869d-abcde",
    };
    let user = User { name: "system:node:worker-0", uid: "", groups: &groups, extra: &extra };
    let record = auditor.open(&NewRecord {
        attributes: Attributes { user: Some(user), verb: "patch", target },
        audit_id: "0d1f3c54-88aa-4f6e-9c3e-0123456789ab",
        uri: "/api/v1/namespaces/default/pods/web-5d78c9869d-abcde/status",
        source_ips: &["10.0.0.17".parse().unwrap()],
        user_agent: "kubelet/v1.36.0 (linux/amd64) kubernetes/0123abc",
    });
    let life = async {
        record.received().await.unwrap();
        record.annotate("authorization.k8s.io/decision", "allow");
        record.annotate("authorization.k8s.io/reason", String::new());
        record.completed(200, None).await;
    };
    assert!(pin!(life).poll(&mut Context::from_waker(Waker::noop())).is_ready());
}

fn lines(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        destination: Destination::File(directory.path().join("audit.log")),
        strangers: directory.path().join("strangers.log"),
        file_bytes_max: 1 << 40,
        retention: Retention { backups_max: 1, age_seconds_max: 0, is_compressing: false },
        mode: Mode::Blocking,
        truncation: None,
        metrics: LogMetrics::new().unwrap(),
    };
    let log = Arc::new(Log::open(options, None).unwrap());
    let again = Arc::new(Again { log, times: AtomicU64::new(0), took: Mutex::default() });
    let auditor = Auditor::new(Policy::standard(), vec![Box::new(Shared(Arc::clone(&again)))]);
    criterion.bench_function("log/line", |bencher| {
        bencher.iter_custom(|times| {
            again.times.store(times, Ordering::Relaxed);
            record(&auditor);
            *again.took.lock().unwrap()
        });
    });
}

criterion_group!(benches, lines);
criterion_main!(benches);
