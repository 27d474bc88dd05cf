//! The key file: made once, private, counted, rotated, found damaged.

#![allow(clippy::unwrap_used)]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("keys/seal.key")
    }

    fn open(&self) -> Result<KeyFile, KeyFileError> {
        KeyFile::open(&self.path(), None, Missing::Create)
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    /// What refuses a file with this text.
    fn refusal(&self, text: &str) -> String {
        fs::write(self.path(), text).unwrap();
        let error = self.open().err().unwrap();
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        format!("{error}: {source}")
    }
}

fn seal(file: &KeyFile) -> Vec<u8> {
    file.seal(b"/a", b"plain").unwrap()
}

fn open(file: &KeyFile, stored: &[u8]) -> Result<(Vec<u8>, bool), OpenError> {
    file.open_value(b"/a", stored).unwrap()
}

#[test]
fn it_is_made_once_and_private() {
    let place = Place::new();
    assert!(matches!(KeyFile::open(&place.path(), None, Missing::Refuse), Err(KeyFileError::Missing(_))));
    let file = place.open().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&place.path()), mode(place.path().parent().unwrap())), (0o600, 0o700));
    let stored = seal(&file);
    let again = KeyFile::open(&place.path(), None, Missing::Refuse).unwrap();
    assert_eq!(open(&again, &stored).unwrap(), (b"plain".to_vec(), false));
    assert_eq!(again.keys().iter().map(|key| key.id.clone()).collect::<Vec<_>>(), [file.keys()[0].id.clone()]);
    assert!(stored.starts_with(format!("k8s:enc:aesgcm:v1:{}:", file.keys()[0].id).as_bytes()));
}

#[test]
fn a17_the_key_lies_outside_the_data() {
    let place = Place::new();
    let data = place.directory.path().join("data");
    fs::create_dir(&data).unwrap();
    let check = |path: &Path, is_refused: bool| {
        let opened = KeyFile::open(path, Some(&data), Missing::Create);
        assert_eq!(matches!(opened, Err(KeyFileError::InsideData { .. })), is_refused, "{}", path.display());
    };
    check(&data.join("seal.key"), true);
    check(&data.join("below/seal.key"), true);
    check(&data.join("../data/seal.key"), true);
    symlink(&data, place.directory.path().join("link")).unwrap();
    check(&place.directory.path().join("link/seal.key"), true);
    check(&place.directory.path().join("data-of-another/seal.key"), false);
    check(&place.path(), false);
}

#[test]
fn one_that_others_can_read_is_refused() {
    let place = Place::new();
    place.open().unwrap();
    let check = |mode: u32, is_taken: bool| {
        fs::set_permissions(place.path(), Permissions::from_mode(mode)).unwrap();
        match place.open() {
            Ok(_) => assert!(is_taken, "{mode:o}"),
            Err(error) => {
                let error = error.to_string();
                assert!(!is_taken && error.contains("chmod 600") && error.contains(&format!("{mode:04o}")), "{error}");
            }
        }
    };
    for mode in [0o640, 0o604, 0o660, 0o601, 0o620, 0o777] {
        check(mode, false);
    }
    check(0o600, true);
    check(0o400, true);
    let directory = place.path().parent().unwrap().to_owned();
    fs::set_permissions(&directory, Permissions::from_mode(0o777)).unwrap();
    assert!(place.open().err().unwrap().to_string().contains("others may write to"));
    fs::set_permissions(&directory, Permissions::from_mode(0o1777)).unwrap();
    place.open().unwrap();
}

