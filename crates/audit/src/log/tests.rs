#![allow(clippy::unwrap_used)]

mod faults;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::sync::atomic::{AtomicI64, AtomicU64};

use super::medium::Medium;
use super::*;
use crate::BoxFuture;
use crate::verify::{Finding, Known, Remark, Report, Source, verify};

const SECOND: i64 = 1_000_000;

/// A store that remembers what it was told, or refuses.
#[derive(Default)]
struct Store {
    kept: Mutex<Option<Heads>>,
    refuses: AtomicBool,
}

impl Store {
    fn kept(&self) -> Option<Heads> {
        *self.kept.lock().unwrap()
    }
}

impl HeadStore for Store {
    fn kept(&self) -> BoxFuture<'_, Result<Option<Heads>, HeadStoreError>> {
        Box::pin(async { Ok(Store::kept(self)) })
    }

    fn keep(&self, heads: Heads) -> BoxFuture<'_, Result<(), HeadStoreError>> {
        Box::pin(async move {
            if self.refuses.load(Ordering::Relaxed) {
                return Err(HeadStoreError { reason: "no".to_owned() });
            }
            *self.kept.lock().unwrap() = Some(heads);
            Ok(())
        })
    }
}

/// A disk with so much room, which a test can change.
#[derive(Clone)]
struct SmallDisk {
    room: Arc<AtomicU64>,
}

struct SmallMedium {
    inner: Box<dyn Medium>,
    room: Arc<AtomicU64>,
}

fn full() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

impl Disk for SmallDisk {
    fn open(&self, path: &Path) -> io::Result<(Box<dyn Medium>, u64)> {
        let (inner, len) = SystemDisk.open(path)?;
        Ok((Box::new(SmallMedium { inner, room: Arc::clone(&self.room) }), len))
    }
}

impl Medium for SmallMedium {
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = usize::try_from(self.room.load(Ordering::Relaxed)).unwrap();
        let written = self.inner.append(&bytes[..bytes.len().min(room)])?;
        self.room.fetch_sub(written as u64, Ordering::Relaxed);
        if written == 0 { Err(full()) } else { Ok(written) }
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.inner.cut(len)
    }

    fn reserve(&mut self, _end: u64, bytes: u64) -> io::Result<bool> {
        if self.room.load(Ordering::Relaxed) < bytes { Err(full()) } else { Ok(true) }
    }

    fn file(&self) -> Option<Arc<fs::File>> {
        self.inner.file()
    }
}

/// A server's log, over as many starts as a test likes.
struct Server {
    directory: tempfile::TempDir,
    store: Store,
    now: Arc<AtomicI64>,
    disk: Arc<dyn Disk>,
    options: Options,
}

fn server() -> Server {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        destination: Destination::File(directory.path().join("audit/audit.log")),
        strangers: directory.path().join("audit/strangers.log"),
        file_bytes_max: 100 << 20,
        retention: Retention { backups_max: 10, age_seconds_max: 0, is_compressing: false },
        mode: Mode::Blocking,
        truncation: None,
        metrics: LogMetrics::new().unwrap(),
    };
    let now = Arc::new(AtomicI64::new(1_790_000_000 * SECOND));
    Server { directory, store: Store::default(), now, disk: Arc::new(SystemDisk), options }
}

impl Server {
    async fn start(&self) -> Arc<Log> {
        let now = Arc::clone(&self.now);
        let clock = Arc::new(move || now.load(Ordering::Relaxed));
        let log = Log::open_on(self.options.clone(), self.store.kept().as_ref(), &self.disk, clock).unwrap();
        log.anchor(&self.store).await;
        Arc::new(log)
    }

    fn pass(&self, seconds: i64) {
        self.now.fetch_add(seconds * SECOND, Ordering::Relaxed);
    }

    fn place(&self) -> Place {
        Place::of(&self.directory.path().join("audit/audit.log")).unwrap()
    }

    fn text(&self) -> String {
        fs::read_to_string(self.place().current()).unwrap()
    }

    fn verify(&self) -> Report {
        let kept = self.store.kept().unwrap();
        self.verify_by(&Known::kept(&kept.log, kept.is_closed, !kept.is_closed), "audit.log")
    }

    fn verify_by(&self, known: &Known, name: &str) -> Report {
        let place = Place::of(&self.directory.path().join("audit").join(name)).unwrap();
        let (sources, has_current) = Source::all(&place).unwrap();
        verify(sources, has_current, known)
    }

    /// The one thing that a check finds.
    fn finding(&self) -> Finding {
        let report = self.verify();
        assert_eq!(report.findings.len(), 1, "{report:?}");
        report.findings[0].clone()
    }
}

