//! What the program says to what it is told on the command line.

use portcullis_tests::program::run;

fn check(arguments: &[&str], code: i32, part: &str) {
    let output = run(arguments);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(said.contains(part), "{arguments:?}: {said}");
}

#[test]
fn help_and_version() {
    check(&["--help"], 0, "portcullis up");
    check(&["up", "--help"], 0, "--service-cluster-ip-range");
    check(&["version"], 0, "v1.36.3+portcullis.");
    check(&["--version"], 0, "v1.36.3+portcullis.");
}

#[test]
fn a_mistake_is_named_and_ends_with_2() {
    check(&[], 2, "Usage");
    check(&["up", "--components", "apiserver,oracle"], 2, "no such component");
    check(&["up", "--secure-port", "70000"], 2, "70000");
    check(&["up", "--service-cluster-ip-range", "10.96.0.1/12"], 2, "did you mean 10.96.0.0/12");
    check(&["up", "--log-level", "=loud="], 2, "--log-level");
    check(&["pki", "issue", "--data-dir", "/nowhere", "--user", "ana"], 2, "--out");
}

#[test]
fn a2_static_credentials_do_not_exist() {
    check(&["up", "--token-auth-file", "tokens.csv"], 2, "--token-auth-file does not exist here");
    check(&["up", "--basic-auth-file=users.csv", "--defaults", "upstream"], 2, "--basic-auth-file does not exist here");
}

#[test]
fn a3_no_flag_lets_any_token_in() {
    check(&["up", "--insecure-allow-any-token"], 2, "--insecure-allow-any-token does not exist here");
}

#[test]
fn a4_no_flag_opens_a_plain_port() {
    check(&["up", "--insecure-port", "8080"], 2, "--insecure-port does not exist here");
    check(&["up", "--insecure-bind-address", "127.0.0.1"], 2, "--insecure-bind-address does not exist here");
}

#[test]
fn a6_no_flag_repairs_malformed_updates() {
    check(&["up", "--repair-malformed-updates"], 2, "--repair-malformed-updates does not exist here");
}
