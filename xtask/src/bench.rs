//! The start and the memory of a release build, as a user would meet them. A benchmark measures; nothing here fails a build.
//!
//! The start is from the spawn of the process to a 200 of `/readyz` over TLS, with everything made new (cold: keys,
//! certificates, store, first objects) and with all of it there (warm). Memory is what the kernel holds for the process
//! (`VmRSS`), shared pages of the program's file included; nothing is subtracted.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use portcullis_tests::build::{self, Profile};
use portcullis_tests::program::Server;

/// Starts that are measured; the median counts.
const STARTS: usize = 11;
/// How long a server is left alone before its memory is read.
const IDLE: Duration = Duration::from_secs(5);
/// Lines of the kernel's account that are printed.
const MEMORY: [&str; 4] = ["VmRSS", "RssAnon", "RssFile", "VmHWM"];

/// Prints the figures.
pub fn run() -> Result<()> {
    let program = build::build(Profile::Release)?;
    println!("program              {:>8.1} MiB", fs::metadata(&program)?.len() as f64 / 1_048_576.0);
    let (mut cold, mut warm) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let directory = tempfile::tempdir()?;
        cold.push(start(&program, directory.path())?.0);
        warm.push(start(&program, directory.path())?.0);
    }
    print_times("cold start to readyz", &mut cold);
    print_times("warm start to readyz", &mut warm);
    let directory = tempfile::tempdir()?;
    let (_, server) = start(&program, directory.path())?;
    std::thread::sleep(IDLE);
    let memory = memory(server.id())?;
    for name in MEMORY {
        println!("{name:<20} {:>8.1} MiB  idle", *memory.get(name).context(name)? as f64 / 1024.0);
    }
    Ok(())
}

fn start(program: &Path, data_dir: &Path) -> Result<(Duration, Server)> {
    let begun = Instant::now();
    let server = Server::start_with(program, data_dir, &[])?;
    let answer = server.stranger().send("GET", "/readyz", None)?;
    let took = begun.elapsed();
    if answer.status != 200 {
        bail!("/readyz says {}", answer.status);
    }
    Ok((took, server))
}

fn print_times(name: &str, times: &mut [Duration]) {
    times.sort();
    let ms = |at: usize| times.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0);
    println!("{name:<20} {:>8.1} ms   median of {STARTS} (from {:.1} to {:.1})", ms(STARTS / 2), ms(0), ms(STARTS - 1));
}

/// What the kernel holds for a process, in KiB.
fn memory(id: u32) -> Result<BTreeMap<String, u64>> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let lines = status.lines().filter_map(|line| line.split_once(':'));
    let numbers =
        lines.filter_map(|(name, rest)| Some((name.to_owned(), rest.split_whitespace().next()?.parse().ok()?)));
    Ok(numbers.collect())
}
