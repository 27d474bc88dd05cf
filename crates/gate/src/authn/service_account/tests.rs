#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use zeroize::Zeroizing;

use super::*;
use crate::cluster::StoredSecret;
use crate::tokens::keys::SigningKey;
use crate::tokens::service_account::{Named, NewToken};
use crate::tokens::{jws, service_account::ServiceAccountKeys};

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const OLD_ISSUER: &str = "https://old.example";
static OWN_AUDIENCES: LazyLock<Vec<String>> = LazyLock::new(|| list(&[ISSUER]));
const NOW: i64 = 1_800_000_000;

#[derive(Default)]
struct Objects {
    held: Mutex<HashMap<(Holder, String), Held>>,
    secrets: Mutex<HashMap<String, StoredSecret>>,
}

impl Objects {
    fn put(&self, holder: Holder, name: &str, uid: &str, deletion_timestamp: Option<i64>) {
        let held = Held { uid: uid.to_owned(), deletion_timestamp };
        self.held.lock().unwrap().insert((holder, name.to_owned()), held);
    }

    fn remove(&self, holder: Holder, name: &str) {
        self.held.lock().unwrap().remove(&(holder, name.to_owned()));
    }
}

impl Cluster for Objects {
    fn find(&self, holder: Holder, namespace: &str, name: &str) -> Option<Held> {
        let expected = if holder == Holder::Node { "" } else { "harbor" };
        assert_eq!(namespace, expected);
        self.held.lock().unwrap().get(&(holder, name.to_owned())).cloned()
    }

    fn secret(&self, namespace: &str, name: &str) -> Option<StoredSecret> {
        assert_eq!(namespace, "harbor");
        self.secrets.lock().unwrap().get(name).cloned()
    }
}

struct Bench {
    pem: String,
    objects: Arc<Objects>,
    issuer: Arc<ServiceAccountIssuer>,
    tokens: ServiceAccountTokens,
}

fn new_pem() -> String {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let text = STANDARD.encode(pair.to_pkcs8v1().unwrap());
    format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
}

fn list(audiences: &[&str]) -> Vec<String> {
    audiences.iter().map(|audience| (*audience).to_owned()).collect()
}

impl Bench {
    fn new() -> Self {
        let pem = new_pem();
        let objects = Arc::new(Objects::default());
        objects.put(Holder::ServiceAccount, "robot", "uid-sa", None);
        objects.put(Holder::Pod, "web", "uid-pod", None);
        objects.put(Holder::Secret, "store", "uid-secret", None);
        objects.put(Holder::Node, "n1", "uid-node", None);
        let keys = ServiceAccountKeys::from_pem(pem.as_bytes(), []).unwrap();
        let issuer = ServiceAccountIssuer::new(list(&[ISSUER, OLD_ISSUER]), keys);
        let cluster: Arc<dyn Cluster> = Arc::clone(&objects) as Arc<dyn Cluster>;
        let tokens = ServiceAccountTokens::new(Arc::clone(&issuer), list(&[ISSUER]), cluster);
        Self { pem, objects, issuer, tokens }
    }

    fn issue<'a>(&self, change: impl FnOnce(&mut NewToken<'a>)) -> String {
        let mut token = NewToken {
            namespace: "harbor",
            service_account: Named { name: "robot", uid: "uid-sa" },
            pod: None,
            secret: None,
            node: None,
            audiences: &OWN_AUDIENCES,
            id: "id-1",
            now: NOW,
            expires_at: NOW + 3600,
            warn_after: None,
        };
        change(&mut token);
        self.issuer.issue(&token).unwrap().to_string()
    }

    /// A token with claims that no issuer of ours would write, signed with its key.
    fn forge(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = json!({
            "iss": ISSUER, "aud": [ISSUER], "sub": "system:serviceaccount:harbor:robot", "exp": NOW + 3600, "iat": NOW, "nbf": NOW,
            "kubernetes.io": {"namespace": "harbor", "serviceaccount": {"name": "robot", "uid": "uid-sa"}},
        });
        change(&mut claims);
        jws::sign(&SigningKey::from_pem(self.pem.as_bytes()).unwrap(), claims.to_string().as_bytes()).unwrap()
    }

    fn judge(&self, token: &str, now: i64) -> Result<KnownToken, Option<String>> {
        self.judge_for(token, &[ISSUER], now)
    }

    fn judge_for(&self, token: &str, audiences: &[&str], now: i64) -> Result<KnownToken, Option<String>> {
        match self.tokens.judge(token, &list(audiences), now) {
            TokenVerdict::Known(known) => Ok(known),
            TokenVerdict::Refused(reason) => Err(Some(reason.into_owned())),
            TokenVerdict::Unknown => Err(None),
            TokenVerdict::Later(_) => panic!("nobody else is to be asked"),
        }
    }
}

