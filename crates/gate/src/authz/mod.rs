//! Step 6, `Permitted`: whether the identity may do it (upstream: the authorization filter and its union of authorisers).
//!
//! Authorisers are asked in order; the first that allows or denies decides, and when none has an opinion the answer is 403.
//! The chain always starts with system:masters, ends with the public paths and can not be empty: there is no value that means
//! "no authoriser". What stands between can be replaced while requests are decided, when its configuration changes.

mod abac;
mod always;
mod configuration;
mod decisions;
mod masters;
mod node;
mod public_paths;
pub mod rbac;
mod rules;
mod selectors;
mod webhook;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Uri};
use hyper::upgrade::OnUpgrade;
use portcullis_audit::Record;
use portcullis_fairness::Seat;
use portcullis_model::status::{Refused, refusal};

use crate::BoxFuture;
use crate::arrival::{Arrived, Peer};
use crate::audit;
use crate::authn::Tokens;
use crate::body::RequestBody;
use crate::draining::Draining;
use crate::fairness::Seated;
use crate::gate::Guards;
use crate::identity::Identity;
use crate::metrics::family::Families;
use crate::metrics::{Authorized, Lap, Step};
use crate::refusal::{Forbidden, Refusal};
use crate::request_info::RequestInfo;
use crate::upgrade::Upgrade;

pub use self::abac::{Abac, AbacError};
pub use self::always::EveryoneMayDoEverything;
pub use self::configuration::{
    AuthorizationConfigurationError, AuthorizationFile, AuthorizerSetting, AuthorizerSources, AuthorizerType,
    WebhookFailurePolicy, WebhookSetting, WebhookSource,
};
use self::decisions::{Counts, Decisions};
use self::masters::Masters;
pub use self::node::{
    NAMESPACE_NODE_LEASE, NodeAuthorizer, NodeGraph, NodeIdentity, NodeRelations, NodesRefused, RelatedKind,
};
use self::public_paths::PublicPaths;
pub use self::rules::{PathRule, ResourceRule, Rules};
pub use self::selectors::{Operator, Requirement, Selection, Selectors};
pub use self::webhook::WebhookAuthorizer;

/// What is asked of an authoriser: may this user do this to that?
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    /// Who.
    pub user: &'a Identity,
    /// What is done: a verb of [`crate::request_info::Verb`], a method in lower case, or `impersonate`.
    pub verb: &'a str,
    /// To what.
    pub target: Target<'a>,
}

/// What an action is aimed at. Absent parts are empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// A resource.
    Resource {
        /// The API group.
        group: &'a str,
        /// The API version.
        version: &'a str,
        /// The namespace; empty at the cluster scope.
        namespace: &'a str,
        /// The resource.
        resource: &'a str,
        /// The subresource.
        subresource: &'a str,
        /// The object.
        name: &'a str,
        /// Which objects of a collection; [`Selection::ALL`] also for one that has a name.
        selectors: Selection<'a>,
    },
    /// A path that is no resource.
    Path(&'a str),
}

impl<'a> Attributes<'a> {
    /// Makes the question that a request puts.
    pub fn of_request(user: &'a Identity, info: &'a RequestInfo) -> Self {
        let target = match info.resource() {
            Some(resource) => Target::Resource {
                group: resource.group,
                version: resource.version,
                namespace: resource.namespace,
                resource: resource.resource,
                subresource: resource.subresource,
                name: resource.name,
                selectors: Selection::OfRequest(info),
            },
            None => Target::Path(info.path()),
        };
        Self { user, verb: info.verb(), target }
    }
}

/// An authoriser's answer. The reason of an allow is for the audit log; the others' is told to the client, so it names rules
/// and never data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may; nobody else is asked.
    Allow {
        /// Why.
        reason: Arc<str>,
    },
    /// It may not; nobody else is asked.
    Deny {
        /// Why.
        reason: Arc<str>,
    },
    /// The next one decides.
    NoOpinion {
        /// What stood in the way of an opinion; usually empty.
        reason: Arc<str>,
    },
}

impl Verdict {
    /// No opinion, and nothing to say about it.
    pub fn no_opinion() -> Self {
        Self::NoOpinion { reason: Arc::default() }
    }

