#![allow(clippy::unwrap_used)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, mpsc};

use super::*;

/// Tells each batch to the test, and ends a delivery when the test lets it.
#[derive(Clone)]
struct Receiver {
    batches: mpsc::UnboundedSender<Vec<String>>,
    may_end: Arc<Semaphore>,
    fails: Arc<Mutex<bool>>,
    at_once_max: Arc<AtomicUsize>,
    at_once: Arc<AtomicUsize>,
}

impl Deliver for Receiver {
    async fn deliver(&self, events: &[Bytes], _end: &mut End) -> Result<(), Unrecorded> {
        let at_once = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.at_once_max.fetch_max(at_once, Ordering::SeqCst);
        let texts = events.iter().map(|event| String::from_utf8(event.to_vec()).unwrap()).collect();
        let _ = self.batches.send(texts);
        let permit = self.may_end.acquire().await;
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        permit.unwrap().forget();
        if *self.fails.lock().unwrap() { Err(Unrecorded { reason: "no".to_owned() }) } else { Ok(()) }
    }
}

struct Line {
    queue: Queue,
    batches: Option<Batches>,
    sent: mpsc::UnboundedReceiver<Vec<String>>,
    receiver: Receiver,
    losses: Arc<Losses>,
}

const SETTINGS: Settings = Settings {
    queue_len_max: 16,
    batch_len_max: 4,
    batch_bytes_max: 1000,
    wait_max: Duration::from_secs(30),
    throttle: None,
};

impl Line {
    /// A line whose deliveries end by themselves so many times.
    fn new(settings: Settings, deliveries: usize) -> Self {
        let (batches, sent) = mpsc::unbounded_channel();
        let may_end = Arc::new(Semaphore::new(deliveries));
        let receiver =
            Receiver { batches, may_end, fails: Arc::default(), at_once_max: Arc::default(), at_once: Arc::default() };
        let losses = Arc::new(Losses::new("test"));
        let (queue, batches) = Batches::start(receiver.clone(), settings, Arc::clone(&losses));
        Self { queue, batches: Some(batches), sent, receiver, losses }
    }

    fn push(&self, text: &str) -> bool {
        self.queue.push(Bytes::copy_from_slice(text.as_bytes()), false).is_ok()
    }

    /// The next batch, and how many milliseconds it took to come.
    async fn next(&mut self) -> (String, u128) {
        let begin = Instant::now();
        let batch = self.sent.recv().await.unwrap();
        (batch.join(" "), begin.elapsed().as_millis())
    }

    async fn finish(&mut self, within: Duration) {
        self.batches.take().unwrap().finish(within).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_goes_when_it_is_full_or_old() {
    let mut line = Line::new(SETTINGS, 100);
    for text in ["a", "b", "c", "d", "e"] {
        assert!(line.push(text));
    }
    assert_eq!(line.next().await, ("a b c d".to_owned(), 0));
    assert_eq!(line.next().await, ("e".to_owned(), 30_000));
    // Its age is that of its first event.
    assert!(line.push("f"));
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(line.push("g"));
    assert_eq!(line.next().await, ("f g".to_owned(), 10_000));
}

#[tokio::test(start_paused = true)]
async fn a_batch_goes_when_it_has_many_bytes() {
    let mut line = Line::new(Settings { batch_bytes_max: 10, ..SETTINGS }, 100);
    for text in ["aaaaaa", "bbbb", "cccccccccccc", "dd", "ee", "ffffffffff"] {
        assert!(line.push(text));
    }
    assert_eq!(line.next().await, ("aaaaaa bbbb".to_owned(), 0));
    assert_eq!(line.next().await, ("cccccccccccc".to_owned(), 0));
    assert_eq!(line.next().await, ("dd ee".to_owned(), 0));
    assert_eq!(line.next().await, ("ffffffffff".to_owned(), 0));
}

#[tokio::test(start_paused = true)]
async fn batches_are_throttled() {
    let throttle = Some(Throttle { per_second: 10.0, burst: 2 });
    let mut line = Line::new(Settings { batch_len_max: 1, throttle, ..SETTINGS }, 100);
    for text in ["a", "b", "c", "d"] {
        assert!(line.push(text));
    }
    let check = |(batch, millis): (String, u128), expected: &str, at_least: u128| {
        assert_eq!(batch, expected);
        // Timers have the grain of a millisecond.
        assert!((at_least..=at_least + 1).contains(&millis), "{batch} came after {millis} ms");
    };
    check(line.next().await, "a", 0);
    check(line.next().await, "b", 0);
    check(line.next().await, "c", 100);
    check(line.next().await, "d", 100);
    // The end waits for no token.
    assert!(line.push("e"));
    line.finish(Duration::from_millis(50)).await;
    check(line.next().await, "e", 0);
    assert_eq!(line.losses.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_and_a_slow_receiver_is_not_flooded() {
    let mut line = Line::new(Settings { batch_len_max: 1, ..SETTINGS }, 0);
    // Let the task run as far as it can after each, so that it is certain what it holds.
    let mut taken = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(1)).await;
        if !line.push("a") {
            break;
        }
        taken += 1;
        assert!(taken < 100, "the queue has no end");
    }
    // In the queue, on their way, and one between the two.
    assert_eq!(taken, SETTINGS.queue_len_max + DELIVERIES_MAX + 1);
    assert_eq!(line.receiver.at_once_max.load(Ordering::SeqCst), DELIVERIES_MAX);
    line.receiver.may_end.add_permits(taken);
    line.finish(Duration::from_secs(1)).await;
    let mut sent = 0;
    while line.sent.try_recv().is_ok() {
        sent += 1;
    }
    assert_eq!((sent, line.losses.count()), (taken, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_held_is_bounded_in_bytes() {
    let line = Line::new(Settings { batch_len_max: 1, ..SETTINGS }, 0);
    let large = Bytes::from(vec![b'a'; QUEUE_BYTES_MAX / 4]);
    for expected in [true, true, true, true, false] {
        assert_eq!(line.queue.push(large.clone(), false).is_ok(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn strangers_have_a_part_of_their_own() {
    let line = Line::new(SETTINGS, 0);
    let event = || Bytes::from_static(b"a");
    for expected in [true, true, false] {
        assert_eq!(line.queue.push(event(), true).is_ok(), expected);
    }
    assert!(line.queue.push(event(), false).is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_counted() {
    let mut line = Line::new(SETTINGS, 100);
    *line.receiver.fails.lock().unwrap() = true;
    for text in ["a", "b", "c", "d"] {
        assert!(line.push(text));
    }
    line.next().await;
    line.finish(Duration::from_secs(1)).await;
    assert_eq!(line.losses.count(), 4);
}

#[tokio::test(start_paused = true)]
async fn the_end_delivers_what_is_left_and_refuses_more() {
    let mut line = Line::new(SETTINGS, 100);
    for text in ["a", "b", "c", "d", "e", "f"] {
        assert!(line.push(text));
    }
    line.finish(Duration::from_secs(1)).await;
    assert!(!line.push("g"));
    assert_eq!(line.next().await.0, "a b c d");
    assert_eq!(line.next().await.0, "e f");
    assert_eq!(line.losses.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_end_that_takes_too_long_counts_what_it_cuts_off() {
    let mut line = Line::new(SETTINGS, 0);
    for text in ["a", "b", "c", "d", "e"] {
        assert!(line.push(text));
    }
    line.next().await;
    let begin = Instant::now();
    line.finish(Duration::from_secs(5)).await;
    assert!((5000..=5001).contains(&begin.elapsed().as_millis()));
    assert_eq!(line.losses.count(), 5);
}
