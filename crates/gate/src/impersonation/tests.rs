#![allow(clippy::unwrap_used)]

use std::sync::Mutex;

use http::Method;

use super::*;
use crate::authz::{Attributes, Authorizer, Decision, Rules, Target, Verdict};
use crate::identity::user;

fn headers(rows: &[(&'static str, &'static str)]) -> HeaderMap {
    rows.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

#[test]
fn an_impersonated_identity_has_the_groups_its_name_implies() {
    let check = |rows: &[(&'static str, &'static str)], groups: &[&str]| {
        let identity = Wanted::from_headers(&headers(rows)).unwrap().unwrap().into_identity(Mode::Legacy);
        assert_eq!(identity.groups, groups, "{rows:?}");
    };
    let user = "impersonate-user";
    let group = "impersonate-group";
    check(&[(user, "bo")], &["system:authenticated"]);
    check(&[(user, "bo"), (group, "harbor"), (group, "pier")], &["harbor", "pier", "system:authenticated"]);
    check(&[(user, "bo"), (group, "system:authenticated")], &["system:authenticated"]);
    check(&[(user, "bo"), (group, "system:unauthenticated")], &["system:unauthenticated"]);
    check(&[(user, "system:anonymous")], &["system:unauthenticated"]);
    check(
        &[(user, "system:serviceaccount:default:sa")],
        &["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"],
    );
    check(&[(user, "system:serviceaccount:default:sa"), (group, "x")], &["x", "system:authenticated"]);
    check(&[(user, "system:serviceaccount:default")], &["system:authenticated"]);
    check(&[(user, "system:serviceaccount:a:b:c")], &["system:authenticated"]);
    check(&[(user, "system:serviceaccount:A:b")], &["system:authenticated"]);
    check(&[(user, "system:node:n1")], &["system:authenticated"]);
    for mode in [Mode::AssociatedNode, Mode::ArbitraryNode] {
        let node = Wanted::from_headers(&headers(&[(user, "system:node:n1")])).unwrap().unwrap().into_identity(mode);
        assert_eq!(node.groups, ["system:nodes", "system:authenticated"]);
    }
}

#[test]
fn headers_ask_for_an_identity_or_nothing_or_are_refused() {
    let read = |rows: &[(&'static str, &'static str)]| Wanted::from_headers(&headers(rows));
    assert_eq!(read(&[("impersonate-user", "")]), Ok(None));
    assert_eq!(read(&[("impersonate-boat", "x")]), Ok(None));
    let refused = |rows: &[(&'static str, &'static str)], uid: &str, groups: &str, extra: &str| {
        let expected = format!(
            "requested &user.DefaultInfo{{Name:\"\", UID:{uid}, Groups:{groups}, Extra:{extra}}} without impersonating a user name"
        );
        assert_eq!(read(rows), Err(Refusal::BadRequest { message: expected }));
    };
    let (no_groups, no_extra) = ("[]string(nil)", "map[string][]string(nil)");
    refused(&[("impersonate-group", "harbor")], r#""""#, r#"[]string{"harbor"}"#, no_extra);
    refused(&[("impersonate-uid", "7")], r#""7""#, no_groups, no_extra);
    refused(
        &[("impersonate-extra-scopes", "view"), ("impersonate-extra-scopes", "edit"), ("impersonate-extra-a", "b")],
        r#""""#,
        no_groups,
        r#"map[string][]string{"a":[]string{"b"}, "scopes":[]string{"view", "edit"}}"#,
    );
    let wanted = read(&[
        ("impersonate-user", "bo"),
        ("impersonate-uid", "7"),
        ("impersonate-extra-scopes", "view"),
        ("impersonate-extra-scopes", "edit"),
        ("impersonate-extra-acme.com%2fproject", "x"),
        ("impersonate-extra-bad%zz", "y"),
    ]);
    let extra = wanted.unwrap().unwrap().extra;
    let extra: Vec<_> = extra.iter().map(|(key, values)| (key.as_str(), values.join(","))).collect();
    assert_eq!(
        extra,
        [("acme.com/project", "x".to_owned()), ("bad%zz", "y".to_owned()), ("scopes", "view,edit".to_owned()),]
    );
}

#[test]
fn an_identity_has_a_limit() {
    let mut headers = headers(&[("impersonate-user", "bo")]);
    for _ in 0..=PARTS_MAX {
        headers.append(GROUP, HeaderValue::from_static("g"));
    }
    assert!(matches!(Wanted::from_headers(&headers), Err(Refusal::BadRequest { .. })));
}

/// Allows what it lists, each as `VERB GROUP/RESOURCE NAMESPACE NAME`, and remembers what it was asked.
#[derive(Default)]
struct Grants {
    allowed: Vec<String>,
    asked: Mutex<Vec<String>>,
    extra_keys: Mutex<Vec<String>>,
}

impl Authorizer for Grants {
    fn name(&self) -> &'static str {
        "grants"
    }

    fn decide<'a>(&'a self, attributes: &'a Attributes<'a>) -> Decision<'a> {
        let verb = attributes.verb;
        let question = match attributes.target {
            Target::Resource { group, namespace, resource, subresource, name, .. } => {
                let slash = if subresource.is_empty() { "" } else { "/" };
                format!("{verb} {group}/{resource}{slash}{subresource} {namespace} {name}")
            }
            Target::Path(path) => format!("{verb} {path}"),
        };
        let is_allowed = self.allowed.contains(&question);
        self.asked.lock().unwrap().push(question);
        *self.extra_keys.lock().unwrap() = attributes.user.extra.keys().cloned().collect();
        Decision::Now(if is_allowed { Verdict::allow("") } else { Verdict::no_opinion() })
    }

    fn rules(&self, _: &Identity, _: &str, _: &mut Rules) {}
}

