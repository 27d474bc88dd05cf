//! Finding keys of long maps. A map is a list of links, which is right for the few labels that objects have; whoever sends a hundred
//! thousand, and as many that are looked up in them, must not make anybody walk the links each time.
//!
//! The first look into a long map notes its keys, for those after it, until the map is changed. Who puts keys in one after the other, as
//! whoever walks another map does, goes on where the last one went, and so does who appends to a list.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::{NONE, NodeId, Tree};

/// Entries of a map that is walked.
const WALKED_MAX: usize = 32;
/// Long maps whose keys are noted at a time.
const NOTED_MAX: usize = 8;

/// Lists whose ends are known at a time.
const LISTS_MAX: usize = 4;

/// What is known of the maps and lists of one tree.
#[derive(Debug, Default)]
pub(super) struct Seek {
    /// Long maps, each with the nodes of its keys in their order; the newest last.
    noted: Mutex<VecDeque<(NodeId, Vec<u32>)>>,
    /// The key that was put in last, and its map.
    put: Option<(NodeId, u32)>,
    /// Elements that were appended last to their lists; the newest last. Lists in elements of a list grow by turns with it.
    appended: [Option<(NodeId, u32)>; LISTS_MAX],
}

impl Clone for Seek {
    /// A copy finds out for itself.
    fn clone(&self) -> Seek {
        Seek::default()
    }
}

impl Seek {
    /// A map or list is another one, or has other entries.
    #[inline]
    pub(super) fn forget(&mut self, changed: NodeId) {
        let all = std::iter::once(&mut self.put).chain(&mut self.appended);
        all.filter(|held| held.is_some_and(|(of, _)| of == changed)).for_each(|held| *held = None);
        let noted = self.noted.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !noted.is_empty() {
            noted.retain(|(of, _)| *of != changed);
        }
    }

    /// A key was put into a map that has it in its place.
    pub(super) fn note_put(&mut self, map: NodeId, key: u32) {
        self.put = Some((map, key));
    }

    /// An element was appended to a list.
    pub(super) fn note_appended(&mut self, list: NodeId, element: u32) {
        let held = self.appended.iter().position(|held| held.is_some_and(|(of, _)| of == list));
        if let Some(newer) = self.appended.get_mut(held.unwrap_or_default()..) {
            newer.rotate_left(1);
        }
        if let Some(newest) = self.appended.last_mut() {
            *newest = Some((list, element));
        }
    }

    /// An element of the list from which its end is looked for; nothing when that is its first.
    pub(super) fn near_end(&self, list: NodeId) -> u32 {
        let mut all = self.appended.iter().flatten();
        all.find(|(of, _)| *of == list).map_or(NONE, |(_, last)| *last)
    }

    /// A key of the map that stands before `key`, from which to go on; nothing when it is as well to begin with the first.
    pub(super) fn before(&self, tree: &Tree, map: NodeId, key: &str) -> u32 {
        let last = self.put.filter(|(of, last)| *of == map && tree.node_text(tree.node(NodeId(*last))) < key);
        last.map_or(NONE, |(_, last)| last)
    }

    /// The node of a key of a long map; none for one that is not there.
    fn find(&self, tree: &Tree, map: NodeId, key: &str) -> Option<u32> {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if !noted.iter().any(|(of, _)| *of == map) {
            if noted.len() == NOTED_MAX {
                noted.pop_front();
            }
            noted.push_back((map, tree.keys(map)));
        }
        let (_, keys) = noted.iter().find(|(of, _)| *of == map)?;
        let found = keys.binary_search_by(|node| tree.node_text(tree.node(NodeId(*node))).cmp(key));
        keys.get(found.ok()?).copied()
    }
}

