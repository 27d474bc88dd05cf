//! What the values of an AuthenticationConfiguration must be, with upstream's paths and words where upstream has the same
//! complaint (KEP-3331; the order of complaints is upstream's as well).

use std::collections::BTreeSet;

use http::Uri;
use portcullis_model::status::{BadValue, FieldError, FieldReason};
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::{
    AnonymousConfiguration, AuthenticationConfiguration, ClaimMapping, ClaimValidationRule, ExtraMapping,
    IssuerConfiguration, JwtConfiguration,
};

/// Issuers of a configuration.
const ISSUERS_MAX: usize = 64;
/// Paths that a configuration can add to those that answer without credentials.
const CONDITIONS_MAX: usize = 64;
/// The one policy that there is.
const MATCH_ANY: &str = "MatchAny";
/// What an expression gets for an answer.
const NO_CEL: &str = "CEL expressions can not be evaluated here yet: name a claim instead";

/// Returns everything that is wrong.
pub(super) fn errors(configuration: &AuthenticationConfiguration, own_issuers: &[String]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if configuration.jwt.len() > ISSUERS_MAX {
        errors.push(FieldError::too_many("jwt", configuration.jwt.len(), ISSUERS_MAX));
        return errors;
    }
    let (mut urls, mut discovery_urls) = (BTreeSet::new(), BTreeSet::new());
    for (at, jwt) in configuration.jwt.iter().enumerate() {
        let path = format!("jwt[{at}]");
        check_jwt(&mut errors, jwt, &path, own_issuers);
        if !urls.insert(&jwt.issuer.url) {
            errors.push(FieldError::duplicate(format!("{path}.issuer.url"), jwt.issuer.url.as_str()));
        }
        let discovery_url = &jwt.issuer.discovery_url;
        if !discovery_url.is_empty() && !discovery_urls.insert(discovery_url) {
            errors.push(FieldError::duplicate(format!("{path}.issuer.discoveryURL"), discovery_url.as_str()));
        }
    }
    if let Some(anonymous) = &configuration.anonymous {
        check_anonymous(&mut errors, anonymous);
    }
    errors
}

fn check_jwt(errors: &mut Vec<FieldError>, jwt: &JwtConfiguration, path: &str, own_issuers: &[String]) {
    check_issuer(errors, &jwt.issuer, &format!("{path}.issuer"), own_issuers);
    check_rules(errors, &jwt.claim_validation_rules, &format!("{path}.claimValidationRules"));
    let mappings = format!("{path}.claimMappings");
    check_mapping(errors, &jwt.username, &format!("{mappings}.username"), true);
    check_mapping(errors, &jwt.groups, &format!("{mappings}.groups"), false);
    let uid = format!("{mappings}.uid");
    match (jwt.uid.claim.as_str(), jwt.uid.expression.as_str()) {
        (_, "") => {}
        ("", expression) => errors.push(FieldError::invalid(format!("{uid}.expression"), expression, NO_CEL)),
        _ => errors.push(FieldError::invalid(uid, "", "claim and expression can't both be set")),
    }
    check_extra(errors, &jwt.extra, &format!("{mappings}.extra"));
    for (at, expression) in jwt.user_validation_rules.iter().enumerate() {
        let path = format!("{path}.userValidationRules[{at}].expression");
        errors.push(match expression.as_str() {
            "" => FieldError::required(path, "expression is required"),
            expression => FieldError::invalid(path, expression, "CEL expressions can not be evaluated here yet"),
        });
    }
}

