//! Which series a request is counted in. A label is a served name, a known verb or a known scope, and never what a client wrote
//! (CVE-2020-8552): whatever is asked for, there are no more series than served resources have verbs.

use http::{HeaderMap, Method, header};

use crate::query::Query;
use crate::request_info::{RequestInfo, ResourceInfo, Verb as RequestVerb};

/// Verbs in metrics.
pub(super) const VERBS: usize = 10;
/// Scopes in metrics.
pub(super) const SCOPES: usize = 4;
/// Health endpoints are counted by name, as upstream counts them; all other paths together.
const HEALTH_PATHS: [&str; 3] = ["/healthz", "/livez", "/readyz"];
/// The component that serves resources.
const COMPONENT: &str = "apiserver";
/// Subresources that are streams.
const CONNECTS: [&str; 5] = ["attach", "exec", "log", "portforward", "proxy"];
/// The media types of server-side apply.
const APPLY: [&str; 2] = ["application/apply-patch+yaml", "application/apply-patch+cbor"];

/// A resource that is served, by the names that metrics may have as labels.
#[derive(Clone, Debug)]
pub struct ResourceNames {
    /// The group; empty for core.
    pub group: &'static str,
    /// The version.
    pub version: &'static str,
    /// The resource, plural.
    pub resource: &'static str,
    /// Whether its objects live in namespaces.
    pub is_namespaced: bool,
    /// The verbs it has.
    pub verbs: Vec<&'static str>,
    /// Its subresources and their verbs.
    pub subresources: Vec<(&'static str, Vec<&'static str>)>,
}

/// The verb of a request as metrics have it: the method, with the sorts of GET, PATCH and streams told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Verb {
    Apply,
    Connect,
    Delete,
    Get,
    List,
    Patch,
    Post,
    Put,
    Watch,
    /// A method or verb that is not served there.
    Other,
}

impl Verb {
    pub(super) const ALL: [Verb; VERBS] = [
        Verb::Apply,
        Verb::Connect,
        Verb::Delete,
        Verb::Get,
        Verb::List,
        Verb::Patch,
        Verb::Post,
        Verb::Put,
        Verb::Watch,
        Verb::Other,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Verb::Apply => "APPLY",
            Verb::Connect => "CONNECT",
            Verb::Delete => "DELETE",
            Verb::Get => "GET",
            Verb::List => "LIST",
            Verb::Patch => "PATCH",
            Verb::Post => "POST",
            Verb::Put => "PUT",
            Verb::Watch => "WATCH",
            Verb::Other => "other",
        }
    }

    /// Whether it changes nothing.
    fn reads(self) -> bool {
        matches!(self, Verb::Get | Verb::List | Verb::Watch)
    }
}

/// How much of a resource a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Scope {
    /// No resource.
    None,
    Cluster,
    Namespace,
    /// One object.
    Resource,
}

impl Scope {
    pub(super) const ALL: [Scope; SCOPES] = [Scope::None, Scope::Cluster, Scope::Namespace, Scope::Resource];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Scope::None => "",
            Scope::Cluster => "cluster",
            Scope::Namespace => "namespace",
            Scope::Resource => "resource",
        }
    }
}

/// What `dryRun` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum DryRun {
    No,
    All,
    Invalid,
}

impl DryRun {
    pub(super) const ALL: [DryRun; 3] = [DryRun::No, DryRun::All, DryRun::Invalid];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            DryRun::No => "",
            DryRun::All => "All",
            DryRun::Invalid => "invalid",
        }
    }

    fn of(query: &str) -> Self {
        // Nearly no request has one.
        if !query.contains("dryRun") {
            return DryRun::No;
        }
        let mut said = DryRun::No;
        for value in Query::new(query).all("dryRun") {
            match &*value {
                "All" => said = DryRun::All,
                _ => return DryRun::Invalid,
            }
        }
        said
    }
}

