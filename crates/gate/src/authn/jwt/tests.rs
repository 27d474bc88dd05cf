#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rsa::{KeyPair as RsaPair, KeySize};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::BoxFuture;
use crate::identity::Identity;
use crate::tokens::keys::SigningKey;

const ISSUER: &str = "https://issuer.example.com";
const NOW: i64 = 1_780_272_000;

fn key() -> SigningKey {
    let pkcs8: Pkcs8V1Der<'_> = RsaPair::generate(KeySize::Rsa2048).unwrap().as_der().unwrap();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(pkcs8.as_ref()));
    SigningKey::from_pem(pem.as_bytes()).unwrap()
}

/// Documents by their URL, as they are served now, and how often anything was asked for.
#[derive(Clone, Default)]
struct Web {
    documents: Arc<Mutex<BTreeMap<String, String>>>,
    fetches: Arc<AtomicUsize>,
    hangs: Arc<std::sync::atomic::AtomicBool>,
}

impl Web {
    fn put(&self, url: &str, document: impl ToString) {
        self.documents.lock().unwrap().insert(url.to_owned(), document.to_string());
    }

    fn remove(&self, url: &str) {
        self.documents.lock().unwrap().remove(url);
    }

    fn publish(&self, keys: &[&SigningKey]) {
        self.put(
            &format!("{ISSUER}/.well-known/openid-configuration"),
            json!({"issuer": ISSUER, "jwks_uri": format!("{ISSUER}/keys"), "response_types_supported": ["id_token"]}),
        );
        self.put_keys(keys);
    }

    fn put_keys(&self, keys: &[&SigningKey]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.public().to_jwk()).collect();
        self.put(&format!("{ISSUER}/keys"), json!({"keys": keys}));
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::Relaxed)
    }
}

impl Fetch for Web {
    fn get<'a>(&'a self, url: &'a str, _len_max: usize) -> BoxFuture<'a, Result<Bytes, FetchError>> {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            if self.hangs.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            let found = self.documents.lock().unwrap().get(url).cloned();
            found.map(Bytes::from).ok_or_else(|| FetchError("no such document".to_owned()))
        })
    }
}

impl Dial for Web {
    fn fetcher(&self, _url: &str, certificate_authority: &str) -> Result<Arc<dyn Fetch>, FetchError> {
        match certificate_authority {
            "" => Ok(Arc::new(self.clone())),
            _ => Err(FetchError("no such CA".to_owned())),
        }
    }
}

fn configuration(mappings: Value, rules: Value) -> AuthenticationConfiguration {
    let document = json!({
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AuthenticationConfiguration",
        "jwt": [{
            "issuer": {"url": ISSUER, "audiences": ["kubernetes", "k8s"], "audienceMatchPolicy": "MatchAny"},
            "claimMappings": mappings,
            "claimValidationRules": rules,
        }],
    });
    AuthenticationConfiguration::parse(document.to_string().as_bytes(), &[]).unwrap()
}

fn usual() -> AuthenticationConfiguration {
    configuration(
        json!({
            "username": {"claim": "sub", "prefix": "oidc:"},
            "groups": {"claim": "groups", "prefix": "g:"},
            "uid": {"claim": "uid"},
        }),
        json!([{"claim": "hd", "requiredValue": "example.com"}]),
    )
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": "kubernetes", "sub": "ana", "exp": NOW + 60, "hd": "example.com", "uid": "7",
        "groups": ["dev", "ops"], "jti": "t1",
    })
}

fn with(changes: Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    claims
}

fn signed(key: &SigningKey, claims: &Value) -> String {
    crate::tokens::jws::sign(key, claims.to_string().as_bytes()).unwrap()
}

fn signed_as(key: &SigningKey, header: Value, claims: &str) -> String {
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims));
    let signature = key.sign(text.as_bytes()).unwrap();
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Issuers that have fetched what there is to fetch. Time stands still unless everybody waits.
async fn started(web: &Web, configuration: &AuthenticationConfiguration) -> Arc<JwtIssuers> {
    let issuers = Arc::new(JwtIssuers::new(Box::new(web.clone())));
    issuers.replace(configuration).unwrap();
    settle().await;
    issuers
}

async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

