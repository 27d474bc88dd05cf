//! The order of merged lists: what an order names in its order, the rest where it stood among them before.

use std::collections::HashMap;

use serde_json::Value;

use super::problem::{StrategicError, go_text, no_merge_key, not_a};
use super::{DIRECTIVE, MAP};

/// Elements of a list that Go's stable sort inserts one by one (`sort.SliceStable`).
const INSERTED_MAX: usize = 20;

/// Where the elements of a list are, by their merge key, or by themselves when there is none. The first of equals counts.
pub(super) struct Places<'a> {
    merge_key: &'a str,
    places: HashMap<String, usize>,
}

impl<'a> Places<'a> {
    pub(super) fn of(list: &[Value], merge_key: &'a str) -> Places<'a> {
        let mut places = Places { merge_key, places: HashMap::with_capacity(list.len()) };
        for (at, value) in list.iter().enumerate() {
            if let Some(key) = key_of(value, merge_key) {
                places.add(key, at);
            }
        }
        places
    }

    pub(super) fn add(&mut self, key: &Value, at: usize) {
        self.places.entry(key.to_string()).or_insert(at);
    }

    pub(super) fn of_key(&self, key: &Value) -> Option<usize> {
        self.places.get(&key.to_string()).copied()
    }

    fn of_value(&self, value: &Value) -> Option<usize> {
        self.of_key(key_of(value, self.merge_key)?)
    }
}

fn key_of<'a>(value: &'a Value, merge_key: &str) -> Option<&'a Value> {
    if merge_key.is_empty() { Some(value) } else { value.get(merge_key) }
}

/// An element must be a map that has the merge key.
fn checked_key<'a>(value: &'a Value, merge_key: &str) -> Result<&'a Value, StrategicError> {
    if merge_key.is_empty() {
        return Ok(value);
    }
    let map = value.as_object().ok_or_else(|| not_a(MAP, value))?;
    map.get(merge_key).ok_or_else(|| no_merge_key(map, merge_key))
}

/// What a patch adds or changes must stand in its order as it stands in the list; the order may name more.
pub(super) fn check_order(list: &[Value], order: &[Value], merge_key: &str) -> Result<(), StrategicError> {
    if list.is_empty() || order.is_empty() {
        return Ok(());
    }
    let mut kept = Vec::with_capacity(list.len());
    for item in list {
        if !merge_key.is_empty() && !item.is_object() {
            return Err(not_a(MAP, item));
        }
        if merge_key.is_empty() || item.get(DIRECTIVE).is_none_or(|directive| directive != "delete") {
            kept.push(item);
        }
    }
    let (mut at, mut place) = (0, 0);
    while let (Some(item), Some(next)) = (kept.get(at), order.get(place)) {
        if item.get(DIRECTIVE).is_some() {
            at += 1;
            continue;
        }
        let (left, right) = (checked_key(item, merge_key)?, checked_key(next, merge_key)?);
        if left == right {
            at += 1;
        }
        place += 1;
    }
    if at == kept.len() || place < order.len() {
        return Ok(());
    }
    let shown = |list: &[Value]| go_text(&Value::Array(list.to_vec()));
    Err(StrategicError::OrderMismatch { list: shown(list), order: shown(order) })
}

/// The elements of a list that an order names, and the others.
pub(super) fn partition(
    list: Vec<Value>,
    order: &[Value],
    merge_key: &str,
) -> Result<(Vec<Value>, Vec<Value>), StrategicError> {
    if !merge_key.is_empty()
        && let Some(at) = order.iter().position(|item| !item.is_object())
        && !list.is_empty()
    {
        return Err(StrategicError::NotAMap { at });
    }
    let places = Places::of(order, merge_key);
    let (mut named, mut rest) = (Vec::new(), Vec::new());
    for value in list {
        let key = checked_key(&value, merge_key)?;
        if places.of_key(key).is_some() { named.push(value) } else { rest.push(value) }
    }
    Ok((named, rest))
}

/// One list of what an order names and of the rest.
pub(super) fn in_order(
    named: Vec<Value>,
    rest: Vec<Value>,
    order: &[Value],
    before: &[Value],
    merge_key: &str,
) -> Result<Vec<Value>, StrategicError> {
    for item in order.iter().chain(before) {
        checked_key(item, merge_key)?;
    }
    let (in_order, in_before) = (Places::of(order, merge_key), Places::of(before, merge_key));
    let mut named: Vec<_> =
        named.into_iter().map(|value| (in_order.of_value(&value), in_before.of_value(&value), value)).collect();
    named.sort_by_key(|(place, ..)| *place);
    let rest = rest.into_iter().map(|value| (in_before.of_value(&value), value)).collect();
    let mut rest = sorted(rest).into_iter().peekable();
    let mut named = named.into_iter().map(|(_, place, value)| (place, value)).peekable();
    let mut list = Vec::new();
    while let (Some((named_before, _)), Some((rest_before, _))) = (named.peek(), rest.peek()) {
        let rest_first = matches!((rest_before, named_before), (Some(rest), Some(named)) if rest < named);
        list.extend(if rest_first { rest.next() } else { named.next() }.map(|(_, value)| value));
    }
    list.extend(named.chain(rest).map(|(_, value)| value));
    Ok(list)
}

/// Sorts what an order does not name by the places before. Only an order of nothing leaves elements without a place; where Go puts those
/// depends on how it sorts, which for short lists is by inserting one after the other.
fn sorted(mut rest: Vec<(Option<usize>, Value)>) -> Vec<(Option<usize>, Value)> {
    if rest.len() > INSERTED_MAX || rest.iter().all(|(place, _)| place.is_some()) {
        rest.sort_by_key(|(place, _)| *place);
        return rest;
    }
    let mut list: Vec<(Option<usize>, Value)> = Vec::with_capacity(rest.len());
    for (place, value) in rest {
        let behind = list.iter().rposition(|(other, _)| other.is_some() && place.is_some() && *other <= place);
        list.insert(behind.map_or(0, |at| at + 1), (place, value));
    }
    list
}
