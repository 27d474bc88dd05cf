//! What every object's `metadata` must satisfy, on create and on update (upstream: apimachinery's `ObjectMeta`
//! validation and the finalizer rule of the core group).
//!
//! Pure rules over plain inputs: the caller reads them out of the object. Upstream runs some of them more than once for
//! one request and lists each complaint as often; so does the caller who answers to the letter. Maps are checked in the
//! order given, which should be that of their keys.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::go_text::{push_json_string, push_quoted};
use crate::names::{self, NameRule, Part};
use crate::status::{BadValue, FieldError};
use crate::time::time_text;

/// Longest annotations, keys and values together.
pub const ANNOTATIONS_LEN_MAX: usize = 256 * 1024;
/// Longest name of a field manager.
pub const FIELD_MANAGER_LEN_MAX: usize = 128;
/// Longest name of a subresource in managed fields.
pub const SUBRESOURCE_LEN_MAX: usize = 256;

const FINALIZER_ORPHAN: &str = "orphan";
const FINALIZER_FOREGROUND: &str = "foregroundDeletion";
/// Finalizers that need no domain.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", FINALIZER_ORPHAN, FINALIZER_FOREGROUND];

/// Whether a kind lives in namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A namespace is required.
    Namespaced,
    /// A namespace is forbidden.
    Cluster,
}

/// What a finalizer may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinalizerRule {
    /// Any qualified name (custom resources).
    Qualified,
    /// A standard name, or one with a domain (built-in kinds).
    StandardOrDomain,
}

/// The rules of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetaRules {
    /// What names look like.
    pub names: NameRule,
    /// Whether there is a namespace.
    pub scope: Scope,
    /// What finalizers look like.
    pub finalizers: FinalizerRule,
}

/// One owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct OwnerReference<'a> {
    /// `apps/v1`.
    pub api_version: &'a str,
    /// `ReplicaSet`.
    pub kind: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its uid.
    pub uid: &'a str,
    /// Whether it is the one that manages the object.
    pub controller: Option<bool>,
    /// Whether a foreground deletion of the owner waits for the object.
    pub block_owner_deletion: Option<bool>,
}

/// What is checked of an entry of `managedFields`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ManagedFieldsEntry<'a> {
    /// Who manages the fields.
    pub manager: &'a str,
    /// `Apply` or `Update`.
    pub operation: &'a str,
    /// `FieldsV1` or nothing.
    pub fields_type: &'a str,
    /// The subresource that was written.
    pub subresource: &'a str,
}

/// What the rules look at. Times are seconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of ObjectMeta")]
pub struct ObjectMeta<'a> {
    pub name: &'a str,
    pub generate_name: &'a str,
    pub namespace: &'a str,
    pub uid: &'a str,
    pub resource_version: &'a str,
    pub generation: i64,
    pub creation_timestamp: Option<i64>,
    pub deletion_timestamp: Option<i64>,
    pub deletion_grace_period_seconds: Option<i64>,
    pub labels: &'a [(&'a str, &'a str)],
    pub annotations: &'a [(&'a str, &'a str)],
    pub owner_references: &'a [OwnerReference<'a>],
    pub finalizers: &'a [&'a str],
    pub managed_fields: &'a [ManagedFieldsEntry<'a>],
}

fn push_invalid(errors: &mut Vec<FieldError>, field: &str, value: &str, complaints: names::Complaints) {
    for complaint in complaints {
        errors.push(FieldError::invalid(field, value, complaint));
    }
}

