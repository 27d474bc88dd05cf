//! Tokens of service accounts from their request to their review, and the documents by which others verify them.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use portcullis_gate::{
    Authenticators, BootstrapTokens, ServiceAccountIssuer, ServiceAccountKeys, ServiceAccountTokens, Tokens,
};

use super::*;
use crate::{ServiceAccounts, StoredCluster};

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const ROBOT: &str = "/api/v1/namespaces/default/serviceaccounts/robot/token";
const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

/// How tokens are issued, with a new key.
pub(super) fn accounts() -> ServiceAccounts {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let text = STANDARD.encode(pair.to_pkcs8v1().unwrap());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
    let keys = ServiceAccountKeys::from_pem(pem.as_bytes(), []).unwrap();
    let audiences = vec![ISSUER.to_owned()];
    ServiceAccounts {
        issuer: ServiceAccountIssuer::new(audiences.clone(), keys),
        api_audiences: audiences,
        max_expiration_seconds: None,
        extend_expiration: false,
        jwks_uri: "https://10.0.0.1:6443/openid/v1/jwks".to_owned(),
    }
}

/// A cluster that issues tokens and knows them, with a service account, and a clock that stands still at the present: the gate's
/// own clock does not.
async fn cluster(change: impl FnOnce(&mut ServiceAccounts)) -> Cluster {
    let mut accounts = accounts();
    let audiences = accounts.api_audiences.clone();
    change(&mut accounts);
    let issuer = Arc::clone(&accounts.issuer);
    let config = Config { service_accounts: Some(accounts), ..Config::default() };

    let folder = tempfile::tempdir().unwrap();
    let registry = Arc::new(Registry::new());
    let catalog = Arc::new(Catalog::new(Arc::clone(&registry)));
    let options = Options { catalog, ..Options::new(folder.path().join("store")) };
    let engine = Arc::new(Embedded::open(options).unwrap());
    let micros = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
    let env = Arc::new(FixedEnv { micros: AtomicU64::new(micros), drawn: AtomicU64::new(1) });
    let store = Arc::clone(&engine) as Arc<dyn Engine>;
    let objects: Arc<dyn portcullis_gate::Cluster> =
        Arc::new(StoredCluster::new(Arc::clone(&store), Arc::clone(&registry)));
    let server = ApiServer::new(store, registry, config, Arc::clone(&env) as Arc<dyn Env>);
    server.bootstrap().await.unwrap();
    let groups = vec![GROUP_MASTERS.to_owned(), GROUP_AUTHENTICATED.to_owned()];
    let admin = Identity { name: "admin".to_owned(), groups, ..Identity::default() };
    let known = ServiceAccountTokens::new(issuer, audiences.clone(), Arc::clone(&objects));
    let tokens = Tokens::new(audiences, vec![Box::new(known), Box::new(BootstrapTokens::new(objects))]);
    let guards = Guards { authenticators: Authenticators::new(tokens), ..Guards::default() };
    let gate = Gate::new(Answers { server: Arc::clone(&server) }, guards, Limits::default());
    let cluster = Cluster { server, gate, admin: Peer::in_process(Arc::new(admin)), engine, env, _folder: folder };
    for name in ["robot", "other"] {
        let body = json!({"metadata": {"name": name}});
        assert_eq!(cluster.post("/api/v1/namespaces/default/serviceaccounts", body).await.code, 201);
    }
    cluster
}

