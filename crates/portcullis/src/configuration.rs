//! What the operator said, as types: everything is parsed before anything is made or bound.

use std::env;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use portcullis_model::cidr::Cidr;

/// A service range must hold the `kubernetes` Service, the DNS service and a few more.
const SERVICE_ADDRESS_BITS_MIN: u8 = 3;
/// The largest IPv4 range: upstream's limit.
const SERVICE_ADDRESS_BITS_MAX_V4: u8 = 20;
/// The largest IPv6 range: upstream's limit.
const SERVICE_ADDRESS_BITS_MAX_V6: u8 = 64;

/// Where system-wide data lives, and what is kept apart from it.
const SYSTEM_DATA_DIR: &str = "/var/lib/portcullis";
const SYSTEM_CONFIG_DIR: &str = "/etc/portcullis";

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

/// The ranges that Services get their addresses of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ServiceRanges {
    /// Of the family that a Service has when it does not say.
    pub(crate) primary: Cidr,
    /// Of the other family.
    pub(crate) secondary: Option<Cidr>,
}

impl FromStr for ServiceRanges {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((primary, secondary)) = text.split_once(',') else {
            return Ok(ServiceRanges { primary: service_range(text)?, secondary: None });
        };
        let (primary, secondary) = (service_range(primary)?, service_range(secondary)?);
        if primary.family() == secondary.family() {
            return Err(format!("both ranges are of {}: two ranges are one of each family", primary.family()));
        }
        Ok(ServiceRanges { primary, secondary: Some(secondary) })
    }
}

/// Reads one range: without host bits, and neither too large nor too small.
fn service_range(text: &str) -> Result<Cidr, String> {
    let range: Cidr = text.parse().map_err(|_| "an address range looks like 10.96.0.0/12")?;
    let bits_max = match range.address() {
        IpAddr::V4(_) => SERVICE_ADDRESS_BITS_MAX_V4,
        IpAddr::V6(_) => SERVICE_ADDRESS_BITS_MAX_V6,
    };
    let (bits, host_bits) = (range.prefix_len() + range.host_bits(), range.host_bits());
    if host_bits > bits_max {
        return Err(format!("the range is too large: at least /{} is needed", bits - bits_max));
    }
    if host_bits < SERVICE_ADDRESS_BITS_MIN {
        return Err(format!("the range is too small: at most /{} will do", bits - SERVICE_ADDRESS_BITS_MIN));
    }
    let network = range.network();
    if network != range {
        return Err(format!("{} is not the first address of the range: did you mean {network}?", range.address()));
    }
    Ok(range)
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
    default_dir(SYSTEM_DATA_DIR, "XDG_DATA_HOME", ".local/share")
}

/// Where that goes which must not be where data is.
pub(crate) fn default_config_dir() -> Option<PathBuf> {
    default_dir(SYSTEM_CONFIG_DIR, "XDG_CONFIG_HOME", ".config")
}

fn default_dir(system: &str, variable: &str, in_home: &str) -> Option<PathBuf> {
    if nix::unistd::geteuid().is_root() {
        return Some(system.into());
    }
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    // The XDG base directory specification: a relative value counts as none.
    let base = absolute(variable).or_else(|| absolute("HOME").map(|home| home.join(in_home)));
    base.map(|path| path.join("portcullis"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ranges_of_services() {
        let check = |text: &str, expected: Result<&str, &str>| match (service_range(text), expected) {
            (Ok(range), Ok(first)) => {
                assert_eq!(range.first_host().to_string(), first, "{text}");
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
        check("0.0.0.0/0", Err("too large: at least /12"));
        check("10.0.0.0/8", Err("too large: at least /12"));
        check("fd00::/48", Err("too large: at least /64"));
        check("10.96.0.0/30", Err("too small: at most /29"));
    }

    #[test]
    fn two_ranges_are_one_of_each_family() {
        let check = |text: &str, expected: Result<(&str, Option<&str>), &str>| {
            let read = text.parse::<ServiceRanges>();
            let shown = read.as_ref().map(|read| (read.primary.to_string(), read.secondary.map(|one| one.to_string())));
            match (shown, expected) {
                (Ok((primary, secondary)), Ok(expected)) => {
                    assert_eq!((primary.as_str(), secondary.as_deref()), expected, "{text}");
                }
                (Err(error), Err(part)) => assert!(error.contains(part), "{text}: {error}"),
                (got, _) => panic!("{text}: {got:?}, expected {expected:?}"),
            }
        };
        check("10.96.0.0/12", Ok(("10.96.0.0/12", None)));
        check("10.96.0.0/12,fd00::/112", Ok(("10.96.0.0/12", Some("fd00::/112"))));
        check("fd00::/112,10.96.0.0/12", Ok(("fd00::/112", Some("10.96.0.0/12"))));
        check("10.96.0.0/12,10.112.0.0/12", Err("both ranges are of IPv4"));
        check("10.96.0.0/12,", Err("looks like"));
        check("10.96.0.0/12,fd00::/112,fd01::/112", Err("looks like"));
    }

    #[test]
    fn components() {
        assert_eq!("apiserver".parse(), Ok(Component::ApiServer));
        for text in ["", "api", "scheduler"] {
            assert!(text.parse::<Component>().unwrap_err().contains("it has apiserver"), "{text}");
        }
    }
}
