//! Environment of containers: variables and where their values come from (upstream: `ValidateEnv`, `ValidateEnvFrom`,
//! `validateObjectFieldSelector`, `validateContainerResourceFieldSelector`; KEP-3721 for files of variables).

use std::borrow::Cow;

use portcullis_model::quantity::Quantity;

use super::Scope;
use crate::views::List;
use crate::views::core_v1::{EnvFromSource, EnvVar, FileKeySelector, ObjectFieldSelector, ResourceFieldSelector};
use crate::vocabulary::{Errors, Path, environment, local_paths, names};

/// Fields of a pod that a variable can show.
const FIELDS_OF_VARIABLES: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Fields of a pod that have a name at all where its fields are shown.
const FIELDS: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.phase",
    "status.podIP",
    "status.podIPs",
];
/// Fields that are maps, of which one entry can be shown.
const MAPS: &[&str] = &["metadata.annotations", "metadata.labels"];
/// What is shown of a container's resources, beside huge pages.
const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const HUGE_PAGES: [&str; 2] = ["limits.hugepages-", "requests.hugepages-"];
/// Units in which processors are shown.
const UNITS_OF_CPU: &[&str] = &["1m", "1"];
/// Units in which bytes are shown.
const UNITS_OF_BYTES: &[&str] = &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
/// Longest key in a file of variables.
const FILE_KEY_LEN_MAX: usize = 128;

/// Variables: each has a name, and one source at most.
pub(super) fn validate(list: List<'_, EnvVar<'_>>, scope: &Scope<'_>, at: &Path<'_>, errors: &mut Errors) {
    for (index, variable) in list.iter().enumerate() {
        let at = at.index(index);
        if variable.name().is_empty() {
            errors.required(&at.field("name"), "");
        } else {
            environment::variable_name(variable.name(), &at.field("name"), errors);
        }
        validate_source(variable, scope, &at.field("valueFrom"), errors);
    }
}

fn validate_source(variable: EnvVar<'_>, scope: &Scope<'_>, at: &Path<'_>, errors: &mut Errors) {
    let Some(source) = variable.value_from() else { return };
    let mut count = 0;
    if let Some(field) = source.field_ref() {
        count += 1;
        field_selector(field, FIELDS_OF_VARIABLES, &at.field("fieldRef"), errors);
    }
    if let Some(resource) = source.resource_field_ref() {
        count += 1;
        resource_selector(resource, false, &at.field("resourceFieldRef"), errors);
    }
    if let Some(key) = source.config_map_key_ref() {
        count += 1;
        key.check_name(&at.field("configMapKeyRef"), errors);
        key.check_key(&at.field("configMapKeyRef"), errors);
    }
    if let Some(key) = source.secret_key_ref() {
        count += 1;
        key.check_name(&at.field("secretKeyRef"), errors);
        key.check_key(&at.field("secretKeyRef"), errors);
    }
    if let Some(key) = source.file_key_ref() {
        count += 1;
        file_key(key, &at.field("fileKeyRef"), errors);
        file_is_of_empty_dir(key.volume_name(), scope, &at.field("fileKeyRef.volumeName"), errors);
    }
    if count == 0 {
        let why =
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        errors.invalid(at, "", why);
    } else if !variable.value().is_empty() {
        errors.invalid(at, "", "may not be specified when `value` is not empty");
    } else if count > 1 {
        errors.invalid(at, "", "may not have more than one field specified at a time");
    }
}

fn file_key(key: FileKeySelector<'_>, at: &Path<'_>, errors: &mut Errors) {
    key.check_volume_name(at, errors);
    if key.path().is_empty() {
        errors.required(&at.field("path"), "");
    } else {
        local_paths::not_reserved(key.path(), &at.field("path"), errors);
    }
    if key.key().is_empty() {
        errors.required(&at.field("key"), "");
        return;
    }
    environment::variable_name(key.key(), &at.field("key"), errors);
    if key.key().len() > FILE_KEY_LEN_MAX {
        errors.too_long(&at.field("key"), FILE_KEY_LEN_MAX);
    }
}

/// Variables are read from files that an init container wrote: only a volume that begins with the pod has no others (KEP-3721).
fn file_is_of_empty_dir(volume: &str, scope: &Scope<'_>, at: &Path<'_>, errors: &mut Errors) {
    if volume.is_empty() {
        return;
    }
    match scope.volumes.get(volume) {
        None => errors.not_found(at, volume),
        Some(one) if one.empty_dir().is_none() => {
            errors.invalid(at, volume, "referenced volume must be of type emptyDir");
        }
        Some(_) => {}
    }
}

