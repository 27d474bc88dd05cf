//! What others notice of an attack: floods of lists, of connections that say nothing, of streams that are reset; and what the
//! record of everything costs.
//!
//! Each siege starts a release build under its locked defaults, does its worst, and prints figures beside the bars that are to
//! hold. A bar that does not hold is an error at the end, after all figures.

mod attacker;
mod audit;
mod fortress;
mod idle;
mod lists;
mod others;
mod overload;
mod resets;

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Result, bail};
use portcullis_tests::build::{self, Profile};

use self::fortress::Fortress;

/// What to do.
#[derive(clap::Args)]
pub struct Options {
    /// Only these: overload, idle-connections, resets, audit; separated by commas
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Seconds that each flood takes
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    seconds: u64,
    /// A further argument for the servers, to see what it changes
    #[arg(long = "with", value_name = "ARGUMENT", allow_hyphen_values = true)]
    arguments: Vec<String>,
    /// Attack instead, as another process of ours says
    #[arg(long, hide = true)]
    attack: Option<String>,
}

/// Attackers have an address of their own, so that what a server does against them does not meet others.
const ATTACKER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 66));

/// A figure and the bar that it is to keep.
pub struct Figure {
    what: String,
    value: f64,
    unit: &'static str,
    /// At most this; none for what is only told.
    bar: Option<f64>,
}

impl Figure {
    /// Something to know.
    pub fn told(what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { what: what.into(), value, unit, bar: None }
    }

    /// Something that must not be more than `bar`.
    pub fn at_most(what: impl Into<String>, value: f64, unit: &'static str, bar: f64) -> Self {
        Self { bar: Some(bar), ..Self::told(what, value, unit) }
    }

    fn holds(&self) -> bool {
        self.bar.is_none_or(|bar| self.value <= bar)
    }
}

/// Besieges and prints.
pub fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    if let Some(orders) = &options.attack {
        return runtime.block_on(attacker::run(orders));
    }
    let program = match std::env::var_os(build::PROGRAM) {
        Some(program) => program.into(),
        None => build::build(Profile::Release)?,
    };
    let arguments: Vec<&str> = options.arguments.iter().map(String::as_str).collect();
    let mut broken = 0;
    for name in ["overload", "idle-connections", "resets", "audit"] {
        if !options.only.is_empty() && !options.only.iter().any(|only| only == name) {
            continue;
        }
        let figures = runtime.block_on(async {
            match name {
                "overload" => overload::run(&Fortress::start(&program, &arguments)?, options.seconds).await,
                "idle-connections" => idle::run(&Fortress::start(&program, &arguments)?).await,
                "resets" => resets::run(&Fortress::start(&program, &arguments)?).await,
                _ => audit::run(&program).await,
            }
        })?;
        println!("\n{name}");
        for figure in &figures {
            let bar = figure.bar.map_or(String::new(), |bar| format!("  (at most {bar})"));
            let mark = if figure.holds() { " " } else { "!" };
            println!("{mark} {:<64} {:>12.2} {}{bar}", figure.what, figure.value, figure.unit);
        }
        broken += figures.iter().filter(|figure| !figure.holds()).count();
    }
    if broken > 0 {
        bail!("{broken} bars do not hold");
    }
    Ok(())
}
