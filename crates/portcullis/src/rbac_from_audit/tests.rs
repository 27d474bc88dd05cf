#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::Cursor;

use portcullis_audit::reader::{EventReader, Found};
use portcullis_gate::rbac::{Binding, Id, Policy, RoleKind, RoleRef, Rule, StoredRole, Subject};
use portcullis_gate::{Attributes, Identity, Selection, Target};
use serde_json::{Value, json};

use super::manifest::{self, Format};
use super::permissions::{Names, Permissions, Question, ScopeRules, What};
use super::person::{Defaults, People, Refused, Roles, Wanted, subject_of};
use super::*;

/// An event of a request that was allowed, with what differs.
fn event(user: &str, verb: &str, uri: &str, object: Value, more: Value) -> Value {
    let mut event = json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "stage": "ResponseComplete", "verb": verb, "requestURI": uri,
        "user": {"username": user, "groups": ["harbor", "system:authenticated"]}, "responseStatus": {"code": 200},
        "requestReceivedTimestamp": "2026-01-02T03:04:05.000006Z", "annotations": {"authorization.k8s.io/decision": "allow"},
    });
    if object != Value::Null {
        event["objectRef"] = object;
    }
    for (key, value) in more.as_object().into_iter().flatten() {
        event[key] = value.clone();
    }
    event
}

struct Given {
    refused: Refused,
    names: Names,
    defaults: Defaults,
}

const USUAL: Given = Given { refused: Refused::Named, names: Names::Exact, defaults: Defaults::LeftOut };

fn roles(given: &Given, wanted: Wanted, events: &[Value]) -> Vec<Roles> {
    let log: String = events.iter().map(|event| format!("{event}\n")).collect();
    let mut people = People::new(wanted, given.refused, given.names);
    for found in EventReader::new(Box::new(Cursor::new(log))).unwrap() {
        let Found::Event(event) = found else { panic!("{found:?}") };
        people.take(&event).unwrap();
    }
    people.finish(given.defaults).unwrap()
}

fn these(users: &[&str]) -> Wanted {
    Wanted::These(users.iter().map(|user| subject_of(user)).collect())
}

/// A scope's rules in one line each: `a: get,list core pods web`.
fn told(scopes: &[ScopeRules]) -> Vec<String> {
    let list = |words: &[String]| {
        let words: Vec<&str> = words.iter().map(|word| if word.is_empty() { "core" } else { word }).collect();
        words.join(",")
    };
    let tell = |scope: &ScopeRules, rule: &Rule| {
        let parts = [&rule.verbs, &rule.groups, &rule.resources, &rule.names, &rule.paths].map(|words| list(words));
        let parts: Vec<&str> = parts.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
        let place = if scope.namespace.is_empty() { "*" } else { &scope.namespace };
        format!("{place}: {}", parts.join(" "))
    };
    scopes.iter().flat_map(|scope| scope.rules.iter().map(move |rule| tell(scope, rule))).collect()
}

fn pods(namespace: &str, name: &str) -> Value {
    json!({"resource": "pods", "apiVersion": "v1", "namespace": namespace, "name": name})
}

fn get_pod(name: &str) -> Value {
    event("ana", "get", &format!("/api/v1/namespaces/a/pods/{name}"), pods("a", name), json!({}))
}

