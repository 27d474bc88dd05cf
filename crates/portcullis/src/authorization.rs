//! The flags of authorisation, by upstream's names, and the chain they ask for.
//!
//! A7: AlwaysAllow takes a second flag. A14: without Node, nodes are refused. Everything is refused here that upstream refuses, and
//! that before anything is bound.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use portcullis_gate::{
    Abac, AuthorizationConfigurationError, AuthorizationFile, Authorizer, AuthorizerChain, AuthorizerSetting,
    AuthorizerSources, AuthorizerType, EveryoneMayDoEverything, ReviewVersion, WebhookFailurePolicy, WebhookSetting,
    WebhookSource,
};

use crate::flags::{conflict, review_version, span};

const DEFAULT_MODES: [AuthorizerType; 2] = [AuthorizerType::Node, AuthorizerType::Rbac];
/// The name of the one webhook that flags can describe, and what flags do not say about it: upstream's values.
const WEBHOOK_NAME: &str = "default";
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(30);
const AUTHORIZED_TTL: Duration = Duration::from_secs(5 * 60);
const UNAUTHORIZED_TTL: Duration = Duration::from_secs(30);

/// What decides who may do what.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Authorization")]
pub(crate) struct Authorization {
    /// Who decides, in this order, separated by commas: Node, RBAC, ABAC, Webhook, AlwaysDeny, AlwaysAllow [default: Node,RBAC]
    #[arg(long = "authorization-mode", value_name = "LIST", value_delimiter = ',', value_parser = mode)]
    modes: Vec<AuthorizerType>,
    /// The rules of ABAC, one JSON object a line
    #[arg(long = "authorization-policy-file", value_name = "FILE")]
    policy_file: Option<PathBuf>,
    /// Where Webhook asks, and how it proves who it is: a kubeconfig
    #[arg(long = "authorization-webhook-config-file", value_name = "FILE")]
    webhook_config_file: Option<PathBuf>,
    /// The version of the SubjectAccessReview that Webhook sends: v1 or v1beta1 [default: v1beta1]
    #[arg(long = "authorization-webhook-version", value_name = "VERSION", value_parser = review_version)]
    webhook_version: Option<ReviewVersion>,
    /// How long Webhook remembers what it allowed; 0 for not at all [default: 5m]
    #[arg(long = "authorization-webhook-cache-authorized-ttl", value_name = "DURATION", value_parser = span)]
    webhook_cache_authorized_ttl: Option<Duration>,
    /// How long Webhook remembers what it did not allow; 0 for not at all [default: 30s]
    #[arg(long = "authorization-webhook-cache-unauthorized-ttl", value_name = "DURATION", value_parser = span)]
    webhook_cache_unauthorized_ttl: Option<Duration>,
    /// An AuthorizationConfiguration, in the place of the modes and of the webhook's flags; followed while the server runs
    #[arg(
        long = "authorization-config",
        value_name = "FILE",
        conflicts_with_all = [
            "modes",
            "webhook_config_file",
            "webhook_version",
            "webhook_cache_authorized_ttl",
            "webhook_cache_unauthorized_ttl",
        ]
    )]
    config: Option<PathBuf>,
    /// Without this there is no AlwaysAllow. Every answer then carries a warning
    #[arg(long)]
    i_understand_that_everyone_may_do_everything: bool,
}

/// What other parts of the program give to the chain.
pub(crate) struct Pieces {
    /// What nodes need.
    pub(crate) node: Arc<dyn Authorizer>,
    /// A14: what refuses nodes.
    pub(crate) nodes_refused: Arc<dyn Authorizer>,
    /// Whether admission restricts what a node may write.
    pub(crate) are_nodes_restricted: bool,
    /// Roles and bindings.
    pub(crate) rbac: Arc<dyn Authorizer>,
    /// What makes a webhook's authoriser.
    pub(crate) webhook: WebhookSource,
}

/// The chain, and the file that it follows, if it was described by one.
pub(crate) struct Chain {
    /// What decides.
    pub(crate) authorizers: AuthorizerChain,
    /// To be followed ([`portcullis_gate::keep_fresh`]) for as long as the server runs.
    pub(crate) file: Option<Arc<AuthorizationFile>>,
}

