//! A set of paths that is made of steps in any order.

use super::{Line, PathSet, Step};

/// A set that is being made. Parents come before their children; siblings in any order.
#[derive(Debug, Default)]
pub struct PathSetBuilder {
    /// The lines as they came, which is not yet their order.
    given: PathSet,
    /// Of each line, the one that it is below, and whether there is one below it.
    links: Vec<Link>,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    parent: Option<u32>,
    has_more: bool,
}

impl PathSetBuilder {
    /// Adds a step below a line, or at the top, and gives its line.
    pub fn push(&mut self, parent: Option<u32>, step: Step<'_>, is_member: bool) -> u32 {
        if let Some(link) = parent.and_then(|parent| self.links.get_mut(parent as usize)) {
            link.has_more = true;
        }
        let depth = parent.and_then(|parent| self.line(parent)).map_or(1, |line| line.depth + 1);
        self.given.push(depth, step, is_member);
        self.links.push(Link { parent, has_more: false });
        (self.links.len() - 1) as u32
    }

    /// The number of lines so far.
    pub(super) fn len(&self) -> usize {
        self.links.len()
    }

    /// Makes the path that ends in a line a member.
    pub fn mark(&mut self, line: u32) {
        if let Some(line) = self.given.lines.get_mut(line as usize) {
            line.is_member = true;
        }
    }

    /// Makes the path a member when nothing is below it.
    pub(super) fn end(&mut self, line: u32) {
        if self.links.get(line as usize).is_some_and(|link| !link.has_more) {
            self.mark(line);
        }
    }

    fn line(&self, at: u32) -> Option<&Line> {
        self.given.lines.get(at as usize)
    }

    fn parent(&self, at: u32) -> Option<u32> {
        self.links.get(at as usize).and_then(|link| link.parent)
    }

    /// What tells a line from others: no two under one parent have the same step.
    fn key(&self, at: u32) -> (Option<u32>, Option<Step<'_>>) {
        (self.parent(at), self.line(at).map(|line| self.given.step(line)))
    }

    /// The order in which siblings are to stand, by their parents.
    fn sorted(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.links.len() as u32).collect();
        order.sort_by(|a, b| self.key(*a).cmp(&self.key(*b)));
        order
    }

    /// Whether a step is twice under one parent.
    pub(super) fn is_doubled(&self) -> bool {
        self.sorted().windows(2).any(|pair| matches!(pair, [a, b] if self.key(*a) == self.key(*b)))
    }

    /// The set. No step may be twice under one parent.
    pub fn finish(self) -> PathSet {
        let order = self.sorted();
        // Where the children of each line begin in `order`; the top is number 0.
        let mut children = vec![0u32..0u32; self.links.len() + 1];
        for (position, at) in (0u32..).zip(&order) {
            if let Some(range) = children.get_mut(self.parent(*at).map_or(0, |parent| parent as usize + 1)) {
                if range.start == range.end {
                    *range = position..position;
                }
                range.end = position + 1;
            }
        }
        let mut walked = Vec::with_capacity(order.len());
        let mut open = vec![children.first().cloned().unwrap_or_default()];
        while let Some(range) = open.last_mut() {
            let Some(position) = range.next() else {
                open.pop();
                continue;
            };
            let Some(at) = order.get(position as usize).copied() else { continue };
            walked.extend(self.line(at).map(|line| (&self.given, *line)));
            open.push(children.get(at as usize + 1).cloned().unwrap_or_default());
        }
        PathSet::of_walk(&walked)
    }
}
