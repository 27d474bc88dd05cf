//! What others need to verify service account tokens: the OIDC discovery document and the keys (KEP-1393; upstream: the OpenID
//! metadata server). Who may read them is the authorisers' business, like all else.

use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Response};
use portcullis_gate::{Body, status_response};
use portcullis_model::status::Status;

use crate::server::ApiServer;

/// Where the discovery document is.
pub const CONFIGURATION: &str = "/.well-known/openid-configuration";
/// Where the keys are.
pub const JWKS: &str = "/openid/v1/jwks";
/// How long either may be kept: keys are rotated slower than that.
const KEPT: HeaderValue = HeaderValue::from_static("public, max-age=3600");
/// Media types that an `Accept` header may list.
const ACCEPTED_MAX: usize = 64;

/// Answers a path of these two; nothing for any other, or where no tokens are issued.
pub fn answer(server: &ApiServer, path: &str, method: &Method, headers: &HeaderMap) -> Option<Response<Body>> {
    let accounts = server.config.service_accounts.as_ref()?;
    // An issuer that is no URL has no place where its documents are looked for.
    if !accounts.issuer.name().starts_with("https://") {
        return None;
    }
    let path = path.strip_suffix('/').unwrap_or(path);
    let media_type = match path {
        CONFIGURATION => "application/json",
        JWKS => "application/jwk-set+json",
        _ => return None,
    };
    if *method != Method::GET {
        return Some(status_response(&Status::method_not_allowed()));
    }
    if !accepts(headers, media_type) {
        return Some(status_response(&Status::not_acceptable(&[media_type])));
    }
    let text = match path {
        JWKS => accounts.issuer.jwks(),
        _ => accounts.issuer.discovery(&accounts.jwks_uri),
    };
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response.headers_mut().insert(CACHE_CONTROL, KEPT);
    Some(response)
}

/// Whether a client takes a media type: by its name or by `*/*`, as upstream's router compares them.
fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    let Some(accepted) = headers.get(ACCEPT) else { return true };
    let Ok(accepted) = accepted.to_str() else { return false };
    accepted.is_empty()
        || accepted.split(',').take(ACCEPTED_MAX).any(|one| {
            let name = one.split(';').next().unwrap_or_default().trim();
            name == "*/*" || name == media_type
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn accepted_types() {
        let check = |accept: Option<&str>, expected: bool| {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(ACCEPT, accept.parse().unwrap());
            }
            assert_eq!(accepts(&headers, "application/jwk-set+json"), expected, "{accept:?}");
        };
        check(None, true);
        check(Some(""), true);
        check(Some("*/*"), true);
        check(Some("application/jwk-set+json"), true);
        check(Some("text/html, application/jwk-set+json;q=0.5"), true);
        check(Some("application/json"), false);
        check(Some("application/*"), false);
    }
}
