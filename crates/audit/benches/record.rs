//! What a record costs, from its opening to its line: with a sink that writes it into a buffer, as the log does before it hashes.
//!
//! The aim is 2.5 us of processor time; the log's hash and write come on top. Nothing recorded costs next to nothing.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::future::Future as _;
use std::hint::black_box;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis_audit::{
    Attributes, Auditor, Criteria, Event, NewRecord, Objects, Policy, PolicyDocument, RuleDocument, Sink, Taken,
    Target, User,
};

/// Writes each line over the one before.
#[derive(Default)]
struct Slate(Mutex<String>);

impl Sink for Slate {
    fn name(&self) -> &'static str {
        "slate"
    }

    fn take<'a>(&'a self, event: &'a Event) -> Taken<'a> {
        let mut line = self.0.lock().unwrap();
        line.clear();
        event.render(Objects::With, &mut line);
        black_box(&*line);
        Taken::Now(Ok(()))
    }
}

fn policy(level: &str, received: bool) -> Policy {
    let rule = RuleDocument { level: level.to_owned(), criteria: Criteria::default(), ..RuleDocument::default() };
    let omit_stages = if received { Vec::new() } else { vec!["RequestReceived".to_owned()] };
    PolicyDocument { rules: vec![rule], omit_stages, omit_managed_fields: true }.validate().unwrap()
}

/// A kubelet renews its lease.
fn live(auditor: &Arc<Auditor>, user: &User<'_>, sources: &[IpAddr]) {
    let target = Target::Resource {
        group: "coordination.k8s.io",
        version: "v1",
        resource: "leases",
        subresource: "",
        namespace: "kube-node-lease",
        name: "worker-0",
    };
    let record = auditor.open(&NewRecord {
        attributes: Attributes { user: Some(*user), verb: "update", target },
        audit_id: "0d1f3c54-88aa-4f6e-9c3e-0123456789ab",
        uri: "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/worker-0?timeout=10s",
        source_ips: sources,
        user_agent: "kubelet/v1.36.0 (linux/amd64) kubernetes/0123abc",
    });
    record.annotate("audit.portcullis.io/authenticator", "x509");
    let life = async {
        record.received().await.unwrap();
        record.annotate("authorization.k8s.io/decision", "allow");
        record.annotate("authorization.k8s.io/reason", String::new());
        record.completed(200, None).await;
    };
    assert!(matches!(pin!(life).poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(())));
}

fn records(criterion: &mut Criterion) {
    let groups = ["system:nodes".to_owned(), "system:authenticated".to_owned()];
    let credential = "X509SHA256=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef".to_owned();
    let extra = BTreeMap::from([("authentication.kubernetes.io/credential-id".to_owned(), vec![credential])]);
    let user = User { name: "system:node:worker-0", uid: "", groups: &groups, extra: &extra };
    let sources: [IpAddr; 1] = ["10.0.0.17".parse().unwrap()];
    let cases = [
        ("metadata", policy("Metadata", false)),
        ("metadata_two_stages", policy("Metadata", true)),
        ("none", policy("None", false)),
        ("standard", Policy::standard()),
    ];
    for (name, policy) in cases {
        let auditor = Auditor::new(policy, vec![Box::new(Slate::default())]);
        criterion.bench_function(&format!("record/{name}"), |bencher| {
            bencher.iter(|| live(&auditor, &user, &sources));
        });
    }
    let off = Auditor::none();
    criterion.bench_function("record/off", |bencher| bencher.iter(|| live(&off, &user, &sources)));
}

criterion_group!(benches, records);
criterion_main!(benches);
