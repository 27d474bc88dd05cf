//! Recorded histories under faults, and the judges of them: what they must find, they find.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use portcullis_tests::build::program;
use portcullis_tests::histories::record::{
    Asked, Guard, Held, History, Kind, Operation, Reading, Sight, Told, Watched,
};
use portcullis_tests::histories::{linearizable, order, violations, watched};
use portcullis_tests::random::{Random, SEED};

const KEY: &str = "configmaps/a/h0";
const OTHER: &str = "configmaps/a/h1";
const SCOPE: &str = "configmaps/a";
/// Another number of rounds than CI plays.
const ROUNDS: &str = "HISTORY_ROUNDS";
const ROUNDS_USUAL: &str = "25";
/// How many of them wait side by side.
const PARALLEL: &str = "6";
const USUAL_SEED: u64 = 0x6869_7374;

fn held(version: u64, uid: &str, value: &str) -> Held {
    Held { version, uid: uid.to_owned(), value: value.to_owned() }
}

/// One operation on the first object; time is given in microseconds.
fn on(key: &str, at: (u64, u64), asked: Asked, told: Told) -> Operation {
    Operation { client: at.0, server: 0, subject: key.to_owned(), asked, told, invoked: at.0, returned: at.1 }
}

fn put(at: (u64, u64), guard: Guard, version: u64, value: &str) -> Operation {
    on(KEY, at, Asked::Put(value.to_owned(), guard), Told::Held(held(version, "u", value)))
}

fn create(at: (u64, u64), version: u64, value: &str) -> Operation {
    put(at, Guard::Absent, version, value)
}

fn get(at: (u64, u64), version: u64, value: &str) -> Operation {
    on(KEY, at, Asked::Get, Told::Held(held(version, "u", value)))
}

fn remove(at: (u64, u64)) -> Operation {
    on(KEY, at, Asked::Delete(Guard::Present), Told::Removed("u".to_owned()))
}

fn missing(at: (u64, u64)) -> Operation {
    on(KEY, at, Asked::Get, Told::Missing)
}

fn unknown(at: (u64, u64), asked: Asked) -> Operation {
    on(KEY, at, asked, Told::Unknown("lost".to_owned()))
}

fn other(at: (u64, u64), guard: Guard, version: u64, value: &str) -> Operation {
    on(OTHER, at, Asked::Put(value.to_owned(), guard), Told::Held(held(version, "w", value)))
}

fn list(at: (u64, u64), reading: Reading, versions: &[u64], items: &[(&str, Held)]) -> Operation {
    let items = items.iter().map(|(key, held)| ((*key).to_owned(), held.clone())).collect();
    on(SCOPE, at, Asked::List(reading), Told::Listed(versions.to_vec(), items))
}

fn operations(operations: &[Operation]) -> History {
    History { operations: operations.to_vec(), watched: Vec::new() }
}

/// A judge finds exactly what is named, and nothing in what is right.
fn check(judge: fn(&History) -> Vec<String>, history: &History, expected: Option<&str>) {
    let found = judge(history);
    match expected {
        None => assert!(found.is_empty(), "{found:#?}"),
        Some(expected) => assert!(found.iter().any(|found| found.contains(expected)), "{expected}: {found:#?}"),
    }
}

