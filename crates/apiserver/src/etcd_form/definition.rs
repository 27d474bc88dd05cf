//! Definitions of custom resources, which upstream still stores as `apiextensions.k8s.io/v1beta1`: what all versions have in common
//! stands beside the versions there, not in each of them. Text is moved and never read, so a schema stays what it is to the letter.

use std::borrow::Cow;

use crate::scan::{Members, value_end};

/// Members of a spec in the older version, in the order in which they are written.
const SPEC: &[&str] = &[
    "group",
    "version",
    "names",
    "scope",
    "validation",
    "subresources",
    "versions",
    "additionalPrinterColumns",
    "selectableFields",
    "conversion",
    "preserveUnknownFields",
];
/// Members of a conversion in the older version. Those behind the first stand in `webhook` in `v1`, under the names beside them.
const CONVERSION: &[&str] = &["strategy", "webhookClientConfig", "conversionReviewVersions"];
const WEBHOOK: &[(&str, &str)] =
    &[("clientConfig", "webhookClientConfig"), ("conversionReviewVersions", "conversionReviewVersions")];
/// What a version may have for itself, and where all versions have it in common.
const OF_A_VERSION: &[(&str, &str)] = &[
    ("schema", "validation"),
    ("subresources", "subresources"),
    (COLUMNS, COLUMNS),
    ("selectableFields", "selectableFields"),
];
const COLUMNS: &str = "additionalPrinterColumns";
/// The path of a column, in `v1` and in the older version.
const COLUMN_PATH: (&str, &str) = ("jsonPath", "JSONPath");
/// Items of a list; a definition of 3 MiB has fewer versions and columns.
const ITEMS_MAX: usize = 1 << 20;

/// Whether it is a definition in the version that upstream stores.
pub(super) fn is_stored_as(kind: &str, api_version: &str) -> bool {
    kind == "CustomResourceDefinition" && api_version == "apiextensions.k8s.io/v1beta1"
}

/// A definition of `v1` in the older version. Nothing when it is none.
pub(super) fn to_v1beta1(text: &[u8]) -> Option<Vec<u8>> {
    let mut definition = Object::read(text)?;
    let mut spec = Object::read(definition.get("spec")?)?;
    let held = spec.take("versions").unwrap_or_default();
    let mut versions = objects(&held)?;
    for version in &mut versions {
        version.change(COLUMNS, |columns| each(columns, |column| column.rename(COLUMN_PATH.0, COLUMN_PATH.1)))?;
    }
    for (own, common) in OF_A_VERSION {
        let Some(shared) = versions.first().map(|first| first.get(own).map(<[u8]>::to_vec)) else { break };
        if versions.iter().any(|version| version.get(own) != shared.as_deref()) {
            continue;
        }
        versions.iter_mut().for_each(|version| drop(version.take(own)));
        if let Some(shared) = shared {
            spec.put(common, shared);
        }
    }
    if let Some(name) = versions.first().and_then(|first| first.get("name")) {
        spec.put("version", name.to_vec());
    }
    spec.put("versions", list(&versions));
    spec.change("conversion", |conversion| {
        let mut conversion = Object::read(conversion)?;
        if let Some(webhook) = conversion.take("webhook") {
            let mut webhook = Object::read(&webhook)?.into_owned();
            for (own, older) in WEBHOOK {
                webhook.take(own).into_iter().for_each(|value| conversion.put(older, value.into_owned()));
            }
        }
        Some(conversion.in_order(CONVERSION).write())
    })?;
    if spec.get("preserveUnknownFields").is_none() {
        spec.put("preserveUnknownFields", b"false".to_vec());
    }
    let spec = spec.in_order(SPEC).write();
    definition.put("spec", spec);
    Some(definition.write())
}