    /// It may, for this reason.
    pub fn allow(reason: impl Into<Arc<str>>) -> Self {
        Self::Allow { reason: reason.into() }
    }

    /// It may not, for this reason.
    pub fn deny(reason: impl Into<Arc<str>>) -> Self {
        Self::Deny { reason: reason.into() }
    }

    /// Says whether it may.
    pub fn is_allow(&self) -> bool {
        matches!(self, Self::Allow { .. })
    }
}

/// An authoriser's answer, or how to get it.
pub enum Decision<'a> {
    /// The answer.
    Now(Verdict),
    /// Somebody else must be asked first.
    Later(BoxFuture<'a, Verdict>),
}

/// One way to decide.
pub trait Authorizer: Send + Sync {
    /// Its name in the log, and its type in metrics.
    fn name(&self) -> &'static str;
    /// The name that an operator gave it, where there can be several of its type.
    fn configured_name(&self) -> Option<&str> {
        None
    }
    /// Decides, without side effects.
    fn decide<'a>(&'a self, attributes: &'a Attributes<'a>) -> Decision<'a>;
    /// Adds what it would allow the user in a namespace. One that cannot list that says that the rules are incomplete.
    fn rules(&self, user: &Identity, namespace: &str, rules: &mut Rules);
    /// What every answer must warn of while this one is in force, as the value of a `Warning` header.
    fn warning(&self) -> Option<HeaderValue> {
        None
    }
}

/// The authorisers in the order they are asked. A clone is a handle to the same chain.
#[derive(Clone)]
pub struct AuthorizerChain {
    chosen: Arc<ArcSwap<Chosen>>,
    /// Whether answers may have to warn: nearly none do, and each asks.
    warns: Arc<AtomicBool>,
    decisions: Arc<Decisions>,
}

/// What stands between system:masters and the public paths.
struct Chosen {
    authorizers: Vec<Arc<dyn Authorizer>>,
    /// By place in `authorizers`.
    counts: Vec<Arc<Counts>>,
    warning: Option<HeaderValue>,
}

impl Chosen {
    fn new(authorizers: Vec<Arc<dyn Authorizer>>, decisions: &Decisions) -> Self {
        let warning = authorizers.iter().find_map(|authorizer| authorizer.warning());
        let counts = authorizers.iter().map(|authorizer| decisions.of(&**authorizer)).collect();
        Self { authorizers, counts, warning }
    }

    fn in_order(&self) -> impl Iterator<Item = &dyn Authorizer> {
        self.counted().map(|(authorizer, _)| authorizer)
    }

    /// In order, each with the counts of its decisions if they are counted.
    fn counted(&self) -> impl Iterator<Item = (&dyn Authorizer, Option<&Counts>)> {
        let chosen = self.authorizers.iter().map(Arc::as_ref).zip(self.counts.iter().map(|counts| Some(&**counts)));
        let first = std::iter::once((&Masters as &dyn Authorizer, None));
        first.chain(chosen).chain(std::iter::once((&PublicPaths as _, None)))
    }
}

impl AuthorizerChain {
    /// Puts the authorisers in order: system:masters, those that the operator chose, and then the public paths, which are open
    /// even to those whom nobody else allows them.
    pub fn new(chosen: Vec<Arc<dyn Authorizer>>) -> Self {
        let decisions = Arc::new(Decisions::default());
        let chosen = Chosen::new(chosen, &decisions);
        let warns = AtomicBool::new(chosen.warning.is_some());
        Self { chosen: Arc::new(ArcSwap::from_pointee(chosen)), warns: Arc::new(warns), decisions }
    }