/// Asks for an identity to list the pods of a namespace with; returns the constraint and what was asked, or the refusal's sentence.
async fn ask(
    user: &Identity,
    rows: &[(&'static str, &'static str)],
    allowed: &[&str],
) -> (Result<Mode, String>, Vec<String>, Vec<String>) {
    let wanted = Wanted::from_headers(&headers(rows)).unwrap().unwrap();
    let info = RequestInfo::parse(&Method::GET, "/api/v1/namespaces/pier/pods", "").unwrap();
    let grants = Arc::new(Grants { allowed: allowed.iter().map(ToString::to_string).collect(), ..Grants::default() });
    let chain = AuthorizerChain::new(vec![Arc::clone(&grants) as Arc<dyn Authorizer>]);
    let mode = modes::ask(&chain, user, &info, &wanted).await.map_err(|refusal| match refusal {
        Refusal::Forbidden(forbidden) => forbidden.message,
        other => panic!("{other:?}"),
    });
    (mode, grants.asked.lock().unwrap().clone(), grants.extra_keys.lock().unwrap().clone())
}

const USER_HEADER: &str = "impersonate-user";
const GROUP_HEADER: &str = "impersonate-group";
const UID_HEADER: &str = "impersonate-uid";
const EXTRA_HEADER: &str = "impersonate-extra-acme.io%2fscope";
const MAY_LIST: &str = "impersonate-on:user-info:list /pods pier ";

fn ana() -> Identity {
    user("ana", &[])
}

/// An agent's service account, with a token that is bound to a pod on a node.
fn agent(node: &str) -> Identity {
    let extra =
        [("authentication.kubernetes.io/node-name", node), ("authentication.kubernetes.io/pod-name", "agent-x")];
    let extra = extra.into_iter().map(|(key, value)| (key.to_owned(), vec![value.to_owned()])).collect();
    Identity { name: "system:serviceaccount:kube-system:agent".to_owned(), extra, ..Identity::default() }
}

