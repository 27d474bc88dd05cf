//! Step 1, `Located`: what a request is about (upstream: `RequestInfo`, KEP-4601 for selectors).
//!
//! The path is percent-decoded exactly once and then split, as upstream does, and authorisation and routing read the same
//! answer: a request can not be authorised as one thing and served as another. A path that could be read in two ways (`//`,
//! `.`, `..`, NUL, bytes that are not UTF-8) keeps the reading upstream would authorise, and a [`PathFault`] that refuses it
//! right after.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use http::Method;

use crate::arrival::Arrived;
use crate::authz::Selectors;
use crate::query::{Query, percent_decode};
use crate::refusal::Refusal;

mod field_name;
mod selectors;

use self::selectors::Unread;
pub use field_name::selected as selected_name;

/// What is done to a resource. The order of a request's verb is: method, then the presence of a name, then the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Read one object.
    Get,
    /// Read many objects.
    List,
    /// Follow changes.
    Watch,
    /// Make an object, or act on one (eviction, binding, exec).
    Create,
    /// Replace an object.
    Update,
    /// Change an object.
    Patch,
    /// Remove one object.
    Delete,
    /// Remove many objects.
    DeleteCollection,
    /// Reach through to a backend by the old path prefix.
    Proxy,
    /// A method that no resource knows; upstream's empty verb.
    Unknown,
}

impl Verb {
    /// Returns the verb as roles and messages have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
            Self::Proxy => "proxy",
            Self::Unknown => "",
        }
    }
}

/// What a request is about: its decoded path, and either a resource or nothing but the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestInfo {
    path: String,
    path_verb: Cow<'static, str>,
    resource: Option<ResourceSpans>,
    fault: Option<PathFault>,
}

/// A request for a resource. All strings are decoded; absent parts are empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceInfo<'a> {
    /// `api` or `apis`.
    pub prefix: &'a str,
    /// The API group; empty under `/api`.
    pub group: &'a str,
    /// The API version.
    pub version: &'a str,
    /// The namespace. For the resource `namespaces` it is the name of the object, as upstream authorises it.
    pub namespace: &'a str,
    /// The resource, plural and lower case as the client wrote it.
    pub resource: &'a str,
    /// The subresource.
    pub subresource: &'a str,
    /// The object's name, or the one a list or watch selects by `metadata.name`.
    pub name: &'a str,
    /// The object's name in the path only: empty for every list and watch of a collection.
    pub path_name: &'a str,
    /// What follows the subresource, without the slash before it (paths behind a proxy).
    pub tail: &'a str,
    /// What is to be done.
    pub verb: Verb,
    /// Whether a namespace stands before the resource. Not so for a namespace object, although its name is its `namespace`.
    pub is_in_namespace: bool,
    /// Whether the verb stood in the path (`watch/`, `proxy/`), so that the method said nothing of it.
    pub is_verb_in_path: bool,
}

/// Why a path is refused although it was parsed and authorised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathFault {
    /// An empty, `.` or `..` segment where no route has one: 404.
    NotClean,
    /// A name or namespace that can not be part of a storage key (`.`, `..`, with `%`): 400.
    BadSegment,
    /// A name, namespace or route with NUL or with bytes that are not UTF-8: nothing has such a name, 404.
    NoSuchName,
    /// `/api/v1/watch` and `/api/v1/proxy` without a resource: 500, as upstream.
    NoTarget,
}

/// A request with its [`RequestInfo`].
pub(crate) struct Located {
    /// Boxed, as what follows is shared: each step hands both on to the next.
    arrived: Box<Arrived>,
    info: Arc<RequestInfo>,
}

impl Located {
    pub(crate) fn arrived(&self) -> &Arrived {
        &self.arrived
    }

    pub(crate) fn arrived_mut(&mut self) -> &mut Arrived {
        &mut self.arrived
    }

    pub(crate) fn info(&self) -> &Arc<RequestInfo> {
        &self.info
    }
}