#[test]
fn the_general_judge_finds_what_no_order_explains() {
    let check = |list: &[Operation], expected| check(linearizable::violations, &operations(list), expected);
    let made = create((0, 10), 5, "a");
    let version = |version| Guard::Version(version);
    check(&[made.clone(), get((20, 30), 5, "a")], None);
    // While a write is under way, both states can be seen, but not the older after the newer.
    let write = put((20, 60), Guard::Present, 6, "b");
    check(&[made.clone(), write.clone(), get((21, 30), 5, "a"), get((31, 40), 6, "b")], None);
    check(&[made.clone(), write.clone(), get((21, 30), 6, "b"), get((31, 40), 5, "a")], Some("not linearizable"));
    // A stale read, a lost write, and one that comes again.
    check(&[made.clone(), write.clone(), get((70, 80), 5, "a")], Some("not linearizable"));
    check(&[made.clone(), missing((20, 30))], Some("not linearizable"));
    check(&[made.clone(), remove((20, 30)), missing((40, 50)), get((60, 70), 5, "a")], Some("not linearizable"));
    // Two may not replace the same version, and one who may not is told so.
    let (one, two) = (put((20, 60), version(5), 6, "b"), put((20, 60), version(5), 7, "c"));
    check(&[made.clone(), one.clone(), two], Some("not linearizable"));
    let unmet = on(KEY, (20, 60), Asked::Put("c".to_owned(), version(5)), Told::Unmet);
    check(&[made.clone(), one, unmet.clone()], None);
    check(&[made.clone(), unmet], Some("not linearizable"));
    // Without an answer it happened, later, or never, but not before it was asked for, and once.
    let lost = unknown((20, 30), Asked::Put("b".to_owned(), Guard::Present));
    check(&[made.clone(), lost.clone(), get((40, 50), 5, "a"), get((60, 70), 6, "b")], None);
    check(&[made.clone(), lost.clone(), get((60, 70), 5, "a")], None);
    check(&[made.clone(), lost.clone(), get((11, 19), 6, "b")], Some("not linearizable"));
    let between = put((52, 55), Guard::Present, 7, "c");
    let twice = [made.clone(), lost, get((40, 50), 6, "b"), between, get((60, 70), 6, "b")];
    check(&twice, Some("not linearizable"));
    let gone = unknown((20, 30), Asked::Delete(Guard::Present));
    check(&[made.clone(), gone.clone(), missing((40, 50)), missing((60, 70))], None);
    check(&[made.clone(), gone, missing((40, 50)), get((60, 70), 5, "a")], Some("not linearizable"));
    // A refusal promises that nothing happened.
    let refused = on(KEY, (20, 30), Asked::Put("b".to_owned(), Guard::Present), Told::Refused("full".to_owned()));
    check(&[made.clone(), refused, get((40, 50), 6, "b")], Some("not linearizable"));
    // A list reads each of its objects; one of any version promises nothing about time.
    let listed = |reading| list((70, 80), reading, &[7], &[(KEY, held(5, "u", "a"))]);
    check(&[made.clone(), write.clone(), listed(Reading::Newest)], Some("not linearizable"));
    check(&[made, write, listed(Reading::Any)], None);
}

#[test]
fn the_judge_by_versions_finds_and_names_what_is_wrong() {
    let check = |list: &[Operation], expected| check(order::violations, &operations(list), expected);
    let made = create((0, 10), 5, "a");
    let write = put((20, 60), Guard::Present, 7, "b");
    let both = [made.clone(), write.clone()];
    let with = |more: &[Operation]| [&both[..], more].concat();
    check(&with(&[get((70, 80), 7, "b")]), None);
    check(&with(&[get((70, 80), 5, "a")]), Some("stale read"));
    check(&with(&[get((1, 4), 7, "b")]), Some("read of the future"));
    check(&with(&[missing((70, 80))]), Some("lost write"));
    check(&with(&[put((70, 80), Guard::Present, 8, "b")]), Some("double apply"));
    check(&with(&[other((70, 80), Guard::Absent, 6, "x")]), Some("reused version"));
    check(&with(&[other((30, 80), Guard::Absent, 7, "x")]), Some("reused version"));
    check(&with(&[get((70, 80), 8, "nobody's")]), Some("invented value"));
    let refused = on(KEY, (20, 30), Asked::Put("c".to_owned(), Guard::Present), Told::Refused("full".to_owned()));
    check(&with(&[refused, get((70, 80), 8, "c")]), Some("a write without effect had one"));
    check(&with(&[remove((70, 80)), get((90, 99), 7, "b")]), Some("undone removal"));
    check(&with(&[put((70, 80), Guard::Version(5), 8, "c")]), Some("guard ignored"));
    check(&with(&[put((70, 80), Guard::Version(7), 8, "c")]), None);
    check(&with(&[put((70, 80), Guard::Value("a".to_owned()), 8, "c")]), Some("guard ignored"));
    check(&with(&[put((70, 80), Guard::Absent, 8, "c")]), Some("guard ignored"));
    // Lists are the state at their version, the newest where nothing older was asked for, in one piece.
    let (old, new) = (held(5, "u", "a"), held(7, "u", "b"));
    let read = |reading, versions: &[u64], items: &[(&str, Held)]| with(&[list((70, 80), reading, versions, items)]);
    check(&read(Reading::Newest, &[8], &[(KEY, new.clone())]), None);
    check(&read(Reading::Newest, &[6], &[(KEY, old.clone())]), Some("stale list"));
    check(&read(Reading::Any, &[6], &[(KEY, old.clone())]), None);
    check(&read(Reading::Newest, &[8], &[(KEY, old.clone())]), Some("torn list"));
    check(&read(Reading::Any, &[6], &[(KEY, new.clone())]), Some("torn list"));
    check(&read(Reading::Paged, &[7, 8], &[(KEY, new.clone())]), Some("torn list"));
    check(&read(Reading::Newest, &[8], &[]), Some("lost write"));
    let back = list((81, 90), Reading::Any, &[6], &[(KEY, old)]);
    check(&[read(Reading::Newest, &[8], &[(KEY, new.clone())]), vec![back]].concat(), Some("stale list"));
    // Of two objects, the newer is in it and the older is not.
    let third = other((11, 19), Guard::Absent, 6, "x");
    let torn = list((70, 80), Reading::Newest, &[8], &[(KEY, new)]);
    check(&with(&[third, torn]), Some("lost write"));
    // A removal without an answer may be why an object is missing, but not if it was read afterwards, or removed by another.
    let lost = unknown((62, 65), Asked::Delete(Guard::Present));
    let without = list((70, 80), Reading::Any, &[8], &[]);
    check(&with(&[lost.clone(), without.clone()]), None);
    check(&with(&[lost.clone(), without.clone(), get((90, 99), 7, "b")]), Some("torn list"));
    check(&with(&[lost.clone(), without.clone(), get((71, 99), 7, "b")]), None);
    check(&with(&[lost, without, remove((90, 99))]), Some("lost write"));
}

