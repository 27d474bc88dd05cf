//! What must be allowed for one user to act as another (upstream: the impersonation modes).
//!
//! A mode of constrained impersonation asks twice: whether this request may be made while impersonating
//! (`impersonate-on:user-info:list` on what the request is about), and then for each part of the identity
//! (`impersonate:user-info` on it, in `authentication.k8s.io`). The modes are asked in upstream's order and the old verb,
//! `impersonate`, comes last. When none allows it the first one's refusal is the answer. Nothing is remembered between requests,
//! so a grant that is taken away is gone for the next one.

use std::collections::BTreeMap;

use portcullis_model::go_text::quoted;
use portcullis_model::names::dns1123_subdomain;

use crate::authz::{Attributes, AuthorizerChain, Selection, Target, Verdict, forbidden};
use crate::identity::{EXTRA_NODE_NAME, GROUP_MASTERS, Identity};
use crate::refusal::Refusal;
use crate::request_info::RequestInfo;

use super::{Wanted, node, service_account};

/// From so many groups, or values of extras, a mode first asks for all at once.
const MANY_MIN: usize = 4;
/// The group of what is impersonated under a constraint, and of `uids` and `userextras` always.
const AUTHENTICATION_GROUP: &str = "authentication.k8s.io";
/// Stands in for the extras of a service account that impersonates its node.
const EXTRA_ASSOCIATED_NODE_KEYS: &str = "authentication.kubernetes.io/associated-node-keys";
const ANY: &str = "*";

const EXTRA_KEY_SHAPE: &str = "must be a domain-prefixed path (such as \"acme.io/foo\")";
const EXTRA_KEY_PATH: &str = "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')";
/// What the path of an extra's key may hold beside letters and digits.
const EXTRA_KEY_PUNCTUATION: &[u8] = b"/-._~%!$&'()*+,;=:";

/// Which grants let a user act as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// A service account acts as the node that its pod runs on.
    AssociatedNode,
    /// Somebody acts as a node.
    ArbitraryNode,
    /// Somebody acts as a service account.
    ServiceAccount,
    /// Somebody acts as another sort of user, with uid, groups and extra.
    UserInfo,
    /// The verb `impersonate`, for all requests at once.
    Legacy,
}

impl Mode {
    const IN_ORDER: [Self; 5] =
        [Self::AssociatedNode, Self::ArbitraryNode, Self::ServiceAccount, Self::UserInfo, Self::Legacy];

    /// Returns the verb on the parts of the identity, which is what the audit log calls the constraint.
    pub(super) fn constraint(self) -> Option<&'static str> {
        match self {
            Self::AssociatedNode => Some("impersonate:associated-node"),
            Self::ArbitraryNode => Some("impersonate:arbitrary-node"),
            Self::ServiceAccount => Some("impersonate:serviceaccount"),
            Self::UserInfo => Some("impersonate:user-info"),
            Self::Legacy => None,
        }
    }

    /// Says whether this is a mode for that identity. A node or service account has no uid, groups or extra of the asker's
    /// choice under a constraint.
    fn is_for(self, wanted: &Wanted, user: &Identity) -> bool {
        let (node, is_service_account) = (node(&wanted.user), service_account(&wanted.user).is_some());
        match self {
            Self::AssociatedNode => {
                let own = user.extra.get(EXTRA_NODE_NAME).map_or(&[] as &[String], Vec::as_slice);
                let is_own = matches!((own, node), ([own], Some(node)) if own == node);
                is_own && wanted.is_only_a_name() && service_account(&user.name).is_some()
            }
            Self::ArbitraryNode => node.is_some() && wanted.is_only_a_name(),
            Self::ServiceAccount => is_service_account && wanted.is_only_a_name(),
            Self::UserInfo => node.is_none() && !is_service_account && !wanted.passes_for_a_node(),
            Self::Legacy => true,
        }
    }
}

/// Asks whether a user may make a request as another, and returns the mode that allows it.
pub(super) async fn ask(
    authorizers: &AuthorizerChain,
    user: &Identity,
    info: &RequestInfo,
    wanted: &Wanted,
) -> Result<Mode, Refusal> {
    let mut first = None;
    for mode in Mode::IN_ORDER.into_iter().filter(|mode| mode.is_for(wanted, user)) {
        let associated;
        let user = if mode == Mode::AssociatedNode {
            associated = of_any_node(user);
            &associated
        } else {
            user
        };
        match (Questions { authorizers, user, mode }).ask(info, wanted).await {
            Ok(()) => return Ok(mode),
            Err(refusal) => first = first.or(Some(refusal)),
        }
    }
    // The last mode is for everybody, so there is a refusal.
    Err(first.unwrap_or_else(|| forbidden(&Attributes::of_request(user, info), "")))
}

/// Returns a service account as authorisers see it when it wants to be its node: that the node is its own has been checked, and
/// a grant must hold for all of its pods, so what tells them apart is left out.
fn of_any_node(user: &Identity) -> Identity {
    let keys = user.extra.keys().cloned().collect();
    let extra = BTreeMap::from([(EXTRA_ASSOCIATED_NODE_KEYS.to_owned(), keys)]);
    Identity { extra, ..user.clone() }
}

/// The questions of one mode.
struct Questions<'a> {
    authorizers: &'a AuthorizerChain,
    user: &'a Identity,
    mode: Mode,
}

