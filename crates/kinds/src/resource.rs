//! Devices and who claims them: `resource.k8s.io` (KEP-4381).

pub mod allocation;
pub mod capacities;
pub mod claims;
pub mod device_class;
pub mod devices;
mod lists;
pub mod names;
pub mod resource_claim;
pub mod resource_claim_template;
pub mod resource_slice;
pub mod selectors;
pub mod taints;
