//! OpenAPI: `/openapi/v3`, its documents, and `/openapi/v2`, as JSON and as protobuf.
//!
//! Documents are made from the facts when they are first asked for and kept compressed. Answers to upstream's `kube-openapi` handlers:
//! the index of v3 names each document with a hash of its content, under which clients may keep it for ever; a stale hash is
//! redirected to the right one.
//!
//! Reading order: `paths` and `resource_paths` (what can be done where), `parameters`, `schema`, then the two forms `v3` and `v2`, and how they are
//! written: `pieces` (JSON) and `protobuf`.

#[cfg(test)]
mod corpus;
mod parameters;
mod paths;
mod pieces;
mod protobuf;
mod resource_paths;
mod schema;
mod v2;
mod v3;

use std::collections::BTreeMap;
use std::io::{self, BufWriter};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use portcullis_kinds::Registry;
use portcullis_kinds::descriptions::Descriptions;
use portcullis_model::schema::Schema;

use crate::document::{self, Document, Writer};
use crate::negotiate::media_range;
use paths::PathItem;
use pieces::{Piece, Section};
use schema::{Dialect, Schemas};

const V2: &str = "/openapi/v2";
const V3: &str = "/openapi/v3";
const JSON: &str = "application/json";
/// The protobuf types of both forms: what is answered, and the older spelling that clients still ask with though no parser of media
/// types takes it.
const V2_PROTOBUF: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
];
const V3_PROTOBUF: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v3.v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v3@v1.0+protobuf",
];
/// How upstream's index is typed: it leaves that to a guess at its text.
const INDEX_TYPE: &str = "text/plain; charset=utf-8";
/// Text that is gathered before it is hashed and compressed.
const BUFFER_BYTES: usize = 32 << 10;
/// A document under the right hash never changes.
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, immutable, max-age=31536000");

/// The OpenAPI documents of a server. Cheap until it is asked for one.
#[derive(Debug)]
pub struct OpenApi {
    schema: &'static Schema,
    registry: &'static Registry,
    server_version: String,
    index: OnceLock<Index>,
    /// By path and encoding. There are as many as group-versions and groups, so nothing is ever dropped.
    documents: Mutex<BTreeMap<(String, Encoding), Arc<Document>>>,
}

/// The documents of v3 by name, each with the hash of its content, and the text that says so.
#[derive(Debug)]
struct Index {
    hashes: BTreeMap<String, String>,
    document: Document,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Encoding {
    Json,
    Protobuf,
}

impl OpenApi {
    /// Documents over these facts; the version is that of `/version`.
    pub fn new(schema: &'static Schema, registry: &'static Registry, server_version: &str) -> OpenApi {
        OpenApi {
            schema,
            registry,
            server_version: server_version.to_owned(),
            index: OnceLock::new(),
            documents: Mutex::default(),
        }
    }

    /// The answer to a GET of an OpenAPI path; none when there is no such path.
    ///
    /// The first request for a document makes it, which takes one thread up to some tens of milliseconds, so this does not belong on
    /// a thread that others wait for.
    pub fn answer(&self, path: &str, query: &str, headers: &HeaderMap) -> Option<Response<Bytes>> {
        let path = path.strip_suffix('/').unwrap_or(path);
        let answer = match path {
            V2 => self.v2(headers),
            V3 => self.index().map(|index| index.document.respond(headers, INDEX_TYPE, &index.document.hash)),
            _ => {
                let name = path.strip_prefix(V3)?.strip_prefix('/')?;
                self.v3(name, query, headers)?
            }
        };
        Some(answer.unwrap_or_else(|_| status(StatusCode::INTERNAL_SERVER_ERROR)))
    }

    fn v2(&self, headers: &HeaderMap) -> io::Result<Response<Bytes>> {
        let Some((encoding, content_type)) = negotiate(headers, &V2_PROTOBUF) else {
            return Ok(status(StatusCode::NOT_ACCEPTABLE));
        };
        let document = self.document(V2, encoding, || {
            let descriptions = Descriptions::unpack();
            written(self.v2_pieces(&descriptions), encoding, Dialect::V2)
        })?;
        Ok(document.respond(headers, content_type, &document.hash))
    }

