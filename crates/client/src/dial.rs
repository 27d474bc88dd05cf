//! Which addresses the server may dial (A26). Upstream resolves a name to check it and lets the transport resolve it again to
//! connect, so a name server that changes its mind reaches what was refused (CVE-2020-8562). Here a name is resolved once, every
//! address it has is checked, and the connection goes to an address that was checked.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use portcullis_model::cidr::Cidr;
use thiserror::Error;
use tokio::net::TcpStream;

use crate::BoxFuture;

/// Most addresses of one name that are looked at; a name with more is refused.
const ADDRESSES_MAX: usize = 32;
/// Most addresses of one name that are tried.
const TRIES_MAX: usize = 4;
/// How long one address may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The well-known prefix of NAT64 (RFC 6052): its last 32 bits are an IPv4 address.
const NAT64: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];

/// Finds the addresses of a host.
pub trait Resolve: Send + Sync + 'static {
    /// Returns every address of `host`, with `port`.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

/// The resolver of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}

/// Why an address is not dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forbidden {
    /// This machine itself.
    Loopback,
    /// This link: where clouds keep their credentials.
    LinkLocal,
    /// No address at all; Linux takes it for this machine.
    Unspecified,
    /// Many at once.
    Multicast,
    /// The API server itself.
    Own,
}

impl fmt::Display for Forbidden {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Loopback => "a loopback address",
            Self::LinkLocal => "a link-local address",
            Self::Unspecified => "an unspecified address",
            Self::Multicast => "a multicast address",
            Self::Own => "an address of the API server",
        })
    }
}

/// What may be dialled: everything but this machine, this link, nobody, everybody and the API server itself, and what an
/// operator lists. The default lists nothing.
#[derive(Clone, Debug, Default)]
pub struct DialRule {
    /// What the operator lists; it wins over all else.
    pub allowed: Vec<Cidr>,
    /// Where the API server listens. An unspecified address stands for loopback here; list the others one by one.
    pub own: Vec<SocketAddr>,
    /// Whether loopback is allowed, as under `--defaults upstream`.
    pub loopback_allowed: bool,
}

impl DialRule {
    /// Judges an address. An IPv4 address inside an IPv6 one is judged as what it reaches.
    ///
    /// # Errors
    /// Why it is not dialled.
    pub fn check(&self, address: SocketAddr) -> Result<(), Forbidden> {
        let ip = inner(address.ip());
        if self.allowed.iter().any(|range| range.contains(ip) || range.contains(address.ip())) {
            return Ok(());
        }
        if self.own.iter().any(|own| is_own(*own, ip, address.port())) {
            return Err(Forbidden::Own);
        }
        match sort(ip) {
            Some(Forbidden::Loopback) if self.loopback_allowed => Ok(()),
            Some(forbidden) => Err(forbidden),
            None => Ok(()),
        }
    }
}

fn is_own(own: SocketAddr, ip: IpAddr, port: u16) -> bool {
    let listening = inner(own.ip());
    own.port() == port && (listening == ip || (listening.is_unspecified() && ip.is_loopback()))
}

/// Returns the IPv4 address that an IPv6 address stands for: mapped, compatible, or translated.
fn inner(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(six) = ip else { return ip };
    if let Some(four) = six.to_ipv4_mapped() {
        return four.into();
    }
    let [a, b, c, d, e, f, high, low] = six.segments();
    let head = [a, b, c, d, e, f];
    let is_compatible = head == [0; 6] && six != Ipv6Addr::LOCALHOST && six != Ipv6Addr::UNSPECIFIED;
    if is_compatible || head == NAT64 {
        return Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)).into();
    }
    ip
}

fn sort(ip: IpAddr) -> Option<Forbidden> {
    let (this_link, nobody, everybody) = match ip {
        // All of 0.0.0.0/8 means "this network", and the limited broadcast is a multicast to everyone.
        IpAddr::V4(four) => {
            (four.is_link_local(), four.octets().first() == Some(&0), four.is_multicast() || four.is_broadcast())
        }
        IpAddr::V6(six) => (six.is_unicast_link_local(), six.is_unspecified(), six.is_multicast()),
    };
    match () {
        () if ip.is_loopback() => Some(Forbidden::Loopback),
        () if this_link => Some(Forbidden::LinkLocal),
        () if nobody => Some(Forbidden::Unspecified),
        () if everybody => Some(Forbidden::Multicast),
        () => None,
    }
}

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum DialError {
    /// The name could not be resolved.
    #[error("{host} could not be resolved: {cause}")]
    ResolveFailed {
        /// The name.
        host: String,
        /// What the resolver said.
        cause: io::Error,
    },
    /// The name has no address.
    #[error("{host} has no address")]
    NoAddress {
        /// The name.
        host: String,
    },
    /// The name has too many addresses.
    #[error("{host} has more than {ADDRESSES_MAX} addresses")]
    TooManyAddresses {
        /// The name.
        host: String,
    },
    /// One of the addresses may not be dialled, so none of them is.
    #[error("{host} is not dialled: {address} is {why}, and no address range that the operator allows holds it")]
    AddressForbidden {
        /// The name.
        host: String,
        /// Its address.
        address: IpAddr,
        /// What it is.
        why: Forbidden,
    },
    /// No address accepted a connection.
    #[error("{host} can not be reached at {address}: {cause}")]
    ConnectFailed {
        /// The name.
        host: String,
        /// The address that was tried last.
        address: SocketAddr,
        /// How it failed.
        cause: io::Error,
    },
}

