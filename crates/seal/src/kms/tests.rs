//! Envelopes, seeds and what is kept of them. The plugin itself is a process, in `tests/kms.rs`.

#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::cipher::tests::{Fixture, fixtures};

use super::envelope::{ANNOTATIONS_LEN_MAX, KEY_ID_LEN_MAX, SOURCE_LEN_MAX};
use super::wire::SOURCE_KEY;
use super::*;

const PREFIX: &[u8] = b"k8s:enc:kms:v2:cloud:";

fn kms() -> Kms {
    let settings = KmsSettings {
        name: "cloud".to_owned(),
        socket: "/nowhere/kms.sock".to_owned(),
        timeout: Duration::from_secs(3),
    };
    Kms::new(settings, Observer::default()).unwrap()
}

/// The envelope of a fixture, and its key kept as if the plugin had decrypted it.
fn known(kms: &Kms, key: &[u8], stored: &[u8]) -> EncryptedObject {
    let object = envelope::decode(stored.strip_prefix(PREFIX).unwrap()).unwrap();
    let key = SourceKey::new(object.encrypted_dek_source_type, key).unwrap();
    kms.deks.keep(name_of(&object), Arc::new(key), Instant::now());
    object
}

fn kms_fixtures() -> Vec<Fixture> {
    fixtures().into_iter().filter(|fixture| fixture.format.starts_with("kms")).collect()
}

#[tokio::test]
async fn what_another_implementation_sealed_is_opened() {
    let kms = kms();
    for Fixture { format, key, place, plain, stored } in kms_fixtures() {
        let envelope = stored.strip_prefix(PREFIX).unwrap();
        assert!(matches!(kms.open(place.as_bytes(), envelope), Err(OpenError::KeyNotHere { .. })), "{format}");
        known(&kms, &key, &stored);
        let is_old = format == "kms-key";
        assert_eq!(kms.open(place.as_bytes(), envelope).unwrap(), (plain, is_old), "{format}");
        assert!(matches!(kms.open(b"/other", envelope), Err(OpenError::Damaged { .. })), "{format}");
    }
    assert_eq!(kms.deks.len(), 12);
}

/// Encoding again what was decoded gives the same bytes: annotations are in the order of their names.
#[test]
fn envelopes_are_encoded_as_upstream_does() {
    for Fixture { stored, .. } in kms_fixtures() {
        let envelope = stored.strip_prefix(PREFIX).unwrap();
        assert_eq!(envelope::decode(envelope).unwrap().encode_to_vec(), envelope);
    }
}

fn object() -> EncryptedObject {
    EncryptedObject {
        encrypted_data: Bytes::from_static(b"data"),
        key_id: "key-1".to_owned(),
        encrypted_dek_source: Bytes::from_static(b"source"),
        annotations: BTreeMap::from([("a.example.com".to_owned(), b"one".to_vec())]),
        encrypted_dek_source_type: SOURCE_SEED,
    }
}

#[test]
fn envelopes_have_upstreams_limits() {
    let check = |change: &dyn Fn(&mut EncryptedObject), expected: Result<(), &str>| {
        let mut object = object();
        change(&mut object);
        let decoded = envelope::decode(&object.encode_to_vec()).map(|decoded| assert!(decoded == object));
        assert_eq!(decoded.map_err(|error| error.to_string()), expected.map_err(str::to_owned));
    };
    let annotation = |name: &'static str, len: usize| {
        move |object: &mut EncryptedObject| object.annotations = BTreeMap::from([(name.to_owned(), vec![0; len])])
    };
    check(&|_| {}, Ok(()));
    check(&|object| object.encrypted_dek_source_type = SOURCE_KEY, Ok(()));
    check(&|object| object.encrypted_dek_source_type = 2, Err("unknown encryptedDEKSourceType: 2"));
    check(&|object| object.encrypted_dek_source_type = -1, Err("unknown encryptedDEKSourceType: -1"));
    check(&|object| object.encrypted_data.clear(), Err("encrypted data is empty"));
    let source = "failed to validate encrypted DEK source: encrypted DEK source is";
    check(&|object| object.encrypted_dek_source.clear(), Err(&format!("{source} empty")));
    check(&|object| object.encrypted_dek_source = vec![0; SOURCE_LEN_MAX].into(), Ok(()));
    let large = format!("{source} 1025 bytes, which exceeds the max size of 1024");
    check(&|object| object.encrypted_dek_source = vec![0; 1025].into(), Err(&large));
    check(&|object| object.key_id.clear(), Err("failed to validate key id: keyID is empty"));
    check(&|object| object.key_id = "k".repeat(KEY_ID_LEN_MAX), Ok(()));
    let long = "failed to validate key id: keyID is 1025 bytes, which exceeds the max size of 1024";
    check(&|object| object.key_id = "k".repeat(1025), Err(long));
    check(&|object| object.annotations.clear(), Ok(()));
    check(&annotation("a.b", ANNOTATIONS_LEN_MAX - 3), Ok(()));
    let large =
        "failed to validate annotations: total size of annotations is 32769, which exceeds the max size of 32768";
    check(&annotation("a.b", ANNOTATIONS_LEN_MAX - 2), Err(large));
    check(&annotation("a.b.", 0), Ok(()));
    let name = |name: &'static str, why: &str| {
        let words = format!("failed to validate annotations: annotations: Invalid value: {name:?}: {why}");
        check(&annotation(name, 0), Err(&words));
    };
    name("nodomain", "should be a domain with at least two segments separated by dots");
    for bad in ["", "A.b", "a..b", ".", "a_b.c", "-a.b"] {
        assert!(
            envelope::check_parts(b"source", "key", &BTreeMap::from([(bad.to_owned(), Vec::new())])).is_err(),
            "{bad}"
        );
    }
    let long_label = format!("{}.example.com", "a".repeat(64));
    assert!(envelope::check_parts(b"source", "key", &BTreeMap::from([(long_label, Vec::new())])).is_err());
}

