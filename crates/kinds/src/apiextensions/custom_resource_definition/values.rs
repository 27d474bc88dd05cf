//! Whether a value is as its schema says (upstream: kube-openapi's `validate`).
//!
//! Values are checked in upstream's order, because where alternatives fail, the complaints of the one that got furthest are shown, and
//! how far it got is counted. What is still to do stands on a stack of its own.

use std::collections::{HashMap, HashSet};

use portcullis_model::status::{BadValue, FieldError, FieldReason};
use regex::Regex;
use serde_json::{Number, Value};

use super::formats;
use super::schema::{self, Additional, Schema};
use crate::vocabulary::pattern::Pattern;

/// What checking all defaults of one object may cost. Alternatives multiply, and so do lists of known values.
const STEPS_MAX: usize = 1_000_000;
/// What making a pattern ready costs, beside its weight.
const PATTERN_STEPS: usize = 1_000;
/// What each byte of its weight costs.
const PATTERN_BYTE_STEPS: usize = 8;
/// What making one ready costs that takes much room.
const LARGE_PATTERN_STEPS: usize = 20_000;
/// Bytes of text that are matched for one step.
const STEP_BYTES: usize = 32;
/// Complaints about one value that are kept.
const COMPLAINTS_MAX: usize = 200;

/// What is left to spend on the defaults of one schema, which has its share of what its object may cost, and the patterns that are ready.
#[derive(Debug)]
pub struct Budget<'v> {
    steps: usize,
    patterns: HashMap<&'v str, Option<Regex>>,
}

impl<'v> Budget<'v> {
    /// The share of one of so many schemas.
    pub fn of_one_in(schemas: usize) -> Budget<'v> {
        Budget { steps: STEPS_MAX / schemas.max(1), patterns: HashMap::new() }
    }

    fn pay(&mut self, steps: usize) -> Option<()> {
        self.steps = self.steps.checked_sub(steps)?;
        Some(())
    }

    /// A pattern that can be matched. None: it is none, or it takes more than is left.
    fn made_ready(&mut self, pattern: &str) -> Option<Regex> {
        let pattern = Pattern::parse(pattern).ok()?;
        self.pay_or_end(PATTERN_STEPS + pattern.weight() * PATTERN_BYTE_STEPS)?;
        if let Some(small) = pattern.compile_small() {
            return Some(small);
        }
        self.pay_or_end(LARGE_PATTERN_STEPS)?;
        pattern.compile()
    }

    /// As [`Budget::pay`], but who cannot pay has nothing left.
    fn pay_or_end(&mut self, steps: usize) -> Option<()> {
        let paid = self.pay(steps);
        if paid.is_none() {
            self.steps = 0;
        }
        paid
    }

    /// Whether a text matches; one that cannot be matched against is not complained of.
    fn matches(&mut self, pattern: &'v str, text: &str) -> bool {
        if !self.patterns.contains_key(pattern) {
            let compiled = self.made_ready(pattern);
            self.patterns.insert(pattern, compiled);
        }
        let regex = self.patterns.get(pattern).and_then(Option::as_ref);
        regex.is_none_or(|regex| regex.is_match(text))
    }
}

/// What was found about a value against one schema.
#[derive(Default)]
struct Found {
    complaints: Vec<Complaint>,
    /// How many checks were made: who got furthest among alternatives.
    matches: usize,
}

/// A complaint: where below the value, and what.
struct Complaint {
    name: String,
    /// Upstream's whole sentence; two that read the same are one.
    text: String,
    reason: FieldReason,
    bad: BadValue,
    /// The values that are supported, or the limit that was passed.
    detail: Option<String>,
}

impl Found {
    fn add(&mut self, complaint: Complaint) {
        let is_full = self.complaints.len() >= COMPLAINTS_MAX;
        if !is_full && self.complaints.iter().all(|held| held.text != complaint.text) {
            self.complaints.push(complaint);
        }
    }

    fn merge(&mut self, other: Found) {
        self.matches += other.matches;
        other.complaints.into_iter().for_each(|complaint| self.add(complaint));
    }

    fn is_valid(&self) -> bool {
        self.complaints.is_empty()
    }
}

/// What becomes of what a frame finds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Merged,
    AnyOf,
    OneOf,
    AllOf,
    Not,
}

enum Task<'s, 'v> {
    Type,
    Below { schema: Schema<'s>, value: &'v Value, name: String, role: Role },
    AnyOfDone,
    OneOfDone,
    AllOfDone { of: usize },
    NotDone,
    SchemasDone,
    Scalar,
    SliceDone,
    Enum,
    ObjectDone,
}

