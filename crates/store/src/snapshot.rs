//! An immutable view of every entry at one revision.
//!
//! It shares all unchanged parts with newer views (a persistent ordered map), so that holding one for a paged or
//! exact-version list costs a pointer, and readers need neither lock nor await. Beside the entries it has their words, so
//! that a list by label or field looks at what it may find and not at everything. Of what comes from the disk at a start the
//! words are read afterwards; until all are there such a list looks at everything.

use std::ops::Bound;

use imbl::{OrdMap, OrdSet};

use crate::{Entry, Key, Term};

/// Every entry as it was at one revision. Cheap to clone; keeps alive what has changed since.
#[derive(Clone)]
pub struct Snapshot {
    revision: u64,
    entries: OrdMap<Key, Entry>,
    words: OrdSet<(Term, Key)>,
    /// Behind this key are entries whose words are missing, if they were not put since; none when all words are there.
    words_until: Option<Key>,
    bytes: usize,
}

impl Snapshot {
    /// No entries, at this revision.
    #[cfg(test)]
    pub(crate) fn empty(revision: u64) -> Snapshot {
        Snapshot { revision, entries: OrdMap::new(), words: OrdSet::new(), words_until: None, bytes: 0 }
    }

    /// All of these, as they were at this revision.
    #[cfg(any(test, feature = "etcd"))]
    pub(crate) fn of(revision: u64, entries: OrdMap<Key, Entry>) -> Snapshot {
        let mut snapshot = Snapshot::without_words(revision, entries);
        snapshot.read_words(usize::MAX);
        snapshot
    }

    /// All of these, as they were at this revision. Their words are read by [`Snapshot::read_words`].
    pub(crate) fn without_words(revision: u64, entries: OrdMap<Key, Entry>) -> Snapshot {
        let bytes = entries.values().map(|entry| entry.bytes()).sum();
        let words_until = (!entries.is_empty()).then(|| Key::from(""));
        Snapshot { revision, entries, words: OrdSet::new(), words_until, bytes }
    }

    /// Whether words are missing, and entries that nobody read since the store was opened.
    pub fn lacks_words(&self) -> bool {
        self.words_until.is_some()
    }

    /// Reads words that are missing, of the next entries of this many bytes, and at least of one.
    pub(crate) fn read_words(&mut self, bytes_max: usize) {
        let Some(until) = self.words_until.take() else { return };
        let mut bytes = 0;
        for (key, entry) in self.entries.range::<_, str>((Bound::Excluded(&*until), Bound::Unbounded)) {
            // Of one that was put since they are there already.
            self.words.extend(entry.terms().into_iter().map(|term| (term, key.clone())));
            bytes += entry.bytes();
            if bytes >= bytes_max {
                self.words_until = Some(key.clone());
                return;
            }
        }
    }

    /// The revision of the newest commit in it.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of all entries, what was made of them apart.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The entry under this very key.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// Entries whose keys begin with the prefix, in the order of key bytes; those after (not at) a key if one is
    /// given, which is how a list is continued. Finding the first costs a descent, each further one a step.
    pub fn range<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a Key, &'a Entry)> + 'a {
        // Behind the last key of the prefix, so that no key needs a look at its beginning.
        let end = behind(prefix);
        let last = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        self.entries.range::<_, str>((first(prefix, after), last))
    }

    /// As [`Snapshot::range`], leaving out entries that do not have one of these words: the rarest, which is found by
    /// walking all of them in step. Who asks looks at what comes, for words only share a hash, and some may be missing.
    pub fn candidates<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        terms: &[Term],
    ) -> Box<dyn Iterator<Item = (&'a Key, &'a Entry)> + Send + 'a> {
        if self.lacks_words() {
            return Box::new(self.range(prefix, after));
        }
        let begin = after.filter(|after| *after >= prefix);
        match rarest(terms.iter().map(|term| self.run(*term, prefix, begin)).collect()).and_then(|at| terms.get(at)) {
            Some(term) => Box::new(self.run(*term, prefix, begin).filter_map(|key| self.entries.get_key_value(&**key))),
            None => Box::new(self.range(prefix, after)),
        }
    }

    /// Keys under the prefix that have the word, in order.
    fn run<'a>(
        &'a self,
        term: Term,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Key> + Send + 'a {
        let first = match after {
            Some(after) => Bound::Excluded((term, Key::from(after))),
            None => Bound::Included((term, Key::from(prefix))),
        };
        let range = self.words.range((first, Bound::Unbounded));
        range.take_while(move |(held, key)| *held == term && key.starts_with(prefix)).map(|(_, key)| key)
    }

    /// Puts an entry, or removes one; gives what was there, and all words that either has.
    pub(crate) fn put(&mut self, key: &Key, current: Option<&Entry>) -> (Option<Entry>, Vec<Term>) {
        let previous = match current {
            Some(entry) => self.entries.insert(key.clone(), entry.clone()),
            None => self.entries.remove(&**key),
        };
        let terms = |entry: Option<&Entry>| entry.map(|entry| entry.terms()).unwrap_or_default();
        let (mut now, before) = (terms(current), terms(previous.as_ref()));
        for term in before.iter().filter(|term| !now.contains(term)) {
            self.words.remove(&(*term, key.clone()));
        }
        for term in now.iter().filter(|term| !before.contains(term)) {
            self.words.insert((*term, key.clone()));
        }
        self.bytes += current.map_or(0, |entry| entry.bytes());
        self.bytes -= previous.as_ref().map_or(0, |entry| entry.bytes());
        let gone: Vec<Term> = before.into_iter().filter(|term| !now.contains(term)).collect();
        now.extend(gone);
        (previous, now)
    }

    pub(crate) fn set_revision(&mut self, revision: u64) {
        self.revision = revision;
    }
}

