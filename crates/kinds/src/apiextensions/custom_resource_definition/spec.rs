//! The spec of a definition: its group, names and versions, and what each version says (upstream:
//! `validateCustomResourceDefinitionSpec`).
//!
//! Upstream checks an older form, in which what all versions have in common stands beside them and not in them: complaints name
//! `spec.validation` where every version has the same schema, and `spec.versions[1].schema` where they differ.

use std::collections::HashSet;

use portcullis_model::names as model_names;
use portcullis_model::status::BadValue;

use super::field_path::{self, Brackets};
use super::ratchet::Options;
use super::schema::{self, Schema};
use super::{conversion, defaults, open_api, structural};
use crate::views::apiextensions_v1::{
    CustomResourceColumnDefinition, CustomResourceDefinitionNames, CustomResourceDefinitionSpec,
    CustomResourceDefinitionVersion, CustomResourceSubresources, SelectableField,
};
use crate::views::{self, Field, List};
use crate::vocabulary::frozen::is_same;
use crate::vocabulary::{Errors, Path, names};

type Spec<'t> = CustomResourceDefinitionSpec<'t>;
type Version<'t> = CustomResourceDefinitionVersion<'t>;

const SCOPES: &[&str] = &["Cluster", "Namespaced"];
const COLUMN_TYPES: &[&str] = &["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: &[&str] = &["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
/// Fields that clients may select objects by.
const SELECTABLE_FIELDS_MAX: usize = 8;
const DEPRECATION_WARNING_BYTES_MAX: usize = 256;

/// What all versions have in common.
#[derive(Clone, Copy)]
pub struct Shared {
    schema: bool,
    subresources: bool,
    columns: bool,
    fields: bool,
}

impl Shared {
    /// Compares all versions with the first.
    pub fn of(versions: List<'_, Version<'_>>) -> Shared {
        let first = versions.iter().next();
        let all = |field: Field| {
            let place = |version: Version<'_>| is_same_at(first, version, field);
            first.is_some() && versions.iter().all(place)
        };
        let schema = all(Version::SCHEMA);
        Shared {
            schema,
            subresources: all(Version::SUBRESOURCES),
            columns: all(Version::ADDITIONAL_PRINTER_COLUMNS),
            fields: schema && all(Version::SELECTABLE_FIELDS),
        }
    }
}

fn is_same_at(first: Option<Version<'_>>, other: Version<'_>, field: Field) -> bool {
    first.is_some_and(|first| {
        let (a, b) = (first.place().get(field), other.place().get(field));
        a.id() == b.id() || is_same(a, b)
    })
}

/// Checks a spec.
pub fn validate(spec: Spec<'_>, options: Options, at: &Path<'_>, errors: &mut Errors) {
    let versions = spec.versions();
    let shared = Shared::of(versions);
    let preserves = spec.preserve_unknown_fields();
    let has = |holds: fn(Schema<'_>) -> bool| {
        let mut schemas = versions.iter().filter_map(schema_of);
        schemas.any(|root| schema::any(root, holds))
    };
    group(spec.group(), &at.field("group"), errors);
    if spec.scope().is_empty() {
        errors.required(&at.field("scope"), "");
    } else {
        names::one_of(spec.scope(), SCOPES, &at.field("scope"), errors);
    }
    for (index, version) in versions.iter().enumerate() {
        let is_needed = options.requires_schema || !preserves && version.served();
        if is_needed && schema_of(version).is_none() {
            let why = if options.requires_schema { "" } else { "because otherwise all fields are pruned" };
            errors.required(&at.field("versions").index(index).field("schema.openAPIV3Schema"), why);
        }
    }
    let has_defaults = has(open_api::has_default);
    if has_defaults && preserves {
        let why = "must be false in order to use defaults in the schema";
        errors.invalid(&at.field("preserveUnknownFields"), true, why);
    }
    let requires_structure = options.requires_structure || !preserves || has_defaults || has(is_extended);
    let schemas = if shared.schema { 1 } else { versions.len() };
    let options = Options { requires_structure, schemas, ..options };
    validate_versions(spec, shared, &options, at, errors);
    required_names(spec.names(), &at.field("names"), errors);
    validate_names(spec.names(), &at.field("names"), errors);
    common(spec, shared, &options, at, errors);
    if let Some(conversion) = spec.conversion() {
        if conversion.strategy() != conversion::NONE && preserves {
            let why = "must be None if spec.preserveUnknownFields is true";
            errors.invalid(&at.field("conversion.strategy"), conversion.strategy(), why);
        }
        conversion::validate(conversion, &options, &at.field("conversion"), errors);
    }
}

fn schema_of(version: Version<'_>) -> Option<Schema<'_>> {
    version.schema()?.open_apiv3_schema()
}

/// Whether a schema says what only structural ones may.
fn is_extended(schema: Schema<'_>) -> bool {
    schema.x_kubernetes_embedded_resource()
        || schema.x_kubernetes_preserve_unknown_fields().is_some()
        || schema.x_kubernetes_int_or_string()
        || !schema.x_kubernetes_list_map_keys().is_empty()
        || schema.x_kubernetes_list_type().is_some()
        || !schema.x_kubernetes_validations().is_empty()
}

fn group(group: &str, at: &Path<'_>, errors: &mut Errors) {
    let complaints = model_names::dns1123_subdomain(group);
    if group.is_empty() {
        errors.required(at, "");
    } else if !complaints.is_empty() {
        errors.invalid(at, group, complaints.join(","));
    } else if !group.contains('.') {
        errors.invalid(at, group, "should be a domain with at least one dot");
    }
}

fn validate_versions(spec: Spec<'_>, shared: Shared, options: &Options, at: &Path<'_>, errors: &mut Errors) {
    let versions = spec.versions();
    let mut seen = HashSet::new();
    for (index, version) in versions.iter().enumerate() {
        let at = at.field("versions");
        let at = at.index(index);
        seen.insert(version.name());
        label(version.name(), "", &at.field("name"), errors);
        validate_version(version, shared, options, &at, errors);
    }
    let shown = || views::shown_field(spec.place(), Spec::VERSIONS);
    let at_versions = at.field("versions");
    if seen.len() != versions.len() {
        errors.invalid(&at_versions, shown(), "must contain unique version names");
    }
    if versions.iter().filter(|version| version.storage()).count() != 1 {
        errors.invalid(&at_versions, shown(), "must have exactly one version marked as storage version");
    }
    // Upstream's older form names the first version apart.
    if let Some(first) = versions.iter().next().filter(|first| !first.name().is_empty()) {
        label(first.name(), "", &at.field("version"), errors);
    }
}

/// A DNS label of RFC 1035, all complaints in one.
fn label(value: &str, before: &str, at: &Path<'_>, errors: &mut Errors) {
    let complaints = model_names::dns1035_label(value);
    if !complaints.is_empty() {
        errors.invalid(at, value, format!("{before}{}", complaints.join(",")));
    }
}

fn validate_version(version: Version<'_>, shared: Shared, options: &Options, at: &Path<'_>, errors: &mut Errors) {
    deprecation(version, &at.field("deprecationWarning"), errors);
    if !shared.schema {
        let has_status = has_status(version.subresources());
        validate_schema(version, has_status, options, &at.field("schema"), errors);
    }
    if !shared.subresources {
        subresources(version.subresources(), &at.field("subresources"), errors);
    }
    if !shared.columns {
        columns(version.additional_printer_columns(), at, errors);
    }
    if !shared.fields {
        let why = "may only be set when version.schema.openAPIV3Schema is not included";
        selectable_fields(version, why, &at.field("selectableFields"), errors);
    }
}

/// What all versions have in common, named as if it stood beside them.
fn common(spec: Spec<'_>, shared: Shared, options: &Options, at: &Path<'_>, errors: &mut Errors) {
    let Some(first) = spec.versions().iter().next() else { return };
    if shared.schema {
        let has_status = spec.versions().iter().any(|version| has_status(version.subresources()));
        validate_schema(first, has_status, options, &at.field("validation"), errors);
    }
    if shared.subresources {
        subresources(first.subresources(), &at.field("subresources"), errors);
    }
    if shared.columns {
        columns(first.additional_printer_columns(), at, errors);
    }
    if shared.fields {
        let why = "may only be set when validations.schema is included";
        selectable_fields(first, why, &at.field("selectableFields"), errors);
    }
}

fn deprecation(version: Version<'_>, at: &Path<'_>, errors: &mut Errors) {
    let Some(warning) = version.deprecation_warning() else { return };
    if !version.deprecated() {
        return errors.invalid(at, warning, "can only be set for deprecated versions");
    }
    if warning.len() > DEPRECATION_WARNING_BYTES_MAX {
        errors.invalid(at, warning, format!("must be <= {DEPRECATION_WARNING_BYTES_MAX} characters long"));
    }
    if warning.is_empty() {
        errors.invalid(at, warning, "must not be an empty string");
    }
    let is_shown = |c: char| c == ' ' || portcullis_model::go_text::is_printable(c);
    if let Some((index, _)) = warning.char_indices().find(|(_, c)| !is_shown(*c)) {
        let why =
            format!("must only contain printable UTF-8 characters; non-printable character found at index {index}");
        errors.invalid(at, warning, why);
    }
}

fn has_status(subresources: Option<CustomResourceSubresources<'_>>) -> bool {
    subresources.is_some_and(|subresources| subresources.status().is_some())
}

fn validate_schema(version: Version<'_>, has_status: bool, options: &Options, at: &Path<'_>, errors: &mut Errors) {
    let Some(schema) = schema_of(version) else { return };
    let at = at.field("openAPIV3Schema");
    let base = at.to_string();
    let mut found = Errors::new();
    if has_status {
        root_beside_status(schema, &at, &mut found);
    }
    if schema.nullable() {
        found.forbidden(&at.field("nullable"), "nullable cannot be true at the root");
    }
    let not_convertible = schema::not_convertible(schema);
    if options.requires_structure && not_convertible.is_none() {
        let complaints = structural::complaints(schema, &base);
        if complaints.is_empty() {
            let unknown = match options.requires_pruned_defaults {
                true => defaults::Unknown::Refused,
                false => defaults::Unknown::Kept,
            };
            defaults::validate(schema, &base, unknown, options.schemas, &mut found);
        }
        found.extend(complaints);
    }
    open_api::validate(schema, &base, options, &mut found);
    match not_convertible.filter(|_| options.requires_structure && found.is_empty()) {
        Some(why) => errors.invalid(&at, "", why),
        None => errors.extend(found.into_vec()),
    }
}

/// What the status is like is taken out of `properties`, so that nothing else at the top may speak of it.
fn root_beside_status(schema: Schema<'_>, at: &Path<'_>, errors: &mut Errors) {
    const ALLOWED: &str = "[Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength Pattern \
                           MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example \
                           XPreserveUnknownFields XValidations]";
    let before_type = [Schema::ID, Schema::DOLLAR_SCHEMA, Schema::DOLLAR_REF];
    let behind_type = [
        Schema::NULLABLE,
        Schema::ENUM,
        Schema::MAX_PROPERTIES,
        Schema::MIN_PROPERTIES,
        Schema::ALL_OF,
        Schema::ONE_OF,
        Schema::ANY_OF,
        Schema::NOT,
        Schema::ADDITIONAL_PROPERTIES,
        Schema::PATTERN_PROPERTIES,
        Schema::DEPENDENCIES,
        Schema::ADDITIONAL_ITEMS,
        Schema::DEFINITIONS,
        Schema::DEFAULT,
        Schema::X_KUBERNETES_EMBEDDED_RESOURCE,
        Schema::X_KUBERNETES_INT_OR_STRING,
        Schema::X_KUBERNETES_LIST_MAP_KEYS,
        Schema::X_KUBERNETES_LIST_TYPE,
        Schema::X_KUBERNETES_MAP_TYPE,
    ];
    let place = schema.place();
    let is_any_there = |fields: &[Field]| fields.iter().any(|field| place.get(*field).is_present());
    let is_first = is_any_there(&before_type);
    if !is_first && !matches!(schema.type_(), "" | "object") {
        let why =
            "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        errors.invalid(&at.field("type"), schema.type_(), why);
    } else if is_first || is_any_there(&behind_type) {
        let why =
            format!("only {ALLOWED} fields are allowed at the root of the schema if the status subresource is enabled");
        errors.invalid(at, views::shown(place), why);
    }
}

fn subresources(subresources: Option<CustomResourceSubresources<'_>>, at: &Path<'_>, errors: &mut Errors) {
    let Some(scale) = subresources.and_then(|subresources| subresources.scale()) else { return };
    let paths = [
        ("scale.specReplicasPath", scale.spec_replicas_path(), ".spec.", "should be a json path under .spec"),
        ("scale.statusReplicasPath", scale.status_replicas_path(), ".status.", "should be a json path under .status"),
    ];
    for (field, path, parent, why) in paths {
        if path.is_empty() {
            errors.required(&at.field(field), "");
        } else {
            path_below(path, &[parent], why, &at.field(field), errors);
        }
    }
    if let Some(path) = scale.label_selector_path().filter(|path| !path.is_empty()) {
        let why = "should be a json path under either .spec or .status";
        path_below(path, &[".spec.", ".status."], why, &at.field("scale.labelSelectorPath"), errors);
    }
}

/// A path in dots to something below one of these.
fn path_below(path: &str, parents: &[&str], why: &'static str, at: &Path<'_>, errors: &mut Errors) {
    if !path.starts_with('.') {
        errors.invalid(at, path, "must be a simple json path starting with .");
    } else if !parents.iter().any(|parent| path.starts_with(parent)) {
        errors.invalid(at, path, why);
    }
}

fn columns(columns: List<'_, CustomResourceColumnDefinition<'_>>, at: &Path<'_>, errors: &mut Errors) {
    for (index, column) in columns.iter().enumerate() {
        let at = at.field("additionalPrinterColumns");
        let at = at.index(index);
        if column.name().is_empty() {
            errors.required(&at.field("name"), "");
        }
        let why = || format!("must be one of {}", COLUMN_TYPES.join(","));
        if column.type_().is_empty() {
            errors.required(&at.field("type"), why());
        } else if !COLUMN_TYPES.contains(&column.type_()) {
            errors.invalid(&at.field("type"), column.type_(), why());
        }
        if !column.format().is_empty() && !COLUMN_FORMATS.contains(&column.format()) {
            let why = format!("must be one of {}", COLUMN_FORMATS.join(","));
            errors.invalid(&at.field("format"), column.format(), why);
        }
        // Upstream's older form spells it so.
        let at_path = at.field("JSONPath");
        if column.json_path().is_empty() {
            errors.required(&at_path, "");
        } else if !column.json_path().starts_with('.') {
            errors.invalid(&at_path, column.json_path(), "must be a simple json path starting with .");
        }
    }
}

fn selectable_fields(version: Version<'_>, no_schema: &'static str, at: &Path<'_>, errors: &mut Errors) {
    let fields = version.selectable_fields();
    if fields.is_empty() {
        return;
    }
    if version.schema().is_none() {
        return errors.invalid(at, "", no_schema);
    }
    // A version without a schema is complained of where the schema should be.
    let Some(schema) = schema_of(version) else { return };
    if let Some(why) = schema::not_convertible(schema) {
        return errors.invalid(&Path::new("spec.schema.openAPIV3Schema"), "", why);
    }
    let mut seen = HashSet::new();
    for (index, field) in fields.iter().enumerate() {
        selectable_field(field, schema, &at.index(index).field("jsonPath"), &mut seen, errors);
    }
    if seen.len() > SELECTABLE_FIELDS_MAX {
        errors.too_many(at, seen.len(), SELECTABLE_FIELDS_MAX);
    }
}

fn selectable_field<'t>(
    field: SelectableField<'t>,
    schema: Schema<'t>,
    at: &Path<'_>,
    seen: &mut HashSet<&'t str>,
    errors: &mut Errors,
) {
    let path = field.json_path();
    if path.is_empty() {
        return errors.required(at, "");
    }
    let target = match field_path::follow(path, schema, Brackets::Refused) {
        Ok(target) => target,
        Err(why) => return errors.invalid(at, path, format!("is an invalid path: {why}")),
    };
    if target.first == "metadata" {
        errors.invalid(at, path, "must not point to fields in metadata");
    }
    let ty = target.schema.map_or("", |schema| schema.type_());
    if !matches!(ty, "string" | "boolean" | "integer") {
        let why = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
        errors.invalid(at, path, why);
    }
    if !seen.insert(path) {
        errors.duplicate(at, path);
    }
}

fn required_names(given: CustomResourceDefinitionNames<'_>, at: &Path<'_>, errors: &mut Errors) {
    let fields = [
        ("plural", given.plural()),
        ("singular", given.singular()),
        ("kind", given.kind()),
        ("listKind", given.list_kind()),
    ];
    for (field, _) in fields.iter().filter(|(_, name)| name.is_empty()) {
        errors.required(&at.field(field), "");
    }
}

/// Names as they may be, in the spec and in the status.
pub fn validate_names(given: CustomResourceDefinitionNames<'_>, at: &Path<'_>, errors: &mut Errors) {
    for (field, name) in [("plural", given.plural()), ("singular", given.singular())] {
        if !name.is_empty() {
            label(name, "", &at.field(field), errors);
        }
    }
    for (field, name) in [("kind", given.kind()), ("listKind", given.list_kind())] {
        let complaints = model_names::dns1035_label(&name.to_lowercase());
        if !name.is_empty() && !complaints.is_empty() {
            let why = format!("may have mixed case, but should otherwise match: {}", complaints.join(","));
            errors.invalid(&at.field(field), name, why);
        }
    }
    for (index, name) in given.short_names().iter().enumerate() {
        label(name, "", &at.field("shortNames").index(index), errors);
    }
    if !given.kind().is_empty() && given.kind() == given.list_kind() {
        errors.invalid(&at.field("listKind"), given.list_kind(), "kind and listKind may not be the same");
    }
    for (index, name) in given.categories().iter().enumerate() {
        label(name, "", &at.field("categories").index(index), errors);
    }
}

/// Versions in which objects may be stored are versions of the definition, and the one that is stored now is among them.
pub fn validate_stored_versions(
    stored: List<'_, &str>,
    shown: impl Fn() -> BadValue,
    versions: List<'_, Version<'_>>,
    errors: &mut Errors,
) {
    let at = Path::new("status.storedVersions");
    if stored.is_empty() {
        return errors.invalid(&at, shown(), "must have at least one stored version");
    }
    let known: HashSet<&str> = stored.iter().collect();
    for version in versions.iter().filter(|version| version.storage() && !known.contains(version.name())) {
        errors.invalid(&at, shown(), format!("must have the storage version {}", version.name()));
    }
    let present: HashSet<&str> = versions.iter().map(|version| version.name()).collect();
    let mut seen = HashSet::new();
    for (index, name) in stored.iter().enumerate().filter(|(_, name)| !present.contains(name)) {
        if seen.insert(name) {
            let why = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a \
                 storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            );
            errors.invalid(&at.index(index), name, why);
        }
    }
}
