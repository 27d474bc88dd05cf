//! The hottest paths, each alone and as often as it is told: what `cargo xtask instructions` counts under callgrind.
//!
//! The real gate, server and embedded engine in one process. Nothing here depends on the clock, on chance or on a network, so that
//! the number of instructions is the program's own; requests are made before the first is sent, so that it is the server's.
//!
//! - `list` names the paths, one a line: the fewer and the more units of work that it is run with, the operations between
//!   them, and its name.
//! - `fill DIRECTORY` makes the data set. It need not be counted, so it runs without callgrind.
//! - `run DIRECTORY UNITS NAME` opens a copy of it and does so much work.
#![allow(clippy::unwrap_used)]

mod cluster;
#[allow(dead_code, unused_imports)] // Shared with the load client of xtask: both measure the same objects.
#[path = "../../src/bench/objects.rs"]
mod objects;
mod paths;

use std::path::Path;

use self::cluster::Cluster;
use self::paths::PATHS;

const USAGE: &str = "cargo xtask instructions runs this: list | fill DIRECTORY | run DIRECTORY UNITS NAME";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["list"] => list(),
        ["fill", directory] => block_on(paths::fill(&Cluster::open(Path::new(directory)))),
        ["run", directory, units, name] => run(Path::new(directory), units.parse().unwrap(), name),
        _ => {
            eprintln!("{USAGE}");
            std::process::exit(2);
        }
    }
}

fn list() {
    for path in PATHS {
        println!("{} {} {} {}", path.fewer, path.more, path.operations(), path.name);
    }
}

fn run(directory: &Path, units: usize, name: &str) {
    let path = PATHS.iter().find(|path| path.name == name).unwrap_or_else(|| panic!("no path is called {name:?}"));
    let cluster = Cluster::open(directory);
    block_on(path.run(&cluster, units));
}

/// One thread, beside the committer's.
fn block_on(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
}
