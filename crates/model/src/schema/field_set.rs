//! A set of paths into objects, and its JSON form `fieldsV1` (upstream: `fieldpath.Set` of structured-merge-diff).
//!
//! A set is kept as the sorted walk of its trie: one step a line, parents before children, siblings in order. Two sets are then united,
//! subtracted and intersected by reading both once from front to back, without recursion and without hashing. The texts of all steps
//! stand behind each other, so a line costs no allocation.
//!
//! In JSON a step is `f:name` (a field or a key of a map), `k:{...}` (the element of a list with these keys), `v:value` (an element of a
//! set) or `i:n` (a position). `{}` is a path that is in the set; one that is, and has more below, says so with `.`.

mod below;
mod builder;
mod pattern;
mod read;
mod step;

use std::cmp::Ordering;
use std::ops::Range;

use thiserror::Error;

pub use below::{Below, Trie};
pub use builder::PathSetBuilder;
pub use pattern::Pattern;
pub use step::{Step, StepBuf, StepKind};

/// Most steps that a set that was read may have: the managers of one object, written as densely as JSON allows, stay below.
const STEPS_MAX: usize = 1 << 20;

/// Most steps of one path of a set that was read. No object has deeper ones, and whoever shows an object, in YAML for one, must get to
/// the end of its managers.
pub const DEPTH_MAX: usize = 500;

/// Most steps of a set whose paths are looked for in a text one by one.
const SOUGHT_MAX: usize = 64;

/// Bytes of `fieldsV1` beside the names that one step takes at most, in most sets.
const STEP_BYTES: usize = 14;

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
    /// A path has more than [`DEPTH_MAX`] steps, or there are too many of them.
    #[error("managed fields are too large")]
    TooLarge,
}

/// A line of the walk.
#[derive(Clone, Copy, Debug)]
struct Line {
    /// How many steps lead to it; 1 at the top.
    depth: u32,
    /// Where the text of its step begins among those of the set, and how long it is.
    text_at: u32,
    text_len: u32,
    kind: StepKind,
    /// Whether the path that ends here is in the set.
    is_member: bool,
}

/// A set of paths. Every line is a member or leads to one.
#[derive(Clone, Debug, Default)]
pub struct PathSet {
    lines: Vec<Line>,
    /// The texts of the steps, one behind the other. Those of lines that are gone may still stand there.
    texts: String,
}

impl PathSet {
    /// The set of these paths, each a list of field names from the top.
    pub fn of_fields(paths: &[&[&str]]) -> PathSet {
        paths.iter().fold(PathSet::default(), |set, path| {
            let mut one = PathSet::default();
            for (depth, name) in (1..).zip(*path) {
                one.push(depth, Step::field(name), depth as usize == path.len());
            }
            set.union(&one)
        })
    }

    /// Reads `fieldsV1`.
    pub fn read(text: &str) -> Result<PathSet, FieldSetError> {
        match read::in_order(text)? {
            Some(set) => Ok(set),
            None => read::in_any_order(text),
        }
    }

    /// Appends the set as `fieldsV1`.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.reserve(self.lines.len() * STEP_BYTES + self.texts.len() + 2);
        // The depth of the objects that are open.
        let mut open = 1u32;
        let mut lines = self.lines.iter().peekable();
        let mut is_first = true;
        out.push(b'{');
        while let Some(line) = lines.next() {
            while open > line.depth {
                out.push(b'}');
                open -= 1;
            }
            if !is_first {
                out.push(b',');
            }
            self.step(line).push_name(out);
            let leads_on = lines.peek().is_some_and(|next| next.depth > line.depth);
            is_first = leads_on && !line.is_member;
            match (leads_on, line.is_member) {
                (false, _) => out.extend_from_slice(b":{}"),
                (true, true) => out.extend_from_slice(br#":{".":{}"#),
                (true, false) => out.extend_from_slice(b":{"),
            }
            open += u32::from(leads_on);
        }
        out.extend(std::iter::repeat_n(b'}', open as usize));
    }

    /// The set as `fieldsV1`.
    pub fn to_json(&self) -> String {
        let mut out = Vec::new();
        self.write(&mut out);
        String::from_utf8(out).unwrap_or_default()
    }

    /// Appends a step. Steps come as the set keeps them: parents before children, siblings in order, and none that leads nowhere.
    pub(super) fn push(&mut self, depth: u32, step: Step<'_>, is_member: bool) {
        let Step { kind, text } = step;
        let (text_at, text_len) = (self.texts.len() as u32, text.len() as u32);
        self.texts.push_str(text);
        self.lines.push(Line { depth, text_at, text_len, kind, is_member });
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
        Walk::new(self, other).all(|(mine, theirs)| !is_member(mine) || is_member(theirs))
    }

    /// Whether a set that is still text may have one of these paths. It is looked for in the text, without reading the rest of it; a set
    /// too large for that may always.
    pub fn may_meet(&self, text: &str) -> bool {
        self.lines.len() > SOUGHT_MAX || read::meets(self, text).unwrap_or(true)
    }

    /// Whether a set that is still text has all of these paths. No says nothing when there are many.
    pub fn is_within_text(&self, text: &str) -> bool {
        self.lines.len() <= SOUGHT_MAX && read::has_all(self, text).unwrap_or_default()
    }

    /// The paths that the other does not have and that do not begin with one it has.
    pub fn difference_below(&self, other: &PathSet) -> PathSet {
        self.clone().into_difference(other, &PathSet::default())
    }

