//! What a watch may be told: where it begins, whether bookmarks are wanted, how long it lasts (upstream: `ListOptions` with `watch`;
//! KEP-3157 for `sendInitialEvents`).

use std::time::Duration;

use portcullis_gate::Query;
use portcullis_model::status::{FieldError, Status};

use crate::answer::Failure;
use crate::verbs::options::{ReadAt, flag, integer, resource_version};

/// Longest that a client may ask for, in seconds.
const TIMEOUT_SECONDS_MAX: u64 = 24 * 3600;

const FIELD_MATCH: &str = "resourceVersionMatch";

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// With the state as of then, every object as if it had just been made.
    State(ReadAt),
    /// With what changes from now on.
    Now,
    /// With what changed after this version, which may be one to come.
    After(u64),
}

/// The options of a watch, its selectors apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WatchOptions {
    pub(super) start: Start,
    pub(super) bookmarks: bool,
    /// How long it lasts; nothing when the client leaves it to the server.
    pub(super) timeout: Option<Duration>,
}

/// Reads the options of a watch.
pub(super) fn watch(query: Query<'_>) -> Result<WatchOptions, Failure> {
    let send_initial = flag(query, "sendInitialEvents");
    let matching = query.get(FIELD_MATCH).unwrap_or_default();
    let continues = query.get("continue").is_some_and(|token| !token.is_empty());
    check_match(send_initial, &matching, continues)?;
    let version = version(&query.get("resourceVersion").unwrap_or_default())?;
    let start = match (send_initial, version) {
        (Some(true) | None, None) => Start::State(ReadAt::Newest),
        (Some(true) | None, Some(0)) => Start::State(ReadAt::Any),
        (Some(true), Some(version)) => Start::State(ReadAt::NotOlderThan(version)),
        (Some(false), None | Some(0)) => Start::Now,
        (Some(false) | None, Some(version)) => Start::After(version),
    };
    let timeout = match integer(query, "timeoutSeconds")? {
        None | Some(0) => None,
        // A time that is over already gives an empty answer.
        Some(seconds) => Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0).min(TIMEOUT_SECONDS_MAX))),
    };
    Ok(WatchOptions { start, bookmarks: flag(query, "allowWatchBookmarks").unwrap_or_default(), timeout })
}

fn check_match(send_initial: Option<bool>, matching: &str, continues: bool) -> Result<(), Failure> {
    let mut errors = Vec::new();
    if send_initial.is_some() && matching != "NotOlderThan" {
        let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        errors.push(FieldError::forbidden(FIELD_MATCH, why));
    }
    if !matching.is_empty() {
        if send_initial.is_none() {
            let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            errors.push(FieldError::forbidden(FIELD_MATCH, why));
        }
        if matching != "NotOlderThan" {
            errors.push(FieldError::not_supported(FIELD_MATCH, matching, &["NotOlderThan"]));
        }
        if continues {
            let why = "resourceVersionMatch is forbidden when continue is provided";
            errors.push(FieldError::forbidden(FIELD_MATCH, why));
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Box::new(Status::invalid("meta.k8s.io", "ListOptions", "", &errors)))
}

/// A version that is none is an error without a reason here, unlike in a list.
fn version(text: &str) -> Result<Option<u64>, Failure> {
    resource_version(text).map_err(|_| {
        let parse = format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
        Box::new(Status::unexpected(FieldError::invalid("resourceVersion", text, parse).to_string()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts() {
        let check = |query: &str, expected: Result<Start, &str>| {
            let start = watch(Query::new(query)).map(|options| options.start);
            assert_eq!(start.map_err(|status| status.message.into_owned()), expected.map_err(str::to_owned), "{query}");
        };
        check("", Ok(Start::State(ReadAt::Newest)));
        check("resourceVersion=0", Ok(Start::State(ReadAt::Any)));
        check("resourceVersion=7", Ok(Start::After(7)));
        check("resourceVersion=7&continue=x&limit=3", Ok(Start::After(7)));
        let initial = "resourceVersionMatch=NotOlderThan&sendInitialEvents";
        check(&format!("{initial}=true"), Ok(Start::State(ReadAt::Newest)));
        check(&format!("{initial}=true&resourceVersion=7"), Ok(Start::State(ReadAt::NotOlderThan(7))));
        check(&format!("{initial}=false"), Ok(Start::Now));
        check(&format!("{initial}=false&resourceVersion=0"), Ok(Start::Now));
        check(&format!("{initial}=false&resourceVersion=7"), Ok(Start::After(7)));
        check(
            "sendInitialEvents=true",
            Err("ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: \
                 sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
        );
        check(
            "resourceVersionMatch=NotOlderThan",
            Err("ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: \
                 resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"),
        );
        check(
            &format!("{initial}=true&continue=x"),
            Err("ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: \
                 resourceVersionMatch is forbidden when continue is provided"),
        );
        check(
            "sendInitialEvents=true&resourceVersionMatch=Exact",
            Err("ListOptions.meta.k8s.io \"\" is invalid: [resourceVersionMatch: Forbidden: \
                 sendInitialEvents requires setting resourceVersionMatch to NotOlderThan, \
                 resourceVersionMatch: Unsupported value: \"Exact\": supported values: \"NotOlderThan\"]"),
        );
        check(
            "resourceVersion=x",
            Err("resourceVersion: Invalid value: \"x\": strconv.ParseUint: parsing \"x\": invalid syntax"),
        );
    }

    #[test]
    fn timeouts() {
        let check = |query: &str, expected: Option<u64>| {
            let timeout = watch(Query::new(query)).ok().and_then(|options| options.timeout);
            assert_eq!(timeout, expected.map(Duration::from_secs), "{query}");
        };
        check("", None);
        check("timeoutSeconds=0", None);
        check("timeoutSeconds=7", Some(7));
        check("timeoutSeconds=-7", Some(0));
        check("timeoutSeconds=9999999999", Some(TIMEOUT_SECONDS_MAX));
    }
}