#[test]
fn a_request_gives_the_rule_that_it_needs() {
    let check = |verb: &str, uri: &str, object: Value, more: Value, expected: &[&str]| {
        let made = roles(&USUAL, these(&["ana"]), &[event("ana", verb, uri, object, more)]);
        assert_eq!(told(&made[0].scopes), expected, "{verb} {uri}");
    };
    let none = || json!({});
    let in_a = "/api/v1/namespaces/a/pods";
    check("get", "/api/v1/namespaces/a/pods/web", pods("a", "web"), none(), &["a: get core pods web"]);
    check("list", in_a, pods("a", ""), none(), &["a: list core pods"]);
    check(
        "list",
        "/api/v1/pods?limit=500",
        json!({"resource": "pods", "apiVersion": "v1"}),
        none(),
        &["*: list core pods"],
    );
    check(
        "watch",
        &format!("{in_a}?watch=true&fieldSelector=metadata.name%3Dweb"),
        pods("a", "web"),
        none(),
        &["a: watch core pods web"],
    );
    check(
        "watch",
        &format!("{in_a}?watch=true&fieldSelector=metadata.name%3Dweb"),
        pods("a", ""),
        none(),
        &["a: watch core pods web"],
    );
    check("deletecollection", in_a, pods("a", ""), none(), &["a: deletecollection core pods"]);
    // The name is the answer's: nobody was asked about it.
    check("create", in_a, pods("a", "web"), json!({"responseStatus": {"code": 201}}), &["a: create core pods"]);
    let exec = |namespace: &str| json!({"resource": "pods", "apiVersion": "v1", "namespace": namespace, "name": "web", "subresource": "exec"});
    check("create", &format!("{in_a}/web/exec?command=ls"), exec("a"), none(), &["a: create core pods/exec web"]);
    // A WebSocket begins with a GET, and needs both.
    check("get", &format!("{in_a}/web/exec?command=ls"), exec("a"), none(), &["a: get,create core pods/exec web"]);
    let refused_later = json!({"responseStatus": {"code": 403}});
    check("get", &format!("{in_a}/web/exec?command=ls"), exec("a"), refused_later, &["a: get core pods/exec web"]);
    // What a PUT makes must be allowed to be created.
    let lease = json!({"resource": "leases", "apiGroup": "coordination.k8s.io", "apiVersion": "v1", "namespace": "a", "name": "l"});
    let leases = "/apis/coordination.k8s.io/v1/namespaces/a/leases/l";
    check("update", leases, lease.clone(), none(), &["a: update coordination.k8s.io leases l"]);
    check(
        "patch",
        leases,
        lease,
        json!({"responseStatus": {"code": 201}}),
        &["a: create,patch coordination.k8s.io leases l"],
    );
    let node = json!({"resource": "nodes", "apiVersion": "v1", "name": "n"});
    check("get", "/api/v1/nodes/n", node, none(), &["*: get core nodes n"]);
    // A namespace is in itself, but a role in it would go with it.
    let namespace = json!({"resource": "namespaces", "apiVersion": "v1", "namespace": "a", "name": "a"});
    check("delete", "/api/v1/namespaces/a", namespace, none(), &["*: delete core namespaces a"]);
    check("get", "/metrics?x=y", Value::Null, none(), &["*: get /metrics"]);
    // Every login may do that.
    check("get", "/api", Value::Null, none(), &[]);
    check(
        "create",
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        json!({"resource": "selfsubjectaccessreviews", "apiGroup": "authorization.k8s.io", "apiVersion": "v1"}),
        none(),
        &[],
    );
    // Another server's path: the object tells.
    check("get", "/proxied", pods("a", "web"), none(), &["a: get core pods web"]);
    check("create", "/proxied", pods("a", "web"), none(), &["a: create core pods"]);
}

#[test]
fn what_a_client_chooses_widens_nothing() {
    let check = |verb: &str, uri: &str, object: Value| {
        let made = roles(&USUAL, these(&["ana"]), &[event("ana", verb, uri, object, json!({}))]);
        assert_eq!((told(&made[0].scopes), made[0].seen.inexpressible), (Vec::new(), 1), "{verb} {uri}");
    };
    let object = |group: &str, resource: &str, subresource: &str, namespace: &str| json!({"resource": resource, "apiGroup": group, "apiVersion": "v1", "subresource": subresource, "namespace": namespace});
    check("list", "/api/v1/namespaces/a/*", object("", "*", "", "a"));
    check("list", "/api/v1/namespaces/a/%2A", object("", "*", "", "a"));
    check("get", "/api/v1/namespaces/a/*/x/status", object("", "*", "status", "a"));
    check("get", "/api/v1/namespaces/a/pods/x/*", object("", "pods", "*", "a"));
    check("list", "/apis/*/v1/pods", object("*", "pods", "", ""));
    check("get", "/logs/*", Value::Null);
    check("get", "/*", Value::Null);
    check("get", "/logs/%2A", Value::Null);
    check("*", "/logs/a", Value::Null);
    check("list", "/x", object("", "pods/log", "", "a"));
    check("list", "/api/v1/namespaces/A_B/pods", object("", "pods", "", "A_B"));
    check("get", "/logs/%zz", Value::Null);
    // A star is an object's name like any other.
    let made = roles(&USUAL, these(&["ana"]), &[get_pod("*")]);
    assert_eq!(told(&made[0].scopes), ["a: get core pods *"]);
}