#[test]
fn a_text_that_is_none_is_refused() {
    let place = Place::new();
    place.open().unwrap();
    let good = place.text();
    let key = good.lines().find(|line| line.starts_with("key ")).unwrap().to_owned();
    let secret = key.split(' ').nth(4).unwrap();
    let check = |text: String, words: &str| {
        let refusal = place.refusal(&text);
        assert!(refusal.contains(words), "{refusal}");
        assert!(!refusal.contains(secret), "the key is shown: {refusal}");
    };
    check(String::new(), "it does not begin");
    check("key\n".to_owned(), "it does not begin");
    check(good.replace("key v1", "key v2"), "its version is \"v2\"");
    check("portcullis-seal-key v1\n".to_owned(), "it has no key");
    check(format!("{good}{key}\n"), "line 4: the id of another line");
    check(format!("{good}key a\n"), "line 4: it has too few words");
    check(good.replace(&key, &format!("{key} more")), "line 3: it has too many words");
    check(good.replace("\nkey ", "\nkeys "), "line 3: it is no key");
    check(good.replace(secret, "c2hvcnQ="), "line 3: the secret has not 32 bytes");
    check(good.replace(secret, "?"), "line 3: the secret is not base64");
    let words: Vec<&str> = key.split(' ').collect();
    check(good.replace(words[1], "a:b"), "the id is not made of");
    check(good.replace(words[1], "another"), "the line was damaged");
    check(good.replace(words[2], "yesterday"), "the time is none");
    let count = format!(" {BLOCK} ");
    check(good.replace(&count, " many "), "the count is none");
    check(good.replace(&count, &format!(" {} ", WRITES_PER_KEY_MAX + 1)), "the count is none");
    check(format!("{good}#{}\n", " ".repeat(64 << 10)), "more than 65536 bytes");
    // Any bit of the secret.
    let at = good.find(secret).unwrap();
    for letter in 0..43 {
        let mut damaged = good.clone().into_bytes();
        damaged[at + letter] = if damaged[at + letter] == b'A' { b'B' } else { b'A' };
        let refusal = place.refusal(&String::from_utf8(damaged).unwrap());
        assert!(refusal.contains("damaged") || refusal.contains("base64"), "{refusal}");
    }
    fs::write(place.path(), &good).unwrap();
    place.open().unwrap();
}

#[test]
fn writes_are_counted_before_they_happen() {
    let place = Place::new();
    let file = place.open().unwrap();
    assert_eq!(file.keys()[0].writes, BLOCK, "a block is reserved at once");
    assert!(place.text().contains(&format!(" {BLOCK} ")), "and durably");
    seal(&file);
    assert_eq!(file.keys()[0].writes, BLOCK);
    for _ in 1..BLOCK {
        assert!(file.ring.load().keys[0].take_one());
    }
    assert_eq!(file.keys()[0].writes, BLOCK);
    seal(&file);
    assert_eq!(file.keys()[0].writes, 2 * BLOCK);
    // What was reserved and not used counts after a restart.
    let again = place.open().unwrap();
    seal(&again);
    assert_eq!(again.keys()[0].writes, 3 * BLOCK);
}

#[test]
fn a_file_that_can_not_be_written_is_found_at_the_start() {
    let place = Place::new();
    let file = place.open().unwrap();
    file.prepare().unwrap();
    file.prepare().unwrap();
    assert_eq!(file.keys()[0].writes, BLOCK, "once");
    let lock = place.directory.path().join("keys/seal.key.lock");
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    assert!(matches!(place.open().unwrap().prepare(), Err(KeyFileError::File { what: "lock", .. })));
    // What is reserved is used first.
    seal(&file);
}

#[test]
fn a_key_that_is_used_up_gets_a_successor() {
    let place = Place::new();
    let file = place.open().unwrap();
    let old = seal(&file);
    let first = file.keys()[0].clone();
    let almost = place.text().replace(&format!(" {BLOCK} "), &format!(" {} ", WRITES_PER_KEY_MAX - BLOCK));
    fs::write(place.path(), almost).unwrap();
    let file = place.open().unwrap();
    seal(&file);
    assert_eq!((file.keys().len(), file.keys()[0].writes), (1, WRITES_PER_KEY_MAX), "the last block");
    while file.ring.load().keys[0].take_one() {}
    let new = seal(&file);
    let keys = file.keys();
    assert_eq!((keys.len(), &keys[1].id, keys[0].writes), (2, &first.id, BLOCK));
    assert_eq!(open(&file, &new).unwrap(), (b"plain".to_vec(), false));
    assert_eq!(open(&file, &old).unwrap(), (b"plain".to_vec(), true));
}

#[test]
fn many_writers_reserve_what_they_use() {
    const WRITERS: u64 = 8;
    const WRITES: u64 = 12_000;
    let place = Place::new();
    let file = place.open().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| (0..WRITES).for_each(|_| drop(seal(&file))));
        }
    });
    let room = file.ring.load().keys[0].room.load(Ordering::Relaxed);
    assert_eq!(file.keys()[0].writes - room, WRITERS * WRITES);
    assert_eq!(file.keys()[0].writes, 2 * BLOCK);
}

