#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};

use crate::authn::jwt::Dial;
use crate::authn::{Fetch, FetchError};
use crate::config::TlsMaterial;

use super::*;
use crate::authn::request_header::RequestHeaders;

struct Nowhere;

impl Dial for Nowhere {
    fn fetcher(&self, _: &str, _: &str) -> Result<Arc<dyn Fetch>, FetchError> {
        Err(FetchError("there is no network".to_owned()))
    }
}

const HEAD: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n";

#[tokio::test]
async fn a_bad_file_keeps_the_last_good_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("authentication.yaml");
    let write = |text: &str| std::fs::write(&path, format!("{HEAD}{text}")).unwrap();
    let anonymous = Arc::new(Anonymous::default());
    let issuers = Arc::new(JwtIssuers::new(Box::new(Nowhere)));
    let open_with =
        |flag| ConfigurationFile::open(&path, Vec::new(), flag, Arc::clone(&issuers), Arc::clone(&anonymous));
    let open = || open_with(None);

    assert!(matches!(open(), Err(LiveFileError::Unreadable { .. })));
    write("anonymous: {enable: true}");
    assert!(matches!(open(), Err(LiveFileError::Configuration { .. })));
    write("anonymous: {enabled: true, conditions: [{path: /a}]}");
    assert!(matches!(open_with(Some(true)), Err(LiveFileError::AnonymousTwice(_))));
    let file = open().unwrap();
    let of_a = AnonymousPaths::Public { further: vec!["/a".to_owned()] };
    let check = |expected: &AnonymousPaths| assert_eq!(*anonymous.paths(), *expected);
    check(&of_a);

    assert!(!file.reload().unwrap(), "nothing changed");
    write("anonymous: {enabled: [}");
    assert!(matches!(file.reload(), Err(LiveFileError::Configuration { .. })));
    check(&of_a);
    assert!(!file.reload().unwrap(), "the same content is complained about once");
    write("jwt: [{issuer: {url: 'https://a', audiences: [k]}, claimMappings: {username: {claim: sub, prefix: ''}}}]");
    assert!(matches!(file.reload(), Err(LiveFileError::Dial { .. })));
    check(&of_a);
    std::fs::write(&path, " ".repeat(FILE_LEN_MAX as usize + 1)).unwrap();
    assert!(matches!(file.reload(), Err(LiveFileError::TooLarge(_))));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(file.reload(), Err(LiveFileError::Unreadable { .. })));
    assert!(!file.reload().unwrap(), "the same failure is complained about once");
    check(&of_a);

    write("anonymous: {enabled: false}");
    assert!(file.reload().unwrap());
    check(&AnonymousPaths::None);
    write("");
    assert!(file.reload().unwrap());
    check(&AnonymousPaths::default());

    let file = open_with(Some(false)).unwrap();
    check(&AnonymousPaths::None);
    write("anonymous: {enabled: true}");
    assert!(matches!(file.reload(), Err(LiveFileError::AnonymousTwice(_))));
    check(&AnonymousPaths::None);
}

fn authority(name: &str) -> (String, String) {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// Files of two CAs, and what follows them.
struct Trust {
    directory: tempfile::TempDir,
    clients: String,
    proxies: String,
    tls: Arc<Tls>,
    files: TrustFiles,
}

impl Trust {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (clients, key) = authority("clients");
        let (proxies, _) = authority("proxies");
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("clients.crt"), &clients).unwrap();
        std::fs::write(path("proxies.crt"), &proxies).unwrap();
        let material = TlsMaterial {
            cert_chain_pem: clients.clone().into_bytes(),
            key_pem: key.into_bytes().into(),
            client_ca_pem: clients.clone().into_bytes(),
        };
        let tls = Arc::new(Tls::new(&material).unwrap());
        let headers = RequestHeaders { username: vec!["X-Remote-User".to_owned()], ..RequestHeaders::default() };
        let front_proxy = FrontProxy::new(&headers, proxies.as_bytes(), clients.as_bytes()).unwrap();
        let files = TrustFiles::new(Arc::clone(&tls), Some(path("clients.crt")), clients.clone().into_bytes())
            .with_front_proxy(Arc::new(front_proxy), path("proxies.crt"), proxies.clone().into_bytes())
            .unwrap();
        Self { directory, clients, proxies, tls, files }
    }

    fn write(&self, clients: &str, proxies: &str) {
        std::fs::write(self.directory.path().join("clients.crt"), clients).unwrap();
        std::fs::write(self.directory.path().join("proxies.crt"), proxies).unwrap();
    }

    fn in_force(&self) -> (String, String) {
        let text = |pem: Pem| String::from_utf8(pem.in_force).unwrap();
        (text(self.files.client.pem()), text(self.files.front_proxy.as_ref().unwrap().1.pem()))
    }
}

