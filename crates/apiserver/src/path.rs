//! The whole order on one screen: what was permitted is routed to a resource or a path, its verb runs, its answer leaves.
//!
//! Upstream spreads this over `endpoints/installer.go` and the handlers; the order of refusals is the same: no such path, no such
//! method, nothing acceptable, body too large, and then whatever the verb says.

use std::pin::pin;
use std::sync::{Arc, Mutex};

use http::{Method, Response};
use portcullis_gate::{
    Body, Permitted, Query, RequestBody, ResourceInfo, Upgrade, Verb, not_found, status_response, traced,
};
use portcullis_kinds::resources::Subresource;
use portcullis_model::go_text::quoted;
use portcullis_model::status::Status;

use crate::answer::{self, Answer, Failure, add_warnings, respond};
use crate::audit;
use crate::audit_log;
use crate::metrics;
use crate::negotiate::{self, Endpoint, Include, Shows};
use crate::registry::Served;
use crate::request::Request;
use crate::server::ApiServer;
use crate::verbs::{
    binding, component_status, create, delete, delete_collection, eviction, get, list, patch, pod_streams, review,
    scale, token_request, update, watch, watch_socket,
};
use crate::{debug, health, openid, permission, version};

/// Subresources that are served: doors to the object itself or a part of it, its scale, its binding to a node, its eviction from there, and
/// the streams of a pod, as far as the way to its node.
const DOORS: [&str; 14] = [
    "",
    "approval",
    "attach",
    "binding",
    "ephemeralcontainers",
    "eviction",
    "exec",
    "finalize",
    "log",
    "portforward",
    "resize",
    "scale",
    "status",
    "token",
];

/// Subresources that a stream goes through to somebody else.
const CONNECTED: [&str; 4] = ["attach", "exec", "portforward", "proxy"];

/// Answers what passed the gate.
pub async fn answer(server: &ApiServer, mut permitted: Permitted) -> Response<Body> {
    server.pages.trim(&*server.engine, server.env.now_micros());
    let (body, upgrade) = (permitted.take_body(), permitted.take_upgrade());
    match permitted.info().resource() {
        Some(info) => resource(server, &permitted, info, body, upgrade).await,
        None => path(server, &permitted).await,
    }
}

/// A path that is no resource.
async fn path(server: &ApiServer, permitted: &Permitted) -> Response<Body> {
    let path = permitted.info().path();
    if let Some(response) = health::answer(server, path, permitted.method(), Query::new(permitted.query())).await {
        return response;
    }
    if let Some(response) = openid::answer(server, path, permitted.method(), permitted.headers()) {
        return response;
    }
    if let Some(response) = debug::answer(server, path, Query::new(permitted.query())) {
        return response;
    }
    if *permitted.method() == Method::GET
        && let Some(response) = document(server, permitted, path).await
    {
        return response;
    }
    match path {
        "/version" | "/version/" => version::answer(server),
        audit_log::PATH if *permitted.method() == Method::GET => audit_log::answer(server),
        "/metrics" => metrics::answer(server, permitted.headers()).await,
        "/metrics/slis" => metrics::answer_slis(server, permitted.headers()).await,
        _ => nothing_at(permitted),
    }
}

/// The answer where nothing is: a Status under a group that is served, as upstream's router gives, else plain text.
fn nothing_at(permitted: &Permitted) -> Response<Body> {
    let mut segments = permitted.info().path().split('/').skip(1);
    let group = match segments.next() {
        Some("api") => Some(""),
        Some("apis") => segments.next(),
        _ => None,
    };
    let served = portcullis_kinds::resources().group_versions().iter().any(|held| Some(held.group) == group);
    if served { refused(permitted, &Status::no_such_path()) } else { not_found() }
}

/// Refuses a request before it has a verb, in the encoding that the client takes errors in.
fn refused(permitted: &Permitted, status: &Status) -> Response<Body> {
    audit::refused(permitted, status);
    let accepted = negotiate::accept_error(permitted.headers(), Query::new(permitted.query()));
    answer::told(accepted, status.clone())
}

