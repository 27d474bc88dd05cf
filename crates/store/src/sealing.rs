//! Values that are unreadable where they are kept (A17). An engine asks for each value that it writes or reads outside of memory; which
//! of them are sealed, how and under which key is the business of whoever implements [`Sealing`].

use bytes::Bytes;

use crate::engine::{BoxFuture, Source};

/// Keys that could not be fetched until no more are asked for: who does not answer is not waited for again and again. Whoever goes on later
/// begins where this one gave up, so that everything has its turn.
const FETCHES_FAILED_MAX: usize = 16;
/// Errors behind an error that are told.
const CAUSES_MAX: usize = 16;

/// A value as it is in memory, and how it was kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Opened {
    /// The value.
    pub plain: Bytes,
    /// Whether it would be written in another way today: under another key, or sealed at all.
    pub is_stale: bool,
}

/// Seals and opens values. Pure but for keys, which change; called from any thread, and it does not wait for anybody far away.
pub trait Sealing: Send + Sync + 'static {
    /// The value as it is kept under a key.
    fn seal(&self, key: &str, plain: &Bytes) -> Result<Bytes, Source>;

    /// What was kept under a key as a value. One that cannot be opened now may be later: the engine keeps it as it is.
    fn open(&self, key: &str, kept: &Bytes) -> Result<Opened, Source>;

    /// Fetches what opening needs from far away, and says whether opening is worth another try.
    fn fetch<'a>(&'a self, _key: &'a str, _kept: &'a Bytes) -> BoxFuture<'a, bool> {
        Box::pin(std::future::ready(false))
    }
}

/// Opens values one after the other, and has what is missing fetched.
pub(crate) struct Opening {
    failures_left: usize,
}

impl Default for Opening {
    fn default() -> Self {
        Self { failures_left: FETCHES_FAILED_MAX }
    }
}

impl Opening {
    /// For those who need each value now or never: never gives up.
    pub(crate) fn of_all() -> Self {
        Self { failures_left: usize::MAX }
    }

    /// Whether so much failed that no more is fetched.
    pub(crate) fn has_given_up(&self) -> bool {
        self.failures_left == 0
    }

    pub(crate) async fn open(&mut self, sealing: &dyn Sealing, key: &str, kept: &Bytes) -> Result<Opened, Source> {
        let mut opened = sealing.open(key, kept);
        if opened.is_err() && !self.has_given_up() {
            if sealing.fetch(key, kept).await {
                opened = sealing.open(key, kept);
            }
            self.failures_left -= usize::from(opened.is_err());
        }
        opened
    }
}

/// Why a value cannot be read, in one line.
pub(crate) fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source()).take(CAUSES_MAX);
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// What sealing everything anew led to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resealed {
    /// Values that were written anew.
    pub rewritten: usize,
    /// Values that can be neither opened nor written anew; those in rows that cannot be read are among them.
    pub unopened: usize,
}

/// Seals nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unsealed;

impl Sealing for Unsealed {
    fn seal(&self, _key: &str, plain: &Bytes) -> Result<Bytes, Source> {
        Ok(plain.clone())
    }

    fn open(&self, _key: &str, kept: &Bytes) -> Result<Opened, Source> {
        Ok(Opened { plain: kept.clone(), is_stale: false })
    }
}
