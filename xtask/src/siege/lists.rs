//! The one who lists too much: an open loop that sends at a rate, whatever comes back.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::ATTACKER;
use crate::bench::client::{Call, Endpoint, Protocol};

/// Connections that it uses.
const CONNECTIONS: usize = 20;
/// Requests that it has in flight at most, below the streams that a server allows on its connections; what is due beyond them is
/// counted as not offered.
const IN_FLIGHT_MAX: usize = CONNECTIONS * 90;

/// A table, as kubectl asks for it.
pub const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// What it is told.
pub struct Orders {
    /// `host:port`.
    pub authority: String,
    /// Where certificates are.
    pub pki: PathBuf,
    /// Whose certificate.
    pub user: String,
    /// What to list.
    pub path: String,
    /// The media type.
    pub accept: &'static str,
    /// Requests a second.
    pub rate: f64,
    /// For how long.
    pub time: Duration,
}

impl Orders {
    /// The orders as an attacker reads them.
    pub fn json(&self) -> Value {
        json!({
            "attack": "lists", "authority": self.authority, "pki": self.pki, "user": self.user, "path": self.path,
            "rate": self.rate, "table": self.accept == TABLE, "seconds": self.time.as_secs_f64(),
        })
    }
}

/// Lists as it is told. Reports how many answers of each status there were, and how many requests were due and not sent.
pub async fn attack(orders: &Value) -> Result<Value> {
    let text = |name: &str| orders[name].as_str().map(str::to_owned).with_context(|| name.to_owned());
    let endpoint = Endpoint::of(&text("authority")?, Path::new(&text("pki")?), Some(&text("user")?))?.from(ATTACKER);
    let mut call = Call::get(text("path")?);
    if orders["table"].as_bool() == Some(true) {
        call.accept = TABLE;
    }
    let seconds = orders["seconds"].as_f64().context("seconds")?;
    let every = Duration::from_secs_f64(1.0 / orders["rate"].as_f64().context("rate")?);
    let mut senders = Vec::new();
    for _ in 0..CONNECTIONS {
        senders.push(endpoint.connect(Protocol::Http2).await?);
    }
    let places = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    let (begun, mut due) = (Instant::now(), Duration::ZERO);
    let mut asked = JoinSet::new();
    let (mut ok, mut refused, mut other, mut not_offered, mut next) = (0_u64, 0_u64, 0_u64, 0_u64, 0_usize);
    let mut count = |answer: Result<Result<(http::StatusCode, u64)>, tokio::task::JoinError>| match answer {
        Ok(Ok((status, _))) if status.is_success() => ok += 1,
        Ok(Ok((status, _))) if status.as_u16() == 429 => refused += 1,
        _ => other += 1,
    };
    while due.as_secs_f64() < seconds {
        tokio::time::sleep_until((begun + due).into()).await;
        while due <= begun.elapsed() {
            due += every;
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                not_offered += 1;
                continue;
            };
            next = (next + 1) % senders.len();
            let Some(mut sender) = senders.get(next).and_then(|sender| sender.another()) else { continue };
            let call = call.clone();
            asked.spawn(async move {
                let answer = sender.status(call).await;
                drop(place);
                answer
            });
        }
        while let Some(answer) = asked.try_join_next() {
            count(answer);
        }
    }
    // What is still in flight is not waited for: the flood is over.
    drop(asked);
    Ok(json!({ "ok": ok, "refused": refused, "other": other, "not_offered": not_offered }))
}
