//! Strategic merge patch: a merge patch that knows from the schema which lists are merged by a key, and takes directives.
//!
//! Upstream: `apimachinery/pkg/util/strategicpatch`. What a directive means depends on what is there: in what takes the place of nothing or
//! of something else it is dropped with all it stands in, in what replaces a list it stays and is a field that nobody knows. Depth is
//! bounded by what `serde_json` reads (128 levels), so these functions call themselves.

mod order;
mod problem;
mod reading;

use std::cell::Cell;
use std::collections::HashSet;

use portcullis_model::schema::{Schema, TypeId, TypeRef};
use serde_json::{Map, Value};

use super::merge::drop_nulls;
use order::{Places, check_order, in_order, partition};
pub use problem::{StrategicError, go_text};
use problem::{go_type, no_merge_key, not_a};
pub use reading::convert;

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList";
const ELEMENT_ORDER: &str = "$setElementOrder";
const LIST: &str = "[]interface {}";
const MAP: &str = "map[string]interface {}";
/// Values in lists that are merged with each other, each time that they are: a patch may name one element again and again, and each time
/// the lists in it are merged anew.
const MERGED_MAX: usize = 2_000_000;
/// Bytes of text that count as one more value.
const TEXT_BYTES: usize = 64;

/// Applies a patch to an object of a type. What was done of the patch is gone from it then, as in upstream's messages.
pub fn apply(
    schema: &Schema,
    ty: TypeId,
    object: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
) -> Result<(), StrategicError> {
    Merger { schema, values_left: Cell::new(MERGED_MAX) }.merge_map(TypeRef::Object(ty), object, patch)
}

struct Merger<'a> {
    schema: &'a Schema,
    /// How much more may be merged.
    values_left: Cell<usize>,
}

/// What the schema says about a member of a map.
#[derive(Clone, Copy)]
struct Member<'a> {
    ty: TypeRef,
    strategy: &'a str,
    merge_key: &'a str,
}

/// A list after a patch.
struct Merged {
    list: Vec<Value>,
    /// The list before, in which places are looked up: without what was deleted, and with what was added in the room of that.
    before: Vec<Value>,
}

/// What the elements of lists are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Elements {
    Maps,
    Scalars,
}

impl<'a> Merger<'a> {
    fn merge_map(
        &self,
        ty: TypeRef,
        object: &mut Map<String, Value>,
        patch: &mut Map<String, Value>,
    ) -> Result<(), StrategicError> {
        match patch.get(DIRECTIVE) {
            None => {}
            Some(directive) if directive == "replace" => {
                patch.remove(DIRECTIVE);
                *object = patch.clone();
                return Ok(());
            }
            Some(directive) if directive == "delete" => {
                object.clear();
                return Ok(());
            }
            Some(directive) => return Err(StrategicError::unknown(directive, patch)),
        }
        retain_keys(object, patch)?;
        self.put_in_order(ty, object, patch)?;
        for (key, wanted) in patch.iter_mut() {
            let (key, deletes) = match key.strip_prefix(DELETE_FROM_LIST) {
                None => (key.as_str(), false),
                Some("/") => (key.as_str(), true),
                Some(rest) => (rest.strip_prefix('/').ok_or(StrategicError::MalformedDeletion)?, true),
            };
            if wanted.is_null() {
                object.remove(key);
                continue;
            }
            match object.get_mut(key) {
                Some(held) if go_type(held) == go_type(wanted) => self.merge_value(ty, key, held, wanted, deletes)?,
                _ if deletes => {}
                _ => {
                    drop_nulls(wanted);
                    match without_directives(wanted) {
                        Some(wanted) => object.insert(key.to_owned(), wanted),
                        None => object.remove(key),
                    };
                }
            }
        }
        Ok(())
    }

    /// Merges a value into one of the same type.
    fn merge_value(
        &self,
        ty: TypeRef,
        key: &str,
        held: &mut Value,
        wanted: &mut Value,
        deletes: bool,
    ) -> Result<(), StrategicError> {
        match (held, wanted) {
            (Value::Object(held), Value::Object(wanted)) => {
                let member = self.member(ty, key)?;
                if member.strategy == "replace" {
                    *held = wanted.clone();
                    return Ok(());
                }
                self.merge_map(member.ty, held, wanted)
            }
            (Value::Array(held), Value::Array(wanted)) => {
                let member = self.list_member(ty, key)?;
                *held = self.merge_list(member, std::mem::take(held), wanted, deletes)?.list;
                Ok(())
            }
            (held, wanted) => {
                *held = wanted.clone();
                Ok(())
            }
        }
    }