#[test]
fn only_what_was_allowed_counts() {
    let forbidden =
        json!({"responseStatus": {"code": 403}, "annotations": {"authorization.k8s.io/decision": "forbid"}});
    let refused = event("ana", "delete", "/api/v1/namespaces/a/pods/web", pods("a", "web"), forbidden);
    let early = event("ana", "create", "/api/v1/namespaces/a/pods", pods("a", ""), json!({"stage": "RequestReceived"}));
    let undecided = json!({"annotations": {}, "responseStatus": {"code": 429}});
    let undecided = event("ana", "update", "/api/v1/namespaces/a/pods/web", pods("a", "web"), undecided);
    let events = [get_pod("web"), refused.clone(), refused, early, undecided];
    let made = roles(&USUAL, these(&["ana"]), &events);
    assert_eq!(told(&made[0].scopes), ["a: get core pods web"]);
    let named: Vec<_> = made[0].seen.refused.iter().map(|(what, times)| (what.as_str(), *times)).collect();
    assert_eq!(named, [("delete pods \"web\" in the namespace \"a\"", 2)]);
    let made = roles(&Given { refused: Refused::Included, ..USUAL }, these(&["ana"]), &events);
    assert_eq!(told(&made[0].scopes), ["a: get,delete core pods web"]);
}

#[test]
fn rules_are_few_and_say_each_thing_once() {
    let check = |given: &Given, asked: &[(&str, &str, &str)], expected: &[&str]| {
        let events: Vec<Value> = asked
            .iter()
            .map(|(verb, uri, object)| {
                let [group, namespace, resource, name] = <[&str; 4]>::try_from(object.split('|').collect::<Vec<_>>()).unwrap();
                let object = json!({"apiGroup": group, "apiVersion": "v1", "namespace": namespace, "resource": resource, "name": name});
                event("ana", verb, uri, object, json!({}))
            })
            .collect();
        assert_eq!(told(&roles(given, these(&["ana"]), &events)[0].scopes), expected, "{asked:?}");
    };
    let any = Given { names: Names::Any, ..USUAL };
    let many = [
        ("get", "/", "|a|pods|x"),
        ("get", "/", "|a|pods|y"),
        ("delete", "/", "|a|pods|y"),
        ("get", "/", "|a|secrets|x"),
        ("get", "/", "|a|secrets|y"),
        ("list", "/", "apps|a|deployments|"),
        ("list", "/", "|a|pods|"),
        ("watch", "/", "|a|pods|"),
        ("get", "/", "|b|pods|x"),
    ];
    check(
        &USUAL,
        &many,
        &[
            "a: list,watch core pods",
            "a: delete core pods y",
            "a: get core pods,secrets x,y",
            "a: list apps deployments",
            "b: get core pods x",
        ],
    );
    check(
        &any,
        &many,
        &["a: get,list,watch,delete core pods", "a: get core secrets", "a: list apps deployments", "b: get core pods"],
    );
    // What is allowed everywhere is not said again.
    check(
        &USUAL,
        &[("list", "/", "||pods|"), ("list", "/", "|a|pods|"), ("list", "/", "|a|pods|x")],
        &["*: list core pods"],
    );
    check(&USUAL, &[("list", "/", "|a|pods|"), ("list", "/", "|a|pods|x")], &["a: list core pods"]);
    // The same rules for two groups.
    check(&USUAL, &[("list", "/", "apps|a|things|"), ("list", "/", "batch|a|things|")], &["a: list apps,batch things"]);
    check(&any, &[("get", "/", "|a|namespaces|a"), ("get", "/", "|b|namespaces|b")], &["*: get core namespaces a,b"]);
}

