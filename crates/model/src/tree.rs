//! The object tree: one arena an object, 16 bytes a node, first-child and next-sibling links.
//!
//! Strings are offsets into the request's own text or into a side buffer, so reading an object copies nothing that it can point at.
//! What holds after every decode and every change:
//! - the children of an object stand in the declared order of its type, each field at most once;
//! - the entries of a map stand in the byte order of their keys, each key at most once;
//! - free JSON ([`Kind::Raw`]) is compact and escaped as Go writes it.
//!
//! A tree does not know its schema: a node holds a field's number, and whoever walks the tree walks the types beside it.
//! Replaced nodes stay in the arena until the tree is dropped; a tree lives as long as one request.

mod open;
mod seek;

use crate::schema::TypeId;
pub(crate) use open::Open;
use seek::Seek;

/// The number of a node in its tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) u32);

/// "No node": the root is never anybody's child or sibling.
const NONE: u32 = 0;

/// What a node holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// JSON `null` where it is a value: an element of a list or map. A field that is null is absent.
    Null,
    /// A boolean.
    Bool,
    /// A whole number.
    Int,
    /// A floating point number.
    Float,
    /// A string; base64 text and quantities too.
    String,
    /// Free JSON, as text.
    Raw,
    /// Seconds since 1970 in UTC.
    Time,
    /// Microseconds since 1970 in UTC.
    MicroTime,
    /// A struct.
    Object,
    /// A list.
    List,
    /// A map. Its children are keys, each followed in the arena by its value.
    Map,
    /// A key of a map.
    Key,
}

/// Flags of a text node.
pub(crate) mod flag {
    /// The text is in the side buffer.
    pub const SIDE: u8 = 1;
    /// The text has bytes that JSON output must escape.
    pub const ESCAPE: u8 = 2;
}

/// One node. For text, `a` and `b` are offset and length; for numbers, the two halves of 64 bits; for an object, the first child and
/// the type; for lists and maps, the first child and the count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    pub kind: Kind,
    pub flags: u8,
    pub field: u16,
    pub a: u32,
    pub b: u32,
    pub next: u32,
}

impl Node {
    pub const fn new(kind: Kind, field: u16) -> Node {
        Node { kind, flags: 0, field, a: 0, b: 0, next: NONE }
    }
    #[inline]
    pub const fn number(kind: Kind, field: u16, value: i64) -> Node {
        Node { kind, flags: 0, field, a: value as u32, b: (value >> 32) as u32, next: NONE }
    }
    #[inline]
    pub const fn text(kind: Kind, field: u16, flags: u8, offset: u32, len: u32) -> Node {
        Node { kind, flags, field, a: offset, b: len, next: NONE }
    }
    #[inline]
    pub const fn value(&self) -> i64 {
        (self.a as u64 | (self.b as u64) << 32) as i64
    }
}

