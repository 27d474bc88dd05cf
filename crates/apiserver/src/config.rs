//! What an operator decides about the API server itself: addresses it hands out and how it is reached.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use portcullis_gate::{Profile, ServiceAccountIssuer};

use crate::admission::Selection;

/// A network prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    prefix_len: u8,
}

/// A text that is not a network prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a network prefix such as 10.96.0.0/12")]
pub struct BadCidr {
    /// What was given.
    pub text: String,
}

impl Cidr {
    /// Reads `address/length`; bits after the prefix must be zero.
    pub fn parse(text: &str) -> Result<Cidr, BadCidr> {
        let bad = || BadCidr { text: text.to_owned() };
        let (address, prefix_len) = text.split_once('/').ok_or_else(bad)?;
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let prefix_len: u8 = prefix_len.parse().map_err(|_| bad())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        if prefix_len > bits || host_part(address, prefix_len) != 0 {
            return Err(bad());
        }
        Ok(Cidr { address, prefix_len })
    }

    /// Returns the network's first address after the network address itself: the one of the Service `kubernetes`.
    pub fn first_host(self) -> IpAddr {
        match self.address {
            IpAddr::V4(address) => IpAddr::V4((u32::from(address).wrapping_add(1)).into()),
            IpAddr::V6(address) => IpAddr::V6((u128::from(address).wrapping_add(1)).into()),
        }
    }

    /// Returns `IPv4` or `IPv6`, as Services name families.
    pub fn family(self) -> &'static str {
        if self.address.is_ipv4() { "IPv4" } else { "IPv6" }
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}/{}", self.address, self.prefix_len)
    }
}

/// The bits of an address that the prefix does not cover.
fn host_part(address: IpAddr, prefix_len: u8) -> u128 {
    let (value, bits) = match address {
        IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
        IpAddr::V6(address) => (u128::from(address), 128),
    };
    match bits - u32::from(prefix_len) {
        0 => 0,
        128 => value,
        free => value & ((1 << free) - 1),
    }
}

/// How service account tokens are issued.
#[derive(Clone)]
pub struct ServiceAccounts {
    /// Who signs them.
    pub issuer: Arc<ServiceAccountIssuer>,
    /// Whom a token is meant for when its request does not say.
    pub api_audiences: Vec<String>,
    /// Seconds that a token may last; a longer one is shortened, with a warning.
    pub max_expiration_seconds: Option<i64>,
    /// Whether the token of a pod's own mount lasts a year instead of the hour that was asked for, and is only warned about after
    /// that hour (upstream's default, for clients that never read the file again). A11: not in the locked profile, where a token
    /// lasts as long as its request says and clients are expected to read the file again.
    pub extend_expiration: bool,
    /// Where the discovery document says that the keys are.
    pub jwks_uri: String,
}

impl std::fmt::Debug for ServiceAccounts {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("ServiceAccounts").field("issuer", &self.issuer.name()).finish_non_exhaustive()
    }
}

/// The decisions of an operator about the API server.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where cluster IPs come from.
    pub service_cidr: Cidr,
    /// The port that the Service `kubernetes` leads to.
    pub secure_port: u16,
    /// The version of this build, as in `v1.36.3+portcullis.<version>`.
    pub build_version: &'static str,
    /// Which defaults are in force.
    pub profile: Profile,
    /// The admission plugins that are on.
    pub admission: Selection,
    /// How service account tokens are issued; without it nobody is given one here.
    pub service_accounts: Option<ServiceAccounts>,
    /// What extension servers are told about recognising clients; nothing where nobody is recognised.
    pub extension_authentication: Option<ExtensionAuthentication>,
}

/// How extension servers recognise the clients that this server recognises: the ConfigMap `kube-system/extension-apiserver-authentication`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtensionAuthentication {
    /// Authorities of client certificates, as PEM; empty for none.
    pub client_ca_pem: String,
    /// The front proxy whose word on a user is taken.
    pub request_header: Option<RequestHeader>,
}

/// The front proxy, as the `--requestheader-*` flags describe it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestHeader {
    /// Authorities of its certificate, as PEM.
    pub client_ca_pem: String,
    /// Common names that its certificate may have; any for an empty list.
    pub allowed_names: Vec<String>,
    /// Headers of the user's name.
    pub username_headers: Vec<String>,
    /// Headers of the user's uid.
    pub uid_headers: Vec<String>,
    /// Headers of the user's groups.
    pub group_headers: Vec<String>,
    /// What headers of the user's extra fields begin with.
    pub extra_header_prefixes: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        let service_cidr = Cidr { address: IpAddr::V4(Ipv4Addr::new(10, 96, 0, 0)), prefix_len: 12 };
        Config {
            service_cidr,
            secure_port: 6443,
            build_version: env!("CARGO_PKG_VERSION"),
            profile: Profile::default(),
            admission: Selection::default(),
            service_accounts: None,
            extension_authentication: None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn prefixes() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(Cidr::parse(text).ok().map(|cidr| cidr.first_host().to_string()).as_deref(), expected, "{text}");
        };
        check("10.96.0.0/12", Some("10.96.0.1"));
        check("10.0.0.0/8", Some("10.0.0.1"));
        check("fd00::/108", Some("fd00::1"));
        check("0.0.0.0/0", Some("0.0.0.1"));
        check("10.96.0.1/12", None);
        check("10.96.0.0/33", None);
        check("10.96.0.0", None);
        check("x/12", None);
        assert_eq!(Cidr::parse("10.96.0.0/12").unwrap().to_string(), "10.96.0.0/12");
    }
}
