//! `ConfigMap` (upstream: `registry/core/configmap`).

use crate::rest::Rest;
use crate::strategy::{Column, Strategy};

/// The rules of `ConfigMap`.
pub const STRATEGY: Strategy =
    Strategy { rest: Rest::PLAIN, columns: &[("Data", Column::Count(&["data", "binaryData"]))], ..Strategy::NONE };
