//! OwnerReferencesPermissionEnforcement: who gives an object another owner must be allowed to delete the object, since the owner's end
//! is then its end; and who makes an owner's deletion wait for it must be allowed to write the owner's finalizers.
//!
//! Off in both profiles, as upstream: nearly every operator in use sets `blockOwnerDeletion` (controller-runtime does so for it), and many
//! are not granted `update` on `<owner>/finalizers`, so that they would stop to work. `--enable-admission-plugins` turns it on.

use portcullis_gate::{Attributes, Selection, Target, Verdict};
use portcullis_model::tree::{NodeId, Tree};

use super::{Attempt, Operation, Pass, Plugin};
use crate::answer::Failure;
use crate::registry::Served;
use crate::registry::validate::named;

/// The plugin.
pub struct OwnerReferencesPermissionEnforcement;

/// One owner as an object names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner<'t> {
    api_version: &'t str,
    kind: &'t str,
    name: &'t str,
    uid: &'t str,
    controller: Option<bool>,
    blocks: Option<bool>,
}

impl Plugin for OwnerReferencesPermissionEnforcement {
    fn name(&self) -> &'static str {
        "OwnerReferencesPermissionEnforcement"
    }

    fn handles(&self, served: &Served, operation: Operation) -> bool {
        served.is_stored() && matches!(operation, Operation::Create | Operation::Update)
    }

    fn validate<'a>(&'a self, attempt: &'a Attempt<'_>) -> Pass<'a> {
        // The kubelet writes pod statuses all the time, which cannot change owners.
        if attempt.is_of("", "pods") && attempt.subresource() == "status" {
            return Pass::on();
        }
        let served = attempt.served();
        let new = attempt.new().map(|tree| owners(served, tree)).unwrap_or_default();
        let old = attempt.old.map(|tree| owners(served, tree)).unwrap_or_default();
        if new == old {
            return Pass::on();
        }
        Pass::Later(Box::pin(check(attempt, new, old)))
    }
}

fn owners<'t>(served: &Served, tree: &'t Tree) -> Vec<Owner<'t>> {
    // A subresource of another type has no owners of the object's.
    if tree.object_type(tree.root()) != Some(served.resource.type_id) {
        return Vec::new();
    }
    let at = |object: NodeId, name: &str| named(served.schema, tree, object, name);
    let text = |object: NodeId, name: &str| at(object, name).and_then(|node| tree.string(node)).unwrap_or_default();
    let flag = |object: NodeId, name: &str| at(object, name).and_then(|node| tree.bool(node));
    let metadata = tree.field(tree.root(), served.fields.metadata);
    let list = metadata.and_then(|metadata| tree.field(metadata, served.meta.owner_references));
    let owners = list.into_iter().flat_map(|list| tree.children(list));
    owners
        .map(|owner| Owner {
            api_version: text(owner, "apiVersion"),
            kind: text(owner, "kind"),
            name: text(owner, "name"),
            uid: text(owner, "uid"),
            controller: flag(owner, "controller"),
            blocks: flag(owner, "blockOwnerDeletion"),
        })
        .collect()
}

async fn check(attempt: &Attempt<'_>, new: Vec<Owner<'_>>, old: Vec<Owner<'_>>) -> Result<(), Failure> {
    let resource = attempt.served().resource;
    // Whoever creates an object may say whose it is.
    if attempt.operation == Operation::Update {
        let target = Target::Resource {
            group: resource.group,
            version: resource.version,
            namespace: attempt.namespace(),
            resource: resource.name,
            subresource: attempt.subresource(),
            name: attempt.name,
            selectors: Selection::ALL,
        };
        let why = "cannot set an ownerRef on a resource you can't delete";
        require(attempt, "delete", target, why).await?;
    }
    let blocked_before = |owner: &Owner<'_>| old.iter().any(|held| held.uid == owner.uid && held.blocks == Some(true));
    for owner in new.iter().filter(|owner| owner.blocks == Some(true) && !blocked_before(owner)) {
        let (group, version) = owner.api_version.rsplit_once('/').unwrap_or(("", owner.api_version));
        let mut found = attempt.server.registry.all().iter().filter(|served| {
            let resource = served.resource;
            resource.group == group && resource.version == version && resource.kind == owner.kind && served.is_stored()
        });
        let Some(owned_by) = found.next() else {
            return Err(attempt.forbidden(&format!(
                "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion {} Kind {}: \
                 no matches for kind \"{}\" in version \"{}\"",
                owner.api_version, owner.kind, owner.kind, owner.api_version
            )));
        };
        let target = Target::Resource {
            group,
            version,
            namespace: if owned_by.resource.namespaced { attempt.namespace() } else { "" },
            resource: owned_by.resource.name,
            subresource: "finalizers",
            name: owner.name,
            selectors: Selection::ALL,
        };
        let why = "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on";
        require(attempt, "update", target, why).await?;
    }
    Ok(())
}

async fn require(attempt: &Attempt<'_>, verb: &str, target: Target<'_>, why: &str) -> Result<(), Failure> {
    match attempt.authorizers().decide(&Attributes { user: attempt.identity(), verb, target }).await {
        Verdict::Allow { .. } => Ok(()),
        // Upstream prints the authoriser's error after its reason, and there is none.
        Verdict::Deny { reason } | Verdict::NoOpinion { reason } => {
            Err(attempt.forbidden(&format!("{why}: {reason}, <nil>")))
        }
    }
}
