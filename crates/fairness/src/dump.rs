//! Tells what levels, queues and requests there are, as a table whose columns upstream's readers know.
//!
//! A level is copied under its lock and written after it. Names and paths are clients' text: what could end a cell or a line is
//! written as `?`, so nobody can forge a row.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use portcullis_model::time::{ZERO_TIME, push_duration, push_micro_time, time_text};
use tokio::time::Instant;

use crate::level::Level;
use crate::queue::Queue;
use crate::seat::Request;

/// Rows in a table at most.
const ROWS_MAX: usize = 20_000;
/// Bytes of a cell at most; paths are long.
const CELL_LEN_MAX: usize = 512;
/// The narrowest column, as upstream's table writer has it.
const COLUMN_MIN: usize = 8;
const NOWHERE: &str = "-1";

const LEVEL_COLUMNS: [&str; 10] = [
    "PriorityLevelName",
    "ActiveQueues",
    "IsIdle",
    "IsQuiescing",
    "WaitingRequests",
    "ExecutingRequests",
    "DispatchedRequests",
    "RejectedRequests",
    "TimedoutRequests",
    "CancelledRequests",
];
const QUEUE_COLUMNS: [&str; 9] = [
    "PriorityLevelName",
    "Index",
    "PendingRequests",
    "ExecutingRequests",
    "SeatsInUse",
    "NextDispatchR",
    "InitialSeatsSum",
    "MaxSeatsSum",
    "TotalWorkSum",
];
const REQUEST_COLUMNS: [&str; 10] = [
    "PriorityLevelName",
    "FlowSchemaName",
    "QueueIndex",
    "RequestIndexInQueue",
    "FlowDistingsher",
    "ArriveTime",
    "InitialSeats",
    "FinalSeats",
    "AdditionalLatency",
    "StartTime",
];
const DETAIL_COLUMNS: [&str; 8] =
    ["UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource", "SubResource"];

pub(crate) fn priority_levels(levels: &[Arc<Level>], out: &mut String) {
    let mut table = Table::new(&LEVEL_COLUMNS);
    for level in levels {
        let state = level.state();
        let totals = state.totals();
        let active = state.queues().queues().iter().filter(|queue| !queue.waiting.is_empty()).count();
        table.row([
            level.name().to_owned(),
            active.to_string(),
            state.is_idle().to_string(),
            state.is_quiescing().to_string(),
            state.queues().waiting().to_string(),
            state.executing().to_string(),
            totals.dispatched.to_string(),
            totals.rejected.to_string(),
            totals.timed_out.to_string(),
            totals.cancelled.to_string(),
        ]);
    }
    table.write(out);
}

/// A queue as it was.
struct QueueFigures {
    waiting: usize,
    executing: usize,
    seats_in_use: u64,
    next_start: u64,
    initial: u64,
    widest: u64,
    work: u64,
}

impl QueueFigures {
    fn of(queue: &Queue<Arc<Request>>) -> Self {
        Self {
            waiting: queue.waiting.len(),
            executing: queue.executing,
            seats_in_use: queue.seats_in_use,
            next_start: queue.next_start,
            initial: queue.waiting.iter().map(|entry| entry.initial).sum(),
            widest: queue.waiting.iter().map(|entry| entry.widest).sum(),
            work: queue.waiting.iter().fold(0, |sum, entry| sum.saturating_add(entry.work)),
        }
    }
}

pub(crate) fn queues(levels: &[Arc<Level>], out: &mut String) {
    let mut table = Table::new(&QUEUE_COLUMNS);
    for level in levels {
        let room = table.room();
        let figures: Vec<QueueFigures> =
            level.state().queues().queues().iter().take(room).map(QueueFigures::of).collect();
        for (index, queue) in figures.iter().enumerate() {
            table.row([
                level.name().to_owned(),
                index.to_string(),
                queue.waiting.to_string(),
                queue.executing.to_string(),
                queue.seats_in_use.to_string(),
                seat_seconds(queue.next_start),
                queue.initial.to_string(),
                queue.widest.to_string(),
                seat_seconds(queue.work),
            ]);
        }
    }
    table.write(out);
}

pub(crate) fn requests(levels: &[Arc<Level>], include_details: bool, out: &mut String) {
    let mut columns = REQUEST_COLUMNS.to_vec();
    if include_details {
        columns.extend(DETAIL_COLUMNS);
    }
    let mut table = Table::new(&columns);
    let clock = WallClock::now();
    for level in levels {
        let mut found = found_requests(level, table.room());
        found.sort_by_key(|found| (found.queue.is_none(), found.queue, found.index.is_none(), found.index));
        for found in found {
            table.row(request_row(level.name(), &found, include_details, &clock));
        }
    }
    table.write(out);
}