fn refused(words: &str) -> Result<(), Option<String>> {
    Err(Some(words.to_owned()))
}

#[test]
fn a_bound_token_names_its_account() {
    let bench = Bench::new();
    let token = bench.issue(|token| {
        token.pod = Some(Named { name: "web", uid: "uid-pod" });
        token.node = Some(Named { name: "n1", uid: "uid-node" });
    });
    let known = bench.judge(&token, NOW).unwrap();
    assert_eq!(known.audiences, [ISSUER]);
    let identity = &*known.identity;
    assert_eq!((identity.name.as_str(), identity.uid.as_str()), ("system:serviceaccount:harbor:robot", "uid-sa"));
    let groups = ["system:serviceaccounts", "system:serviceaccounts:harbor", "system:authenticated"];
    assert_eq!(identity.groups, groups);
    let extra: Vec<_> = identity.extra.iter().map(|(key, values)| (key.as_str(), values.join(","))).collect();
    let expected = [
        ("authentication.kubernetes.io/credential-id", "JTI=id-1"),
        ("authentication.kubernetes.io/node-name", "n1"),
        ("authentication.kubernetes.io/node-uid", "uid-node"),
        ("authentication.kubernetes.io/pod-name", "web"),
        ("authentication.kubernetes.io/pod-uid", "uid-pod"),
    ];
    assert_eq!(extra, expected.map(|(key, value)| (key, value.to_owned())));
    assert_eq!(bench.judge(&token, NOW + 1).unwrap(), known, "remembered");
}

#[test]
fn jwt_dates_are_checked_at_every_use() {
    let bench = Bench::new();
    let token = bench.issue(|_| {});
    let check = |now: i64, expected: Result<(), Option<String>>| {
        assert_eq!(bench.judge(&token, now).map(drop), expected, "{now}");
    };
    check(NOW, Ok(()));
    check(NOW - 60, Ok(()));
    check(NOW - 61, refused("service account token is not valid yet"));
    check(NOW + 3660, Ok(()));
    check(NOW + 3661, refused("service account token has expired"));
    check(NOW + 100_000_000, refused("service account token has expired"));
    check(NOW, Ok(()));
    let early = bench.forge(|claims| {
        claims["iat"] = json!(NOW + 100);
        claims["nbf"] = Value::Null;
    });
    assert_eq!(bench.judge(&early, NOW).map(drop), refused("service account token is issued in the future"));
    let endless = bench.forge(|claims| drop(claims.as_object_mut().unwrap().remove("exp")));
    assert_eq!(bench.judge(&endless, NOW).map(drop), refused("service account token is invalid: it has no end"));
}

