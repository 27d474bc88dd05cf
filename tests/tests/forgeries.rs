//! Tokens and certificates that somebody made up or talked somebody into: rows JWT and CSR of the list of what others got wrong.

use base64::Engine as _;
use portcullis_tests::client::{Answer, Client};
use portcullis_tests::cluster::{Cluster, Shared, rule, who_is};
use portcullis_tests::credentials::{TokenKey, parts, signing_request, unsigned, with_secret};
use serde_json::{Value, json};

static SHARED: Shared = Shared::new();

const CSRS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const SERVING: &str = "kubernetes.io/kubelet-serving";

fn is_status(answer: &Answer, expected: u16, what: &str) {
    assert_eq!(answer.status, expected, "{what}: {}", answer.text());
}

/// A good token with the key that signed it.
struct Good {
    token: String,
    header: Value,
    claims: Value,
    key: TokenKey,
}

impl Good {
    fn of(cluster: &Cluster, account: &str) -> Self {
        cluster.account("default", account);
        let token = cluster.token("default", account, json!({}));
        let (header, claims) = parts(&token).unwrap();
        let key = TokenKey::read(&cluster.server.data_dir().join("pki/sa.key")).unwrap();
        Self { token, header, claims, key }
    }

    /// Signs it again with a change of its claims.
    fn with(&self, pointer: &str, value: Value) -> String {
        let mut claims = self.claims.clone();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        claims.pointer_mut(parent).unwrap()[name] = value;
        self.key.sign(self.header.clone(), &claims).unwrap()
    }
}

#[test]
fn jwt_no_signature_but_the_clusters() {
    let cluster = SHARED.get();
    let good = Good::of(&cluster, "jwt-signature");
    let check = |name: &str, token: &str| is_status(&cluster.bearer(token).get("/api"), 401, name);
    is_status(&cluster.bearer(&good.token).get("/api"), 200, "the good one");
    let again = good.key.sign(good.header.clone(), &good.claims).unwrap();
    is_status(&cluster.bearer(&again).get("/api"), 200, "signed again with the right key");
    let (header, claims) = (good.header.clone(), &good.claims);
    check("alg none", &unsigned(header.clone(), claims));
    for spelled in ["None", "NONE", "nOnE"] {
        let (head, rest) = good.token.split_once('.').unwrap();
        assert!(!head.is_empty());
        let mut other = header.clone();
        other["alg"] = json!(spelled);
        let forged = unsigned(other, claims);
        check(spelled, &forged);
        check("a signature that belongs to another header", &format!("{}.{rest}", forged.split('.').next().unwrap()));
    }
    for secret in [good.key.public_pem().unwrap().as_str(), good.key.public_pem().unwrap().trim(), ""] {
        check("HS256 with the public key", &with_secret(header.clone(), claims, secret.as_bytes()));
    }
    let stranger = TokenKey::stranger().unwrap();
    check("a stranger's key", &stranger.sign(header.clone(), claims).unwrap());
    for kid in [json!(null), json!(""), json!("../../pki/ca.key"), json!("' OR 1=1"), json!("/dev/null"), json!(7)] {
        let mut other = header.clone();
        other["kid"] = kid.clone();
        check(&format!("a stranger's key as {kid}"), &stranger.sign(other, claims).unwrap());
    }
    for (name, value) in [
        ("jwk", json!({"kty": "oct", "k": "AAAA"})),
        ("jku", json!("https://127.0.0.1:1/keys")),
        ("x5u", json!("https://127.0.0.1:1/certificate")),
        ("crit", json!(["exp"])),
    ] {
        let mut other = header.clone();
        other[name] = value;
        check(name, &stranger.sign(other, claims).unwrap());
    }
    let pieces: Vec<&str> = good.token.split('.').collect();
    for (name, token) in [
        ("no signature", format!("{}.{}.", pieces[0], pieces[1])),
        ("two parts", format!("{}.{}", pieces[0], pieces[1])),
        ("four parts", format!("{}.x", good.token)),
        ("padding", format!("{}=", good.token)),
        ("cut", good.token[..good.token.len() - 4].to_owned()),
        ("very long", "e".repeat(20_000)),
    ] {
        check(name, &token);
    }
}

#[test]
fn jwt_no_claim_but_what_the_cluster_said() {
    let cluster = SHARED.get();
    let good = Good::of(&cluster, "jwt-claims");
    Good::of(&cluster, "jwt-other");
    let check = |pointer: &str, value: Value| {
        let token = good.with(pointer, value.clone());
        is_status(&cluster.bearer(&token).get("/api"), 401, &format!("{pointer} = {value}"));
    };
    let now = good.claims["iat"].as_i64().unwrap();
    check("/exp", json!(now - 3600));
    check("/exp", json!(0));
    check("/exp", json!(-1));
    check("/exp", json!("never"));
    check("/exp", Value::Null);
    check("/nbf", json!(now + 3600));
    check("/iss", json!("https://issuer.example.com"));
    check("/iss", Value::Null);
    check("/aud", json!(["https://other.example.com"]));
    check("/sub", json!("system:serviceaccount:default:jwt-other"));
    check("/sub", json!("system:serviceaccount:kube-system:jwt-claims"));
    check("/sub", json!("kubernetes-admin"));
    check("/kubernetes.io/namespace", json!("kube-system"));
    check("/kubernetes.io/serviceaccount/name", json!("jwt-other"));
    check("/kubernetes.io/serviceaccount/uid", json!("00000000-0000-0000-0000-000000000000"));
    check("/kubernetes.io/serviceaccount", Value::Null);
    check("/kubernetes.io/pod", json!({"name": "absent", "uid": "x"}));
    check("/kubernetes.io/secret", json!({"name": "absent", "uid": "x"}));
    is_status(&cluster.bearer(&good.with("/jti", json!("another"))).get("/api"), 200, "what nobody checks");
}

