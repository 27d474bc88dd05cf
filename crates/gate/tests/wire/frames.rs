//! HTTP/2 by hand, for peers that do not keep to its manners.

use tokio::io::{AsyncRead, AsyncReadExt};

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
pub const GOAWAY: u8 = 7;
const END_STREAM_AND_HEADERS: u8 = 5;
const CANCEL: u32 = 8;

/// What every client says first.
pub fn preface() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes
}

/// `GET /` on a stream.
pub fn get(stream: u32) -> Vec<u8> {
    // Indexed :method GET, :scheme https, :path /, and a literal :authority.
    frame(HEADERS, END_STREAM_AND_HEADERS, stream, &[0x82, 0x87, 0x84, 0x41, 0x01, b'x'])
}

pub fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
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