/// Alternatives that were tried.
#[derive(Default)]
struct Tried {
    best: Option<Found>,
    first: Option<Found>,
    valid: usize,
}

struct Frame<'s, 'v> {
    schema: Schema<'s>,
    value: &'v Value,
    name: String,
    role: Role,
    found: Found,
    /// What is found by alternatives, counted apart until all are done.
    main: Found,
    any_of: Tried,
    one_of: Tried,
    all_of_valid: usize,
    is_not_valid: bool,
    /// The next one is the last.
    tasks: Vec<Task<'s, 'v>>,
}

/// Checks a value. None when it would cost more than is left.
pub fn validate<'s>(schema: Schema<'s>, value: &Value, at: &str, budget: &mut Budget<'s>) -> Option<Vec<FieldError>> {
    budget.pay(cost(schema, value))?;
    let mut open = vec![Frame::new(schema, value, String::new(), Role::Merged)];
    loop {
        let frame = open.last_mut()?;
        match frame.tasks.pop() {
            Some(Task::Below { schema, value, name, role }) => {
                budget.pay(cost(schema, value))?;
                open.push(Frame::new(schema, value, name, role));
            }
            Some(task) => frame.run(task, budget),
            None => {
                let mut done = open.pop()?;
                done.found.matches += 1;
                match open.last_mut() {
                    Some(above) => above.take(done.found, done.role),
                    None => return Some(done.found.complaints.into_iter().map(|one| one.told(at)).collect()),
                }
            }
        }
    }
}

/// What holding a value against a schema costs, without what is below.
fn cost(schema: Schema<'_>, value: &Value) -> usize {
    let size = match value {
        Value::String(text) => text.len() / STEP_BYTES,
        Value::Array(list) => list.len(),
        Value::Object(map) => map.len(),
        _ => 0,
    };
    1 + size + schema.enum_().len() + schema.required().len()
}

impl Complaint {
    fn told(self, at: &str) -> FieldError {
        let name = self.name.strip_prefix('.').unwrap_or(&self.name);
        let is_here = name.is_empty() || matches!(self.reason, FieldReason::Internal);
        let path = if is_here { at.to_owned() } else { format!("{at}.{name}") };
        let reason = if self.reason == FieldReason::Internal { FieldReason::Invalid } else { self.reason };
        let detail = match self.reason {
            FieldReason::Required => String::new(),
            _ => self.detail.unwrap_or(self.text),
        };
        FieldError::new(reason, path, self.bad, detail)
    }
}

/// The JSON type of a value, and the format that Go's number has.
fn type_of(value: &Value) -> (&'static str, &'static str) {
    match value {
        Value::Null => ("null", ""),
        Value::Bool(_) => ("boolean", ""),
        Value::String(_) => ("string", ""),
        Value::Number(number) if number.is_i64() => ("integer", "int64"),
        Value::Number(_) => ("number", "float64"),
        Value::Array(_) => ("array", ""),
        Value::Object(_) => ("object", ""),
    }
}

/// A value as a complaint shows it.
pub fn shown(value: &Value) -> BadValue {
    match value {
        Value::Null => BadValue::Null,
        Value::Bool(value) => BadValue::Bool(*value),
        Value::String(text) => BadValue::Text(text.clone()),
        Value::Number(number) => {
            number.as_i64().map_or_else(|| BadValue::Float(number.as_f64().unwrap_or_default()), BadValue::Int)
        }
        other => BadValue::Json(other.to_string()),
    }
}

impl<'s, 'v> Frame<'s, 'v> {
    fn new(schema: Schema<'s>, value: &'v Value, name: String, role: Role) -> Frame<'s, 'v> {
        let mut frame = Frame {
            schema,
            value,
            name,
            role,
            found: Found::default(),
            main: Found::default(),
            any_of: Tried::default(),
            one_of: Tried::default(),
            all_of_valid: 0,
            is_not_valid: false,
            tasks: Vec::new(),
        };
        if value.is_null() {
            frame.tasks.extend([Task::Enum, Task::Type]);
            return frame;
        }
        // In the order of upstream; what is last here is done first.
        let mut tasks = vec![Task::Type];
        frame.push_alternatives(&mut tasks);
        tasks.push(Task::Scalar);
        frame.push_items(&mut tasks);
        tasks.push(Task::Enum);
        frame.push_properties(&mut tasks);
        tasks.reverse();
        frame.tasks = tasks;
        frame
    }