/// A request whose path can not be read.
pub(crate) struct Unlocated {
    pub(crate) arrived: Box<Arrived>,
    pub(crate) refusal: Refusal,
}

impl From<Unlocated> for Refusal {
    fn from(unlocated: Unlocated) -> Self {
        unlocated.refusal
    }
}

/// Parses the path and the query of a request.
pub(crate) fn locate(arrived: Box<Arrived>) -> Result<Located, Unlocated> {
    let uri = &arrived.parts.uri;
    let info = RequestInfo::parse(&arrived.parts.method, uri.path(), uri.query().unwrap_or_default());
    match info {
        Some(info) => Ok(Located { arrived, info: Arc::new(info) }),
        None => Err(Unlocated { arrived, refusal: Refusal::BadRequestLine }),
    }
}

/// Subresources that belong to the namespace object; anything else after its name is a resource in the namespace.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];
/// The subresource whose tail belongs to a backend and is not ours to judge.
const SUBRESOURCE_PROXY: &str = "proxy";

type Span = Range<usize>;

#[derive(Clone, Debug, PartialEq, Eq)]
struct ResourceSpans {
    prefix: Span,
    group: Span,
    version: Span,
    namespace: Span,
    resource: Span,
    name: Span,
    subresource: Span,
    tail: Span,
    verb: Verb,
    is_in_namespace: bool,
    is_verb_in_path: bool,
    selected_name: Option<String>,
    /// None when all of a collection is asked for, and for what is no collection.
    selectors: Option<Unread>,
}

impl RequestInfo {
    /// Parses a raw path and query; `None` when the path has an escape that is not one.
    pub fn parse(method: &Method, raw_path: &str, query: &str) -> Option<Self> {
        let (path, mut fault) = decode_path(raw_path)?;
        let resource = match parse_resource(&path, method, Query::new(query)) {
            Ok(resource) => resource,
            Err(NoTarget) => {
                fault = fault.or(Some(PathFault::NoTarget));
                None
            }
        };
        let fault = fault.or_else(|| find_fault(&path, resource.as_ref()));
        Some(Self { path, path_verb: lower_case(method), resource, fault })
    }

    /// Returns the decoded path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the verb: of the resource, or the method in lower case.
    pub fn verb(&self) -> &str {
        self.resource.as_ref().map_or(&self.path_verb, |spans| spans.verb.as_str())
    }

    /// Returns what a request for a resource asks for, `None` for all other paths.
    pub fn resource(&self) -> Option<ResourceInfo<'_>> {
        let spans = self.resource.as_ref()?;
        let at = |span: &Span| self.path.get(span.clone()).unwrap_or_default();
        let path_name = at(&spans.name);
        Some(ResourceInfo {
            prefix: at(&spans.prefix),
            group: at(&spans.group),
            version: at(&spans.version),
            namespace: at(&spans.namespace),
            resource: at(&spans.resource),
            subresource: at(&spans.subresource),
            name: spans.selected_name.as_deref().unwrap_or(path_name),
            path_name,
            tail: at(&spans.tail),
            verb: spans.verb,
            is_in_namespace: spans.is_in_namespace,
            is_verb_in_path: spans.is_verb_in_path,
        })
    }

    /// Returns which objects of a collection are asked for; all when a selector cannot be read, and for a verb in the path.
    pub fn selectors(&self) -> &Selectors {
        let unread = self.resource.as_ref().and_then(|spans| spans.selectors.as_ref());
        unread.map_or(Selectors::NONE, Unread::read)
    }

    /// Says whether the request may take as long as it likes: watches and streams (upstream: the long-running check).
    pub fn is_long_running(&self) -> bool {
        match &self.resource {
            Some(spans) => {
                let subresource = self.path.get(spans.subresource.clone()).unwrap_or_default();
                matches!(spans.verb, Verb::Watch | Verb::Proxy)
                    || matches!(subresource, "attach" | "exec" | "proxy" | "log" | "portforward")
            }
            None => self.path.starts_with("/debug/pprof/"),
        }
    }

    /// Returns why the path must not be served, if it must not.
    pub fn fault(&self) -> Option<PathFault> {
        self.fault
    }
}

