//! X.509 certificates: what one of ours says, its encoding before the signature, and reading one back.
//!
//! RFC 5280. Users and groups of a client certificate are its CN and its O values, as Kubernetes reads them.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use anyhow::{Context as _, Result, bail};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::der::{self, Tag};

const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const ORGANIZATION: &[u8] = &[0x55, 4, 10];
const SUBJECT_KEY_IDENTIFIER: &[u8] = &[0x55, 29, 14];
const KEY_USAGE: &[u8] = &[0x55, 29, 15];
const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x55, 29, 17];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 29, 19];
const AUTHORITY_KEY_IDENTIFIER: &[u8] = &[0x55, 29, 35];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 29, 37];
const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
const CLIENT_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 2];

/// Bits of a key usage, the first one highest.
const DIGITAL_SIGNATURE: u16 = 1 << 15;
const KEY_CERT_SIGN: u16 = 1 << 10;
const CRL_SIGN: u16 = 1 << 9;

/// A longer user or group name is a mistake; subjects travel in every handshake.
const NAME_LEN_MAX: usize = 1024;
/// More groups than this is a mistake, for the same reason.
const GROUPS_MAX: usize = 256;

/// Who a certificate is for: the user and the groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subject {
    common_name: String,
    organizations: Vec<String>,
}

impl Subject {
    /// Checks the names: not empty, no control characters, of bearable length and number.
    pub(crate) fn new(user: &str, groups: &[&str]) -> Result<Self> {
        if groups.len() > GROUPS_MAX {
            bail!("{} groups: at most {GROUPS_MAX} fit into a certificate", groups.len());
        }
        for (what, name) in std::iter::once(("user", user)).chain(groups.iter().map(|group| ("group", *group))) {
            if name.is_empty() {
                bail!("an empty {what} name: nobody could be told from anybody");
            }
            if name.len() > NAME_LEN_MAX {
                bail!("a {what} name of {} bytes: at most {NAME_LEN_MAX} fit into a certificate", name.len());
            }
            if name.chars().any(char::is_control) {
                bail!("the {what} name {name:?} has a control character");
            }
        }
        Ok(Self { common_name: user.to_owned(), organizations: groups.iter().map(ToString::to_string).collect() })
    }

    fn encode(&self) -> Vec<u8> {
        let attribute =
            |oid: &[u8], value: &str| der::sequence(&[der::oid(oid), der::element(Tag::Utf8String, value.as_bytes())]);
        let mut organizations: Vec<_> = self.organizations.iter().map(|name| attribute(ORGANIZATION, name)).collect();
        // All groups stand in one set, whose members DER orders by their bytes.
        organizations.sort();
        let mut names = Vec::new();
        if !organizations.is_empty() {
            names.push(der::element(Tag::Set, &organizations.concat()));
        }
        names.push(der::element(Tag::Set, &attribute(COMMON_NAME, &self.common_name)));
        der::sequence(&names)
    }
}

/// A name that a server answers to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ServerName {
    /// A DNS name.
    Dns(String),
    /// An address.
    Ip(IpAddr),
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerName::Dns(name) => f.write_str(name),
            ServerName::Ip(address) => address.fmt(f),
        }
    }
}

/// What a certificate may be used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Signs other certificates.
    Authority,
    /// Proves that a server has these names.
    Server(BTreeSet<ServerName>),
    /// Proves who a client is.
    Client,
}

/// All that a signature will stand under, except the issuer and its algorithm.
pub(super) struct Blueprint<'a> {
    pub(super) serial: [u8; 16],
    pub(super) subject: &'a Subject,
    pub(super) purpose: &'a Purpose,
    pub(super) not_before: OffsetDateTime,
    pub(super) not_after: OffsetDateTime,
    /// The SubjectPublicKeyInfo, encoded.
    pub(super) public_key: &'a [u8],
    pub(super) key_identifier: &'a [u8],
}

/// The issuer as its certificates name it.
pub(super) struct Issuer<'a> {
    /// The Name, encoded as in the issuer's own certificate.
    pub(super) name: &'a [u8],
    pub(super) key_identifier: Option<&'a [u8]>,
    /// The AlgorithmIdentifier of its signatures, encoded.
    pub(super) algorithm: &'a [u8],
}