#[tokio::test]
async fn each_part_of_an_identity_needs_its_own_grant() {
    let rows = [
        (USER_HEADER, "bo"),
        (UID_HEADER, "7"),
        (GROUP_HEADER, "harbor"),
        (GROUP_HEADER, "pier"),
        (EXTRA_HEADER, "view"),
    ];
    let constrained = [
        MAY_LIST,
        "impersonate:user-info authentication.k8s.io/users  bo",
        "impersonate:user-info authentication.k8s.io/uids  7",
        "impersonate:user-info authentication.k8s.io/groups  harbor",
        "impersonate:user-info authentication.k8s.io/groups  pier",
        "impersonate:user-info authentication.k8s.io/userextras/acme.io/scope  view",
    ];
    let legacy = [
        "impersonate /users  bo",
        "impersonate authentication.k8s.io/uids  7",
        "impersonate /groups  harbor",
        "impersonate /groups  pier",
        "impersonate authentication.k8s.io/userextras/acme.io/scope  view",
    ];
    for (grants, mode) in [(&constrained[..], Mode::UserInfo), (&legacy[..], Mode::Legacy)] {
        let (got, asked, _) = ask(&ana(), &rows, grants).await;
        assert_eq!(got, Ok(mode));
        assert!(asked.ends_with(&grants.iter().map(ToString::to_string).collect::<Vec<_>>()), "{asked:?}");
        for missing in 0..grants.len() {
            let rest: Vec<_> =
                grants.iter().enumerate().filter(|(at, _)| *at != missing).map(|(_, one)| *one).collect();
            let (got, ..) = ask(&ana(), &rows, &rest).await;
            assert!(got.is_err(), "without {}", grants[missing]);
        }
    }
    // Grants of the two sorts do not add up to one.
    let (first, _) = constrained.split_at(3);
    let (_, second) = legacy.split_at(2);
    assert!(ask(&ana(), &rows, &[first, second].concat()).await.0.is_err());
}

