//! AuthenticationConfiguration of `apiserver.config.k8s.io`: which foreign issuers' tokens are taken, and which paths answer
//! without credentials (upstream: KEP-3331, KEP-4633).
//!
//! A file is read strictly and checked as a whole: what can not be done here (CEL expressions, egress selectors) is an error that
//! names its field, never a rule that is silently left out. The `--oidc-*` flags become the same configuration.

mod validation;

use portcullis_model::status::{FieldError, aggregate};
use portcullis_model::strict::{Document, Fields, StrictError};

use crate::tokens::jws::Algorithm;

/// The API group of the file.
const GROUP: &str = "apiserver.config.k8s.io";
/// Its versions, which have the same fields.
const VERSIONS: [&str; 3] = ["v1", "v1beta1", "v1alpha1"];
/// Its kind.
const KIND: &str = "AuthenticationConfiguration";

/// Who is known besides the cluster's own users.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthenticationConfiguration {
    pub(crate) jwt: Vec<JwtConfiguration>,
    pub(crate) anonymous: Option<AnonymousConfiguration>,
}

/// One foreign issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct JwtConfiguration {
    pub(crate) issuer: IssuerConfiguration,
    pub(crate) claim_validation_rules: Vec<ClaimValidationRule>,
    pub(crate) username: ClaimMapping,
    pub(crate) groups: ClaimMapping,
    pub(crate) uid: ClaimMapping,
    pub(crate) extra: Vec<ExtraMapping>,
    pub(crate) user_validation_rules: Vec<String>,
    /// What its tokens may be signed with; a file can not choose.
    pub(crate) algorithms: Vec<Algorithm>,
}

/// Where an issuer is, and for whom its tokens must be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct IssuerConfiguration {
    pub(crate) url: String,
    pub(crate) discovery_url: String,
    pub(crate) certificate_authority: String,
    pub(crate) audiences: Vec<String>,
    pub(crate) audience_match_policy: String,
    pub(crate) egress_selector_type: String,
}

/// What a claim must be, or (not yet) an expression that must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClaimValidationRule {
    pub(crate) claim: String,
    pub(crate) required_value: String,
    pub(crate) expression: String,
    pub(crate) message: String,
}

/// Which claim an attribute of a user is made of. For a uid there is no prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClaimMapping {
    pub(crate) claim: String,
    pub(crate) prefix: Option<String>,
    pub(crate) expression: String,
}

/// A further attribute of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ExtraMapping {
    pub(crate) key: String,
    pub(crate) value_expression: String,
}

/// Where the anonymous user exists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AnonymousConfiguration {
    pub(crate) enabled: bool,
    pub(crate) conditions: Vec<String>,
}

/// The `--oidc-*` flags, as they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OidcFlags {
    /// `--oidc-issuer-url`.
    pub issuer_url: String,
    /// `--oidc-client-id`.
    pub client_id: String,
    /// The content of `--oidc-ca-file`; empty for the system's CAs.
    pub certificate_authority: String,
    /// `--oidc-username-claim`.
    pub username_claim: String,
    /// `--oidc-username-prefix`: empty for the default, `-` for none.
    pub username_prefix: String,
    /// `--oidc-groups-claim`; empty for no groups.
    pub groups_claim: String,
    /// `--oidc-groups-prefix`.
    pub groups_prefix: String,
    /// `--oidc-signing-algs`.
    pub signing_algs: Vec<String>,
    /// `--oidc-required-claim`: names and values.
    pub required_claims: Vec<(String, String)>,
}

/// Why a configuration is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// It is no such object, or has a field that there is not.
    #[error(transparent)]
    Strict(#[from] StrictError),
    /// Its values can not be.
    #[error("{}", aggregate(.0))]
    Invalid(Vec<FieldError>),
    /// An algorithm that is not known, or that proves nothing.
    #[error(
        "--oidc-signing-algs: unsupported signing algorithm {0:?}: take RS256, RS384, RS512, ES256, ES384, ES512, PS256, PS384 or PS512"
    )]
    Algorithm(String),
}

impl AuthenticationConfiguration {
    /// Reads a file, YAML or JSON, and checks it. `own_issuers` are those of service account tokens: no foreign issuer may
    /// have the name of one.
    ///
    /// # Errors
    /// Everything that is wrong, in upstream's words where upstream has the same complaint.
    pub fn parse(text: &[u8], own_issuers: &[String]) -> Result<Self, ConfigurationError> {
        let document = Document::parse(text)?;
        document.expect(GROUP, &VERSIONS, KIND)?;
        let configuration = document.read(|fields| Self {
            jwt: fields.objects("jwt", JwtConfiguration::read),
            anonymous: fields.object("anonymous", AnonymousConfiguration::read),
        })?;
        configuration.checked(own_issuers)
    }

