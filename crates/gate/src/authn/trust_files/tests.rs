#![allow(clippy::unwrap_used)]

use super::*;
use crate::authn::request_header::RequestHeaders;
use crate::authn::tests::authority::Authority;
use crate::config::TlsMaterial;

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
        let Authority { pem: clients, issuer, .. } = Authority::new("clients");
        let proxies = Authority::new("proxies").pem;
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("clients.crt"), &clients).unwrap();
        std::fs::write(path("proxies.crt"), &proxies).unwrap();
        let material = TlsMaterial {
            cert_chain_pem: clients.clone().into_bytes(),
            key_pem: issuer.key().serialize_pem().into_bytes().into(),
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
        let text = |pem: Vec<u8>| String::from_utf8(pem).unwrap();
        let Trusted { client_ca_pem, front_proxy_ca_pem } = self.files.in_force();
        (text(client_ca_pem), text(front_proxy_ca_pem.unwrap()))
    }
}

#[test]
fn cas_are_replaced_each_by_itself() {
    let trust = Trust::new();
    let Trust { directory, clients, files, tls, .. } = &trust;
    let (clients_path, proxies_path) = (directory.path().join("clients.crt"), directory.path().join("proxies.crt"));
    let in_force = || tls.trust().load_full();

    assert_eq!(files.look().unwrap(), Reload::Unchanged, "nothing changed");
    let first = in_force();
    let others = Authority::new("others").pem;
    std::fs::write(&clients_path, &others).unwrap();
    assert_eq!(files.look().unwrap(), Reload::Replaced);
    let second = in_force();
    assert!(!Arc::ptr_eq(&first, &second));
    std::fs::write(&clients_path, "nothing").unwrap();
    assert!(matches!(files.look(), Err(TrustFilesError::ClientCa(TlsError::ClientCaMissing))));
    assert_eq!(files.client.pem().in_force, others.as_bytes(), "what was last good stays in force");
    // A bad file of one does not hold the other back.
    let proxies_2 = Authority::new("proxies 2").pem;
    std::fs::write(&proxies_path, &proxies_2).unwrap();
    assert!(matches!(files.look(), Err(TrustFilesError::ClientCa(TlsError::ClientCaMissing))));
    let proxies_in_force = || files.front_proxy.as_ref().unwrap().1.pem().in_force;
    assert_eq!(proxies_in_force(), proxies_2.as_bytes());
    assert_eq!(files.client.pem().in_force, others.as_bytes());
    std::fs::remove_file(&proxies_path).unwrap();
    std::fs::write(&clients_path, clients).unwrap();
    assert!(matches!(files.look(), Err(TrustFilesError::File(LiveFileError::Unreadable { .. }))));
    assert_eq!(files.client.pem().in_force, clients.as_bytes());
    assert_eq!(proxies_in_force(), proxies_2.as_bytes());
}

#[test]
fn ncc_f9w_no_reload_makes_a_ca_of_clients_one_of_proxies() {
    let trust = Trust::new();
    let (clients, proxies) = (trust.clients.clone(), trust.proxies.clone());
    trust.write(&proxies, &proxies);
    assert!(matches!(trust.files.look(), Err(TrustFilesError::RequestHeader(RequestHeaderError::SharedCa))));
    assert_eq!(trust.in_force(), (clients.clone(), proxies.clone()));
    trust.write(&clients, &format!("{proxies}{clients}"));
    assert!(matches!(trust.files.look(), Err(TrustFilesError::RequestHeader(RequestHeaderError::SharedCa))));
    assert_eq!(trust.in_force(), (clients.clone(), proxies.clone()));
    // What was refused for the other's sake is taken once the other changed.
    trust.write(&proxies, &proxies);
    assert!(trust.files.look().is_err());
    trust.write(&proxies, &clients);
    assert_eq!(trust.files.look().unwrap(), Reload::Replaced);
    assert_eq!(trust.in_force(), (proxies, clients));
}
