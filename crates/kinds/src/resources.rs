//! What is served: the resources with their subresources, verbs and short names, how upstream stores them, and their printer columns.
//!
//! Answers to the `APIResource` lists of discovery and to the storage layout of etcd, which `facts/v1_36/resources.facts` records.

use std::collections::HashMap;

use portcullis_model::schema::{Schema, TypeId, facts};
use thiserror::Error;

/// The group-versions that are served, in discovery's order: by the group's priority, then its name, then the version's priority.
const GROUP_VERSIONS: &[GroupVersion] = &[
    group_version("", "v1", 18_000, 1),
    group_version("apiregistration.k8s.io", "v1", 18_000, 1),
    group_version("apps", "v1", 17_800, 15),
    group_version("events.k8s.io", "v1", 17_750, 15),
    group_version("authentication.k8s.io", "v1", 17_700, 15),
    group_version("authorization.k8s.io", "v1", 17_600, 15),
    group_version("autoscaling", "v2", 17_500, 30),
    group_version("autoscaling", "v1", 17_500, 15),
    group_version("batch", "v1", 17_400, 15),
    group_version("certificates.k8s.io", "v1", 17_300, 15),
    group_version("networking.k8s.io", "v1", 17_200, 15),
    group_version("policy", "v1", 17_100, 15),
    group_version("rbac.authorization.k8s.io", "v1", 17_000, 15),
    group_version("storage.k8s.io", "v1", 16_800, 15),
    group_version("admissionregistration.k8s.io", "v1", 16_700, 15),
    group_version("apiextensions.k8s.io", "v1", 16_700, 15),
    group_version("scheduling.k8s.io", "v1", 16_600, 15),
    group_version("coordination.k8s.io", "v1", 16_500, 15),
    group_version("node.k8s.io", "v1", 16_300, 15),
    group_version("discovery.k8s.io", "v1", 16_200, 15),
    group_version("resource.k8s.io", "v1", 16_200, 21),
    group_version("flowcontrol.apiserver.k8s.io", "v1", 16_100, 21),
];

/// Printer columns that the recorded facts lack, in their form.
const MORE_COLUMNS: &str = "\
columns core/v1/configmaps
 Name string 0 format=name
 Data string 0
 Age string 0
columns core/v1/componentstatuses
 Name string 0 format=name
 Status string 0
 Message string 0
 Error string 0
columns admissionregistration.k8s.io/v1/mutatingadmissionpolicies
 Name string 0 format=name
 Mutations integer 0
 ParamKind string 0
 Age string 0
columns admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings
 Name string 0 format=name
 PolicyName string 0
 ParamRef string 0
 Age string 0
columns coordination.k8s.io/v1/leases
 Name string 0 format=name
 Holder string 0
 Age string 0
";

/// Stored versions that the recorded facts lack; the storage version hashes of discovery give them away.
const MORE_STORED: &[(&str, &str)] = &[
    ("mutatingadmissionpolicies", "admissionregistration.k8s.io/v1beta1"),
    ("mutatingadmissionpolicybindings", "admissionregistration.k8s.io/v1beta1"),
];

/// A resource table that cannot be read. It can only be wrong in a build, never because of a request.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// The line does not have the form it should.
    #[error("resource table line {line:?}: {problem}")]
    Malformed {
        /// The line's text.
        line: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A resource or subresource names a kind that no type table declares.
    #[error("resource table: no type is served as {api_version} {kind}")]
    UnknownKind {
        /// The group-version.
        api_version: String,
        /// The kind.
        kind: String,
    },
}

/// A group-version that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupVersion {
    /// The group; empty for core.
    pub group: &'static str,
    /// The version.
    pub version: &'static str,
    /// `groupPriorityMinimum` of its APIService; higher comes first. (The group of APIServices has none; it comes second.)
    pub group_priority: i32,
    /// `versionPriority` of its APIService; higher comes first.
    pub version_priority: i32,
}

impl GroupVersion {
    /// `apps/v1`, or `v1` for the core group.
    pub fn api_version(&self) -> String {
        api_version(self.group, self.version)
    }
}

/// How upstream writes a stored object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Protobuf in the `k8s\0` envelope.
    Protobuf,
    /// JSON.
    Json,
}

/// Where and how upstream keeps the objects of a resource in etcd.
#[derive(Clone, Debug)]
pub struct Storage {
    /// The key's beginning, without the last slash: `/registry/deployments`.
    pub prefix: String,
    /// The group of the stored form.
    pub group: &'static str,
    /// The version of the stored form.
    pub version: &'static str,
    /// The encoding of the value.
    pub encoding: Encoding,
}

