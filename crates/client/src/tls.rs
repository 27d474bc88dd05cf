//! What a connection is verified against, and what it shows of us (A21): TLS 1.2 and 1.3 (A22), the server's certificate against
//! the given authorities, a client certificate if there is one.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, version};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use thiserror::Error;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

/// The protocol names of ALPN, the preferred one first.
pub(crate) const ALPN_H2: &[u8] = b"h2";
const ALPN_HTTP1: &[u8] = b"http/1.1";

/// Who may vouch for a server.
#[derive(Clone, Debug)]
pub enum Trust {
    /// These authorities and nobody else, as PEM text.
    Authorities(Vec<u8>),
    /// The authorities that this machine's operator trusts.
    System,
    /// Nobody needs to (A21: only where the Kubernetes API itself has a field for it).
    Unverified,
}

/// A client certificate and its key, as PEM text. Neither is ever printed.
#[derive(Clone)]
pub struct ClientCertificate {
    /// The certificate, then its intermediates.
    pub chain_pem: Vec<u8>,
    /// The private key.
    pub key_pem: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for ClientCertificate {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("ClientCertificate(..)")
    }
}

/// Why certificates and keys can not be used.
#[derive(Debug, Error)]
pub enum TrustError {
    /// The authorities are no PEM.
    #[error("certificate authority is not PEM: {0}")]
    AuthorityUnreadable(rustls_pki_types::pem::Error),
    /// There is no authority.
    #[error("certificate authority is missing: the PEM text holds no CERTIFICATE")]
    AuthorityMissing,
    /// An authority can not be trusted.
    #[error("certificate authority can not be used: {0}")]
    AuthorityUnusable(rustls::Error),
    /// The system has no authorities.
    #[error("this system has no certificate authorities: install ca-certificates, or give certificate-authority-data")]
    SystemAuthoritiesMissing,
    /// No verifier could be made from the authorities.
    #[error("certificate authorities can not verify anything: {0}")]
    VerifierUnusable(rustls::client::VerifierBuilderError),
    /// The client certificate is no PEM.
    #[error("client certificate is not PEM: {0}")]
    CertificateUnreadable(rustls_pki_types::pem::Error),
    /// There is no client certificate.
    #[error("client certificate is missing: the PEM text holds no CERTIFICATE")]
    CertificateMissing,
    /// The client key is no PEM.
    #[error("client key is not PEM, or of a sort that is not known: {0}")]
    KeyUnreadable(rustls_pki_types::pem::Error),
    /// Certificate and key do not fit each other, or TLS can not use them.
    #[error("client certificate and client key can not be used together: {0}")]
    PairUnusable(rustls::Error),
    /// The TLS versions are not available.
    #[error("TLS versions are not available: {0}")]
    VersionsUnavailable(rustls::Error),
}

/// Makes the TLS side of a client.
pub(crate) fn config(trust: &Trust, certificate: Option<&ClientCertificate>) -> Result<ClientConfig, TrustError> {
    // The provider has neither RSA key exchange nor CBC, and the same suites as the listener.
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        Trust::Authorities(pem) => Arc::new(Authorities::new(given(pem)?, &provider)?),
        Trust::System => system(&provider)?,
        Trust::Unverified => Arc::new(Unverified(Arc::clone(&provider))),
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .map_err(TrustError::VersionsUnavailable)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match certificate {
        None => builder.with_no_client_auth(),
        Some(certificate) => {
            let chain = CertificateDer::pem_slice_iter(&certificate.chain_pem)
                .collect::<Result<Vec<_>, _>>()
                .map_err(TrustError::CertificateUnreadable)?;
            if chain.is_empty() {
                return Err(TrustError::CertificateMissing);
            }
            let key = PrivateKeyDer::from_pem_slice(&certificate.key_pem).map_err(TrustError::KeyUnreadable)?;
            builder.with_client_auth_cert(chain, key).map_err(TrustError::PairUnusable)?
        }
    };
    config.alpn_protocols = vec![ALPN_H2.to_vec(), ALPN_HTTP1.to_vec()];
    Ok(config)
}

fn given(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(TrustError::AuthorityUnreadable)?;
    if certificates.is_empty() {
        return Err(TrustError::AuthorityMissing);
    }
    Ok(certificates)
}

/// What the operator of this machine trusts, rather than a list that was compiled in and that nobody there can shorten.
fn system(provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, TrustError> {
    let mut roots = RootCertStore::empty();
    // A system's store may hold what nobody can read any more; that is no reason to refuse the rest.
    let (added, ignored) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        return Err(TrustError::SystemAuthoritiesMissing);
    }
    tracing::debug!(added, ignored, "authorities of the system read");
    let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    builder.build().map_err(TrustError::VerifierUnusable)
}

/// Verifies against authorities. A server may also show one of the authorities itself: authenticators that make their own
/// certificate do, and Go's verifier lets them, where the library's refuses an authority as a server.
#[derive(Debug)]
struct Authorities {
    chains: Arc<WebPkiServerVerifier>,
    themselves: Vec<CertificateDer<'static>>,
}

impl Authorities {
    fn new(certificates: Vec<CertificateDer<'static>>, provider: &Arc<CryptoProvider>) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            roots.add(certificate.clone()).map_err(TrustError::AuthorityUnusable)?;
        }
        let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        Ok(Self { chains: builder.build().map_err(TrustError::VerifierUnusable)?, themselves: certificates })
    }
}

/// Says whether a certificate that is trusted already may stand for a server of this name at this time.
fn verify_itself(
    certificate: &CertificateDer<'_>,
    server_name: &ServerName<'_>,
    now: UnixTime,
) -> Result<ServerCertVerified, rustls::Error> {
    let (_, read) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < read.validity().not_before.timestamp() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > read.validity().not_after.timestamp() {
        return Err(CertificateError::Expired.into());
    }
    let usage = read.extended_key_usage().map_err(|_| CertificateError::BadEncoding)?;
    if usage.is_some_and(|usage| !usage.value.server_auth && !usage.value.any) {
        return Err(CertificateError::InvalidPurpose.into());
    }
    verify_server_name(&ParsedCertificate::try_from(certificate)?, server_name)?;
    Ok(ServerCertVerified::assertion())
}

impl ServerCertVerifier for Authorities {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.themselves.contains(end_entity) {
            return verify_itself(end_entity, server_name, now);
        }
        self.chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

/// Verifies that the server holds the key of the certificate it shows, and nothing else.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