/// A request, and where it was found.
struct Found {
    request: Arc<Request>,
    queue: Option<usize>,
    index: Option<usize>,
}

fn found_requests(level: &Level, room: usize) -> Vec<Found> {
    let state = level.state();
    let queues = state.queues().queues().iter().enumerate();
    let waiting = queues.flat_map(|(queue, entries)| {
        let entries = entries.waiting.iter().enumerate();
        entries.map(move |(index, entry)| (Arc::clone(&entry.item), Some(queue), Some(index)))
    });
    let served = state.served().map(|request| {
        let queue = Some(request.queue()).filter(|queue| *queue != crate::seat::NOWHERE);
        (Arc::clone(request), queue, None)
    });
    waiting.chain(served).take(room).map(|(request, queue, index)| Found { request, queue, index }).collect()
}

fn request_row(level: &str, found: &Found, include_details: bool, clock: &WallClock) -> Vec<String> {
    let request = &found.request;
    let place = |place: Option<usize>| place.map_or_else(|| NOWHERE.to_owned(), |place| place.to_string());
    let mut linger = Vec::new();
    push_duration(&mut linger, i64::try_from(request.width.linger.as_nanos()).unwrap_or(i64::MAX));
    let started = request.started.get();
    let mut row = vec![
        level.to_owned(),
        request.schema.name.clone(),
        place(found.queue),
        place(found.index),
        request.distinguisher.to_string(),
        clock.text(request.arrived),
        request.width.initial.to_string(),
        request.width.r#final.to_string(),
        String::from_utf8_lossy(&linger).into_owned(),
        started.map_or_else(|| time_text(ZERO_TIME), |started| clock.text(*started)),
    ];
    if include_details {
        let details = request.details.as_ref().map(|details| details.details()).unwrap_or_default();
        row.extend([details.user, details.verb, details.path, details.namespace]);
        row.extend([details.name, details.api_version, details.resource, details.subresource]);
    }
    row
}

/// What a monotonic time is on the wall.
struct WallClock {
    instant: Instant,
    since_epoch: Duration,
}

impl WallClock {
    fn now() -> Self {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { instant: Instant::now(), since_epoch }
    }

    fn text(&self, then: Instant) -> String {
        let ago = self.instant.saturating_duration_since(then);
        let micros = self.since_epoch.saturating_sub(ago).as_micros();
        let mut text = Vec::new();
        push_micro_time(&mut text, i64::try_from(micros).unwrap_or(i64::MAX));
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// Work as upstream writes it: with eight places.
fn seat_seconds(work: u64) -> String {
    format!("{}.{:08}ss", work / 1_000_000, (work % 1_000_000) * 100)
}

/// Cells in columns, each as wide as its widest.
struct Table {
    rows: Vec<Vec<String>>,
    is_cut: bool,
}

impl Table {
    fn new(columns: &[&str]) -> Self {
        Self { rows: vec![columns.iter().map(|column| (*column).to_owned()).collect()], is_cut: false }
    }

    fn room(&self) -> usize {
        // One more than there is room for, so that a cut is noticed.
        (ROWS_MAX + 2).saturating_sub(self.rows.len())
    }

    fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        if self.rows.len() > ROWS_MAX {
            self.is_cut = true;
            return;
        }
        self.rows.push(cells.into_iter().map(clean).collect());
    }

    fn write(&self, out: &mut String) {
        let mut widths: Vec<usize> = Vec::new();
        for row in &self.rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count() + 2).max(COLUMN_MIN);
            }
        }
        for row in &self.rows {
            let mut cells = row.iter().zip(&widths).peekable();
            while let Some((cell, width)) = cells.next() {
                out.push_str(cell);
                if cells.peek().is_some() {
                    out.push(',');
                    let padding = width.saturating_sub(cell.chars().count() + 1);
                    out.extend(std::iter::repeat_n(' ', padding));
                }
            }
            out.push('\n');
        }
        if self.is_cut {
            out.push_str("... there are more\n");
        }
    }
}

/// A cell that ends neither itself nor its line.
fn clean(cell: String) -> String {
    let ends = |c: char| c == ',' || c.is_control() || c == '\u{2028}' || c == '\u{2029}';
    if cell.len() <= CELL_LEN_MAX && !cell.contains(ends) {
        return cell;
    }
    let mut cleaned = String::new();
    for c in cell.chars() {
        if cleaned.len() + c.len_utf8() > CELL_LEN_MAX {
            break;
        }
        cleaned.push(if ends(c) { '?' } else { c });
    }
    cleaned
}
