//! `Ingress` (upstream: `registry/networking/ingress`).

use crate::rest::Rest;
use crate::strategy::{Column, Strategy};

/// The rules of `Ingress`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { generation: true, update_checks_all_metadata: false, ..Rest::PLAIN },
    columns: &[("Class", Column::Field("spec.ingressClassName", r#""<none>""#))],
    ..Strategy::NONE
};