    /// Merges the lists of a patch that have an order, and puts them in it.
    fn put_in_order(
        &self,
        ty: TypeRef,
        object: &mut Map<String, Value>,
        patch: &mut Map<String, Value>,
    ) -> Result<(), StrategicError> {
        let directives: Vec<String> = patch.keys().filter(|key| key.starts_with(ELEMENT_ORDER)).cloned().collect();
        for directive in directives {
            let order = match patch.remove(&directive).unwrap_or_default() {
                Value::Array(order) => order,
                other => return Err(not_a(LIST, &other)),
            };
            let key = directive.strip_prefix(ELEMENT_ORDER).and_then(|rest| rest.strip_prefix('/'));
            let key = key.ok_or(StrategicError::MalformedOrder)?;
            let held = object.get(key).map(|held| held.as_array().ok_or_else(|| not_a(LIST, held))).transpose()?;
            self.count(held.map_or(&[], Vec::as_slice))?;
            self.count(&order)?;
            let held = held.cloned();
            let wanted = match patch.get_mut(key) {
                None => None,
                Some(Value::Array(wanted)) => Some(wanted),
                Some(other) => return Err(not_a(LIST, other)),
            };
            let member = self.list_member(ty, key)?;
            check_order(wanted.as_deref().map_or(&[], Vec::as_slice), &order, member.merge_key)?;
            let Merged { list, before } = match (held, wanted) {
                (None, None) => continue,
                (Some(held), None) => Merged { list: held.clone(), before: held },
                (None, Some(wanted)) => Merged { list: elements_without_directives(wanted), before: Vec::new() },
                (Some(held), Some(wanted)) => self.merge_list(member, held, wanted, false)?,
            };
            let given = patch.remove(key);
            elements_of(&before, given.as_ref().and_then(Value::as_array).map_or(&[], Vec::as_slice))?;
            let (named, rest) = partition(list, &order, member.merge_key)?;
            object.insert(key.to_owned(), Value::Array(in_order(named, rest, &order, &before, member.merge_key)?));
        }
        Ok(())
    }

    /// A list with a patch merged into it, or with the elements of the patch taken out of it.
    fn merge_list(
        &self,
        member: Member<'_>,
        held: Vec<Value>,
        wanted: &mut [Value],
        deletes: bool,
    ) -> Result<Merged, StrategicError> {
        if member.strategy != "merge" && !deletes {
            return Ok(Merged { list: wanted.to_vec(), before: held });
        }
        self.count(&held)?;
        self.count(wanted)?;
        if held.is_empty() && wanted.is_empty() {
            return Ok(Merged { list: Vec::new(), before: held });
        }
        if elements_of(&held, wanted)? == Elements::Maps {
            return self.merge_maps(member, held, wanted);
        }
        let mut list = held.clone();
        if deletes {
            let gone = Places::of(wanted, "");
            list.retain(|element| gone.of_key(element).is_none());
            return Ok(Merged { list, before: held });
        }
        if !member.merge_key.is_empty() {
            return Err(wanted.iter().chain(&held).next().map_or(StrategicError::ListOfLists, |item| not_a(MAP, item)));
        }
        list.extend_from_slice(wanted);
        let mut met = HashSet::with_capacity(list.len());
        list.retain(|element| met.insert(element.to_string()));
        let (named, rest) = partition(list, wanted, "")?;
        let list = in_order(named, rest, wanted, &held, "")?;
        Ok(Merged { list, before: held })
    }

    fn merge_maps(
        &self,
        member: Member<'_>,
        mut held: Vec<Value>,
        wanted: &mut [Value],
    ) -> Result<Merged, StrategicError> {
        let merge_key = member.merge_key;
        if merge_key.is_empty() {
            return Err(StrategicError::NotMergeable { kind: self.kind(member.ty) });
        }
        let (mut plain, mut gone, mut replaces) = (Vec::new(), HashSet::new(), false);
        for item in wanted.iter_mut() {
            let Value::Object(members) = item else { continue };
            match members.get(DIRECTIVE) {
                None => plain.push(item),
                Some(directive) if directive == "delete" => {
                    let key = members.get(merge_key).ok_or_else(|| no_merge_key(members, merge_key))?;
                    gone.insert(key.to_string());
                }
                Some(directive) if directive == "replace" => replaces = true,
                Some(directive) if directive == "merge" => return Err(StrategicError::MergeInList),
                Some(directive) => return Err(StrategicError::unknown(directive, members)),
            }
        }
        let held_len = held.len();
        held.retain(|item| item.get(merge_key).is_none_or(|key| !gone.contains(&key.to_string())));
        if replaces {
            let list: Vec<Value> = plain.into_iter().map(|item| item.clone()).collect();
            let (_, rest) = partition(list.clone(), &[], merge_key)?;
            return Ok(Merged { list: in_order(Vec::new(), rest, &[], &list, merge_key)?, before: held });
        }
        let mut list = held.clone();
        let mut known = Places::of(&held, merge_key);
        for item in &mut plain {
            let Value::Object(members) = &mut **item else { continue };
            let key = members.get(merge_key).cloned().ok_or_else(|| no_merge_key(members, merge_key))?;
            match known.of_key(&key).and_then(|at| list.get_mut(at)) {
                Some(Value::Object(found)) => self.merge_map(member.ty, found, members)?,
                _ => {
                    known.add(&key, list.len());
                    list.push(Value::Object(members.clone()));
                }
            }
        }
        let added: Vec<Value> = list.iter().skip(held.len()).take(held_len - held.len()).cloned().collect();
        let plain: Vec<Value> = plain.into_iter().map(|item| item.clone()).collect();
        let (named, rest) = partition(list, &plain, merge_key)?;
        let list = in_order(named, rest, &plain, &held, merge_key)?;
        held.extend(added);
        Ok(Merged { list, before: held })
    }

