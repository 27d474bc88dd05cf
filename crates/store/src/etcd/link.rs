//! The connection to etcd: who may be spoken to, and the three calls.
//!
//! Production speaks mutual TLS to `https` endpoints and nothing else (A9). [`PlainLoopback`] exists for test
//! harnesses that start an etcd of their own on this machine, and takes loopback addresses only.

use std::{net::IpAddr, time::Duration};

use http::uri::{PathAndQuery, Uri};
use tonic::{
    Code, Status, Streaming,
    client::Grpc,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};
use tonic_prost::ProstCodec;

use super::wire::{
    RANGE, RangeRequest, RangeResponse, TXN, TxnRequest, TxnResponse, WATCH, WatchRequest, WatchResponse,
};

/// Endpoints of one cluster.
const ENDPOINTS_MAX: usize = 32;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Until etcd begins to answer; it needs a majority, so this covers the election of a leader.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// etcd closes connections that ask more often than every 5 s.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Errors within errors that are looked at.
const SOURCES_MAX: usize = 16;
/// Largest message from etcd: a page of a list, or a fragment of a watch.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// How etcd is spoken to.
pub enum Security {
    /// Both sides show certificates. What production takes.
    MutualTls(MutualTls),
    /// Nothing is hidden or proven. For tests.
    PlainLoopback(PlainLoopback),
}

/// PEM texts for mutual TLS. The key is a secret: no Debug.
pub struct MutualTls {
    /// CA that signed etcd's serving certificates.
    pub ca: Vec<u8>,
    /// The client certificate.
    pub certificate: Vec<u8>,
    /// Its private key.
    pub key: Vec<u8>,
}

/// Leave to speak without TLS to an etcd on this machine that a test started.
pub struct PlainLoopback(());

impl PlainLoopback {
    /// Says in the caller's code what this is for.
    pub fn for_tests() -> Self {
        PlainLoopback(())
    }
}

/// Why etcd could not be connected to.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No endpoints, or too many.
    #[error("{count} etcd endpoints in --etcd-servers, 1 to {ENDPOINTS_MAX} are allowed")]
    EndpointCount {
        /// How many there are.
        count: usize,
    },
    /// The endpoint is not a URL with a host.
    #[error("the etcd endpoint {endpoint:?} in --etcd-servers is not a URL")]
    EndpointMalformed {
        /// The endpoint.
        endpoint: String,
    },
    /// The endpoint would be spoken to in plain text.
    #[error("the etcd endpoint {endpoint:?} in --etcd-servers is not https: etcd is spoken to with mutual TLS only")]
    EndpointPlain {
        /// The endpoint.
        endpoint: String,
    },
    /// A test's endpoint that is not plain and on this machine.
    #[error("the etcd endpoint {endpoint:?} is not http on a loopback address, as a test's has to be")]
    EndpointNotLoopback {
        /// The endpoint.
        endpoint: String,
    },
    /// The CA, certificate or key could not be used.
    #[error("the etcd CA, certificate or key cannot be used (--etcd-cafile, --etcd-certfile, --etcd-keyfile)")]
    TlsFailed {
        /// What was wrong.
        source: tonic::transport::Error,
    },
    /// The first list failed.
    #[error("etcd cannot be read")]
    ListFailed {
        /// What etcd or the connection said.
        source: Box<Status>,
    },
}

/// A connection to the cluster; clones share it.
#[derive(Clone)]
pub(super) struct Link {
    grpc: Grpc<Channel>,
}

impl Link {
    /// Prepares the connection; it is made by the first call.
    pub(super) fn new(endpoints: &[String], security: Security) -> Result<Link, ConnectError> {
        if endpoints.is_empty() || endpoints.len() > ENDPOINTS_MAX {
            return Err(ConnectError::EndpointCount { count: endpoints.len() });
        }
        let mut prepared = Vec::with_capacity(endpoints.len());
        for endpoint in endpoints {
            prepared.push(prepare(endpoint, &security)?);
        }
        let channel = match prepared.as_slice() {
            [only] => only.connect_lazy(),
            _ => Channel::balance_list(prepared.into_iter()),
        };
        let grpc = Grpc::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Ok(Link { grpc })
    }

    pub(super) async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Status> {
        self.unary(request, RANGE).await
    }

    pub(super) async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, Status> {
        self.unary(request, TXN).await
    }

    /// Opens a watch; etcd keeps the stream open after its only request.
    pub(super) async fn watch(&self, request: WatchRequest) -> Result<Watch, Status> {
        // The request side must stay open: etcd ends a watch whose client has finished sending.
        let (requests, queued) = tokio::sync::mpsc::channel(1);
        requests.try_send(request).map_err(|_| Status::internal("a new channel has no room"))?;
        let stream = tonic::codegen::tokio_stream::wrappers::ReceiverStream::new(queued);
        let mut grpc = self.ready().await?;
        let codec = ProstCodec::<WatchRequest, WatchResponse>::default();
        let response = grpc.streaming(tonic::Request::new(stream), PathAndQuery::from_static(WATCH), codec).await?;
        Ok(Watch { responses: response.into_inner(), _requests: requests })
    }

