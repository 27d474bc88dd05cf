//! Reading a patched object as its type where JSON would not be read so.
//!
//! Upstream takes the outcome of a strategic merge patch over value by value (`runtime.FromUnstructured`): a number with a fraction of zero
//! is an integer, one that is too large for its field loses its upper bits, and what does not fit is named by what Go makes of it.

use portcullis_model::schema::{Schema, TypeRef};
use serde_json::Value;

/// Makes the numbers in a value what its type wants.
///
/// # Errors
/// The first value, in the order of the fields, that is of another kind. Quantities, times and their like are not looked at.
pub fn convert(schema: &Schema, ty: TypeRef, value: &mut Value) -> Result<(), String> {
    let unrecognized = |kind: &str| Err(format!("unrecognized type: {kind}"));
    match (ty, &mut *value) {
        (_, Value::Null) => Ok(()),
        (TypeRef::Object(ty), Value::Object(members)) => {
            for field in &schema.ty(ty).fields {
                if let Some(member) = members.get_mut(&*field.name) {
                    convert(schema, field.ty, member)?;
                }
            }
            Ok(())
        }
        (TypeRef::Object(_), other) => Err(format!("cannot restore struct from: {}", kind(other))),
        (TypeRef::List(element), Value::Array(elements)) => {
            let element = schema.element(element);
            elements.iter_mut().try_for_each(|value| convert(schema, element, value))
        }
        (TypeRef::Bytes, Value::String(_)) => Ok(()),
        (TypeRef::List(_) | TypeRef::Bytes, other) => Err(format!("cannot restore slice from {}", kind(other))),
        (TypeRef::Map(element), Value::Object(members)) => {
            let element = schema.element(element);
            members.values_mut().try_for_each(|value| convert(schema, element, value))
        }
        (TypeRef::Map(_), other) => Err(format!("cannot restore map from {}", kind(other))),
        (TypeRef::String, Value::String(_)) | (TypeRef::Bool, Value::Bool(_)) => Ok(()),
        (TypeRef::String, Value::Number(number)) if number.is_i64() => Err("cannot convert int64 to string".to_owned()),
        (TypeRef::String, _) => unrecognized("string"),
        (TypeRef::Bool, _) => unrecognized("bool"),
        (TypeRef::Int32, Value::Number(number)) => {
            // The lower half of its bits is what Go keeps.
            *value = Value::from(integer(number, "int32")? as i32);
            Ok(())
        }
        (TypeRef::Int64, Value::Number(number)) => {
            *value = Value::from(integer(number, "int64")?);
            Ok(())
        }
        (TypeRef::Float64, Value::Number(_)) => Ok(()),
        (TypeRef::Int32, _) => unrecognized("int32"),
        (TypeRef::Int64, _) => unrecognized("int64"),
        (TypeRef::Float64, _) => unrecognized("float64"),
        _ => Ok(()),
    }
}

fn integer(number: &serde_json::Number, wanted: &str) -> Result<i64, String> {
    if let Some(integer) = number.as_i64() {
        return Ok(integer);
    }
    let float = number.as_f64().unwrap_or(f64::NAN);
    if float.trunc() == float { Ok(float as i64) } else { Err(format!("cannot convert float64 to {wanted}")) }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "invalid",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    }
}
