//! A set as a trie, for who walks an object beside it.

use super::{Line, PathSet, Step};

/// A set with the place where what is below each of its lines ends.
#[derive(Debug)]
pub struct Trie<'a> {
    set: &'a PathSet,
    ends: Vec<u32>,
}

/// What a set has below one path.
#[derive(Clone, Copy, Debug)]
pub struct Below<'a> {
    trie: &'a Trie<'a>,
    start: u32,
    end: u32,
}

impl PathSet {
    /// The set for walks from its top. Each line is looked at once, however deep it stands.
    pub fn trie(&self) -> Trie<'_> {
        let mut ends = vec![self.lines.len() as u32; self.lines.len()];
        let mut open: Vec<(u32, usize)> = Vec::new();
        for (at, line) in self.lines.iter().enumerate() {
            while let Some((_, before)) = open.pop_if(|(depth, _)| *depth >= line.depth) {
                if let Some(end) = ends.get_mut(before) {
                    *end = at as u32;
                }
            }
            open.push((line.depth, at));
        }
        Trie { set: self, ends }
    }
}

impl Trie<'_> {
    /// The set from its top.
    pub fn top(&self) -> Below<'_> {
        Below { trie: self, start: 0, end: self.ends.len() as u32 }
    }
}

impl<'a> Below<'a> {
    /// Whether there is nothing.
    pub fn is_empty(self) -> bool {
        self.start >= self.end
    }

    /// The next steps in their order: whether the path that ends there is in the set, and what the set has below it.
    pub fn steps(self) -> impl Iterator<Item = (Step<'a>, bool, Below<'a>)> {
        let Below { trie, start: mut at, end } = self;
        std::iter::from_fn(move || {
            let line: &Line = trie.set.lines.get(at as usize).filter(|_| at < end)?;
            let next = *trie.ends.get(at as usize)?;
            let below = Below { trie, start: at + 1, end: next };
            at = next;
            Some((trie.set.step(line), line.is_member, below))
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
    ///
    /// They stand in the order in which upstream walks a set: first the paths that end at a place, then those that lead on from it.
    pub fn paths_within(&self, bytes_left: &mut usize) -> Vec<String> {
        let trie = self.trie();
        let (mut paths, mut path) = (Vec::new(), String::new());
        // What leads on, with how much of the path it stands behind.
        let mut open: Vec<(usize, Option<Step<'_>>, Below<'_>)> = vec![(0, None, trie.top())];
        while let Some((len, step, below)) = open.pop() {
            path.truncate(len);
            if let Some(step) = step {
                step.push_shown(&mut path);
            }
            let (len, first) = (path.len(), open.len());
            for (step, is_member, below) in below.steps() {
                if *bytes_left == 0 {
                    return paths;
                }
                if is_member {
                    let mut path = path.clone();
                    step.push_shown(&mut path);
                    *bytes_left = bytes_left.saturating_sub(path.len());
                    paths.push(path);
                }
                if !below.is_empty() {
                    open.push((len, Some(step), below));
                }
            }
            if let Some(found) = open.get_mut(first..) {
                found.reverse();
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
