//! Which paths there are and what can be done at each, worked out from the registry: the same for both forms of OpenAPI.

use portcullis_kinds::resources::Registry;
use portcullis_model::schema::Schema;

use super::parameters::Parameter;
use super::resource_paths::ResourcePaths;
use super::schema::{API_GROUP, API_GROUP_LIST, API_RESOURCE_LIST, API_VERSIONS, VERSION_INFO};

const JSON: &str = "application/json";
/// What objects are read and written as.
pub(super) const OBJECT_TYPES: &[&str] = &[JSON, "application/yaml", "application/vnd.kubernetes.protobuf"];
const JSON_TYPE: &[&str] = &[JSON];
const KEY_SET_TYPE: &[&str] = &["application/jwk-set+json"];

/// Documents of v3 that are not of a group; their paths are theirs with a slash at either end.
const PLAIN: &[PlainDocument] = &[
    PlainDocument {
        name: ".well-known/openid-configuration",
        id: "getServiceAccountIssuerOpenIDConfiguration",
        tag: "WellKnown",
        content: Content::Text,
        produces: JSON_TYPE,
        description: "get the OpenID configuration of the service account issuer",
    },
    PlainDocument {
        name: "api",
        id: "getCoreAPIVersions",
        tag: "core",
        content: Content::Type(API_VERSIONS),
        produces: OBJECT_TYPES,
        description: "get the versions of the core group",
    },
    PlainDocument {
        name: "apis",
        id: "getAPIVersions",
        tag: "apis",
        content: Content::Type(API_GROUP_LIST),
        produces: OBJECT_TYPES,
        description: "get the API groups",
    },
    PlainDocument {
        name: "openid/v1/jwks",
        id: "getServiceAccountIssuerOpenIDKeyset",
        tag: "openid",
        content: Content::Text,
        produces: KEY_SET_TYPE,
        description: "get the public keys that check service account tokens",
    },
    PlainDocument {
        name: "version",
        id: "getCodeVersion",
        tag: "version",
        content: Content::Type(VERSION_INFO),
        produces: JSON_TYPE,
        description: "get the version of the server",
    },
];

/// One path with its operations.
#[derive(Debug)]
pub(super) struct PathItem {
    /// The path with its placeholders.
    pub(super) path: String,
    /// Parameters that all its operations have.
    pub(super) parameters: Vec<Parameter>,
    /// What can be done there.
    pub(super) operations: Vec<Operation>,
}

/// What is sent or answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content<S = &'static str> {
    /// An object of the type of this name.
    Type(S),
    /// Anything, described as a string.
    Text,
}

/// What is sent with an operation.
#[derive(Debug)]
pub(super) struct RequestBody {
    /// The name of its type.
    pub(super) type_name: String,
    /// Whether it must be there.
    pub(super) required: bool,
}

/// One method of a path.
#[derive(Debug)]
pub(super) struct Operation {
    /// The HTTP method in lower case.
    pub(super) method: &'static str,
    pub(super) id: String,
    pub(super) tag: String,
    pub(super) description: String,
    /// The verb, as `x-kubernetes-action` says it.
    pub(super) action: Option<&'static str>,
    /// Group, version and kind of the body.
    pub(super) kind: Option<(String, String, String)>,
    /// Parameters that other operations of its path do not have.
    pub(super) parameters: Vec<Parameter>,
    pub(super) body: Option<RequestBody>,
    pub(super) consumes: &'static [&'static str],
    pub(super) produces: &'static [&'static str],
    /// What is answered, under each of `codes`; a 401 is always possible.
    pub(super) content: Content<String>,
    pub(super) codes: &'static [u16],
}

impl Operation {
    /// The names of the types it refers to.
    pub(super) fn types(&self) -> impl Iterator<Item = &str> {
        let answered = match &self.content {
            Content::Type(name) => Some(name.as_str()),
            Content::Text => None,
        };
        answered.into_iter().chain(self.body.iter().map(|body| body.type_name.as_str()))
    }
}

struct PlainDocument {
    name: &'static str,
    id: &'static str,
    tag: &'static str,
    content: Content,
    produces: &'static [&'static str],
    description: &'static str,
}

/// The names of all documents of v3, sorted: `api/v1`, `apis/apps`, `apis/apps/v1`, `version`.
pub(super) fn document_names(registry: &Registry) -> Vec<String> {
    let mut names: Vec<String> = PLAIN.iter().map(|plain| plain.name.to_owned()).collect();
    for gv in registry.group_versions() {
        names.push(document_name(gv.group, gv.version));
        if !gv.group.is_empty() {
            names.push(format!("apis/{}", gv.group));
        }
    }
    names.sort();
    names.dedup();
    names
}

/// The group-version that a document is about; none for those of a group or of none.
pub(super) fn group_version_of<'a>(registry: &'a Registry, document: &str) -> Option<(&'a str, &'a str)> {
    let found = registry.group_versions().iter().find(|gv| document_name(gv.group, gv.version) == document);
    found.map(|gv| (gv.group, gv.version))
}