impl Blueprint<'_> {
    /// The name under which this subject issues, for one that signs itself.
    pub(super) fn name(&self) -> Vec<u8> {
        self.subject.encode()
    }

    /// The TBSCertificate: what is signed.
    pub(super) fn encode(&self, issuer: &Issuer<'_>) -> Vec<u8> {
        // The top bit is cleared, so that the number is positive, and the next one set, so that its length is fixed.
        let mut serial = self.serial;
        serial[0] = serial[0] & 0x7f | 0x40;
        der::sequence(&[
            der::element(Tag::Explicit0, &der::element(Tag::Integer, &[2])),
            der::element(Tag::Integer, &serial),
            issuer.algorithm.to_vec(),
            issuer.name.to_vec(),
            der::sequence(&[der::time(self.not_before), der::time(self.not_after)]),
            self.subject.encode(),
            self.public_key.to_vec(),
            der::element(Tag::Explicit3, &der::sequence(&self.extensions(issuer.key_identifier))),
        ])
    }

    fn extensions(&self, issuer_key: Option<&[u8]>) -> Vec<Vec<u8>> {
        let is_authority = *self.purpose == Purpose::Authority;
        let usage = if is_authority { KEY_CERT_SIGN | CRL_SIGN } else { DIGITAL_SIGNATURE };
        // A FALSE is the default and so not written.
        let constraints = if is_authority { vec![der::element(Tag::Boolean, &[0xff])] } else { vec![] };
        let mut out = vec![
            extension(KEY_USAGE, Critical::Yes, &der::named_bits(usage)),
            extension(BASIC_CONSTRAINTS, Critical::Yes, &der::sequence(&constraints)),
            extension(SUBJECT_KEY_IDENTIFIER, Critical::No, &der::element(Tag::OctetString, self.key_identifier)),
        ];
        if let Some(key) = issuer_key {
            let identifier = der::sequence(&[der::element(Tag::Implicit0, key)]);
            out.push(extension(AUTHORITY_KEY_IDENTIFIER, Critical::No, &identifier));
        }
        match self.purpose {
            Purpose::Authority => {}
            Purpose::Client => {
                out.push(extension(EXTENDED_KEY_USAGE, Critical::No, &der::sequence(&[der::oid(CLIENT_AUTH)])));
            }
            Purpose::Server(names) => {
                out.push(extension(EXTENDED_KEY_USAGE, Critical::No, &der::sequence(&[der::oid(SERVER_AUTH)])));
                let names: Vec<_> = names.iter().map(alternative_name).collect();
                out.push(extension(SUBJECT_ALTERNATIVE_NAME, Critical::No, &der::sequence(&names)));
            }
        }
        out
    }
}

#[derive(Clone, Copy)]
enum Critical {
    Yes,
    No,
}

fn extension(oid: &[u8], critical: Critical, value: &[u8]) -> Vec<u8> {
    let mut parts = vec![der::oid(oid)];
    if matches!(critical, Critical::Yes) {
        parts.push(der::element(Tag::Boolean, &[0xff]));
    }
    parts.push(der::element(Tag::OctetString, value));
    der::sequence(&parts)
}

fn alternative_name(name: &ServerName) -> Vec<u8> {
    match name {
        ServerName::Dns(name) => der::element(Tag::Implicit2, name.as_bytes()),
        ServerName::Ip(IpAddr::V4(address)) => der::element(Tag::Implicit7, &address.octets()),
        ServerName::Ip(IpAddr::V6(address)) => der::element(Tag::Implicit7, &address.octets()),
    }
}

/// What must be known of a certificate that was found.
#[derive(Debug)]
pub(crate) struct Reading {
    /// Its Name, encoded.
    pub(super) subject: Vec<u8>,
    /// Its issuer's Name, encoded.
    pub(super) issuer: Vec<u8>,
    pub(super) key_identifier: Option<Vec<u8>>,
    pub(super) issuer_key_identifier: Option<Vec<u8>>,
    /// The SubjectPublicKeyInfo, encoded.
    pub(super) public_key: Vec<u8>,
    pub(super) is_authority: bool,
    pub(super) not_after: OffsetDateTime,
    pub(super) names: BTreeSet<ServerName>,
}

impl Reading {
    /// Reads a certificate; bytes after it are an error.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Result<Self> {
        let (rest, parsed) = X509Certificate::from_der(certificate).ok().context("it is not an X.509 certificate")?;
        if !rest.is_empty() {
            bail!("something follows the X.509 certificate");
        }
        let mut reading = Self {
            subject: parsed.subject().as_raw().to_vec(),
            issuer: parsed.issuer().as_raw().to_vec(),
            key_identifier: None,
            issuer_key_identifier: None,
            public_key: parsed.public_key().raw.to_vec(),
            is_authority: parsed.is_ca(),
            not_after: parsed.validity().not_after.to_datetime(),
            names: BTreeSet::new(),
        };
        for extension in parsed.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(key) => reading.key_identifier = Some(key.0.to_vec()),
                ParsedExtension::AuthorityKeyIdentifier(key) => {
                    reading.issuer_key_identifier = key.key_identifier.as_ref().map(|key| key.0.to_vec());
                }
                ParsedExtension::SubjectAlternativeName(names) => {
                    reading.names = names.general_names.iter().filter_map(server_name).collect();
                }
                _ => {}
            }
        }
        Ok(reading)
    }
}

fn server_name(name: &GeneralName<'_>) -> Option<ServerName> {
    match name {
        GeneralName::DNSName(name) => Some(ServerName::Dns((*name).to_owned())),
        GeneralName::IPAddress(octets) => match octets.len() {
            4 => <[u8; 4]>::try_from(*octets).ok().map(|octets| ServerName::Ip(octets.into())),
            _ => <[u8; 16]>::try_from(*octets).ok().map(|octets| ServerName::Ip(octets.into())),
        },
        _ => None,
    }
}
