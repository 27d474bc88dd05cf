//! `MutatingAdmissionPolicy` (upstream: `registry/admissionregistration/mutatingadmissionpolicy`).

use crate::rest::Rest;
use crate::strategy::Strategy;

/// The rules of `MutatingAdmissionPolicy`.
pub const STRATEGY: Strategy =
    Strategy { rest: Rest { generation: true, needs_version: true, ..Rest::PLAIN }, ..Strategy::NONE };
