//! A set as a trie, for who walks an object beside it.

use super::{Line, PathSet, Step};

/// What a set has below one path.
#[derive(Clone, Copy, Debug)]
pub struct Below<'a> {
    set: &'a PathSet,
    lines: &'a [Line],
}

impl PathSet {
    /// The set from its top.
    pub fn top(&self) -> Below<'_> {
        Below { set: self, lines: &self.lines }
    }
}

impl<'a> Below<'a> {
    /// Whether there is nothing.
    pub fn is_empty(self) -> bool {
        self.lines.is_empty()
    }

    /// The next steps in their order: whether the path that ends there is in the set, and what the set has below it.
    pub fn steps(self) -> impl Iterator<Item = (Step<'a>, bool, Below<'a>)> {
        let Below { set, lines: mut rest } = self;
        std::iter::from_fn(move || {
            let (line, after) = rest.split_first()?;
            let len = after.iter().take_while(|next| next.depth > line.depth).count();
            let (below, next) = after.split_at(len);
            rest = next;
            Some((set.step(line), line.is_member, Below { set, lines: below }))
        })
    }
}

impl PathSet {
    /// The paths as texts, as upstream shows them: `.spec.ports[port=80,protocol="TCP"].name`.
    pub fn paths(&self) -> Vec<String> {
        let mut bytes_left = usize::MAX;
        self.paths_within(&mut bytes_left)
    }

    /// The first paths, until they take so many bytes, which are counted down: a long step is in the text of every path below it.
    pub fn paths_within(&self, bytes_left: &mut usize) -> Vec<String> {
        let (mut paths, mut path, mut ends) = (Vec::new(), String::new(), Vec::new());
        for line in &self.lines {
            if *bytes_left == 0 {
                break;
            }
            // The steps above this line stay.
            ends.truncate(line.depth.saturating_sub(1) as usize);
            path.truncate(ends.last().copied().unwrap_or_default());
            self.step(line).push_shown(&mut path);
            ends.push(path.len());
            if line.is_member {
                *bytes_left = bytes_left.saturating_sub(path.len());
                paths.push(path.clone());
            }
        }
        paths
    }
}

impl Step<'_> {
    /// The step as text: `.name`, `[name="a"]`.
    pub fn shown(self) -> String {
        let mut path = String::new();
        self.push_shown(&mut path);
        path
    }
}
