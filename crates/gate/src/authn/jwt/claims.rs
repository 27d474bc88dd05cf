//! What a foreign token says, once its signature is verified: whether it is valid now and meant for us, and who its bearer is.

use serde_json::{Map, Value};

use crate::identity::{EXTRA_CREDENTIAL_ID, GROUP_AUTHENTICATED, Identity};

use super::super::configuration::{ClaimMapping, JwtConfiguration};

/// How far an issuer's clock may be ahead of ours, in seconds. Behind ours it may not be: a token ends when it says.
const CLOCK_AHEAD_MAX_S: i64 = 5 * 60;
/// The claim whose user is only known when the issuer says that it looked (OpenID Connect Core 5.1).
const EMAIL: &str = "email";

/// Why the claims prove nothing. No variant holds a claim's value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClaimsError {
    /// It says not when it ends.
    #[error("token has no expiry")]
    NoExpiry,
    /// It has ended.
    #[error("token is expired")]
    Expired,
    /// It begins later.
    #[error("token is not valid yet")]
    NotYet,
    /// It is for somebody else.
    #[error("token is not meant for an audience that this issuer's configuration names")]
    Audience,
    /// A claim that the configuration needs is not there.
    #[error("required claim {0:?} is not there")]
    Missing(String),
    /// A claim is not of the type it must be.
    #[error("claim {name:?} is not {wanted}")]
    Mistyped {
        /// Which.
        name: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// A claim has not the value that the configuration demands.
    #[error("required claim {0:?} has another value")]
    Mismatch(String),
    /// The issuer says that it did not look whether the address is the user's.
    #[error("email is not verified")]
    EmailNotVerified,
    /// The groups are somewhere else.
    #[error("claim {0:?} is a distributed claim, and those are not fetched here: let the issuer put it into the token")]
    Distributed(String),
}

/// Says who the bearer of verified claims is.
pub(super) fn identify(
    configuration: &JwtConfiguration,
    claims: &Map<String, Value>,
    now: i64,
) -> Result<Identity, ClaimsError> {
    check_times(claims, now)?;
    check_audience(&configuration.issuer.audiences, claims)?;
    for rule in &configuration.claim_validation_rules {
        let found = text(claims, &rule.claim)?;
        if found != rule.required_value {
            return Err(ClaimsError::Mismatch(rule.claim.clone()));
        }
    }
    let mut identity = Identity { name: username(&configuration.username, claims)?, ..Identity::default() };
    if !configuration.uid.claim.is_empty() {
        text(claims, &configuration.uid.claim)?.clone_into(&mut identity.uid);
    }
    join_groups(&mut identity, &configuration.groups, claims)?;
    identity.join(GROUP_AUTHENTICATED);
    if let Some(Value::String(id)) = claims.get("jti")
        && !id.is_empty()
    {
        identity.extra.insert(EXTRA_CREDENTIAL_ID.to_owned(), vec![format!("JTI={id}")]);
    }
    Ok(identity)
}

fn check_times(claims: &Map<String, Value>, now: i64) -> Result<(), ClaimsError> {
    let expiry = seconds(claims, "exp")?.ok_or(ClaimsError::NoExpiry)?;
    if expiry <= now {
        return Err(ClaimsError::Expired);
    }
    match seconds(claims, "nbf")? {
        Some(begin) if begin > now.saturating_add(CLOCK_AHEAD_MAX_S) => Err(ClaimsError::NotYet),
        _ => Ok(()),
    }
}

/// Reads a time: a number, with a fraction that does not count.
fn seconds(claims: &Map<String, Value>, name: &str) -> Result<Option<i64>, ClaimsError> {
    let mistyped = || ClaimsError::Mistyped { name: name.to_owned(), wanted: "a time in seconds" };
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Ok(Some(whole)),
            // The conversion stops at the ends of what an integer can hold.
            (None, Some(real)) => Ok(Some(real.floor() as i64)),
            (None, None) => Err(mistyped()),
        },
        Some(_) => Err(mistyped()),
    }
}

fn check_audience(accepted: &[String], claims: &Map<String, Value>) -> Result<(), ClaimsError> {
    let is_ours =
        |audience: &Value| audience.as_str().is_some_and(|audience| accepted.iter().any(|own| own == audience));
    let meant = match claims.get("aud") {
        Some(Value::Array(audiences)) => audiences.iter().all(Value::is_string) && audiences.iter().any(is_ours),
        Some(audience) => is_ours(audience),
        None => false,
    };
    if meant { Ok(()) } else { Err(ClaimsError::Audience) }
}

fn text<'c>(claims: &'c Map<String, Value>, name: &str) -> Result<&'c str, ClaimsError> {
    match claims.get(name) {
        None => Err(ClaimsError::Missing(name.to_owned())),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(ClaimsError::Mistyped { name: name.to_owned(), wanted: "a string" }),
    }
}

fn username(mapping: &ClaimMapping, claims: &Map<String, Value>) -> Result<String, ClaimsError> {
    let name = text(claims, &mapping.claim)?;
    if name.is_empty() {
        return Err(ClaimsError::Mistyped { name: mapping.claim.clone(), wanted: "a name: it is empty" });
    }
    if mapping.claim == EMAIL {
        // An issuer that never says it is taken at its word, as upstream does; one that says no is believed.
        match claims.get("email_verified") {
            None | Some(Value::Bool(true)) => {}
            Some(Value::Bool(false)) => return Err(ClaimsError::EmailNotVerified),
            Some(_) => {
                return Err(ClaimsError::Mistyped { name: "email_verified".to_owned(), wanted: "true or false" });
            }
        }
    }
    Ok(prefixed(mapping, name))
}

fn prefixed(mapping: &ClaimMapping, name: &str) -> String {
    format!("{}{name}", mapping.prefix.as_deref().unwrap_or_default())
}

fn join_groups(
    identity: &mut Identity,
    mapping: &ClaimMapping,
    claims: &Map<String, Value>,
) -> Result<(), ClaimsError> {
    if mapping.claim.is_empty() {
        return Ok(());
    }
    let is_elsewhere = claims.get("_claim_names").and_then(|names| names.get(&mapping.claim)).is_some();
    if is_elsewhere {
        return Err(ClaimsError::Distributed(mapping.claim.clone()));
    }
    let mistyped = || ClaimsError::Mistyped { name: mapping.claim.clone(), wanted: "a string or a list of strings" };
    match claims.get(&mapping.claim) {
        None | Some(Value::Null) => {}
        Some(Value::String(group)) => identity.join(&prefixed(mapping, group)),
        Some(Value::Array(groups)) => {
            for group in groups {
                identity.join(&prefixed(mapping, group.as_str().ok_or_else(mistyped)?));
            }
        }
        Some(_) => return Err(mistyped()),
    }
    Ok(())
}
