//! Every path and verb that the server says it answers, asked with credentials of every sort.
//!
//! The rule: without credentials, and with bad ones, the answer is 401, but for the four public paths, which who has no credentials may
//! read. With credentials that lack the right it is 403. With the right it is whatever the verb itself answers: success, or 400, 404, 405,
//! 406, 415 or 422, for the objects do not exist and the requests have no content; never 401, never 403. A component that does not
//! exist is 500, as it is upstream; nothing else is.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use futures_util::future::try_join_all;
use portcullis_tests::client::Client;
use portcullis_tests::credentials::{Authority, TokenKey, Validity, parts, unsigned};
use portcullis_tests::program::Server;
use portcullis_tests::session::{Asking, Connector, Protocol, Session};
use portcullis_tests::surface::{self, ABSENT, Request, Right};
use serde_json::json;

/// What answers without credentials.
const PUBLIC: [&str; 4] = ["/healthz", "/livez", "/readyz", "/version"];
/// How many users with exactly one right ask at the same time.
const LANES: usize = 8;
/// Requests below which discovery can not have been read whole.
const REQUESTS_MIN: usize = 600;
const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
const ACCOUNT: &str = "/api/v1/namespaces/default/serviceaccounts/matrix";

/// What upstream's policy lets everybody do who has credentials: paths, and verbs on resources.
const EVERYBODY_READS: [&str; 5] = ["/api", "/apis", "/healthz", "/livez", "/readyz"];
const EVERYBODY_MAY: &str = "
    authentication.k8s.io create selfsubjectreviews
    authorization.k8s.io create selfsubjectaccessreviews,selfsubjectrulesreviews
";
/// What pods read to verify each other's tokens.
const ACCOUNTS_READ: [&str; 2] = ["/.well-known/openid-configuration", "/openid/v1/jwks"];
/// What a node may do beside that with objects that do not exist, in a namespace that is not that of its lease, without a selector:
/// all that it is not asked about by name.
const A_NODE_MAY: &str = "
    - get,list,watch services
    - create,update,patch nodes,events
    - update,patch nodes/status,pods/status
    - create,delete pods
    - create pods/eviction
    - get endpoints
    authentication.k8s.io create tokenreviews
    authorization.k8s.io create localsubjectaccessreviews,subjectaccessreviews
    certificates.k8s.io create,get,list,watch certificatesigningrequests
    events.k8s.io create,update,patch events
    node.k8s.io get,list,watch runtimeclasses
    resource.k8s.io create resourceslices
    storage.k8s.io get,list,watch csidrivers
    storage.k8s.io create csinodes
";

/// Asks over a connection that stays until the server ends it, which it may do after a refusal.
struct Asker {
    connector: Connector,
    session: Option<Session>,
}

impl Asker {
    fn of(client: &Client) -> Self {
        Self { connector: Connector::of(client), session: None }
    }

    async fn status(&mut self, request: &Request) -> Result<u16> {
        let asking = Asking { method: request.method, ..Asking::GET };
        if let Some(mut session) = self.session.take()
            && let Ok(answer) = session.open(&request.path, asking).await
        {
            return self.keep(session, answer).await;
        }
        let mut session = self.connector.open(Protocol::Http1).await?;
        let answer = session.open(&request.path, asking).await?;
        self.keep(session, answer).await
    }

    /// Reads an answer to its end, so that the connection can be used again.
    async fn keep(&mut self, session: Session, answer: http::Response<hyper::body::Incoming>) -> Result<u16> {
        let status = answer.status().as_u16();
        http_body_util::BodyExt::collect(answer.into_body()).await?;
        self.session = Some(session);
        Ok(status)
    }
}

