//! Options that are a type of the API, read out of the query: `PodLogOptions`, `PodExecOptions` and their like (upstream: the
//! `ParameterCodec` and the conversions from `url.Values` that are generated for such types).
//!
//! Each field of the type is a parameter of its name. The schema says how its text is read, so a new options type needs nothing here.

use portcullis_gate::Query;
use portcullis_model::go_text::quoted;
use portcullis_model::schema::{Presence, Schema, TypeId, TypeRef};
use portcullis_model::status::Status;
use portcullis_model::time::parse_time;
use portcullis_model::tree::{Scalar, Tree};

use super::options::{flag, integer};
use crate::answer::Failure;

/// Go's zero time, in seconds since 1970: what a time reads as that is named without a value.
const ZERO_TIME_SECONDS: i64 = -62_135_596_800;

/// Reads options of a type. The first value that cannot be read, in the order of the type's fields, is the one that is told.
///
/// # Errors
/// 400, in Go's words about the value.
pub fn read(schema: &Schema, ty: TypeId, query: Query<'_>) -> Result<Tree, Failure> {
    let mut tree = Tree::new(ty);
    let root = tree.root();
    for (number, field) in (0u16..).zip(&schema.ty(ty).fields) {
        // The type head is not a parameter.
        if field.attributes.tags.is_empty() {
            continue;
        }
        let name = &*field.name;
        // Where Go has no pointer, a zero value is an absent one.
        let is_told = |is_zero: bool| !is_zero || field.presence == Presence::Optional;
        match field.ty {
            TypeRef::Bool => {
                if let Some(value) = flag(query, name).filter(|value| is_told(!value)) {
                    tree.set(root, number, Scalar::Bool(value));
                }
            }
            TypeRef::Int32 | TypeRef::Int64 => {
                if let Some(value) = integer(query, name)?.filter(|value| is_told(*value == 0)) {
                    tree.set(root, number, Scalar::Int(value));
                }
            }
            TypeRef::String => {
                if let Some(value) = query.get(name).filter(|value| is_told(value.is_empty())) {
                    tree.set(root, number, Scalar::String(&value));
                }
            }
            TypeRef::Time => {
                if let Some(text) = query.get(name) {
                    tree.set(root, number, Scalar::Time(time(&text)?));
                }
            }
            TypeRef::List(element) => read_list(&mut tree, number, schema.element(element), query, name)?,
            // No options type has a field of another shape.
            _ => {}
        }
    }
    Ok(tree)
}

fn read_list(tree: &mut Tree, number: u16, element: TypeRef, query: Query<'_>, name: &str) -> Result<(), Failure> {
    for text in query.all(name) {
        let root = tree.root();
        match element {
            TypeRef::String => {
                let list = tree.list_at(root, number);
                tree.append(list, Scalar::String(&text));
            }
            // Ports: one parameter may have several, with commas between.
            TypeRef::Int32 => {
                for text in text.split(',') {
                    let value = port(text)?;
                    let list = tree.list_at(root, number);
                    tree.append(list, Scalar::Int(value));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Reads a time. Old clients write an absent one as JSON's `null`.
fn time(text: &str) -> Result<i64, Failure> {
    if matches!(text, "" | "null") {
        return Ok(ZERO_TIME_SECONDS);
    }
    parse_time(text).map_err(|error| Box::new(Status::bad_request(error.to_string())))
}

fn port(text: &str) -> Result<i64, Failure> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number && let Ok(port) = text.parse::<u16>() {
        return Ok(i64::from(port));
    }
    let why = if is_number { "value out of range" } else { "invalid syntax" };
    let text = quoted(text);
    Err(Box::new(Status::bad_request(format!("cannot convert to []int32: strconv.ParseUint: parsing {text}: {why}"))))
}

#[cfg(test)]
mod tests {
    use portcullis_kinds::views::core_v1::{PodExecOptions, PodLogOptions, PodPortForwardOptions};
    use portcullis_model::schema::encode_json;

    use super::*;

    fn check(ty: TypeId, query: &str, expected: Result<&str, &str>) {
        let schema = portcullis_kinds::schema();
        let found = read(schema, ty, Query::new(query))
            .map(|tree| String::from_utf8_lossy(&encode_json::to_vec(schema, &tree)).into_owned())
            .map_err(|failure| failure.message.into_owned());
        assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned), "{query}");
    }

    #[test]
    fn every_type_of_value_is_read() {
        let log = PodLogOptions::TYPE;
        check(log, "", Ok("{}"));
        check(log, "kind=Pod&nosuch=1", Ok("{}"));
        check(
            log,
            "tailLines=-4&follow&container=c&previous=0&timestamps=FALSE&stream=",
            Ok(r#"{"container":"c","follow":true,"tailLines":-4,"stream":""}"#),
        );
        check(log, "sinceTime=2026-01-02T03:04:05Z", Ok(r#"{"sinceTime":"2026-01-02T03:04:05Z"}"#));
        check(log, "limitBytes=many&sinceSeconds=x", Err(r#"strconv.ParseInt: parsing "x": invalid syntax"#));
        check(
            log,
            "sinceTime=now",
            Err(r#"parsing time "now" as "2006-01-02T15:04:05Z07:00": cannot parse "now" as "2006""#),
        );
        check(
            PodExecOptions::TYPE,
            "command=ls&stdout=true&command=-l",
            Ok(r#"{"stdout":true,"command":["ls","-l"]}"#),
        );
        let ports = PodPortForwardOptions::TYPE;
        check(ports, "ports=80,443&ports=22", Ok(r#"{"ports":[80,443,22]}"#));
        let told =
            |text: &str, why: &str| format!("cannot convert to []int32: strconv.ParseUint: parsing {text}: {why}");
        check(ports, "ports=80,", Err(&told(r#""""#, "invalid syntax")));
        check(ports, "ports=-1", Err(&told(r#""-1""#, "invalid syntax")));
        check(ports, "ports=65536", Err(&told(r#""65536""#, "value out of range")));
    }
}
