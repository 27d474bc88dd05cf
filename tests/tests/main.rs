//! Black-box tests: the built program, real TLS, real clients. Each module is one thing that a user relies on.
#![allow(clippy::unwrap_used)]

mod arguments;
mod audit;
mod audit_log;
mod audit_webhook;
mod explain;
mod fairness;
mod forgeries;
mod history;
mod hostile;
mod informers;
mod kills;
mod kubectl;
mod lifecycle;
mod listeners;
mod lockdown;
mod matrix;
mod metrics;
mod rbac_from_audit;
mod regressions;
mod secrets_in_logs;
mod services;
mod tracing;
mod watches;
mod websocket;
