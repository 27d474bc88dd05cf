//! Paths inside a volume or on a host (upstream: `validateLocalDescendingPath`, `validatePathNoBacksteps`).
//!
//! A path that climbs out of its volume reads or writes what its author was never given: these checks stand between a manifest and the
//! node's disk.

use super::{Errors, Path};

/// No step of the path goes up.
pub fn no_backsteps(value: &str, at: &Path<'_>, errors: &mut Errors) {
    if value.split('/').any(|step| step == "..") {
        errors.invalid(at, value, "must not contain '..'");
    }
}

/// The path stays below where it starts.
pub fn descending(value: &str, at: &Path<'_>, errors: &mut Errors) {
    if value.starts_with('/') {
        errors.invalid(at, value, "must be a relative path");
    }
    no_backsteps(value, at, errors);
}

/// The path stays below where it starts, and its first step is not one of those that writers of volumes keep for themselves (upstream:
/// `ValidateLocalNonReservedPath`).
pub fn not_reserved(value: &str, at: &Path<'_>, errors: &mut Errors) {
    descending(value, at, errors);
    if value.starts_with("..") && !value.starts_with("../") {
        errors.invalid(at, value, "must not start with '..'");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_in_its_volume() {
        let check = |value: &str, expected: &[&str]| {
            let mut errors = Errors::new();
            not_reserved(value, &Path::new("path"), &mut errors);
            let why: Vec<String> = errors.into_vec().iter().map(|error| error.detail.to_string()).collect();
            assert_eq!(why, expected, "{value}");
        };
        for fine in ["", "a", "a/b", "a..b", "a/..b", ".a/b"] {
            check(fine, &[]);
        }
        check("/a", &["must be a relative path"]);
        check("a/../b/..", &["must not contain '..'"]);
        check("/..", &["must be a relative path", "must not contain '..'"]);
        check("../a", &["must not contain '..'"]);
        check("..", &["must not contain '..'", "must not start with '..'"]);
        check("..data", &["must not start with '..'"]);
    }
}
