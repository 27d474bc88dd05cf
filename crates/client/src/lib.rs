//! What the API server sends out: HTTPS to webhooks and issuers, and the files that say how.
//!
//! In reading order: `kubeconfig` (whom to ask, and as whom), `tls` and `credential` (what of it a connection needs), `dial`
//! (which addresses may be reached, A26), `https` (one request and its answer), `review` (a question to a webhook, asked again
//! when it was not heard), `answers` (what was answered a moment ago).
//!
//! An error's text is whole, with its cause inside: it is read in logs and answers that show no chain of causes.
//!
//! What this crate never does: speak plain HTTP, follow a redirect, dial an address that it did not check, go through a proxy,
//! log a body or a credential.

mod answers;
mod credential;
mod dial;
mod https;
mod kubeconfig;
mod pool;
mod review;
#[cfg(feature = "test_server")]
pub mod test_server;
mod tls;
mod trace_context;

pub use answers::{Answers, Keep, NoRandomness, Question};
pub use credential::{Credential, CredentialError};
pub use dial::{DialError, DialRule, Forbidden, Resolve, SystemResolver};
pub use https::{Answer, Client, HttpsUrl, IN_FLIGHT_MAX, Outgoing, RESPONSE_BYTES_MAX, RequestError, SetupError};
pub use kubeconfig::{Access, Kubeconfig, KubeconfigError};
pub use review::{Attempts, ReviewError, Reviewer};
pub use tls::{ClientCertificate, Trust, TrustError};
pub use trace_context::trace_with;

/// A future that is made where it is asked for.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
