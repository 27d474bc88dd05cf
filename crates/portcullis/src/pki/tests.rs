//! The PKI against readers that are not ours: rustls for trust, x509-parser for content.
#![allow(clippy::unwrap_used)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, RootCertStore};
use rustls_pki_types::UnixTime;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::*;

/// A day in 2026; no test reads the clock.
const NOW: i64 = 1_790_000_000;

fn at(days: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(NOW).unwrap() + Duration::days(days)
}

fn names(list: &[&str]) -> BTreeSet<ServerName> {
    let name = |name: &&str| name.parse().map_or_else(|_| ServerName::Dns((*name).to_owned()), ServerName::Ip);
    list.iter().map(name).collect()
}

struct Place {
    data: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { data: tempfile::tempdir().unwrap() }
    }

    fn prepare(&self, list: &[&str], days: i64) -> Result<Cluster> {
        Directory::of(self.data.path()).prepare(names(list), at(days))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.data.path().join("pki").join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }
}

fn roots(authority: &Authority) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate().clone()).unwrap();
    Arc::new(roots)
}

fn unix(at: OffsetDateTime) -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(at.unix_timestamp() as u64))
}

fn as_server(cluster: &Cluster, pair: &Pair, name: &str, days: i64) -> Result<(), rustls::Error> {
    let verifier = WebPkiServerVerifier::builder_with_provider(roots(&cluster.authority), Arc::new(default_provider()));
    let name = name.to_owned().try_into().unwrap();
    verifier.build().unwrap().verify_server_cert(&pair.certificate, &[], &name, &[], unix(at(days))).map(|_| ())
}

fn as_client(authority: &Authority, certificate: &CertificateDer<'_>, days: i64) -> Result<(), rustls::Error> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(authority), Arc::new(default_provider()));
    verifier.build().unwrap().verify_client_cert(certificate, &[], unix(at(days))).map(|_| ())
}

#[test]
fn a15_authorities_are_three_and_the_serving_certificate_has_its_names() {
    let place = Place::new();
    let cluster = place.prepare(&["kubernetes.default.svc", "10.96.0.1", "::1"], 0).unwrap();
    for (name, days, ok) in [
        ("kubernetes.default.svc", 0, true),
        ("10.96.0.1", 0, true),
        ("::1", 0, true),
        ("::1", 364, true),
        ("::1", 366, false),
        ("::1", -1, false),
        ("kubernetes", 0, false),
        ("10.96.0.2", 0, false),
    ] {
        assert_eq!(as_server(&cluster, &cluster.serving, name, days).is_ok(), ok, "{name} after {days} days");
    }
    let authorities = ["ca.crt", "etcd/ca.crt", "front-proxy-ca.crt"].map(|name| place.read(name));
    assert!(authorities[0] != authorities[1] && authorities[1] != authorities[2] && authorities[0] != authorities[2]);
}

#[test]
fn a_certificate_serves_its_purpose_only() {
    let place = Place::new();
    let cluster = place.prepare(&["gate"], 0).unwrap();
    as_client(&cluster.authority, &cluster.admin.certificate, 0).unwrap();
    assert!(as_client(&cluster.authority, &cluster.serving.certificate, 0).is_err(), "a server is no client");
    assert!(as_server(&cluster, &cluster.admin, "gate", 0).is_err(), "a client is no server");
    let other = Place::new().prepare(&["gate"], 0).unwrap();
    // Both authorities have one name, so only the signature tells them apart.
    let error = as_client(&other.authority, &cluster.admin.certificate, 0).unwrap_err();
    assert_eq!(error, CertificateError::BadSignature.into(), "another cluster's authority");
}

#[test]
fn a15_private_keys_are_for_the_owner_only() {
    let place = Place::new();
    place.prepare(&["gate"], 0).unwrap();
    for name in ["ca", "etcd/ca", "front-proxy-ca", "apiserver", "admin"] {
        let mode =
            |ending| fs::metadata(place.path(&format!("{name}.{ending}"))).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("key"), mode("crt")), (0o600, 0o644), "{name}");
    }
    for directory in ["", "etcd"] {
        assert_eq!(fs::metadata(place.path(directory)).unwrap().permissions().mode() & 0o7777, 0o700, "{directory}");
    }
}