    /// Gives the counts of decisions to a registry.
    pub(crate) fn register(&self, registry: &prometheus::Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(Families::new(Arc::clone(&self.decisions), decisions::FAMILIES)?))
    }

    /// Puts others in the place of those that were chosen. Questions that are being decided end with those they began with.
    pub(crate) fn replace(&self, chosen: Vec<Arc<dyn Authorizer>>) {
        let chosen = Chosen::new(chosen, &self.decisions);
        let warns = chosen.warning.is_some();
        // No decision of a chain that warns goes without: said before the chain comes, taken back after it went.
        self.warns.fetch_or(warns, Ordering::SeqCst);
        self.chosen.store(Arc::new(chosen));
        self.warns.store(warns, Ordering::SeqCst);
    }

    /// Returns what every answer must warn of while this chain is in force.
    pub(crate) fn warning(&self) -> Option<HeaderValue> {
        if !self.warns.load(Ordering::SeqCst) {
            return None;
        }
        self.chosen.load().warning.clone()
    }

    /// Lists what the user may do in a namespace, as far as the authorisers can say it. Never a basis for a decision.
    pub fn rules(&self, user: &Identity, namespace: &str) -> Rules {
        let mut rules = Rules::default();
        for authorizer in self.chosen.load().in_order() {
            authorizer.rules(user, namespace, &mut rules);
        }
        rules
    }

    /// Asks one after the other. Never returns an allow that no authoriser gave.
    pub async fn decide(&self, attributes: &Attributes<'_>) -> Verdict {
        let chosen = self.chosen.load();
        let mut reasons = String::new();
        for (authorizer, counts) in chosen.counted() {
            let verdict = match authorizer.decide(attributes) {
                Decision::Now(verdict) => verdict,
                Decision::Later(verdict) => verdict.await,
            };
            if let Some(counts) = counts {
                counts.count(&verdict);
            }
            match verdict {
                Verdict::NoOpinion { reason } if reason.is_empty() => {}
                Verdict::NoOpinion { reason } => {
                    if !reasons.is_empty() {
                        reasons.push('\n');
                    }
                    reasons.push_str(&reason);
                }
                Verdict::Allow { .. } | Verdict::Deny { .. } => {
                    tracing::debug!(
                        user = attributes.user.name,
                        verb = attributes.verb,
                        authorizer = authorizer.name(),
                        ?verdict,
                        "decided"
                    );
                    return verdict;
                }
            }
        }
        Verdict::NoOpinion { reason: reasons.into() }
    }
}

impl Guards {
    /// Lets a request pass, or makes its 403. A path with a fault passes nobody, but says so only to those it is open to.
    pub(crate) async fn permit(self: &Arc<Self>, seated: Seated, lap: &mut Lap<'_>) -> Result<Permitted, Refusal> {
        let acting = seated.acting();
        let info = acting.info();
        let attributes = Attributes::of_request(acting.identity(), info);
        let verdict = self.authorizers.decide(&attributes).await;
        self.metrics.authorized(Authorized::of(&verdict), lap.end(Step::Authorization));
        match verdict {
            Verdict::Allow { reason } => audit::note_allow(acting.record(), &reason),
            Verdict::Deny { reason } | Verdict::NoOpinion { reason } => {
                audit::note_forbid(acting.record(), &reason);
                tracing::info!(
                    audit_id = acting.arrived().audit_id.to_str().unwrap_or_default(),
                    user = attributes.user.name,
                    verb = attributes.verb,
                    path = info.path(),
                    gate = "authz",
                    reason = &*reason,
                    "request refused"
                );
                return Err(forbidden(&attributes, &reason));
            }
        }
        match info.fault() {
            None => Ok(Permitted { seated, guards: Arc::clone(self) }),
            Some(fault) => Err(Refusal::Path { fault, info: Arc::clone(info) }),
        }
    }
}

/// Makes the refusal of an action in upstream's words.
pub(crate) fn forbidden(attributes: &Attributes<'_>, reason: &str) -> Refusal {
    let user = &attributes.user.name;
    let forbidden = match attributes.target {
        Target::Resource { group, namespace, resource, subresource, name, .. } => {
            let full = if subresource.is_empty() { resource.to_owned() } else { format!("{resource}/{subresource}") };
            let namespace = Some(namespace).filter(|namespace| !namespace.is_empty());
            let what = Refused::Resource { resource: &full, group, namespace };
            Forbidden {
                group: group.to_owned(),
                resource: resource.to_owned(),
                name: name.to_owned(),
                message: message(refusal(user, attributes.verb, what, ""), reason),
            }
        }
        Target::Path(path) => Forbidden {
            message: message(refusal(user, attributes.verb, Refused::Path(path), ""), reason),
            ..Forbidden::default()
        },
    };
    Refusal::Forbidden(Box::new(forbidden))
}