/// One printer column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The heading.
    pub name: String,
    /// OpenAPI type: `string`, `integer`, `date`.
    pub ty: &'static str,
    /// OpenAPI format: `name` or nothing.
    pub format: &'static str,
    /// 0 is printed always, 1 with `-o wide`.
    pub priority: i32,
}

/// A subresource of a resource.
#[derive(Clone, Debug)]
pub struct Subresource {
    /// The last part of its path: `status`.
    pub name: &'static str,
    /// The group of its kind, which may differ from the resource's (`autoscaling` for `scale`).
    pub group: &'static str,
    /// The version of its kind.
    pub version: &'static str,
    /// Its kind.
    pub kind: &'static str,
    /// The verbs it has, sorted.
    pub verbs: Vec<&'static str>,
    /// The type of its bodies; none for what is not a served type (`PodExecOptions`: query parameters).
    pub type_id: Option<TypeId>,
}

/// One served resource in one version.
#[derive(Clone, Debug)]
pub struct Resource {
    /// The group; empty for core.
    pub group: &'static str,
    /// The version.
    pub version: &'static str,
    /// The plural, as in paths.
    pub name: &'static str,
    /// The kind.
    pub kind: &'static str,
    /// The singular.
    pub singular: &'static str,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// The verbs it has, sorted.
    pub verbs: Vec<&'static str>,
    /// Short names of kubectl.
    pub short_names: Vec<&'static str>,
    /// Categories of kubectl: `all`, `api-extensions`.
    pub categories: Vec<&'static str>,
    /// Its subresources, by name.
    pub subresources: Vec<Subresource>,
    /// How it is stored; none for what is only answered (reviews, bindings, component statuses).
    pub storage: Option<Storage>,
    /// Its printer columns.
    pub columns: Vec<Column>,
    /// The type of its objects.
    pub type_id: TypeId,
    /// The type of a list of them; none where it cannot be listed.
    pub list_type_id: Option<TypeId>,
    /// `apps/v1`, or `v1` for the core group.
    pub api_version: String,
}

impl Resource {
    /// Whether the resource itself has this verb.
    pub fn has_verb(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }

    /// The subresource of this name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|sub| sub.name == name)
    }
}

/// All resources, fixed once loaded.
#[derive(Debug)]
pub struct Registry {
    resources: Vec<Resource>,
    by_name: HashMap<(&'static str, &'static str, &'static str), usize>,
}

impl Registry {
    /// Reads the two tables; kinds are looked up in the schema.
    pub fn load(resources: &'static str, columns: &'static str, schema: &Schema) -> Result<Registry, RegistryError> {
        let mut columns = read_columns(columns)?;
        columns.extend(read_columns(MORE_COLUMNS)?);
        let mut registry = Registry { resources: Vec::new(), by_name: HashMap::new() };
        for line in resources.lines() {
            if let Some(sub) = line.strip_prefix(" sub ") {
                let resource = registry
                    .resources
                    .last_mut()
                    .ok_or_else(|| malformed(line, "a subresource before any resource"))?;
                let sub = read_subresource(sub, resource, schema)?;
                resource.subresources.push(sub);
            } else {
                let name = line
                    .strip_prefix("resource ")
                    .ok_or_else(|| malformed(line, "neither resource nor subresource"))?;
                let mut resource = read_resource(name, schema)?;
                let key = (resource.group, resource.version, resource.name);
                resource.columns = columns.remove(&key).unwrap_or_else(columns_of_the_rest);
                registry.by_name.insert(key, registry.resources.len());
                registry.resources.push(resource);
            }
        }
        Ok(registry)
    }

    /// The resource of a plural in a group-version.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Resource> {
        self.by_name.get(&(group, version, plural)).and_then(|number| self.resources.get(*number))
    }

    /// All resources: by group-version in discovery's order, then by name.
    pub fn all(&self) -> &[Resource] {
        &self.resources
    }

    /// The resources of one group-version, by name.
    pub fn of_group_version<'a>(&'a self, group: &'a str, version: &'a str) -> impl Iterator<Item = &'a Resource> {
        self.resources.iter().filter(move |resource| resource.group == group && resource.version == version)
    }

    /// The group-versions in discovery's order; the first of each group is its preferred one.
    pub fn group_versions(&self) -> &'static [GroupVersion] {
        GROUP_VERSIONS
    }
}

const fn group_version(
    group: &'static str,
    version: &'static str,
    group_priority: i32,
    version_priority: i32,
) -> GroupVersion {
    GroupVersion { group, version, group_priority, version_priority }
}

/// `apps/v1`, or `v1` for the core group.
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

fn malformed(line: &str, problem: &'static str) -> RegistryError {
    RegistryError::Malformed { line: line.to_owned(), problem }
}

