//! A move that somebody disturbs, or that would do harm: what it says, and what it leaves.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use portcullis_tests::build::program;
use portcullis_tests::etcd::Etcd;
use serde_json::json;

use crate::etcd::start;
use crate::moving::{config_map, copy, done, end, made, path, refused, side, store};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const KEPT: &str = "/registry/configmaps/default";
const ATTEMPTS: usize = 100_000;

/// Copies from one etcd to another, and does something once the source was read and before anything is written to the target.
fn copy_disturbed(arguments: &[String], target: &Etcd, disturb: impl FnOnce()) -> Output {
    let (mut said, mut saying) = UnixStream::pair().unwrap();
    // It stops at the first thing that it says, since nobody reads what is there already.
    saying.set_nonblocking(true).unwrap();
    while saying.write(b"\n").is_ok() {}
    saying.set_nonblocking(false).unwrap();
    let mut command = Command::new(program());
    command.arg("store").args(arguments).env_remove("RUST_LOG").stdin(Stdio::null()).stdout(Stdio::piped());
    command.stderr(OwnedFd::from(saying));
    let process = command.spawn().unwrap();
    // It holds the other end, too.
    drop(command);
    assert!((0..ATTEMPTS).any(|_| target.count("portcullis/") > 0), "the copy does not begin");
    disturb();
    let mut text = Vec::new();
    said.read_to_end(&mut text).unwrap();
    Output { stderr: text, ..process.wait_with_output().unwrap() }
}

/// The copy is good, and whoever made it is told that it is not all.
#[test]
fn what_is_written_to_the_source_meanwhile_is_told() {
    let (Some(from), Some(to), Some(quiet)) = (Etcd::start(), Etcd::start(), Etcd::start()) else { return };
    let directory = tempfile::tempdir().unwrap();
    let server = start(&directory.path().join("data"), &from.arguments()).unwrap();
    for name in ["goes", "stays"] {
        made(&server.admin(), CONFIG_MAPS, config_map(name, "1"));
    }
    end(server);
    let key = path("--from-seal-key", &directory.path().join("data.seal/seal-key"));
    let arguments = |to: &Etcd| {
        let to_key = path("--to-seal-key", &directory.path().join("data.seal/seal-key"));
        copy(&[side(&from, "from"), side(to, "to"), key.clone(), to_key])
    };
    let copied = copy_disturbed(&arguments(&to), &to, || {
        from.put(&format!("{KEPT}/late"), &from.value(&format!("{KEPT}/stays")));
        from.delete(&format!("{KEPT}/goes"));
    });
    let (said, warned) = (String::from_utf8_lossy(&copied.stdout), String::from_utf8_lossy(&copied.stderr));
    assert!(copied.status.success() && said.contains("the same on both sides"), "{said}{warned}");
    for part in ["warning: --from was written to", "Keys written up to revision", ": 1, removed: 1", "default/goes"] {
        assert!(warned.contains(part), "{part}: {warned}");
    }
    assert_eq!((to.count(&format!("{KEPT}/")), from.count(&format!("{KEPT}/"))), (2, 2));
    assert!(to.under(&format!("{KEPT}/")).iter().any(|(key, _)| key.ends_with("/goes")));
    // Nobody is warned of nothing.
    let copied = copy_disturbed(&arguments(&quiet), &quiet, || {});
    let warned = String::from_utf8_lossy(&copied.stderr);
    assert!(copied.status.success() && warned.contains("writing ") && !warned.contains("warning"), "{warned}");
}

/// A cluster in another's directory would be copied with that, and removed with it.
#[test]
fn a_data_directory_in_another_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let backup = at("backup").display().to_string();
    let server = start(&at("first"), &[]).unwrap();
    done(&["backup", "--data-dir", at("first").to_str().unwrap(), "--out", &backup]);
    end(server);
    std::os::unix::fs::symlink(at("first"), at("link")).unwrap();
    let listed = |of: &Path| fs::read_dir(of).unwrap().count();
    let before = listed(&at("first"));
    for inside in ["first/inside", "first/not/there", "first/store", "link/inside"] {
        let to = at(inside).display().to_string();
        let parts = [to.as_str(), "is inside the data directory"];
        refused(&["copy", "--from", &backup, "--to", &to], &parts);
        refused(&["restore", "--from", &backup, "--data-dir", &to], &parts);
    }
    assert_eq!(listed(&at("first")), before, "nothing is left");
    let error = start(&at("first/inside"), &[]).err().unwrap();
    assert!(error.contains("--seal-key") && error.contains("is inside the data directory"), "{error}");
    assert!(!at("first/inside.seal").exists());
    let server = start(&at("first"), &[]).unwrap();
    assert_eq!(server.admin().post(CONFIG_MAPS, &json!({"metadata": {"name": "c"}})).status, 201);
    end(server);
}

/// The log of a store that was killed has a damaged frame, behind which there are commits: `--backup` keeps both files as they are.
#[test]
fn a_store_with_a_damaged_log_is_kept_and_repaired() {
    /// In the page of the first frame, behind the headers of the log and of the frame.
    const DAMAGED_AT: usize = 32 + 24 + 1000;
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let (data_dir, out) = (at("data").display().to_string(), at("kept").display().to_string());
    let server = start(&at("data"), &[]).unwrap();
    made(&server.admin(), CONFIG_MAPS, config_map("c", "1"));
    end(server);
    let server = start(&at("data"), &[]).unwrap();
    for number in 0..20 {
        made(&server.admin(), CONFIG_MAPS, config_map(&format!("c-{number}"), "1"));
    }
    // Killed.
    drop(server);
    let log = at("data/store/store.db-wal");
    let mut content = fs::read(&log).unwrap();
    content[DAMAGED_AT] ^= 0xff;
    fs::write(&log, &content).unwrap();
    let before = fs::read(at("data/store/store.db")).unwrap();
    let error = start(&at("data"), &[]).err().unwrap();
    assert!(error.contains("store.db-wal") && error.contains("portcullis store repair"), "{error}");
    let said = done(&["repair", "--data-dir", &data_dir, "--backup", &out]);
    assert!(said.contains(&format!("{out}, as it was")) && said.contains(&format!("{out}-wal, as it was")), "{said}");
    assert!(said.contains("cut where it is damaged"), "{said}");
    assert!(fs::read(at("kept")).unwrap() == before && fs::read(at("kept-wal")).unwrap() == content);
    for file in ["kept", "kept-wal"] {
        assert_eq!(at(file).metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
    refused(&["check", "--file", &out], &["kept-wal", "belongs to it"]);
    let server = start(&at("data"), &[]).unwrap();
    assert_eq!(server.admin().get(&format!("{CONFIG_MAPS}/c")).status, 200);
    end(server);
    // What was kept is the same store, with the same damage.
    fs::create_dir_all(at("again/store")).unwrap();
    fs::rename(at("kept"), at("again/store/store.db")).unwrap();
    fs::rename(at("kept-wal"), at("again/store/store.db-wal")).unwrap();
    let again = at("again").display().to_string();
    assert_eq!(store(&["check", "--data-dir", &again]).status.code(), Some(1));
    // Nothing takes the place of a file that is there.
    fs::write(at("kept-wal"), "mine").unwrap();
    refused(&["repair", "--data-dir", &again, "--backup", &out], &["kept-wal is there already"]);
    assert!(!at("kept").exists() && fs::read(at("kept-wal")).unwrap() == b"mine");
}
