//! A set of paths into objects, and its JSON form `fieldsV1` (upstream: `fieldpath.Set` of structured-merge-diff).
//!
//! A set is kept as the sorted walk of its trie: one step a line, parents before children, siblings in order. Two sets are then united,
//! subtracted and intersected by reading both once from front to back, without recursion and without hashing.
//!
//! In JSON a step is `f:name` (a field or a key of a map), `k:{...}` (the element of a list with these keys), `v:value` (an element of a
//! set) or `i:n` (a position). `{}` is a path that is in the set; one that is, and has more below, says so with `.`.

mod read;

use std::cmp::Ordering;
use std::iter::Peekable;

use thiserror::Error;

use read::Reader;

use super::DEPTH_MAX;
use crate::go_text::{Escape, push_json_escaped, push_json_string};

/// Most steps that a set that was read may have: the managers of one object, written as densely as JSON allows, stay below.
const STEPS_MAX: usize = 1 << 20;

/// Most steps of a set whose paths are looked for in a text one by one.
const SOUGHT_MAX: usize = 64;

/// A text that is no field set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FieldSetError {
    /// It is not JSON, or not an object of objects.
    #[error("managed fields are not an object of objects at offset {0}")]
    NotAnObject(usize),
    /// A step cannot be read.
    #[error("managed fields have a step that cannot be read at offset {0}")]
    MalformedStep(usize),
    /// A step comes twice under one parent.
    #[error("managed fields name one step twice")]
    DuplicateStep,
    /// It is nested deeper than any object may be, or has too many steps.
    #[error("managed fields are too large")]
    TooLarge,
}

/// A scalar in a step, in the order of `value.Compare`: numbers, strings, booleans, anything else, null.
#[derive(Clone, Debug, PartialEq)]
pub enum StepValue {
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A string.
    String(Box<str>),
    /// A boolean.
    Bool(bool),
    /// A list or an object, as its text. No list of ours has such keys; a client may still send one.
    Other(Box<str>),
    /// `null`.
    Null,
}

impl StepValue {
    /// Reads one from its JSON text.
    pub fn read(text: &str) -> Option<StepValue> {
        let mut reader = Reader::new(text);
        reader.scalar().filter(|_| reader.is_done())
    }

    const fn rank(&self) -> u8 {
        match self {
            StepValue::Int(_) | StepValue::Float(_) => 0,
            StepValue::String(_) => 1,
            StepValue::Bool(_) => 2,
            StepValue::Other(_) => 3,
            StepValue::Null => 4,
        }
    }

    fn push_json(&self, out: &mut Vec<u8>) {
        match self {
            StepValue::Int(value) => out.extend_from_slice(itoa::Buffer::new().format(*value).as_bytes()),
            // Only finite numbers are read.
            StepValue::Float(value) => _ = crate::number::push_json_float(out, *value),
            StepValue::String(text) => push_json_string(out, text),
            StepValue::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
            StepValue::Other(text) => out.extend_from_slice(text.as_bytes()),
            StepValue::Null => out.extend_from_slice(b"null"),
        }
    }
}

impl Eq for StepValue {}

