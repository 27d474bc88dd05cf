//! What a request costs, in seats (upstream: `flowcontrol/request` with `SizeBasedListCostEstimate`, on since 1.34).
//!
//! A list costs by the bytes that it may hold at once, the beginning of a watch likewise, and a write by those who must be told of it
//! after its answer. The store counts both as they change, so an estimate looks at no object; only a list of one namespace, of
//! a resource that has much, walks a few steps to see whether that namespace has little.

use std::time::Duration;

use portcullis_fairness::Width;
use portcullis_gate::{Query, ResourceInfo, Verb, Weighed};
use portcullis_store::{Engine, Volume};

use crate::registry::{Registry, Served};
use crate::verbs::options::flag;

/// Bytes that one seat is good for.
const BYTES_PER_SEAT: u64 = 100_000;
/// Bytes that a list holds at once at most: it is rendered while it is sent.
const BYTES_MAX: u64 = 1_000_000;
/// Seats of a list at most, where its level does not say less.
const LIST_SEATS_MAX: u32 = 100;
/// Seats that a write may leave to its watchers at most, where its level does not say less.
const WRITE_SEATS_MAX: u32 = 10;
/// Watchers that are told for one seat. Fewer than these are told for nothing.
const WATCHERS_PER_SEAT: u64 = 10;
/// How long telling them takes.
const LINGER: Duration = Duration::from_millis(5);
/// Objects that are counted to see how much a namespace has.
const WALK_MAX: usize = 64;

/// Estimates what a request costs. What is not served here costs what any request does.
pub(super) fn of(engine: &dyn Engine, registry: &Registry, weighed: &Weighed<'_>) -> Width {
    let Some(info) = weighed.info.resource() else { return Width::ONE };
    let is_list = matches!(info.verb, Verb::List | Verb::DeleteCollection);
    let is_state = info.verb == Verb::Watch && begins_with_state(weighed.query);
    let is_write = matches!(info.verb, Verb::Create | Verb::Update | Verb::Patch | Verb::Delete);
    if !(is_list || is_state || is_write) {
        return Width::ONE;
    }
    let Some(served) = registry.find(info.group, info.version, info.resource) else { return Width::ONE };
    let Some(prefix) = served.prefix() else { return Width::ONE };
    let volume = engine.volume(prefix);
    if is_write {
        // What is asked of an object, and changes nothing: nobody watches tokens.
        let is_told = !matches!(info.subresource, "token");
        let seats_max = weighed.seats_max.unwrap_or(WRITE_SEATS_MAX).min(WRITE_SEATS_MAX);
        return if is_told { write(volume.followers as u64, seats_max) } else { Width::ONE };
    }
    let seats_max = weighed.seats_max.unwrap_or(LIST_SEATS_MAX).min(LIST_SEATS_MAX);
    let volume = if volume.bytes as u64 > BYTES_PER_SEAT { narrowed(engine, served, &info, volume) } else { volume };
    let limit = if is_list { limit(weighed.query) } else { None };
    let is_selective = ["labelSelector", "fieldSelector"]
        .iter()
        .any(|name| weighed.query.get(name).is_some_and(|value| !value.is_empty()));
    // A selector by name finds what a get finds.
    let is_of_one = !info.name.is_empty() && info.verb != Verb::DeleteCollection;
    Width { initial: list(volume, is_of_one, limit, is_selective).min(seats_max).max(1), ..Width::ONE }
}

/// Whether a watch is told what there is before what changes.
fn begins_with_state(query: Query<'_>) -> bool {
    let is_from_start = || query.get("resourceVersion").is_none_or(|version| matches!(&*version, "" | "0"));
    flag(query, "sendInitialEvents").unwrap_or_else(is_from_start)
}

fn limit(query: Query<'_>) -> Option<u64> {
    query.get("limit")?.parse().ok().filter(|limit| *limit > 0)
}

