//! Addresses and ranges of addresses (upstream: `IsValidIPForLegacyField`, `IsValidCIDRForLegacyField`; KEP-4858 `StrictIPCIDRValidation`).
//!
//! Programs disagree about `010.0.0.1` (ten or eight?) and about `::ffff:10.0.0.1` (which family?), and whoever filters addresses must
//! not be talked past by such a spelling. Upstream once took them; now they are refused where they are new.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Errors, Path};

const NO_ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const NO_RANGE: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// Most digits of a number of an address that is read: more only add zeros, which are refused anyway.
const DIGITS_MAX: usize = 64;

/// An address of either family, spelled in the one way that all programs read alike.
pub fn address(value: &str, at: &Path<'_>, errors: &mut Errors) {
    if let Ok(address) = value.parse::<IpAddr>() {
        if is_mapped(address) {
            errors.invalid(at, value, "must not be an IPv4-mapped IPv6 address");
        }
        return;
    }
    let why = if sloppy(value).is_some() { "must not have leading 0s" } else { NO_ADDRESS };
    errors.invalid(at, value, why);
}

/// A range of addresses, spelled in the one way that all programs read alike.
pub fn range(value: &str, at: &Path<'_>, errors: &mut Errors) {
    let parts = value.split_once('/').and_then(|(address, bits)| {
        let bits_max = if address.contains(':') { 128 } else { 32 };
        Some((address, sloppy(address)?, bits, digits(bits, bits_max)?))
    });
    let Some((written, address, bits_written, bits)) = parts else {
        errors.invalid(at, value, NO_RANGE);
        return;
    };
    let is_padded = bits_written.len() > 1 && bits_written.starts_with('0');
    if is_padded || written.parse::<IpAddr>().is_err() {
        errors.invalid(at, value, "must not have leading 0s in IP or prefix length");
        return;
    }
    if is_mapped(address) {
        errors.invalid(at, value, "must not have an IPv4-mapped IPv6 address");
    }
    if has_bits_beyond(address, bits) {
        errors.invalid(at, value, "must not have bits set beyond the prefix length");
    }
}

/// Reads an address as upstream once did: zeros before a number are of no meaning.
#[must_use]
pub fn sloppy(value: &str) -> Option<IpAddr> {
    if let Ok(address) = value.parse() {
        return Some(address);
    }
    let Some((above, below)) = value.rsplit_once(':') else { return sloppy_v4(value).map(IpAddr::V4) };
    // A v6 address may end in the spelling of a v4 one.
    let tail = sloppy_v4(below)?;
    let [a, b, c, d] = tail.octets();
    format!("{above}:{a:02x}{b:02x}:{c:02x}{d:02x}").parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

fn sloppy_v4(value: &str) -> Option<Ipv4Addr> {
    let mut numbers = value.split('.').map(|part| digits(part, 255).and_then(|number| u8::try_from(number).ok()));
    let address = [numbers.next()??, numbers.next()??, numbers.next()??, numbers.next()??];
    numbers.next().is_none().then(|| Ipv4Addr::from(address))
}

/// A decimal number with nothing else in it, no larger than this.
fn digits(text: &str, most: u32) -> Option<u32> {
    let is_number = !text.is_empty() && text.len() <= DIGITS_MAX && text.bytes().all(|octet| octet.is_ascii_digit());
    text.parse().ok().filter(|number| is_number && *number <= most)
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some())
}

fn has_bits_beyond(address: IpAddr, bits: u32) -> bool {
    match address {
        IpAddr::V4(address) => address.to_bits().checked_shl(bits).unwrap_or(0) != 0,
        IpAddr::V6(address) => address.to_bits().checked_shl(bits).unwrap_or(0) != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(rule: fn(&str, &Path<'_>, &mut Errors), value: &str) -> Vec<String> {
        let mut errors = Errors::new();
        rule(value, &Path::new("ip"), &mut errors);
        errors.into_vec().iter().map(|error| error.detail.to_string()).collect()
    }

    #[test]
    fn addresses_have_one_spelling() {
        let check = |value: &str, expected: &[&str]| assert_eq!(said(address, value), expected, "{value}");
        for fine in ["10.9.8.7", "0.0.0.0", "2001:db8::ffff", "::1", "::10.0.0.1"] {
            check(fine, &[]);
        }
        for no in [
            "",
            "other",
            "10.9.8",
            "10.9.8.256",
            "10.9.8.7.6",
            "::g",
            "fe80::1%eth0",
            " 10.0.0.1",
            "+1.2.3.4",
            "1..2.3",
        ] {
            check(no, &[NO_ADDRESS]);
        }
        check("010.9.8.07", &["must not have leading 0s"]);
        check("::ffff:010.0.0.1", &["must not have leading 0s"]);
        check("::ffff:10.0.0.1", &["must not be an IPv4-mapped IPv6 address"]);
    }

    #[test]
    fn ranges_have_one_spelling() {
        let check = |value: &str, expected: &[&str]| assert_eq!(said(range, value), expected, "{value}");
        for fine in ["10.9.8.0/24", "0.0.0.0/0", "10.9.8.7/32", "2001:db8::/64", "::1/128"] {
            check(fine, &[]);
        }
        for no in ["", "10.9.8.0", "10.9.8.0/33", "10.9.8.0/", "10.9.8.0/-1", "::/129", "x/8", "10.0.0.0/8/8"] {
            check(no, &[NO_RANGE]);
        }
        check("10.9.8.0/024", &["must not have leading 0s in IP or prefix length"]);
        check("010.9.8.0/24", &["must not have leading 0s in IP or prefix length"]);
        check("10.9.8.1/24", &["must not have bits set beyond the prefix length"]);
        check("::ffff:10.0.0.0/104", &["must not have an IPv4-mapped IPv6 address"]);
    }
}
