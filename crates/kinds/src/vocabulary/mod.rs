//! The vocabulary of rules: small checks that read like the rule they state, from which the files of kinds are made.
//!
//! A check takes what it looks at (a value or a [view](crate::views)), where that is ([`Path`]) and where complaints go ([`Errors`]). It
//! says nothing when all is well, never ends a walk early, and never panics. Words and order of complaints are upstream's
//! (`apimachinery/pkg/api/validation`, `apis/core/validation`), because clients and people compare them.
//!
//! Facts that need no code (enums, ranges, formats, frozen fields, gates) stand in `facts/rules/*.rules`; for each the build makes a method
//! of the view: `spec.check_restart_policy(&path, errors)`. A rule that names no field fails the build.

pub mod amounts;
pub mod conditions;
pub mod cron;
pub mod environment;
pub mod errors;
pub mod frozen;
pub mod gates;
pub mod images;
pub mod int_or_percent;
pub mod labels;
pub mod local_paths;
pub mod names;
pub mod network;
pub mod node_selectors;
pub mod number;
pub mod path;
pub mod pattern;
pub mod ports;
pub mod replicas;
pub mod resource_names;
pub mod selectors;
pub mod time_zone;
pub mod tolerations;
pub mod urls;
pub mod webhooks;

pub use errors::Errors;
pub use path::Path;
