#![allow(clippy::unwrap_used)]

use aws_lc_rs::encoding::{EcPrivateKeyRfc5915Der, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair as RsaPair, KeySize};
use base64::engine::general_purpose::STANDARD;

use super::*;

fn pem(label: &str, der: &[u8]) -> String {
    let lines: Vec<String> =
        STANDARD.encode(der).as_bytes().chunks(64).map(|line| String::from_utf8(line.to_vec()).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn ec_pem(curve: Curve) -> (String, String) {
    let pair = EcdsaKeyPair::generate(curve.signing()).unwrap();
    let sec1: EcPrivateKeyRfc5915Der<'_> = pair.private_key().as_der().unwrap();
    (pem("PRIVATE KEY", pair.to_pkcs8v1().unwrap().as_ref()), pem("EC PRIVATE KEY", sec1.as_ref()))
}

/// A key of 2048 bits in PKCS#8 and, inside of that, in PKCS#1.
fn rsa_pem() -> (String, String) {
    let pair = RsaPair::generate(KeySize::Rsa2048).unwrap();
    let pkcs8: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let pkcs8 = pkcs8.as_ref().to_vec();
    // Version, algorithm and the head of the octet string of this size.
    let pkcs1 = pkcs8[26..].to_vec();
    (pem("PRIVATE KEY", &pkcs8), pem("RSA PRIVATE KEY", &pkcs1))
}

#[test]
fn every_form_of_a_private_key_is_the_same_key() {
    let check = |name: &str, (pkcs8, other): (String, String)| {
        let (first, second) =
            (SigningKey::from_pem(pkcs8.as_bytes()).unwrap(), SigningKey::from_pem(other.as_bytes()).unwrap());
        assert!(first.public() == second.public(), "{name}");
        let public = first.public().clone();
        for text in [pkcs8, other, pem("PUBLIC KEY", &public.spki)] {
            assert!(PublicKey::all_from_pem(text.as_bytes()).unwrap() == [public.clone()], "{name}");
        }
        let signature = second.sign(b"message").unwrap();
        assert!(public.verifies(public.algorithm(), b"message", &signature), "{name}");
        assert!(!public.verifies(public.algorithm(), b"massage", &signature), "{name}");
        assert!(PublicKey::from_jwk(&public.to_jwk()).unwrap() == public, "{name}");
        assert_eq!(public.id().len(), 43, "{name}");
        for algorithm in Algorithm::ALL {
            let fits = public.algorithm() == algorithm || public.algorithm().is_rsa() && algorithm.is_rsa();
            assert_eq!(public.fits(algorithm), fits, "{name} {algorithm:?}");
        }
    };
    check("P-256", ec_pem(Curve::P256));
    check("P-384", ec_pem(Curve::P384));
    check("P-521", ec_pem(Curve::P521));
    check("RSA", rsa_pem());
}

/// The key id is that of RFC-independent parts only: it is checked against the hash of the X.509 form, made here by hand.
#[test]
fn a_key_id_is_the_hash_of_the_x509_form() {
    let key = SigningKey::from_pem(ec_pem(Curve::P256).0.as_bytes()).unwrap();
    let Material::Ec { point, .. } = &key.public.material else { panic!("not on a curve") };
    // SEQUENCE { SEQUENCE { ecPublicKey, prime256v1 }, BIT STRING }
    let mut spki = vec![0x30, 0x59, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
    spki.extend([6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7, 3, 0x42, 0]);
    spki.extend(point);
    assert_eq!(spki, key.public.spki);
    assert_eq!(key.public.id(), URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, &spki)));
}

#[test]
fn a_file_gives_each_of_its_keys_once() {
    let (first, first_again) = ec_pem(Curve::P256);
    let (second, _) = ec_pem(Curve::P384);
    let file = format!("a comment\n{first}{second}\n{first_again}");
    let keys = PublicKey::all_from_pem(file.as_bytes()).unwrap();
    assert_eq!(keys.iter().map(|key| key.algorithm().name()).collect::<Vec<_>>(), ["ES256", "ES384"]);
}

#[test]
fn what_is_no_key_is_refused() {
    let check = |text: &str| {
        assert!(PublicKey::all_from_pem(text.as_bytes()).is_err(), "{text}");
        assert!(SigningKey::from_pem(text.as_bytes()).is_err(), "{text}");
    };
    check("");
    check("text");
    check(&pem("PUBLIC KEY", b""));
    check(&pem("PUBLIC KEY", &[0x30, 0]));
    check(&pem("PRIVATE KEY", b"x"));
    check(&pem("EC PRIVATE KEY", b"x"));
    check(&pem("RSA PRIVATE KEY", b"x"));
    check(&pem("CERTIFICATE", b"x"));
    check("-----BEGIN PUBLIC KEY-----\n!!!!\n-----END PUBLIC KEY-----\n");
    check("-----BEGIN PUBLIC KEY-----\n");
}

#[test]
fn weak_and_broken_jwks_are_refused() {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let rsa = |n: &[u8], e: &[u8]| json!({"kty": "RSA", "n": encode(n), "e": encode(e)});
    let (good, _) = rsa_pem();
    let key = SigningKey::from_pem(good.as_bytes()).unwrap();
    let Material::Rsa { modulus, .. } = &key.public.material else { panic!("no RSA key") };
    let ec = SigningKey::from_pem(ec_pem(Curve::P256).0.as_bytes()).unwrap().public.to_jwk();
    let edit = |name: &str, value: Value| {
        let mut jwk = ec.clone();
        jwk[name] = value;
        jwk
    };
    let check = |what: &str, jwk: Value| assert!(PublicKey::from_jwk(&jwk).is_err(), "{what}");
    assert!(PublicKey::from_jwk(&rsa(modulus, &[1, 0, 1])).is_ok());
    check("1024 bits", rsa(&[0xff; 128], &[1, 0, 1]));
    check("2047 bits", rsa(&[&[0x7f][..], &[0xff; 255]].concat(), &[1, 0, 1]));
    check("leading zeros do not count", rsa(&[&[0; 200][..], &[0xff; 128]].concat(), &[1, 0, 1]));
    check("too many bits", rsa(&[0xff; 1025], &[1, 0, 1]));
    check("an exponent of one", rsa(modulus, &[1]));
    check("an even exponent", rsa(modulus, &[1, 0, 0]));
    check("no exponent", json!({"kty": "RSA", "n": encode(modulus)}));
    check("a secret", json!({"kty": "oct", "k": "c2VjcmV0"}));
    check("no type", json!({}));
    check("no object", json!("RSA"));
    check("off the curve", edit("x", json!(encode(&[1; 32]))));
    check("a short coordinate", edit("y", json!(encode(&[1; 31]))));
    check("another curve", edit("crv", json!("P-384")));
    check("an unknown curve", edit("crv", json!("secp256k1")));
    check("Ed25519", json!({"kty": "OKP", "crv": "Ed25519", "x": encode(&[1; 32])}));
}

#[test]
fn a_certificate_verifies_with_its_key() {
    let pair = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["a".to_owned()]).unwrap().self_signed(&pair).unwrap();
    let expected = SigningKey::from_pem(pair.serialize_pem().as_bytes()).unwrap();
    // What comes beside it in a file is no key.
    let file = format!("{}{}", pem("EC PARAMETERS", &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7]), certificate.pem());
    assert!(PublicKey::all_from_pem(file.as_bytes()).unwrap() == [expected.public().clone()]);
    assert!(SigningKey::from_pem(file.as_bytes()).is_err());
}
