//! Pieces of gzip that join: each object is compressed by itself, once, and a list is one gzip member made of such pieces.
//!
//! A segment is a raw deflate stream that ends at a byte boundary (a sync flush) and has no final block, so the next one can follow
//! it. What stands between objects goes into stored blocks. The checksum of the whole is combined from those of the pieces: a piece
//! brings the operator that moves a checksum past it, x^(8 * length) modulo the CRC's polynomial, so that one takes one 32 by 32 bit
//! multiplication, however long it is. Upstream compresses each answer again (`responsewriters.deferredResponseWriter`).

use std::cell::RefCell;

use bytes::Bytes;
use flate2::{Compress, Compression, Crc, FlushCompress, Status};

/// Least work: what upstream takes, too.
pub(crate) const LEVEL: u32 = 1;
/// What a segment begins with: checksum, operator and plain length.
const HEADER_BYTES: usize = 12;
/// Longest text of a stored block.
const STORED_BYTES_MAX: usize = u16::MAX as usize;
/// A member of no name, no time, from no system in particular.
const MEMBER_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// An empty final block.
const FINAL_BLOCK: [u8; 2] = [3, 0];
/// The polynomial of CRC-32 with its lowest power first, as all numbers here are.
const POLYNOMIAL: u32 = 0xEDB8_8320;
/// x^0 and x^8.
const ONE: u32 = 1 << 31;
const X8: u32 = 1 << 23;
/// How a checksum changes with one byte.
const BYTES: [u32; 256] = byte_table();

thread_local! {
    /// A compressor is large and begins again in no time.
    static COMPRESSOR: RefCell<Compress> = RefCell::new(Compress::new(Compression::new(LEVEL), false));
}

/// One piece, read out of the bytes that [`compress`] made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment<'a> {
    crc: u32,
    operator: u32,
    plain_len: u32,
    deflated: &'a [u8],
}

impl<'a> Segment<'a> {
    /// Nothing for what is no segment.
    pub(crate) fn of(bytes: &'a [u8]) -> Option<Segment<'a>> {
        let (header, deflated) = bytes.split_at_checked(HEADER_BYTES)?;
        let mut numbers = header.chunks_exact(4).map(|word| word.iter().rev().fold(0, |n, b| n << 8 | u32::from(*b)));
        Some(Segment { crc: numbers.next()?, operator: numbers.next()?, plain_len: numbers.next()?, deflated })
    }

    /// Length of the text.
    pub(crate) fn plain_len(&self) -> usize {
        self.plain_len as usize
    }

    /// The range of the deflate stream in the bytes it was read from.
    pub(crate) fn deflated_range(&self) -> std::ops::Range<usize> {
        HEADER_BYTES..HEADER_BYTES + self.deflated.len()
    }
}

/// Makes a segment of a text.
pub(crate) fn compress(text: &[u8]) -> Bytes {
    let mut crc = Crc::new();
    crc.update(text);
    let mut out = Vec::with_capacity(HEADER_BYTES + text.len() / 2 + 64);
    let plain_len = u32::try_from(text.len()).unwrap_or(u32::MAX);
    for number in [crc.sum(), operator_of(text.len() as u64), plain_len] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    if COMPRESSOR.with_borrow_mut(|compressor| deflate(compressor, text, &mut out)).is_none() {
        // Whatever a compressor could complain about, the text can be stored.
        out.truncate(HEADER_BYTES);
        push_stored(text, &mut out);
    }
    out.into_boxed_slice().into()
}

/// Appends a deflate stream that ends at a byte boundary.
fn deflate(compressor: &mut Compress, text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    compressor.reset();
    loop {
        let done = usize::try_from(compressor.total_in()).ok()?;
        out.reserve(text.len() / 4 + 64);
        let status = compressor.compress_vec(text.get(done..)?, out, FlushCompress::Sync).ok()?;
        // Only room to spare says that nothing waits inside.
        if status != Status::Ok || compressor.total_in() == text.len() as u64 && out.len() < out.capacity() {
            return (status == Status::Ok).then_some(());
        }
    }
}

fn push_stored(text: &[u8], out: &mut Vec<u8>) {
    for piece in text.chunks(STORED_BYTES_MAX) {
        let len = piece.len() as u16;
        out.push(0);
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&(!len).to_le_bytes());
        out.extend_from_slice(piece);
    }
}

