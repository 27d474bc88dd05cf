//! Secrets: what was written as text becomes data, a secret stays of the type it was made with and holds what that type promises
//! (upstream: the conversion of v1 secrets, `ValidateSecret` and `ValidateSecretUpdate`; immutable ones KEP-1412). A token is put in by
//! a controller, not here.
//!
//! The type decides what a secret is good for: whoever may write one that is not a credential must not make it one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_model::tree::Tree;

use super::config_data::{self, SIZE_MAX};
use crate::rest::{Rest, SelectableField};
use crate::strategy::{Column, Strategy};
use crate::views;
use crate::views::core_v1::{Secret, SecretEdit};
use crate::vocabulary::{Errors, Path};

mod key_pair;
mod types;

/// The rules of secrets.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { fields: &[SelectableField::new("type", &["type"])], ..Rest::PLAIN },
    default,
    validate_create: validate,
    warn_create: warn,
    validate_update,
    warn_update: |tree, _, _, warnings| warn(tree, warnings),
    columns: &[("Data", Column::Count(&["data"])), ("Type", Column::Field("type", r#""""#))],
    ..Strategy::NONE
};

/// The type of a secret that names none.
const TYPE_OPAQUE: &str = "Opaque";

fn default(tree: &mut Tree) {
    fold_texts(tree);
    let mut secret: SecretEdit<'_> = views::write(tree);
    if secret.view().type_().is_empty() {
        secret.set_type(TYPE_OPAQUE);
    }
}

/// `stringData` is for writing alone: it goes into `data`, over what is there.
fn fold_texts(tree: &mut Tree) {
    let texts = views::read::<Secret<'_>>(tree).string_data();
    let encoded: Vec<_> = texts.iter().map(|(key, text)| (key.to_owned(), STANDARD.encode(text))).collect();
    let mut secret: SecretEdit<'_> = views::write(tree);
    secret.clear_string_data();
    if encoded.is_empty() {
        return;
    }
    let mut data = secret.data_mut();
    for (key, value) in &encoded {
        data.insert(key, value);
    }
}

fn validate_update(tree: &Tree, old: &Tree, _: &str, errors: &mut Errors) {
    let (new, old): (Secret<'_>, Secret<'_>) = (views::read(tree), views::read(old));
    new.check_frozen_type(old, &Path::ROOT, errors);
    let (state, was) = (new.immutable(), old.immutable());
    config_data::promised((new.place(), state), (old.place(), was), &[Secret::DATA], errors);
    validate(tree, errors);
}

fn validate(tree: &Tree, errors: &mut Errors) {
    let secret: Secret<'_> = views::read(tree);
    let at = Path::new("data");
    config_data::keys(secret.data(), &at, errors);
    if config_data::encoded_size(secret.data()) > SIZE_MAX {
        errors.too_long(&at, SIZE_MAX);
    }
    types::validate(secret, errors);
}

fn warn(tree: &Tree, warnings: &mut Vec<String>) {
    let secret: Secret<'_> = views::read(tree);
    if secret.type_() != types::TLS {
        return;
    }
    let held = |key: &str| STANDARD.decode(secret.data().get(key).unwrap_or_default()).unwrap_or_default();
    warnings.extend(key_pair::complaint(&held(types::TLS_CERTIFICATE), &held(types::TLS_KEY)));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use portcullis_model::schema::{FieldValidation, decode_json};

    use super::types::{ACCOUNT_ANNOTATION, SERVICE_ACCOUNT_TOKEN as TOKEN_TYPE};
    use super::*;
    use crate::testing::{complaints, update_complaints};

    fn tree(text: &str) -> Tree {
        let text = text.as_bytes().to_vec();
        decode_json::decode(crate::schema(), Secret::TYPE, text, FieldValidation::Ignore).unwrap().tree
    }

    #[test]
    fn texts_become_data() {
        let check = |given: &str, expected: &[(&str, &str)]| {
            let mut tree = tree(given);
            fold_texts(&mut tree);
            let secret: Secret<'_> = views::read(&tree);
            assert_eq!(secret.data().iter().collect::<Vec<_>>(), expected, "{given}");
            assert_eq!(secret.string_data().iter().count(), 0, "{given}");
        };
        check(r#"{}"#, &[]);
        check(r#"{"data":{"a":"YQ=="}}"#, &[("a", "YQ==")]);
        check(r#"{"stringData":{}}"#, &[]);
        check(r#"{"stringData":{"b":"x","c":""}}"#, &[("b", "eA=="), ("c", "")]);
        check(r#"{"data":{"a":"YQ==","b":"YQ=="},"stringData":{"b":"x"}}"#, &[("a", "YQ=="), ("b", "eA==")]);
    }

    #[test]
    fn a_secret_without_a_type_is_opaque() {
        let check = |given: &str, expected: &str| {
            let mut tree = tree(given);
            default(&mut tree);
            assert_eq!(views::read::<Secret<'_>>(&tree).type_(), expected, "{given}");
        };
        check("{}", "Opaque");
        check(r#"{"type":""}"#, "Opaque");
        check(r#"{"type":"kubernetes.io/tls"}"#, "kubernetes.io/tls");
    }

    #[test]
    fn a_secret_stays_of_its_type() {
        let check = |old: &str, new: &str, expected: &[&str]| {
            let of = |type_: &str| tree(&format!(r#"{{"type":"{type_}"}}"#));
            assert_eq!(update_complaints(&STRATEGY, &of(new), &of(old), ""), expected);
        };
        check("Opaque", "Opaque", &[]);
        let token = "bootstrap.kubernetes.io/token";
        check("Opaque", token, &[&format!("type: Invalid value: \"{token}\": field is immutable")]);
        check(token, "Opaque", &["type: Invalid value: \"Opaque\": field is immutable"]);
    }

    #[test]
    fn a_token_secret_names_its_account() {
        let check = |text: &str, expected: &[&str]| {
            assert_eq!(complaints(&STRATEGY, &tree(text)), expected);
        };
        let missing = "metadata.annotations[kubernetes.io/service-account.name]: Required value";
        check(r#"{"type":"Opaque"}"#, &[]);
        check(r#"{"type":"kubernetes.io/service-account-token"}"#, &[missing]);
        let annotated = |name: &str| {
            format!(r#"{{"metadata":{{"annotations":{{"{ACCOUNT_ANNOTATION}":"{name}"}}}},"type":"{TOKEN_TYPE}"}}"#)
        };
        check(&annotated(""), &[missing]);
        check(&annotated("robot"), &[]);
    }

    fn typed(type_: &str, texts: &str) -> Tree {
        let mut tree = tree(&format!(r#"{{"type":"kubernetes.io/{type_}","stringData":{{{texts}}}}}"#));
        default(&mut tree);
        tree
    }

    #[test]
    fn a_secret_holds_what_its_type_promises() {
        let check = |type_: &str, texts: &str, expected: &[&str]| {
            assert_eq!(complaints(&STRATEGY, &typed(type_, texts)), expected, "{type_} {texts}");
        };
        check("tls", r#""tls.crt":"","tls.key":"""#, &[]);
        check("tls", "", &["data[tls.crt]: Required value", "data[tls.key]: Required value"]);
        check("basic-auth", r#""username":"""#, &[]);
        check("basic-auth", r#""password":"""#, &[]);
        check("basic-auth", "", &["data[username]: Required value", "data[password]: Required value"]);
        check("ssh-auth", r#""ssh-privatekey":"k""#, &[]);
        check("ssh-auth", r#""ssh-privatekey":"""#, &["data[ssh-privatekey]: Required value"]);
        for (type_, key) in [("dockercfg", ".dockercfg"), ("dockerconfigjson", ".dockerconfigjson")] {
            let held = |text: &str, why: Option<&str>| {
                let why = why.map(|why| format!(r#"data[{key}]: Invalid value: "<secret contents redacted>": {why}"#));
                let expected: Vec<&str> = why.iter().map(String::as_str).collect();
                check(type_, &format!(r#""{key}":"{text}""#), &expected);
            };
            check(type_, "", &[&format!("data[{key}]: Required value")]);
            held("{}", None);
            held("null", None);
            held(r#"{\"auths\":{}}"#, None);
            held("", Some("unexpected end of JSON input"));
            held("other", Some("invalid character 'o' looking for beginning of value"));
            held("[]", Some("json: cannot unmarshal array into Go value of type map[string]interface {}"));
            held("1", Some("json: cannot unmarshal number into Go value of type map[string]interface {}"));
        }
    }

    #[test]
    fn what_a_secret_may_hold() {
        let check = |fields: &str, expected: &[&str]| {
            let found = complaints(&STRATEGY, &tree(fields));
            let found: Vec<String> = found.iter().map(|line| line.chars().take(70).collect()).collect();
            assert_eq!(found, expected, "{}", fields.len());
        };
        check(r#"{"data":{"a b":""}}"#, &[r#"data[a b]: Invalid value: "a b": a valid config key must consist of al"#]);
        check(&format!(r#"{{"data":{{"a":"{}","b":"eA=="}}}}"#, "AAAA".repeat(349_525)), &[]);
        let too_long = "data: Too long: may not be more than 1048576 bytes";
        check(&format!(r#"{{"data":{{"a":"{}","b":"eHg="}}}}"#, "AAAA".repeat(349_525)), &[too_long]);
    }

    #[test]
    fn a_promise_is_kept() {
        let check = |old: &str, new: &str, expected: &[&str]| {
            let expected: Vec<String> = expected
                .iter()
                .map(|field| format!("{field}: Forbidden: field is immutable when `immutable` is set"))
                .collect();
            assert_eq!(update_complaints(&STRATEGY, &tree(new), &tree(old), ""), expected, "{old} {new}");
        };
        let old = r#"{"immutable":true,"data":{"a":"YQ=="}}"#;
        check(old, old, &[]);
        check(r#"{"data":{"a":"YQ=="}}"#, r#"{"data":{"a":"Yg=="}}"#, &[]);
        check(old, r#"{"immutable":false,"data":{"a":"Yg=="}}"#, &["immutable", "data"]);
    }

    #[test]
    fn clients_are_told_of_pairs_that_are_none() {
        let check = |secret: &Tree, expected: &[&str]| {
            let mut warnings = Vec::new();
            warn(secret, &mut warnings);
            assert_eq!(warnings, expected);
        };
        check(&typed("ssh-auth", ""), &[]);
        check(&typed("tls", r#""tls.crt":"x""#), &["tls: failed to find any PEM data in certificate input"]);
    }
}
