//! A request for a resource as the verbs see it: what was permitted, and what of it was understood before the verb began.

use bytes::Bytes;
use portcullis_gate::{Permitted, Query, ResourceInfo};
use portcullis_kinds::resources::Subresource;

use crate::negotiate::Accepted;
use crate::registry::Served;

/// A permitted request for a resource that is served. The only way to make one begins with a [`Permitted`].
pub struct Request<'a> {
    /// Who may do it.
    pub permitted: &'a Permitted,
    /// The parts of the path.
    pub info: ResourceInfo<'a>,
    /// The query.
    pub query: Query<'a>,
    /// The resource.
    pub served: &'a Served,
    /// The subresource, if the path names one.
    pub subresource: Option<&'a Subresource>,
    /// What the answer will be.
    pub accepted: Accepted,
    /// The body, whole; empty for methods without one.
    pub body: Bytes,
    /// What the client is warned of, whatever the answer.
    pub warnings: Vec<String>,
}

impl<'a> Request<'a> {
    /// Returns the namespace of the object or collection; empty at the cluster scope.
    pub fn namespace(&self) -> &'a str {
        // The path of a namespace object has its name as namespace too, because that is how it is authorised.
        if self.served.resource.namespaced { self.info.namespace } else { "" }
    }

    /// Returns the name in the path.
    pub fn path_name(&self) -> &'a str {
        self.info.path_name
    }

    /// Whether the request is for this subresource.
    pub fn is_for(&self, subresource: &str) -> bool {
        self.info.subresource == subresource
    }
}
