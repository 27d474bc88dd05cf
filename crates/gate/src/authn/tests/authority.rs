//! Authorities of throwaway certificates.

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls_pki_types::CertificateDer;

/// An authority: its certificate, in both forms, and what signs.
pub(in crate::authn) struct Authority {
    pub(in crate::authn) certificate: CertificateDer<'static>,
    pub(in crate::authn) pem: String,
    pub(in crate::authn) issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes one of this name, for a long time.
    pub(in crate::authn) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        Self::of(params)
    }

    /// Makes one with this name and time.
    pub(in crate::authn) fn of(mut params: CertificateParams) -> Self {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.extended_key_usages = Vec::new();
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self::with(&certificate, Issuer::new(params, key))
    }

    /// Makes one of a certificate.
    pub(in crate::authn) fn with(certificate: &Certificate, issuer: Issuer<'static, KeyPair>) -> Self {
        Self { certificate: certificate.der().clone(), pem: certificate.pem(), issuer }
    }

    /// Signs a certificate for a new key.
    pub(in crate::authn) fn sign(&self, params: &CertificateParams) -> CertificateDer<'static> {
        params.signed_by(&KeyPair::generate().unwrap(), &self.issuer).unwrap().der().clone()
    }
}