    /// What [`PathSet::difference_below`] and then [`PathSet::difference`] leave, without a copy of it.
    pub fn into_difference(self, below: &PathSet, exact: &PathSet) -> PathSet {
        let mut stays = Vec::with_capacity(self.lines.len());
        // Lines deeper than this are below a path that is taken out.
        let mut cut = u32::MAX;
        for (mine, theirs) in Walk::new(&self, below) {
            let depth = mine.or(theirs).map_or(0, |line| line.depth);
            if depth <= cut {
                cut = if is_member(theirs) { depth } else { u32::MAX };
            }
            stays.extend(mine.map(|mine| mine.is_member && cut == u32::MAX));
        }
        let of_mine = Walk::new(&self, exact).filter_map(|(mine, theirs)| mine.map(|_| theirs));
        for (stays, theirs) in stays.iter_mut().zip(of_mine) {
            *stays &= !is_member(theirs);
        }
        self.keep(stays)
    }

    /// The set without steps that lead nowhere.
    pub(super) fn without_dead_ends(self) -> PathSet {
        let stays = self.lines.iter().map(|line| line.is_member).collect();
        self.keep(stays)
    }

    /// All steps, parents before what is below them: the depth at which each stands, and whether anything is below it.
    pub(super) fn walk(&self) -> impl Iterator<Item = (u32, Step<'_>, bool)> {
        let next_depths = self.lines.iter().skip(1).map(|line| line.depth).chain([0]);
        self.lines.iter().zip(next_depths).map(|(line, next)| (line.depth, self.step(line), next > line.depth))
    }

    /// Makes paths members for which the answer is yes; each step comes with the depth at which it stands.
    pub(super) fn mark_where(&mut self, mut is_member: impl FnMut(u32, Step<'_>) -> bool) {
        for line in &mut self.lines {
            let start = line.text_at as usize;
            let text = self.texts.get(start..start + line.text_len as usize).unwrap_or_default();
            line.is_member |= is_member(line.depth, Step { kind: line.kind, text });
        }
    }

    fn combine(&self, other: &PathSet, holds: impl Fn(bool, bool) -> bool) -> PathSet {
        let walked = Walk::new(self, other).filter_map(|(mine, theirs)| {
            let (set, line) = mine.map(|mine| (self, mine)).or(theirs.map(|theirs| (other, theirs)))?;
            Some((set, Line { is_member: holds(is_member(mine), is_member(theirs)), ..*line }))
        });
        PathSet::of_walk(&walked.collect::<Vec<_>>())
    }

    /// The set of these lines of other sets, without those that are no members and lead to none.
    fn of_walk(walked: &[(&PathSet, Line)]) -> PathSet {
        let mut stays: Vec<bool> = walked.iter().map(|(_, line)| line.is_member).collect();
        mark_what_leads_on(walked.iter().map(|(_, line)| line.depth), &mut stays);
        let mut set = PathSet::default();
        set.lines.reserve(walked.len());
        for ((of, line), _) in walked.iter().zip(stays).filter(|(_, stays)| *stays) {
            set.push(line.depth, of.step(line), line.is_member);
        }
        set
    }

    fn step(&self, line: &Line) -> Step<'_> {
        let start = line.text_at as usize;
        let text = self.texts.get(start..start + line.text_len as usize);
        Step { kind: line.kind, text: text.unwrap_or_default() }
    }

    /// The lines right below one of these, and all below them.
    fn lines_below(&self, at: usize, end: usize) -> Range<usize> {
        let depth = self.lines.get(at).map_or(0, |line| line.depth);
        let below = self.lines.get(at + 1..end).unwrap_or_default();
        at + 1..at + 1 + below.iter().position(|next| next.depth <= depth).unwrap_or(below.len())
    }
}

impl PartialEq for PathSet {
    fn eq(&self, other: &PathSet) -> bool {
        let is_same = |(mine, theirs): (&Line, &Line)| {
            (mine.depth, mine.is_member) == (theirs.depth, theirs.is_member) && self.step(mine) == other.step(theirs)
        };
        self.lines.len() == other.lines.len() && self.lines.iter().zip(&other.lines).all(is_same)
    }
}

impl Eq for PathSet {}

fn is_member(line: Option<&Line>) -> bool {
    line.is_some_and(|line| line.is_member)
}

/// Lets lines stay that lead to one that stays.
fn mark_what_leads_on(depths: impl DoubleEndedIterator<Item = u32> + ExactSizeIterator, stays: &mut [bool]) {
    // From the back: a line leads to a member when the next line that stays is deeper.
    let mut next_depth = 0;
    for (depth, stays) in depths.zip(stays).rev() {
        *stays |= next_depth > depth;
        if *stays {
            next_depth = depth;
        }
    }
}

/// Walks two sets side by side: each path of either once, in order.
struct Walk<'a> {
    mine: &'a PathSet,
    theirs: &'a PathSet,
    /// What is left of each.
    my_lines: &'a [Line],
    their_lines: &'a [Line],
}

impl<'a> Walk<'a> {
    fn new(mine: &'a PathSet, theirs: &'a PathSet) -> Walk<'a> {
        Walk { mine, theirs, my_lines: &mine.lines, their_lines: &theirs.lines }
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = (Option<&'a Line>, Option<&'a Line>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        // The deeper one is inside of what the other does not have, or has left. At one depth both are under the same parent.
        let order = match (self.my_lines.first(), self.their_lines.first()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(mine), Some(theirs)) => {
                let order = theirs.depth.cmp(&mine.depth);
                order.then_with(|| self.mine.step(mine).cmp(&self.theirs.step(theirs)))
            }
        };
        let mine = if order.is_le() { self.my_lines.split_off_first() } else { None };
        let theirs = if order.is_ge() { self.their_lines.split_off_first() } else { None };
        Some((mine, theirs))
    }
}

#[cfg(test)]
mod tests;
