//! Trees while they are being read: children are linked as they come, and put in order at the end of their container.

use super::{NONE, NodeId, Tree};
use crate::schema::{FIELDS_MAX, FieldSet};
use crate::tree::flag;

/// A container that is being read, with what hangs on it so far. Children are linked as they come and put in order at its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Open {
    pub node: u32,
    /// The child that has nothing behind it; 0 when there is none.
    pub last: u32,
    /// The largest field number so far.
    highest: u16,
    /// Whether the children did not come in order.
    pub unordered: bool,
}

impl Open {
    #[inline(always)]
    pub const fn new(node: u32) -> Open {
        Open { node, last: NONE, highest: 0, unordered: false }
    }

    /// A container that was read before and gets more children.
    pub fn again(tree: &Tree, node: u32) -> Open {
        Open { node, last: tree.last_child(node), highest: 0, unordered: true }
    }

    /// Links the newest node of the arena as the field of this number, which the object must not have yet, and gives its number.
    #[inline(always)]
    pub fn link_field(&mut self, tree: &mut Tree, number: u16) -> u32 {
        self.unordered |= number < self.highest;
        self.highest = number;
        self.link(tree)
    }

    /// Links the newest node of the arena behind the last child, and gives its number.
    #[inline(always)]
    pub fn link(&mut self, tree: &mut Tree) -> u32 {
        let new = tree.newest();
        if self.last == NONE {
            tree.nodes[self.node as usize].a = new;
        } else {
            tree.nodes[self.last as usize].next = new;
        }
        self.last = new;
        new
    }

    /// The child that is the field of this number, while the children may not be in order.
    #[cold]
    pub fn find(&self, tree: &Tree, number: u16) -> Option<u32> {
        let mut children = tree.children(NodeId(self.node));
        children.find(|child| tree.field_number(*child) == number).map(|child| child.0)
    }

    /// Takes out a field that comes again.
    #[cold]
    pub fn remove(&mut self, tree: &mut Tree, number: u16) {
        tree.remove(NodeId(self.node), number);
        self.last = tree.last_child(self.node);
    }
}

impl Tree {
    /// The child that has nothing behind it; 0 when there is none.
    pub(crate) fn last_child(&self, container: u32) -> u32 {
        let (mut last, mut at) = (NONE, self.nodes[container as usize].a);
        while at != NONE {
            (last, at) = (at, self.nodes[at as usize].next);
        }
        last
    }

    /// Counts the entries of a map that was read.
    pub(crate) fn count_entries(&mut self, map: u32) {
        let (mut count, mut at) = (0, self.nodes[map as usize].a);
        while at != NONE {
            count += 1;
            at = self.nodes[at as usize].next;
        }
        self.nodes[map as usize].b = count;
    }

    /// Sorts the entries of a map that was read, drops all but the last of equal keys, and gives those that came again, in the order in
    /// which they were read. `more` are maps whose entries are taken into it.
    ///
    /// While a JSON text is being read it is not in the tree yet, so it is given as `source`.
    pub(crate) fn sort_map(&mut self, map: u32, more: impl Iterator<Item = u32>, source: &str) -> Vec<u32> {
        let mut keys: Vec<u32> = Vec::new();
        for map in std::iter::once(map).chain(more) {
            let mut at = self.nodes[map as usize].a;
            while at != NONE {
                keys.push(at);
                at = self.nodes[at as usize].next;
            }
        }
        keys.sort_by(|a, b| self.key_text(*a, source).cmp(self.key_text(*b, source)).then(a.cmp(b)));
        let mut kept: Vec<u32> = Vec::with_capacity(keys.len());
        let mut again = Vec::new();
        for key in keys {
            match kept.last_mut() {
                Some(last) if self.key_text(*last, source) == self.key_text(key, source) => {
                    *last = key;
                    again.push(key);
                }
                _ => kept.push(key),
            }
        }
        self.link(NodeId(map), &kept);
        again.sort_unstable();
        again
    }

    /// Brings the children of an object that was read into declared order. Each field is there once at most.
    pub(crate) fn sort_fields(&mut self, object: u32) {
        let mut by_number = [NONE; FIELDS_MAX];
        let mut held = FieldSet::default();
        let mut at = self.nodes[object as usize].a;
        while at != NONE {
            let node = &self.nodes[at as usize];
            by_number[node.field as usize % FIELDS_MAX] = at;
            held.insert(node.field);
            at = node.next;
        }
        let mut before = NONE;
        for (half, base) in [(held.0 as u64, 0), ((held.0 >> 64) as u64, 64)] {
            let mut rest = half;
            while rest != 0 {
                let next = by_number[(base + rest.trailing_zeros() as usize) % FIELDS_MAX];
                match before {
                    NONE => self.nodes[object as usize].a = next,
                    before => self.nodes[before as usize].next = next,
                }
                before = next;
                rest &= rest - 1;
            }
        }
        if before != NONE {
            self.nodes[before as usize].next = NONE;
        }
    }

    /// The text of a key while its source may not be in the tree yet.
    pub(crate) fn key_text<'t>(&'t self, key: u32, source: &'t str) -> &'t str {
        let node = &self.nodes[key as usize];
        let buffer = if node.flags & flag::SIDE != 0 { self.side.as_str() } else { source };
        buffer.get(node.a as usize..(node.a + node.b) as usize).unwrap_or_default()
    }
}
