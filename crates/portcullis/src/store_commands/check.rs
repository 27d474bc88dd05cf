//! `portcullis store check`: whether everything in the store is as it was written, and can be opened.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use portcullis_apiserver::registry::Registry;
use portcullis_store::Catalog;
use portcullis_store::transfer::Unreadable;
use serde_json::json;

use super::{Looked, NAMED_MAX, data_dir, name_each, name_faults};
use crate::configuration::Defaults;
use crate::sealing::SealingArguments;

/// Check the store
///
/// Names every row that is not as it was written, and every value that cannot be opened with the keys that are there. Ends with 0 when
/// nothing is damaged and with 1 when something is.
#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    #[command(flatten)]
    looked: Looked,
    #[command(flatten)]
    sealing: SealingArguments,
    /// How to say it
    #[arg(long, short, value_name = "FORM", value_enum, default_value = "text")]
    output: Output,
}

/// How what was found is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Output {
    /// For a person.
    Text,
    /// For a program.
    Json,
}

pub(super) async fn run(arguments: &Check) -> Result<ExitCode> {
    let place = arguments.looked.place()?;
    let report = place.report()?;
    let unopened = unopened(arguments, &place).await;
    match arguments.output {
        Output::Json => {
            let named = |lines: Vec<String>| lines.into_iter().take(NAMED_MAX).collect::<Vec<_>>();
            let unopened = match &unopened {
                Ok(unopened) => {
                    json!({"count": unopened.len(), "first": named(unopened.iter().map(ToString::to_string).collect())})
                }
                Err(error) => json!({"error": format!("{error:#}")}),
            };
            let said = json!({
                "file": report.file, "format": report.format, "revision": report.revision, "sound": report.is_sound(),
                "revisionWhole": report.is_revision_whole, "rows": report.rows, "rowsWritten": report.rows_written,
                "damaged": {"count": report.damaged.len(), "first": named(report.damaged.iter().map(ToString::to_string).collect())},
                "problems": report.problems, "unopened": unopened,
            });
            println!("{said:#}");
        }
        Output::Text => {
            name_faults(&report);
            println!("checked   {}, format {}", report.file.display(), report.format);
            println!("revision  {}", report.revision);
            println!("entries   {}, {} of them damaged", report.rows, report.damaged.len());
            match &unopened {
                Ok(unopened) => {
                    name_each("cannot be opened", unopened);
                    println!("sealed    {} cannot be opened with the keys that are here", unopened.len());
                }
                Err(error) => println!("sealed    not looked at: {error:#}"),
            }
            println!(
                "{}",
                if report.is_sound() { "nothing is damaged" } else { "damaged: `portcullis store repair` removes it" }
            );
        }
    }
    Ok(if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Values that cannot be opened with the keys that are there, beside those that are damaged.
async fn unopened(arguments: &Check, place: &super::place::Place) -> Result<Vec<Unreadable>> {
    let catalog: Arc<dyn Catalog> = Arc::new(portcullis_apiserver::Catalog::new(Arc::new(Registry::new())));
    let keys_of = data_dir(&arguments.looked.data_dir)?;
    let prepared = arguments.sealing.prepare(&keys_of, Defaults::Locked, Arc::clone(&catalog)).await?;
    let mut raw = place.read()?;
    raw.unreadable.clear();
    Ok(raw.open(&*catalog, &*prepared.sealing).await.unreadable)
}
