#![allow(clippy::unwrap_used)]

use http::Request;

use super::*;
use crate::identity::{GROUP_AUTHENTICATED, GROUP_MASTERS, user};

fn info(method: &str, target: &str) -> RequestInfo {
    let request = Request::builder().method(method).uri(target).body(()).unwrap();
    RequestInfo::parse(request.method(), request.uri().path(), request.uri().query().unwrap_or_default()).unwrap()
}

#[tokio::test]
async fn masters_may_do_all_and_others_read_the_public_paths() {
    let chain = AuthorizerChain::new(Vec::new());
    let check = async |user: &Identity, method: &str, target: &str, allowed: bool| {
        let info = info(method, target);
        let verdict = chain.decide(&Attributes::of_request(user, &info)).await;
        assert_eq!(matches!(verdict, Verdict::Allow { .. }), allowed, "{} {method} {target}", user.name);
    };
    let admin = user("kubernetes-admin", &[GROUP_MASTERS, GROUP_AUTHENTICATED]);
    let ana = user("ana", &["harbor", GROUP_AUTHENTICATED]);
    let named_like_the_group = user(GROUP_MASTERS, &["system:masters "]);
    let anonymous = Identity::anonymous();
    for (method, target) in [
        ("GET", "/api/v1/secrets"),
        ("DELETE", "/api/v1/namespaces"),
        ("POST", "/api/v1/namespaces/a/pods/p/exec"),
        ("GET", "/metrics"),
        ("TRACE", "/api/v1/pods"),
    ] {
        check(&admin, method, target, true).await;
        check(&ana, method, target, false).await;
        check(&named_like_the_group, method, target, false).await;
        check(&anonymous, method, target, false).await;
    }
    for path in ["/version", "/healthz", "/livez", "/readyz"] {
        check(&anonymous, "GET", path, true).await;
        check(&ana, "GET", path, true).await;
        check(&anonymous, "POST", path, false).await;
        check(&ana, "GET", &format!("{path}/ping"), false).await;
    }
}

#[test]
fn a_403_has_upstreams_words() {
    let check = |name: &str, method: &str, target: &str, reason: &str, expected: [&str; 4]| {
        let (user, info) = (user(name, &[]), info(method, target));
        let Refusal::Forbidden(got) = forbidden(&Attributes::of_request(&user, &info), reason) else {
            panic!("{target} is not forbidden")
        };
        assert_eq!([got.group.as_str(), &got.resource, &got.name, &got.message], expected, "{method} {target}");
    };
    check(
        "ana",
        "GET",
        "/api/v1/secrets",
        "",
        ["", "secrets", "", r#"User "ana" cannot list resource "secrets" in API group "" at the cluster scope"#],
    );
    check(
        "ana",
        "GET",
        "/api/v1/namespaces/x",
        "",
        ["", "namespaces", "x", r#"User "ana" cannot get resource "namespaces" in API group "" in the namespace "x""#],
    );
    check(
        "ana",
        "POST",
        "/api/v1/namespaces/default/pods/x/exec?command=ls",
        "",
        [
            "",
            "pods",
            "x",
            r#"User "ana" cannot create resource "pods/exec" in API group "" in the namespace "default""#,
        ],
    );
    check(
        "ana",
        "GET",
        "/apis/apps/v1/namespaces/default/deployments?fieldSelector=metadata.name%3Dx",
        "",
        [
            "apps",
            "deployments",
            "x",
            r#"User "ana" cannot list resource "deployments" in API group "apps" in the namespace "default""#,
        ],
    );
    check("ana", "GET", "/logs/", "", ["", "", "", r#"User "ana" cannot get path "/logs/""#]);
    check("ana", "POST", "/x", "no rule", ["", "", "", r#"User "ana" cannot post path "/x": no rule"#]);
    check(
        "<b>&\"",
        "GET",
        "/x",
        "a <reason> of ours",
        ["", "", "", r#"User "&lt;b&gt;&amp;\"" cannot get path "/x": a <reason> of ours"#],
    );
}

/// Says the same of everything, at once or later.
struct Always(Verdict, bool);

impl Authorizer for Always {
    fn name(&self) -> &'static str {
        "always"
    }

    fn decide<'a>(&'a self, _: &'a Attributes<'a>) -> Decision<'a> {
        match self.1 {
            true => Decision::Now(self.0.clone()),
            false => Decision::Later(Box::pin(async { self.0.clone() })),
        }
    }

    fn rules(&self, _: &Identity, _: &str, rules: &mut Rules) {
        rules.gaps.push("always".to_owned());
    }
}

#[test]
fn rules_are_those_that_decide() {
    let chain = AuthorizerChain::new(vec![Arc::new(Always(Verdict::no_opinion(), true))]);
    let check = |groups: &[&str], resources: usize, first_path: &str| {
        let rules = chain.rules(&user("ana", groups), "default");
        assert_eq!(rules.resources.len(), resources);
        assert_eq!(rules.paths[0].paths[0], first_path);
        assert_eq!(rules.gaps, ["always"]);
    };
    check(&[GROUP_MASTERS], 1, "*");
    check(&["harbor"], 0, crate::authn::PUBLIC_PATHS[0]);
}

#[tokio::test]
async fn the_first_word_counts_and_silence_is_a_no() {
    let allow = || Verdict::allow("allow");
    let deny = || Verdict::deny("deny");
    let silent = |reason: &str| Verdict::NoOpinion { reason: reason.into() };
    let check = async |verdicts: Vec<Verdict>, expected: Verdict| {
        let later = |(at, verdict)| Arc::new(Always(verdict, at % 2 == 0)) as Arc<dyn Authorizer>;
        let chain = AuthorizerChain::new(verdicts.into_iter().enumerate().map(later).collect());
        let (ana, info) = (user("ana", &[]), info("GET", "/x"));
        assert_eq!(chain.decide(&Attributes::of_request(&ana, &info)).await, expected);
        // No chain, not even an empty one, is a way past or around system:masters.
        let admin = user("admin", &[GROUP_MASTERS]);
        assert!(matches!(chain.decide(&Attributes::of_request(&admin, &info)).await, Verdict::Allow { .. }));
    };
    check(vec![], silent("")).await;
    check(vec![silent("")], silent("")).await;
    check(vec![silent("a"), silent(""), silent("b")], silent("a\nb")).await;
    check(vec![silent("a"), allow(), deny()], allow()).await;
    check(vec![silent("a"), deny(), allow()], deny()).await;
}
