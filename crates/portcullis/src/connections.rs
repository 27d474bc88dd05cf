//! The flags about connections: who may connect (A16), how often a client is told to connect again, and how the server stops.

use std::time::Duration;

use clap::Args;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use portcullis_gate::{ConnectionRules, GoawayChance};
use portcullis_model::cidr::Cidr;

use crate::arguments::addresses;
use crate::flags::span;

/// What is said about connections.
#[derive(Debug, Args)]
pub(crate) struct ConnectionArguments {
    /// Addresses that may connect, separated by commas; everybody else is closed before any TLS [default: all]
    #[arg(long, value_name = "CIDRS", value_delimiter = ',', value_parser = addresses)]
    client_cidrs: Vec<Cidr>,
    /// The part of HTTP/2 requests, 0 to 0.02, after which a client is told to connect again, so that it may reach another server
    #[arg(long, value_name = "PART", default_value = "0", value_parser = goaway_chance)]
    goaway_chance: GoawayChance,
    /// How long everything is still served when the server stops, while /readyz says that it does
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = span)]
    pub(crate) shutdown_delay_duration: Duration,
    /// When the server stops, go on listening until requests in flight are answered, and answer new ones with 429 and Retry-After
    #[arg(long, value_name = "BOOL", default_value = "false", num_args = 0..=1, default_missing_value = "true")]
    #[arg(require_equals = true, action = clap::ArgAction::Set)]
    shutdown_send_retry_after: bool,
    /// Over how long the ends of watches are spread when the server stops; 0 ends them at once
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = span)]
    shutdown_watch_termination_grace_period: Duration,
}

impl ConnectionArguments {
    /// What the listener is told.
    pub(crate) fn rules(&self) -> ConnectionRules {
        ConnectionRules {
            client_ranges: self.client_cidrs.clone(),
            goaway_chance: self.goaway_chance,
            watch_grace: self.shutdown_watch_termination_grace_period,
            send_retry_after: self.shutdown_send_retry_after,
        }
    }
}

fn goaway_chance(text: &str) -> Result<GoawayChance, String> {
    let part = text.parse::<f64>().map_err(|error| error.to_string())?;
    GoawayChance::new(part).ok_or_else(|| "it must be from 0 to 0.02".to_owned())
}

/// Lets this process have as many files open as the system allows it: each connection is one, and the usual limit of 1,024 is less
/// than the connections that may wait for their handshake.
pub(crate) fn raise_open_files() {
    let raised =
        getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::flags::parse;

    #[test]
    fn what_is_said_is_taken() {
        let given: ConnectionArguments = parse(
            "--client-cidrs 10.0.0.0/8,192.0.2.1 --client-cidrs 2001:db8::/32 --goaway-chance 0.01 \
             --shutdown-delay-duration 1m --shutdown-send-retry-after \
             --shutdown-watch-termination-grace-period 30s",
        )
        .unwrap();
        let rules = given.rules();
        let ranges: Vec<_> = rules.client_ranges.iter().map(ToString::to_string).collect();
        assert_eq!(ranges, ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32"]);
        assert_eq!(rules.goaway_chance, GoawayChance::new(0.01).unwrap());
        assert_eq!(given.shutdown_delay_duration, Duration::from_secs(60));
        assert_eq!((rules.send_retry_after, rules.watch_grace), (true, Duration::from_secs(30)));
        let given: ConnectionArguments = parse("").unwrap();
        assert!(given.rules().client_ranges.is_empty() && !given.rules().send_retry_after);
        assert_eq!(given.shutdown_delay_duration, Duration::ZERO);
        let given: ConnectionArguments = parse("--shutdown-send-retry-after=false").unwrap();
        assert!(!given.rules().send_retry_after);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let check = |flags: &str, part: &str| {
            let error = parse::<ConnectionArguments>(flags).unwrap_err();
            assert!(error.to_string().contains(part), "{flags}: {error}");
        };
        check("--client-cidrs 10.0.0.0/33", "is not an address range");
        check("--client-cidrs localhost", "is not an address range");
        check("--goaway-chance 0.1", "from 0 to 0.02");
        check("--goaway-chance much", "invalid float");
        check("--shutdown-delay-duration=-1s", "negative");
    }
}
