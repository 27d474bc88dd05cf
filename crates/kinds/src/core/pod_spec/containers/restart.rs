//! When a container is started again, apart from what its pod says (upstream: `validateContainerRestartPolicy`; KEP-753 for sidecars,
//! KEP-5307 for rules).

use crate::views::core_v1::Container;
use crate::vocabulary::{Errors, Path};

/// Most rules of one container.
const RULES_MAX: usize = 20;
/// Most exit codes of one rule.
const EXIT_CODES_MAX: usize = 255;

/// The policy, and the rules before it: they need one to fall back to.
pub(super) fn validate(container: Container<'_>, at: &Path<'_>, errors: &mut Errors) {
    let rules = container.restart_policy_rules();
    if container.restart_policy().is_none() && !rules.is_empty() {
        errors.required(&at.field("restartPolicy"), "must specify restartPolicy when restart rules are used");
    }
    container.check_restart_policy(at, errors);
    let at = at.field("restartPolicyRules");
    if rules.len() > RULES_MAX {
        errors.too_many(&at, rules.len(), RULES_MAX);
    }
    for (index, rule) in rules.iter().enumerate() {
        let at = at.index(index);
        rule.check_action(&at, errors);
        let at = at.field("exitCodes");
        let Some(codes) = rule.exit_codes() else {
            errors.required(&at, "must be specified");
            continue;
        };
        codes.check_operator(&at, errors);
        if codes.values().len() > EXIT_CODES_MAX {
            errors.too_many(&at.field("values"), codes.values().len(), EXIT_CODES_MAX);
        }
    }
}
