//! `RuntimeClass` (upstream: `registry/node/runtimeclass`).

use crate::rest::Rest;
use crate::strategy::{Column, Strategy};

/// The rules of `RuntimeClass`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { put_creates: true, needs_version: true, ..Rest::PLAIN },
    columns: &[("Handler", Column::Field("handler", r#""""#))],
    ..Strategy::NONE
};
