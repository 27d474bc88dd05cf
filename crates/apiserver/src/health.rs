//! `/healthz`, `/livez`, `/readyz` and one path for each of their checks (upstream: `server/healthz`).

use std::fmt::Write as _;

use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Method, Response, StatusCode};
use portcullis_gate::{Body, Query};

use crate::config::ReadyCheck;
use crate::server::ApiServer;

/// Names in `exclude` that are looked at in one request.
const EXCLUDES_MAX: usize = 64;
const NOSNIFF: HeaderName = HeaderName::from_static("x-content-type-options");

/// What is checked, under upstream's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// The server answers.
    Ping,
    /// The log can be written to; there is nothing that could stop it.
    Log,
    /// The store can be read.
    Etcd,
    /// The store can be read, asked for readiness.
    EtcdReadiness,
    /// The objects that a cluster begins with are there.
    Namespaces,
    /// As [`Check::Namespaces`], for priority classes.
    PriorityClasses,
    /// The server is not on its way out.
    Shutdown,
    /// The KMS that stored objects are sealed under are well, where there is a configuration that may name some. A server is alive
    /// without them.
    KmsProviders,
}

impl Check {
    /// Upstream's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Check::Ping => "ping",
            Check::Log => "log",
            Check::Etcd => "etcd",
            Check::EtcdReadiness => "etcd-readiness",
            Check::Namespaces => "poststarthook/start-system-namespaces-controller",
            Check::PriorityClasses => "poststarthook/scheduling/bootstrap-system-priority-classes",
            Check::Shutdown => "shutdown",
            Check::KmsProviders => "kms-providers",
        }
    }
}

/// All of them.
pub(crate) const CHECKS: [Check; 8] = [
    Check::Ping,
    Check::Log,
    Check::Etcd,
    Check::EtcdReadiness,
    Check::Namespaces,
    Check::PriorityClasses,
    Check::Shutdown,
    Check::KmsProviders,
];
/// Where they are asked for.
pub(crate) const ENDPOINTS: [&str; 3] = ["healthz", "livez", "readyz"];

const LIVE: &[Check] = &[Check::Ping, Check::Log, Check::Etcd, Check::Namespaces, Check::PriorityClasses];
/// Of `healthz`, which upstream's KMS checks are part of and `livez` is without.
const HEALTHY: &[Check] =
    &[Check::Ping, Check::Log, Check::Etcd, Check::Namespaces, Check::PriorityClasses, Check::KmsProviders];
const READY: &[Check] = &[
    Check::Ping,
    Check::Log,
    Check::Etcd,
    Check::EtcdReadiness,
    Check::Namespaces,
    Check::PriorityClasses,
    Check::KmsProviders,
    Check::Shutdown,
];

/// Answers a path of a health endpoint; nothing for any other path.
pub async fn answer(server: &ApiServer, path: &str, method: &Method, query: Query<'_>) -> Option<Response<Body>> {
    let (endpoint, check) = path.strip_prefix('/')?.split_once('/').unwrap_or((path.strip_prefix('/')?, ""));
    let checks = match endpoint {
        "healthz" => HEALTHY,
        "livez" => LIVE,
        "readyz" => READY,
        _ => return None,
    };
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Some(text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n".to_owned()));
    }
    let kms_providers = server.config.kms_providers.as_ref();
    let is_there = |check: &Check| *check != Check::KmsProviders || kms_providers.is_some();
    let checks: Vec<Check> = checks.iter().copied().filter(is_there).collect();
    let store_is_up = server.engine.newest().await.is_ok();
    let passes = |check: Check| match check {
        Check::Ping | Check::Log => true,
        Check::Etcd | Check::EtcdReadiness => store_is_up,
        Check::Shutdown => !server.is_stopping(),
        Check::Namespaces | Check::PriorityClasses => server.is_bootstrapped(),
        Check::KmsProviders => kms_providers.is_none_or(ReadyCheck::passes),
    };
    if !check.is_empty() {
        let check = checks.into_iter().find(|held| held.name() == check)?;
        return Some(if passes(check) {
            text(StatusCode::OK, "ok".to_owned())
        } else {
            text(StatusCode::INTERNAL_SERVER_ERROR, "internal server error: reason withheld\n".to_owned())
        });
    }
    let excluded: Vec<String> = query.all("exclude").take(EXCLUDES_MAX).map(std::borrow::Cow::into_owned).collect();
    let counted = |check: Check| {
        let passes = passes(check);
        server.metrics.health.count(endpoint, check, passes);
        passes
    };
    Some(report(endpoint, &checks, counted, &excluded, query.get("verbose").is_some()))
}

fn report(
    endpoint: &str,
    checks: &[Check],
    passes: impl Fn(Check) -> bool,
    excluded: &[String],
    verbose: bool,
) -> Response<Body> {
    let mut lines = String::new();
    let mut failed = Vec::new();
    for check in checks {
        let name = check.name();
        let _ = if excluded.iter().any(|held| held == name) {
            writeln!(lines, "[+]{name} excluded: ok")
        } else if passes(*check) {
            writeln!(lines, "[+]{name} ok")
        } else {
            failed.push(name);
            writeln!(lines, "[-]{name} failed: reason withheld")
        };
    }
    let unknown: Vec<&String> =
        excluded.iter().filter(|held| checks.iter().all(|check| check.name() != *held)).collect();
    if !unknown.is_empty() {
        let names: Vec<String> = unknown.iter().map(|name| format!("{name:?}")).collect();
        let _ = writeln!(lines, "warn: some health checks cannot be excluded: no matches for {}", names.join(","));
    }
    if !failed.is_empty() {
        tracing::warn!(endpoint, checks = failed.join(","), "health check failed");
        let _ = writeln!(lines, "{endpoint} check failed");
        return text(StatusCode::INTERNAL_SERVER_ERROR, lines);
    }
    if !verbose {
        return text(StatusCode::OK, "ok".to_owned());
    }
    let _ = writeln!(lines, "{endpoint} check passed");
    text(StatusCode::OK, lines)
}

fn text(code: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(NOSNIFF, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn reports() {
        let check = async |passes: fn(Check) -> bool, excluded: &[&str], verbose: bool, code: u16, expected: &str| {
            let excluded: Vec<String> = excluded.iter().map(|name| (*name).to_owned()).collect();
            let response = report("livez", &[Check::Ping, Check::Etcd], passes, &excluded, verbose);
            assert_eq!(response.status(), code);
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(std::str::from_utf8(&body).unwrap(), expected);
        };
        check(|_| true, &[], false, 200, "ok").await;
        check(|_| true, &[], true, 200, "[+]ping ok\n[+]etcd ok\nlivez check passed\n").await;
        check(|_| true, &["etcd"], true, 200, "[+]ping ok\n[+]etcd excluded: ok\nlivez check passed\n").await;
        let failed = "[+]ping ok\n[-]etcd failed: reason withheld\nlivez check failed\n";
        check(|check| check == Check::Ping, &[], false, 500, failed).await;
        check(|check| check == Check::Ping, &["etcd"], false, 200, "ok").await;
        let warned = "[+]ping ok\n[+]etcd ok\n\
                      warn: some health checks cannot be excluded: no matches for \"x\"\nlivez check passed\n";
        check(|_| true, &["x"], true, 200, warned).await;
    }
}
