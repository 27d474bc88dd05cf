//! Pieces of gzip that join: each object is compressed once, and a list is one gzip member made of such pieces.
//!
//! A segment is a raw deflate stream that ends at a byte boundary (a sync flush) and has no final block, so the next one can follow
//! it. The checksum of the whole is combined from those of the pieces: a piece brings the operator that moves a checksum past it,
//! x^(8 * length) modulo the CRC's polynomial, so that one takes one 32 by 32 bit multiplication, however long it is. Upstream
//! compresses each answer again (`responsewriters.deferredResponseWriter`).
//!
//! A plain segment stands anywhere; what is around it goes into stored blocks. A chained one may refer to the text before it, which
//! objects of one kind share most of, so it stands behind that text alone: it begins with the [`Mark`] of it. Only that one text is
//! its dictionary, so no distance reaches further. What separates the two is compressed with it, and counted when it is joined.

use std::cell::RefCell;

use bytes::Bytes;
use flate2::{Compress, Compression, Crc, FlushCompress, Status};

/// For what is compressed for one answer: the least work that finds more than runs.
pub(crate) const LEVEL: u32 = 2;
/// For what is kept: of the levels that a segment costs about the same with, the one with the smallest.
const KEPT_LEVEL: u32 = 4;
/// How far back deflate can refer.
const WINDOW_BYTES: usize = 32 << 10;
/// What a segment begins with: checksum, operator and plain length. What a chained one has before that: its mark.
const HEADER_BYTES: usize = 12;
const MARK_BYTES: usize = 16;
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
    static COMPRESSOR: RefCell<Compress> = RefCell::new(Compress::new(Compression::new(KEPT_LEVEL), false));
}

/// Which text a chained segment stands behind: of which version, and what it reads as. A commit gives its version to several
/// objects only when somebody else writes to etcd; then checksum and length tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    version: u64,
    crc: u32,
    plain_len: u32,
}

impl Mark {
    fn bytes(self) -> [u8; MARK_BYTES] {
        let text = u64::from(self.crc) << 32 | u64::from(self.plain_len);
        (u128::from(self.version) << 64 | u128::from(text)).to_le_bytes()
    }

    /// Whether a chained segment was made to stand behind this text.
    pub(crate) fn is_of(self, chained: &[u8]) -> bool {
        chained.starts_with(&self.bytes())
    }

    /// Whether this is the text.
    fn fits(self, text: &[u8]) -> bool {
        self.plain_len == length(text) && self.crc == checksum(text)
    }
}

/// One piece, read out of the bytes that [`compress`] or [`compress_after`] made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment<'a> {
    crc: u32,
    operator: u32,
    plain_len: u32,
    /// Where the deflate stream begins.
    begin: usize,
    deflated: &'a [u8],
}

