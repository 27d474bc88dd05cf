//! Which authorisers are asked, in which order: AuthorizationConfiguration of `apiserver.config.k8s.io` v1, v1beta1 and
//! v1alpha1, which are the same (KEP-3221, structured authorization configuration).
//!
//! A file becomes a description, [`AuthorizerSetting`]s, and with what [`AuthorizerSources`] holds the description becomes
//! authorisers. `reload` follows the file while the server runs.

mod reload;
mod validation;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use portcullis_model::go_text::quoted;
use portcullis_model::status::{FieldError, aggregate};
use portcullis_model::strict::{Document, Fields, Nanoseconds, StrictError};
use thiserror::Error;

use crate::body::BoxError;
use crate::live_file::LiveFileError;
use crate::webhook::ReviewVersion;

use super::Authorizer;
use super::always::{AlwaysAllow, AlwaysDeny, EveryoneMayDoEverything};

pub use self::reload::AuthorizationFile;

const GROUP: &str = "apiserver.config.k8s.io";
const VERSIONS: [&str; 3] = ["v1", "v1beta1", "v1alpha1"];
const KIND: &str = "AuthorizationConfiguration";
/// Upstream's defaults.
const AUTHORIZED_TTL: Nanoseconds = Nanoseconds(5 * 60 * 1_000_000_000);
const UNAUTHORIZED_TTL: Nanoseconds = Nanoseconds(30 * 1_000_000_000);

/// The modes there are, by upstream's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AuthorizerType {
    /// Rules from a file.
    Abac,
    /// Everything is allowed.
    AlwaysAllow,
    /// Nothing is allowed.
    AlwaysDeny,
    /// What nodes need, and no more.
    Node,
    /// Roles and bindings.
    Rbac,
    /// Somebody else decides.
    Webhook,
}

impl AuthorizerType {
    /// All of them, in the order of their names.
    pub const ALL: [Self; 6] = [Self::Abac, Self::AlwaysAllow, Self::AlwaysDeny, Self::Node, Self::Rbac, Self::Webhook];

    /// Returns its name on the command line and in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Abac => "ABAC",
            Self::AlwaysAllow => "AlwaysAllow",
            Self::AlwaysDeny => "AlwaysDeny",
            Self::Node => "Node",
            Self::Rbac => "RBAC",
            Self::Webhook => "Webhook",
        }
    }

    /// Finds the one of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }
}

impl fmt::Display for AuthorizerType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One authoriser as it was configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthorizerSetting {
    /// Rules from a file.
    Abac,
    /// Everything is allowed.
    AlwaysAllow,
    /// Nothing is allowed.
    AlwaysDeny,
    /// What nodes need, and no more.
    Node,
    /// Roles and bindings.
    Rbac,
    /// Somebody else decides.
    Webhook(WebhookSetting),
}

impl AuthorizerSetting {
    /// Returns the setting of a mode that needs no more than its name; a webhook needs more.
    pub fn of_type(authorizer_type: AuthorizerType) -> Option<Self> {
        match authorizer_type {
            AuthorizerType::Abac => Some(Self::Abac),
            AuthorizerType::AlwaysAllow => Some(Self::AlwaysAllow),
            AuthorizerType::AlwaysDeny => Some(Self::AlwaysDeny),
            AuthorizerType::Node => Some(Self::Node),
            AuthorizerType::Rbac => Some(Self::Rbac),
            AuthorizerType::Webhook => None,
        }
    }

    /// Returns its mode.
    pub fn authorizer_type(&self) -> AuthorizerType {
        match self {
            Self::Abac => AuthorizerType::Abac,
            Self::AlwaysAllow => AuthorizerType::AlwaysAllow,
            Self::AlwaysDeny => AuthorizerType::AlwaysDeny,
            Self::Node => AuthorizerType::Node,
            Self::Rbac => AuthorizerType::Rbac,
            Self::Webhook(_) => AuthorizerType::Webhook,
        }
    }
}

