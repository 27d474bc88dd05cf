//! OpenAPI 3.0: one document a group-version.

use serde_json::{Map, Value, json};

use super::parameters::Parameter;
use super::paths::{Content, Operation, PathItem};
use super::pieces::{Frame, Piece, Section};
use super::schema::Dialect;

/// Where the sections of a document stand.
pub(super) const FRAME: Frame = Frame {
    paths: "\"paths\":{",
    schemas: "},\"components\":{\"schemas\":{",
    shared: "},\"securitySchemes\":{",
    end: "}}",
};

/// The head of a document.
pub(super) fn head(server_version: &str) -> Piece {
    let info = json!({ "title": "Kubernetes", "version": server_version });
    Piece::Head(Map::from_iter([("openapi".to_owned(), json!("3.0.0")), ("info".to_owned(), info)]))
}

/// What follows the schemas.
pub(super) fn end() -> [Piece; 2] {
    [Piece::Entry(Section::Shared, "BearerToken".to_owned(), bearer_token()), Piece::Tail(Map::new())]
}

/// How a client says who it is.
pub(super) fn bearer_token() -> Value {
    json!({ "type": "apiKey", "description": "Bearer token", "name": "authorization", "in": "header" })
}

/// The item of one path.
pub(super) fn path(item: &PathItem) -> Piece {
    let mut out = Map::new();
    if !item.parameters.is_empty() {
        out.insert("parameters".to_owned(), item.parameters.iter().map(parameter).collect());
    }
    for operation in &item.operations {
        out.insert(operation.method.to_owned(), operation_of(operation));
    }
    Piece::Entry(Section::Paths, item.path.clone(), Value::Object(out))
}

fn parameter(parameter: &Parameter) -> Value {
    let mut out = json!({
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.description,
        "schema": { "type": parameter.ty, "uniqueItems": true },
    });
    if parameter.place == "path" {
        out["required"] = json!(true);
    }
    out
}

fn operation_of(operation: &Operation) -> Value {
    let mut responses = Map::new();
    for code in operation.codes {
        let answer =
            json!({ "description": reason(*code), "content": content(&operation.content, operation.produces) });
        responses.insert(code.to_string(), answer);
    }
    responses.insert("401".to_owned(), json!({ "description": reason(401) }));
    let mut out = json!({
        "tags": [operation.tag],
        "description": operation.description,
        "operationId": operation.id,
        "responses": responses,
    });
    if !operation.parameters.is_empty() {
        out["parameters"] = operation.parameters.iter().map(parameter).collect();
    }
    if let Some(body) = &operation.body {
        out["requestBody"] = json!({ "content": content(&Content::Type(body.type_name.clone()), operation.consumes) });
        if body.required {
            out["requestBody"]["required"] = json!(true);
        }
    }
    extend(operation, &mut out);
    out
}

fn content(content: &Content<String>, media_types: &[&str]) -> Map<String, Value> {
    let schema = match content {
        Content::Type(name) => Dialect::V3.reference(name),
        Content::Text => json!({ "type": "string" }),
    };
    media_types.iter().map(|media_type| ((*media_type).to_owned(), json!({ "schema": schema }))).collect()
}

/// Adds what both forms of OpenAPI say about the verb and the kind.
pub(super) fn extend(operation: &Operation, out: &mut Value) {
    if let Some(action) = operation.action {
        out["x-kubernetes-action"] = json!(action);
    }
    if let Some((group, version, kind)) = &operation.kind {
        out["x-kubernetes-group-version-kind"] = json!({ "group": group, "version": version, "kind": kind });
    }
}

/// The words of a status code.
pub(super) fn reason(code: u16) -> &'static str {
    match code {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        _ => "Unauthorized",
    }
}
