//! Which provider seals what, what opens afterwards, and what a reload changes.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::cipher::tests::{Fixture, fixtures};
use crate::{Missing, sealed_under};

use super::*;

const SECRETS: Resource<'_> = Resource { group: "", resource: "secrets" };
const PLACE: &str = "/registry/secrets/default/settings";

fn configuration(entries: &[(&str, &[String])]) -> EncryptionConfiguration {
    let entry = |(resources, providers): &(&str, &[String])| {
        format!("- resources: [{resources}]\n  providers: [{}]\n", providers.join(", "))
    };
    let body: String = entries.iter().map(entry).collect();
    let head = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n";
    EncryptionConfiguration::parse(format!("{head}resources:\n{body}").as_bytes()).unwrap()
}

fn seals(entries: &[(&str, &[String])]) -> Seals {
    Seals::configured(&configuration(entries), None).unwrap()
}

/// A provider with keys of these names; a key's bytes are its name's.
fn provider(algorithm: &str, names: &[&str]) -> String {
    let keys: Vec<_> = names.iter().map(|name| (*name, key_of(name))).collect();
    provider_with(algorithm, &keys.iter().map(|(name, key)| (*name, key.as_slice())).collect::<Vec<_>>())
}

fn provider_with(algorithm: &str, keys: &[(&str, &[u8])]) -> String {
    let key = |(name, key): &(&str, &[u8])| format!("{{name: {name:?}, secret: {:?}}}", STANDARD.encode(key));
    let keys: Vec<String> = keys.iter().map(key).collect();
    format!("{{{algorithm}: {{keys: [{}]}}}}", keys.join(", "))
}

fn key_of(name: &str) -> Vec<u8> {
    digest::digest(&digest::SHA256, name.as_bytes()).as_ref().to_vec()
}

fn identity() -> String {
    "{identity: {}}".to_owned()
}

fn plain() -> Bytes {
    Bytes::from_static(b"{\"data\":{\"password\":\"aHVudGVyMg==\"}}")
}

fn sealed(seals: &Seals) -> Bytes {
    seals.seal(SECRETS, PLACE, &plain()).unwrap()
}

/// What opening leads to: whether the value is stale, or the error.
fn opened(seals: &Seals, stored: &Bytes) -> Result<bool, String> {
    let opened = seals.open(SECRETS, PLACE, stored).map_err(|error| error.to_string())?;
    assert_eq!(opened.plain, plain());
    Ok(opened.is_stale)
}

#[test]
fn what_another_implementation_stored_is_served() {
    let mut opened = 0;
    for Fixture { format, key, place, plain, stored } in fixtures() {
        if format.starts_with("kms") {
            continue;
        }
        let seals = seals(&[("secrets", &[provider_with(format, &[("key1", &key)])])]);
        let found = seals.open(SECRETS, place, &stored.clone().into()).unwrap();
        assert_eq!((found.plain, found.is_stale), (plain.into(), false), "{format}");
        opened += 1;
    }
    assert_eq!(opened, 21);
}

#[test]
fn the_first_key_of_the_first_provider_seals() {
    let check = |providers: &[String], under: Option<&str>| {
        let seals = seals(&[("secrets", providers)]);
        let stored = sealed(&seals);
        assert_eq!(sealed_under(&stored), under);
        assert_eq!(seals.is_sealed(SECRETS), under.is_some());
        assert_eq!(opened(&seals, &stored), Ok(false));
    };
    check(&[provider("aesgcm", &["a", "b"])], Some("aesgcm:v1:a"));
    check(&[provider("aescbc", &["b", "a"])], Some("aescbc:v1:b"));
    check(&[provider("secretbox", &["c"]), provider("aesgcm", &["a"]), identity()], Some("secretbox:v1:c"));
    check(&[identity(), provider("aesgcm", &["a"])], None);
}

