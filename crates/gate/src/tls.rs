//! TLS of the listener: 1.2 and 1.3, forward secrecy and authenticated encryption only (A22), a client certificate if the peer
//! has one, HTTP/2 or HTTP/1.1 by ALPN.
//!
//! The client's certificate is not judged in the handshake, only its signature: what it is worth is a question of `authn`,
//! whose answer a client can read. All of it can be replaced while the server runs; connections that are open keep their
//! keys, and their certificates are judged by the new CAs from their next request on.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme, SupportedCipherSuite,
    version,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use crate::authn::certificate::{ClientRoots, ClientTrust};
use crate::config::TlsMaterial;

/// The protocol names of ALPN, the preferred one first.
pub(crate) const ALPN_H2: &[u8] = b"h2";
const ALPN_HTTP1: &[u8] = b"http/1.1";

/// A22: no RSA key exchange, no CBC. The library has neither; the list is here so that no update adds one unseen.
const CIPHER_SUITES: [SupportedCipherSuite; 9] = [
    aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
    aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
    aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    aws_lc_rs::cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    aws_lc_rs::cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    aws_lc_rs::cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// Why certificates and keys could not be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The serving certificate is no PEM.
    #[error("serving certificate is not PEM")]
    CertificateUnreadable(#[source] rustls_pki_types::pem::Error),
    /// There is no serving certificate.
    #[error("serving certificate is missing: the PEM text holds no CERTIFICATE")]
    CertificateMissing,
    /// The private key is no PEM.
    #[error("private key of the serving certificate is not PEM, or of a sort that is not known")]
    KeyUnreadable(#[source] rustls_pki_types::pem::Error),
    /// Certificate and key do not fit each other, or TLS can not use them.
    #[error("serving certificate and private key can not be used together")]
    PairUnusable(#[source] rustls::Error),
    /// The client CA is no PEM.
    #[error("client CA is not PEM")]
    ClientCaUnreadable(#[source] rustls_pki_types::pem::Error),
    /// A client CA is no certificate.
    #[error("client CA is not an X.509 certificate")]
    ClientCaMalformed,
    /// A client CA is no CA.
    #[error("client CA can not be trusted")]
    ClientCaUnusable(#[source] rustls::Error),
    /// There is no client CA.
    #[error("client CA is missing: the PEM text holds no CERTIFICATE")]
    ClientCaMissing,
    /// No verifier could be made from the client CAs.
    #[error("client CA can not verify anything")]
    VerifierUnusable(#[source] rustls::server::VerifierBuilderError),
    /// The versions and suites above are not available.
    #[error("TLS versions are not available")]
    VersionsUnavailable(#[source] rustls::Error),
}

/// The TLS side of a listener.
pub struct Tls {
    config: ArcSwap<ServerConfig>,
    trust: ClientTrust,
    material: Mutex<Material>,
}

/// What the configuration in force was made of, so that a part of it can be replaced.
struct Material {
    tls: TlsMaterial,
    /// The CA of the front proxy: a client that has several certificates must know that this one is asked for too. It vouches
    /// for no user.
    front_proxy_ca_pem: Vec<u8>,
}

impl Tls {
    /// Reads certificates and keys.
    ///
    /// # Errors
    /// Says which part can not be used.
    pub fn new(material: &TlsMaterial) -> Result<Self, TlsError> {
        let material = Material { tls: copy(material), front_proxy_ca_pem: Vec::new() };
        let (config, roots) = load(&material)?;
        let trust = Arc::new(ArcSwap::from_pointee(roots));
        Ok(Self { config: ArcSwap::from(config), trust, material: Mutex::new(material) })
    }

    /// Replaces certificates, keys and CAs. When they can not be used, everything stays as it is.
    ///
    /// # Errors
    /// Says which part can not be used.
    pub fn reload(&self, material: &TlsMaterial) -> Result<(), TlsError> {
        self.change(|now| now.tls = copy(material))
    }

    /// Replaces the CAs of client certificates, and names the front proxy's CA (empty when there is none) to clients beside
    /// them. When they can not be used, everything stays as it is.
    ///
    /// # Errors
    /// Says what can not be used.
    pub fn reload_client_cas(&self, client_ca_pem: &[u8], front_proxy_ca_pem: &[u8]) -> Result<(), TlsError> {
        self.change(|now| {
            now.tls.client_ca_pem = client_ca_pem.to_vec();
            now.front_proxy_ca_pem = front_proxy_ca_pem.to_vec();
        })
    }

    fn change(&self, change: impl FnOnce(&mut Material)) -> Result<(), TlsError> {
        let mut material = self.material.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed =
            Material { tls: copy(&material.tls), front_proxy_ca_pem: material.front_proxy_ca_pem.clone() };
        change(&mut changed);
        let (config, roots) = load(&changed)?;
        self.trust.store(Arc::new(roots));
        self.config.store(config);
        *material = changed;
        Ok(())
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }

    pub(crate) fn trust(&self) -> ClientTrust {
        Arc::clone(&self.trust)
    }
}

fn copy(material: &TlsMaterial) -> TlsMaterial {
    TlsMaterial {
        cert_chain_pem: material.cert_chain_pem.clone(),
        key_pem: material.key_pem.clone(),
        client_ca_pem: material.client_ca_pem.clone(),
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider { cipher_suites: CIPHER_SUITES.to_vec(), ..aws_lc_rs::default_provider() })
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(TlsError::ClientCaUnreadable)
}

fn read_cas(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(TlsError::ClientCaUnusable)?;
    }
    Ok(roots)
}

/// Reads CAs that vouch for client certificates.
pub(crate) fn client_roots(pem: &[u8]) -> Result<ClientRoots, TlsError> {
    let certificates = certificates(pem)?;
    if certificates.is_empty() {
        return Err(TlsError::ClientCaMissing);
    }
    ClientRoots::new(certificates, provider())
}

fn load(material: &Material) -> Result<(Arc<ServerConfig>, ClientRoots), TlsError> {
    let Material { tls: material, front_proxy_ca_pem } = material;
    let provider = provider();
    let chain = CertificateDer::pem_slice_iter(&material.cert_chain_pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(TlsError::CertificateUnreadable)?;
    if chain.is_empty() {
        return Err(TlsError::CertificateMissing);
    }
    let key = PrivateKeyDer::from_pem_slice(&material.key_pem).map_err(TlsError::KeyUnreadable)?;
    let roots = client_roots(&material.client_ca_pem)?;
    let mut hints = read_cas(&material.client_ca_pem)?;
    hints.roots.extend(read_cas(front_proxy_ca_pem)?.roots);
    let verifier = Arc::new(PossessionVerifier { hints: hints.subjects(), provider: Arc::clone(&provider) });
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .map_err(TlsError::VersionsUnavailable)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(TlsError::PairUnusable)?;
    config.alpn_protocols = vec![ALPN_H2.to_vec(), ALPN_HTTP1.to_vec()];
    Ok((Arc::new(config), roots))
}

/// Verifies that the peer holds the key of the certificate it shows, and nothing else.
#[derive(Debug)]
struct PossessionVerifier {
    /// The CAs' names, so that a client with several certificates sends the right one.
    hints: Vec<DistinguishedName>,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for PossessionVerifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        // The chain is judged for each request, in authn/certificate.rs.
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
