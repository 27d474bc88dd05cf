//! What the operator said, as types: everything is parsed before anything is made or bound.

use std::env;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;

/// A service range must hold the `kubernetes` Service, the DNS service and a few more.
const SERVICE_ADDRESS_BITS_MIN: u8 = 3;
/// The largest IPv4 range: upstream's limit.
const SERVICE_ADDRESS_BITS_MAX_V4: u8 = 20;
/// The largest IPv6 range: upstream's limit.
const SERVICE_ADDRESS_BITS_MAX_V6: u8 = 64;

/// Where system-wide data lives.
const SYSTEM_DATA_DIR: &str = "/var/lib/portcullis";

/// A part of the control plane that `up` can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Component {
    /// The API server.
    ApiServer,
}

impl Component {
    /// Every component of this build, in the order in which they start.
    pub(crate) const ALL: &[Component] = &[Component::ApiServer];

    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Component::ApiServer => "apiserver",
        }
    }
}

impl FromStr for Component {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known: Vec<_> = Component::ALL.iter().map(|component| component.name()).collect();
        let found = Component::ALL.iter().find(|component| component.name() == text);
        found.copied().ok_or_else(|| format!("no such component in this build: it has {}", known.join(", ")))
    }
}

/// A range of addresses in CIDR form, without host bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AddressRange {
    network: IpAddr,
    prefix_len: u8,
}

impl AddressRange {
    /// The address after the network's own: the one of the `kubernetes` Service.
    pub(crate) fn first(self) -> IpAddr {
        match self.network {
            IpAddr::V4(network) => Ipv4Addr::from_bits(network.to_bits() | 1).into(),
            IpAddr::V6(network) => Ipv6Addr::from_bits(network.to_bits() | 1).into(),
        }
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix_len)
    }
}

impl FromStr for AddressRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains(',') {
            return Err("two ranges (dual stack) are not served yet: give one".into());
        }
        let form = "an address range looks like 10.96.0.0/12";
        let (address, prefix_len) = text.split_once('/').ok_or(form)?;
        let address: IpAddr = address.parse().map_err(|_| form)?;
        // `+12` and `012` parse as numbers but are no prefix lengths.
        let plain = prefix_len.bytes().all(|octet| octet.is_ascii_digit()) && !prefix_len.starts_with('0');
        let prefix_len: u8 = prefix_len.parse().ok().filter(|_| plain).ok_or(form)?;
        let (bits, bits_max) = match address {
            IpAddr::V4(_) => (32, SERVICE_ADDRESS_BITS_MAX_V4),
            IpAddr::V6(_) => (128, SERVICE_ADDRESS_BITS_MAX_V6),
        };
        if prefix_len > bits {
            return Err(form.into());
        }
        if bits - prefix_len > bits_max {
            return Err(format!("the range is too large: at least /{} is needed", bits - bits_max));
        }
        if bits - prefix_len < SERVICE_ADDRESS_BITS_MIN {
            return Err(format!("the range is too small: at most /{} will do", bits - SERVICE_ADDRESS_BITS_MIN));
        }
        let range = Self { network: masked(address, prefix_len), prefix_len };
        if range.network != address {
            return Err(format!("{address} is not the first address of the range: did you mean {range}?"));
        }
        Ok(range)
    }
}

/// Which set of defaults is in force (A27).
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Defaults {
    /// Every row of the lockdown table.
    Locked,
    /// What an upstream API server answers. For comparisons; not for a cluster that anybody can reach.
    Upstream,
}

/// Where data goes when nobody said: the system's place for root, the user's own for everybody else.
pub(crate) fn default_data_dir() -> Option<PathBuf> {
    if nix::unistd::geteuid().is_root() {
        return Some(SYSTEM_DATA_DIR.into());
    }
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    // The XDG base directory specification: a relative value counts as none.
    let data = absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")));
    data.map(|path| path.join("portcullis"))
}

/// The address with all bits after the prefix cleared.
fn masked(address: IpAddr, prefix_len: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix_len)).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix_len)).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn address_ranges() {
        let check = |text: &str, expected: Result<&str, &str>| match (text.parse::<AddressRange>(), expected) {
            (Ok(range), Ok(first)) => {
                assert_eq!(range.first().to_string(), first, "{text}");
                assert_eq!(range.to_string(), text);
            }
            (Err(error), Err(part)) => assert!(error.contains(part), "{text}: {error}"),
            (got, _) => panic!("{text}: {got:?}, expected {expected:?}"),
        };
        check("10.96.0.0/12", Ok("10.96.0.1"));
        check("192.0.2.248/29", Ok("192.0.2.249"));
        check("fd00:10:96::/112", Ok("fd00:10:96::1"));
        check("fd00::/64", Ok("fd00::1"));
        check("", Err("looks like"));
        check("10.96.0.0", Err("looks like"));
        check("10.96.0.0/", Err("looks like"));
        check("10.96.0.0/33", Err("looks like"));
        check("10.96.0.0/+12", Err("looks like"));
        check("10.96.0.0/012", Err("looks like"));
        check("10.96/12", Err("looks like"));
        check("10.96.0.1/12", Err("did you mean 10.96.0.0/12"));
        check("10.0.0.0/8", Err("too large: at least /12"));
        check("fd00::/48", Err("too large: at least /64"));
        check("10.96.0.0/30", Err("too small: at most /29"));
        check("10.96.0.0/12,fd00::/112", Err("dual stack"));
    }

    #[test]
    fn components() {
        assert_eq!("apiserver".parse(), Ok(Component::ApiServer));
        for text in ["", "api", "scheduler"] {
            assert!(text.parse::<Component>().unwrap_err().contains("it has apiserver"), "{text}");
        }
    }
}