#[test]
fn cas_are_replaced_each_by_itself() {
    let trust = Trust::new();
    let Trust { directory, clients, files, tls, .. } = &trust;
    let (clients_path, proxies_path) = (directory.path().join("clients.crt"), directory.path().join("proxies.crt"));
    let in_force = || tls.trust().load_full();

    assert!(!files.reload().unwrap(), "nothing changed");
    let first = in_force();
    let (others, _) = authority("others");
    std::fs::write(&clients_path, &others).unwrap();
    assert!(files.reload().unwrap());
    let second = in_force();
    assert!(!Arc::ptr_eq(&first, &second));
    std::fs::write(&clients_path, "nothing").unwrap();
    assert!(matches!(files.reload(), Err(LiveFileError::ClientCa(TlsError::ClientCaMissing))));
    assert_eq!(files.client.pem().in_force, others.as_bytes(), "what was last good stays in force");
    // A bad file of one does not hold the other back.
    let (proxies_2, _) = authority("proxies 2");
    std::fs::write(&proxies_path, &proxies_2).unwrap();
    assert!(matches!(files.reload(), Err(LiveFileError::ClientCa(TlsError::ClientCaMissing))));
    let proxies_in_force = || files.front_proxy.as_ref().unwrap().1.pem().in_force;
    assert_eq!(proxies_in_force(), proxies_2.as_bytes());
    assert_eq!(files.client.pem().in_force, others.as_bytes());
    std::fs::remove_file(&proxies_path).unwrap();
    std::fs::write(&clients_path, clients).unwrap();
    assert!(matches!(files.reload(), Err(LiveFileError::Unreadable { .. })));
    assert_eq!(files.client.pem().in_force, clients.as_bytes());
    assert_eq!(proxies_in_force(), proxies_2.as_bytes());
}

#[test]
fn ncc_f9w_no_reload_makes_a_ca_of_clients_one_of_proxies() {
    let trust = Trust::new();
    let (clients, proxies) = (trust.clients.clone(), trust.proxies.clone());
    trust.write(&proxies, &proxies);
    assert!(matches!(trust.files.reload(), Err(LiveFileError::RequestHeader(RequestHeaderError::SharedCa))));
    assert_eq!(trust.in_force(), (clients.clone(), proxies.clone()));
    trust.write(&clients, &format!("{proxies}{clients}"));
    assert!(matches!(trust.files.reload(), Err(LiveFileError::RequestHeader(RequestHeaderError::SharedCa))));
    assert_eq!(trust.in_force(), (clients.clone(), proxies.clone()));
    // What was refused for the other's sake is taken once the other changed.
    trust.write(&proxies, &proxies);
    assert!(trust.files.reload().is_err());
    trust.write(&proxies, &clients);
    assert!(trust.files.reload().unwrap());
    assert_eq!(trust.in_force(), (proxies, clients));
}

/// Counts how often it is asked, and can not be used every other time.
#[derive(Default)]
struct Counting(std::sync::atomic::AtomicUsize);

impl FileFollower for Counting {
    fn name(&self) -> &'static str {
        "counting"
    }

    fn reload(&self) -> Result<bool, LiveFileError> {
        match self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 2 {
            0 => Err(LiveFileError::TooLarge("x".into())),
            _ => Ok(true),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn files_are_looked_at_every_minute() {
    let counting = Arc::new(Counting::default());
    let followers: Vec<Arc<dyn FileFollower>> = vec![Arc::clone(&counting) as _];
    let following = keep_fresh(followers);
    assert!(tokio::time::timeout(LOOK_INTERVAL * 3 + LOOK_INTERVAL / 2, following).await.is_err());
    assert_eq!(counting.0.load(std::sync::atomic::Ordering::Relaxed), 3);
}
