//! One round: servers, their trouble, 32 clients and 4 watchers meanwhile, and what the judges say of it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::embedded::Embedded;
use super::fault::{Fault, Scene};
use super::members::Members;
use super::objects::NAMESPACES;
use super::record::{History, Sight, Told};
use super::violations;
use super::workload::{CLIENTS, Client, Place, watchers};
use crate::random::Random;
use crate::session::Connector;

/// How long everything may take to be well again once the trouble is over.
const PATIENCE: Duration = Duration::from_secs(30);
/// Chooses when trouble comes; clients have the numbers from 0 on.
const TROUBLE: u64 = 1 << 32;
/// At most so long does a client think between two questions.
const PAUSE_MAX: Duration = Duration::from_millis(40);

/// What came of a round.
pub struct Outcome {
    /// One line about it.
    pub summary: String,
    /// What is wrong.
    pub violations: Vec<String>,
    /// Everything that was asked and told.
    pub history: History,
}

/// Plays one round.
pub fn play(fault: Fault, seed: u64, program: &Path) -> Result<Outcome> {
    let began = Instant::now();
    let mut random = Random::new(seed, TROUBLE);
    let mut scene: Box<dyn Scene> = if fault.is_of_etcd() {
        Box::new(Members::start(fault, program, &mut random)?)
    } else {
        Box::new(Embedded::start(fault, program, &mut random)?)
    };
    let admins = scene.admins();
    for name in NAMESPACES {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let answer = admins.first().context("no server")?.post("/api/v1/namespaces", &namespace);
        ensure!(answer.status == 201, "{}", answer.text());
    }
    let connectors = admins.iter().map(Connector::of).collect();
    let (over, is_over) = watch::channel(false);
    let place = Place { connectors, began: Instant::now(), is_over, seed, pause_max: PAUSE_MAX };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut clients = JoinSet::new();
    let mut watching = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn_on(Client::new(&place, number).run(), runtime.handle());
    }
    for watcher in watchers(&place) {
        watching.spawn_on(watcher.run(PATIENCE), runtime.handle());
    }
    let disturbed = scene.disturb(&mut random);
    over.send_replace(true);
    let healed = scene.heal();
    let mut found = Vec::new();
    found.extend(disturbed.and(healed).err().map(|error| format!("the servers misbehaved: {error:#}")));
    let (mut clients, watched) = runtime.block_on(async {
        let mut clients = clients.join_all().await;
        clients.push(Client::new(&place, CLIENTS).end(PATIENCE).await);
        let watched = watching.join_all().await;
        (clients, watched)
    });
    let mut history = History::default();
    for (watched, client) in watched {
        history.watched.push(watched);
        clients.push(client);
    }
    for client in clients {
        history.operations.extend(client.operations);
        found.extend(client.unexpected);
    }
    drop(scene);
    let ended = Instant::now();
    found.extend(violations(&history));
    let summary = format!(
        "{} fault={} seed={seed} {} ms={} judged_ms={}",
        if found.is_empty() { "ok" } else { "VIOLATED" },
        fault.name(),
        counts(&history),
        ended.duration_since(began).as_millis(),
        ended.elapsed().as_millis(),
    );
    Ok(Outcome { summary, violations: found, history })
}

fn counts(history: &History) -> String {
    let count = |is_counted: &dyn Fn(&Told) -> bool| {
        history.operations.iter().filter(|operation| is_counted(&operation.told)).count()
    };
    let unknown = count(&|told| matches!(told, Told::Unknown(_)));
    let refused = count(&|told| matches!(told, Told::Refused(_)));
    let versions = history.operations.iter().filter_map(|operation| match &operation.told {
        Told::Held(held) => Some(held.version),
        _ => None,
    });
    let (first, last) = versions.fold((u64::MAX, 0), |(first, last), version| (version.min(first), version.max(last)));
    let sights = history.watched.iter().flat_map(|watched| &watched.sights);
    let (mut events, mut bookmarks, mut breaks, mut expired) = (0, 0, 0, 0);
    for (_, sight) in sights {
        match sight {
            Sight::Event(..) => events += 1,
            Sight::Bookmark(_) => bookmarks += 1,
            Sight::Broken => breaks += 1,
            Sight::Expired => expired += 1,
            Sight::Listed(..) => {}
        }
    }
    format!(
        "ops={} unknown={unknown} refused={refused} versions={first}..{last} events={events} bookmarks={bookmarks} \
         breaks={breaks} expired={expired}",
        history.operations.len()
    )
}