impl Authorization {
    /// Looks whether the flags go together, before anything is made or opened. What a configuration file says is looked at when
    /// the chain is made.
    ///
    /// # Errors
    /// A usage error, in upstream's words where it has the same complaint.
    pub(crate) fn check(&self) -> Result<(), clap::Error> {
        if self.config.is_some() {
            return Ok(());
        }
        let settings = self.settings()?;
        if !self.i_understand_that_everyone_may_do_everything && has(&settings, AuthorizerType::AlwaysAllow) {
            return Err(conflict(&AuthorizationConfigurationError::AlwaysAllow.to_string()));
        }
        self.check_consent(&settings)
    }

    /// Refuses a consent to nothing: left in a manifest it would wait for its mode.
    fn check_consent(&self, settings: &[AuthorizerSetting]) -> Result<(), clap::Error> {
        if !self.i_understand_that_everyone_may_do_everything || has(settings, AuthorizerType::AlwaysAllow) {
            return Ok(());
        }
        Err(conflict(
            "--i-understand-that-everyone-may-do-everything goes with AlwaysAllow, which is not among the authorization \
             modes: leave it out",
        ))
    }

    /// Makes the chain.
    ///
    /// # Errors
    /// Flags that do not go together are a usage error; a file that cannot be used is named.
    pub(crate) fn chain(&self, pieces: Pieces) -> Result<Chain> {
        let Pieces { node, nodes_refused, are_nodes_restricted, rbac, webhook } = pieces;
        let settings = if self.config.is_some() { None } else { Some(self.settings()?) };
        let abac = match &self.policy_file {
            Some(file) => Some(Arc::new(Abac::open(file)?) as Arc<dyn Authorizer>),
            None => None,
        };
        let everyone_may_do_everything =
            EveryoneMayDoEverything::if_said(self.i_understand_that_everyone_may_do_everything);
        let sources = AuthorizerSources {
            node,
            nodes_refused,
            are_nodes_restricted,
            rbac,
            abac,
            webhook,
            everyone_may_do_everything,
        };
        let (chain, settings) = match (&self.config, settings) {
            (Some(path), _) => {
                let file = AuthorizationFile::open(std::path::absolute(path)?, sources)?;
                let settings = file.settings();
                (Chain { authorizers: file.chain(), file: Some(Arc::new(file)) }, settings)
            }
            (None, settings) => {
                let settings = settings.unwrap_or_default();
                let authorizers = AuthorizerChain::new(sources.assemble(&settings)?);
                (Chain { authorizers, file: None }, settings)
            }
        };
        self.check_consent(&settings)?;
        say(&settings);
        Ok(chain)
    }

    /// Turns the flags into what a configuration file would say, or says what does not go together, in upstream's words.
    fn settings(&self) -> Result<Vec<AuthorizerSetting>, clap::Error> {
        let modes = if self.modes.is_empty() { &DEFAULT_MODES[..] } else { &self.modes };
        let distinct: BTreeSet<_> = modes.iter().copied().collect();
        let names: Vec<_> = modes.iter().map(|mode| mode.name()).collect();
        let (has_abac, has_webhook) =
            (distinct.contains(&AuthorizerType::Abac), distinct.contains(&AuthorizerType::Webhook));
        if distinct.len() < modes.len() {
            return Err(conflict(&format!("authorization-mode {names:?} has mode specified more than once")));
        }
        match (has_abac, &self.policy_file) {
            (true, None) => return Err(conflict("authorization-mode ABAC's authorization policy file not passed")),
            (false, Some(_)) => return Err(conflict("cannot specify --authorization-policy-file without mode ABAC")),
            _ => {}
        }
        if !has_webhook && self.webhook_config_file.is_some() {
            return Err(conflict("cannot specify --authorization-webhook-config-file without mode Webhook"));
        }
        let mut settings = Vec::with_capacity(modes.len());
        for mode in modes {
            settings.push(match AuthorizerSetting::of_type(*mode) {
                Some(setting) => setting,
                None => AuthorizerSetting::Webhook(self.webhook()?),
            });
        }
        Ok(settings)
    }

