//! What this crate makes while it is built: the blob of field descriptions, the views through which code reads and writes fields by
//! name, and the checks that rules files ask for.

mod descriptions;
mod rules;
mod views;

use std::fs;
use std::path::{Path, PathBuf};

use portcullis_model::schema::Schema;

type Error = Box<dyn std::error::Error>;

const TABLES: &str = "facts/v1_36";
/// Tables that hold no types.
const OTHER_TABLES: [&str; 2] = ["columns.facts", "resources.facts"];

fn main() -> Result<(), Error> {
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed=facts");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let schema = schema()?;
    descriptions::write(&schema, &out)?;
    views::write(&schema, &out)?;
    rules::write(&schema, &out)
}

/// The types in the order in which the program loads them, so that their numbers agree.
fn schema() -> Result<Schema, Error> {
    let mut names: Vec<String> = fs::read_dir(TABLES)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_, std::io::Error>>()?;
    names.retain(|name| !OTHER_TABLES.contains(&name.as_str()));
    names.sort();
    let tables: Vec<String> =
        names.iter().map(|name| fs::read_to_string(Path::new(TABLES).join(name))).collect::<Result<_, _>>()?;
    Ok(Schema::load(tables.iter().map(String::as_str))?)
}