/// Checks the metadata of an object that is being created or written, `metadata` standing at `path`.
#[must_use]
pub fn validate(meta: &ObjectMeta<'_>, rules: MetaRules, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if !meta.generate_name.is_empty() {
        let complaints = rules.names.check(meta.generate_name, Part::Prefix);
        push_invalid(&mut errors, &format!("{path}.generateName"), meta.generate_name, complaints);
    }
    if meta.name.is_empty() {
        errors.push(FieldError::required(format!("{path}.name"), "name or generateName is required"));
    } else {
        let complaints = rules.names.check(meta.name, Part::Whole);
        push_invalid(&mut errors, &format!("{path}.name"), meta.name, complaints);
    }
    match (rules.scope, meta.namespace) {
        (Scope::Namespaced, "") => errors.push(FieldError::required(format!("{path}.namespace"), "")),
        (Scope::Namespaced, namespace) => {
            push_invalid(&mut errors, &format!("{path}.namespace"), namespace, names::dns1123_label(namespace));
        }
        (Scope::Cluster, "") => {}
        (Scope::Cluster, _) => {
            errors.push(FieldError::forbidden(format!("{path}.namespace"), "not allowed on this type"));
        }
    }
    if meta.generation < 0 {
        let detail = "must be greater than or equal to 0";
        errors.push(FieldError::invalid(format!("{path}.generation"), meta.generation, detail));
    }
    labels(&mut errors, meta.labels, &format!("{path}.labels"));
    annotations(&mut errors, meta.annotations, &format!("{path}.annotations"));
    owner_references(&mut errors, meta.owner_references, &format!("{path}.ownerReferences"));
    finalizers(&mut errors, meta.finalizers, rules.finalizers, &format!("{path}.finalizers"));
    managed_fields(&mut errors, meta.managed_fields, &format!("{path}.managedFields"));
    errors
}

/// Checks what an update may change, `metadata` standing at `path`. The caller has filled in what a client may leave
/// out: uid, creation and deletion times and generation of the old object.
#[must_use]
pub fn validate_update(new: &ObjectMeta<'_>, old: &ObjectMeta<'_>, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if old.deletion_timestamp.is_some() {
        no_new_finalizers(&mut errors, new.finalizers, old.finalizers, &format!("{path}.finalizers"));
    }
    if new.resource_version.is_empty() {
        errors.push(FieldError::invalid(format!("{path}.resourceVersion"), "", "must be specified for an update"));
    }
    if new.generation < old.generation {
        let field = format!("{path}.generation");
        errors.push(FieldError::invalid(field, new.generation, "must not be decremented"));
    }
    let mut immutable = |field: &str, is_same: bool, value: BadValue| {
        if !is_same {
            errors.push(FieldError::invalid(format!("{path}.{field}"), value, "field is immutable"));
        }
    };
    immutable("name", new.name == old.name, new.name.into());
    immutable("namespace", new.namespace == old.namespace, new.namespace.into());
    immutable("uid", new.uid == old.uid, new.uid.into());
    let created = new.creation_timestamp == old.creation_timestamp;
    immutable("creationTimestamp", created, time_value(new.creation_timestamp));
    let deleted = new.deletion_timestamp == old.deletion_timestamp;
    immutable("deletionTimestamp", deleted, time_value(new.deletion_timestamp));
    let grace = new.deletion_grace_period_seconds;
    let grace_is_same = grace == old.deletion_grace_period_seconds;
    immutable("deletionGracePeriodSeconds", grace_is_same, grace.map_or(BadValue::Null, BadValue::Int));
    labels(&mut errors, new.labels, &format!("{path}.labels"));
    annotations(&mut errors, new.annotations, &format!("{path}.annotations"));
    owner_references(&mut errors, new.owner_references, &format!("{path}.ownerReferences"));
    managed_fields(&mut errors, new.managed_fields, &format!("{path}.managedFields"));
    errors
}

fn time_value(time: Option<i64>) -> BadValue {
    time.map_or(BadValue::Null, |seconds| BadValue::Text(time_text(seconds)))
}

/// Checks labels: keys are qualified names, values are label values.
pub fn labels(errors: &mut Vec<FieldError>, labels: &[(&str, &str)], field: &str) {
    for (key, value) in labels {
        push_invalid(errors, field, key, names::qualified_name(key));
        push_invalid(errors, field, value, names::label_value(value));
    }
}

/// Checks annotations: keys are qualified names in any case, all together fit [`ANNOTATIONS_LEN_MAX`].
pub fn annotations(errors: &mut Vec<FieldError>, annotations: &[(&str, &str)], field: &str) {
    let mut len: usize = 0;
    for (key, value) in annotations {
        // Only upper case can make the lower-case form differ; most keys have none.
        let folded = if key.is_ascii() && !key.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Borrowed(*key)
        } else {
            Cow::Owned(key.to_lowercase())
        };
        push_invalid(errors, field, key, names::qualified_name(&folded));
        len = len.saturating_add(key.len()).saturating_add(value.len());
    }
    if len > ANNOTATIONS_LEN_MAX {
        errors.push(FieldError::too_long(field, ANNOTATIONS_LEN_MAX));
    }
}

