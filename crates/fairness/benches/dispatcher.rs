//! What a seat costs: asking for it and giving it back, alone, lent, in a crowd, and between threads.
//!
//! Run with `cargo bench -p portcullis-fairness`.

use std::collections::VecDeque;
use std::future::Future;
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis_fairness::{
    Configuration, Dispatcher, Distinguisher, Flow, FlowSchema, Level, LevelKind, Overload, Rejected, Seat, Width,
};

const PATIENCE: Duration = Duration::from_secs(15);

fn level(name: &str, shares: u32, lendable_percent: u32) -> Level {
    let overload = Overload::Queue { queues: 64, hand_size: 6, queue_length: 50 };
    let kind = LevelKind::Limited { borrowing_limit_percent: None, overload };
    Level { name: name.to_owned(), uid: String::new(), shares, lendable_percent, kind }
}

fn schema(level: &str) -> FlowSchema {
    FlowSchema {
        name: format!("of-{level}"),
        uid: String::new(),
        precedence: 100,
        level: level.to_owned(),
        distinguisher: Distinguisher::ByUser,
        rules: Vec::new(),
    }
}

fn flow(level_name: &str, user: &str) -> Flow {
    let level = Arc::new(level(level_name, 0, 0));
    Flow { schema: Arc::new(schema(level_name)), level, distinguisher: user.to_owned() }
}

fn dispatcher(seats: u32) -> Arc<Dispatcher> {
    let dispatcher = Arc::new(Dispatcher::new(seats));
    let levels = vec![level("borrower", 1, 100), level("node-high", 40, 25), level("workload-low", 100, 90)];
    let schemas = levels.iter().map(|level| schema(&level.name)).collect();
    dispatcher.configure(&Configuration::new(levels, schemas));
    dispatcher
}

/// Admits where nothing must be waited for.
fn admitted(dispatcher: &Dispatcher, flow: &Flow, width: Width) -> Option<Seat> {
    let mut admission = pin!(dispatcher.admit(flow, width, PATIENCE));
    match admission.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(seat)) => Some(seat),
        Poll::Ready(Err(_)) | Poll::Pending => None,
    }
}

fn alone(bench: &mut Criterion) {
    let dispatcher = dispatcher(600);
    let user = "system:node:worker-17";
    for (name, flow) in
        [("own seat", flow("node-high", user)), ("lent seat", flow("borrower", user)), ("exempt", flow("exempt", user))]
    {
        bench.bench_function(name, |bench| bench.iter(|| black_box(admitted(&dispatcher, &flow, Width::ONE))));
    }
}

/// Tells which admission may go on.
struct Woken {
    index: usize,
    all: Arc<Mutex<Vec<usize>>>,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        if let Ok(mut all) = self.all.lock() {
            all.push(self.index);
        }
    }
}

type Admission<'a> = Pin<Box<dyn Future<Output = Result<Seat, Rejected>> + 'a>>;

/// A slot of the crowd: somebody waits, or holds a seat.
enum Client<'a> {
    Waits(Admission<'a>),
    Holds(#[expect(dead_code, reason = "it is held until it is dropped")] Option<Seat>),
}

/// Every seat is taken and a thousand requests of 40 users wait. Each turn a seat is given back, whoever gets it goes on, and
/// somebody new comes.
fn crowd(bench: &mut Criterion) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() else { return };
    let _inside = runtime.enter();
    for (name, width) in [("a seat changes hands", 1), ("ten seats change hands", 10)] {
        let dispatcher = dispatcher(600);
        let width = Width { initial: width, ..Width::ONE };
        let flows: Vec<Flow> = (0..40).map(|user| flow("workload-low", &format!("user-{user}"))).collect();
        let woken = Arc::new(Mutex::new(Vec::new()));
        let waker = |index| Waker::from(Arc::new(Woken { index, all: Arc::clone(&woken) }));
        let mut holders = VecDeque::new();
        let poll = |index: usize, mut admission: Admission<'static>| match admission
            .as_mut()
            .poll(&mut Context::from_waker(&waker(index)))
        {
            Poll::Ready(seat) => Client::Holds(seat.ok()),
            Poll::Pending => Client::Waits(admission),
        };
        let come = |index: usize| -> Admission<'static> {
            let flow = flows.get(index % flows.len()).cloned();
            let dispatcher = Arc::clone(&dispatcher);
            Box::pin(async move {
                let Some(flow) = flow else { return Ok(Seat::exempt()) };
                dispatcher.admit(&flow, width, PATIENCE).await
            })
        };
        let mut clients: Vec<Client> = Vec::new();
        for index in 0..1_000 + 600 / width.initial as usize {
            let client = poll(index, come(index));
            if matches!(client, Client::Holds(_)) {
                holders.push_back(index);
            }
            clients.push(client);
        }
        bench.bench_function(name, |bench| {
            bench.iter(|| {
                let Some(index) = holders.pop_front() else { return };
                let Some(place) = clients.get_mut(index) else { return };
                *place = Client::Holds(None);
                *place = poll(index, come(index));
                let woken = woken.lock().map(|mut woken| std::mem::take(&mut *woken)).unwrap_or_default();
                for index in woken {
                    let Some(place) = clients.get_mut(index) else { continue };
                    if let Client::Waits(admission) = std::mem::replace(place, Client::Holds(None)) {
                        *place = poll(index, admission);
                    }
                    if matches!(place, Client::Holds(_)) {
                        holders.push_back(index);
                    }
                }
            });
        });
    }
}

fn between_threads(bench: &mut Criterion) {
    let dispatcher = dispatcher(600);
    let stop = Arc::new(AtomicBool::new(false));
    let other = std::thread::spawn({
        let (dispatcher, stop) = (Arc::clone(&dispatcher), Arc::clone(&stop));
        move || {
            let flow = flow("node-high", "other");
            while !stop.load(Ordering::Relaxed) {
                black_box(admitted(&dispatcher, &flow, Width::ONE));
            }
        }
    });
    let flow = flow("node-high", "one");
    bench.bench_function("own seat, another thread at the same level", |bench| {
        bench.iter(|| black_box(admitted(&dispatcher, &flow, Width::ONE)));
    });
    stop.store(true, Ordering::Relaxed);
    let _ = other.join();
}

criterion_group!(benches, alone, crowd, between_threads);
criterion_main!(benches);