impl PartialOrd for StepValue {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for StepValue {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (StepValue::Int(a), StepValue::Int(b)) => a.cmp(b),
            (StepValue::Float(a), StepValue::Float(b)) => a.total_cmp(b),
            (StepValue::Int(a), StepValue::Float(b)) => (*a as f64).total_cmp(b).then(Ordering::Less),
            (StepValue::Float(a), StepValue::Int(b)) => a.total_cmp(&(*b as f64)).then(Ordering::Greater),
            (StepValue::String(a), StepValue::String(b)) | (StepValue::Other(a), StepValue::Other(b)) => a.cmp(b),
            (StepValue::Bool(a), StepValue::Bool(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

/// The keys of an element, sorted by name.
pub type StepKeys = Box<[(Box<str>, StepValue)]>;

/// One step of a path. Fields stand before keys, keys before values, values before positions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// `f:`: a field of a struct or a key of a map.
    Field(Box<str>),
    /// `k:`: the element of a list that has these keys, sorted by name.
    Key(StepKeys),
    /// `v:`: the element of a set.
    Value(StepValue),
    /// `i:`: a position in a list.
    Index(i64),
}

impl Step {
    /// Reads a member's name. None: a kind of step that is not known, which is skipped as upstream skips it.
    fn read(text: &str, offset: usize) -> Result<Option<Step>, FieldSetError> {
        let malformed = FieldSetError::MalformedStep(offset);
        let Some((prefix, rest)) = text.split_at_checked(2) else { return Err(malformed) };
        Ok(Some(match prefix {
            "f:" => Step::Field(rest.into()),
            "i:" => Step::Index(rest.parse().map_err(|_| malformed)?),
            "v:" => Step::Value(StepValue::read(rest).ok_or(malformed)?),
            "k:" => {
                let mut reader = Reader::new(rest);
                let keys = reader.keys().filter(|_| reader.is_done());
                Step::Key(keys.ok_or(malformed)?)
            }
            _ if prefix.ends_with(':') => return Ok(None),
            _ => return Err(malformed),
        }))
    }

    /// Appends the step as a member's name, quotes included.
    fn push_name(&self, scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
        scratch.clear();
        match self {
            Step::Field(name) => {
                // Most steps are fields, so they are written without a stop on the way.
                out.reserve(name.len() + 4);
                out.extend_from_slice(b"\"f:");
                push_json_escaped(out, name, Escape::Html);
                out.push(b'"');
                return;
            }
            Step::Index(at) => {
                scratch.extend_from_slice(b"i:");
                scratch.extend_from_slice(itoa::Buffer::new().format(*at).as_bytes());
            }
            Step::Value(value) => {
                scratch.extend_from_slice(b"v:");
                value.push_json(scratch);
            }
            Step::Key(keys) => {
                scratch.extend_from_slice(b"k:{");
                for (at, (name, value)) in keys.iter().enumerate() {
                    if at > 0 {
                        scratch.push(b',');
                    }
                    push_json_string(scratch, name);
                    scratch.push(b':');
                    value.push_json(scratch);
                }
                scratch.push(b'}');
            }
        }
        // Made of strings and ASCII.
        push_json_string(out, std::str::from_utf8(scratch).unwrap_or_default());
    }
}

/// A line of the walk.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    /// How many steps lead to it; 1 at the top.
    depth: u32,
    /// Whether the path that ends here is in the set.
    is_member: bool,
    step: Step,
}

/// A set of paths. Every line is a member or leads to one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathSet {
    lines: Vec<Line>,
}

impl PathSet {
    /// The set of these paths, each a list of field names from the top.
    pub fn of_fields(paths: &[&[&str]]) -> PathSet {
        let line = |(at, name): (usize, &&str), len: usize| Line {
            depth: at as u32 + 1,
            is_member: at + 1 == len,
            step: Step::Field((*name).into()),
        };
        paths.iter().fold(PathSet::default(), |set, path| {
            let lines = path.iter().enumerate().map(|step| line(step, path.len())).collect();
            set.union(&PathSet { lines })
        })
    }

    /// Reads `fieldsV1`.
    pub fn read(text: &str) -> Result<PathSet, FieldSetError> {
        match read::in_order(text)? {
            Some(lines) => Ok(PathSet { lines }),
            None => PathSet::read_in_any_order(text),
        }
    }

