//! Tells extension servers whose certificates count, for as long as the server runs (upstream:
//! `start-cluster-authentication-info-controller`). At start the API server does so from its configuration; later CAs may be replaced,
//! and somebody may change what was published.

use std::sync::Arc;

use portcullis_apiserver::{ApiServer, ExtensionAuthentication, RequestHeader};
use portcullis_gate::{BoxError, FileFollower, Reload, TrustFiles, Trusted};
use tokio::runtime::Handle;

/// Keeps what is published what is in force.
pub(crate) struct Publisher {
    /// Who publishes.
    pub(crate) server: Arc<ApiServer>,
    /// Whose certificates count.
    pub(crate) trust: Arc<TrustFiles>,
    /// What was published at start, from which only the CAs can differ.
    pub(crate) at_start: ExtensionAuthentication,
}

impl Publisher {
    fn wanted(&self) -> ExtensionAuthentication {
        let Trusted { client_ca_pem, front_proxy_ca_pem } = self.trust.in_force();
        let text = |pem: Vec<u8>| String::from_utf8_lossy(&pem).into_owned();
        let request_header = self.at_start.request_header.clone().zip(front_proxy_ca_pem);
        ExtensionAuthentication {
            client_ca_pem: text(client_ca_pem),
            request_header: request_header.map(|(header, pem)| RequestHeader { client_ca_pem: text(pem), ..header }),
        }
    }
}

impl FileFollower for Publisher {
    fn name(&self) -> &'static str {
        "authentication of extension servers"
    }

    /// Compares with what the store holds, so that nothing has to be remembered here; the server says what it puts right.
    fn reload(&self) -> Result<Reload, BoxError> {
        Handle::current().block_on(self.server.publish_authentication(&self.wanted()))?;
        Ok(Reload::Unchanged)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use portcullis_apiserver::registry::Registry;
    use portcullis_apiserver::{Catalog, Config, SystemEnv};
    use portcullis_gate::{FrontProxy, RequestHeaders, Tls, TlsMaterial};
    use portcullis_store::Engine;
    use portcullis_store::embedded::{Embedded, Options};
    use serde_json::Value;
    use time::OffsetDateTime;

    use super::*;
    use crate::pki::{self, pem};

    /// The PKI of a server under a directory.
    fn prepared(directory: &Path) -> pki::Cluster {
        let names = [pki::ServerName::Dns("localhost".to_owned())].into();
        pki::Directory::of(directory).prepare(names, OffsetDateTime::now_utc()).unwrap()
    }

    fn text(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    fn at_start(client_ca: &Path, proxy_ca: &Path) -> ExtensionAuthentication {
        let names = vec!["X-Remote-User".to_owned()];
        let request_header =
            RequestHeader { client_ca_pem: text(proxy_ca), username_headers: names, ..RequestHeader::default() };
        ExtensionAuthentication { client_ca_pem: text(client_ca), request_header: Some(request_header) }
    }

    fn trust(cluster: &pki::Cluster, client_ca: &Path, proxy_ca: &Path) -> TrustFiles {
        let (client_ca_pem, proxy_ca_pem) = (text(client_ca).into_bytes(), text(proxy_ca).into_bytes());
        let tls = Tls::new(&TlsMaterial {
            cert_chain_pem: pem("CERTIFICATE", &cluster.serving.certificate).into_bytes(),
            key_pem: pem("PRIVATE KEY", cluster.serving.key.secret_der()).into_bytes().into(),
            client_ca_pem: client_ca_pem.clone(),
        });
        let headers = RequestHeaders { username: vec!["X-Remote-User".to_owned()], ..RequestHeaders::default() };
        let proxy = FrontProxy::new(&headers, &proxy_ca_pem, &client_ca_pem).unwrap();
        TrustFiles::new(Arc::new(tls.unwrap()), Some(client_ca.to_owned()), client_ca_pem)
            .with_front_proxy(Arc::new(proxy), proxy_ca.to_owned(), proxy_ca_pem)
            .unwrap()
    }

    #[tokio::test]
    async fn cas_that_are_replaced_are_published() {
        let (directory, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let cluster = prepared(directory.path());
        prepared(other.path());
        let [client_ca, proxy_ca] = ["pki/ca.crt", "pki/front-proxy-ca.crt"].map(|name| directory.path().join(name));

        let registry = Arc::new(Registry::new());
        let catalog = Arc::new(Catalog::new(Arc::clone(&registry)));
        let options = Options { catalog, ..Options::new(directory.path().join("store")) };
        let store = Arc::new(Embedded::open(options).unwrap());
        let published = at_start(&client_ca, &proxy_ca);
        let config = Config { extension_authentication: Some(published.clone()), ..Config::default() };
        let server = ApiServer::new(Arc::clone(&store) as _, registry, config, Arc::new(SystemEnv));
        server.bootstrap().await.unwrap();

        let trust = Arc::new(trust(&cluster, &client_ca, &proxy_ca));
        let followers: [Arc<dyn FileFollower>; 2] = [
            Arc::clone(&trust) as _,
            Arc::new(Publisher { server: Arc::clone(&server), trust: Arc::clone(&trust), at_start: published }),
        ];
        let look = async || {
            let before = store.snapshot().revision();
            for follower in followers.clone() {
                let _ = tokio::task::spawn_blocking(move || follower.reload()).await.unwrap();
            }
            let key = "/registry/configmaps/kube-system/extension-apiserver-authentication";
            let snapshot = store.snapshot();
            let held: Value = serde_json::from_slice(&snapshot.get(key).unwrap().value).unwrap();
            let [client, proxy, names] =
                ["client-ca-file", "requestheader-client-ca-file", "requestheader-username-headers"]
                    .map(|name| held["data"][name].as_str().unwrap_or_default().to_owned());
            assert_eq!(names, r#"["X-Remote-User"]"#);
            (client, proxy, snapshot.revision() != before)
        };
        let (clients, proxies) = (text(&client_ca), text(&proxy_ca));
        assert_eq!(look().await, (clients.clone(), proxies.clone(), false));
        let others = text(&other.path().join("pki/ca.crt"));
        std::fs::write(&client_ca, &others).unwrap();
        assert_eq!(look().await, (others.clone(), proxies.clone(), true));
        assert_eq!(look().await, (others.clone(), proxies.clone(), false));
        std::fs::write(&client_ca, "nothing").unwrap();
        assert_eq!(look().await, (others.clone(), proxies, false), "what is published is what is in force");
        let proxies = text(&other.path().join("pki/front-proxy-ca.crt"));
        std::fs::write(&client_ca, &others).unwrap();
        std::fs::write(&proxy_ca, &proxies).unwrap();
        assert_eq!(look().await, (others.clone(), proxies.clone(), true));
        // What somebody else made of it is no longer trusted after the next look.
        let evil = ExtensionAuthentication { client_ca_pem: clients, request_header: None };
        server.publish_authentication(&evil).await.unwrap();
        assert_eq!(look().await, (others, proxies, true));
    }
}
