//! The connection to etcd: who may be spoken to, and the calls.
//!
//! Production speaks mutual TLS to `https` endpoints and nothing else (A9). [`PlainLoopback`] exists for test
//! harnesses that start an etcd of their own on this machine, and takes loopback addresses only.

use std::{net::IpAddr, time::Duration};

use bytes::Bytes;
use http::uri::{PathAndQuery, Uri};
use tonic::{
    Code, Status, Streaming,
    client::Grpc,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};
use tonic_prost::ProstCodec;

use super::members::{CALL_TIMEOUT, Members, Repeat, demanding_a_leader, is_leaderless};
use super::wire::{
    ALL_KEYS, COMPACT, CompactionRequest, CompactionResponse, LEASE_GRANT, LEASE_TIME_TO_LIVE, LeaseGrantRequest,
    LeaseGrantResponse, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, RANGE, RangeRequest, RangeResponse, STATUS,
    StatusRequest, StatusResponse, TXN, TxnRequest, TxnResponse, WATCH, WatchRequest, WatchResponse,
};

/// Endpoints of one cluster.
const ENDPOINTS_MAX: usize = 32;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A member that is gone without a word is noticed within both of these. etcd closes connections that ask more often than every 5 s.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(6);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(4);
/// How the TLS library begins to say that a certificate cannot be verified. Its error is inside of one of I/O, which hides it.
const UNVERIFIED: &str = "invalid peer certificate: ";
/// Errors within errors that are looked at.
const SOURCES_MAX: usize = 16;

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
    /// Somebody began to copy a cluster into it and did not get to the end.
    #[error(
        "this etcd holds a part of a cluster: a copy to it ({}) has not finished. Wait for it, or run `portcullis store copy` again, \
         which begins anew", String::from_utf8_lossy(.marker)
    )]
    CopyUnfinished {
        /// What the copy says of itself.
        marker: Vec<u8>,
    },
    /// A member could not prove that it is one.
    #[error(
        "the etcd at {endpoint:?} (--etcd-servers) cannot be verified with the authority of --etcd-cafile: {reason}"
    )]
    Unverified {
        /// The member.
        endpoint: String,
        /// What is wrong with what it showed.
        reason: String,
    },
    /// It was compacted.
    #[error("etcd has forgotten what it held at revision {revision}: it was compacted meanwhile")]
    Forgotten {
        /// What was asked for.
        revision: u64,
    },
    /// The first list failed.
    #[error(
        "etcd cannot be read: either nothing answers there (--etcd-servers), or one of both sides does not trust the other \
         (--etcd-cafile, --etcd-certfile, --etcd-keyfile)"
    )]
    ListFailed {
        /// What etcd or the connection said.
        source: Box<Status>,
    },
}