/// A value to be put in a tree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar<'a> {
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A floating point number.
    Float(f64),
    /// A string.
    String(&'a str),
    /// Seconds since 1970 in UTC.
    Time(i64),
    /// Microseconds since 1970 in UTC.
    MicroTime(i64),
    /// Free JSON that is compact and escaped already.
    Raw(&'a str),
}

/// An object, or any other value, as a tree.
#[derive(Clone, Debug)]
pub struct Tree {
    pub(crate) nodes: Vec<Node>,
    pub(crate) source: String,
    pub(crate) side: String,
    /// Objects and their fields that are absent because the map in them was written empty.
    pub(crate) emptied: Vec<(NodeId, u16)>,
    seek: Seek,
}

impl Tree {
    /// An empty object of a type.
    pub fn new(ty: TypeId) -> Tree {
        let mut root = Node::new(Kind::Object, 0);
        root.b = ty.0 as u32;
        let (source, side) = (String::new(), String::new());
        Tree { nodes: vec![root], source, side, emptied: Vec::new(), seek: Seek::default() }
    }

    /// Whether a field is absent because an empty map was written in it. It means the same; upstream shows it as `{}` when it complains
    /// of it, and an absent one as `null`.
    pub fn was_emptied(&self, object: NodeId, number: u16) -> bool {
        self.emptied.contains(&(object, number)) && self.field(object, number).is_none()
    }

    /// Whether an empty map or list was written anywhere that is absent now.
    pub fn has_emptied(&self) -> bool {
        !self.emptied.is_empty()
    }

    /// The whole value.
    #[inline]
    pub fn root(&self) -> NodeId {
        NodeId(0)
    }

    #[inline]
    pub(crate) fn node(&self, id: NodeId) -> &Node {
        // Ids come from this tree; an id of another one reads the root rather than out of bounds.
        self.nodes.get(id.0 as usize).unwrap_or(&self.nodes[0])
    }

    /// The bytes of text that it was made of, about as many as it has when it is written.
    pub fn text_len(&self) -> usize {
        self.source.len() + self.side.len()
    }

    /// What the node holds.
    #[inline]
    pub fn kind(&self, id: NodeId) -> Kind {
        self.node(id).kind
    }

    /// The number of the field that the node is in its object.
    #[inline]
    pub fn field_number(&self, id: NodeId) -> u16 {
        self.node(id).field
    }

    /// The type of an object node.
    #[inline]
    pub fn object_type(&self, id: NodeId) -> Option<TypeId> {
        let node = self.node(id);
        (node.kind == Kind::Object).then_some(TypeId(node.b as u16))
    }

    /// The number of elements of a list or entries of a map; 0 for anything else.
    #[inline]
    pub fn len(&self, id: NodeId) -> usize {
        let node = self.node(id);
        if matches!(node.kind, Kind::List | Kind::Map) { node.b as usize } else { 0 }
    }

    /// Whether a list, map or object has nothing in it.
    #[inline]
    pub fn is_empty(&self, id: NodeId) -> bool {
        let node = self.node(id);
        matches!(node.kind, Kind::List | Kind::Map | Kind::Object) && node.a == NONE
    }

    #[inline]
    pub(crate) fn node_text(&self, node: &Node) -> &str {
        let buffer = if node.flags & flag::SIDE != 0 { &self.side } else { &self.source };
        let start = node.a as usize;
        buffer.get(start..start + node.b as usize).unwrap_or_default()
    }

    /// The text of a string, key or free JSON node.
    #[inline]
    pub fn text(&self, id: NodeId) -> Option<&str> {
        let node = self.node(id);
        matches!(node.kind, Kind::String | Kind::Key | Kind::Raw).then(|| self.node_text(node))
    }

    /// The text of a string node.
    #[inline]
    pub fn string(&self, id: NodeId) -> Option<&str> {
        let node = self.node(id);
        (node.kind == Kind::String).then(|| self.node_text(node))
    }

    /// The number of a whole number node.
    #[inline]
    pub fn int(&self, id: NodeId) -> Option<i64> {
        let node = self.node(id);
        (node.kind == Kind::Int).then(|| node.value())
    }

    /// The value of a boolean node.
    #[inline]
    pub fn bool(&self, id: NodeId) -> Option<bool> {
        let node = self.node(id);
        (node.kind == Kind::Bool).then_some(node.a != 0)
    }

    /// The value of a floating point node.
    pub fn float(&self, id: NodeId) -> Option<f64> {
        let node = self.node(id);
        (node.kind == Kind::Float).then(|| f64::from_bits(node.value() as u64))
    }

    /// Seconds since 1970 of a time node.
    #[inline]
    pub fn time(&self, id: NodeId) -> Option<i64> {
        let node = self.node(id);
        (node.kind == Kind::Time).then(|| node.value())
    }

    /// Microseconds since 1970 of a micro time node.
    pub fn micro_time(&self, id: NodeId) -> Option<i64> {
        let node = self.node(id);
        (node.kind == Kind::MicroTime).then(|| node.value())
    }

    /// The child of an object that is the field of this number.
    #[inline]
    pub fn field(&self, object: NodeId, number: u16) -> Option<NodeId> {
        let node = self.node(object);
        if node.kind != Kind::Object {
            return None;
        }
        let mut at = node.a;
        while at != NONE {
            let child = &self.nodes[at as usize];
            if child.field >= number {
                return (child.field == number).then_some(NodeId(at));
            }
            at = child.next;
        }
        None
    }

    /// The children of an object, or the elements of a list.
    #[inline]
    pub fn children(&self, id: NodeId) -> Children<'_> {
        let node = self.node(id);
        let first = if matches!(node.kind, Kind::Object | Kind::List) { node.a } else { NONE };
        Children { tree: self, at: first }
    }

    /// The keys and values of a map, in the order of the keys.
    #[inline]
    pub fn entries(&self, id: NodeId) -> Entries<'_> {
        let node = self.node(id);
        Entries { tree: self, at: if node.kind == Kind::Map { node.a } else { NONE } }
    }

    /// Puts a node into the arena, linked to nothing yet.
    #[inline]
    pub(crate) fn push(&mut self, node: Node) -> u32 {
        self.nodes.push(node);
        (self.nodes.len() - 1) as u32
    }

    /// The number of the node that was put into the arena last.
    #[inline(always)]
    pub(crate) fn newest(&self) -> u32 {
        (self.nodes.len() - 1) as u32
    }

    /// Appends text to the side buffer and says where it is.
    pub(crate) fn keep(&mut self, text: &str) -> (u32, u32) {
        let offset = self.side.len() as u32;
        self.side.push_str(text);
        (offset, text.len() as u32)
    }

    fn make(&mut self, field: u16, value: Scalar<'_>) -> Node {
        match value {
            Scalar::Bool(value) => Node::number(Kind::Bool, field, value as i64),
            Scalar::Int(value) => Node::number(Kind::Int, field, value),
            Scalar::Float(value) => Node::number(Kind::Float, field, value.to_bits() as i64),
            Scalar::Time(value) => Node::number(Kind::Time, field, value),
            Scalar::MicroTime(value) => Node::number(Kind::MicroTime, field, value),
            Scalar::String(text) => {
                let (offset, len) = self.keep(text);
                Node::text(Kind::String, field, flag::SIDE | flag::ESCAPE, offset, len)
            }
            Scalar::Raw(text) => {
                let (offset, len) = self.keep(text);
                Node::text(Kind::Raw, field, flag::SIDE, offset, len)
            }
        }
    }

    /// Sets a field of an object to a scalar, in place of what it was.
    pub fn set(&mut self, object: NodeId, number: u16, value: Scalar<'_>) -> NodeId {
        let node = self.make(number, value);
        self.put(object, number, node)
    }

    /// The struct in a field of an object, made empty when there is none.
    pub fn object_at(&mut self, object: NodeId, number: u16, ty: TypeId) -> NodeId {
        match self.field(object, number) {
            Some(held) if self.kind(held) == Kind::Object => held,
            _ => {
                let mut node = Node::new(Kind::Object, number);
                node.b = ty.0 as u32;
                self.put(object, number, node)
            }
        }
    }

    /// The list in a field of an object, made empty when there is none.
    pub fn list_at(&mut self, object: NodeId, number: u16) -> NodeId {
        self.container_at(object, number, Kind::List)
    }

    /// The map in a field of an object, made empty when there is none.
    pub fn map_at(&mut self, object: NodeId, number: u16) -> NodeId {
        self.container_at(object, number, Kind::Map)
    }

    fn container_at(&mut self, object: NodeId, number: u16, kind: Kind) -> NodeId {
        match self.field(object, number) {
            Some(held) if self.kind(held) == kind => held,
            _ => self.put(object, number, Node::new(kind, number)),
        }
    }

    /// Puts a node in as a field, in declared order. The node that was there is replaced in its place.
    pub(crate) fn put(&mut self, object: NodeId, number: u16, mut node: Node) -> NodeId {
        debug_assert_eq!(self.kind(object), Kind::Object);
        node.field = number;
        let mut before = NONE;
        let mut at = self.node(object).a;
        while at != NONE {
            let held = self.nodes[at as usize];
            if held.field == number {
                node.next = held.next;
                self.nodes[at as usize] = node;
                self.seek.forget(NodeId(at));
                return NodeId(at);
            }
            if held.field > number {
                break;
            }
            before = at;
            at = held.next;
        }
        node.next = at;
        let new = self.push(node);
        match before {
            NONE => self.nodes[object.0 as usize].a = new,
            before => self.nodes[before as usize].next = new,
        }
        NodeId(new)
    }

    /// Takes a field out of an object and says whether it was there.
    pub fn remove(&mut self, object: NodeId, number: u16) -> bool {
        let mut before = NONE;
        let mut at = if self.kind(object) == Kind::Object { self.node(object).a } else { NONE };
        while at != NONE {
            let held = self.nodes[at as usize];
            if held.field == number {
                match before {
                    NONE => self.nodes[object.0 as usize].a = held.next,
                    before => self.nodes[before as usize].next = held.next,
                }
                return true;
            }
            before = at;
            at = held.next;
        }
        false
    }

    /// Appends a scalar to a list.
    pub fn append(&mut self, list: NodeId, value: Scalar<'_>) -> NodeId {
        let node = self.make(0, value);
        self.append_node(list, node)
    }

    /// Appends strings to a list. Its end is looked for once: of a list as long as a client makes it, that is most of the work.
    pub fn append_strings<'s>(&mut self, list: NodeId, values: impl IntoIterator<Item = &'s str>) {
        let mut last = None;
        for value in values {
            let Some(NodeId(end)) = last else {
                last = Some(self.append(list, Scalar::String(value)));
                continue;
            };
            let node = self.make(0, Scalar::String(value));
            let new = self.push(node);
            self.nodes[end as usize].next = new;
            self.nodes[list.0 as usize].b += 1;
            last = Some(NodeId(new));
        }
    }

    /// Makes a struct's zero value of the `null` that stands for it in a list; what is no `null` stays.
    pub fn fill_null(&mut self, element: NodeId, ty: TypeId) {
        if self.kind(element) == Kind::Null {
            let node = &mut self.nodes[element.0 as usize];
            *node = Node { next: node.next, b: u32::from(ty.0), ..Node::new(Kind::Object, node.field) };
        }
    }

    /// Appends an empty struct to a list.
    pub fn append_object(&mut self, list: NodeId, ty: TypeId) -> NodeId {
        let mut node = Node::new(Kind::Object, 0);
        node.b = ty.0 as u32;
        self.append_node(list, node)
    }

    fn append_node(&mut self, list: NodeId, node: Node) -> NodeId {
        debug_assert_eq!(self.kind(list), Kind::List);
        let new = self.push(node);
        let mut at = match self.seek.near_end(list) {
            NONE => self.node(list).a,
            near => near,
        };
        self.seek.note_appended(list, new);
        if at == NONE {
            self.nodes[list.0 as usize].a = new;
        } else {
            while self.nodes[at as usize].next != NONE {
                at = self.nodes[at as usize].next;
            }
            self.nodes[at as usize].next = new;
        }
        self.nodes[list.0 as usize].b += 1;
        NodeId(new)
    }

    /// Keeps only the elements of a list for which the answer is yes.
    pub fn retain(&mut self, list: NodeId, mut keep: impl FnMut(&Tree, NodeId) -> bool) {
        let kept: Vec<u32> = self.children(list).filter(|id| keep(self, *id)).map(|id| id.0).collect();
        self.link(list, &kept);
    }

    /// Takes the entries out of a map that are not to be kept: all of them in one walk, as each alone is looked for from the first.
    pub fn retain_entries(&mut self, map: NodeId, mut keep: impl FnMut(&Tree, &str, NodeId) -> bool) {
        if self.kind(map) != Kind::Map {
            return;
        }
        let kept = self.entries(map).filter(|(key, value)| keep(self, key, *value));
        // The key of a value is the node before it.
        let kept: Vec<u32> = kept.map(|(_, value)| value.0 - 1).collect();
        self.link(map, &kept);
    }

    /// Makes these nodes the children of a list, or the keys of a map, in this order.
    fn link(&mut self, list: NodeId, children: &[u32]) {
        self.seek.forget(list);
        for (at, child) in children.iter().enumerate() {
            self.nodes[*child as usize].next = children.get(at + 1).copied().unwrap_or(NONE);
        }
        let list = &mut self.nodes[list.0 as usize];
        list.a = children.first().copied().unwrap_or(NONE);
        list.b = children.len() as u32;
    }

    /// Sets a key of a map to a string, in place of what it was.
    pub fn insert(&mut self, map: NodeId, key: &str, value: &str) -> NodeId {
        let value = self.make(0, Scalar::String(value));
        self.insert_node(map, key, value)
    }

    fn insert_node(&mut self, map: NodeId, key: &str, mut node: Node) -> NodeId {
        debug_assert_eq!(self.kind(map), Kind::Map);
        let mut before = self.seek.before(self, map, key);
        let mut at = if before == NONE { self.node(map).a } else { self.nodes[before as usize].next };
        while at != NONE {
            let held = self.nodes[at as usize];
            match self.node_text(&held).cmp(key) {
                std::cmp::Ordering::Less => (before, at) = (at, held.next),
                std::cmp::Ordering::Equal => {
                    node.next = NONE;
                    self.nodes[at as usize + 1] = node;
                    self.seek.forget(NodeId(at + 1));
                    self.seek.note_put(map, at);
                    return NodeId(at + 1);
                }
                std::cmp::Ordering::Greater => break,
            }
        }
        let (offset, len) = self.keep(key);
        let mut entry = Node::text(Kind::Key, 0, flag::SIDE | flag::ESCAPE, offset, len);
        entry.next = at;
        let new = self.push(entry);
        self.push(node);
        match before {
            NONE => self.nodes[map.0 as usize].a = new,
            before => self.nodes[before as usize].next = new,
        }
        self.nodes[map.0 as usize].b += 1;
        self.seek.forget(map);
        self.seek.note_put(map, new);
        NodeId(new + 1)
    }

    /// Takes a key out of a map and says whether it was there.
    pub fn remove_key(&mut self, map: NodeId, key: &str) -> bool {
        self.seek.forget(map);
        let (mut before, mut at) = (NONE, if self.kind(map) == Kind::Map { self.node(map).a } else { NONE });
        while at != NONE {
            let held = self.nodes[at as usize];
            if self.node_text(&held) == key {
                match before {
                    NONE => self.nodes[map.0 as usize].a = held.next,
                    before => self.nodes[before as usize].next = held.next,
                }
                self.nodes[map.0 as usize].b -= 1;
                return true;
            }
            (before, at) = (at, held.next);
        }
        false
    }

    /// Copies a value of another tree into a field of an object. Types must agree; the caller has checked the schema.
    pub fn graft(&mut self, object: NodeId, number: u16, from: &Tree, value: NodeId) -> NodeId {
        let node = self.copy(from, value);
        self.put(object, number, node)
    }

    /// Copies a value of another tree to the end of a list.
    pub fn append_graft(&mut self, list: NodeId, from: &Tree, value: NodeId) -> NodeId {
        let node = self.copy(from, value);
        self.append_node(list, node)
    }

    /// Copies a value of another tree to a key of a map, in place of what it was.
    pub fn insert_graft(&mut self, map: NodeId, key: &str, from: &Tree, value: NodeId) -> NodeId {
        let node = self.copy(from, value);
        self.insert_node(map, key, node)
    }

    /// A copy of a node of another tree with all below it in this arena, linked to nothing yet.
    fn copy(&mut self, from: &Tree, value: NodeId) -> Node {
        let mut top = self.copy_one(from, from.node(value));
        top.next = NONE;
        // What is still to be copied: the node here whose first child (or, of a sibling, whose next) is still a number of `from`.
        // Frames hold: where the link is written (None: the top node), and the child in `from`.
        let mut open: Vec<(Option<u32>, u32)> = vec![];
        if matches!(top.kind, Kind::Object | Kind::List | Kind::Map) && top.a != NONE {
            open.push((None, top.a));
        }
        while let Some((parent, first)) = open.pop() {
            let mut at = first;
            let mut last = NONE;
            while at != NONE {
                let held = from.nodes[at as usize];
                let copied = self.copy_one(from, &held);
                let here = self.push(Node { next: NONE, ..copied });
                let mut container = (here, copied);
                if held.kind == Kind::Key {
                    let value = self.copy_one(from, &from.nodes[at as usize + 1]);
                    container = (self.push(Node { next: NONE, ..value }), value);
                }
                if matches!(container.1.kind, Kind::Object | Kind::List | Kind::Map) && container.1.a != NONE {
                    open.push((Some(container.0), container.1.a));
                }
                match (last, parent) {
                    (NONE, None) => top.a = here,
                    (NONE, Some(parent)) => self.nodes[parent as usize].a = here,
                    (last, _) => self.nodes[last as usize].next = here,
                }
                last = here;
                at = held.next;
            }
        }
        top
    }

    /// A node with its text in this tree; links still are those of `from`.
    fn copy_one(&mut self, from: &Tree, node: &Node) -> Node {
        let mut copy = *node;
        if matches!(node.kind, Kind::String | Kind::Key | Kind::Raw) {
            (copy.a, copy.b) = self.keep(from.node_text(node));
            copy.flags |= flag::SIDE;
        }
        copy
    }
}

