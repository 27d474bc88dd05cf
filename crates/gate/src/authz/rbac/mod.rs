//! Role-based access control: what was given to somebody is allowed, and nothing can be taken away by another rule (upstream:
//! `plugin/pkg/auth/authorizer/rbac`).
//!
//! Bindings of the cluster are looked at first, then those of the namespace, each in the order of their names; the first that allows
//! gives the reason. A binding to a role that is not there gives nothing and is named when nothing else allows.
//!
//! Reading order: [`rule`] (what one rule matches), [`policy`] with `index` (who has which rules), this file (the authoriser), [`cover`] (whether
//! rules are all held by somebody who would give them), [`explain`] (why not, and what would be enough).

pub mod cover;
pub mod explain;
mod index;
pub mod policy;
pub mod rule;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::{Attributes, Authorizer, Decision, PathRule, ResourceRule, Rules, Verdict};
use crate::identity::Identity;

pub use self::index::Role;
pub use self::policy::{Binding, GROUP, Id, Policy, RoleKind, RoleRef, StoredRole, Subject, Wording};
pub use self::rule::Rule;

/// Who has the newest roles and bindings.
pub trait PolicySource: Send + Sync + 'static {
    /// Shows the policy, with every write in it that was acknowledged before. It cannot change meanwhile, so a look is short.
    fn read(&self, look: &mut dyn FnMut(&Policy));
}

/// The authoriser over roles and bindings.
pub struct Rbac {
    source: Arc<dyn PolicySource>,
}

impl Rbac {
    /// Makes the authoriser of what the source has.
    pub fn new(source: Arc<dyn PolicySource>) -> Rbac {
        Rbac { source }
    }
}

impl Authorizer for Rbac {
    fn name(&self) -> &'static str {
        "RBAC"
    }

    fn decide<'a>(&'a self, attributes: &'a Attributes<'a>) -> Decision<'a> {
        // A source that shows nothing allows nothing.
        let mut verdict = Verdict::no_opinion();
        self.source.read(&mut |policy| verdict = policy.decide(attributes));
        Decision::Now(verdict)
    }

    fn rules(&self, user: &Identity, namespace: &str, rules: &mut Rules) {
        self.source.read(&mut |policy| list(policy, user, namespace, rules));
    }
}

fn list(policy: &Policy, user: &Identity, namespace: &str, rules: &mut Rules) {
    let (roles, missing) = policy.roles_of(user, namespace);
    for rule in roles.into_iter().flat_map(|role| role.rules()) {
        if !rule.resources.is_empty() {
            rules.resources.push(ResourceRule {
                verbs: rule.verbs.clone(),
                groups: rule.groups.clone(),
                resources: rule.resources.clone(),
                names: rule.names.clone(),
            });
        }
        if !rule.paths.is_empty() {
            rules.paths.push(PathRule { verbs: rule.verbs.clone(), paths: rule.paths.clone() });
        }
    }
    if !missing.is_empty() {
        rules.errors.push(policy::absent(missing, Wording::Authorizer));
    }
}