async fn pod(cluster: &Cluster, node: &str) -> String {
    let spec = json!({"serviceAccountName": "robot", "nodeName": node, "containers": [{"name": "a", "image": "a:1"}]});
    let said =
        cluster.post("/api/v1/namespaces/default/pods", json!({"metadata": {"name": "web"}, "spec": spec})).await;
    assert_eq!(said.code, 201, "{}", said.message());
    text(&said.at("/metadata/uid"))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn claims(token: &Value) -> Value {
    let token = text(token);
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

async fn review(cluster: &Cluster, token: &Value, audiences: &[&str]) -> Value {
    let spec =
        if audiences.is_empty() { json!({"token": token}) } else { json!({"token": token, "audiences": audiences}) };
    let said = cluster.post(REVIEWS, json!({"spec": spec})).await;
    assert_eq!((said.code, said.at("/spec")), (201, spec));
    said.at("/status")
}

#[tokio::test]
async fn a_token_is_issued_reviewed_and_ends_with_its_pod() {
    let cluster = cluster(|_| {}).await;
    let plain = cluster.post(ROBOT, json!({})).await;
    assert_eq!(plain.code, 201, "{}", plain.message());
    let now = cluster.env.now_micros() / 1_000_000;
    assert_eq!(
        (plain.at("/kind"), plain.at("/apiVersion")),
        (json!("TokenRequest"), json!("authentication.k8s.io/v1"))
    );
    let spec = json!({"audiences": [ISSUER], "expirationSeconds": 3600, "boundObjectRef": null});
    assert_eq!(plain.at("/spec"), spec);
    assert_eq!((plain.at("/metadata/name"), plain.at("/metadata/namespace")), (json!("robot"), json!("default")));
    let time = portcullis_model::time::time_text(now + 3600);
    assert_eq!(plain.at("/status/expirationTimestamp"), json!(time));
    let said = claims(&plain.at("/status/token"));
    assert_eq!((said["exp"].clone(), said["nbf"].clone()), (json!(now + 3600), json!(now)));
    assert_eq!(said["sub"], "system:serviceaccount:default:robot");
    assert_eq!(said["kubernetes.io"]["warnafter"], Value::Null);

    let uid = pod(&cluster, "n1").await;
    let reference = json!({"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": uid});
    let bound = cluster.post(ROBOT, json!({"spec": {"boundObjectRef": reference, "audiences": ["vault"]}})).await;
    assert_eq!((bound.code, bound.at("/spec/boundObjectRef")), (201, reference), "{}", bound.message());
    let token = bound.at("/status/token");
    let said = claims(&token);
    assert_eq!(said["kubernetes.io"]["pod"], json!({"name": "web", "uid": uid}));
    assert_eq!(said["kubernetes.io"]["node"], json!({"name": "n1"}), "there is no such node");
    let status = review(&cluster, &token, &["vault", "other"]).await;
    assert_eq!((&status["authenticated"], &status["audiences"]), (&json!(true), &json!(["vault"])));
    assert_eq!(status["user"]["username"], "system:serviceaccount:default:robot");
    let groups = ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"];
    assert_eq!(status["user"]["groups"], json!(groups));
    let extra = &status["user"]["extra"];
    assert_eq!(extra["authentication.kubernetes.io/pod-name"], json!(["web"]));
    assert_eq!(extra["authentication.kubernetes.io/node-name"], json!(["n1"]));
    assert_eq!(extra["authentication.kubernetes.io/credential-id"], json!([format!("JTI={}", text(&said["jti"]))]));
    let words = format!(
        r#"[invalid bearer token, token audiences ["vault"] is invalid for the target audiences ["{ISSUER}"]]"#
    );
    assert_eq!(review(&cluster, &token, &[]).await, json!({"user": {}, "error": words}));
    // The pod goes, and with it the token; the account's own token stays until the account goes.
    let now = json!({"gracePeriodSeconds": 0});
    assert_eq!(cluster.delete("/api/v1/namespaces/default/pods/web", now).await.code, 200);
    let invalidated =
        json!({"user": {}, "error": "[invalid bearer token, service account token has been invalidated]"});
    assert_eq!(review(&cluster, &token, &["vault"]).await, invalidated);
    let own = plain.at("/status/token");
    assert_eq!(review(&cluster, &own, &[]).await["authenticated"], true);
    assert_eq!(cluster.delete("/api/v1/namespaces/default/serviceaccounts/robot", Value::Null).await.code, 200);
    assert_eq!(review(&cluster, &own, &[]).await, invalidated);
}

#[tokio::test]
async fn jwt_token_request_uid_mismatch_is_a_conflict() {
    let cluster = cluster(|_| {}).await;
    pod(&cluster, "").await;
    let reference = json!({"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": "other"});
    let said = cluster.post(ROBOT, json!({"spec": {"boundObjectRef": reference}})).await;
    let message = "Operation cannot be fulfilled on Pod \"web\": the UID in the bound object reference (other) does not match the \
                   UID in record. The object might have been deleted and then recreated";
    assert_eq!((said.code, said.at("/reason"), said.message().as_str()), (409, json!("Conflict"), message));
}

#[tokio::test]
async fn requests_that_cannot_be_met_are_refused_in_upstreams_words() {
    let cluster = cluster(|_| {}).await;
    pod(&cluster, "").await;
    let check = async |path: &str, body: Value, code: u16, message: &str| {
        let said = cluster.post(path, body.clone()).await;
        assert_eq!((said.code, said.message().as_str()), (code, message), "{body}");
    };
    let spec = |spec: Value| json!({ "spec": spec });
    let reference = |api_version: &str, kind: &str, name: &str| json!({"spec": {"boundObjectRef": {"apiVersion": api_version, "kind": kind, "name": name}}});
    check(
        ROBOT,
        spec(json!({"expirationSeconds": 599})),
        422,
        "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 599: may not specify a \
         duration less than 10 minutes",
    )
    .await;
    check(
        ROBOT,
        spec(json!({"expirationSeconds": (1i64 << 32) + 1})),
        422,
        "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 4294967297: may not specify a \
         duration larger than 2^32 seconds",
    )
    .await;
    check(
        ROBOT,
        json!({"metadata": {"name": "other"}}),
        422,
        "TokenRequest.authentication.k8s.io \"robot\" is invalid: metadata.name: Invalid value: \"other\": must match the service \
         account name if specified",
    )
    .await;
    check(
        ROBOT,
        json!({"metadata": {"namespace": "other"}}),
        400,
        "the namespace of the provided object does not match the namespace sent on the request",
    )
    .await;
    check(
        &ROBOT.replace("robot", "other"),
        reference("v1", "Pod", "web"),
        400,
        "cannot bind token for serviceaccount \"other\" to pod running with different serviceaccount name.",
    )
    .await;
    check(ROBOT, reference("v1", "Pod", "x"), 404, "pods \"x\" not found").await;
    check(ROBOT, reference("v1", "Pod", "../default/web"), 404, "pods \"../default/web\" not found").await;
    check(ROBOT, reference("v1", "Secret", "x"), 404, "secrets \"x\" not found").await;
    check(ROBOT, reference("v1", "Node", "x"), 404, "nodes \"x\" not found").await;
    check(ROBOT, reference("v1", "ConfigMap", "x"), 400, "cannot bind token to object of type /v1, Kind=ConfigMap")
        .await;
    check(ROBOT, reference("apps/v1", "Pod", "x"), 400, "cannot bind token to object of type apps/v1, Kind=Pod").await;
    check(&ROBOT.replace("robot", "nobody"), json!({}), 404, "serviceaccounts \"nobody\" not found").await;
    let get = cluster.get(ROBOT).await;
    assert_eq!(get.code, 405);
}

#[tokio::test]
async fn tokens_are_bound_to_nodes_and_secrets() {
    let cluster = cluster(|_| {}).await;
    let node = cluster.post("/api/v1/nodes", json!({"metadata": {"name": "n1"}})).await;
    let secret = cluster.post("/api/v1/namespaces/default/secrets", json!({"metadata": {"name": "store"}})).await;
    let check = async |kind: &str, name: &str, uid: Value, path: &str| {
        let reference = json!({"apiVersion": "v1", "kind": kind, "name": name, "uid": uid});
        let said = cluster.post(ROBOT, json!({"spec": {"boundObjectRef": reference}})).await;
        assert_eq!(said.code, 201, "{}", said.message());
        let token = said.at("/status/token");
        let claim = kind.to_lowercase();
        assert_eq!(claims(&token)["kubernetes.io"][claim.as_str()], json!({"name": name, "uid": uid}));
        assert_eq!(review(&cluster, &token, &[]).await["authenticated"], true);
        assert_eq!(cluster.delete(path, Value::Null).await.code, 200);
        assert_eq!(review(&cluster, &token, &[]).await["authenticated"], Value::Null);
    };
    check("Node", "n1", node.at("/metadata/uid"), "/api/v1/nodes/n1").await;
    check("Secret", "store", secret.at("/metadata/uid"), "/api/v1/namespaces/default/secrets/store").await;
}

#[tokio::test]
async fn a11_a_token_lasts_as_long_as_it_says_unless_it_may_be_extended() {
    for extended in [false, true] {
        let cluster = cluster(|accounts| accounts.extend_expiration = extended).await;
        pod(&cluster, "").await;
        let now = cluster.env.now_micros() / 1_000_000;
        let check = async |audiences: &[&str], seconds: i64, pod: bool, expected: i64| {
            let mut spec = json!({"audiences": audiences, "expirationSeconds": seconds});
            if pod {
                spec["boundObjectRef"] = json!({"apiVersion": "v1", "kind": "Pod", "name": "web"});
            }
            let said = cluster.post(ROBOT, json!({ "spec": spec })).await;
            let told = portcullis_model::time::time_text(now + seconds);
            assert_eq!(said.at("/status/expirationTimestamp"), json!(told), "the client is told what it asked for");
            let claims = claims(&said.at("/status/token"));
            assert_eq!(claims["exp"], now + expected, "{spec}");
            let warned = if expected == seconds { Value::Null } else { json!(now + seconds) };
            assert_eq!(claims["kubernetes.io"]["warnafter"], warned);
        };
        let year = 365 * 24 * 60 * 60;
        check(&[ISSUER], 3607, true, if extended { year } else { 3607 }).await;
        check(&[ISSUER], 3600, true, 3600).await;
        check(&[ISSUER], 3607, false, 3607).await;
        check(&["vault"], 3607, true, 3607).await;
        check(&[ISSUER, "vault"], 3607, true, 3607).await;
    }
}

#[tokio::test]
async fn a_token_is_shortened_to_the_operators_limit() {
    let cluster = cluster(|accounts| accounts.max_expiration_seconds = Some(7200)).await;
    let said = cluster.post(ROBOT, json!({"spec": {"expirationSeconds": 100_000}})).await;
    assert_eq!((said.code, said.at("/spec/expirationSeconds")), (201, json!(7200)));
    let warning = r#"299 - "requested expiration of 100000 seconds shortened to 7200 seconds""#;
    assert_eq!(said.warnings, [warning]);
    let claims = claims(&said.at("/status/token"));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 7200);
    assert!(cluster.post(ROBOT, json!({"spec": {"expirationSeconds": 7200}})).await.warnings.is_empty());
}

#[tokio::test]
async fn who_wrote_a_request_is_accounted_for() {
    let cluster = cluster(|_| {}).await;
    let said = cluster.post(ROBOT, json!({"spec": {"expirationSeconds": 600}})).await;
    let manager = said.at("/metadata/managedFields/0");
    assert_eq!((&manager["operation"], &manager["subresource"]), (&json!("Update"), &json!("token")));
    assert_eq!(manager["apiVersion"], "authentication.k8s.io/v1");
    assert_eq!(manager["fieldsV1"]["f:spec"]["f:expirationSeconds"], json!({}), "{manager}");
}

#[tokio::test]
async fn tokens_that_nobody_knows_are_nobodys() {
    let cluster = cluster(|_| {}).await;
    let token = cluster.post(ROBOT, json!({})).await.at("/status/token");
    let token = text(&token);
    let mut tampered = token.clone();
    let last = tampered.pop().unwrap();
    tampered.push(if last == 'A' { 'Q' } else { 'A' });
    let unknown = json!({"user": {}, "error": "invalid bearer token"});
    for token in ["not-a-token", "a.b.c", "abcdef.0123456789abcdef", " "] {
        assert_eq!(review(&cluster, &json!(token), &[]).await, unknown, "{token}");
    }
    let words = "[invalid bearer token, service account token is invalid: token's signature does not verify]";
    let status = review(&cluster, &json!(tampered), &[]).await;
    assert!(status == unknown || status["error"] == words, "{status}");
    assert_eq!(review(&cluster, &json!(token), &[]).await["authenticated"], true);
    let empty = cluster.post(REVIEWS, json!({"spec": {}})).await;
    assert_eq!((empty.code, empty.message().as_str()), (400, "token is required for TokenReview in authentication"));
}

#[tokio::test]
async fn a_bootstrap_token_is_known_by_its_secret() {
    let cluster = cluster(|_| {}).await;
    let encoded = |text: &str| STANDARD.encode(text);
    let data = json!({
        "token-id": encoded("abcdef"), "token-secret": encoded("0123456789abcdef"),
        "usage-bootstrap-authentication": encoded("true"),
        "auth-extra-groups": encoded("system:bootstrappers:kubeadm:default-node-token"),
    });
    let body = json!({
        "metadata": {"name": "bootstrap-token-abcdef"}, "type": "bootstrap.kubernetes.io/token", "data": data,
    });
    let token = json!("abcdef.0123456789abcdef");
    assert_eq!(review(&cluster, &token, &[]).await["authenticated"], Value::Null);
    let said = cluster.post("/api/v1/namespaces/kube-system/secrets", body).await;
    assert_eq!(said.code, 201, "{}", said.message());
    let groups = ["system:bootstrappers", "system:bootstrappers:kubeadm:default-node-token", "system:authenticated"];
    let user = json!({"username": "system:bootstrap:abcdef", "groups": groups});
    let status = review(&cluster, &token, &[]).await;
    assert_eq!((&status["user"], &status["audiences"]), (&user, &json!([ISSUER])));
    assert_eq!(review(&cluster, &token, &["vault"]).await["authenticated"], Value::Null);
}

#[tokio::test]
async fn documents_say_how_tokens_are_verified() {
    let cluster = cluster(|_| {}).await;
    let check = async |path: &str, accept: &str, code: u16, content_type: &str| {
        let said = cluster.send("GET", path, &[("accept", accept)], "").await;
        assert_eq!((said.code, said.content_type.as_str()), (code, content_type), "{path} {accept}");
        said
    };
    let configuration = check("/.well-known/openid-configuration", "application/json", 200, "application/json").await;
    assert_eq!(configuration.at("/issuer"), ISSUER);
    assert_eq!(configuration.at("/jwks_uri"), "https://10.0.0.1:6443/openid/v1/jwks");
    assert_eq!(configuration.at("/id_token_signing_alg_values_supported"), json!(["ES256"]));
    let keys = check("/openid/v1/jwks", "*/*", 200, "application/jwk-set+json").await;
    let token = cluster.post(ROBOT, json!({})).await.at("/status/token");
    let header = URL_SAFE_NO_PAD.decode(text(&token).split('.').next().unwrap()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    assert_eq!((&header["alg"], &header["kid"]), (&json!("ES256"), &keys.at("/keys/0/kid")));
    let refused = check("/openid/v1/jwks", "application/json", 406, "application/json").await;
    let message = "406: Not Acceptable\n\nAvailable representations: application/jwk-set+json";
    assert_eq!((refused.at("/reason"), refused.message().as_str()), (json!("NotAcceptable"), message));
    assert_eq!(cluster.send("POST", "/openid/v1/jwks", &[], "").await.code, 405);
    let paths = cluster.get("/").await.at("/paths");
    for path in ["/.well-known/openid-configuration", "/openid/v1/jwks"] {
        assert!(paths.as_array().unwrap().contains(&json!(path)), "{path}");
    }
    let without = Cluster::new().await;
    assert_eq!(without.get("/openid/v1/jwks").await.code, 404);
    assert_eq!(without.post(&ROBOT.replace("robot", "default"), json!({})).await.code, 405);
}

/// What client-go sends: every field that its struct always writes.
#[tokio::test]
async fn a_clients_empty_fields_say_nothing() {
    let cluster = cluster(|_| {}).await;
    let body = json!({
        "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"creationTimestamp": null, "uid": "mine", "deletionTimestamp": "2020-01-01T00:00:00Z"},
        "spec": {"audiences": null, "expirationSeconds": null, "boundObjectRef": null},
        "status": {"token": "mine", "expirationTimestamp": null},
    });
    for path in [ROBOT.to_owned(), format!("{ROBOT}?dryRun=All&fieldValidation=Strict")] {
        let said = cluster.post(&path, body.clone()).await;
        assert_eq!(said.code, 201, "{}", said.message());
        let spec = json!({"audiences": [ISSUER], "expirationSeconds": 3600, "boundObjectRef": null});
        assert_eq!(said.at("/spec"), spec);
        let metadata = said.at("/metadata");
        assert_eq!((&metadata["uid"], &metadata["deletionTimestamp"]), (&Value::Null, &Value::Null));
        assert_eq!(review(&cluster, &said.at("/status/token"), &[]).await["authenticated"], true);
    }
    let other = json!({"kind": "Binding", "apiVersion": "v1"});
    assert_eq!(cluster.post(ROBOT, other).await.code, 400);
    let unknown = json!({"spec": {"audience": ["a"]}});
    assert_eq!(cluster.post(&format!("{ROBOT}?fieldValidation=Strict"), unknown).await.code, 400);
}
