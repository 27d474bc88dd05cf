//! The paths of one resource: its collection, its objects, its subresources and the old watch paths.

use portcullis_kinds::resources::{Resource, Subresource};
use portcullis_model::schema::Schema;

use super::parameters::{Options, Parameter, in_path};
use super::paths::{Content, Names, OBJECT_TYPES, Operation, PathItem, RequestBody, capitalized};
use super::schema::{DELETE_OPTIONS, PATCH, STATUS, WATCH_EVENT};
use crate::registry::rules::Rules;

const LIST_TYPES: &[&str] = &[
    "application/json",
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf",
    "application/vnd.kubernetes.protobuf;stream=watch",
    "application/yaml",
];
const LOG_TYPES: &[&str] =
    &["text/plain", "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
const PATCH_TYPES: &[&str] = &[
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];
const ANY_TYPE: &[&str] = &["*/*"];

/// Where an operation acts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Cluster,
    Namespace,
    AllNamespaces,
}

/// Makes the paths of a resource.
pub(super) struct ResourcePaths<'a> {
    pub(super) schema: &'a Schema,
    pub(super) resource: &'a Resource,
    pub(super) names: &'a Names,
    /// The path of the group-version.
    pub(super) base: String,
    /// Where they go.
    pub(super) out: &'a mut Vec<PathItem>,
}

