//! An owner that is named twice is named once (upstream: `dedupOwnerReferences`).

use std::collections::HashSet;

use portcullis_model::meta_rules::OwnerReference;
use portcullis_model::tree::{NodeId, Tree};

use super::metadata::Metadata;
use super::{Served, validate};
use crate::request::Request;

/// When the owners are looked at: a client must know whether it named one twice, or a plugin did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// As a client sent them. Who patches sends no owners but what is made of them, which is looked at later.
    Given,
    /// As they are stored: admission may have named more.
    Admitted,
}

impl When {
    fn warning(self, uids: &[String]) -> String {
        let since = match self {
            When::Given => "",
            When::Admitted => " after mutating admission happens",
        };
        format!(
            ".metadata.ownerReferences contains duplicate entries{since}; API server dedups owner references in 1.20+, and may \
             reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
            uids.join(", ")
        )
    }
}

/// Keeps the first of equal owners, and warns whoever named more.
pub fn merge_duplicates(request: &Request<'_>, tree: &mut Tree, when: When) {
    let uids = merge(request.served, tree);
    if !uids.is_empty() {
        request.warn(when.warning(&uids));
    }
}

/// Keeps the first of equal owners. Gives back the uids of the others.
fn merge(served: &Served, tree: &mut Tree) -> Vec<String> {
    let owners = Metadata::of(served, tree).node().and_then(|node| tree.field(node, served.meta.owner_references));
    let Some(list) = owners.filter(|list| tree.len(*list) > 1) else { return Vec::new() };
    let (uids, doubled) = {
        let mut met: HashSet<OwnerReference<'_>> = HashSet::new();
        let (mut uids, mut doubled): (Vec<String>, HashSet<NodeId>) = Default::default();
        for node in tree.children(list) {
            let owner = validate::owner(served.schema, tree, node);
            if !met.insert(owner) {
                uids.push(owner.uid.to_owned());
                doubled.insert(node);
            }
        }
        (uids, doubled)
    };
    if !doubled.is_empty() {
        tree.retain(list, |_, node| !doubled.contains(&node));
    }
    uids
}