    /// Reads `fieldsV1` whose members are not in the order in which sets are written.
    fn read_in_any_order(text: &str) -> Result<PathSet, FieldSetError> {
        let mut reader = Reader::new(text);
        let mut builder = PathSetBuilder::default();
        // The lines whose objects are open, and whether anything was in them.
        let mut open: Vec<Option<u32>> = vec![None];
        reader.begin_object()?;
        let mut first = true;
        loop {
            if reader.take(b'}') {
                let closed = open.pop().flatten();
                if let Some(line) = closed {
                    // An object without steps is a member; one with steps says so itself.
                    builder.end(line);
                }
                if open.is_empty() {
                    break;
                }
                first = false;
                continue;
            }
            if !first && !reader.take(b',') {
                return Err(reader.not_an_object());
            }
            first = false;
            let offset = reader.at;
            let name = reader.string().ok_or(FieldSetError::NotAnObject(offset))?;
            if !reader.take(b':') {
                return Err(reader.not_an_object());
            }
            let parent = open.last().copied().flatten();
            if name == "." {
                reader.skip_value().ok_or(FieldSetError::NotAnObject(offset))?;
                if let Some(line) = parent {
                    builder.mark(line);
                }
                continue;
            }
            let Some(step) = Step::read(&name, offset)? else {
                reader.skip_value().ok_or(FieldSetError::NotAnObject(offset))?;
                continue;
            };
            reader.begin_object()?;
            if open.len() >= DEPTH_MAX || builder.lines.len() >= STEPS_MAX {
                return Err(FieldSetError::TooLarge);
            }
            open.push(Some(builder.push(parent, step, false)));
            first = true;
        }
        if !reader.is_done() {
            return Err(reader.not_an_object());
        }
        if builder.is_doubled() { Err(FieldSetError::DuplicateStep) } else { Ok(builder.finish()) }
    }

    /// Appends the set as `fieldsV1`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut scratch = Vec::new();
        let mut open = 1u32;
        out.push(b'{');
        let mut is_first = true;
        for (at, line) in self.lines.iter().enumerate() {
            while open > line.depth {
                out.push(b'}');
                open -= 1;
                is_first = false;
            }
            if !is_first {
                out.push(b',');
            }
            line.step.push_name(&mut scratch, out);
            out.extend_from_slice(b":{");
            let has_more = self.lines.get(at + 1).is_some_and(|next| next.depth > line.depth);
            is_first = true;
            if has_more {
                open += 1;
                if line.is_member {
                    out.extend_from_slice(br#"".":{}"#);
                    is_first = false;
                }
            } else {
                out.push(b'}');
                is_first = false;
            }
        }
        out.extend(std::iter::repeat_n(b'}', open as usize));
    }

    /// The set as `fieldsV1`.
    pub fn to_json(&self) -> String {
        let mut out = Vec::with_capacity(self.lines.len() * 24 + 2);
        self.write(&mut out);
        String::from_utf8(out).unwrap_or_default()
    }

    /// Appends a step. Steps come as the set keeps them: parents before children, siblings in order, and none that leads nowhere.
    pub(super) fn push(&mut self, depth: u32, step: Step, is_member: bool) {
        self.lines.push(Line { depth, is_member, step });
    }

    /// Whether there is no path in it.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The number of paths in it.
    pub fn len(&self) -> usize {
        self.lines.iter().filter(|line| line.is_member).count()
    }

    /// The paths of either.
    pub fn union(&self, other: &PathSet) -> PathSet {
        if other.is_empty() {
            return self.clone();
        }
        if self.is_empty() {
            return other.clone();
        }
        self.combine(other, |mine, theirs| mine || theirs)
    }

    /// The paths of both.
    pub fn intersection(&self, other: &PathSet) -> PathSet {
        self.combine(other, |mine, theirs| mine && theirs)
    }

    /// The paths that the other does not have.
    pub fn difference(&self, other: &PathSet) -> PathSet {
        self.combine(other, |mine, theirs| mine && !theirs)
    }

    /// Whether the other has all paths.
    pub fn is_within(&self, other: &PathSet) -> bool {
        Walk::new(self, other).all(|(mine, theirs)| {
            let in_set = |line: Option<&Line>| line.is_some_and(|line| line.is_member);
            !in_set(mine) || in_set(theirs)
        })
    }

