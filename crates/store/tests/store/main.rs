//! Both engines as their callers see them: the shared suite, then what is special about each.

#![allow(clippy::unwrap_used, missing_docs)]

mod embedded;
mod etcd;
mod kill;