#[test]
fn another_process_rotates_and_this_one_takes_it_up() {
    let place = Place::new();
    let server = place.open().unwrap();
    let old = seal(&server);
    let command = KeyFile::open(&place.path(), None, Missing::Refuse).unwrap();
    let id = command.rotate().unwrap();
    assert!(sealed_by(&seal(&server), &server.keys()[0].id), "not looked at yet");
    assert!(server.reload().unwrap());
    assert!(!server.reload().unwrap());
    assert_eq!(server.keys()[0].id, id);
    let new = seal(&server);
    assert!(sealed_by(&new, &id));
    assert_eq!(open(&server, &old).unwrap(), (b"plain".to_vec(), true));
    assert_eq!(open(&server, &new).unwrap(), (b"plain".to_vec(), false));
    // The other one has its keys from when it looked last, and its counts do not undo the server's.
    command.rotate().unwrap();
    assert_eq!(server.keys()[0].writes, BLOCK);
    server.reload().unwrap();
    assert_eq!(server.keys().iter().map(|key| key.writes).collect::<Vec<_>>(), [0, BLOCK, BLOCK]);
}

fn sealed_by(stored: &[u8], id: &str) -> bool {
    stored.starts_with(format!("k8s:enc:aesgcm:v1:{id}:").as_bytes())
}

/// Who drops a key does so with an editor: the lines stand for themselves.
#[test]
fn a_line_that_is_removed_is_a_key_that_is_gone() {
    let place = Place::new();
    let file = place.open().unwrap();
    let stored = seal(&file);
    let second = file.rotate().unwrap();
    let text = place.text();
    let (kept, _first) = text.trim_end().rsplit_once('\n').unwrap();
    fs::write(place.path(), format!("{kept}\n")).unwrap();
    assert!(file.reload().unwrap());
    assert_eq!(file.keys().into_iter().map(|key| key.id).collect::<Vec<_>>(), [second]);
    assert!(matches!(open(&file, &stored), Err(OpenError::NoKey { provider: "AES" })));
    seal(&file);
}

#[test]
fn a_file_that_can_not_be_used_changes_nothing() {
    let place = Place::new();
    let file = place.open().unwrap();
    let stored = seal(&file);
    let good = place.text();
    for bad in ["", "portcullis-seal-key v1\nkey\n"] {
        fs::write(place.path(), bad).unwrap();
        assert!(file.reload().is_err() && file.rotate().is_err());
        assert_eq!(place.text(), bad, "what somebody wrote is not replaced");
        assert_eq!(open(&file, &stored).unwrap().0, b"plain");
        seal(&file);
    }
    fs::remove_file(place.path()).unwrap();
    assert!(matches!(file.reload(), Err(KeyFileError::Missing(_))));
    // What was reserved may be used; more is not taken without counting.
    while file.ring.load().keys[0].take_one() {}
    assert!(matches!(file.seal(b"/a", b"plain"), Err(SealError::KeyFile(KeyFileError::Missing(_)))));
    fs::write(place.path(), good).unwrap();
    fs::set_permissions(place.path(), Permissions::from_mode(0o600)).unwrap();
    seal(&file);
}

#[test]
fn a_crash_leaves_a_file_that_is_replaced() {
    let place = Place::new();
    let file = place.open().unwrap();
    let beside = place.directory.path().join("keys/seal.key.new");
    fs::write(&beside, "half a f").unwrap();
    file.rotate().unwrap();
    assert!(!beside.exists());
    assert_eq!(file.keys().len(), 2);
}

#[test]
fn by_hand_there_are_fewer_keys_than_there_may_be() {
    let place = Place::new();
    let file = place.open().unwrap();
    for _ in 1..KEYS_BY_HAND_MAX {
        file.rotate().unwrap();
    }
    assert!(matches!(file.rotate(), Err(KeyFileError::TooManyKeys(KEYS_BY_HAND_MAX))));
    assert_eq!(place.open().unwrap().keys().len(), KEYS_BY_HAND_MAX);
}

#[test]
fn a_link_is_followed_and_stays() {
    let place = Place::new();
    place.open().unwrap();
    let link = place.directory.path().join("link.key");
    symlink(place.path(), &link).unwrap();
    let file = KeyFile::open(&link, None, Missing::Refuse).unwrap();
    file.rotate().unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(place.open().unwrap().keys().len(), 2);
}
