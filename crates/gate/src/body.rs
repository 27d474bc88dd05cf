//! Bodies on both sides of the gate: a request's under its limit, an answer's without a copy.

use std::any::Any;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Response, header};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use portcullis_model::status::{Reason, Status};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::config::{BODY_BYTES_MAX, DISCARD_TIMEOUT, DISCARDED_BYTES_MAX, Limits};
use crate::connection::ConnectionMetrics;
use crate::metrics::Measure;

/// The error of a body that broke off; the connection or stream ends with it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Bytes reserved at once for a body whose length the client only claims.
const RESERVED_BYTES_MAX: u64 = 64 * 1024;

/// The body of a request. It gives at most `limit` bytes, whoever reads it and however; then it fails.
pub struct RequestBody {
    source: Source,
    left: u64,
    limit: u64,
    leftover: Option<Leftover>,
    pace: Option<Pace>,
}

/// The least rate of a body from the wire. It costs nothing until the first time that content is waited for.
pub(crate) struct Pace {
    grace: Duration,
    bytes_per_second_min: u32,
    metrics: Arc<ConnectionMetrics>,
    waiting: Option<Waiting>,
}

/// A body whose content does not come at once.
struct Waiting {
    since: Instant,
    received: u64,
    timer: Pin<Box<Sleep>>,
}

impl Pace {
    pub(crate) fn new(limits: &Limits, metrics: &Arc<ConnectionMetrics>) -> Self {
        let (grace, bytes_per_second_min) = (limits.body_grace, limits.body_bytes_per_second_min);
        Self { grace, bytes_per_second_min, metrics: Arc::clone(metrics), waiting: None }
    }

    fn received(&mut self, bytes: u64) {
        if let Some(waiting) = &mut self.waiting {
            waiting.received += bytes;
        }
    }

    /// Ready when what has come is too little for the time it took.
    fn poll_too_slow(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let (grace, least) = (self.grace, u64::from(self.bytes_per_second_min.max(1)));
        let waiting = self.waiting.get_or_insert_with(|| {
            let since = Instant::now();
            Waiting { since, received: 0, timer: Box::pin(sleep_until(since + grace)) }
        });
        loop {
            ready!(waiting.timer.as_mut().poll(context));
            // So long may take what is here.
            let earned = Duration::from_millis(waiting.received.saturating_mul(1000) / least);
            let due = waiting.since + grace + earned;
            if due <= Instant::now() {
                self.metrics.bodies_too_slow.inc();
                return Poll::Ready(());
            }
            waiting.timer.as_mut().reset(due);
        }
    }
}

/// Where a body goes that is dropped before its end. An HTTP/1 client that still writes would lose the answer with the
/// connection, so the rest is read and thrown away first, up to a limit.
#[derive(Clone, Default)]
pub(crate) struct Leftover(Arc<Mutex<Option<Incoming>>>);

impl Leftover {
    /// Reads what nobody wanted.
    pub(crate) async fn discard(self) {
        let incoming = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut incoming) = incoming else { return };
        let discarded = async {
            let mut left = DISCARDED_BYTES_MAX;
            while let Some(Ok(frame)) = incoming.frame().await {
                let len = frame.data_ref().map_or(0, Bytes::len) as u64;
                match left.checked_sub(len) {
                    Some(rest) => left = rest,
                    None => return,
                }
            }
        };
        // Too slow is as good as too long: the connection closes after the answer.
        let _ = tokio::time::timeout(DISCARD_TIMEOUT, discarded).await;
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let Some(leftover) = self.leftover.take() else { return };
        if let Source::Wire(incoming) = std::mem::replace(&mut self.source, Source::Bytes(Bytes::new()))
            && !incoming.is_end_stream()
        {
            *leftover.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(incoming);
        }
    }
}

enum Source {
    Wire(Incoming),
    Bytes(Bytes),
}

/// Why a request's body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is longer than this many bytes.
    #[error("request body is longer than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// It comes slower than any line is.
    #[error("request body comes slower than {bytes_per_second_min} bytes a second")]
    TooSlow {
        /// The least rate.
        bytes_per_second_min: u32,
    },
    /// The connection broke.
    #[error("request body broke off")]
    BrokeOff(#[source] hyper::Error),
}