/// What one sort of credentials must get.
enum Expected {
    /// 401 but for the public paths.
    Stranger,
    /// 401.
    Nobody,
    /// 403 but for what everybody and whoever has this table may do.
    Only(&'static str),
    /// 403 but for what everybody and every service account may do.
    Account,
}

fn is_in(table: &str, right: &Right) -> bool {
    let Right::Resource { verb, group, resource } = right else { return false };
    table.lines().any(|line| {
        let mut words = line.split_whitespace();
        let of_line = words.next().map(|group| if group == "-" { "" } else { group });
        let mut has = |word: &str| words.next().is_some_and(|list| list.split(',').any(|item| item == word));
        of_line == Some(group) && has(verb) && has(resource)
    })
}

fn is_for_everybody(request: &Request) -> bool {
    let Right::Path(path) = &request.right else { return is_in(EVERYBODY_MAY, &request.right) };
    let below = ["/api/", "/apis/", "/openapi/"];
    EVERYBODY_READS.contains(&&**path)
        || below.iter().any(|begin| path.starts_with(begin))
        || ["/openapi", "/version", "/version/"].contains(&&**path)
}

impl Expected {
    fn check(&self, request: &Request, status: u16) -> Option<String> {
        let (is_right, wanted) = match self {
            Self::Stranger if PUBLIC.contains(&&*request.path) => (status == 200, "200"),
            Self::Stranger | Self::Nobody => (status == 401, "401"),
            Self::Only(table) if is_for_everybody(request) || is_in(table, &request.right) => {
                (is_authorised(request, status), "authorised")
            }
            Self::Account if is_for_everybody(request) || ACCOUNTS_READ.contains(&&*request.path) => {
                (is_authorised(request, status), "authorised")
            }
            Self::Only(_) | Self::Account => (status == 403, "403"),
        };
        (!is_right).then(|| format!("{} {}: {status} instead of {wanted}", request.method, request.path))
    }
}

/// What the verb itself answers.
fn is_authorised(request: &Request, status: u16) -> bool {
    let is_component = request.path.starts_with("/api/v1/componentstatuses/");
    matches!(status, 200 | 201 | 400 | 404 | 405 | 406 | 415 | 422) || (is_component && status == 500)
}

async fn ask_all(name: &str, client: &Client, expected: &Expected, requests: &[Request]) -> Result<Vec<String>> {
    let mut asker = Asker::of(client);
    let mut wrong = Vec::new();
    for request in requests {
        let status = asker.status(request).await?;
        wrong.extend(expected.check(request, status).map(|wrong| format!("{name}: {wrong}")));
    }
    Ok(wrong)
}

/// A token for the account, from the server.
fn token(admin: &Client, audiences: &[&str]) -> String {
    let spec = if audiences.is_empty() { json!({}) } else { json!({"audiences": audiences}) };
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
    let answer = admin.post(&format!("{ACCOUNT}/token"), &review);
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()["status"]["token"].as_str().unwrap().to_owned()
}

/// Every sort of credentials that gives no right but what is listed.
fn credentials(server: &Server) -> Vec<(&'static str, Client, Expected)> {
    let (admin, stranger) = (server.admin(), server.stranger());
    let own = Authority::of(server.data_dir()).unwrap();
    let other = Authority::stranger().unwrap();
    let masters = Some("system:masters");
    let with = |authority: &Authority, user: &str, group: Option<&str>, validity| {
        server.client_of(authority.issue(user, group, validity).unwrap())
    };
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "matrix"}});
    let made = admin.post("/api/v1/namespaces/default/serviceaccounts", &account);
    assert_eq!(made.status, 201, "{}", made.text());
    let good = token(&admin, &[]);
    let (header, claims) = parts(&good).unwrap();
    let key = TokenKey::read(&server.data_dir().join("pki/sa.key")).unwrap();
    let mut ended = claims.clone();
    for (claim, seconds) in [("iat", 1_600_000_000), ("nbf", 1_600_000_000), ("exp", 1_600_003_600)] {
        ended[claim] = json!(seconds);
    }
    let mut foreign = claims.clone();
    foreign["iss"] = json!("https://issuer.example.com");
    let foreign_key = TokenKey::stranger().unwrap();
    let tokens = [
        ("an expired token", key.sign(header.clone(), &ended).unwrap()),
        ("a token of a foreign issuer", foreign_key.sign(header.clone(), &foreign).unwrap()),
        ("a token of a foreign key", foreign_key.sign(header.clone(), &claims).unwrap()),
        ("a token without a signature", unsigned(header, &claims)),
        ("a token for another audience", token(&admin, &["https://other.example.com"])),
    ];
    let mut sorts = vec![
        ("nothing", stranger.clone(), Expected::Stranger),
        ("an expired certificate", with(&own, "kubernetes-admin", masters, Validity::Ended), Expected::Nobody),
        (
            "a certificate of another authority",
            with(&other, "kubernetes-admin", masters, Validity::Now),
            Expected::Nobody,
        ),
        ("a user without rights", with(&own, "ana", Some("harbor"), Validity::Now), Expected::Only("")),
        ("a node", with(&own, "system:node:matrix", Some("system:nodes"), Validity::Now), Expected::Only(A_NODE_MAY)),
        ("a service account", stranger.with_bearer(&good), Expected::Account),
    ];
    sorts.extend(tokens.map(|(name, token)| (name, stranger.with_bearer(&token), Expected::Nobody)));
    sorts
}

/// One of the users who have exactly one right, which is another one for every request.
struct Lane {
    admin: Session,
    user: Asker,
    name: String,
}