/// A gzip member in the making.
#[derive(Debug, Default)]
pub(crate) struct Member {
    crc: u32,
    /// Modulo 2^32, as the format has it.
    plain_len: u32,
}

impl Member {
    /// Begins a member.
    pub(crate) fn begin(out: &mut Vec<u8>) -> Member {
        out.extend_from_slice(&MEMBER_HEAD);
        Member::default()
    }

    /// Appends a text as it is. For what stands between segments.
    pub(crate) fn store(&mut self, text: &[u8], out: &mut Vec<u8>) {
        self.crc = !text.iter().fold(!self.crc, |crc, byte| {
            let at = (crc ^ u32::from(*byte)) & 0xff;
            BYTES.get(at as usize).copied().unwrap_or_default() ^ crc >> 8
        });
        self.plain_len = self.plain_len.wrapping_add(text.len() as u32);
        push_stored(text, out);
    }

    /// Takes a segment into account, whose deflate stream follows here.
    pub(crate) fn join(&mut self, segment: &Segment<'_>) {
        self.crc = multiply(segment.operator, self.crc) ^ segment.crc;
        self.plain_len = self.plain_len.wrapping_add(segment.plain_len);
    }

    /// Ends the member.
    pub(crate) fn end(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&FINAL_BLOCK);
        out.extend_from_slice(&self.crc.to_le_bytes());
        out.extend_from_slice(&self.plain_len.to_le_bytes());
    }
}

/// What moves a checksum past this many bytes: x^(8 * bytes).
fn operator_of(mut bytes: u64) -> u32 {
    let (mut operator, mut power) = (ONE, X8);
    while bytes > 0 {
        if bytes & 1 == 1 {
            operator = multiply(operator, power);
        }
        power = multiply(power, power);
        bytes >>= 1;
    }
    operator
}

/// The product of two polynomials, modulo the one of the CRC.
fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    for power in 0..u32::BITS {
        let held = (a >> (31 - power) & 1).wrapping_neg();
        product ^= b & held;
        b = b >> 1 ^ POLYNOMIAL & (b & 1).wrapping_neg();
    }
    product
}

const fn byte_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < table.len() {
        let mut crc = at as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = crc >> 1 ^ POLYNOMIAL & (crc & 1).wrapping_neg();
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    /// Numbers that look random and are the same every time.
    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 16) as usize % limit
        }

        /// A text that compresses well, badly, or not at all.
        fn text(&mut self, len: usize) -> Vec<u8> {
            let letters = [2, 40, 256][self.below(3)];
            (0..len).map(|_| self.below(letters) as u8).collect()
        }
    }

    fn inflated(gzip: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        // Checks the checksum and the length, too.
        GzDecoder::new(gzip).read_to_end(&mut plain).unwrap();
        plain
    }

    #[test]
    fn checksums_combine() {
        for seed in 1..=200u64 {
            let mut random = Random(seed * 0x9E37_79B9);
            let lens = [random.below(70_000), random.below(3), random.below(500)];
            let (mut whole, mut member) = (Crc::new(), Member::default());
            for len in lens {
                let text = random.text(len);
                whole.update(&text);
                let segment = compress(&text);
                member.join(&Segment::of(&segment).unwrap());
            }
            assert_eq!(member.crc, whole.sum(), "seed {seed}");
            assert_eq!(member.plain_len, whole.amount(), "seed {seed}");
        }
    }

    #[test]
    fn pieces_make_one_member() {
        for seed in 1..=60u64 {
            let mut random = Random(seed * 0x9E37_79B9);
            let (mut plain, mut gzip) = (Vec::new(), Vec::new());
            let mut member = Member::begin(&mut gzip);
            for _ in 0..random.below(9) {
                let len = [0, 1, 100, 20_000, 200_000][random.below(5)];
                let text = random.text(len);
                plain.extend_from_slice(&text);
                if random.below(2) == 0 {
                    member.store(&text, &mut gzip);
                } else {
                    let bytes = compress(&text);
                    let segment = Segment::of(&bytes).unwrap();
                    gzip.extend_from_slice(&bytes[segment.deflated_range()]);
                    member.join(&segment);
                }
            }
            member.end(&mut gzip);
            assert_eq!(inflated(&gzip), plain, "seed {seed}");
        }
    }

    #[test]
    fn what_is_too_short_is_no_segment() {
        assert!(Segment::of(&[0; HEADER_BYTES - 1]).is_none());
        assert!(Segment::of(&[0; HEADER_BYTES]).is_some());
    }
}
