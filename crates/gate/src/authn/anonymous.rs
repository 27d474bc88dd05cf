//! The user without credentials, who exists on the paths of L1 and on those that an operator listed one by one (A1; upstream:
//! `anonymous.conditions`, KEP-4633).
//!
//! A listed path only lets the anonymous user exist there: what it may do is for the authorisers. There is no way to let it
//! exist everywhere, in neither profile of defaults.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::identity::Identity;
use crate::request_info::RequestInfo;

use super::configuration::AnonymousConfiguration;

/// The only paths that answer without credentials unless an operator lists more, exactly as written.
pub(crate) const PUBLIC_PATHS: [&str; 4] = ["/version", "/healthz", "/livez", "/readyz"];

/// Where the anonymous user exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnonymousPaths {
    /// Nowhere: without credentials every path is 401.
    None,
    /// On the paths of L1 and on these, each exactly as written and with nothing after it.
    Public {
        /// Further paths.
        further: Vec<String>,
    },
}

impl Default for AnonymousPaths {
    fn default() -> Self {
        Self::Public { further: Vec::new() }
    }
}

impl AnonymousPaths {
    /// What `--anonymous-auth` means: `true` opens nothing beyond L1 (A1).
    pub fn of_flag(allowed: bool) -> Self {
        if allowed { Self::default() } else { Self::None }
    }

    pub(crate) fn of(configuration: &AnonymousConfiguration) -> Self {
        match configuration.enabled {
            true => Self::Public { further: configuration.conditions.clone() },
            false => Self::None,
        }
    }
}

/// The user without credentials.
pub struct Anonymous {
    identity: Arc<Identity>,
    paths: ArcSwap<AnonymousPaths>,
}

impl Default for Anonymous {
    fn default() -> Self {
        Self::on(AnonymousPaths::default())
    }
}

impl Anonymous {
    /// Lets the anonymous user exist on these paths.
    pub fn on(paths: AnonymousPaths) -> Self {
        Self { identity: Identity::anonymous(), paths: ArcSwap::from_pointee(paths) }
    }

    /// Replaces the paths.
    pub fn move_to(&self, paths: AnonymousPaths) {
        self.paths.store(Arc::new(paths));
    }

    /// Returns the paths.
    pub fn paths(&self) -> Arc<AnonymousPaths> {
        self.paths.load_full()
    }

    /// Returns the anonymous identity where it may exist.
    pub(super) fn identify(&self, info: &RequestInfo) -> Option<Arc<Identity>> {
        let path = info.path();
        let exists = match &**self.paths.load() {
            AnonymousPaths::None => false,
            AnonymousPaths::Public { further } => {
                let is_public = info.resource().is_none() && PUBLIC_PATHS.contains(&path);
                is_public || further.iter().any(|listed| listed == path)
            }
        };
        exists.then(|| Arc::clone(&self.identity))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http::Method;

    use super::*;

    fn exists(anonymous: &Anonymous, path: &str) -> bool {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        anonymous.identify(&RequestInfo::parse(&Method::GET, path, query).unwrap()).is_some()
    }

    #[test]
    fn a1_exists_on_four_paths_only() {
        // Whoever says that anonymous requests are allowed gets no more than whoever says nothing.
        for anonymous in [Anonymous::default(), Anonymous::on(AnonymousPaths::of_flag(true))] {
            let check = |path: &str, expected: bool| assert_eq!(exists(&anonymous, path), expected, "{path}");
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

    #[test]
    fn a1_an_operator_lists_paths_one_by_one() {
        let join = "/api/v1/namespaces/kube-public/configmaps/cluster-info";
        let further = vec![join.to_owned(), "/livez/ping".to_owned()];
        let anonymous = Anonymous::on(AnonymousPaths::Public { further });
        let check = |path: &str, expected: bool| assert_eq!(exists(&anonymous, path), expected, "{path}");
        check(join, true);
        check(&format!("{join}?pretty=true"), true);
        check("/livez/ping", true);
        for path in PUBLIC_PATHS {
            check(path, true);
        }
        for path in [
            "/api/v1/namespaces/kube-public/configmaps",
            "/api/v1/namespaces/kube-public/configmaps/",
            "/api/v1/namespaces/kube-public/configmaps/cluster-info/",
            "/api/v1/namespaces/kube-public/configmaps/cluster-info/x",
            "/api/v1/namespaces/kube-public/configmaps/cluster-info2",
            "/api/v1/namespaces/kube-public/configmaps//cluster-info",
            "/api/v1/namespaces/kube-public/configmaps/x/../cluster-info",
            "/api/v1/namespaces/KUBE-PUBLIC/configmaps/cluster-info",
            "/livez/ping/",
            "/livez/etcd",
            "/livez/",
        ] {
            check(path, false);
        }
    }

    #[test]
    fn a1_with_anonymous_off_it_exists_nowhere() {
        let anonymous = Anonymous::on(AnonymousPaths::of_flag(false));
        for path in PUBLIC_PATHS {
            assert!(!exists(&anonymous, path), "{path}");
        }
        anonymous.move_to(AnonymousPaths::default());
        for path in PUBLIC_PATHS {
            assert!(exists(&anonymous, path), "{path}");
        }
    }
}
