//! What a disk that fails, a crash at any moment and whoever edits the files may do to a log: no false alarm, and nothing unseen.

use super::*;
use crate::verify::Report;

/// A disk that does not make files durable when it is told so.
#[derive(Default)]
struct Forgetful {
    fails: AtomicBool,
    /// Files that were asked for, by their inode.
    asked: Mutex<Vec<u64>>,
}

impl Disk for Arc<Forgetful> {
    fn open(&self, path: &Path) -> io::Result<(Box<dyn Medium>, u64)> {
        SystemDisk.open(path)
    }

    fn sync(&self, file: &fs::File) -> io::Result<()> {
        use std::os::unix::fs::MetadataExt as _;
        if self.fails.load(Ordering::Relaxed) {
            return Err(io::Error::other("input/output error"));
        }
        self.asked.lock().unwrap().push(file.metadata()?.ino());
        Ok(())
    }
}

fn is_unsynced(remark: &Remark) -> bool {
    matches!(remark, Remark::Noted { kind: NoteKind::Unsynced, .. })
}

/// A failed sync may have dropped lines, and the next one says yes.
#[tokio::test]
async fn a_disk_that_failed_to_make_lines_durable_is_said_and_asked_again_for_every_file() {
    let mut server = server();
    server.options.file_bytes_max = 2_000;
    let disk = Arc::new(Forgetful::default());
    server.disk = Arc::new(Arc::clone(&disk));
    let log = server.start().await;
    write(&log, 5);
    log.anchor(&server.store).await;
    let kept = server.store.kept();
    write(&log, 20);
    let before = server.place().list().unwrap().len();
    assert!(before > 1);
    // Files that were put away since the last time must be asked for again after a failure.
    disk.fails.store(true, Ordering::Relaxed);
    log.anchor(&server.store).await;
    assert_eq!(server.store.kept(), kept, "no head is kept of lines that are not durable");
    assert!(!log.is_ready(), "nor is more let in");
    disk.fails.store(false, Ordering::Relaxed);
    disk.asked.lock().unwrap().clear();
    log.anchor(&server.store).await;
    assert!(log.is_ready());
    let asked = disk.asked.lock().unwrap().clone();
    for file in server.place().list().unwrap() {
        use std::os::unix::fs::MetadataExt as _;
        assert!(asked.contains(&fs::metadata(&file.path).unwrap().ino()), "{:?} of {asked:?}", file.path);
    }
    log.close(&server.store).await;
    let report = server.verify();
    assert!(report.is_whole(), "{report:?}");
    assert_eq!(report.remarks.iter().filter(|remark| is_unsynced(remark)).count(), 1, "{report:?}");
}

/// The file that is put away is durable before a line is in the next one; when it cannot be made so, the log goes on in it.
#[tokio::test]
async fn a_file_that_is_not_durable_is_not_put_away() {
    let mut server = server();
    server.options.file_bytes_max = 2_000;
    let disk = Arc::new(Forgetful::default());
    server.disk = Arc::new(Arc::clone(&disk));
    let log = server.start().await;
    disk.fails.store(true, Ordering::Relaxed);
    write(&log, 20);
    assert!(server.place().list().unwrap().is_empty());
    assert!(!log.is_ready());
    disk.fails.store(false, Ordering::Relaxed);
    server.pass(2);
    write(&log, 20);
    assert!(!server.place().list().unwrap().is_empty());
    log.close(&server.store).await;
    let report = server.verify();
    assert!(report.is_whole() && report.remarks.iter().any(is_unsynced), "{report:?}");
}

/// A file is put away between the question whether one was and the locks.
#[tokio::test]
async fn a_file_that_is_put_away_at_any_moment_is_retained_and_its_name_durable() {
    let mut server = server();
    server.options.file_bytes_max = 2_000;
    server.options.retention.backups_max = 1;
    let log = server.start().await;
    write(&log, 30);
    // What was asked before they were written says no.
    let round = log.writer.prepare(log.writer.now(), false).unwrap();
    assert!(round.looks_through() && round.heads.log.first.sequence > 1);
}

