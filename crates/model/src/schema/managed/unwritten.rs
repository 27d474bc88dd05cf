//! What a door to an object does not write, and who comes through it therefore does not own (upstream: `IgnoredFields` and
//! `IgnoreFilter` of structured-merge-diff's `Updater`).

use super::super::field_set::{PathSet, Pattern};
use super::{Comparison, stripped};

/// Paths that a door does not write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unwritten {
    /// These, with all below them.
    Below(PathSet),
    /// All that these do not match.
    AllBut(Vec<Pattern>),
}

impl Default for Unwritten {
    /// Everything is written.
    fn default() -> Unwritten {
        Unwritten::Below(PathSet::default())
    }
}

impl From<PathSet> for Unwritten {
    fn from(paths: PathSet) -> Unwritten {
        Unwritten::Below(paths)
    }
}

impl Unwritten {
    /// What of a set is written.
    pub(super) fn cut(&self, set: PathSet) -> PathSet {
        self.cut_but(set, &PathSet::default())
    }

    /// What of a set is written and can be owned.
    pub(super) fn cut_ownable(&self, set: PathSet) -> PathSet {
        self.cut_but(set, stripped())
    }

    fn cut_but(&self, set: PathSet, exact: &PathSet) -> PathSet {
        match self {
            Unwritten::Below(below) => set.into_difference(below, exact),
            Unwritten::AllBut(patterns) => set.into_matching(patterns).into_difference(&PathSet::default(), exact),
        }
    }

    /// What of a difference is written.
    pub(super) fn cut_comparison(&self, comparison: Comparison) -> Comparison {
        Comparison { changed: self.cut(comparison.changed), removed: self.cut(comparison.removed) }
    }

    /// What a change takes from others.
    pub(super) fn cut_taken(&self, comparison: &Comparison) -> PathSet {
        self.cut(comparison.changed.union(&comparison.removed))
    }
}
