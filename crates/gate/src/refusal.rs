//! Where the gate's refusals become answers: one enum, one function. The words are upstream's, because clients parse them.

use std::sync::Arc;

use http::{HeaderValue, Response, StatusCode, header};
use portcullis_model::go_text::quoted;
use portcullis_model::status::Status;

use crate::body::{Body, status_response};
use crate::request_info::{PathFault, RequestInfo};

/// Seconds after which a client should come back that was refused because nothing can be recorded.
const UNRECORDABLE_RETRY_SECONDS: i32 = 10;

/// Why a request did not pass. Each carries what its answer needs, and nothing that only the log may say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The path has an escape that is not one; nothing else was looked at.
    BadRequestLine,
    /// No identity could be proved, or a credential was wrong.
    Unauthenticated,
    /// A header or parameter can not be read.
    BadRequest {
        /// What is wrong, for the client.
        message: String,
    },
    /// No authoriser allows it. Boxed: it is rare, and the others are small.
    Forbidden(Box<Forbidden>),
    /// The path was authorised, but must not be served.
    Path {
        /// What is wrong with it.
        fault: PathFault,
        /// What it was read as.
        info: Arc<RequestInfo>,
    },
    /// The answer did not come in time.
    DeadlineExceeded,
    /// The audit log does not take it, and nothing may happen that is not on record.
    Unrecordable,
    /// There is no seat for it now.
    TooManyRequests {
        /// Seconds after which the client should come back.
        retry_after_seconds: u32,
    },
    /// The handler panicked; the log has the rest.
    Panicked,
}

/// What a 403 says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Forbidden {
    /// The API group, empty for paths.
    pub group: String,
    /// The resource without its subresource, empty for paths.
    pub resource: String,
    /// The object's name.
    pub name: String,
    /// The sentence with user, verb and target.
    pub message: String,
}

impl Refusal {
    /// Makes the answer. Audit id and cache control are added where all answers leave.
    pub(crate) fn into_response(self) -> Response<Body> {
        match self {
            Self::BadRequestLine => text(StatusCode::BAD_REQUEST, "400 Bad Request"),
            Self::Unauthenticated => status_response(&Status::unauthorized()),
            Self::BadRequest { message } => status_response(&Status::bad_request(message)),
            Self::Forbidden(forbidden) => {
                let Forbidden { group, resource, name, message } = &*forbidden;
                let mut response = status_response(&Status::forbidden(group, resource, name, message));
                response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
                response
            }
            Self::Path { fault, info } => path_response(fault, &info),
            Self::DeadlineExceeded => {
                status_response(&Status::timeout("request did not complete within the allotted timeout", 0))
            }
            Self::Unrecordable => {
                let why = "the audit log can not be written, and nothing may happen that is not on record: make room for \
                           the log, or see --audit-on-error";
                status_response(&Status::service_unavailable(why).with_retry_after(UNRECORDABLE_RETRY_SECONDS))
            }
            Self::TooManyRequests { retry_after_seconds } => {
                let words = "Too many requests, please try again later.\n";
                let mut response = text(StatusCode::TOO_MANY_REQUESTS, words);
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after_seconds));
                response
            }
            Self::Panicked => status_response(&Status::internal_error(
                "this request caused the server to panic: look in its log for the audit id of this answer",
            )),
        }
    }
}

fn path_response(fault: PathFault, info: &RequestInfo) -> Response<Body> {
    let resource = info.resource();
    match (fault, resource) {
        (PathFault::BadSegment, Some(resource)) => {
            let segment = if is_bad(resource.namespace) { resource.namespace } else { resource.path_name };
            let rule = if segment.contains('%') {
                "may not contain '%'".to_owned()
            } else {
                format!("may not be '{segment}'")
            };
            status_response(&Status::bad_request(format!("Name parameter invalid: {}: {rule}", quoted(segment))))
        }
        (PathFault::NoSuchName, Some(resource)) if !resource.path_name.is_empty() => {
            status_response(&Status::not_found(resource.group, resource.resource, resource.path_name))
        }
        (PathFault::NoTarget, _) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!(
                "Internal Server Error: {}: failed to create RequestInfo: unable to determine kind and namespace from url, {}\n",
                quoted(info.path()),
                info.path().trim_matches('/'),
            ),
        ),
        _ => not_found(),
    }
}

fn is_bad(segment: &str) -> bool {
    matches!(segment, "." | "..") || segment.contains('%')
}

/// The answer for a path that nothing serves.
pub fn not_found() -> Response<Body> {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// A plain-text answer that no browser takes for anything else.
fn text(status: StatusCode, message: impl Into<bytes::Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::from(message));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http::Method;
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn answers_have_upstreams_words() {
        let check = async |refusal: Refusal, code: u16, content_type: &str, body: &str| {
            let response = refusal.into_response();
            assert_eq!(response.status(), code);
            assert_eq!(response.headers()[header::CONTENT_TYPE], content_type);
            let bytes = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(std::str::from_utf8(&bytes).unwrap(), body);
        };
        let path = |path: &str| {
            let info = RequestInfo::parse(&Method::GET, path, "").unwrap();
            Refusal::Path { fault: info.fault().unwrap(), info: Arc::new(info) }
        };
        let (json, plain) = ("application/json", "text/plain; charset=utf-8");
        check(Refusal::BadRequestLine, 400, plain, "400 Bad Request").await;
        check(
            Refusal::Unauthenticated,
            401,
            json,
            concat!(
                r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Unauthorized","#,
                r#""reason":"Unauthorized","code":401}"#,
                "\n"
            ),
        )
        .await;
        check(
            Refusal::DeadlineExceeded,
            504,
            json,
            concat!(
                r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","#,
                r#""message":"Timeout: request did not complete within the allotted timeout","#,
                r#""reason":"Timeout","details":{},"code":504}"#,
                "\n"
            ),
        )
        .await;
        let plea = "Too many requests, please try again later.\n";
        check(Refusal::TooManyRequests { retry_after_seconds: 4 }, 429, plain, plea).await;
        check(path("//api/v1/namespaces"), 404, plain, "404 page not found\n").await;
        check(path("/healthz/../x"), 404, plain, "404 page not found\n").await;
        check(
            path("/api/v1/namespaces/a/secrets/.."),
            400,
            json,
            concat!(
                r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","#,
                r#""message":"Name parameter invalid: \"..\": may not be '..'","reason":"BadRequest","code":400}"#,
                "\n"
            ),
        )
        .await;
        check(
            path("/apis/apps/v1/namespaces/a/deployments/x%00"),
            404,
            json,
            concat!(
                r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","#,
                r#""message":"deployments.apps \"x\\x00\" not found","reason":"NotFound","#,
                r#""details":{"name":"x\u0000","group":"apps","kind":"deployments"},"code":404}"#,
                "\n"
            ),
        )
        .await;
        check(
            path("/api/v1/watch"),
            500,
            plain,
            "Internal Server Error: \"/api/v1/watch\": failed to create RequestInfo: \
             unable to determine kind and namespace from url, api/v1/watch\n",
        )
        .await;
    }
}
