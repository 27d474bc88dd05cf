//! `ValidatingAdmissionPolicy` (upstream: `registry/admissionregistration/validatingadmissionpolicy`).

use crate::rest::Rest;
use crate::strategy::{Column, Strategy};

/// The rules of `ValidatingAdmissionPolicy`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { generation: true, needs_version: true, ..Rest::PLAIN },
    columns: &[("Validations", Column::Count(&["spec.validations"]))],
    ..Strategy::NONE
};
