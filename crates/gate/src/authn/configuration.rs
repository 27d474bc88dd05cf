//! AuthenticationConfiguration of `apiserver.config.k8s.io`: which foreign issuers' tokens are taken, and which paths answer
//! without credentials (upstream: KEP-3331, KEP-4633).
//!
//! A file is read strictly and checked as a whole: what can not be done here (CEL expressions, egress selectors) is an error that
//! names its field, never a rule that is silently left out. The `--oidc-*` flags become the same configuration.

mod strict;
mod validation;

use portcullis_model::status::{FieldError, aggregate};
use portcullis_model::yaml::{self, YamlError};
use serde_json::Value;

use crate::tokens::jws::Algorithm;

use self::strict::{Object, Reader};

/// The API group of the file.
const GROUP: &str = "apiserver.config.k8s.io";
/// Its versions, which have the same fields.
const VERSIONS: [&str; 3] = ["v1", "v1beta1", "v1alpha1"];
/// Its kind.
const KIND: &str = "AuthenticationConfiguration";
/// Bytes of a configuration file.
pub const CONFIGURATION_LEN_MAX: usize = 1 << 20;

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
    /// The file is larger than any configuration.
    #[error("it is larger than {CONFIGURATION_LEN_MAX} bytes")]
    TooLarge,
    /// It is neither YAML nor JSON.
    #[error(transparent)]
    Syntax(#[from] YamlError),
    /// It is no object.
    #[error("it is no AuthenticationConfiguration, but a list or a single value")]
    NoObject,
    /// It is something else.
    #[error("no kind {kind:?} is registered for version {api_version:?}: take {KIND:?} of \"{GROUP}/v1\"")]
    WrongKind {
        /// `kind` as given.
        kind: String,
        /// `apiVersion` as given.
        api_version: String,
    },
    /// It has members that nobody knows, twice the same, or of the wrong type.
    #[error("strict decoding error: {}", .0.join(", "))]
    Strict(Vec<String>),
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
        if text.len() > CONFIGURATION_LEN_MAX {
            return Err(ConfigurationError::TooLarge);
        }
        let converted = yaml::to_json(text)?;
        let document: Value = serde_json::from_slice(&converted.json)
            .map_err(|error| ConfigurationError::Strict(vec![format!("json: {error}")]))?;
        if !document.is_object() {
            return Err(ConfigurationError::NoObject);
        }
        let mut reader = Reader::default();
        let configuration = read(&mut reader, &document)?;
        let mut faults: Vec<String> = converted.duplicates.into_iter().collect();
        faults.extend(reader.into_faults());
        if !faults.is_empty() {
            return Err(ConfigurationError::Strict(faults));
        }
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

fn read(reader: &mut Reader, document: &Value) -> Result<AuthenticationConfiguration, ConfigurationError> {
    let top = reader.object(Some(document), "", &["apiVersion", "kind", "jwt", "anonymous"]);
    let (api_version, kind) = (top.text(reader, "apiVersion"), top.text(reader, "kind"));
    let is_known =
        api_version.split_once('/').is_some_and(|(group, version)| group == GROUP && VERSIONS.contains(&version));
    if !is_known || kind != KIND {
        return Err(ConfigurationError::WrongKind { kind, api_version });
    }
    let known = ["issuer", "claimValidationRules", "claimMappings", "userValidationRules"];
    let jwt = top.objects(reader, "jwt", &known).iter().map(|jwt| read_jwt(reader, jwt)).collect();
    let anonymous = top.object(reader, "anonymous", &["enabled", "conditions"]);
    let anonymous = anonymous.is_there().then(|| AnonymousConfiguration {
        enabled: anonymous.flag(reader, "enabled"),
        conditions: {
            let conditions = anonymous.objects(reader, "conditions", &["path"]);
            conditions.iter().map(|condition| condition.text(reader, "path")).collect()
        },
    });
    Ok(AuthenticationConfiguration { jwt, anonymous })
}

fn read_jwt(reader: &mut Reader, jwt: &Object<'_>) -> JwtConfiguration {
    let known =
        ["url", "discoveryURL", "certificateAuthority", "audiences", "audienceMatchPolicy", "egressSelectorType"];
    let issuer = jwt.object(reader, "issuer", &known);
    let issuer = IssuerConfiguration {
        url: issuer.text(reader, "url"),
        discovery_url: issuer.text(reader, "discoveryURL"),
        certificate_authority: issuer.text(reader, "certificateAuthority"),
        audiences: issuer.texts(reader, "audiences"),
        audience_match_policy: issuer.text(reader, "audienceMatchPolicy"),
        egress_selector_type: issuer.text(reader, "egressSelectorType"),
    };
    let rules = jwt.objects(reader, "claimValidationRules", &["claim", "requiredValue", "expression", "message"]);
    let claim_validation_rules = rules.iter().map(|rule| ClaimValidationRule {
        claim: rule.text(reader, "claim"),
        required_value: rule.text(reader, "requiredValue"),
        expression: rule.text(reader, "expression"),
        message: rule.text(reader, "message"),
    });
    let claim_validation_rules = claim_validation_rules.collect();
    let mappings = jwt.object(reader, "claimMappings", &["username", "groups", "uid", "extra"]);
    let extra = mappings.objects(reader, "extra", &["key", "valueExpression"]);
    let extra = extra.iter().map(|mapping| ExtraMapping {
        key: mapping.text(reader, "key"),
        value_expression: mapping.text(reader, "valueExpression"),
    });
    let extra = extra.collect();
    let rules = jwt.objects(reader, "userValidationRules", &["expression", "message"]);
    JwtConfiguration {
        issuer,
        claim_validation_rules,
        username: read_mapping(reader, &mappings, "username", &["claim", "prefix", "expression"]),
        groups: read_mapping(reader, &mappings, "groups", &["claim", "prefix", "expression"]),
        uid: read_mapping(reader, &mappings, "uid", &["claim", "expression"]),
        extra,
        user_validation_rules: rules.iter().map(|rule| rule.text(reader, "expression")).collect(),
        algorithms: Algorithm::ALL.to_vec(),
    }
}

fn read_mapping(reader: &mut Reader, mappings: &Object<'_>, name: &str, known: &[&str]) -> ClaimMapping {
    let mapping = mappings.object(reader, name, known);
    ClaimMapping {
        claim: mapping.text(reader, "claim"),
        prefix: if known.contains(&"prefix") { mapping.optional_text(reader, "prefix") } else { None },
        expression: mapping.text(reader, "expression"),
    }
}

#[cfg(test)]
mod tests;
