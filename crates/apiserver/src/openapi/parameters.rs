//! The parameters of operations. Which options a verb has is a fact about the options types of meta/v1 and core/v1; their words
//! are ours.

use portcullis_model::schema::{Schema, TypeRef};

use super::schema::DELETE_OPTIONS;

const LIST_OPTIONS: &str = "apimachinery.pkg.apis.meta.v1.ListOptions";
const CREATE_OPTIONS: &str = "apimachinery.pkg.apis.meta.v1.CreateOptions";
const UPDATE_OPTIONS: &str = "apimachinery.pkg.apis.meta.v1.UpdateOptions";
const PATCH_OPTIONS: &str = "apimachinery.pkg.apis.meta.v1.PatchOptions";
const POD_LOG_OPTIONS: &str = "api.core.v1.PodLogOptions";

/// What each query parameter is for.
const DESCRIPTIONS: &[(&str, &str)] = &[
    ("allowWatchBookmarks", "Lets a watch send BOOKMARK events, which carry nothing but a newer resourceVersion."),
    ("command", "The command to run, one parameter an argument. It is not run in a shell."),
    ("container", "The container; needed only when the pod has several."),
    (
        "continue",
        "The token of the next page, from the metadata of the last one. It expires after some minutes, with a 410.",
    ),
    ("dryRun", "\"All\": everything is checked and nothing is stored."),
    ("fieldManager", "Who is said to manage the fields that this request sets. Required for apply."),
    ("fieldSelector", "Takes only objects with these fields, as in metadata.name=web."),
    ("fieldValidation", "What to do with unknown and duplicate fields: Ignore, Warn (the default) or Strict."),
    ("follow", "Goes on with what the container writes from now on."),
    ("force", "Takes over fields that another manager owns. Only for apply."),
    ("gracePeriodSeconds", "Seconds until the object is deleted; 0 deletes at once."),
    (
        "ignoreStoreReadErrorWithClusterBreakingPotential",
        "Deletes an object that cannot be read from the store, without finalizers or preconditions.",
    ),
    ("insecureSkipTLSVerifyBackend", "Does not check the certificate of the kubelet that the log comes from."),
    ("labelSelector", "Takes only objects with these labels, as in app=web,tier!=front."),
    ("limit", "The most items in one answer; the rest follows with continue."),
    ("limitBytes", "The most bytes to return."),
    ("orphanDependents", "Deprecated in favour of propagationPolicy: whether dependents are kept."),
    ("path", "The path of the request that is passed on."),
    ("ports", "The ports to forward; needed only for the older WebSocket protocol."),
    ("pretty", "Whether JSON is indented; so by default for browsers, curl and wget."),
    ("previous", "Returns the log of the container's last, ended run."),
    ("propagationPolicy", "What happens to dependents: Orphan, Background or Foreground."),
    ("resourceVersion", "The version to read or watch from; what it means is said by resourceVersionMatch."),
    ("resourceVersionMatch", "Exact or NotOlderThan: how resourceVersion is meant."),
    ("sendInitialEvents", "Begins a watch with an event for each object there is, and a bookmark after them."),
    ("shardSelector", "Takes only objects of one shard."),
    ("sinceSeconds", "Begins this many seconds ago."),
    ("stderr", "Passes the standard error on."),
    ("stdin", "Passes the standard input on."),
    ("stdout", "Passes the standard output on."),
    ("stream", "All, Stdout or Stderr."),
    ("tailLines", "Only this many lines from the end."),
    ("timeoutSeconds", "Ends the request after this many seconds."),
    ("timestamps", "Begins each line with its time."),
    ("tty", "Gives the process a terminal."),
    ("watch", "Goes on with the changes that follow, as a stream."),
];

/// A parameter of an operation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Parameter {
    /// Its name.
    pub(super) name: String,
    /// `path` or `query`.
    pub(super) place: &'static str,
    /// `string`, `boolean` or `integer`.
    pub(super) ty: &'static str,
    /// What it is for.
    pub(super) description: String,
}