/// A connection to the cluster; clones share it.
#[derive(Clone)]
pub(super) struct Link {
    members: Members,
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
        Ok(Link { members: Members::new(&prepared) })
    }

    /// A9: refuses a member that shows no certificate that can be verified, also when the others do. One that does not answer may come
    /// later, and is verified then.
    pub(super) async fn refuse_unverified(&self, endpoints: &[String]) -> Result<(), ConnectError> {
        let mut asked = tokio::task::JoinSet::new();
        for (member, endpoint) in endpoints.iter().enumerate() {
            let Some(only) = self.members.only(member) else { continue };
            let (only, endpoint) = (Link { members: only }, endpoint.clone());
            asked.spawn(async move { (only.revision().await, endpoint) });
        }
        while let Some(Ok((answer, endpoint))) = asked.join_next().await {
            let Err(status) = answer else { continue };
            if let Some(reason) = unverified(&status) {
                return Err(ConnectError::Unverified { endpoint, reason });
            }
            tracing::warn!(endpoint, error = %status, "a member of etcd does not answer");
        }
        Ok(())
    }

    pub(super) async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Status> {
        self.unary(request, RANGE, Repeat::Safe).await
    }

    /// The revision of etcd, by a linearizable read.
    pub(super) async fn revision(&self) -> Result<u64, Status> {
        // The one key that cannot exist: only the header of the answer is wanted.
        let nothing = Bytes::from_static(ALL_KEYS);
        let request = RangeRequest { key: nothing, limit: 1, count_only: true, ..RangeRequest::default() };
        let response = self.range(request).await?;
        Ok(response.header.map_or(0, |header| u64::try_from(header.revision).unwrap_or_default()))
    }

    pub(super) async fn compact(&self, request: CompactionRequest) -> Result<(), Status> {
        self.unary::<_, CompactionResponse>(request, COMPACT, Repeat::Safe).await.map(drop)
    }

    pub(super) async fn grant(&self, request: LeaseGrantRequest) -> Result<LeaseGrantResponse, Status> {
        // One that nobody heard of ends by itself.
        self.unary(request, LEASE_GRANT, Repeat::Safe).await
    }

    pub(super) async fn time_to_live(&self, id: i64) -> Result<LeaseTimeToLiveResponse, Status> {
        self.unary(LeaseTimeToLiveRequest { id }, LEASE_TIME_TO_LIVE, Repeat::Safe).await
    }

    pub(super) async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, Status> {
        self.unary(request, TXN, Repeat::Unsafe).await
    }

    pub(super) async fn status(&self) -> Result<StatusResponse, Status> {
        self.unary(StatusRequest {}, STATUS, Repeat::Safe).await
    }

    /// Opens a watch; etcd keeps the stream open after its only request.
    pub(super) async fn watch(&self, request: WatchRequest) -> Result<Watch, Status> {
        // The request side must stay open: etcd ends a watch whose client has finished sending.
        let (requests, queued) = tokio::sync::mpsc::channel(1);
        requests.try_send(request).map_err(|_| Status::internal("a new channel has no room"))?;
        let stream = tonic::codegen::tokio_stream::wrappers::ReceiverStream::new(queued);
        let (member, mut grpc) = self.members.in_use()?;
        let open = async {
            ready(&mut grpc, CALL_TIMEOUT).await?;
            let codec = ProstCodec::<WatchRequest, WatchResponse>::default();
            grpc.streaming(demanding_a_leader(stream), PathAndQuery::from_static(WATCH), codec).await
        };
        let response = tokio::select! {
            response = open => response.inspect_err(|status| self.members.leave(member, status))?,
            () = self.members.left(member) => return Err(moved_on()),
        };
        Ok(Watch { members: self.members.clone(), member, responses: response.into_inner(), _requests: requests })
    }

    async fn unary<Q, A>(&self, request: Q, path: &'static str, repeat: Repeat) -> Result<A, Status>
    where
        Q: prost::Message + Clone + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let attempt = |mut grpc: Grpc<Channel>, timeout: Duration| {
            let mut request = demanding_a_leader(request.clone());
            request.set_timeout(timeout);
            async move {
                ready(&mut grpc, timeout).await?;
                let codec = ProstCodec::<Q, A>::default();
                grpc.unary(request, PathAndQuery::from_static(path), codec).await
            }
        };
        Ok(self.members.call(repeat, attempt).await?.into_inner())
    }
}

async fn ready(grpc: &mut Grpc<Channel>, timeout: Duration) -> Result<(), Status> {
    match tokio::time::timeout(timeout, grpc.ready()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(not_sent(Status::from_error(error.into()))),
        Err(_) => Err(not_sent(Status::deadline_exceeded("no connection to etcd"))),
    }
}

/// An open watch.
pub(super) struct Watch {
    members: Members,
    /// Which of them tells it.
    member: usize,
    responses: Streaming<WatchResponse>,
    _requests: tokio::sync::mpsc::Sender<WatchRequest>,
}

impl Watch {
    /// The next response; an error when etcd ended the stream, or when calls go to another member: what this one tells may be old.
    pub(super) async fn next(&mut self) -> Result<WatchResponse, Status> {
        let response = tokio::select! {
            response = self.responses.message() => response,
            () = self.members.left(self.member) => return Err(moved_on()),
        };
        let ended = || Status::unavailable("etcd ended the watch stream");
        let response = response.and_then(|response| response.ok_or_else(ended));
        response.inspect_err(|status| self.members.leave(self.member, status))
    }
}

/// What is wrong with the certificate that a member showed, if that is why it was not spoken to.
fn unverified(status: &Status) -> Option<String> {
    let first = std::error::Error::source(status);
    let chain = std::iter::successors(first, |error| error.source()).take(SOURCES_MAX);
    let said = chain.map(ToString::to_string).find(|said| said.contains(UNVERIFIED))?;
    said.split_once(UNVERIFIED).map(|(_, reason)| reason.to_owned())
}

fn moved_on() -> Status {
    Status::aborted("another member of etcd is used")
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

/// Whether etcd cannot have seen the request, or refused it before it did anything: it certainly has no effect.
pub(super) fn was_not_sent(status: &Status) -> bool {
    if is_leaderless(status) {
        return true;
    }
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
        .timeout(CALL_TIMEOUT)
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