    fn webhook(&self) -> Result<WebhookSetting, clap::Error> {
        let Some(kubeconfig) = self.webhook_config_file.clone() else {
            return Err(conflict("authorization-mode Webhook's authorization config file not passed"));
        };
        Ok(WebhookSetting {
            name: WEBHOOK_NAME.to_owned(),
            kubeconfig,
            timeout: WEBHOOK_TIMEOUT,
            failure_policy: WebhookFailurePolicy::NoOpinion,
            review_version: self.webhook_version.unwrap_or_default(),
            authorized_ttl: self.webhook_cache_authorized_ttl.unwrap_or(AUTHORIZED_TTL),
            unauthorized_ttl: self.webhook_cache_unauthorized_ttl.unwrap_or(UNAUTHORIZED_TTL),
        })
    }
}

fn has(settings: &[AuthorizerSetting], wanted: AuthorizerType) -> bool {
    settings.iter().any(|setting| setting.authorizer_type() == wanted)
}

/// Tells the log what is in force.
fn say(settings: &[AuthorizerSetting]) {
    let modes: Vec<_> = settings.iter().map(|setting| setting.authorizer_type().name()).collect();
    tracing::info!(modes = modes.join(","), "authorization");
    if !has(settings, AuthorizerType::Node) {
        tracing::warn!("Node is not among the authorization modes: system:node identities are refused");
    }
}