/// Discovery and OpenAPI. OpenAPI is made on first use, which takes a while, so on a thread that nobody waits for.
async fn document(server: &ApiServer, permitted: &Permitted, path: &str) -> Option<Response<Body>> {
    let query = Query::new(permitted.query());
    if let Some(answer) = server.discovery.answer(path, query, permitted.headers()) {
        return Some(match answer {
            Ok(response) => response.map(Body::from),
            Err(status) => status_response(&status),
        });
    }
    if !path.starts_with("/openapi/") {
        return None;
    }
    let (openapi, headers) = (Arc::clone(&server.openapi), permitted.headers().clone());
    let (path, query) = (path.to_owned(), permitted.query().to_owned());
    let made = tokio::task::spawn_blocking(move || openapi.answer(&path, &query, &headers)).await;
    match made {
        Ok(response) => response.map(|response| response.map(Body::from)),
        Err(error) => {
            tracing::error!(%error, "an OpenAPI document could not be made");
            Some(status_response(&Status::internal_error("the document could not be made")))
        }
    }
}

/// A resource: found, allowed its method, negotiated, and then its verb.
async fn resource(
    server: &ApiServer,
    permitted: &Permitted,
    info: ResourceInfo<'_>,
    body: RequestBody,
    upgrade: Option<Upgrade>,
) -> Response<Body> {
    let Some(served) = server.registry.find(info.group, info.version, info.resource) else {
        return nothing_at(permitted);
    };
    if permission::needs_create(server.config.profile, &info)
        && let Err(status) = permission::require(permitted, "create").await
    {
        return refused(permitted, &status);
    }
    let warnings: Vec<String> = served.rules.deprecated.map(str::to_owned).into_iter().collect();
    let query = Query::new(permitted.query());
    let refuse = |status: &Status| {
        let mut response = refused(permitted, status);
        add_warnings(&mut response, &warnings);
        response
    };
    let accepted = match route(served, &info, permitted.method()).and_then(|subresource| {
        // What is connected to answers for itself; only refusals are ours.
        if CONNECTED.contains(&info.subresource) {
            return Ok((subresource, negotiate::accept_error(permitted.headers(), query)));
        }
        let endpoint = endpoint(served, &info, subresource);
        negotiate::accept(permitted.headers(), query, endpoint).map(|accepted| (subresource, accepted))
    }) {
        Ok(found) => found,
        Err(status) => return refuse(&status),
    };
    let (subresource, accepted) = accepted;
    let body = match body.read().await {
        Ok(body) => body,
        Err(error) => return refuse(&error.status()),
    };
    server.metrics.count_request(served, &info, &body);
    let rule_warnings = Mutex::default();
    let mut request = Request { permitted, info, query, served, subresource, accepted, body, warnings, rule_warnings };
    audit::began(&request);
    let mut result = traced(info.verb.as_str(), pin!(verb(server, &mut request))).await;
    if accepted.include == Include::Unknown && result.is_ok() {
        result = Err(unknown_include(query));
    }
    let now = server.now_seconds();
    audit::answered(&request, &result, now);
    let warnings = request.all_warnings();
    let response = traced("SerializeObject", pin!(respond(served, accepted, &warnings, result, now))).await;
    match info.verb {
        Verb::Watch => watch_socket::switch(permitted.headers(), upgrade, response),
        _ => response,
    }
}

/// What can be answered here. What is neither stored nor read has no rows.
fn endpoint(served: &Served, info: &ResourceInfo<'_>, subresource: Option<&Subresource>) -> Endpoint {
    let verbs = subresource.map_or(&served.resource.verbs, |subresource| &subresource.verbs);
    let shows = if verbs.contains(&"get") { Shows::Tables } else { Shows::Metadata };
    let is_watched = info.verb == Verb::Watch || info.verb == Verb::List;
    let needs_body = matches!(info.verb, Verb::Create | Verb::Update | Verb::Patch);
    Endpoint { shows, is_watched, needs_body }
}

/// A table of rows that show what there is not is no table, which upstream finds when it makes one.
fn unknown_include(query: Query<'_>) -> Failure {
    let asked = quoted(&query.get("includeObject").unwrap_or_default());
    Box::new(Status::bad_request(format!(
        "Unable to convert to Table as requested: includeObject: Invalid value: {asked}: must be 'Metadata', 'Object', 'None', or empty"
    )))
}

