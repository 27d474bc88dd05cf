//! Whatever clients and administrators do, in whatever order: no seat is lost, none is there twice, none lies idle that somebody
//! waits for, and in the end all are free.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::simulation::*;
use super::*;
use crate::configuration::{Level, LevelKind, Overload};

const SEEDS: [u64; 4] = [1, 20_260_101, 0xdead_beef, 77_777];
const ARRIVALS: u32 = 25_000;
const NAMES: [&str; 6] = ["a", "b", "c", "d", "catch-all", "exempt"];
const SEATS: u32 = 60;

/// Some of the levels `a` to `d`, with any numbers.
fn any_levels(random: &mut Random) -> Vec<Level> {
    let mut levels = Vec::new();
    for name in ["a", "b", "c", "d"] {
        if random.below(4) == 0 {
            continue;
        }
        let mut number = |bound| u32::try_from(random.below(bound)).unwrap();
        let overload = match number(4) {
            0 => Overload::Reject,
            _ => Overload::Queue { queues: number(9), hand_size: number(4), queue_length: number(20) },
        };
        let borrowing_limit_percent = Some(number(300)).filter(|percent| percent % 3 > 0);
        let kind = LevelKind::Limited { borrowing_limit_percent, overload };
        let (shares, lendable_percent) = (number(40), number(101));
        levels.push(Level { name: name.to_owned(), uid: String::new(), shares, lendable_percent, kind });
    }
    levels
}

fn any_width(random: &mut Random) -> Width {
    let mut number = |bound| u32::try_from(random.below(bound)).unwrap();
    let initial = if number(4) == 0 { number(12) } else { 1 };
    match number(5) {
        0 => Width { initial, r#final: number(8), linger: Duration::from_micros(u64::from(number(20_000))) },
        _ => wide(initial),
    }
}

/// A client: asks, is served for a while, says that it is done or just goes.
fn arrive(dispatcher: &Arc<Dispatcher>, random: &mut Random, clients: &mut JoinSet<()>) -> tokio::task::AbortHandle {
    let dispatcher = Arc::clone(dispatcher);
    let name = NAMES.get(usize::try_from(random.below(6)).unwrap()).unwrap();
    let flow = flow(name, &random.below(12).to_string());
    let width = any_width(random);
    let patience = Duration::from_micros(random.below(200_000));
    let service = Duration::from_micros(random.below(20_000));
    let releases = random.below(2) == 0;
    clients.spawn(async move {
        if let Ok(seat) = dispatcher.admit(&flow, width, patience).await {
            let handle = seat.clone();
            tokio::time::sleep(service).await;
            if releases {
                handle.release();
            }
            tokio::time::sleep(service / 4).await;
        }
    })
}

async fn run(seed: u64, reconfigures: bool) {
    let mut random = Random(seed);
    let dispatcher = Arc::new(Dispatcher::with_secret(SEATS, seed));
    dispatcher.configure(&configuration(&any_levels(&mut random)));
    let mut clients = JoinSet::new();
    let mut handles = Vec::new();
    for arrival in 0..ARRIVALS {
        handles.push(arrive(&dispatcher, &mut random, &mut clients));
        match random.below(100) {
            0..8 => {
                let recent = usize::try_from(random.below(30)).unwrap();
                handles.swap_remove(handles.len().saturating_sub(recent + 1)).abort();
            }
            8..30 => pass(Duration::from_micros(random.below(1_500))).await,
            30 if reconfigures && random.below(4) == 0 => {
                dispatcher.configure(&configuration(&any_levels(&mut random)));
            }
            _ => (),
        }
        if handles.len() > 500 {
            handles.drain(..250);
        }
        while clients.try_join_next().is_some() {}
        if arrival % 16 == 0 {
            let (in_use, own) = dispatcher.recount();
            assert!(reconfigures || in_use <= own, "{in_use} of {own} seats are in use");
        }
    }
    while clients.join_next().await.is_some() {}
    // What lingers is free when anybody looks after that.
    pass(Duration::from_secs(1)).await;
    dispatcher.hub().measure();
    assert_eq!(dispatcher.recount().0, 0);
    for level in dispatcher.hub().levels().ordered() {
        let state = level.state();
        assert!(state.is_idle() && !state.is_quiescing(), "{}", level.name());
        assert_eq!((state.in_use(), state.queues().seats_waiting()), (0, 0), "{}", level.name());
        assert!(state.queues().queues().iter().all(|queue| (queue.executing, queue.seats_in_use) == (0, 0)));
    }
    assert_gauges_are_zero(&dispatcher);
}

fn assert_gauges_are_zero(dispatcher: &Dispatcher) {
    let registry = prometheus::Registry::new();
    dispatcher.register(&registry).unwrap();
    let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    for line in text.lines() {
        let is_count = ["_inqueue_", "_executing_"].iter().any(|part| line.contains(part)) && !line.starts_with('#');
        assert!(!is_count || line.ends_with(" 0"), "{line}");
    }
}

/// Tells the seed when the run panics.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}", self.0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_seat_is_lost_or_doubled() {
    for seed in SEEDS {
        let _told = Told(seed);
        run(seed, false).await;
    }
}

#[tokio::test(start_paused = true)]
async fn no_seat_is_lost_or_doubled_while_levels_come_change_and_go() {
    for seed in SEEDS {
        let _told = Told(seed);
        run(seed, true).await;
    }
}

/// The same on threads, where requests really meet: all are served, and nothing is left over.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_seat_is_lost_between_threads() {
    let levels = [queueing("a", 3, 50, 4), queueing("b", 2, 100, 1), queueing("c", 1, 0, 2)];
    let dispatcher = Arc::new(Dispatcher::with_secret(6, 3));
    let configurations = [configuration(&levels), configuration(levels.get(..2).unwrap())];
    dispatcher.configure(configurations.first().unwrap());
    let mut clients = JoinSet::new();
    for client in 0..48_u64 {
        let (dispatcher, configurations) = (Arc::clone(&dispatcher), configurations.clone());
        clients.spawn(async move {
            let mut random = Random(client);
            for round in 0..300_usize {
                let name = NAMES.get(usize::try_from(random.below(3)).unwrap()).unwrap();
                let width = wide(u32::try_from(random.below(4)).unwrap());
                let flow = flow(name, &client.to_string());
                let seat = dispatcher.admit(&flow, width, Duration::from_secs(600)).await;
                if random.below(2) == 0 {
                    tokio::task::yield_now().await;
                }
                drop(seat);
                if client == 0 && round % 10 == 0 {
                    dispatcher.configure(configurations.get(round / 10 % 2).unwrap());
                }
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    dispatcher.configure(configurations.first().unwrap());
    assert_eq!(dispatcher.recount().0, 0);
    assert_gauges_are_zero(&dispatcher);
}
