//! DER, the encoding of X.509: the few constructions that a certificate is made of.
//!
//! Why not a library: a user's groups are as many O values of one subject, and the library at hand (rcgen) keeps one value
//! an attribute. See docs/decisions/0005-certificates.md.

use time::OffsetDateTime;

/// A universal or context tag, as the one octet that X.509 needs.
#[derive(Clone, Copy)]
pub(super) enum Tag {
    Boolean = 0x01,
    Integer = 0x02,
    BitString = 0x03,
    OctetString = 0x04,
    Null = 0x05,
    Oid = 0x06,
    Utf8String = 0x0c,
    Sequence = 0x30,
    Set = 0x31,
    UtcTime = 0x17,
    GeneralizedTime = 0x18,
    /// The version of a certificate; the key identifier of an issuer is the primitive of the same number.
    Explicit0 = 0xa0,
    /// The extensions of a certificate.
    Explicit3 = 0xa3,
    /// The key identifier within an authority key identifier.
    Implicit0 = 0x80,
    /// A DNS name within an alternative name.
    Implicit2 = 0x82,
    /// An IP address within an alternative name.
    Implicit7 = 0x87,
}

/// One element: tag, length, content.
pub(super) fn element(tag: Tag, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 6);
    out.push(tag as u8);
    let length = content.len().to_be_bytes();
    let significant = length.iter().position(|&octet| octet != 0).unwrap_or(length.len() - 1);
    let octets = length.get(significant..).unwrap_or_default();
    if content.len() >= 0x80 {
        out.push(0x80 | octets.len() as u8);
    }
    out.extend_from_slice(octets);
    out.extend_from_slice(content);
    out
}

/// A SEQUENCE of elements that are encoded already.
pub(super) fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    element(Tag::Sequence, &parts.concat())
}

/// An object identifier whose content octets are given.
pub(super) fn oid(content: &[u8]) -> Vec<u8> {
    element(Tag::Oid, content)
}

/// A BIT STRING of whole octets.
pub(super) fn bit_string(content: &[u8]) -> Vec<u8> {
    element(Tag::BitString, &[&[0], content].concat())
}

/// A BIT STRING of named bits, first bit highest: trailing zero bits are not written.
pub(super) fn named_bits(bits: u16) -> Vec<u8> {
    let octets = bits.to_be_bytes();
    let used = if octets[1] == 0 { &octets[..1] } else { &octets[..] };
    let unused = (bits.trailing_zeros() as u8) % 8;
    element(Tag::BitString, &[&[unused], used].concat())
}

/// A point in time: two-digit years until 2049, four-digit ones after (RFC 5280, 4.1.2.5).
pub(super) fn time(at: OffsetDateTime) -> Vec<u8> {
    let rest = format!("{:02}{:02}{:02}{:02}{:02}Z", at.month() as u8, at.day(), at.hour(), at.minute(), at.second());
    match at.year() {
        year @ 1950..=2049 => element(Tag::UtcTime, format!("{:02}{rest}", year % 100).as_bytes()),
        year => element(Tag::GeneralizedTime, format!("{year:04}{rest}").as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_minimal() {
        let check = |len: usize, header: &[u8]| {
            let encoded = element(Tag::OctetString, &vec![0; len]);
            assert_eq!(&encoded[..header.len()], header, "length {len}");
            assert_eq!(encoded.len(), header.len() + len);
        };
        check(0, &[4, 0]);
        check(1, &[4, 1]);
        check(127, &[4, 127]);
        check(128, &[4, 0x81, 128]);
        check(255, &[4, 0x81, 255]);
        check(256, &[4, 0x82, 1, 0]);
        check(70_000, &[4, 0x83, 1, 0x11, 0x70]);
    }

    #[test]
    fn named_bits_drop_trailing_zeros() {
        let check = |bits: u16, expected: &[u8]| assert_eq!(named_bits(bits), expected, "{bits:016b}");
        check(0b1000_0000_0000_0000, &[3, 2, 7, 0x80]);
        check(0b1010_0000_0000_0000, &[3, 2, 5, 0xa0]);
        check(0b0000_0110_0000_0000, &[3, 2, 1, 0x06]);
        check(0b0000_0000_1000_0000, &[3, 3, 7, 0x00, 0x80]);
    }

    #[test]
    fn times_change_form_in_2050() {
        let check = |seconds: i64, expected: &str| {
            let at = OffsetDateTime::from_unix_timestamp(seconds).expect("in range");
            assert_eq!(time(at).get(2..), Some(expected.as_bytes()), "{at}");
        };
        check(0, "700101000000Z");
        check(2_524_607_999, "491231235959Z");
        check(2_524_608_000, "20500101000000Z");
    }
}
