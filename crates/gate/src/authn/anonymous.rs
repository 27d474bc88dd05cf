//! The user without credentials, who exists on the paths of L1 only (A1; upstream: `anonymous.conditions`, KEP-4633).

use std::sync::Arc;

use crate::identity::Identity;
use crate::request_info::RequestInfo;

/// The only paths that answer without credentials, exactly as written.
pub(crate) const PUBLIC_PATHS: [&str; 4] = ["/version", "/healthz", "/livez", "/readyz"];

pub(super) struct Anonymous(Arc<Identity>);

impl Anonymous {
    pub(super) fn new() -> Self {
        Self(Identity::anonymous())
    }

    /// Returns the anonymous identity where it may exist. Nobody can configure a path into this list yet.
    pub(super) fn identify(&self, info: &RequestInfo) -> Option<Arc<Identity>> {
        let exists = info.resource().is_none() && PUBLIC_PATHS.contains(&info.path());
        exists.then(|| Arc::clone(&self.0))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http::Method;

    use super::*;

    #[test]
    fn exists_on_four_paths_only() {
        let anonymous = Anonymous::new();
        let check = |path: &str, expected: bool| {
            let info = RequestInfo::parse(&Method::GET, path, "").unwrap();
            assert_eq!(anonymous.identify(&info).is_some(), expected, "{path}");
        };
        for path in PUBLIC_PATHS {
            check(path, true);
            for other in [
                format!("{path}/"),
                format!("{path}/ping"),
                format!("/{path}"),
                format!("{path}x"),
                format!("{path}%00"),
            ] {
                check(&other, false);
            }
        }
        for path in
            ["/", "", "/api", "/apis", "/metrics", "/openapi/v2", "/HEALTHZ", "/api/v1/namespaces", "/x/../healthz"]
        {
            check(path, false);
        }
    }
}
