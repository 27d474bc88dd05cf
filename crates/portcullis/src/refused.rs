//! Flags that upstream has or had and that do not exist here: naming one is an error that says why and what to use instead.
//!
//! Rows A2, A3, A4 and A6. They hold under `--defaults upstream` too. `--help` does not list them.

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

/// One such flag.
struct Refused {
    flag: &'static str,
    /// A value that asks for nothing and so may stand: hardened manifests have it.
    harmless: Option<&'static str>,
    /// What follows `--flag does not exist here: `.
    instead: &'static str,
}

const REFUSED: &[Refused] = &[
    Refused {
        flag: "token-auth-file",
        harmless: None,
        instead: "a token in a file never ends and stands in plain text; use service account tokens, bootstrap tokens \
                  or client certificates (`portcullis pki issue`)",
    },
    Refused {
        flag: "basic-auth-file",
        harmless: None,
        instead: "a password in a file never ends and stands in plain text; use client certificates \
                  (`portcullis pki issue`) or service account tokens",
    },
    Refused {
        flag: "insecure-allow-any-token",
        harmless: None,
        instead: "it lets everybody be anybody; use client certificates (`portcullis pki issue`), also in tests",
    },
    Refused {
        flag: "insecure-port",
        harmless: Some("0"),
        instead: "a plain port skips authentication and authorisation; use --secure-port with the kubeconfig that \
                  `portcullis up` writes",
    },
    Refused {
        flag: "insecure-bind-address",
        harmless: None,
        instead: "there is no plain port to bind; use --bind-address",
    },
    Refused {
        flag: "repair-malformed-updates",
        harmless: Some("false"),
        instead: "a malformed update is rejected with 400 or 422, never guessed at; send the whole object",
    },
];

/// Proof that none of these flags was given.
#[derive(Debug)]
pub(crate) struct NoneRefused;

impl Args for NoneRefused {
    fn augment_args(command: Command) -> Command {
        command.args(REFUSED.iter().map(|refused| {
            // A value or none, so that the answer is ours and not one about a missing value.
            let arg = Arg::new(refused.flag).long(refused.flag).hide(true).action(ArgAction::Append);
            arg.num_args(0..=1).default_missing_value("")
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for NoneRefused {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        for refused in REFUSED {
            let mut given = matches.get_many::<String>(refused.flag).into_iter().flatten();
            if given.any(|value| Some(value.as_str()) != refused.harmless) {
                let message = format!("--{} does not exist here: {}", refused.flag, refused.instead);
                return Err(clap::Error::raw(ErrorKind::UnknownArgument, message));
            }
        }
        Ok(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        Self::from_arg_matches(matches).map(|none| *self = none)
    }
}