/// A webhook as it was configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookSetting {
    /// Its name in logs and metrics.
    pub name: String,
    /// Where it is and how to prove who asks.
    pub kubeconfig: PathBuf,
    /// How long an answer may take.
    pub timeout: Duration,
    /// What it means when there is no answer.
    pub failure_policy: WebhookFailurePolicy,
    /// In which form it is asked.
    pub review_version: ReviewVersion,
    /// How long an allow is remembered; zero for not at all.
    pub authorized_ttl: Duration,
    /// How long any other answer is remembered; zero for not at all.
    pub unauthorized_ttl: Duration,
}

/// What it means when a webhook does not answer, or not in a form that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookFailurePolicy {
    /// The next authoriser decides.
    NoOpinion,
    /// The request is refused.
    Deny,
}

/// Makes the authoriser of a webhook.
pub type WebhookSource = Box<dyn Fn(&WebhookSetting) -> Result<Arc<dyn Authorizer>, BoxError> + Send + Sync>;

/// What authorisers are made of. Those that are not configured are not asked.
pub struct AuthorizerSources {
    /// What nodes need.
    pub node: Arc<dyn Authorizer>,
    /// What refuses nodes where nobody knows what they need, or where they are not restricted (A14).
    pub nodes_refused: Arc<dyn Authorizer>,
    /// Whether admission restricts what a node may write.
    pub are_nodes_restricted: bool,
    /// Roles and bindings.
    pub rbac: Arc<dyn Authorizer>,
    /// The policy file, if one was named.
    pub abac: Option<Arc<dyn Authorizer>>,
    /// Webhooks.
    pub webhook: WebhookSource,
    /// A7: the operator's second word for AlwaysAllow.
    pub everyone_may_do_everything: Option<EveryoneMayDoEverything>,
}

impl AuthorizerSources {
    /// Makes the authorisers of a configuration, in its order.
    ///
    /// # Errors
    /// One of them lacks what it is made of.
    pub fn assemble(
        &self,
        settings: &[AuthorizerSetting],
    ) -> Result<Vec<Arc<dyn Authorizer>>, AuthorizationConfigurationError> {
        if settings.is_empty() {
            return Err(AuthorizationConfigurationError::Empty);
        }
        let mut authorizers = Vec::with_capacity(settings.len() + 1);
        let has_node = settings.iter().any(|setting| setting.authorizer_type() == AuthorizerType::Node);
        if !has_node || !self.are_nodes_restricted {
            // A14: without both, nobody would hold a node to its own.
            authorizers.push(Arc::clone(&self.nodes_refused));
        }
        for setting in settings {
            authorizers.push(self.make(setting)?);
        }
        Ok(authorizers)
    }

    fn make(&self, setting: &AuthorizerSetting) -> Result<Arc<dyn Authorizer>, AuthorizationConfigurationError> {
        Ok(match setting {
            AuthorizerSetting::Node => Arc::clone(&self.node),
            AuthorizerSetting::Rbac => Arc::clone(&self.rbac),
            AuthorizerSetting::Abac => self.abac.clone().ok_or(AuthorizationConfigurationError::NoPolicyFile)?,
            AuthorizerSetting::AlwaysDeny => Arc::new(AlwaysDeny::new()),
            AuthorizerSetting::AlwaysAllow => {
                let said = self.everyone_may_do_everything.ok_or(AuthorizationConfigurationError::AlwaysAllow)?;
                Arc::new(AlwaysAllow::new(said))
            }
            AuthorizerSetting::Webhook(webhook) => (self.webhook)(webhook)
                .map_err(|source| AuthorizationConfigurationError::Webhook { name: webhook.name.clone(), source })?,
        })
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
pub enum AuthorizationConfigurationError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] LiveFileError),
    /// It is no such object, or has a field that there is not.
    #[error("failed to load AuthorizationConfiguration from file")]
    Strict(#[from] StrictError),
    /// Fields have values that cannot be.
    #[error("{}", aggregate(.0))]
    Invalid(Vec<FieldError>),
    /// All but webhooks have one name, which upstream looks at when nothing else is wrong.
    #[error("expected name {expected} for authorizer {authorizer_type} instead of {given}")]
    Name {
        /// What has another name.
        authorizer_type: AuthorizerType,
        /// The name that it should have.
        expected: String,
        /// The name that it has.
        given: String,
    },
    /// No authoriser is left.
    #[error("at least one authorization mode must be passed")]
    Empty,
    /// ABAC without rules.
    #[error("authorization-mode ABAC's authorization policy file not passed: give --authorization-policy-file")]
    NoPolicyFile,
    /// A7: AlwaysAllow without the second flag.
    #[error(
        "AlwaysAllow lets everyone do everything: use Node,RBAC, or say that you mean it with \
         --i-understand-that-everyone-may-do-everything"
    )]
    AlwaysAllow,
    /// A webhook cannot be set up.
    #[error("webhook authorizer {}", quoted(.name))]
    Webhook {
        /// Its name.
        name: String,
        /// What is wrong.
        source: BoxError,
    },
    /// A reload would take authorisers away.
    #[error("missing required types: {}: only webhooks can be removed while the server runs", names(.0))]
    Missing(Vec<AuthorizerType>),
    /// A reload would add an authoriser.
    #[error(
        "authorizer type {0} is not allowed if it was not enabled at initial server startup: \
         only webhooks can be added while the server runs"
    )]
    Added(AuthorizerType),
}

