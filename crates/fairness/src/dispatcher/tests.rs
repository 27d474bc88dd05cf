//! What clients get, on a simulated clock.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::simulation::*;
use super::*;
use crate::configuration::{Level, LevelKind, Overload};

const LONG: Duration = Duration::from_secs(60);

fn dispatcher(seats: u32, levels: &[Level]) -> Arc<Dispatcher> {
    let dispatcher = Arc::new(Dispatcher::with_secret(seats, 7));
    dispatcher.configure(&configuration(levels));
    dispatcher
}

/// Two users whose requests wait in different queues of a level that deals hands of one.
fn users_apart(dispatcher: &Dispatcher, level: &str, queues: u64) -> (Flow, Flow) {
    let first = flow(level, "first");
    let queue = |flow: &Flow| dispatcher.hub().hash(flow) % queues;
    let other = (0..100).map(|n| flow(level, &format!("other-{n}")));
    let other = other.into_iter().find(|other| queue(other) != queue(&first)).unwrap();
    (first, other)
}

async fn admitted(dispatcher: &Dispatcher, flow: &Flow, width: Width) -> Seat {
    dispatcher.admit(flow, width, LONG).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_seat_is_free_when_it_is_released_once_or_its_last_handle_is_gone() {
    let dispatcher = dispatcher(4, &[queueing("a", 1, 0, 1)]);
    let seat = admitted(&dispatcher, &flow("a", ""), Width::ONE).await;
    let other = admitted(&dispatcher, &flow("a", ""), wide(2)).await;
    assert_eq!(dispatcher.in_use("a"), 3);
    let handle = seat.clone();
    drop(seat);
    assert_eq!(dispatcher.in_use("a"), 3);
    handle.release();
    handle.release();
    assert_eq!(dispatcher.in_use("a"), 2);
    drop(handle);
    drop(other);
    assert_eq!(dispatcher.in_use("a"), 0);
    Seat::exempt().release();
    dispatcher.recount();
}

#[tokio::test(start_paused = true)]
async fn refusals_say_why() {
    let mut short = queueing("short", 1, 0, 1);
    short.kind = LevelKind::Limited {
        borrowing_limit_percent: Some(0),
        overload: Overload::Queue { queues: 1, hand_size: 1, queue_length: 1 },
    };
    let dispatcher = dispatcher(2, &[short, rejecting("reject", 1)]);
    let _short = admitted(&dispatcher, &flow("short", ""), Width::ONE).await;
    let _reject = admitted(&dispatcher, &flow("reject", ""), Width::ONE).await;
    let waiting = tokio::spawn({
        let dispatcher = Arc::clone(&dispatcher);
        async move { dispatcher.admit(&flow("short", ""), Width::ONE, Duration::from_secs(5)).await }
    });
    pass(SERVICE).await;
    let refused = |level| {
        let dispatcher = Arc::clone(&dispatcher);
        async move { dispatcher.admit(&flow(level, ""), Width::ONE, LONG).await.unwrap_err() }
    };
    let expected = |because| Rejected { because, retry_after_seconds: 1 };
    assert_eq!(refused("short").await, expected(RejectedBecause::QueueFull));
    assert_eq!(refused("reject").await, expected(RejectedBecause::ConcurrencyLimit));
    assert_eq!(refused("nowhere").await, expected(RejectedBecause::ConcurrencyLimit));
    assert_eq!(waiting.await.unwrap().unwrap_err(), expected(RejectedBecause::TimeOut));
    assert_eq!(dispatcher.waiting("short"), 0);
    dispatcher.recount();
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_leaves_the_queue_at_once_and_others_move_up() {
    let dispatcher = dispatcher(1, &[queueing("a", 1, 0, 1)]);
    let seat = admitted(&dispatcher, &flow("a", ""), Width::ONE).await;
    let wait = || {
        let dispatcher = Arc::clone(&dispatcher);
        tokio::spawn(async move { dispatcher.admit(&flow("a", ""), Width::ONE, LONG).await })
    };
    let (first, second) = (wait(), wait());
    pass(SERVICE).await;
    assert_eq!(dispatcher.waiting("a"), 2);
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    assert_eq!(dispatcher.waiting("a"), 1);
    drop(seat);
    assert_eq!(dispatcher.in_use("a"), 1);
    drop(second.await.unwrap().unwrap());
    assert_eq!(dispatcher.in_use("a"), 0);
    dispatcher.recount();
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_with_the_seat_already_given_gives_it_back() {
    let dispatcher = dispatcher(1, &[queueing("a", 1, 0, 1)]);
    let seat = admitted(&dispatcher, &flow("a", ""), Width::ONE).await;
    let waiting = tokio::spawn({
        let dispatcher = Arc::clone(&dispatcher);
        async move { dispatcher.admit(&flow("a", ""), Width::ONE, LONG).await }
    });
    pass(SERVICE).await;
    drop(seat);
    assert_eq!((dispatcher.waiting("a"), dispatcher.in_use("a")), (0, 1));
    waiting.abort();
    assert!(waiting.await.is_err());
    assert_eq!((dispatcher.waiting("a"), dispatcher.in_use("a")), (0, 0));
    dispatcher.recount();
}

#[tokio::test(start_paused = true)]
async fn final_seats_linger_and_then_serve_who_waits_without_any_other_event() {
    let dispatcher = dispatcher(4, &[queueing("a", 1, 100, 1), queueing("b", 1, 100, 1)]);
    let width = Width { initial: 1, r#final: 2, linger: Duration::from_millis(300) };
    let seats =
        [admitted(&dispatcher, &flow("a", ""), width).await, admitted(&dispatcher, &flow("a", ""), width).await];
    assert_eq!(dispatcher.in_use("a"), 4, "a seat that will be needed after is kept from the start");
    drop(seats);
    assert_eq!(dispatcher.in_use("a"), 4);
    let before = Instant::now();
    let _seat = admitted(&dispatcher, &flow("b", ""), Width::ONE).await;
    let waited = before.elapsed();
    assert!((300..=320).contains(&waited.as_millis()), "{waited:?}");
    assert_eq!((dispatcher.in_use("a"), dispatcher.in_use("b")), (0, 1));
    dispatcher.recount();
}

#[tokio::test(start_paused = true)]
async fn an_elephant_does_not_push_a_mouse_below_its_share() {
    let dispatcher = dispatcher(4, &[queueing("a", 1, 0, 8)]);
    let (elephant, mouse) = users_apart(&dispatcher, "a", 8);
    let (of_elephant, of_mouse) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    for _ in 0..2_000 {
        client(&dispatcher, &elephant, Width::ONE, SERVICE, &of_elephant);
    }
    pass(Duration::from_secs(1)).await;
    let before = of_elephant.load(Ordering::Relaxed);
    for _ in 0..20 {
        client(&dispatcher, &mouse, Width::ONE, SERVICE, &of_mouse);
    }
    pass(Duration::from_secs(10)).await;
    let (elephant, mouse) = (of_elephant.load(Ordering::Relaxed) - before, of_mouse.load(Ordering::Relaxed));
    assert!(mouse * 100 >= (elephant + mouse) * 48, "the mouse got {mouse}, the elephant {elephant}");
    assert!(elephant * 100 >= (elephant + mouse) * 48, "the mouse got {mouse}, the elephant {elephant}");
    dispatcher.recount();
}

#[tokio::test(start_paused = true)]
async fn wide_lists_of_one_pay_for_what_they_take() {
    let dispatcher = dispatcher(10, &[queueing("a", 1, 0, 8)]);
    let (lists, gets) = users_apart(&dispatcher, "a", 8);
    let (of_lists, of_gets) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    for _ in 0..100 {
        client(&dispatcher, &lists, wide(10), Duration::from_millis(100), &of_lists);
        client(&dispatcher, &gets, Width::ONE, SERVICE, &of_gets);
    }
    pass(Duration::from_secs(60)).await;
    // A list takes 1 seat-second, a get a hundredth of one. Of 600 seat-seconds some are lost where the wide wait for room.
    let (lists, gets) = (of_lists.load(Ordering::Relaxed), of_gets.load(Ordering::Relaxed));
    assert!((200..=320).contains(&lists), "{lists} lists");
    assert!((20_000..=32_000).contains(&gets), "{gets} gets");
}

#[tokio::test(start_paused = true)]
async fn a_wide_request_is_not_starved_by_narrow_ones() {
    for queues in [1, 8] {
        let dispatcher = dispatcher(10, &[queueing("a", 1, 0, queues)]);
        let (narrow, other) = users_apart(&dispatcher, "a", 8);
        let served = Arc::new(AtomicU64::new(0));
        for _ in 0..60 {
            client(&dispatcher, &narrow, Width::ONE, SERVICE, &served);
        }
        pass(Duration::from_secs(1)).await;
        let before = Instant::now();
        // Wider than the level: it gets all of it.
        let seat = admitted(&dispatcher, &other, wide(50)).await;
        assert_eq!(dispatcher.in_use("a"), 10);
        assert!(before.elapsed() <= SERVICE * 8, "{queues} queues: {:?}", before.elapsed());
        drop(seat);
        pass(SERVICE).await;
        dispatcher.recount();
    }
}

#[tokio::test(start_paused = true)]
async fn idle_seats_are_lent_at_once_and_come_back_as_they_are_freed() {
    let dispatcher = dispatcher(20, &[queueing("a", 1, 50, 1), queueing("b", 1, 50, 1)]);
    let served = Arc::new(AtomicU64::new(0));
    for _ in 0..40 {
        client(&dispatcher, &flow("a", ""), Width::ONE, SERVICE, &served);
    }
    pass(SERVICE / 2).await;
    assert_eq!(dispatcher.in_use("a"), 15, "its own and what the other lends");
    for _ in 0..40 {
        client(&dispatcher, &flow("b", ""), Width::ONE, SERVICE, &served);
    }
    pass(Duration::from_millis(1)).await;
    assert_eq!((dispatcher.in_use("a"), dispatcher.in_use("b")), (15, 5), "what is never lent is there");
    pass(SERVICE).await;
    assert_eq!((dispatcher.in_use("a"), dispatcher.in_use("b")), (10, 10), "the rest is back after one service time");
    for _ in 0..50 {
        pass(SERVICE).await;
        assert_eq!((dispatcher.in_use("a"), dispatcher.in_use("b")), (10, 10));
        dispatcher.recount();
    }
}

#[tokio::test(start_paused = true)]
async fn borrowers_share_in_relation_to_their_own_and_within_their_limit() {
    let mut modest = queueing("modest", 10, 0, 1);
    let LevelKind::Limited { borrowing_limit_percent, .. } = &mut modest.kind else { panic!() };
    *borrowing_limit_percent = Some(20);
    let levels = [queueing("idle", 60, 100, 1), queueing("one", 10, 0, 1), queueing("two", 20, 0, 1), modest];
    let dispatcher = dispatcher(100, &levels);
    let served = Arc::new(AtomicU64::new(0));
    for level in ["one", "two", "modest"] {
        for _ in 0..150 {
            client(&dispatcher, &flow(level, ""), Width::ONE, SERVICE, &served);
        }
    }
    pass(SERVICE * 20).await;
    let in_use = ["idle", "one", "two", "modest"].map(|level| dispatcher.in_use(level));
    assert_eq!(in_use, [0, 29, 59, 12], "all 100 seats, 1 : 2");
    dispatcher.recount();
}

/// Ten times more wide lists of one user than there is room for, in the levels that every cluster begins with.
#[tokio::test(start_paused = true)]
async fn a_flood_of_wide_lists_reaches_neither_leases_nor_other_users() {
    let levels = [
        queueing("global-default", 20, 50, 128),
        queueing("leader-election", 10, 0, 16),
        queueing("node-high", 40, 25, 64),
        queueing("system", 30, 33, 64),
        queueing("workload-high", 40, 50, 128),
        queueing("workload-low", 100, 90, 128),
    ];
    let dispatcher = dispatcher(600, &levels);
    let lists = Arc::new(AtomicU64::new(0));
    for _ in 0..600 {
        client(&dispatcher, &flow("workload-low", "elephant"), wide(10), Duration::from_millis(200), &lists);
    }
    pass(Duration::from_secs(2)).await;
    // Its own, and what the others lend: everything but what each of them keeps, in tens.
    assert_eq!(dispatcher.in_use("workload-low"), 370);
    let waits = |level: &'static str, user: &'static str| {
        let dispatcher = Arc::clone(&dispatcher);
        async move {
            let before = Instant::now();
            let seat = admitted(&dispatcher, &flow(level, user), Width::ONE).await;
            let waited = before.elapsed();
            tokio::spawn(async move {
                pass(SERVICE).await;
                drop(seat);
            });
            waited
        }
    };
    for _ in 0..500 {
        assert_eq!(waits("node-high", "node").await, Duration::ZERO);
        assert_eq!(waits("exempt", "probe").await, Duration::ZERO);
        assert_eq!(waits("leader-election", "scheduler").await, Duration::ZERO);
        pass(Duration::from_millis(2)).await;
    }
    let waited = waits("workload-low", "mouse").await;
    assert!(waited <= Duration::from_millis(200), "another user of the same level waited {waited:?}");
    dispatcher.recount();
}

#[tokio::test(start_paused = true)]
async fn a_holding_cell_serves_nobody_and_exempt_requests_always_pass() {
    let mut cell = queueing("cell", 0, 0, 1);
    let LevelKind::Limited { borrowing_limit_percent, .. } = &mut cell.kind else { panic!() };
    *borrowing_limit_percent = Some(0);
    let dispatcher = dispatcher(1, &[cell, queueing("a", 1, 0, 1)]);
    let refused = dispatcher.admit(&flow("cell", ""), Width::ONE, LONG).await.unwrap_err();
    assert_eq!(refused.because, RejectedBecause::TimeOut);
    let mut seats = Vec::new();
    for _ in 0..100 {
        seats.push(admitted(&dispatcher, &flow("exempt", ""), Width::ONE).await);
    }
    let _own = admitted(&dispatcher, &flow("a", ""), Width::ONE).await;
    assert_eq!((dispatcher.in_use("exempt"), dispatcher.in_use("a")), (100, 1));
    dispatcher.recount();
}

#[tokio::test(start_paused = true)]
async fn a_level_that_is_gone_serves_who_it_has_and_then_its_seats_are_the_others() {
    let dispatcher = dispatcher(10, &[queueing("a", 1, 0, 1), queueing("b", 1, 0, 1)]);
    let mut seats = Vec::new();
    for _ in 0..5 {
        seats.push(admitted(&dispatcher, &flow("b", ""), Width::ONE).await);
    }
    let waiting = tokio::spawn({
        let dispatcher = Arc::clone(&dispatcher);
        async move { dispatcher.admit(&flow("b", ""), Width::ONE, LONG).await }
    });
    pass(SERVICE).await;
    dispatcher.configure(&configuration(&[queueing("a", 1, 0, 1)]));
    let mut levels = String::new();
    dispatcher.dump_priority_levels(&mut levels);
    let row = levels.lines().find(|line| line.starts_with("b,")).unwrap().replace(' ', "");
    assert_eq!(row, "b,1,false,true,1,5,5,0,0,0");
    drop(seats);
    let seat = waiting.await.unwrap().unwrap();
    assert_eq!(dispatcher.in_use("b"), 1);
    drop(seat);
    let all = admitted(&dispatcher, &flow("a", ""), wide(10)).await;
    assert_eq!(dispatcher.in_use("a"), 10);
    assert!(!dispatcher.hub().levels().ordered().iter().any(|level| level.name() == "b"));
    drop(all);
    dispatcher.recount();
}

#[tokio::test(start_paused = true)]
async fn dumps_have_the_columns_and_nobody_forges_a_row() {
    let dispatcher = dispatcher(1, &[queueing("a", 1, 0, 1)]);
    let details = Details { user: "ana\nexempt,".to_owned(), verb: "list".to_owned(), ..Details::default() };
    let of_ana = flow("a", "ana\nexempt,");
    let _seat = dispatcher.admit_described(&of_ana, Width::ONE, LONG, Some(Box::new(details))).await.unwrap();
    let waiting = tokio::spawn({
        let dispatcher = Arc::clone(&dispatcher);
        let width = Width { initial: 1, r#final: 3, linger: Duration::from_millis(5) };
        async move { dispatcher.admit(&flow("a", "bob"), width, LONG).await }
    });
    pass(SERVICE).await;
    let mut out = String::new();
    dispatcher.dump_requests(true, &mut out);
    let lines: Vec<Vec<&str>> = out.lines().map(|line| line.split(',').map(str::trim).collect()).collect();
    assert_eq!(lines.len(), 3, "{out}");
    assert!(lines.iter().all(|cells| cells.len() == 18), "{out}");
    let cells = |line: usize, from: usize, to: usize| lines.get(line).and_then(|line| line.get(from..to)).unwrap();
    assert_eq!(cells(1, 0, 5), ["a", "of-a", "0", "0", "bob"]);
    assert_eq!(cells(1, 6, 10), ["1", "3", "5ms", "0001-01-01T00:00:00Z"]);
    assert_eq!(cells(2, 0, 5), ["a", "of-a", "0", "-1", "ana?exempt?"]);
    assert_eq!(cells(2, 10, 12), ["ana?exempt?", "list"]);
    out.clear();
    dispatcher.dump_queues(&mut out);
    let row = out.lines().nth(1).unwrap().replace(' ', "");
    assert_eq!(row, "a,0,1,1,1,0.00300000ss,1,3,0.00800000ss");
    waiting.abort();
}

#[tokio::test(start_paused = true)]
async fn metrics_have_upstreams_names_and_only_configured_labels() {
    let dispatcher = dispatcher(2, &[queueing("a", 1, 0, 1), queueing("b", 1, 0, 1)]);
    let registry = prometheus::Registry::new();
    dispatcher.register(&registry).unwrap();
    let _a = admitted(&dispatcher, &flow("a", "somebody"), Width::ONE).await;
    let _ = dispatcher.admit(&flow("a", "somebody"), Width::ONE, SERVICE).await.unwrap_err();
    drop(admitted(&dispatcher, &flow("b", ""), Width::ONE).await);
    let text = || prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    let of_a = r#"{flow_schema="of-a",priority_level="a"}"#;
    for line in [
        format!("apiserver_flowcontrol_dispatched_requests_total{of_a} 1"),
        format!("apiserver_flowcontrol_current_executing_requests{of_a} 1"),
        format!("apiserver_flowcontrol_current_executing_seats{of_a} 1"),
        format!("apiserver_flowcontrol_current_inqueue_requests{of_a} 0"),
        format!("apiserver_flowcontrol_current_inqueue_seats{of_a} 0"),
        r#"apiserver_flowcontrol_rejected_requests_total{flow_schema="of-a",priority_level="a",reason="time-out"} 1"#.into(),
        r#"apiserver_flowcontrol_request_wait_duration_seconds_count{execute="false",flow_schema="of-a",priority_level="a"} 1"#.into(),
        r#"apiserver_flowcontrol_request_execution_seconds_count{flow_schema="of-b",priority_level="b",type="regular"} 1"#.into(),
        r#"apiserver_flowcontrol_nominal_limit_seats{priority_level="b"} 1"#.into(),
        r#"apiserver_flowcontrol_current_limit_seats{priority_level="b"} 1"#.into(),
    ] {
        assert!(text().lines().any(|have| have == line), "{line} is not in\n{}", text());
    }
    assert!(!text().contains("somebody"));
    dispatcher.configure(&configuration(&[queueing("a", 1, 0, 1)]));
    assert!(!text().contains("\"b\""), "{}", text());
}

/// CVE-2020-8552 and its kind, by those who may write flow schemas: what is served has no end, what is shown has.
#[tokio::test(start_paused = true)]
async fn objects_without_end_do_not_make_series_without_end() {
    let dispatcher = Dispatcher::new(600);
    let registry = prometheus::Registry::new();
    dispatcher.register(&registry).unwrap();
    let mut levels: Vec<_> = (0..600).map(|number| queueing(&format!("many-{number}"), 1, 0, 1)).collect();
    levels.push(queueing("z", 1, 0, 1));
    dispatcher.configure(&configuration(&levels));
    let shown = || {
        let families = registry.gather();
        families.iter().map(|family| family.get_metric().len()).sum::<usize>()
    };
    let before = shown();
    assert!(before < 512 * 20 + 256 * 10, "{before}");
    drop(admitted(&dispatcher, &flow("z", ""), Width::ONE).await);
    assert_eq!(shown(), before);
    dispatcher.configure(&configuration(&[queueing("z", 1, 0, 1)]));
    assert!(shown() < 200, "{}", shown());
}

/// A client that opens a watch and does not read its beginning.
#[tokio::test(start_paused = true)]
async fn a_watch_that_is_not_read_does_not_keep_its_seat() {
    let dispatcher = dispatcher(1, &[queueing("a", 1, 0, 1)]);
    let described = |verb: &str| -> Option<Box<dyn Describe>> {
        Some(Box::new(Details { verb: verb.to_owned(), ..Details::default() }))
    };
    let flow = flow("a", "");
    let admit = |verb: &str, patience: u64| {
        dispatcher.admit_described(&flow, Width::ONE, Duration::from_secs(patience), described(verb))
    };
    let unread = admit("watch", 1).await.unwrap();
    assert!(admit("get", 50).await.is_err());
    let other = admit("get", 50).await.unwrap();
    assert_eq!(dispatcher.in_use("a"), 1);
    unread.release();
    drop(unread);
    assert_eq!(dispatcher.in_use("a"), 1);
    // Whatever else takes long has a deadline of its own.
    assert!(admit("get", 200).await.is_err());
    drop(other);
    assert_eq!(dispatcher.in_use("a"), 0);
}
