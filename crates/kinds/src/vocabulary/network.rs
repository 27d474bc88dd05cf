//! Addresses and ranges of addresses (upstream: `IsValidIPForLegacyField`, `IsValidCIDRForLegacyField`; KEP-4858 `StrictIPCIDRValidation`).
//!
//! Programs disagree about `010.0.0.1` (ten or eight?) and about `::ffff:10.0.0.1` (which family?), and whoever filters addresses must
//! not be talked past by such a spelling. Upstream once took them; now they are refused where they are new.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portcullis_model::go_text::quoted;

use super::{Errors, Path};

const NO_ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const NO_RANGE: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

const SOON_INVALID: &str = "will be considered invalid in a future Kubernetes release";

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
    let Some((address, bits)) = sloppy_range(value) else {
        errors.invalid(at, value, NO_RANGE);
        return;
    };
    if !is_strict_range(value) {
        errors.invalid(at, value, "must not have leading 0s in IP or prefix length");
        return;
    }
    if is_mapped(address) {
        errors.invalid(at, value, "must not have an IPv4-mapped IPv6 address");
    }
    if masked(address, bits) != address {
        errors.invalid(at, value, "must not have bits set beyond the prefix length");
    }
}

/// An address at which a client may be sent to something else (upstream: `ValidateEndpointIP`). Not one that means the machine where it
/// is used, or what only the machine's own network has: through it a client would be made to reach what it may not name itself.
pub fn endpoint_address(value: &str, at: &Path<'_>, errors: &mut Errors) {
    let Some(address) = sloppy(value).map(|address| address.to_canonical()) else {
        errors.invalid(at, value, "must be a valid IP address");
        return;
    };
    if address.is_unspecified() {
        errors.invalid(at, value, format!("may not be unspecified ({value})"));
    }
    if address.is_loopback() {
        errors.invalid(at, value, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    let (is_link_local, is_link_local_multicast) = match address {
        IpAddr::V4(v4) => (v4.is_link_local(), matches!(v4.octets(), [224, 0, 0, _])),
        IpAddr::V6(v6) => (v6.is_unicast_link_local(), v6.segments()[0] & 0xff0f == 0xff02),
    };
    if is_link_local {
        errors.invalid(at, value, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if is_link_local_multicast {
        errors.invalid(at, value, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}

/// What a client should be told of an address that programs may read in different ways (upstream: `GetWarningsForIP`).
pub fn warn_of_address(value: &str, at: &Path<'_>, warnings: &mut Vec<String>) {
    let (Some(address), written) = (sloppy(value), quoted(value)) else { return };
    let should = quoted(&address.to_canonical().to_string());
    if is_mapped(address) || value.parse::<IpAddr>().is_err() {
        warnings.push(format!("{at}: non-standard IP address {written} {SOON_INVALID}: use {should}"));
    } else if address.is_ipv6() && written != should {
        warnings.push(format!("{at}: IPv6 address {written} should be in RFC 5952 canonical format ({should})"));
    }
}

/// What a client should be told of a range that programs may read in different ways (upstream: `GetWarningsForCIDR`).
pub fn warn_of_range(value: &str, at: &Path<'_>, warnings: &mut Vec<String>) {
    let (Some((address, bits)), written) = (sloppy_range(value), quoted(value)) else { return };
    let network = masked(address, bits);
    let should = quoted(&format!("{}/{bits}", network.to_canonical()));
    if network != address {
        let single = quoted(&format!("{}/{}", address.to_canonical(), bits_of(address)));
        let what = "is ambiguous in this context";
        warnings.push(format!("{at}: CIDR value {written} {what} (should be {should} or {single}?)"));
    }
    if is_mapped(address) || !is_strict_range(value) {
        warnings.push(format!("{at}: non-standard CIDR value {written} {SOON_INVALID}: use {should}"));
    } else if address.is_ipv6() && written != quoted(&format!("{address}/{bits}")) {
        warnings.push(format!("{at}: IPv6 CIDR value {written} should be in RFC 5952 canonical format ({should})"));
    }
}

/// Reads a range as upstream once did: an address of it and the length of what all of its addresses have in common.
#[must_use]
pub fn sloppy_range(value: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = value.split_once('/')?;
    let bits_max = if address.contains(':') { 128 } else { 32 };
    Some((sloppy(address)?, digits(bits, bits_max)?))
}

/// Whether a range holds all of another one and more.
#[must_use]
pub fn holds_and_more((outer, outer_bits): (IpAddr, u32), (inner, inner_bits): (IpAddr, u32)) -> bool {
    outer_bits < inner_bits && masked(masked(inner, inner_bits), outer_bits) == masked(outer, outer_bits)
}

fn is_strict_range(value: &str) -> bool {
    value.split_once('/').is_some_and(|(address, bits)| {
        let is_padded = bits.len() > 1 && bits.starts_with('0');
        !is_padded && address.parse::<IpAddr>().is_ok()
    })
}

/// An address in the one spelling that is its canonical one, which objects are named by (upstream: `IsValidIP`).
pub fn canonical_address(value: &str, at: &Path<'_>, errors: &mut Errors) {
    let before = errors.len();
    address(value, at, errors);
    if let Some(canonical) = sloppy(value).filter(|_| errors.len() == before).map(|address| address.to_string())
        && canonical != value
    {
        errors.invalid(at, value, format!("must be in canonical form ({})", quoted(&canonical)));
    }
}

/// A range in the one spelling that is its canonical one (upstream: `IsValidCIDR`).
pub fn canonical_range(value: &str, at: &Path<'_>, errors: &mut Errors) {
    let before = errors.len();
    range(value, at, errors);
    if let Some((address, bits)) = sloppy_range(value).filter(|_| errors.len() == before)
        && format!("{address}/{bits}") != value
    {
        errors.invalid(at, value, format!("must be in canonical form ({})", quoted(&format!("{address}/{bits}"))));
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

fn bits_of(address: IpAddr) -> u32 {
    if address.is_ipv4() { Ipv4Addr::BITS } else { Ipv6Addr::BITS }
}

/// The address without what stands behind this many of its bits.
fn masked(address: IpAddr, bits: u32) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(Ipv4Addr::BITS.saturating_sub(bits)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(Ipv6Addr::BITS.saturating_sub(bits)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
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

    #[test]
    fn cve_2021_25737_nobody_is_sent_to_the_machine_itself() {
        let check = |value: &str, expected: &[&str]| assert_eq!(said(endpoint_address, value), expected, "{value}");
        for fine in ["10.9.8.7", "2001:db8::1", "8.8.8.8", "224.0.1.1", "ff05::2", "255.255.255.255"] {
            check(fine, &[]);
        }
        check("other", &["must be a valid IP address"]);
        check("0.0.0.0", &["may not be unspecified (0.0.0.0)"]);
        check("::", &["may not be unspecified (::)"]);
        for local in ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1", "0127.0.0.1"] {
            check(local, &["may not be in the loopback range (127.0.0.0/8, ::1/128)"]);
        }
        for local in ["169.254.169.254", "fe80::1", "::ffff:169.254.0.1"] {
            check(local, &["may not be in the link-local range (169.254.0.0/16, fe80::/10)"]);
        }
        for local in ["224.0.0.1", "ff02::1"] {
            check(local, &["may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"]);
        }
    }

    #[test]
    fn a_range_holds_smaller_ones() {
        let check = |outer: &str, inner: &str, expected: bool| {
            let found = holds_and_more(sloppy_range(outer).unwrap(), sloppy_range(inner).unwrap());
            assert_eq!(found, expected, "{outer} {inner}");
        };
        check("10.0.0.0/8", "10.1.0.0/16", true);
        check("0.0.0.0/0", "10.1.0.0/16", true);
        check("10.0.0.0/8", "10.0.0.0/8", false);
        check("10.1.0.0/16", "10.0.0.0/8", false);
        check("10.0.0.0/8", "11.1.0.0/16", false);
        check("10.0.0.0/8", "2001:db8::/64", false);
        check("2001:db8::/32", "2001:db8:1::/48", true);
        check("::/0", "::1/128", true);
    }

    #[test]
    fn spellings_are_told_of() {
        let check = |rule: fn(&str, &Path<'_>, &mut Vec<String>), value: &str, expected: &[&str]| {
            let mut warnings = Vec::new();
            rule(value, &Path::new("ip"), &mut warnings);
            assert_eq!(warnings, expected, "{value}");
        };
        for fine in ["10.9.8.7", "2001:db8::1", "other", ""] {
            check(warn_of_address, fine, &[]);
        }
        let soon = "will be considered invalid in a future Kubernetes release";
        check(
            warn_of_address,
            "010.9.8.7",
            &[&format!("ip: non-standard IP address \"010.9.8.7\" {soon}: use \"10.9.8.7\"")],
        );
        check(
            warn_of_address,
            "::ffff:1.2.3.4",
            &[&format!("ip: non-standard IP address \"::ffff:1.2.3.4\" {soon}: use \"1.2.3.4\"")],
        );
        check(
            warn_of_address,
            "2001:DB8::1",
            &[r#"ip: IPv6 address "2001:DB8::1" should be in RFC 5952 canonical format ("2001:db8::1")"#],
        );
        for fine in ["10.9.8.0/24", "2001:db8::/64", "other"] {
            check(warn_of_range, fine, &[]);
        }
        check(
            warn_of_range,
            "10.9.8.7/24",
            &[
                r#"ip: CIDR value "10.9.8.7/24" is ambiguous in this context (should be "10.9.8.0/24" or "10.9.8.7/32"?)"#,
            ],
        );
        check(
            warn_of_range,
            "2001:DB8::/64",
            &[r#"ip: IPv6 CIDR value "2001:DB8::/64" should be in RFC 5952 canonical format ("2001:db8::/64")"#],
        );
        check(
            warn_of_range,
            "010.9.8.0/24",
            &[&format!("ip: non-standard CIDR value \"010.9.8.0/24\" {soon}: use \"10.9.8.0/24\"")],
        );
    }
}
