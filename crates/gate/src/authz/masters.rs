//! The group that may do everything. It is wired in, so that a mistake in a rule can never lock everyone out (upstream: the
//! privileged-groups authoriser; security review: it can not be revoked, only its certificates can expire).

use crate::identity::{GROUP_MASTERS, Identity};

use super::{Attributes, Authorizer, PathRule, ResourceRule, Rules, Verdict};

pub(super) struct Masters;

impl Authorizer for Masters {
    fn name(&self) -> &'static str {
        "masters"
    }

    fn decide(&self, attributes: &Attributes<'_>) -> Verdict {
        if attributes.user.is_in(GROUP_MASTERS) {
            Verdict::Allow { reason: String::new() }
        } else {
            Verdict::no_opinion()
        }
    }

    fn rules(&self, user: &Identity, _: &str, rules: &mut Rules) {
        if user.is_in(GROUP_MASTERS) {
            let every = || vec!["*".to_owned()];
            rules.resources.push(ResourceRule {
                verbs: every(),
                groups: every(),
                resources: every(),
                names: Vec::new(),
            });
            rules.paths.push(PathRule { verbs: every(), paths: every() });
        }
    }
}
