//! Step 4, `Acting`: as whom the request acts (upstream: the impersonation filter).
//!
//! A user may act as another when the authorisers allow the verb `impersonate` on every part of that other identity: the user
//! or service account, each group, the uid, each value of each extra. The words of a refusal are those of constrained
//! impersonation (KEP-5284, beta in 1.36), which upstream asks first; its own narrower grants (`impersonate:user-info` and
//! `impersonate-on:user-info:get`) come with RBAC.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::arrival::Arrived;
use crate::audit::Recorded;
use crate::authn::strip_prefix;
use crate::authz::{Attributes, AuthorizerChain, Selectors, Target, forbidden};
use crate::identity::{ANONYMOUS, GROUP_AUTHENTICATED, GROUP_UNAUTHENTICATED, Identity};
use crate::query::percent_decode;
use crate::refusal::Refusal;
use crate::request_info::RequestInfo;

const PREFIX: &str = "impersonate-";
const USER: HeaderName = HeaderName::from_static("impersonate-user");
const GROUP: HeaderName = HeaderName::from_static("impersonate-group");
const UID: HeaderName = HeaderName::from_static("impersonate-uid");
const EXTRA_PREFIX: &str = "impersonate-extra-";
const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";
const SERVICE_ACCOUNTS_GROUP: &str = "system:serviceaccounts";
const NODE_PREFIX: &str = "system:node:";
/// The group of the resources `uids` and `userextras`.
const AUTHENTICATION_GROUP: &str = "authentication.k8s.io";
/// Parts (groups and values of extras) an impersonated identity may have; each is a question to the authorisers.
const PARTS_MAX: usize = 256;

/// A request with the identity it acts under.
pub struct Acting {
    recorded: Recorded,
    impersonated: Option<Arc<Identity>>,
}

impl Acting {
    /// Returns who acts.
    pub(crate) fn identity(&self) -> &Arc<Identity> {
        self.impersonated.as_ref().unwrap_or(self.recorded.identified().identity())
    }

    /// Returns who sent the request, when it acts as somebody else.
    pub(crate) fn impersonator(&self) -> Option<&Arc<Identity>> {
        self.impersonated.as_ref().map(|_| self.recorded.identified().identity())
    }

    pub(crate) fn info(&self) -> &RequestInfo {
        self.recorded.identified().located().info()
    }

    pub(crate) fn arrived(&self) -> &Arrived {
        self.recorded.identified().located().arrived()
    }

    pub(crate) fn arrived_mut(&mut self) -> &mut Arrived {
        self.recorded.identified_mut().located_mut().arrived_mut()
    }
}

/// Replaces the identity by the one the headers ask for, if its owner may do that, and takes those headers out.
pub(crate) async fn act(authorizers: &AuthorizerChain, mut recorded: Recorded) -> Result<Acting, Refusal> {
    let headers = &mut recorded.identified_mut().located_mut().arrived_mut().parts.headers;
    if !headers.keys().any(|name| name.as_str().starts_with(PREFIX)) {
        return Ok(Acting { recorded, impersonated: None });
    }
    let wanted = Wanted::from_headers(headers)?;
    strip_prefix(headers, PREFIX);
    let Some(wanted) = wanted else { return Ok(Acting { recorded, impersonated: None }) };
    wanted.check(authorizers, &recorded).await?;
    tracing::info!(
        audit_id = recorded.identified().located().arrived().audit_id.to_str().unwrap_or_default(),
        user = recorded.identified().identity().name,
        impersonated = wanted.user,
        gate = "impersonation",
        "request acts as another user"
    );
    Ok(Acting { recorded, impersonated: Some(Arc::new(wanted.into_identity())) })
}

/// The identity that the headers ask for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    user: String,
    uid: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

impl Wanted {
    /// Reads the headers; `None` when they ask for nothing.
    fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, Refusal> {
        let first = |name: HeaderName| headers.get(name).map_or(Ok(String::new()), text);
        let user = first(USER)?;
        let uid = first(UID)?;
        let groups = headers.get_all(GROUP).iter().map(text).collect::<Result<Vec<_>, _>>()?;
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut parts = groups.len();
        for (name, value) in headers {
            if let Some(key) = name.as_str().strip_prefix(EXTRA_PREFIX) {
                extra.entry(extra_key(key)).or_default().push(text(value)?);
                parts += 1;
            }
        }
        if parts > PARTS_MAX {
            return Err(bad_request(format!("impersonation names more than {PARTS_MAX} groups and extra values")));
        }
        if !user.is_empty() {
            return Ok(Some(Self { user, uid, groups, extra }));
        }
        if uid.is_empty() && parts == 0 {
            return Ok(None);
        }
        Err(bad_request(format!(
            "requested uid {uid:?}, groups {groups:?}, extra {extra:?} without impersonating a user name"
        )))
    }