/// Where a request is counted: small numbers, so that a count is a look into a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Series {
    pub(super) target: u16,
    pub(super) verb: Verb,
    pub(super) scope: Scope,
    pub(super) dry_run: DryRun,
    /// It has no end of its own.
    pub(super) is_long_running: bool,
}

impl Series {
    /// That of a request whose path could not even be read.
    pub(super) const UNREADABLE: Series =
        Series { target: 0, verb: Verb::Other, scope: Scope::None, dry_run: DryRun::No, is_long_running: false };

    /// Whether its requests are counted among those that change nothing.
    pub(super) fn reads(self) -> bool {
        self.verb.reads()
    }
}

/// A resource, a subresource, a health endpoint, or everything else.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) resource: &'static str,
    pub(super) subresource: &'static str,
    pub(super) component: &'static str,
    is_namespaced: bool,
    /// Bits of [`Verb`].
    verbs: u16,
}

/// A served resource, and where its targets begin.
struct Place {
    resource: &'static str,
    group: &'static str,
    version: &'static str,
    first: u16,
    subresources: Vec<&'static str>,
}

/// Everything that can be a label.
pub(super) struct Names {
    targets: Vec<Target>,
    /// By resource, group and version.
    places: Vec<Place>,
}

impl Names {
    pub(super) fn new(served: &[ResourceNames]) -> Self {
        let everything_else = Target {
            group: "",
            version: "",
            resource: "",
            subresource: "",
            component: COMPONENT,
            is_namespaced: false,
            verbs: u16::MAX,
        };
        let mut targets = vec![everything_else];
        targets.extend(HEALTH_PATHS.map(|path| Target { subresource: path, component: "", ..everything_else }));
        let mut places = Vec::with_capacity(served.len());
        for names in served {
            let ResourceNames { group, version, resource, is_namespaced, ref verbs, ref subresources } = *names;
            let Ok(first) = u16::try_from(targets.len()) else { break };
            let target =
                Target { group, version, resource, is_namespaced, verbs: verb_bits(verbs, ""), ..everything_else };
            targets.push(target);
            for (subresource, verbs) in subresources {
                targets.push(Target { subresource, verbs: verb_bits(verbs, subresource), ..target });
            }
            let subresources = subresources.iter().map(|(name, _)| *name).collect();
            places.push(Place { resource, group, version, first, subresources });
        }
        places.sort_unstable_by_key(|place| (place.resource, place.group, place.version));
        Self { targets, places }
    }

    pub(super) fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Finds the series of a request.
    pub(super) fn series(&self, info: &RequestInfo, method: &Method, headers: &HeaderMap, query: &str) -> Series {
        let is_long_running = info.is_long_running();
        let Some(asked) = info.resource() else {
            let (target, verb) = (health_target(info.path()), verb_of_path(method));
            return Series { target, verb, scope: Scope::None, dry_run: DryRun::No, is_long_running };
        };
        let verb = verb_of(&asked, method, headers);
        let target = self.find(&asked);
        let (verb, scope) = match self.targets.get(usize::from(target)) {
            Some(known) if target != 0 => place_verb(known, verb, &asked),
            _ => (verb, Scope::None),
        };
        let dry_run = if verb.reads() { DryRun::No } else { DryRun::of(query) };
        Series { target, verb, scope, dry_run, is_long_running }
    }

    /// The number of a served resource or subresource; that of everything else for all others.
    fn find(&self, asked: &ResourceInfo<'_>) -> u16 {
        let sought = (asked.resource, asked.group, asked.version);
        let found = self.places.binary_search_by(|place| (place.resource, place.group, place.version).cmp(&sought));
        let Some(place) = found.ok().and_then(|at| self.places.get(at)) else { return 0 };
        if asked.subresource.is_empty() {
            return place.first;
        }
        let at = place.subresources.iter().position(|name| *name == asked.subresource);
        at.and_then(|at| u16::try_from(at).ok()).map_or(0, |at| place.first + 1 + at)
    }
}

