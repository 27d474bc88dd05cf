//! JSON patch (RFC 6902), as upstream's library reads it (`evanphx/json-patch` v4): an index may count from the end, `replace` makes a
//! member that is not there, what is not there is null to `test` and `copy`, and whatever stands before the first `/` of a path is not
//! looked at.
//!
//! A few copies of copies could fill memory, thousands of elements at the front of a long list take minutes, and what is moved into itself
//! becomes deeper with each operation: all of it is counted.

use serde_json::{Map, Value};

/// Operations of a patch (upstream: `maxJSONPatchOperations`).
pub const OPERATIONS_MAX: usize = 10_000;
/// Bytes that the copies of a patch may have together (upstream: `JSONPatchMaxCopyBytes`).
const COPIED_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Elements that a patch may move.
const STEPS_MAX: usize = 100_000_000;
/// What looking at one value counts, which takes longer than moving one.
const LOOK_STEPS: usize = 32;
/// Levels of the object while it is patched; it begins with as many as `serde_json` reads.
const DEPTH_MAX: usize = 256;
const DEPTH_READ: usize = 128;

/// One operation, with all that it has to have.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Sets a member, or inserts an element.
    Add(String, Value),
    /// Takes a member or an element away.
    Remove(String),
    /// Sets a member or an element.
    Replace(String, Value),
    /// Takes away what is at the first path and adds it at the second.
    Move(String, String),
    /// Adds at the second path what is at the first.
    Copy(String, String),
    /// Compares; without a value, with nothing.
    Test(String, Option<Value>),
}

/// Why a patch cannot be applied. Upstream tells no client which it is, but for the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// No operation, or something is missing in it.
    Malformed,
    /// There is nothing at a path, or no such place in a list.
    NotThere,
    /// What is there is something else.
    TestFailed,
    /// The copies are too large, or the object too deep.
    TooLarge,
    /// It would take too long.
    TooLong,
}

impl Operation {
    /// Reads an operation; members that it does not need are not looked at.
    pub fn read(members: &Map<String, Value>) -> Result<Operation, Problem> {
        let text = |name: &str| members.get(name).and_then(Value::as_str).map(str::to_owned).ok_or(Problem::Malformed);
        // One without a value sets null.
        let value = || members.get("value").cloned().unwrap_or_default();
        Ok(match members.get("op").and_then(Value::as_str) {
            Some("add") => Operation::Add(text("path")?, value()),
            Some("remove") => Operation::Remove(text("path")?),
            Some("replace") => Operation::Replace(text("path")?, value()),
            Some("move") => Operation::Move(text("from")?, text("path")?),
            Some("copy") => Operation::Copy(text("from")?, text("path")?),
            Some("test") => Operation::Test(text("path")?, members.get("value").cloned()),
            _ => return Err(Problem::Malformed),
        })
    }

    /// The paths that it is about.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        let (first, second) = match self {
            Operation::Move(from, path) | Operation::Copy(from, path) => (from, Some(path)),
            Operation::Add(path, _)
            | Operation::Remove(path)
            | Operation::Replace(path, _)
            | Operation::Test(path, _) => (path, None),
        };
        std::iter::once(first).chain(second).map(String::as_str)
    }
}

/// Applies operations one by one.
pub fn apply(value: &mut Value, operations: &[Result<Operation, Problem>]) -> Result<(), Problem> {
    let mut patched = Patched { value, copied_bytes: 0, steps: 0, depth: DEPTH_READ };
    for operation in operations {
        match operation.as_ref().map_err(|problem| *problem)? {
            Operation::Add(path, value) => patched.add(path, value.clone(), DEPTH_READ)?,
            Operation::Remove(path) => patched.remove(path).map(drop)?,
            Operation::Replace(path, value) => patched.replace(path, value)?,
            Operation::Move(from, path) => {
                let moved = patched.remove(from)?;
                patched.add(path, moved, patched.depth)?;
            }
            Operation::Copy(from, path) => {
                let copied = patched.copied(from)?;
                patched.add(path, copied, patched.depth)?;
            }
            Operation::Test(path, wanted) => patched.test(path, wanted.as_ref())?,
        }
    }
    Ok(())
}

/// An object that is being patched.
struct Patched<'a> {
    value: &'a mut Value,
    copied_bytes: usize,
    steps: usize,
    /// It has no more levels than this.
    depth: usize,
}

