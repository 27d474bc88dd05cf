//! PodSecurityConfiguration of `pod-security.admission.config.k8s.io/v1`: what holds in namespaces without labels, and who is exempt.

use std::collections::BTreeSet;

use portcullis_gate::{Document, Fields, Profile};
use portcullis_kinds::pod_security::{Level, Policy, Standard, Version};
use portcullis_model::names;
use portcullis_model::status::FieldError;

use super::{SYSTEM_NAMESPACES, builtin_defaults};
use crate::admission::PluginFault;

const GROUP: &str = "pod-security.admission.config.k8s.io";
const VERSIONS: [&str; 3] = ["v1", "v1beta1", "v1alpha1"];
const KIND: &str = "PodSecurityConfiguration";

/// What an operator says about one mode; empty for nothing.
#[derive(Default)]
struct Mode {
    level: String,
    version: String,
}

/// What an operator says.
#[derive(Default)]
pub(super) struct Configuration {
    enforce: Wish,
    audit: Wish,
    warn: Wish,
    usernames: BTreeSet<String>,
    /// None where the operator leaves it to the profile.
    namespaces: Option<BTreeSet<String>>,
    runtime_classes: BTreeSet<String>,
}

/// A mode, as far as the operator decides it.
#[derive(Clone, Copy, Default)]
struct Wish {
    level: Option<Level>,
    version: Option<Version>,
}

impl Wish {
    fn over(self, default: Standard) -> Standard {
        Standard { level: self.level.unwrap_or(default.level), version: self.version.unwrap_or(default.version) }
    }
}

impl Configuration {
    /// Reads it; nothing is nothing said.
    pub(super) fn read(document: Option<Document>) -> Result<Configuration, PluginFault> {
        let Some(document) = document else { return Ok(Configuration::default()) };
        document.expect(GROUP, &VERSIONS, KIND)?;
        let mut errors = Vec::new();
        let configuration = document.read(|fields| {
            let modes = fields.object("defaults", |fields| {
                ["enforce", "audit", "warn"]
                    .map(|mode| Mode { level: fields.string(mode), version: fields.string(&format!("{mode}-version")) })
            });
            let exemptions = fields.object("exemptions", Exemptions::read).unwrap_or_default();
            let [enforce, audit, warn] = modes.unwrap_or_default();
            // In upstream's order.
            let enforce = wish("enforce", &enforce, &mut errors);
            let warn = wish("warn", &warn, &mut errors);
            let audit = wish("audit", &audit, &mut errors);
            let namespaces =
                unique("namespaces", &exemptions.namespaces, |name| joined(&names::dns1123_label(name)), &mut errors);
            let runtime_classes = unique(
                "runtimeClasses",
                &exemptions.runtime_classes,
                |name| joined(&names::dns1123_subdomain(name)),
                &mut errors,
            );
            let usernames = unique("usernames", &exemptions.usernames, |_| None, &mut errors);
            let namespaces = exemptions.has_namespaces.then_some(namespaces);
            Configuration { enforce, audit, warn, usernames, namespaces, runtime_classes }
        })?;
        if errors.is_empty() { Ok(configuration) } else { Err(PluginFault::Invalid(errors)) }
    }

    /// Returns what holds in a namespace without labels.
    pub(super) fn defaults(&self, profile: Profile) -> Policy {
        let builtin = builtin_defaults(profile);
        Policy {
            enforce: self.enforce.over(builtin.enforce),
            audit: self.audit.over(builtin.audit),
            warn: self.warn.over(builtin.warn),
        }
    }

    /// Whether nothing is judged in a namespace.
    pub(super) fn exempts_namespace(&self, profile: Profile, name: &str) -> bool {
        match &self.namespaces {
            Some(namespaces) => namespaces.contains(name),
            None => profile == Profile::Locked && SYSTEM_NAMESPACES.contains(&name),
        }
    }

    /// Whether nothing is judged that a user does.
    pub(super) fn exempts_user(&self, name: &str) -> bool {
        self.usernames.contains(name)
    }

    /// Whether pods of a runtime class are not judged.
    pub(super) fn exempts_runtime_class(&self, name: &str) -> bool {
        self.runtime_classes.contains(name)
    }
}

/// Exemptions as they are written.
#[derive(Default)]
struct Exemptions {
    usernames: Vec<String>,
    namespaces: Vec<String>,
    has_namespaces: bool,
    runtime_classes: Vec<String>,
}

impl Exemptions {
    fn read(fields: &mut Fields<'_>) -> Exemptions {
        Exemptions {
            has_namespaces: fields.has("namespaces"),
            usernames: fields.strings("usernames"),
            namespaces: fields.strings("namespaces"),
            runtime_classes: fields.strings("runtimeClasses"),
        }
    }
}

fn wish(mode: &str, said: &Mode, errors: &mut Vec<FieldError>) -> Wish {
    let mut fault = |field: String, value: &str, why| errors.push(FieldError::invalid(field, value, why));
    let level = (!said.level.is_empty()).then(|| Level::parse(&said.level));
    let version = (!said.version.is_empty()).then(|| Version::parse(&said.version));
    if let Some(Err(why)) = level {
        fault(format!("defaults.{mode}"), &said.level, why);
    }
    if let Some(Err(why)) = version {
        fault(format!("defaults.{mode}-version"), &said.version, why);
    }
    Wish { level: level.and_then(Result::ok), version: version.and_then(Result::ok) }
}

/// Joins what is wrong with a name; none for nothing.
fn joined(complaints: &[impl AsRef<str>]) -> Option<String> {
    let complaints: Vec<&str> = complaints.iter().map(AsRef::as_ref).collect();
    (!complaints.is_empty()).then(|| complaints.join(", "))
}

/// Takes names that are each in order and there once.
fn unique(
    field: &str,
    given: &[String],
    fault: impl Fn(&str) -> Option<String>,
    errors: &mut Vec<FieldError>,
) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, name) in given.iter().enumerate() {
        let path = format!("exemptions.{field}[{at}]");
        if let Some(why) = fault(name) {
            errors.push(FieldError::invalid(path, name.as_str(), why));
        } else if name.is_empty() {
            errors.push(FieldError::required(path, ""));
        } else if !names.insert(name.clone()) {
            errors.push(FieldError::duplicate(path, name.as_str()));
        }
    }
    names
}