fn event(kind: Kind, version: u64, value: &str) -> Sight {
    Sight::Event(kind, KEY.to_owned(), held(version, "u", value))
}

/// What somebody saw who listed at 4, was told this, and then of the end of the scope at 20.
fn told(sights: &[Sight]) -> History {
    let first = Sight::Listed(4, BTreeMap::new());
    let last = Sight::Event(Kind::Added, "configmaps/a/end-1".to_owned(), held(20, "e", "end"));
    let sights = (0..).zip([&[first], sights, &[last]].concat()).collect();
    let end = Asked::Put("end".to_owned(), Guard::Absent);
    let operations = vec![
        create((0, 10), 5, "a"),
        put((20, 30), Guard::Present, 7, "b"),
        remove((40, 50)),
        on(KEY, (60, 70), Asked::Put("c".to_owned(), Guard::Absent), Told::Held(held(11, "v", "c"))),
        on("configmaps/a/end-1", (80, 90), end, Told::Held(held(20, "e", "end"))),
    ];
    History { operations, watched: vec![Watched { watcher: 0, scope: SCOPE.to_owned(), sights }] }
}

#[test]
fn the_judge_of_watchers_finds_and_names_what_is_wrong() {
    let check = |sights: &[Sight], expected| check(watched::violations, &told(sights), expected);
    let (added, modified) = (event(Kind::Added, 5, "a"), event(Kind::Modified, 7, "b"));
    let deleted = event(Kind::Deleted, 9, "b");
    let again = Sight::Event(Kind::Added, KEY.to_owned(), held(11, "v", "c"));
    let all = [added.clone(), modified.clone(), deleted.clone(), again.clone()];
    check(&all, None);
    let with = |place: usize, sight: Sight| {
        let mut sights = all.to_vec();
        sights.insert(place, sight);
        sights
    };
    let without = |place: usize| {
        let mut sights = all.to_vec();
        sights.remove(place);
        sights
    };
    check(&with(2, Sight::Broken), None);
    check(&with(2, Sight::Bookmark(8)), None);
    check(&without(1), Some("skipped event"));
    check(&without(3), Some("skipped event"));
    check(&without(2), Some("event of the wrong kind"));
    check(&[added.clone(), modified.clone()], Some("skipped event"));
    check(&with(1, added.clone()), Some("reordered watch"));
    check(&[modified.clone(), added.clone(), deleted.clone(), again.clone()], Some("reordered watch"));
    check(&with(1, Sight::Bookmark(8)), Some("bookmark ahead of events"));
    check(&with(2, Sight::Bookmark(6)), Some("bookmark went back"));
    let stale = event(Kind::Deleted, 9, "a");
    check(&[added.clone(), modified.clone(), stale, again.clone()], Some("deletion with another state"));
    let kind = event(Kind::Added, 7, "b");
    check(&[added.clone(), kind, deleted.clone(), again.clone()], Some("event of the wrong kind"));
    // Whoever begins anew sees what he is shown then, and nothing of before.
    let items = BTreeMap::from([(KEY.to_owned(), held(11, "v", "c"))]);
    check(&[added.clone(), Sight::Expired, Sight::Listed(12, items)], None);
    check(&[added.clone(), Sight::Expired, again.clone()], Some("event without a state"));
    let mut unended = told(&all);
    unended.watched[0].sights.pop();
    assert!(watched::violations(&unended).iter().any(|found| found.contains("watch not ended")));
}

