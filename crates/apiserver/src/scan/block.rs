//! Bytes that are looked at together: which of them are of a kind, a bit each.

use wide::u8x16;

/// Bytes of a block: as many as a word has bits.
pub(super) const BLOCK_BYTES: usize = 64;
/// Bytes that every processor we are built for compares at once.
const LANE_BYTES: usize = 16;

pub(super) struct Block([u8x16; BLOCK_BYTES / LANE_BYTES]);

impl Block {
    #[inline(always)]
    pub(super) fn new(bytes: &[u8; BLOCK_BYTES]) -> Self {
        let lanes = bytes.as_chunks().0;
        Block(std::array::from_fn(|number| lanes.get(number).map_or(u8x16::ZERO, |lane| u8x16::new(*lane))))
    }

    /// The bytes that are this one.
    #[inline(always)]
    pub(super) fn equal(&self, byte: u8) -> u64 {
        let wanted = u8x16::splat(byte);
        let bits = |lane: &u8x16| u64::from(lane.cmp_eq(wanted).move_mask().cast_unsigned());
        self.0.iter().rev().fold(0, |all, lane| all << LANE_BYTES | bits(lane))
    }

    /// The block with this bit set in each byte.
    #[inline(always)]
    pub(super) fn with(&self, bit: u8) -> Self {
        let bit = u8x16::splat(bit);
        Block(self.0.map(|lane| lane | bit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_for_each_byte_of_a_kind() {
        for seed in 0..500u64 {
            let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
            let bytes: [u8; BLOCK_BYTES] = std::array::from_fn(|_| {
                state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
                b"{[}]\"\\a\x00\x80\xFB"[(state >> 33) as usize % 10]
            });
            for (wanted, bit) in [(b'"', 0), (b'\\', 0), (b'{', 0x20), (b'}', 0x20), (0x80, 0), (0, 0), (0xFB, 0x20)] {
                let is = |at: &usize| bytes[*at] | bit == wanted;
                let expected = (0..BLOCK_BYTES).filter(is).fold(0, |all: u64, at| all | 1 << at);
                assert_eq!(Block::new(&bytes).with(bit).equal(wanted), expected, "seed {seed}, {wanted:#x}");
            }
        }
    }
}
