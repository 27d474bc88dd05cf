//! Black-box tests: the built program, real TLS, real clients. Each module is one thing that a user relies on.
#![allow(clippy::unwrap_used)]

mod arguments;
mod durability;
mod hostile;
mod kubectl;
mod lifecycle;
mod listeners;