/// The series of a served resource: only verbs that it has, each only in a scope that it can have there.
fn place_verb(target: &Target, verb: Verb, asked: &ResourceInfo<'_>) -> (Verb, Scope) {
    let scope = if !asked.path_name.is_empty() || verb == Verb::Post {
        Scope::Resource
    } else if target.is_namespaced && asked.is_in_namespace {
        Scope::Namespace
    } else {
        Scope::Cluster
    };
    let is_one = scope == Scope::Resource;
    let fits = match verb {
        Verb::Get | Verb::Put | Verb::Patch | Verb::Apply | Verb::Post | Verb::Connect => is_one,
        Verb::List => !is_one,
        Verb::Watch | Verb::Delete => true,
        Verb::Other => false,
    };
    if fits && target.verbs >> verb as u8 & 1 == 1 { (verb, scope) } else { (Verb::Other, Scope::None) }
}

fn verb_bits(verbs: &[&str], subresource: &str) -> u16 {
    let mut bits = 0;
    let mut set = |verb: Verb| bits |= 1 << verb as u8;
    if CONNECTS.contains(&subresource) {
        set(Verb::Connect);
    }
    for verb in verbs {
        match *verb {
            "get" => set(Verb::Get),
            "list" => set(Verb::List),
            "watch" => set(Verb::Watch),
            "create" => set(Verb::Post),
            "update" => set(Verb::Put),
            "delete" | "deletecollection" => set(Verb::Delete),
            "patch" => {
                set(Verb::Patch);
                set(Verb::Apply);
            }
            _ => {}
        }
    }
    bits
}

fn verb_of(asked: &ResourceInfo<'_>, method: &Method, headers: &HeaderMap) -> Verb {
    if CONNECTS.contains(&asked.subresource) {
        return Verb::Connect;
    }
    match asked.verb {
        RequestVerb::Watch => Verb::Watch,
        RequestVerb::Get => Verb::Get,
        RequestVerb::List => Verb::List,
        RequestVerb::Patch => {
            let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
            if content_type.is_some_and(|said| APPLY.contains(&said)) { Verb::Apply } else { Verb::Patch }
        }
        RequestVerb::Create => Verb::Post,
        RequestVerb::Update => Verb::Put,
        RequestVerb::Delete | RequestVerb::DeleteCollection => Verb::Delete,
        RequestVerb::Proxy | RequestVerb::Unknown => verb_of_path(method),
    }
}

fn verb_of_path(method: &Method) -> Verb {
    match *method {
        Method::GET | Method::HEAD => Verb::Get,
        Method::POST => Verb::Post,
        Method::PUT => Verb::Put,
        Method::PATCH => Verb::Patch,
        Method::DELETE => Verb::Delete,
        _ => Verb::Other,
    }
}

