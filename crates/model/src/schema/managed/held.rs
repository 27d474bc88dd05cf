//! Whether Go holds two values alike that are written alike: how upstream compares lists that are one value (structured-merge-diff's
//! `listReflect.EqualsUsing`, which is `reflect.DeepEqual`). Everything else is compared as it is written.
//!
//! Two things differ that nobody sees: a quantity that was not given is another zero than the one that is read back from the store, and
//! an empty list or map that was given is not the absent one that is read back. So whoever replaces an object without them owns the list
//! around them.

use super::super::{Schema, TypeRef};
use crate::tree::{Kind, NodeId, Tree};

/// Compares values of two trees that are written alike.
pub struct Holdings<'a> {
    schema: &'a Schema,
    old: Side<'a>,
    new: Side<'a>,
}

struct Side<'a> {
    tree: &'a Tree,
    /// Where an empty list or map was given, by object and field.
    emptied: Vec<(NodeId, u16)>,
}

/// Two values at one place; one of them may be absent. `in_list` is whether a list is around them.
struct Pair {
    old: Option<NodeId>,
    new: Option<NodeId>,
    in_list: bool,
}

impl<'a> Holdings<'a> {
    pub fn new(schema: &'a Schema, old: &'a Tree, new: &'a Tree) -> Holdings<'a> {
        Holdings { schema, old: Side::of(old), new: Side::of(new) }
    }

    /// Whether values that are the same node by node may still be held in another way.
    pub fn has_emptied(&self) -> bool {
        !self.old.emptied.is_empty() || !self.new.emptied.is_empty()
    }

    /// Whether two values that are written alike are held alike.
    pub fn are_alike(&self, old: NodeId, new: NodeId) -> bool {
        let mut open = vec![Pair { old: Some(old), new: Some(new), in_list: false }];
        while let Some(pair) = open.pop() {
            let Some(node) = pair.old.or(pair.new) else { continue };
            let tree = if pair.old.is_some() { self.old.tree } else { self.new.tree };
            match tree.kind(node) {
                Kind::Object if !self.objects_are_alike(&pair, &mut open) => return false,
                Kind::List => {
                    let (mut old, mut new) = (self.old.children(pair.old), self.new.children(pair.new));
                    // Written alike, they have as many elements.
                    while let (Some(old), Some(new)) = (old.next(), new.next()) {
                        open.push(Pair { old: Some(old), new: Some(new), in_list: true });
                    }
                }
                Kind::Map => {
                    let (mut old, mut new) = (self.old.values(pair.old), self.new.values(pair.new));
                    while let (Some(old), Some(new)) = (old.next(), new.next()) {
                        open.push(Pair { old: Some(old), new: Some(new), in_list: pair.in_list });
                    }
                }
                _ => {}
            }
        }
        true
    }

    /// Compares what two objects say of themselves, and leaves their fields to be compared.
    fn objects_are_alike(&self, pair: &Pair, open: &mut Vec<Pair>) -> bool {
        if pair.in_list && !self.old.emptied_in(pair.old).eq(self.new.emptied_in(pair.new)) {
            return false;
        }
        let (mut old, mut new) = (self.old.children(pair.old).peekable(), self.new.children(pair.new).peekable());
        loop {
            let number = |tree: &Tree, node: Option<&NodeId>| node.map(|node| tree.field_number(*node));
            let at = [number(self.old.tree, old.peek()), number(self.new.tree, new.peek())];
            let Some(next) = at.into_iter().flatten().min() else { return true };
            let old = if at[0] == Some(next) { old.next() } else { None };
            let new = if at[1] == Some(next) { new.next() } else { None };
            if pair.in_list && old.is_some() != new.is_some() && self.is_quantity(pair, next) {
                return false;
            }
            open.push(Pair { old, new, in_list: pair.in_list });
        }
    }

    fn is_quantity(&self, pair: &Pair, number: u16) -> bool {
        let ty = |side: &Side<'_>, node: Option<NodeId>| node.and_then(|node| side.tree.object_type(node));
        let ty = ty(&self.old, pair.old).or_else(|| ty(&self.new, pair.new));
        let field = ty.and_then(|ty| self.schema.ty(ty).fields.get(usize::from(number)));
        field.is_some_and(|field| field.ty == TypeRef::Quantity)
    }
}

impl<'a> Side<'a> {
    fn of(tree: &'a Tree) -> Side<'a> {
        let mut emptied: Vec<(NodeId, u16)> =
            tree.emptied.iter().filter(|(object, number)| tree.field(*object, *number).is_none()).copied().collect();
        emptied.sort_unstable();
        emptied.dedup();
        Side { tree, emptied }
    }

    fn children(&self, node: Option<NodeId>) -> impl Iterator<Item = NodeId> {
        node.into_iter().flat_map(|node| self.tree.children(node))
    }

    fn values(&self, node: Option<NodeId>) -> impl Iterator<Item = NodeId> {
        node.into_iter().flat_map(|node| self.tree.entries(node)).map(|(_, value)| value)
    }

    /// The fields of an object that were given empty, in order.
    fn emptied_in(&self, object: Option<NodeId>) -> impl Iterator<Item = u16> {
        let bound = |after: bool| {
            let is_before =
                |(held, _): &(NodeId, u16)| object.is_some_and(|object| *held < object || after && *held == object);
            self.emptied.partition_point(is_before)
        };
        let fields = self.emptied.get(bound(false)..bound(true)).unwrap_or_default();
        fields.iter().map(|(_, number)| *number)
    }
}