#[tokio::test]
async fn hostile_envelopes_are_refused() {
    let kms = kms();
    let Fixture { key, place, stored, .. } = kms_fixtures().swap_remove(0);
    known(&kms, &key, &stored);
    let envelope = stored.strip_prefix(PREFIX).unwrap();
    let whole = kms.open(place.as_bytes(), envelope).unwrap();
    for len in 0..envelope.len() {
        // A cut may fall behind what is authenticated; then what is opened is what was sealed, or its key is unknown.
        match kms.open(place.as_bytes(), &envelope[..len]) {
            Ok(opened) => assert_eq!(opened.0, whole.0, "{len} bytes"),
            Err(error) => assert!(!matches!(error, OpenError::NoProvider), "{len} bytes"),
        }
    }
    for bit in 0..envelope.len() * 8 {
        let mut changed = envelope.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        if let Ok(opened) = kms.open(place.as_bytes(), &changed) {
            assert_eq!(opened.0, whole.0, "bit {bit} changed what was sealed");
        }
    }
}

fn writer(until: Instant) -> Writer {
    let seed = [7; SEED_LEN];
    let EncryptedObject { key_id, encrypted_dek_source, annotations, .. } = object();
    Writer {
        seed: Arc::new(ExtendedNonce::new(&seed).unwrap()),
        source: encrypted_dek_source,
        key_id,
        annotations,
        until,
    }
}

