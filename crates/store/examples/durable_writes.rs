//! Measures durable writes a second: `cargo run --release -p portcullis-store --example durable_writes [WRITERS]
//! [DIRECTORY]`. Each writer creates objects of 3.3 KB, one after another, and waits until each is durable.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use portcullis_store::{
    Engine, Operation,
    embedded::{Embedded, Options},
};

const VALUE_BYTES: usize = 3300;
const DURATION: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let writers: usize = arguments.next().map_or(Ok(16), |number| number.parse())?;
    let directory = PathBuf::from(arguments.next().unwrap_or_else(|| "target/durable-writes".to_string()));
    if directory.exists() {
        return Err(format!("{directory:?} is there already: this measures a new store").into());
    }
    let begin = Instant::now();
    let engine = Arc::new(Embedded::open(Options::new(&directory))?);
    println!("open a new store: {:.1} ms", begin.elapsed().as_secs_f64() * 1e3);

    let begin = Instant::now();
    let mut tasks = Vec::new();
    for writer in 0..writers {
        let engine = engine.clone();
        tasks.push(tokio::spawn(async move {
            let mut latencies = Vec::new();
            let value = Bytes::from(vec![b'x'; VALUE_BYTES]);
            while begin.elapsed() < DURATION {
                let key = format!("/registry/pods/namespace-{writer}/pod-{:08}", latencies.len());
                let queued = Instant::now();
                engine.commit(Operation::create(key, value.clone()).into()).await?;
                latencies.push(queued.elapsed());
            }
            Ok::<_, portcullis_store::CommitError>(latencies)
        }));
    }
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await??);
    }
    let seconds = begin.elapsed().as_secs_f64();
    latencies.sort();
    let quantile = |part: f64| latencies.get((latencies.len() as f64 * part) as usize).map_or(0, |at| at.as_micros());
    println!(
        "{writers} writers: {:.0} durable writes/s, p50 {} us, p99 {} us",
        latencies.len() as f64 / seconds,
        quantile(0.5),
        quantile(0.99)
    );
    engine.close().await;
    drop(engine);

    let begin = Instant::now();
    let engine = Embedded::open(Options::new(&directory))?;
    println!("open again with {} objects: {:.1} ms", engine.snapshot().len(), begin.elapsed().as_secs_f64() * 1e3);
    drop(engine);
    std::fs::remove_dir_all(directory)?;
    Ok(())
}