/// A set of options of the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Options<'a> {
    /// None at all.
    None,
    /// Of list and watch.
    List,
    /// Of create.
    Create,
    /// Of update.
    Update,
    /// Of patch.
    Patch,
    /// Of delete.
    Delete,
    /// Of deletecollection: those of delete, and what selects.
    DeleteCollection,
    /// Of a log.
    Log,
    /// Of a connection, by the name of their type in core/v1.
    Connect(&'a str),
}

impl Options<'_> {
    /// The query parameters, `pretty` included where answers are objects; sorted.
    pub(super) fn parameters(self, schema: &Schema) -> Vec<Parameter> {
        let of = |names: &[&str]| names.iter().flat_map(|name| fields(schema, name)).collect::<Vec<_>>();
        let mut out = match self {
            Options::None => Vec::new(),
            Options::List => of(&[LIST_OPTIONS]),
            Options::Create => of(&[CREATE_OPTIONS]),
            Options::Update => of(&[UPDATE_OPTIONS]),
            Options::Patch => of(&[PATCH_OPTIONS]),
            Options::Delete => of(&[DELETE_OPTIONS]),
            Options::DeleteCollection => {
                let mut all = of(&[LIST_OPTIONS, DELETE_OPTIONS]);
                all.retain(|parameter| !matches!(parameter.name.as_str(), "watch" | "allowWatchBookmarks"));
                all
            }
            Options::Log => of(&[POD_LOG_OPTIONS]),
            Options::Connect(kind) => return sorted(of(&[&format!("api.core.v1.{kind}")])),
        };
        out.push(query("pretty", "string"));
        sorted(out)
    }
}

/// A parameter in the path.
pub(super) fn in_path(name: &str, description: &str) -> Parameter {
    Parameter { name: name.to_owned(), place: "path", ty: "string", description: description.to_owned() }
}

fn sorted(mut parameters: Vec<Parameter>) -> Vec<Parameter> {
    parameters.sort();
    parameters
}

fn query(name: &str, ty: &'static str) -> Parameter {
    let description = DESCRIPTIONS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text).unwrap_or_default();
    Parameter { name: name.to_owned(), place: "query", ty, description: description.to_owned() }
}

/// The fields of an options type that can be written into a query: scalars and lists of them.
fn fields(schema: &Schema, name: &str) -> Vec<Parameter> {
    let Some(id) = schema.by_name(name) else { return Vec::new() };
    let of_field = |field: &portcullis_model::schema::Field| {
        let ty = match field.ty {
            TypeRef::List(number) => schema.element(number),
            ty => ty,
        };
        let ty = match ty {
            TypeRef::String => "string",
            TypeRef::Bool => "boolean",
            TypeRef::Int32 | TypeRef::Int64 => "integer",
            _ => return None,
        };
        (!matches!(&*field.name, "kind" | "apiVersion")).then(|| query(&field.name, ty))
    };
    schema.ty(id).fields.iter().filter_map(of_field).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_the_fields_of_their_types() {
        let check = |options: Options<'_>, expected: &str| {
            let parameters = options.parameters(portcullis_kinds::schema());
            let names: Vec<_> =
                parameters.iter().map(|parameter| format!("{}:{}", parameter.name, parameter.ty)).collect();
            assert_eq!(names.join(" "), expected, "{options:?}");
            assert!(parameters.iter().all(|parameter| !parameter.description.is_empty()), "{options:?}");
        };
        check(Options::None, "pretty:string");
        check(Options::Create, "dryRun:string fieldManager:string fieldValidation:string pretty:string");
        check(Options::Patch, "dryRun:string fieldManager:string fieldValidation:string force:boolean pretty:string");
        check(Options::Connect("PodPortForwardOptions"), "ports:integer");
        check(Options::Connect("Boat"), "");
    }

    #[test]
    fn a_deletecollection_does_not_watch() {
        let names = |options: Options<'_>| {
            let parameters = options.parameters(portcullis_kinds::schema());
            parameters.into_iter().map(|parameter| parameter.name).collect::<Vec<_>>()
        };
        assert!(names(Options::List).contains(&"watch".to_owned()));
        assert!(!names(Options::DeleteCollection).contains(&"watch".to_owned()));
        assert!(names(Options::DeleteCollection).contains(&"propagationPolicy".to_owned()));
    }
}