    fn v3(&self, name: &str, query: &str, headers: &HeaderMap) -> Option<io::Result<Response<Bytes>>> {
        let index = match self.index() {
            Ok(index) => index,
            Err(error) => return Some(Err(error)),
        };
        let hash = index.hashes.get(name)?;
        let asked = query.split('&').find_map(|pair| pair.strip_prefix("hash="));
        if asked.is_some_and(|asked| asked != hash) {
            return Some(Ok(moved(&address(name, hash))));
        }
        let Some((encoding, content_type)) = negotiate(headers, &V3_PROTOBUF) else {
            return Some(Ok(status(StatusCode::NOT_ACCEPTABLE)));
        };
        let document = self.document(name, encoding, || {
            let descriptions = Descriptions::unpack();
            written(self.v3_pieces(name, &descriptions), encoding, Dialect::V3)
        });
        Some(document.map(|document| {
            let mut response = document.respond(headers, content_type, hash);
            if asked.is_some() {
                response.headers_mut().insert(CACHE_CONTROL, IMMUTABLE);
            }
            response
        }))
    }

    /// A document that is at hand, or is now made. Who asks meanwhile waits rather than making it too.
    fn document(
        &self,
        name: &str,
        encoding: Encoding,
        make: impl FnOnce() -> io::Result<Document>,
    ) -> io::Result<Arc<Document>> {
        let mut documents = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (name.to_owned(), encoding);
        if let Some(document) = documents.get(&key) {
            return Ok(Arc::clone(document));
        }
        let document = Arc::new(make()?);
        documents.insert(key, Arc::clone(&document));
        Ok(document)
    }

    fn index(&self) -> io::Result<&Index> {
        if let Some(index) = self.index.get() {
            return Ok(index);
        }
        let index = self.make_index()?;
        Ok(self.index.get_or_init(|| index))
    }

    /// Hashes every document without keeping any.
    fn make_index(&self) -> io::Result<Index> {
        let descriptions = Descriptions::unpack();
        let mut hashes = BTreeMap::new();
        let mut addresses = serde_json::Map::new();
        for name in paths::document_names(self.registry) {
            let mut hasher = BufWriter::with_capacity(BUFFER_BYTES, document::Hasher::default());
            pieces::write_json(self.v3_pieces(&name, &descriptions), &v3::FRAME, &mut hasher)?;
            let hash = hasher.into_inner().map_err(io::IntoInnerError::into_error)?.finish();
            addresses.insert(name.clone(), serde_json::json!({ "serverRelativeURL": address(&name, &hash) }));
            hashes.insert(name, hash);
        }
        let text = serde_json::json!({ "paths": addresses }).to_string();
        Ok(Index { hashes, document: Document::of(text.as_bytes())? })
    }

    fn v3_pieces<'a>(&'a self, name: &str, descriptions: &'a Descriptions) -> impl Iterator<Item = Piece> + use<'a> {
        let items = paths::of_document(self.schema, self.registry, name).unwrap_or_default();
        let group_versions = paths::group_version_of(self.registry, name).into_iter().collect();
        let schemas = Schemas { schema: self.schema, dialect: Dialect::V3, descriptions, group_versions };
        let schemas = self.schema_pieces(&items, schemas);
        let head = std::iter::once(v3::head(&self.server_version));
        head.chain(items.into_iter().map(|item| v3::path(&item))).chain(schemas).chain(v3::end())
    }

    fn v2_pieces<'a>(&'a self, descriptions: &'a Descriptions) -> impl Iterator<Item = Piece> + use<'a> {
        let names = paths::document_names(self.registry);
        let items = names.iter().filter_map(|name| paths::of_document(self.schema, self.registry, name));
        let items: Vec<PathItem> = items.flatten().collect();
        let group_versions = self.registry.group_versions().iter().map(|gv| (gv.group, gv.version)).collect();
        let schemas = Schemas { schema: self.schema, dialect: Dialect::V2, descriptions, group_versions };
        let schemas = self.schema_pieces(&items, schemas);
        let shared =
            v2::shared(items.iter()).into_iter().map(|(name, value)| Piece::Entry(Section::Shared, name, value));
        let head = std::iter::once(v2::head(&self.server_version));
        head.chain(items.into_iter().map(|item| v2::path(&item))).chain(schemas).chain(shared).chain([v2::end()])
    }

