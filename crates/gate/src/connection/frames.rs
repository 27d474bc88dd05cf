//! What an HTTP/2 peer sends beside requests: PING, SETTINGS, WINDOW_UPDATE, PRIORITY, RST_STREAM, CONTINUATION, empty DATA.
//!
//! Each costs little and none is refused by the protocol, so a peer may send them for ever (CVE-2019-9512, 9514, 9515, 9518). They
//! are counted as they are read: [`FRAMES`] are free, each request and each KiB that we send gives some more, and what comes beyond
//! ends the connection. The clock is asked only when all are used up. A head that is begun and not finished is noted with its time.

use tokio::time::Instant;

use crate::rate::Rate;

/// Frames that are no requests, on one connection.
pub(crate) const FRAMES: Rate = Rate { burst: 10_000, per_second: 200 };
/// Frames that come with a request: its body's, its windows, its reset.
const FRAMES_A_REQUEST: u32 = 16;
/// Bytes of answers that one frame (of a reader who makes room) is free for.
const ANSWER_BYTES_A_FRAME: usize = 1024;
/// Bytes of a frame that is no request for which it counts as one more.
const BYTES_A_FRAME: usize = 1024;
/// Bytes of DATA that carry enough to be free.
const DATA_BYTES_MIN: usize = 256;
/// What every client says first.
const PREFACE_LEN: usize = 24;
const HEAD_LEN: usize = 9;
const END_HEADERS: u8 = 0x4;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;

/// More frames came than a connection may send.
#[derive(Debug, thiserror::Error)]
#[error("too many frames that are no requests")]
pub(crate) struct TooManyFrames;

/// Reads along with what a peer sends. Knows nothing but where frames begin.
pub(crate) struct FrameMeter {
    /// Bytes to skip until the next frame begins.
    skip: usize,
    head: [u8; HEAD_LEN],
    head_len: usize,
    /// Whether the frame being read is a part of a head, and whether a head waits for its next part.
    is_head_frame: bool,
    is_head_open: bool,
    head_since: Option<Instant>,
    left: u32,
    filled_at: Instant,
    sent_bytes: usize,
    is_exceeded: bool,
}

impl FrameMeter {
    pub(crate) fn new() -> Self {
        Self {
            skip: PREFACE_LEN,
            head: [0; HEAD_LEN],
            head_len: 0,
            is_head_frame: false,
            is_head_open: false,
            head_since: None,
            left: FRAMES.burst,
            filled_at: Instant::now(),
            sent_bytes: 0,
            is_exceeded: false,
        }
    }