/// Iterates over the children of an object or list.
#[derive(Clone, Debug)]
pub struct Children<'a> {
    tree: &'a Tree,
    at: u32,
}

impl Iterator for Children<'_> {
    type Item = NodeId;
    #[inline]
    fn next(&mut self) -> Option<NodeId> {
        if self.at == NONE {
            return None;
        }
        let id = NodeId(self.at);
        self.at = self.tree.node(id).next;
        Some(id)
    }
}

/// Iterates over the entries of a map.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    tree: &'a Tree,
    at: u32,
}

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a str, NodeId);
    #[inline]
    fn next(&mut self) -> Option<(&'a str, NodeId)> {
        if self.at == NONE {
            return None;
        }
        let key = self.tree.node(NodeId(self.at));
        let value = NodeId(self.at + 1);
        self.at = key.next;
        Some((self.tree.node_text(key), value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_appended_in_order() {
        let mut tree = Tree::new(TypeId(0));
        let root = tree.root();
        let list = tree.list_at(root, 0);
        tree.append_strings(list, []);
        assert_eq!(tree.len(list), 0);
        tree.append_strings(list, ["a", "b"]);
        tree.append_strings(list, ["c"]);
        tree.append(list, Scalar::String("d"));
        tree.append_strings(list, ["e", "f"]);
        let held: Vec<_> = tree.children(list).filter_map(|node| tree.string(node)).collect();
        assert_eq!((held.concat().as_str(), tree.len(list)), ("abcdef", 6));
    }
}