/// Checks owners: each is complete, no Event, and at most one is the controller.
pub fn owner_references(errors: &mut Vec<FieldError>, owners: &[OwnerReference<'_>], field: &str) {
    let mut controller: Option<&OwnerReference<'_>> = None;
    for owner in owners {
        owner_reference(errors, owner, field);
        if owner.controller != Some(true) {
            continue;
        }
        let Some(first) = controller else {
            controller = Some(owner);
            continue;
        };
        let detail = format!(
            "Only one reference can have Controller set to true. Found \"true\" in references for {}/{} and {}/{}",
            first.kind, first.name, owner.kind, owner.name
        );
        errors.push(FieldError::invalid(field, BadValue::Json(owners_json(owners)), detail));
    }
}

fn owner_reference(errors: &mut Vec<FieldError>, owner: &OwnerReference<'_>, field: &str) {
    let (group, version) = group_version(owner.api_version);
    let mut not_empty = |child: &str, what: &str, value: &str, is_empty: bool| {
        if is_empty {
            errors.push(FieldError::invalid(format!("{field}.{child}"), value, format!("{what} must not be empty")));
        }
    };
    not_empty("apiVersion", "version", owner.api_version, version.is_empty());
    not_empty("kind", "kind", owner.kind, owner.kind.is_empty());
    not_empty("name", "name", owner.name, owner.name.is_empty());
    not_empty("uid", "uid", owner.uid, owner.uid.is_empty());
    if (group, version, owner.kind) == ("", "v1", "Event") {
        let value = BadValue::Json(owner_json(owner));
        errors.push(FieldError::invalid(field, value, "/v1, Kind=Event is disallowed from being an owner"));
    }
}

/// Splits `apps/v1`; what has two slashes has no version.
fn group_version(api_version: &str) -> (&str, &str) {
    match api_version.split_once('/') {
        None => ("", api_version),
        Some((_, version)) if version.contains('/') => ("", ""),
        Some(parts) => parts,
    }
}

fn owner_json(owner: &OwnerReference<'_>) -> String {
    let mut out = Vec::new();
    let texts = [("apiVersion", owner.api_version), ("kind", owner.kind), ("name", owner.name), ("uid", owner.uid)];
    for (at, (key, value)) in texts.iter().enumerate() {
        out.push(if at == 0 { b'{' } else { b',' });
        push_json_string(&mut out, key);
        out.push(b':');
        push_json_string(&mut out, value);
    }
    for (key, value) in [("controller", owner.controller), ("blockOwnerDeletion", owner.block_owner_deletion)] {
        if let Some(value) = value {
            out.extend_from_slice(format!(",\"{key}\":{value}").as_bytes());
        }
    }
    out.push(b'}');
    String::from_utf8(out).unwrap_or_default()
}

fn owners_json(owners: &[OwnerReference<'_>]) -> String {
    let items: Vec<String> = owners.iter().map(owner_json).collect();
    format!("[{}]", items.join(","))
}

/// Checks finalizers by the rule of the kind.
pub fn finalizers(errors: &mut Vec<FieldError>, finalizers: &[&str], rule: FinalizerRule, field: &str) {
    for finalizer in finalizers {
        push_invalid(errors, field, finalizer, names::qualified_name(finalizer));
    }
    if finalizers.contains(&FINALIZER_ORPHAN) && finalizers.contains(&FINALIZER_FOREGROUND) {
        let detail = format!("finalizer {FINALIZER_ORPHAN} and {FINALIZER_FOREGROUND} cannot be both set");
        errors.push(FieldError::invalid(field, list_json(finalizers), detail));
    }
    if rule == FinalizerRule::Qualified {
        return;
    }
    for (at, finalizer) in finalizers.iter().enumerate() {
        if !finalizer.contains('/') && !STANDARD_FINALIZERS.contains(finalizer) {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(FieldError::invalid(format!("{field}[{at}]"), *finalizer, detail));
        }
    }
}

fn list_json(items: &[&str]) -> BadValue {
    let mut out = vec![b'['];
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        push_json_string(&mut out, item);
    }
    out.push(b']');
    BadValue::Json(String::from_utf8(out).unwrap_or_default())
}

/// An object that is being deleted takes no finalizer that it did not have.
fn no_new_finalizers(errors: &mut Vec<FieldError>, new: &[&str], old: &[&str], field: &str) {
    let old: HashSet<&str> = old.iter().copied().collect();
    let mut added: Vec<&str> = new.iter().copied().filter(|finalizer| !old.contains(finalizer)).collect();
    if added.is_empty() {
        return;
    }
    added.sort_unstable();
    added.dedup();
    let mut detail =
        String::from("no new finalizers can be added if the object is being deleted, found new finalizers []string{");
    for (at, finalizer) in added.iter().enumerate() {
        if at > 0 {
            detail.push_str(", ");
        }
        push_quoted(&mut detail, finalizer);
    }
    detail.push('}');
    errors.push(FieldError::forbidden(field, detail));
}

/// Checks managed fields: operation, type, manager and subresource of each entry.
pub fn managed_fields(errors: &mut Vec<FieldError>, entries: &[ManagedFieldsEntry<'_>], field: &str) {
    for (at, entry) in entries.iter().enumerate() {
        if !matches!(entry.operation, "Apply" | "Update") {
            let path = format!("{field}[{at}].operation");
            errors.push(FieldError::invalid(path, entry.operation, "must be `Apply` or `Update`"));
        }
        if !matches!(entry.fields_type, "" | "FieldsV1") {
            let path = format!("{field}[{at}].fieldsType");
            errors.push(FieldError::invalid(path, entry.fields_type, "must be `FieldsV1`"));
        }
        field_manager(errors, entry.manager, || format!("{field}[{at}].manager"));
        if entry.subresource.len() > SUBRESOURCE_LEN_MAX {
            errors.push(FieldError::too_long(format!("{field}[{at}].subresource"), SUBRESOURCE_LEN_MAX));
        }
    }
}

/// Checks the name of a field manager, in an entry or in the options of a request.
pub fn field_manager(errors: &mut Vec<FieldError>, manager: &str, field: impl Fn() -> String) {
    if manager.len() > FIELD_MANAGER_LEN_MAX {
        errors.push(FieldError::too_long(field(), FIELD_MANAGER_LEN_MAX));
    }
    // One that is far too long is not shown once for each of its characters.
    let looked_at = manager.char_indices().take_while(|(at, _)| *at < FIELD_MANAGER_LEN_MAX);
    for (at, character) in looked_at.filter(|(_, character)| !crate::go_text::is_printable(*character)) {
        let why = format!("invalid character U+{:04X} (at position {at})", u32::from(character));
        errors.push(FieldError::invalid(field(), manager, why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: MetaRules =
        MetaRules { names: NameRule::Subdomain, scope: Scope::Namespaced, finalizers: FinalizerRule::StandardOrDomain };
    const FINE: ObjectMeta<'_> = ObjectMeta {
        name: "a",
        namespace: "default",
        generate_name: "",
        uid: "u",
        resource_version: "1",
        generation: 1,
        creation_timestamp: Some(0),
        deletion_timestamp: None,
        deletion_grace_period_seconds: None,
        labels: &[],
        annotations: &[],
        owner_references: &[],
        finalizers: &[],
        managed_fields: &[],
    };

    /// Compares the starts of messages, in order.
    fn compare(errors: &[FieldError], expected: &[&str]) {
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), expected.len(), "{texts:?}");
        for (text, start) in texts.iter().zip(expected) {
            assert!(text.starts_with(start), "{text} is not {start}");
        }
    }

    #[test]
    fn names_and_namespaces() {
        fn check(meta: ObjectMeta<'_>, scope: Scope, expected: &[&str]) {
            compare(&validate(&meta, MetaRules { scope, ..RULES }, "metadata"), expected);
        }
        check(FINE, Scope::Namespaced, &[]);
        check(ObjectMeta { namespace: "", ..FINE }, Scope::Cluster, &[]);
        check(
            ObjectMeta { name: "", ..FINE },
            Scope::Namespaced,
            &["metadata.name: Required value: name or generateName is required"],
        );
        check(
            ObjectMeta { name: "Bad_x", generate_name: "Bad_", ..FINE },
            Scope::Namespaced,
            &[
                "metadata.generateName: Invalid value: \"Bad_\": a lowercase RFC 1123 subdomain must",
                "metadata.name: Invalid value: \"Bad_x\": a lowercase RFC 1123 subdomain must",
            ],
        );
        check(ObjectMeta { namespace: "", ..FINE }, Scope::Namespaced, &["metadata.namespace: Required value"]);
        check(
            ObjectMeta { namespace: "A", ..FINE },
            Scope::Namespaced,
            &["metadata.namespace: Invalid value: \"A\": a lowercase RFC 1123 label must"],
        );
        check(FINE, Scope::Cluster, &["metadata.namespace: Forbidden: not allowed on this type"]);
        check(
            ObjectMeta { generation: -1, ..FINE },
            Scope::Namespaced,
            &["metadata.generation: Invalid value: -1: must be greater than or equal to 0"],
        );
    }

    #[test]
    fn labels_and_annotations() {
        fn check(meta: ObjectMeta<'_>, expected: &[&str]) {
            compare(&validate(&meta, RULES, "metadata"), expected);
        }
        check(ObjectMeta { labels: &[("a", ""), ("example.com/A", "B")], ..FINE }, &[]);
        check(
            ObjectMeta { labels: &[("bad key", "Not Valid!")], ..FINE },
            &[
                "metadata.labels: Invalid value: \"bad key\": name part must consist of",
                "metadata.labels: Invalid value: \"Not Valid!\": a valid label must be an empty string or",
            ],
        );
        check(ObjectMeta { annotations: &[("Example.COM/Key", "any\nthing")], ..FINE }, &[]);
        check(
            ObjectMeta { annotations: &[("Bad Key", "")], ..FINE },
            &["metadata.annotations: Invalid value: \"Bad Key\": name part must consist of"],
        );
        let (fits, long) = ("x".repeat(ANNOTATIONS_LEN_MAX - 1), "x".repeat(ANNOTATIONS_LEN_MAX));
        check(ObjectMeta { annotations: &[("a", &fits)], ..FINE }, &[]);
        check(
            ObjectMeta { annotations: &[("a", &long)], ..FINE },
            &["metadata.annotations: Too long: may not be more than 262144 bytes"],
        );
    }

    #[test]
    fn owners() {
        fn check(owners: &[OwnerReference<'_>], expected: &[&str]) {
            compare(&validate(&ObjectMeta { owner_references: owners, ..FINE }, RULES, "metadata"), expected);
        }
        let pod = OwnerReference { api_version: "v1", kind: "Pod", name: "x", uid: "1", ..OwnerReference::default() };
        let manager = OwnerReference { controller: Some(true), ..pod };
        check(&[pod, manager, OwnerReference { controller: Some(false), ..pod }], &[]);
        check(
            &[manager, OwnerReference { name: "y", ..manager }],
            &[
                "metadata.ownerReferences: Invalid value: [{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"name\":\"x\",\"uid\":\"1\",\"controller\":true},{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"name\":\"y\",\"uid\":\"1\",\"controller\":true}]: Only one reference can have Controller set to true. Found \"true\" in references for Pod/x and Pod/y",
            ],
        );
        check(
            &[OwnerReference { kind: "Event", ..pod }],
            &[
                "metadata.ownerReferences: Invalid value: {\"apiVersion\":\"v1\",\"kind\":\"Event\",\"name\":\"x\",\"uid\":\"1\"}: /v1, Kind=Event is disallowed from being an owner",
            ],
        );
        check(&[OwnerReference { kind: "Event", api_version: "events.k8s.io/v1", ..pod }], &[]);
        check(
            &[OwnerReference { api_version: "a/b/c", ..OwnerReference::default() }],
            &[
                "metadata.ownerReferences.apiVersion: Invalid value: \"a/b/c\": version must not be empty",
                "metadata.ownerReferences.kind: Invalid value: \"\": kind must not be empty",
                "metadata.ownerReferences.name: Invalid value: \"\": name must not be empty",
                "metadata.ownerReferences.uid: Invalid value: \"\": uid must not be empty",
            ],
        );
    }

    #[test]
    fn finalizer_names() {
        fn check(finalizers: &[&str], rule: FinalizerRule, expected: &[&str]) {
            let rules = MetaRules { finalizers: rule, ..RULES };
            compare(&validate(&ObjectMeta { finalizers, ..FINE }, rules, "metadata"), expected);
        }
        check(&["example.com/a", "kubernetes", "orphan"], FinalizerRule::StandardOrDomain, &[]);
        check(
            &["example.com/a", "nodomain"],
            FinalizerRule::StandardOrDomain,
            &[
                "metadata.finalizers[1]: Invalid value: \"nodomain\": name is neither a standard finalizer name nor is it fully qualified",
            ],
        );
        check(&["nodomain"], FinalizerRule::Qualified, &[]);
        check(
            &["bad name"],
            FinalizerRule::Qualified,
            &["metadata.finalizers: Invalid value: \"bad name\": name part must consist of"],
        );
        check(
            &["orphan", "foregroundDeletion"],
            FinalizerRule::StandardOrDomain,
            &[
                "metadata.finalizers: Invalid value: [\"orphan\",\"foregroundDeletion\"]: finalizer orphan and foregroundDeletion cannot be both set",
            ],
        );
    }

    #[test]
    fn managed_fields_entries() {
        fn check(entry: ManagedFieldsEntry<'_>, expected: &[&str]) {
            compare(&validate(&ObjectMeta { managed_fields: &[entry], ..FINE }, RULES, "metadata"), expected);
        }
        let fine =
            ManagedFieldsEntry { manager: "kubectl", operation: "Apply", fields_type: "FieldsV1", subresource: "" };
        check(fine, &[]);
        check(
            ManagedFieldsEntry { operation: "", ..fine },
            &["metadata.managedFields[0].operation: Invalid value: \"\": must be `Apply` or `Update`"],
        );
        check(
            ManagedFieldsEntry { fields_type: "V2", ..fine },
            &["metadata.managedFields[0].fieldsType: Invalid value: \"V2\": must be `FieldsV1`"],
        );
        check(
            ManagedFieldsEntry { manager: &"x".repeat(129), ..fine },
            &["metadata.managedFields[0].manager: Too long: may not be more than 128 bytes"],
        );
        check(
            ManagedFieldsEntry { manager: "a\n", ..fine },
            &["metadata.managedFields[0].manager: Invalid value: \"a\\n\": invalid character U+000A (at position 1)"],
        );
        let far_too_long = "\n".repeat(10_000);
        let far_too_long =
            ObjectMeta { managed_fields: &[ManagedFieldsEntry { manager: &far_too_long, ..fine }], ..FINE };
        assert_eq!(validate(&far_too_long, RULES, "metadata").len(), FIELD_MANAGER_LEN_MAX + 1);
        check(
            ManagedFieldsEntry { subresource: &"x".repeat(257), ..fine },
            &["metadata.managedFields[0].subresource: Too long: may not be more than 256 bytes"],
        );
    }

    #[test]
    fn updates_keep_the_identity() {
        fn check(new: ObjectMeta<'_>, old: ObjectMeta<'_>, expected: &[&str]) {
            compare(&validate_update(&new, &old, "metadata"), expected);
        }
        check(FINE, FINE, &[]);
        check(ObjectMeta { generation: 2, labels: &[("a", "b")], ..FINE }, FINE, &[]);
        check(
            ObjectMeta {
                name: "b",
                namespace: "other",
                uid: "v",
                resource_version: "",
                generation: 0,
                creation_timestamp: Some(1),
                deletion_timestamp: Some(2),
                deletion_grace_period_seconds: Some(3),
                ..FINE
            },
            FINE,
            &[
                "metadata.resourceVersion: Invalid value: \"\": must be specified for an update",
                "metadata.generation: Invalid value: 0: must not be decremented",
                "metadata.name: Invalid value: \"b\": field is immutable",
                "metadata.namespace: Invalid value: \"other\": field is immutable",
                "metadata.uid: Invalid value: \"v\": field is immutable",
                "metadata.creationTimestamp: Invalid value: \"1970-01-01T00:00:01Z\": field is immutable",
                "metadata.deletionTimestamp: Invalid value: \"1970-01-01T00:00:02Z\": field is immutable",
                "metadata.deletionGracePeriodSeconds: Invalid value: 3: field is immutable",
            ],
        );
        let deleted = ObjectMeta { deletion_timestamp: Some(2), finalizers: &["a/x", "a/y"], ..FINE };
        check(ObjectMeta { finalizers: &["a/y"], ..deleted }, deleted, &[]);
        check(
            ObjectMeta { finalizers: &["a/z", "a/x", "a/b"], ..deleted },
            deleted,
            &[
                "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"a/b\", \"a/z\"}",
            ],
        );
        check(
            ObjectMeta { deletion_timestamp: None, ..deleted },
            deleted,
            &["metadata.deletionTimestamp: Invalid value: null: field is immutable"],
        );
        check(ObjectMeta { finalizers: &["a/z"], ..FINE }, FINE, &[]);
    }
}
