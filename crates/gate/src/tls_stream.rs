//! The bytes of a connection behind TLS, collected into full records and few system calls.
//!
//! An HTTP/2 connection with many streams sends many small pieces at once (an event to each of its watchers). Written as they come,
//! each would be a record and a system call of its own, which costs more than everything else about it. Here small pieces share
//! a record, and what was written to a [`Corked`] stream leaves when [`Corked::poll_send`] is called, once the connection has nothing
//! more to say, or when [`QUEUED_BYTES_MAX`] are waiting. A peer that does not read makes the next write wait, so nothing else is queued.

use std::io::{self, BufRead as _, IoSlice, Read, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use rustls::ServerConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::connection::frames::FrameMeter;

/// Pieces up to this size are copied together; larger ones fill records by themselves.
const SMALL_BYTES_MAX: usize = 4 * 1024;
/// Content of a full TLS record.
const RECORD_BYTES: usize = 16 * 1024;
/// Bytes that wait for the socket; writing more waits too.
const QUEUED_BYTES_MAX: usize = 64 * 1024;

/// A connection after its handshake.
pub(crate) struct TlsStream {
    socket: TcpStream,
    session: ServerConnection,
    /// Content for which no record is made yet.
    small: Vec<u8>,
    /// Content in records that wait for the socket, at most.
    queued: usize,
    is_closing: bool,
}

impl TlsStream {
    pub(crate) fn new(socket: TcpStream, mut session: ServerConnection) -> Self {
        // The limit is kept here, where a write can wait.
        session.set_buffer_limit(None);
        Self { socket, session, small: Vec::new(), queued: 0, is_closing: false }
    }

    /// What was agreed on in the handshake.
    pub(crate) fn session(&self) -> &ServerConnection {
        &self.session
    }

    /// Makes a record of what is collected.
    fn seal(&mut self) -> io::Result<()> {
        if !self.small.is_empty() {
            self.session.writer().write_all(&self.small)?;
            self.queued += self.small.len();
            self.small.clear();
        }
        Ok(())
    }

    /// Gives the socket what it takes; ready when nothing is queued any more.
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.wants_write() {
            let mut socket = Socket { socket: &mut self.socket, context };
            match self.session.write_tls(&mut socket) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(sent) => self.queued = self.queued.saturating_sub(sent),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        self.queued = 0;
        Poll::Ready(Ok(()))
    }

    /// Sends everything that was written.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.seal()?;
        ready!(self.poll_drain(context))?;
        // An idle connection holds no buffer.
        self.small = Vec::new();
        Poll::Ready(Ok(()))
    }

    fn poll_take(&mut self, context: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.queued >= QUEUED_BYTES_MAX
            && let Poll::Ready(Err(error)) = self.poll_drain(context)
        {
            return Poll::Ready(Err(error));
        }
        if self.queued >= QUEUED_BYTES_MAX {
            return Poll::Pending;
        }
        let len: usize = pieces.iter().map(|piece| piece.len()).sum();
        if len <= SMALL_BYTES_MAX {
            if self.small.len() + len > RECORD_BYTES {
                self.seal()?;
            }
            let room = if self.small.is_empty() { SMALL_BYTES_MAX } else { RECORD_BYTES };
            if self.small.capacity() - self.small.len() < len {
                self.small.reserve_exact(room - self.small.len());
            }
            pieces.iter().for_each(|piece| self.small.extend_from_slice(piece));
            return Poll::Ready(Ok(len));
        }
        self.seal()?;
        let taken = match pieces {
            [piece, ..] if piece.len() > QUEUED_BYTES_MAX || pieces.len() == 1 => {
                self.session.writer().write(piece.get(..QUEUED_BYTES_MAX).unwrap_or(piece))?
            }
            pieces => self.session.writer().write_vectored(up_to(pieces, QUEUED_BYTES_MAX))?,
        };
        self.queued += taken;
        Poll::Ready(Ok(taken))
    }

    /// Takes the pieces, and sends at once what the socket takes: not everybody who writes flushes.
    fn poll_say(&mut self, context: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let taken = ready!(self.poll_take(context, pieces))?;
        match self.poll_send(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(taken)),
        }
    }

    fn poll_receive(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.session.reader().fill_buf() {
                // Nothing after the peer's goodbye.
                Ok(content) => {
                    let len = content.len().min(buffer.remaining());
                    buffer.put_slice(content.get(..len).unwrap_or_default());
                    self.session.reader().consume(len);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            let mut socket = Socket { socket: &mut self.socket, context };
            match self.session.read_tls(&mut socket) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
            if let Err(error) = self.session.process_new_packets() {
                // The peer is told why, if it still listens.
                let _ = self.poll_drain(context);
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
            }
        }
    }

    fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_closing {
            self.seal()?;
            self.session.send_close_notify();
            self.is_closing = true;
        }
        ready!(self.poll_drain(context))?;
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

/// The first pieces that are no longer than `len` together.
fn up_to<'a, 'b>(pieces: &'a [IoSlice<'b>], len: usize) -> &'a [IoSlice<'b>] {
    let mut sum = 0;
    let fits = pieces.iter().take_while(|piece| {
        sum += piece.len();
        sum <= len
    });
    let count = fits.count();
    pieces.get(..count).unwrap_or(pieces)
}

