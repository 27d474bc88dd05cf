//! What the gate costs a GET, from a parsed request to the permission and the answer's way out: as an administrator, and as a user whom
//! the last of 1,000 bindings allows. A pod's token comes on top: one that was seen before, and a new one.
//!
//! The aim is 15 us of processor time in all. What stands before it (TLS, HTTP) and behind it (the verb) is not in here.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::{Request, Response, StatusCode};
use portcullis_gate::rbac::{Binding, Id, Policy, PolicySource, Rbac, RoleKind, RoleRef, Rule, StoredRole, Subject};
use portcullis_gate::{
    Authenticators, AuthorizerChain, Body, Cluster, GROUP_AUTHENTICATED, GROUP_MASTERS, Gate, Guards, Handler, Held,
    Holder, Identity, Limits, Named, NewToken, Peer, Permitted, RequestBody, ServiceAccountIssuer, ServiceAccountKeys,
    ServiceAccountTokens, StoredSecret, Tokens,
};

const BINDINGS: usize = 1000;
const AUDIENCE: &str = "https://kubernetes.default.svc.cluster.local";
const PATH: &str = "/api/v1/namespaces/shop/pods/web-0";

/// Says nothing, so that only the gate is measured.
struct Empty;

impl Handler for Empty {
    async fn handle(&self, _: Permitted) -> Response<Body> {
        Response::new(Body::empty())
    }
}

/// Every object is there.
struct Everything;

impl Cluster for Everything {
    fn find(&self, _: Holder, _: &str, name: &str) -> Option<Held> {
        Some(Held { uid: uid(name), deletion_timestamp: None })
    }

    fn secret(&self, _: &str, _: &str) -> Option<StoredSecret> {
        None
    }
}

struct Fixed(Policy);

impl PolicySource for Fixed {
    fn read(&self, look: &mut dyn FnMut(&Policy)) {
        look(&self.0);
    }
}

fn uid(name: &str) -> String {
    format!("uid-of-{name}")
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// All bindings name both askers; only the last one is to a role that reads pods.
fn policy() -> Policy {
    let mut policy = Policy::default();
    policy.change(|change| {
        for number in 0..BINDINGS {
            let name = format!("role-{number:04}");
            let resource = if number + 1 == BINDINGS { "pods".to_owned() } else { format!("pods{number}") };
            let rule = Rule {
                verbs: words(&["get", "list", "watch"]),
                groups: words(&[""]),
                resources: vec![resource],
                ..Rule::default()
            };
            change.set_role(Id::new("", name.as_str()), StoredRole { rules: vec![rule], ..StoredRole::default() });
            let subjects =
                vec![Subject::User("ana".to_owned()), Subject::Group("system:serviceaccounts:shop".to_owned())];
            let binding = Binding { role: RoleRef { kind: RoleKind::ClusterRole, name }, subjects };
            change.set_binding(Id::new("", format!("binding-{number:04}")), binding);
        }
    });
    policy
}

fn issuer() -> Arc<ServiceAccountIssuer> {
    let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let keys = ServiceAccountKeys::from_pem(pem.as_bytes(), []).unwrap();
    ServiceAccountIssuer::new(vec![AUDIENCE.to_owned()], keys)
}

fn token(issuer: &ServiceAccountIssuer) -> String {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let (account, pod) = (uid("cart"), uid("cart-0"));
    let id = MADE.fetch_add(1, Ordering::Relaxed).to_string();
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let token = NewToken {
        namespace: "shop",
        service_account: Named { name: "cart", uid: &account },
        pod: Some(Named { name: "cart-0", uid: &pod }),
        secret: None,
        node: None,
        audiences: &[AUDIENCE.to_owned()],
        id: &id,
        now,
        expires_at: now + 3600,
        warn_after: None,
    };
    issuer.issue(&token).unwrap().to_string()
}

fn request() -> Request<RequestBody> {
    let request = Request::get(PATH).header("accept", "application/json").header("user-agent", "bench");
    request.body(RequestBody::from_bytes("")).unwrap()
}

fn user(name: &str, groups: &[&str]) -> Arc<Peer> {
    let groups = words(&[groups, &[GROUP_AUTHENTICATED]].concat());
    Peer::in_process(Arc::new(Identity { name: name.to_owned(), groups, ..Identity::default() }))
}

fn get(criterion: &mut Criterion) {
    let guards = Guards {
        authenticators: Authenticators::new(Tokens::default()),
        authorizers: AuthorizerChain::new(vec![Arc::new(Rbac::new(Arc::new(Fixed(policy()))))]),
        ..Guards::default()
    };
    let gate = Gate::new(Empty, guards, Limits::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut measure = |name: &str, peer: &Arc<Peer>| {
        let answer = runtime.block_on(gate.handle(peer, request()));
        assert_eq!(answer.status(), StatusCode::OK, "{name}");
        criterion.bench_function(name, |bencher| {
            let pass = |request| runtime.block_on(gate.handle(peer, request));
            bencher.iter_batched(request, pass, BatchSize::SmallInput);
        });
    };
    measure("gate/an administrator", &user("admin", &[GROUP_MASTERS]));
    measure("gate/a user, 1,000 bindings", &user("ana", &[]));
}

fn judge(criterion: &mut Criterion) {
    let issuer = issuer();
    let audiences = vec![AUDIENCE.to_owned()];
    let accounts = ServiceAccountTokens::new(Arc::clone(&issuer), audiences.clone(), Arc::new(Everything));
    let tokens = Tokens::new(audiences, vec![Box::new(accounts)]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let judge = |token: &str| runtime.block_on(tokens.judge(token, &[])).unwrap();
    let known = token(&issuer);
    assert_eq!(judge(&known).identity.name, "system:serviceaccount:shop:cart");
    criterion.bench_function("token/seen before", |bencher| bencher.iter(|| judge(&known)));
    criterion.bench_function("token/new", |bencher| {
        bencher.iter_batched(|| token(&issuer), |token| judge(&token), BatchSize::SmallInput);
    });
    criterion.bench_function("token/issued", |bencher| bencher.iter(|| token(&issuer)));
}

criterion_group!(benches, get, judge);
criterion_main!(benches);
