//! Devices and who claims them: `resource.k8s.io` (KEP-4381).

pub mod device_class;
pub mod resource_claim;
pub mod resource_claim_template;
pub mod resource_slice;
