//! Discovery: which groups, versions and resources there are, in the old form of one small document each and the aggregated form of
//! KEP-3352, which a client asks `/api` and `/apis` for by media type.
//!
//! The documents are made from the registry when they are asked for (they are small), the aggregated ones once.

mod aggregated;
mod legacy;

use std::io;
use std::sync::OnceLock;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use portcullis_gate::Query;
use portcullis_kinds::Registry;
use portcullis_model::schema::encode_protobuf::envelope;
use portcullis_model::status::Status;
use portcullis_model::yaml;
use serde_json::Value;

use crate::document::Document;
use crate::messages::Messages;
use crate::negotiate::{self, Accepted, Endpoint, Format, media_range};
use crate::pretty;
use aggregated::Aggregated;
use legacy::Legacy;

/// What the aggregated form is asked for with.
const AGGREGATED: [&str; 3] = ["apidiscovery.k8s.io", "v2", "APIGroupDiscoveryList"];
/// What documents are had in, in upstream's order.
const FORMATS: [Format; 3] = [Format::Json, Format::Yaml, Format::Protobuf];
/// The profile without what other servers of a cluster serve; with one server, or equal ones, it is the same document.
const NO_PEER: &str = "nopeer";

/// The discovery documents of a server.
#[derive(Debug)]
pub struct Discovery {
    legacy: Legacy,
    core: Aggregated,
    groups: Aggregated,
    /// Made on first use: core and groups in each format.
    documents: [OnceLock<Document>; 2 * FORMATS.len()],
}

impl Discovery {
    /// Documents over these resources. `server_address` is what clients are told to reach the server at, `other_paths` are the
    /// paths beside those of resources that `/` lists.
    pub fn new(registry: &'static Registry, server_address: &str, other_paths: &[&str]) -> Discovery {
        Discovery {
            legacy: Legacy::new(registry, server_address, other_paths),
            core: Aggregated::new(registry, true),
            groups: Aggregated::new(registry, false),
            documents: Default::default(),
        }
    }

    /// The answer to a GET of a discovery path; none when there is no such document.
    pub fn answer(
        &self,
        path: &str,
        query: Query<'_>,
        headers: &HeaderMap,
    ) -> Option<Result<Response<Bytes>, Box<Status>>> {
        let path = if path.len() > 1 { path.strip_suffix('/').unwrap_or(path) } else { path };
        if let Some((number, asked)) = self.aggregated(path, headers) {
            let answer = self.document(number, asked.format);
            return Some(match answer {
                Ok(document) => Ok(document.respond(headers, asked.content_type(), &document.hash)),
                Err(error) => Err(Box::new(Status::internal_error(&error.to_string()))),
            });
        }
        let document = self.legacy.document(path)?;
        // The list of paths has no kind and no other form than JSON that people read.
        if document.get("kind").is_none() {
            return Some(respond(&document, Accepted { pretty: true, ..Accepted::JSON }));
        }
        let accepted = negotiate::accept(headers, query, Endpoint::DOCUMENT);
        Some(accepted.and_then(|accepted| respond(&document, accepted)))
    }

    /// Which aggregated document is wanted, if one is: the first media type that can be had decides.
    fn aggregated(&self, path: &str, headers: &HeaderMap) -> Option<(usize, Asked)> {
        let number = match path {
            "/api" => 0,
            "/apis" => 1,
            _ => return None,
        };
        let header = media_range::header(headers);
        // Whoever wants it at all gets it: the plain documents are not looked for beside it.
        media_range::ranges(&header).iter().find_map(|range| {
            let format = FORMATS.into_iter().find(|format| range.covers(format.content_type()))?;
            let asked = ["g", "v", "as"].map(|name| range.parameter(name).unwrap_or_default());
            (asked == AGGREGATED)
                .then(|| (number, Asked { format, no_peer: range.parameter("profile") == Some(NO_PEER) }))
        })
    }

    fn document(&self, number: usize, format: Format) -> io::Result<&Document> {
        let list = if number == 0 { &self.core } else { &self.groups };
        let at = number * FORMATS.len() + FORMATS.iter().position(|other| *other == format).unwrap_or_default();
        let Some(place) = self.documents.get(at) else { return Err(io::ErrorKind::NotFound.into()) };
        if let Some(document) = place.get() {
            return Ok(document);
        }
        let made = Document::of(&match format {
            Format::Json => list.json(),
            Format::Yaml => yaml::from_json(&list.json()).map_err(io::Error::other)?.into_bytes(),
            Format::Protobuf => list.protobuf(),
        })?;
        Ok(place.get_or_init(|| made))
    }
}

/// The aggregated form that a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    format: Format,
    no_peer: bool,
}