    /// Counts the values in a list that is merged.
    fn count(&self, list: &[Value]) -> Result<(), StrategicError> {
        let counted: usize = list.iter().map(values_in).sum();
        let left = self.values_left.get().checked_sub(counted).ok_or(StrategicError::TooLong)?;
        self.values_left.set(left);
        Ok(())
    }

    /// What the schema says about a member.
    fn member(&self, ty: TypeRef, key: &str) -> Result<Member<'a>, StrategicError> {
        let no_field = |ty: &str| StrategicError::NoField { ty: ty.to_owned(), key: key.to_owned() };
        let ty = match ty {
            TypeRef::Object(ty) => self.schema.ty(ty),
            TypeRef::RawExtension => return Err(no_field("RawExtension")),
            TypeRef::FieldsV1 => return Err(no_field("FieldsV1")),
            TypeRef::Json => return Err(no_field("JSON")),
            other => return Err(StrategicError::NoStruct { kind: self.kind(other) }),
        };
        let field = ty.find(key).and_then(|number| ty.fields.get(usize::from(number)));
        let field = field.ok_or_else(|| no_field(ty.name.rsplit('.').next().unwrap_or_default()))?;
        let strategy = field.attributes.patch_strategy.as_deref().unwrap_or_default();
        Ok(Member {
            ty: field.ty,
            strategy: strategy.split(',').find(|part| *part != "retainKeys").unwrap_or_default(),
            merge_key: field.attributes.patch_merge_key.as_deref().unwrap_or_default(),
        })
    }

    /// What the schema says about a list and its elements.
    fn list_member(&self, ty: TypeRef, key: &str) -> Result<Member<'a>, StrategicError> {
        let member = self.member(ty, key)?;
        match member.ty {
            TypeRef::List(element) => Ok(Member { ty: self.schema.element(element), ..member }),
            _ => Err(StrategicError::NoList),
        }
    }

    /// How Go calls what values of a type are.
    fn kind(&self, ty: TypeRef) -> &'static str {
        match ty {
            TypeRef::Map(_) => "map",
            TypeRef::List(_) | TypeRef::Bytes => "slice",
            TypeRef::String => "string",
            TypeRef::Bool => "bool",
            TypeRef::Int32 => "int32",
            TypeRef::Int64 => "int64",
            TypeRef::Float64 => "float64",
            _ => "struct",
        }
    }
}

/// Takes away what a patch does not want to stay.
fn retain_keys(object: &mut Map<String, Value>, patch: &mut Map<String, Value>) -> Result<(), StrategicError> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let keys = keys.as_array().ok_or(StrategicError::MalformedRetainKeys)?;
    let kept: HashSet<&str> = keys.iter().filter_map(Value::as_str).collect();
    let is_free = |key: &str| key.starts_with(DELETE_FROM_LIST) || key.starts_with(ELEMENT_ORDER);
    if patch.iter().any(|(key, value)| !value.is_null() && !is_free(key) && !kept.contains(key.as_str())) {
        return Err(StrategicError::MalformedRetainKeys);
    }
    object.retain(|key, _| kept.contains(key.as_str()));
    Ok(())
}

/// How many values a value is and has in it.
fn values_in(value: &Value) -> usize {
    1 + match value {
        Value::String(text) => text.len() / TEXT_BYTES,
        Value::Array(elements) => elements.iter().map(values_in).sum(),
        Value::Object(members) => members.iter().map(|(name, value)| name.len() / TEXT_BYTES + values_in(value)).sum(),
        _ => 0,
    }
}

/// What the elements of two lists are, which must all be of one type.
fn elements_of(held: &[Value], wanted: &[Value]) -> Result<Elements, StrategicError> {
    let mut all = held.iter().chain(wanted);
    let first = all.next().ok_or(StrategicError::NoElements)?;
    if first.is_array() || first.is_null() {
        return Err(StrategicError::ListOfLists);
    }
    if all.any(|element| go_type(element) != go_type(first)) {
        return Err(StrategicError::MixedList {
            lists: format!("{} {}", go_text(&Value::Array(held.to_vec())), go_text(&Value::Array(wanted.to_vec()))),
        });
    }
    Ok(if first.is_object() { Elements::Maps } else { Elements::Scalars })
}

/// A value without every map in it that has a directive; nothing when it is one itself.
fn without_directives(value: &Value) -> Option<Value> {
    Some(match value {
        Value::Object(members) if members.contains_key(DIRECTIVE) => return None,
        Value::Object(members) => {
            let kept = members.iter().filter_map(|(key, value)| Some((key.clone(), without_directives(value)?)));
            Value::Object(kept.collect())
        }
        Value::Array(elements) => Value::Array(elements_without_directives(elements)),
        other => other.clone(),
    })
}

fn elements_without_directives(elements: &[Value]) -> Vec<Value> {
    elements.iter().filter_map(without_directives).collect()
}

#[cfg(test)]
mod tests;
