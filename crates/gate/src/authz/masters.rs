//! The group that may do everything. It is wired in, so that a mistake in a rule can never lock everyone out (upstream: the
//! privileged-groups authoriser; security review: it can not be revoked, only its certificates can expire).

use std::sync::Arc;

use crate::identity::{GROUP_MASTERS, Identity};

use super::{Attributes, Authorizer, Decision, PathRule, ResourceRule, Rules, Verdict};

pub(super) struct Masters;

impl Authorizer for Masters {
    fn name(&self) -> &'static str {
        "masters"
    }

    fn decide<'a>(&'a self, attributes: &'a Attributes<'a>) -> Decision<'a> {
        let is_master = attributes.user.is_in(GROUP_MASTERS);
        Decision::Now(if is_master { Verdict::Allow { reason: Arc::default() } } else { Verdict::no_opinion() })
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
