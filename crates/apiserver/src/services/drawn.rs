//! What requests on their way have drawn and not committed yet, so that two requests of this server do not draw the same. It only saves
//! them a second attempt: that nothing is given out twice, the commit says, to other servers too.

use std::collections::HashSet;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// What is drawn now.
pub(crate) struct Drawn<T>(Arc<Mutex<HashSet<T>>>);

impl<T> Default for Drawn<T> {
    fn default() -> Self {
        Drawn(Arc::default())
    }
}

impl<T: Hash + Eq + Copy> Drawn<T> {
    /// Keeps others from drawing this until it is dropped; none when another has drawn it.
    pub(crate) fn keep(&self, value: T) -> Option<Kept<T>> {
        let is_first = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(value);
        is_first.then(|| Kept { of: Arc::clone(&self.0), value })
    }

    /// All of it.
    pub(crate) fn all(&self) -> Vec<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }
}

/// One that is drawn.
pub(crate) struct Kept<T: Hash + Eq> {
    of: Arc<Mutex<HashSet<T>>>,
    value: T,
}

impl<T: Hash + Eq> Drop for Kept<T> {
    fn drop(&mut self) {
        self.of.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.value);
    }
}

impl<T: Hash + Eq + fmt::Debug> fmt::Debug for Kept<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_is_kept_until_it_is_dropped() {
        let drawn = Drawn::default();
        let kept = drawn.keep(7);
        assert!(kept.is_some() && drawn.keep(7).is_none() && drawn.keep(8).is_some());
        assert_eq!(drawn.all(), [7]);
        drop(kept);
        assert!(drawn.all().is_empty() && drawn.keep(7).is_some());
    }
}
