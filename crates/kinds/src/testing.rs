//! What the tests of kinds have in common: objects from JSON, and complaints as lines `path: message`.

#![allow(clippy::unwrap_used)]

use portcullis_model::schema::{FieldValidation, decode_json, default, encode_json};
use portcullis_model::tree::Tree;

use crate::strategy::{Requester, Strategy};
use crate::vocabulary::Errors;

/// An object of a kind, as it was written.
pub fn read(api_version: &str, kind: &str, text: &str) -> Tree {
    let ty = crate::schema().by_kind(api_version, kind).unwrap();
    decode_json::decode(crate::schema(), ty, text.as_bytes().to_vec(), FieldValidation::Ignore).unwrap().tree
}

/// Gives an object all its defaults.
pub fn default_all(strategy: &Strategy, tree: &mut Tree) {
    default::apply(crate::schema(), tree);
    (strategy.default)(tree);
}

/// Nobody in particular.
pub fn requester<R>(run: impl FnOnce(&Requester<'_>) -> R) -> R {
    run(&Requester { name: "ana", uid: "", groups: &[], extra: &std::collections::BTreeMap::new(), now: 1_767_225_600 })
}

/// An object as the server has it on create, before validation.
pub fn created(strategy: &Strategy, api_version: &str, kind: &str, text: &str) -> Tree {
    let mut tree = read(api_version, kind, text);
    default_all(strategy, &mut tree);
    requester(|requester| (strategy.prepare_create)(&mut tree, requester));
    tree
}

/// What is wrong with a new object.
pub fn complaints(strategy: &Strategy, tree: &Tree) -> Vec<String> {
    let mut errors = Errors::new();
    (strategy.validate_create)(tree, &mut errors);
    lines(errors)
}

/// What is wrong with an object that replaces another.
pub fn update_complaints(strategy: &Strategy, tree: &Tree, old: &Tree, subresource: &str) -> Vec<String> {
    let mut errors = Errors::new();
    (strategy.validate_update)(tree, old, subresource, &mut errors);
    lines(errors)
}

/// An object as JSON.
pub fn json(tree: &Tree) -> serde_json::Value {
    serde_json::from_slice(&encode_json::to_vec(crate::schema(), tree)).unwrap()
}

/// Complaints as lines.
pub fn lines(errors: Errors) -> Vec<String> {
    errors.into_vec().iter().map(ToString::to_string).collect()
}
