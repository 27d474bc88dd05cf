//! The API server behind the gate: routes, verbs, and what every resource has in common.
//!
//! This crate never opens a listener, never decides who may do what (it takes [`portcullis_gate::Permitted`] and nothing else), never
//! touches a file, and has no code for one kind outside the tables of [`registry`] and the verbs that only one kind has ([`verbs::review`],
//! [`verbs::binding`], [`verbs::component_status`]).
//!
//! Reading order: [`path`] (the whole order on one screen), [`request`], [`verbs`], [`registry`], [`admission`], `services` (what services are given: addresses and ports), [`body`] (how objects are stored), [`catalog`] (what the store knows of them), `cluster` (what the gate asks of them),
//! [`negotiate`] and [`answer`] (media types, responses), `audit` (what the record of a request is told), `etcd_form` (what others keep in etcd), `forms` and `segment` (what is made of an object once), `list_body`, [`table`], [`pretty`], [`pages`] and [`past`] (earlier states), [`bootstrap`], [`discovery`], [`openapi`], [`openid`],
//! [`health`], [`version`], [`metrics`], [`audit_log`] (what the store keeps of it), and what the server is given: [`config`], [`mod@env`].

pub mod admission;
pub mod answer;
mod audit;
pub mod audit_log;
pub mod body;
pub mod bootstrap;
pub mod catalog;
mod cluster;
pub mod config;
mod debug;
pub mod discovery;
mod document;
pub mod env;
mod etcd_form;
mod flow_control;
mod follower;
mod forms;
pub mod health;
mod list_body;
mod messages;
pub mod metrics;
pub mod negotiate;
pub mod node_graph;
pub mod openapi;
pub mod openid;
pub mod pages;
pub mod past;
pub mod path;
pub mod permission;
mod pod_references;
pub mod pretty;
pub mod rbac;
pub mod registry;
pub mod request;
mod scan;
mod segment;
mod server;
mod services;
pub mod table;
#[cfg(test)]
mod tests;
pub mod verbs;
pub mod version;

pub use catalog::Catalog;
pub use cluster::StoredCluster;
pub use config::{Config, ExtensionAuthentication, ReadyCheck, RequestHeader, ServiceAccounts};
pub use env::{Env, SystemEnv};
pub use flow_control::StoredFlowControl;
pub use server::ApiServer;
pub use services::{PortRange, PortRangeError};