impl ResourcePaths<'_> {
    /// Adds them.
    pub(super) fn push_all(&mut self) {
        let resource = self.resource;
        let plural = resource.name;
        let scope = if resource.namespaced { Scope::Namespace } else { Scope::Cluster };
        let collection =
            if resource.namespaced { format!("/namespaces/{{namespace}}/{plural}") } else { format!("/{plural}") };
        let mut operations = Vec::new();
        for (verb, operation) in [
            ("deletecollection", Self::delete_collection as fn(&Self, Scope) -> Operation),
            ("list", Self::list),
            ("create", Self::create),
        ] {
            if resource.has_verb(verb) {
                operations.push(operation(self, scope));
            }
        }
        self.push(collection.clone(), scope, false, operations);
        let mut operations = Vec::new();
        if resource.has_verb("delete") {
            operations.push(self.delete(scope));
        }
        let kind = (resource.group, resource.version, resource.kind);
        operations.extend(self.reads_and_writes(scope, &resource.verbs, "", kind));
        self.push(format!("{collection}/{{name}}"), scope, true, operations);
        for sub in &resource.subresources {
            self.subresource(&format!("{collection}/{{name}}/{}", sub.name), scope, sub);
        }
        if resource.namespaced && resource.has_verb("list") {
            let list = self.list(Scope::AllNamespaces);
            self.push(format!("/{plural}"), Scope::AllNamespaces, false, vec![list]);
        }
        if resource.has_verb("watch") {
            if resource.namespaced {
                let watch = self.watch(Scope::AllNamespaces, true);
                self.push(format!("/watch/{plural}"), Scope::AllNamespaces, false, vec![watch]);
            }
            let (list, one) = (self.watch(scope, true), self.watch(scope, false));
            self.push(format!("/watch{collection}"), scope, false, vec![list]);
            self.push(format!("/watch{collection}/{{name}}"), scope, true, vec![one]);
        }
    }

    fn subresource(&mut self, path: &str, scope: Scope, sub: &Subresource) {
        let suffix = capitalized(sub.name);
        if sub.name == "log" {
            let mut log = self.operation("get", ("read", ""), scope, &suffix, Options::Log);
            (log.action, log.produces, log.content) = (Some("get"), LOG_TYPES, Content::Text);
            log.description = format!("read the log of the specified {}", self.resource.kind);
            return self.push(path.to_owned(), scope, true, vec![log]);
        }
        if sub.type_id.is_none() {
            let methods: &[_] = if sub.verbs.contains(&"delete") {
                &["delete", "get", "head", "options", "patch", "post", "put"]
            } else {
                &["get", "post"]
            };
            let connects = |suffix: &str| {
                methods.iter().map(|method| self.connect(method, scope, suffix, sub)).collect::<Vec<_>>()
            };
            let (plain, with_path) = (connects(&suffix), connects(&format!("{suffix}WithPath")));
            self.push(path.to_owned(), scope, true, plain);
            if sub.name == "proxy" {
                self.push(format!("{path}/{{path}}"), scope, true, with_path);
            }
            return;
        }
        let kind = (sub.group, sub.version, sub.kind);
        let mut operations = self.reads_and_writes(scope, &sub.verbs, &suffix, kind);
        if sub.verbs.contains(&"create") {
            let mut create = self.create(scope);
            create.id.push_str(&suffix);
            self.set_kind(&mut create, kind);
            create.description = format!("create {} of a {}", sub.name, self.resource.kind);
            operations.push(create);
        }
        self.push(path.to_owned(), scope, true, operations);
    }

    /// Adds a path and moves up the parameters that all its operations have.
    fn push(&mut self, path: String, scope: Scope, one: bool, mut operations: Vec<Operation>) {
        let Some((first, rest)) = operations.split_first_mut() else { return };
        let mut parameters = Vec::new();
        if one {
            parameters.push(in_path("name", &format!("name of the {}", self.resource.kind)));
        }
        if scope == Scope::Namespace {
            parameters.push(in_path("namespace", "namespace of the object"));
        }
        if path.ends_with("/{path}") {
            parameters.push(in_path("path", "path of the request that is passed on"));
        }
        let is_shared = |parameter: &Parameter| rest.iter().all(|operation| operation.parameters.contains(parameter));
        let shared: Vec<Parameter> =
            first.parameters.iter().filter(|parameter| is_shared(parameter)).cloned().collect();
        for operation in &mut operations {
            operation.parameters.retain(|parameter| !shared.contains(parameter));
        }
        parameters.extend(shared);
        parameters.sort();
        self.out.push(PathItem { path: format!("{}{path}", self.base), parameters, operations });
    }

    /// An operation with what most have; its answer is an object of the resource.
    fn operation(
        &self,
        method: &'static str,
        verb: (&str, &str),
        scope: Scope,
        suffix: &str,
        options: Options<'_>,
    ) -> Operation {
        let (verb, qualifier) = verb;
        let namespaced = if scope == Scope::Namespace { "Namespaced" } else { "" };
        let everywhere = if scope == Scope::AllNamespaces { "ForAllNamespaces" } else { "" };
        let Resource { group, version, kind, .. } = self.resource;
        let mut operation = Operation {
            method,
            id: format!("{verb}{}{qualifier}{namespaced}{kind}{suffix}{everywhere}", self.names.camel),
            tag: self.names.tag.clone(),
            description: String::new(),
            action: None,
            kind: None,
            parameters: options.parameters(self.schema),
            body: None,
            consumes: ANY_TYPE,
            produces: OBJECT_TYPES,
            content: Content::Text,
            codes: &[200],
        };
        self.set_kind(&mut operation, (group, version, kind));
        operation
    }

    /// Says which kind an operation is about, in its answer and, if it has one, its body.
    fn set_kind(&self, operation: &mut Operation, (group, version, kind): (&str, &str, &str)) {
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        if let Some(id) = self.schema.by_kind(&api_version, kind) {
            let type_name = self.schema.ty(id).name.to_string();
            if let Some(body) = &mut operation.body {
                body.type_name.clone_from(&type_name);
            }
            operation.content = Content::Type(type_name);
        }
        operation.kind = Some((group.to_owned(), version.to_owned(), kind.to_owned()));
    }

    fn list(&self, scope: Scope) -> Operation {
        let mut list = self.operation("get", ("list", ""), scope, "", Options::List);
        list.action = Some("list");
        list.description = format!("list or watch objects of kind {}", self.resource.kind);
        list.produces = LIST_TYPES;
        if let Some(id) = self.resource.list_type_id {
            list.content = Content::Type(self.schema.ty(id).name.to_string());
        }
        list
    }

    fn create(&self, scope: Scope) -> Operation {
        let mut create = self.operation("post", ("create", ""), scope, "", Options::Create);
        create.action = Some("post");
        create.description = format!("create a {}", self.resource.kind);
        create.body = self.object_body(&create);
        create.codes = &[200, 201, 202];
        create
    }

    fn delete(&self, scope: Scope) -> Operation {
        let mut delete = self.operation("delete", ("delete", ""), scope, "", Options::Delete);
        delete.action = Some("delete");
        delete.description = format!("delete a {}", self.resource.kind);
        delete.body = Some(RequestBody { type_name: DELETE_OPTIONS.to_owned(), required: false });
        if !returns_deleted(self.resource) {
            delete.content = Content::Type(STATUS.to_owned());
        }
        delete.codes = &[200, 202];
        delete
    }

    fn delete_collection(&self, scope: Scope) -> Operation {
        let mut delete = self.operation("delete", ("delete", "Collection"), scope, "", Options::DeleteCollection);
        delete.action = Some("deletecollection");
        delete.description = format!("delete all selected objects of kind {}", self.resource.kind);
        delete.body = Some(RequestBody { type_name: DELETE_OPTIONS.to_owned(), required: false });
        delete.content = Content::Type(STATUS.to_owned());
        delete
    }

    fn watch(&self, scope: Scope, list: bool) -> Operation {
        let (suffix, action) = if list { ("List", "watchlist") } else { ("", "watch") };
        let mut watch = self.operation("get", ("watch", ""), scope, suffix, Options::List);
        watch.action = Some(action);
        let advice = "deprecated: use the watch parameter of a list";
        watch.description = format!("watch changes of {} ({advice})", self.resource.kind);
        watch.produces = LIST_TYPES;
        watch.content = Content::Type(WATCH_EVENT.to_owned());
        watch
    }

    fn connect(&self, method: &'static str, scope: Scope, suffix: &str, sub: &Subresource) -> Operation {
        let verb = ("connect", &*capitalized(method));
        let mut connect = self.operation(method, verb, scope, suffix, Options::Connect(sub.kind));
        self.set_kind(&mut connect, (sub.group, sub.version, sub.kind));
        connect.action = Some("connect");
        connect.description =
            format!("connect {} requests to {} of a {}", method.to_uppercase(), sub.name, self.resource.kind);
        connect.produces = ANY_TYPE;
        connect.content = Content::Text;
        connect
    }

    /// get, update and patch of a resource or of a subresource.
    fn reads_and_writes(&self, scope: Scope, verbs: &[&str], suffix: &str, kind: (&str, &str, &str)) -> Vec<Operation> {
        let part = if suffix.is_empty() { String::new() } else { format!("{} of the ", suffix.to_lowercase()) };
        let described = |verb: &str| format!("{verb} {part}specified {}", self.resource.kind);
        let mut out = Vec::new();
        if verbs.contains(&"get") {
            let mut read = self.operation("get", ("read", ""), scope, suffix, Options::None);
            (read.action, read.description) = (Some("get"), described("read"));
            out.push(read);
        }
        if verbs.contains(&"patch") {
            let mut patch = self.operation("patch", ("patch", ""), scope, suffix, Options::Patch);
            (patch.action, patch.description) = (Some("patch"), described("partially update"));
            (patch.consumes, patch.codes) = (PATCH_TYPES, &[200, 201]);
            out.push(patch);
        }
        if verbs.contains(&"update") {
            let mut replace = self.operation("put", ("replace", ""), scope, suffix, Options::Update);
            (replace.action, replace.description) = (Some("put"), described("replace"));
            (replace.body, replace.codes) = (self.object_body(&replace), &[200, 201]);
            out.push(replace);
        }
        for operation in &mut out {
            self.set_kind(operation, kind);
            if operation.method == "patch" {
                operation.body = Some(RequestBody { type_name: PATCH.to_owned(), required: true });
            }
        }
        out
    }

    /// A body of the type that is answered.
    fn object_body(&self, operation: &Operation) -> Option<RequestBody> {
        match &operation.content {
            Content::Type(type_name) => Some(RequestBody { type_name: type_name.clone(), required: true }),
            Content::Text => None,
        }
    }
}

/// Whether a DELETE is published as answering with the object. Namespaces answer so, but are published with a status, as upstream's are.
fn returns_deleted(resource: &Resource) -> bool {
    Rules::of(resource).delete_shows_object && (resource.group, resource.name) != ("", "namespaces")
}
