//! How the values of flags are read that several areas have, and what a combination that cannot be is told.

use std::time::Duration;

use clap::error::ErrorKind;
use portcullis_gate::ReviewVersion;
use portcullis_model::time::parse_duration;

/// A span such as `5m`; 0 is one too.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    let nanos = parse_duration(text).map_err(|error| error.to_string())?;
    u64::try_from(nanos).map(Duration::from_nanos).map_err(|_| "it cannot be negative".to_owned())
}

/// A version of the reviews that webhooks are sent.
pub(crate) fn review_version(text: &str) -> Result<ReviewVersion, String> {
    let known = ReviewVersion::ALL.map(ReviewVersion::name).join(" and ");
    ReviewVersion::of_name(text).ok_or_else(|| format!("there are {known}"))
}

/// Flags that do not go together.
pub(crate) fn conflict(message: &str) -> clap::Error {
    clap::Error::raw(ErrorKind::ArgumentConflict, format!("{message}\n"))
}

/// A command line of the flags of one area, for its tests.
#[cfg(test)]
#[derive(Debug, clap::Parser)]
pub(crate) struct Line<A: clap::Args> {
    #[command(flatten)]
    given: A,
}

/// Reads a command line of the flags of one area.
#[cfg(test)]
pub(crate) fn parse<A: clap::Args>(flags: &str) -> Result<A, clap::Error> {
    let line = ["portcullis"].into_iter().chain(flags.split_whitespace());
    <Line<A> as clap::Parser>::try_parse_from(line).map(|line| line.given)
}
