//! The vocabulary of the API without any I/O: objects as trees, the schema machine that reads and writes them, and the small types of
//! the field (quantities, times, names, ranges of addresses, selectors, statuses).
//!
//! This crate never opens a file or a socket, never asks for the time or for randomness, and never decodes into a typed struct.
//!
//! Reading order: [`tree`], [`schema`], then the leaves.

pub mod cidr;
pub mod go_text;
pub mod meta_rules;
pub mod names;
pub mod number;
pub mod quantity;
pub mod schema;
pub mod selectors;
pub mod status;
pub mod strict;
pub mod time;
pub mod tree;
pub mod yaml;