#[tokio::test]
async fn a_seed_seals_only_while_its_plugin_is_well() {
    let kms = kms();
    let now = Instant::now();
    let seal_at = |now: Instant| {
        let mut out = Vec::new();
        match kms.seal_at(now, b"/a", b"plain", &mut out) {
            Ok(()) => out,
            Err(SealError::Kms { source, .. }) => source.to_string().into_bytes(),
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(seal_at(now), b"it was not asked yet");
    kms.writer.store(Some(Arc::new(writer(now + WRITE_FOR))));
    let sealed = seal_at(now);
    let again = seal_at(now + WRITE_FOR);
    assert_ne!(sealed, again);
    let key = SourceKey::new(SOURCE_SEED, &[7; SEED_LEN]).unwrap();
    let object = envelope::decode(&sealed).unwrap();
    kms.deks.keep(name_of(&object), Arc::new(key), now);
    assert_eq!(kms.open(b"/a", &sealed).unwrap(), (b"plain".to_vec(), false));
    assert_eq!(kms.open(b"/a", &again).unwrap(), (b"plain".to_vec(), false));
    let late = String::from_utf8(seal_at(now + WRITE_FOR + Duration::from_secs(1))).unwrap();
    assert_eq!(late, "encryptedDEKSource expired: the plugin has not been well for 180s");
    // Reading goes on.
    assert!(kms.open(b"/a", &sealed).is_ok());
    // A plugin that has all the time in the world to say how it is, and says nothing: readyz knows of it when nothing can be sealed.
    kms.failure.store(None);
    assert!(kms.health_at(now + WRITE_FOR).failure.is_none());
    let failure = kms.health_at(now + WRITE_FOR + Duration::from_secs(1)).failure.unwrap();
    assert!(matches!(*failure, KmsError::Expired(_)), "{failure}");
    // Under a newer key it is stale.
    let newer = Writer { key_id: "key-2".to_owned(), ..writer(now + WRITE_FOR) };
    kms.writer.store(Some(Arc::new(newer)));
    assert!(kms.open(b"/a", &sealed).unwrap().1);
}

#[test]
fn the_status_is_asked_for_at_upstreams_intervals() {
    assert_eq!(next_check_after(true), Duration::from_secs(60));
    assert_eq!(next_check_after(false), Duration::from_secs(10));
}

#[test]
fn seeds_and_keys_have_their_lengths() {
    let check = |source_type: i32, len: usize, is_taken: bool| {
        let made = SourceKey::new(source_type, &vec![1; len]);
        assert_eq!(made.is_ok(), is_taken, "type {source_type}, {len} bytes");
    };
    for len in [0, 31, 1025] {
        check(SOURCE_SEED, len, false);
    }
    for len in [32, 33, 64, 65, 1024] {
        check(SOURCE_SEED, len, true);
    }
    for len in [0, 15, 33] {
        check(SOURCE_KEY, len, false);
    }
    for len in [16, 24, 32] {
        check(SOURCE_KEY, len, true);
    }
}

fn name(of: usize) -> DekName {
    name_of(&EncryptedObject { key_id: format!("key-{of}"), ..object() })
}

fn key() -> SourceKey {
    SourceKey::new(SOURCE_SEED, &[1; SEED_LEN]).unwrap()
}

#[test]
fn kept_keys_are_few_and_not_for_ever() {
    let deks = Deks::default();
    let now = Instant::now();
    for of in 0..deks::KEPT_MAX {
        deks.keep(name(of), Arc::new(key()), now);
    }
    // The first one is used, so the second one makes room.
    assert!(deks.get(&name(0), now).is_some());
    deks.keep(name(deks::KEPT_MAX), Arc::new(key()), now);
    assert_eq!(deks.len(), deks::KEPT_MAX);
    assert!(deks.get(&name(0), now).is_some() && deks.get(&name(1), now).is_none());
    assert!(deks.get(&name(2), now + deks::KEPT_FOR - Duration::from_secs(1)).is_some());
    assert!(deks.get(&name(2), now + deks::KEPT_FOR).is_none());
    assert_eq!(deks.len(), deks::KEPT_MAX - 1, "what is too old goes");
}

#[test]
fn every_part_of_an_envelope_names_its_key() {
    let changes: [&dyn Fn(&mut EncryptedObject); 5] = [
        &|object| object.key_id.push('x'),
        &|object| object.encrypted_dek_source = Bytes::from_static(b"other"),
        &|object| object.encrypted_dek_source_type = SOURCE_KEY,
        &|object| drop(object.annotations.insert("b.example.com".to_owned(), Vec::new())),
        &|object| drop(object.annotations.insert("a.example.com".to_owned(), b"two".to_vec())),
    ];
    for (at, change) in changes.iter().enumerate() {
        let mut object = object();
        change(&mut object);
        assert_ne!(name_of(&object), name_of(&self::object()), "{at}");
    }
    let other_data = EncryptedObject { encrypted_data: Bytes::from_static(b"other"), ..object() };
    assert_eq!(name_of(&other_data), name_of(&object()));
}

#[tokio::test]
async fn a_key_is_asked_for_once_however_many_wait() {
    let deks = Arc::new(Deks::default());
    let asked = Arc::new(AtomicUsize::new(0));
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let wait = |fails: bool| {
        let (deks, asked, gate) = (Arc::clone(&deks), Arc::clone(&asked), Arc::clone(&gate));
        tokio::spawn(async move {
            let ask = || async {
                asked.fetch_add(1, Ordering::Relaxed);
                gate.acquire().await.unwrap().forget();
                if fails { Err(KmsError::Busy) } else { Ok(key()) }
            };
            deks.get_or_ask(name(1), ask).await.is_ok()
        })
    };
    let all: Vec<_> = (0..50).map(|_| wait(true)).collect();
    settle().await;
    gate.add_permits(1);
    for one in all {
        assert!(!one.await.unwrap(), "all share one failure");
    }
    assert_eq!(asked.swap(0, Ordering::Relaxed), 1);
    // The one that asks goes away: another one asks.
    let first = wait(false);
    settle().await;
    let others: Vec<_> = (0..50).map(|_| wait(false)).collect();
    settle().await;
    first.abort();
    settle().await;
    gate.add_permits(1);
    for one in others {
        assert!(one.await.unwrap());
    }
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

/// Lets every task run until it waits.
async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn too_many_keys_at_a_time_are_refused() {
    let deks = Arc::new(Deks::default());
    let mut waiting = Vec::new();
    for of in 0..64 {
        let deks = Arc::clone(&deks);
        waiting.push(tokio::spawn(async move { deks.get_or_ask(name(of), std::future::pending).await.is_ok() }));
    }
    settle().await;
    let refused = deks.get_or_ask(name(64), || async { Ok(key()) }).await;
    assert!(matches!(*refused.err().unwrap(), KmsError::Busy));
    waiting.swap_remove(0).abort();
    settle().await;
    assert!(deks.get_or_ask(name(64), || async { Ok(key()) }).await.is_ok());
}

#[test]
fn ids_of_calls_are_uuids() {
    let id = uid().unwrap();
    let parts: Vec<usize> = id.split('-').map(str::len).collect();
    assert_eq!(parts, [8, 4, 4, 4, 12], "{id}");
    assert_eq!(id.as_bytes()[14], b'4', "{id}");
    assert!(b"89ab".contains(&id.as_bytes()[19]), "{id}");
}

#[test]
fn messages_with_keys_show_none() {
    let request = EncryptRequest { plaintext: b"hunter2".to_vec(), uid: String::new() };
    assert_eq!(format!("{request:?}"), "EncryptRequest");
}
