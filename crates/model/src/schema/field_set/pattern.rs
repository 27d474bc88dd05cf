//! What of a set begins with one of a few paths that may leave steps open.

use super::{PathSet, StepKind, mark_what_leads_on};

/// A path of field names. A step that says none is any step.
pub type Pattern = Vec<Option<Box<str>>>;

/// Most patterns that are looked for at once.
const PATTERNS_MAX: usize = 32;

impl PathSet {
    /// The paths that begin with one of these, of which the first 32 count.
    pub fn into_matching(self, patterns: &[Pattern]) -> PathSet {
        let patterns = patterns.get(..PATTERNS_MAX).unwrap_or(patterns);
        let all = patterns.iter().enumerate().fold(0u32, |all, (at, _)| all | 1 << at);
        // By depth, which patterns the steps so far begin with.
        let mut open: Vec<u32> = Vec::new();
        let mut stays = Vec::with_capacity(self.lines.len());
        for line in &self.lines {
            let above = line.depth.saturating_sub(1) as usize;
            open.truncate(above);
            let step = self.step(line);
            let is_next = |pattern: &Pattern| match pattern.get(above) {
                // All of it was met above.
                None | Some(None) => true,
                Some(Some(name)) => step.kind == StepKind::Field && *step.text == **name,
            };
            let mut met = open.last().copied().unwrap_or(all);
            for (at, _) in patterns.iter().enumerate().filter(|(_, pattern)| !is_next(pattern)) {
                met &= !(1 << at);
            }
            open.push(met);
            let is_whole = |at: usize, pattern: &Pattern| met & 1 << at != 0 && pattern.len() <= line.depth as usize;
            stays.push(line.is_member && patterns.iter().enumerate().any(|(at, pattern)| is_whole(at, pattern)));
        }
        self.keep(stays)
    }

    /// The lines that stay as members, and what leads to them.
    pub(super) fn keep(mut self, mut stays: Vec<bool>) -> PathSet {
        for (line, is_member) in self.lines.iter_mut().zip(&stays) {
            line.is_member = *is_member;
        }
        mark_what_leads_on(self.lines.iter().map(|line| line.depth), &mut stays);
        let mut stays = stays.into_iter();
        self.lines.retain(|_| stays.next().unwrap_or_default());
        self
    }
}
