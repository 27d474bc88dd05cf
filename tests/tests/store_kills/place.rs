//! A cluster's directory whose programs are killed, what its clients were told, and how its files are looked at from outside.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_tests::build::program;
use portcullis_tests::canary::{files, holds};
use portcullis_tests::client::Client;
use portcullis_tests::program::{Server, run};
use portcullis_tests::random::Random;
use portcullis_tests::session::{Asking, Connector, JSON, Protocol};
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

pub(super) const SECRETS: &str = "/api/v1/namespaces/default/secrets";
pub(super) const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
pub(super) const EVENTS: &str = "/api/v1/namespaces/default/events";
const COLLECTIONS: [&str; 3] = [SECRETS, CONFIG_MAPS, EVENTS];
/// Every secret consists of it, so that any part of one that is left is found.
pub(super) const CANARY: &str = "canary4q8-in-a-secret;";
/// What the names of all objects begin with that a test makes.
const OURS: &str = "ours-";
/// How long anything may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);
/// Work changes files one change after the other: when there was none for so long, it is done or waits for somebody.
const QUIET: Duration = Duration::from_secs(2);
/// Between two looks at the files.
const PAUSE: Duration = Duration::from_micros(500);
/// Between two questions whether the work is done.
pub(super) const ASK_INTERVAL: Duration = Duration::from_millis(100);

/// A cluster's directory, and what its clients were told.
pub(super) struct Place {
    pub(super) directory: tempfile::TempDir,
    /// By path, the text in each object.
    pub(super) held: BTreeMap<String, String>,
    pub(super) written: usize,
}

/// A place as it was at a moment: its store's files, and what was held.
pub(super) struct Kept(PathBuf, BTreeMap<String, String>);

impl Place {
    pub(super) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), held: BTreeMap::new(), written: 0 }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn data(&self) -> PathBuf {
        self.path("data")
    }

    pub(super) fn file(&self) -> PathBuf {
        self.path("data/store/store.db")
    }

    pub(super) fn start(&self, program: &Path, arguments: &[&str]) -> Server {
        let arguments = [&["--components", "apiserver"], arguments].concat();
        Server::start_with(program, &self.data(), &arguments).unwrap_or_else(|error| panic!("it starts: {error:#}"))
    }

    /// Makes objects of so many bytes over one connection, and notes them.
    pub(super) fn make(&mut self, admin: &Client, collection: &str, count: usize, bytes: usize) -> Vec<String> {
        let numbers = self.written + 1..=self.written + count;
        self.written += count;
        let made: Vec<_> = numbers.map(|number| made(collection, &format!("{OURS}{number}"), bytes)).collect();
        Runtime::new().unwrap().block_on(async {
            let mut session = Connector::of(admin).open(Protocol::Http1).await.unwrap();
            for (object, _) in &made {
                let asking = Asking { method: "POST", accept: JSON, content: Some((JSON, object)) };
                let (status, answer) = session.ask(collection, asking).await.unwrap();
                assert_eq!(status, 201, "{collection}: {answer}");
            }
        });
        let noted = made.into_iter().map(|(object, text)| {
            let path = format!("{collection}/{}", object["metadata"]["name"].as_str().unwrap());
            self.held.insert(path.clone(), text);
            path
        });
        noted.collect()
    }

    pub(super) fn remove(&mut self, admin: &Client, path: &str) {
        let answer = admin.delete(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        self.held.remove(path);
    }

    /// One acknowledged write, small or the end of a small one.
    pub(super) fn disturb(&mut self, admin: &Client, random: &mut Random) {
        let collection = *random.choose(&[SECRETS, CONFIG_MAPS]);
        for path in self.make(admin, collection, 1, 100) {
            if random.below(2) == 0 {
                self.remove(admin, &path);
            }
        }
    }

    /// Everything that was acknowledged is served with its value, and nothing else is.
    pub(super) fn check(&self, admin: &Client) {
        let mut found = BTreeMap::new();
        for collection in COLLECTIONS {
            let answer = admin.get(collection);
            assert_eq!(answer.status, 200, "{}", answer.text());
            for object in answer.json()["items"].as_array().into_iter().flatten() {
                let name = object["metadata"]["name"].as_str().unwrap();
                if name.starts_with(OURS) {
                    found.insert(format!("{collection}/{name}"), text(collection, object));
                }
            }
        }
        let differs = |path: &&String| self.held.get(*path) != found.get(*path);
        let different: Vec<_> = self.held.keys().chain(found.keys()).filter(differs).collect();
        assert!(different.is_empty(), "not as it was acknowledged: {different:?}");
    }

    /// What is to be seen of a store that nobody has open: it is sound, it has the keys that it should, and no secret can be read.
    pub(super) fn check_file(&self) {
        assert_sound(&self.data());
        let connection = self.look();
        let sql = format!(
            "SELECT key FROM objects WHERE key LIKE '%/default/{OURS}%' AND key NOT LIKE '/registry/events/%' ORDER BY key"
        );
        let mut keys = connection.prepare(&sql).unwrap();
        let found: Vec<String> = keys.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        let mut held: Vec<String> = self.held.keys().map(|path| key(path)).collect();
        held.sort();
        assert_eq!(found, held, "the keys that are there, and those that should be");
        self.check_unreadable();
    }

    pub(super) fn check_unreadable(&self) {
        for file in files(&self.data()) {
            assert!(!holds(&fs::read(&file).unwrap(), CANARY), "a secret can be read in {}", file.display());
        }
    }

    /// A copy of the store that nobody has open: looking at it changes nothing.
    pub(super) fn look(&self) -> Connection {
        let copy = self.path("look");
        copy_files(&self.path("data/store"), &copy);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
        Connection::open_with_flags(copy.join("store.db"), flags).unwrap()
    }

    pub(super) fn keep(&self) -> Kept {
        copy_files(&self.path("data/store"), &self.path("kept"));
        Kept(self.path("kept"), self.held.clone())
    }

    pub(super) fn put_back(&mut self, kept: &Kept) {
        copy_files(&kept.0, &self.path("data/store"));
        self.held.clone_from(&kept.1);
    }
}