impl Patched<'_> {
    /// What a path leads through, and its last step.
    fn parent(&mut self, path: &str) -> Result<(&mut Value, String), Problem> {
        let (_, path) = path.split_once('/').ok_or(Problem::NotThere)?;
        let (through, last) = path.rsplit_once('/').map_or((None, path), |(through, last)| (Some(through), last));
        let mut parent = &mut *self.value;
        for step in through.into_iter().flat_map(|through| through.split('/')) {
            parent = child(parent, &unescaped(step)).ok_or(Problem::NotThere)?;
        }
        let is_container = parent.is_object() || parent.is_array();
        if is_container { Ok((parent, unescaped(last))) } else { Err(Problem::NotThere) }
    }

    fn take_steps(&mut self, steps: usize) -> Result<(), Problem> {
        self.steps += steps;
        if self.steps > STEPS_MAX { Err(Problem::TooLong) } else { Ok(()) }
    }

    /// Adds a value that has no more levels than `depth`.
    fn add(&mut self, path: &str, value: Value, depth: usize) -> Result<(), Problem> {
        let (parent, last) = self.parent(path)?;
        let mut moved = 0;
        match parent {
            Value::Object(members) => {
                members.insert(last, value);
            }
            Value::Array(elements) => {
                let at = if last == "-" { Some(elements.len()) } else { place(&last, elements.len() + 1) };
                let at = at.ok_or(Problem::NotThere)?;
                moved = elements.len() - at;
                elements.insert(at, value);
            }
            _ => return Err(Problem::NotThere),
        }
        self.take_steps(moved)?;
        self.deepened(path, depth)
    }

    /// Counts the levels of the object when something of so many levels at a path might have made it too deep.
    fn deepened(&mut self, path: &str, depth: usize) -> Result<(), Problem> {
        self.depth = self.depth.max(path.bytes().filter(|byte| *byte == b'/').count() + depth);
        if self.depth > DEPTH_MAX {
            let (depth, values) = measured(self.value);
            self.depth = depth;
            self.take_steps(values.saturating_mul(LOOK_STEPS))?;
        }
        if self.depth > DEPTH_MAX { Err(Problem::TooLarge) } else { Ok(()) }
    }

    fn remove(&mut self, path: &str) -> Result<Value, Problem> {
        let (parent, last) = self.parent(path)?;
        let (removed, moved) = match parent {
            Value::Object(members) => (members.remove(&last), 0),
            Value::Array(elements) => match place(&last, elements.len()) {
                Some(at) => (Some(elements.remove(at)), elements.len() - at),
                None => (None, 0),
            },
            _ => (None, 0),
        };
        self.take_steps(moved)?;
        removed.ok_or(Problem::NotThere)
    }

    fn replace(&mut self, path: &str, value: &Value) -> Result<(), Problem> {
        if path.is_empty() {
            if !value.is_object() && !value.is_array() {
                return Err(Problem::Malformed);
            }
            *self.value = value.clone();
            return Ok(());
        }
        let (parent, last) = self.parent(path)?;
        match parent {
            Value::Object(members) => {
                members.insert(last, value.clone());
            }
            Value::Array(_) => *child(parent, &last).ok_or(Problem::NotThere)? = value.clone(),
            _ => return Err(Problem::NotThere),
        }
        self.deepened(path, DEPTH_READ)
    }

    /// What is at a path: null where an object has no such member.
    fn copied(&mut self, path: &str) -> Result<Value, Problem> {
        let (parent, last) = self.parent(path)?;
        let is_object = parent.is_object();
        let Some(found) = child(parent, &last) else {
            return if is_object { Ok(Value::Null) } else { Err(Problem::NotThere) };
        };
        let copy = found.clone();
        self.copied_bytes += if copy.is_null() { 0 } else { copy.to_string().len() };
        if self.copied_bytes > COPIED_BYTES_MAX { Err(Problem::TooLarge) } else { Ok(copy) }
    }

    fn test(&mut self, path: &str, wanted: Option<&Value>) -> Result<(), Problem> {
        let nothing = Value::Null;
        let found = if path.is_empty() {
            &*self.value
        } else {
            let (parent, last) = self.parent(path)?;
            let is_object = parent.is_object();
            match child(parent, &last) {
                Some(found) => found,
                None if is_object => &nothing,
                None => return Err(Problem::NotThere),
            }
        };
        if found == wanted.unwrap_or(&nothing) { Ok(()) } else { Err(Problem::TestFailed) }
    }
}