fn words(value: &'static str) -> Vec<&'static str> {
    if value.is_empty() { Vec::new() } else { value.split(',').collect() }
}

/// `core/v1/pods` in its parts.
fn read_name(name: &'static str) -> Option<(&'static str, &'static str, &'static str)> {
    let (group, rest) = name.split_once('/')?;
    let (version, plural) = rest.split_once('/')?;
    Some((if group == "core" { "" } else { group }, version, plural))
}

fn read_resource(line: &'static str, schema: &Schema) -> Result<Resource, RegistryError> {
    let mut parts = line.split(' ');
    let name = parts.next().and_then(read_name);
    let (group, version, plural) = name.ok_or_else(|| malformed(line, "a resource is group/version/plural"))?;
    let attributes: HashMap<&str, &'static str> = parts.filter_map(|part| part.split_once('=')).collect();
    let text = |key: &str| attributes.get(key).copied().unwrap_or_default();
    let (kind, api_version) = (text("kind"), api_version(group, version));
    let Some(type_id) = schema.by_kind(&api_version, kind) else {
        return Err(RegistryError::UnknownKind { api_version, kind: kind.to_owned() });
    };
    let verbs = words(text("verbs"));
    let more_stored = MORE_STORED.iter().find(|(name, _)| *name == plural).map(|(_, stored)| *stored);
    let storage = match (text("prefix"), more_stored) {
        ("", None) => None,
        ("", Some(stored)) => Some((format!("/registry/{plural}"), stored)),
        (prefix, _) => Some((prefix.to_owned(), text("stored"))),
    };
    let storage = storage.map(|(prefix, stored)| {
        let (group, version) = stored.split_once('/').unwrap_or(("", stored));
        let encoding = if text("encoding") == "json" { Encoding::Json } else { Encoding::Protobuf };
        Storage { prefix, group, version, encoding }
    });
    Ok(Resource {
        group,
        version,
        name: plural,
        kind,
        singular: text("singular"),
        namespaced: text("scope") == "Namespaced",
        short_names: words(text("short")),
        categories: words(text("categories")),
        subresources: Vec::new(),
        storage,
        columns: Vec::new(),
        type_id,
        list_type_id: if verbs.contains(&"list") { schema.by_kind(&api_version, &format!("{kind}List")) } else { None },
        verbs,
        api_version,
    })
}

fn read_subresource(line: &'static str, resource: &Resource, schema: &Schema) -> Result<Subresource, RegistryError> {
    let mut parts = line.split(' ');
    let (Some(name), Some(kind), Some(verbs)) = (
        parts.next(),
        parts.next().and_then(|part| part.strip_prefix("kind=")),
        parts.next().and_then(|part| part.strip_prefix("verbs=")),
    ) else {
        return Err(malformed(line, "a subresource has a name, a kind and verbs"));
    };
    let (group, version, kind) = match kind.rsplit_once('/') {
        Some((group_version, kind)) => {
            let (group, version) = group_version.split_once('/').unwrap_or(("", group_version));
            (group, version, kind)
        }
        None => (resource.group, resource.version, kind),
    };
    let type_id = schema.by_kind(&api_version(group, version), kind);
    Ok(Subresource { name, group, version, kind, verbs: words(verbs), type_id })
}

type ColumnsByName = HashMap<(&'static str, &'static str, &'static str), Vec<Column>>;

fn read_columns(table: &'static str) -> Result<ColumnsByName, RegistryError> {
    let mut out = ColumnsByName::new();
    let mut current = None;
    for line in table.lines() {
        if let Some(name) = line.strip_prefix("columns ") {
            let name = read_name(name).ok_or_else(|| malformed(line, "columns are of a group/version/plural"))?;
            current = Some(name);
            out.insert(name, Vec::new());
            continue;
        }
        let mut parts = line.trim_start().split(' ');
        let (Some(name), Some(ty), Some(priority)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(malformed(line, "a column has a name, a type and a priority"));
        };
        let priority = priority.parse().map_err(|_| malformed(line, "the priority is no number"))?;
        let format = parts.next().and_then(|part| part.strip_prefix("format=")).unwrap_or_default();
        let column = Column { name: facts::unescape(name), ty, format, priority };
        let columns =
            current.and_then(|name| out.get_mut(&name)).ok_or_else(|| malformed(line, "a column of no resource"))?;
        columns.push(column);
    }
    Ok(out)
}

/// The columns of a kind that has no printer of its own.
fn columns_of_the_rest() -> Vec<Column> {
    vec![
        Column { name: "Name".to_owned(), ty: "string", format: "name", priority: 0 },
        Column { name: "Created At".to_owned(), ty: "date", format: "", priority: 0 },
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::{resources, schema};

    #[test]
    fn resources_are_found_by_group_version_and_plural() {
        let check = |group: &str, version: &str, plural: &str, expected: Option<&str>| {
            assert_eq!(
                resources().find(group, version, plural).map(|resource| resource.kind),
                expected,
                "{group}/{version}/{plural}"
            );
        };
        check("", "v1", "pods", Some("Pod"));
        check("apps", "v1", "deployments", Some("Deployment"));
        check("autoscaling", "v1", "horizontalpodautoscalers", Some("HorizontalPodAutoscaler"));
        check("autoscaling", "v2", "horizontalpodautoscalers", Some("HorizontalPodAutoscaler"));
        check("apps", "v1", "pods", None);
        check("", "v1", "Pods", None);
        check("", "v1", "", None);
    }

    #[test]
    fn the_order_of_resources_is_that_of_the_group_versions() {
        let mut expected = resources().group_versions().iter().map(|gv| (gv.group, gv.version)).collect::<Vec<_>>();
        let mut seen: Vec<_> = resources().all().iter().map(|resource| (resource.group, resource.version)).collect();
        seen.dedup();
        assert_eq!(seen, expected);
        // Priorities fall; versions of one group stand together.
        let sorted = |gv: &super::GroupVersion| (-gv.group_priority, gv.group, -gv.version_priority);
        assert!(resources().group_versions().is_sorted_by_key(sorted));
        expected.dedup_by_key(|(group, _)| *group);
        assert_eq!(expected.len(), 21);
    }

    #[test]
    fn storage_is_known_of_all_that_can_be_created_and_read() {
        for resource in resources().all() {
            let stored = resource.has_verb("create") && resource.has_verb("get");
            assert_eq!(resource.storage.is_some(), stored, "{}", resource.name);
            assert_eq!(resource.list_type_id.is_some(), resource.has_verb("list"), "{}", resource.name);
            assert!(!resource.columns.is_empty(), "{}", resource.name);
        }
        let check = |group: &str, version: &str, plural: &str, prefix: &str, stored: (&str, &str)| {
            let storage = resources().find(group, version, plural).unwrap().storage.clone().unwrap();
            assert_eq!((storage.prefix.as_str(), (storage.group, storage.version)), (prefix, stored), "{plural}");
        };
        check("", "v1", "services", "/registry/services/specs", ("", "v1"));
        check("events.k8s.io", "v1", "events", "/registry/events", ("", "v1"));
        check(
            "autoscaling",
            "v1",
            "horizontalpodautoscalers",
            "/registry/horizontalpodautoscalers",
            ("autoscaling", "v2"),
        );
        let policies = "mutatingadmissionpolicies";
        let stored = ("admissionregistration.k8s.io", "v1beta1");
        check("admissionregistration.k8s.io", "v1", policies, "/registry/mutatingadmissionpolicies", stored);
    }

    #[test]
    fn a_subresource_may_be_of_another_group() {
        let check = |plural: &str, name: &str, expected: (&str, &str, &str), typed: bool| {
            let sub = resources().find("", "v1", plural).unwrap().subresource(name).unwrap();
            assert_eq!((sub.group, sub.version, sub.kind), expected, "{plural}/{name}");
            assert_eq!(sub.type_id.is_some(), typed, "{plural}/{name}");
        };
        check("pods", "status", ("", "v1", "Pod"), true);
        check("pods", "eviction", ("policy", "v1", "Eviction"), true);
        check("pods", "exec", ("", "v1", "PodExecOptions"), false);
        check("replicationcontrollers", "scale", ("autoscaling", "v1", "Scale"), true);
        check("serviceaccounts", "token", ("authentication.k8s.io", "v1", "TokenRequest"), true);
        assert!(resources().find("", "v1", "configmaps").unwrap().subresource("status").is_none());
    }

    #[test]
    fn types_are_those_of_the_kinds() {
        for resource in resources().all() {
            assert_eq!(schema().ty(resource.type_id).short_name(), resource.kind);
        }
    }

    #[test]
    fn columns_are_unescaped() {
        let check = |group: &str, plural: &str, expected: &[&str]| {
            let columns = &resources().find(group, "v1", plural).unwrap().columns;
            assert_eq!(columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(), expected, "{plural}");
        };
        check("", "configmaps", &["Name", "Data", "Age"]);
        check("", "bindings", &["Name", "Created At"]);
        check("coordination.k8s.io", "leases", &["Name", "Holder", "Age"]);
        check(
            "apps",
            "replicasets",
            &["Name", "Desired", "Current", "Ready", "Age", "Containers", "Images", "Selector"],
        );
    }
}
