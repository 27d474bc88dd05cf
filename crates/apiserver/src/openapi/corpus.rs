//! Replays the recorded discovery and OpenAPI exchanges without a server, where the corpus is beside the project. A user's clone has
//! no corpus: then there is nothing to replay and the tests of the rules stand alone.

#![allow(clippy::unwrap_used)]

use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Response};
use portcullis_gate::Query;
use serde_json::Value;

use super::OpenApi;
use crate::discovery::Discovery;

const CORPUS: &str = "../../../shared/corpus/recorded";
/// Served by others: the version, and what is no document at all.
const NOT_OURS: &[&str] = &["/version", "/apis/nosuch.example.com", "/apis/apps/v9", "/apis/apps/v1/boats", "/nosuch"];

struct Server {
    discovery: Discovery,
    openapi: OpenApi,
}

impl Server {
    fn answer(&self, path: &str, accept: &str) -> Response<bytes::Bytes> {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_str(accept).unwrap())]);
        if path.starts_with("/openapi/") {
            return self.openapi.answer(path, "", &headers).unwrap_or_else(|| panic!("no {path}"));
        }
        self.discovery.answer(path, Query::new(""), &headers).unwrap_or_else(|| panic!("no {path}")).unwrap()
    }
}

#[test]
fn discovery_answers_as_recorded() {
    replay("discovery.jsonl.gz");
}

#[test]
fn openapi_answers_as_recorded() {
    replay("openapi.jsonl.gz");
}

fn replay(file: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(CORPUS).join(file);
    let Ok(recorded) = std::fs::File::open(&path) else { return };
    let mut text = String::new();
    GzDecoder::new(recorded).read_to_string(&mut text).unwrap();
    let (schema, registry) = (portcullis_kinds::schema(), portcullis_kinds::resources());
    let server = Server {
        discovery: Discovery::new(registry, "192.0.2.1:6443", &[]),
        openapi: OpenApi::new(schema, registry, "v1.36.3"),
    };
    for line in text.lines() {
        let scenario: Value = serde_json::from_str(line).unwrap();
        // The steps of a scenario look at parts of the same few documents.
        let mut last: Option<(String, String, Value)> = None;
        for step in scenario["steps"].as_array().unwrap() {
            replay_step(&server, step, &mut last);
        }
    }
}

fn replay_step(server: &Server, step: &Value, last: &mut Option<(String, String, Value)>) {
    let (id, path) = (step["id"].as_str().unwrap(), step["path"].as_str().unwrap());
    let accept = step["headers"]["Accept"].as_str().unwrap();
    if NOT_OURS.contains(&path) {
        return;
    }
    if last.as_ref().is_none_or(|(at, with, _)| (at.as_str(), with.as_str()) != (path, accept)) {
        let answer = server.answer(path, accept);
        assert_eq!(answer.status().as_u16(), step["status"], "{id}");
        assert_eq!(answer.headers()[CONTENT_TYPE].to_str().unwrap(), step["headers_out"]["content-type"], "{id}");
        *last = Some((path.to_owned(), accept.to_owned(), serde_json::from_slice(answer.body()).unwrap()));
    }
    if step["match"] == "status" {
        return;
    }
    let mut got = &last.as_ref().unwrap().2;
    for part in step["extract"].as_str().into_iter().flat_map(|path| path.split('|')) {
        got = part
            .parse()
            .ok()
            .and_then(|number: usize| got.get(number))
            .or_else(|| got.get(part))
            .unwrap_or(&Value::Null);
    }
    let mut got = got.clone();
    for masked in step["mask"].as_array().into_iter().flatten() {
        if let Some(value) = got.get_mut(masked.as_str().unwrap()) {
            *value = Value::from("<masked>");
        }
    }
    let described = !step["strip"].as_array().is_some_and(|keys| keys.iter().any(|key| key == "description"));
    got = normal(got, described);
    assert_eq!(got, step["out"], "{id}");
}

/// The normal form of the corpus: without `selfLink`, whose field is gone from objects, and where a step says so without descriptions.
fn normal(value: Value, described: bool) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.into_iter().filter(|(key, value)| match key.as_str() {
                "selfLink" => false,
                "description" => described || !value.is_string(),
                _ => true,
            });
            Value::Object(kept.map(|(key, value)| (key, normal(value, described))).collect())
        }
        Value::Array(items) => items.into_iter().map(|item| normal(item, described)).collect(),
        value => value,
    }
}