#[test]
fn jwt_of_another_audience_or_issuer_is_refused() {
    let bench = Bench::new();
    let vault = list(&["vault", "ledger"]);
    let (own, other) = (bench.issue(|_| {}), bench.issue(|token| token.audiences = &vault));
    let none = bench.issue(|token| token.audiences = &[]);
    let check = |token: &str, audiences: &[&str], expected: Result<&[&str], &str>| {
        let judged = bench.judge_for(token, audiences, NOW).map(|known| known.audiences);
        let expected = expected.map(list).map_err(|words| Some(words.to_owned()));
        assert_eq!(judged, expected, "{audiences:?}");
    };
    check(&own, &[ISSUER], Ok(&[ISSUER]));
    check(&own, &["x", ISSUER], Ok(&[ISSUER]));
    let words = format!(r#"token audiences ["{ISSUER}"] is invalid for the target audiences ["vault"]"#);
    check(&own, &["vault"], Err(&words));
    check(&other, &["ledger", "vault"], Ok(&["vault", "ledger"]));
    let words = format!(r#"token audiences ["vault" "ledger"] is invalid for the target audiences ["{ISSUER}"]"#);
    check(&other, &[ISSUER], Err(&words));
    check(&none, &[ISSUER], Ok(&[ISSUER]));
    assert!(bench.judge_for(&none, &["vault"], NOW).is_err());
    let issued_by = |issuer: Value| bench.forge(|claims| claims["iss"] = issuer);
    assert!(bench.judge(&issued_by(json!(OLD_ISSUER)), NOW).is_ok(), "a former name is accepted");
    for issuer in [json!("https://evil.example"), json!(format!("{ISSUER}/")), json!(""), json!([ISSUER]), Value::Null]
    {
        assert_eq!(bench.judge(&issued_by(issuer.clone()), NOW), Err(None), "{issuer}");
    }
    for token in ["", "abc", "a.b.c", "abcdef.0123456789abcdef"] {
        assert_eq!(bench.judge(token, NOW), Err(None), "{token}");
    }
}

#[test]
fn jwt_of_another_key_is_refused_and_keys_rotate() {
    let bench = Bench::new();
    let token = bench.issue(|_| {});
    assert!(bench.judge(&token, NOW).is_ok());
    let next = new_pem();
    // The new key signs, the old one still verifies.
    let both = ServiceAccountKeys::from_pem(next.as_bytes(), [bench.pem.as_bytes()]).unwrap();
    assert_eq!(both.key_ids().len(), 2);
    bench.issuer.replace_keys(both);
    let newer = bench.issue(|_| {});
    assert!(bench.judge(&token, NOW).is_ok() && bench.judge(&newer, NOW).is_ok());
    assert_eq!(serde_json::from_str::<Value>(&bench.issuer.jwks()).unwrap()["keys"].as_array().unwrap().len(), 2);
    // The old key is gone: what was remembered of it is too.
    bench.issuer.replace_keys(ServiceAccountKeys::from_pem(next.as_bytes(), []).unwrap());
    assert!(bench.judge(&newer, NOW).is_ok());
    assert_eq!(
        bench.judge(&token, NOW).map(drop),
        refused("service account token is invalid: no key has the id that the token names")
    );
}

#[test]
fn jwt_with_a_deleted_binding_is_refused() {
    let bench = Bench::new();
    let check = |what: &str, holder: Holder, name: &str, uid: &str, token: String| {
        let judge = |now: i64| bench.judge(&token, now).map(drop);
        assert_eq!(judge(NOW), Ok(()), "{what}");
        // It is going: its token ends a minute after it does.
        bench.objects.put(holder, name, uid, Some(NOW + 30));
        assert_eq!(judge(NOW), Ok(()), "{what}");
        assert_eq!(judge(NOW + 90), Ok(()), "{what}");
        assert_eq!(judge(NOW + 91), refused(INVALIDATED), "{what}");
        bench.objects.remove(holder, name);
        assert_eq!(judge(NOW), refused(INVALIDATED), "{what}");
        // Another one under its name.
        bench.objects.put(holder, name, "uid-other", None);
        let claim = if holder == Holder::ServiceAccount {
            "claim".to_owned()
        } else {
            format!("service account {what} ref claim")
        };
        assert_eq!(judge(NOW), refused(&format!("{what} UID (uid-other) does not match {claim} ({uid})")), "{what}");
        bench.objects.put(holder, name, uid, None);
        assert_eq!(judge(NOW), Ok(()), "{what}");
    };
    check("service account", Holder::ServiceAccount, "robot", "uid-sa", bench.issue(|_| {}));
    let pod = Some(Named { name: "web", uid: "uid-pod" });
    let node = Some(Named { name: "n1", uid: "uid-node" });
    check("pod", Holder::Pod, "web", "uid-pod", bench.issue(|token| token.pod = pod));
    check("node", Holder::Node, "n1", "uid-node", bench.issue(|token| token.node = node));
    let secret = Some(Named { name: "store", uid: "uid-secret" });
    check("secret", Holder::Secret, "store", "uid-secret", bench.issue(|token| token.secret = secret));
    // The node of a pod is told, and its end ends nothing.
    let of_pod = bench.issue(|token| (token.pod, token.node) = (pod, Some(Named { name: "gone", uid: "" })));
    let identity = bench.judge(&of_pod, NOW).unwrap().identity;
    assert_eq!(identity.extra["authentication.kubernetes.io/node-name"], ["gone"]);
    assert!(!identity.extra.contains_key("authentication.kubernetes.io/node-uid"));
}

#[test]
fn claims_that_no_issuer_of_ours_writes_are_refused() {
    let bench = Bench::new();
    let check = |what: &str, change: &dyn Fn(&mut Value)| {
        assert!(matches!(bench.judge(&bench.forge(change), NOW), Err(Some(_))), "{what}");
    };
    assert!(bench.judge(&bench.forge(|_| {}), NOW).is_ok());
    check("no binding", &|claims| claims["kubernetes.io"] = Value::Null);
    check("a binding of another type", &|claims| claims["kubernetes.io"] = json!("x"));
    check("no namespace", &|claims| claims["kubernetes.io"]["namespace"] = json!(""));
    check("no account", &|claims| claims["kubernetes.io"]["serviceaccount"] = Value::Null);
    check("no uid", &|claims| claims["kubernetes.io"]["serviceaccount"] = json!({"name": "robot"}));
    check("a pod without a name", &|claims| claims["kubernetes.io"]["pod"] = json!({"uid": "uid-pod"}));
    check("a pod without a uid", &|claims| claims["kubernetes.io"]["pod"] = json!({"name": "web"}));
    check("a pod of another type", &|claims| claims["kubernetes.io"]["pod"] = json!("web"));
    check("another subject", &|claims| claims["sub"] = json!("system:serviceaccount:kube-system:robot"));
    check("no subject", &|claims| claims["sub"] = Value::Null);
    check("an audience of another type", &|claims| claims["aud"] = json!(7));
    check("a date of another type", &|claims| claims["exp"] = json!("never"));
}

/// A token of old, and the secret that holds it.
fn legacy(bench: &Bench) -> String {
    let token = bench.forge(|claims| {
        *claims = json!({
            "iss": LEGACY_ISSUER, "sub": "system:serviceaccount:harbor:robot",
            "kubernetes.io/serviceaccount/namespace": "harbor",
            "kubernetes.io/serviceaccount/secret.name": "robot-token",
            "kubernetes.io/serviceaccount/service-account.name": "robot",
            "kubernetes.io/serviceaccount/service-account.uid": "uid-sa",
        });
    });
    store(bench, |secret| {
        SECRET_TYPE.clone_into(&mut secret.kind);
        secret.data.insert("token".to_owned(), Zeroizing::new(token.clone().into()));
    });
    token
}

fn store(bench: &Bench, change: impl FnOnce(&mut StoredSecret)) {
    let mut secrets = bench.objects.secrets.lock().unwrap();
    change(secrets.entry("robot-token".to_owned()).or_default());
}

#[test]
fn tokens_that_should_not_be_relied_on_are_remarked() {
    let bench = Bench::new();
    let robot = "system:serviceaccount:harbor:robot";
    let check = |token: &str, now: i64, expected: Option<(&str, String)>| {
        let remark = bench.judge(token, now).unwrap().remark;
        assert_eq!(remark.map(|remark| (remark.key, remark.value)), expected);
    };
    let extended = bench.issue(|token| token.warn_after = Some(NOW + 10));
    check(&extended, NOW + 10, None);
    let stale = format!("subject: {robot}, seconds after warning threshold: 5");
    check(&extended, NOW + 15, Some(("authentication.k8s.io/stale-token", stale)));
    check(&bench.issue(|_| {}), NOW, None);
    check(&legacy(&bench), NOW, Some(("authentication.k8s.io/legacy-token", robot.to_owned())));
}

#[test]
fn a_legacy_token_stands_in_its_secret() {
    let bench = Bench::new();
    let token = legacy(&bench);
    let known = bench.judge(&token, NOW).unwrap();
    assert_eq!(known.identity.name, "system:serviceaccount:harbor:robot");
    assert!(known.identity.extra.is_empty());
    assert_eq!(known.audiences, [ISSUER], "it is meant for the API server");
    assert!(bench.judge_for(&token, &["vault"], NOW).is_err());
    let check = |what: &str, change: &dyn Fn(&mut StoredSecret), words: &str| {
        let before = bench.objects.secrets.lock().unwrap()["robot-token"].clone();
        store(&bench, change);
        let Err(Some(reason)) = bench.judge(&token, NOW) else { panic!("{what} passes") };
        assert!(reason.contains(words), "{what}: {reason}");
        bench.objects.secrets.lock().unwrap().insert("robot-token".to_owned(), before);
        assert!(bench.judge(&token, NOW).is_ok(), "{what}");
    };
    check("being deleted", &|secret| secret.held.deletion_timestamp = Some(NOW + 100), "has been invalidated");
    check("of another type", &|secret| "Opaque".clone_into(&mut secret.kind), "has been invalidated");
    let gone = |secret: &mut StoredSecret| drop(secret.data.remove("token"));
    check("without its token", &gone, "does not match server's copy");
    let other = |secret: &mut StoredSecret| {
        secret.data.get_mut("token").unwrap().pop();
    };
    check("with another token", &other, "does not match server's copy");
    let mark = |secret: &mut StoredSecret| {
        secret.labels.insert(LABEL_INVALID_SINCE.to_owned(), "2026-01-01".to_owned());
    };
    check("marked", &mark, "has been marked invalid");
    bench.objects.put(Holder::ServiceAccount, "robot", "uid-sa", Some(NOW + 100));
    assert_eq!(bench.judge(&token, NOW).map(drop), refused("ServiceAccount harbor/robot has been deleted"));
    bench.objects.put(Holder::ServiceAccount, "robot", "uid-2", None);
    assert_eq!(bench.judge(&token, NOW).map(drop), refused("ServiceAccount UID (uid-2) does not match claim (uid-sa)"));
    bench.objects.secrets.lock().unwrap().clear();
    assert_eq!(bench.judge(&token, NOW).map(drop), refused("Token has been invalidated"));
}

#[test]
fn only_a_short_token_is_remembered() {
    let bench = Bench::new();
    let check = |audience_len: usize, expected: bool| {
        let audiences = [ISSUER.to_owned(), "a".repeat(audience_len)];
        let token = bench.issue(|token| token.audiences = &audiences);
        assert!(bench.judge(&token, NOW).is_ok(), "{audience_len}");
        assert_eq!(bench.tokens.verified.get(&TokenHash::of(&token)).is_some(), expected, "{audience_len}");
    };
    check(10, true);
    check(REMEMBERED_LEN_MAX, false);
}

/// NCC-TTV: a wrong token is compared in constant time, and never found by a part of it.
#[test]
fn ncc_ttv_a_token_that_shares_a_prefix_is_as_wrong_as_any() {
    let bench = Bench::new();
    let token = legacy(&bench);
    for len in [0, 1, token.len() / 2, token.len() - 1] {
        store(&bench, |secret| drop(secret.data.insert("token".to_owned(), Zeroizing::new(token[..len].into()))));
        assert_eq!(bench.judge(&token, NOW).map(drop), refused("Token does not match server's copy"), "{len}");
    }
}

#[test]
fn documents_say_how_to_verify() {
    let bench = Bench::new();
    let discovery: Value =
        serde_json::from_str(&bench.issuer.discovery("https://10.0.0.1:6443/openid/v1/jwks")).unwrap();
    let expected = json!({
        "issuer": ISSUER, "jwks_uri": "https://10.0.0.1:6443/openid/v1/jwks", "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["ES256"],
    });
    assert_eq!(discovery, expected);
    let jwks: Value = serde_json::from_str(&bench.issuer.jwks()).unwrap();
    let key = &jwks["keys"][0];
    let members: Vec<&str> = key.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x", "y"], "and no private part");
    let imported = crate::tokens::keys::PublicKey::from_jwk(key).unwrap();
    let token = bench.issue(|_| {});
    let keys = jws::KeySet::of_service_accounts([imported]);
    assert!(jws::verify(&token, &keys, &Algorithm::SERVICE_ACCOUNT).is_ok());
}
