//! What a definition that is stored already may keep, although a new one may not have it (upstream: `validationOptions`).

use super::schema::{self, Schema};
use super::{REVIEW_VERSIONS, conversion, defaults, open_api, structural};
use crate::views::apiextensions_v1::CustomResourceDefinition;

/// The type of the condition that a definition is served.
const ESTABLISHED: &str = "Established";

/// What is asked of a definition.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Conversion webhooks speak a version that is known here.
    pub requires_known_review_version: bool,
    /// Scope and kind stay: objects are served by them.
    pub keeps_names: bool,
    /// Every version has a schema.
    pub requires_schema: bool,
    /// Types are those of the standard.
    pub requires_known_types: bool,
    /// Schemas are structural.
    pub requires_structure: bool,
    /// Defaults hold nothing that would be pruned.
    pub requires_pruned_defaults: bool,
    /// Elements of sets are one value each.
    pub requires_atomic_sets: bool,
    /// Keys of lists that are maps are there.
    pub requires_keys: bool,
    /// Certificates of conversion webhooks can be read.
    pub requires_certificates: bool,
    /// Between how many schemas what checking defaults may cost is divided.
    pub schemas: usize,
}

impl Options {
    /// What is asked of a new definition.
    pub const NEW: Options = Options {
        requires_known_review_version: true,
        keeps_names: false,
        requires_schema: true,
        requires_known_types: true,
        requires_structure: true,
        requires_pruned_defaults: true,
        requires_atomic_sets: true,
        requires_keys: true,
        requires_certificates: false,
        schemas: 1,
    };

    /// What is asked of one that replaces another.
    pub fn of(old: CustomResourceDefinition<'_>) -> Options {
        let spec = old.spec();
        let mut schemas: Vec<Schema<'_>> = Vec::new();
        let mut has_all = true;
        for version in spec.versions().iter() {
            match version.schema().and_then(|schema| schema.open_apiv3_schema()) {
                Some(schema) => schemas.push(schema),
                None => has_all = false,
            }
        }
        let any = |holds: fn(Schema<'_>) -> bool| schemas.iter().any(|root| schema::any(*root, holds));
        let is_unknown = |schema: Schema<'_>| !schema.type_().is_empty() && !open_api::TYPES.contains(&schema.type_());
        let hook = spec.conversion().and_then(|conversion| conversion.webhook());
        let mut versions = hook.into_iter().flat_map(|hook| hook.conversion_review_versions().iter());
        let speaks_none = hook.is_none_or(|hook| hook.conversion_review_versions().is_empty());
        let mut conditions = old.status().conditions().iter();
        let is_established =
            conditions.any(|condition| condition.type_() == ESTABLISHED && condition.status() == "True");
        Options {
            requires_known_review_version: speaks_none || versions.any(|version| REVIEW_VERSIONS.contains(&version)),
            keeps_names: is_established,
            requires_schema: has_all,
            requires_known_types: !any(is_unknown),
            requires_structure: schemas.iter().all(|root| structural::is_structural(*root)),
            requires_pruned_defaults: !schemas.iter().any(|root| defaults::any_unknown(*root)),
            requires_atomic_sets: !any(|schema| open_api::not_atomic(schema).is_some()),
            requires_keys: !any(|schema| !open_api::wrong_keys(schema).is_empty()),
            requires_certificates: is_established && conversion::certificates_are_right(spec.conversion()),
            schemas: 1,
        }
    }
}
