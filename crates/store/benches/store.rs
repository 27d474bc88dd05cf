//! Measures the embedded engine: `cargo bench -p portcullis-store -- [writes | restart | subscriptions | churn] [DIRECTORY]`.
//!
//! The processors of a test machine are shared, so beside wall times it gives the CPU time of the process and of the
//! committer, which repeat. Everything is written to a directory that is removed afterwards.
#![allow(clippy::unwrap_used)]

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    task::{Context, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use portcullis_store::{
    Catalog, Change, Condition, Engine, Index, IndexBuilder, Interest, Operation, Subscription, Term, Text,
    embedded::{Embedded, Options},
};

/// What the server has: a ring for each resource.
const RINGS: usize = 200;
const MEMORY_BYTES_MAX: usize = 1 << 30;
const CONFIG_MAP_BYTES: usize = 1000;
const LEASE_BYTES: usize = 600;
const POD_BYTES: usize = 14_500;
const CONFIG_MAPS: usize = 16_000;
const LEASES: usize = 5_000;
const PODS: usize = 10_000;
const CURSORS: usize = 10_000;

/// A catalog of values that begin with eight bytes, the value of their one label, and whose ring is that of the resource.
struct Resources;

impl Catalog for Resources {
    fn rings(&self) -> usize {
        RINGS
    }

    fn ring(&self, key: &str) -> usize {
        ["configmaps", "leases", "pods"].iter().position(|name| key["/registry/".len()..].starts_with(name)).unwrap()
    }

    fn ring_name(&self, _ring: usize) -> &str {
        "resource"
    }

    fn index(&self, _key: &str, value: &[u8]) -> Index {
        let mut builder = IndexBuilder::default();
        builder.places(8, value.len());
        builder.label(Text::Own("app".to_owned()), Text::In(0..8));
        builder.finish()
    }
}

fn open(directory: &Path) -> Arc<Embedded> {
    let options =
        Options { catalog: Arc::new(Resources), memory_bytes_max: MEMORY_BYTES_MAX, ..Options::new(directory) };
    Arc::new(Embedded::open(options).unwrap())
}

fn value(number: usize, bytes: usize) -> Bytes {
    let mut value = format!("{:08}", number % 100).into_bytes();
    value.resize(bytes, b'x');
    value.into()
}

/// CPU time of a thread by its name, or of all.
fn cpu(name: Option<&str>) -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").unwrap().map(|thread| thread.unwrap().path());
    let of = |thread: PathBuf| {
        let held = std::fs::read_to_string(thread.join("comm")).ok()?;
        if name.is_some_and(|name| held.trim() != name) {
            return None;
        }
        std::fs::read_to_string(thread.join("schedstat")).ok()?.split(' ').next()?.parse::<u64>().ok()
    };
    Duration::from_nanos(threads.filter_map(of).sum())
}

/// Resident memory in MiB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

/// Many clients, each of which waits for its answer before it writes again.
async fn write(engine: &Arc<Embedded>, what: &str, clients: usize, writes: usize, bytes: usize, condition: Condition) {
    let (before, committer) = (cpu(None), cpu(Some("store-committer")));
    let begin = Instant::now();
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let (engine, what) = (Arc::clone(engine), what.to_owned());
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                for number in (client..writes).step_by(clients) {
                    let key = format!("/registry/{what}/namespace-{}/name-{number:08}", number % 50).into();
                    let operation = Operation { key, condition, change: Change::Put(value(number, bytes)) };
                    let queued = Instant::now();
                    engine.commit(operation.into()).await.unwrap();
                    latencies.push(queued.elapsed());
                }
                latencies
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.unwrap());
    }
    let seconds = begin.elapsed().as_secs_f64();
    latencies.sort();
    let quantile = |part: f64| latencies[((latencies.len() - 1) as f64 * part) as usize].as_micros();
    let each = |now: Duration, before: Duration| (now - before).as_secs_f64() * 1e6 / writes as f64;
    println!(
        "{what} {bytes} B c{clients}: {:.0}/s, p50 {} p99 {} p99.9 {} max {} us, CPU {:.1} us each, committer {:.1}",
        writes as f64 / seconds,
        quantile(0.5),
        quantile(0.99),
        quantile(0.999),
        quantile(1.0),
        each(cpu(None), before),
        each(cpu(Some("store-committer")), committer)
    );
}

