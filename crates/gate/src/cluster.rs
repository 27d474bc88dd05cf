//! What the gate asks about the cluster's objects, to judge credentials that are bound to them: service account tokens and
//! bootstrap tokens (upstream: the getters of the service account authenticator, and its secret lister).
//!
//! The gate knows no kind and reads no store; the API server answers these questions from its newest snapshot.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

/// An object that a token can be bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// The service account that the token speaks for.
    ServiceAccount,
    /// The pod that it was given to.
    Pod,
    /// The secret that it stands in, or ends with.
    Secret,
    /// The node that it was made on.
    Node,
}

/// What matters of an object that a token is bound to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Its uid.
    pub uid: String,
    /// When it is to be gone at the latest, in seconds since 1970, if it is being deleted.
    pub deletion_timestamp: Option<i64>,
}

/// A stored secret. The values are wiped when it is dropped, and can not be printed.
#[derive(Clone, Default)]
pub struct StoredSecret {
    /// What matters of the object.
    pub held: Held,
    /// `type`.
    pub kind: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// `data`, decoded.
    pub data: BTreeMap<String, Zeroizing<Vec<u8>>>,
}

/// The objects that credentials are bound to.
pub trait Cluster: Send + Sync + 'static {
    /// Returns what matters of an object; nothing when it is not there. `namespace` is empty for a node.
    fn find(&self, holder: Holder, namespace: &str, name: &str) -> Option<Held>;

    /// Returns a secret with its data.
    fn secret(&self, namespace: &str, name: &str) -> Option<StoredSecret>;
}
