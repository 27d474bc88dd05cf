//! A14: without the Node authoriser and NodeRestriction, nothing tells one node's objects from another's, so nodes are refused.

use std::sync::Arc;

use crate::identity::{GROUP_NODES, Identity, NODE_NAME_PREFIX};

use super::super::{Attributes, Authorizer, Decision, Rules, Verdict};

/// Refuses whoever is, or says it is, a node. Stands first of those that the operator chose, where `--authorization-mode` lacks Node
/// or the NodeRestriction admission plugin is off.
pub struct NodesRefused {
    reason: Arc<str>,
}

impl Default for NodesRefused {
    fn default() -> Self {
        let reason = "nodes are refused here: add Node to --authorization-mode and enable the NodeRestriction \
                      admission plugin";
        Self { reason: reason.into() }
    }
}

fn is_refused(user: &Identity) -> bool {
    user.name.starts_with(NODE_NAME_PREFIX) || user.is_in(GROUP_NODES)
}

impl Authorizer for NodesRefused {
    fn name(&self) -> &'static str {
        "nodes refused"
    }

    fn decide<'a>(&'a self, attributes: &'a Attributes<'a>) -> Decision<'a> {
        Decision::Now(match is_refused(attributes.user) {
            true => Verdict::Deny { reason: Arc::clone(&self.reason) },
            false => Verdict::no_opinion(),
        })
    }

    /// What others list for a node is not what it may do.
    fn rules(&self, user: &Identity, _: &str, rules: &mut Rules) {
        if is_refused(user) {
            rules.gaps.push(self.reason.to_string());
        }
    }
}
