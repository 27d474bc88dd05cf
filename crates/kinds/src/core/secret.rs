//! Secrets: what was written as text becomes data, a secret stays of the type it was made with, and a token secret names its
//! service account (upstream: the conversion of v1 secrets, `ValidateSecret` and `ValidateSecretUpdate`). Its token is put in by a
//! controller, not here.
//!
//! The type decides what a secret is good for: whoever may write one that is not a credential must not make it one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_model::tree::Tree;

use crate::rest::{Rest, SelectableField};
use crate::strategy::{Column, Strategy};
use crate::views;
use crate::views::core_v1::{Secret, SecretEdit};
use crate::vocabulary::frozen::IMMUTABLE;
use crate::vocabulary::{Errors, Path};

/// The type of secrets that hold a service account's token.
const TOKEN_TYPE: &str = "kubernetes.io/service-account-token";
/// Whose token it is.
const ACCOUNT_ANNOTATION: &str = "kubernetes.io/service-account.name";

/// The rules of secrets.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { fields: &[SelectableField::new("type", &["type"])], ..Rest::PLAIN },
    default,
    validate_create: validate,
    validate_update,
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
    let (new, old) = (views::read::<Secret<'_>>(tree).type_(), views::read::<Secret<'_>>(old).type_());
    if new != old {
        errors.invalid(&Path::new("type"), new, IMMUTABLE);
    }
    validate(tree, errors);
}

fn validate(tree: &Tree, errors: &mut Errors) {
    let secret: Secret<'_> = views::read(tree);
    let names_account = || secret.metadata().annotations().get(ACCOUNT_ANNOTATION).is_some_and(|name| !name.is_empty());
    if secret.type_() != TOKEN_TYPE || names_account() {
        return;
    }
    errors.required(&Path::new("metadata.annotations").key(ACCOUNT_ANNOTATION), "");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use portcullis_model::schema::{FieldValidation, decode_json};

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
}
