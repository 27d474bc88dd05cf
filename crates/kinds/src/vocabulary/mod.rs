//! The vocabulary of rules: small checks that read like the rule they state, from which the files of kinds are made.
//!
//! A check takes what it looks at (a value or a [view](crate::views)), where that is ([`Path`]) and where complaints go ([`Errors`]). It
//! says nothing when all is well, never ends a walk early, and never panics. Words and order of complaints are upstream's
//! (`apimachinery/pkg/api/validation`, `apis/core/validation`), because clients and people compare them.
//!
//! Facts that need no code (enums, ranges, formats, frozen fields, gates) stand in `facts/rules/*.rules`; for each the build makes a method
//! of the view: `spec.check_restart_policy(&path, errors)`. A rule that names no field fails the build.

pub mod errors;
pub mod frozen;
pub mod gates;
pub mod labels;
pub mod names;
pub mod number;
pub mod path;
pub mod selectors;

pub use errors::Errors;
pub use path::Path;
