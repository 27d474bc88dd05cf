//! The certificates of a cluster, in kubeadm's layout of names: who signs, what the API server shows, who the administrator is.
//!
//! `D/pki` holds `ca`, `front-proxy-ca` and `etcd/ca` (three authorities, so that none of them is trusted for another's
//! work: A15), `apiserver` and `admin`, and where there is an etcd of the cluster's own (A10) `etcd/server`, `etcd/peer` and
//! `apiserver-etcd-client`, each as `.crt` and `.key`. An authority that is there is never written again; a
//! certificate that an authority gave is renewed at start when it is near its end or no longer fits.

mod authority;
mod certificate;
mod der;
pub(crate) mod files;
mod service_account;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

pub(crate) use authority::{Authority, Pair};
pub(crate) use certificate::{Purpose, Reading, ServerName, Subject};
use files::Readers;

/// A certificate that ends sooner than this is renewed at start.
const RENEWED_BEFORE_END: Duration = Duration::days(30);
/// Columns of the base64 text in a PEM file (RFC 7468).
const PEM_COLUMNS: usize = 64;

/// The user that `up` makes a kubeconfig for.
const ADMIN_USER: &str = "kubernetes-admin";
/// The group that may do everything.
const ADMIN_GROUP: &str = "system:masters";

/// Who signs for etcd, for nobody else.
const ETCD_AUTHORITY: &str = "etcd/ca";
/// Its name.
const ETCD_AUTHORITY_NAME: &str = "etcd-ca";
/// Whom etcd's peers prove to be.
pub(crate) const ETCD_PEER: &str = "etcd-peer";

/// The directory with all keys and certificates.
pub(crate) struct Directory {
    path: PathBuf,
}

/// What a server needs of its PKI.
pub(crate) struct Cluster {
    /// Signs clients and servers of the cluster.
    pub(crate) authority: Authority,
    /// What the API server shows.
    pub(crate) serving: Pair,
    /// Who the first user is.
    pub(crate) admin: Pair,
    /// What was written, for a person to read; empty when everything was there.
    pub(crate) made: Vec<String>,
}

/// What an etcd of the cluster's own and its only client show each other.
pub(crate) struct EtcdFiles {
    /// The certificate of who signed all of them, and nothing else.
    pub(crate) authority_file: PathBuf,
    /// The same.
    pub(crate) authority: CertificateDer<'static>,
    pub(crate) server_certificate: PathBuf,
    pub(crate) server_key: PathBuf,
    pub(crate) peer_certificate: PathBuf,
    pub(crate) peer_key: PathBuf,
    /// The API server's.
    pub(crate) client: Pair,
}

/// Why a certificate could not stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unfit {
    Missing,
    NearItsEnd,
    OtherNames,
    OtherAuthority,
    OtherKey,
}

impl Unfit {
    fn reason(self) -> &'static str {
        match self {
            Unfit::Missing => "new",
            Unfit::NearItsEnd => "renewed: the old one is near its end",
            Unfit::OtherNames => "renewed: the names of this server changed",
            Unfit::OtherAuthority => "renewed: the old one is of another authority",
            Unfit::OtherKey => "renewed: the old one did not fit its key",
        }
    }
}

impl Directory {
    /// The PKI under a data directory; nothing is read yet.
    pub(crate) fn of(data_dir: &Path) -> Self {
        Self { path: data_dir.join("pki") }
    }

    /// Reads what is there and makes what is missing or no longer fits.
    pub(crate) fn prepare(&self, names: BTreeSet<ServerName>, now: OffsetDateTime) -> Result<Cluster> {
        files::make_private_directory(&self.path.join("etcd"))?;
        let mut made = Vec::new();
        let authority = self.authority_or_new("ca", "kubernetes", now, &mut made)?;
        self.authority_or_new(ETCD_AUTHORITY, ETCD_AUTHORITY_NAME, now, &mut made)?;
        self.authority_or_new("front-proxy-ca", "front-proxy-ca", now, &mut made)?;
        let server = Subject::new("kube-apiserver", &[])?;
        let serving = self.leaf("apiserver", &authority, &server, &Purpose::Server(names), now, &mut made)?;
        let admin = Subject::new(ADMIN_USER, &[ADMIN_GROUP])?;
        let admin = self.leaf("admin", &authority, &admin, &Purpose::Client, now, &mut made)?;
        Ok(Cluster { authority, serving, admin, made })
    }

