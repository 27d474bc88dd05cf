//! `CustomResourceDefinition` (upstream: `registry/customresourcedefinition`, `apis/apiextensions/validation`, KEP-95, KEP-598, KEP-2876,
//! KEP-4358).
//!
//! What a definition says is checked here; rules in CEL as far as they are text. A definition without a schema makes upstream panic where
//! it names selectable fields; here it is refused like any other.

mod conversion;
mod defaults;
mod field_path;
mod formats;
mod open_api;
mod places;
mod ratchet;
mod schema;
mod spec;
mod structural;
mod values;

use portcullis_model::go_text::quoted;
use portcullis_model::tree::Tree;

use crate::rest::{Resets, Rest};
use crate::strategy::Strategy;
use crate::views;
use crate::views::apiextensions_v1::{
    CustomResourceDefinition, CustomResourceDefinitionEdit, CustomResourceDefinitionStatus, JSONSchemaProps,
};
use crate::vocabulary::frozen::frozen;
use crate::vocabulary::{Errors, Path, urls};
use ratchet::Options;

/// The rules of `CustomResourceDefinition`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest {
        generation: true,
        needs_version: true,
        marks_time_only: true,
        update_checks_all_metadata: false,
        // The metadata that came through `/status` is written all the same.
        resets: &[("status", Resets::SPEC_AND_METADATA)],
        ..Rest::PLAIN
    },
    default,
    prepare_create: |tree, _| store_version(tree),
    validate_create: |tree, errors| validate_create(views::read(tree), errors),
    warn_create: |tree, warnings| warn(tree, None, warnings),
    prepare_update: |tree, _, subresource, _| {
        if subresource != "status" {
            store_version(tree);
        }
    },
    validate_update,
    warn_update: |tree, old, subresource, warnings| {
        if subresource != "status" {
            warn(tree, Some(old), warnings);
        }
    },
    ..Strategy::NONE
};

/// Versions of conversion reviews that are spoken here.
const REVIEW_VERSIONS: &[&str] = &["v1", "v1beta1"];
/// Where a definition of a group of the project says who approved it.
const APPROVED: &str = "api-approved.kubernetes.io";
/// How a reason begins for which nobody approved it.
const UNAPPROVED: &str = "unapproved";
/// The port of a conversion webhook's service that names none.
const CONVERSION_PORT: i64 = 443;

fn default(tree: &mut Tree) {
    let given: CustomResourceDefinition<'_> = views::read(tree);
    let names = given.spec().names();
    let singular = names.singular().is_empty().then(|| names.kind().to_lowercase());
    let list_kind = (names.list_kind().is_empty() && !names.kind().is_empty()).then(|| format!("{}List", names.kind()));
    let (has_conversion, service) = match given.spec().conversion() {
        None => (false, None),
        Some(conversion) => {
            let client = conversion.webhook().and_then(|hook| hook.client_config());
            (true, client.and_then(|client| client.service()))
        }
    };
    let needs_port = service.is_some_and(|service| service.port().is_none());
    let mut definition: CustomResourceDefinitionEdit<'_> = views::write(tree);
    let mut spec = definition.spec_mut();
    if let Some(singular) = singular.filter(|singular| !singular.is_empty()) {
        spec.names_mut().set_singular(&singular);
    }
    if let Some(list_kind) = list_kind {
        spec.names_mut().set_list_kind(&list_kind);
    }
    if !has_conversion {
        spec.conversion_mut().set_strategy(conversion::NONE);
    }
    if needs_port {
        let mut conversion = spec.conversion_mut();
        let mut hook = conversion.webhook_mut();
        hook.client_config_mut().service_mut().set_port(CONVERSION_PORT);
    }
}

/// Objects may be stored in the version that is stored now.
fn store_version(tree: &mut Tree) {
    let definition: CustomResourceDefinition<'_> = views::read(tree);
    let stored = definition.spec().versions().iter().find(|version| version.storage());
    let stored = stored.map(|version| version.name().to_owned());
    let is_known = |name: &str| definition.status().stored_versions().iter().any(|known| known == name);
    let missing = stored.filter(|name| !is_known(name));
    let mut definition: CustomResourceDefinitionEdit<'_> = views::write(tree);
    let mut status = definition.status_mut();
    if let Some(name) = missing {
        status.stored_versions_mut().push_text(&name);
    }
}

fn validate_create(definition: CustomResourceDefinition<'_>, errors: &mut Errors) {
    check_name(definition, errors);
    spec::validate(definition.spec(), Options::NEW, &Path::new("spec"), errors);
    status(definition, errors);
    stored_versions(definition, errors);
    approval(definition, None, errors);
    preserve_unknown_fields(definition, None, errors);
}

/// The name says which resource is defined.
fn check_name(definition: CustomResourceDefinition<'_>, errors: &mut Errors) {
    let (metadata, spec) = (definition.metadata(), definition.spec());
    let is_right = |name: &str| {
        let group = name.strip_prefix(spec.names().plural()).and_then(|rest| rest.strip_prefix('.'));
        name.is_empty() || group == Some(spec.group())
    };
    for (field, name) in [("generateName", metadata.generate_name()), ("name", metadata.name())] {
        if !is_right(name) {
            let why = "must be spec.names.plural+\".\"+spec.group";
            errors.invalid(&Path::new("metadata").field(field), name, why);
        }
    }
}