/// Connects to a host, if every address it has may be dialled.
pub(crate) async fn dial(
    host: &str,
    port: u16,
    rule: &DialRule,
    resolver: &dyn Resolve,
) -> Result<TcpStream, DialError> {
    let addresses = addresses(host, port, rule, resolver).await?;
    let mut failed = DialError::NoAddress { host: host.to_owned() };
    for address in addresses.into_iter().take(TRIES_MAX) {
        let cause = match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Small questions and small answers: waiting to fill a segment only delays them.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(cause)) => cause,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        failed = DialError::ConnectFailed { host: host.to_owned(), address, cause };
    }
    Err(failed)
}

/// Resolves once, and checks every address. The caller connects to these and no others.
async fn addresses(
    host: &str,
    port: u16,
    rule: &DialRule,
    resolver: &dyn Resolve,
) -> Result<Vec<SocketAddr>, DialError> {
    let addresses = match host.parse::<IpAddr>() {
        Ok(ip) => vec![SocketAddr::new(ip, port)],
        Err(_) => resolver
            .resolve(host, port)
            .await
            .map_err(|cause| DialError::ResolveFailed { host: host.to_owned(), cause })?,
    };
    if addresses.len() > ADDRESSES_MAX {
        return Err(DialError::TooManyAddresses { host: host.to_owned() });
    }
    for address in &addresses {
        if let Err(why) = rule.check(*address) {
            return Err(DialError::AddressForbidden { host: host.to_owned(), address: address.ip(), why });
        }
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn this_machine_and_this_link_are_refused() {
        let rule = DialRule { own: vec!["192.0.2.1:6443".parse().unwrap()], ..DialRule::default() };
        let check = |address: &str, expected: Result<(), Forbidden>| {
            assert_eq!(rule.check(address.parse().unwrap()), expected, "{address}");
        };
        check("192.0.2.7:443", Ok(()));
        check("10.0.0.1:443", Ok(()));
        check("[2001:db8::1]:443", Ok(()));
        check("[fd00::1]:443", Ok(()));
        check("127.0.0.1:443", Err(Forbidden::Loopback));
        check("127.8.9.1:443", Err(Forbidden::Loopback));
        check("[::1]:443", Err(Forbidden::Loopback));
        check("169.254.169.254:80", Err(Forbidden::LinkLocal));
        check("[fe80::1]:443", Err(Forbidden::LinkLocal));
        check("[febf::1]:443", Err(Forbidden::LinkLocal));
        check("0.0.0.0:443", Err(Forbidden::Unspecified));
        check("0.1.2.3:443", Err(Forbidden::Unspecified));
        check("[::]:443", Err(Forbidden::Unspecified));
        check("224.0.0.1:443", Err(Forbidden::Multicast));
        check("255.255.255.255:443", Err(Forbidden::Multicast));
        check("[ff02::1]:443", Err(Forbidden::Multicast));
        check("192.0.2.1:6443", Err(Forbidden::Own));
        check("192.0.2.1:6444", Ok(()));
    }

    #[test]
    fn an_ipv4_address_inside_an_ipv6_one_is_judged_as_itself() {
        let rule = DialRule { own: vec!["192.0.2.1:6443".parse().unwrap()], ..DialRule::default() };
        let check = |address: &str, expected: Result<(), Forbidden>| {
            assert_eq!(rule.check(address.parse().unwrap()), expected, "{address}");
        };
        check("[::ffff:127.0.0.1]:443", Err(Forbidden::Loopback));
        check("[::ffff:169.254.169.254]:443", Err(Forbidden::LinkLocal));
        check("[::ffff:0.0.0.0]:443", Err(Forbidden::Unspecified));
        check("[::ffff:192.0.2.1]:6443", Err(Forbidden::Own));
        check("[::ffff:192.0.2.7]:443", Ok(()));
        check("[::127.0.0.1]:443", Err(Forbidden::Loopback));
        check("[64:ff9b::a9fe:a9fe]:443", Err(Forbidden::LinkLocal));
        check("[64:ff9b::c000:207]:443", Ok(()));
    }

    #[test]
    fn what_the_operator_lists_is_allowed() {
        let check = |allowed: &str, loopback_allowed: bool, address: &str, expected: Result<(), Forbidden>| {
            let allowed = if allowed.is_empty() { Vec::new() } else { vec![allowed.parse().unwrap()] };
            let own = vec!["0.0.0.0:6443".parse().unwrap()];
            let rule = DialRule { allowed, own, loopback_allowed };
            assert_eq!(rule.check(address.parse().unwrap()), expected, "{rule:?} {address}");
        };
        check("127.0.0.0/8", false, "127.0.0.1:443", Ok(()));
        check("127.0.0.0/8", false, "[::ffff:127.0.0.1]:443", Ok(()));
        check("127.0.0.2/32", false, "127.0.0.1:443", Err(Forbidden::Loopback));
        check("127.0.0.0/8", false, "[::1]:443", Err(Forbidden::Loopback));
        check("169.254.0.0/16", false, "169.254.1.1:443", Ok(()));
        check("", true, "127.0.0.1:443", Ok(()));
        check("", true, "[::1]:443", Ok(()));
        check("", true, "127.0.0.1:6443", Err(Forbidden::Own));
        check("", true, "169.254.169.254:80", Err(Forbidden::LinkLocal));
    }
}
