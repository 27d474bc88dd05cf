//! The paths of one manager, read only when somebody asks for them: most writes touch what one or two managers own, and those of all
//! others are written back as they were.

use std::borrow::Cow;
use std::cell::OnceCell;

use super::super::field_set::PathSet;

/// A set of paths as text, as a set, or both.
#[derive(Clone, Debug, Default)]
pub struct OwnedFields {
    /// As it was read; none once the set is another.
    text: Option<Box<str>>,
    set: OnceCell<PathSet>,
}

impl OwnedFields {
    /// Paths whose text was checked before.
    pub(super) fn unread(text: &str) -> OwnedFields {
        OwnedFields { text: Some(text.into()), set: OnceCell::new() }
    }

    /// The text as it was read, if it still says what the paths are.
    pub(super) fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// The paths.
    pub fn set(&self) -> &PathSet {
        // What was checked when it was stored can be read.
        self.set.get_or_init(|| self.text().and_then(|text| PathSet::read(text).ok()).unwrap_or_default())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        match (self.text(), self.set.get()) {
            (_, Some(set)) => set.is_empty(),
            // A text that was checked, and has a step, has a path.
            (Some(text), None) => text == "{}",
            (None, None) => true,
        }
    }

    /// Takes paths away.
    pub(super) fn take(&mut self, taken: &PathSet) {
        let meets = match (self.text(), self.set.get()) {
            _ if taken.is_empty() => false,
            (Some(text), None) => taken.may_meet(text),
            _ => true,
        };
        if !meets {
            return;
        }
        self.set();
        let held = self.set.take().unwrap_or_default();
        let count = held.len();
        let left = held.into_difference(&PathSet::default(), taken);
        if left.len() != count {
            self.text = None;
        }
        self.set = OnceCell::from(left);
    }

    /// Adds paths. A text that has them stays as it is.
    pub(super) fn give(&mut self, given: &PathSet) {
        let has_them = match (self.text(), self.set.get()) {
            (Some(text), None) => given.is_within_text(text),
            _ => false,
        };
        if !has_them && !given.is_within(self.set()) {
            *self = self.set().union(given).into();
        }
    }

    /// The set as `fieldsV1`.
    pub fn to_json(&self) -> Cow<'_, str> {
        self.text().map_or_else(|| Cow::Owned(self.set().to_json()), Cow::Borrowed)
    }
}

impl From<PathSet> for OwnedFields {
    fn from(set: PathSet) -> OwnedFields {
        OwnedFields { text: None, set: OnceCell::from(set) }
    }
}

impl PartialEq for OwnedFields {
    fn eq(&self, other: &OwnedFields) -> bool {
        self.text().is_some_and(|text| other.text() == Some(text)) || self.set() == other.set()
    }
}

impl Eq for OwnedFields {}