#[test]
fn a_rotation_in_upstreams_steps() {
    for algorithm in ["aesgcm", "aescbc", "secretbox"] {
        let old = seals(&[("secrets", &[provider(algorithm, &["old"]), identity()])]);
        let both = seals(&[("secrets", &[provider(algorithm, &["old", "new"]), identity()])]);
        let turned = seals(&[("secrets", &[provider(algorithm, &["new", "old"]), identity()])]);
        let new = seals(&[("secrets", &[provider(algorithm, &["new"]), identity()])]);
        let (by_old, by_new) = (sealed(&old), sealed(&new));
        assert_eq!((opened(&both, &by_old), opened(&both, &by_new)), (Ok(false), Ok(true)), "{algorithm}");
        assert_eq!((opened(&turned, &by_old), opened(&turned, &by_new)), (Ok(true), Ok(false)), "{algorithm}");
        let word = if algorithm == "secretbox" { "Secretbox" } else { "AES" };
        let none = format!("no matching key was found for the provided {word} transformer");
        assert_eq!(opened(&new, &by_old), Err(none), "{algorithm}");
        // What was never sealed is read, and to be sealed.
        assert_eq!(opened(&new, &plain()), Ok(true));
    }
}

#[test]
fn one_provider_may_be_there_twice() {
    let seals_old = seals(&[("secrets", &[provider("aesgcm", &["old"])])]);
    let by_old = sealed(&seals_old);
    let twice = seals(&[("secrets", &[provider("aesgcm", &["new"]), provider("aesgcm", &["old"])])]);
    assert_eq!(opened(&twice, &by_old), Ok(true));
    // The same by two entries of one resource.
    let entries = seals(&[("secrets", &[provider("aesgcm", &["new"])]), ("secrets", &[provider("aesgcm", &["old"])])]);
    assert_eq!(opened(&entries, &by_old), Ok(true));
    assert_eq!(sealed_under(&sealed(&entries)), Some("aesgcm:v1:new"));
    // A name twice, and a name that begins with another and a colon.
    let (one, two) = (key_of("one"), key_of("two"));
    let same = seals(&[("secrets", &[provider_with("aesgcm", &[("k", &one), ("k", &two)])])]);
    let by_two = sealed(&seals(&[("secrets", &[provider_with("aesgcm", &[("k", &two)])])]));
    assert_eq!(opened(&same, &by_two), Ok(true));
    let colons = seals(&[("secrets", &[provider_with("aesgcm", &[("k", &one), ("k:2", &two)])])]);
    let by_colon = sealed(&seals(&[("secrets", &[provider_with("aesgcm", &[("k:2", &two)])])]));
    assert_eq!(opened(&colons, &by_colon), Ok(true));
    // The error says most: the name is there, and its key is another.
    let wrong = seals(&[("secrets", &[provider("aesgcm", &["new"]), provider_with("aesgcm", &[("old", &one)])])]);
    assert_eq!(opened(&wrong, &by_old), Err("the stored data can not be opened under \"aesgcm:v1:old\"".to_owned()));
}

#[test]
fn identity_opens_nothing_that_is_sealed() {
    let none = Err("no matching prefix found".to_owned());
    let by_key = sealed(&seals(&[("secrets", &[provider("aesgcm", &["a"])])]));
    assert_eq!(opened(&Seals::none(None), &by_key), none);
    assert_eq!(opened(&seals(&[("secrets", &[identity()])]), &by_key), none);
    assert_eq!(opened(&seals(&[("secrets", &[provider("aescbc", &["a"])])]), &by_key), none);
    // Without identity what is plain is no answer: a forger would only have to leave the seal away.
    assert_eq!(opened(&seals(&[("secrets", &[provider("aesgcm", &["a"])])]), &plain()), none);
    assert_eq!(opened(&Seals::none(None), &plain()), Ok(false));
    // Turned off in upstream's way: identity writes, the key still reads.
    assert_eq!(opened(&seals(&[("secrets", &[identity(), provider("aesgcm", &["a"])])]), &by_key), Ok(true));
}

#[test]
fn a17_a_value_is_bound_to_its_key_path() {
    let check = |seals: &Seals, is_bound: bool| {
        let stored = sealed(seals);
        for other in [
            "/registry/secrets/default/other",
            "/registry/secrets/kube-system/settings",
            "",
            PLACE.trim_end_matches('s'),
        ] {
            let moved = seals.open(SECRETS, other, &stored);
            assert_eq!(moved.is_err(), is_bound, "{other}: {moved:?}");
        }
    };
    check(&seals(&[("secrets", &[provider("aesgcm", &["a"])])]), true);
    check(&seals(&[("secrets", &[provider("aescbc", &["a"])])]), false);
    check(&seals(&[("secrets", &[provider("secretbox", &["a"])])]), false);
    let directory = tempfile::tempdir().unwrap();
    check(&by_default(directory.path()), true);
}