impl Asked {
    fn content_type(self) -> &'static str {
        match (self.format, self.no_peer) {
            (Format::Json, false) => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            (Format::Json, true) => {
                "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList;profile=nopeer"
            }
            (Format::Yaml, false) => "application/yaml;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            (Format::Yaml, true) => {
                "application/yaml;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList;profile=nopeer"
            }
            (Format::Protobuf, false) => {
                "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
            }
            (Format::Protobuf, true) => {
                "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList;profile=nopeer"
            }
        }
    }
}

fn respond(document: &Value, accepted: Accepted) -> Result<Response<Bytes>, Box<Status>> {
    let json = document.to_string();
    let format = accepted.format;
    let body = match format {
        Format::Protobuf => protobuf(legacy::MESSAGES, document),
        Format::Yaml => yaml::from_json(json.as_bytes())
            .map_err(|error| Box::new(Status::internal_error(&error.to_string())))?
            .into_bytes(),
        Format::Json if accepted.pretty => pretty::indent(json.as_bytes()),
        Format::Json => (json + "\n").into_bytes(),
    };
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    Ok(response)
}

/// A document of a kind in upstream's envelope.
fn protobuf(messages: &'static str, document: &Value) -> Vec<u8> {
    let text = |key: &str| document.get(key).and_then(Value::as_str).unwrap_or_default();
    let kind = text("kind");
    envelope(text("apiVersion"), kind, &Messages::read(messages).encode(kind, document))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http::header::{ACCEPT, ETAG, HeaderName, IF_NONE_MATCH};

    use super::*;

    const AGGREGATED_JSON: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    const AGGREGATED_PROTOBUF: &str =
        "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

    fn discovery() -> Discovery {
        Discovery::new(portcullis_kinds::resources(), "192.0.2.1:6443", &["/version"])
    }

    fn request(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    fn answer(path: &str, headers: &HeaderMap) -> Option<Response<Bytes>> {
        discovery().answer(path, Query::new(""), headers).map(Result::unwrap)
    }

    #[test]
    fn the_form_is_what_the_client_accepts_first() {
        let check = |path: &str, accept: &str, content_type: &str, begins: &[u8]| {
            let answer = answer(path, &request(ACCEPT, accept)).unwrap();
            assert_eq!(answer.headers()[CONTENT_TYPE], content_type, "{path} {accept}");
            assert!(answer.body().starts_with(begins), "{path} {accept}");
        };
        let protobuf = "application/vnd.kubernetes.protobuf";
        check("/apis", "application/json", "application/json", b"{");
        check("/apis/", "*/*", "application/json", b"{");
        check("/apis", protobuf, protobuf, b"k8s\0");
        check("/apis/apps", protobuf, protobuf, b"k8s\0");
        check("/apis", AGGREGATED_JSON, AGGREGATED_JSON, b"{");
        check("/api", AGGREGATED_PROTOBUF, AGGREGATED_PROTOBUF, b"k8s\0");
        check("/api", &format!("{AGGREGATED_JSON},application/json"), AGGREGATED_JSON, b"{");
        check("/api", &format!("{AGGREGATED_JSON};profile=nopeer"), &format!("{AGGREGATED_JSON};profile=nopeer"), b"{");
        check("/api", &format!("application/json,{AGGREGATED_JSON}"), AGGREGATED_JSON, b"{");
        let yaml = AGGREGATED_JSON.replace("json", "yaml");
        check("/api", &yaml, &yaml, b"apiVersion:");
        // A version that is gone falls back to the next that is accepted.
        let beta = AGGREGATED_JSON.replace("v=v2", "v=v2beta1");
        check("/api", &format!("{beta},{AGGREGATED_JSON}"), AGGREGATED_JSON, b"{");
        check("/api", &format!("{beta},application/json"), "application/json", b"{");
        check("/apis/apps/v1", &format!("{AGGREGATED_JSON},application/json"), "application/json", b"{");
        check("/", protobuf, "application/json", b"{");
        check("/", "text/html", "application/json", b"{");
    }

    #[test]
    fn an_aggregated_document_that_the_client_has_is_not_sent() {
        let first = answer("/apis", &request(ACCEPT, AGGREGATED_JSON)).unwrap();
        let mut headers = request(ACCEPT, AGGREGATED_JSON);
        headers.insert(IF_NONE_MATCH, first.headers()[ETAG].clone());
        assert_eq!(answer("/apis", &headers).unwrap().status(), 304);
        assert_eq!(answer("/api", &headers).unwrap().status(), 200);
    }

    #[test]
    fn what_cannot_be_had_is_refused() {
        let check = |path: &str, accept: &str| {
            let refused = discovery().answer(path, Query::new(""), &request(ACCEPT, accept));
            assert_eq!(refused.unwrap().unwrap_err().code, 406, "{path} {accept}");
        };
        check("/apis", "text/html");
        check("/apis", "application/*");
        check("/apis/apps/v1", AGGREGATED_JSON);
        check("/apis/apps/v1", "application/json;as=Table;g=meta.k8s.io;v=v1");
        assert!(answer("/boats", &HeaderMap::new()).is_none());
    }
}
