//! Ranges of addresses as they are written: `10.0.0.0/8`, `2001:db8::/32`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use thiserror::Error;

/// An address, and how many of its first bits make the range.
///
/// Bits after the prefix are kept as they were written and do not count; [`Cidr::network`] is without them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    prefix_len: u8,
}

/// A text that is no range of addresses.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("\"{0}\" is not an address range: write it as 192.0.2.0/24 or 2001:db8::/32")]
pub struct CidrError(String);

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let parse = || {
            let (address, digits) = text.split_once('/')?;
            // `+12` and `012` parse as numbers but are no prefix lengths.
            let is_plain =
                digits.bytes().all(|octet| octet.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
            let prefix_len = digits.parse().ok().filter(|_| is_plain)?;
            Self::new(address.parse().ok()?, prefix_len)
        };
        parse().ok_or_else(|| CidrError(text.to_owned()))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.address, self.prefix_len)
    }
}

impl From<IpAddr> for Cidr {
    /// Makes the range of one address.
    fn from(address: IpAddr) -> Self {
        Self { address, prefix_len: bits(address) }
    }
}

impl Cidr {
    /// Makes the range; an address has no more bits than it has.
    #[must_use]
    pub const fn new(address: IpAddr, prefix_len: u8) -> Option<Self> {
        if prefix_len <= bits(address) { Some(Self { address, prefix_len }) } else { None }
    }

    /// Returns the address as it was written.
    #[must_use]
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// Returns how many bits the addresses of the range have in common.
    #[must_use]
    pub fn prefix_len(self) -> u8 {
        self.prefix_len
    }

    /// Returns how many bits the addresses of the range differ in.
    #[must_use]
    pub fn host_bits(self) -> u8 {
        bits(self.address) - self.prefix_len
    }

    /// Returns the same range, written with its first address.
    #[must_use]
    pub fn network(self) -> Self {
        let host_bits = u32::from(self.host_bits());
        let address = match self.address {
            IpAddr::V4(address) => {
                IpAddr::V4((address.to_bits() & u32::MAX.checked_shl(host_bits).unwrap_or(0)).into())
            }
            IpAddr::V6(address) => {
                IpAddr::V6((address.to_bits() & u128::MAX.checked_shl(host_bits).unwrap_or(0)).into())
            }
        };
        Self { address, ..self }
    }

    /// Returns the address after the network's own: in a range of Services the one of the Service `kubernetes`.
    #[must_use]
    pub fn first_host(self) -> IpAddr {
        match self.network().address {
            IpAddr::V4(address) => IpAddr::V4((address.to_bits() | 1).into()),
            IpAddr::V6(address) => IpAddr::V6((address.to_bits() | 1).into()),
        }
    }

    /// Returns `IPv4` or `IPv6`, as Services name families.
    #[must_use]
    pub fn family(self) -> &'static str {
        if self.address.is_ipv4() { "IPv4" } else { "IPv6" }
    }

    /// Says whether the range holds an address of its own family.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        let prefix_len = u32::from(self.prefix_len);
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => (own.to_bits() ^ other.to_bits()).leading_zeros() >= prefix_len,
            (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits() ^ other.to_bits()).leading_zeros() >= prefix_len,
            _ => false,
        }
    }
}

const fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn ranges_are_read_exactly() {
        let check = |text: &str, network: &str, first_host: &str, family: &str| {
            let range: Cidr = text.parse().unwrap();
            assert_eq!(range.to_string(), text);
            assert_eq!(range.network().to_string(), network, "{text}");
            assert_eq!((range.first_host().to_string().as_str(), range.family()), (first_host, family), "{text}");
        };
        check("10.96.0.0/12", "10.96.0.0/12", "10.96.0.1", "IPv4");
        check("10.96.0.1/12", "10.96.0.0/12", "10.96.0.1", "IPv4");
        check("10.111.255.255/12", "10.96.0.0/12", "10.96.0.1", "IPv4");
        check("0.0.0.0/0", "0.0.0.0/0", "0.0.0.1", "IPv4");
        check("255.255.255.255/0", "0.0.0.0/0", "0.0.0.1", "IPv4");
        check("192.0.2.7/32", "192.0.2.7/32", "192.0.2.7", "IPv4");
        check("fd00::/108", "fd00::/108", "fd00::1", "IPv6");
        check("fd00::ffff/112", "fd00::/112", "fd00::1", "IPv6");
        check("ff::/0", "::/0", "::1", "IPv6");
        for wrong in [
            "",
            "/",
            "/8",
            "10.0.0.0",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0.0/08",
            "10.0.0.0/00",
            "10.0.0.0/8/8",
            "10.0.0.0/8 ",
            "10.0.0/8",
            "10.0.0.00/8",
            "::/129",
            "x/12",
        ] {
            assert_eq!(wrong.parse::<Cidr>(), Err(CidrError(wrong.to_owned())));
        }
    }

    #[test]
    fn a_range_holds_addresses_of_its_family() {
        let check = |range: Cidr, holds: &str, lacks: &str| {
            assert!(range.contains(holds.parse().unwrap()), "{range} holds {holds}");
            assert!(!range.contains(lacks.parse().unwrap()), "{range} lacks {lacks}");
        };
        let parse = |text: &str| text.parse::<Cidr>().unwrap();
        check(parse("10.0.0.0/8"), "10.255.0.1", "11.0.0.0");
        check(parse("10.1.2.3/8"), "10.255.0.1", "11.0.0.0");
        check(parse("0.0.0.0/0"), "255.0.0.1", "::1");
        check(Cidr::from(IpAddr::from([192, 0, 2, 7])), "192.0.2.7", "192.0.2.6");
        check(parse("2001:db8::/33"), "2001:db8:7fff::", "2001:db8:8000::");
        check(parse("::/0"), "ff::", "10.0.0.0");
    }
}
