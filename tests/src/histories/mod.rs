//! Recorded histories: what many clients asked of a store and were told, while the server beneath it was killed, stopped, cut off or
//! lied to about the time, and whether one store without faults could have told them that.
//!
//! - [`record`]: one history, and the lines that it is written to and read from;
//! - [`linearizable`]: the general judge, object by object, which knows nothing of the order of versions;
//! - [`order`]: the judge by versions, which sees everything at once: lists, writes that are lost, versions that come again;
//! - [`watched`]: the judge of what watchers were told;
//! - [`objects`]: what they ask about, and what answers mean;
//! - [`workload`]: the clients;
//! - [`fault`]: what is done to the servers meanwhile;
//! - [`embedded`], [`members`]: the servers, over a file and over etcd;
//! - [`round`]: all of it once.
//!
//! The judges do not use each other: a history has to please all of them.

pub mod embedded;
pub mod fault;
pub mod linearizable;
pub mod members;
pub mod objects;
pub mod order;
pub mod record;
pub mod round;
pub mod watched;
pub mod workload;

use record::History;

/// Violations of one judge that are told; the rest are usually the same ones.
const VIOLATIONS_MAX: usize = 20;

/// Everything that is wrong with a history, in words.
pub fn violations(history: &History) -> Vec<String> {
    let mut found = order::violations(history);
    found.extend(watched::violations(history));
    found.extend(linearizable::violations(history));
    found
}
