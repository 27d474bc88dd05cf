//! Who a request acts as: name, uid, groups, extra, and the well-known names among them (upstream: `user.Info`).

use std::collections::BTreeMap;
use std::sync::Arc;

/// The user of a request without credentials.
pub const ANONYMOUS: &str = "system:anonymous";
/// The group of requests without credentials.
pub const GROUP_UNAUTHENTICATED: &str = "system:unauthenticated";
/// The group of every user who proved who they are.
pub const GROUP_AUTHENTICATED: &str = "system:authenticated";
/// The group that may do everything; no role can take it away.
pub const GROUP_MASTERS: &str = "system:masters";
/// What the user name of a service account begins with; its namespace, a colon and its name follow.
pub const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";
/// The group of all service accounts; that of one namespace is this, a colon and the namespace.
pub const GROUP_SERVICE_ACCOUNTS: &str = "system:serviceaccounts";
/// What the user name of a node begins with; its name follows.
pub const NODE_NAME_PREFIX: &str = "system:node:";
/// The group of nodes.
pub const GROUP_NODES: &str = "system:nodes";
/// The key of the extra that names the node where a service account's pod runs.
pub const EXTRA_NODE_NAME: &str = "authentication.kubernetes.io/node-name";
/// The key of the extra that names the credential (KEP-4193).
pub(crate) const EXTRA_CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// An authenticated user, or the anonymous one. Shared, because one connection's requests have one identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user's name; never empty on a request that passed authentication.
    pub name: String,
    /// The user's unique id, or empty.
    pub uid: String,
    /// Groups in the order they were proved.
    pub groups: Vec<String>,
    /// Further facts about the user, for authorisers.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// A user in these groups, for tests.
#[cfg(test)]
pub(crate) fn user(name: &str, groups: &[&str]) -> Identity {
    let groups = groups.iter().map(ToString::to_string).collect();
    Identity { name: name.to_owned(), groups, ..Identity::default() }
}

impl Identity {
    /// Makes the identity of requests without credentials.
    pub fn anonymous() -> Arc<Self> {
        Arc::new(Self { name: ANONYMOUS.to_owned(), groups: vec![GROUP_UNAUTHENTICATED.to_owned()], ..Self::default() })
    }

    /// Says whether the user is in `group`.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }

    /// Says whether this is the identity of requests without credentials.
    pub fn is_anonymous(&self) -> bool {
        self.name == ANONYMOUS
    }

    /// Adds `group` unless the user is in it already.
    pub(crate) fn join(&mut self, group: &str) {
        if !self.is_in(group) {
            self.groups.push(group.to_owned());
        }
    }
}