impl BodyError {
    /// Returns what the client is told.
    pub fn status(&self) -> Status {
        match self {
            Self::TooLarge { limit } => Status::request_entity_too_large(&format!("limit is {limit}")),
            Self::TooSlow { bytes_per_second_min } => Status::failure(
                408,
                Reason::Timeout,
                format!("the request body came slower than {bytes_per_second_min} bytes a second"),
                None,
            ),
            Self::BrokeOff(_) => Status::bad_request("unable to read the request body: it broke off"),
        }
    }
}

impl RequestBody {
    /// A body that comes from the wire; what is not read of it goes to `leftover`.
    pub(crate) fn from_wire(incoming: Incoming, limit: u64, leftover: Option<Leftover>, pace: Option<Pace>) -> Self {
        Self { source: Source::Wire(incoming), left: limit, limit, leftover, pace }
    }

    /// A body that is there already (requests from within the process), under the usual limit.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Self {
        Self {
            source: Source::Bytes(bytes.into()),
            left: BODY_BYTES_MAX,
            limit: BODY_BYTES_MAX,
            leftover: None,
            pace: None,
        }
    }

    fn poll_too_slow(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(pace) = &mut self.pace else { return Poll::Pending };
        let bytes_per_second_min = pace.bytes_per_second_min;
        ready!(pace.poll_too_slow(context));
        // Nobody waits for the rest: the connection closes after the answer.
        self.leftover = None;
        Poll::Ready(Some(Err(BodyError::TooSlow { bytes_per_second_min })))
    }

    /// Reads the body to its end. A body of one frame is not copied.
    ///
    /// # Errors
    /// [`BodyError::TooLarge`] beyond the limit, [`BodyError::BrokeOff`] when the connection ends early.
    pub async fn read(mut self) -> Result<Bytes, BodyError> {
        let claimed = self.size_hint().lower();
        if claimed > self.limit {
            return Err(BodyError::TooLarge { limit: self.limit });
        }
        let mut first = Bytes::new();
        let mut all = BytesMut::new();
        while let Some(frame) = self.frame().await {
            let data = frame?.into_data().unwrap_or_default();
            if all.is_empty() && first.is_empty() {
                first = data;
                continue;
            }
            if all.is_empty() {
                let expected = claimed.min(RESERVED_BYTES_MAX).max((first.len() + data.len()) as u64);
                all.reserve(usize::try_from(expected).unwrap_or_default());
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(&data);
        }
        Ok(if all.is_empty() { first } else { all.freeze() })
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let frame = match &mut this.source {
            Source::Wire(incoming) => match Pin::new(incoming).poll_frame(context) {
                Poll::Pending => return this.poll_too_slow(context),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Ready(Some(Err(source))) => return Poll::Ready(Some(Err(BodyError::BrokeOff(source)))),
            },
            Source::Bytes(bytes) if bytes.is_empty() => return Poll::Ready(None),
            Source::Bytes(bytes) => Frame::data(std::mem::take(bytes)),
        };
        let len = frame.data_ref().map_or(0, Bytes::len) as u64;
        if let Some(pace) = &mut self.pace {
            pace.received(len);
        }
        match self.left.checked_sub(len) {
            Some(left) => self.left = left,
            None => {
                self.left = 0;
                return Poll::Ready(Some(Err(BodyError::TooLarge { limit: self.limit })));
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Wire(incoming) => incoming.is_end_stream(),
            Source::Bytes(bytes) => bytes.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Wire(incoming) => incoming.size_hint(),
            Source::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
        }
    }
}

/// The body of an answer: ready bytes in one or several pieces (an object's head, slice, version, slice), or a stream.
#[derive(Default)]
pub struct Body {
    pieces: Pieces,
    /// What ends when the body was sent or is dropped.
    companion: Option<Box<dyn Any + Send>>,
    /// What counts the bytes of a stream.
    measure: Option<Measure>,
}

#[derive(Default)]
enum Pieces {
    #[default]
    None,
    One(Bytes),
    Many(VecDeque<Bytes>),
    Stream(Pin<Box<dyn HttpBody<Data = Bytes, Error = BoxError> + Send>>),
}

impl Body {
    /// An empty body.
    pub fn empty() -> Self {
        Self::from(Pieces::None)
    }

    /// Pieces that are sent one after the other, with a length the client is told.
    pub fn from_pieces(pieces: impl Into<VecDeque<Bytes>>) -> Self {
        Self::from(Pieces::Many(pieces.into()))
    }

    /// A body of a length not known yet (a watch, a log).
    pub fn from_stream(stream: impl HttpBody<Data = Bytes, Error = BoxError> + Send + 'static) -> Self {
        Self::from(Pieces::Stream(Box::pin(stream)))
    }

    /// Keeps something until the body was sent, or nobody will send it.
    pub(crate) fn accompany(&mut self, companion: Box<dyn Any + Send>) {
        self.companion = Some(companion);
    }

    /// Counts the bytes of a stream as they are sent.
    pub(crate) fn measure(&mut self, measure: Measure) {
        self.measure = Some(measure);
    }
}

impl From<Pieces> for Body {
    fn from(pieces: Pieces) -> Self {
        Self { pieces, companion: None, measure: None }
    }
}

impl<B: Into<Bytes>> From<B> for Body {
    fn from(bytes: B) -> Self {
        Self::from(Pieces::One(bytes.into()))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let piece = match &mut self.pieces {
            Pieces::None => None,
            Pieces::One(bytes) => Some(std::mem::take(bytes)).filter(|bytes| !bytes.is_empty()),
            Pieces::Many(pieces) => pieces.pop_front(),
            Pieces::Stream(stream) => {
                let polled = stream.as_mut().poll_frame(context);
                if let (Some(measure), Poll::Ready(Some(Ok(frame)))) = (&mut self.measure, &polled) {
                    measure.add(frame.data_ref().map_or(0, Bytes::len));
                }
                return polled;
            }
        };
        Poll::Ready(piece.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.pieces {
            Pieces::None => true,
            Pieces::One(bytes) => bytes.is_empty(),
            Pieces::Many(pieces) => pieces.is_empty(),
            Pieces::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.pieces {
            Pieces::None => SizeHint::with_exact(0),
            Pieces::One(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Pieces::Many(pieces) => SizeHint::with_exact(pieces.iter().map(|piece| piece.len() as u64).sum()),
            Pieces::Stream(stream) => stream.size_hint(),
        }
    }
}

/// Makes an answer out of a status, as JSON (the verbs negotiate; refusals of the gate do not).
pub fn status_response(status: &Status) -> Response<Body> {
    let mut response = Response::new(Body::from(status.to_json()));
    // The record of the request says why it failed.
    response.extensions_mut().insert(Arc::new(status.clone()));
    *response.status_mut() = http::StatusCode::from_u16(status.code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(seconds) = status.retry_after_seconds().and_then(|seconds| u64::try_from(seconds).ok()) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    async fn collect(body: Body) -> Bytes {
        body.collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn bodies_say_their_length_and_give_their_bytes() {
        let check = async |body: Body, expected: &str| {
            assert_eq!(body.size_hint().exact(), Some(expected.len() as u64));
            assert_eq!(body.is_end_stream(), expected.is_empty());
            assert_eq!(collect(body).await, expected);
        };
        check(Body::empty(), "").await;
        check(Body::from(""), "").await;
        check(Body::from("ab"), "ab").await;
        check(Body::from_pieces([Bytes::from("a"), Bytes::from("bc")]), "abc").await;
        check(Body::from_pieces([]), "").await;
    }

    #[tokio::test]
    async fn a_request_body_ends_at_its_limit() {
        let check = async |len: u64, fits: bool| {
            let body = RequestBody::from_bytes(vec![b'x'; usize::try_from(len).unwrap()]);
            let read = body.read().await;
            assert_eq!(read.is_ok(), fits, "{len}");
            match read {
                Ok(bytes) => assert_eq!(bytes.len() as u64, len),
                Err(error) => {
                    assert_eq!(error.status().message, "Request entity too large: limit is 3145728");
                    assert_eq!(error.status().code, 413);
                }
            }
        };
        check(0, true).await;
        check(BODY_BYTES_MAX, true).await;
        check(BODY_BYTES_MAX + 1, false).await;
    }
}
