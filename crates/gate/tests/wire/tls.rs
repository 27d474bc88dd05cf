//! A22 on the wire, and what can not be served at all.

use portcullis_gate::{Tls, TlsError};
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, ProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Dial, Protocol};
use crate::server::{Authority, Server};

const ALERT: u8 = 21;
const HANDSHAKE_FAILURE: u8 = 40;
const PROTOCOL_VERSION: u8 = 70;

#[tokio::test]
async fn a22_tls_1_2_and_1_3_with_forward_secrecy_are_spoken() {
    let server = Server::describing().await;
    let admin = server.ca.admin();
    for (version, expected) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        let dial = Dial { versions: &[version], ..Dial::to(&server, Some(&admin), Protocol::Http1) };
        let stream = dial.tls().await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(expected));
        assert_eq!(dial.client().await.get("/api").await.status, 200);
    }
    let dial = Dial::to(&server, None, Protocol::Http1);
    assert_eq!(dial.tls().await.unwrap().get_ref().1.protocol_version(), Some(ProtocolVersion::TLSv1_3));
}

#[tokio::test]
async fn a22_old_versions_cbc_and_rsa_key_exchange_are_refused() {
    let server = Server::describing().await;
    let check = async |version: u8, suites: &[CipherSuite], expected: u8| {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(&client_hello(version, suites)).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer.first(), Some(&ALERT), "3.{version} {suites:?}");
        assert_eq!(answer.last(), Some(&expected), "3.{version} {suites:?}");
    };
    let good = [CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256];
    check(0, &good, PROTOCOL_VERSION).await;
    check(1, &good, PROTOCOL_VERSION).await;
    check(2, &good, PROTOCOL_VERSION).await;
    for suite in [
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256,
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
        CipherSuite::TLS_RSA_WITH_AES_128_CBC_SHA,
        CipherSuite::TLS_RSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::TLS_DHE_RSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::TLS_RSA_WITH_3DES_EDE_CBC_SHA,
        CipherSuite::TLS_RSA_WITH_RC4_128_SHA,
        CipherSuite::TLS_RSA_WITH_NULL_SHA256,
    ] {
        check(3, &[suite], HANDSHAKE_FAILURE).await;
    }
}

/// A ClientHello of version 3.`minor` with the extensions a TLS 1.2 server asks for.
fn client_hello(minor: u8, suites: &[CipherSuite]) -> Vec<u8> {
    let groups = [0x00, 0x0a, 0x00, 0x06, 0x00, 0x04, 0x00, 0x1d, 0x00, 0x17];
    let points = [0x00, 0x0b, 0x00, 0x02, 0x01, 0x00];
    let signatures = [0x00, 0x0d, 0x00, 0x06, 0x00, 0x04, 0x04, 0x03, 0x08, 0x04];
    let extended_master_secret = [0x00, 0x17, 0x00, 0x00];
    let extensions = [&groups[..], &points, &signatures, &extended_master_secret].concat();
    let mut hello = vec![3, minor];
    hello.extend([7; 32]);
    hello.push(0);
    hello.extend(u16::try_from(suites.len() * 2).unwrap().to_be_bytes());
    hello.extend(suites.iter().flat_map(|suite| u16::from(*suite).to_be_bytes()));
    hello.extend([1, 0]);
    hello.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    hello.extend(extensions);
    let mut message = vec![1, 0];
    message.extend(u16::try_from(hello.len()).unwrap().to_be_bytes());
    message.extend(hello);
    let mut record = vec![22, 3, 1];
    record.extend(u16::try_from(message.len()).unwrap().to_be_bytes());
    record.extend(message);
    record
}

#[tokio::test]
async fn plain_http_gets_nothing() {
    let server = Server::describing().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

#[test]
fn material_that_can_not_be_used_says_why() {
    let (ca, other) = (Authority::new(), Authority::new());
    let check = |change: &dyn Fn(&mut portcullis_gate::TlsMaterial), expected: &str| {
        let mut material = ca.serving(&ca);
        change(&mut material);
        let error: TlsError = Tls::new(&material).err().unwrap();
        assert!(error.to_string().starts_with(expected), "{error}");
    };
    check(&|material| material.cert_chain_pem.clear(), "serving certificate is missing");
    check(&|material| material.cert_chain_pem.truncate(100), "serving certificate is not PEM");
    check(&|material| material.key_pem.clear(), "private key of the serving certificate is not PEM");
    check(&|material| material.key_pem = other.serving(&ca).key_pem, "serving certificate and private key");
    check(&|material| material.client_ca_pem.clear(), "client CA is missing");
    check(&|material| material.client_ca_pem.truncate(100), "client CA is not PEM");
    assert!(Tls::new(&ca.serving(&other)).is_ok());
}