/// A definition of the older version in `v1`. Nothing when it is none.
pub(super) fn from_v1beta1(text: &[u8]) -> Option<Vec<u8>> {
    let mut definition = Object::read(text)?;
    definition.take("kind");
    definition.take("apiVersion");
    let mut spec = Object::read(definition.get("spec")?)?.into_owned();
    let name = spec.take("version");
    let held = spec.take("versions").unwrap_or_default();
    let mut versions = objects(&held)?;
    if let Some(name) = name.filter(|_| versions.is_empty()) {
        let mut only = Object::default();
        only.put("name", name.into_owned());
        only.put("served", b"true".to_vec());
        only.put("storage", b"true".to_vec());
        versions.push(only);
    }
    for (own, common) in OF_A_VERSION {
        let Some(shared) = spec.take(common) else { continue };
        for version in versions.iter_mut().filter(|version| version.get(own).is_none()) {
            version.put(own, shared.to_vec());
        }
    }
    for version in &mut versions {
        version.change(COLUMNS, |columns| each(columns, |column| column.rename(COLUMN_PATH.1, COLUMN_PATH.0)))?;
    }
    spec.put("versions", list(&versions));
    spec.change("conversion", |conversion| {
        let (mut conversion, mut webhook) = (Object::read(conversion)?.into_owned(), Object::default());
        for (own, older) in WEBHOOK {
            conversion.take(older).into_iter().for_each(|value| webhook.put(own, value.into_owned()));
        }
        if !webhook.0.is_empty() {
            conversion.put("webhook", webhook.write());
        }
        Some(conversion.write())
    })?;
    definition.put("spec", spec.write());
    Some(definition.write())
}

/// The members of a JSON object, by the text of their names.
#[derive(Clone, Default)]
struct Object<'a>(Vec<(Cow<'a, str>, Cow<'a, [u8]>)>);

impl<'a> Object<'a> {
    /// Reads text without space between tokens.
    fn read(text: &'a [u8]) -> Option<Object<'a>> {
        let mut members = Members { text, at: usize::from(text.first() == Some(&b'{')) };
        let mut read = Vec::new();
        while let Some((name, value)) = members.next()? {
            read.push((std::str::from_utf8(text.get(name)?).ok()?.into(), text.get(value)?.into()));
        }
        (members.at == text.len()).then_some(Object(read))
    }

    fn into_owned(self) -> Object<'static> {
        let owned =
            |(name, value): (Cow<'_, str>, Cow<'_, [u8]>)| (name.into_owned().into(), value.into_owned().into());
        Object(self.0.into_iter().map(owned).collect())
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|(held, _)| held == name)
    }

    fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(held, _)| held == name).map(|(_, value)| &**value)
    }

    fn take(&mut self, name: &str) -> Option<Cow<'a, [u8]>> {
        self.place(name).map(|at| self.0.remove(at).1)
    }

    /// Sets a member in its place, or behind the others.
    fn put(&mut self, name: &str, value: Vec<u8>) {
        match self.0.iter_mut().find(|(held, _)| held == name) {
            Some((_, held)) => *held = value.into(),
            None => self.0.push((name.to_owned().into(), value.into())),
        }
    }

    /// Makes another value of a member that is there.
    fn change(&mut self, name: &str, change: impl FnOnce(&[u8]) -> Option<Vec<u8>>) -> Option<()> {
        if let Some(value) = self.get(name) {
            let value = change(value)?;
            self.put(name, value);
        }
        Some(())
    }

    fn rename(&mut self, from: &str, to: &str) {
        if let Some((held, _)) = self.0.iter_mut().find(|(held, _)| held == from) {
            *held = to.to_owned().into();
        }
    }

    /// Members in the order of a list; the others stay behind them.
    fn in_order(mut self, order: &[&str]) -> Self {
        let place = |name: &str| order.iter().position(|held| *held == name).unwrap_or(order.len());
        self.0.sort_by_key(|(name, _)| place(name));
        self
    }

    fn write(&self) -> Vec<u8> {
        let mut out = vec![b'{'];
        for (at, (name, value)) in self.0.iter().enumerate() {
            out.extend_from_slice(if at == 0 { b"\"" } else { b",\"" });
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            out.extend_from_slice(value);
        }
        out.push(b'}');
        out
    }
}

/// The objects of a list; `null`, or no text, is an empty one.
fn objects(text: &[u8]) -> Option<Vec<Object<'_>>> {
    if text.is_empty() || text == b"null" {
        return Some(Vec::new());
    }
    let (mut at, mut read) = (1, Vec::new());
    while text.get(at) != Some(&b']') && read.len() < ITEMS_MAX {
        let end = value_end(text, at)?;
        read.push(Object::read(text.get(at..end)?)?);
        at = end + usize::from(text.get(end) == Some(&b','));
    }
    (at + 1 == text.len()).then_some(read)
}

