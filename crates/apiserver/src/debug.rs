//! `/debug/api_priority_and_fairness/*`: what the levels of priority, their queues and their requests do now, as tables (upstream:
//! `flowcontrol/apf_controller_debug`).
//!
//! They name users and paths of others' requests, so who reads them needs a grant of their own. Like upstream's they are not in the
//! list that `/` gives.

use http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response};
use portcullis_gate::{Body, Query};

use crate::server::ApiServer;

/// What they have in common.
const UNDER: &str = "/debug/api_priority_and_fairness/";

/// Answers a path of these; none where there are no levels, and for every other path.
pub(crate) fn answer(server: &ApiServer, path: &str, query: Query<'_>) -> Option<Response<Body>> {
    let table = path.strip_prefix(UNDER)?;
    let dispatcher = server.flows.get()?;
    let mut out = String::new();
    match table {
        "dump_priority_levels" => dispatcher.dump_priority_levels(&mut out),
        "dump_queues" => dispatcher.dump_queues(&mut out),
        "dump_requests" => {
            let includes_details = query.get("includeRequestDetails").is_some_and(|value| !value.is_empty());
            dispatcher.dump_requests(includes_details, &mut out);
        }
        _ => return None,
    }
    let mut response = Response::new(Body::from(out));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Some(response)
}
