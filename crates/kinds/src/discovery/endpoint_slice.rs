//! `EndpointSlice` (upstream: `registry/discovery/endpointslice`).

use crate::rest::Rest;
use crate::strategy::{Column, Strategy};

/// The rules of `EndpointSlice`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { generation: true, labels_count: true, update_checks_all_metadata: false, ..Rest::PLAIN },
    columns: &[("AddressType", Column::Field("addressType", r#""""#))],
    ..Strategy::NONE
};
