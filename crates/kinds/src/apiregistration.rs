//! Servers behind this one: `apiregistration.k8s.io`.

pub mod api_service;
