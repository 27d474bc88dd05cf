//! Secrets: so far only that a token secret names its service account (upstream: `ValidateSecret`, and
//! `kubernetes.io/service-account-token` in it). Its token is put in by a controller, not here.

use portcullis_model::status::FieldError;
use portcullis_model::tree::Tree;

use crate::strategy::Strategy;
use crate::views;
use crate::views::core_v1::Secret;

/// The type of secrets that hold a service account's token.
const TOKEN_TYPE: &str = "kubernetes.io/service-account-token";
/// Whose token it is.
const ACCOUNT_ANNOTATION: &str = "kubernetes.io/service-account.name";

/// The rules of secrets.
pub const STRATEGY: Strategy =
    Strategy { validate_create: validate, validate_update: |tree, _, _| validate(tree), ..Strategy::NONE };

fn validate(tree: &Tree) -> Vec<FieldError> {
    let secret: Secret<'_> = views::read(tree);
    let names_account = || secret.metadata().annotations().get(ACCOUNT_ANNOTATION).is_some_and(|name| !name.is_empty());
    if secret.type_() != TOKEN_TYPE || names_account() {
        return Vec::new();
    }
    vec![FieldError::required(format!("metadata.annotations[{ACCOUNT_ANNOTATION}]"), "")]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use portcullis_model::schema::{FieldValidation, decode_json};

    use super::*;

    #[test]
    fn a_token_secret_names_its_account() {
        let check = |text: &str, expected: &[&str]| {
            let text = text.as_bytes().to_vec();
            let tree = decode_json::decode(crate::schema(), Secret::TYPE, text, FieldValidation::Ignore).unwrap().tree;
            let found: Vec<String> =
                validate(&tree).iter().map(|error| format!("{}: {}", error.field, error.message())).collect();
            assert_eq!(found, expected);
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
