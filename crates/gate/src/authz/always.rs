//! Everything, or nothing (upstream: the modes AlwaysAllow and AlwaysDeny).
//!
//! A7: AlwaysAllow takes two flags, and then the log, every decision and every answer say that it is in force.

use std::sync::Arc;

use http::HeaderValue;

use crate::identity::Identity;

use super::{Attributes, Authorizer, Decision, PathRule, ResourceRule, Rules, Verdict};

const ALLOWED: &str = "AlwaysAllow is in force: everyone may do everything";
/// The value of the header that every answer carries. 299 is a lasting warning of no particular kind.
const WARNING: &str = r#"299 - "this server runs with AlwaysAllow: everyone may do everything""#;
/// What upstream says.
const DENIED: &str = "Everything is forbidden.";

/// Proof that the operator said twice that everyone may do everything.
#[derive(Clone, Copy, Debug)]
pub struct EveryoneMayDoEverything(());

impl EveryoneMayDoEverything {
    /// Takes the operator's second word for it; nothing when it was not given.
    pub fn if_said(is_said: bool) -> Option<Self> {
        is_said.then_some(Self(()))
    }
}

/// Allows everything.
pub(crate) struct AlwaysAllow {
    reason: Arc<str>,
}

impl AlwaysAllow {
    /// Makes it, and says so in the log.
    pub(crate) fn new(_: EveryoneMayDoEverything) -> Self {
        tracing::warn!(gate = "authz", authorizer = "AlwaysAllow", "EVERYONE MAY DO EVERYTHING ON THIS SERVER");
        Self { reason: ALLOWED.into() }
    }
}

impl Authorizer for AlwaysAllow {
    fn name(&self) -> &'static str {
        "AlwaysAllow"
    }

    fn decide<'a>(&'a self, _: &'a Attributes<'a>) -> Decision<'a> {
        Decision::Now(Verdict::Allow { reason: Arc::clone(&self.reason) })
    }

    fn rules(&self, _: &Identity, _: &str, rules: &mut Rules) {
        let every = || vec!["*".to_owned()];
        rules.resources.push(ResourceRule { verbs: every(), groups: every(), resources: every(), names: Vec::new() });
        rules.paths.push(PathRule { verbs: every(), paths: every() });
    }

    fn warning(&self) -> Option<HeaderValue> {
        Some(HeaderValue::from_static(WARNING))
    }
}

/// Allows nothing. As upstream's it has no opinion, so that those after it are still asked: what is really denied is only what
/// nobody else allows, and the paths of L1 stay open.
pub(crate) struct AlwaysDeny {
    reason: Arc<str>,
}

impl AlwaysDeny {
    pub(crate) fn new() -> Self {
        Self { reason: DENIED.into() }
    }
}

impl Authorizer for AlwaysDeny {
    fn name(&self) -> &'static str {
        "AlwaysDeny"
    }

    fn decide<'a>(&'a self, _: &'a Attributes<'a>) -> Decision<'a> {
        Decision::Now(Verdict::NoOpinion { reason: Arc::clone(&self.reason) })
    }

    fn rules(&self, _: &Identity, _: &str, _: &mut Rules) {}
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http::{Request, Response, header};
    use portcullis_model::go_text::quoted;

    use super::*;
    use crate::authz::{AuthorizerChain, Target};
    use crate::identity::user;
    use crate::{Body, Gate, Guards, Limits, Peer, Permitted, RequestBody};

    fn ask<'a>(user: &'a Identity, path: &'a str) -> Attributes<'a> {
        Attributes { user, verb: "get", target: Target::Path(path) }
    }

    #[tokio::test]
    async fn a7_each_decision_says_that_everyone_may_do_everything() {
        let ana = user("ana", &[]);
        assert!(EveryoneMayDoEverything::if_said(false).is_none());
        let consent = EveryoneMayDoEverything::if_said(true).unwrap();
        let chain = AuthorizerChain::new(vec![Arc::new(AlwaysAllow::new(consent))]);
        assert_eq!(chain.decide(&ask(&ana, "/x")).await, Verdict::allow(ALLOWED));
        assert_eq!(chain.rules(&ana, "").resources.len(), 1);
    }

    #[tokio::test]
    async fn always_deny_allows_only_the_public_paths() {
        let ana = user("ana", &[]);
        let chain = AuthorizerChain::new(vec![Arc::new(AlwaysDeny::new())]);
        assert_eq!(chain.decide(&ask(&ana, "/x")).await, Verdict::NoOpinion { reason: DENIED.into() });
        assert!(chain.decide(&ask(&ana, "/healthz")).await.is_allow());
        assert!(chain.warning().is_none());
    }

    async fn ok(_: Permitted) -> Response<Body> {
        Response::new(Body::from("ok"))
    }

    #[tokio::test]
    async fn a7_every_answer_warns() {
        let check = async |chosen: Vec<Arc<dyn Authorizer>>, path: &str, status: u16, expected: Option<&str>| {
            let guards = Guards { authorizers: AuthorizerChain::new(chosen), ..Guards::default() };
            let gate = Gate::new(ok, guards, Limits::default());
            let ana = user("ana", &[]);
            let request = Request::builder().uri(path).body(RequestBody::from_bytes("")).unwrap();
            let answer = gate.handle(&Peer::in_process(Arc::new(ana)), request).await;
            let warning = answer.headers().get(header::WARNING).map(|value| value.to_str().unwrap());
            assert_eq!((answer.status().as_u16(), warning), (status, expected), "{}", quoted(path));
        };
        let open = || AlwaysAllow::new(EveryoneMayDoEverything::if_said(true).unwrap());
        check(vec![Arc::new(open())], "/x", 200, Some(WARNING)).await;
        check(vec![Arc::new(AlwaysDeny::new()), Arc::new(open())], "/x", 200, Some(WARNING)).await;
        check(vec![Arc::new(open())], "/x/..", 404, Some(WARNING)).await;
        check(vec![Arc::new(AlwaysDeny::new())], "/x", 403, None).await;
        check(vec![], "/healthz", 200, None).await;
    }
}
