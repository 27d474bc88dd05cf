//! A page of the file that SQLite cannot read, met by a running engine: it is an error of the objects on it, and of nothing beside them.

use std::{
    ops::Range,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use portcullis_store::{
    Change, CommitError, Condition, Engine, Operation, Resealed,
    embedded::{Embedded, Options, check_on},
};

use crate::{Events, expiry::Clocks, faults::all, seals::Turning, vfs::SimulatedDisk};

const ROWS: usize = 600;
const VALUE_BYTES: usize = 300;
const PAGE_BYTES: usize = 4096;
const LIFETIME: Duration = Duration::from_secs(3600);

/// A store on a disk, and a page of it in the middle of the rows.
struct Stage {
    disk: Arc<SimulatedDisk>,
    clocks: Arc<Clocks>,
    sealing: Arc<Turning>,
    failures: Arc<Mutex<Vec<String>>>,
    kind: &'static str,
    page: Range<usize>,
    /// The page as it was.
    content: Vec<u8>,
    /// The rows on it.
    hit: Range<usize>,
}

impl Stage {
    async fn new(kind: &'static str) -> Stage {
        let (failures, sealing) = (Arc::default(), Arc::default());
        let (disk, clocks, content) = (SimulatedDisk::new(), Clocks::new(), Vec::new());
        let mut stage = Stage { disk, clocks, sealing, failures, kind, page: 0..0, content, hit: 0..0 };
        let engine = stage.open();
        for number in 0..ROWS {
            engine.commit(stage.put(number, b'a').into()).await.unwrap();
        }
        engine.close().await;
        drop(engine);
        let mut image = stage.disk.live();
        let file = image.file("store.db").unwrap();
        let rows_of = |page: &[u8]| {
            let text = String::from_utf8_lossy(page);
            (0..ROWS).filter(|number| text.contains(&stage.key(*number))).collect::<Vec<_>>()
        };
        let pages = file.chunks(PAGE_BYTES).map(rows_of);
        let (number, hit) = pages.enumerate().find(|(_, rows)| rows.contains(&(ROWS / 2))).unwrap();
        stage.hit = hit[0]..hit[0] + hit.len();
        stage.page = number * PAGE_BYTES..(number + 1) * PAGE_BYTES;
        stage.content = file[stage.page.clone()].to_vec();
        stage
    }

    fn open(&self) -> Embedded {
        let failures = self.failures.clone();
        let on_failure = Box::new(move |reason: &str| failures.lock().unwrap().push(reason.to_owned()));
        let options = Options {
            catalog: Arc::new(Events(LIFETIME)),
            clock: self.clocks.clone(),
            sealing: self.sealing.clone(),
            disk: self.disk.clone(),
            on_failure,
            ..Options::new(self.disk.store())
        };
        Embedded::open(options).unwrap()
    }

    fn key(&self, number: usize) -> String {
        format!("/registry/{}/default/{number:04}", self.kind)
    }

    fn put(&self, number: usize, letter: u8) -> Operation {
        let change = Change::Put(vec![letter; VALUE_BYTES].into());
        Operation { key: self.key(number).into(), condition: Condition::Any, change }
    }

    /// The page cannot be read from now on.
    fn damage(&self) {
        self.disk.damage("store.db", |file| file[self.page.clone()].fill(0xa5));
    }

    /// It can be read again, as it was; and is, by a comparison.
    async fn mend(&self, engine: &Embedded) {
        self.disk.damage("store.db", |file| file[self.page.clone()].copy_from_slice(&self.content));
        assert!(engine.verify().await.unwrap().is_sound());
    }

    /// What is in the store when it is opened again.
    async fn reopen(&self, engine: Embedded) -> Vec<(String, u8)> {
        engine.close().await;
        drop(engine);
        assert_eq!(*self.failures.lock().unwrap(), [""; 0]);
        assert!(check_on(self.disk.clone(), &self.disk.store()).unwrap().is_sound());
        let snapshot = self.open().snapshot();
        snapshot.range("/registry/", None).map(|(key, entry)| (key.to_string(), entry.value[0])).collect()
    }
}

#[tokio::test]
async fn commits_beside_a_bad_page_are_done() {
    let stage = Stage::new("configmaps").await;
    let engine = stage.open();
    stage.damage();
    let before = engine.snapshot().revision();
    let mut commits: Vec<Vec<Operation>> = (0..ROWS).map(|number| vec![stage.put(number, b'b')]).collect();
    // All of a commit or nothing; and what is refused is not there for those behind it.
    commits.push(vec![stage.put(0, b'c'), stage.put(stage.hit.start, b'c')]);
    commits.push(vec![Operation { condition: Condition::Version(before + 1), ..stage.put(0, b'd') }]);
    let outcomes = all(commits.into_iter().map(|operations| engine.commit(operations.into())).collect()).await;
    let mut revision = before;
    for (number, outcome) in outcomes.into_iter().enumerate() {
        if stage.hit.contains(&number) || number == ROWS {
            assert!(matches!(outcome, Err(CommitError::Rejected { .. })), "{number}: {outcome:?}");
        } else {
            revision += 1;
            assert_eq!(outcome.unwrap().revision, revision, "{number}");
        }
    }
    assert_eq!(engine.snapshot().revision(), revision);
    let letter = |number: usize| match number {
        0 => b'd',
        _ if stage.hit.contains(&number) => b'a',
        _ => b'b',
    };
    let expected: Vec<_> = (0..ROWS).map(|number| (stage.key(number), letter(number))).collect();
    stage.mend(&engine).await;
    assert!(stage.reopen(engine).await == expected);
}

/// What cannot be removed is tried again later, and keeps nothing else.
#[tokio::test]
async fn what_is_due_beside_a_bad_page_goes() {
    let stage = Stage::new("events").await;
    let engine = stage.open();
    stage.damage();
    stage.clocks.pass(LIFETIME);
    engine.maintain().await.unwrap();
    let left: Vec<String> = engine.snapshot().range("/registry/", None).map(|(key, _)| key.to_string()).collect();
    let hit: Vec<String> = stage.hit.clone().map(|number| stage.key(number)).collect();
    // A page that becomes nearly empty is merged with its neighbours, so that the last rows beside the bad page meet it, too.
    assert!(hit.iter().all(|key| left.contains(key)) && left.len() <= 4 * hit.len(), "{left:?} of {hit:?}");
    engine.commit(Operation::create("/registry/pods/a", "a".into()).into()).await.unwrap();
    stage.mend(&engine).await;
    stage.clocks.pass(Duration::from_secs(600));
    engine.maintain().await.unwrap();
    assert_eq!(stage.reopen(engine).await, [("/registry/pods/a".to_owned(), b'a')]);
}

#[tokio::test]
async fn values_beside_a_bad_page_are_sealed_anew() {
    let stage = Stage::new("secrets").await;
    let engine = stage.open();
    stage.damage();
    stage.sealing.key.store(1, Ordering::Relaxed);
    let unopened = stage.hit.len();
    assert_eq!(engine.reseal().await.unwrap(), Resealed { rewritten: ROWS - unopened, unopened });
    assert_eq!(engine.reseal().await.unwrap(), Resealed { rewritten: 0, unopened });
    stage.mend(&engine).await;
    assert_eq!(engine.reseal().await.unwrap(), Resealed { rewritten: unopened, unopened: 0 });
    assert!(engine.verify().await.unwrap().is_sound());
    assert_eq!(stage.reopen(engine).await.len(), ROWS);
}
