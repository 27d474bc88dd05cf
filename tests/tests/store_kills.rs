//! The program is killed in the middle of long work of the store: sealing anew under a new key, giving space back, removing what has
//! expired, bringing an older file to today's format, and the commands that restore, copy and repair. What was acknowledged is there
//! afterwards and nothing else, no secret is readable on disk, and the work comes to its end in the next run.
//!
//! A kill comes after as many changes of the store's files as the seed says. Where the work was done by then it begins again, until it was
//! met in the middle often enough.

mod commands;
mod place;

use std::fs;
use std::time::Instant;

use nix::sys::signal::Signal;
use portcullis_tests::build::program;
use portcullis_tests::canary::files;
use portcullis_tests::client::Client;
use portcullis_tests::clock;
use portcullis_tests::histories::fault::Fault;
use portcullis_tests::program::{Server, run};
use portcullis_tests::random::{Random, SEED};
use rusqlite::Connection;

use place::{ASK_INTERVAL, CONFIG_MAPS, EVENTS, Kept, PATIENCE, Place, SECRETS, Watched, count, is_of_store};

/// Kills that must meet the work in the middle, and kills altogether until they did.
const MIDWAY: usize = 2;
const KILLS_MAX: usize = 24;
/// Changes of the files before a kill, at most, where each is a small part of the work.
const CHANGES_MAX: u64 = 10;
/// How often somebody writes while the work goes on: after one change in so many.
const WRITE_PART: u64 = 3;
const USUAL_SEED: u64 = 0x6b69_6c6c_776f_726b;

fn random(chooser: u64) -> Random {
    let seed = Random::seed(USUAL_SEED);
    println!("{SEED}={seed}");
    Random::new(seed, chooser)
}

/// Some work that is to be met in the middle.
struct Work<'a> {
    /// Changes of the files before a kill, at most.
    changes_max: u64,
    /// Whether a server has done it, by what is seen from outside.
    is_done: &'a dyn Fn(&Place, &Client) -> bool,
    /// How much is left, by what is in the file.
    left: &'a dyn Fn(&Connection) -> usize,
}

impl Place {
    /// Kills servers that do some work, until it was met in the middle often enough. Then it comes to its end.
    fn kill_at(&mut self, work: &Work<'_>, kept: &Kept, random: &mut Random) {
        let mut before = (work.left)(&self.look());
        let mut midway = 0;
        for kill in 0.. {
            assert!(kill < KILLS_MAX, "never met in the middle: {midway} of {MIDWAY} times");
            let server = self.start(program(), &[]);
            self.kill_after(server, 1 + random.below(work.changes_max), work, random);
            self.check_file();
            let left = (work.left)(&self.look());
            println!("killed with {left} left of {before}");
            assert!(left <= before, "what was done is not done any more: {left} of {before}");
            midway += usize::from((1..before).contains(&left));
            if midway == MIDWAY {
                break;
            }
            before = left;
            if left == 0 {
                self.finish(work);
                self.put_back(kept);
                before = (work.left)(&self.look());
            }
        }
        self.finish(work);
    }

    /// Waits for some changes of the store's files, or for the end of the work, and kills the server.
    fn kill_after(&mut self, server: Server, changes: u64, work: &Work<'_>, random: &mut Random) {
        let admin = server.admin();
        let mut watched = Watched::new(&self.path("data/store"));
        for _ in 0..changes {
            if !watched.wait(|| (work.is_done)(self, &admin)) {
                break;
            }
            if random.below(WRITE_PART) == 0 {
                self.disturb(&admin, random);
            }
        }
        server.signal(Signal::SIGKILL);
        server.ended();
    }

    /// Lets a server do all of it.
    fn finish(&mut self, work: &Work<'_>) {
        let server = self.start(program(), &[]);
        let admin = server.admin();
        let begun = Instant::now();
        while !(work.is_done)(self, &admin) {
            assert!(begun.elapsed() < PATIENCE, "the work has no end");
            std::thread::sleep(ASK_INTERVAL);
        }
        self.check(&admin);
        server.compare_store().unwrap();
        server.stop();
        assert_eq!((work.left)(&self.look()), 0);
        self.check_file();
    }
}

