#![allow(clippy::unwrap_used)]

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rsa::{KeyPair as RsaPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
};
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::*;

fn pem(pkcs8: &[u8]) -> String {
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(pkcs8))
}

fn ec(algorithm: &'static EcdsaSigningAlgorithm) -> SigningKey {
    let pair = EcdsaKeyPair::generate(algorithm).unwrap();
    SigningKey::from_pem(pem(pair.to_pkcs8v1().unwrap().as_ref()).as_bytes()).unwrap()
}

fn rsa() -> SigningKey {
    let pkcs8: Pkcs8V1Der<'_> = RsaPair::generate(KeySize::Rsa2048).unwrap().as_der().unwrap();
    SigningKey::from_pem(pem(pkcs8.as_ref()).as_bytes()).unwrap()
}

fn set(keys: &[&SigningKey]) -> KeySet {
    KeySet::of_service_accounts(keys.iter().map(|key| key.public().clone()))
}

fn with_header(key: &SigningKey, header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = key.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn judged(token: &str, keys: &KeySet) -> Result<Value, JwsError> {
    verify(token, keys, &Algorithm::ALL)
}

#[test]
fn what_was_signed_is_verified() {
    for key in [rsa(), ec(&ECDSA_P256_SHA256_FIXED_SIGNING), ec(&ECDSA_P384_SHA384_FIXED_SIGNING)] {
        let token = sign(&key, br#"{"iss":"me","n":1}"#).unwrap();
        let other = ec(&ECDSA_P256_SHA256_FIXED_SIGNING);
        assert_eq!(judged(&token, &set(&[&other, &key])).unwrap(), json!({"iss": "me", "n": 1}));
        assert_eq!(judged(&token, &set(&[&other])), Err(JwsError::NoSuchKey));
        assert_eq!(judged(&token, &KeySet::default()), Err(JwsError::NoSuchKey));
        assert_eq!(verify(&token, &set(&[&key]), &[Algorithm::Ps512]), Err(JwsError::AlgorithmRefused));
        let parsed = Unverified::parse(&token).unwrap();
        assert_eq!((parsed.claimed_issuer(), parsed.key_id()), (Some("me"), key.public().id()));
    }
}

#[test]
fn jwt_alg_none_is_refused() {
    let key = ec(&ECDSA_P256_SHA256_FIXED_SIGNING);
    let keys = set(&[&key]);
    let claims = URL_SAFE_NO_PAD.encode("{}");
    for algorithm in ["none", "None", "NONE", "", "nOnE", "unknown", "es256", "HS256", "EdDSA", "ES256K"] {
        let header = URL_SAFE_NO_PAD.encode(json!({"alg": algorithm}).to_string());
        for signature in ["", "AA", &URL_SAFE_NO_PAD.encode([0; 64])] {
            let token = format!("{header}.{claims}.{signature}");
            assert_eq!(judged(&token, &keys), Err(JwsError::AlgorithmRefused), "{algorithm} {signature}");
        }
        let signed = with_header(&key, &json!({"alg": algorithm}).to_string(), "{}");
        assert_eq!(judged(&signed, &keys), Err(JwsError::AlgorithmRefused), "{algorithm}");
    }
    assert_eq!(judged(&with_header(&key, "{}", "{}"), &keys), Err(JwsError::AlgorithmRefused));
    assert!(judged(&with_header(&key, r#"{"alg":["ES256"]}"#, "{}"), &keys).is_err());
}

#[test]
fn jwt_hs256_with_the_public_key_as_secret_is_refused() {
    for key in [rsa(), ec(&ECDSA_P256_SHA256_FIXED_SIGNING)] {
        let jwk = key.public().to_jwk().to_string();
        for secret in [jwk.as_bytes(), key.public().id().as_bytes(), b""] {
            for (name, algorithm) in
                [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)]
            {
                let signed = format!(
                    "{}.{}",
                    URL_SAFE_NO_PAD.encode(json!({"alg": name}).to_string()),
                    URL_SAFE_NO_PAD.encode("{}")
                );
                let tag = hmac::sign(&hmac::Key::new(algorithm, secret), signed.as_bytes());
                let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag));
                assert_eq!(judged(&token, &set(&[&key])), Err(JwsError::AlgorithmRefused), "{name}");
            }
        }
    }
}

#[test]
fn jwt_alg_of_another_key_type_is_refused() {
    let (rsa, ec) = (rsa(), ec(&ECDSA_P256_SHA256_FIXED_SIGNING));
    let check = |key: &SigningKey, algorithm: &str| {
        let token = with_header(key, &json!({"alg": algorithm}).to_string(), "{}");
        assert_eq!(judged(&token, &set(&[&rsa, &ec])), Err(JwsError::BadSignature), "{algorithm}");
    };
    for algorithm in ["RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"] {
        check(&rsa, algorithm);
    }
    for algorithm in ["RS256", "RS384", "RS512", "PS256", "ES384", "ES512"] {
        check(&ec, algorithm);
    }
}

#[test]
fn jwt_kid_tricks_never_skip_verification() {
    let (key, other) = (ec(&ECDSA_P256_SHA256_FIXED_SIGNING), ec(&ECDSA_P256_SHA256_FIXED_SIGNING));
    let trusted = set(&[&key]);
    let header = |kid: &str| json!({"alg": "ES256", "kid": kid}).to_string();
    let check = |what: &str, token: String, expected: Option<JwsError>| {
        assert_eq!(judged(&token, &trusted).err(), expected, "{what}");
    };
    let own = key.public().id();
    check("the right id", with_header(&key, &header(own), "{}"), None);
    check("no id", with_header(&key, r#"{"alg":"ES256"}"#, "{}"), None);
    check("an empty id", with_header(&key, &header(""), "{}"), None);
    check(
        "another's signature under a known id",
        with_header(&other, &header(own), "{}"),
        Some(JwsError::BadSignature),
    );
    check(
        "another's signature without an id",
        with_header(&other, r#"{"alg":"ES256"}"#, "{}"),
        Some(JwsError::BadSignature),
    );
    for id in [other.public().id(), "x", "../../dev/null", "' OR 1=1", "\0"] {
        check(id, with_header(&key, &header(id), "{}"), Some(JwsError::NoSuchKey));
        check(id, with_header(&other, &header(id), "{}"), Some(JwsError::NoSuchKey));
    }
    check(
        "an id that is no text",
        with_header(&key, r#"{"alg":"ES256","kid":1}"#, "{}"),
        Some(JwsError::Unreadable { part: "header" }),
    );
    let brought = json!({"alg": "ES256", "jwk": other.public().to_jwk(), "jku": "https://evil.example/jwks", "x5u": "https://evil.example"});
    check("keys that the token brings", with_header(&other, &brought.to_string(), "{}"), Some(JwsError::BadSignature));
}

#[test]
fn jwt_keys_of_an_issuer_hold_to_their_names_and_algorithms() {
    let (key, rsa) = (ec(&ECDSA_P256_SHA256_FIXED_SIGNING), rsa());
    let named = |key: &SigningKey, id: Option<&str>, algorithm| NamedKey {
        id: id.map(str::to_owned),
        algorithm,
        key: key.public().clone(),
    };
    let token = |key: &SigningKey, kid: &str| {
        with_header(key, &json!({"alg": key.public().algorithm().name(), "kid": kid}).to_string(), "{}")
    };
    let check = |keys: Vec<NamedKey>, token: String, good: bool| {
        assert_eq!(judged(&token, &KeySet::new(keys)).is_ok(), good, "{token}");
    };
    check(vec![named(&key, None, None)], token(&key, "any"), true);
    check(vec![named(&key, Some("a"), None)], token(&key, "b"), false);
    check(vec![named(&rsa, Some("a"), None), named(&key, Some("a"), None)], token(&key, "a"), true);
    check(vec![named(&rsa, Some("a"), Some(Algorithm::Rs512))], token(&rsa, "a"), false);
    check(vec![named(&rsa, Some("a"), Some(Algorithm::Rs256))], token(&rsa, "a"), true);
    assert!(KeySet::new(vec![named(&key, Some("a"), None)]).has("a"));
    assert!(!KeySet::new(vec![named(&key, Some("a"), None)]).has("b"));
}

#[test]
fn jwt_duplicate_members_are_refused() {
    let key = ec(&ECDSA_P256_SHA256_FIXED_SIGNING);
    let keys = set(&[&key]);
    let check = |header: &str, claims: &str, part: &'static str| {
        assert_eq!(
            judged(&with_header(&key, header, claims), &keys),
            Err(JwsError::Unreadable { part }),
            "{header} {claims}"
        );
    };
    check(r#"{"alg":"ES256","alg":"ES256"}"#, "{}", "header");
    check(r#"{"alg":"none","alg":"ES256"}"#, "{}", "header");
    check(r#"{"alg":"ES256","\u0061lg":"none"}"#, "{}", "header");
    check(r#"{"alg":"ES256"}"#, r#"{"sub":"a","sub":"b"}"#, "claims");
    check(r#"{"alg":"ES256"}"#, r#"{"kubernetes.io":{"namespace":"a","namespace":"b"}}"#, "claims");
    check(r#"{"alg":"ES256"}"#, "[]", "claims");
    check(r#"{"alg":"ES256"}"#, "null", "claims");
    check(r#"{"alg":"ES256"}"#, "{} {}", "claims");
    check("[]", "{}", "header");
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(100), "]".repeat(100));
    check(r#"{"alg":"ES256"}"#, &deep, "claims");
}

#[test]
fn jwt_critical_extensions_are_refused() {
    let key = ec(&ECDSA_P256_SHA256_FIXED_SIGNING);
    for critical in [json!(["exp"]), json!([]), json!(["b64"]), Value::Null, json!("x")] {
        let header = json!({"alg": "ES256", "crit": critical, "b64": false}).to_string();
        assert_eq!(
            judged(&with_header(&key, &header, "{}"), &set(&[&key])),
            Err(JwsError::CriticalExtension),
            "{header}"
        );
    }
}

#[test]
fn what_is_no_compact_token_is_refused() {
    let key = ec(&ECDSA_P256_SHA256_FIXED_SIGNING);
    let keys = set(&[&key]);
    let good = sign(&key, b"{}").unwrap();
    assert!(judged(&good, &keys).is_ok());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let check = |token: &str| assert!(judged(token, &keys).is_err(), "{token}");
    for token in ["", ".", "..", "...", "a", "a.b", "a.b.c", "not-a-token", "{}", "e30.e30.", "\u{e9}.\u{e9}.\u{e9}"] {
        check(token);
    }
    check(signed);
    check(&format!("{signed}."));
    check(&format!("{good}."));
    check(&format!(".{good}"));
    check(&format!("{good}.{signature}"));
    check(&format!("{good}=="));
    check(&format!("{good} "));
    check(&format!(" {good}"));
    check(&format!("{signed}.{}", signature.to_uppercase()));
    check(&format!("{signed}.{}", URL_SAFE_NO_PAD.encode([0; 64])));
    check(&format!("{signed}.{}", URL_SAFE_NO_PAD.encode([0xff; 64])));
    check(&json!({"protected": "e30", "payload": "e30", "signature": signature}).to_string());
    let long = with_header(&key, r#"{"alg":"ES256"}"#, &json!({"a": "x".repeat(TOKEN_LEN_MAX)}).to_string());
    assert_eq!(judged(&long, &keys), Err(JwsError::Malformed("too long")));
    let header = json!({"alg": "ES256", "x": "x".repeat(HEADER_LEN_MAX)}).to_string();
    assert_eq!(judged(&with_header(&key, &header, "{}"), &keys), Err(JwsError::Malformed("its header is too long")));
}

/// The next number of a xorshift generator: enough to choose places, and the same in each run.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn no_token_of_mutated_bytes_passes() {
    let key = ec(&ECDSA_P256_SHA256_FIXED_SIGNING);
    let keys = set(&[&key]);
    let good = sign(&key, br#"{"iss":"me","sub":"system:serviceaccount:a:b","exp":4102444800}"#).unwrap();
    let expected = judged(&good, &keys).unwrap();
    // Every place with every letter of the alphabet, and a few that are not of it.
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ ";
    for place in 0..good.len() {
        let mut bytes = good.clone().into_bytes();
        let letter = letters[(place * 7) % letters.len()];
        if bytes[place] == letter {
            continue;
        }
        bytes[place] = letter;
        let token = String::from_utf8(bytes).unwrap();
        assert!(judged(&token, &keys).is_err(), "place {place}: {token}");
    }
    let seed = 0x5eed_0b1e_c7ed_0001;
    let mut state = seed;
    for round in 0..2_000 {
        let mut bytes = good.clone().into_bytes();
        for _ in 0..1 + next(&mut state) % 3 {
            let place = next(&mut state) as usize % bytes.len();
            match next(&mut state) % 3 {
                0 => bytes[place] = letters[next(&mut state) as usize % letters.len()],
                1 => drop(bytes.remove(place)),
                _ => bytes.insert(place, letters[next(&mut state) as usize % letters.len()]),
            }
        }
        let token = String::from_utf8(bytes).unwrap();
        if token == good {
            continue;
        }
        assert!(judged(&token, &keys).is_err(), "seed {seed:#x} round {round}: {token}");
    }
    assert_eq!(judged(&good, &keys).unwrap(), expected);
}