/// What could not be written is said at the end, also when it was not yet time to try again.
#[tokio::test]
async fn what_was_lost_is_said_at_the_end() {
    let mut server = server();
    let room = Arc::new(AtomicU64::new(100 << 20));
    server.disk = Arc::new(SmallDisk { room: Arc::clone(&room) });
    let log = server.start().await;
    room.store(0, Ordering::Relaxed);
    assert!(log.writer.write(event("lost")).is_err());
    room.store(100 << 20, Ordering::Relaxed);
    log.close(&server.store).await;
    let report = server.verify();
    assert!(report.is_whole(), "{report:?}");
    assert!(matches!(report.remarks[..], [Remark::Noted { kind: NoteKind::Lost, .. }]), "{report:?}");
}

/// Two servers that were given one log would make no chain of it.
#[tokio::test]
async fn a_log_has_one_writer() {
    let mut server = server();
    server.options.file_bytes_max = 1_000;
    let log = server.start().await;
    let open = || Log::open(server.options.clone(), None).map(drop).map_err(|error| error.to_string());
    assert!(open().unwrap_err().contains("another server is writing it"));
    write(&log, 10);
    assert!(open().is_err(), "the next file has one writer, too");
    drop(log);
    assert_eq!(open(), Ok(()));
}

/// A generator of numbers that is the same for the same seed.
struct Random(u64);

impl Random {
    fn of(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end.max(1) as u64).unwrap()
    }
}

/// Copies a directory as a crash leaves it: with the lines of the current file up to somewhere behind what was made durable.
fn crashed(from: &Path, to: &Path, current: &Path, durable: u64, random: &mut Random) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        if path == current {
            let durable = usize::try_from(durable).unwrap().min(bytes.len());
            bytes.truncate(durable + random.below(bytes.len() - durable + 1));
        }
        fs::write(to.join(path.file_name().unwrap()), bytes).unwrap();
    }
}

/// Crashes after any step: between lines, within one, while files are put away, removed or compressed, before and after the head.
#[tokio::test]
async fn a_crash_at_any_moment_is_no_alarm() {
    for seed in 1..=60 {
        let mut random = Random::of(seed);
        let mut server = server();
        server.options.file_bytes_max = 1_500;
        server.options.retention = Retention { backups_max: 2, age_seconds_max: 0, is_compressing: seed % 2 == 0 };
        for _ in 0..6 {
            let log = server.start().await;
            let mut durable = fs::metadata(server.place().current()).unwrap().len();
            for _ in 0..random.below(12) {
                match random.below(4) {
                    0 => {
                        server.store.refuses.store(random.below(3) == 0, Ordering::Relaxed);
                        server.pass(1);
                        log.anchor(&server.store).await;
                        server.store.refuses.store(false, Ordering::Relaxed);
                        durable = fs::metadata(server.place().current()).unwrap().len();
                    }
                    count => {
                        let files = server.place().list().unwrap();
                        write(&log, count);
                        if server.place().list().unwrap() != files {
                            durable = 0;
                        }
                    }
                }
            }
            drop(log);
            let place = server.place();
            let aside = server.directory.path().join("aside");
            let directory = server.directory.path().join("audit");
            crashed(&directory, &aside, &place.current(), durable, &mut random);
            interrupt(&place, &aside, &mut random);
            fs::remove_dir_all(&directory).unwrap();
            fs::rename(&aside, &directory).unwrap();
            // Before and after the next start.
            let report = server.verify();
            assert!(report.is_whole(), "seed {seed}: {report:?}");
            drop(server.start().await);
            let report = server.verify();
            assert!(report.is_whole(), "seed {seed}: {report:?}");
        }
    }
}

/// Leaves something that was begun: a file that has its new name and no successor, or one that is there in both forms.
fn interrupt(place: &Place, aside: &Path, random: &mut Random) {
    let current = aside.join(place.current().file_name().unwrap());
    let rotated = place.rotated(1_790_000_100 * SECOND).unwrap();
    match random.below(4) {
        0 if fs::read(&current).unwrap().ends_with(b"\n") => {
            fs::write(place.next().file_name().map(|name| aside.join(name)).unwrap(), "").unwrap();
            fs::rename(&current, aside.join(rotated.file_name().unwrap())).unwrap();
        }
        1 => {
            if let Some(file) = place.list().unwrap().iter().find(|file| !file.is_compressed) {
                let name = Place::compressed(&aside.join(file.path.file_name().unwrap()));
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                io::Write::write_all(&mut encoder, &fs::read(&file.path).unwrap()).unwrap();
                let compressed = encoder.finish().unwrap();
                fs::write(name.with_extension("gz.new"), &compressed[..compressed.len() / 2]).unwrap();
                fs::write(&name, compressed).unwrap();
            }
        }
        _ => {}
    }
}