#[test]
fn what_still_fits_stays_and_the_rest_is_renewed() {
    let check = |days: i64, list: &[&str], spoil: &dyn Fn(&Place), expected: &[&str]| {
        let place = Place::new();
        assert_eq!(place.prepare(&["gate", "192.0.2.7"], 0).unwrap().made.len(), 5);
        let authority = place.read("ca.crt");
        spoil(&place);
        let made = place.prepare(list, days).unwrap().made;
        let made: Vec<_> = made.iter().map(|line| line.rsplit('/').next().unwrap()).collect();
        assert_eq!(made, expected, "after {days} days, for {list:?}");
        assert_eq!(place.read("ca.crt"), authority, "an authority is never written again");
        assert!(place.prepare(list, days).unwrap().made.is_empty(), "the second start has nothing to do");
    };
    let same = &["gate", "192.0.2.7"];
    let end = "(renewed: the old one is near its end)";
    let remove = |name: &'static str| move |place: &Place| fs::remove_file(place.path(name)).unwrap();
    check(0, same, &|_| (), &[]);
    check(334, same, &|_| (), &[]);
    check(336, same, &|_| (), &[&format!("apiserver.crt {end}"), &format!("admin.crt {end}")]);
    check(1000, same, &|_| (), &[&format!("apiserver.crt {end}"), &format!("admin.crt {end}")]);
    check(1, &["gate"], &|_| (), &["apiserver.crt (renewed: the names of this server changed)"]);
    check(1, same, &remove("apiserver.key"), &["apiserver.crt (new)"]);
    check(1, same, &remove("admin.crt"), &["admin.crt (new)"]);
    let swap_keys = |place: &Place| {
        fs::copy(place.path("admin.key"), place.path("apiserver.key")).unwrap();
    };
    check(1, same, &swap_keys, &["apiserver.crt (renewed: the old one did not fit its key)"]);
}

#[test]
fn leaves_of_a_replaced_authority_are_renewed() {
    let (old, new) = (Place::new(), Place::new());
    old.prepare(&["gate"], 0).unwrap();
    new.prepare(&["gate"], 0).unwrap();
    for name in ["ca.crt", "ca.key"] {
        fs::copy(new.path(name), old.path(name)).unwrap();
    }
    let cluster = old.prepare(&["gate"], 0).unwrap();
    assert_eq!(cluster.made.len(), 2);
    assert!(cluster.made.iter().all(|line| line.ends_with("of another authority)")), "{:?}", cluster.made);
    as_server(&cluster, &cluster.serving, "gate", 0).unwrap();
}

#[test]
fn an_authority_whose_first_start_was_killed_gets_its_certificate() {
    let place = Place::new();
    let first = place.prepare(&["gate"], 0).unwrap();
    fs::remove_file(place.path("ca.crt")).unwrap();
    let second = place.prepare(&["gate"], 1).unwrap();
    assert_eq!(second.made.len(), 1, "{:?}", second.made);
    as_client(&second.authority, &first.admin.certificate, 1).unwrap();
}