impl Lane {
    async fn open(server: &Server, number: usize) -> Result<Self> {
        let name = format!("matrix-{number}");
        let own = Authority::of(server.data_dir())?;
        let user = Asker::of(&server.client_of(own.issue(&name, None, Validity::Now)?));
        let mut admin = Connector::of(&server.admin()).open(Protocol::Http1).await?;
        let role = json!({"metadata": {"name": name}});
        let binding = json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}],
        });
        for (path, object) in [(ROLES, role), (BINDINGS, binding)] {
            let content = Some(("application/json", &object));
            let (status, answer) = admin.ask(path, Asking { method: "POST", content, ..Asking::GET }).await?;
            assert_eq!(status, 201, "{answer}");
        }
        Ok(Self { admin, user, name })
    }

    /// Gives the right that one request needs, and sends that one and one that needs another.
    async fn ask(&mut self, request: &Request, other: &Request) -> Result<Vec<String>> {
        let mut verbs = vec![match &request.right {
            Right::Resource { verb, .. } => *verb,
            Right::Path(_) => "get",
        }];
        let rule = match &request.right {
            Right::Resource { group, resource, .. } => {
                // A12: whoever opens a stream needs this as well.
                if ["pods/exec", "pods/attach", "pods/portforward"].contains(&&**resource) {
                    verbs.push("create");
                }
                json!({"verbs": verbs, "apiGroups": [group], "resources": [resource]})
            }
            Right::Path(path) => json!({"verbs": verbs, "nonResourceURLs": [path]}),
        };
        let role = json!({"metadata": {"name": self.name}, "rules": [rule]});
        let content = Some(("application/json", &role));
        let path = format!("{ROLES}/{}", self.name);
        let (status, answer) = self.admin.ask(&path, Asking { method: "PUT", content, ..Asking::GET }).await?;
        assert_eq!(status, 200, "{answer}");
        let mut wrong = Vec::new();
        let status = self.user.status(request).await?;
        if !is_authorised(request, status) {
            wrong.push(format!("exactly this right: {} {}: {status}", request.method, request.path));
        }
        let differs = match (&request.right, &other.right) {
            (Right::Resource { resource, .. }, Right::Resource { resource: other, .. }) => resource != other,
            (one, other) => one != other,
        };
        if differs && !is_for_everybody(other) {
            let status = self.user.status(other).await?;
            if status != 403 {
                wrong.push(format!("the right {:?} opens {} {}: {status}", request.right, other.method, other.path));
            }
        }
        Ok(wrong)
    }
}

async fn ask_with_exactly_the_right(server: &Server, requests: &[Request]) -> Result<Vec<String>> {
    let next = AtomicUsize::new(0);
    let lanes = (0..LANES).map(|number| {
        let next = &next;
        async move {
            let mut lane = Lane::open(server, number).await?;
            let mut wrong = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(request) = requests.get(at) else { return Ok::<_, anyhow::Error>(wrong) };
                let other = &requests[(at * 7 + 13) % requests.len()];
                wrong.extend(lane.ask(request, other).await?);
            }
        }
    });
    Ok(try_join_all(lanes).await?.concat())
}

#[test]
fn every_path_and_verb_answers_each_sort_of_credentials_as_it_should() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let requests = surface::of(&server.admin()).unwrap();
    assert!(requests.len() >= REQUESTS_MIN, "{}", requests.len());
    let sorts = credentials(&server);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut wrong: Vec<String> = runtime.block_on(async {
        let all = sorts.iter().map(|(name, client, expected)| ask_all(name, client, expected, &requests));
        let mut wrong = try_join_all(all).await.unwrap().concat();
        wrong.extend(ask_with_exactly_the_right(&server, &requests).await.unwrap());
        wrong
    });
    let count = wrong.len();
    wrong.truncate(50);
    assert!(wrong.is_empty(), "{count} of {} requests:\n{}", requests.len() * (sorts.len() + 1), wrong.join("\n"));
    // Nobody left anything behind.
    let left = server.admin().get(&format!("/api/v1/namespaces/{ABSENT}"));
    assert_eq!(left.status, 404, "{}", left.text());
}

#[test]
fn the_tables_say_what_they_seem_to_say() {
    let right = |verb, group: &str, resource: &str| Right::Resource {
        verb,
        group: group.to_owned(),
        resource: resource.to_owned(),
    };
    let check = |right: Right, expected: bool| assert_eq!(is_in(A_NODE_MAY, &right), expected, "{right:?}");
    check(right("get", "", "services"), true);
    check(right("update", "", "services"), false);
    check(right("patch", "", "nodes/status"), true);
    check(right("get", "", "secrets"), false);
    check(right("create", "storage.k8s.io", "csinodes"), true);
    check(right("create", "", "csinodes"), false);
    check(Right::Path("/metrics".to_owned()), false);
}
