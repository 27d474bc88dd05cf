//! OpenAPI 2.0: one document for everything. Parameters recur thousands of times, so operations refer to one list of them.

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use serde_json::{Map, Value, json};

use super::parameters::Parameter;
use super::paths::{Content, Operation, PathItem};
use super::pieces::{Frame, Piece, Section};
use super::schema::Dialect;
use super::v3::{bearer_token, extend, reason};
use crate::document::upper_hex;

/// Where the sections of a document stand.
pub(super) const FRAME: Frame =
    Frame { paths: "\"paths\":{", schemas: "},\"definitions\":{", shared: "},\"parameters\":{", end: "}" };
/// Bytes of the hash that tells parameters of one name apart.
const SHARED_NAME_BYTES: usize = 4;

/// The head of the document.
pub(super) fn head(server_version: &str) -> Piece {
    let info = json!({ "title": "Kubernetes", "version": server_version });
    Piece::Head(Map::from_iter([("swagger".to_owned(), json!("2.0")), ("info".to_owned(), info)]))
}

/// What ends the document.
pub(super) fn end() -> Piece {
    let security = json!([{ "BearerToken": [] }]);
    let definitions = json!({ "BearerToken": bearer_token() });
    Piece::Tail(Map::from_iter([("security".to_owned(), security), ("securityDefinitions".to_owned(), definitions)]))
}

/// The parameters that path items refer to, by the names they do it with.
pub(super) fn shared<'a>(items: impl Iterator<Item = &'a PathItem>) -> BTreeMap<String, Value> {
    let mut out = BTreeMap::new();
    for item in items {
        let parameters = item.operations.iter().flat_map(|operation| &operation.parameters).chain(&item.parameters);
        for parameter in parameters {
            let name = shared_name(parameter);
            out.entry(name).or_insert_with(|| definition(parameter));
        }
    }
    out
}

/// The item of one path.
pub(super) fn path(item: &PathItem) -> Piece {
    let mut out = Map::new();
    if !item.parameters.is_empty() {
        out.insert("parameters".to_owned(), item.parameters.iter().map(reference).collect());
    }
    for operation in &item.operations {
        out.insert(operation.method.to_owned(), operation_of(operation));
    }
    Piece::Entry(Section::Paths, item.path.clone(), Value::Object(out))
}

fn operation_of(operation: &Operation) -> Value {
    let schema = match &operation.content {
        Content::Type(name) => Dialect::V2.reference(name),
        Content::Text => json!({ "type": "string" }),
    };
    let mut responses = Map::new();
    for code in operation.codes {
        responses.insert(code.to_string(), json!({ "description": reason(*code), "schema": schema }));
    }
    responses.insert("401".to_owned(), json!({ "description": reason(401) }));
    let mut out = json!({
        "consumes": operation.consumes,
        "description": operation.description,
        "operationId": operation.id,
        "produces": operation.produces,
        "responses": responses,
        "schemes": ["https"],
        "tags": [operation.tag],
    });
    let mut parameters: Vec<Value> = operation.parameters.iter().map(reference).collect();
    if let Some(body) = &operation.body {
        let mut parameter = json!({ "in": "body", "name": "body", "schema": Dialect::V2.reference(&body.type_name) });
        if body.required {
            parameter["required"] = json!(true);
        }
        parameters.push(parameter);
    }
    if !parameters.is_empty() {
        out["parameters"] = Value::Array(parameters);
    }
    extend(operation, &mut out);
    out
}

fn definition(parameter: &Parameter) -> Value {
    let mut out = json!({
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.description,
        "type": parameter.ty,
        "uniqueItems": true,
    });
    if parameter.place == "path" {
        out["required"] = json!(true);
    }
    out
}

fn reference(parameter: &Parameter) -> Value {
    json!({ "$ref": format!("#/parameters/{}", shared_name(parameter)) })
}

/// The name with a hash of the rest: a `name` is described once for each kind, `path` may stand in two places.
fn shared_name(parameter: &Parameter) -> String {
    let mut rest = digest::Context::new(&digest::SHA256);
    for part in [parameter.place, parameter.ty, &parameter.description] {
        rest.update(part.as_bytes());
        rest.update(b"\0");
    }
    let hash = rest.finish();
    let hash = upper_hex(hash.as_ref().get(..SHARED_NAME_BYTES).unwrap_or_default());
    format!("{}-{hash}", parameter.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_told_apart_by_all_they_say() {
        let parameter = |place: &'static str, description: &str| Parameter {
            name: "path".to_owned(),
            place,
            ty: "string",
            description: description.to_owned(),
        };
        let name = |place, description: &str| shared_name(&parameter(place, description));
        assert_eq!(name("query", "a"), name("query", "a"));
        assert_ne!(name("query", "a"), name("path", "a"));
        assert_ne!(name("query", "a"), name("query", "b"));
        assert!(name("query", "a").starts_with("path-"));
    }
}