/// What a namespace has, when that is little; else what all have.
fn narrowed(engine: &dyn Engine, served: &Served, info: &ResourceInfo<'_>, whole: Volume) -> Volume {
    if !info.is_in_namespace || !served.resource.namespaced {
        return whole;
    }
    let Some(prefix) = served.key_prefix(info.namespace) else { return whole };
    let snapshot = engine.snapshot();
    let mut walked = Volume { followers: whole.followers, ..Volume::default() };
    for (_, entry) in snapshot.range(&prefix, None).take(WALK_MAX) {
        walked.entries += 1;
        walked.bytes += entry.bytes();
    }
    if walked.entries < WALK_MAX { walked } else { whole }
}

/// Seats of a list, by the objects that it holds at once. A selector may pass over many before it has found as many as it may give.
fn list(volume: Volume, is_of_one: bool, limit: Option<u64>, is_selective: bool) -> u32 {
    let (entries, bytes) = (volume.entries as u64, volume.bytes as u64);
    let given = limit.map_or(entries, |limit| limit.min(entries));
    let held = match (is_of_one, is_selective) {
        (true, _) => entries.min(1),
        (false, true) => given.max(entries / 2),
        (false, false) => given,
    };
    let share = (u128::from(held) * u128::from(bytes)).div_ceil(u128::from(entries.max(1)));
    let bytes = u64::try_from(share).unwrap_or(u64::MAX).min(BYTES_MAX);
    u32::try_from(bytes.div_ceil(BYTES_PER_SEAT)).unwrap_or(u32::MAX)
}

/// The width of a write that this many are told of. More seats than it may have are taken for longer instead.
fn write(watchers: u64, seats_max: u32) -> Width {
    if watchers < WATCHERS_PER_SEAT {
        return Width::ONE;
    }
    let wanted = u32::try_from(watchers.div_ceil(WATCHERS_PER_SEAT)).unwrap_or(u32::MAX);
    let seats = wanted.min(seats_max).max(1);
    let linger = LINGER.checked_mul(wanted.div_ceil(seats)).unwrap_or(LINGER);
    Width { initial: 1, r#final: seats, linger }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_cost_by_what_they_hold() {
        let check = |entries: usize, bytes: usize, query: &str, expected: u32| {
            let volume = Volume { entries, bytes, followers: 0 };
            let query = Query::new(query);
            let seats = list(volume, query.get("one").is_some(), limit(query), query.get("labelSelector").is_some());
            assert_eq!(seats, expected, "{entries} {bytes} {}", query.text());
        };
        check(0, 0, "", 0);
        check(99, 99_999, "", 1);
        check(1000, 1_000_000, "", 10);
        check(1000, 1_000_000, "limit=100", 1);
        check(1000, 1_000_000, "limit=101", 2);
        check(1000, 1_000_000, "limit=0", 10);
        check(1000, 1_000_000, "limit=-1", 10);
        check(1000, 1_000_000, "limit=5000", 10);
        check(1000, 1_000_000, "limit=100&labelSelector=a", 5);
        check(1000, 1_000_000, "limit=800&labelSelector=a", 8);
        check(1000, 1_000_000, "labelSelector=a", 10);
        check(1000, 1_000_000, "one", 1);
        check(1_000_000, 1_500_000_000_000, "", 10);
        check(10, 15_000_000, "limit=1", 10);
    }

    #[test]
    fn writes_cost_by_who_is_told() {
        let check = |watchers: u64, seats_max: u32, seats: u32, linger_ms: u64| {
            let expected = Width { initial: 1, r#final: seats, linger: Duration::from_millis(linger_ms) };
            assert_eq!(write(watchers, seats_max), expected, "{watchers} {seats_max}");
        };
        check(0, 10, 0, 0);
        check(9, 10, 0, 0);
        check(10, 10, 1, 5);
        check(11, 10, 2, 5);
        check(100, 10, 10, 5);
        check(1000, 10, 10, 50);
        check(1000, 3, 3, 170);
        check(u64::MAX, 10, 10, u64::from(u32::MAX.div_ceil(10)) * 5);
    }

    #[test]
    fn watches_that_begin_with_the_state() {
        let check = |query: &str, expected: bool| assert_eq!(begins_with_state(Query::new(query)), expected, "{query}");
        check("watch=1", true);
        check("watch=1&resourceVersion=0", true);
        check("watch=1&resourceVersion=7", false);
        check("watch=1&resourceVersion=7&sendInitialEvents=true", true);
        check("watch=1&sendInitialEvents=false", false);
    }
}