fn lower_case(method: &Method) -> Cow<'static, str> {
    Cow::Borrowed(match *method {
        Method::GET => "get",
        Method::HEAD => "head",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::OPTIONS => "options",
        Method::CONNECT => "connect",
        Method::TRACE => "trace",
        _ => return Cow::Owned(method.as_str().to_lowercase()),
    })
}

/// Decodes once. What is not UTF-8 is kept readable for authorisation and messages, and is never served.
fn decode_path(raw: &str) -> Option<(String, Option<PathFault>)> {
    if !raw.as_bytes().contains(&b'%') {
        return Some((raw.to_owned(), None));
    }
    let (path, fault) = match String::from_utf8(percent_decode(raw)?) {
        Ok(path) => (path, None),
        Err(bad) => (String::from_utf8_lossy(bad.as_bytes()).into_owned(), Some(PathFault::NoSuchName)),
    };
    let fault = fault.or(path.contains('\0').then_some(PathFault::NoSuchName));
    Some((path, fault))
}

/// A path with a verb in it, and nothing behind that.
struct NoTarget;

/// The segments of a path without the slashes at its ends, as spans of it.
struct Segments<'a> {
    path: &'a str,
    rest: Option<Span>,
}

impl<'a> Segments<'a> {
    fn new(path: &'a str) -> Self {
        let start = path.len() - path.trim_start_matches('/').len();
        let end = path.trim_end_matches('/').len();
        Self { path, rest: (start < end).then_some(start..end) }
    }

    fn text(&self, span: &Span) -> &'a str {
        self.path.get(span.clone()).unwrap_or_default()
    }

    /// Takes the next segment; `a//b` has an empty one between.
    fn next(&mut self) -> Option<Span> {
        let rest = self.rest.take()?;
        match self.text(&rest).bytes().position(|byte| byte == b'/') {
            Some(len) => {
                self.rest = Some(rest.start + len + 1..rest.end);
                Some(rest.start..rest.start + len)
            }
            None => Some(rest),
        }
    }

    fn take_rest(&mut self) -> Span {
        self.rest.take().unwrap_or_default()
    }
}

/// `None` when a path is no resource's.
fn parse_resource(path: &str, method: &Method, query: Query<'_>) -> Result<Option<ResourceSpans>, NoTarget> {
    let mut segments = Segments::new(path);
    let Some(prefix) = segments.next() else { return Ok(None) };
    let group = match segments.text(&prefix) {
        "api" => Some(Span::default()),
        "apis" => segments.next(),
        _ => None,
    };
    let (Some(group), Some(version), Some(mut first)) = (group, segments.next(), segments.next()) else {
        return Ok(None);
    };
    let by_prefix = match segments.text(&first) {
        "watch" => Some(Verb::Watch),
        "proxy" => Some(Verb::Proxy),
        _ => None,
    };
    if by_prefix.is_some() {
        match segments.next() {
            Some(second) => first = second,
            None => return Err(NoTarget),
        }
    }
    let verb = by_prefix.unwrap_or_else(|| verb_of_method(method));
    let mut spans = parse_target(segments, first, verb);
    spans.is_verb_in_path = by_prefix.is_some();
    spans.prefix = prefix;
    spans.group = group;
    spans.version = version;
    if spans.name.is_empty() {
        match spans.verb {
            Verb::Get => read_collection(&mut spans, query),
            Verb::Delete => spans.verb = Verb::DeleteCollection,
            _ => {}
        }
    }
    if by_prefix.is_none() && matches!(spans.verb, Verb::List | Verb::Watch | Verb::DeleteCollection) {
        spans.selectors = Unread::of(query.text());
    }
    Ok(Some(spans))
}