impl<'a> Segment<'a> {
    /// Nothing for what is no segment.
    pub(crate) fn of(bytes: &'a [u8]) -> Option<Segment<'a>> {
        Segment::at(0, bytes)
    }

    /// The same for one that is chained.
    pub(crate) fn of_chained(bytes: &'a [u8]) -> Option<Segment<'a>> {
        Segment::at(MARK_BYTES, bytes)
    }

    fn at(begin: usize, bytes: &'a [u8]) -> Option<Segment<'a>> {
        let (header, deflated) = bytes.get(begin..)?.split_at_checked(HEADER_BYTES)?;
        let mut numbers = header.chunks_exact(4).map(|word| word.iter().rev().fold(0, |n, b| n << 8 | u32::from(*b)));
        let (crc, operator, plain_len) = (numbers.next()?, numbers.next()?, numbers.next()?);
        Some(Segment { crc, operator, plain_len, begin: begin + HEADER_BYTES, deflated })
    }

    /// Length of the text, without what separates it from the one before.
    pub(crate) fn plain_len(&self) -> usize {
        self.plain_len as usize
    }

    /// The range of the deflate stream in the bytes it was read from.
    pub(crate) fn deflated_range(&self) -> std::ops::Range<usize> {
        self.begin..self.begin + self.deflated.len()
    }

    /// How a chained segment of what follows knows the text, which is of this version.
    pub(crate) fn mark(&self, version: u64) -> Mark {
        Mark { version, crc: self.crc, plain_len: self.plain_len }
    }
}

/// Makes a plain segment of a text.
pub(crate) fn compress(text: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(HEADER_BYTES + text.len() / 2 + 64);
    push_header(text, &mut out);
    push_deflated(b"", text, &mut out);
    out.into_boxed_slice().into()
}

/// Makes a chained segment of a separator and a text, to stand behind another text.
pub(crate) fn compress_after(mark: Mark, before: &[u8], separator: &[u8], text: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(MARK_BYTES + HEADER_BYTES + text.len() / 4 + 64);
    out.extend_from_slice(&mark.bytes());
    push_header(text, &mut out);
    // What refers to nothing can stand behind anything.
    let before = if mark.fits(before) { before } else { b"" };
    let dictionary = before.get(before.len().saturating_sub(WINDOW_BYTES)..).unwrap_or_default();
    push_deflated(dictionary, &[separator, text].concat(), &mut out);
    out.into_boxed_slice().into()
}

fn push_header(text: &[u8], out: &mut Vec<u8>) {
    for number in [checksum(text), operator_of(text.len() as u64), length(text)] {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

fn checksum(text: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(text);
    crc.sum()
}

fn length(text: &[u8]) -> u32 {
    u32::try_from(text.len()).unwrap_or(u32::MAX)
}

fn push_deflated(dictionary: &[u8], text: &[u8], out: &mut Vec<u8>) {
    let begin = out.len();
    if COMPRESSOR.with_borrow_mut(|compressor| deflate(compressor, dictionary, text, out)).is_none() {
        // Whatever a compressor could complain about, the text can be stored.
        out.truncate(begin);
        push_stored(text, out);
    }
}

/// Appends a deflate stream that ends at a byte boundary, and may refer to the dictionary as what is before it.
fn deflate(compressor: &mut Compress, dictionary: &[u8], text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    compressor.reset();
    if !dictionary.is_empty() {
        compressor.set_dictionary(dictionary).ok()?;
    }
    loop {
        let done = usize::try_from(compressor.total_in()).ok()?;
        out.reserve(text.len() / 4 + 64);
        let status = compressor.compress_vec(text.get(done..)?, out, FlushCompress::Sync).ok()?;
        let is_all_in = compressor.total_in() == text.len() as u64;
        match status {
            // Only room to spare says that nothing waits inside.
            Status::Ok if is_all_in && out.len() < out.capacity() => return Some(()),
            Status::Ok => {}
            // Nothing waited: the room was just enough. An empty text has nothing that could.
            Status::BufError => return is_all_in.then_some(()),
            Status::StreamEnd => return None,
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

    /// Appends a text as it is. For what stands around plain segments.
    pub(crate) fn store(&mut self, text: &[u8], out: &mut Vec<u8>) {
        self.count(text);
        push_stored(text, out);
    }

    /// Takes a plain segment into account, whose deflate stream follows here.
    pub(crate) fn join(&mut self, segment: &Segment<'_>) {
        self.crc = multiply(segment.operator, self.crc) ^ segment.crc;
        self.plain_len = self.plain_len.wrapping_add(segment.plain_len);
    }

    /// The same for a chained one, which has this separator in it.
    pub(crate) fn join_chained(&mut self, separator: &[u8], segment: &Segment<'_>) {
        self.count(separator);
        self.join(segment);
    }

    fn count(&mut self, text: &[u8]) {
        self.crc = !text.iter().fold(!self.crc, |crc, byte| {
            let at = (crc ^ u32::from(*byte)) & 0xff;
            BYTES.get(at as usize).copied().unwrap_or_default() ^ crc >> 8
        });
        self.plain_len = self.plain_len.wrapping_add(text.len() as u32);
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
    fn chained_pieces_make_one_member() {
        for seed in 1..=60u64 {
            let mut random = Random(seed * 0x9E37_79B9);
            let mut text = random.text(1_000);
            let (mut plain, mut gzip) = (text.clone(), Vec::new());
            let mut member = Member::begin(&mut gzip);
            let mut bytes = compress(&text);
            let mut segment = Segment::of(&bytes).unwrap();
            member.join(&segment);
            gzip.extend_from_slice(&bytes[segment.deflated_range()]);
            for version in 0..random.below(9) as u64 {
                let mark = segment.mark(version);
                let before = text.clone();
                let len = [0, 1, 900, 20_000, 33_000, 100_000][random.below(6)];
                // Something old and something new, in this order or the other.
                let (kept, new) = (before[..before.len().min(len)].to_vec(), random.text(len / 2));
                text = if random.below(2) == 0 { [kept, new].concat() } else { [new, kept].concat() };
                let separator = &b"---"[..random.below(4)];
                bytes = compress_after(mark, &before, separator, &text);
                assert!(mark.is_of(&bytes) && !Mark { version: 99, ..mark }.is_of(&bytes), "seed {seed}");
                segment = Segment::of_chained(&bytes).unwrap();
                assert_eq!(segment.plain_len(), text.len(), "seed {seed}");
                gzip.extend_from_slice(&bytes[segment.deflated_range()]);
                member.join_chained(separator, &segment);
                plain.extend_from_slice(separator);
                plain.extend_from_slice(&text);
            }
            member.end(&mut gzip);
            assert!(inflated(&gzip) == plain, "seed {seed}");
        }
    }

    #[test]
    fn what_the_text_before_has_costs_next_to_nothing() {
        let text = Random(7).text(10_000);
        let plain = compress(&text);
        let mark = Segment::of(&plain).unwrap().mark(1);
        assert!(compress_after(mark, &text, b",", &text).len() * 10 < plain.len());
        // Another text than the one that was marked is no dictionary.
        let other = Random(8).text(10_000);
        assert!(compress_after(mark, &other, b",", &other).len() > plain.len() / 2);
    }

    #[test]
    fn what_is_too_short_is_no_segment() {
        assert!(Segment::of(&[0; HEADER_BYTES - 1]).is_none());
        assert!(Segment::of(&[0; HEADER_BYTES]).is_some());
        assert!(Segment::of_chained(&[0; MARK_BYTES + HEADER_BYTES - 1]).is_none());
        assert!(Segment::of_chained(&[0; MARK_BYTES + HEADER_BYTES]).is_some());
    }
}