#[test]
fn what_cannot_be_read_is_an_error_that_names_the_file() {
    let check = |spoil: &dyn Fn(&Place), parts: &[&str]| {
        let place = Place::new();
        place.prepare(&["gate"], 0).unwrap();
        spoil(&place);
        let error = format!("{:#}", place.prepare(&["gate"], 1).err().unwrap());
        for part in parts {
            assert!(error.contains(part), "{error}");
        }
    };
    let write =
        |name: &'static str, text: &'static str| move |place: &Place| fs::write(place.path(name), text).unwrap();
    let empty = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    check(&write("ca.crt", ""), &["pki/ca.crt", "no certificate"]);
    check(&write("ca.crt", "garbage"), &["pki/ca.crt", "no certificate"]);
    check(&write("ca.crt", empty), &["pki/ca.crt", "not an X.509 certificate"]);
    check(&write("ca.key", "garbage"), &["pki/ca.key", "no private key"]);
    check(&write("etcd/ca.key", "garbage"), &["pki/etcd/ca.key", "no private key"]);
    check(&write("apiserver.crt", empty), &["pki/apiserver.crt", "not an X.509 certificate"]);
    check(&write("apiserver.key", ""), &["pki/apiserver.key", "no private key"]);
    check(&|place| fs::remove_file(place.path("ca.key")).unwrap(), &["pki/ca.key is not", "put the key back"]);
    let open = |place: &Place| fs::set_permissions(place.path("ca.key"), Permissions::from_mode(0o640)).unwrap();
    check(&open, &["pki/ca.key", "mode 0640", "chmod 600"]);
    let foreign = |place: &Place| {
        fs::copy(place.path("etcd/ca.key"), place.path("ca.key")).unwrap();
    };
    check(&foreign, &["pki/ca.crt", "not the one of the certificate"]);
    let leaf = |place: &Place| {
        fs::copy(place.path("admin.crt"), place.path("ca.crt")).unwrap();
        fs::copy(place.path("admin.key"), place.path("ca.key")).unwrap();
    };
    check(&leaf, &["pki/ca.crt", "is no CA"]);
}

#[test]
fn an_expired_authority_is_an_error_and_no_leaf_outlives_one() {
    let place = Place::new();
    place.prepare(&["gate"], 0).unwrap();
    let cluster = place.prepare(&["gate"], 3640).unwrap();
    assert_eq!(Reading::of(&cluster.admin.certificate).unwrap().not_after, at(3650));
    let error = format!("{:#}", place.prepare(&["gate"], 3651).err().unwrap());
    assert!(error.contains("pki/ca.crt") && error.contains("expired on 2036-09-18"), "{error}");
}

