//! The program from outside: starting it, asking it over TLS, stopping it. Knows the command line and the wire, nothing else.
//!
//! It never links a crate of the server, so that a test cannot know what a user could not.

pub mod build;
pub mod canary;
pub mod client;
pub mod clock;
pub mod cluster;
pub mod credentials;
pub mod etcd;
pub mod go;
pub mod histories;
pub mod history;
pub mod kms;
pub mod kubectl;
pub mod object;
pub mod program;
pub mod random;
pub mod reflector;
pub mod session;
pub mod surface;
pub mod watch;
pub mod webhook;
