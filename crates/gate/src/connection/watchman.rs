//! Looks after a connection from time to time: whether its peer is idle, does not read, or does not finish what it began.
//!
//! A round is made only as often as the shortest of the limits may pass, or when the first of them is due: so each limit is kept to
//! the moment, and a connection that is well costs one look in half a minute.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::ConnectionState;
use super::frames::FrameMeter;
use super::metrics::CutFor;
use crate::config::Limits;
use crate::tls_stream::Corked;

/// What limits a connection in time.
pub(super) struct Watchman {
    idle: Duration,
    unread: Duration,
    head: Duration,
    begun_before: u64,
    quiet_since: Instant,
}

/// What a look finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing to do before this time.
    Fine {
        /// When to look again.
        next: Instant,
    },
    /// There has been no request for too long.
    Idle,
    /// The peer passed one of the limits.
    Fault(CutFor),
}

impl Watchman {
    pub(super) fn new(limits: &Limits) -> Self {
        let Limits { idle_timeout, request_timeout, header_read_timeout, .. } = *limits;
        let (idle, unread, head) = (idle_timeout, request_timeout, header_read_timeout);
        Self { idle, unread, head, begun_before: 0, quiet_since: Instant::now() }
    }

    /// When to look for the first time.
    pub(super) fn first_round(&self) -> Instant {
        Instant::now() + self.pause()
    }

    /// What begins after a look is seen in the next one, before its limit has passed.
    fn pause(&self) -> Duration {
        self.idle.min(self.unread).min(self.head)
    }

    pub(super) fn look(&mut self, state: &ConnectionState, stream: Option<&Corked>) -> Seen {
        let now = Instant::now();
        let begun = state.begun.load(Ordering::Relaxed);
        let is_quiet = begun == self.begun_before && state.running.load(Ordering::Relaxed) == 0;
        if !is_quiet {
            (self.begun_before, self.quiet_since) = (begun, now);
        }
        let head_since = stream.and_then(|stream| stream.meter(FrameMeter::head_since));
        let limits = [
            (state.unread_since(), self.unread, Seen::Fault(CutFor::UnreadAnswer)),
            (head_since, self.head, Seen::Fault(CutFor::SlowHead)),
            (is_quiet.then_some(self.quiet_since), self.idle, Seen::Idle),
        ];
        self.judge(now, limits)
    }

    fn judge(&self, now: Instant, limits: [(Option<Instant>, Duration, Seen); 3]) -> Seen {
        let mut next = now + self.pause();
        for (since, limit, seen) in limits {
            let Some(due) = since.map(|since| since + limit) else { continue };
            if due <= now {
                return seen;
            }
            next = next.min(due);
        }
        Seen::Fine { next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn limits_are_kept_to_the_moment() {
        let watchman = Watchman::new(&Limits::default());
        let begun = Instant::now();
        let check = |unread: Option<u64>, head: Option<u64>, quiet: Option<u64>, at: u64, expected: Seen| {
            let since = |seconds: Option<u64>| seconds.map(|seconds| begun + Duration::from_secs(seconds));
            let limits = [
                (since(unread), watchman.unread, Seen::Fault(CutFor::UnreadAnswer)),
                (since(head), watchman.head, Seen::Fault(CutFor::SlowHead)),
                (since(quiet), watchman.idle, Seen::Idle),
            ];
            assert_eq!(
                watchman.judge(begun + Duration::from_secs(at), limits),
                expected,
                "{unread:?} {head:?} {quiet:?} {at}"
            );
        };
        let fine = |next: u64| Seen::Fine { next: begun + Duration::from_secs(next) };
        check(None, None, None, 100, fine(132));
        check(Some(50), None, None, 100, fine(110));
        check(Some(40), None, None, 100, Seen::Fault(CutFor::UnreadAnswer));
        check(Some(41), None, None, 100, fine(101));
        check(None, Some(69), None, 100, fine(101));
        check(None, Some(68), None, 100, Seen::Fault(CutFor::SlowHead));
        check(None, None, Some(11), 100, fine(101));
        check(None, None, Some(10), 100, Seen::Idle);
    }
}