fn check_issuer(errors: &mut Vec<FieldError>, issuer: &IssuerConfiguration, path: &str, own_issuers: &[String]) {
    let url = format!("{path}.url");
    if issuer.url.is_empty() {
        errors.push(FieldError::required(url, "URL is required"));
    } else {
        if own_issuers.contains(&issuer.url) {
            let own = own_issuers.iter().collect::<BTreeSet<_>>().into_iter().cloned().collect::<Vec<_>>().join(" ");
            let detail = format!("URL must not overlap with disallowed issuers: [{own}]");
            errors.push(FieldError::invalid(url.clone(), issuer.url.as_str(), detail));
        }
        check_url(errors, &issuer.url, &url);
    }
    if !issuer.discovery_url.is_empty() {
        let path = format!("{path}.discoveryURL");
        if issuer.url.trim_end_matches('/') == issuer.discovery_url.trim_end_matches('/') {
            let detail = "discoveryURL must be different from URL";
            errors.push(FieldError::invalid(path.clone(), issuer.discovery_url.as_str(), detail));
        }
        check_url(errors, &issuer.discovery_url, &path);
    }
    check_audiences(errors, issuer, path);
    if !issuer.certificate_authority.is_empty()
        && let Err(reason) = check_ca(&issuer.certificate_authority)
    {
        // The text may be a key that was pasted into the wrong place: it is not repeated.
        errors.push(FieldError::invalid(format!("{path}.certificateAuthority"), "<omitted>", reason));
    }
    if !issuer.egress_selector_type.is_empty() {
        let detail = "there are no egress selectors here: leave it out, and the issuer is dialled directly";
        let path = format!("{path}.egressSelectorType");
        errors.push(FieldError::invalid(path, issuer.egress_selector_type.as_str(), detail));
    }
}

fn check_url(errors: &mut Vec<FieldError>, url: &str, path: &str) {
    let mut refuse = |detail: &'static str| errors.push(FieldError::invalid(path, url, detail));
    let (rest, fragment) = url.split_once('#').unwrap_or((url, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let Some((scheme, rest)) = rest.split_once("://") else {
        return refuse("URL scheme must be https");
    };
    if !scheme.eq_ignore_ascii_case("https") {
        refuse("URL scheme must be https");
    }
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.contains('@') {
        refuse("URL must not contain a username or password");
    }
    if !query.is_empty() {
        refuse("URL must not contain a query");
    }
    if !fragment.is_empty() {
        refuse("URL must not contain a fragment");
    }
    let has_host = url.parse::<Uri>().is_ok_and(|uri| uri.host().is_some_and(|host| !host.is_empty()));
    if !has_host {
        refuse("URL must name a host");
    }
}

fn check_audiences(errors: &mut Vec<FieldError>, issuer: &IssuerConfiguration, issuer_path: &str) {
    let path = format!("{issuer_path}.audiences");
    if issuer.audiences.is_empty() {
        let detail = format!("at least one {path} is required");
        errors.push(FieldError::required(path, detail));
        return;
    }
    let mut seen = BTreeSet::new();
    for (at, audience) in issuer.audiences.iter().enumerate() {
        let path = format!("{path}[{at}]");
        if audience.is_empty() {
            errors.push(FieldError::required(path.clone(), "audience can't be empty"));
        }
        if !seen.insert(audience) {
            errors.push(FieldError::duplicate(path, audience.as_str()));
        }
    }
    let policy = issuer.audience_match_policy.as_str();
    let detail = match (issuer.audiences.len(), policy) {
        (_, MATCH_ANY) | (1, "") => return,
        (1, _) => "audienceMatchPolicy must be empty or MatchAny for single audience",
        _ => "audienceMatchPolicy must be MatchAny for multiple audiences",
    };
    errors.push(FieldError::invalid(format!("{issuer_path}.audienceMatchPolicy"), policy, detail));
}

fn check_ca(text: &str) -> Result<(), &'static str> {
    let none = "data does not contain any valid RSA or ECDSA certificates";
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        roots.add(certificate.map_err(|_| none)?).map_err(|_| "a certificate can not be trusted as a CA")?;
    }
    if roots.is_empty() { Err(none) } else { Ok(()) }
}