/// Whether the path exists for this resource, and takes the method.
fn route<'a>(served: &'a Served, info: &ResourceInfo<'_>, method: &Method) -> Result<Option<&'a Subresource>, Failure> {
    let resource = served.resource;
    let no_such_path = || Box::new(Status::no_such_path());
    let method_not_allowed = || Box::new(Status::method_not_allowed());
    let subresource = match info.subresource {
        "" => None,
        name => Some(resource.subresource(name).ok_or_else(no_such_path)?),
    };
    let is_object = !info.path_name.is_empty();
    let is_misplaced = if resource.namespaced { is_object && !info.is_in_namespace } else { info.is_in_namespace };
    // Only behind a proxy does the path go on after a subresource.
    if is_misplaced || !info.tail.is_empty() && info.subresource != "proxy" {
        return Err(no_such_path());
    }
    if info.is_verb_in_path {
        // `watch/` stands before collections and objects of what can be watched; `proxy/` is no longer served.
        let is_watch = info.verb == Verb::Watch && subresource.is_none() && resource.has_verb("watch");
        return match is_watch {
            false => Err(no_such_path()),
            true if method == Method::GET => Ok(None),
            true => Err(method_not_allowed()),
        };
    }
    let verbs = subresource.map_or(&resource.verbs, |subresource| &subresource.verbs);
    if info.verb == Verb::Watch && method == Method::GET && resource.has_verb("list") && !resource.has_verb("watch") {
        return Err(Box::new(Status::method_not_supported(resource.group, resource.name, info.verb.as_str())));
    }
    // Only collections of one namespace, or of a resource without any, take what changes them.
    let is_across = resource.namespaced && !info.is_in_namespace && !is_object;
    let reads = matches!(info.verb, Verb::Get | Verb::List | Verb::Watch);
    let misplaced = is_object && info.verb == Verb::Create && subresource.is_none()
        || !is_object && matches!(info.verb, Verb::Update | Verb::Patch);
    if method == Method::HEAD || is_across && !reads || misplaced || !verbs.contains(&info.verb.as_str()) {
        return Err(method_not_allowed());
    }
    if !DOORS.contains(&info.subresource) {
        // Known, but what it does comes with its kind.
        let name = format!("{}/{}", resource.name, info.subresource);
        return Err(Box::new(Status::method_not_supported(resource.group, &name, info.verb.as_str())));
    }
    Ok(subresource)
}

/// Runs the verb.
async fn verb(server: &ApiServer, request: &mut Request<'_>) -> Result<Answer, Failure> {
    if !request.served.is_stored() {
        match (request.served.resource.name, request.info.verb) {
            ("bindings", Verb::Create) => return binding::create(server, request).await,
            ("componentstatuses", Verb::Get) => return component_status::get(server, request).await,
            ("componentstatuses", Verb::List) => return component_status::list(server, request).await,
            (_, Verb::Create) => {
                if let Some(answer) = review::create(server, request).await {
                    return answer;
                }
            }
            _ => {}
        }
        let resource = request.served.resource;
        let verb = request.info.verb.as_str();
        return Err(Box::new(Status::method_not_supported(resource.group, resource.name, verb)));
    }
    match request.info.subresource {
        "attach" | "exec" | "log" | "portforward" => return pod_streams::open(server, request).await,
        "binding" => return binding::of_pod(server, request).await,
        "eviction" => return eviction::create(server, request).await,
        "scale" => return scale::scale(server, request).await,
        "token" => return token_request::create(server, request).await,
        _ => {}
    }
    match request.info.verb {
        Verb::Get => get::get(server, request).await,
        Verb::List => list::list(server, request).await,
        Verb::Watch => watch::watch(server, request).await,
        Verb::Create => create::create(server, request).await,
        Verb::Update => update::update(server, request).await,
        Verb::Patch => patch::patch(server, request).await,
        Verb::Delete => delete::delete(server, request).await,
        Verb::DeleteCollection => delete_collection::delete_collection(server, request).await,
        Verb::Proxy | Verb::Unknown => Err(Box::new(Status::method_not_allowed())),
    }
}