    /// As [`Directory::prepare`], for an etcd on loopback. It is alone: what it shows its peers is a server's certificate too, so that with
    /// none of the two anybody is a client.
    pub(crate) fn prepare_etcd(&self, now: OffsetDateTime, made: &mut Vec<String>) -> Result<EtcdFiles> {
        files::make_private_directory(&self.path.join("etcd"))?;
        let authority = self.authority_or_new(ETCD_AUTHORITY, ETCD_AUTHORITY_NAME, now, made)?;
        let names = [ServerName::Dns("localhost".to_owned()), ServerName::Ip(Ipv4Addr::LOCALHOST.into())];
        let server = Purpose::Server(BTreeSet::from(names));
        self.leaf("etcd/server", &authority, &Subject::new("etcd-server", &[])?, &server, now, made)?;
        self.leaf("etcd/peer", &authority, &Subject::new(ETCD_PEER, &[])?, &server, now, made)?;
        let subject = Subject::new("kube-apiserver-etcd-client", &[])?;
        let client = self.leaf("apiserver-etcd-client", &authority, &subject, &Purpose::Client, now, made)?;
        let stem = |name: &str| self.path.join(name);
        Ok(EtcdFiles {
            authority_file: crt(&stem(ETCD_AUTHORITY)),
            authority: authority.certificate().clone(),
            server_certificate: crt(&stem("etcd/server")),
            server_key: key(&stem("etcd/server")),
            peer_certificate: crt(&stem("etcd/peer")),
            peer_key: key(&stem("etcd/peer")),
            client,
        })
    }

    /// Gives a user a client certificate: `PREFIX.crt` and `PREFIX.key`. Only this directory is read, so a server may run.
    pub(crate) fn issue(&self, subject: &Subject, prefix: &Path, now: OffsetDateTime) -> Result<()> {
        let stem = self.path.join("ca");
        let Some(pair) = read_pair(&stem)? else {
            bail!(
                "there is no {}: start `portcullis up` on this data directory once, it makes one",
                crt(&stem).display()
            );
        };
        let authority = Authority::new(&pair, now).with_context(|| crt(&stem).display().to_string())?;
        refuse_to_replace_an_authority(prefix)?;
        write_pair(prefix, &authority.issue(subject, &Purpose::Client, now)?)
    }

    fn authority_or_new(
        &self,
        name: &str,
        common_name: &str,
        now: OffsetDateTime,
        made: &mut Vec<String>,
    ) -> Result<Authority> {
        let stem = self.path.join(name);
        let pair = match read_pair(&stem)? {
            Some(pair) => pair,
            None => {
                let pair = new_authority(&stem, common_name, now)?;
                made.push(format!("{} (new)", crt(&stem).display()));
                pair
            }
        };
        Authority::new(&pair, now).with_context(|| crt(&stem).display().to_string())
    }

    fn leaf(
        &self,
        name: &str,
        authority: &Authority,
        subject: &Subject,
        purpose: &Purpose,
        now: OffsetDateTime,
        made: &mut Vec<String>,
    ) -> Result<Pair> {
        let stem = self.path.join(name);
        let found = read_leaf(&stem)?;
        let unfit = match &found {
            None => Some(Unfit::Missing),
            Some(pair) => unfit(pair, authority, purpose, now).with_context(|| crt(&stem).display().to_string())?,
        };
        match (found, unfit) {
            (Some(pair), None) => Ok(pair),
            (_, reason) => {
                let pair = authority.issue(subject, purpose, now)?;
                write_pair(&stem, &pair)?;
                let reason = reason.unwrap_or(Unfit::Missing).reason();
                made.push(format!("{} ({reason})", crt(&stem).display()));
                Ok(pair)
            }
        }
    }
}

/// Decides whether a certificate can stay as it is.
fn unfit(pair: &Pair, authority: &Authority, purpose: &Purpose, now: OffsetDateTime) -> Result<Option<Unfit>> {
    let reading = Reading::of(&pair.certificate)?;
    let key = authority::signing_key(&pair.key)?;
    let names = match purpose {
        Purpose::Server(names) => names,
        Purpose::Authority | Purpose::Client => &BTreeSet::new(),
    };
    Ok(if key.public_key().is_none_or(|public| public.as_ref() != reading.public_key) {
        Some(Unfit::OtherKey)
    } else if !authority.issued(&reading) {
        Some(Unfit::OtherAuthority)
    } else if reading.not_after - now < RENEWED_BEFORE_END {
        Some(Unfit::NearItsEnd)
    } else if reading.names != *names {
        Some(Unfit::OtherNames)
    } else {
        None
    })
}

