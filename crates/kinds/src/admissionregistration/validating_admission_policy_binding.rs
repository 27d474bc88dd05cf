//! `ValidatingAdmissionPolicyBinding` (upstream: `registry/admissionregistration/validatingadmissionpolicybinding`).

use crate::rest::Rest;
use crate::strategy::{Column, Strategy};

/// The rules of `ValidatingAdmissionPolicyBinding`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { generation: true, needs_version: true, ..Rest::PLAIN },
    columns: &[("PolicyName", Column::Field("spec.policyName", r#""""#))],
    ..Strategy::NONE
};
