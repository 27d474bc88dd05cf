//! `ValidatingWebhookConfiguration` (upstream: `registry/admissionregistration/validatingwebhookconfiguration`).

use crate::rest::Rest;
use crate::strategy::{Column, Strategy};

/// The rules of `ValidatingWebhookConfiguration`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { generation: true, needs_version: true, ..Rest::PLAIN },
    columns: &[("Webhooks", Column::Count(&["webhooks"]))],
    ..Strategy::NONE
};
