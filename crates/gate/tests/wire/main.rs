//! The gate from outside: real sockets, real TLS, HTTP/1.1 and HTTP/2, and what a peer gets for every way to misbehave.

#![allow(clippy::unwrap_used)]

mod access;
mod client;
mod credentials;
mod drain;
mod floods;
mod frames;
mod limits;
mod seats;
mod server;
mod tls;