fn check_rules(errors: &mut Vec<FieldError>, rules: &[ClaimValidationRule], path: &str) {
    let (mut claims, mut expressions) = (BTreeSet::new(), BTreeSet::new());
    for (at, rule) in rules.iter().enumerate() {
        let path = format!("{path}[{at}]");
        match (rule.claim.as_str(), rule.expression.as_str()) {
            ("", "") => errors.push(FieldError::required(path, "claim or expression is required")),
            (claim, "") => {
                if !rule.message.is_empty() {
                    let detail = "message can't be set when claim is set";
                    errors.push(FieldError::invalid(format!("{path}.message"), rule.message.as_str(), detail));
                }
                if !claims.insert(claim) {
                    errors.push(FieldError::duplicate(format!("{path}.claim"), claim));
                }
            }
            ("", expression) => {
                if !rule.required_value.is_empty() {
                    let detail = "requiredValue can't be set when expression is set";
                    let value = rule.required_value.as_str();
                    errors.push(FieldError::invalid(format!("{path}.requiredValue"), value, detail));
                }
                let path = format!("{path}.expression");
                errors.push(match expressions.insert(expression) {
                    false => FieldError::duplicate(path, expression),
                    true => FieldError::invalid(path, expression, NO_CEL),
                });
            }
            (claim, _) => errors.push(FieldError::invalid(path, claim, "claim and expression can't both be set")),
        }
    }
}

fn check_mapping(errors: &mut Vec<FieldError>, mapping: &ClaimMapping, path: &str, is_required: bool) {
    match (mapping.claim.as_str(), mapping.expression.as_str()) {
        ("", "") if is_required => errors.push(FieldError::required(path, "claim or expression is required")),
        ("", "") => {}
        ("", expression) => {
            if let Some(prefix) = &mapping.prefix {
                let detail = "prefix can't be set when expression is set";
                errors.push(FieldError::invalid(format!("{path}.prefix"), prefix.as_str(), detail));
            }
            errors.push(FieldError::invalid(format!("{path}.expression"), expression, NO_CEL));
        }
        (_, "") if mapping.prefix.is_none() => errors.push(FieldError::required(
            format!("{path}.prefix"),
            "prefix is required when claim is set. It can be set to an empty string to disable prefixing",
        )),
        (_, "") => {}
        _ => errors.push(FieldError::invalid(path, "", "claim and expression can't both be set")),
    }
}

fn check_extra(errors: &mut Vec<FieldError>, mappings: &[ExtraMapping], path: &str) {
    let mut keys = BTreeSet::new();
    for (at, mapping) in mappings.iter().enumerate() {
        let path = format!("{path}[{at}]");
        let key = mapping.key.as_str();
        if key.is_empty() {
            errors.push(FieldError::required(format!("{path}.key"), ""));
        }
        if key.chars().any(char::is_uppercase) {
            errors.push(FieldError::invalid(format!("{path}.key"), key, "key must be lowercase"));
        }
        if !keys.insert(key) {
            errors.push(FieldError::duplicate(format!("{path}.key"), key));
            continue;
        }
        let path = format!("{path}.valueExpression");
        errors.push(match mapping.value_expression.as_str() {
            "" => FieldError::required(path, "valueExpression is required"),
            expression => FieldError::invalid(path, expression, "CEL expressions can not be evaluated here yet"),
        });
    }
}

fn check_anonymous(errors: &mut Vec<FieldError>, anonymous: &AnonymousConfiguration) {
    let path = "anonymous.conditions";
    if anonymous.conditions.len() > CONDITIONS_MAX {
        errors.push(FieldError::too_many(path, anonymous.conditions.len(), CONDITIONS_MAX));
        return;
    }
    if !anonymous.enabled && !anonymous.conditions.is_empty() {
        let detail = "enabled should be set to true when conditions are defined";
        errors.push(FieldError::new(FieldReason::Invalid, path, BadValue::Omitted, detail));
    }
    for (at, condition) in anonymous.conditions.iter().enumerate() {
        let path = format!("{path}[{at}].path");
        if condition.is_empty() {
            errors.push(FieldError::required(path, ""));
        } else if !condition.starts_with('/') {
            errors.push(FieldError::invalid(path, condition.as_str(), "a path begins with /"));
        } else if condition.contains('*') {
            // A1: an operator opens one path after the other, never all that begin alike.
            let detail = "a path is taken exactly as written: wildcards do not exist here";
            errors.push(FieldError::invalid(path, condition.as_str(), detail));
        }
    }
}