#[test]
fn what_says_most_of_a_resource_wins() {
    let provider = |name: &str| [provider("aesgcm", &[name])];
    let seals = seals(&[
        ("secrets", &provider("one")),
        ("'*.'", &provider("core")),
        ("deployments.apps", &provider("deployments")),
        ("'*.apps'", &provider("apps")),
        ("'*.*'", &provider("all")),
    ]);
    let check = |group: &str, resource: &str, name: &str| {
        let stored = seals.seal(Resource { group, resource }, "/a", &plain()).unwrap();
        assert_eq!(sealed_under(&stored), Some(format!("aesgcm:v1:{name}").as_str()), "{resource}.{group}");
    };
    check("", "secrets", "one");
    check("", "configmaps", "core");
    check("apps", "deployments", "deployments");
    check("apps", "statefulsets", "apps");
    check("example.com", "secrets", "all");
    check("apps.example.com", "deployments", "all");
    let few = self::seals(&[("secrets", &provider("one"))]);
    for (group, resource) in [("", "configmaps"), ("example.com", "secrets"), ("", "secret")] {
        let resource = Resource { group, resource };
        assert!(!few.is_sealed(resource));
        assert_eq!(few.seal(resource, "/a", &plain()).unwrap(), plain());
    }
}

fn by_default(directory: &Path) -> Seals {
    Seals::by_default(key_file(directory))
}

fn key_file(directory: &Path) -> Arc<KeyFile> {
    Arc::new(KeyFile::open(&directory.join("seal.key"), None, Missing::Create).unwrap())
}

#[test]
fn a17_secrets_are_sealed_when_nobody_says_anything() {
    let directory = tempfile::tempdir().unwrap();
    let seals = by_default(directory.path());
    let stored = sealed(&seals);
    assert!(stored.starts_with(SEALED) && !stored.windows(8).any(|part| part == b"password"));
    assert_eq!(opened(&seals, &stored), Ok(false));
    assert_eq!(opened(&by_default(directory.path()), &stored), Ok(false), "after a restart");
    // What was written before there was sealing is read, and to be sealed.
    assert_eq!(opened(&seals, &plain()), Ok(true));
    assert!(!seals.is_sealed(Resource { group: "", resource: "configmaps" }));
    let before = seals.key_file().unwrap().keys()[0].id.clone();
    let id = seals.key_file().unwrap().rotate().unwrap();
    assert_eq!(opened(&seals, &stored), Ok(true));
    assert_eq!(sealed_under(&stored), Some(format!("aesgcm:v1:{before}").as_str()));
    assert_eq!(sealed_under(&sealed(&seals)), Some(format!("aesgcm:v1:{id}").as_str()));
}

const SEALED: &[u8] = crate::SEALED_PREFIX;

#[test]
fn a_configuration_still_opens_what_the_key_file_sealed() {
    let directory = tempfile::tempdir().unwrap();
    let stored = sealed(&by_default(directory.path()));
    let aes = [provider("aesgcm", &["a"])];
    let given = configuration(&[("secrets", &aes)]);
    let seals = Seals::configured(&given, Some(key_file(directory.path()))).unwrap();
    assert_eq!(opened(&seals, &stored), Ok(true));
    assert_eq!(sealed_under(&sealed(&seals)), Some("aesgcm:v1:a"));
    assert!(Seals::configured(&given, None).unwrap().open(SECRETS, PLACE, &stored).is_err());
    // And what no rule names any more.
    let aes = configuration(&[("configmaps", &aes)]);
    let seals = Seals::configured(&aes, Some(key_file(directory.path()))).unwrap();
    assert_eq!(opened(&seals, &stored), Ok(true));
}

