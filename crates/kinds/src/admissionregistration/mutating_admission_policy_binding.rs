//! `MutatingAdmissionPolicyBinding` (upstream: `registry/admissionregistration/mutatingadmissionpolicybinding`).

use crate::rest::Rest;
use crate::strategy::Strategy;

/// The rules of `MutatingAdmissionPolicyBinding`.
pub const STRATEGY: Strategy =
    Strategy { rest: Rest { generation: true, needs_version: true, ..Rest::PLAIN }, ..Strategy::NONE };
