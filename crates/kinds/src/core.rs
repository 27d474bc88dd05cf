//! The core group.

pub mod secret;