    /// Asks for every part of the identity.
    async fn check(&self, authorizers: &AuthorizerChain, recorded: &Recorded) -> Result<(), Refusal> {
        let impersonator = &**recorded.identified().identity();
        let mut is_allowed = true;
        for target in self.parts() {
            let attributes = Attributes { user: impersonator, verb: "impersonate", target };
            is_allowed = is_allowed && authorizers.decide(&attributes).await.is_allow();
        }
        if is_allowed {
            return Ok(());
        }
        let info = recorded.identified().located().info();
        let verb = format!("impersonate-on:{}:{}", self.mode(), info.verb());
        tracing::info!(
            audit_id = recorded.identified().located().arrived().audit_id.to_str().unwrap_or_default(),
            user = impersonator.name,
            verb,
            impersonated = self.user,
            gate = "impersonation",
            "request refused"
        );
        Err(forbidden(&Attributes { verb: &verb, ..Attributes::of_request(impersonator, info) }, ""))
    }

    /// Every part of the identity, as what is impersonated.
    fn parts(&self) -> Vec<Target<'_>> {
        fn part<'a>(
            group: &'a str,
            namespace: &'a str,
            resource: &'a str,
            subresource: &'a str,
            name: &'a str,
        ) -> Target<'a> {
            let selectors = Selectors::NONE;
            Target::Resource { group, version: "v1", namespace, resource, subresource, name, selectors }
        }
        let user = match service_account(&self.user) {
            Some((namespace, name)) => part("", namespace, "serviceaccounts", "", name),
            None => part("", "", "users", "", &self.user),
        };
        let mut parts = vec![user];
        parts.extend(self.groups.iter().map(|group| part("", "", "groups", "", group)));
        if !self.uid.is_empty() {
            parts.push(part(AUTHENTICATION_GROUP, "", "uids", "", &self.uid));
        }
        for (key, values) in &self.extra {
            parts.extend(values.iter().map(|value| part(AUTHENTICATION_GROUP, "", "userextras", key, value)));
        }
        parts
    }

    /// Returns the name that constrained impersonation has for this sort of identity.
    fn mode(&self) -> &'static str {
        if service_account(&self.user).is_some() {
            "serviceaccount"
        } else if self.user.starts_with(NODE_PREFIX) {
            "arbitrary-node"
        } else {
            "user-info"
        }
    }

    /// Adds the groups that the user's name implies, as upstream does.
    fn into_identity(self) -> Identity {
        let mut identity = Identity { name: self.user, uid: self.uid, groups: self.groups, extra: self.extra };
        if let Some((namespace, _)) = service_account(&identity.name)
            && identity.groups.is_empty()
        {
            identity.groups = vec![SERVICE_ACCOUNTS_GROUP.to_owned(), format!("{SERVICE_ACCOUNTS_GROUP}:{namespace}")];
        }
        if identity.name == ANONYMOUS {
            identity.join(GROUP_UNAUTHENTICATED);
        } else if !identity.is_in(GROUP_UNAUTHENTICATED) {
            identity.join(GROUP_AUTHENTICATED);
        }
        identity
    }
}

/// Returns namespace and name of a service account's user name.
fn service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix(SERVICE_ACCOUNT_PREFIX)?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}

/// Decodes the key of an extra, which is lower case because header names are; one that is not encoded stands as it is.
fn extra_key(key: &str) -> String {
    let decoded = percent_decode(key).and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.unwrap_or_else(|| key.to_owned())
}

fn text(value: &HeaderValue) -> Result<String, Refusal> {
    let text = std::str::from_utf8(value.as_bytes());
    text.map(str::to_owned).map_err(|_| bad_request("impersonation header is not UTF-8".to_owned()))
}

fn bad_request(message: String) -> Refusal {
    Refusal::BadRequest { message }
}

#[cfg(test)]
mod tests;
