//! The administrator's kubeconfig: one file with all that kubectl needs, so that there is one file to copy and one to protect.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::pki::files::{self, Readers};
use crate::pki::{Pair, pem};

/// Writes the file when it does not say this already. Only the owner may read it: it holds the key.
pub(crate) fn write(path: &Path, listening: SocketAddr, authority: &CertificateDer<'_>, user: &Pair) -> Result<()> {
    let text = text(&server(listening), authority, &user.certificate, &user.key);
    if files::read(path)?.is_some_and(|found| found == text) {
        return files::refuse_readable_by_others(path);
    }
    files::replace(path, Readers::Owner, text.as_bytes())
}

/// Where a client on this machine reaches a server that listens there.
pub(crate) fn server(listening: SocketAddr) -> String {
    let address = match listening.ip() {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    };
    format!("https://{}", SocketAddr::new(address, listening.port()))
}

fn text(
    server: &str,
    authority: &CertificateDer<'_>,
    certificate: &CertificateDer<'_>,
    key: &PrivateKeyDer<'_>,
) -> String {
    let encoded = |label, der: &[u8]| STANDARD.encode(pem(label, der));
    let authority = encoded("CERTIFICATE", authority);
    let certificate = encoded("CERTIFICATE", certificate);
    let key = encoded("PRIVATE KEY", key.secret_der());
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: portcullis
  cluster:
    certificate-authority-data: {authority}
    server: {server}
users:
- name: kubernetes-admin
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
contexts:
- name: kubernetes-admin@portcullis
  context:
    cluster: portcullis
    user: kubernetes-admin
current-context: kubernetes-admin@portcullis
preferences: {{}}
"
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_client_on_this_machine_reaches_what_listens() {
        let check = |listening: &str, expected: &str| assert_eq!(server(listening.parse().unwrap()), expected);
        check("0.0.0.0:6443", "https://127.0.0.1:6443");
        check("[::]:6443", "https://[::1]:6443");
        check("192.0.2.7:443", "https://192.0.2.7:443");
        check("[2001:db8::7]:443", "https://[2001:db8::7]:443");
    }
}