async fn writes(directory: &Path) {
    let engine = open(directory);
    write(&engine, "configmaps/warm", 32, 20_000, CONFIG_MAP_BYTES, Condition::Absent).await;
    for clients in [1, 32, 128] {
        let what = format!("configmaps/c{clients}");
        let count = if clients == 1 { 10_000 } else { 100_000 };
        write(&engine, &what, clients, count, CONFIG_MAP_BYTES, Condition::Absent).await;
    }
    write(&engine, "leases", 32, LEASES, LEASE_BYTES, Condition::Absent).await;
    for _ in 0..5 {
        write(&engine, "leases", 32, LEASES, LEASE_BYTES, Condition::Present).await;
    }
    write(&engine, "pods", 1, 2_000, POD_BYTES, Condition::Absent).await;
    write(&engine, "pods", 32, PODS, POD_BYTES, Condition::Any).await;
    write(&engine, "pods", 32, PODS, POD_BYTES, Condition::Present).await;
    engine.close().await;
}

async fn restart(directory: &Path) {
    let engine = open(directory);
    println!("empty: {:.1} MiB", resident());
    write(&engine, "configmaps", 32, CONFIG_MAPS, CONFIG_MAP_BYTES, Condition::Absent).await;
    write(&engine, "leases", 32, LEASES, LEASE_BYTES, Condition::Absent).await;
    write(&engine, "pods", 32, PODS, POD_BYTES, Condition::Absent).await;
    println!("written: {:.1} MiB, live {:.1}", resident(), engine.stats().live_bytes as f64 / 1048576.0);
    write(&engine, "pods", 32, PODS, POD_BYTES, Condition::Present).await;
    println!("updated: {:.1} MiB, bodies {:.1}", resident(), engine.stats().body_bytes as f64 / 1048576.0);
    engine.close().await;
    drop(engine);
    // In a new process, for the memory of this one has been used.
    for _ in 0..3 {
        let program = std::env::current_exe().unwrap();
        assert!(std::process::Command::new(program).arg("reopen").arg(directory).status().unwrap().success());
    }
}

/// Opens what is there, and rewrites a third of it.
async fn reopen(directory: &Path) {
    let begin = Instant::now();
    let engine = open(directory);
    println!(
        "opened with {} entries: {:.1} ms, CPU {:.1} ms, {:.1} MiB, live {:.1}",
        engine.snapshot().len(),
        begin.elapsed().as_secs_f64() * 1e3,
        cpu(None).as_secs_f64() * 1e3,
        resident(),
        engine.stats().live_bytes as f64 / 1048576.0
    );
    write(&engine, "pods", 32, PODS, POD_BYTES, Condition::Present).await;
    println!("updated: {:.1} MiB, bodies {:.1}", resident(), engine.stats().body_bytes as f64 / 1048576.0);
    engine.close().await;
}