    /// The schemas of all types that these paths lead to.
    fn schema_pieces<'a>(&'a self, items: &[PathItem], schemas: Schemas<'a>) -> impl Iterator<Item = Piece> + use<'a> {
        let operations = items.iter().flat_map(|item| &item.operations);
        let names = schema::closure(self.schema, operations.flat_map(|operation| operation.types().map(str::to_owned)));
        let entry = move |name: String| {
            let value = schemas.of(&name);
            Piece::Entry(Section::Schemas, format!("{}{name}", schema::NAME_PREFIX), value)
        };
        names.into_iter().map(entry)
    }
}

/// What the client takes: JSON, or protobuf in one of its spellings.
fn negotiate(headers: &HeaderMap, protobuf: &[&'static str; 2]) -> Option<(Encoding, &'static str)> {
    let header = media_range::header(headers);
    let ranges = media_range::ranges(if header.is_empty() { "*/*" } else { &header });
    ranges.iter().find_map(|range| match protobuf.iter().any(|spelling| range.covers(spelling)) {
        _ if range.covers(JSON) => Some((Encoding::Json, JSON)),
        true => Some((Encoding::Protobuf, protobuf[0])),
        false => None,
    })
}

/// Writes a document and keeps it compressed.
fn written(pieces: impl Iterator<Item = Piece>, encoding: Encoding, dialect: Dialect) -> io::Result<Document> {
    let mut writer = BufWriter::with_capacity(BUFFER_BYTES, Writer::new());
    match (encoding, dialect) {
        (Encoding::Json, Dialect::V2) => pieces::write_json(pieces, &v2::FRAME, &mut writer)?,
        (Encoding::Json, Dialect::V3) => pieces::write_json(pieces, &v3::FRAME, &mut writer)?,
        (Encoding::Protobuf, Dialect::V2) => protobuf::write_v2(pieces, &mut writer)?,
        (Encoding::Protobuf, Dialect::V3) => protobuf::write_v3(pieces, &mut writer)?,
    }
    writer.into_inner().map_err(io::IntoInnerError::into_error)?.finish()
}

/// Where a document is found under its hash.
fn address(name: &str, hash: &str) -> String {
    format!("{V3}/{name}?hash={hash}")
}

fn status(code: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = code;
    response
}

fn moved(address: &str) -> Response<Bytes> {
    let mut response = status(StatusCode::MOVED_PERMANENTLY);
    if let Ok(address) = HeaderValue::from_str(address) {
        response.headers_mut().insert(LOCATION, address);
    }
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http::header::{ACCEPT, CONTENT_ENCODING, ETAG, HeaderName, IF_NONE_MATCH};
    use serde_json::{Value, json};

    use super::*;

    fn openapi() -> OpenApi {
        OpenApi::new(portcullis_kinds::schema(), portcullis_kinds::resources(), "v1.36.3")
    }

    fn request(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    fn json_of(openapi: &OpenApi, path: &str) -> Value {
        serde_json::from_slice(openapi.answer(path, "", &HeaderMap::new()).unwrap().body()).unwrap()
    }

    #[test]
    fn the_index_names_every_document_with_the_hash_of_its_content() {
        let openapi = openapi();
        let index = json_of(&openapi, "/openapi/v3");
        for (name, entry) in index["paths"].as_object().unwrap() {
            let address = entry["serverRelativeURL"].as_str().unwrap();
            let (path, query) = address.split_once('?').unwrap();
            assert_eq!(path, format!("/openapi/v3/{name}"));
            let answer = openapi.answer(path, query, &HeaderMap::new()).unwrap();
            assert_eq!(answer.status(), 200, "{address}");
            assert_eq!(answer.headers()[CACHE_CONTROL], IMMUTABLE, "{address}");
            let hash = Document::of(answer.body()).unwrap().hash;
            assert_eq!(query, format!("hash={hash}"), "{address}");
            assert_eq!(answer.headers()[ETAG], format!("\"{hash}\""), "{address}");
        }
        // Another server of the same build says the same.
        assert_eq!(json_of(&self::openapi(), "/openapi/v3"), index);
    }

    #[test]
    fn a_stale_hash_is_redirected() {
        let openapi = openapi();
        let answer = openapi.answer("/openapi/v3/version", "hash=0", &HeaderMap::new()).unwrap();
        assert_eq!(answer.status(), 301);
        let (path, query) = answer.headers()[LOCATION].to_str().unwrap().split_once('?').unwrap();
        assert_eq!(openapi.answer(path, query, &HeaderMap::new()).unwrap().status(), 200);
        // Without a hash there is nothing to keep.
        let answer = openapi.answer("/openapi/v3/version", "", &HeaderMap::new()).unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers().get(CACHE_CONTROL)), (200, None));
    }

    #[test]
    fn what_is_accepted_is_answered() {
        let openapi = openapi();
        let check = |path: &str, accept: &str, expected: Option<&str>| {
            let answer = openapi.answer(path, "", &request(ACCEPT, accept)).unwrap();
            let content_type = answer.headers().get(CONTENT_TYPE).map(|value| value.to_str().unwrap());
            assert_eq!(content_type, expected, "{path} {accept}");
            assert_eq!(answer.status(), if expected.is_some() { 200 } else { 406 }, "{path} {accept}");
        };
        let (v2, v3) = ("/openapi/v2", "/openapi/v3/apis/apps/v1");
        check(v3, "", Some("application/json"));
        check(v3, "application/json, */*", Some("application/json"));
        check(v3, V3_PROTOBUF[0], Some(V3_PROTOBUF[0]));
        check(v3, V3_PROTOBUF[1], Some(V3_PROTOBUF[0]));
        check(v3, V2_PROTOBUF[0], None);
        check(v3, "text/html", None);
        check(v2, V2_PROTOBUF[0], Some(V2_PROTOBUF[0]));
        check(v2, V2_PROTOBUF[1], Some(V2_PROTOBUF[0]));
        check(v2, "application/json", Some("application/json"));
        check(v2, V3_PROTOBUF[0], None);
    }

    #[test]
    fn a_document_that_the_client_has_is_not_sent() {
        let openapi = openapi();
        for path in ["/openapi/v2", "/openapi/v3", "/openapi/v3/apis/apps/v1"] {
            let first = openapi.answer(path, "", &HeaderMap::new()).unwrap();
            let again =
                openapi.answer(path, "", &request(IF_NONE_MATCH, first.headers()[ETAG].to_str().unwrap())).unwrap();
            assert_eq!((again.status().as_u16(), again.body().len()), (304, 0), "{path}");
        }
    }

    #[test]
    fn a_large_document_is_compressed_for_who_accepts_it() {
        let headers = request(http::header::ACCEPT_ENCODING, "gzip");
        let answer = openapi().answer("/openapi/v3/api/v1", "", &headers).unwrap();
        assert_eq!(answer.headers()[CONTENT_ENCODING], "gzip");
    }

    #[test]
    fn paths_without_a_document_are_left_to_others() {
        let openapi = openapi();
        let check = |path: &str| assert!(openapi.answer(path, "", &HeaderMap::new()).is_none(), "{path}");
        check("/openapi");
        check("/openapi/v1");
        check("/openapi/v3/apis/boats/v1");
        check("/openapi/v3/apis/apps/v9");
        check("/openapi/v3apis");
    }

    #[test]
    fn v2_is_whole() {
        let v2 = json_of(&openapi(), "/openapi/v2");
        assert_eq!(v2["swagger"], "2.0");
        let mut queue = vec![&v2];
        while let Some(value) = queue.pop() {
            if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
                assert!(v2.pointer(&reference[1..]).is_some(), "{reference} leads nowhere");
            }
            assert!(value.get("default").is_none_or(Value::is_object), "v2 has no defaults: {value}");
            queue.extend(value.as_object().into_iter().flat_map(|members| members.values()));
            queue.extend(value.as_array().into_iter().flatten());
        }
        let pod = &v2["definitions"]["io.k8s.api.core.v1.Pod"];
        assert_eq!(pod["x-kubernetes-group-version-kind"], json!([{ "group": "", "version": "v1", "kind": "Pod" }]));
        assert_eq!(pod["properties"]["spec"]["$ref"], "#/definitions/io.k8s.api.core.v1.PodSpec");
        let patch = &v2["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
        assert_eq!(patch["x-kubernetes-action"], "patch");
    }

    #[test]
    fn schemas_carry_the_descriptions_that_explain_prints() {
        let core = json_of(&openapi(), "/openapi/v3/api/v1");
        let pod = &core["components"]["schemas"]["io.k8s.api.core.v1.Pod"];
        assert!(pod["description"].is_string());
        assert!(pod["properties"]["spec"]["description"].is_string());
    }
}
