//! Fields on the wire: keys, numbers, and where bytes begin and end.

use super::super::decode_error::{DecodeError, Failure};

/// The value of a field on the wire. Plain numbers, so that it stays in registers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wire {
    pub wire_type: u8,
    /// The number; or where the bytes start.
    pub value: u64,
    /// Where the bytes end.
    pub end: usize,
}

/// Wire types.
pub(super) const VARINT: u8 = 0;
pub(super) const FIXED64: u8 = 1;
pub(super) const BYTES: u8 = 2;
const START_GROUP: u8 = 3;
const END_GROUP: u8 = 4;
const FIXED32: u8 = 5;

impl Wire {
    #[inline(always)]
    pub const fn number(wire_type: u8, value: u64) -> Wire {
        Wire { wire_type, value, end: 0 }
    }
    #[inline(always)]
    const fn span(start: usize, end: usize) -> Wire {
        Wire { wire_type: BYTES, value: start as u64, end }
    }
    /// Start and end of bytes.
    #[inline(always)]
    pub const fn as_bytes(self) -> Option<(usize, usize)> {
        if self.wire_type == BYTES { Some((self.value as usize, self.end)) } else { None }
    }
    #[inline(always)]
    pub const fn as_varint(self) -> Option<u64> {
        if self.wire_type == VARINT { Some(self.value) } else { None }
    }
}

/// A cursor over a message. It is small and copied: a loop that keeps its own stays in registers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    /// The whole body up to the end of this message.
    pub raw: &'a [u8],
    pub at: usize,
}

impl<'a> Reader<'a> {
    #[inline(always)]
    pub fn new(raw: &'a [u8], at: usize, end: usize) -> Reader<'a> {
        Reader { raw: raw.get(..end).unwrap_or_default(), at }
    }

    pub fn varint(&mut self) -> Result<u64, Failure> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.raw.get(self.at).ok_or(DecodeError::Wire("unexpected EOF"))?;
            self.at += 1;
            value |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return Ok(value);
            }
        }
        Err(DecodeError::Wire("proto: integer overflow").into())
    }

    /// The next field and its value; None at the end of the message.
    #[inline(always)]
    pub fn field(&mut self) -> Result<Option<(u32, Wire)>, Failure> {
        let rest = self.raw.get(self.at..).unwrap_or_default();
        match rest {
            [] => Ok(None),
            // Nearly always a number below 16 and a length or value below 128.
            [key @ 8..128, value @ 0..128, behind @ ..] => {
                let (tag, value) = (u32::from(*key >> 3), *value);
                let start = self.at + 2;
                match *key & 7 {
                    VARINT => {
                        self.at = start;
                        return Ok(Some((tag, Wire::number(VARINT, u64::from(value)))));
                    }
                    BYTES if usize::from(value) <= behind.len() => {
                        self.at = start + usize::from(value);
                        return Ok(Some((tag, Wire::span(start, self.at))));
                    }
                    _ => {}
                }
                self.any_field()
            }
            // A message around others: its length takes two bytes.
            [key @ 8..128, low @ 128..=255, high @ 0..128, behind @ ..] if *key & 7 == BYTES => {
                let len = usize::from(*low & 127) | usize::from(*high) << 7;
                if len > behind.len() {
                    return Err(DecodeError::Wire("unexpected EOF").into());
                }
                let start = self.at + 3;
                self.at = start + len;
                Ok(Some((u32::from(*key >> 3), Wire::span(start, self.at))))
            }
            _ => self.any_field(),
        }
    }

    /// The next field, whatever it is.
    #[inline(always)]
    fn any_field(&mut self) -> Result<Option<(u32, Wire)>, Failure> {
        let (at, tag, value) = self.long_field()?;
        self.at = at;
        Ok(Some((tag, value)))
    }

    /// The next field and where the one behind it is. A group is read to its end.
    #[inline(never)]
    fn long_field(mut self) -> Result<(usize, u32, Wire), Failure> {
        let (mut groups, mut outermost) = (0usize, 0);
        loop {
            let key = self.varint()?;
            let tag = u32::try_from(key >> 3).map_err(|_| DecodeError::Wire("proto: integer overflow"))?;
            if tag == 0 {
                return Err(DecodeError::Wire("proto: illegal tag 0").into());
            }
            let value = match (key & 7) as u8 {
                VARINT => Wire::number(VARINT, self.varint()?),
                FIXED64 => Wire::number(FIXED64, u64::from_le_bytes(self.fixed()?)),
                BYTES => self.span()?,
                START_GROUP => {
                    if groups == 0 {
                        outermost = tag;
                    }
                    groups += 1;
                    continue;
                }
                END_GROUP if groups > 0 => {
                    groups -= 1;
                    if groups == 0 {
                        return Ok((self.at, outermost, Wire::number(START_GROUP, 0)));
                    }
                    continue;
                }
                FIXED32 => Wire::number(FIXED32, u64::from(u32::from_le_bytes(self.fixed()?))),
                _ => return Err(DecodeError::Wire("proto: illegal wireType").into()),
            };
            if groups == 0 {
                return Ok((self.at, tag, value));
            }
        }
    }

    fn span(&mut self) -> Result<Wire, Failure> {
        let len = self.varint()?;
        let start = self.at;
        if len > i64::MAX as u64 - start as u64 {
            return Err(DecodeError::Wire("proto: negative length found during unmarshaling").into());
        }
        match usize::try_from(len).ok().and_then(|len| start.checked_add(len)) {
            Some(end) if end <= self.raw.len() => {
                self.at = end;
                Ok(Wire::span(start, end))
            }
            _ => Err(DecodeError::Wire("unexpected EOF").into()),
        }
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Failure> {
        let bytes = self.raw.get(self.at..).and_then(<[u8]>::first_chunk);
        let bytes = bytes.ok_or(DecodeError::Wire("unexpected EOF"))?;
        self.at += N;
        Ok(*bytes)
    }
}
