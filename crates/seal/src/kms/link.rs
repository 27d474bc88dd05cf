//! The connection to a KMS plugin: a unix socket, and three calls.

use std::future::Future;
use std::time::{Duration, Instant};

use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use super::wire::{
    DECRYPT, DecryptRequest, DecryptResponse, ENCRYPT, EncryptRequest, EncryptResponse, STATUS, StatusRequest,
    StatusResponse,
};
use super::{KmsError, KmsSettings, Observer};

/// Bytes of an answer: annotations have 32 KiB at most.
const ANSWER_BYTES_MAX: usize = 128 << 10;
/// Letters of what a plugin says that are repeated in an error.
const SAID_LEN_MAX: usize = 256;

/// A plugin that can be called. The connection is made by the first call, and again when it broke.
pub(super) struct Link {
    grpc: Grpc<Channel>,
    timeout: Duration,
    provider: String,
    observer: Observer,
}

impl Link {
    /// Takes the path of a socket; one that begins with `@` has no file (an abstract one). Needs a running runtime.
    pub(super) fn new(settings: &KmsSettings, observer: Observer) -> Result<Self, tonic::transport::Error> {
        let KmsSettings { name: provider, socket, timeout } = settings.clone();
        let path = match socket.strip_prefix('@') {
            Some(name) => format!("\0{name}"),
            None => socket,
        };
        let channel = Endpoint::from_shared(format!("unix://{path}"))?.connect_timeout(timeout).connect_lazy();
        let grpc = Grpc::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
        Ok(Self { grpc, timeout, provider, observer })
    }

    pub(super) async fn status(&self) -> Result<StatusResponse, KmsError> {
        self.call(StatusRequest {}, STATUS).await
    }

    pub(super) async fn encrypt(&self, request: EncryptRequest) -> Result<EncryptResponse, KmsError> {
        self.call(request, ENCRYPT).await
    }

    pub(super) async fn decrypt(&self, request: DecryptRequest) -> Result<DecryptResponse, KmsError> {
        self.call(request, DECRYPT).await
    }

    async fn call<Q, A>(&self, request: Q, path: &'static str) -> Result<A, KmsError>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let called = async {
            let mut grpc = self.grpc.clone();
            grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
            let codec = ProstCodec::<Q, A>::default();
            grpc.unary(Request::new(request), PathAndQuery::from_static(path), codec).await
        };
        let begun = Instant::now();
        let answered = within(self.timeout, called).await;
        if let Some(observer) = self.observer.get() {
            let code = match &answered {
                Err(KmsError::Call { code, .. }) => *code,
                _ => Code::Ok,
            };
            observer.called(&self.provider, path, code, begun.elapsed());
        }
        Ok(answered?.into_inner())
    }
}

async fn within<T>(timeout: Duration, called: impl Future<Output = Result<T, Status>>) -> Result<T, KmsError> {
    match tokio::time::timeout(timeout, called).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(status)) => Err(KmsError::Call { code: status.code(), said: said(&status) }),
        Err(_) => Err(KmsError::Call {
            code: Code::DeadlineExceeded,
            said: format!("no answer within {}ms", timeout.as_millis()),
        }),
    }
}

/// What it said, or what kept it from saying anything.
fn said(status: &Status) -> String {
    let causes = || std::iter::successors(std::error::Error::source(status), |error| error.source());
    let text = match causes().last() {
        None => status.message().to_owned(),
        Some(cause) if causes().any(|error| error.is::<tonic::ConnectError>()) => cause.to_string(),
        Some(cause) => format!("the connection broke, or what listens there does not speak gRPC: {cause}"),
    };
    text.chars().take(SAID_LEN_MAX).collect()
}