/// The socket as the TLS library wants it: what would wait is an error, and the context knows whom to wake.
struct Socket<'a, 'b> {
    socket: &'a mut TcpStream,
    context: &'a mut Context<'b>,
}

fn now_or_block<T>(polled: Poll<io::Result<T>>) -> io::Result<T> {
    match polled {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl Read for Socket<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(buffer);
        now_or_block(Pin::new(&mut *self.socket).poll_read(self.context, &mut buffer))?;
        Ok(buffer.filled().len())
    }
}

impl Write for Socket<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        now_or_block(Pin::new(&mut *self.socket).poll_write(self.context, bytes))
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        now_or_block(Pin::new(&mut *self.socket).poll_write_vectored(self.context, pieces))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_receive(context, buffer)
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_say(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_say(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_send(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_close(context)
    }
}

/// A stream whose flush does nothing: whoever moves the connection sends, when it has nothing more to say for now.
#[derive(Clone)]
pub(crate) struct Corked(Arc<Mutex<Http2>>);

/// A stream and what is counted of it.
struct Http2 {
    stream: TlsStream,
    meter: FrameMeter,
}

impl Corked {
    pub(crate) fn new(stream: TlsStream) -> Self {
        Self(Arc::new(Mutex::new(Http2 { stream, meter: FrameMeter::new() })))
    }

    /// What its peer sends beside requests.
    pub(crate) fn meter<T>(&self, look: impl FnOnce(&FrameMeter) -> T) -> T {
        look(&self.stream().meter)
    }

    /// Says last words, of which the peer gets what it takes at once.
    pub(crate) async fn say_last(&self, bytes: &[u8]) {
        std::future::poll_fn(|context| {
            let stream = &mut self.stream().stream;
            let said = stream.poll_take(context, &[IoSlice::new(bytes)]);
            if matches!(said, Poll::Ready(Ok(_))) {
                let _ = stream.poll_close(context);
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Sends everything that was written. To be called after every move of the connection, or what it said is not heard.
    pub(crate) fn poll_send(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().stream.poll_send(context)
    }

    /// One task uses both handles, so nobody ever waits here.
    fn stream(&self) -> MutexGuard<'_, Http2> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Http2 {
    fn poll_take(&mut self, context: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let taken = ready!(self.stream.poll_take(context, pieces))?;
        self.meter.sent(taken);
        Poll::Ready(Ok(taken))
    }
}

impl AsyncRead for Corked {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let Http2 { stream, meter } = &mut *self.stream();
        ready!(stream.poll_receive(context, buffer))?;
        let received = buffer.filled().get(before..).unwrap_or_default();
        Poll::Ready(meter.received(received).map_err(|exceeded| io::Error::new(io::ErrorKind::QuotaExceeded, exceeded)))
    }
}

impl AsyncWrite for Corked {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream().poll_take(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_take(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().stream.poll_close(context)
    }
}

#[cfg(test)]
mod tests;
