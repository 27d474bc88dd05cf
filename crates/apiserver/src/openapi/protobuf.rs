//! OpenAPI as protobuf: the messages of gnostic's `openapi.v2` and `openapi.v3`, which kubectl and others read faster than JSON.
//!
//! The messages are a table, as the types of the API are. What they keep open (extensions, enums, defaults) is carried as YAML text,
//! of which JSON is a part.

use std::io::{self, Write};

use serde_json::Value;

use super::pieces::{Piece, Section};
use crate::messages::{Messages, named, push_bytes};

/// The messages of `openapi.v3` that are used, in the form of [`crate::messages`].
const V3_MESSAGES: &str = "\
message Info
 title 1 string
 version 6 string
message PathItem
 get 4 Operation
 put 5 Operation
 post 6 Operation
 delete 7 Operation
 options 8 Operation
 head 9 Operation
 patch 10 Operation
 parameters 13 []ParameterOrReference
message Operation
 tags 1 []string
 description 3 string
 operationId 5 string
 parameters 6 []ParameterOrReference
 requestBody 7 RequestBodyOrReference
 responses 8 Responses
 x- 13 any
choice ParameterOrReference
 * 1 Parameter
message Parameter
 name 1 string
 in 2 string
 description 3 string
 required 4 bool
 schema 10 SchemaOrReference
choice RequestBodyOrReference
 * 1 RequestBody
message RequestBody
 content 2 MediaTypes
 required 3 bool
message MediaTypes
 * 1 MediaType
message MediaType
 schema 1 SchemaOrReference
message Responses
 * 2 ResponseOrReference
choice ResponseOrReference
 * 1 Response
message Response
 description 1 string
 content 3 MediaTypes
choice SchemaOrReference
 $ref 2 Reference
 * 1 Schema
message Reference
 $ref 1 string
message Schema
 uniqueItems 20 bool
 required 23 []string
 enum 24 []any
 type 25 string
 allOf 26 []SchemaOrReference
 oneOf 27 []SchemaOrReference
 items 30 ItemsItem
 properties 31 Properties
 additionalProperties 32 AdditionalPropertiesItem
 default 33 scalar
 description 34 string
 format 35 string
 x- 36 any
list ItemsItem
 * 1 SchemaOrReference
message Properties
 * 1 SchemaOrReference
choice AdditionalPropertiesItem
 * 1 SchemaOrReference
choice SecuritySchemeOrReference
 * 1 SecurityScheme
message SecurityScheme
 type 1 string
 description 2 string
 name 3 string
 in 4 string
";
/// The same of `openapi.v2`.
const V2_MESSAGES: &str = "\
message Info
 title 1 string
 version 2 string
message PathItem
 get 2 Operation
 put 3 Operation
 post 4 Operation
 delete 5 Operation
 options 6 Operation
 head 7 Operation
 patch 8 Operation
 parameters 9 []ParametersItem
message Operation
 tags 1 []string
 description 3 string
 operationId 5 string
 produces 6 []string
 consumes 7 []string
 parameters 8 []ParametersItem
 responses 9 Responses
 schemes 10 []string
 x- 13 any
choice ParametersItem
 $ref 2 JsonReference
 * 1 Parameter
message JsonReference
 $ref 1 string
choice Parameter
 in=body 1 BodyParameter
 * 2 NonBodyParameter
message BodyParameter
 name 2 string
 in 3 string
 required 4 bool
 schema 5 Schema
choice NonBodyParameter
 in=query 3 QueryParameterSubSchema
 * 4 PathParameterSubSchema
message QueryParameterSubSchema
 in 2 string
 description 3 string
 name 4 string
 type 6 string
 uniqueItems 20 bool
message PathParameterSubSchema
 required 1 bool
 in 2 string
 description 3 string
 name 4 string
 type 5 string
 uniqueItems 19 bool
message Responses
 * 1 ResponseValue
choice ResponseValue
 * 1 Response
message Response
 description 1 string
 schema 2 SchemaItem
choice SchemaItem
 * 1 Schema
message Schema
 $ref 1 string
 format 2 string
 description 4 string
 required 19 []string
 enum 20 []any
 additionalProperties 21 AdditionalPropertiesItem
 type 22 TypeItem
 items 23 ItemsItem
 properties 25 Properties
 x- 31 any
choice AdditionalPropertiesItem
 * 1 Schema
list TypeItem
 * 1 string
list ItemsItem
 * 1 Schema
message Properties
 * 1 Schema
message SecurityRequirement
 * 1 StringArray
list StringArray
 * 1 string
message SecurityDefinitions
 * 1 SecurityDefinitionsItem
choice SecurityDefinitionsItem
 * 2 ApiKeySecurity
message ApiKeySecurity
 type 1 string
 name 2 string
 in 3 string
 description 4 string
";

