//! HTTP/2 by hand, for peers that do not keep to its manners.

use tokio::io::{AsyncRead, AsyncReadExt};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
const END_STREAM_AND_HEADERS: u8 = 5;
const CANCEL: u32 = 8;

/// What every client says first.
pub fn preface() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes
}

/// The indexed head of `GET https://x/`: :method, :scheme, :path, and a literal :authority.
pub const GET: [u8; 6] = [0x82, 0x87, 0x84, 0x41, 0x01, b'x'];

/// `GET /` on a stream.
pub fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_STREAM_AND_HEADERS, stream, &GET)
}

pub fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
}

/// `POST /` on a stream, whose body comes.
pub fn post(stream: u32) -> Vec<u8> {
    frame(HEADERS, 4, stream, &[0x83, 0x87, 0x84, 0x41, 0x01, b'x'])
}

/// One frame of any kind.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Reads frames until the server closes, answering none, and returns their kinds and payloads.
pub async fn read_to_end(mut stream: impl AsyncRead + Unpin) -> Vec<(u8, Vec<u8>)> {
    let mut bytes = Vec::new();
    // A connection that is cut ends without the goodbye of TLS.
    let _ = stream.read_to_end(&mut bytes).await;
    let mut frames = Vec::new();
    let mut rest = bytes.as_slice();
    while let [high, middle, low, kind, _, _, _, _, _, payload @ ..] = rest {
        let len = usize::from(*high) << 16 | usize::from(*middle) << 8 | usize::from(*low);
        let (payload, next) = payload.split_at(len.min(payload.len()));
        frames.push((*kind, payload.to_vec()));
        rest = next;
    }
    frames
}
