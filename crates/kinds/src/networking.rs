//! Services on the network: `networking.k8s.io`.

pub mod ingress;
pub mod ingress_class;
pub mod ip_address;
pub mod network_policy;
mod references;
pub mod service_cidr;