    /// Reads on.
    pub(crate) fn received(&mut self, mut content: &[u8]) -> Result<(), TooManyFrames> {
        while !content.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(content.len());
                self.skip -= skipped;
                content = content.get(skipped..).unwrap_or_default();
                continue;
            }
            let missing = HEAD_LEN - self.head_len;
            let (taken, rest) = content.split_at(missing.min(content.len()));
            if let Some(room) = self.head.get_mut(self.head_len..self.head_len + taken.len()) {
                room.copy_from_slice(taken);
            }
            self.head_len += taken.len();
            content = rest;
            if self.head_len == HEAD_LEN {
                self.head_len = 0;
                self.begin()?;
            }
        }
        let is_unfinished = self.is_head_open || self.is_head_frame && self.skip > 0;
        if !is_unfinished {
            self.head_since = None;
        } else if self.head_since.is_none() {
            self.head_since = Some(Instant::now());
        }
        Ok(())
    }

    /// Notes what was sent to the peer.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.sent_bytes += bytes;
        if self.sent_bytes >= ANSWER_BYTES_A_FRAME {
            self.earn(u32::try_from(self.sent_bytes / ANSWER_BYTES_A_FRAME).unwrap_or(u32::MAX));
            self.sent_bytes %= ANSWER_BYTES_A_FRAME;
        }
    }

    /// Since when a head is begun and not finished.
    pub(crate) fn head_since(&self) -> Option<Instant> {
        self.head_since
    }

    /// Whether more came than may come.
    pub(crate) fn is_exceeded(&self) -> bool {
        self.is_exceeded
    }

    /// A frame's head is there.
    fn begin(&mut self) -> Result<(), TooManyFrames> {
        let [high, middle, low, kind, flags, ..] = self.head;
        let len = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        self.skip = len;
        self.is_head_frame = matches!(kind, HEADERS | CONTINUATION);
        if self.is_head_frame {
            self.is_head_open = flags & END_HEADERS == 0;
        }
        match kind {
            HEADERS => self.earn(FRAMES_A_REQUEST),
            DATA if len >= DATA_BYTES_MIN => {}
            _ => self.spend(1 + u32::try_from(len / BYTES_A_FRAME).unwrap_or(u32::MAX))?,
        }
        Ok(())
    }

    fn earn(&mut self, frames: u32) {
        self.left = self.left.saturating_add(frames).min(FRAMES.burst);
    }

    fn spend(&mut self, frames: u32) -> Result<(), TooManyFrames> {
        if self.left < frames {
            self.refill(Instant::now());
        }
        match self.left.checked_sub(frames) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.is_exceeded = true;
                Err(TooManyFrames)
            }
        }
    }

    fn refill(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.filled_at).as_secs();
        if seconds > 0 {
            self.filled_at = now;
            self.earn(u32::try_from(seconds.saturating_mul(u64::from(FRAMES.per_second))).unwrap_or(u32::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;

    const PING: u8 = 6;

    fn frame(kind: u8, flags: u8, len: usize) -> Vec<u8> {
        let mut bytes = u32::try_from(len).unwrap().to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags, 0, 0, 0, 1]);
        bytes.resize(HEAD_LEN + len, 0xff);
        bytes
    }

    fn begun() -> FrameMeter {
        let mut meter = FrameMeter::new();
        meter.received(&[0; PREFACE_LEN]).unwrap();
        meter
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_request_is_counted() {
        let check = |kind: u8, len: usize, expected: u32| {
            for chunk in [1, 7, 9, 4096] {
                let mut meter = begun();
                meter.left = 100;
                let bytes = frame(kind, END_HEADERS, len).repeat(3);
                bytes.chunks(chunk).for_each(|part| meter.received(part).unwrap());
                assert_eq!(meter.left, expected, "{kind} of {len} in parts of {chunk}");
            }
        };
        check(PING, 8, 97);
        check(4, 0, 97);
        check(8, 4, 97);
        check(CONTINUATION, 10, 97);
        check(0x77, 300, 97);
        check(0x77, 10_300, 67);
        check(DATA, 0, 97);
        check(DATA, 255, 97);
        check(DATA, 256, 100);
        check(HEADERS, 30, 100 + 3 * FRAMES_A_REQUEST);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_ended_and_a_steady_rate_is_not() {
        let mut meter = begun();
        let ping = frame(PING, 0, 8);
        for _ in 0..FRAMES.burst {
            meter.received(&ping).unwrap();
        }
        assert!(!meter.is_exceeded() && meter.received(&ping).is_err() && meter.is_exceeded());
        let mut meter = begun();
        for _ in 0..100 {
            tokio::time::advance(Duration::from_secs(1)).await;
            meter.received(&ping.repeat(FRAMES.per_second as usize)).unwrap();
        }
        meter.left = 0;
        meter.filled_at = Instant::now();
        meter.sent(ANSWER_BYTES_A_FRAME * 2 + 1);
        assert!(meter.received(&ping.repeat(2)).is_ok() && meter.received(&ping).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_is_not_finished_is_noted() {
        let check = |content: &[u8], expected: bool| {
            let mut meter = begun();
            meter.received(content).unwrap();
            assert_eq!(meter.head_since().is_some(), expected, "{content:?}");
        };
        let (whole, open) = (frame(HEADERS, END_HEADERS, 20), frame(HEADERS, 0, 20));
        check(&whole, false);
        check(&whole[..19], true);
        check(&open, true);
        check(&[open.clone(), frame(CONTINUATION, 0, 5)].concat(), true);
        check(&[open, frame(CONTINUATION, END_HEADERS, 5)].concat(), false);
        check(&frame(DATA, 0, 100)[..50], false);
    }
}
