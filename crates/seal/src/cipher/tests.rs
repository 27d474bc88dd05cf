//! Each algorithm against another implementation's bytes, and against damage.

#![allow(clippy::unwrap_used)]

use super::*;

const SEALED: &str = include_str!("../../fixtures/sealed.txt");

/// A line of the fixtures.
pub(crate) struct Fixture {
    pub(crate) format: &'static str,
    pub(crate) key: Vec<u8>,
    pub(crate) place: &'static str,
    pub(crate) plain: Vec<u8>,
    pub(crate) stored: Vec<u8>,
}

/// The values that another implementation sealed.
pub(crate) fn fixtures() -> Vec<Fixture> {
    let lines = SEALED.lines().filter(|line| !line.starts_with('#'));
    let fixtures: Vec<_> = lines.map(fixture).collect();
    assert_eq!(fixtures.len(), 33);
    fixtures
}

fn fixture(line: &'static str) -> Fixture {
    let [format, key, place, plain, stored] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
    Fixture { format, key: hex(key), place, plain: hex(plain), stored: hex(stored) }
}

fn hex(text: &str) -> Vec<u8> {
    if text == "-" {
        return Vec::new();
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// The cipher of a format, and the length of its prefix in the fixtures.
fn cipher(format: &str, key: &[u8]) -> Option<Cipher> {
    match format {
        "aesgcm" => AesGcm::new(key).map(Cipher::AesGcm),
        "aescbc" => AesCbc::new(key).map(|cipher| Cipher::AesCbc(Box::new(cipher))),
        "secretbox" => Secretbox::new(key).map(Cipher::Secretbox),
        _ => None,
    }
}

#[test]
fn what_another_implementation_sealed_is_opened() {
    let mut opened = 0;
    for Fixture { format, key, place, plain, stored } in fixtures() {
        let Some(cipher) = cipher(format, &key) else { continue };
        let sealed = stored.strip_prefix(format!("k8s:enc:{format}:v1:key1:").as_bytes()).unwrap();
        assert_eq!(cipher.open(place.as_bytes(), sealed), Ok(plain), "{format}");
        opened += 1;
    }
    assert_eq!(opened, 21);
}

#[test]
fn what_is_sealed_is_opened_and_never_twice_the_same() {
    for format in ["aesgcm", "aescbc", "secretbox"] {
        for key_len in if format == "secretbox" { &[32][..] } else { &[16, 24, 32] } {
            let cipher = cipher(format, &vec![7; *key_len]).unwrap();
            for len in [0, 1, 15, 16, 17, 31, 32, 33, 1000, 1 << 20] {
                let plain = vec![0x5a; len];
                let seal = || {
                    let mut out = b"before".to_vec();
                    cipher.seal(b"/a", &plain, &mut out).unwrap();
                    out.strip_prefix(b"before").unwrap().to_vec()
                };
                let (one, two) = (seal(), seal());
                assert_ne!(one, two, "{format} {len}");
                assert!(one.len() <= len + OVERHEAD_MAX, "{format} {len}");
                assert_eq!(cipher.open(b"/a", &one).unwrap(), plain, "{format} {len}");
                assert_eq!(cipher.open(b"/a", &two).unwrap(), plain, "{format} {len}");
            }
        }
    }
}

#[test]
fn keys_of_other_lengths_are_none() {
    for len in 0..80 {
        let key = vec![1; len];
        let is_aes = [16, 24, 32].contains(&len);
        assert_eq!(cipher("aesgcm", &key).is_some(), is_aes, "{len}");
        assert_eq!(cipher("aescbc", &key).is_some(), is_aes, "{len}");
        assert_eq!(cipher("secretbox", &key).is_some(), len == 32, "{len}");
        assert_eq!(ExtendedNonce::new(&key).is_some(), len >= SEED_LEN, "{len}");
    }
}

/// Every bit of what is authenticated, and every length.
#[test]
fn what_was_changed_or_cut_is_refused() {
    let plain = b"a value of some length, with more than one block";
    let seed = ExtendedNonce::new(&[3; 32]).unwrap();
    let gcm = cipher("aesgcm", &[3; 32]).unwrap();
    let secretbox = cipher("secretbox", &[3; 32]).unwrap();
    type Open<'a> = Box<dyn Fn(&[u8], &[u8]) -> Result<Vec<u8>, CipherError> + 'a>;
    let sealed = |seal: &dyn Fn(&mut Vec<u8>) -> Result<(), CipherError>| {
        let mut out = Vec::new();
        seal(&mut out).unwrap();
        out
    };
    let cases: [(&str, Vec<u8>, Open<'_>, bool); 3] = [
        ("aesgcm", sealed(&|out| gcm.seal(b"/a", plain, out)), Box::new(|at, data| gcm.open(at, data)), true),
        ("seed", sealed(&|out| seed.seal(b"/a", plain, out)), Box::new(|at, data| seed.open(at, data)), true),
        (
            "secretbox",
            sealed(&|out| secretbox.seal(b"/a", plain, out)),
            Box::new(|at, data| secretbox.open(at, data)),
            false,
        ),
    ];
    for (name, sealed, open, is_bound) in cases {
        assert_eq!(open(b"/a", &sealed).unwrap(), plain, "{name}");
        assert_eq!(open(b"/b", &sealed).is_err(), is_bound, "{name}: moved");
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(b"/a", &changed), Err(CipherError::NotAuthentic), "{name}: bit {bit}");
        }
        for len in 0..sealed.len() {
            assert!(open(b"/a", &sealed[..len]).is_err(), "{name}: {len} bytes");
        }
        let mut longer = sealed.clone();
        longer.push(0);
        assert_eq!(open(b"/a", &longer), Err(CipherError::NotAuthentic), "{name}: longer");
    }
}

/// aescbc is not authenticated: what it can notice is a broken padding.
#[test]
fn cbc_refuses_what_can_not_be_its() {
    let cbc = cipher("aescbc", &[9; 32]).unwrap();
    let mut sealed = Vec::new();
    cbc.seal(b"", b"0123456789abcdef", &mut sealed).unwrap();
    assert_eq!(sealed.len(), 48);
    let check = |len: usize, expected: CipherError| assert_eq!(cbc.open(b"", &sealed[..len]), Err(expected), "{len}");
    for len in 0..=16 {
        check(len, CipherError::TooShort);
    }
    for len in (17..48).filter(|len| len % 16 != 0) {
        check(len, CipherError::NotAuthentic);
    }
    // Without its last block the rest ends in no padding.
    check(32, CipherError::NotAuthentic);
    // By luck one wrong key in 256 makes a padding; none of the fixtures' does.
    for Fixture { format, key, stored, .. } in fixtures().into_iter().filter(|fixture| fixture.format == "aescbc") {
        let sealed = stored.strip_prefix(b"k8s:enc:aescbc:v1:key1:").unwrap();
        let wrong = cipher(format, &vec![5; key.len()]).unwrap();
        assert_eq!(wrong.open(b"", sealed), Err(CipherError::NotAuthentic));
    }
}