/// Where the parts of a document stand in its message.
struct Numbers {
    /// `swagger` or `openapi`.
    version: (&'static str, u32),
    info: u32,
    /// The message of paths in the document, and a path's in it.
    paths: [u32; 2],
    /// The messages down to a type's schema, and its type.
    schemas: (&'static [u32], &'static str),
    /// The messages down to a shared entry, and its type.
    shared: (&'static [u32], &'static str),
}

const V3_NUMBERS: Numbers = Numbers {
    version: ("openapi", 1),
    info: 2,
    paths: [4, 1],
    schemas: (&[5, 1, 1], "SchemaOrReference"),
    shared: (&[5, 7, 1], "SecuritySchemeOrReference"),
};
const V2_NUMBERS: Numbers = Numbers {
    version: ("swagger", 1),
    info: 2,
    paths: [8, 2],
    schemas: (&[9, 1], "Schema"),
    shared: (&[10, 1], "Parameter"),
};

/// Writes a document of v3.
pub(super) fn write_v3(pieces: impl Iterator<Item = Piece>, out: &mut dyn Write) -> io::Result<()> {
    write(pieces, V3_MESSAGES, &V3_NUMBERS, out)
}

/// Writes the document of v2.
pub(super) fn write_v2(pieces: impl Iterator<Item = Piece>, out: &mut dyn Write) -> io::Result<()> {
    write(pieces, V2_MESSAGES, &V2_NUMBERS, out)
}

/// Entries go out one by one: a message that comes in several parts is, by the rules of protobuf, the same as one.
fn write(
    pieces: impl Iterator<Item = Piece>,
    messages: &'static str,
    numbers: &Numbers,
    out: &mut dyn Write,
) -> io::Result<()> {
    let table = Messages::read(messages);
    for piece in pieces {
        let mut bytes = Vec::new();
        match piece {
            Piece::Head(members) => {
                let version = members.get(numbers.version.0).and_then(Value::as_str).unwrap_or_default();
                push_bytes(numbers.version.1, version.as_bytes(), &mut bytes);
                push_bytes(
                    numbers.info,
                    &table.encode("Info", members.get("info").unwrap_or(&Value::Null)),
                    &mut bytes,
                );
            }
            Piece::Entry(section, name, value) => {
                let (path, ty): (&[u32], _) = match section {
                    Section::Paths => (&numbers.paths, "PathItem"),
                    Section::Schemas => numbers.schemas,
                    Section::Shared => numbers.shared,
                };
                bytes = named(&name, &table.encode(ty, &value));
                for number in path.iter().rev() {
                    let mut outer = Vec::with_capacity(bytes.len() + 8);
                    push_bytes(*number, &bytes, &mut outer);
                    bytes = outer;
                }
            }
            Piece::Tail(members) => {
                for requirement in members.get("security").and_then(Value::as_array).into_iter().flatten() {
                    push_bytes(12, &table.encode("SecurityRequirement", requirement), &mut bytes);
                }
                if let Some(definitions) = members.get("securityDefinitions") {
                    push_bytes(13, &table.encode("SecurityDefinitions", definitions), &mut bytes);
                }
            }
        }
        out.write_all(&bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_tables_are_whole() {
        for text in [V3_MESSAGES, V2_MESSAGES] {
            assert!(Messages::read(text).is_whole(text), "{text}");
        }
    }

    #[test]
    fn messages() {
        let check = |text: &'static str, name: &str, value: Value, expected: &[u8]| {
            assert_eq!(Messages::read(text).encode(name, &value), expected, "{name} {value}");
        };
        check(V3_MESSAGES, "Info", json!({ "title": "a", "version": "b" }), b"\x0a\x01a\x32\x01b");
        check(V3_MESSAGES, "SchemaOrReference", json!({ "$ref": "a" }), b"\x12\x03\x0a\x01a");
        check(V3_MESSAGES, "SchemaOrReference", json!({ "format": "a" }), b"\x0a\x04\x9a\x02\x01a");
        check(V2_MESSAGES, "Schema", json!({ "type": "a" }), b"\xb2\x01\x03\x0a\x01a");
        check(V2_MESSAGES, "Parameter", json!({ "in": "body" }), b"\x0a\x06\x1a\x04body");
        check(
            V2_MESSAGES,
            "Parameter",
            json!({ "in": "path", "required": true }),
            b"\x12\x0a\x22\x08\x08\x01\x12\x04path",
        );
    }

    #[test]
    fn entries_are_parts_of_one_document() {
        let entry = Piece::Entry(Section::Paths, "/a".to_owned(), json!({}));
        let mut out = Vec::new();
        assert!(write_v3([entry].into_iter(), &mut out).is_ok());
        assert_eq!(out, b"\x22\x08\x0a\x06\x0a\x02/a\x12\x00");
    }
}
