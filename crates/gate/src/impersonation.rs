//! Step 4, `Acting`: as whom the request acts (upstream: the impersonation filter; constrained impersonation, KEP-5284, beta in
//! 1.36).
//!
//! A user may act as another when the authorisers allow it for every part of that other identity: the user, service account or
//! node, the uid, each group, each value of each extra. This file reads the headers; `modes` asks.

mod modes;

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use portcullis_audit::Record;
use portcullis_model::go_text::quoted;
use portcullis_model::names::{dns1123_label, dns1123_subdomain};

use crate::arrival::Arrived;
use crate::audit::{self, Recorded};
use crate::authn::strip_prefix;
use crate::authz::AuthorizerChain;
use crate::identity::{
    ANONYMOUS, GROUP_AUTHENTICATED, GROUP_NODES, GROUP_SERVICE_ACCOUNTS, GROUP_UNAUTHENTICATED, Identity,
    NODE_NAME_PREFIX, SERVICE_ACCOUNT_PREFIX,
};
use crate::query::percent_decode;
use crate::refusal::Refusal;
use crate::request_info::RequestInfo;

use self::modes::Mode;

const PREFIX: &str = "impersonate-";
const USER: HeaderName = HeaderName::from_static("impersonate-user");
const GROUP: HeaderName = HeaderName::from_static("impersonate-group");
const UID: HeaderName = HeaderName::from_static("impersonate-uid");
const EXTRA_PREFIX: &str = "impersonate-extra-";
/// Parts (groups and values of extras) an impersonated identity may have; each is a question to the authorisers.
const PARTS_MAX: usize = 256;

/// A request with the identity it acts under.
pub(crate) struct Acting {
    recorded: Recorded,
    impersonated: Option<Impersonated>,
}

/// As whom a request acts, and what allowed it.
struct Impersonated {
    identity: Arc<Identity>,
    mode: Mode,
}

impl Acting {
    /// Returns who acts.
    pub(crate) fn identity(&self) -> &Arc<Identity> {
        let own = self.recorded.identified().identity();
        self.impersonated.as_ref().map_or(own, |impersonated| &impersonated.identity)
    }

    /// Returns who sent the request, when it acts as somebody else.
    pub(crate) fn impersonator(&self) -> Option<&Arc<Identity>> {
        self.impersonated.as_ref().map(|_| self.recorded.identified().identity())
    }

    /// Returns the constraint under which it acts as somebody else (the audit log's `impersonationConstraint`); none for the
    /// grants that came before constrained impersonation.
    pub(crate) fn constraint(&self) -> Option<&'static str> {
        self.impersonated.as_ref().and_then(|impersonated| impersonated.mode.constraint())
    }

    pub(crate) fn info(&self) -> &Arc<RequestInfo> {
        self.recorded.identified().located().info()
    }

    pub(crate) fn record(&self) -> &Record {
        self.recorded.record()
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
    let arrived_id = recorded.identified().located().arrived().audit_id.clone();
    let audit_id = arrived_id.to_str().unwrap_or_default();
    let (user, info) = (recorded.identified().identity(), recorded.identified().located().info());
    // Boxed: nobody else should pay for the room that these questions take.
    let mode = match Box::pin(modes::ask(authorizers, user, info, &wanted)).await {
        Ok(mode) => mode,
        Err(refusal) => {
            if let Refusal::Forbidden(forbidden) = &refusal {
                audit::note_forbid(recorded.record(), &forbidden.message);
            }
            let (user, verb) = (&user.name, info.verb());
            tracing::info!(audit_id, user, verb, impersonated = wanted.user, gate = "impersonation", "request refused");
            return Err(refusal);
        }
    };
    tracing::info!(
        audit_id,
        user = user.name,
        impersonated = wanted.user,
        constraint = mode.constraint().unwrap_or_default(),
        gate = "impersonation",
        "request acts as another user"
    );
    let identity = Arc::new(wanted.into_identity(mode));
    recorded.record().impersonated(&audit::user(&identity), mode.constraint());
    Ok(Acting { recorded, impersonated: Some(Impersonated { identity, mode }) })
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
            "requested &user.DefaultInfo{{Name:\"\", UID:{}, Groups:{}, Extra:{}}} without impersonating a user name",
            quoted(&uid),
            go_strings(&groups),
            go_map(&extra)
        )))
    }

    /// Says whether the headers ask for a user and for nothing that the user's name does not imply.
    fn is_only_a_name(&self) -> bool {
        self.uid.is_empty() && self.groups.is_empty() && self.extra.is_empty()
    }

    /// Says whether the Node authoriser would take it for a node, even by a name that no node can have.
    fn passes_for_a_node(&self) -> bool {
        self.user.starts_with(NODE_NAME_PREFIX) && self.groups.iter().any(|group| group == GROUP_NODES)
    }

    /// Adds the groups that the user's name implies, as upstream does.
    fn into_identity(self, mode: Mode) -> Identity {
        let mut identity = Identity { name: self.user, uid: self.uid, groups: self.groups, extra: self.extra };
        if let Some((namespace, _)) = service_account(&identity.name)
            && identity.groups.is_empty()
        {
            identity.groups = vec![GROUP_SERVICE_ACCOUNTS.to_owned(), format!("{GROUP_SERVICE_ACCOUNTS}:{namespace}")];
        }
        if matches!(mode, Mode::AssociatedNode | Mode::ArbitraryNode) {
            identity.groups = vec![GROUP_NODES.to_owned()];
        }
        if identity.name == ANONYMOUS {
            identity.join(GROUP_UNAUTHENTICATED);
        } else if !identity.is_in(GROUP_UNAUTHENTICATED) {
            identity.join(GROUP_AUTHENTICATED);
        }
        identity
    }
}

/// Returns namespace and name of a service account's user name. One that no service account can have is another user's.
fn service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix(SERVICE_ACCOUNT_PREFIX)?.split_once(':')?;
    (dns1123_label(namespace).is_empty() && dns1123_subdomain(name).is_empty()).then_some((namespace, name))
}

/// Returns the name of the node that a user name stands for.
fn node(user: &str) -> Option<&str> {
    user.strip_prefix(NODE_NAME_PREFIX).filter(|name| dns1123_subdomain(name).is_empty())
}

/// Strings as Go prints them with their type.
fn go_strings(strings: &[String]) -> String {
    let items: Vec<_> = strings.iter().map(|text| quoted(text)).collect();
    if items.is_empty() { "[]string(nil)".to_owned() } else { format!("[]string{{{}}}", items.join(", ")) }
}

/// A map as Go prints it with its type.
fn go_map(map: &BTreeMap<String, Vec<String>>) -> String {
    let items: Vec<_> = map.iter().map(|(key, values)| format!("{}:{}", quoted(key), go_strings(values))).collect();
    if items.is_empty() {
        "map[string][]string(nil)".to_owned()
    } else {
        format!("map[string][]string{{{}}}", items.join(", "))
    }
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