#[tokio::test]
async fn the_modes_are_asked_in_order_and_the_first_refusal_is_the_answer() {
    let check = async |user: &Identity,
                       rows: &[(&'static str, &'static str)],
                       allowed: &[&str],
                       expected: Result<Mode, &str>| {
        let (got, asked, _) = ask(user, rows, allowed).await;
        assert_eq!(got.as_ref().map_err(String::as_str).copied(), expected, "{rows:?} {asked:?}");
    };
    let sentence = |verb: &str, what: &str| format!("User \"ana\" cannot {verb} resource {what}");
    let pods = r#""pods" in API group "" in the namespace "pier""#;
    let user = |name: &'static str| [(USER_HEADER, name)];
    let (service_account, node) = (user("system:serviceaccount:pier:sa"), user("system:node:n1"));
    // Nothing is allowed.
    let on = |mode: &str| sentence(&format!("impersonate-on:{mode}:list"), pods);
    check(&ana(), &user("bo"), &[], Err(&on("user-info"))).await;
    check(&ana(), &service_account, &[], Err(&on("serviceaccount"))).await;
    check(&ana(), &node, &[], Err(&on("arbitrary-node"))).await;
    // The request is, the identity is not.
    let what = r#""users" in API group "authentication.k8s.io" at the cluster scope"#;
    check(&ana(), &user("bo"), &[MAY_LIST], Err(&sentence("impersonate:user-info", what))).await;
    // Service accounts and nodes.
    let account = "authentication.k8s.io/serviceaccounts pier sa";
    let granted = ["impersonate-on:serviceaccount:list /pods pier ", &format!("impersonate:serviceaccount {account}")];
    check(&ana(), &service_account, &granted, Ok(Mode::ServiceAccount)).await;
    check(
        &ana(),
        &service_account,
        &[granted[0]],
        Err(&sentence(
            "impersonate:serviceaccount",
            r#""serviceaccounts" in API group "authentication.k8s.io" in the namespace "pier""#,
        )),
    )
    .await;
    check(&ana(), &service_account, &["impersonate /serviceaccounts pier sa"], Ok(Mode::Legacy)).await;
    let granted = [
        "impersonate-on:arbitrary-node:list /pods pier ",
        "impersonate:arbitrary-node authentication.k8s.io/nodes  n1",
    ];
    check(&ana(), &node, &granted, Ok(Mode::ArbitraryNode)).await;
    check(
        &ana(),
        &user("system:node:n2"),
        &granted,
        Err(&sentence(
            "impersonate:arbitrary-node",
            r#""nodes" in API group "authentication.k8s.io" at the cluster scope"#,
        )),
    )
    .await;
    check(&ana(), &node, &["impersonate /users  system:node:n1"], Ok(Mode::Legacy)).await;
    // With a group of the asker's choice they are for the old verb alone.
    let more = [(USER_HEADER, "system:node:n1"), (GROUP_HEADER, "harbor")];
    check(&ana(), &more, &granted, Err(&sentence("impersonate", r#""users" in API group "" at the cluster scope"#)))
        .await;
    check(&ana(), &more, &["impersonate /users  system:node:n1", "impersonate /groups  harbor"], Ok(Mode::Legacy))
        .await;
    // A name that no node can have is a user's.
    check(&ana(), &user("system:node:N_1"), &[], Err(&on("user-info"))).await;
}

/// Who may be any user and of any group under the constraint `user-info` is still no node: the Node authoriser looks at the beginning of
/// the name and at the group.
#[tokio::test]
async fn nobody_passes_for_a_node_by_a_name_that_no_node_has() {
    let group = (GROUP_HEADER, "system:nodes");
    let what = "authentication.k8s.io";
    for name in ["system:node:", "system:node:N_1", "system:node:N1"] {
        let granted = [
            "impersonate-on:user-info:list /pods pier ",
            &format!("impersonate:user-info {what}/users  {name}"),
            &format!("impersonate:user-info {what}/groups  system:nodes"),
        ];
        let (got, asked, _) = ask(&ana(), &[(USER_HEADER, name), group], &granted).await;
        assert!(got.is_err(), "{name} {asked:?}");
        let (got, asked, _) = ask(&ana(), &[(USER_HEADER, name)], &granted).await;
        assert_eq!(got, Ok(Mode::UserInfo), "{name} {asked:?}");
    }
}

#[tokio::test]
async fn an_agent_may_be_its_own_node_and_no_other() {
    let associated = [
        "impersonate-on:associated-node:list /pods pier ",
        "impersonate:associated-node authentication.k8s.io/nodes  *",
    ];
    let check = async |user: &Identity, node: &'static str, allowed: &[&str], expected: bool| {
        let (got, ..) = ask(user, &[(USER_HEADER, node)], allowed).await;
        assert_eq!(got == Ok(Mode::AssociatedNode), expected, "{user:?} as {node}: {got:?}");
        got.err()
    };
    check(&agent("n1"), "system:node:n1", &associated, true).await;
    check(&agent("n1"), "system:node:n2", &associated, false).await;
    check(&agent("n1"), "system:node:n1", &associated[1..], false).await;
    let refusal = check(&agent("n1"), "system:node:n1", &[], false).await.unwrap();
    assert!(refusal.contains("cannot impersonate-on:associated-node:list resource"), "{refusal}");
    // Who is no service account has no node, whatever the extra says.
    check(&Identity { name: "ana".to_owned(), ..agent("n1") }, "system:node:n1", &associated, false).await;
    let mut two = agent("n1");
    two.extra.values_mut().for_each(|values| values.push("n2".to_owned()));
    check(&two, "system:node:n1", &associated, false).await;
    // Nobody may choose what else the node is.
    let (got, ..) = ask(&agent("n1"), &[(USER_HEADER, "system:node:n1"), (GROUP_HEADER, "harbor")], &associated).await;
    assert!(got.is_err());
    // Authorisers see which facts are known of the agent and not their values.
    let (_, _, seen) = ask(&agent("n1"), &[(USER_HEADER, "system:node:n1")], &associated).await;
    assert_eq!(seen, ["authentication.kubernetes.io/associated-node-keys"]);
}

#[tokio::test]
async fn security_2_1_system_masters_is_not_impersonated_without_its_own_grant() {
    let rows = [(USER_HEADER, "bo"), (GROUP_HEADER, "system:masters")];
    let check = async |allowed: &[&str], expected: Result<Mode, &str>| {
        let (got, ..) = ask(&ana(), &rows, allowed).await;
        assert_eq!(got.as_ref().map_err(String::as_str).copied(), expected);
    };
    let groups = "impersonate:user-info authentication.k8s.io/groups  system:masters";
    let never = r#"User "ana" cannot impersonate:user-info resource "groups" in API group "authentication.k8s.io" at the cluster scope: impersonating the system:masters group is not allowed"#;
    // Under a constraint nobody may, whatever is granted; that it is refused there is what the answer says.
    check(&[MAY_LIST, "impersonate:user-info authentication.k8s.io/users  bo", groups], Err(never)).await;
    check(&["impersonate /users  bo"], Err(r#"User "ana" cannot impersonate-on:user-info:list resource "pods" in API group "" in the namespace "pier""#)).await;
    check(&["impersonate /users  bo", "impersonate /groups  system:masters"], Ok(Mode::Legacy)).await;
}

#[tokio::test]
async fn many_parts_can_be_allowed_at_once_under_a_constraint() {
    let who = "impersonate:user-info authentication.k8s.io/users  bo";
    let all_groups = "impersonate:user-info authentication.k8s.io/groups  *";
    let check = async |rows: &[(&'static str, &'static str)], more: &str, expected: bool| {
        let rows = [&[(USER_HEADER, "bo")], rows].concat();
        let (got, ..) = ask(&ana(), &rows, &[MAY_LIST, who, more]).await;
        assert_eq!(got == Ok(Mode::UserInfo), expected, "{rows:?}: {got:?}");
    };
    let group = |name: &'static str| (GROUP_HEADER, name);
    check(&[group("a"), group("b"), group("c")], all_groups, false).await;
    check(&[group("a"), group("b"), group("c"), group("d")], all_groups, true).await;
    check(&[group("a"), group("b"), group("c"), group("system:masters")], all_groups, false).await;
    check(&[group("a"), group("b"), group("c"), group("")], all_groups, false).await;
    let all_extra = "impersonate:user-info authentication.k8s.io/userextras/*  *";
    let extra = |value: &'static str| (EXTRA_HEADER, value);
    check(&[extra("a")], all_extra, false).await;
    check(&[extra("a"), extra("b"), extra("c"), extra("d")], all_extra, true).await;
    check(&[extra("a"), extra("b"), extra("c"), extra("")], all_extra, false).await;
}

#[tokio::test]
async fn an_extra_under_a_constraint_has_a_sound_key() {
    let check = async |header: &'static str, value: &'static str, expected: &str| {
        let who = "impersonate:user-info authentication.k8s.io/users  bo";
        let (got, ..) = ask(&ana(), &[(USER_HEADER, "bo"), (header, value)], &[MAY_LIST, who]).await;
        let got = got.unwrap_err();
        let start = r#"User "ana" cannot impersonate:user-info resource "userextras" in API group "authentication.k8s.io" at the cluster scope: impersonating "#;
        assert!(got.starts_with(start) && got.contains(expected), "{got}");
    };
    check("impersonate-extra-", "x", "the empty string key in extra is not allowed").await;
    check(
        "impersonate-extra-scopes",
        "x",
        r#"an invalid key in extra is not allowed: extra.key: Invalid value: "scopes": must be a domain-prefixed path (such as "acme.io/foo")"#,
    )
    .await;
    check(
        "impersonate-extra-acme_io%2fx",
        "x",
        r#"extra.key: Invalid value: "acme_io": a lowercase RFC 1123 subdomain"#,
    )
    .await;
    check("impersonate-extra-acme.io%2fx%20y", "x", r#"extra.key: Invalid value: "x y": Invalid path (regex"#).await;
    check("impersonate-extra-acme.io%2f%41", "x", r#"a non-lowercase key in extra is not allowed: "acme.io/A""#).await;
    check(EXTRA_HEADER, "", "the empty string value in extra is not allowed").await;
}