fn mode(text: &str) -> Result<AuthorizerType, String> {
    let known = AuthorizerType::ALL.map(AuthorizerType::name).join(", ");
    AuthorizerType::of_name(text).ok_or_else(|| format!("not a valid mode: there are {known}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use portcullis_gate::{Attributes, Decision, Identity, Rules, Target, Verdict};

    use super::*;
    use crate::flags;

    /// Has no opinion, and says who has none.
    struct Named(&'static str);

    impl Authorizer for Named {
        fn name(&self) -> &'static str {
            self.0
        }

        fn decide<'a>(&'a self, _: &'a Attributes<'a>) -> Decision<'a> {
            Decision::Now(Verdict::NoOpinion { reason: self.0.into() })
        }

        fn rules(&self, _: &Identity, _: &str, _: &mut Rules) {}
    }

    fn pieces() -> Pieces {
        Pieces {
            node: Arc::new(Named("node")),
            nodes_refused: Arc::new(Named("no nodes")),
            are_nodes_restricted: true,
            rbac: Arc::new(Named("rbac")),
            webhook: Box::new(|setting| match setting.unauthorized_ttl.is_zero() {
                true => Ok(Arc::new(Named("webhook without memory"))),
                false => Ok(Arc::new(Named("webhook"))),
            }),
        }
    }

    fn chain(flags: &str) -> Result<Chain> {
        flags::parse::<Authorization>(flags)?.chain(pieces())
    }

    /// What is said before anything is opened.
    fn early(flags: &str) -> Result<(), clap::Error> {
        flags::parse::<Authorization>(flags)?.check()
    }

    /// Who is asked, in order.
    fn asked(chain: &AuthorizerChain) -> String {
        let ana = Identity { name: "ana".to_owned(), ..Identity::default() };
        let attributes = Attributes { user: &ana, verb: "get", target: Target::Path("/x") };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        match runtime.block_on(chain.decide(&attributes)) {
            Verdict::NoOpinion { reason } => reason.replace('\n', ", "),
            Verdict::Allow { reason } | Verdict::Deny { reason } => reason.to_string(),
        }
    }

    #[test]
    fn a7_a14_the_modes_that_were_asked_for_are_asked() {
        let directory = tempfile::tempdir().unwrap();
        let policy = directory.path().join("policy.jsonl");
        std::fs::write(&policy, "# nothing\n").unwrap();
        let check = |flags: &str, expected: &str| {
            let flags = flags.replace("POLICY", policy.to_str().unwrap());
            assert_eq!(asked(&chain(&flags).unwrap().authorizers), expected, "{flags}");
        };
        check("", "node, rbac");
        check("--authorization-mode Node,RBAC", "node, rbac");
        check("--authorization-mode=RBAC --authorization-mode=Node", "rbac, node");
        check("--authorization-mode RBAC", "no nodes, rbac");
        check("--authorization-mode AlwaysDeny", "no nodes, Everything is forbidden.");
        check("--authorization-mode Node,ABAC --authorization-policy-file POLICY", "node, No policy matched.");
        check("--authorization-mode Node,Webhook --authorization-webhook-config-file /k", "node, webhook");
        check(
            "--authorization-mode Node,Webhook --authorization-webhook-config-file /k --authorization-webhook-version v1 \
             --authorization-webhook-cache-unauthorized-ttl 0",
            "node, webhook without memory",
        );
        check(
            "--authorization-mode Node,AlwaysAllow --i-understand-that-everyone-may-do-everything",
            "AlwaysAllow is in force: everyone may do everything",
        );
    }

    #[test]
    fn a7_what_does_not_go_together_is_refused() {
        let check = |flags: &str, part: &str| {
            let error = chain(flags).err().unwrap().to_string();
            assert!(error.contains(part), "{flags}: {error}");
            let early = early(flags).err().map(|error| (error.to_string(), error.exit_code()));
            match early {
                Some((early, code)) => assert!(early.contains(part) && code == 2, "{flags}: {early}"),
                None => assert!(flags.contains("/nowhere"), "{flags}: not before the start"),
            }
        };
        check("--authorization-mode AlwaysAllow", "--i-understand-that-everyone-may-do-everything");
        check("--authorization-mode RBAC,AlwaysAllow", "--i-understand-that-everyone-may-do-everything");
        check("--i-understand-that-everyone-may-do-everything", "goes with AlwaysAllow");
        check(
            "--authorization-mode rbac",
            "not a valid mode: there are ABAC, AlwaysAllow, AlwaysDeny, Node, RBAC, Webhook",
        );
        check("--authorization-mode=", "not a valid mode");
        check(
            "--authorization-mode RBAC,RBAC",
            r#"authorization-mode ["RBAC", "RBAC"] has mode specified more than once"#,
        );
        check("--authorization-mode ABAC", "authorization-mode ABAC's authorization policy file not passed");
        check("--authorization-policy-file /x", "cannot specify --authorization-policy-file without mode ABAC");
        check(
            "--authorization-mode ABAC --authorization-policy-file /nowhere/x",
            "error reading policy file /nowhere/x",
        );
        check("--authorization-mode Webhook", "authorization-mode Webhook's authorization config file not passed");
        check("--authorization-webhook-config-file /x", "without mode Webhook");
        check("--authorization-webhook-version v2", "there are v1 and v1beta1");
        check("--authorization-webhook-cache-authorized-ttl 5", "missing unit");
        check("--authorization-webhook-cache-authorized-ttl=-5m", "it cannot be negative");
        check("--authorization-config /nowhere/x", "cannot read /nowhere/x");
        for other in [
            "--authorization-mode RBAC",
            "--authorization-webhook-version v1",
            "--authorization-webhook-config-file /k",
        ] {
            check(&format!("--authorization-config /x {other}"), "cannot be used with");
        }
    }

    #[test]
    fn a7_a_configuration_file_takes_the_place_of_the_flags() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("authorization.yaml");
        let check = |authorizers: &str, flags: &str, expected: Result<&str, &str>| {
            let head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers:\n";
            std::fs::write(&file, format!("{head}{authorizers}")).unwrap();
            let got = chain(&format!("--authorization-config {} {flags}", file.display()));
            match (got, expected) {
                (Ok(got), Ok(expected)) => {
                    assert!(got.file.is_some());
                    assert_eq!(asked(&got.authorizers), expected);
                }
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
                (got, _) => panic!("{authorizers}: {:?}, not {expected:?}", got.map(|chain| asked(&chain.authorizers))),
            }
        };
        let consent = "--i-understand-that-everyone-may-do-everything";
        let open = "- {type: AlwaysAllow, name: alwaysallow}";
        check("- {type: RBAC, name: rbac}\n- {type: Node, name: node}", "", Ok("rbac, node"));
        check("- {type: RBAC, name: rbac}", "", Ok("no nodes, rbac"));
        check("- {type: RBAC, name: rbac}", consent, Err("goes with AlwaysAllow"));
        check("- {type: ABAC, name: abac}", "", Err("--authorization-policy-file"));
        check(open, "", Err(consent));
        check(open, consent, Ok("AlwaysAllow is in force: everyone may do everything"));
        check("  []", "", Err("at least one authorization mode must be defined"));
    }
}
