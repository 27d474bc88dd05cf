//! Time and randomness, so that a test can own both.

use std::time::{SystemTime, UNIX_EPOCH};

/// What the server takes from the outside world besides its store.
pub trait Env: Send + Sync + 'static {
    /// Microseconds since 1970 in UTC.
    fn now_micros(&self) -> i64;

    /// Fills the buffer with bytes nobody can guess, or says that there are none to be had.
    fn fill_random(&self, buffer: &mut [u8]) -> Result<(), NoRandomness>;
}

/// The system gave no random bytes. Nothing is created then: an object needs an unguessable uid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gave no random bytes")]
pub struct NoRandomness;

/// The clock and the random source of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEnv;

impl Env for SystemEnv {
    fn now_micros(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    }

    fn fill_random(&self, buffer: &mut [u8]) -> Result<(), NoRandomness> {
        aws_lc_rs::rand::fill(buffer).map_err(|_| NoRandomness)
    }
}