/// Escapes what came from the client as upstream does, for readers that show messages as HTML; the reason is our own words.
fn message(sentence: String, reason: &str) -> String {
    let mut text = if sentence.contains(['&', '<', '>']) {
        sentence.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
    } else {
        sentence
    };
    if !reason.is_empty() {
        text.push_str(": ");
        text.push_str(reason);
    }
    text
}

/// A request that passed the whole gate. Only the chain makes one, and every verb takes one.
///
/// ```compile_fail,E0451
/// fn forge() -> portcullis_gate::Permitted {
///     portcullis_gate::Permitted { seated: unreachable!(), guards: unreachable!() }
/// }
/// ```
pub struct Permitted {
    seated: Seated,
    guards: Arc<Guards>,
}

impl Permitted {
    fn arrived(&self) -> &Arrived {
        self.seated.acting().arrived()
    }

    fn arrived_mut(&mut self) -> &mut Arrived {
        self.seated.acting_mut().arrived_mut()
    }

    /// Returns who acts (the impersonated user, if there is one).
    pub fn identity(&self) -> &Arc<Identity> {
        self.seated.acting().identity()
    }

    /// Returns who really sent the request, when it acts as somebody else.
    pub fn impersonator(&self) -> Option<&Arc<Identity>> {
        self.seated.acting().impersonator()
    }

    /// Returns the constraint under which it acts as somebody else, `impersonate:user-info` for instance; none when it acts as
    /// itself or by the unconstrained verb.
    pub fn impersonation_constraint(&self) -> Option<&'static str> {
        self.seated.acting().constraint()
    }

    /// Returns the request's place in the audit log, to note what only the handler knows.
    pub fn record(&self) -> &Record {
        self.seated.acting().record()
    }

    /// Returns the request's seat. It is free when the answer is sent; an answer that goes on for longer than it costs frees it
    /// before (a watch, when it has told what is there).
    pub fn seat(&self) -> &Seat {
        self.seated.seat()
    }

    /// Returns what the request is about.
    pub fn info(&self) -> &RequestInfo {
        self.seated.acting().info()
    }

    /// Returns the method.
    pub fn method(&self) -> &Method {
        &self.arrived().parts.method
    }

    /// Returns the URI as it was sent. Route by [`Permitted::info`]: that is what was authorised.
    pub fn uri(&self) -> &Uri {
        &self.arrived().parts.uri
    }

    /// Returns the query string, empty when there is none.
    pub fn query(&self) -> &str {
        self.arrived().parts.uri.query().unwrap_or_default()
    }

    /// Returns the headers, without credentials and without impersonation.
    pub fn headers(&self) -> &HeaderMap {
        &self.arrived().parts.headers
    }

    /// Returns the connection's other end. Whoever keeps it keeps the connection's place among those allowed at once.
    pub fn peer(&self) -> &Arc<Peer> {
        &self.arrived().peer
    }

    /// Tells when an answer that has no end of its own must end, because the server stops. Each call is for one more such answer.
    pub fn draining(&self) -> Draining {
        self.peer().draining().for_a_stream()
    }

    /// Returns the id that the answer and the audit log carry.
    pub fn audit_id(&self) -> &HeaderValue {
        &self.arrived().audit_id
    }

    /// Takes the body; a second call gives an empty one.
    pub fn take_body(&mut self) -> RequestBody {
        std::mem::replace(&mut self.arrived_mut().body, RequestBody::from_bytes(Bytes::new()))
    }

    /// Takes what turns an HTTP/1 connection into a stream of bytes after an answer with 101; `None` where that can not be.
    pub fn take_upgrade(&mut self) -> Option<Upgrade> {
        self.arrived_mut().parts.extensions.remove::<OnUpgrade>().map(Upgrade::new)
    }

    /// Returns the authorisers that let the request pass, for questions about other actions: there are no others to ask.
    pub fn authorizers(&self) -> &AuthorizerChain {
        &self.guards.authorizers
    }

    /// Returns who knows tokens, for questions about tokens of others.
    pub fn tokens(&self) -> &Tokens {
        self.guards.authenticators.tokens()
    }

    /// Returns the question that was put to the authorisers; a verb changes its target or verb to ask a further one (reviews,
    /// escalation, a second resource).
    pub fn attributes(&self) -> Attributes<'_> {
        Attributes::of_request(self.identity(), self.info())
    }
}

#[cfg(test)]
mod tests;