/// Plays rounds in processes of their own.
fn histories(arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_histories"));
    let output = command.args(arguments).arg("--program").arg(program()).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What a real round recorded pleases the judges, and not with any single thing in it changed.
#[test]
fn a_recorded_history_that_is_changed_is_found_out() {
    let seed = Random::seed(USUAL_SEED);
    println!("{SEED}={seed}");
    let directory = tempfile::tempdir().unwrap();
    let keep = directory.path().display().to_string();
    let (is_good, printed) =
        histories(&["--rounds", "1", "--fault", "kill", "--seed", &seed.to_string(), "--keep", &keep, "--record"]);
    assert!(is_good, "{printed}");
    let file = directory.path().join(format!("history-kill-{seed}.jsonl"));
    let history = History::from_lines(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(violations(&history), Vec::<String>::new());
    let mut random = Random::new(seed, 0);
    let mut check = |what: &str, change: &dyn Fn(&mut History, &mut Random) -> bool| {
        for _ in 0..8 {
            let mut changed = history.clone();
            assert!(change(&mut changed, &mut random), "{what}: there was nothing to change");
            assert!(!violations(&changed).is_empty(), "{what} was not found out");
        }
    };
    check("another value in an answer", &|history, random| {
        let reads = history.operations.iter_mut().filter(|read| matches!(read.told, Told::Held(_)));
        let mut reads: Vec<_> = reads.collect();
        let place = usize::try_from(random.below(reads.len() as u64)).unwrap();
        let Told::Held(held) = &mut reads[place].told else { return false };
        held.value.push('x');
        true
    });
    check("two acknowledged writes of one client with each other's versions", &|history, random| {
        let writes = history.operations.iter_mut().filter_map(|write| match (&write.asked, &mut write.told) {
            (Asked::Put(..), Told::Held(held)) => Some((write.client, held)),
            _ => None,
        });
        let mut writes: Vec<_> = writes.collect();
        let pairs: Vec<_> = (1..writes.len()).filter(|place| writes[place - 1].0 == writes[*place].0).collect();
        let (before, after) = writes.split_at_mut(*random.choose(&pairs));
        std::mem::swap(&mut before.last_mut().unwrap().1.version, &mut after[0].1.version);
        true
    });
    let acknowledged: BTreeSet<_> = history.operations.iter().filter_map(version_written).collect();
    // Whoever begins anew after it may have missed it for good reason.
    check("an event of an acknowledged write that is left out", &|history, random| {
        let watched = &mut history.watched[0].sights;
        let goes_on = |place: usize| {
            let mut later = watched[place + 1..].iter().filter(|(_, sight)| *sight != Sight::Broken);
            matches!(later.next(), Some((_, Sight::Event(..) | Sight::Bookmark(_))))
        };
        let is_known =
            |sight: &Sight| matches!(sight, Sight::Event(_, _, held) if acknowledged.contains(&held.version));
        let events: Vec<_> =
            (0..watched.len()).filter(|place| is_known(&watched[*place].1) && goes_on(*place)).collect();
        watched.remove(*random.choose(&events));
        true
    });
    // Of an object that was seen afterwards, so that nobody can have removed it before, and in a state whose writer was told when he
    // wrote it: what somebody wrote without an answer may as well have come about later.
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for operation in &history.operations {
        if let Told::Held(held) = &operation.told {
            let last = seen.entry(&held.uid).or_default();
            *last = operation.invoked.max(*last);
        }
    }
    check("an object that is missing in a list", &|history, random| {
        let mut items = Vec::new();
        for (place, list) in history.operations.iter().enumerate() {
            let Told::Listed(_, listed) = &list.told else { continue };
            let is_certain = |held: &Held| {
                acknowledged.contains(&held.version)
                    && seen.get(held.uid.as_str()).is_some_and(|last| *last > list.returned)
            };
            items.extend(listed.iter().filter(|(_, held)| is_certain(held)).map(|(key, _)| (place, key.clone())));
        }
        let (place, key) = random.choose(&items);
        let Told::Listed(_, listed) = &mut history.operations[*place].told else { return false };
        listed.remove(key).is_some()
    });
}

/// The version of an acknowledged write.
fn version_written(operation: &Operation) -> Option<u64> {
    match (&operation.asked, &operation.told) {
        (Asked::Put(..), Told::Held(held)) => Some(held.version),
        _ => None,
    }
}

#[test]
fn what_clients_are_told_under_faults_is_linearizable() {
    let rounds = std::env::var(ROUNDS).unwrap_or_else(|_| ROUNDS_USUAL.to_owned());
    let seed = Random::seed(USUAL_SEED);
    println!("{SEED}={seed}");
    let (is_good, printed) = histories(&["--rounds", &rounds, "--parallel", PARALLEL, "--seed", &seed.to_string()]);
    println!("{printed}");
    assert!(is_good);
}
