//! What this crate makes while it is built: the blob of field descriptions, and the views through which code reads and writes fields by
//! name.

mod descriptions;
mod views;

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed=facts");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    descriptions::write(&out)?;
    views::write(&out)
}
