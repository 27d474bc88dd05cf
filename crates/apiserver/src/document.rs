//! Documents that are made once and served often: discovery and OpenAPI.
//!
//! A document is kept as a gzip member, since the large ones are megabytes of repetitive text and most clients ask for gzip; it is
//! sent as it is or inflated for who does not. Its tag is a hash of its content, so it stays the same over restarts and is the same
//! on every server of a cluster.

use std::io::{self, Read, Write};

use aws_lc_rs::digest;
use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use crate::negotiate::accepts_gzip;

/// Tags of `If-None-Match` that are looked at; the rest is ignored.
const TAGS_MAX: usize = 64;
/// Most bytes that a document inflates to; the whole of OpenAPI v2 has about 4 MB.
const DOCUMENT_BYTES_MAX: u64 = 64 << 20;
/// Documents shorter than this are sent plain, as upstream's compression does.
const GZIP_BYTES_MIN: usize = 128 << 10;

/// A document in one encoding.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    gzip: Bytes,
    /// Length of the plain text.
    len: usize,
    /// Hash of the content: upper case hexadecimal digits, without quotes.
    pub(crate) hash: String,
}

/// Hashes a text piece by piece.
pub(crate) struct Hasher(digest::Context);

impl Default for Hasher {
    fn default() -> Self {
        Hasher(digest::Context::new(&digest::SHA256))
    }
}

impl Hasher {
    /// Upper case hexadecimal digits.
    pub(crate) fn finish(self) -> String {
        upper_hex(self.0.finish().as_ref())
    }
}

impl Write for Hasher {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.0.update(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes a document's plain text piece by piece and keeps only its compressed form.
pub(crate) struct Writer {
    encoder: GzEncoder<Vec<u8>>,
    hasher: Hasher,
    len: usize,
}

impl Writer {
    pub(crate) fn new() -> Writer {
        let encoder = GzEncoder::new(Vec::new(), Compression::default());
        Writer { encoder, hasher: Hasher::default(), len: 0 }
    }

    pub(crate) fn finish(self) -> io::Result<Document> {
        let hash = self.hasher.finish();
        Ok(Document { gzip: self.encoder.finish()?.into(), len: self.len, hash })
    }
}

impl Write for Writer {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.encoder.write_all(piece)?;
        self.hasher.write_all(piece)?;
        self.len += piece.len();
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.encoder.flush()
    }
}

impl Document {
    /// Compresses a text that is at hand.
    pub(crate) fn of(text: &[u8]) -> io::Result<Document> {
        let mut writer = Writer::new();
        writer.write_all(text)?;
        writer.finish()
    }

    /// The plain text.
    pub(crate) fn text(&self) -> io::Result<Vec<u8>> {
        let mut text = Vec::with_capacity(self.len);
        GzDecoder::new(&*self.gzip).take(DOCUMENT_BYTES_MAX).read_to_end(&mut text)?;
        Ok(text)
    }

    /// The answer to a request for this document: itself under its tag, or 304 when the client has it. The tag is that of
    /// `hash`, which may be another encoding's.
    pub(crate) fn respond(&self, request: &HeaderMap, content_type: &'static str, hash: &str) -> Response<Bytes> {
        let tag = format!("\"{hash}\"");
        let mut response = Response::new(Bytes::new());
        let headers = response.headers_mut();
        headers.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
        if let Ok(value) = HeaderValue::from_str(&tag) {
            headers.insert(ETAG, value);
        }
        if has_tag(request, &tag) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if self.len >= GZIP_BYTES_MIN && accepts_gzip(request) {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            *response.body_mut() = self.gzip.clone();
            return response;
        }
        match self.text() {
            Ok(text) => *response.body_mut() = text.into(),
            Err(_) => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
        }
        response
    }
}

/// Upper case hexadecimal digits.
pub(crate) fn upper_hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    let digit = |value: u8| DIGITS.get(value as usize).copied().unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn has_tag(request: &HeaderMap, tag: &str) -> bool {
    let header = request.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
    header.split(',').take(TAGS_MAX).map(str::trim).any(|held| held == "*" || held.trim_start_matches("W/") == tag)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http::header::{ACCEPT_ENCODING, HeaderName};

    use super::*;

    fn request(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn a_known_tag_is_not_sent_again() {
        let document = Document::of(b"{}").unwrap();
        let check = |header: &str, expected: u16| {
            let response = document.respond(&request(IF_NONE_MATCH, header), "application/json", "AB");
            assert_eq!(response.status(), expected, "{header}");
            assert_eq!(response.headers()[ETAG], "\"AB\"");
            assert_eq!(response.body().is_empty(), expected == 304);
        };
        check("\"AB\"", 304);
        check("W/\"AB\"", 304);
        check("\"X\", \"AB\"", 304);
        check("*", 304);
        check("AB", 200);
        check("\"X\"", 200);
        check("", 200);
    }

    #[test]
    fn long_documents_are_sent_compressed_to_who_accepts_it() {
        let long = "x".repeat(GZIP_BYTES_MIN);
        let check = |text: &str, header: &str, compressed: bool| {
            let document = Document::of(text.as_bytes()).unwrap();
            let response = document.respond(&request(ACCEPT_ENCODING, header), "text/plain", "AB");
            assert_eq!(response.headers().contains_key(CONTENT_ENCODING), compressed, "{header}");
            assert_eq!(response.body().starts_with(&[0x1f, 0x8b]), compressed, "{header}");
            assert_eq!(document.text().unwrap(), text.as_bytes());
        };
        check(&long, "gzip", true);
        check(&long, "deflate, gzip;q=0.5", true);
        check(&long, "gzip;q=0", false);
        check(&long, "br", false);
        check(&long, "", false);
        check("short", "gzip", false);
    }

    #[test]
    fn hashes_are_of_the_content() {
        let hash = |text: &str| Document::of(text.as_bytes()).unwrap().hash;
        assert_eq!(hash("a"), hash("a"));
        assert_ne!(hash("a"), hash("b"));
        assert_eq!(hash("").len(), 64);
        assert_eq!(upper_hex(&[0x0f, 0xa0]), "0FA0");
    }
}