/// The paths of a document; none when there is no such document.
pub(super) fn of_document(schema: &Schema, registry: &Registry, document: &str) -> Option<Vec<PathItem>> {
    if let Some(plain) = PLAIN.iter().find(|plain| plain.name == document) {
        let content = match &plain.content {
            Content::Type(name) => Content::Type((*name).to_owned()),
            Content::Text => Content::Text,
        };
        return Some(vec![plain_path(
            document,
            plain.id.to_owned(),
            plain.tag.to_owned(),
            plain.description,
            content,
            plain.produces,
        )]);
    }
    if let Some((group, version)) = group_version_of(registry, document) {
        let names = Names::of(group, version);
        let id = format!("get{}APIResources", names.camel);
        let content = Content::Type(API_RESOURCE_LIST.to_owned());
        let mut out = vec![plain_path(
            document,
            id,
            names.tag.clone(),
            "get the resources of this version",
            content,
            OBJECT_TYPES,
        )];
        for resource in registry.of_group_version(group, version) {
            ResourcePaths { schema, resource, names: &names, base: format!("/{document}"), out: &mut out }.push_all();
        }
        return Some(out);
    }
    let group = document.strip_prefix("apis/")?;
    let known = registry.group_versions().iter().any(|gv| !gv.group.is_empty() && gv.group == group);
    let (camel, tag) = group_names(group);
    let content = Content::Type(API_GROUP.to_owned());
    known.then(|| {
        vec![plain_path(document, format!("get{camel}APIGroup"), tag, "get this group", content, OBJECT_TYPES)]
    })
}

fn document_name(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

fn plain_path(
    document: &str,
    id: String,
    tag: String,
    description: &str,
    content: Content<String>,
    produces: &'static [&'static str],
) -> PathItem {
    let operation = Operation {
        method: "get",
        id,
        tag,
        description: description.to_owned(),
        action: None,
        kind: None,
        parameters: Vec::new(),
        body: None,
        consumes: if produces == OBJECT_TYPES { OBJECT_TYPES } else { JSON_TYPE },
        produces,
        content,
        codes: &[200],
    };
    PathItem { path: format!("/{document}/"), parameters: Vec::new(), operations: vec![operation] }
}

/// How a group-version is spelled in operation ids (`RbacAuthorizationV1`) and tags (`rbacAuthorization_v1`).
pub(super) struct Names {
    pub(super) camel: String,
    pub(super) tag: String,
}

impl Names {
    fn of(group: &str, version: &str) -> Names {
        let (camel, tag) = group_names(group);
        Names { camel: format!("{camel}{}", capitalized(version)), tag: format!("{tag}_{version}") }
    }
}

fn group_names(group: &str) -> (String, String) {
    let group = if group.is_empty() { "core" } else { group.strip_suffix(".k8s.io").unwrap_or(group) };
    let camel: String = group.split('.').map(capitalized).collect();
    let tag = camel.chars().next().map(|first| first.to_lowercase().chain(camel.chars().skip(1)).collect());
    (camel, tag.unwrap_or_default())
}

/// The word with a capital first letter.
pub(super) fn capitalized(word: &str) -> String {
    let mut rest = word.chars();
    rest.next().map(|first| first.to_uppercase().chain(rest).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn paths(document: &str) -> Vec<PathItem> {
        of_document(portcullis_kinds::schema(), portcullis_kinds::resources(), document).unwrap()
    }

    #[test]
    fn groups_are_spelled_in_two_ways() {
        let check =
            |group: &str, camel: &str, tag: &str| assert_eq!(group_names(group), (camel.to_owned(), tag.to_owned()));
        check("", "Core", "core");
        check("apps", "Apps", "apps");
        check("rbac.authorization.k8s.io", "RbacAuthorization", "rbacAuthorization");
        check("flowcontrol.apiserver.k8s.io", "FlowcontrolApiserver", "flowcontrolApiserver");
    }

    #[test]
    fn a_path_shares_what_all_its_operations_take() {
        let check = |document: &str, path: &str, shared: &str, operations: &[&str]| {
            let item =
                paths(document).into_iter().find(|item| item.path == path).unwrap_or_else(|| panic!("no {path}"));
            let names: Vec<_> = item.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
            assert_eq!(names.join(" "), shared, "{path}");
            assert_eq!(
                item.operations.iter().map(|operation| &*operation.id).collect::<Vec<_>>(),
                operations,
                "{path}"
            );
        };
        check("apis/apps/v1", "/apis/apps/v1/", "", &["getAppsV1APIResources"]);
        check(
            "apis/apps/v1",
            "/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale",
            "name namespace pretty",
            &[
                "readAppsV1NamespacedDeploymentScale",
                "patchAppsV1NamespacedDeploymentScale",
                "replaceAppsV1NamespacedDeploymentScale",
            ],
        );
        check(
            "api/v1",
            "/api/v1/namespaces/{name}/finalize",
            "dryRun fieldManager fieldValidation name pretty",
            &["replaceCoreV1NamespaceFinalize"],
        );
        check(
            "api/v1",
            "/api/v1/namespaces/{namespace}/pods/{name}/exec",
            "command container name namespace stderr stdin stdout tty",
            &["connectCoreV1GetNamespacedPodExec", "connectCoreV1PostNamespacedPodExec"],
        );
    }

    #[test]
    fn documents_are_those_of_the_group_versions() {
        let names = document_names(portcullis_kinds::resources());
        assert_eq!(names.len(), 5 + 22 + 20);
        for name in &names {
            assert!(!paths(name).is_empty(), "{name}");
        }
        let check = |name: &str| {
            assert!(of_document(portcullis_kinds::schema(), portcullis_kinds::resources(), name).is_none())
        };
        check("apis/boats");
        check("apis/apps/v9");
        check("apis/");
        check("");
    }

    #[test]
    fn operation_ids_are_unique() {
        let mut seen = std::collections::BTreeSet::new();
        for name in document_names(portcullis_kinds::resources()) {
            for operation in paths(&name).into_iter().flat_map(|item| item.operations) {
                assert!(seen.insert(operation.id.clone()), "{} twice", operation.id);
            }
        }
    }
}
