//! `/version`: the API level and the build (A19; upstream: `version.Info`).

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use portcullis_gate::Body;

use crate::server::ApiServer;

/// The API level that is served.
pub const MAJOR: &str = "1";
/// The API level that is served.
pub const MINOR: &str = "36";
const PATCH: &str = "3";

/// Returns `v1.36.3+portcullis.0.1.0`.
pub fn git_version(build: &str) -> String {
    format!("v{MAJOR}.{MINOR}.{PATCH}+portcullis.{build}")
}

/// Answers `/version`.
pub fn answer(server: &ApiServer) -> Response<Body> {
    let version = git_version(server.config.build_version);
    let platform = platform();
    let text = format!(
        "{{\n  \"major\": \"{MAJOR}\",\n  \"minor\": \"{MINOR}\",\n  \"emulationMajor\": \"{MAJOR}\",\n  \
         \"emulationMinor\": \"{MINOR}\",\n  \"minCompatibilityMajor\": \"{MAJOR}\",\n  \
         \"minCompatibilityMinor\": \"35\",\n  \"gitVersion\": \"{version}\",\n  \"gitCommit\": \"\",\n  \
         \"gitTreeState\": \"clean\",\n  \"buildDate\": \"\",\n  \"goVersion\": \"\",\n  \"compiler\": \"rustc\",\n  \
         \"platform\": \"{platform}\"\n}}"
    );
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Returns `linux/amd64`.
pub(crate) fn platform() -> String {
    format!("{}/{}", std::env::consts::OS, architecture())
}

/// The machine under the name that clients know.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_a_semantic_version_of_the_api_level() {
        assert_eq!(git_version("0.1.0"), "v1.36.3+portcullis.0.1.0");
    }
}
