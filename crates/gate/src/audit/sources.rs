//! The addresses a request came from (upstream: `SourceIPs`).
//!
//! All but the last are what the client or a proxy claims; the last is the connection's, unless a proxy just said the same.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderName};

/// Claimed addresses that are recorded: the last ones, which the nearest proxies wrote.
const CLAIMED_MAX: usize = 8;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Addresses, without an allocation.
pub(super) struct Sources {
    list: [IpAddr; CLAIMED_MAX + 1],
    len: usize,
}

impl Sources {
    /// Reads the headers, and adds the connection's own address.
    pub(super) fn of(headers: &HeaderMap, remote: IpAddr) -> Self {
        let mut sources = Self { list: [IpAddr::V4(Ipv4Addr::UNSPECIFIED); CLAIMED_MAX + 1], len: 0 };
        if let Some(chain) = headers.get(FORWARDED_FOR).and_then(|value| value.to_str().ok()) {
            let addresses = || chain.split(',').filter_map(address);
            // Two passes instead of a list of what a client may make long.
            let surplus = addresses().count().saturating_sub(CLAIMED_MAX - 1);
            addresses().skip(surplus).for_each(|address| sources.push(address));
        }
        let real = headers.get(REAL_IP).and_then(|value| value.to_str().ok()).and_then(address);
        if let Some(real) = real.filter(|real| !sources.as_slice().contains(real)) {
            sources.push(real);
        }
        let remote = remote.to_canonical();
        if sources.as_slice().last() != Some(&remote) {
            sources.push(remote);
        }
        sources
    }

    pub(super) fn as_slice(&self) -> &[IpAddr] {
        self.list.get(..self.len).unwrap_or_default()
    }

    fn push(&mut self, address: IpAddr) {
        if let Some(place) = self.list.get_mut(self.len) {
            *place = address;
            self.len += 1;
        }
    }
}

fn address(text: &str) -> Option<IpAddr> {
    text.trim().parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_connections_own_address_is_the_last() {
        let check = |forwarded: &str, real: &str, expected: &str| {
            let mut headers = HeaderMap::new();
            for (name, value) in [(FORWARDED_FOR, forwarded), (REAL_IP, real)] {
                if !value.is_empty() {
                    headers.insert(name, HeaderValue::from_str(value).unwrap());
                }
            }
            let sources = Sources::of(&headers, "::ffff:10.0.0.1".parse().unwrap());
            let got: Vec<_> = sources.as_slice().iter().map(ToString::to_string).collect();
            assert_eq!(got.join(" "), expected, "{forwarded}; {real}");
        };
        check("", "", "10.0.0.1");
        check("1.2.3.4", "", "1.2.3.4 10.0.0.1");
        check("1.2.3.4, x, fd00::1", "", "1.2.3.4 fd00::1 10.0.0.1");
        check("1.2.3.4", "1.2.3.4", "1.2.3.4 10.0.0.1");
        check("1.2.3.4", "5.6.7.8", "1.2.3.4 5.6.7.8 10.0.0.1");
        check("1.2.3.4, 10.0.0.1", "", "1.2.3.4 10.0.0.1");
        check("x", "x", "10.0.0.1");
        let many: Vec<_> = (0..100).map(|at| format!("1.1.1.{at}")).collect();
        let last = "1.1.1.93 1.1.1.94 1.1.1.95 1.1.1.96 1.1.1.97 1.1.1.98 1.1.1.99";
        check(&many.join(","), "2.2.2.2", &format!("{last} 2.2.2.2 10.0.0.1"));
    }
}
