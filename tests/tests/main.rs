//! Black-box tests: the built program, real TLS, real clients. Each module is one thing that a user relies on.
#![allow(clippy::unwrap_used)]

mod arguments;
mod explain;
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
mod regressions;
mod watches;
mod websocket;
