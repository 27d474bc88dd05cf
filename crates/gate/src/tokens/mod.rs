//! Signed tokens: the keys, the form, the claims, and what others need to verify them (upstream: the service account token
//! packages; RFC 7515 to 7519).
//!
//! Reading order: `keys`, `jws` over `json`, `claims`, `remembered`: these know nothing of service accounts, so that foreign issuers'
//! tokens are verified with them too. Then `service_account`, the issuer of our own.

pub(crate) mod claims;
pub(crate) mod json;
pub(crate) mod jws;
pub(crate) mod keys;
pub(crate) mod remembered;
pub(crate) mod service_account;

pub use self::keys::KeyError;
pub use self::service_account::{Named, NewToken, ServiceAccountIssuer, ServiceAccountKeys};