    /// Makes the configuration that the flags of one issuer mean, and checks it.
    ///
    /// # Errors
    /// What is wrong; fields have the names that they have in a file.
    pub fn from_flags(flags: OidcFlags, own_issuers: &[String]) -> Result<Self, ConfigurationError> {
        let mut algorithms = Vec::new();
        for name in &flags.signing_algs {
            algorithms.push(Algorithm::by_name(name).ok_or_else(|| ConfigurationError::Algorithm(name.clone()))?);
        }
        // A name of an issuer must not look like one of the cluster's own, so every claim but an address gets a prefix.
        let prefix = match flags.username_prefix.as_str() {
            "" if flags.username_claim != "email" => format!("{}#", flags.issuer_url),
            "-" => String::new(),
            given => given.to_owned(),
        };
        let groups = match flags.groups_claim.as_str() {
            "" => ClaimMapping::default(),
            _ => ClaimMapping { claim: flags.groups_claim, prefix: Some(flags.groups_prefix), ..Default::default() },
        };
        let rules = flags.required_claims.into_iter().map(|(claim, required_value)| ClaimValidationRule {
            claim,
            required_value,
            ..Default::default()
        });
        let jwt = JwtConfiguration {
            issuer: IssuerConfiguration {
                url: flags.issuer_url,
                certificate_authority: flags.certificate_authority,
                audiences: vec![flags.client_id],
                ..Default::default()
            },
            claim_validation_rules: rules.collect(),
            username: ClaimMapping { claim: flags.username_claim, prefix: Some(prefix), ..Default::default() },
            groups,
            algorithms,
            ..Default::default()
        };
        Self { jwt: vec![jwt], anonymous: None }.checked(own_issuers)
    }

    fn checked(self, own_issuers: &[String]) -> Result<Self, ConfigurationError> {
        let errors = validation::errors(&self, own_issuers);
        if errors.is_empty() { Ok(self) } else { Err(ConfigurationError::Invalid(errors)) }
    }
}

impl JwtConfiguration {
    fn read(fields: &mut Fields<'_>) -> Self {
        let mut read = Self {
            issuer: fields.object("issuer", IssuerConfiguration::read).unwrap_or_default(),
            claim_validation_rules: fields.objects("claimValidationRules", ClaimValidationRule::read),
            user_validation_rules: fields.objects("userValidationRules", |rule| {
                rule.string("message");
                rule.string("expression")
            }),
            algorithms: Algorithm::ALL.to_vec(),
            ..Self::default()
        };
        fields.object("claimMappings", |mappings| {
            read.username = mappings.object("username", ClaimMapping::read_prefixed).unwrap_or_default();
            read.groups = mappings.object("groups", ClaimMapping::read_prefixed).unwrap_or_default();
            read.uid = mappings.object("uid", ClaimMapping::read).unwrap_or_default();
            read.extra = mappings.objects("extra", ExtraMapping::read);
        });
        read
    }
}

impl IssuerConfiguration {
    fn read(fields: &mut Fields<'_>) -> Self {
        Self {
            url: fields.string("url"),
            discovery_url: fields.string("discoveryURL"),
            certificate_authority: fields.string("certificateAuthority"),
            audiences: fields.strings("audiences"),
            audience_match_policy: fields.string("audienceMatchPolicy"),
            egress_selector_type: fields.string("egressSelectorType"),
        }
    }
}

impl ClaimValidationRule {
    fn read(fields: &mut Fields<'_>) -> Self {
        Self {
            claim: fields.string("claim"),
            required_value: fields.string("requiredValue"),
            expression: fields.string("expression"),
            message: fields.string("message"),
        }
    }
}

impl ClaimMapping {
    fn read(fields: &mut Fields<'_>) -> Self {
        Self { claim: fields.string("claim"), prefix: None, expression: fields.string("expression") }
    }

    fn read_prefixed(fields: &mut Fields<'_>) -> Self {
        Self { prefix: fields.optional_string("prefix"), ..Self::read(fields) }
    }
}

impl ExtraMapping {
    fn read(fields: &mut Fields<'_>) -> Self {
        Self { key: fields.string("key"), value_expression: fields.string("valueExpression") }
    }
}

impl AnonymousConfiguration {
    fn read(fields: &mut Fields<'_>) -> Self {
        Self {
            enabled: fields.bool("enabled").unwrap_or_default(),
            conditions: fields.objects("conditions", |condition| condition.string("path")),
        }
    }
}

#[cfg(test)]
mod tests;