#[test]
fn who_acts_as_another_needs_to_impersonate() {
    let check = |user: Value, constraint: &str, expected: &[&str], of_other: &[&str]| {
        let name = user["username"].as_str().unwrap().to_owned();
        let more = json!({"impersonatedUser": user, "authenticationMetadata": {"impersonationConstraint": constraint}});
        let events = [event("ana", "list", "/api/v1/namespaces/a/pods", pods("a", ""), more)];
        assert_eq!(told(&roles(&USUAL, these(&["ana"]), &events)[0].scopes), expected, "{name} {constraint}");
        // Names of whom are never dropped.
        let any = Given { names: Names::Any, ..USUAL };
        assert_eq!(told(&roles(&any, these(&["ana"]), &events)[0].scopes), expected, "{name} {constraint}");
        assert_eq!(told(&roles(&USUAL, these(&[&name]), &events)[0].scopes), of_other, "{name}");
    };
    let listed = ["a: list core pods"];
    check(
        json!({"username": "bo", "groups": ["system:authenticated"]}),
        "",
        &["*: impersonate core users bo"],
        &listed,
    );
    let bo = json!({
        "username": "bo", "uid": "7", "groups": ["g", "h", "system:authenticated"],
        "extra": {"acme.io/foo": ["1", "2"]},
    });
    check(
        bo.clone(),
        "",
        &[
            "*: impersonate core groups g,h",
            "*: impersonate core users bo",
            "*: impersonate authentication.k8s.io uids 7",
            "*: impersonate authentication.k8s.io userextras/acme.io/foo 1,2",
        ],
        &listed,
    );
    check(
        bo,
        "impersonate:user-info",
        &[
            "*: impersonate:user-info authentication.k8s.io groups g,h",
            "*: impersonate:user-info authentication.k8s.io uids 7",
            "*: impersonate:user-info authentication.k8s.io userextras/acme.io/foo 1,2",
            "*: impersonate:user-info authentication.k8s.io users bo",
            "a: impersonate-on:user-info:list core pods",
        ],
        &listed,
    );
    let account = json!({
        "username": "system:serviceaccount:b:c",
        "groups": ["system:serviceaccounts", "system:serviceaccounts:b", "system:authenticated"],
    });
    check(account.clone(), "", &["b: impersonate core serviceaccounts c"], &listed);
    check(
        account,
        "impersonate:serviceaccount",
        &[
            "a: impersonate-on:serviceaccount:list core pods",
            "b: impersonate:serviceaccount authentication.k8s.io serviceaccounts c",
        ],
        &listed,
    );
    let node = json!({"username": "system:node:n", "groups": ["system:nodes", "system:authenticated"]});
    check(
        node.clone(),
        "impersonate:associated-node",
        &[
            "*: impersonate:associated-node authentication.k8s.io nodes *",
            "a: impersonate-on:associated-node:list core pods",
        ],
        &listed,
    );
    check(
        node.clone(),
        "impersonate:arbitrary-node",
        &[
            "*: impersonate:arbitrary-node authentication.k8s.io nodes n",
            "a: impersonate-on:arbitrary-node:list core pods",
        ],
        &listed,
    );
    check(node, "", &["*: impersonate core groups system:nodes", "*: impersonate core users system:node:n"], &listed);
    let stranger = json!({"username": "system:anonymous", "groups": ["system:unauthenticated"]});
    check(stranger, "", &["*: impersonate core users system:anonymous"], &listed);
}