    fn push_alternatives(&self, tasks: &mut Vec<Task<'s, 'v>>) {
        let value = self.value;
        let below = |schema, role| Task::Below { schema, value, name: self.name.clone(), role };
        let schema = self.schema;
        if !schema.any_of().is_empty() {
            tasks.extend(schema.any_of().iter().map(|one| below(one, Role::AnyOf)));
            tasks.push(Task::AnyOfDone);
        }
        if !schema.one_of().is_empty() {
            tasks.extend(schema.one_of().iter().map(|one| below(one, Role::OneOf)));
            tasks.push(Task::OneOfDone);
        }
        if !schema.all_of().is_empty() {
            tasks.extend(schema.all_of().iter().map(|one| below(one, Role::AllOf)));
            tasks.push(Task::AllOfDone { of: schema.all_of().len() });
        }
        if let Some(not) = schema.not_() {
            tasks.extend([below(not, Role::Not), Task::NotDone]);
        }
        tasks.push(Task::SchemasDone);
    }

    fn push_items(&self, tasks: &mut Vec<Task<'s, 'v>>) {
        let Value::Array(list) = self.value else { return };
        if let Some(schema) = schema::item(self.schema) {
            for (index, value) in list.iter().enumerate() {
                tasks.push(Task::Below { schema, value, name: format!("{}[{index}]", self.name), role: Role::Merged });
            }
        }
        tasks.push(Task::SliceDone);
    }

    fn push_properties(&self, tasks: &mut Vec<Task<'s, 'v>>) {
        let Value::Object(map) = self.value else { return };
        if self.wrong_count(map.len()).is_none() {
            if let Additional::Each(schema) = schema::additional_properties(self.schema) {
                for (key, value) in map.iter().filter(|(key, _)| schema::property(self.schema, key).is_none()) {
                    tasks.push(Task::Below { schema, value, name: format!("{}.{key}", self.name), role: Role::Merged });
                }
            }
            for (key, value) in map {
                let Some(schema) = schema::property(self.schema, key) else { continue };
                let name = if self.name.is_empty() { key.clone() } else { format!("{}.{key}", self.name) };
                tasks.push(Task::Below { schema, value, name, role: Role::Merged });
            }
        }
        tasks.push(Task::ObjectDone);
    }

    fn run(&mut self, task: Task<'s, 'v>, budget: &mut Budget<'s>) {
        match task {
            Task::Below { .. } => {}
            Task::Type => self.check_type(),
            Task::AnyOfDone => self.any_of_done(),
            Task::OneOfDone => self.one_of_done(),
            Task::AllOfDone { of } => {
                if self.all_of_valid != of {
                    let more = if self.all_of_valid == 0 { ". None validated" } else { "" };
                    let text = format!("{:?} must validate all the schemas (allOf){more}", self.name);
                    self.main.add(composite(text));
                }
            }
            Task::NotDone => {
                if self.is_not_valid {
                    self.main.add(composite(format!("{:?} must not validate the schema (not)", self.name)));
                }
            }
            Task::SchemasDone => {
                let main = std::mem::take(&mut self.main);
                self.found.merge(main);
                self.found.matches += 2;
            }
            Task::Scalar => self.check_scalar(budget),
            Task::SliceDone => self.check_slice(),
            Task::Enum => self.check_enum(),
            Task::ObjectDone => self.check_object(),
        }
    }

    /// Takes what a schema below has found.
    fn take(&mut self, found: Found, role: Role) {
        let is_valid = found.is_valid();
        match role {
            Role::Merged => self.found.merge(found),
            Role::AllOf => {
                self.all_of_valid += usize::from(is_valid);
                self.main.merge(found);
            }
            Role::Not => self.is_not_valid = is_valid,
            Role::AnyOf => {
                if self.any_of.take(found) {
                    // The others are not looked at.
                    while matches!(self.tasks.last(), Some(Task::Below { role: Role::AnyOf, .. })) {
                        self.tasks.pop();
                    }
                }
            }
            Role::OneOf => {
                self.one_of.take(found);
            }
        }
    }

    fn any_of_done(&mut self) {
        let tried = std::mem::take(&mut self.any_of);
        if tried.valid == 0 {
            self.main.add(composite(format!("{:?} must validate at least one schema (anyOf)", self.name)));
        }
        if let Some(chosen) = tried.best.or(tried.first) {
            self.main.merge(chosen);
        }
    }

    fn one_of_done(&mut self) {
        let tried = std::mem::take(&mut self.one_of);
        if tried.valid == 1 {
            if let Some(first) = tried.first {
                self.main.merge(first);
            }
            return;
        }
        let more = match tried.valid {
            0 => "Found none valid".to_owned(),
            valid => format!("Found {valid} valid alternatives"),
        };
        let text = format!("{:?} must validate one and only one schema (oneOf). {more}", self.name);
        self.main.add(composite(text));
        if let Some(best) = tried.best {
            self.main.merge(best);
        }
    }

