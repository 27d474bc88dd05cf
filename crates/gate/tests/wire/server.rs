//! A gate on a loopback port, its CAs, and the certificates of its test users.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use portcullis_gate::{
    Body, ConnectionMetrics, ConnectionRules, Drained, Gate, GateConfig, Guards, Handler, Limits, Listener, Permitted,
    Profile, Tls, TlsMaterial,
};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A CA that can sign.
pub struct Authority {
    pub certificate: CertificateDer<'static>,
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as a client presents them.
pub struct Credential {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "test ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate: certificate.der().clone(), pem: certificate.pem(), issuer: Issuer::new(params, key) }
    }

    pub fn issue(&self, user: &str, group: &str) -> Credential {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, group);
        params.distinguished_name.push(DnType::CommonName, user);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Credential {
            chain: vec![certificate.der().clone()],
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        }
    }

    pub fn admin(&self) -> Credential {
        self.issue("kubernetes-admin", "system:masters")
    }

    pub fn ana(&self) -> Credential {
        self.issue("ana", "harbor")
    }

    /// Serving certificate and key for `localhost`, and `client_ca` to judge clients by.
    pub fn serving(&self, client_ca: &Self) -> TlsMaterial {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        TlsMaterial {
            cert_chain_pem: certificate.pem().into_bytes(),
            key_pem: key.serialize_pem().into_bytes().into(),
            client_ca_pem: client_ca.pem.clone().into_bytes(),
        }
    }
}

/// A running gate. It stops when it is told to, or with its runtime.
pub struct Server {
    pub address: SocketAddr,
    pub ca: Authority,
    pub tls: Arc<Tls>,
    pub metrics: Arc<ConnectionMetrics>,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<Drained>,
}

impl Server {
    pub async fn start(handler: impl Handler, limits: Limits) -> Self {
        Self::guarded(handler, Guards::default(), Authority::new(), limits).await
    }

    /// A gate with rules for its connections.
    pub async fn ruled(handler: impl Handler, limits: Limits, rules: ConnectionRules) -> Self {
        Self::made(handler, Guards::default(), Authority::new(), limits, rules).await
    }

    /// A gate with guards of its own; `ca` signs clients and the server.
    pub async fn guarded(handler: impl Handler, guards: Guards, ca: Authority, limits: Limits) -> Self {
        Self::made(handler, guards, ca, limits, ConnectionRules::default()).await
    }

    async fn made(
        handler: impl Handler,
        guards: Guards,
        ca: Authority,
        limits: Limits,
        connections: ConnectionRules,
    ) -> Self {
        let config = GateConfig {
            bind: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: ca.serving(&ca),
            defaults: Profile::Locked,
            limits: limits.clone(),
            connections,
        };
        let listener = Listener::bind(&config).await.unwrap();
        let (address, tls) = (listener.local_addr().unwrap(), Arc::clone(listener.tls()));
        let metrics = Arc::clone(listener.metrics());
        let (stop, stopped) = oneshot::channel();
        let gate = Arc::new(Gate::new(handler, guards, limits));
        let serving = tokio::spawn(listener.serve(gate, async {
            let _ = stopped.await;
        }));
        Self { address, ca, tls, metrics, stop: Some(stop), serving }
    }

    /// A gate before a handler that says who did what, under the usual limits.
    pub async fn describing() -> Self {
        Self::start(describe, Limits::default()).await
    }

    /// Tells the gate to stop.
    pub fn stop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }

    /// Waits for the end.
    pub async fn ended(self) -> Drained {
        self.serving.await.unwrap()
    }
}

/// Answers with user, groups, verb, and the length of the body, or with the refusal of the body.
pub async fn describe(mut permitted: Permitted) -> Response<Body> {
    let body: Bytes = match permitted.take_body().read().await {
        Ok(body) => body,
        Err(error) => return portcullis_gate::status_response(&error.status()),
    };
    let identity = permitted.identity();
    let text = format!("{} {} {} {}", identity.name, identity.groups.join(","), permitted.info().verb(), body.len());
    Response::new(Body::from(text))
}