#[test]
fn csr_nobody_gets_a_certificate_of_masters() {
    let cluster = SHARED.get();
    cluster
        .grant("csr-asker", json!([rule(&["create", "get"], "certificates.k8s.io", &["certificatesigningrequests"])]));
    let asker = cluster.user("csr-asker", None);
    let ask = |client: &Client, name: &str, signer: &str, (user, group): (&str, &str), usages: &[&str]| {
        let request = signing_request(user, group).unwrap();
        let spec = json!({"request": request, "signerName": signer, "usages": usages});
        client.post(CSRS, &json!({"metadata": {"name": name}, "spec": spec}))
    };
    let client = ["client auth"];
    is_status(&ask(&asker, "csr-masters", CLIENT, ("eve", "system:masters"), &client), 403, "masters");
    is_status(&ask(&cluster.admin(), "csr-masters", CLIENT, ("eve", "system:masters"), &client), 403, "even for them");
    is_status(&ask(&asker, "csr-good", CLIENT, ("eve", "harbor"), &client), 201, "anybody else");
    let made = cluster.admin().get(&format!("{CSRS}/csr-good")).json();
    assert_eq!(made["spec"]["username"], "csr-asker", "the server says who asked");
    let spec = json!({
        "request": signing_request("eve", "harbor").unwrap(), "signerName": CLIENT, "usages": client,
        "username": "kubernetes-admin", "groups": ["system:masters"],
    });
    let answer = asker.post(CSRS, &json!({"metadata": {"name": "csr-other"}, "spec": spec}));
    is_status(&answer, 201, "with another name");
    assert_eq!(answer.json()["spec"]["username"], "csr-asker", "and not the asker");
}

#[test]
fn csr_approval_and_signing_need_the_signer() {
    let cluster = SHARED.get();
    let admin = cluster.admin();
    let usages = ["client auth"];
    let spec = json!({"request": signing_request("bob", "harbor").unwrap(), "signerName": CLIENT, "usages": usages});
    is_status(&admin.post(CSRS, &json!({"metadata": {"name": "csr-approve"}, "spec": spec})), 201, "a request");
    let path = format!("{CSRS}/csr-approve");
    let with = |part: &str, value: Value| {
        let mut object = admin.get(&path).json();
        object[part] = value;
        object
    };
    let approved = json!({"conditions": [{"type": "Approved", "status": "True", "reason": "Test", "message": "yes"}]});
    let put = |client: &Client, path: &str, object: &Value| client.send("PUT", path, Some(object)).unwrap();
    let subresources = ["certificatesigningrequests/approval", "certificatesigningrequests/status"];
    cluster.grant("csr-approver", json!([rule(&["update", "patch"], "certificates.k8s.io", &subresources)]));
    let approver = cluster.user("csr-approver", None);
    let approval = format!("{path}/approval");
    is_status(&put(&approver, &approval, &with("status", approved.clone())), 403, "approve without the signer");
    let certificate = std::fs::read(cluster.server.data_dir().join("pki/ca.crt")).unwrap();
    let signed = json!({"certificate": base64::engine::general_purpose::STANDARD.encode(certificate)});
    is_status(&put(&approver, &format!("{path}/status"), &with("status", signed)), 403, "sign without the signer");
    let of_signer = |verb: &str, signer: &str| json!([{"verbs": [verb], "apiGroups": ["certificates.k8s.io"], "resources": ["signers"], "resourceNames": [signer]}]);
    cluster.grant("csr-approver", of_signer("approve", SERVING));
    is_status(&put(&approver, &approval, &with("status", approved.clone())), 403, "approve with another signer");
    cluster.grant("csr-approver", of_signer("approve", CLIENT));
    is_status(&put(&approver, &approval, &with("status", approved)), 200, "approve");
    let mut other = with("status", Value::Null);
    other["spec"]["request"] = json!(signing_request("eve", "system:masters").unwrap());
    let answer = put(&admin, &path, &other);
    let kept = admin.get(&path).json();
    assert!(answer.status == 422 || kept["spec"]["request"] == spec["request"], "{}", answer.text());
    assert_eq!(kept["spec"]["request"], spec["request"], "what was approved stays as it was");
}

#[test]
fn a_certificate_says_who_one_is() {
    let cluster = SHARED.get();
    let who = who_is(&cluster.user("carol", Some("harbor")));
    assert_eq!((&who["username"], &who["groups"]), (&json!("carol"), &json!(["harbor", "system:authenticated"])));
}