#[test]
fn each_gets_their_own() {
    let of = |user: &str| event(user, "list", "/api/v1/namespaces/a/pods", pods("a", ""), json!({}));
    let events = [of("ana"), of("a/b"), of("A-b"), of("system:kube-scheduler"), of("system:serviceaccount:shop:cart")];
    let mut all = roles(&USUAL, Wanted::All, &events);
    manifest::name(&mut all, None);
    let names: Vec<_> = all.iter().map(|role| (role.subject.describe(""), role.name.as_str())).collect();
    let expected = [
        ("ServiceAccount \"cart/shop\"", "from-audit-shop-cart"),
        ("User \"A-b\"", "from-audit-a-b"),
        ("User \"a/b\"", "from-audit-a-b-2"),
        ("User \"ana\"", "from-audit-ana"),
    ];
    assert_eq!(names, expected.map(|(who, name)| (who.to_owned(), name)));
    let group = roles(&USUAL, Wanted::These(vec![Subject::Group("harbor".to_owned())]), &events);
    assert_eq!((group.len(), group[0].seen.requests, told(&group[0].scopes).len()), (1, 5, 1));
}

#[test]
fn it_prints_what_can_be_applied() {
    let mut events = vec![get_pod("web"), event("ana", "get", "/metrics", Value::Null, json!({}))];
    let forbidden = json!({"annotations": {"authorization.k8s.io/decision": "forbid"}});
    events.push(event("ana", "get", "/a\n---\nkind: Oops", Value::Null, forbidden));
    let mut made = roles(&USUAL, these(&["ana"]), &events);
    manifest::name(&mut made, Some("reader"));
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    manifest::print(&made, Format::Yaml, &mut out, &mut errors).unwrap();
    let expected = r#"# The least role of User "ana": 2 requests, from 2026-01-02T03:04:05.000006Z to 2026-01-02T03:04:05.000006Z
# Refused, and not in the role (--include-refused puts it in):
#   get "/a\n---\nkind: Oops", 1 time
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: reader
rules:
- nonResourceURLs:
  - /metrics
  verbs:
  - get
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: reader
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: reader
subjects:
- apiGroup: rbac.authorization.k8s.io
  kind: User
  name: ana
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: reader
  namespace: a
rules:
- apiGroups:
  - ""
  resourceNames:
  - web
  resources:
  - pods
  verbs:
  - get
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: reader
  namespace: a
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: reader
subjects:
- apiGroup: rbac.authorization.k8s.io
  kind: User
  name: ana
"#;
    assert_eq!((String::from_utf8(out).unwrap().as_str(), errors.as_slice()), (expected, [].as_slice()));
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    manifest::print(&made, Format::Json, &mut out, &mut errors).unwrap();
    let list: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!((list["kind"].as_str(), list["items"].as_array().unwrap().len()), (Some("List"), 4));
    assert!(!errors.is_empty());
}

#[test]
fn times_are_moments_or_ages() {
    let check = |text: &str, expected: Option<Moment>| assert_eq!(moment(text).ok(), expected, "{text}");
    check("1970-01-01T00:00:02Z", Some(Moment::At(2_000_000)));
    check("1970-01-01T01:00:02+01:00", Some(Moment::At(2_000_000)));
    check("1m", Some(Moment::Ago(60_000_000)));
    check("-1m", None);
    check("yesterday", None);
    assert_eq!((Moment::Ago(10).micros(30), Moment::At(5).micros(30)), (20, 5));
}

/// A generator of choices: a linear congruence, its upper bits.
struct Choices(u64);

