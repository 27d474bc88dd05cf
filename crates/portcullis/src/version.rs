//! What this build is called (A19): the Kubernetes level it serves and its own version, as one semantic version.

/// This build's own version.
pub(crate) const BUILD: &str = env!("CARGO_PKG_VERSION");
/// As `/version` says it.
pub(crate) const VERSION: &str = concat!("v1.36.3+portcullis.", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_says_what_the_wire_says() {
        assert_eq!(super::VERSION, portcullis_apiserver::version::git_version(super::BUILD));
    }
}