fn validate_update(tree: &Tree, old: &Tree, subresource: &str, errors: &mut Errors) {
    let (new, old): (CustomResourceDefinition<'_>, CustomResourceDefinition<'_>) =
        (views::read(tree), views::read(old));
    if subresource == "status" {
        return status(new, errors);
    }
    let at = Path::new("spec");
    let options = Options::of(old);
    spec::validate(new.spec(), options, &at, errors);
    let (names, names_before) = (new.spec().names().place(), old.spec().names().place());
    let (place, place_before) = (new.spec().place(), old.spec().place());
    use crate::views::apiextensions_v1::{
        CustomResourceDefinitionNames as Names, CustomResourceDefinitionSpec as Spec,
    };
    if options.keeps_names {
        frozen(place.get(Spec::SCOPE), place_before.get(Spec::SCOPE), &at.field("scope"), errors);
        frozen(names.get(Names::KIND), names_before.get(Names::KIND), &at.field("names.kind"), errors);
    }
    frozen(place.get(Spec::GROUP), place_before.get(Spec::GROUP), &at.field("group"), errors);
    frozen(names.get(Names::PLURAL), names_before.get(Names::PLURAL), &at.field("names.plural"), errors);
    status(new, errors);
    stored_versions(new, errors);
    approval(new, Some(old), errors);
    preserve_unknown_fields(new, Some(old), errors);
}

fn status(definition: CustomResourceDefinition<'_>, errors: &mut Errors) {
    spec::validate_names(definition.status().accepted_names(), &Path::new("status.acceptedNames"), errors);
}

fn stored_versions(definition: CustomResourceDefinition<'_>, errors: &mut Errors) {
    let status = definition.status();
    let shown = || views::shown_field(status.place(), CustomResourceDefinitionStatus::STORED_VERSIONS);
    spec::validate_stored_versions(status.stored_versions(), shown, definition.spec().versions(), errors);
}

/// Who approved a definition of a group of the project.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Approval {
    Missing,
    Bypassed,
    Approved,
    Invalid,
}

impl Approval {
    fn of(definition: CustomResourceDefinition<'_>) -> Approval {
        let says = definition.metadata().annotations().get(APPROVED).unwrap_or_default();
        match urls::parse(says) {
            _ if says.is_empty() => Approval::Missing,
            _ if says.starts_with(UNAPPROVED) => Approval::Bypassed,
            Ok(url) if !url.host.is_empty() && !url.scheme.is_empty() => Approval::Approved,
            _ => Approval::Invalid,
        }
    }
}

/// Groups of the project's domains are the project's (upstream: `validateAPIApproval`). What was as it is may stay.
fn approval(definition: CustomResourceDefinition<'_>, old: Option<CustomResourceDefinition<'_>>, errors: &mut Errors) {
    let group = definition.spec().group();
    let is_in = |domain: &str| group.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    let approval = Approval::of(definition);
    if !(is_in("k8s.io") || is_in("kubernetes.io")) || old.map(Approval::of) == Some(approval) {
        return;
    }
    let at = Path::new("metadata.annotations");
    let see = "see https://github.com/kubernetes/enhancements/pull/1111";
    let open = format!("protected groups must have approval annotation {}", quoted(APPROVED));
    match approval {
        Approval::Missing => errors.required(&at.key(APPROVED), format!("{open}, {see}")),
        Approval::Invalid => {
            let says = definition.metadata().annotations().get(APPROVED).unwrap_or_default();
            let why = format!("{open} with either a URL or a reason starting with {}, {see}", quoted(UNAPPROVED));
            errors.invalid(&at.key(APPROVED), says, why);
        }
        Approval::Approved | Approval::Bypassed => {}
    }
}

fn preserve_unknown_fields(
    definition: CustomResourceDefinition<'_>,
    old: Option<CustomResourceDefinition<'_>>,
    errors: &mut Errors,
) {
    let had = old.is_some_and(|old| old.spec().preserve_unknown_fields());
    if definition.spec().preserve_unknown_fields() && !had {
        let why =
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.invalid(&Path::new("spec.preserveUnknownFields"), true, why);
    }
}

/// Formats that mean nothing here, but for those that the stored definition names too.
fn warn(tree: &Tree, old: Option<&Tree>, warnings: &mut Vec<String>) {
    let before = old.map(unknown_formats).unwrap_or_default();
    let new = unknown_formats(tree).into_iter().filter(|format| !before.contains(format));
    warnings.extend(new.map(|format| format!("unrecognized format {}", quoted(format))));
}

fn unknown_formats(tree: &Tree) -> Vec<&str> {
    let definition: CustomResourceDefinition<'_> = views::read(tree);
    let mut seen = std::collections::HashSet::new();
    let mut formats = Vec::new();
    for version in definition.spec().versions().iter() {
        let Some(root) = version.schema().and_then(|schema| schema.open_apiv3_schema()) else { continue };
        schema::any(root, |schema: JSONSchemaProps<'_>| {
            let format = schema.format();
            if !format.is_empty() && !formats::is_known(schema.type_(), format) && seen.insert(format) {
                formats.push(format);
            }
            formats.len() >= crate::strategy::WARNINGS_MAX
        });
    }
    formats
}

#[cfg(test)]
mod tests;