fn list(objects: &[Object<'_>]) -> Vec<u8> {
    let written: Vec<Vec<u8>> = objects.iter().map(Object::write).collect();
    [b"[".as_slice(), &written.join(&b','), b"]"].concat()
}

/// Changes each object of a list.
fn each(text: &[u8], change: impl Fn(&mut Object<'_>)) -> Option<Vec<u8>> {
    let mut objects = objects(text)?;
    objects.iter_mut().for_each(change);
    Some(list(&objects))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Both ways; each text is of the spec.
    fn check(v1: &str, older: &str) {
        let object = |spec: &str| format!(r#"{{"metadata":{{"uid":"u"}},"spec":{spec},"status":{{}}}}"#);
        let written = to_v1beta1(object(v1).as_bytes()).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), object(older));
        let read: serde_json::Value = serde_json::from_slice(&from_v1beta1(object(older).as_bytes()).unwrap()).unwrap();
        let mut expected: serde_json::Value = serde_json::from_str(&object(v1)).unwrap();
        let spec = expected["spec"].as_object_mut().unwrap();
        spec.entry("preserveUnknownFields").or_insert(false.into());
        assert_eq!(read, expected);
    }

    #[test]
    fn what_versions_have_in_common_stands_beside_them() {
        check(
            r#"{"group":"g","names":{"plural":"p"},"scope":"Cluster","versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","description":"] \" }"}},"subresources":{"status":{}},"additionalPrinterColumns":[{"name":"A","type":"string","jsonPath":".a"}]}],"conversion":{"strategy":"None"}}"#,
            r#"{"group":"g","version":"v1","names":{"plural":"p"},"scope":"Cluster","validation":{"openAPIV3Schema":{"type":"object","description":"] \" }"}},"subresources":{"status":{}},"versions":[{"name":"v1","served":true,"storage":true}],"additionalPrinterColumns":[{"name":"A","type":"string","JSONPath":".a"}],"conversion":{"strategy":"None"},"preserveUnknownFields":false}"#,
        );
    }

    #[test]
    fn what_differs_stays_with_its_version() {
        check(
            r#"{"group":"g","names":{},"scope":"Namespaced","versions":[{"name":"v2","served":true,"storage":true,"schema":{"openAPIV3Schema":{"a":1}},"additionalPrinterColumns":[{"name":"A","jsonPath":".a"}],"selectableFields":[{"jsonPath":".s"}]},{"name":"v1","served":true,"storage":false,"schema":{"openAPIV3Schema":{"a":2}},"selectableFields":[{"jsonPath":".s"}]}],"conversion":{"strategy":"Webhook","webhook":{"clientConfig":{"url":"u"},"conversionReviewVersions":["v1"]}},"preserveUnknownFields":true}"#,
            r#"{"group":"g","version":"v2","names":{},"scope":"Namespaced","versions":[{"name":"v2","served":true,"storage":true,"schema":{"openAPIV3Schema":{"a":1}},"additionalPrinterColumns":[{"name":"A","JSONPath":".a"}]},{"name":"v1","served":true,"storage":false,"schema":{"openAPIV3Schema":{"a":2}}}],"selectableFields":[{"jsonPath":".s"}],"conversion":{"strategy":"Webhook","webhookClientConfig":{"url":"u"},"conversionReviewVersions":["v1"]},"preserveUnknownFields":true}"#,
        );
    }

    #[test]
    fn the_oldest_have_no_versions() {
        let read =
            from_v1beta1(br#"{"metadata":{},"spec":{"group":"g","version":"v1","validation":{"openAPIV3Schema":{}}}}"#);
        let expected = r#"{"metadata":{},"spec":{"group":"g","versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{}}}]}}"#;
        assert_eq!(String::from_utf8(read.unwrap()).unwrap(), expected);
    }

    #[test]
    fn what_is_no_definition() {
        for wrong in [
            "",
            "{}",
            "{",
            "[]",
            r#"{"spec":1}"#,
            r#"{"spec":{"versions":1}}"#,
            r#"{"spec":{"versions":[{]}}"#,
            r#"{"spec":{"versions":[{}"#,
        ] {
            assert_eq!(from_v1beta1(wrong.as_bytes()), None, "{wrong}");
            assert_eq!(to_v1beta1(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
