//! Attackers are processes of their own, niced: they share the machine with those who measure what others notice.

use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tokio::process::{Child, Command};

use super::{lists, resets};

/// How little of the machine it may take from others.
const NICENESS: &str = "19";

/// Sends one off with what it needs to know.
pub fn spawn(orders: &Value) -> Result<Child> {
    let mut command = Command::new("nice");
    command.args(["-n", NICENESS]).arg(std::env::current_exe()?).args(["siege", "--attack", &orders.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn().context("nice")
}

/// What it reports when it is done.
pub async fn report(attacker: Child) -> Result<Value> {
    let output = attacker.wait_with_output().await?;
    serde_json::from_slice(&output.stdout).context("an attacker's report")
}

/// Does what it is told, and prints its report.
pub async fn run(orders: &str) -> Result<()> {
    let orders: Value = serde_json::from_str(orders)?;
    let report = match orders["attack"].as_str() {
        Some("lists") => lists::attack(&orders).await?,
        Some("resets") => resets::attack(&orders).await?,
        attack => bail!("no such attack: {attack:?}"),
    };
    println!("{report}");
    Ok(())
}