async fn judge(issuers: &JwtIssuers, token: &str) -> Result<Arc<Identity>, String> {
    let mut verdict = issuers.judge(token, NOW);
    while let TokenVerdict::Later(later) = verdict {
        verdict = later.await;
    }
    match verdict {
        TokenVerdict::Known(known) => {
            assert!(known.audiences.is_empty());
            Ok(known.identity)
        }
        TokenVerdict::Refused(reason) => Err(reason.into_owned()),
        TokenVerdict::Unknown | TokenVerdict::Later(_) => Err("unknown".to_owned()),
    }
}

#[tokio::test(start_paused = true)]
async fn a_good_token_names_its_user() {
    let (web, key) = (Web::default(), key());
    web.publish(&[&key]);
    let issuers = started(&web, &usual()).await;
    let identity = judge(&issuers, &signed(&key, &claims())).await.unwrap();
    assert_eq!((identity.name.as_str(), identity.uid.as_str()), ("oidc:ana", "7"));
    assert_eq!(identity.groups, ["g:dev", "g:ops", "system:authenticated"]);
    assert_eq!(identity.extra["authentication.kubernetes.io/credential-id"], ["JTI=t1"]);
}

#[tokio::test(start_paused = true)]
async fn claims_decide() {
    let (web, key) = (Web::default(), key());
    web.publish(&[&key]);
    let issuers = started(&web, &usual()).await;
    let rows: Vec<(Value, Result<(), &str>)> = vec![
        (json!({}), Ok(())),
        (json!({"aud": ["x", "k8s"]}), Ok(())),
        (json!({"aud": "other"}), Err("audience")),
        (json!({"aud": []}), Err("audience")),
        (json!({"aud": ["kubernetes", 7]}), Err("audience")),
        (json!({"aud": {"kubernetes": true}}), Err("audience")),
        (json!({"aud": null}), Err("audience")),
        (json!({"iss": "https://other.example.com"}), Err("unknown")),
        (json!({"iss": format!("{ISSUER}/")}), Err("unknown")),
        (json!({"iss": [ISSUER]}), Err("unknown")),
        (json!({"iss": null}), Err("unknown")),
        (json!({"exp": NOW}), Err("expired")),
        (json!({"exp": NOW - 1}), Err("expired")),
        (json!({"exp": NOW as f64 + 0.9}), Err("expired")),
        (json!({"exp": -1}), Err("expired")),
        (json!({"exp": 1e300}), Ok(())),
        (json!({"exp": "never"}), Err("not a time")),
        (json!({"exp": null}), Err("no expiry")),
        (json!({"nbf": NOW + 300}), Ok(())),
        (json!({"nbf": NOW + 301}), Err("not valid yet")),
        (json!({"nbf": "x"}), Err("not a time")),
        (json!({"hd": "other.com"}), Err("another value")),
        (json!({"hd": ["example.com"]}), Err("not a string")),
        (json!({"hd": null}), Err("\"hd\" is not there")),
        (json!({"sub": ""}), Err("it is empty")),
        (json!({"sub": 7}), Err("not a string")),
        (json!({"sub": null}), Err("\"sub\" is not there")),
        (json!({"uid": 7}), Err("not a string")),
        (json!({"uid": null}), Err("\"uid\" is not there")),
        (json!({"groups": "dev"}), Ok(())),
        (json!({"groups": null}), Ok(())),
        (json!({"groups": {"dev": 1}}), Err("list of strings")),
        (json!({"groups": ["dev", 7]}), Err("list of strings")),
        (json!({"groups": null, "_claim_names": {"groups": "src1"}}), Err("distributed claim")),
        (json!({"_claim_names": {"other": "src1"}}), Ok(())),
    ];
    for (changes, expected) in rows {
        let judged = judge(&issuers, &signed(&key, &with(changes.clone()))).await;
        match (judged, expected) {
            (Ok(identity), Ok(())) => assert_eq!(identity.name, "oidc:ana", "{changes}"),
            (Err(reason), Err(part)) => assert!(reason.contains(part), "{changes}: {reason}"),
            (judged, _) => panic!("{changes}: {judged:?}, expected {expected:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn jwt_tricks_are_refused() {
    let (web, key, other) = (Web::default(), key(), key());
    web.publish(&[&key]);
    let issuers = started(&web, &usual()).await;
    let (id, text) = (key.public().id().to_owned(), claims().to_string());
    let good = signed(&key, &claims());
    assert!(judge(&issuers, &good).await.is_ok());

    let unsigned = |header: Value| {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(&text));
        format!("{signed}.")
    };
    let public = key.public().to_jwk().to_string();
    let hmac = |algorithm: &str| {
        let header = json!({"alg": algorithm, "kid": id}).to_string();
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(&text));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, public.as_bytes()), signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
    };
    let (signed_part, _) = good.rsplit_once('.').unwrap();
    let duplicate = text.replacen('{', r#"{"sub":"admin","#, 1);
    let duplicate_issuer = text.replacen('{', r#"{"iss":"https://evil.example.com","#, 1);
    let rows: Vec<(&str, String)> = vec![
        ("alg none", unsigned(json!({"alg": "none"}))),
        ("alg none with the key's id", unsigned(json!({"alg": "None", "kid": id}))),
        ("HS256 with the public key", hmac("HS256")),
        ("RS256 that is an HMAC", hmac("RS256")),
        ("another key under this key's id", signed_as(&other, json!({"alg": "RS256", "kid": id}), &text)),
        (
            "a key that the header brings",
            signed_as(&other, json!({"alg": "RS256", "jwk": other.public().to_jwk()}), &text),
        ),
        (
            "a place of keys that the header names",
            signed_as(&other, json!({"alg": "RS256", "kid": "x", "jku": "https://evil.example.com"}), &text),
        ),
        ("an algorithm of another family", signed_as(&key, json!({"alg": "ES256", "kid": id}), &text)),
        ("critical extensions", signed_as(&key, json!({"alg": "RS256", "kid": id, "crit": ["exp"]}), &text)),
        ("duplicate claims", signed_as(&key, json!({"alg": "RS256", "kid": id}), &duplicate)),
        ("duplicate issuer", signed_as(&key, json!({"alg": "RS256", "kid": id}), &duplicate_issuer)),
        ("no signature", format!("{signed_part}.")),
        ("no signature part", signed_part.to_owned()),
        ("other claims", good.replacen(&URL_SAFE_NO_PAD.encode(&text), &URL_SAFE_NO_PAD.encode(&duplicate), 1)),
        ("not a token", "abc".to_owned()),
        ("empty", String::new()),
        ("three empty parts", "..".to_owned()),
    ];
    for (what, token) in rows {
        assert!(judge(&issuers, &token).await.is_err(), "{what}");
    }
    // A key's id only chooses: without one the trusted keys are tried.
    assert!(judge(&issuers, &signed_as(&key, json!({"alg": "RS256"}), &text)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn only_the_algorithms_of_the_flags_are_taken() {
    let (web, key) = (Web::default(), key());
    web.publish(&[&key]);
    let flags = |algorithm: &str| OidcFlagsOf(algorithm).configuration();
    let token = signed(&key, &claims());
    assert!(judge(&*started(&web, &flags("RS256")).await, &token).await.is_ok());
    assert!(judge(&*started(&web, &flags("ES256")).await, &token).await.unwrap_err().contains("not accepted"));
}

struct OidcFlagsOf<'a>(&'a str);

impl OidcFlagsOf<'_> {
    fn configuration(&self) -> AuthenticationConfiguration {
        let flags = super::super::configuration::OidcFlags {
            issuer_url: ISSUER.to_owned(),
            client_id: "kubernetes".to_owned(),
            username_claim: "sub".to_owned(),
            signing_algs: vec![self.0.to_owned()],
            ..Default::default()
        };
        AuthenticationConfiguration::from_flags(flags, &[]).unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_must_be_the_users() {
    let (web, key) = (Web::default(), key());
    web.publish(&[&key]);
    let configuration = configuration(json!({"username": {"claim": "email", "prefix": ""}}), json!([]));
    let issuers = started(&web, &configuration).await;
    for (changes, expected) in [
        (json!({"email": "a@example.com", "email_verified": true}), true),
        (json!({"email": "a@example.com"}), true),
        (json!({"email": "a@example.com", "email_verified": false}), false),
        (json!({"email": "a@example.com", "email_verified": "true"}), false),
        (json!({"email_verified": true}), false),
    ] {
        let judged = judge(&issuers, &signed(&key, &with(changes.clone()))).await;
        assert_eq!(judged.is_ok(), expected, "{changes}");
    }
}

#[tokio::test(start_paused = true)]
async fn before_the_keys_are_there_a_token_is_refused_at_once() {
    let (web, key) = (Web::default(), key());
    web.hangs.store(true, Ordering::Relaxed);
    let issuers = started(&web, &usual()).await;
    let token = signed(&key, &claims());
    let TokenVerdict::Refused(reason) = issuers.judge(&token, NOW) else { panic!("not refused") };
    assert!(reason.contains("could not be fetched yet"), "{reason}");
    // The attempt that hangs is given up, and the next one finds the keys.
    web.hangs.store(false, Ordering::Relaxed);
    web.publish(&[&key]);
    tokio::time::sleep(Duration::from_secs(21)).await;
    assert!(judge(&issuers, &token).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_unknown_key_is_asked_for_once_in_a_while() {
    let (web, old, new) = (Web::default(), key(), key());
    web.publish(&[&old]);
    let issuers = started(&web, &usual()).await;
    assert_eq!(web.fetches(), 2);
    let (of_old, of_new) = (signed(&old, &claims()), signed(&new, &claims()));
    // Just fetched: it would not help, so nobody waits.
    assert!(judge(&issuers, &of_new).await.is_err());
    assert_eq!(web.fetches(), 2);
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(web.fetches(), 2);
    web.put_keys(&[&new]);
    let both = [judge(&issuers, &of_new), judge(&issuers, &of_new)];
    let [first, second] = both.map(Box::pin);
    let (first, second) = tokio::join!(first, second);
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(web.fetches(), 4, "one fetch for both: a discovery document and a JWKS");
    assert!(judge(&issuers, &of_old).await.is_err(), "a key that was withdrawn verifies nothing");
    assert_eq!(web.fetches(), 4);
    // A known key's id with a bad signature is no reason to ask.
    tokio::time::sleep(Duration::from_secs(11)).await;
    let forged = signed_as(&old, json!({"alg": "RS256", "kid": new.public().id()}), &claims().to_string());
    assert!(judge(&issuers, &forged).await.is_err());
    assert_eq!(web.fetches(), 4);
    // Nonsense at any rate costs one fetch in ten seconds.
    for _ in 0..50 {
        assert!(judge(&issuers, &of_old).await.is_err());
    }
    assert_eq!(web.fetches(), 6);
}

#[tokio::test(start_paused = true)]
async fn the_last_good_keys_stay() {
    let (web, key, unknown) = (Web::default(), key(), key());
    web.publish(&[&key]);
    let issuers = started(&web, &usual()).await;
    let (token, of_unknown) = (signed(&key, &claims()), signed(&unknown, &claims()));
    let discovery = format!("{ISSUER}/.well-known/openid-configuration");
    let documents: Vec<(&str, Option<String>)> = vec![
        ("not there", None),
        ("no JSON", Some("<html>".to_owned())),
        ("a list", Some("[]".to_owned())),
        (
            "another issuer",
            Some(json!({"issuer": "https://evil.example.com", "jwks_uri": format!("{ISSUER}/keys")}).to_string()),
        ),
        (
            "an issuer with a slash",
            Some(json!({"issuer": format!("{ISSUER}/"), "jwks_uri": format!("{ISSUER}/keys")}).to_string()),
        ),
        ("plain HTTP", Some(json!({"issuer": ISSUER, "jwks_uri": "http://issuer.example.com/keys"}).to_string())),
        ("no JWKS", Some(json!({"issuer": ISSUER}).to_string())),
        ("two issuers", Some(format!(r#"{{"issuer":"x","issuer":"{ISSUER}","jwks_uri":"{ISSUER}/keys"}}"#))),
        (
            "too long",
            Some(format!("{}{}", json!({"issuer": ISSUER, "jwks_uri": format!("{ISSUER}/keys")}), " ".repeat(1 << 20))),
        ),
    ];
    for (what, document) in documents {
        tokio::time::sleep(Duration::from_secs(11)).await;
        let before = web.fetches();
        web.put_keys(&[&unknown]);
        match document {
            None => web.remove(&discovery),
            Some(document) => web.put(&discovery, document),
        }
        assert!(judge(&issuers, &of_unknown).await.is_err(), "{what}");
        assert!(web.fetches() > before, "{what}");
        assert!(judge(&issuers, &token).await.is_ok(), "{what}");
    }
    for (what, keys) in [
        ("no keys", json!({"keys": []})),
        ("no list", json!({"keys": {}})),
        ("too many", json!({"keys": vec![unknown.public().to_jwk(); 200]})),
        ("for encryption", {
            let mut jwk = unknown.public().to_jwk();
            jwk["use"] = json!("enc");
            json!({"keys": [jwk]})
        }),
        ("symmetric", json!({"keys": [{"kty": "oct", "k": "AAAA", "kid": unknown.public().id()}]})),
    ] {
        tokio::time::sleep(Duration::from_secs(11)).await;
        web.publish(&[]);
        web.put(&format!("{ISSUER}/keys"), keys);
        assert!(judge(&issuers, &of_unknown).await.is_err(), "{what}");
        assert!(judge(&issuers, &token).await.is_ok(), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn issuers_are_replaced_as_a_whole() {
    let (web, key) = (Web::default(), key());
    web.publish(&[&key]);
    let issuers = started(&web, &usual()).await;
    let token = signed(&key, &claims());
    assert!(judge(&issuers, &token).await.is_ok());
    let fetches = web.fetches();
    // Another mapping of the same issuer: its keys are kept, so there is no gap.
    let renamed = configuration(json!({"username": {"claim": "sub", "prefix": "new:"}}), json!([]));
    issuers.replace(&renamed).unwrap();
    assert_eq!(judge(&issuers, &token).await.unwrap().name, "new:ana");
    assert_eq!(web.fetches(), fetches);
    // One that can not be dialled changes nothing.
    let mut bad = renamed.clone();
    bad.jwt[0].issuer.certificate_authority = "x".to_owned();
    assert!(issuers.replace(&bad).is_err());
    assert_eq!(judge(&issuers, &token).await.unwrap().name, "new:ana");
    issuers.replace(&AuthenticationConfiguration::default()).unwrap();
    assert_eq!(judge(&issuers, &token).await.unwrap_err(), "unknown");
}

#[tokio::test(start_paused = true)]
async fn a27_no_foreign_issuer_names_a_system_user_or_group() {
    let (web, key) = (Web::default(), key());
    web.publish(&[&key]);
    let unprefixed = |prefix: &str| {
        let claim = |name: &str| json!({"claim": name, "prefix": prefix});
        configuration(json!({"username": claim("sub"), "groups": claim("groups")}), json!([]))
    };
    let refused = "which only this cluster's own may have";
    let check = async |names: SystemNames, prefix: &str, change: Value, expected: Result<&str, &str>| {
        let issuers = Arc::new(JwtIssuers::new(Box::new(web.clone())).with_system_names(names));
        issuers.replace(&unprefixed(prefix)).unwrap();
        settle().await;
        let judged = judge(&issuers, &signed(&key, &with(change.clone()))).await;
        match (judged, expected) {
            (Ok(identity), Ok(name)) => assert_eq!(identity.name, name, "{change}"),
            (Err(error), Err(part)) => assert!(error.contains(part), "{change}: {error}"),
            (judged, _) => panic!("{names:?} {prefix:?} {change}: {judged:?}"),
        }
    };
    let masters = || json!({"groups": ["dev", "system:masters"]});
    let robot = || json!({"sub": "system:serviceaccount:kube-system:robot"});
    for change in [masters(), robot(), json!({"sub": "system:node:n1", "groups": ["system:nodes"]})] {
        check(SystemNames::default(), "", change, Err(refused)).await;
    }
    check(SystemNames::Refused, "", json!({"groups": "system:masters"}), Err(refused)).await;
    check(SystemNames::Refused, "system:", json!({}), Err(refused)).await;
    check(SystemNames::Refused, "oidc:", masters(), Ok("oidc:ana")).await;
    check(SystemNames::Refused, "", json!({"groups": ["system:authenticated", "a:system:b"]}), Ok("ana")).await;
    check(SystemNames::Taken, "", masters(), Ok("ana")).await;
    check(SystemNames::Taken, "", robot(), Ok("system:serviceaccount:kube-system:robot")).await;
}

#[tokio::test(start_paused = true)]
async fn only_so_many_strangers_wait_for_new_keys() {
    let (web, key, other) = (Web::default(), key(), key());
    web.publish(&[&key]);
    let issuers = started(&web, &usual()).await;
    tokio::time::sleep(Duration::from_secs(11)).await;
    web.hangs.store(true, Ordering::Relaxed);
    let token = signed(&other, &claims());
    let mut waiting: Vec<_> = (0..WAITING_MAX).map(|_| issuers.judge(&token, NOW)).collect();
    assert!(waiting.iter().all(|verdict| matches!(verdict, TokenVerdict::Later(_))));
    assert!(matches!(issuers.judge(&token, NOW), TokenVerdict::Refused(_)));
    waiting.pop();
    assert!(matches!(issuers.judge(&token, NOW), TokenVerdict::Later(_)));
    // Who has a good token does not wait.
    assert!(matches!(issuers.judge(&signed(&key, &claims()), NOW), TokenVerdict::Known(_)));
}