fn verb_of_method(method: &Method) -> Verb {
    match *method {
        Method::GET | Method::HEAD => Verb::Get,
        Method::POST => Verb::Create,
        Method::PUT => Verb::Update,
        Method::PATCH => Verb::Patch,
        Method::DELETE => Verb::Delete,
        _ => Verb::Unknown,
    }
}

/// Reads `[namespaces/{namespace}/]{resource}[/{name}[/{subresource}[/{tail}]]]`, whose first segment is `first`.
fn parse_target(mut segments: Segments<'_>, first: Span, verb: Verb) -> ResourceSpans {
    let mut spans = ResourceSpans {
        prefix: Span::default(),
        group: Span::default(),
        version: Span::default(),
        namespace: Span::default(),
        resource: first,
        name: Span::default(),
        subresource: Span::default(),
        tail: Span::default(),
        verb,
        is_in_namespace: false,
        is_verb_in_path: false,
        selected_name: None,
        selectors: None,
    };
    if segments.text(&spans.resource) == "namespaces" {
        let Some(namespace) = segments.next() else { return spans };
        spans.namespace = namespace.clone();
        match segments.next() {
            None => {
                spans.name = namespace;
                return spans;
            }
            Some(third) if NAMESPACE_SUBRESOURCES.contains(&segments.text(&third)) => {
                spans.name = namespace;
                spans.subresource = third;
                spans.tail = segments.take_rest();
                return spans;
            }
            Some(third) => {
                spans.resource = third;
                spans.is_in_namespace = true;
            }
        }
    }
    spans.name = segments.next().unwrap_or_default();
    if verb != Verb::Proxy {
        spans.subresource = segments.next().unwrap_or_default();
    }
    spans.tail = segments.take_rest();
    spans
}

/// Tells list from watch, and takes the name out of a selector that can match only one, so that roles with names apply.
fn read_collection(spans: &mut ResourceSpans, query: Query<'_>) {
    // Any value but these two is true, as Go converts a query parameter; so is `?watch` without one.
    let watch = query.get("watch").is_some_and(|value| !matches!(value.to_ascii_lowercase().as_str(), "false" | "0"));
    spans.verb = if watch { Verb::Watch } else { Verb::List };
    let selector = query.get("fieldSelector");
    spans.selected_name =
        selector.and_then(|selector| field_name::selected(&selector)).filter(|name| is_path_segment(name));
}

/// Says whether a name can be one segment of a storage key.
fn is_path_segment(name: &str) -> bool {
    is_plain(name.as_bytes()) && !name.bytes().any(|byte| matches!(byte, b'/' | b'%' | b'\0'))
}

/// Says whether a segment names something: not empty and not a step in the tree.
fn is_plain(segment: &[u8]) -> bool {
    !matches!(segment, b"" | b"." | b"..")
}

/// Says whether all segments name something.
fn is_clean(path: &str) -> bool {
    path.as_bytes().split(|byte| *byte == b'/').all(is_plain)
}

fn find_fault(path: &str, resource: Option<&ResourceSpans>) -> Option<PathFault> {
    let Some(inner) = path.strip_prefix('/') else { return Some(PathFault::NotClean) };
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    let Some(spans) = resource else {
        return (path != "/" && !is_clean(inner)).then_some(PathFault::NotClean);
    };
    let text = |span: &Span| path.get(span.clone()).unwrap_or_default();
    for span in [&spans.namespace, &spans.name] {
        if !span.is_empty() && !is_path_segment(text(span)) {
            return Some(PathFault::BadSegment);
        }
    }
    // Behind a proxy the tail is the backend's business; everywhere else no route has an empty segment or a dot.
    let passes_tail = spans.verb == Verb::Proxy || text(&spans.subresource) == SUBRESOURCE_PROXY;
    let judged = if passes_tail && !spans.tail.is_empty() { path.get(1..spans.tail.start - 1) } else { Some(inner) };
    (!is_clean(judged.unwrap_or_default())).then_some(PathFault::NotClean)
}

#[cfg(test)]
mod tests;
