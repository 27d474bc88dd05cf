//! How much of what strangers do is recorded (A25): whoever has proved no identity can fill neither the disk nor the log of those who
//! have. All of them together have a rate, each address has a smaller one, and their files have a size of their own.
//!
//! Addresses share a table of fixed size; two that fall into the same place share a rate. Where one falls nobody outside can know.

use std::hash::{BuildHasher as _, RandomState};
use std::net::Ipv6Addr;

/// Events a second of all strangers, and how many may come at once.
pub const STRANGERS_PER_SECOND: i64 = 100;
/// See [`STRANGERS_PER_SECOND`].
pub const STRANGERS_BURST: i64 = 1_000;
/// Events a second of one address, and how many may come at once.
pub const STRANGER_PER_SECOND: i64 = 10;
/// See [`STRANGER_PER_SECOND`].
pub const STRANGER_BURST: i64 = 100;
/// Bytes of one file of theirs; there are two.
pub const STRANGERS_FILE_BYTES_MAX: u64 = 8 << 20;
/// Files that are kept beside the one that is written.
pub const STRANGERS_BACKUPS: usize = 1;
/// Places in the table of addresses.
const PLACES: usize = 1_024;
const MICROS_PER_SECOND: i64 = 1_000_000;
/// What stands before the addresses in an event, once and where no client can put it: quotes inside of strings are escaped.
const ADDRESSES: &str = "\"sourceIPs\":[\"";

/// A bucket of tokens that fills with time. It holds the moment at which it was, or will be, empty of all debts.
#[derive(Clone, Copy, Default)]
struct Bucket {
    /// Microseconds; what is above `now` is taken already.
    taken_until: i64,
}

impl Bucket {
    /// Says whether there is a token, and takes it.
    fn take(&mut self, now: i64, per_second: i64, burst: i64) -> bool {
        let one = MICROS_PER_SECOND / per_second;
        // A clock that was set back does not keep anybody out for longer than a burst lasts.
        let taken_until = self.taken_until.clamp(now, now + burst * one);
        let is_there = taken_until + one <= now + burst * one;
        self.taken_until = if is_there { taken_until + one } else { taken_until };
        is_there
    }
}

/// Lets events of strangers in.
pub(crate) struct Admission {
    all: Bucket,
    places: Box<[Bucket]>,
    hasher: RandomState,
}

impl Admission {
    pub(crate) fn new() -> Admission {
        let places = vec![Bucket::default(); PLACES].into_boxed_slice();
        Admission { all: Bucket::default(), places, hasher: RandomState::new() }
    }

    /// Says whether a rendered event is recorded. One address that is above its rate takes nothing from the others.
    pub(crate) fn admit(&mut self, line: &str, now: i64) -> bool {
        let place = self.hasher.hash_one(network(address(line))) % PLACES as u64;
        let Some(own) = usize::try_from(place).ok().and_then(|place| self.places.get_mut(place)) else { return false };
        own.take(now, STRANGER_PER_SECOND, STRANGER_BURST) && self.all.take(now, STRANGERS_PER_SECOND, STRANGERS_BURST)
    }
}

/// What one client has: an address, or 64 bits of addresses of IPv6, all of which are theirs.
fn network(address: &str) -> (&str, u64) {
    let address_v6 = Some(address).filter(|address| address.contains(':')).and_then(|address| address.parse().ok());
    match address_v6.map(|address: Ipv6Addr| address.to_bits() >> 64) {
        Some(bits) => ("", u64::try_from(bits).unwrap_or_default()),
        None => (address, 0),
    }
}

/// The address that the connection came from: the last one, as those before are what a client says of itself.
fn address(line: &str) -> &str {
    let Some(begin) = line.find(ADDRESSES) else { return "" };
    let addresses = line.get(begin + ADDRESSES.len()..).unwrap_or_default();
    let addresses = addresses.split_once("\"]").map_or("", |(addresses, _)| addresses);
    addresses.rsplit('"').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(address: &str) -> String {
        format!("{{\"requestURI\":\"/\\\"sourceIPs\\\":[\\\"\",\"sourceIPs\":[\"10.0.0.1\",\"{address}\"],\"x\":1}}")
    }

    #[test]
    fn addresses() {
        let check = |line: &str, expected: &str| assert_eq!(address(line), expected, "{line}");
        check(&line("192.0.2.1"), "192.0.2.1");
        check("{\"sourceIPs\":[\"::1\"]}", "::1");
        check("{\"sourceIPs\":[]}", "");
        check("{}", "");
    }

    #[test]
    fn one_address_cannot_take_the_rate_of_all() {
        let mut admission = Admission::new();
        let now = 1_790_000_000_000_000;
        let loud = (0..10_000).filter(|_| admission.admit(&line("192.0.2.1"), now)).count();
        assert_eq!(loud, 100);
        assert!((0..40).any(|number| admission.admit(&line(&format!("192.0.2.{}", 2 + number)), now)));
        let second = (0..10_000).filter(|_| admission.admit(&line("192.0.2.1"), now + MICROS_PER_SECOND)).count();
        assert_eq!(second, 10);
    }

    #[test]
    fn one_client_cannot_take_the_rate_of_all_by_many_addresses() {
        let mut admission = Admission::new();
        let admitted = (0..5_000).filter(|number| admission.admit(&line(&format!("2001:db8::{number:x}")), 0)).count();
        assert_eq!(admitted, 100);
        assert_eq!(network("192.0.2.1"), ("192.0.2.1", 0));
    }

    #[test]
    fn all_together_have_a_rate() {
        let mut admission = Admission::new();
        let admitted = |admission: &mut Admission, now| {
            (0..20_000).filter(|number| admission.admit(&line(&format!("2001:db8:0:{number:x}::1")), now)).count()
        };
        assert_eq!(admitted(&mut admission, 0), 1_000);
        assert_eq!(admitted(&mut admission, MICROS_PER_SECOND), 100);
        assert_eq!(admitted(&mut admission, -MICROS_PER_SECOND), 0, "the clock went back");
        assert_eq!(admitted(&mut admission, 3_600 * MICROS_PER_SECOND), 1_000);
    }
}
