//! Readers in a process of their own, which a test can stop and continue. Arguments: the server's address and its data directory; the
//! standard input is a JSON list of what to read. Prints a JSON list a reader when all are done: what each saw.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use portcullis_tests::client::{Client, Credentials};
use portcullis_tests::reflector::{self, Entry, Source, Spec};
use portcullis_tests::session::Connector;
use serde_json::Value;
use tokio::task::JoinSet;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().context("no address")?.parse()?;
    let pki = PathBuf::from(arguments.next().context("no data directory")?).join("pki");
    let mut specs = String::new();
    std::io::stdin().read_to_string(&mut specs)?;
    let specs: Vec<Value> = serde_json::from_str(&specs)?;
    let client = Client::new(address, &pki.join("ca.crt"), Some(Credentials::read(&pki.join("admin"))?))?;
    let source = Source { connector: Connector::of(&client), progress: None, starts: None };
    let logs = tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(read(specs, source))?;
    let mut out = std::io::stdout().lock();
    for log in logs {
        writeln!(out, "{}", Value::from(log.iter().map(Entry::to_json).collect::<Vec<_>>()))?;
    }
    Ok(out.flush()?)
}

/// What each reader saw, in the order in which they were asked for.
async fn read(specs: Vec<Value>, source: Source) -> Result<Vec<Vec<Entry>>> {
    let mut readers = JoinSet::new();
    for (place, spec) in specs.into_iter().enumerate() {
        let source = source.clone();
        let spec = Spec::from_json(&spec).with_context(|| format!("not what a reader reads: {spec}"))?;
        readers.spawn(async move { (place, reflector::run(&spec, &source).await) });
    }
    let mut logs = Vec::new();
    while let Some(done) = readers.join_next().await {
        let (place, log) = done?;
        logs.push((place, log?));
    }
    logs.sort_by_key(|(place, _)| *place);
    Ok(logs.into_iter().map(|(_, log)| log).collect())
}