/// Where a walk of keys with this prefix begins: behind a key if one is given that is not before them all.
pub fn first<'a>(prefix: &'a str, after: Option<&'a str>) -> Bound<&'a str> {
    match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    }
}

/// The first text after all that begin with the prefix; none when that is all there is.
fn behind(prefix: &str) -> Option<String> {
    let mut end: Vec<char> = prefix.chars().collect();
    while let Some(last) = end.pop() {
        // The order of characters is that of their UTF-8 bytes.
        if let Some(next) = (last..=char::MAX).nth(1) {
            end.push(next);
            return Some(end.into_iter().collect());
        }
    }
    None
}

/// The number of the run that ends first; none when there are no runs.
fn rarest(mut runs: Vec<impl Iterator>) -> Option<usize> {
    if runs.is_empty() {
        return None;
    }
    loop {
        for (number, run) in runs.iter_mut().enumerate() {
            if run.next().is_none() {
                return Some(number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::{Budget, Index, IndexBuilder, Text};

    /// An entry with these labels, each one letter and its value one letter.
    fn labelled(version: u64, labels: &'static str) -> Entry {
        let mut builder = IndexBuilder::default();
        for at in (0..labels.len()).step_by(2) {
            builder.label(Text::In(at..at + 1), Text::In(at + 1..at + 2));
        }
        Entry::new(version, version, Bytes::from_static(labels.as_bytes()), builder.finish(), &Arc::new(Budget::new(0)))
    }

    #[test]
    fn words() {
        let mut snapshot = Snapshot::empty(1);
        let put = |snapshot: &mut Snapshot, key: &str, entry: Option<Entry>| {
            snapshot.put(&Key::from(key), entry.as_ref());
        };
        put(&mut snapshot, "/a/x", Some(labelled(2, "p1q1")));
        put(&mut snapshot, "/a/y", Some(labelled(2, "p1q2")));
        put(&mut snapshot, "/a/z", Some(labelled(2, "p2")));
        put(&mut snapshot, "/b/x", Some(labelled(2, "p1")));
        let check =
            |snapshot: &Snapshot, prefix: &str, after: Option<&str>, terms: &[(&str, &str)], expected: &[&str]| {
                let terms: Vec<Term> = terms.iter().map(|(name, value)| Term::label(name, value)).collect();
                let found: Vec<&str> = snapshot.candidates(prefix, after, &terms).map(|(key, _)| &**key).collect();
                assert_eq!(found, expected, "{prefix} {after:?} {terms:?}");
            };
        check(&snapshot, "/", None, &[("p", "1")], &["/a/x", "/a/y", "/b/x"]);
        check(&snapshot, "/a/", None, &[("p", "1")], &["/a/x", "/a/y"]);
        check(&snapshot, "/a/", Some("/a/x"), &[("p", "1")], &["/a/y"]);
        check(&snapshot, "/a/", None, &[("p", "1"), ("q", "2")], &["/a/y"]);
        check(&snapshot, "/a/", None, &[("q", "3"), ("p", "1")], &[]);
        check(&snapshot, "/a/", None, &[], &["/a/x", "/a/y", "/a/z"]);
        put(&mut snapshot, "/a/x", Some(labelled(3, "p2")));
        put(&mut snapshot, "/a/y", None);
        check(&snapshot, "/", None, &[("p", "1")], &["/b/x"]);
        check(&snapshot, "/", None, &[("q", "1")], &[]);
        check(&snapshot, "/", None, &[("p", "2")], &["/a/x", "/a/z"]);
        let bytes: usize = snapshot.range("/", None).map(|(_, entry)| entry.bytes()).sum();
        assert_eq!(snapshot.bytes(), bytes);
    }

    /// What is read later and between changes is what is read at once.
    #[test]
    fn words_that_are_read_later() {
        let labels = ["p1", "p2", "p1q1", "q1", ""];
        let mut state = 7u64;
        let mut random = move |below: usize| {
            state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
            (state >> 33) as usize % below
        };
        let found = |snapshot: &Snapshot, term: Term| -> Vec<Key> {
            let has = |entry: &Entry| entry.terms().contains(&term);
            let candidates = snapshot.candidates("/", None, &[term]);
            candidates.filter(|(_, entry)| has(entry)).map(|(key, _)| key.clone()).collect()
        };
        for round in 0..200 {
            let entries =
                (0..random(60)).map(|number| (Key::from(format!("/{number:02}")), labelled(2, labels[random(5)])));
            let mut snapshot = Snapshot::without_words(2, entries.collect());
            assert_eq!(snapshot.lacks_words(), !snapshot.is_empty());
            let bytes_at_once = 1 + random(3000);
            loop {
                for _ in 0..random(4) {
                    let entry = (random(3) > 0).then(|| labelled(3, labels[random(5)]));
                    snapshot.put(&Key::from(format!("/{:02}", random(70))), entry.as_ref());
                }
                let eager = Snapshot::of(2, snapshot.entries.clone());
                for term in [Term::label("p", "1"), Term::label("p", "2"), Term::label("q", "1")] {
                    assert_eq!(found(&snapshot, term), found(&eager, term), "round {round}");
                }
                if !snapshot.lacks_words() {
                    assert!(snapshot.words == eager.words, "round {round}");
                    break;
                }
                let before = snapshot.words_until.clone();
                snapshot.read_words(bytes_at_once);
                assert_ne!(snapshot.words_until, before, "round {round}");
            }
        }
    }

    #[test]
    fn ranges() {
        let keys = ["/a-b/x", "/a/x", "/a/y", "/a/y/z", "/ab/x", "/b/é"];
        let entry = Entry::new(2, 2, Bytes::new(), Index::default(), &Arc::new(Budget::new(0)));
        let snapshot = Snapshot::of(2, keys.iter().rev().map(|key| (Key::from(*key), entry.clone())).collect());
        let check = |prefix: &str, after: Option<&str>, expected: &[&str]| {
            let found: Vec<&str> = snapshot.range(prefix, after).map(|(key, _)| &**key).collect();
            assert_eq!(found, expected, "prefix {prefix:?} after {after:?}");
        };
        check("", None, &keys);
        check("/a/", None, &["/a/x", "/a/y", "/a/y/z"]);
        check("/a", None, &["/a-b/x", "/a/x", "/a/y", "/a/y/z", "/ab/x"]);
        check("/a/", Some("/a/x"), &["/a/y", "/a/y/z"]);
        check("/a/", Some("/a/xx"), &["/a/y", "/a/y/z"]);
        check("/a/", Some("/a/y/z"), &[]);
        check("/a/", Some("/"), &["/a/x", "/a/y", "/a/y/z"]);
        check("/a/", Some("/b"), &[]);
        check("/b/\u{e9}", None, &["/b/é"]);
        check("/c", None, &[]);
        check("/a/y\u{d7ff}", None, &[]);
        check("\u{10ffff}", None, &[]);
        assert_eq!(behind("/a/").as_deref(), Some("/a0"));
        assert_eq!(behind("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(behind("\u{10ffff}"), None);
    }

    /// Ranges that begin and end anywhere in a map of several levels, empty ones and ones turned round among them.
    #[test]
    fn ranges_of_many() {
        let keys: Vec<String> = (0..4000).map(|number| format!("/{:02}/{number:04}", number / 40 * 3 % 97)).collect();
        let entry = Entry::new(2, 2, Bytes::new(), Index::default(), &Arc::new(Budget::new(0)));
        let snapshot = Snapshot::of(2, keys.iter().map(|key| (Key::from(key.as_str()), entry.clone())).collect());
        for number in 0..100 {
            let prefix = format!("/{number:02}/");
            for after in [None, Some("/"), Some("/50/2000"), Some("/98"), Some("/99/z")] {
                let walked = snapshot.range(&prefix, after).map(|(key, _)| key.to_string());
                let all = snapshot.range("", None).map(|(key, _)| key.to_string());
                let expected =
                    all.filter(|key| key.starts_with(&prefix) && after.is_none_or(|after| key.as_str() > after));
                assert!(walked.eq(expected), "{prefix} {after:?}");
            }
        }
    }
}
