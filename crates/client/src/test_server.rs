//! An HTTPS server of throwaway certificates on a loopback port, for the tests of whoever sends requests. It records what it is
//! asked and answers as it is told. Not part of any program.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

use crate::kubeconfig::Access;
use crate::tls::{ClientCertificate, Trust};

/// A certificate authority that can sign.
pub struct Authority {
    /// Its certificate.
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// Makes one.
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// Issues a certificate for a name or address.
    pub fn issue(&self, name: &str) -> ClientCertificate {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        pair(&certificate.pem(), &key)
    }
}

/// Makes a certificate that is its own authority.
pub fn self_issued(name: &str) -> ClientCertificate {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    pair(&certificate.pem(), &key)
}

fn pair(pem: &str, key: &KeyPair) -> ClientCertificate {
    ClientCertificate { chain_pem: pem.as_bytes().to_vec(), key_pem: Zeroizing::new(key.serialize_pem().into_bytes()) }
}

/// A request that was received.
#[derive(Clone, Debug)]
pub struct Received {
    /// The method.
    pub method: Method,
    /// The path, with its query.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// Whether it came with a client certificate.
    pub has_certificate: bool,
    /// The client's end of the connection it came on.
    pub remote: SocketAddr,
}

/// What a server is.
pub struct Settings {
    /// Its certificate and key.
    pub certificate: ClientCertificate,
    /// Whether it offers HTTP/2.
    pub speaks_http2: bool,
    /// The authority of client certificates, if it takes any.
    pub client_authority: Option<String>,
}

impl Settings {
    /// Speaks HTTP/2 and HTTP/1.1 with a certificate.
    pub fn new(certificate: ClientCertificate) -> Self {
        Self { certificate, speaks_http2: true, client_authority: None }
    }
}

/// A server that runs until it is dropped.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    connections: Arc<Mutex<Vec<AbortHandle>>>,
    task: AbortHandle,
}

impl Server {
    /// Starts a server on a free loopback port.
    pub async fn start<F>(settings: Settings, answer: F) -> Self
    where
        F: Fn(&Received) -> Response<Bytes> + Send + Sync + 'static,
    {
        let acceptor = acceptor(&settings);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(Mutex::new(Vec::new()));
        let answer = Arc::new(answer);
        let (log, open) = (Arc::clone(&received), Arc::clone(&connections));
        let task = tokio::spawn(async move {
            loop {
                let (stream, remote) = listener.accept().await.unwrap();
                let (acceptor, log, answer) = (acceptor.clone(), Arc::clone(&log), Arc::clone(&answer));
                let connection = tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let has_certificate = stream.get_ref().1.peer_certificates().is_some();
                    let service = service_fn(|request: Request<Incoming>| {
                        let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                        async move {
                            let (parts, body) = request.into_parts();
                            let body = body.collect().await?.to_bytes();
                            let path = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
                            let (method, headers) = (parts.method, parts.headers);
                            let request = Received { method, path, headers, body, has_certificate, remote };
                            log.lock().unwrap().push(request.clone());
                            Ok::<_, hyper::Error>(answer(&request).map(Full::new))
                        }
                    });
                    let _ =
                        auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
                });
                open.lock().unwrap().push(connection.abort_handle());
            }
        });
        Self { address, received, connections, task: task.abort_handle() }
    }

    /// Returns every request so far.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// Returns how many connections were opened so far.
    pub fn connections(&self) -> usize {
        self.connections.lock().unwrap().len()
    }

    /// Breaks every connection that is open, and goes on listening.
    pub fn break_connections(&self) {
        for connection in self.connections.lock().unwrap().iter() {
            connection.abort();
        }
    }

    /// Returns how to ask this server at a path, verified against an authority.
    pub fn access(&self, path: &str, authority_pem: &str) -> Access {
        let server = format!("https://{}{path}", self.address);
        Access::anonymous(&server, Trust::Authorities(authority_pem.as_bytes().to_vec()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
        self.break_connections();
    }
}

fn acceptor(settings: &Settings) -> TlsAcceptor {
    let chain = CertificateDer::pem_slice_iter(&settings.certificate.chain_pem).collect::<Result<_, _>>().unwrap();
    let key = PrivatePkcs8KeyDer::from_pem_slice(&settings.certificate.key_pem).unwrap();
    let builder = rustls::ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = match &settings.client_authority {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::new(default_provider()));
            builder.with_client_cert_verifier(verifier.allow_unauthenticated().build().unwrap())
        }
    };
    let mut config = builder.with_single_cert(chain, PrivateKeyDer::Pkcs8(key)).unwrap();
    config.alpn_protocols =
        if settings.speaks_http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
    TlsAcceptor::from(Arc::new(config))
}
