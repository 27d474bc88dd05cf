//! The names and addresses that a client may call this API server by. All of them stand in its certificate (A15).

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use crate::pki::ServerName;

/// The names of the `kubernetes` Service, as a pod resolves them.
const SERVICE_NAMES: [&str; 4] =
    ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];

/// What the host is called and where it can be reached.
#[derive(Clone, Debug, Default)]
pub(crate) struct Host {
    /// Its name, as the kernel has it.
    pub(crate) name: Option<String>,
    /// The addresses of its interfaces that outlive a reconnection: no link-local ones.
    pub(crate) addresses: Vec<IpAddr>,
}

impl Host {
    /// Asks the kernel. What it does not tell is left out: the certificate then has fewer names.
    pub(crate) fn here() -> Self {
        let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
        let addresses = interfaces.filter_map(|interface| address(&interface)).filter(lasts).collect();
        Self { name, addresses }
    }
}

/// All names of a server on this host that is bound to an address, with the first address of the service range.
pub(crate) fn serving_names(host: &Host, bound: IpAddr, service: IpAddr) -> BTreeSet<ServerName> {
    let mut names: BTreeSet<_> = SERVICE_NAMES.iter().map(|name| ServerName::Dns((*name).to_owned())).collect();
    names.insert(ServerName::Dns("localhost".to_owned()));
    // Names are compared in lower case; what is no DNS name could match no client.
    names.extend(host.name.iter().filter(|name| is_dns_name(name)).map(|name| ServerName::Dns(name.to_lowercase())));
    let loopback = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])];
    names.extend(loopback.map(ServerName::Ip));
    names.insert(ServerName::Ip(service));
    if bound.is_unspecified() {
        names.extend(host.addresses.iter().copied().map(ServerName::Ip));
    } else {
        names.insert(ServerName::Ip(bound));
    }
    names
}

/// Where a server on this host that listens there is reached.
pub(crate) fn listening(host: &Host, bound: SocketAddr) -> Vec<SocketAddr> {
    let mut addresses = vec![bound];
    if bound.ip().is_unspecified() {
        addresses.extend(host.addresses.iter().map(|address| SocketAddr::new(*address, bound.port())));
    }
    addresses
}

fn address(interface: &nix::ifaddrs::InterfaceAddress) -> Option<IpAddr> {
    let address = interface.address.as_ref()?;
    let v4 = address.as_sockaddr_in().map(|found| IpAddr::V4(found.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|found| IpAddr::V6(found.ip())))
}

fn lasts(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !address.is_link_local() && !address.is_unspecified(),
        IpAddr::V6(address) => !address.is_unicast_link_local() && !address.is_unspecified(),
    }
}

fn is_dns_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_of_a_server() {
        let host = Host { name: Some("Gate-1".into()), addresses: vec!["192.0.2.7".parse().unwrap()] };
        let check = |bound: &str, expected: &[&str]| {
            let names = serving_names(&host, bound.parse().unwrap(), "10.96.0.1".parse().unwrap());
            let mut names: Vec<_> = names.iter().map(ToString::to_string).collect();
            let mut all =
                [&SERVICE_NAMES[..], &["localhost", "gate-1", "127.0.0.1", "::1", "10.96.0.1"], expected].concat();
            names.sort();
            all.sort_unstable();
            assert_eq!(names, all, "{bound}");
        };
        check("0.0.0.0", &["192.0.2.7"]);
        check("::", &["192.0.2.7"]);
        check("198.51.100.1", &["198.51.100.1"]);
        check("127.0.0.1", &[]);
    }

    #[test]
    fn addresses_of_a_server() {
        let host = Host { name: None, addresses: vec!["192.0.2.7".parse().unwrap()] };
        let check = |bound: &str, expected: &[&str]| {
            let addresses = listening(&host, bound.parse().unwrap());
            assert_eq!(addresses.iter().map(ToString::to_string).collect::<Vec<_>>(), expected, "{bound}");
        };
        check("0.0.0.0:6443", &["0.0.0.0:6443", "192.0.2.7:6443"]);
        check("198.51.100.1:6443", &["198.51.100.1:6443"]);
    }

    #[test]
    fn a_host_name_that_is_no_dns_name_is_left_out() {
        let check = |name: &str, expected: bool| assert_eq!(is_dns_name(name), expected, "{name}");
        check("gate", true);
        check("gate.example.org", true);
        check("7", true);
        check("", false);
        check("a_b", false);
        check("-a", false);
        check("a-", false);
        check("a..b", false);
        check(&"a".repeat(64), false);
    }
}