/// The newest key that seals.
fn newest_key(place: &Place) -> String {
    let text = fs::read_to_string(place.path("data.seal/seal-key")).unwrap();
    text.lines().find_map(|line| line.strip_prefix("key ")).unwrap().split(' ').next().unwrap().to_owned()
}

/// What is sealed under an older key is sealed anew. The first kill comes while a server takes the new key up, the next ones find it there.
#[test]
fn sealing_anew_is_killed() {
    let mut random = random(1);
    let mut place = Place::new();
    let server = place.start(program(), &[]);
    place.make(&server.admin(), SECRETS, 40, 150_000);
    place.make(&server.admin(), CONFIG_MAPS, 3, 1000);
    server.stop();
    let kept = place.keep();
    let server = place.start(program(), &[]);
    let old = newest_key(&place);
    let rotated = run(&["store", "rotate-key", "--data-dir", place.data().to_str().unwrap()]);
    assert!(rotated.status.success(), "{rotated:?}");
    let new = newest_key(&place);
    assert_ne!(old, new);
    // Nothing of the old key is left, not even in pages that are free.
    let is_done = |place: &Place, _: &Client| {
        let of_store = files(&place.path("data/store")).into_iter().filter(|file| is_of_store(file));
        of_store.map(|file| fs::read(file).unwrap()).all(|content| !String::from_utf8_lossy(&content).contains(&old))
    };
    let left = |connection: &Connection| {
        let sql = "SELECT count(*) FROM objects WHERE key LIKE '/registry/secrets/%' AND instr(value, ?1) = 0";
        count(connection, sql, [new.as_bytes()])
    };
    let work = Work { changes_max: CHANGES_MAX, is_done: &is_done, left: &left };
    place.kill_after(server, 1 + random.below(work.changes_max), &work, &mut random);
    place.check_file();
    place.kill_at(&work, &kept, &mut random);
}

/// After most of a store was removed, its file becomes shorter.
#[test]
fn giving_space_back_is_killed() {
    let mut random = random(2);
    let mut place = Place::new();
    let server = place.start(program(), &[]);
    let admin = server.admin();
    place.make(&admin, SECRETS, 4, 20_000);
    let large = place.make(&admin, CONFIG_MAPS, 40, 400_000);
    place.make(&admin, SECRETS, 4, 20_000);
    large.iter().for_each(|path| place.remove(&admin, path));
    server.signal(Signal::SIGKILL);
    server.ended();
    // One page in eight and 1 MiB may be free: the rest is small.
    const BYTES_MAX: u64 = 3 << 20;
    let is_done = |place: &Place, _: &Client| fs::metadata(place.file()).unwrap().len() <= BYTES_MAX;
    let left = |connection: &Connection| {
        let bytes = count(connection, "PRAGMA page_count", []) * 4096;
        bytes.saturating_sub(usize::try_from(BYTES_MAX).unwrap())
    };
    let work = Work { changes_max: CHANGES_MAX, is_done: &is_done, left: &left };
    let kept = place.keep();
    place.kill_at(&work, &kept, &mut random);
}

/// Events live for an hour; here two have passed since they were made.
#[test]
fn expiry_is_killed() {
    if let Some(lacked) = Fault::Clock.lacks() {
        assert!(std::env::var_os("CI").is_none(), "CI needs {lacked}");
        return println!("not played, there is no {lacked} here");
    }
    let mut random = random(3);
    let mut place = Place::new();
    let earlier = clock::off_by("-2h", place.directory.path(), program()).unwrap();
    let server = place.start(&earlier, &[]);
    place.make(&server.admin(), EVENTS, 2500, 500);
    place.make(&server.admin(), SECRETS, 5, 1000);
    place.check(&server.admin());
    server.signal(Signal::SIGKILL);
    server.ended();
    // What expires goes by itself.
    place.held.retain(|path, _| !path.starts_with(EVENTS));
    place.check_file();
    let is_done = |_: &Place, admin: &Client| {
        admin.get(&format!("{EVENTS}?limit=1")).json()["items"].as_array().is_some_and(Vec::is_empty)
    };
    let left = |connection: &Connection| {
        count(connection, "SELECT count(*) FROM objects WHERE key LIKE '/registry/events/%'", [])
    };
    let kept = place.keep();
    place.kill_at(&Work { changes_max: 1, is_done: &is_done, left: &left }, &kept, &mut random);
}