impl Questions<'_> {
    async fn ask(&self, info: &RequestInfo, wanted: &Wanted) -> Result<(), Refusal> {
        if let Some((_, mode)) = self.mode.constraint().and_then(|constraint| constraint.split_once(':')) {
            let verb = format!("impersonate-on:{mode}:{}", info.verb());
            self.put(&Attributes { verb: &verb, ..Attributes::of_request(self.user, info) }).await?;
        }
        self.put(&self.about(self.who(&wanted.user))).await?;
        if !wanted.uid.is_empty() {
            self.put(&self.about(part(AUTHENTICATION_GROUP, "uids", "", &wanted.uid))).await?;
        }
        self.ask_groups(&wanted.groups).await?;
        self.ask_extra(&wanted.extra).await
    }

    async fn put(&self, attributes: &Attributes<'_>) -> Result<(), Refusal> {
        match self.authorizers.decide(attributes).await {
            Verdict::Allow { .. } => Ok(()),
            Verdict::Deny { reason } | Verdict::NoOpinion { reason } => Err(forbidden(attributes, &reason)),
        }
    }

    /// The question for a part of the identity.
    fn about<'b>(&'b self, target: Target<'b>) -> Attributes<'b> {
        Attributes { user: self.user, verb: self.mode.constraint().unwrap_or("impersonate"), target }
    }

    /// The group of users, service accounts, nodes and groups.
    fn group(&self) -> &'static str {
        if self.mode == Mode::Legacy { "" } else { AUTHENTICATION_GROUP }
    }

    fn who<'b>(&self, name: &'b str) -> Target<'b> {
        let group = self.group();
        if let Some((namespace, name)) = service_account(name) {
            let (version, selectors) = ("v1", Selection::ALL);
            let (resource, subresource) = ("serviceaccounts", "");
            return Target::Resource { group, version, namespace, resource, subresource, name, selectors };
        }
        match (self.mode, node(name)) {
            // Upstream asks for all nodes, because one answer serves every pod of a DaemonSet.
            (Mode::AssociatedNode, Some(_)) => part(group, "nodes", "", ANY),
            (Mode::ArbitraryNode, Some(node)) => part(group, "nodes", "", node),
            _ => part(group, "users", "", name),
        }
    }

    async fn ask_groups(&self, groups: &[String]) -> Result<(), Refusal> {
        let about = |name| self.about(part(self.group(), "groups", "", name));
        if self.mode != Mode::Legacy {
            if groups.iter().any(String::is_empty) {
                return Err(forbidden(&about(""), "impersonating the empty string group is not allowed"));
            }
            if groups.iter().any(|group| group == GROUP_MASTERS) {
                let reason = "impersonating the system:masters group is not allowed";
                return Err(forbidden(&about(GROUP_MASTERS), reason));
            }
            if groups.len() >= MANY_MIN && self.put(&about(ANY)).await.is_ok() {
                return Ok(());
            }
        }
        for group in groups {
            self.put(&about(group)).await?;
        }
        Ok(())
    }

    async fn ask_extra(&self, extra: &BTreeMap<String, Vec<String>>) -> Result<(), Refusal> {
        if self.mode != Mode::Legacy {
            for (key, values) in extra {
                if let Some(reason) = extra_fault(key, values) {
                    return Err(forbidden(&self.about(part(AUTHENTICATION_GROUP, "userextras", "", "")), &reason));
                }
            }
            let values = extra.values().map(Vec::len).sum::<usize>();
            let all = self.about(part(AUTHENTICATION_GROUP, "userextras", ANY, ANY));
            if values >= MANY_MIN && self.put(&all).await.is_ok() {
                return Ok(());
            }
        }
        for (key, values) in extra {
            for value in values {
                self.put(&self.about(part(AUTHENTICATION_GROUP, "userextras", key, value))).await?;
            }
        }
        Ok(())
    }
}

/// What is impersonated, outside of any namespace.
fn part<'a>(group: &'a str, resource: &'a str, subresource: &'a str, name: &'a str) -> Target<'a> {
    let (version, namespace, selectors) = ("v1", "", Selection::ALL);
    Target::Resource { group, version, namespace, resource, subresource, name, selectors }
}

/// Says what is wrong with an extra under a constraint; the old verb takes any.
fn extra_fault(key: &str, values: &[String]) -> Option<String> {
    if key.is_empty() {
        return Some("impersonating the empty string key in extra is not allowed".to_owned());
    }
    if let Some(fault) = extra_key_fault(key) {
        return Some(format!("impersonating an invalid key in extra is not allowed: {fault}"));
    }
    if key != key.to_lowercase() {
        return Some(format!("impersonating a non-lowercase key in extra is not allowed: {}", quoted(key)));
    }
    if values.iter().any(String::is_empty) {
        return Some("impersonating the empty string value in extra is not allowed".to_owned());
    }
    None
}

/// A key is a path below a domain: `acme.io/foo`.
fn extra_key_fault(key: &str) -> Option<String> {
    let invalid = |value: &str, detail: &str| Some(format!("extra.key: Invalid value: {}: {detail}", quoted(value)));
    let (domain, path) = match key.split_once('/') {
        Some((domain, path)) if !domain.is_empty() && !path.is_empty() => (domain, path),
        _ => return invalid(key, EXTRA_KEY_SHAPE),
    };
    if let Some(wrong) = dns1123_subdomain(domain).first() {
        return invalid(domain, wrong);
    }
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || EXTRA_KEY_PUNCTUATION.contains(&byte);
    if path.bytes().all(is_allowed) { None } else { invalid(path, EXTRA_KEY_PATH) }
}
