//! Plays rounds of [`portcullis_tests::histories`], several side by side, or judges a history that was written down.
//!
//! `cargo build -rp portcullis && cargo run -p portcullis-tests --bin histories -- --rounds 1000 --parallel 8 --program target/release/portcullis`
//!
//! Each round is a process of its own. It prints one line; where a history is not as it must be, everything about it is written to
//! `--keep DIR`, and `--judge FILE` looks at it again. Ends with 1 if anything was found.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, bail};
use portcullis_tests::build::{Profile, build};
use portcullis_tests::histories::fault::{Fault, bring_up_network, run_by};
use portcullis_tests::histories::record::History;
use portcullis_tests::histories::{round, violations};

const USAGE: &str =
    "histories [--rounds N] [--fault NAME,NAME...] [--seed S] [--parallel P] [--program FILE] [--keep DIR] [--record]
histories --one --fault NAME --seed S --program FILE [--keep DIR] [--record]
histories --judge FILE";
const SEED_USUAL: u64 = 0x6869_7374;

/// What is wanted.
struct Wanted {
    rounds: u64,
    faults: Vec<Fault>,
    seed: u64,
    parallel: u64,
    program: Option<PathBuf>,
    keep: PathBuf,
    judge: Option<PathBuf>,
    /// One round, in this process.
    is_one: bool,
    /// Whether every history is kept.
    is_recorded: bool,
    /// Whether this process is alone in its network.
    has_own_network: bool,
}

impl Wanted {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut wanted = Self {
            rounds: 25,
            faults: Fault::ALL.to_vec(),
            seed: SEED_USUAL,
            parallel: 4,
            program: None,
            keep: std::env::temp_dir(),
            judge: None,
            is_one: false,
            is_recorded: false,
            has_own_network: false,
        };
        while let Some(flag) = arguments.next() {
            match flag.as_str() {
                "--one" => wanted.is_one = true,
                "--own-network" => wanted.has_own_network = true,
                "--record" => wanted.is_recorded = true,
                _ => {
                    wanted.set(&flag, &arguments.next().with_context(|| format!("{flag} without a value\n{USAGE}"))?)?
                }
            }
        }
        Ok(wanted)
    }

    fn set(&mut self, flag: &str, value: &str) -> Result<()> {
        let number = || value.parse().with_context(|| format!("{flag} {value}: not a number"));
        match flag {
            "--rounds" => self.rounds = number()?,
            "--seed" => self.seed = number()?,
            "--parallel" => self.parallel = number()?,
            "--fault" => self.faults = value.split(',').map(Fault::of).collect::<Result<_>>()?,
            "--program" => self.program = Some(PathBuf::from(value)),
            "--keep" => self.keep = PathBuf::from(value),
            "--judge" => self.judge = Some(PathBuf::from(value)),
            _ => bail!("{flag} is not known\n{USAGE}"),
        }
        Ok(())
    }
}

fn main() -> Result<ExitCode> {
    let wanted = Wanted::read(std::env::args().skip(1))?;
    let is_good = if let Some(file) = &wanted.judge {
        let found = violations(&History::from_lines(&std::fs::read_to_string(file)?)?);
        found.iter().for_each(|violation| println!("{violation}"));
        found.is_empty()
    } else if wanted.is_one {
        one(&wanted)?
    } else {
        all(&wanted)?
    };
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Plays one round, and keeps what is needed to look at it again.
fn one(wanted: &Wanted) -> Result<bool> {
    let (fault, seed) = (*wanted.faults.first().context("no fault")?, wanted.seed);
    if wanted.has_own_network {
        bring_up_network()?;
    } else if fault == Fault::Partition {
        bail!("a network is parted in one of its own only: play --rounds 1");
    }
    let outcome = round::play(fault, seed, wanted.program.as_deref().context("no program")?)?;
    println!("{}", outcome.summary);
    let file = wanted.keep.join(format!("history-{}-{seed}.jsonl", fault.name()));
    if wanted.is_recorded || !outcome.violations.is_empty() {
        std::fs::write(&file, outcome.history.to_lines())?;
    }
    if outcome.violations.is_empty() {
        return Ok(true);
    }
    outcome.violations.iter().for_each(|violation| println!("  {violation}"));
    println!("  the history is in {}", file.display());
    Ok(false)
}

/// Those of the faults that this machine can have. CI has to have all of them.
fn playable(faults: &[Fault]) -> Result<Vec<Fault>> {
    let mut playable = Vec::new();
    for fault in faults {
        match fault.lacks() {
            None => playable.push(*fault),
            Some(lacked) if std::env::var_os("CI").is_some() => bail!("CI needs {lacked}"),
            Some(lacked) => println!("{}: not played, there is no {lacked} here", fault.name()),
        }
    }
    anyhow::ensure!(!playable.is_empty(), "nothing to play");
    Ok(playable)
}

/// Plays all rounds: the faults in turn, the seeds from the first one up.
fn all(wanted: &Wanted) -> Result<bool> {
    let program = match &wanted.program {
        Some(program) => program.clone(),
        None => build(Profile::Dev)?,
    };
    let faults = playable(&wanted.faults)?;
    let own = std::env::current_exe()?;
    let network = run_by();
    let (next, bad) = (AtomicU64::new(0), AtomicU64::new(0));
    let failed = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..wanted.parallel {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= wanted.rounds {
                        return;
                    }
                    let place = usize::try_from(number).unwrap_or_default() % faults.len();
                    let fault = faults[place];
                    let name = fault.name();
                    let seed = wanted.seed.wrapping_add(number).to_string();
                    let mut words: Vec<_> = network.iter().map(OsStr::new).chain([own.as_os_str()]).collect();
                    let mut command = Command::new(words.remove(0));
                    command.args(words).args(["--one", "--fault", name, "--seed", &seed, "--program"]).arg(&program);
                    if !network.is_empty() {
                        command.arg("--own-network");
                    }
                    if wanted.is_recorded {
                        command.arg("--record");
                    }
                    let played = command.arg("--keep").arg(&wanted.keep).stdin(Stdio::null()).output();
                    let is_good = match played {
                        Ok(output) => {
                            print!("{}", String::from_utf8_lossy(&output.stdout));
                            if !output.stderr.is_empty() {
                                print!("fault={name} seed={seed}: {}", String::from_utf8_lossy(&output.stderr));
                            }
                            output.status.success()
                        }
                        Err(error) => {
                            *failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(error);
                            return;
                        }
                    };
                    bad.fetch_add(u64::from(!is_good), Ordering::Relaxed);
                }
            });
        }
    });
    if let Some(error) = failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        return Err(error).context("a round cannot be played");
    }
    let bad = bad.into_inner();
    println!("{} rounds from seed {}, {bad} of them violated", wanted.rounds, wanted.seed);
    Ok(bad == 0)
}
