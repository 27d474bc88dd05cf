//! Tasks of the project: `cargo xtask ci`, `facts`, `kinds`, `replay`, `bench`, `siege`, `instructions`, `new`.
//!
//! A check that a person or CI runs is here once; `.ci/run` only prepares a machine and calls it.

mod bench;
mod ci;
mod corpus;
mod dependencies;
mod facts;
mod instructions;
mod lockdown;
mod new;
mod siege;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tasks of the project.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// All checks but the tests: what CI runs after `cargo test --workspace`
    Ci {
        /// Only these checks
        steps: Vec<String>,
    },
    /// Write the tables of the API from ../shared/facts
    Facts {
        /// Only check that the committed ones are up to date
        #[arg(long)]
        check: bool,
    },
    /// Write docs/kinds.md from the sources of the kinds
    Kinds,
    /// Replay the recorded answers of an upstream API server against a release build
    Replay(corpus::Options),
    /// Measure a release build: processor time, rate and latency of each kind of request, memory and start
    Bench(bench::Options),
    /// Attack a release build, and measure what others notice of it: floods of lists, of connections, of resets
    Siege(siege::Options),
    /// Make the beginning of something: a kind's file, with its test and its line
    #[command(subcommand)]
    New(new::New),
    /// Count the instructions of the hottest paths, and compare them with those that are held
    Instructions(instructions::Options),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Ci { steps } => ci::run(&steps),
        Task::Facts { check } => facts::run(check),
        Task::Kinds => ci::write_kinds_page(),
        Task::Replay(options) => corpus::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Siege(options) => siege::run(&options),
        Task::New(what) => new::run(&what),
        Task::Instructions(options) => instructions::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