/// An object of so many bytes, and the text in it.
fn made(collection: &str, name: &str, bytes: usize) -> (Value, String) {
    let unit = if collection == SECRETS { CANARY.to_owned() } else { format!("{name};") };
    let text = unit.repeat(bytes.div_ceil(unit.len()));
    let mut object = match collection {
        SECRETS => json!({"stringData": {"text": text}}),
        EVENTS => {
            json!({"involvedObject": {"namespace": "default"}, "reason": "Made", "type": "Normal", "message": text})
        }
        _ => json!({"data": {"text": text}}),
    };
    object["metadata"] = json!({"name": name});
    (object, text)
}

/// Where an object is kept.
pub(super) fn key(path: &str) -> String {
    path.replace("/api/v1/namespaces/default/", "/registry/").replace(OURS, &format!("default/{OURS}"))
}

pub(super) fn text(collection: &str, object: &Value) -> String {
    let text = match collection {
        EVENTS => &object["message"],
        _ => &object["data"]["text"],
    };
    let text = text.as_str().unwrap();
    if collection == SECRETS { String::from_utf8(STANDARD.decode(text).unwrap()).unwrap() } else { text.to_owned() }
}

/// The files of a store that SQLite has, in another directory that has none.
pub(super) fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let stores = |directory: &Path| files(directory).into_iter().filter(|file| is_of_store(file)).collect::<Vec<_>>();
    stores(to).iter().for_each(|file| fs::remove_file(file).unwrap());
    for file in stores(from) {
        fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
}

pub(super) fn is_of_store(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("store.db"))
}

pub(super) fn count(connection: &Connection, sql: &str, parameters: impl rusqlite::Params) -> usize {
    let count: i64 = connection.query_row(sql, parameters, |row| row.get(0)).unwrap();
    usize::try_from(count).unwrap()
}

/// What `store check` says of a store that nobody has open.
pub(super) fn checked(data: &Path) -> Value {
    let output = run(&["store", "check", "--data-dir", &data.display().to_string(), "--output", "json"]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

pub(super) fn assert_sound(data: &Path) {
    let said = checked(data);
    assert_eq!((&said["sound"], &said["unopened"]["count"]), (&json!(true), &json!(0)), "{said}");
}

/// Files under a directory, and how they change.
pub(super) struct Watched {
    directory: PathBuf,
    seen: Vec<(PathBuf, u64, SystemTime)>,
}

impl Watched {
    pub(super) fn new(directory: &Path) -> Self {
        let mut watched = Self { directory: directory.to_owned(), seen: Vec::new() };
        watched.is_changed();
        watched
    }

    pub(super) fn is_changed(&mut self) -> bool {
        // A file or a directory may go while it is looked at.
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let of_file = |path: PathBuf| {
            let metadata = fs::metadata(&path).ok()?;
            Some((path, metadata.len(), metadata.modified().ok()?))
        };
        let mut seen: Vec<_> =
            entries.map(|entry| entry.path()).filter(|path| is_of_store(path)).filter_map(of_file).collect();
        seen.sort();
        let is_changed = seen != self.seen;
        self.seen = seen;
        is_changed
    }

    /// Waits for the next change; false if there is none because something is over.
    pub(super) fn wait(&mut self, is_over: impl Fn() -> bool) -> bool {
        let begun = Instant::now();
        let mut asked = begun;
        loop {
            if self.is_changed() {
                return true;
            }
            if asked.elapsed() > ASK_INTERVAL {
                if is_over() {
                    return false;
                }
                asked = Instant::now();
            }
            assert!(begun.elapsed() < PATIENCE, "nothing happens");
            std::thread::sleep(PAUSE);
        }
    }
}

/// The program in the middle of something. It is killed when it is dropped.
pub(super) struct Running(Child);

impl Running {
    pub(super) fn start(arguments: &[&str], log: &Path) -> Self {
        let mut command = Command::new(program());
        command.args(arguments).env_remove("RUST_LOG").stdin(Stdio::null()).stdout(Stdio::null());
        Self(command.stderr(File::options().create(true).append(true).open(log).unwrap()).spawn().unwrap())
    }

    pub(super) fn is_over(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }

    /// Kills it after some changes in a directory or behind the last one, or lets it end; says whether it was killed.
    pub(super) fn kill_after(mut self, changes: u64, directory: &Path) -> bool {
        let mut watched = Watched::new(directory);
        let begun = Instant::now();
        let mut last = None;
        let mut left = changes;
        while left > 0 && last.is_none_or(|last: Instant| last.elapsed() < QUIET) {
            if self.is_over() {
                return false;
            }
            if watched.is_changed() {
                left -= 1;
                last = Some(Instant::now());
            }
            assert!(begun.elapsed() < PATIENCE, "it does nothing");
        }
        !self.is_over()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