fn event(text: &str) -> String {
    format!(r#"{{"kind":"Event","verb":"{text}","annotations":{{"a":"b"}}}}"#)
}

fn write(log: &Arc<Log>, count: usize) {
    for number in 0..count {
        log.writer.write(event(&number.to_string())).unwrap();
    }
}

#[tokio::test]
async fn one_chain_over_all_starts() {
    let server = server();
    for _ in 0..3 {
        let log = server.start().await;
        write(&log, 4);
        log.close(&server.store).await;
        assert!(log.writer.write(event("late")).is_err());
        assert!(server.verify().is_whole());
    }
    // And after an end without order.
    let log = server.start().await;
    write(&log, 2);
    drop(log);
    let log = server.start().await;
    write(&log, 1);
    log.close(&server.store).await;
    let report = server.verify();
    assert!(report.is_whole() && report.remarks.is_empty(), "{report:?}");
    assert_eq!((report.lines, report.beyond_head), (15, 0));
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(server.place().current()), mode(server.directory.path().join("audit"))), (0o600, 0o700));
}

#[tokio::test]
async fn files_are_rotated_compressed_and_removed_without_losing_the_chain() {
    for is_compressing in [false, true] {
        let mut server = server();
        server.options.file_bytes_max = 2_000;
        server.options.retention = Retention { backups_max: 3, age_seconds_max: 0, is_compressing };
        let log = server.start().await;
        for _ in 0..10 {
            write(&log, 10);
            server.pass(1);
            log.anchor(&server.store).await;
            let report = server.verify();
            assert!(report.is_whole(), "{report:?}");
        }
        let files = server.place().list().unwrap();
        assert_eq!(files.iter().map(|file| file.is_compressed).collect::<Vec<_>>(), [is_compressing; 3]);
        assert!(files.iter().all(|file| fs::metadata(&file.path).unwrap().permissions().mode() & 0o777 == 0o600));
        let report = server.verify();
        assert_eq!((report.files, report.last.unwrap().sequence), (4, 100));
        assert!(report.first.unwrap() > 50 && report.remarks.is_empty(), "{report:?}");
        // The next start continues them.
        drop(log);
        fs::remove_file(server.place().current()).unwrap();
        fs::write(server.place().current(), "").unwrap();
        let lost = report.last.unwrap().sequence - server.verify().last.unwrap().sequence;
        assert!(matches!(server.finding(), Finding::TailCut { numbers } if numbers.to + 1 - numbers.from == lost));
        // The oldest goes without the server.
        fs::remove_file(&files[0].path).unwrap();
        assert!(server.verify().findings.iter().any(|finding| matches!(finding, Finding::FrontCut { .. })));
    }
}

#[tokio::test]
async fn old_files_are_removed_after_the_store_knows() {
    let mut server = server();
    server.options.file_bytes_max = 1_000;
    server.options.retention = Retention { backups_max: 0, age_seconds_max: 86_400, is_compressing: false };
    let log = server.start().await;
    write(&log, 20);
    log.anchor(&server.store).await;
    let before = server.place().list().unwrap().len();
    assert!(before > 2);
    server.pass(2 * 86_400);
    server.store.refuses.store(true, Ordering::Relaxed);
    write(&log, 1);
    log.anchor(&server.store).await;
    assert!(server.place().list().unwrap().len() >= before, "nothing goes that the store does not know of");
    server.store.refuses.store(false, Ordering::Relaxed);
    log.anchor(&server.store).await;
    assert!(server.place().list().unwrap().len() < 2);
    assert!(server.verify().is_whole());
}