    /// Whether a set that is still text may have one of these paths. It is looked for in the text, without reading the rest of it; a set
    /// too large for that may always.
    pub fn may_meet(&self, text: &str) -> bool {
        self.lines.len() > SOUGHT_MAX || read::meets(&self.lines, text).unwrap_or(true)
    }

    /// The paths that the other does not have and that do not begin with one it has.
    pub fn difference_below(&self, other: &PathSet) -> PathSet {
        let mut walked = Vec::with_capacity(self.lines.len());
        // Lines deeper than this are below a path that is taken out.
        let mut cut = u32::MAX;
        for (mine, theirs) in Walk::new(self, other) {
            let depth = mine.or(theirs).map_or(0, |line| line.depth);
            if depth <= cut {
                cut = if theirs.is_some_and(|line| line.is_member) { depth } else { u32::MAX };
            }
            if let Some(mine) = mine.filter(|_| cut == u32::MAX) {
                walked.push((mine, mine.is_member));
            }
        }
        without_dead_ends(&walked)
    }

    /// What [`PathSet::difference_below`] and then [`PathSet::difference`] leave, without a copy of it.
    pub fn into_difference(mut self, below: &PathSet, exact: &PathSet) -> PathSet {
        let mut stays = Vec::with_capacity(self.lines.len());
        let mut cut = u32::MAX;
        for (mine, theirs) in Walk::new(&self, below) {
            let depth = mine.or(theirs).map_or(0, |line| line.depth);
            if depth <= cut {
                cut = if theirs.is_some_and(|line| line.is_member) { depth } else { u32::MAX };
            }
            stays.extend(mine.map(|mine| mine.is_member && cut == u32::MAX));
        }
        let of_mine = Walk::new(&self, exact).filter_map(|(mine, theirs)| mine.map(|_| theirs));
        for (stays, theirs) in stays.iter_mut().zip(of_mine) {
            *stays &= !theirs.is_some_and(|line| line.is_member);
        }
        // From the back, as in `without_dead_ends`.
        let mut next_depth = 0;
        for (line, stays) in self.lines.iter_mut().zip(&mut stays).rev() {
            line.is_member = *stays;
            *stays |= next_depth > line.depth;
            if *stays {
                next_depth = line.depth;
            }
        }
        let mut stays = stays.into_iter();
        self.lines.retain(|_| stays.next().unwrap_or_default());
        self
    }

    fn combine(&self, other: &PathSet, is_member: impl Fn(bool, bool) -> bool) -> PathSet {
        let mut walked = Vec::with_capacity(self.lines.len());
        for (mine, theirs) in Walk::new(self, other) {
            let Some(line) = mine.or(theirs) else { continue };
            let in_set = |line: Option<&Line>| line.is_some_and(|line| line.is_member);
            walked.push((line, is_member(in_set(mine), in_set(theirs))));
        }
        without_dead_ends(&walked)
    }
}

/// The set of these lines and whether each is a member, without those that are not and lead to none.
fn without_dead_ends(walked: &[(&Line, bool)]) -> PathSet {
    // From the back: a line leads to a member when the next line that stays is deeper.
    let mut next_depth = 0;
    let mut lines = Vec::with_capacity(walked.len());
    for (line, is_member) in walked.iter().rev() {
        if *is_member || next_depth > line.depth {
            lines.push(Line { is_member: *is_member, ..(*line).clone() });
            next_depth = line.depth;
        }
    }
    lines.reverse();
    PathSet { lines }
}

/// Walks two sets side by side: each path of either once, in order.
struct Walk<'a> {
    mine: Peekable<std::slice::Iter<'a, Line>>,
    theirs: Peekable<std::slice::Iter<'a, Line>>,
}