/// What others wait for while leases and events are written over and over, and what they wait for without.
async fn churn(directory: &Path) {
    let engine = open(directory);
    write(&engine, "leases", 32, LEASES, LEASE_BYTES, Condition::Absent).await;
    write(&engine, "pods/alone", 1, 3_000, CONFIG_MAP_BYTES, Condition::Absent).await;
    // 5,000 nodes renew every 10 s, and a busy cluster writes as many events: 1,000 a second.
    for (rate, clients) in [(1_000u32, 8u32), (10_000, 64)] {
        let end = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let renew = |client: u32| {
            let (engine, end) = (Arc::clone(&engine), Arc::clone(&end));
            tokio::spawn(async move {
                let mut ticks = tokio::time::interval(Duration::from_secs(1) * clients / rate);
                let mut number = client as usize;
                while !end.load(std::sync::atomic::Ordering::Relaxed) {
                    ticks.tick().await;
                    number += clients as usize;
                    let key = format!("/registry/leases/churn/{:05}", number % LEASES).into();
                    let change = Change::Put(value(number, LEASE_BYTES));
                    engine.commit(Operation { key, condition: Condition::Any, change }.into()).await.unwrap();
                }
            })
        };
        let churn: Vec<_> = (0..clients).map(renew).collect();
        let what = format!("pods/beside-{rate}");
        write(&engine, &what, 1, 3_000, CONFIG_MAP_BYTES, Condition::Absent).await;
        end.store(true, std::sync::atomic::Ordering::Relaxed);
        for client in churn {
            client.await.unwrap();
        }
    }
    engine.close().await;
}

/// What publishing costs the committer while many wait, for what they are woken by and for what not.
async fn subscriptions(directory: &Path) {
    let engine = open(directory);
    let none: fn(usize) -> Option<Term> = |_| None;
    let check = async |what: &str, prefix: &str, term: fn(usize) -> Option<Term>| {
        let after = engine.snapshot().revision();
        let mut cursors: Vec<Box<dyn Subscription>> = Vec::new();
        for number in 0..CURSORS {
            cursors.push(engine.subscribe(Interest { prefix, term: term(number) }, after).await.unwrap());
        }
        let (writes, mut spent, mut polls) = (100usize, Duration::ZERO, Duration::ZERO);
        for number in 0..writes {
            let mut context = Context::from_waker(Waker::noop());
            let begin = cpu(None);
            for cursor in &mut cursors {
                while cursor.poll_next(&mut context).map(Result::unwrap).is_ready() {}
            }
            polls += cpu(None) - begin;
            let begin = cpu(Some("store-committer"));
            let key = format!("/registry/configmaps/a/{number}").into();
            let change = Change::Put(value(number, CONFIG_MAP_BYTES));
            engine.commit(Operation { key, condition: Condition::Any, change }.into()).await.unwrap();
            // What comes after the answer belongs to the commit too: the next answer is behind it.
            engine.commit(Operation::check("/registry/leases/a", Condition::Absent).into()).await.unwrap();
            spent += cpu(Some("store-committer")) - begin;
        }
        let each = |spent: Duration| spent.as_secs_f64() * 1e6 / writes as f64;
        println!(
            "{CURSORS} {what}: a commit costs {:.1} us, {:.3} us a cursor; to wait costs {:.3} us",
            each(spent),
            each(spent) / CURSORS as f64,
            each(polls) / CURSORS as f64
        );
    };
    let word = |number: usize| Some(Term::label("node", &number.to_string()));
    check("who want all", "/registry/configmaps/", none).await;
    check("of another ring", "/registry/pods/", none).await;
    check("of other words", "/registry/configmaps/", word).await;
    check("of one word of 100", "/registry/configmaps/", |number| {
        Some(Term::label("app", &format!("{:08}", number % 100)))
    })
    .await;
    engine.close().await;
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let what = arguments.first().map_or("", String::as_str);
    let parent = arguments.get(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let run = |name: &str, measure: fn(PathBuf) -> std::pin::Pin<Box<dyn Future<Output = ()>>>| {
        if what.is_empty() || what == name {
            let directory = tempfile::tempdir_in(&parent).unwrap();
            runtime.block_on(measure(directory.path().join("store")));
        }
    };
    if what == "reopen" {
        runtime.block_on(reopen(&parent));
        return;
    }
    run("writes", |directory| Box::pin(async move { writes(&directory).await }));
    run("restart", |directory| Box::pin(async move { restart(&directory).await }));
    run("churn", |directory| Box::pin(async move { churn(&directory).await }));
    run("subscriptions", |directory| Box::pin(async move { subscriptions(&directory).await }));
}
