//! `ControllerRevision` (upstream: `registry/apps/controllerrevision`, `apis/apps/validation`, `apis/apps/v1/defaults.go`).

use crate::rest::Rest;
use crate::strategy::{Column, Strategy};

/// The rules of `ControllerRevision`.
pub const STRATEGY: Strategy =
    Strategy { rest: Rest::PLAIN, columns: &[("Revision", Column::Field("revision", "0"))], ..Strategy::NONE };
