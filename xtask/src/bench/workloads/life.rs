//! The life of a server: started with nothing, filled, left alone, started again.

use anyhow::{Context as _, Result};

use crate::bench::measures::{Measures, Meter, Metric, mib};
use crate::bench::plan::Plan;
use crate::bench::process::Processes;
use crate::bench::target::{Program, Target, directory};

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// The first start: keys, certificates, store and first objects are made.
    Cold,
    /// Nobody asks a server that holds its first objects.
    IdleEmpty,
    /// It gets the data set.
    Build,
    /// It ends and starts with the data set.
    Warm,
    /// Nobody asks a server that has started with the data set.
    IdleData,
}

impl Life {
    /// Lets it happen.
    pub async fn run(self, target: &mut Target, plan: &Plan) -> Result<Measures> {
        match self {
            Self::Cold => {
                let (program, directory) = (program(target)?, directory()?);
                let (took, _) = program.start(directory.path())?;
                let size = std::fs::metadata(&program.path)?.len();
                Ok(Measures::from([(Metric::Start, took.as_secs_f64() * 1e3), (Metric::Program, mib(size))]))
            }
            Self::IdleEmpty => {
                let directory = directory()?;
                let (_, server) = program(target)?.start(directory.path())?;
                idle(&Processes(vec![server.id()]), plan).await
            }
            Self::Build => Ok(target.fill(plan).await?.clone()),
            Self::Warm => {
                let took = target.restart()?.context("no process of ours")?;
                let rss = mib(target.processes.rss()?);
                Ok(Measures::from([(Metric::Start, took.as_secs_f64() * 1e3), (Metric::Rss, rss)]))
            }
            Self::IdleData => {
                target.restart()?;
                idle(&target.processes, plan).await
            }
        }
    }
}

fn program(target: &Target) -> Result<&Program> {
    target.program().context("no program of ours")
}

async fn idle(processes: &Processes, plan: &Plan) -> Result<Measures> {
    // What a start leaves to be done is not idleness.
    tokio::time::sleep(plan.idle / 10).await;
    let meter = Meter::start(processes)?;
    tokio::time::sleep(plan.idle).await;
    meter.idle()
}
