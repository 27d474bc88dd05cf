//! Both engines as their callers see them: the shared suite, then what is special about each.

#![allow(clippy::unwrap_used, missing_docs)]

mod copying;
mod damage;
mod embedded;
mod etcd;
mod expiry;
mod faults;
mod kill;
mod members;
mod moving;
mod random;
mod seals;
mod space;
mod unreadable;
mod verify;
mod vfs;

use std::time::Duration;

use portcullis_store::Catalog;

/// Values that say nothing; what is under `/registry/events/` lives for so long.
pub struct Events(pub Duration);

impl Catalog for Events {
    fn lifetime(&self, key: &str) -> Option<Duration> {
        key.starts_with("/registry/events/").then_some(self.0)
    }
}