fn health_target(path: &str) -> u16 {
    let is_under = |endpoint: &str| {
        path.strip_prefix(endpoint).is_some_and(|rest| rest.is_empty() || rest.as_bytes().first() == Some(&b'/'))
    };
    let at = HEALTH_PATHS.iter().position(|endpoint| is_under(endpoint));
    at.and_then(|at| u16::try_from(at).ok()).map_or(0, |at| at + 1)
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    pub(in crate::metrics) fn served() -> Vec<ResourceNames> {
        let verbs = vec!["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
        let pods = ResourceNames {
            group: "",
            version: "v1",
            resource: "pods",
            is_namespaced: true,
            verbs: verbs.clone(),
            subresources: vec![("exec", vec!["create", "get"]), ("status", vec!["get", "patch", "update"])],
        };
        let deployments =
            ResourceNames { group: "apps", resource: "deployments", subresources: Vec::new(), ..pods.clone() };
        let namespaces =
            ResourceNames { resource: "namespaces", is_namespaced: false, subresources: Vec::new(), ..pods.clone() };
        let reviews = ResourceNames {
            group: "authentication.k8s.io",
            resource: "tokenreviews",
            verbs: vec!["create"],
            ..namespaces.clone()
        };
        vec![pods, deployments, namespaces, reviews]
    }

    #[test]
    fn labels_are_known_names() {
        let names = Names::new(&served());
        let check = |line: &str, expected: &str| {
            let (method, uri) = line.split_once(' ').unwrap();
            let (uri, content_type) = uri.split_once(' ').unwrap_or((uri, "application/json"));
            let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let info = RequestInfo::parse(&method, path, query).unwrap();
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, content_type.parse().unwrap())]);
            let series = names.series(&info, &method, &headers, query);
            let target = names.targets()[usize::from(series.target)];
            let said = [
                series.verb.as_str(),
                target.group,
                target.version,
                target.resource,
                target.subresource,
                series.scope.as_str(),
                series.dry_run.as_str(),
                target.component,
            ];
            assert_eq!(said.join(","), expected, "{line}");
        };
        check("GET /api/v1/namespaces/a/pods/b", "GET,,v1,pods,,resource,,apiserver");
        check("HEAD /api/v1/namespaces/a/pods/b", "GET,,v1,pods,,resource,,apiserver");
        check("GET /api/v1/namespaces/a/pods", "LIST,,v1,pods,,namespace,,apiserver");
        check("GET /api/v1/pods", "LIST,,v1,pods,,cluster,,apiserver");
        check("GET /api/v1/pods?fieldSelector=metadata.name%3Dx", "LIST,,v1,pods,,cluster,,apiserver");
        check("GET /api/v1/pods?watch=1", "WATCH,,v1,pods,,cluster,,apiserver");
        check("GET /api/v1/watch/namespaces/a/pods/b", "WATCH,,v1,pods,,resource,,apiserver");
        check("POST /api/v1/namespaces/a/pods?dryRun=All", "POST,,v1,pods,,resource,All,apiserver");
        check("POST /api/v1/namespaces/a/pods?dryRun=x", "POST,,v1,pods,,resource,invalid,apiserver");
        check("PUT /apis/apps/v1/namespaces/a/deployments/b", "PUT,apps,v1,deployments,,resource,,apiserver");
        check("PATCH /api/v1/namespaces/a/pods/b", "PATCH,,v1,pods,,resource,,apiserver");
        check("PATCH /api/v1/namespaces/a/pods/b application/apply-patch+yaml", "APPLY,,v1,pods,,resource,,apiserver");
        check("DELETE /api/v1/namespaces/a/pods", "DELETE,,v1,pods,,namespace,,apiserver");
        check("PUT /api/v1/namespaces/a/pods/b/status", "PUT,,v1,pods,status,resource,,apiserver");
        check("GET /api/v1/namespaces/a/pods/b/exec", "CONNECT,,v1,pods,exec,resource,,apiserver");
        check("GET /api/v1/namespaces/a", "GET,,v1,namespaces,,resource,,apiserver");
        check("GET /api/v1/namespaces", "LIST,,v1,namespaces,,cluster,,apiserver");
        // What is not served has no names.
        check("GET /api/v1/namespaces/a/pods/b/x9", "GET,,,,,,,apiserver");
        check("GET /api/v9/namespaces/a/pods/b", "GET,,,,,,,apiserver");
        check("GET /apis/x/v1/y", "LIST,,,,,,,apiserver");
        check("X9 /api/v1/namespaces/a/pods/b", "other,,v1,pods,,,,apiserver");
        check("X9 /y", "other,,,,,,,apiserver");
        check("PUT /api/v1/namespaces/a/pods", "other,,v1,pods,,,,apiserver");
        check(
            "GET /apis/authentication.k8s.io/v1/tokenreviews",
            "other,authentication.k8s.io,v1,tokenreviews,,,,apiserver",
        );
        check("GET /healthz", "GET,,,,/healthz,,,");
        check("GET /readyz/etcd", "GET,,,,/readyz,,,");
        check("GET /readyzx", "GET,,,,,,,apiserver");
        check("GET /metrics", "GET,,,,,,,apiserver");
    }
}
