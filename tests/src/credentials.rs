//! Credentials as a cluster gives them and as it never would: made here with its own keys, which the test finds in the data directory,
//! or with the keys of somebody else.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};

use crate::client::Credentials;

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Now.
    Now,
    /// It ended long ago.
    Ended,
}

/// Who signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    /// The authority of a cluster.
    pub fn of(data_dir: &Path) -> Result<Self> {
        let read =
            |name: &str| std::fs::read_to_string(data_dir.join("pki").join(name)).with_context(|| name.to_owned());
        let (pem, key) = (read("ca.crt")?, KeyPair::from_pem(&read("ca.key")?)?);
        Ok(Self { issuer: Issuer::from_ca_cert_pem(&pem, key)?, pem })
    }

    /// One of the same name that no cluster knows.
    pub fn stranger() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, "kubernetes-ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::from_ca_cert_pem(&pem, key)?, pem })
    }

    /// Its certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A client certificate.
    pub fn issue(&self, user: &str, group: Option<&str>, validity: Validity) -> Result<Credentials> {
        let (certificate, key) = self.sign(user, group, validity, &[], vec![ExtendedKeyUsagePurpose::ClientAuth])?;
        Ok(Credentials::new(certificate, key))
    }

    /// The certificate of a server on this machine, and its key.
    pub fn serve(&self) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>)> {
        let names = ["127.0.0.1", "localhost"];
        self.sign("webhook", None, Validity::Now, &names, vec![ExtendedKeyUsagePurpose::ServerAuth])
    }

    /// The certificate of a member of an etcd of these names, which is a client of itself and of its peers, too.
    pub fn member(&self, names: &[&str]) -> Result<Credentials> {
        let usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let (certificate, key) = self.sign("etcd", None, Validity::Now, names, usages)?;
        Ok(Credentials::new(certificate, key))
    }

    fn sign(
        &self,
        name: &str,
        group: Option<&str>,
        validity: Validity,
        names: &[&str],
        usages: Vec<ExtendedKeyUsagePurpose>,
    ) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>)> {
        let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
        params.distinguished_name = DistinguishedName::new();
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages;
        (params.not_before, params.not_after) = match validity {
            Validity::Now => (date_time_ymd(2020, 1, 1), date_time_ymd(2100, 1, 1)),
            Validity::Ended => (date_time_ymd(2020, 1, 1), date_time_ymd(2020, 1, 2)),
        };
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
        Ok((certificate.der().clone(), key))
    }
}

/// Who signs tokens.
pub enum TokenKey {
    /// With RS256.
    Rsa(Box<RsaKeyPair>),
    /// With ES256.
    Ec(Box<EcdsaKeyPair>),
}

impl TokenKey {
    /// Reads a key as the cluster keeps it.
    pub fn read(path: &Path) -> Result<Self> {
        let key = PrivateKeyDer::from_pem_file(path).with_context(|| path.display().to_string())?;
        let (der, algorithm) = (key.secret_der(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        match &key {
            PrivateKeyDer::Pkcs1(_) => Ok(Self::Rsa(Box::new(RsaKeyPair::from_der(der)?))),
            PrivateKeyDer::Sec1(_) => Ok(Self::Ec(Box::new(EcdsaKeyPair::from_private_key_der(algorithm, der)?))),
            PrivateKeyDer::Pkcs8(_) => match EcdsaKeyPair::from_pkcs8(algorithm, der) {
                Ok(key) => Ok(Self::Ec(Box::new(key))),
                Err(_) => Ok(Self::Rsa(Box::new(RsaKeyPair::from_pkcs8(der)?))),
            },
            _ => bail!("{}: a key of a sort that is not known", path.display()),
        }
    }

    /// A new one that nobody knows.
    pub fn stranger() -> Result<Self> {
        Ok(Self::Ec(Box::new(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?)))
    }

    /// Signs claims. The header gets the algorithm that fits.
    pub fn sign(&self, mut header: Value, claims: &Value) -> Result<String> {
        header["alg"] = json!(if matches!(self, Self::Rsa(_)) { "RS256" } else { "ES256" });
        let signed = format!("{}.{}", part(&header), part(claims));
        let random = SystemRandom::new();
        let signature = match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature)?;
                signature
            }
            Self::Ec(key) => key.sign(&random, signed.as_bytes())?.as_ref().to_vec(),
        };
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The public key as PEM: what a careless verifier would take for the secret of HS256.
    pub fn public_pem(&self) -> Result<String> {
        let der = match self {
            Self::Rsa(key) => key.public_key().as_der()?.as_ref().to_vec(),
            Self::Ec(key) => key.public_key().as_der()?.as_ref().to_vec(),
        };
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
        Ok(format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n")))
    }
}

/// A token that says that nobody needs to sign it.
pub fn unsigned(mut header: Value, claims: &Value) -> String {
    header["alg"] = json!("none");
    format!("{}.{}.", part(&header), part(claims))
}

/// A token that is signed with a secret that both sides have.
pub fn with_secret(mut header: Value, claims: &Value, secret: &[u8]) -> String {
    header["alg"] = json!("HS256");
    let signed = format!("{}.{}", part(&header), part(claims));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
    let tag = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// A request for a certificate of this name and group, as a CertificateSigningRequest holds it.
pub fn signing_request(user: &str, group: &str) -> Result<String> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, group);
    params.distinguished_name.push(DnType::CommonName, user);
    let request = params.serialize_request(&KeyPair::generate()?)?;
    Ok(base64::engine::general_purpose::STANDARD.encode(request.pem()?))
}

/// Header and claims of a token, unverified.
pub fn parts(token: &str) -> Result<(Value, Value)> {
    let mut parts = token.split('.').map(|part| {
        let bytes = URL_SAFE_NO_PAD.decode(part).context("not a token")?;
        serde_json::from_slice(&bytes).context("not a token")
    });
    match (parts.next(), parts.next()) {
        (Some(header), Some(claims)) => Ok((header?, claims?)),
        _ => bail!("not a token"),
    }
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}
