//! Work that a start or a command does as a whole: of what it makes there is nothing or everything.

use std::fs;

use portcullis_tests::build::program;
use portcullis_tests::canary::{files, holds};
use portcullis_tests::program::run;
use rusqlite::Connection;
use serde_json::{Value, json};

use super::place::{CANARY, CONFIG_MAPS, Place, Running, SECRETS, checked, copy_files, count};
use super::{CHANGES_MAX, KILLS_MAX, MIDWAY, random};

const IDENTITY: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n\
                        - {resources: [secrets], providers: [{identity: {}}]}\n";

/// What releases before format 3 made of the same rows.
const FORMAT_2: &str = "PRAGMA journal_mode = WAL; PRAGMA application_id = 1349481076;
    CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    INSERT INTO meta SELECT name, value FROM newer.meta WHERE name = 'revision';
    INSERT INTO meta VALUES ('format', 2);
    CREATE TABLE objects (
        key TEXT NOT NULL UNIQUE, version INTEGER NOT NULL, create_revision INTEGER NOT NULL, value BLOB NOT NULL,
        epoch INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    INSERT INTO objects SELECT key, version, create_revision, value, epoch FROM newer.objects;";

/// Puts an older file in the place of a store that nobody has open, as a kill leaves it: what was written last is in the WAL.
fn make_older(place: &Place) {
    let older = place.path("older");
    fs::create_dir(&older).unwrap();
    let connection = Connection::open(older.join("store.db")).unwrap();
    connection.execute("ATTACH ?1 AS newer", [place.file().to_str().unwrap()]).unwrap();
    connection.execute_batch(FORMAT_2).unwrap();
    connection.execute_batch("DETACH newer").unwrap();
    copy_files(&older, &place.path("data/store"));
}

/// An older file has secrets as they are; they are sealed on the way.
#[test]
fn an_upgrade_is_killed() {
    let mut random = random(4);
    let mut place = Place::new();
    fs::write(place.path("identity.yaml"), IDENTITY).unwrap();
    let identity = place.path("identity.yaml").display().to_string();
    // There is a key already: where there is none, it is made behind the upgrade.
    place.start(program(), &[]).stop();
    let server = place.start(program(), &["--encryption-provider-config", &identity]);
    place.make(&server.admin(), SECRETS, 30, 150_000);
    place.make(&server.admin(), CONFIG_MAPS, 20, 150_000);
    server.stop();
    make_older(&place);
    let store = place.path("data/store");
    let is_found = files(&store).iter().any(|file| holds(&fs::read(file).unwrap(), CANARY));
    assert!(is_found, "the search finds what is there");
    let kept = place.keep();
    let data = place.data().display().to_string();
    let arguments =
        ["up", "--data-dir", &data, "--bind-address", "127.0.0.1", "--secure-port", "0", "--components", "apiserver"];
    let mut midway = 0;
    for kill in 0.. {
        assert!(kill < KILLS_MAX, "never met in the middle: {midway} of {MIDWAY} times");
        let running = Running::start(&arguments, &place.path("log"));
        assert!(running.kill_after(1 + random.below(4 * CHANGES_MAX), &store), "it ended by itself");
        let is_midway = store.join("store.db.new").exists();
        let format = count(&place.look(), "SELECT value FROM meta WHERE name = 'format'", []);
        println!("killed with format {format}, midway: {is_midway}");
        midway += usize::from(is_midway);
        if format == 2 {
            let said = checked(&place.data());
            assert_eq!(said["sound"], json!(true), "{said}");
        } else {
            place.check_file();
            if midway < MIDWAY {
                place.put_back(&kept);
            }
        }
        if midway >= MIDWAY {
            break;
        }
    }
    let server = place.start(program(), &[]);
    place.check(&server.admin());
    server.stop();
    place.check_file();
}

/// Rows of ConfigMaps whose value is not as it was written.
const DAMAGE: &str = "UPDATE objects SET value = x'00' WHERE key LIKE '/registry/configmaps/default/ours-%'";

/// The commands that make a store of another one: the source stays as it is, and of what is made there is nothing or all.
#[test]
fn restoring_and_copying_are_killed() {
    let mut random = random(5);
    let mut place = Place::new();
    let server = place.start(program(), &[]);
    place.make(&server.admin(), SECRETS, 15, 150_000);
    place.make(&server.admin(), CONFIG_MAPS, 15, 150_000);
    server.stop();
    let (data, backup) = (place.data().display().to_string(), place.path("backup").display().to_string());
    let out = run(&["store", "backup", "--data-dir", &data, "--out", &backup]);
    assert!(out.status.success(), "{out:?}");
    let source = || [fs::read(place.file()).unwrap(), fs::read(&backup).unwrap()];
    let before = source();
    let mut target = Place { held: place.held.clone(), written: place.written, ..Place::new() };
    let to = target.data().display().to_string();
    let key = place.path("data.seal/seal-key").display().to_string();
    fs::create_dir(target.path("data.seal")).unwrap();
    let commands: [&[&str]; 2] = [
        &["store", "restore", "--from", &backup, "--data-dir", &to],
        &["store", "copy", "--from", &data, "--to", &to, "--from-seal-key", &key, "--to-seal-key", &key],
    ];
    for command in commands {
        let mut midway = 0;
        for kill in 0.. {
            assert!(kill < KILLS_MAX, "never met in the middle: {midway} of {MIDWAY} times");
            let running = Running::start(command, &target.path("log"));
            let is_killed = running.kill_after(1 + random.below(CHANGES_MAX), &target.path("data/store"));
            let is_midway = target.path("data/store/store.db.new").exists();
            println!("{}: killed {is_killed}, midway {is_midway}", command[1]);
            midway += usize::from(is_midway);
            assert!(source() == before, "the source changed");
            if target.file().exists() {
                assert_sound_under(&target, &key);
                fs::remove_dir_all(target.data()).unwrap();
            } else if midway >= MIDWAY {
                break;
            }
        }
        // What is left of it is in nobody's way.
        let out = run(command);
        assert!(out.status.success(), "{out:?}");
        assert!(source() == before, "the source changed");
        let server = target.start(program(), &["--seal-key", &key]);
        target.check(&server.admin());
        target.disturb(&server.admin(), &mut random);
        server.stop();
        target.check_unreadable();
        fs::remove_dir_all(target.data()).unwrap();
        target.held.clone_from(&place.held);
    }
}

fn assert_sound_under(place: &Place, key: &str) {
    let data = place.data().display().to_string();
    let out = run(&["store", "check", "--data-dir", &data, "--seal-key", key]);
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && said.contains("0 cannot be opened"), "{out:?}");
}