    fn complain(&mut self, reason: FieldReason, bad: BadValue, what: &str, detail: Option<String>) {
        let (name, text) = (self.name.clone(), format!("{} in body {what}", self.name));
        self.found.add(Complaint { name, text, reason, bad, detail });
    }

    fn wrong_type(&mut self, wanted: &str, found: &str) {
        let what = format!("must be of type {wanted}: {found:?}");
        self.complain(FieldReason::TypeInvalid, BadValue::Text(found.to_owned()), &what, None);
    }

    fn check_type(&mut self) {
        let (wanted, format) = (self.schema.type_(), self.schema.format());
        let (found, found_format) = type_of(self.value);
        if self.value.is_null() {
            self.found.matches += 1;
            if !wanted.is_empty() && wanted != "null" && !self.schema.nullable() {
                self.wrong_type(wanted, found);
            }
            return;
        }
        if wanted.is_empty() && format.is_empty() {
            return;
        }
        self.found.matches += 1;
        let is_whole = |number: &Number| number.as_f64().is_some_and(|float| float.fract() == 0.0);
        let is_whole = matches!(self.value, Value::Number(number) if is_whole(number));
        let is_number =
            found == "integer" && wanted == "number" || found == "number" && wanted == "integer" && is_whole;
        let is_of_type = found == wanted || is_number;
        let is_text = matches!(found, "string" | "array");
        if !is_text && !format.is_empty() && !is_of_type && found_format != format {
            self.wrong_type(format, found_format);
        } else if is_of_type || is_text && !format.is_empty() && !matches!(wanted, "number" | "integer") {
            self.found.matches += 1;
        } else {
            self.wrong_type(wanted, found);
        }
    }

    fn check_scalar(&mut self, budget: &mut Budget<'s>) {
        match self.value {
            Value::String(text) => self.check_string(text, budget),
            Value::Number(number) => self.check_number(number),
            _ => {}
        }
    }

    fn check_string(&mut self, text: &str, budget: &mut Budget<'s>) {
        self.found.matches += 1;
        let (schema, len) = (self.schema, i64::try_from(text.chars().count()).unwrap_or(i64::MAX));
        let bad = || BadValue::Text(text.to_owned());
        if let Some(most) = schema.max_length().filter(|most| len > *most) {
            let detail = Some(format!("may not be more than {most} bytes"));
            let what = format!("should be at most {most} chars long");
            return self.complain(FieldReason::TooLong, BadValue::Omitted, &what, detail);
        }
        if let Some(least) = schema.min_length().filter(|least| len < *least) {
            let what = format!("should be at least {least} chars long");
            return self.complain(FieldReason::Invalid, bad(), &what, None);
        }
        if !schema.pattern().is_empty() && !budget.matches(schema.pattern(), text) {
            let what = format!("should match '{}'", schema.pattern());
            self.complain(FieldReason::Invalid, bad(), &what, None);
        }
        if formats::is_wrong(schema.format(), text) {
            let what = format!("must be of type {}: {text:?}", schema.format());
            self.complain(FieldReason::TypeInvalid, bad(), &what, None);
        }
    }

    fn check_number(&mut self, number: &Number) {
        self.found.matches += 1;
        let (schema, bad) = (self.schema, shown(self.value));
        let value = number.as_f64().unwrap_or_default();
        // Limits of whole numbers are whole numbers to upstream.
        let told = |limit: f64| match number.is_i64() {
            true => (limit.trunc(), (limit as i64).to_string()),
            false => (limit, BadValue::Float(limit).to_string()),
        };
        if let Some((factor, text)) = schema.multiple_of().map(told) {
            let quotient = if factor.abs() < 1.0 { value * (1.0 / factor) } else { value / factor };
            if factor < 0.0 {
                let text = format!("factor MultipleOf declared for {} must be positive: {text}", self.name);
                let name = self.name.clone();
                let bad = BadValue::Float(factor);
                self.found.add(Complaint { name, text, reason: FieldReason::Invalid, bad, detail: None });
            } else if factor == 0.0 || (quotient - quotient.round()).abs() > 1e-9 {
                let what = format!("should be a multiple of {text}");
                self.complain(FieldReason::Invalid, bad.clone(), &what, None);
            }
        }
        if let Some((least, text)) = schema.minimum().map(told) {
            let is_exclusive = schema.exclusive_minimum();
            if value < least || is_exclusive && value <= least {
                let what = format!("should be greater than {}{text}", if is_exclusive { "" } else { "or equal to " });
                self.complain(FieldReason::Invalid, bad.clone(), &what, None);
            }
        }
        if let Some((most, text)) = schema.maximum().map(told) {
            let is_exclusive = schema.exclusive_maximum();
            if value > most || is_exclusive && value >= most {
                let what = format!("should be less than {}{text}", if is_exclusive { "" } else { "or equal to " });
                self.complain(FieldReason::Invalid, bad, &what, None);
            }
        }
    }

