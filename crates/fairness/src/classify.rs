//! Which flow a request belongs to.

use std::sync::Arc;

use crate::configuration::{Configuration, FlowSchema, Level};

/// What a request is about.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// A resource; absent parts are empty.
    Resource {
        /// The API group.
        group: &'a str,
        /// The resource.
        resource: &'a str,
        /// The subresource.
        subresource: &'a str,
        /// The namespace.
        namespace: &'a str,
    },
    /// Any other path.
    Path(&'a str),
}

/// A request as flow schemas see it.
#[derive(Clone, Copy, Debug)]
pub struct Digest<'a> {
    /// The user's name.
    pub user: &'a str,
    /// The user's groups.
    pub groups: &'a [String],
    /// The verb.
    pub verb: &'a str,
    /// What it is about.
    pub target: Target<'a>,
}

/// The flow of a request.
#[derive(Clone, Debug)]
pub struct Flow {
    /// The schema that matched.
    pub schema: Arc<FlowSchema>,
    /// Its level.
    pub level: Arc<Level>,
    /// What tells the flow from others of its schema; empty when there is one only.
    pub distinguisher: String,
}

impl Configuration {
    /// Returns the flow of a request; none where no schema matches or its level is not there.
    pub fn classify(&self, _digest: &Digest<'_>) -> Option<Flow> {
        None
    }
}
