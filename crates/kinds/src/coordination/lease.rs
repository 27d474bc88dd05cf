//! `Lease` (upstream: `registry/coordination/lease`).

use crate::rest::Rest;
use crate::strategy::{Column, Strategy};

/// The rules of `Lease`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { put_creates: true, needs_version: true, update_checks_all_metadata: false, ..Rest::PLAIN },
    columns: &[("Holder", Column::Field("spec.holderIdentity", r#""""#))],
    ..Strategy::NONE
};
