//! The core group.

pub mod claim_spec;
pub mod limit_range;
pub mod namespace;
pub mod node;
pub mod pod;
pub mod pod_requests;
pub mod pod_spec;
pub mod pod_template;
pub mod replication_controller;
pub mod resource_quota;
pub mod secret;
pub mod service_account;
