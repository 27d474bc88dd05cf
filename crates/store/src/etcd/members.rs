//! Which member of etcd is asked. All calls and the watch go to the one in use, the first that was named, until it fails; then to the next,
//! and there they stay. So what is read and what the watch tells come from one member, and a member that hangs costs each call that it
//! has one wait, not every third call for ever.
//!
//! Every call demands a leader (`hasleader`, as etcd's own client does it): a member that was parted from the others refuses at once
//! instead of holding on to a request, and ends its watches.

use std::sync::Arc;
use std::time::Duration;

use tokio::{sync::watch, time::Instant};
use tonic::{
    Code, Request, Status,
    client::Grpc,
    metadata::MetadataValue,
    transport::{Channel, Endpoint},
};

use super::link::was_not_sent;

/// Largest message from etcd: a page of a list, or a fragment of a watch.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// A call ends here, whatever it has tried: an election of a leader takes less.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a read waits for one member while there are others.
const READ_TURN: Duration = Duration::from_secs(3);
/// Before members that have no leader are asked again.
const ELECTION_PAUSE: Duration = Duration::from_millis(100);
/// Members asked by one call, one of them counted as often as it is asked.
const TURNS_MAX: usize = 128;
/// Failures in a row after which a call gives up on a single member: the first may be a connection that has died unnoticed.
const FAILURES_MIN: usize = 2;
/// etcd answers only if the member knows a leader.
const LEADER_DEMANDED: (&str, &str) = ("hasleader", "true");
/// What a member says that does not.
const LEADERLESS: &str = "no leader";

/// Whether a call may be made again when nobody knows what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It changes nothing, or the same twice as once.
    Safe,
    /// Only when it certainly has had no effect.
    Unsafe,
}

/// The members; clones share them.
#[derive(Clone)]
pub(super) struct Members {
    connections: Arc<[Grpc<Channel>]>,
    in_use: watch::Sender<usize>,
}

/// What is done after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// The answer is etcd's own: it stays.
    Answer,
    /// Nobody knows what became of the call. It is not made again, the next ones go elsewhere.
    Lost,
    /// The next member is asked.
    Elsewhere,
    /// As [`After::Elsewhere`]; all members may be like this one, for as long as an election takes.
    Leaderless,
}

impl Members {
    /// Connections are made by the first calls.
    pub(super) fn new(endpoints: &[Endpoint]) -> Members {
        let connection = |endpoint: &Endpoint| {
            Grpc::new(endpoint.connect_lazy())
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX)
        };
        Members { connections: endpoints.iter().map(connection).collect(), in_use: watch::Sender::new(0) }
    }

    /// One of them, without the others.
    pub(super) fn only(&self, member: usize) -> Option<Members> {
        let connection = self.connections.get(member)?.clone();
        Some(Members { connections: [connection].into(), in_use: watch::Sender::new(0) })
    }

    /// Makes a call, at one member after the other if it must.
    pub(super) async fn call<A, F>(
        &self,
        repeat: Repeat,
        attempt: impl Fn(Grpc<Channel>, Duration) -> F,
    ) -> Result<A, Status>
    where
        F: Future<Output = Result<A, Status>>,
    {
        let deadline = Instant::now() + CALL_TIMEOUT;
        let failures_max = self.connections.len().max(FAILURES_MIN);
        let turn_max = if repeat == Repeat::Safe && self.connections.len() > 1 { READ_TURN } else { CALL_TIMEOUT };
        let mut failures = 0;
        let mut last = Status::unavailable("no member of etcd was asked");
        for turn in 1..=TURNS_MAX {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let (member, connection) = self.in_use()?;
            last = match attempt(connection, turn_max.min(left)).await {
                Ok(answer) => return Ok(answer),
                Err(status) => status,
            };
            match after(&last, repeat) {
                After::Answer => break,
                After::Lost => {
                    self.leave(member, &last);
                    break;
                }
                After::Elsewhere => failures += 1,
                After::Leaderless => failures = 0,
            }
            self.leave(member, &last);
            if failures >= failures_max {
                break;
            }
            if turn % self.connections.len() == 0 && failures == 0 {
                tokio::time::sleep(ELECTION_PAUSE).await;
            }
        }
        Err(last)
    }

    /// The member in use, and what is told when it is another.
    pub(super) fn in_use(&self) -> Result<(usize, Grpc<Channel>), Status> {
        let member = *self.in_use.borrow();
        let connection = self.connections.get(member).ok_or_else(|| Status::internal("no such member of etcd"))?;
        Ok((member, connection.clone()))
    }

    /// Returns once another member is in use.
    pub(super) async fn left(&self, member: usize) {
        // The sender is ours, so that it cannot be gone.
        let _ = self.in_use.subscribe().wait_for(|in_use| *in_use != member).await;
    }

    /// Has the next member used, unless somebody was faster.
    pub(super) fn leave(&self, member: usize, status: &Status) {
        let next = (member + 1) % self.connections.len().max(1);
        let is_left = self.in_use.send_if_modified(|in_use| {
            let is_left = *in_use == member && next != member;
            *in_use = if is_left { next } else { *in_use };
            is_left
        });
        if is_left {
            tracing::warn!(member, next, error = %status, "another member of etcd is used");
        }
    }
}

/// A request as every member gets it.
pub(super) fn demanding_a_leader<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let (name, value) = LEADER_DEMANDED;
    request.metadata_mut().insert(name, MetadataValue::from_static(value));
    request
}

/// Whether the member refused because it knows no leader, before it did anything.
pub(super) fn is_leaderless(status: &Status) -> bool {
    status.code() == Code::Unavailable && status.message().ends_with(LEADERLESS)
}

fn after(status: &Status, repeat: Repeat) -> After {
    // etcd's own words begin with its name; those of connections are of no fixed code.
    let is_lost = match status.code() {
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => true,
        Code::Unknown | Code::Internal => !status.message().starts_with("etcdserver:"),
        _ => false,
    };
    if is_leaderless(status) {
        After::Leaderless
    } else if was_not_sent(status) || (is_lost && repeat == Repeat::Safe) {
        After::Elsewhere
    } else if is_lost {
        After::Lost
    } else {
        After::Answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_a_failure() {
        let check = |code: Code, message: &str, safe: After, unsafe_: After| {
            let status = Status::new(code, message);
            assert_eq!((after(&status, Repeat::Safe), after(&status, Repeat::Unsafe)), (safe, unsafe_), "{status}");
        };
        check(Code::Unavailable, "etcdserver: no leader", After::Leaderless, After::Leaderless);
        check(Code::Unavailable, "etcdserver: request timed out", After::Elsewhere, After::Lost);
        check(Code::Unavailable, "etcdserver: leader changed", After::Elsewhere, After::Lost);
        check(Code::Cancelled, "Timeout expired", After::Elsewhere, After::Lost);
        check(Code::Unknown, "transport error", After::Elsewhere, After::Lost);
        check(Code::Internal, "h2 protocol error", After::Elsewhere, After::Lost);
        check(Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted", After::Answer, After::Answer);
        check(Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded", After::Answer, After::Answer);
        check(Code::InvalidArgument, "etcdserver: request is too large", After::Answer, After::Answer);
    }
}
