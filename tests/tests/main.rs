//! Black-box tests: the built program, real TLS, real clients. Each module is one thing that a user relies on.
#![allow(clippy::unwrap_used)]

mod arguments;
mod history;
mod hostile;
mod informers;
mod kills;
mod kubectl;
mod lifecycle;
mod listeners;
mod watches;
mod websocket;