#[tokio::test]
async fn a_reload_says_what_it_changed() {
    let one = || vec![provider("aesgcm", &["one"]), identity()];
    let seals = seals(&[("secrets", &one()), ("'*.apps'", &[identity()])]);
    let stored = sealed(&seals);
    let check = async |entries: &[(&str, &[String])], expected: &[(&str, bool)]| {
        let change = |(rule, writes_change): &(&str, bool)| ChangedResource {
            rule: (*rule).to_owned(),
            writes_change: *writes_change,
        };
        let expected = match expected {
            [] => SealsChange::Unchanged,
            changed => SealsChange::Replaced(changed.iter().map(change).collect()),
        };
        assert_eq!(seals.reload(&configuration(entries)).await.unwrap(), expected);
    };
    check(&[("secrets", &one()), ("'*.apps'", &[identity()])], &[]).await;
    check(&[("'*.apps'", &[identity()]), ("secrets", &one())], &[]).await;
    let two = vec![provider("aesgcm", &["one", "two"]), identity()];
    check(&[("secrets", &two), ("'*.apps'", &[identity()])], &[("secrets", false)]).await;
    assert_eq!(opened(&seals, &stored), Ok(false));
    let turned = vec![provider("aesgcm", &["two", "one"]), identity()];
    check(&[("secrets", &turned)], &[("secrets", true), ("*.apps", true)]).await;
    assert_eq!(opened(&seals, &stored), Ok(true));
    // The same name with another key.
    let swapped = vec![provider_with("aesgcm", &[("two", &key_of("one")), ("one", &key_of("one"))]), identity()];
    check(&[("secrets", &swapped)], &[("secrets", true)]).await;
    // A KMS that is not there is no reason to give up what works.
    let kms = ["{kms: {apiVersion: v2, name: k, endpoint: 'unix:///nowhere/kms.sock', timeout: 200ms}}".to_owned()];
    let error = seals.reload(&configuration(&[("secrets", &kms)])).await.unwrap_err();
    assert!(matches!(error, ReloadError::Unwell { .. }), "{error}");
    assert_eq!(opened(&seals, &stored), Ok(true));
    assert!(seals.ready().is_ok());
}

/// Whatever stands in the store: an answer or an error, never a panic, and never something that was not sealed.
#[test]
fn hostile_bytes_are_refused() {
    let seals =
        seals(&[("secrets", &[provider("aesgcm", &["a"]), provider("secretbox", &["a"]), provider("aescbc", &["a"])])]);
    let genuine: Vec<Bytes> = ["aesgcm", "secretbox"]
        .iter()
        .map(|algorithm| sealed(&self::seals(&[("secrets", &[provider(algorithm, &["a"])])])))
        .collect();
    let seed = u64::from_be_bytes(crate::cipher::random().unwrap());
    let mut state = seed | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap()
    };
    for round in 0..20_000 {
        let mut bytes = genuine[next() % genuine.len()].to_vec();
        match next() % 4 {
            0 => {
                let at = next() % bytes.len();
                bytes[at] ^= 1 << (next() % 8);
            }
            1 => bytes.truncate(next() % bytes.len()),
            2 => bytes.insert(next() % bytes.len(), 0x3a),
            _ => {
                let (from, to) = (next() % bytes.len(), next() % bytes.len());
                bytes.swap(from, to);
            }
        }
        let bytes = Bytes::from(bytes);
        if genuine.contains(&bytes) {
            continue;
        }
        let opened = seals.open(SECRETS, PLACE, &bytes);
        assert!(opened.is_err(), "seed {seed:#x}, round {round}: {opened:?}");
    }
}

#[test]
fn labels_of_what_is_stored() {
    let check = |stored: &[u8], expected: Option<&str>| assert_eq!(sealed_under(stored), expected);
    check(b"k8s:enc:aesgcm:v1:key1:xyz", Some("aesgcm:v1:key1"));
    check(b"k8s:enc:kms:v2:cloud:\x0a\x01", Some("kms:v2:cloud"));
    check(b"k8s:enc:aesgcm:v1:key1", None);
    check(b"k8s:enc:aesgcm:v1:\xff:", None);
    check(b"k8s\0", None);
    check(b"{}", None);
}

#[test]
fn nothing_shows_a_key() {
    let directory = tempfile::tempdir().unwrap();
    let seals = by_default(directory.path());
    let found = format!("{:?}", seals.open(SECRETS, PLACE, &sealed(&seals)).unwrap());
    assert_eq!(found, format!("Opened({} bytes, is_stale: false)", plain().len()));
}