    fn check_slice(&mut self) {
        let Value::Array(list) = self.value else { return };
        let len = i64::try_from(list.len()).unwrap_or(i64::MAX);
        if let Some(least) = self.schema.min_items().filter(|least| len < *least) {
            let what = format!("should have at least {least} items");
            self.complain(FieldReason::Invalid, BadValue::Int(len), &what, None);
        }
        if let Some(most) = self.schema.max_items().filter(|most| len > *most) {
            let what = format!("should have at most {most} items");
            self.too_many(len, most, &what);
        }
        self.found.matches += 1;
    }

    fn too_many(&mut self, count: i64, most: i64, what: &str) {
        let detail = Some(format!("must have at most {most} items"));
        self.complain(FieldReason::TooMany, BadValue::Int(count), what, detail);
    }

    fn check_enum(&mut self) {
        if self.schema.enum_().is_empty() {
            return;
        }
        self.found.matches += usize::from(!self.value.is_null());
        let known: Vec<Value> =
            self.schema.enum_().iter().map(|raw| serde_json::from_str(raw.0).unwrap_or_default()).collect();
        let is_same = |known: &Value| match (known, self.value) {
            (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
            (a, b) => a == b && !a.is_null(),
        };
        if known.iter().any(is_same) {
            return;
        }
        let names: Vec<String> = known
            .iter()
            .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            .map(|name| portcullis_model::go_text::quoted(&name))
            .collect();
        let detail = Some(format!("supported values: {}", names.join(", ")));
        let what = format!("should be one of {names:?}");
        self.complain(FieldReason::NotSupported, shown(self.value), &what, detail);
    }

    /// Whether an object has too few or too many entries.
    fn wrong_count(&self, count: usize) -> Option<(bool, i64)> {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let few = self.schema.min_properties().filter(|least| count < *least).map(|least| (true, least));
        few.or_else(|| self.schema.max_properties().filter(|most| count > *most).map(|most| (false, most)))
    }

    fn check_object(&mut self) {
        let Value::Object(map) = self.value else { return };
        self.found.matches += 1;
        let count = i64::try_from(map.len()).unwrap_or(i64::MAX);
        match self.wrong_count(map.len()) {
            Some((true, least)) => {
                let what = format!("should have at least {least} properties");
                return self.complain(FieldReason::Invalid, BadValue::Int(count), &what, None);
            }
            Some((false, most)) => {
                return self.too_many(count, most, &format!("should have at most {most} properties"));
            }
            None => {}
        }
        if matches!(schema::additional_properties(self.schema), Additional::Allowed(false)) {
            for key in map.keys().filter(|key| schema::property(self.schema, key).is_none()) {
                let (name, text) = (self.name.clone(), format!("{}.{key} in body is a forbidden property", self.name));
                let bad = BadValue::Text(key.clone());
                self.found.add(Complaint { name, text, reason: FieldReason::Invalid, bad, detail: None });
            }
        }
        let mut seen = HashSet::new();
        for key in self.schema.required().iter().filter(|key| !map.contains_key(*key) && seen.insert(*key)) {
            let name = format!("{}.{key}", self.name);
            let text = format!("{name} in body is required");
            let (reason, bad) = (FieldReason::Required, BadValue::Omitted);
            self.found.add(Complaint { name, text, reason, bad, detail: None });
        }
    }
}

/// A complaint about alternatives, which names no field.
fn composite(text: String) -> Complaint {
    // Told as invalid at the value itself.
    let (reason, bad) = (FieldReason::Internal, BadValue::Text(String::new()));
    Complaint { name: String::new(), text, reason, bad, detail: None }
}

impl Tried {
    /// Takes what one alternative has found, and says whether it was valid.
    fn take(&mut self, found: Found) -> bool {
        if found.is_valid() {
            self.valid += 1;
            self.best = None;
            self.first.get_or_insert(found);
            return true;
        }
        let is_better = self.best.as_ref().is_none_or(|best| found.matches > best.matches);
        if self.valid == 0 && is_better {
            self.best = Some(found);
        }
        false
    }
}

#[cfg(test)]
mod tests;
