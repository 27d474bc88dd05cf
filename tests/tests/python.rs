//! The official Python client: a program of it, `tests/python/client`, does what such clients do and checks what comes back.
//!
//! Without a python3 that has the package `kubernetes` (of `tests/python/requirements.txt`) the test says so in one line; in CI it is
//! required.

use std::process::{Command, Output, Stdio};

use portcullis_tests::build::workspace;
use portcullis_tests::cluster::Cluster;

/// A python3 that writes nothing beside what it runs.
fn python() -> Command {
    let mut command = Command::new("python3");
    command.env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null());
    command
}

fn has_client() -> bool {
    let found = python().args(["-c", "import kubernetes"]).stderr(Stdio::null()).status();
    if found.is_ok_and(|status| status.success()) {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "CI needs a python3 with tests/python/requirements.txt");
    println!("no python3 here that has the package kubernetes: nothing tested");
    false
}

/// Runs the program against a cluster and returns what it said last.
fn run(cluster: &Cluster, arguments: &[&str]) -> String {
    let mut command = python();
    // Whatever is configured here for other clusters is not asked.
    command.env("HOME", cluster.directory()).env_remove("KUBECONFIG");
    command.arg(workspace().join("tests/python/client")).arg(cluster.server.kubeconfig()).args(arguments);
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (said, errors) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{status}\n{said}{errors}");
    said.lines().last().unwrap_or_default().to_owned()
}

#[test]
fn the_python_client_works_and_is_told_after_a_restart_that_its_version_is_gone() {
    if !has_client() {
        return;
    }
    let cluster = Cluster::start(&[]);
    let told = run(&cluster, &[]);
    let (_, version) = told.split_once("checks passed; version ").unwrap_or_else(|| panic!("{told}"));
    let cluster = cluster.start_again(&[]).unwrap();
    run(&cluster, &["--gone", version]);
}
