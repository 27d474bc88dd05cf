//! Objects of any kind that an ingress or its class names (upstream: `validateIngressTypedLocalObjectReference`,
//! `validateIngressClassParametersReference`).

use crate::vocabulary::{Errors, Path, names};

/// A group, if one is named, a kind and a name.
pub fn reference(group: Option<&str>, kind: &str, name: &str, at: &Path<'_>, errors: &mut Errors) {
    if let Some(group) = group {
        names::dns_subdomain(group, &at.field("apiGroup"), errors);
    }
    for (field, value) in [("kind", kind), ("name", name)] {
        if value.is_empty() {
            errors.required(&at.field(field), "");
        } else {
            names::path_segment(value, &at.field(field), errors);
        }
    }
}