impl<'a> Walk<'a> {
    fn new(mine: &'a PathSet, theirs: &'a PathSet) -> Walk<'a> {
        Walk { mine: mine.lines.iter().peekable(), theirs: theirs.lines.iter().peekable() }
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = (Option<&'a Line>, Option<&'a Line>);

    fn next(&mut self) -> Option<Self::Item> {
        // The deeper one is inside of what the other does not have, or has left. At one depth both are under the same parent.
        let order = match (self.mine.peek(), self.theirs.peek()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(mine), Some(theirs)) => theirs.depth.cmp(&mine.depth).then_with(|| mine.step.cmp(&theirs.step)),
        };
        Some(match order {
            Ordering::Less => (self.mine.next(), None),
            Ordering::Greater => (None, self.theirs.next()),
            Ordering::Equal => (self.mine.next(), self.theirs.next()),
        })
    }
}

/// A set that is being made. Parents come before their children; siblings in any order.
#[derive(Debug, Default)]
pub struct PathSetBuilder {
    lines: Vec<(Option<u32>, Line, bool)>,
}

impl PathSetBuilder {
    /// Adds a step below a line, or at the top, and gives its line.
    pub fn push(&mut self, parent: Option<u32>, step: Step, is_member: bool) -> u32 {
        let above = parent.and_then(|parent| self.lines.get_mut(parent as usize));
        let depth = above.map_or(1, |(_, line, has_more)| {
            *has_more = true;
            line.depth + 1
        });
        self.lines.push((parent, Line { depth, is_member, step }, false));
        (self.lines.len() - 1) as u32
    }

    /// Makes the path that ends in a line a member.
    pub fn mark(&mut self, line: u32) {
        if let Some((_, line, _)) = self.lines.get_mut(line as usize) {
            line.is_member = true;
        }
    }

    /// Makes the path a member when nothing is below it.
    fn end(&mut self, line: u32) {
        if let Some((_, line, has_more)) = self.lines.get_mut(line as usize) {
            line.is_member |= !*has_more;
        }
    }

    /// The order in which siblings are to stand, by their parents.
    fn sorted(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.lines.len() as u32).collect();
        let line = |at: u32| self.lines.get(at as usize);
        let key = |at: u32| line(at).map(|(parent, line, _)| (parent.map_or(0, |parent| parent + 1), &line.step));
        order.sort_by(|a, b| key(*a).cmp(&key(*b)).then(a.cmp(b)));
        order
    }

    fn is_doubled(&self) -> bool {
        let key = |at: u32| self.lines.get(at as usize).map(|(parent, line, _)| (parent, &line.step));
        self.sorted().windows(2).any(|pair| matches!(pair, [a, b] if key(*a) == key(*b)))
    }

    /// The set. No step may be twice under one parent.
    pub fn finish(self) -> PathSet {
        let order = self.sorted();
        // Where the children of each line begin in `order`; the top is number 0.
        let mut children = vec![0u32..0u32; self.lines.len() + 1];
        for (position, at) in (0u32..).zip(&order) {
            let parent = self.lines.get(*at as usize).and_then(|(parent, ..)| *parent);
            if let Some(range) = children.get_mut(parent.map_or(0, |parent| parent as usize + 1)) {
                if range.start == range.end {
                    *range = position..position;
                }
                range.end = position + 1;
            }
        }
        let mut walked = Vec::with_capacity(self.lines.len());
        let mut open = vec![children.first().cloned().unwrap_or_default()];
        while let Some(range) = open.last_mut() {
            let Some(position) = range.next() else {
                open.pop();
                continue;
            };
            let Some(at) = order.get(position as usize).copied() else { continue };
            let Some((_, line, _)) = self.lines.get(at as usize) else { continue };
            walked.push((line, line.is_member));
            open.push(children.get(at as usize + 1).cloned().unwrap_or_default());
        }
        without_dead_ends(&walked)
    }
}

#[cfg(test)]
mod tests;