#[tokio::test]
async fn a_torn_line_is_set_aside_and_said() {
    let server = server();
    let log = server.start().await;
    write(&log, 3);
    log.anchor(&server.store).await;
    write(&log, 2);
    drop(log);
    let text = server.text();
    fs::write(server.place().current(), &text[..text.len() - 10]).unwrap();
    let log = server.start().await;
    write(&log, 1);
    log.close(&server.store).await;
    drop(log);
    let report = server.verify();
    assert!(report.is_whole(), "{report:?}");
    assert_eq!(report.remarks, [Remark::Noted { kind: NoteKind::Torn, sequence: 5 }]);
    let torn = fs::read_to_string(server.place().torn()).unwrap();
    assert!(text.contains(&torn) && torn.starts_with(r#"{"kind""#), "{torn}");
    assert!(server.text().contains(&Hash::of(torn.as_bytes()).to_string()));
    // What was kept is not torn by a crash.
    let text = server.text();
    fs::write(server.place().current(), &text[..text.len() - 10]).unwrap();
    drop(server.start().await);
    let findings = server.verify().findings;
    assert!(
        findings.iter().any(|finding| matches!(finding, Finding::Noted { kind: NoteKind::Cut, .. })),
        "{findings:?}"
    );
}

/// What was done while the server was down stays to be found.
#[tokio::test]
async fn a25_a_start_says_what_was_done_and_verify_still_finds_it() {
    let check = async |crashes: bool, change: fn(&mut Vec<String>), kind: NoteKind| {
        let server = server();
        let log = server.start().await;
        write(&log, 5);
        log.anchor(&server.store).await;
        if !crashes {
            log.close(&server.store).await;
        }
        drop(log);
        let mut lines: Vec<String> = server.text().lines().map(str::to_owned).collect();
        change(&mut lines);
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        fs::write(server.place().current(), text).unwrap();
        for _ in 0..2 {
            let log = server.start().await;
            write(&log, 2);
            log.close(&server.store).await;
        }
        let findings = server.verify().findings;
        let noted = findings.iter().filter(|finding| matches!(finding, Finding::Noted { .. })).count();
        assert_eq!(noted, 1, "{findings:?}");
        assert!(findings.contains(&Finding::Noted { kind, sequence: server.noted() }), "{kind:?}: {findings:?}");
        assert!(findings.len() > 1, "{kind:?}: {findings:?}");
    };
    for crashes in [false, true] {
        check(crashes, |lines| lines.truncate(3), NoteKind::Cut).await;
        check(crashes, Vec::clear, NoteKind::Cut).await;
        check(crashes, |lines| lines[4] = lines[4].replace("verb", "verv"), NoteKind::Changed).await;
        check(crashes, |lines| lines[4] = "{}".to_owned(), NoteKind::Foreign).await;
        let anew = |lines: &mut Vec<String>| {
            let mut head = Head::NONE;
            for line in lines.iter_mut() {
                *line = event("forged");
                head = seal(line, &head);
            }
        };
        check(crashes, anew, NoteKind::Changed).await;
    }
    let append = |lines: &mut Vec<String>| {
        let mut line = event("forged");
        seal(&mut line, &Head { sequence: 5, hash: Hash::of(lines[4].as_bytes()) });
        lines.push(line);
    };
    check(false, append, NoteKind::Added).await;
    let anew_and_longer = |lines: &mut Vec<String>| {
        let mut head = Head { sequence: 3, hash: Hash::of(lines[2].as_bytes()) };
        lines.truncate(3);
        for _ in 0..5 {
            let mut line = event("forged");
            head = seal(&mut line, &head);
            lines.push(line);
        }
    };
    check(true, anew_and_longer, NoteKind::Changed).await;
}

impl Server {
    /// The number of the note.
    fn noted(&self) -> u64 {
        let text = self.text();
        let line = text.lines().find(|line| NoteKind::of(line.as_bytes()).is_some()).unwrap();
        Sealed::of(line.as_bytes()).unwrap().sequence
    }
}

#[tokio::test]
async fn a_store_that_knows_nothing_is_said() {
    let server = server();
    let log = server.start().await;
    write(&log, 2);
    log.close(&server.store).await;
    drop(log);
    *server.store.kept.lock().unwrap() = None;
    let log = server.start().await;
    write(&log, 1);
    log.close(&server.store).await;
    let report = server.verify();
    assert!(report.is_whole());
    assert_eq!(report.remarks, [Remark::Noted { kind: NoteKind::NoHead, sequence: 3 }]);
}

/// A server that was killed in the moment in which it wrote its first lines: the head that was kept is that of an empty log.
#[tokio::test]
async fn lines_behind_the_head_of_an_empty_log_are_those_of_the_last_moment() {
    let server = server();
    let log = server.start().await;
    assert_eq!(server.store.kept().unwrap().log, ChainHead::NONE);
    write(&log, 3);
    log.writer.write_stranger(Ok(event("stranger")));
    drop(log);
    let log = server.start().await;
    let first = |text: &str| Hash::of(text.lines().next().unwrap().as_bytes());
    let kept = server.store.kept().unwrap();
    assert_eq!((kept.log.first.sequence, kept.log.first.hash), (1, first(&server.text())));
    assert_eq!((kept.log.head.sequence, kept.strangers.head.sequence), (3, 1));
    write(&log, 1);
    log.close(&server.store).await;
    let report = server.verify();
    assert!(report.is_whole() && report.remarks.is_empty(), "{report:?}");
    assert_eq!(report.lines, 4);
}

/// The same, and somebody had their hands on what was written: to be found as behind any other head.
#[tokio::test]
async fn a25_what_is_no_log_from_its_beginning_is_said() {
    let check = async |change: &dyn Fn(&mut Vec<String>), is_closed: bool, expected: NoteKind| {
        let server = server();
        let log = server.start().await;
        write(&log, 3);
        drop(log);
        let mut lines: Vec<String> = server.text().lines().map(|line| format!("{line}\n")).collect();
        change(&mut lines);
        fs::write(server.place().current(), lines.concat()).unwrap();
        if is_closed {
            let kept = server.store.kept().unwrap();
            *server.store.kept.lock().unwrap() = Some(Heads { is_closed, ..kept });
        }
        server.start().await.close(&server.store).await;
        let text = server.text();
        let kinds: Vec<_> = text.lines().filter_map(|line| NoteKind::of(line.as_bytes())).collect();
        assert_eq!(kinds, [expected]);
        assert!(!server.verify().is_whole());
    };
    check(&|lines| drop(lines.remove(0)), false, NoteKind::Changed).await;
    check(&|lines| drop(lines.remove(1)), false, NoteKind::Changed).await;
    check(&|lines| lines[0] = lines[0].replace("\"verb\":\"0", "\"verb\":\"9"), false, NoteKind::Changed).await;
    check(&|_| {}, true, NoteKind::Added).await;
}

#[tokio::test]
async fn a25_a_full_disk_loses_events_and_never_the_chain() {
    let mut server = server();
    let room = Arc::new(AtomicU64::new(5 << 20));
    server.disk = Arc::new(SmallDisk { room: Arc::clone(&room) });
    let log = server.start().await;
    write(&log, 3);
    assert!(log.is_ready());
    // Less than what is kept ahead: what was let in can be recorded, the next write cannot be let in.
    room.store(1 << 20, Ordering::Relaxed);
    let large = "x".repeat(1 << 20);
    log.writer.write(event(&large[..1 << 19])).unwrap();
    assert!(log.is_ready(), "the room ahead was made before");
    room.store(500, Ordering::Relaxed);
    for number in 0..10 {
        let written = log.writer.write(event(&number.to_string()));
        assert_eq!(written.is_ok(), number < 2, "{number}");
    }
    assert!(!log.is_ready());
    let text = server.text();
    assert!(text.ends_with('\n'), "no part of a line stays");
    // Room is back, and is found after a while and not before.
    room.store(100 << 20, Ordering::Relaxed);
    assert!(log.writer.write(event("too early")).is_err());
    server.pass(1);
    log.anchor(&server.store).await;
    assert!(log.is_ready());
    write(&log, 1);
    log.close(&server.store).await;
    let report = server.verify();
    assert!(report.is_whole(), "{report:?}");
    assert_eq!(report.remarks.len(), 1);
    assert!(server.text().contains(r#""audit.portcullis.io/note":"lost","audit.portcullis.io/count":"9""#));
}

#[tokio::test]
async fn room_that_cannot_be_kept_ahead_is_told_before_it_is_needed() {
    let mut server = server();
    let room = Arc::new(AtomicU64::new(100 << 20));
    server.disk = Arc::new(SmallDisk { room: Arc::clone(&room) });
    let log = server.start().await;
    room.store(2 << 20, Ordering::Relaxed);
    let text = "x".repeat(100_000);
    let mut written = 0;
    while log.is_ready() {
        log.writer.write(event(&text)).unwrap();
        written += 1;
        room.store(2 << 20, Ordering::Relaxed);
    }
    assert!((30..33).contains(&written), "{written}: at 3 of 4 MiB");
    log.writer.write(event("still")).unwrap();
    room.store(100 << 20, Ordering::Relaxed);
    server.pass(1);
    write(&log, 1);
    assert!(log.is_ready());
}

#[tokio::test]
async fn only_a_file_of_its_own_is_written() {
    let check = async |prepare: fn(&Path), expected: Option<&str>| {
        let server = server();
        let path = server.place().current();
        fs::create_dir(path.parent().unwrap()).unwrap();
        prepare(&path);
        let opened = Log::open(server.options.clone(), None).map(drop).map_err(|error| error.to_string());
        match (opened, expected) {
            (Ok(()), None) => assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600),
            (Err(error), Some(part)) => assert!(error.contains(part) && error.contains("audit.log"), "{error}"),
            (opened, expected) => panic!("{opened:?}, expected {expected:?}"),
        }
    };
    check(|path| fs::write(path, "").unwrap(), None).await;
    let elsewhere = |path: &Path| {
        fs::write(path.with_file_name("passwd"), "").unwrap();
        symlink("passwd", path).unwrap();
    };
    check(elsewhere, Some("symbolic link")).await;
    check(|path| symlink("/dev/full", path).unwrap(), Some("symbolic link")).await;
    check(|path| fs::create_dir(path).unwrap(), Some("directory")).await;
    let second = |path: &Path| {
        fs::write(path.with_file_name("passwd"), "").unwrap();
        fs::hard_link(path.with_file_name("passwd"), path).unwrap();
    };
    check(second, Some("second name")).await;
    let socket = |path: &Path| drop(std::os::unix::net::UnixListener::bind(path).unwrap());
    check(socket, Some("cannot open")).await;
}

#[tokio::test]
async fn a_file_that_is_taken_away_is_noticed() {
    let check = async |change: fn(&Path)| {
        let server = server();
        let log = server.start().await;
        write(&log, 3);
        log.anchor(&server.store).await;
        change(&server.place().current());
        write(&log, 1);
        log.anchor(&server.store).await;
        write(&log, 1);
        log.close(&server.store).await;
        let findings = server.verify().findings;
        let noted = |finding: &Finding| matches!(finding, Finding::Noted { kind: NoteKind::Replaced, .. });
        assert!(findings.len() > 1 && findings.iter().any(noted), "{findings:?}");
    };
    check(|path| fs::remove_file(path).unwrap()).await;
    check(|path| fs::rename(path, path.with_extension("old")).unwrap()).await;
    check(|path| fs::OpenOptions::new().write(true).open(path).unwrap().set_len(0).unwrap()).await;
}

#[tokio::test]
async fn a25_strangers_have_a_space_of_their_own() {
    let server = server();
    let log = server.start().await;
    let stranger = |number: usize| {
        Ok(format!(r#"{{"kind":"Event","sourceIPs":["192.0.2.{}"],"annotations":{{}}}}"#, number % 200))
    };
    (0..50_000).for_each(|number| log.writer.write_stranger(stranger(number)));
    write(&log, 1);
    log.anchor(&server.store).await;
    server.pass(120);
    log.writer.write_stranger(stranger(0));
    log.close(&server.store).await;
    assert_eq!(server.verify().lines, 1);
    let kept = server.store.kept().unwrap();
    let report = server.verify_by(&Known::kept(&kept.strangers, true, false), "strangers.log");
    assert!(report.is_whole() && report.lines <= 1_003, "{report:?}");
    assert_eq!(report.remarks.len(), 1);
    let text = fs::read_to_string(server.directory.path().join("audit/strangers.log")).unwrap();
    assert!(text.contains(r#""audit.portcullis.io/note":"strangers-lost","audit.portcullis.io/count":"49000""#));
}

#[tokio::test]
async fn strangers_without_room_hold_nobody_up() {
    let mut server = server();
    let room = Arc::new(AtomicU64::new(100 << 20));
    server.disk = Arc::new(SmallDisk { room: Arc::clone(&room) });
    let log = server.start().await;
    room.store(0, Ordering::Relaxed);
    (0..20).for_each(|_| log.writer.write_stranger(Ok(event("get"))));
    assert!(log.is_ready());
    assert_eq!(log.writer.strangers().journal.chain().head, Head::NONE);
}

#[tokio::test]
async fn batches_are_written_before_the_end() {
    let mut server = server();
    server.options.mode = Mode::Batch(crate::batch::Settings {
        queue_len_max: 10,
        batch_len_max: 4,
        batch_bytes_max: 1 << 20,
        wait_max: Duration::from_secs(60),
        throttle: None,
    });
    let log = server.start().await;
    let queue = log.queue.clone().unwrap();
    (0..6).for_each(|number| queue.push(event(&number.to_string()).into(), false).unwrap());
    log.close(&server.store).await;
    let report = server.verify();
    assert_eq!((report.is_whole(), report.lines), (true, 6));
}

#[tokio::test]
async fn the_store_is_told_only_what_is_new() {
    let server = server();
    let log = server.start().await;
    assert_eq!(server.store.kept(), Some(log.heads()));
    write(&log, 1);
    assert_ne!(server.store.kept(), Some(log.heads()));
    server.store.refuses.store(true, Ordering::Relaxed);
    log.anchor(&server.store).await;
    assert_ne!(server.store.kept(), Some(log.heads()));
    server.store.refuses.store(false, Ordering::Relaxed);
    log.anchor(&server.store).await;
    assert_eq!(server.store.kept(), Some(log.heads()));
    // Refused again without being asked.
    server.store.refuses.store(true, Ordering::Relaxed);
    log.anchor(&server.store).await;
    assert!(!log.writer.tended.lock().await.is_failing());
}