impl Choices {
    fn of<'a>(&mut self, list: &'a [&'a str]) -> &'a str {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        list[usize::try_from(self.0 >> 33).unwrap() % list.len()]
    }
}

const VERBS: [&str; 4] = ["get", "list", "create", "impersonate-on:user-info:get"];
const GROUPS: [&str; 2] = ["", "apps"];
const RESOURCES: [&str; 2] = ["pods", "deployments"];
const SUBRESOURCES: [&str; 2] = ["", "log"];
const NAMESPACES: [&str; 3] = ["", "a", "b"];
const NAMES: [&str; 3] = ["", "x", "y"];
const PATHS: [&str; 3] = ["/metrics", "/metrics/", "/logs"];

/// Everything that can be asked in this small world.
fn world() -> Vec<Question> {
    let mut world: Vec<Question> = Vec::new();
    for verb in VERBS {
        for path in PATHS {
            world.push(Question { verb: verb.to_owned(), what: What::Path(path.to_owned()) });
        }
        for group in GROUPS {
            for (resource, subresource) in RESOURCES.iter().flat_map(|one| SUBRESOURCES.map(|sub| (*one, sub))) {
                for (namespace, name) in NAMESPACES.iter().flat_map(|one| NAMES.map(|name| (*one, name))) {
                    world.push(question(verb, [group, resource, subresource, namespace, name]));
                }
            }
        }
    }
    world
}

fn question(verb: &str, parts: [&str; 5]) -> Question {
    let [group, resource, subresource, namespace, name] = parts.map(str::to_owned);
    Question { verb: verb.to_owned(), what: What::Resource { group, resource, subresource, namespace, name } }
}

/// What must be allowed when that was asked: the same, and what no rule can allow it without.
fn is_needed(asked: &BTreeSet<Question>, wanted: &Question, names: Names) -> bool {
    let What::Resource { group, resource, subresource, namespace, name } = &wanted.what else {
        return asked.contains(wanted);
    };
    let places = if namespace.is_empty() { vec![""] } else { vec!["", namespace] };
    let objects = if names == Names::Any { NAMES.to_vec() } else { vec!["", name] };
    places
        .iter()
        .flat_map(|place| objects.iter().map(move |object| (place, object)))
        .any(|(place, object)| asked.contains(&question(&wanted.verb, [group, resource, subresource, place, object])))
}

/// The server's own policy of some roles.
fn policy_of(scopes: &[ScopeRules]) -> Policy {
    let mut policy = Policy::default();
    policy.change(|change| {
        for scope in scopes {
            let id = Id::new(scope.namespace.as_str(), "made");
            let kind = if scope.namespace.is_empty() { RoleKind::ClusterRole } else { RoleKind::Role };
            change.set_role(id.clone(), StoredRole { rules: scope.rules.clone(), ..StoredRole::default() });
            let role = RoleRef { kind, name: "made".to_owned() };
            change.set_binding(id, Binding { role, subjects: vec![Subject::User("ana".to_owned())] });
        }
    });
    policy
}

#[test]
fn the_role_allows_what_was_asked_and_nothing_else() {
    let user = Identity { name: "ana".to_owned(), ..Identity::default() };
    let world = world();
    for seed in 0..400 {
        let mut choices = Choices(seed);
        let names = if seed % 2 == 0 { Names::Exact } else { Names::Any };
        let mut asked = BTreeSet::new();
        for _ in 0..1 + seed % 60 {
            asked.insert(if choices.of(&["path", "", "", "", "", ""]) == "path" {
                Question { verb: choices.of(&VERBS).to_owned(), what: What::Path(choices.of(&PATHS).to_owned()) }
            } else {
                let lists: [&[&str]; 5] = [&GROUPS, &RESOURCES, &SUBRESOURCES, &NAMESPACES, &NAMES];
                let verb = choices.of(&VERBS);
                question(verb, lists.map(|list| choices.of(list)))
            });
        }
        let mut permissions = Permissions::new(names);
        for question in &asked {
            permissions.insert(question.clone());
        }
        let scopes = permissions.rules();
        let policy = policy_of(&scopes);
        for wanted in &world {
            let target = match &wanted.what {
                What::Path(path) => Target::Path(path),
                What::Resource { group, resource, subresource, namespace, name } => {
                    let (version, selectors) = ("v1", Selection::ALL);
                    Target::Resource { group, version, namespace, resource, subresource, name, selectors }
                }
            };
            let allowed = policy.decide(&Attributes { user: &user, verb: &wanted.verb, target }).is_allow();
            let needed = is_needed(&asked, wanted, names);
            assert_eq!(allowed, needed, "seed {seed} {names:?}: {wanted}\n{:#?}\nof {asked:#?}", told(&scopes));
        }
    }
}