/// Objects that variables are taken from: each entry names one. That it names none is said of the list.
pub(super) fn validate_from(list: List<'_, EnvFromSource<'_>>, at: &Path<'_>, errors: &mut Errors) {
    for (index, source) in list.iter().enumerate() {
        let above = at;
        let at = at.index(index);
        if !source.prefix().is_empty() {
            environment::variable_name(source.prefix(), &at.field("prefix"), errors);
        }
        if let Some(object) = source.config_map_ref() {
            object.check_name(&at.field("configMapRef"), errors);
        }
        if let Some(object) = source.secret_ref() {
            object.check_name(&at.field("secretRef"), errors);
        }
        match (source.config_map_ref().is_some(), source.secret_ref().is_some()) {
            (false, false) => errors.invalid(above, "", "must specify one of: `configMapRef` or `secretRef`"),
            (true, true) => errors.invalid(above, "", "may not have more than one field specified at a time"),
            _ => {}
        }
    }
}

/// A field of the pod, by a path that means something and is one of those that can be shown here. `shown` is in the order of its bytes.
pub fn field_selector(selector: ObjectFieldSelector<'_>, shown: &[&str], at: &Path<'_>, errors: &mut Errors) {
    if selector.api_version().is_empty() {
        return errors.required(&at.field("apiVersion"), "");
    }
    let path = selector.field_path();
    if path.is_empty() {
        return errors.required(&at.field("fieldPath"), "");
    }
    let entry = entry_of_map(path);
    let known = match entry {
        Some((map, _)) if MAPS.contains(&map) => Ok(path),
        Some(_) => Err(format!("field label does not support subscript: {path}")),
        // What `spec.nodeName` was called by the first clients.
        None if path == "spec.host" => Ok("spec.nodeName"),
        None if FIELDS.contains(&path) => Ok(path),
        None => Err(format!("field label not supported: {path}")),
    };
    let known = match known {
        _ if selector.api_version() != "v1" => Err(format!("unsupported pod version: {}", selector.api_version())),
        known => known,
    };
    match (known, entry) {
        (Err(why), _) => errors.invalid(&at.field("fieldPath"), path, format!("error converting fieldPath: {why}")),
        (Ok(_), Some((map, key))) => {
            // Annotations may have keys in capitals.
            let key = if map == "metadata.labels" { Cow::Borrowed(key) } else { Cow::Owned(key.to_lowercase()) };
            names::qualified_name(&key, at, errors);
        }
        (Ok(path), None) if !shown.contains(&path) => errors.not_supported(&at.field("fieldPath"), path, shown),
        (Ok(_), None) => {}
    }
}

/// `metadata.labels['app']` is the entry `app` of a map.
fn entry_of_map(path: &str) -> Option<(&str, &str)> {
    let (map, key) = path.strip_suffix("']")?.split_once("['")?;
    (!map.is_empty()).then_some((map, key))
}

/// A container's resource, in a unit that fits it. A volume must say which container is meant.
pub fn resource_selector(selector: ResourceFieldSelector<'_>, is_in_volume: bool, at: &Path<'_>, errors: &mut Errors) {
    let resource = selector.resource();
    let is_huge_pages = HUGE_PAGES.iter().any(|prefix| resource.starts_with(prefix));
    if is_in_volume && selector.container_name().is_empty() {
        errors.required(&at.field("containerName"), "");
    } else if resource.is_empty() {
        errors.required(&at.field("resource"), "");
    } else if !RESOURCES.contains(&resource) && !is_huge_pages {
        errors.not_supported(&at.field("resource"), resource, RESOURCES);
    }
    let Ok(divisor) = Quantity::parse(selector.divisor()) else { return };
    if divisor.is_zero() {
        return;
    }
    let (units, what) = match resource {
        "limits.cpu" | "requests.cpu" => (UNITS_OF_CPU, "cpu"),
        "limits.memory" | "requests.memory" => (UNITS_OF_BYTES, "memory"),
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => (UNITS_OF_BYTES, "local ephemeral storage"),
        _ if is_huge_pages => (UNITS_OF_BYTES, "hugepages"),
        _ => return,
    };
    if !units.contains(&divisor.to_string().as_str()) {
        let units = if what == "cpu" { "1m and 1".to_owned() } else { UNITS_OF_BYTES.join(", ") };
        let why = format!("only divisor's values {units} are supported with the {what} resource");
        errors.invalid(&at.field("divisor"), resource, why);
    }
}
