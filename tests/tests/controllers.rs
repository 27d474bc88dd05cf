//! Programs of the two Go libraries that nearly every controller is written with, against a cluster of their own: client-go's typed
//! clients over protobuf and JSON, apply configurations, leases, informers; controller-runtime's managers, reconcilers, caches.
//!
//! What they check is said in `tests/go/clients` and `tests/go/controllers`, where each test is a thing that such programs rely on.

use std::path::Path;
use std::process::Command;

use portcullis_tests::go::{GoProgram, built};
use portcullis_tests::program::Server;

/// How long a program may run: an upper bound.
const DEADLINE: &str = "-test.timeout=10m";

/// Runs Go tests against a new cluster. Each failure is named in what they print.
fn check(name: &'static str) {
    let Some(program) = built(GoProgram::Tests(name), Path::new(env!("CARGO_TARGET_TMPDIR"))) else { return };
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let mut command = Command::new(program);
    command.args(["-test.v", DEADLINE]).env("KUBECONFIG", server.kubeconfig()).current_dir(data.path());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {}\n{said}{complaints}", output.status);
    let passed = said.lines().filter(|line| line.starts_with("--- PASS")).count();
    assert!(passed > 0, "{name} tested nothing:\n{said}{complaints}");
    println!("{name}: {passed} tests");
}

#[test]
fn programs_written_with_client_go() {
    check("clients");
}

#[test]
fn programs_written_with_controller_runtime() {
    check("controllers");
}