/// Makes an authority, or the certificate for a key that a killed start left without one.
fn new_authority(stem: &Path, common_name: &str, now: OffsetDateTime) -> Result<Pair> {
    let path = key(stem);
    let key = match read_key(&path)? {
        Some(key) => key,
        None => {
            let made = authority::new_key()?;
            files::create(&path, Readers::Owner, pem("PRIVATE KEY", made.secret_der()).as_bytes())?;
            made
        }
    };
    let certificate = authority::self_signed(&key, &Subject::new(common_name, &[])?, now)
        .with_context(|| path.display().to_string())?;
    files::create(&crt(stem), Readers::Everybody, pem("CERTIFICATE", &certificate).as_bytes())?;
    Ok(Pair { certificate, key })
}

/// The pair of an authority. `None` without a certificate; a certificate without its key is an error.
fn read_pair(stem: &Path) -> Result<Option<Pair>> {
    let Some(certificate) = read_certificate(&crt(stem))? else {
        return Ok(None);
    };
    let path = key(stem);
    let Some(key) = read_key(&path)? else {
        bail!(
            "{} is there but {} is not: put the key back, or move the certificate away",
            crt(stem).display(),
            path.display()
        );
    };
    Ok(Some(Pair { certificate, key }))
}

/// The pair of a certificate that can be given again: `None` when either half is missing.
fn read_leaf(stem: &Path) -> Result<Option<Pair>> {
    let (certificate, key) = (read_certificate(&crt(stem))?, read_key(&key(stem))?);
    Ok(certificate.zip(key).map(|(certificate, key)| Pair { certificate, key }))
}

fn read_certificate(path: &Path) -> Result<Option<CertificateDer<'static>>> {
    let Some(text) = files::read(path)? else { return Ok(None) };
    let certificate = CertificateDer::from_pem_slice(text.as_bytes());
    certificate.map(Some).ok().with_context(|| format!("{} holds no certificate in PEM form", path.display()))
}

fn read_key(path: &Path) -> Result<Option<PrivateKeyDer<'static>>> {
    let Some(text) = files::read(path)?.map(Zeroizing::new) else { return Ok(None) };
    files::refuse_readable_by_others(path)?;
    let key = PrivateKeyDer::from_pem_slice(text.as_bytes());
    key.map(Some).ok().with_context(|| format!("{} holds no private key in PEM form", path.display()))
}

/// The key first: a certificate without its key is what no later start could repair.
fn write_pair(stem: &Path, pair: &Pair) -> Result<()> {
    files::replace(&key(stem), Readers::Owner, pem("PRIVATE KEY", pair.key.secret_der()).as_bytes())?;
    files::replace(&crt(stem), Readers::Everybody, pem("CERTIFICATE", &pair.certificate).as_bytes())
}

/// `--out D/pki/ca` would cost the user the cluster.
fn refuse_to_replace_an_authority(prefix: &Path) -> Result<()> {
    let path = crt(prefix);
    if let Some(certificate) = read_certificate(&path)?
        && Reading::of(&certificate).with_context(|| path.display().to_string())?.is_authority
    {
        bail!("{} is the certificate of an authority: choose another --out", path.display());
    }
    Ok(())
}

/// The text form of an encoded object.
pub(crate) fn pem(label: &str, content: &[u8]) -> String {
    let mut out = format!("-----BEGIN {label}-----\n");
    let mut column = 0;
    for letter in STANDARD.encode(content).chars() {
        if column == PEM_COLUMNS {
            out.push('\n');
            column = 0;
        }
        out.push(letter);
        column += 1;
    }
    out.push_str(&format!("\n-----END {label}-----\n"));
    out
}

fn crt(stem: &Path) -> PathBuf {
    with_ending(stem, ".crt")
}

fn key(stem: &Path) -> PathBuf {
    with_ending(stem, ".key")
}

/// Adds to a name, dots and all: `--out ana.harbor` means `ana.harbor.crt`.
fn with_ending(stem: &Path, ending: &str) -> PathBuf {
    let mut name = stem.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests;