    async fn unary<Q, A>(&self, request: Q, path: &'static str) -> Result<A, Status>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let mut grpc = self.ready().await?;
        let codec = ProstCodec::<Q, A>::default();
        let response = grpc.unary(tonic::Request::new(request), PathAndQuery::from_static(path), codec).await?;
        Ok(response.into_inner())
    }

    async fn ready(&self) -> Result<Grpc<Channel>, Status> {
        let mut grpc = self.grpc.clone();
        match tokio::time::timeout(REQUEST_TIMEOUT, grpc.ready()).await {
            Ok(Ok(())) => Ok(grpc),
            Ok(Err(error)) => Err(not_sent(Status::from_error(error.into()))),
            Err(_) => Err(not_sent(Status::deadline_exceeded("no connection to etcd"))),
        }
    }
}

/// An open watch.
pub(super) struct Watch {
    responses: Streaming<WatchResponse>,
    _requests: tokio::sync::mpsc::Sender<WatchRequest>,
}

impl Watch {
    /// The next response; an error when etcd ended the stream.
    pub(super) async fn next(&mut self) -> Result<WatchResponse, Status> {
        let response = self.responses.message().await?;
        response.ok_or_else(|| Status::unavailable("etcd ended the watch stream"))
    }
}

/// Marks a failure of which etcd knows nothing.
#[derive(Debug, thiserror::Error)]
#[error("the request was not sent")]
struct NotSent(#[source] Status);

fn not_sent(status: Status) -> Status {
    let mut marked = Status::new(Code::Unavailable, status.message());
    marked.set_source(std::sync::Arc::new(NotSent(status)));
    marked
}

/// Whether etcd cannot have seen the request, so that it certainly has no effect.
pub(super) fn was_not_sent(status: &Status) -> bool {
    let first = std::error::Error::source(status);
    std::iter::successors(first, |error| error.source())
        .take(SOURCES_MAX)
        .any(|source| source.is::<NotSent>() || source.is::<tonic::ConnectError>())
}

fn prepare(text: &str, security: &Security) -> Result<Endpoint, ConnectError> {
    let endpoint = text.to_string();
    let malformed = || ConnectError::EndpointMalformed { endpoint: endpoint.clone() };
    let uri: Uri = text.parse().map_err(|_| malformed())?;
    let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.host()) else { return Err(malformed()) };
    let prepared = match security {
        Security::MutualTls(_) if scheme != "https" => return Err(ConnectError::EndpointPlain { endpoint }),
        Security::MutualTls(MutualTls { ca, certificate, key }) => {
            let tls = ClientTlsConfig::new()
                .ca_certificate(Certificate::from_pem(ca))
                .identity(Identity::from_pem(certificate, key));
            Endpoint::from(uri).tls_config(tls).map_err(|source| ConnectError::TlsFailed { source })?
        }
        Security::PlainLoopback(_) if scheme != "http" || !is_loopback(host) => {
            return Err(ConnectError::EndpointNotLoopback { endpoint });
        }
        Security::PlainLoopback(_) => Endpoint::from(uri),
    };
    Ok(prepared
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(REQUEST_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true))
}

/// Addresses only: what a name means is decided elsewhere.
fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn endpoints() {
        let check = |endpoints: &[&str], security: Security, expected: &str| {
            let endpoints: Vec<String> = endpoints.iter().map(|endpoint| endpoint.to_string()).collect();
            let result =
                Link::new(&endpoints, security).map_or_else(|error| error.to_string(), |_| "taken".to_string());
            assert!(result.contains(expected), "{endpoints:?}: {result}");
        };
        let tls = || {
            let signed = rcgen::generate_simple_self_signed(vec!["etcd".to_string()]).unwrap();
            let certificate = signed.cert.pem().into_bytes();
            let key = signed.signing_key.serialize_pem().into_bytes();
            Security::MutualTls(MutualTls { ca: certificate.clone(), certificate, key })
        };
        let garbage = || {
            let text = b"not PEM".to_vec();
            Security::MutualTls(MutualTls { ca: text.clone(), certificate: text.clone(), key: text })
        };
        let plain = || Security::PlainLoopback(PlainLoopback::for_tests());
        check(&["https://10.0.0.1:2379"], tls(), "taken");
        check(&["https://a:2379", "https://b:2379"], tls(), "taken");
        check(&["http://10.0.0.1:2379"], tls(), "is not https");
        check(&["http://127.0.0.1:2379"], tls(), "is not https");
        check(&["https://a:2379", "http://b:2379"], tls(), "\"http://b:2379\" in --etcd-servers is not https");
        check(&["10.0.0.1:2379"], tls(), "is not a URL");
        check(&["https://a:2379"], garbage(), "cannot be used (--etcd-cafile");
        check(&[], tls(), "0 etcd endpoints");
        check(&["https://a:2379"; 33], tls(), "33 etcd endpoints");
        check(&["http://127.0.0.1:2379"], plain(), "taken");
        check(&["http://[::1]:2379"], plain(), "taken");
        check(&["http://10.0.0.1:2379"], plain(), "not http on a loopback");
        check(&["http://localhost:2379"], plain(), "not http on a loopback");
        check(&["https://127.0.0.1:2379"], plain(), "not http on a loopback");
    }
}
