//! Names of resources that are requested, limited and counted (upstream: `apis/core/helper`, `validateResourceName` and its relatives).
//!
//! A name without a domain is one of a closed list; which list depends on who names it. A name with a domain that is not the project's
//! own is an extended resource, of which there are whole units only.

use portcullis_model::names;
use portcullis_model::quantity::Quantity;

use super::{Errors, Path};

/// Before what is requested, where requests and limits are named apart (quotas).
pub const REQUESTS_PREFIX: &str = "requests.";
/// Before the size of the pages.
pub const HUGE_PAGES_PREFIX: &str = "hugepages-";
/// Before the size of the pages, in quotas.
pub const REQUESTS_HUGE_PAGES_PREFIX: &str = "requests.hugepages-";
/// Part of every domain of the project's own.
const NATIVE_DOMAIN: &str = "kubernetes.io/";

/// What is counted in whole objects.
const COUNTED: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];
/// What can be measured, apart from huge pages.
const MEASURED: [&str; 10] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "requests.storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
];

/// Whether the name is one of the project's own: without a domain, or with one of its own.
#[must_use]
pub fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains(NATIVE_DOMAIN)
}

/// Whether the name is of a resource that somebody else defined.
#[must_use]
pub fn is_extended(name: &str) -> bool {
    if is_native(name) || name.starts_with(REQUESTS_PREFIX) {
        return false;
    }
    // A quota writes the prefix before it, and that must be a name too.
    names::qualified_name(&format!("{REQUESTS_PREFIX}{name}")).is_empty()
}

/// Whether more of it may be promised than there is.
#[must_use]
pub fn can_be_overcommitted(name: &str) -> bool {
    is_native(name) && !name.starts_with(HUGE_PAGES_PREFIX)
}

/// Whether there are only whole units of it.
#[must_use]
pub fn is_whole(name: &str) -> bool {
    COUNTED.contains(&name) || is_extended(name)
}

/// Whether a name without a domain is one that quotas know.
#[must_use]
pub fn is_quota_standard(name: &str) -> bool {
    COUNTED.contains(&name) || MEASURED.contains(&name) || is_huge_pages_of_quota(name)
}

fn is_huge_pages_of_quota(name: &str) -> bool {
    name.starts_with(HUGE_PAGES_PREFIX) || name.starts_with(REQUESTS_HUGE_PAGES_PREFIX)
}

fn is_standard(name: &str) -> bool {
    is_quota_standard(name) || name == "storage"
}

fn is_container_standard(name: &str) -> bool {
    matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with(HUGE_PAGES_PREFIX)
}

/// A resource's name.
pub fn resource(name: &str, at: &Path<'_>, errors: &mut Errors) {
    let complaints = names::qualified_name(name);
    if complaints.is_empty() && !name.contains('/') && !is_standard(name) {
        errors.invalid(at, name, "must be a standard resource type or fully qualified");
    }
    errors.complain(at, name, complaints);
}

/// The name of what a container can ask for.
pub fn container_resource(name: &str, at: &Path<'_>, errors: &mut Errors) {
    resource(name, at, errors);
    if !name.contains('/') {
        if !is_container_standard(name) {
            errors.invalid(at, name, "must be a standard resource for containers");
        }
    } else if !is_native(name) && !is_extended(name) {
        errors.invalid(at, name, "doesn't follow extended resource name standard");
    }
}

/// The name of what a quota limits.
pub fn quota_resource(name: &str, at: &Path<'_>, errors: &mut Errors) {
    resource(name, at, errors);
    if !name.contains('/') && !is_quota_standard(name) {
        errors.invalid(at, name, "must be a standard resource for quota");
    }
}

/// An amount of a resource: none is negative, and of some there are whole units only.
pub fn amount(name: &str, text: &str, at: &Path<'_>, errors: &mut Errors) {
    let Ok(quantity) = Quantity::parse(text) else { return };
    if quantity.sign() < 0 {
        errors.invalid(at, text, "must be greater than or equal to 0");
    }
    if is_whole(name) && quantity.milli_value() % 1000 != 0 {
        errors.invalid(at, text, "must be an integer");
    }
}

/// Huge pages come whole.
pub fn whole_huge_pages(name: &str, amount: &str, at: &Path<'_>, errors: &mut Errors) {
    if !name.starts_with(HUGE_PAGES_PREFIX) || is_whole_pages(name, amount) {
        return;
    }
    let Ok(amount) = Quantity::parse(amount) else { return };
    errors.invalid(at, amount.to_string(), format!("{amount} is not positive integer multiple of {name}"));
}

/// Whether the amount is a multiple of the size in the name of the pages.
#[must_use]
pub fn is_whole_pages(name: &str, amount: &str) -> bool {
    let size = name.strip_prefix(HUGE_PAGES_PREFIX).and_then(|size| Quantity::parse(size).ok());
    let (Some(size), Ok(amount)) = (size, Quantity::parse(amount)) else { return false };
    size.sign() > 0 && size.milli_value() % 1000 == 0 && amount.value().checked_rem(size.value()) == Some(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::lines;

    fn said(rule: fn(&str, &Path<'_>, &mut Errors), name: &str) -> Vec<String> {
        let mut errors = Errors::new();
        rule(name, &Path::new("at"), &mut errors);
        lines(errors)
    }

    #[test]
    fn names_are_of_the_list_of_who_names_them() {
        let check = |rule: fn(&str, &Path<'_>, &mut Errors), name: &str, expected: &[&str]| {
            let expected: Vec<String> =
                expected.iter().map(|why| format!("at: Invalid value: {name:?}: {why}")).collect();
            assert_eq!(said(rule, name), expected, "{name}");
        };
        let unknown = "must be a standard resource type or fully qualified";
        for name in ["cpu", "storage", "requests.storage", "hugepages-2Mi", "count/jobs.batch", "example.com/crane"] {
            check(resource, name, &[]);
        }
        check(resource, "crane", &[unknown]);
        for name in ["cpu", "ephemeral-storage", "hugepages-2Mi", "example.com/crane", "kubernetes.io/batch"] {
            check(container_resource, name, &[]);
        }
        check(container_resource, "pods", &["must be a standard resource for containers"]);
        check(container_resource, "requests.crane/a", &["doesn't follow extended resource name standard"]);
        for name in ["pods", "services.nodeports", "requests.hugepages-1Gi", "gold.storageclass.storage.k8s.io/a"] {
            check(quota_resource, name, &[]);
        }
        check(quota_resource, "storage", &["must be a standard resource for quota"]);
        check(quota_resource, "crane", &[unknown, "must be a standard resource for quota"]);
    }

    #[test]
    fn amounts_are_not_negative_and_whole_where_they_count() {
        let check = |name: &str, text: &str, expected: &[&str]| {
            let mut errors = Errors::new();
            amount(name, text, &Path::new("at"), &mut errors);
            assert_eq!(lines(errors), expected, "{name} {text}");
        };
        check("cpu", "1500m", &[]);
        check("cpu", "-1", &["at: Invalid value: \"-1\": must be greater than or equal to 0"]);
        check("pods", "2", &[]);
        check("pods", "1500m", &["at: Invalid value: \"1500m\": must be an integer"]);
        check("example.com/crane", "100m", &["at: Invalid value: \"100m\": must be an integer"]);
        check("count/jobs.batch", "500m", &["at: Invalid value: \"500m\": must be an integer"]);
    }
}