fn child<'a>(parent: &'a mut Value, step: &str) -> Option<&'a mut Value> {
    match parent {
        Value::Object(members) => members.get_mut(step),
        Value::Array(elements) => {
            let at = place(step, elements.len())?;
            elements.get_mut(at)
        }
        _ => None,
    }
}

/// The place that a step names among so many: below zero, counted from the end.
fn place(step: &str, places: usize) -> Option<usize> {
    let index: i64 = step.parse().ok()?;
    let places = i64::try_from(places).ok()?;
    let at = if index < 0 { index.checked_add(places)? } else { index };
    if at < places { usize::try_from(at).ok() } else { None }
}

fn unescaped(step: &str) -> String {
    // The order matters: `~01` is `~1`.
    step.replace("~1", "/").replace("~0", "~")
}

/// How many levels a value has, and how many values are in it.
fn measured(value: &Value) -> (usize, usize) {
    let (mut depth, mut count) = (0, 0);
    let mut level: Vec<&Value> = vec![value];
    while !level.is_empty() {
        depth += 1;
        count += level.len();
        let below = level.into_iter().flat_map(|value| -> Box<dyn Iterator<Item = &Value>> {
            match value {
                Value::Object(members) => Box::new(members.values()),
                Value::Array(elements) => Box::new(elements.iter()),
                _ => Box::new(std::iter::empty()),
            }
        });
        level = below.collect();
    }
    (depth, count)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn patched(mut object: Value, patch: &Value) -> Result<Value, Problem> {
        let operations: Vec<_> =
            patch.as_array().unwrap().iter().map(|members| Operation::read(members.as_object().unwrap())).collect();
        apply(&mut object, &operations).map(|()| object)
    }

    #[test]
    fn operations() {
        let check = |object: Value, patch: Value, expected: Value| {
            assert_eq!(patched(object, &patch), Ok(expected), "{patch}");
        };
        let op = |op: &str, path: &str, value: Value| json!([{"op": op, "path": path, "value": value}]);
        let from = |op: &str, from: &str, path: &str| json!([{"op": op, "from": from, "path": path}]);
        let list = || json!({"l": [1, 2, 3]});
        check(json!({}), op("add", "/a", json!(1)), json!({"a": 1}));
        check(json!({"a": 1}), op("add", "/a", json!(2)), json!({"a": 2}));
        check(json!({}), json!([{"op": "add", "path": "/a"}]), json!({"a": null}));
        check(json!({}), op("add", "/a~1b~0c~01", json!(1)), json!({"a/b~c~1": 1}));
        check(json!({}), op("add", "/a~", json!(1)), json!({"a~": 1}));
        check(json!({}), op("add", "/", json!(1)), json!({"": 1}));
        check(json!({"a": {}}), op("add", "ignored/a/b", json!(1)), json!({"a": {"b": 1}}));
        check(list(), op("add", "/l/-", json!(4)), json!({"l": [1, 2, 3, 4]}));
        check(list(), op("add", "/l/0", json!(4)), json!({"l": [4, 1, 2, 3]}));
        check(list(), op("add", "/l/3", json!(4)), json!({"l": [1, 2, 3, 4]}));
        check(list(), op("add", "/l/-1", json!(4)), json!({"l": [1, 2, 3, 4]}));
        check(list(), op("add", "/l/-4", json!(4)), json!({"l": [4, 1, 2, 3]}));
        check(list(), op("add", "/l/+01", json!(4)), json!({"l": [1, 4, 2, 3]}));
        check(list(), op("replace", "/l/-1", json!(4)), json!({"l": [1, 2, 4]}));
        check(list(), op("replace", "/l/02", json!(4)), json!({"l": [1, 2, 4]}));
        check(list(), op("replace", "/m", json!(4)), json!({"l": [1, 2, 3], "m": 4}));
        check(list(), op("replace", "", json!({"n": 1})), json!({"n": 1}));
        check(list(), op("replace", "", json!([])), json!([]));
        check(list(), json!([{"op": "remove", "path": "/l/-1"}]), json!({"l": [1, 2]}));
        check(list(), json!([{"op": "remove", "path": "/l"}]), json!({}));
        check(json!({"a": 1}), from("move", "/a", "/b"), json!({"b": 1}));
        check(json!({"a": [1, 2]}), from("move", "/a/0", "/a/-"), json!({"a": [2, 1]}));
        check(json!({"a": 1}), from("copy", "/a", "/b"), json!({"a": 1, "b": 1}));
        check(json!({}), from("copy", "/a", "/b"), json!({"b": null}));
        let unchanged = |object: Value, patch: Value| check(object.clone(), patch, object);
        unchanged(json!({"a": {"b": [1, null]}}), op("test", "/a", json!({"b": [1, null]})));
        unchanged(json!({"a": 1}), op("test", "", json!({"a": 1})));
        unchanged(json!({}), op("test", "/a", Value::Null));
        unchanged(json!({}), json!([{"op": "test", "path": "/a"}]));
    }

    #[test]
    fn refusals() {
        let check = |object: Value, patch: Value, expected: Problem| {
            assert_eq!(patched(object, &patch), Err(expected), "{patch}");
        };
        use Problem::{Malformed, NotThere, TestFailed, TooLarge};
        let at = |op: &str, path: &str| json!([{"op": op, "path": path, "value": 1, "from": path}]);
        let list = || json!({"l": [1, 2, 3], "a": {}, "n": null, "s": "text"});
        for operation in [json!({}), json!({"op": 1, "path": "/a"}), json!({"op": "jump", "path": "/a"})] {
            check(list(), json!([operation]), Malformed);
        }
        for op in ["add", "remove", "replace", "move", "copy", "test"] {
            check(list(), json!([{"op": op, "value": 1, "from": "/a"}]), Malformed);
            for path in ["a", "/x/y", "/s/x", "/n/x", "/l/9", "/l/-5", "/l/x", "/l/", "/l/1/x"] {
                check(list(), at(op, path), NotThere);
            }
        }
        for op in ["add", "remove", "move", "copy"] {
            check(list(), at(op, ""), NotThere);
        }
        for op in ["move", "copy"] {
            check(list(), json!([{"op": op, "path": "/b"}]), Malformed);
        }
        check(list(), at("remove", "/x"), NotThere);
        check(list(), at("move", "/x"), NotThere);
        check(list(), at("remove", "/l/-"), NotThere);
        check(list(), at("replace", ""), Malformed);
        check(list(), at("test", "/a"), TestFailed);
        check(list(), at("test", "/n"), TestFailed);
        check(list(), at("test", "/x"), TestFailed);
        check(list(), json!([{"op": "test", "path": "/s"}]), TestFailed);
        check(json!({"a": {"b": 1}}), json!([{"op": "test", "path": "/a", "value": {}}]), TestFailed);
        check(json!({"a": {"b": 1}}), json!([{"op": "move", "from": "/a", "path": "/a/c"}]), NotThere);
        // An object in itself, again and again.
        let doubled = json!({"op": "copy", "from": "/a", "path": "/a/b"});
        check(json!({"a": {"b": "x".repeat(1_000_000)}}), json!(vec![doubled; 4]), TooLarge);
        let deeper: Vec<Value> =
            (0..300).map(|at| json!({"op": "add", "path": "/a".repeat(at + 1), "value": {}})).collect();
        check(json!({}), Value::Array(deeper), TooLarge);
    }

    #[test]
    fn what_takes_too_long_is_refused() {
        let elements: Vec<Value> = vec![json!(0); 50_000];
        let front = json!({"op": "add", "path": "/l/0", "value": 1});
        let patch = json!(vec![front; 3_000]);
        assert_eq!(patched(json!({"l": elements}), &patch), Err(Problem::TooLong));
        // Who adds where it is deep lets all of it be looked at again.
        let elements: Vec<Value> = vec![json!(0); 50_000];
        let object = |depth: usize| {
            let deep = (0..depth).fold(json!({}), |inner, _| json!({"a": inner}));
            json!({"l": elements, "a": deep})
        };
        let add = |depth: usize| json!(vec![json!({"op": "add", "path": "/a".repeat(depth), "value": 1}); 100]);
        assert_eq!(patched(object(150), &add(150)), Err(Problem::TooLong));
        patched(object(100), &add(100)).unwrap();
    }
}
