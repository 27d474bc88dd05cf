//! The validation that all kinds share: their metadata; and then the kind's own, from its file in `kinds`.
//!
//! Upstream validates metadata on create by the kind's rules alone, and on an update once generally for any name, twice for what may
//! change, and for most kinds once more in full; a complaint then stands in the answer as often as it was found.

use portcullis_kinds::vocabulary::Errors;
use portcullis_model::meta_rules::{
    FinalizerRule, ManagedFieldsEntry, MetaRules, ObjectMeta, OwnerReference, Scope, validate, validate_update,
};
use portcullis_model::names::NameRule;
use portcullis_model::schema::Schema;
use portcullis_model::status::Status;
use portcullis_model::tree::{NodeId, Tree};

use super::Served;
use super::metadata::Metadata;
use crate::answer::Failure;

const PATH: &str = "metadata";

/// Checks a new object.
pub fn on_create(served: &Served, tree: &Tree) -> Result<(), Failure> {
    let parts = Parts::of(served, tree);
    let mut errors = Errors::new();
    errors.extend(validate(&parts.meta(), rules(served, served.rules.name), PATH));
    if let Some(strategy) = served.strategy {
        (strategy.validate_create)(tree, &mut errors);
    }
    refuse_if_any(served, parts.name, errors)
}

/// Checks an object that replaces another.
pub fn on_update(served: &Served, tree: &Tree, old_tree: &Tree, subresource: &str) -> Result<(), Failure> {
    let (new, old) = (Parts::of(served, tree), Parts::of(served, old_tree));
    // An update that names no version was given the one it replaces; what it replaces is written without one.
    let meta = ObjectMeta { resource_version: "0", ..new.meta() };
    let old_meta = ObjectMeta { resource_version: "0", ..old.meta() };
    let general = MetaRules { finalizers: FinalizerRule::Qualified, ..rules(served, NameRule::PathSegment) };
    let mut errors = Errors::new();
    errors.extend(validate(&meta, general, PATH));
    let changes = validate_update(&meta, &old_meta, PATH);
    if !served.rules.update_checks_changes_once {
        errors.extend(changes.iter().cloned());
    }
    errors.extend(changes);
    if served.rules.update_checks_all_metadata && (subresource != "status" || served.rules.status_checks_all_metadata) {
        errors.extend(validate(&meta, rules(served, served.rules.name), PATH));
    }
    if let Some(strategy) = served.strategy {
        (strategy.validate_update)(tree, old_tree, subresource, &mut errors);
    }
    refuse_if_any(served, new.name, errors)
}

fn rules(served: &Served, names: NameRule) -> MetaRules {
    let scope = if served.resource.namespaced { Scope::Namespaced } else { Scope::Cluster };
    MetaRules { names, scope, finalizers: FinalizerRule::StandardOrDomain }
}

fn refuse_if_any(served: &Served, name: &str, errors: Errors) -> Result<(), Failure> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(Box::new(Status::invalid(served.rules.kind_group, served.resource.kind, name, &errors.into_vec())))
}

/// The metadata of an object in the form that the rules read.
struct Parts<'a> {
    name: &'a str,
    generate_name: &'a str,
    namespace: &'a str,
    uid: &'a str,
    generation: i64,
    creation: Option<i64>,
    deletion: Option<i64>,
    grace: Option<i64>,
    labels: Vec<(&'a str, &'a str)>,
    annotations: Vec<(&'a str, &'a str)>,
    owners: Vec<OwnerReference<'a>>,
    finalizers: Vec<&'a str>,
    managers: Vec<ManagedFieldsEntry<'a>>,
}

impl<'a> Parts<'a> {
    fn of(served: &'a Served, tree: &'a Tree) -> Parts<'a> {
        let metadata = Metadata::of(served, tree);
        let (meta, node) = (served.meta, metadata.node());
        let field = |number: u16| node.and_then(|node| tree.field(node, number));
        let objects = |number: u16| field(number).into_iter().flat_map(|list| tree.children(list));
        let named = |object: NodeId, name: &str| named(served.schema, tree, object, name);
        let text =
            |object: NodeId, name: &str| named(object, name).and_then(|node| tree.string(node)).unwrap_or_default();
        Parts {
            name: metadata.name(),
            generate_name: metadata.generate_name(),
            namespace: metadata.namespace(),
            uid: metadata.uid(),
            generation: metadata.generation(),
            creation: field(meta.creation_timestamp).and_then(|node| tree.time(node)),
            deletion: field(meta.deletion_timestamp).and_then(|node| tree.time(node)),
            grace: metadata.deletion_grace_period(),
            labels: metadata.labels().collect(),
            annotations: strings(tree, field(meta.annotations)),
            owners: objects(meta.owner_references).map(|node| owner(served.schema, tree, node)).collect(),
            finalizers: metadata.finalizers().collect(),
            managers: objects(meta.managed_fields)
                .map(|entry| ManagedFieldsEntry {
                    manager: text(entry, "manager"),
                    operation: text(entry, "operation"),
                    fields_type: text(entry, "fieldsType"),
                    subresource: text(entry, "subresource"),
                })
                .collect(),
        }
    }

    fn meta(&self) -> ObjectMeta<'_> {
        ObjectMeta {
            name: self.name,
            generate_name: self.generate_name,
            namespace: self.namespace,
            uid: self.uid,
            resource_version: "",
            generation: self.generation,
            creation_timestamp: self.creation,
            deletion_timestamp: self.deletion,
            deletion_grace_period_seconds: self.grace,
            labels: &self.labels,
            annotations: &self.annotations,
            owner_references: &self.owners,
            finalizers: &self.finalizers,
            managed_fields: &self.managers,
        }
    }
}

/// An owner, as the rules read it.
pub fn owner<'a>(schema: &Schema, tree: &'a Tree, node: NodeId) -> OwnerReference<'a> {
    let named = |name: &str| named(schema, tree, node, name);
    let text = |name: &str| named(name).and_then(|node| tree.string(node)).unwrap_or_default();
    let flag = |name: &str| named(name).and_then(|node| tree.bool(node));
    OwnerReference {
        api_version: text("apiVersion"),
        kind: text("kind"),
        name: text("name"),
        uid: text("uid"),
        controller: flag("controller"),
        block_owner_deletion: flag("blockOwnerDeletion"),
    }
}

fn strings(tree: &Tree, map: Option<NodeId>) -> Vec<(&str, &str)> {
    let entries = map.into_iter().flat_map(|map| tree.entries(map));
    entries.map(|(key, value)| (key, tree.string(value).unwrap_or_default())).collect()
}

/// The field of this name of an object, whatever its type.
pub fn named(schema: &Schema, tree: &Tree, object: NodeId, name: &str) -> Option<NodeId> {
    tree.field(object, schema.ty(tree.object_type(object)?).find(name)?)
}
