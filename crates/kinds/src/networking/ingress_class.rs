//! `IngressClass` (upstream: `registry/networking/ingressclass`).

use crate::rest::Rest;
use crate::strategy::{Column, Strategy};

/// The rules of `IngressClass`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { generation: true, ..Rest::PLAIN },
    columns: &[("Controller", Column::Field("spec.controller", r#""""#))],
    ..Strategy::NONE
};