/// Damaged rows are there as they were, or gone; what is whole stays; and the copy that is made before is there or not.
#[test]
fn a_repair_is_killed() {
    let mut random = random(6);
    let mut place = Place::new();
    let server = place.start(program(), &[]);
    place.make(&server.admin(), SECRETS, 15, 150_000);
    let damaged = place.make(&server.admin(), CONFIG_MAPS, 15, 150_000).len();
    server.stop();
    Connection::open(place.file()).unwrap().execute_batch(DAMAGE).unwrap();
    let kept = place.keep();
    place.held.retain(|path, _| !path.starts_with(CONFIG_MAPS));
    let (data, store) = (place.data().display().to_string(), place.path("data/store"));
    let out = place.path("before");
    fs::create_dir_all(&out).unwrap();
    let mut midway = 0;
    let mut backup = 0;
    for kill in 0.. {
        assert!(kill < KILLS_MAX, "never met in the middle: {midway} of {MIDWAY} times");
        let file = out.join(format!("store.db-{backup}"));
        let arguments = ["store", "repair", "--data-dir", &data, "--backup", file.to_str().unwrap()];
        let watched = if random.below(2) == 0 { &out } else { &store };
        let running = Running::start(&arguments, &place.path("log"));
        let is_killed = running.kill_after(1 + random.below(CHANGES_MAX / 2), watched);
        let said = checked(&place.data());
        let still = said["damaged"]["count"].as_u64().and_then(|count| usize::try_from(count).ok()).unwrap();
        println!("killed {is_killed} with {still} damaged, copied {}", file.exists());
        assert!(still == damaged || still == 0, "{said}");
        assert_eq!(said["unopened"]["count"], json!(0), "{said}");
        if file.exists() {
            let copied = run(&["store", "check", "--file", file.to_str().unwrap(), "--output", "json"]);
            let copied: Value = serde_json::from_slice(&copied.stdout).unwrap();
            assert_eq!(copied["damaged"]["count"], json!(damaged), "{copied}");
            let again = run(&arguments);
            assert!(String::from_utf8_lossy(&again.stderr).contains("is there already"), "{again:?}");
            backup += 1;
        }
        midway += usize::from(is_killed && still == damaged);
        if midway >= MIDWAY {
            break;
        }
        if still == 0 {
            let held = std::mem::take(&mut place.held);
            place.put_back(&kept);
            place.held = held;
        }
    }
    let done = run(&["store", "repair", "--data-dir", &data, "--without-backup"]);
    assert!(done.status.success(), "{done:?}");
    place.check_file();
    let server = place.start(program(), &[]);
    place.check(&server.admin());
    server.stop();
}