impl Tree {
    /// The value of a key of a map.
    pub fn get(&self, map: NodeId, key: &str) -> Option<NodeId> {
        if self.len(map) > WALKED_MAX {
            return self.seek.find(self, map, key).map(|key| NodeId(key + 1));
        }
        self.entries(map).find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    fn keys(&self, map: NodeId) -> Vec<u32> {
        self.entries(map).map(|(_, NodeId(value))| value - 1).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::TypeId;
    use crate::tree::Scalar;

    #[test]
    fn long_maps_say_what_short_ones_do() {
        for count in [3, WALKED_MAX, WALKED_MAX + 1, 1_000] {
            let mut tree = Tree::new(TypeId(0));
            let maps: Vec<NodeId> = (0..NOTED_MAX as u16 + 2).map(|field| tree.map_at(NodeId(0), field)).collect();
            let name = |at: usize| format!("k{:05}", at * 2);
            for map in &maps {
                // Neither rising nor falling.
                for at in 0..count {
                    tree.insert(*map, &name(at * 7919 % count), "a");
                }
            }
            let check = |tree: &Tree, map: NodeId, key: &str, expected: Option<&str>| {
                assert_eq!(tree.get(map, key).and_then(|node| tree.string(node)), expected, "{count} {key}");
            };
            for map in &maps {
                let keys: Vec<&str> = tree.entries(*map).map(|(key, _)| key).collect();
                assert!(keys.is_sorted() && keys.len() == count, "{count}");
                (0..count).rev().for_each(|at| check(&tree, *map, &name(at), Some("a")));
                check(&tree, *map, "k00001", None);
                check(&tree, *map, "z", None);
            }
            let [first, second, ..] = *maps else { continue };
            // What is changed is seen: another value, a key more, a key less, another map in the place.
            tree.insert(first, &name(1), "b");
            check(&tree, first, &name(1), Some("b"));
            tree.insert(first, "k00001", "c");
            check(&tree, first, "k00001", Some("c"));
            assert!(tree.remove_key(first, &name(1)));
            check(&tree, first, &name(1), None);
            tree.insert(first, &name(1), "d");
            check(&tree, first, &name(1), Some("d"));
            check(&tree.clone(), first, &name(1), Some("d"));
            check(&tree, second, &name(1), Some("a"));
            let copied = tree.clone();
            let grafted = tree.graft(NodeId(0), 0, &copied, second);
            check(&tree, grafted, &name(1), Some("a"));
            check(&tree, grafted, "k00001", None);
        }
    }

    #[test]
    fn elements_are_appended_where_the_last_one_was() {
        const COUNT: usize = 100_000;
        let mut tree = Tree::new(TypeId(0));
        let lists = [tree.list_at(NodeId(0), 0), tree.list_at(NodeId(0), 1)];
        for list in lists {
            for at in 0..COUNT {
                let element = tree.append_object(list, TypeId(0));
                tree.set(element, 0, Scalar::Int(at as i64));
            }
            tree.append_strings(list, ["s", "t"]);
            tree.append(list, Scalar::Int(1));
            assert_eq!((tree.children(list).count(), tree.len(list)), (COUNT + 3, COUNT + 3));
        }
        let [list, _] = lists;
        tree.retain(list, |tree, node| tree.string(node) == Some("s"));
        tree.append(list, Scalar::Int(2));
        assert_eq!((tree.children(list).count(), tree.len(list)), (2, 2));
        // Another list in the place of one.
        let mut other = Tree::new(TypeId(0));
        let none = other.list_at(NodeId(0), 0);
        let grafted = tree.graft(NodeId(0), 0, &other, none);
        assert_eq!(grafted, list);
        tree.append(list, Scalar::Int(3));
        assert_eq!(tree.children(list).filter_map(|node| tree.int(node)).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn keys_that_rise_are_put_in_where_the_last_one_was() {
        const COUNT: usize = 100_000;
        let mut tree = Tree::new(TypeId(0));
        let map = tree.map_at(NodeId(0), 0);
        for round in ["a", "b"] {
            for at in 0..COUNT {
                tree.insert(map, &format!("k{at:06}"), round);
            }
            let mut last = String::new();
            (0..COUNT).rev().for_each(|at| {
                let found = tree.get(map, &format!("k{at:06}")).and_then(|node| tree.string(node));
                found.unwrap_or("none").clone_into(&mut last);
                assert_eq!(last, round);
            });
        }
        assert_eq!(tree.len(map), COUNT);
    }
}
