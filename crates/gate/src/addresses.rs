//! Who a connection counts against, and who may connect at all (A16).

use std::net::{IpAddr, Ipv6Addr};

use portcullis_model::cidr::Cidr;

/// Bits of an IPv6 address that one customer of a network has in common; the rest is theirs to choose.
const IPV6_CUSTOMER_BITS: u32 = 64;

/// Whom limits per address are held against: an IPv4 address, or the network of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Origin(IpAddr);

impl Origin {
    pub(crate) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => {
                let network = address.to_bits() & !(u128::MAX >> IPV6_CUSTOMER_BITS);
                IpAddr::V6(Ipv6Addr::from_bits(network))
            }
        })
    }
}

/// The addresses that may connect; all of them when no range is named.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientRanges(Vec<Cidr>);

impl ClientRanges {
    pub(crate) fn new(ranges: Vec<Cidr>) -> Self {
        Self(ranges)
    }

    /// Says whether a client there may connect. An IPv4 client of a socket for both families has an IPv6 address that holds its own:
    /// a range of either writing counts.
    pub(crate) fn admit(&self, address: IpAddr) -> bool {
        let canonical = address.to_canonical();
        let mapped = match canonical {
            IpAddr::V4(address) => IpAddr::V6(address.to_ipv6_mapped()),
            IpAddr::V6(_) => canonical,
        };
        self.0.is_empty() || self.0.iter().any(|range| range.contains(canonical) || range.contains(mapped))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a16_ranges_admit_their_addresses_in_either_writing() {
        let check = |ranges: &[&str], address: &str, expected: bool| {
            let ranges = ClientRanges::new(ranges.iter().map(|range| range.parse().unwrap()).collect());
            assert_eq!(ranges.admit(address.parse().unwrap()), expected, "{address}");
        };
        check(&[], "192.0.2.1", true);
        check(&[], "2001:db8::1", true);
        check(&["192.0.2.0/24"], "192.0.2.255", true);
        check(&["192.0.2.0/24"], "192.0.3.0", false);
        check(&["192.0.2.0/24"], "::ffff:192.0.2.1", true);
        check(&["192.0.2.0/24"], "::ffff:192.0.3.1", false);
        check(&["192.0.2.0/24"], "2001:db8::1", false);
        check(&["::ffff:192.0.2.0/120"], "192.0.2.9", true);
        check(&["::ffff:192.0.2.0/120"], "192.0.3.9", false);
        check(&["0.0.0.0/0"], "192.0.2.1", true);
        check(&["0.0.0.0/0"], "2001:db8::1", false);
        check(&["10.0.0.0/8", "2001:db8::/32"], "2001:db8:1::1", true);
        check(&["10.0.0.0/8", "2001:db8::/32"], "2001:db9::1", false);
    }

    #[test]
    fn an_origin_is_what_one_client_can_not_change() {
        let check = |one: &str, other: &str, expected: bool| {
            let origin = |address: &str| Origin::of(address.parse().unwrap());
            assert_eq!(origin(one) == origin(other), expected, "{one} {other}");
        };
        check("192.0.2.1", "192.0.2.1", true);
        check("192.0.2.1", "192.0.2.2", false);
        check("192.0.2.1", "::ffff:192.0.2.1", true);
        check("2001:db8::1", "2001:db8::ffff:1", true);
        check("2001:db8::1", "2001:db8:0:1::1", false);
    }
}
