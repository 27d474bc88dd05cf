//! One account of the memory that stored objects take, and what is done when it is overdrawn.
//!
//! Every body and every form that was made of one is charged here for as long as anybody holds it: the newest state, the
//! history, a kept snapshot, an answer that is being sent. Above the limit, in this order: forms are dropped (and new ones
//! are made for their reader alone), history is shortened (a watcher that needs it is told 410), and writes that grow the
//! state are refused. Each step is counted.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

/// The limit when nobody says another.
pub const LIMIT_BYTES_DEFAULT: usize = 1 << 30;
/// The limit below which no server could work.
pub const LIMIT_BYTES_MIN: usize = 32 << 20;
/// Forms that could not be kept, as a share of the limit, before those that nobody used lately are dropped for them.
const PRESSURE_SHARE: usize = 8;

/// What makes room: called when forms are wanted and there is none.
type Relief = Box<dyn Fn() + Send + Sync>;

/// The account. Shared by all entries of an engine.
pub struct Budget {
    limit: usize,
    bodies: AtomicUsize,
    forms: AtomicUsize,
    /// Bytes of forms that were not kept since room was last made.
    pressure: AtomicUsize,
    relief: OnceLock<Relief>,
    pub(crate) counters: Counters,
}

/// How often each step was taken.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) forms_made: AtomicU64,
    pub(crate) forms_not_kept: AtomicU64,
    pub(crate) forms_dropped: AtomicU64,
    pub(crate) histories_shortened: AtomicU64,
    pub(crate) writes_refused: AtomicU64,
}

impl Budget {
    /// An account with this limit in bytes, or the least that makes sense.
    pub fn new(limit: usize) -> Budget {
        Budget {
            limit: limit.max(LIMIT_BYTES_MIN),
            bodies: AtomicUsize::new(0),
            forms: AtomicUsize::new(0),
            pressure: AtomicUsize::new(0),
            relief: OnceLock::new(),
            counters: Counters::default(),
        }
    }

    /// Bytes that may be held.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes of bodies that anybody holds, of the present and of the past.
    pub fn bodies(&self) -> usize {
        self.bodies.load(Relaxed)
    }

    /// Bytes of forms that are kept.
    pub fn forms(&self) -> usize {
        self.forms.load(Relaxed)
    }

    /// Whether more is held than may be.
    pub fn is_overdrawn(&self) -> bool {
        self.bodies() + self.forms() > self.limit
    }

    /// Says what makes room. The first one counts.
    pub(crate) fn relieve_with(&self, relief: impl Fn() + Send + Sync + 'static) {
        let _ = self.relief.set(Box::new(relief));
    }

    pub(crate) fn charge_body(&self, bytes: usize) {
        self.bodies.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn release_body(&self, bytes: usize) {
        self.bodies.fetch_sub(bytes, Relaxed);
    }

    /// Whether a form may be kept; it is charged then. Where there is no room, some may be made for the next one.
    pub(crate) fn charge_form(&self, bytes: usize) -> bool {
        self.counters.forms_made.fetch_add(1, Relaxed);
        if self.bodies() + self.forms() + bytes <= self.limit {
            self.forms.fetch_add(bytes, Relaxed);
            return true;
        }
        self.counters.forms_not_kept.fetch_add(1, Relaxed);
        let pressure = self.pressure.fetch_add(bytes, Relaxed) + bytes;
        if pressure > self.limit / PRESSURE_SHARE
            && self.pressure.swap(0, Relaxed) >= pressure
            && let Some(relief) = self.relief.get()
        {
            relief();
        }
        false
    }

    pub(crate) fn release_forms(&self, bytes: usize) {
        if bytes > 0 {
            self.forms.fetch_sub(bytes, Relaxed);
        }
    }
}
