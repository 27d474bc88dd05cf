//! The ranges that addresses of services come from: what the stored `ServiceCIDR`s say (upstream: `ipallocator`, KEP-1880), and the two
//! bands of a range: the lower one is left to those who ask for an address of their own, so that what is drawn rarely stands in their
//! way (KEP-3070).

use std::collections::BTreeSet;
use std::net::IpAddr;

use portcullis_kinds::core::service::families::Family;
use portcullis_kinds::views;
use portcullis_kinds::views::networking_v1::ServiceCIDR;
use portcullis_model::cidr::Cidr;
use portcullis_model::tree::Tree;

/// Least bits that the addresses of a range of IPv6 have in common.
const PREFIX_V6_MIN: u8 = 64;
/// Addresses that are left to who asks for them: a sixteenth of the range, but no fewer and no more than these. In a range that is no
/// larger than the fewest: none.
const BAND_SHARE: u128 = 16;
const BAND_MIN: u128 = 16;
const BAND_MAX: u128 = 256;
/// Addresses that are tried at random before all that are free are counted.
const DRAWS: usize = 64;
/// The condition of a range that can be used.
const READY: &str = "Ready";

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) cidr: Cidr,
    /// The first and the last address that can be given out; none can when the last is before the first.
    first: u128,
    last: u128,
    /// Where the band begins that is drawn from first.
    drawn_from: u128,
}

impl Range {
    /// Makes it; none for one that is too large to be given out.
    pub(crate) fn of(cidr: Cidr) -> Option<Range> {
        let cidr = cidr.network();
        let is_v4 = cidr.address().is_ipv4();
        if !is_v4 && cidr.prefix_len() < PREFIX_V6_MIN {
            return None;
        }
        let network = bits(cidr.address());
        let size = 1u128 << cidr.host_bits();
        // The network's own address is nobody's, and in IPv4 neither is that of everybody.
        let (first, last) = (network.saturating_add(1), network + (size - 1) - u128::from(is_v4 && size > 1));
        let band = if size <= BAND_MIN { 0 } else { (size / BAND_SHARE).clamp(BAND_MIN, BAND_MAX) };
        Some(Range { cidr, first, last, drawn_from: first + band })
    }

    pub(crate) fn family(&self) -> Family {
        if self.cidr.address().is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// Whether an address can be given out of this range.
    pub(crate) fn gives(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.cidr.address().is_ipv4() && (self.first..=self.last).contains(&bits(address))
    }

    /// Draws an address that is free: of the upper band, or of the lower one when that has none left. The random numbers are asked for
    /// one by one; `all` names every address that is taken, for the case that few are left.
    pub(crate) fn draw(
        &self,
        mut random: impl FnMut() -> u128,
        mut is_taken: impl FnMut(IpAddr) -> bool,
        all: impl Fn() -> Vec<IpAddr>,
    ) -> Option<IpAddr> {
        let mut taken: Option<BTreeSet<u128>> = None;
        for (first, last) in [(self.drawn_from, self.last), (self.first, self.drawn_from.saturating_sub(1))] {
            let Some(size) = last.checked_sub(first).map(|size| size + 1) else { continue };
            if taken.is_none() {
                for _ in 0..DRAWS {
                    let address = self.address(first + random() % size);
                    if !is_taken(address) {
                        return Some(address);
                    }
                }
            }
            let taken =
                taken.get_or_insert_with(|| all().into_iter().filter(|one| self.gives(*one)).map(bits).collect());
            let held: Vec<u128> = taken.range(first..=last).copied().collect();
            let Some(free) = size.checked_sub(held.len() as u128).filter(|free| *free > 0) else { continue };
            // The free address of that number: those that are taken before it push it up.
            let number = random() % free;
            let chosen = held.iter().fold(first + number, |chosen, held| chosen + u128::from(*held <= chosen));
            return Some(self.address(chosen));
        }
        None
    }

    fn address(&self, bits: u128) -> IpAddr {
        if self.cidr.address().is_ipv4() { IpAddr::V4((bits as u32).into()) } else { IpAddr::V6(bits.into()) }
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The ranges of a stored `ServiceCIDR`, if it can be used: it is not on its way out, and nobody has said that it is not ready. Where no
/// controller runs, nobody says anything.
pub(crate) fn of_service_cidr(tree: &Tree) -> Vec<Range> {
    let service_cidr: ServiceCIDR<'_> = views::read(tree);
    let mut conditions = service_cidr.status().conditions().iter();
    let is_ready = conditions.find(|condition| condition.type_() == READY).is_none_or(|ready| ready.status() == "True");
    if !is_ready || service_cidr.metadata().deletion_timestamp().is_some() {
        return Vec::new();
    }
    let cidrs = service_cidr.spec().cidrs();
    cidrs.iter().filter_map(|cidr| Range::of(cidr.parse().ok()?)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn range(cidr: &str) -> Range {
        Range::of(cidr.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_range_gives_out_what_is_nobodys() {
        let check = |cidr: &str, first: &str, drawn_from: &str, last: &str| {
            let range = range(cidr);
            let shown = [range.first, range.drawn_from, range.last].map(|bits| range.address(bits).to_string());
            assert_eq!(shown, [first, drawn_from, last], "{cidr}");
        };
        check("10.96.0.0/12", "10.96.0.1", "10.96.1.1", "10.111.255.254");
        check("10.0.0.0/24", "10.0.0.1", "10.0.0.17", "10.0.0.254");
        check("10.0.0.0/27", "10.0.0.1", "10.0.0.17", "10.0.0.30");
        check("10.0.0.0/28", "10.0.0.1", "10.0.0.1", "10.0.0.14");
        check("fd00::/112", "fd00::1", "fd00::101", "fd00::ffff");
        assert_eq!(Range::of("fd00::/63".parse().unwrap()), None);
    }

    #[test]
    fn every_address_is_drawn_once_and_the_lower_band_last() {
        for cidr in ["10.0.0.0/24", "10.0.0.0/28", "10.0.0.0/31", "10.0.0.0/32", "fd00::/120"] {
            let range = range(cidr);
            let mut taken: Vec<IpAddr> = Vec::new();
            let mut state = 7u128;
            let mut random = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                state >> 33
            };
            while let Some(drawn) = range.draw(&mut random, |address| taken.contains(&address), || taken.clone()) {
                assert!(range.gives(drawn) && !taken.contains(&drawn), "{cidr} {drawn}");
                taken.push(drawn);
            }
            let size = (range.last + 1).saturating_sub(range.first) as usize;
            assert_eq!(taken.len(), size, "{cidr}");
            let upper = taken.iter().position(|address| bits(*address) < range.drawn_from).unwrap_or(size);
            assert!(taken.iter().skip(upper).all(|address| bits(*address) < range.drawn_from), "{cidr}");
        }
    }
}