#[test]
fn an_issued_certificate_names_the_user_and_every_group() {
    let place = Place::new();
    let cluster = place.prepare(&["gate"], 0).unwrap();
    let check = |user: &str, groups: &[&str]| {
        let prefix = place.data.path().join("ana.harbor");
        Directory::of(place.data.path()).issue(&Subject::new(user, groups).unwrap(), &prefix, at(1)).unwrap();
        let pair = read_pair(&prefix).unwrap().unwrap();
        as_client(&cluster.authority, &pair.certificate, 2).unwrap();
        let (_, parsed) = X509Certificate::from_der(&pair.certificate).unwrap();
        let values = |attributes: Vec<&x509_parser::x509::AttributeTypeAndValue<'_>>| -> BTreeSet<String> {
            attributes.iter().map(|attribute| attribute.as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(values(parsed.subject().iter_common_name().collect()), BTreeSet::from([user.to_owned()]));
        let expected = groups.iter().map(ToString::to_string).collect();
        assert_eq!(values(parsed.subject().iter_organization().collect()), expected);
        assert_eq!(fs::metadata(key(&prefix)).unwrap().permissions().mode() & 0o7777, 0o600);
    };
    check("ana", &["harbor"]);
    check("ana", &[]);
    check("system:node:ex-node", &["system:nodes"]);
    check("zoë", &["z", "harbor", "a longer name", "größe"]);
}

#[test]
fn who_cannot_be_named_gets_no_certificate() {
    let check = |user: &str, groups: &[&str], part: &str| {
        let error = Subject::new(user, groups).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    check("", &[], "an empty user");
    check("ana", &["harbor", ""], "an empty group");
    check("a\nb", &[], "control character");
    check("ana", &["a\0b"], "control character");
    check(&"a".repeat(1025), &[], "1025 bytes");
    check("ana", &vec!["g"; 257], "257 groups");
}

#[test]
fn issuing_needs_an_authority_and_replaces_none() {
    let place = Place::new();
    let ana = Subject::new("ana", &[]).unwrap();
    let issue = |prefix: &str| Directory::of(place.data.path()).issue(&ana, &place.data.path().join(prefix), at(0));
    let error = issue("ana").unwrap_err().to_string();
    assert!(error.contains("pki/ca.crt") && error.contains("portcullis up"), "{error}");
    place.prepare(&["gate"], 0).unwrap();
    issue("ana").unwrap();
    issue("ana").unwrap();
    let authority = place.read("ca.key");
    let error = issue("pki/ca").unwrap_err().to_string();
    assert!(error.contains("choose another --out"), "{error}");
    assert_eq!(place.read("ca.key"), authority);
}

/// The authority may be brought by the user, with a key of another kind.
#[test]
fn an_authority_of_another_kind_of_key_signs_too() {
    use aws_lc_rs::encoding::AsDer as _;
    let p384 = aws_lc_rs::signature::EcdsaKeyPair::generate(&aws_lc_rs::signature::ECDSA_P384_SHA384_ASN1_SIGNING);
    let ed25519 = aws_lc_rs::signature::Ed25519KeyPair::generate();
    let rsa = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    for (kind, der) in [
        ("P-384", p384.unwrap().to_pkcs8v1().unwrap().as_ref().to_vec()),
        ("Ed25519", ed25519.unwrap().to_pkcs8v1().unwrap().as_ref().to_vec()),
        ("RSA", rsa.as_der().unwrap().as_ref().to_vec()),
    ] {
        let place = Place::new();
        files::make_private_directory(&place.path("")).unwrap();
        files::create(&place.path("ca.key"), Readers::Owner, pem("PRIVATE KEY", &der).as_bytes()).unwrap();
        let cluster = place.prepare(&["gate"], 0).unwrap();
        as_server(&cluster, &cluster.serving, "gate", 0).unwrap_or_else(|error| panic!("{kind}: {error}"));
        as_client(&cluster.authority, &cluster.admin.certificate, 0).unwrap_or_else(|error| panic!("{kind}: {error}"));
    }
}

/// A10: etcd's certificates are of its own authority, each for one thing, and renewed like all others.
#[test]
fn a10_etcd_has_an_authority_and_certificates_of_its_own() {
    let place = Place::new();
    let cluster = place.prepare(&["gate"], 0).unwrap();
    let prepare = |days: i64| {
        let mut made = Vec::new();
        (Directory::of(place.data.path()).prepare_etcd(at(days), &mut made).unwrap(), made)
    };
    let (files, made) = prepare(0);
    assert_eq!(made.len(), 3, "the authority was there: {made:?}");
    let pair = read_pair(&place.path("etcd/ca")).unwrap().unwrap();
    let own = Authority::new(&pair, at(0)).unwrap();
    assert!(*own.certificate() == files.authority && *cluster.authority.certificate() != files.authority);
    for name in ["etcd/server", "etcd/peer"] {
        let shown = read_leaf(&place.path(name)).unwrap().unwrap();
        as_client(&own, &shown.certificate, 0).unwrap_err();
        let etcd = Cluster { authority: Authority::new(&pair, at(0)).unwrap(), ..place.prepare(&["gate"], 0).unwrap() };
        for (host, ok) in [("localhost", true), ("127.0.0.1", true), ("gate", false), ("::1", false)] {
            assert_eq!(as_server(&etcd, &shown, host, 0).is_ok(), ok, "{name} as {host}");
            as_server(&cluster, &shown, host, 0).unwrap_err();
        }
    }
    as_client(&own, &files.client.certificate, 0).unwrap();
    as_client(&cluster.authority, &files.client.certificate, 0).unwrap_err();
    as_client(&own, &cluster.admin.certificate, 0).unwrap_err();
    assert!(prepare(300).1.is_empty(), "nothing is near its end");
    let (renewed, made) = prepare(340);
    assert!(made.len() == 3 && made.iter().all(|line| line.contains("renewed")), "{made:?}");
    as_client(&own, &renewed.client.certificate, 400).unwrap();
}
