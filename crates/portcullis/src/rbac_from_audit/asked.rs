//! What the gate asked the authorisers for a request, told from its event: whether the user may do it, the `create` behind some other
//! verbs, and whether somebody may act as that user.
//!
//! The path is parsed by the code that the gate parses with, because an event's object may have a name that only the answer told. What a
//! rule cannot say without saying more (a resource called `*`, which is all of them) is not said: a client chooses the path, and must
//! not choose what a role allows.

use http::Method;
use portcullis_apiserver::permission::needs_create;
use portcullis_audit::reader::{EventObject, EventUser, ReadEvent};
use portcullis_gate::rbac::rule::ANY;
use portcullis_gate::{
    ANONYMOUS, GROUP_AUTHENTICATED, GROUP_NODES, GROUP_SERVICE_ACCOUNTS, GROUP_UNAUTHENTICATED, NODE_NAME_PREFIX,
    Profile, RequestInfo, ResourceInfo, SERVICE_ACCOUNT_PREFIX,
};
use portcullis_model::names::{dns1123_label, dns1123_subdomain};

use super::permissions::{Question, What};

/// Upstream's annotation of what the authorisers decided.
const DECISION: &str = "authorization.k8s.io/decision";
const ALLOWED: &str = "allow";
const REFUSED: &str = "forbid";
/// Before it, nothing is decided.
const STAGE_RECEIVED: &str = "RequestReceived";
/// The group of what is impersonated under a constraint, and of `uids` and `userextras` always.
const AUTHENTICATION_GROUP: &str = "authentication.k8s.io";
const ASSOCIATED_NODE: &str = "impersonate:associated-node";
const ARBITRARY_NODE: &str = "impersonate:arbitrary-node";
const IMPERSONATE: &str = "impersonate";
const CREATED: u16 = 201;
const FORBIDDEN: u16 = 403;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All that was asked was allowed.
    Allowed,
    /// The authorisers refused it.
    Refused,
}

/// What one event tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) outcome: Outcome,
    /// Of whom the request counts for: the impersonated user, if there is one.
    pub(super) of_user: Vec<Question>,
    /// Of who acts as another.
    pub(super) of_impersonator: Vec<Question>,
}

/// Why an event tells nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Silent {
    /// Nothing was decided: it is too early, or nobody could be proved.
    Undecided,
    /// No rule says exactly that.
    Inexpressible,
}

/// Reads an event.
pub(super) fn asked(event: &ReadEvent) -> Result<Asked, Silent> {
    let outcome = match event.annotations.get(DECISION).map(String::as_str) {
        _ if event.stage == STAGE_RECEIVED || event.user.name.is_empty() => return Err(Silent::Undecided),
        Some(ALLOWED) => Outcome::Allowed,
        Some(REFUSED) => Outcome::Refused,
        // Who may not act as another is refused before anybody is asked about the request.
        _ if event.code == FORBIDDEN => Outcome::Refused,
        _ => return Err(Silent::Undecided),
    };
    let of_user = of_request(event, outcome)?;
    let of_impersonator = match &event.impersonated {
        Some(impersonated) => of_impersonation(event, impersonated, of_user.first()),
        None => Vec::new(),
    };
    if of_user.iter().chain(&of_impersonator).all(Question::is_expressible) {
        Ok(Asked { outcome, of_user, of_impersonator })
    } else {
        Err(Silent::Inexpressible)
    }
}

fn of_request(event: &ReadEvent, outcome: Outcome) -> Result<Vec<Question>, Silent> {
    let (path, query) = event.uri.split_once('?').unwrap_or((&event.uri, ""));
    let info = RequestInfo::parse(&method(event), path, query);
    let Some(object) = &event.object else {
        let info = info.filter(|info| info.resource().is_none()).ok_or(Silent::Inexpressible)?;
        return Ok(vec![Question { verb: event.verb.clone(), what: What::Path(info.path().to_owned()) }]);
    };
    let info = info.as_ref().and_then(RequestInfo::resource).filter(|info| is_of(info, object, &event.verb));
    let what = match &info {
        Some(info) => What::Resource {
            group: info.group.to_owned(),
            resource: info.resource.to_owned(),
            subresource: info.subresource.to_owned(),
            namespace: info.namespace.to_owned(),
            name: info.name.to_owned(),
        },
        None => of_object(object, &event.verb),
    };
    // A PUT or an apply that made its object, and a stream that begins with a GET.
    let made = event.code == CREATED && matches!(event.verb.as_str(), "update" | "patch");
    let streams = info.as_ref().is_some_and(|info| needs_create(Profile::Locked, info));
    let is_refused_later = outcome == Outcome::Allowed && event.code == FORBIDDEN;
    let mut questions = vec![Question { verb: event.verb.clone(), what: what.clone() }];
    if made || streams && !is_refused_later {
        questions.push(Question { verb: "create".to_owned(), what });
    }
    Ok(questions)
}