/// The lines of a log as somebody edits them, and what stands in the files then.
fn edited(lines: &[Vec<u8>], random: &mut Random) -> Vec<Vec<u8>> {
    let mut lines = lines.to_vec();
    let at = random.below(lines.len());
    let other = random.below(lines.len());
    match random.below(9) {
        0 => {
            let byte = random.below(lines[at].len());
            lines[at][byte] ^= 1 << random.below(8);
        }
        1 => lines.swap(at, other),
        2 => drop(lines.remove(at)),
        3 => lines.insert(other, lines[at].clone()),
        4 => lines.truncate(at),
        5 => drop(lines.drain(..=at)),
        6 => {
            let len = random.below(lines[at].len());
            lines[at].truncate(len);
        }
        7 => {
            // Chained to the line before, as whoever knows how would.
            let mut line = event("forged");
            let before = at.checked_sub(1).map(|before| &lines[before]);
            let hash = before.map_or(Hash::ZERO, |before| Hash::of(before));
            seal(&mut line, &Head { sequence: at as u64, hash });
            lines[at] = line.into_bytes();
        }
        _ => lines.insert(at, b"{}".to_vec()),
    }
    lines
}

/// Whatever is changed before the head is found: 10,000 edits, up to three at once, over one file and over several.
#[tokio::test]
async fn a25_no_edit_before_the_head_is_unseen() {
    let mut server = server();
    server.options.file_bytes_max = 2_000;
    let log = server.start().await;
    write(&log, 12);
    log.anchor(&server.store).await;
    let place = server.place();
    let mut files: Vec<_> = place.list().unwrap().into_iter().map(|file| file.path).collect();
    files.push(place.current());
    let of = |path: &PathBuf| fs::read(path).unwrap();
    let split = |text: Vec<u8>| text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
    let whole: Vec<Vec<Vec<u8>>> = files
        .iter()
        .map(|path| {
            let mut lines = split(of(path));
            lines.pop();
            lines
        })
        .collect();
    assert!(files.len() > 1 && server.verify().is_whole());
    let scratch = tempfile::tempdir().unwrap();
    let mut held = vec![None; files.len()];
    for seed in 1..=10_000_u64 {
        let mut random = Random::of(seed);
        let mut now = whole.clone();
        for _ in 0..=random.below(3) {
            let file = random.below(now.len());
            if !now[file].is_empty() {
                now[file] = edited(&now[file], &mut random);
            }
        }
        let text =
            |lines: &Vec<Vec<u8>>| lines.iter().flat_map(|line| [line, &b"\n"[..]].concat()).collect::<Vec<u8>>();
        let is_changed = now.iter().zip(&whole).any(|(now, whole)| text(now) != text(whole));
        let texts: Vec<_> = now.iter().map(text).collect();
        let report = report_of(&server, scratch.path(), &files, &texts, &mut held);
        assert_eq!(report.is_whole(), !is_changed, "seed {seed}: {report:?}");
    }
}

/// Checks copies of the files that say `texts`; `held` is what they say already.
fn report_of(
    server: &Server,
    scratch: &Path,
    files: &[PathBuf],
    texts: &[Vec<u8>],
    held: &mut [Option<Vec<u8>>],
) -> Report {
    let kept = server.store.kept().unwrap();
    let sources = files.iter().zip(texts).zip(held).map(|((file, text), held)| {
        let path = scratch.join(file.file_name().unwrap());
        if held.as_ref() != Some(text) {
            fs::write(&path, text).unwrap();
            *held = Some(text.clone());
        }
        Source::open(path).unwrap()
    });
    verify(sources.collect(), true, &Known::kept(&kept.log, kept.is_closed, true))
}