fn names(types: &[AuthorizerType]) -> String {
    types.iter().map(|one| one.name()).collect::<Vec<_>>().join(", ")
}

/// Reads a configuration.
///
/// # Errors
/// Unknown fields, and values that cannot be, with their paths.
fn parse_authorization_configuration(text: &[u8]) -> Result<Vec<AuthorizerSetting>, AuthorizationConfigurationError> {
    let document = Document::parse(text)?;
    document.expect(GROUP, &VERSIONS, KIND)?;
    validation::validate(document.read(|fields| fields.objects("authorizers", Written::read))?)
}

/// An authoriser as it stands in the file.
#[derive(Debug)]
struct Written {
    authorizer_type: String,
    name: String,
    webhook: Option<WrittenWebhook>,
}

/// A webhook as it stands in the file, with upstream's defaults.
#[derive(Debug)]
struct WrittenWebhook {
    authorized_ttl: Nanoseconds,
    cache_authorized: bool,
    unauthorized_ttl: Nanoseconds,
    cache_unauthorized: bool,
    timeout: Nanoseconds,
    review_version: String,
    match_condition_version: String,
    failure_policy: String,
    connection_type: String,
    kubeconfig: Option<String>,
    match_conditions: Vec<String>,
}

impl Written {
    fn read(fields: &mut Fields<'_>) -> Self {
        Self {
            authorizer_type: fields.string("type"),
            name: fields.string("name"),
            webhook: fields.object("webhook", WrittenWebhook::read),
        }
    }
}

impl WrittenWebhook {
    fn read(fields: &mut Fields<'_>) -> Self {
        let or = |found: Nanoseconds, default| if found == Nanoseconds(0) { default } else { found };
        let connection =
            fields.object("connectionInfo", |info| (info.string("type"), info.optional_string("kubeConfigFile")));
        let (connection_type, kubeconfig) = connection.unwrap_or_default();
        Self {
            authorized_ttl: or(fields.duration("authorizedTTL"), AUTHORIZED_TTL),
            cache_authorized: fields.bool("cacheAuthorizedRequests").unwrap_or(true),
            unauthorized_ttl: or(fields.duration("unauthorizedTTL"), UNAUTHORIZED_TTL),
            cache_unauthorized: fields.bool("cacheUnauthorizedRequests").unwrap_or(true),
            timeout: fields.duration("timeout"),
            review_version: fields.string("subjectAccessReviewVersion"),
            match_condition_version: fields.string("matchConditionSubjectAccessReviewVersion"),
            failure_policy: fields.string("failurePolicy"),
            connection_type,
            kubeconfig,
            match_conditions: fields.objects("matchConditions", |condition| condition.string("expression")),
        }
    }
}

#[cfg(test)]
mod tests;