/// A method that has the event's verb, where the path does not decide it.
fn method(event: &ReadEvent) -> Method {
    match event.verb.as_str() {
        _ if event.object.is_none() => Method::from_bytes(event.verb.to_uppercase().as_bytes()).unwrap_or_default(),
        "create" => Method::POST,
        "update" => Method::PUT,
        "patch" => Method::PATCH,
        "delete" | "deletecollection" => Method::DELETE,
        _ => Method::GET,
    }
}

/// Says whether the path is of this object. It is not when another server saw the request with another path.
fn is_of(info: &ResourceInfo<'_>, object: &EventObject, verb: &str) -> bool {
    info.verb.as_str() == verb
        && info.group == object.group
        && info.resource == object.resource
        && info.subresource == object.subresource
}

/// Without a path that fits: a name is known when it is asked about, unless the object is about to get one.
fn of_object(object: &EventObject, verb: &str) -> What {
    let EventObject { group, resource, subresource, namespace, name, .. } = object.clone();
    let is_unnamed = verb == "create" && subresource.is_empty();
    What::Resource { group, resource, subresource, namespace, name: if is_unnamed { String::new() } else { name } }
}

/// What must be allowed to act as somebody (upstream: the impersonation filter and its modes, KEP-5284).
fn of_impersonation(event: &ReadEvent, user: &EventUser, request: Option<&Question>) -> Vec<Question> {
    let constraint = event.constraint.as_str();
    let (verb, group) = if constraint.is_empty() { (IMPERSONATE, "") } else { (constraint, AUTHENTICATION_GROUP) };
    let question = |group: &str, resource: &str, subresource: &str, namespace: &str, name: &str| Question {
        verb: verb.to_owned(),
        what: What::Resource {
            group: group.to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        },
    };
    let mut questions = Vec::new();
    if let (Some(request), Some((_, mode))) = (request, constraint.split_once(':')) {
        let verb = format!("impersonate-on:{mode}:{}", request.verb);
        questions.push(Question { verb, what: request.what.clone() });
    }
    let node = user.name.strip_prefix(NODE_NAME_PREFIX).filter(|name| dns1123_subdomain(name).is_empty());
    questions.push(match (service_account(&user.name), constraint, node) {
        (Some((namespace, name)), _, _) => question(group, "serviceaccounts", "", namespace, name),
        // One answer serves every node of a service account's pods.
        (None, ASSOCIATED_NODE, _) => question(group, "nodes", "", "", ANY),
        (None, ARBITRARY_NODE, Some(node)) => question(group, "nodes", "", "", node),
        _ => question(group, "users", "", "", &user.name),
    });
    if !user.uid.is_empty() {
        questions.push(question(AUTHENTICATION_GROUP, "uids", "", "", &user.uid));
    }
    questions.extend(asked_groups(user, constraint).iter().map(|name| question(group, "groups", "", "", name)));
    for (key, values) in &user.extra {
        questions.extend(values.iter().map(|value| question(AUTHENTICATION_GROUP, "userextras", key, "", value)));
    }
    questions
}

/// The groups without those that come with the name, which nobody has to be allowed.
fn asked_groups<'u>(user: &'u EventUser, constraint: &str) -> &'u [String] {
    let everyone = if user.name == ANONYMOUS { GROUP_UNAUTHENTICATED } else { GROUP_AUTHENTICATED };
    let groups = match user.groups.split_last() {
        Some((last, groups)) if last == everyone => groups,
        _ => &user.groups,
    };
    let is_implied = match (groups, service_account(&user.name)) {
        ([all, own], Some((namespace, _))) => {
            all == GROUP_SERVICE_ACCOUNTS && *own == format!("{GROUP_SERVICE_ACCOUNTS}:{namespace}")
        }
        ([nodes], None) => matches!(constraint, ASSOCIATED_NODE | ARBITRARY_NODE) && nodes == GROUP_NODES,
        _ => false,
    };
    if is_implied { &[] } else { groups }
}

/// Namespace and name of a service account's user name.
pub(super) fn service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix(SERVICE_ACCOUNT_PREFIX)?.split_once(':')?;
    (dns1123_label(namespace).is_empty() && dns1123_subdomain(name).is_empty()).then_some((namespace, name))
}

impl Question {
    /// Says whether there is a rule that means this and no more.
    fn is_expressible(&self) -> bool {
        let is_word = |word: &str| !word.is_empty() && !word.contains('*');
        is_word(&self.verb)
            && match &self.what {
                // A star at the end stands for any rest.
                What::Path(path) => path.starts_with('/') && !path.ends_with('*'),
                What::Resource { group, resource, subresource, namespace, .. } => {
                    is_word(resource)
                        && !resource.contains('/')
                        && !group.contains('*')
                        && !subresource.contains('*')
                        && (namespace.is_empty() || dns1123_label(namespace).is_empty())
                }
            }
    }
}
